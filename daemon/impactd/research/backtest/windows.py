"""The orders of a backtest: windows, sizes and both sides.

Windows are local times of the session's zone.  Four kinds:

- ``windows``: of one horizon, disjoint unless `every_min` is shorter, within [from, to);
- ``range``: the whole [from, to) as one;
- ``session``: from the open to the close;
- each again as ``..._trimmed``, without what lies in the first thirty and
  the last ten minutes of the session.

Sizes are in shares, or a share of the continuous volume that traded in the
session, spread evenly over its open intervals (a break is none); without either, shares of the visible depth for
each interval.  They are part of the question, so they may depend on the day; the policies may not.

One rule caps every policy, hindsight included: an interval trades at most
`depth_cap` times the depth that the side showed on average in the half hour
before the order's start (at the open: that its first book shows), and never
less than twice what TWAP needs, so that there is something to choose.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import MINUTE_NS, SECOND_NS
from impactd.core.base.topics import SIDES, Side
from impactd.core.books.walk import BUY, SELL
from impactd.research.backtest.days import Day
from impactd.research.backtest.live import ParentOrder

#: Shares of a session's continuous volume, where a person gives no size.
PARTICIPATION: Final = (0.05, 0.1)
#: What each interval trades on average, as a share of the visible depth, where no size is given otherwise.
DEPTH_SHARES: Final = (0.01, 0.04)

#: Kinds of window, the one that figures at the top are of first.
KINDS: Final = ("windows", "range", "session")

FIRST_MIN: Final = 30
LAST_MIN: Final = 10
TRIMMED: Final = "_trimmed"

#: Depth before an order's start is averaged over this.
_DEPTH_MIN: Final = 30


@dataclass(frozen=True, slots=True)
class Question:
    """What is tried."""

    #: Shares; empty for none.
    qty: tuple[float, ...] = ()
    #: Shares of the session's continuous volume; empty for none.  A day without trades has `depth_shares` instead.
    participation: tuple[float, ...] = ()
    #: Shares of the visible depth, for an interval; where no size is given otherwise.
    depth_shares: tuple[float, ...] = DEPTH_SHARES
    #: Horizon of the only windows; None for hours, the range and the session.
    horizon_min: int | None = None
    #: From one start to the next; None for the horizon: disjoint windows.
    every_min: int | None = None
    #: Local seconds after midnight.
    from_s: int = 36_000
    to_s: int = 57_600
    #: Most that an interval trades, in visible depths.
    depth_cap: float = 1.0
    #: Quanta.
    lot: int = QUANTA
    risk_aversion: float = 0.0
    #: Whether trimmed windows are tried too.
    trimmed: bool = True
    #: Of window; those that do not fit the horizon are left out.
    kinds: tuple[str, ...] = KINDS


@dataclass(frozen=True, slots=True)
class Trial:
    """One order with its origin."""

    order: ParentOrder
    #: Kinds of window that it counts in.
    windows: tuple[str, ...]
    day: str
    horizon_min: int


def spans(question: Question, day: Day) -> dict[tuple[int, int], list[str]]:
    """Return the windows of a day as (start, end) in ns, with the kinds that each one counts in."""
    begin = max(day.midnight + question.from_s * SECOND_NS, day.open)
    end = min(day.midnight + question.to_s * SECOND_NS, day.close)
    horizon = (question.horizon_min or 60) * MINUTE_NS
    every = (question.every_min or question.horizon_min or 60) * MINUTE_NS
    named = [("windows", at, at + horizon) for at in range(begin, end - horizon + 1, every)]
    if question.horizon_min is None:
        named += [("range", begin, end), ("session", day.open, day.close)]
    inner = day.open + FIRST_MIN * MINUTE_NS, day.close - LAST_MIN * MINUTE_NS
    named = [window for window in named if window[0] in question.kinds]
    if question.trimmed:
        named += [(kind + TRIMMED, max(start, inner[0]), min(stop, inner[1])) for kind, start, stop in named]
    found: dict[tuple[int, int], list[str]] = {}
    interval = day.intervals.interval_ns
    for kind, start, stop in named:
        # On the grid of intervals; a window that trimming has all but taken away says nothing.
        first, last = -(-start // interval) * interval, stop // interval * interval
        if last - first >= 2 * interval and 2 * (stop - start) >= (horizon if kind.startswith("windows") else 0):
            found.setdefault((first, last), []).append(kind)
    return found


def trials(question: Question, day: Day) -> Iterator[Trial | str]:
    """Yield the orders of a day; for a window in which no book prevails, why it is left out."""
    sizes = _sizes(question, day)
    for (start, end), kinds in sorted(spans(question, day).items()):
        first, last = day.intervals.index(start), day.intervals.index(end)
        if not day.intervals.covered_ns[first:last].all():
            dark = int((day.intervals.covered_ns[first:last] == 0).sum())
            yield f"{day.symbol} {day.name}: no book in {dark} of {last - first} intervals of a window"
            continue
        for shares, is_total in sizes:
            total = shares if is_total else shares * int(day.trades[first:last].sum()) / day.n_open
            qty = max(round(total * QUANTA / question.lot), 1) * question.lot
            for side in SIDES:
                cap = depth_cap(question, day, side, start, qty, last - first)
                order = ParentOrder(day.symbol, side, qty, start, end, cap, question.lot, question.risk_aversion)
                minutes = round((end - start) / MINUTE_NS)
                # A trimmed window is the one that it was cut from.
                whole = question.horizon_min or 60
                yield Trial(order, tuple(kinds), day.name, whole if kinds[0].startswith("windows") else minutes)


def _sizes(question: Question, day: Day) -> list[tuple[float, bool]]:
    """Return sizes in shares, and whether each is of the order; else it is of the whole session."""
    given = [(qty, True) for qty in question.qty]
    traded = float(day.volume.sum())
    given += [(rate * traded, False) for rate in question.participation if traded > 0.0]
    if given:
        return given
    depth = float(np.nanmean(day.intervals.depth, axis=1).min())
    return [(_round(share * depth) * day.n_open, False) for share in question.depth_shares]


def _round(value: float) -> float:
    """Round to two significant digits."""
    return float(f"{value:.1e}")


def depth_cap(question: Question, day: Day, side: Side, start: int, qty: int, n: int) -> int:
    """Return the most that any policy trades in an interval, quanta in whole lots."""
    row = BUY if side is Side.BUY else SELL
    intervals = day.intervals
    at = intervals.index(start)
    before = slice(max(at - _DEPTH_MIN * MINUTE_NS // intervals.interval_ns, 0), at)
    covered = intervals.covered_ns[before]
    if covered.sum() > 0:
        depth = float(np.nansum(intervals.depth[row, before] * covered) / covered.sum())
    else:
        book = intervals.prevailing.at(start)
        first = int(np.searchsorted(intervals.prevailing.start, start)) if book is None else book
        depth = float(intervals.prevailing.depth[first, row])
    shares = max(question.depth_cap * depth, 2.0 * qty / QUANTA / n)
    return max(int(shares * QUANTA) // question.lot, 1) * question.lot
