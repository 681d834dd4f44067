"""How a field of the core's settings states its default, range, unit and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TypeVar

T = TypeVar("T")


def setting(
    default: T,
    meaning: str,
    *,
    unit: str = "",
    fixed: str = "",
    each: Mapping[str, float] | None = None,
    **bounds: float,
) -> T:
    """Return the field of a setting.

    Parameters
    ----------
    unit : str
        Of a number whose name does not end with it.
    fixed : str
        Why a saved state cannot continue under another value; empty if it can.
    each, **bounds
        Range, in the unit of the field's name: of each item of a list, and of the value. Names are pydantic's: ``ge``,
        ``gt``, ``le``, ``lt``, ``multiple_of``, ``min_length``, ``max_length``.
    """
    metadata = {"meaning": meaning, "unit": unit, "fixed": fixed, "each": each or {}, "bounds": bounds}
    return field(default=default, metadata=metadata)
