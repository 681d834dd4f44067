"""Live order books in, least-impact execution schedules out."""

from __future__ import annotations

from impactd.__about__ import __version__

__all__ = ["__version__"]
