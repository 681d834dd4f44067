r"""Statistics of one closed minute of one symbol.

Everything is weighted by time, never by the number of ticks: with
:math:`\tau_i` the time for which two-sided book `i` prevailed in the minute,

- ``covered_ns`` is :math:`\sum \tau_i`;
- ``mid``, ``half_spread`` and ``depth`` are averages over it;
- ``slippage[k]`` averages over the books that held ``sizes[k]`` only, and
  ``coverage[k]`` is their share of the covered time;
- ``lower_bound[k]`` averages over all of it, with the quantity beyond the depth
  priced at the last visible level.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from impactd.core.base.publisher import NO_INSTRUMENT, NO_PUBLISHER
from impactd.core.base.quick import quick_dataclass
from impactd.core.base.settings import SECOND_NS
from impactd.core.base.topics import Side
from impactd.core.base.venue import venue_of, whole_of
from impactd.core.books.checks import REASONS
from impactd.core.books.store import SYMBOL, Store
from impactd.core.books.walk import BUY, SELL
from impactd.core.inputs.ticks import Float
from impactd.core.outputs.messages import Estimate

_FIELDS: Final = SYMBOL.names or ()


@quick_dataclass(frozen=True, slots=True, eq=False)
class MinuteStats:
    """One closed minute of one symbol. The first axis of arrays is the side: buy, sell."""

    symbol: str
    #: Start of the interval, ns.
    minute: int
    #: Accepted two-sided books whose ts_event lies in the minute.
    n_books: int
    #: Rejected rows; the sum of `rejected`.
    n_rejected: int
    #: Count by reason, without zeros, in the order of `impactd.core.books.checks.Reject`.
    rejected: dict[str, int]
    #: Rows that came after the minute they belong to had closed.
    n_late: int
    n_trades: int
    #: Time for which a two-sided book prevailed, ns.
    covered_ns: int
    #: Price; None where nothing was covered.
    mid: float | None
    half_spread: float | None
    #: The mid at the minute's end; None without a prevailing book.
    mid_close: float | None
    #: Shares; None if the symbol has never had a trade.
    volume_continuous: float | None
    volume_auction: float | None
    #: Price times shares of the continuous volume, currency.
    turnover_continuous: float
    #: Shape (n_sizes,). Shares, ascending; empty before the symbol's first two-sided book.
    sizes: Float
    #: Shape (2, n_sizes). Price per share over mid; NaN where no book held the size.
    slippage: Float
    #: Shape (2, n_sizes). Share of the covered time, 0..1.
    coverage: Float
    #: Shape (2, n_sizes). Price per share over mid; NaN where nothing was covered.
    lower_bound: Float
    #: Shape (2,). Visible depth, shares: the asks for buy, the bids for sell; NaN where nothing was covered.
    depth: Float
    halted: bool = False
    #: Whose the book is, and the last one whose rows were rejected; see `impactd.core.base.publisher`.
    publisher: int = NO_PUBLISHER
    other_publisher: int = NO_PUBLISHER
    #: The same of instruments; without rejected rows `other_instrument` is the one whose book this one replaced.
    instrument: int = NO_INSTRUMENT
    other_instrument: int = NO_INSTRUMENT

    @property
    def covered_s(self) -> float:
        """Covered time in seconds."""
        return self.covered_ns / SECOND_NS

    @property
    def vwap(self) -> float | None:
        """VWAP of the continuous volume; None without any."""
        if not self.volume_continuous or math.isnan(self.turnover_continuous):
            return None
        return self.turnover_continuous / self.volume_continuous

    def estimate(self, side: Side, interval_s: int) -> Estimate:
        """Return the message of one side.

        Parameters
        ----------
        interval_s : int
            Length of the interval, seconds.
        """
        row = BUY if side is Side.BUY else SELL
        return Estimate(
            symbol=whole_of(self.symbol),
            side=side,
            minute=self.minute,
            interval_s=interval_s,
            n_books=self.n_books,
            n_rejected=self.n_rejected,
            n_late=self.n_late,
            covered_s=self.covered_s,
            mid=self.mid,
            half_spread=self.half_spread,
            volume_continuous=self.volume_continuous,
            volume_auction=self.volume_auction,
            sizes=tuple(self.sizes.tolist()),
            slippage=_or_none(self.slippage[row]),
            coverage=tuple(self.coverage[row].tolist()),
            lower_bound=_or_none(self.lower_bound[row]),
            venue=venue_of(self.symbol),
        )


def minute_stats(store: Store, s: int, symbol: str, end: int, *, prevails: bool) -> MinuteStats:
    """Return the sums of a settled minute as averages.

    Parameters
    ----------
    s : int
        Row of the symbol.
    end : int
        The minute's end, ns.
    prevails : bool
        Whether a two-sided book prevails at the minute's end.
    """
    # At once: each field of a record that is read by itself takes as long as a third of them together.
    row: dict[str, Any] = dict(zip(_FIELDS, store.symbol[s].item(), strict=True))
    covered, n_sizes = row["covered_ns"], row["n_sizes"]
    sizes = store.sizes[s, :n_sizes].copy()
    held = store.held_ns[s, :, :n_sizes]
    with np.errstate(invalid="ignore"):
        slippage = store.slippage_ns[s, :, :n_sizes] / held
        bound = store.bound_ns[s, :, :n_sizes] / np.float64(covered)
        depth = np.array([row["ask_depth_ns"], row["bid_depth_ns"]]) / np.float64(covered)
    rejected = by_reason(store.rejected[s, 0].tolist())
    traded = bool(row["traded"])
    return MinuteStats(
        symbol=symbol,
        minute=row["minute"],
        n_books=row["n_books"],
        n_rejected=sum(rejected.values()),
        rejected=rejected,
        n_late=row["n_late"],
        n_trades=row["n_trades"],
        covered_ns=covered,
        mid=row["mid_ns"] / covered if covered else None,
        half_spread=row["half_spread_ns"] / covered if covered else None,
        mid_close=0.5 * float(store.levels[s, 0, 0] + store.levels[s, 2, 0]) if prevails else None,
        volume_continuous=row["volume_continuous"] if traded else None,
        volume_auction=row["volume_auction"] if traded else None,
        turnover_continuous=row["turnover_continuous"],
        sizes=sizes,
        slippage=slippage,
        coverage=held / covered if covered else np.zeros(held.shape),
        lower_bound=bound,
        depth=depth,
        halted=bool(row["halt_ns"] < end and row["resume_ns"] > row["minute"]),
        publisher=row["publisher"],
        other_publisher=row["other_publisher"],
        instrument=row["instrument"],
        other_instrument=row["other_instrument"],
    )


def by_reason(counts: list[int]) -> dict[str, int]:
    """Return counts in the order of `REASONS` as a dict of those that are not zero."""
    return {reason.value: n for reason, n in zip(REASONS, counts, strict=True) if n}


def _or_none(values: Float) -> tuple[float | None, ...]:
    """Return `values` with None for NaN."""
    return tuple([None if v != v else v for v in values.tolist()])  # noqa: PLR0124  (only NaN differs from itself)
