"""The version, in its one place: the build, the command line and every message header read it here."""

from __future__ import annotations

__version__ = "0.1.0"
