"""Fields of records: numbers, whole nanoseconds and names, or an error that names the field."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from impactd.research.errors import MALFORMED, MISSING_COLUMNS, ValidationError

Record = Mapping[str, Any]

#: Levels of one side as (price, size), best first.
Side = list[tuple[float, float]]

#: Above it, floats skip whole numbers.
_FLOAT_WHOLE: Final = 2**53
_MAX_NS: Final = 2**63


def is_missing(value: object) -> bool:
    """Return whether a field is there and empty: null, blank, NaN, pandas' NA or NaT."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return not value.strip() if isinstance(value, str) else isinstance(value, float) and value != value  # noqa: PLR0124  (NaN)


def field(record: Record, name: str) -> Any:
    """Return a field that a record must have."""
    if name not in record:
        raise ValidationError(MISSING_COLUMNS, f"{name}: missing in a record", f"it has {', '.join(map(str, record))}")
    return record[name]


def number(record: Record, name: str) -> float:
    """Return a field as a float; NaN where it is there and empty."""
    value = field(record, name)
    if is_missing(value):
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValidationError(MALFORMED, f"{name}: {value!r} is not a number", "give numbers only") from error


def whole(record: Record, name: str) -> int:
    """Return a field as an integer, no digit lost."""
    value = field(record, name)
    if isinstance(value, float) and value.is_integer():
        if abs(value) > _FLOAT_WHOLE:
            raise ValidationError(
                MALFORMED, f"{name}: {value!r} has lost digits as a float", "read it as an integer or text"
            )
        return int(value)
    try:
        if not isinstance(value, bool):
            return int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        pass  # told below
    raise ValidationError(MALFORMED, f"{name}: {value!r} is not a whole number", "give integers")


def whole_ns(record: Record, name: str, unit_ns: int = 1) -> int:
    """Return a time field in ns since the epoch.

    Parameters
    ----------
    unit_ns : int
        Nanoseconds in one of the field's units.
    """
    ns = whole(record, name) * unit_ns
    if not 0 <= ns < _MAX_NS:
        raise ValidationError(
            MALFORMED, f"{name}: {record[name]!r} is not a time", "give it since the epoch, in its unit"
        )
    return ns


def name_of(record: Record, *names: str) -> str | None:
    """Return the first of these fields that is there, as text; None without."""
    return next((str(record[name]) for name in names if not is_missing(record.get(name))), None)


def level(price: float, size: float) -> Side:
    """Return one level as a side; no level where either is missing or zero."""
    for name, value in (("price", price), ("size", size)):
        if value < 0.0:
            raise ValidationError(MALFORMED, f"{name}: {value:g} is negative", "give one above zero, or none")
    return [(price, size)] if price > 0.0 and size > 0.0 else []
