"""The compiled scanner of Databento's MBP-10 rows: certain, or it declines.

Lines are joined with a line end behind each.  Every column has a role, given
by the header; columns without one are skipped.  A line is taken if every
column that has a role holds its plain form; any other line (a quote, an
exponent, a price of more than 15 digits, a column too few) is left to the
reference in `impactd.wire.ticks.databento.codec`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import uncounted_kernel
from impactd.core.inputs.ticks import Float, Int
from impactd.wire.ticks.scanning.numbers import Bytes, scan_iso_time, scan_number, scan_time, scan_unsigned
from impactd.wire.ticks.scanning.symbols import Table, find_symbol

# Roles of columns; from LEVEL on, LEVEL + 4 * level + plane.
SKIP, TS_EVENT, TS_RECV, ACTION, SIDE, PRICE, SIZE, FLAGS, SYMBOL, PUBLISHER, INSTRUMENT, LEVEL = range(12)
#: Planes of the levels.
BID_PX, BID_SZ, ASK_PX, ASK_SZ = range(4)
#: Columns of the integers of a line: by role, then the numbers of levels.
N_BID, N_ASK, N_INTS = LEVEL, LEVEL + 1, LEVEL + 2

#: An undefined price where the level has a size: the core counts it as a sentinel.
UNDEFINED_PX: Final = float(2**63 - 1)
#: From here on a price without a decimal point is fixed-point, in 1e-9.
FIXED_POINT_FROM: Final = 1_000_000.0
FIXED_POINT: Final = 1e9

#: A publisher or an instrument of more digits is no number.
_LARGEST_ID: Final = 9_999_999_999

DONE: Final = 0
NEW_SYMBOL: Final = 1

_INT64_MAX: Final = np.frombuffer(b"9223372036854775807", np.uint8)
_UINT64_MAX: Final = np.frombuffer(b"18446744073709551615", np.uint8)


@uncounted_kernel
def _is_text(buf: Bytes, i: int, text: Bytes) -> bool:
    k = 0
    while k < text.shape[0] and buf[i + k] == text[k]:
        k += 1
    return k == text.shape[0] and buf[i + k] in (10, 44)


@uncounted_kernel
def _price(buf: Bytes, i: int) -> tuple[float, int]:
    """Return a price, NaN where undefined, and the position behind it, or (0, -1)."""
    if buf[i] in (10, 44):
        return np.nan, i
    if _is_text(buf, i, _INT64_MAX):
        return np.nan, i + _INT64_MAX.shape[0]
    return scan_number(buf, i)


@uncounted_kernel
def _time(buf: Bytes, i: int, unit: int) -> tuple[int, int]:
    """Return a time given as ISO text or whole number and the position behind it, or (0, -1)."""
    end = i
    while 48 <= buf[end] <= 57:
        end += 1
    if buf[end] in (10, 44):
        return scan_time(buf, i, unit)
    return scan_iso_time(buf, i)


@uncounted_kernel
def _compact(levels: Float, plane: int, row: int, scale: float) -> int:
    """Scale the prices of one side, drop its empty levels, blank the rest; return how many are left."""
    n = 0
    width = levels.shape[2]
    for k in range(width):
        px = levels[plane, row, k]
        sz = levels[plane + 1, row, k]
        if np.isnan(px):
            if sz == 0.0:
                continue
            px = UNDEFINED_PX
        else:
            px /= scale
        levels[plane, row, n] = px
        levels[plane + 1, row, n] = sz
        n += 1
    for k in range(n, width):
        levels[plane, row, k] = np.nan
        levels[plane + 1, row, k] = np.nan
    return n


@uncounted_kernel
def _line(  # noqa: PLR0912, PLR0915  # a table of roles; numba has none
    buf: Bytes, i: int, unit: int, row: int, roles: Int, ints: Int, levels: Float, prints: Float, table: Table
) -> tuple[bool, bool, int]:
    """Scan one line into `row`; return (sure, symbol is new, position behind the line or of the symbol)."""
    fixed = True
    largest = 0.0
    ints[row, TS_RECV] = 0
    ints[row, SYMBOL] = 0
    for column in range(roles.shape[0]):
        role = roles[column]
        if role == SKIP:
            # Beyond ASCII it may not even be text: that is for the reference to judge, of an unread column too.
            c = buf[i]
            while c < 128 and c not in (10, 34, 44):
                i += 1
                c = buf[i]
        elif role >= LEVEL:
            level, plane = (role - LEVEL) // 4, (role - LEVEL) % 4
            if plane in (BID_SZ, ASK_SZ):
                value, i = scan_number(buf, i)
            else:
                start = i
                value, i = _price(buf, i)
                for k in range(start, i):
                    fixed &= buf[k] != 46
                largest = max(largest, abs(value)) if not np.isnan(value) else largest
            if i < 0:
                return False, False, i
            levels[plane, row, level] = value
        elif role == PRICE:
            start = i
            value, i = _price(buf, i)
            for k in range(start, i):
                fixed &= buf[k] != 46
            largest = max(largest, abs(value)) if not np.isnan(value) else largest
            prints[row, 0] = value
        elif role == SIZE:
            prints[row, 1], i = scan_number(buf, i)
        elif role in (ACTION, SIDE):
            ints[row, role] = buf[i]
            i += 1
        elif role == FLAGS:
            ints[row, FLAGS], i = scan_unsigned(buf, i)
            if ints[row, FLAGS] > 255:
                return False, False, i
        elif role in (PUBLISHER, INSTRUMENT):
            ints[row, role], i = scan_unsigned(buf, i)
            if ints[row, role] > _LARGEST_ID:
                return False, False, i
        elif role == TS_EVENT:
            ints[row, TS_EVENT], i = _time(buf, i, unit)
        elif role == TS_RECV:
            if buf[i] == 44:
                ints[row, TS_RECV] = 0
            elif _is_text(buf, i, _UINT64_MAX):
                i += _UINT64_MAX.shape[0]
            else:
                ints[row, TS_RECV], i = _time(buf, i, unit)
        else:
            end = i
            while buf[end] not in (10, 44):
                end += 1
            number = find_symbol(buf, i, end, table.slot, table.text, table.length)
            if number < 0:
                return False, number == -2, i
            ints[row, SYMBOL] = number
            i = end
        if i < 0 or buf[i] != (44 if column + 1 < roles.shape[0] else 10):
            return False, False, i
        i += 1
    scale = FIXED_POINT if fixed and largest >= FIXED_POINT_FROM else 1.0
    prints[row, 0] /= scale
    ints[row, N_BID] = _compact(levels, BID_PX, row, scale)
    ints[row, N_ASK] = _compact(levels, ASK_PX, row, scale)
    return True, False, i


@uncounted_kernel
def scan_rows(
    buf: Bytes,
    start: Int,
    unit: int,
    first: int,
    roles: Int,
    ints: Int,
    levels: Float,
    prints: Float,
    table: Table,
    unsure: npt.NDArray[np.bool_],
) -> tuple[int, int, int]:
    """Scan lines from `first` on, line k into row k; return (status, line, position)."""
    for row in range(first, start.shape[0] - 1):
        sure, is_new, i = _line(buf, start[row], unit, row, roles, ints, levels, prints, table)
        if is_new:
            return NEW_SYMBOL, row, i
        if not sure or i != start[row + 1]:
            unsure[row] = True
    return DONE, start.shape[0] - 1, 0
