"""Times of inputs: one reading and one check for all codecs, orders and executions.

A time is a whole number of nanoseconds, or of `wire.time_unit`, since the epoch, or
ISO 8601 text.  A whole number whose magnitude fits another unit is refused with
the factor: milliseconds read as nanoseconds are minutes after midnight in 1970.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from impactd.wire.codec import FieldError, shown

#: Nanoseconds in each unit that `wire.time_unit` may name.
UNITS: Final = MappingProxyType({"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000})
_NAMES: Final = MappingProxyType({"ns": "nanoseconds", "us": "microseconds", "ms": "milliseconds", "s": "seconds"})

#: Earliest and latest plausible time, ns: 1973-03-03 and 2255-03-12. In no other unit is a plausible time as large.
MIN_NS: Final = 10**17
MAX_NS: Final = 9 * 10**18

_EPOCH: Final = date(1970, 1, 1)
_DECIMAL: Final = re.compile(r"(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,18})?", re.ASCII)
_ISO: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):?(\d\d))?", re.ASCII
)
#: The other forms in which tables write times: dates with slashes, points or without any, a blank before the zone.
_OTHER: Final = re.compile(
    r"(\d{4})([-/.]?)(\d\d)\2(\d\d)[ TD_-](\d?\d:\d\d:\d\d)(\.\d{1,9})?(?: ?(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?", re.ASCII
)
_ZONES: Final = {None: "", "UTC": "Z", "GMT": "Z"}


def parse_time(value: object, field: str, unit: str = "ns") -> int:
    """Return UTC nanoseconds of a time in a JSON record.

    Parameters
    ----------
    value : int, float or str
        A number of `unit`, as a number or as text, or ISO 8601 text with its zone.

    Raises
    ------
    FieldError
        ``type`` where it is no time, ``value`` where it is not plausible in this unit.
    """
    if type(value) is int:
        # Nanoseconds are recognised by their magnitude: no other unit's times are as large.
        return value if MIN_NS <= value <= MAX_NS else _plausible(value * UNITS[unit], value, field, unit)
    if type(value) is float:
        return _of_float(value, field, unit)
    if type(value) is str:
        if _DECIMAL.fullmatch(value):
            return _of_decimal(value, value, field, unit)
        if (match := _ISO.fullmatch(value)) is not None:
            if match[0].endswith("Z") or match[8]:
                return _of_iso(match, value, field)
            raise FieldError(
                "value", f"{field}: {shown(value)} has no zone; send it with Z or an offset such as -04:00"
            )
    raise FieldError("type", f"{field}: {shown(value)} is not a time; send whole {_NAMES[unit]} since the epoch")


def parse_text_time(text: str, field: str, unit: str = "ns") -> int:
    """Return UTC nanoseconds of a time in a text format.

    As `parse_time`, but ISO 8601 text without a zone is UTC, and so are ``20250403 13:30:00.125``,
    ``2025/04/03 13:30:00`` and ``2025.04.03D13:30:00``.
    """
    match = _ISO.fullmatch(text)
    if match is None and (other := _OTHER.fullmatch(text)) is not None:
        year, _, month, day, clock, fraction, zone = other.groups()
        zone = _ZONES.get(zone, zone)
        zone = f"{zone}:00" if len(zone) == 3 else zone  # a sign and hours
        match = _ISO.fullmatch(f"{year}-{month}-{day}T{clock:0>8}{fraction or ''}{zone}")
    return parse_time(text, field, unit) if match is None else _of_iso(match, text, field)


def _of_float(value: float, field: str, unit: str) -> int:
    if unit == "ns":
        # Refused for its unit where it seems to be in another one.
        _plausible(int(value) if abs(value) < 2**63 else 0, value, field, unit)
        raise FieldError("type", f"{field}: {shown(value)} has lost digits as a float; send an integer, or text")
    return _of_decimal(repr(value), value, field, unit) if abs(value) < 2**53 else _plausible(0, value, field, unit)


def _of_decimal(text: str, value: object, field: str, unit: str) -> int:
    exact = Decimal(text)
    return int(exact) if MIN_NS <= exact <= MAX_NS else _plausible(int(exact * UNITS[unit]), value, field, unit)


def _plausible(ns: int, value: Any, field: str, unit: str) -> int:
    """Return `ns` if it is a plausible time, or refuse `value` with the unit that it seems to be in."""
    if MIN_NS <= ns <= MAX_NS:
        return ns
    given = float(value)  # an integer of JSON has at most 64 bits
    seems = next((name for name, factor in UNITS.items() if MIN_NS <= given * factor <= MAX_NS), None)
    if seems is None:
        raise FieldError(
            "value", f"{field}: {shown(value)} is not a time from 1973 to 2255; send {_NAMES[unit]} since the epoch"
        )
    power = len(str(max(UNITS[seems], UNITS[unit]) // min(UNITS[seems], UNITS[unit]))) - 1
    advice = "multiply" if UNITS[seems] > UNITS[unit] else "divide"
    raise FieldError(
        "time_unit",
        f"{field}: {shown(value)} looks like {_NAMES[seems]}, not {_NAMES[unit]}; {advice} by 10^{power}, "
        f'or set wire.time_unit = "{seems}"',
    )


def _of_iso(match: re.Match[str], text: str, field: str) -> int:
    year, month, day, hour, minute, second = (int(group) for group in match.groups()[:6])
    fraction, sign, off_hour, off_minute = match.groups()[6:]
    try:
        days = (date(year, month, day) - _EPOCH) // timedelta(days=1)
    except ValueError:
        raise FieldError("value", f"{field}: {shown(text)} is not a date; send one") from None
    if hour > 23 or minute > 59 or second > 59 or int(off_hour or 0) > 23:
        raise FieldError(
            "value", f"{field}: {shown(text)} is out of range; send hours to 23, minutes and seconds to 59"
        )
    if int(off_minute or 0) > 59:
        raise FieldError("value", f"{field}: {shown(text)} has no such offset; send UTC")
    offset_s = (int(off_hour) * 3600 + int(off_minute) * 60) * (-1 if sign == "-" else 1) if sign else 0
    ns = (days * 86_400 + hour * 3600 + minute * 60 + second - offset_s) * 1_000_000_000
    ns += int((fraction or "").ljust(9, "0"))
    if not MIN_NS <= ns <= MAX_NS:
        raise FieldError("value", f"{field}: {shown(text)} is not in 1973..2255; send a time in that range")
    return ns
