"""Compiled kernels: one row into the accumulators of its symbol.

`run_rows` takes rows in order and stops before one that has to wait until a
minute has closed; `impactd.core.books.clock` states the rules.  Books are walked
lazily: a book is settled, that is walked and weighted with the time for which it
prevailed, when the next one replaces it or when its minute closes.  That
happens at the same rows however they are batched, so sums are the same to
the last bit.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import inner_kernel, uncounted_kernel
from impactd.core.base.limits import ANY_PX, LAST_NS, SMALLEST_PX
from impactd.core.base.session import DAY_NS
from impactd.core.books.checks import (
    CLOCK_BACK,
    FUTURE,
    HALTED,
    INSTRUMENT,
    NO_VENUE,
    PUBLISHER,
    USABLE,
    check_book,
    check_trade,
    compact_side,
)
from impactd.core.books.merge import WHOLE, Family, remerge, settle_whole
from impactd.core.books.settling import settle
from impactd.core.books.store import NEVER, Store
from impactd.core.books.walk import ASKS, BIDS
from impactd.core.inputs.ticks import AUCTION, BOOK, TRADE, Byte, Float, Int, Int32, TickBatch

#: Why `run_rows` stopped: at the end; before a row that closes its own symbol's minute; before a row at which the
#: partition's clock closes one; before a first two-sided book, which needs a grid of sizes.
END: Final = 0
OWN_CLOCK: Final = 1
PARTITION_CLOCK: Final = 2
NEEDS_GRID: Final = 3

#: What `time_gate` returns besides `OWN_CLOCK` and `PARTITION_CLOCK`.
PASS: Final = 10
LATE: Final = 11
REFUSE_FUTURE: Final = 12
REFUSE_BACK: Final = 13

#: Slots of the partition's own array.
CLOCK: Final = 0
NEXT_DUE: Final = 1
N_KNOWN: Final = 2
N_UNKNOWN_ROWS: Final = 3
N_PARTITION: Final = 4


class Rows(NamedTuple):
    """The columns of a `TickBatch` as the kernels take them; `slot` maps symbol codes to rows of the store."""

    slot: Int
    symbol: Int32
    kind: Byte
    flags: Byte
    ts_event: Int
    ts_record: Int
    bid_px: Float
    bid_sz: Float
    ask_px: Float
    ask_sz: Float
    n_bid: Int32
    n_ask: Int32
    px: Float
    qty: Float
    publisher: Int
    instrument: Int


class Limits(NamedTuple):
    """The settings that rows are judged by, durations in ns."""

    interval_ns: int
    grace_ns: int
    skew_ns: int
    silence_ns: int
    max_levels: int
    max_symbols: int
    allow_locked: bool


_DTYPES: Final = {
    "symbol": np.int32,
    "kind": np.uint8,
    "flags": np.uint8,
    "n_bid": np.int32,
    "n_ask": np.int32,
    "ts_event": np.int64,
    "ts_record": np.int64,
    "publisher": np.int64,
    "instrument": np.int64,
}


def rows_of(batch: TickBatch, slot: Int) -> Rows:
    """Return the columns of a batch in the layout that the kernels are compiled for.

    Raises
    ------
    ValueError
        If the batch breaks the contract of `TickBatch` in a way that would
        have a kernel read beyond an array.
    """
    shape = batch.bid_px.shape
    if any(a.shape != shape for a in (batch.bid_sz, batch.ask_px, batch.ask_sz)):
        raise ValueError("bid_px, bid_sz, ask_px, ask_sz: a batch has four level arrays of one shape")
    if any(len(getattr(batch, name)) != len(batch) for name in Rows._fields if name != "slot"):
        raise ValueError("a batch has columns of one length")
    for name, least, most in (
        ("symbol", 0, len(batch.symbols) - 1),
        ("n_bid", 0, shape[1]),
        ("n_ask", 0, shape[1]),
        ("kind", min(BOOK, TRADE), max(BOOK, TRADE)),
    ):
        column = getattr(batch, name)
        if column.size and (column.min() < least or column.max() > most):
            raise ValueError(f"{name}: a batch of {shape[1]} levels has values from {least} to {most}")
    columns = (
        np.require(getattr(batch, name), _DTYPES.get(name, np.float64), ("C", "W"))
        for name in Rows._fields
        if name != "slot"
    )
    return Rows(slot, *columns)


@inner_kernel
def time_gate(
    symbol: npt.NDArray[np.void],
    s: int,
    partition: Int,
    limits: Limits,
    kind: int,
    ts_event: int,
    ts_record: int,
) -> int:
    """Return how the clocks judge a row; changes nothing."""
    if ts_event > LAST_NS or (ts_event > ts_record and ts_event - ts_record > limits.skew_ns):
        return REFUSE_FUTURE
    row = symbol[s]
    opened = row.minute != NEVER
    if opened and ts_event < row.minute:
        return LATE
    if kind == BOOK and ts_event < row.book_ns:
        return REFUSE_BACK
    if opened and ts_event >= row.minute + limits.interval_ns:
        return OWN_CLOCK
    if max(partition[CLOCK], ts_event) >= partition[NEXT_DUE]:
        return PARTITION_CLOCK
    return PASS


@uncounted_kernel
def floor_minute(ts: int, interval_ns: int) -> int:
    """Return the start of the interval that holds `ts`."""
    return ts - ts % interval_ns


@inner_kernel
def _open(symbol: npt.NDArray[np.void], s: int, partition: Int, limits: Limits, ts_event: int) -> None:
    """Open the minute of a symbol that has none."""
    row = symbol[s]
    if row.minute == NEVER:
        row.minute = floor_minute(ts_event, limits.interval_ns)
        row.settled_ns = row.minute
        partition[NEXT_DUE] = min(partition[NEXT_DUE], row.minute + limits.interval_ns + limits.grace_ns)


@inner_kernel
def _advance(symbol: npt.NDArray[np.void], s: int, partition: Int, limits: Limits, ts_event: int) -> None:
    """Move the clocks to a row that passed the gate, opening the symbol's minute if it has none."""
    _open(symbol, s, partition, limits, ts_event)
    row = symbol[s]
    row.last_ns = max(row.last_ns, ts_event)
    partition[CLOCK] = max(partition[CLOCK], ts_event)


@inner_kernel
def _trade(symbol: npt.NDArray[np.void], s: int, flags: int, px: float, qty: float) -> None:
    """Count a trade, in the auction's volume or the continuous one."""
    row = symbol[s]
    row.traded = 1
    row.n_trades += 1
    if flags & AUCTION:
        row.volume_auction += qty
    else:
        row.volume_continuous += qty
        row.turnover_continuous += px * qty


@inner_kernel
def _time_in_whole(symbol: npt.NDArray[np.void], s: int, ts_event: int) -> int:
    """Return when a venue's row counts in its whole `s`, ns: no earlier than what the whole has seen of others."""
    row = symbol[s]
    at: int = max(ts_event, row.last_ns, row.minute)
    return at


@inner_kernel
def whole_waits(symbol: npt.NDArray[np.void], s: int, ts_event: int, limits: Limits) -> bool:
    """Return whether the open minute of whole `s` must close before a venue's row."""
    minute = symbol[s].minute
    return bool(minute != NEVER and _time_in_whole(symbol, s, ts_event) >= minute + limits.interval_ns)


@uncounted_kernel
def run_rows(  # noqa: PLR0912, PLR0915  (one loop: parts that took the tuples of arrays would cost more than they do)
    rows: Rows, start: int, stop: int, store: Store, family: Family, partition: Int, limits: Limits, scratch: Float
) -> tuple[int, int]:
    """Apply rows `start` to `stop` - 1, or up to one that has to wait.

    A row that names a venue is applied to the symbol at that venue, and then to the whole.

    Returns
    -------
    row : int
        The first row that was not applied, or `stop`.
    why : int
        `END`, `OWN_CLOCK`, `PARTITION_CLOCK` or `NEEDS_GRID`.
    """
    # Arrays are taken out of their tuples once: each access in the loop would count references, atomically.
    (
        slot,
        code,
        kinds,
        flags,
        ts_events,
        ts_records,
        bid_px,
        bid_sz,
        ask_px,
        ask_sz,
        n_bids,
        n_asks,
        px,
        qty,
        who,
        what,
    ) = rows
    symbol, rejected, touched, levels, sizes, slippage_ns, held_ns, bound_ns = store
    wholes, stand_ns = family.whole, family.stand_ns
    for i in range(start, stop):
        s = slot[code[i]]
        if s < 0 or (symbol[s].known == 0 and partition[N_KNOWN] >= limits.max_symbols):
            partition[N_UNKNOWN_ROWS] += 1
            continue
        kind = kinds[i]
        ts_event = ts_events[i]
        gate = time_gate(symbol, s, partition, limits, kind, ts_event, ts_records[i])
        if gate in (OWN_CLOCK, PARTITION_CLOCK):
            return i, gate
        whole = wholes[s]
        if whole >= 0 and gate == PASS and whole_waits(symbol, whole, ts_event, limits):
            return i, OWN_CLOCK
        row = symbol[s]
        reason = USABLE
        least_px = ANY_PX if row.negative_px else SMALLEST_PX
        if gate == REFUSE_FUTURE:
            reason = FUTURE
        elif gate == REFUSE_BACK:
            reason = CLOCK_BACK
        elif gate == PASS and who[i] != 0 and who[i] != row.publisher:
            if row.publisher == 0 or ts_event > row.book_ns + limits.silence_ns:
                if row.publisher != 0:
                    row.instrument = what[i]
                row.publisher = who[i]
            else:
                reason = PUBLISHER
                row.other_publisher = who[i]
        if gate == PASS and reason == USABLE and what[i] != 0 and what[i] != row.instrument:
            is_later_day = ts_event // DAY_NS > row.book_ns // DAY_NS
            if row.instrument != 0 and not is_later_day:
                row.other_instrument = row.instrument
                if ts_event < row.book_ns + limits.interval_ns:
                    row.other_instrument = what[i]
                    reason = INSTRUMENT
            if reason == USABLE:
                row.instrument = what[i]
        read = gate == PASS and reason == USABLE
        if read and kind == BOOK:
            n_bid, n_ask, flag = n_bids[i], n_asks[i], flags[i]
            reason, bids, asks = check_book(
                bid_px, bid_sz, ask_px, ask_sz, i, n_bid, n_ask, flag, limits.max_levels, limits.allow_locked, least_px
            )
            if reason == USABLE and row.halt_ns <= ts_event < row.resume_ns:
                reason = HALTED
            elif reason == USABLE and whole == WHOLE:
                reason = NO_VENUE
            elif bids > 0 and asks > 0 and row.n_sizes == 0:
                return i, NEEDS_GRID
        elif read:
            reason = check_trade(px[i], qty[i], least_px)
        touched[s] = 1
        if row.known == 0:
            row.known = 1
            partition[N_KNOWN] += 1
        if gate == PASS:
            _advance(symbol, s, partition, limits, ts_event)
        if gate == LATE:
            row.n_late += 1
        elif reason != USABLE:
            rejected[s, 0, reason] += 1
        elif kind == BOOK:
            if whole >= 0:  # by the books as they are before this one
                at = _time_in_whole(symbol, whole, ts_event)
                _open(symbol, whole, partition, limits, at)
                settle_whole(symbol, levels, sizes, slippage_ns, held_ns, bound_ns, family, whole, at, scratch)
            settle(symbol, levels, sizes, slippage_ns, held_ns, bound_ns, s, ts_event, stand_ns[s], scratch)
            row.n_bid = compact_side(bid_px, bid_sz, i, n_bids[i], levels, s, BIDS)
            row.n_ask = compact_side(ask_px, ask_sz, i, n_asks[i], levels, s, ASKS)
            row.book_ns = ts_event
            row.n_books += row.n_bid > 0 and row.n_ask > 0
        else:
            _trade(symbol, s, flags[i], px[i], qty[i])
        if whole < 0 or gate != PASS:
            continue
        at = _time_in_whole(symbol, whole, ts_event)
        touched[whole] = 1
        if symbol[whole].known == 0:
            symbol[whole].known = 1
            partition[N_KNOWN] += 1
        _advance(symbol, whole, partition, limits, max(ts_event, symbol[whole].last_ns))
        if reason != USABLE:
            continue
        if kind == BOOK:
            remerge(symbol, levels, family, whole, at)
            symbol[whole].n_books += symbol[whole].n_bid > 0 and symbol[whole].n_ask > 0
        else:
            _trade(symbol, whole, flags[i], px[i], qty[i])
    return stop, END
