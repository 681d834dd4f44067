"""``impactd halt``."""

from __future__ import annotations

from impactd.cli.control import halt as command

__all__ = ["command"]
