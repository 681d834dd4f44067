"""``impactd estimate``."""

from __future__ import annotations

from impactd.cli.order import estimate as command

__all__ = ["command"]
