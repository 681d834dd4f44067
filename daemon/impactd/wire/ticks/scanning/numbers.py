"""Compiled readers of numbers and times, for codecs that scan text.

Every reader takes a buffer and a position and returns the value with the
position behind it, or a negative position where it is not sure; the caller
then leaves the record to plain Python.  A reader moves on only over bytes that
it knows, so a byte that belongs to nothing (NUL, or the end of a line) stops
it, and none looks at its bounds: the caller puts such a byte behind each record.

Decimal numbers are read by Clinger's fast path: a mantissa of at most 2^53 and
a power of ten of at most 10^22 are exact in float64, so that one division
gives the correctly rounded value, the same bits as any correct parser.

References
----------
.. [1] W. D. Clinger (1990), How to read floating point numbers accurately, PLDI '90.
.. [2] E. G. Richards (2013), Calendars, in Explanatory Supplement to the Astronomical Almanac, 3rd ed., ch. 15.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import uncounted_kernel
from impactd.wire.times import MAX_NS, MIN_NS

Bytes = npt.NDArray[np.uint8]

_POW10: Final = np.array([float(10**k) for k in range(23)])
# Unsigned throughout: one comparison tells a digit, and an unsigned index needs no check for a negative one.
_0, _1, _9, _10, _18, _19, _CHAR_0 = (np.uint64(k) for k in (0, 1, 9, 10, 18, 19, 48))
_MAX_MANTISSA: Final = np.uint64(2**53)
_MIN_TIME, _MAX_TIME = np.uint64(MIN_NS), np.uint64(MAX_NS)
_DAY_NS: Final = 86_400_000_000_000
_MONTH_DAYS: Final = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)


@uncounted_kernel
def scan_number(buf: Bytes, i: int) -> tuple[float, int]:
    """Return a JSON number without exponent and the position behind it, or (0, -1).

    Not sure of: exponents, more than 18 digits, a mantissa beyond 2^53, a negative zero.
    """
    negative = buf[i] == 45
    start = np.uint64(i + negative)
    at = start
    mantissa = _0
    digit = np.uint64(buf[at]) - _CHAR_0
    while digit <= _9:
        mantissa = mantissa * _10 + digit
        at += _1
        digit = np.uint64(buf[at]) - _CHAR_0
    whole = at - start
    decimals = _0
    if buf[at] == 46:
        at += _1
        digit = np.uint64(buf[at]) - _CHAR_0
        while digit <= _9:
            mantissa = mantissa * _10 + digit
            at += _1
            decimals += _1
            digit = np.uint64(buf[at]) - _CHAR_0
        if decimals == _0:
            return 0.0, -1
    # Up to 18 digits the mantissa cannot have run over.
    if whole == _0 or (whole > _1 and buf[start] == 48) or whole + decimals > _18:
        return 0.0, -1
    if buf[at] in (69, 101) or mantissa > _MAX_MANTISSA or (negative and mantissa == _0):
        return 0.0, -1
    value = np.float64(mantissa)
    if decimals:
        value /= _POW10[decimals]
    return (-value if negative else value), int(np.int64(at))


@uncounted_kernel
def scan_unsigned(buf: Bytes, i: int) -> tuple[int, int]:
    """Return an integer of 1 to 18 digits without leading zeros and the position behind it, or (0, -1)."""
    start = np.uint64(i)
    at = start
    value = _0
    digit = np.uint64(buf[at]) - _CHAR_0
    while digit <= _9:
        value = value * _10 + digit
        at += _1
        digit = np.uint64(buf[at]) - _CHAR_0
    n = at - start
    if n == _0 or (n > _1 and buf[start] == 48) or n > _18:
        return 0, -1
    return int(np.int64(value)), int(np.int64(at))


@uncounted_kernel
def scan_time(buf: Bytes, i: int, unit: int) -> tuple[int, int]:
    """Return a plausible time in ns, and the position behind it, or (0, -1).

    It is written as a whole number of ns, or of units of `unit` ns.
    """
    start = np.uint64(i)
    at = start
    value = _0
    digit = np.uint64(buf[at]) - _CHAR_0
    while digit <= _9:
        value = value * _10 + digit
        at += _1
        digit = np.uint64(buf[at]) - _CHAR_0
    n = at - start
    # Nineteen digits stay below 2^64, so that the bounds see what was written.
    factor = np.uint64(1 if value >= _MIN_TIME else unit)
    if n == _0 or buf[start] == 48 or n > _19 or value > _MAX_TIME // factor or value * factor < _MIN_TIME:
        return 0, -1
    return int(np.int64(value * factor)), int(np.int64(at))


@uncounted_kernel
def scan_digits(buf: Bytes, i: int, n: int) -> int:
    """Return the integer of exactly `n` digits at `i`, or -1."""
    value = np.int64(0)
    for k in range(i, i + n):
        c = np.int64(buf[k]) - 48
        if not 0 <= c <= 9:
            return -1
        value = value * 10 + c
    return int(np.int64(value))


@uncounted_kernel
def scan_iso_time(buf: Bytes, i: int) -> tuple[int, int]:  # noqa: PLR0912  # one format, read from left to right
    """Return ``YYYY-MM-DD[T ]hh:mm:ss[.f{1,9}][Z|+hh:mm]`` as UTC ns and the position behind it, or (0, -1).

    Without a zone it is UTC.
    """
    year, month, day = scan_digits(buf, i, 4), scan_digits(buf, i + 5, 2), scan_digits(buf, i + 8, 2)
    hour, minute, second = scan_digits(buf, i + 11, 2), scan_digits(buf, i + 14, 2), scan_digits(buf, i + 17, 2)
    if buf[i + 4] != 45 or buf[i + 7] != 45 or (buf[i + 10] != 32 and buf[i + 10] != 84):
        return 0, -1
    if buf[i + 13] != 58 or buf[i + 16] != 58:
        return 0, -1
    if not (1970 <= year <= 2261 and 1 <= month <= 12):
        return 0, -1
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= day <= _MONTH_DAYS[month - 1] + leap:
        return 0, -1
    if not (0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 59):
        return 0, -1
    i += 19
    fraction = np.int64(0)
    if buf[i] == 46:
        i += 1
        start = i
        c = np.int64(buf[i]) - 48
        while 0 <= c <= 9:
            if i - start >= 9:
                return 0, -1
            fraction = fraction * 10 + c
            i += 1
            c = np.int64(buf[i]) - 48
        if i == start:
            return 0, -1
        for _ in range(9 - (i - start)):
            fraction *= 10
    offset_s = 0
    if buf[i] == 90:
        i += 1
    elif buf[i] in (43, 45):
        off_hour, off_minute = scan_digits(buf, i + 1, 2), scan_digits(buf, i + 4, 2)
        if not (0 <= off_hour <= 23 and 0 <= off_minute <= 59) or buf[i + 3] != 58:
            return 0, -1
        offset_s = off_hour * 3600 + off_minute * 60
        if buf[i] == 45:
            offset_s = -offset_s
        i += 6
    # Days since the epoch of a Gregorian date [2], counting years from March so that the leap day comes last.
    y = year - (month <= 2)
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    era_year = y % 400
    days = (y // 400) * 146_097 + era_year * 365 + era_year // 4 - era_year // 100 + day_of_year - 719_468
    seconds = hour * 3600 + minute * 60 + second - offset_s
    ns = np.int64(days) * _DAY_NS + np.int64(seconds) * 1_000_000_000 + fraction
    if not MIN_NS <= ns <= MAX_NS:
        return 0, -1
    return int(ns), i
