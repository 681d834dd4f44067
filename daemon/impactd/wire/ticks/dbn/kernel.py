"""The compiled reader of DBN records: from a stream to the arrays of a `TickBatch`.

Every record is a multiple of eight bytes, so a stream is read as 64-bit words.
The first word holds the length in words of four bytes, the record type, the
publisher and the instrument id; what follows depends on the type.

A batch takes three passes: `frame` finds the records, `classify` decides what
each becomes, and `fill` writes the rows straight into their final arrays.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import uncounted_kernel
from impactd.core.inputs.ticks import AUCTION, BOOK, MID_EVENT, TRADE, Byte, Int, Int32
from impactd.wire.rows import RowColumns
from impactd.wire.ticks.databento.kernel import UNDEFINED_PX
from impactd.wire.times import MAX_NS, MIN_NS

#: Record type of a symbol mapping, which is read elsewhere.
SYMBOL_MAPPING: Final = 22

#: Layout of a record type: none that is read, a trade alone, a book after its event, a book before its trade, a
#: sampled book.
OTHER: Final = 0
TRADE_ONLY: Final = 1
BOOK_AFTER: Final = 2
BOOK_BEFORE: Final = 3
BOOK_SAMPLE: Final = 4
#: A single order, which `impactd.wire.ticks.dbn.orders` follows in files.
MBO: Final = 5

#: Why framing stops: at the end of the data, in the middle of a record, or at a length that no record has.
WHOLE: Final = 0
CUT: Final = 1
BAD_LENGTH: Final = 2

#: Why a record gives no rows although its type is read.
GOOD, SHORT, NO_SYMBOL, SEVERAL, ACTION, SIDE, TIME, NO_PRICE, NO_SIZE, PUBLISHER, VENUE, INSTRUMENT = range(12)
#: In place of a symbol's publisher: each of them is a venue of its own.
ANY_PUBLISHER: Final = -2

_UNDEF_PRICE: Final = 2**63 - 1
_UNDEF_SIZE: Final = 2**32 - 1
_FIXED_POINT: Final = 10**9
_EXACT: Final = 2**53
_HEAD_BYTES_IN_WORDS: Final = 4
_F_LAST: Final = 128
_A, _B, _N, _R, _T = (ord(c) for c in "ABNRT")
_IS_ACTION: Final = np.isin(np.arange(256), [ord(c) for c in "ACMRTFN"])


class Symbols(NamedTuple):
    """Which symbol an instrument has when: intervals, sorted by instrument and start."""

    instrument: Int
    """Group of the symbology times 2^32, and the instrument id."""
    start: Int
    end: Int
    """Behind the interval, ns."""
    code: Int
    """Number of the symbol."""


@uncounted_kernel
def frame(words: Int, first: int, end: int, start: Int, n: int) -> tuple[int, int, int]:
    """Find where the records in ``words[first:end]`` begin.

    Parameters
    ----------
    start : ndarray of int64
        Filled from `n` on with the word at which each record begins.

    Returns
    -------
    n, next_word, status : int
    """
    at = first
    while at < end:
        length = words[at] & 0xFF
        if length < _HEAD_BYTES_IN_WORDS or length % 2:
            return n, at, BAD_LENGTH
        if at + length // 2 > end:
            return n, at, CUT
        start[n] = at
        n += 1
        at += length // 2
    return n, at, WHOLE


@uncounted_kernel
def frame_messages(words: Int, ends: Int, start: Int, message: Int, whole: npt.NDArray[np.bool_]) -> int:
    """Find the records of messages that lie one after another; return how many there are.

    Parameters
    ----------
    ends : ndarray of int64, shape (m,)
        Word behind each message.
    start, message : ndarray of int64
        Filled with the first word and the message of each record.
    whole : ndarray of bool, shape (m,)
        Filled; the records of a message that is not whole are left out.
    """
    n, first = 0, 0
    for i in range(ends.shape[0]):
        after, _, status = frame(words, first, ends[i], start, n)
        whole[i] = status == WHOLE
        if whole[i]:
            message[n:after] = i
            n = after
        first = ends[i]
    return n


@uncounted_kernel
def _interval(symbols: Symbols, instrument: int, ts: int) -> int:
    """Return the last interval of an instrument that begins at or before `ts` and is not over, or -1."""
    low, high = 0, symbols.instrument.shape[0]
    while low < high:
        middle = (low + high) // 2
        is_before = symbols.instrument[middle] < instrument or (
            symbols.instrument[middle] == instrument and symbols.start[middle] <= ts
        )
        if is_before:
            low = middle + 1
        else:
            high = middle
    at = low - 1
    if at < 0 or symbols.instrument[at] != instrument or ts >= symbols.end[at]:
        return -1
    return at


@uncounted_kernel
def price(raw: int) -> float:
    """Return a price in 1e-9 units in units of currency; NaN where it is undefined."""
    if raw == _UNDEF_PRICE:
        return np.nan
    if -_EXACT <= raw <= _EXACT:
        return raw / 1e9
    # Too large for float64: the parts are exact, and only their sum is rounded.
    return float(raw // _FIXED_POINT) + (raw % _FIXED_POINT) / 1e9


@uncounted_kernel
def _fault_of_print(words: Int, at: int, what: int) -> int:
    if words[at + 2] == _UNDEF_PRICE:
        return NO_PRICE
    return NO_SIZE if what & 0xFFFFFFFF == _UNDEF_SIZE else GOOD


@uncounted_kernel
def classify(  # noqa: PLR0912, PLR0915  # one decision after another, in the order of the fields
    words: Int,
    start: Int,
    message: Int,
    group: Int,
    default: Int,
    variant: Byte,
    layouts: Byte,
    n_levels: Byte,
    symbols: Symbols,
    owners: Int,
    publishers: Int,
    code: Int,
    fault: Byte,
    n_rows: Int,
    with_orders: bool,  # noqa: FBT001  # a compiled kernel takes no keywords
) -> int:
    """Decide what each record becomes; return how many are of types that are not read.

    Parameters
    ----------
    start, message : ndarray of int64, shape (n,)
        First word and message of each record; in a file every record is a message.
    group, default, variant : ndarray, shape (m,)
        By message: the group of its symbology, the symbol of instruments without one, or -1, and its row in `layouts`.
    layouts, n_levels : ndarray of uint8, shapes (n_variants, 256) and (256,)
        By record type.
    owners, publishers : ndarray of int64, shape (n_symbols,)
        The instrument of a symbol that was given by `default`, and the publisher of a symbol's books; -1 where not
        yet known; `ANY_PUBLISHER` where each is a venue of its own. A file has them for all its records. Without
        `publishers` (length 0) each message has its own.
    code, fault, n_rows : ndarray, shape (n,)
        Filled: the symbol's number, why the record is refused, and its rows (0 for other types).
    with_orders : bool
        Whether single orders are read; their rows are others' to make.
    """
    others = 0
    hit = -1
    is_file = publishers.shape[0] > 0
    last_message = -1
    for i in range(start.shape[0]):
        at = start[i]
        head = words[at]
        rtype = (head >> 8) & 0xFF
        layout = layouts[variant[message[i]], rtype]
        fault[i] = GOOD
        n_rows[i] = 0
        if layout == OTHER or (layout == MBO and not with_orders):
            others += not (is_file and rtype == SYMBOL_MAPPING)
            continue
        if (head & 0xFF) // 2 < 6 + 4 * n_levels[rtype]:
            fault[i] = SHORT
            continue
        instrument = (head >> 32) & 0xFFFFFFFF
        what = words[at + 3]
        ts = words[at + 4] if layout == BOOK_SAMPLE else words[at + 1]
        ts_recv = words[at + 5] if layout == MBO else words[at + 4]
        if not MIN_NS <= ts <= MAX_NS or ts_recv > MAX_NS:
            fault[i] = TIME
            continue
        if ts_recv > 0:
            ts = ts_recv  # the time by which Databento gives symbols
        mine = group[message[i]] << 32 | instrument
        if not (hit >= 0 and symbols.instrument[hit] == mine and symbols.start[hit] <= ts < symbols.end[hit]):
            hit = _interval(symbols, mine, ts)
        if hit >= 0:
            code[i] = symbols.code[hit]
        elif default[message[i]] >= 0:
            code[i] = default[message[i]]
            if owners[code[i]] < 0 or (message[i] != last_message and not is_file):
                owners[code[i]] = instrument
                last_message = message[i]
            elif owners[code[i]] != instrument:
                fault[i] = SEVERAL
                continue
        else:
            fault[i] = NO_SYMBOL
            continue
        if layout != TRADE_ONLY and is_file and publishers[code[i]] != ANY_PUBLISHER:
            publisher = (head >> 16) & 0xFFFF
            if publishers[code[i]] < 0:
                publishers[code[i]] = publisher
            elif publishers[code[i]] != publisher:
                fault[i] = PUBLISHER
                continue
        if layout == MBO:
            continue
        if layout == BOOK_SAMPLE:
            n_rows[i] = 1
            continue
        action, side = (what >> 32) & 0xFF, (what >> 40) & 0xFF
        if not _IS_ACTION[action]:
            fault[i] = ACTION
        elif side not in (_A, _B, _N):
            fault[i] = SIDE
        elif action == _T:
            fault[i] = _fault_of_print(words, at, what)
            n_rows[i] = 1 if layout == TRADE_ONLY else 2
        elif layout != TRADE_ONLY:
            n_rows[i] = 1
        else:
            others += 1
    return others


@uncounted_kernel
def _book(words: Int, at: int, depth: int, row: int, out: RowColumns) -> float:
    """Write the levels of a record; return the sum of their sizes."""
    n_bid, n_ask, total = 0, 0, 0.0
    for level in range(depth):
        word = at + 6 + 4 * level
        sizes = words[word + 2]
        bid, ask = words[word], words[word + 1]
        sz = sizes & 0xFFFFFFFF
        if bid != _UNDEF_PRICE or sz:
            out.bid_px[row, n_bid] = UNDEFINED_PX if bid == _UNDEF_PRICE else price(bid)
            out.bid_sz[row, n_bid] = sz
            total += sz
            n_bid += 1
        sz = (sizes >> 32) & 0xFFFFFFFF
        if ask != _UNDEF_PRICE or sz:
            out.ask_px[row, n_ask] = UNDEFINED_PX if ask == _UNDEF_PRICE else price(ask)
            out.ask_sz[row, n_ask] = sz
            total += sz
            n_ask += 1
    out.n_bid[row] = n_bid
    out.n_ask[row] = n_ask
    return total


@uncounted_kernel
def _blank(row: int, out: RowColumns) -> None:
    """Write NaN behind the levels of a row."""
    width = out.bid_px.shape[1]
    for level in range(out.n_bid[row], width):
        out.bid_px[row, level] = np.nan
        out.bid_sz[row, level] = np.nan
    for level in range(out.n_ask[row], width):
        out.ask_px[row, level] = np.nan
        out.ask_sz[row, level] = np.nan


@uncounted_kernel
def fill(
    words: Int,
    start: Int,
    message: Int,
    variant: Byte,
    layouts: Byte,
    n_levels: Byte,
    code: Int,
    n_rows: Int,
    local: Int32,
    order: Int32,
    out: RowColumns,
) -> int:
    """Write the rows of the records that have some; return how many symbols are in use.

    Parameters
    ----------
    local : ndarray of int32, shape (n_symbols,)
        All -1; filled with each symbol's number within the batch.
    order : ndarray of int32, shape (n_symbols,)
        Filled with the symbols in the order in which the rows name them.
    """
    row, n_local = 0, 0
    for i in range(start.shape[0]):
        if not n_rows[i]:
            continue
        at = start[i]
        rtype = (words[at] >> 8) & 0xFF
        layout = layouts[variant[message[i]], rtype]
        what = words[at + 3]
        ts_recv = max(0, words[at + 4])
        if local[code[i]] < 0:
            local[code[i]] = n_local
            order[n_local] = code[i]
            n_local += 1
        depth = 0.0
        is_print = layout == TRADE_ONLY or n_rows[i] == 2
        mid_event = layout == BOOK_AFTER and not (what >> 48) & _F_LAST and (what >> 32) & 0xFF != _R
        # A print precedes the book that it left, and follows the one that it met.
        book_row = row + (1 if is_print and layout == BOOK_AFTER else 0)
        trade_row = row + (1 if layout == BOOK_BEFORE else 0)
        for k in range(row, row + n_rows[i]):
            out.record[k] = message[i]
            out.symbol[k] = local[code[i]]
            out.ts_event[k] = ts_recv if layout == BOOK_SAMPLE else words[at + 1]
            out.ts_recv[k] = ts_recv
            out.px[k] = np.nan
            out.qty[k] = np.nan
            out.aggressor[k] = 0
            out.publisher[k] = 0 if layout == TRADE_ONLY else (words[at] >> 16) & 0xFFFF
            out.instrument[k] = 0 if layout == TRADE_ONLY else (words[at] >> 32) & 0xFFFFFFFF
        if layout != TRADE_ONLY:
            is_clear = layout != BOOK_SAMPLE and (what >> 32) & 0xFF == _R
            depth = _book(words, at, 0 if is_clear else n_levels[rtype], book_row, out)
            out.kind[book_row] = BOOK
            out.flags[book_row] = MID_EVENT if mid_event else 0
            _blank(book_row, out)
        if is_print:
            side = (what >> 40) & 0xFF
            qty = float(what & 0xFFFFFFFF)
            out.kind[trade_row] = TRADE
            out.flags[trade_row] = AUCTION if mid_event and side == _N and qty > depth else 0
            out.px[trade_row] = price(words[at + 2])
            out.qty[trade_row] = qty
            out.aggressor[trade_row] = 1 if side == _B else (-1 if side == _A else 0)
            out.n_bid[trade_row] = 0
            out.n_ask[trade_row] = 0
            _blank(trade_row, out)
        row += n_rows[i]
    return n_local
