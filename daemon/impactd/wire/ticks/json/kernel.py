"""The compiled scanner of our JSON ticks: certain, or it declines.

The records of a batch are in one buffer with a NUL behind each, a byte which no JSON
can hold, and are scanned in one compiled pass that releases the GIL.  A record is
taken if it is an object, or an array of them, of published fields in any
order, each at most once, with plain values: numbers that Clinger's fast path
reads (`impactd.wire.ticks.scanning.numbers`), printable ASCII symbols without escapes, no white
space but blanks.  Whatever else a record holds, it is left to the reference.

The pass stops when it needs something only Python can give (a new symbol, more
rows, more levels); `impactd.wire.ticks.json.scan` gives it and continues at the same
record.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import uncounted_kernel
from impactd.core.inputs.ticks import AUCTION, BOOK, MID_EVENT, TRADE, Float, Int, Int32
from impactd.wire.ticks.scanning.numbers import Bytes, scan_number, scan_time, scan_unsigned
from impactd.wire.ticks.scanning.symbols import Table, find_symbol

# Why the pass stopped.
DONE: Final = 0
NEW_SYMBOL: Final = 1
MORE_ROWS: Final = 2
MORE_LEVELS: Final = 3
UNSURE: Final = 4


def _key(name: bytes) -> int:
    return int.from_bytes(name[-8:], "big")


# Field names as the integer of their last eight bytes; a ninth is compared by itself.
_K_TYPE: Final = _key(b"type")
_K_SYMBOL: Final = _key(b"symbol")
_K_TS_EVENT: Final = _key(b"ts_event")
_K_TS_RECV: Final = _key(b"ts_recv")
_K_SEQ: Final = _key(b"seq")
_K_BIDS: Final = _key(b"bids")
_K_ASKS: Final = _key(b"asks")
_K_PX: Final = _key(b"px")
_K_QTY: Final = _key(b"qty")
_K_AGGRESSOR: Final = _key(b"aggressor")
_K_AUCTION: Final = _key(b"auction")
_K_MID_EVENT: Final = _key(b"mid_event")
_V_BOOK: Final = _key(b"book")
_V_TRADE: Final = _key(b"trade")
_V_BUY: Final = _key(b"buy")
_V_SELL: Final = _key(b"sell")
_V_NULL: Final = _key(b"null")
_V_TRUE: Final = _key(b"true")
_V_FALSE: Final = _key(b"false")

# Bits of the fields seen in an object.
_TYPE, _SYMBOL, _TS_EVENT, _TS_RECV, _SEQ, _BIDS, _ASKS, _PX, _QTY, _AGGRESSOR, _AUCTION, _MID = (
    1 << bit for bit in range(12)
)
_BOOK_NEEDS: Final = _TYPE | _SYMBOL | _TS_EVENT | _BIDS | _ASKS
_BOOK_MAY: Final = _BOOK_NEEDS | _TS_RECV | _SEQ | _MID
_TRADE_NEEDS: Final = _TYPE | _SYMBOL | _TS_EVENT | _PX | _QTY
_TRADE_MAY: Final = _TRADE_NEEDS | _TS_RECV | _SEQ | _AGGRESSOR | _AUCTION

#: As `impactd.wire.ticks.json.codec.UNDEFINED_QTY`, where the reference refuses.
_UNDEFINED_QTY: Final = 9_999_999_999.0

# Unsigned, as in `impactd.wire.ticks.scanning.numbers`.
_1, _8, _TO_Z, _UNDERSCORE, _LOWER_A = (np.uint64(k) for k in (1, 8, 25, 95, 97))

# Columns of the integers of a row.  Few arrays, given one by one: a compiled call counts references to each.
SYMBOL, KIND, FLAGS, TS_EVENT, TS_RECV, RECORD, N_BID, N_ASK, AGGRESSOR = range(9)
#: Planes of the levels.
BID_PX, BID_SZ, ASK_PX, ASK_SZ = range(4)


@uncounted_kernel
def _word(buf: Bytes, i: int) -> tuple[int, int, int]:
    """Return (last eight bytes, length, position behind) of lower-case letters and underscores."""
    at = np.uint64(i)
    word = np.uint64(0)
    c = np.uint64(buf[at])
    while c - _LOWER_A <= _TO_Z or c == _UNDERSCORE:
        word = (word << _8) | c
        at += _1
        c = np.uint64(buf[at])
    return int(np.int64(word)), int(np.int64(at)) - i, int(np.int64(at))


@uncounted_kernel
def _blank(buf: Bytes, i: int) -> int:
    at = np.uint64(i)
    while buf[at] == 32:
        at += _1
    return int(np.int64(at))


@uncounted_kernel
def _side(buf: Bytes, i: int, levels: Float, plane: int, row: int) -> tuple[int, int]:
    """Return (number of levels, position behind them); -1 levels where unsure, -2 where the arrays are too narrow."""
    width = levels.shape[2]
    if buf[i] != 91:
        return -1, i
    i = _blank(buf, i + 1)
    if buf[i] == 93:
        return 0, i + 1
    n = 0
    while True:
        if buf[i] != 91:
            return -1, i
        i = _blank(buf, i + 1)
        quoted = buf[i] == 34
        value, i = scan_number(buf, i + quoted)
        if i < 0 or (quoted and buf[i] != 34):
            return -1, i
        i = _blank(buf, i + quoted)
        if buf[i] != 44:
            return -1, i
        if n >= width:
            return -2, i
        levels[plane, row, n] = value
        i = _blank(buf, i + 1)
        quoted = buf[i] == 34
        value, i = scan_number(buf, i + quoted)
        if i < 0 or (quoted and buf[i] != 34):
            return -1, i
        i = _blank(buf, i + quoted)
        if buf[i] != 93:
            return -1, i
        levels[plane + 1, row, n] = value
        n += 1
        i = _blank(buf, i + 1)
        if buf[i] == 93:
            return n, i + 1
        if buf[i] != 44:
            return -1, i
        i = _blank(buf, i + 1)


@uncounted_kernel
def _object(  # noqa: PLR0912, PLR0915  # a table of fields; numba has none
    buf: Bytes,
    i: int,
    unit: int,
    row: int,
    ints: Int,
    levels: Float,
    prints: Float,
    slots: Int32,
    text: Bytes,
    lengths: Int32,
) -> tuple[int, int]:
    """Scan one object into `row`; return (status, position behind it, or of a new symbol)."""
    if buf[i] != 123:
        return UNSURE, i
    seen = 0
    kind = 0
    flags = 0
    n_bid = 0
    n_ask = 0
    px = np.nan
    qty = np.nan
    aggressor = 0
    symbol = 0
    ts_event = 0
    ts_recv = 0
    while True:
        i = _blank(buf, i + 1)
        if buf[i] != 34:
            return UNSURE, i
        first = buf[i + 1]
        key, length, i = _word(buf, i + 1)
        if buf[i] != 34 or length > 9:
            return UNSURE, i
        i = _blank(buf, i + 1)
        if buf[i] != 58:
            return UNSURE, i
        i = _blank(buf, i + 1)
        quoted = buf[i] == 34
        bit = 0
        if length == 4 and key in (_K_BIDS, _K_ASKS):
            is_bid = key == _K_BIDS
            n, i = _side(buf, i, levels, BID_PX if is_bid else ASK_PX, row)
            if is_bid:
                bit = _BIDS
                n_bid = n
            else:
                bit = _ASKS
                n_ask = n
            if n < 0:
                return (UNSURE if n == -1 else MORE_LEVELS), i
        elif length == 4 and key == _K_TYPE:
            bit = _TYPE
            word, n, i = _word(buf, i + quoted)
            if quoted and n == 4 and word == _V_BOOK:
                kind = BOOK
            elif quoted and n == 5 and word == _V_TRADE:
                kind = TRADE
            else:
                return UNSURE, i
        elif length == 6 and key == _K_SYMBOL:
            bit = _SYMBOL
            if not quoted:
                return UNSURE, i
            end = i + 1
            while buf[end] != 34 and buf[end] >= 32:
                end += 1
            symbol = find_symbol(buf, i + 1, end, slots, text, lengths)
            if symbol < 0:
                return (UNSURE if symbol == -1 or buf[end] != 34 else NEW_SYMBOL), i + 1
            i = end
        elif length == 8 and key == _K_TS_EVENT:
            bit = _TS_EVENT
            ts_event, i = scan_time(buf, i + quoted, unit)
            if i < 0:
                return UNSURE, i
        elif length == 7 and key == _K_TS_RECV and (quoted or buf[i] != 110):
            bit = _TS_RECV
            ts_recv, i = scan_time(buf, i + quoted, unit)
            if i < 0:
                return UNSURE, i
        elif length == 3 and key == _K_SEQ and not quoted and buf[i] != 110:
            bit = _SEQ
            _, i = scan_unsigned(buf, i)
            if i < 0:
                return UNSURE, i
        elif (length == 2 and key == _K_PX) or (length == 3 and key == _K_QTY):
            number_value, i = scan_number(buf, i + quoted)
            if i < 0:
                return UNSURE, i
            if length == 2:
                bit = _PX
                px = number_value
            else:
                bit = _QTY
                qty = number_value
        else:
            word, n, i = _word(buf, i + quoted)
            null = not quoted and n == 4 and word == _V_NULL
            if length == 9 and first == 97 and key == _K_AGGRESSOR:
                bit = _AGGRESSOR
                if quoted and n == 3 and word == _V_BUY:
                    aggressor = 1
                elif quoted and n == 4 and word == _V_SELL:
                    aggressor = -1
                elif not null:
                    return UNSURE, i
            elif (length == 9 and first == 109 and key == _K_MID_EVENT) or (length == 7 and key == _K_AUCTION):
                bit = _MID if length == 9 else _AUCTION
                if not quoted and n == 4 and word == _V_TRUE:
                    flags |= MID_EVENT if length == 9 else AUCTION
                elif not null and (quoted or n != 5 or word != _V_FALSE):
                    return UNSURE, i
            elif null and length == 7 and key == _K_TS_RECV:
                bit = _TS_RECV
            elif null and length == 3 and key == _K_SEQ:
                bit = _SEQ
            else:
                return UNSURE, i
        if quoted:
            if buf[i] != 34:
                return UNSURE, i
            i += 1
        if seen & bit:
            return UNSURE, i
        seen |= bit
        i = _blank(buf, i)
        if buf[i] == 125:
            break
        if buf[i] != 44:
            return UNSURE, i
    needs, may = (_BOOK_NEEDS, _BOOK_MAY) if kind == BOOK else (_TRADE_NEEDS, _TRADE_MAY)
    if seen & needs != needs or seen & ~may:
        return UNSURE, i
    if kind == TRADE and not 0.0 <= qty < _UNDEFINED_QTY:
        return UNSURE, i
    ints[row, SYMBOL] = symbol
    ints[row, KIND] = kind
    ints[row, FLAGS] = flags
    ints[row, TS_EVENT] = ts_event
    ints[row, TS_RECV] = ts_recv
    ints[row, N_BID] = n_bid
    ints[row, N_ASK] = n_ask
    ints[row, AGGRESSOR] = aggressor
    prints[row, 0] = px
    prints[row, 1] = qty
    for k in range(n_bid, levels.shape[2]):
        levels[BID_PX, row, k] = np.nan
        levels[BID_SZ, row, k] = np.nan
    for k in range(n_ask, levels.shape[2]):
        levels[ASK_PX, row, k] = np.nan
        levels[ASK_SZ, row, k] = np.nan
    return DONE, i + 1


@uncounted_kernel
def scan(  # noqa: PLR0912  # one way in for each thing the pass stops for
    buf: Bytes,
    start: Int,
    stop: Int,
    max_bytes: int,
    unit: int,
    i_record: int,
    row: int,
    n_local: int,
    ints: Int,
    levels: Float,
    prints: Float,
    table: Table,
    unsure: npt.NDArray[np.bool_],
) -> tuple[int, int, int, int, int]:
    """Scan records from `i_record` on; return (status, record, rows, symbols of the batch, position)."""
    capacity = ints.shape[0]
    slots, text, lengths, local, order = table
    for record in range(i_record, start.shape[0]):
        first_row = row
        i = _blank(buf, start[record])
        array = buf[i] == 91
        if array:
            i = _blank(buf, i + 1)
        status = UNSURE
        if stop[record] - start[record] <= max_bytes:
            while True:
                if row >= capacity:
                    return MORE_ROWS, record, first_row, n_local, i
                status, i = _object(buf, i, unit, row, ints, levels, prints, slots, text, lengths)
                if status != DONE:
                    break
                ints[row, RECORD] = record
                row += 1
                i = _blank(buf, i)
                if not array or buf[i] != 44:
                    break
                i = _blank(buf, i + 1)
            if status == DONE and array:
                status = DONE if buf[i] == 93 else UNSURE
                i = _blank(buf, i + 1)
            if status in (NEW_SYMBOL, MORE_LEVELS):
                return status, record, first_row, n_local, i
            if status == DONE and i != stop[record]:
                status = UNSURE
        if status != DONE:
            unsure[record] = True
            row = first_row
            continue
        # Only now do the record's symbols belong to the batch.
        for r in range(first_row, row):
            number = ints[r, SYMBOL]
            if local[number] < 0:
                local[number] = n_local
                order[n_local] = number
                n_local += 1
            ints[r, SYMBOL] = local[number]
    return DONE, start.shape[0] - 1, row, n_local, 0
