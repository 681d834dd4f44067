r"""Features of a learned forecaster: spread, depth and volatility relative to their own past.

All of it is relative to the symbol's own averages, so that what was learned from one symbol applies to another.  With
:math:`\bar x` the discounted
average over `SLOW_MINUTES` of open market, :math:`\tilde x` that over
`FAST_MINUTES` of clock time, s the half-spread and E the excess at the symbol's
reference size (`impactd.core.model.forecaster`):

===================  =====================================================
``spread_last``      log s less its slow average
``spread_fast``      the fast average of log s less the slow one
``excess_last``      log E less its slow average
``excess_fast``      the fast average of log E less the slow one
``depth_last``       log depth of the side that is walked less its slow average
``imbalance_last``   log(depth of that side / depth of the other)
``imbalance_fast``   its fast average
``volatility_fast``  half the log of the fast over the slow mean square return
``since_open``       minutes from the open to the interval's middle
``to_close``         minutes from there to the close
``ahead``            intervals ahead; 1 is the one after the latest minute
===================  =====================================================

Unknown is NaN.  The state is a few numbers, independent of the length of the history.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from impactd.core.base.session import Session
from impactd.core.base.settings import MINUTE_NS
from impactd.core.model.curves import Float, Int, MinuteBooks

FEATURES: Final = (
    "spread_last",
    "spread_fast",
    "excess_last",
    "excess_fast",
    "depth_last",
    "imbalance_last",
    "imbalance_fast",
    "volatility_fast",
    "since_open",
    "to_close",
    "ahead",
)

#: Half-lives: an hour of open market is what is usual, five minutes of clock time are now.
SLOW_MINUTES: Final = 60.0
FAST_MINUTES: Final = 5.0

#: Version of the saved state; another one starts empty.
LAYOUT: Final = 1

#: Series that are averaged.
_SPREAD, _EXCESS, _DEPTH, _IMBALANCE, _SQUARE, _N_SERIES = range(6)


class Discounted:
    """Averages of `n` series, each value discounted as time passes; NaN, a value that is not known, counts as none."""

    __slots__ = ("sums",)

    def __init__(self, n: int) -> None:
        #: Total and weight of each series.
        self.sums = [[0.0, 0.0] for _ in range(n)]

    def add(self, values: Sequence[float], forget: float) -> None:
        """Multiply what there is by `forget`, and add a value of each series."""
        for sums, value in zip(self.sums, values, strict=True):
            known = not math.isnan(value)
            sums[:] = forget * sums[0] + (value if known else 0.0), forget * sums[1] + known

    def means(self) -> list[float]:
        """Return the average of each series; NaN before any value."""
        return [total / weight if weight > 0.0 else math.nan for total, weight in self.sums]


def slow_forget(session: Session, before: int | None, minute_ns: int) -> float:
    """Return what slow sums are multiplied by from the minute `before`, None for none, to the next one, UTC ns."""
    return 1.0 if before is None else math.pow(2.0, -session.open_minutes_between(before, minute_ns) / SLOW_MINUTES)


def log_return(before: float | None, mid: float | None) -> float:
    """Return the log return of the mid; NaN where one of the two is unknown or not positive."""
    if before is None or mid is None or min(before, mid) <= 0.0:
        return math.nan
    return math.log(mid / before)


class FeatureState:
    """What one symbol and side has shown, as features of the intervals ahead.

    Parameters
    ----------
    row : int
        Of the side in a minute's arrays: 0 to buy, 1 to sell.
    """

    def __init__(self, row: int, session: Session, interval_ns: int) -> None:
        self._row = row
        self._session = session
        self._interval_ns = interval_ns
        self._mid: float | None = None
        self._slow, self._fast = Discounted(_N_SERIES), Discounted(_N_SERIES)
        #: The latest value of each series.
        self._last = [math.nan] * _N_SERIES
        #: Start of the latest minute taken in, UTC ns.
        self.minute: int | None = None

    @property
    def levels(self) -> tuple[float, float]:
        """Log half-spread and log excess of the latest minute; NaN before any."""
        return self._last[_SPREAD], self._last[_EXCESS]

    def update(self, minute_ns: int, levels: tuple[float, float], books: MinuteBooks) -> None:
        """Add the log half-spread and log excess of a closed minute, later than all before, and its books."""
        own, other = (math.log(size) if size > 0.0 else math.nan for size in self._depths(books))
        moved = log_return(self._mid, books.mid) if self._follows(minute_ns) else math.nan
        self._last = [*levels, own, own - other, moved * moved]
        self._slow.add(self._last, slow_forget(self._session, self.minute, minute_ns))
        since = 0 if self.minute is None else minute_ns - self.minute
        self._fast.add(self._last, math.pow(2.0, -(since / (FAST_MINUTES * MINUTE_NS))))
        self._mid, self.minute = books.mid, minute_ns

    def _depths(self, books: MinuteBooks) -> tuple[float, float]:
        """Return the depth of the side that is walked, and that of the other, shares."""
        return float(books.depth[self._row]), float(books.depth[1 - self._row])

    def _follows(self, minute_ns: int) -> bool:
        return self.minute is not None and minute_ns - self.minute == self._interval_ns

    def of(self, starts_ns: Int) -> Float:
        """Return the features of the intervals that begin at `starts_ns`.

        Parameters
        ----------
        starts_ns : ndarray of int64, shape (N,)
            UTC ns.

        Returns
        -------
        ndarray of float64, shape (N, len(FEATURES))
        """
        out = np.empty((len(starts_ns), len(FEATURES)))
        out[:, :8] = self._now()
        position = self._session.positions(starts_ns, self._interval_ns // 2)
        out[:, 8] = position * self._session.length_minutes
        out[:, 9] = (1.0 - position) * self._session.length_minutes
        out[:, 10] = np.nan if self.minute is None else (starts_ns - self.minute) / self._interval_ns
        return out

    def _now(self) -> tuple[float, ...]:
        """Return the features that are the same of every interval ahead."""
        slow, fast = self._slow.means(), self._fast.means()
        volatility = math.nan
        if slow[_SQUARE] > 0.0 and fast[_SQUARE] > 0.0:
            volatility = 0.5 * math.log(fast[_SQUARE] / slow[_SQUARE])
        return (
            self._last[_SPREAD] - slow[_SPREAD],
            fast[_SPREAD] - slow[_SPREAD],
            self._last[_EXCESS] - slow[_EXCESS],
            fast[_EXCESS] - slow[_EXCESS],
            self._last[_DEPTH] - slow[_DEPTH],
            self._last[_IMBALANCE],
            fast[_IMBALANCE],
            volatility,
        )

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values; `load` continues from it bit for bit."""
        last = [None if math.isnan(value) else value for value in self._last]
        return [LAYOUT, self.minute, self._mid, last, self._slow.sums, self._fast.sums]

    def load(self, saved: Sequence[Any] | None) -> None:
        """Continue from what `save` returned; from nothing, or another layout, start empty."""
        if saved is None or saved[0] != LAYOUT:
            return
        _, self.minute, self._mid, last, slow, fast = saved
        self._last = [math.nan if value is None else value for value in last]
        self._slow.sums, self._fast.sums = [list(sums) for sums in slow], [list(sums) for sums in fast]
