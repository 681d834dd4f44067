"""``impactd resume``."""

from __future__ import annotations

from impactd.cli.control import resume as command

__all__ = ["command"]
