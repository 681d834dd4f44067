"""Which books are usable: the checks of one order book, in a fixed order.

A row of a `TickBatch` is what a venue sent.  This module decides whether it is a usable book, and gives every row that
is not exactly one reason:
the first that applies in the order of `Reject`.  The checks of time
(``future``, ``clock_back``) come first and then those of publisher and instrument; they are made where a symbol's
state is known, in `impactd.core.books.kernel`.  Those of content are made here.

Rules
-----
- The book of a symbol is of its first publisher.  Once that one has sent no book for `books.max_silence_s`, the next
  publisher's takes its place.
- It is of one instrument, where rows name its id.  Another id takes its place on a later day (UTC), as Databento's
  ids change, or once the one before has sent no book for an interval, as at a roll.  Two that alternate are two books.
- A level of size zero is no level: its price is not checked, and neither the
  order of its side nor the walk counts it.
- A side without levels is empty.  A book with an empty side is valid: it
  ends the book before it, and nothing has a mid while it prevails.
- Bids fall strictly and asks rise strictly from the best price.
- A locked book (best bid = best ask) is usable unless the settings forbid
  it: its half-spread is 0.
- Sentinels are what feeds send for "undefined": INT64_MAX and INT64_MIN,
  whole or scaled by 1e-9, 9,999,999,999 and, of sizes, UINT32_MAX.  A price
  is one from the smallest of them upward.  A size has to be one of these
  values exactly, or beyond int64: a level of twenty billion is a real size
  where coins cost a millionth of a dollar.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import inner_kernel, kernel, uncounted_kernel
from impactd.core.base.limits import LARGEST_PX, SMALLEST_PX, SMALLEST_SIZE
from impactd.core.base.quick import quick_dataclass
from impactd.core.base.topics import Side
from impactd.core.inputs.ticks import MID_EVENT, UNDECODABLE_BOOK, Float


class Reject(StrEnum):
    """Why a row was rejected; reasons of content are checked in this order."""

    FUTURE = "future"
    CLOCK_BACK = "clock_back"
    MID_EVENT = "mid_event"
    UNDECODABLE = "undecodable"
    TOO_DEEP = "too_deep"
    NOT_FINITE = "not_finite"
    SENTINEL = "sentinel"
    PRICE = "price"
    SIZE = "size"
    UNSORTED = "unsorted"
    CROSSED = "crossed"
    LOCKED = "locked"
    HALTED = "halted"
    NO_VENUE = "no_venue"
    PUBLISHER = "publisher"
    INSTRUMENT = "instrument"


#: Why a tick is rejected; such rows are counted by symbol and minute and are not dead letters.
MEANINGS: Final = {
    Reject.FUTURE: "`ts_event` is ahead of the record's timestamp by more than `books.max_clock_skew_s`",
    Reject.CLOCK_BACK: "`ts_event` is before that of an earlier row",
    Reject.MID_EVENT: "a book in the middle of a venue event; trades there count",
    Reject.UNDECODABLE: "the book's fields cannot be read",
    Reject.TOO_DEEP: "more levels than `books.max_levels`",
    Reject.NOT_FINITE: "a price or size that is not finite",
    Reject.SENTINEL: "a price or size that means 'undefined'",
    Reject.PRICE: "a price at or below 0, unless the instrument has `negative_px`, or below 1e-12",
    Reject.SIZE: "a size below 0, or above it and below 1e-9",
    Reject.UNSORTED: "levels out of order",
    Reject.CROSSED: "the best bid is above the best ask",
    Reject.HALTED: "a book of a symbol that is halted",
    Reject.NO_VENUE: "a book without `venue` of a symbol whose other books name one",
    Reject.PUBLISHER: "a row of another publisher than the symbol's book, which is of one",
    Reject.INSTRUMENT: "a row of another instrument id than the symbol's book, which is of one",
    Reject.LOCKED: "the best bid equals the best ask, and `books.allow_locked` is off",
}


def most_rejected(counts: Mapping[str, int]) -> tuple[int, str]:
    """Return how many rows the most frequent reason rejected, and the reason with its meaning; `counts` by reason."""
    reason, n = max(counts.items(), key=lambda item: item[1])
    return n, f"{reason}: {MEANINGS[Reject(reason)]}"


REASONS: Final = tuple(Reject)
N_REASONS: Final = len(REASONS)

#: `check_book`'s answer for a usable book.
USABLE: Final = -1

# Kernels know the reasons by their place in `REASONS`.
FUTURE: Final = REASONS.index(Reject.FUTURE)
CLOCK_BACK: Final = REASONS.index(Reject.CLOCK_BACK)
_MID_EVENT: Final = REASONS.index(Reject.MID_EVENT)
_UNDECODABLE: Final = REASONS.index(Reject.UNDECODABLE)
_TOO_DEEP: Final = REASONS.index(Reject.TOO_DEEP)
_NOT_FINITE: Final = REASONS.index(Reject.NOT_FINITE)
_SENTINEL: Final = REASONS.index(Reject.SENTINEL)
_PRICE: Final = REASONS.index(Reject.PRICE)
_SIZE: Final = REASONS.index(Reject.SIZE)
_UNSORTED: Final = REASONS.index(Reject.UNSORTED)
_CROSSED: Final = REASONS.index(Reject.CROSSED)
_LOCKED: Final = REASONS.index(Reject.LOCKED)
HALTED: Final = REASONS.index(Reject.HALTED)
NO_VENUE: Final = REASONS.index(Reject.NO_VENUE)
PUBLISHER: Final = REASONS.index(Reject.PUBLISHER)
INSTRUMENT: Final = REASONS.index(Reject.INSTRUMENT)

_INT64_MAX: Final = 9_223_372_036_854_775_807.0
#: INT64_MAX and UINT32_MAX as sizes, whole or in units of 1e-9 and 1e-8.
_SIZE_SENTINELS: Final = (4_294_967_295.0, 9_999_999_999.0, 9_223_372_036.854_775_807, 92_233_720_368.547_758_07)
_SMALLEST_SIZE_SENTINEL: Final = _SIZE_SENTINELS[0]


@quick_dataclass(frozen=True, slots=True, eq=False)
class Book:
    """A two-sided book that prevails."""

    #: Since when, ns.
    ts_event: int
    #: Shape (n_bid,). Bids best first, all of positive size.
    bid_px: Float
    bid_sz: Float
    #: Shape (n_ask,). Asks best first, all of positive size.
    ask_px: Float
    ask_sz: Float

    @property
    def mid(self) -> float:
        """Half-way between the best prices."""
        return 0.5 * float(self.bid_px[0] + self.ask_px[0])

    @property
    def half_spread(self) -> float:
        """Half the difference of the best prices, never negative."""
        return 0.5 * float(self.ask_px[0] - self.bid_px[0])

    def offers(self, side: Side) -> tuple[Float, Float]:
        """Return prices and sizes of the levels that an order of `side` takes, best first."""
        return (self.ask_px, self.ask_sz) if side is Side.BUY else (self.bid_px, self.bid_sz)


@uncounted_kernel
def _value_faults(px: float, sz: float, least_px: float) -> int:
    """Return the faults of one price and size as a bit field by reason."""
    if not (np.isfinite(px) and np.isfinite(sz)):
        return 1 << _NOT_FINITE
    size = abs(sz)
    if abs(px) >= LARGEST_PX or size >= _INT64_MAX or size in _SIZE_SENTINELS:
        return 1 << _SENTINEL
    faults = 0
    if px < least_px:
        faults |= 1 << _PRICE
    if sz < 0.0 or 0.0 < sz < SMALLEST_SIZE:
        faults |= 1 << _SIZE
    return faults


@inner_kernel
def _side_faults(px: Float, sz: Float, i: int, n: int, sign: float, least_px: float) -> tuple[int, float, int]:
    """Return faults of one side of book `i`, its best price and its number of levels.

    `sign` is +1 for asks (prices rise from the best) and -1 for bids.
    """
    faults = 0
    count = 0
    best = np.nan
    last = np.nan
    for j in range(n):
        level_px = px[i, j]
        level_sz = sz[i, j]
        if level_sz == 0.0:
            continue
        if not (least_px <= level_px < LARGEST_PX and SMALLEST_SIZE <= level_sz < _SMALLEST_SIZE_SENTINEL):
            faults |= _value_faults(level_px, level_sz, least_px)
        if count == 0:
            best = level_px
        elif not sign * (level_px - last) > 0.0:
            faults |= 1 << _UNSORTED
        last = level_px
        count += 1
    return faults, best, count


@uncounted_kernel
def _first(faults: int) -> int:
    """Return the reason that comes first in a bit field, or `USABLE`."""
    for reason in range(N_REASONS):
        if (faults >> reason) & 1:
            return reason
    return USABLE


@uncounted_kernel
def check_trade(px: float, qty: float, least_px: float) -> int:
    """Return the reason to reject a trade, or `USABLE`."""
    reason: int = _first(_value_faults(px, qty, least_px))
    return reason


@inner_kernel
def check_book(
    bid_px: Float,
    bid_sz: Float,
    ask_px: Float,
    ask_sz: Float,
    i: int,
    n_bid: int,
    n_ask: int,
    flags: int,
    max_levels: int,
    allow_locked: bool,  # noqa: FBT001  (numba has no keyword-only arguments)
    least_px: float,
) -> tuple[int, int, int]:
    """Check one decoded book.

    Parameters
    ----------
    bid_px, bid_sz, ask_px, ask_sz : ndarray of float64, shape (n, n_levels)
        Levels best first; those beyond `n_bid` and `n_ask` are not read.
    i : int
        Which of the `n` books.  (Kernels here take the whole array and a row:
        a view of the row costs more than checking it.)
    n_bid, n_ask : int
        Levels in use.
    flags : int
        Bit field of `impactd.core.inputs.ticks`.
    max_levels : int
        A side with more levels than this is rejected unseen.
    least_px : float
        Smallest price that is valid: `SMALLEST_PX`, or `ANY_PX`.

    Returns
    -------
    reason : int
        Index into `REASONS`, or `USABLE`.
    bids, asks : int
        Levels of non-zero size; 0 unless usable.
    """
    if flags & MID_EVENT:
        return _MID_EVENT, 0, 0
    if flags & UNDECODABLE_BOOK:
        return _UNDECODABLE, 0, 0
    if n_bid > max_levels or n_ask > max_levels:
        return _TOO_DEEP, 0, 0
    bid_faults, bid, bids = _side_faults(bid_px, bid_sz, i, n_bid, -1.0, least_px)
    ask_faults, ask, asks = _side_faults(ask_px, ask_sz, i, n_ask, 1.0, least_px)
    faults = bid_faults | ask_faults
    if faults == 0 and bids > 0 and asks > 0:
        if bid > ask:
            faults = 1 << _CROSSED
        elif bid == ask and not allow_locked:
            faults = 1 << _LOCKED
    if faults:
        return _first(faults), 0, 0
    return USABLE, bids, asks


@inner_kernel
def compact_side(px: Float, sz: Float, i: int, n: int, levels: Float, s: int, row: int) -> int:
    """Copy the levels of positive size of one side of book `i`; return how many.

    Parameters
    ----------
    px, sz : ndarray of float64, shape (n_books, n_levels)
    i, n : int
        Which book, and how many of its levels to look at.
    levels : ndarray of float64, shape (n_symbols, 4, n_levels)
        Receives the prices in ``levels[s, row]`` and the sizes in ``levels[s, row + 1]``.
    """
    count = 0
    for j in range(n):
        if sz[i, j] > 0.0:
            levels[s, row, count] = px[i, j]
            levels[s, row + 1, count] = sz[i, j]
            count += 1
    return count


@uncounted_kernel
def _levels_in_use(px: Float, sz: Float, i: int) -> int:
    """Return the number of levels before the padding at the end of a side of book `i`."""
    n: int = px.shape[1]
    while n > 0 and np.isnan(px[i, n - 1]) and (np.isnan(sz[i, n - 1]) or sz[i, n - 1] == 0.0):
        n -= 1
    return n


@kernel
def check_books(
    bid_px: Float,
    bid_sz: Float,
    ask_px: Float,
    ask_sz: Float,
    allow_locked: bool,  # noqa: FBT001  (numba has no keyword-only arguments)
    least_px: float = SMALLEST_PX,
) -> npt.NDArray[np.int8]:
    """Check the content of many books at once.

    Parameters
    ----------
    bid_px, bid_sz, ask_px, ask_sz : ndarray of float64, shape (n, n_levels)
        Levels best first; levels that a book does not have are NaN in price
        and NaN or 0 in size.
    least_px : float, optional
        As `check_book` takes it.

    Returns
    -------
    ndarray of int8, shape (n,)
        Index into `REASONS`, or `USABLE`.
    """
    n, width = bid_px.shape
    reasons = np.empty(n, np.int8)
    for i in range(n):
        n_bid = _levels_in_use(bid_px, bid_sz, i)
        n_ask = _levels_in_use(ask_px, ask_sz, i)
        reasons[i], _, _ = check_book(bid_px, bid_sz, ask_px, ask_sz, i, n_bid, n_ask, 0, width, allow_locked, least_px)
    return reasons
