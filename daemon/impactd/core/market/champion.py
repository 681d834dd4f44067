r"""Chooses, by symbol, which forecast makes the plans: the default one (the champion at first) or the learned one.

On each side an order of `HORIZON` intervals, of what plans ask of them, works at all times by both forecasts.  Nobody
trades it.  Each minute what is left of it is planned again by either, as a plan would be, and the interval that follows
is charged the walks of its minute.  With :math:`d_k` the sum over the orders of day k of what the learned forecast
saved more than the default one, shares of TWAP's cost, and weights w that halve in `HALF_LIFE` days,

.. math:: z = \frac{\sum w_k d_k}{\sqrt{\sum w_k^2 d_k^2}} .

The learned forecast takes the place when z reaches `TAKE`, and loses it when z falls below `KEEP`.  Days are compared
and not orders, since those of a day and of both sides have much in common.  z needs no assumption on the size of the
differences or the weight of their tails: for independent days that are as likely to differ either way it exceeds x
with a probability of at most :math:`e^{-x^2/2}` [1]_, and it never exceeds the root of the number of days, so that no
few days are enough.

The choice changes only as a session begins, so that no day's plans mix both.  It is made by symbol: other
symbols may be in another partition, and the bytes of a plan must not depend on which share one.

References
----------
.. [1] Efron (1969), Student's t-test under symmetry conditions, Journal of the American Statistical Association
   64(328); de la Pena, Klass and Lai (2004), Self-normalized processes, Annals of Probability 32(3A).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from typing import Any, Final

import numpy as np

from impactd.core.allocator.optionality import anticipate, plain
from impactd.core.allocator.solvers.exact import cheapest
from impactd.core.base.session import Session
from impactd.core.base.topics import SIDES
from impactd.core.books.grid import PLAN_REACH
from impactd.core.books.minute import MinuteStats
from impactd.core.market.shadow import price_on
from impactd.core.model.curves import Curves, Int

#: Intervals that an order lasts.
HORIZON: Final = 30
#: An order counts if books prevailed in this share of its intervals, and in the last one.
LEAST_COVERED: Final = 0.8
#: Memory, days.
HALF_LIFE: Final = 20.0
_FORGET: Final = math.pow(2.0, -1.0 / HALF_LIFE)
#: z from which the learned forecast makes the plans, and below which it no longer does.
TAKE: Final = 3.0
KEEP: Final = 0.0


@dataclass(slots=True)
class _Race:
    """One order by both forecasts: the default, then the learned one.

    Attributes
    ----------
    start : int
        UTC ns.
    rate : float
        Shares an interval.
    at : int
        Start of the interval that `now` is for, UTC ns.
    left, now, paid : list of float
        By forecast: shares left, shares that the interval takes, what was paid over mid so far.
    even : float
        What `rate` shares cost in each interval so far.
    covered : int
        Intervals so far in which books prevailed.
    """

    start: int
    rate: float
    at: int
    left: list[float]
    now: list[float] = field(default_factory=lambda: [0.0, 0.0])
    paid: list[float] = field(default_factory=lambda: [0.0, 0.0])
    even: float = 0.0
    covered: int = 0


class Champion:
    """The running comparison of a symbol's two forecasts.

    Parameters
    ----------
    learned : str
        Hash of the trained file.
    child_slices : int
        Slices an interval that plans are made with.
    """

    def __init__(self, learned: str, session: Session, interval_ns: int, child_slices: int = 1) -> None:
        self._learned = str(learned)
        self._session, self._interval_ns, self._slices = session, interval_ns, child_slices
        #: Whether the learned forecast makes the plans.
        self.leads = False
        self._sum = self._squares = 0.0
        self._day: int | None = None
        #: Sum and number of the differences of the day.
        self._today, self._ended = 0.0, 0
        self._races: list[_Race | None] = [None for _ in SIDES]

    def begin(self, day: int) -> bool:
        """Judge the day before if a minute of session `day` is the first, and return whether the choice changes."""
        if day == self._day:
            return False
        leads = self.leads
        if self._ended:
            self._sum = _FORGET * self._sum + self._today
            self._squares = _FORGET * _FORGET * self._squares + self._today * self._today
            self.leads = self.lead >= (KEEP if leads else TAKE)
        self._day, self._today, self._ended = day, 0.0, 0
        return self.leads != leads

    @property
    def lead(self) -> float:
        """The z of the days that are over; 0 before any difference."""
        return self._sum / math.sqrt(self._squares) if self._squares > 0.0 else 0.0

    def update(
        self, row: int, stats: MinuteStats, forecast: Callable[[bool, Int, float], Curves]
    ) -> tuple[float, float] | None:
        """Charge a closed minute to the order of a side, and plan what is left of it, or the next order.

        Parameters
        ----------
        row : int
            Of the side in the minute's arrays.
        stats : MinuteStats
            Later than all before, and known to the forecast.
        forecast : callable
            Whether by the learned forecast, starts of intervals (int64 ns) and shares an interval to the `Curves`.

        Returns
        -------
        tuple of float or None
            What an order that ended saved by each forecast, shares of TWAP's cost; None where none ended that counts.
        """
        end, saved = stats.minute + self._interval_ns, None
        race = self._races[row]
        if race is not None:
            self._charge(race, row, stats)
            if end >= race.start + HORIZON * self._interval_ns:
                saved, race = self._saved(race), None
        if race is None and len(stats.sizes) and self._session.holds(end, HORIZON, self._interval_ns):
            rate = PLAN_REACH * float(stats.sizes[0])
            race = _Race(end, rate, end, [rate * HORIZON] * 2)
        self._races[row] = race if race is not None and self._plan(race, end, forecast) else None
        return saved

    def _charge(self, race: _Race, row: int, stats: MinuteStats) -> None:
        if stats.minute != race.at or 2 * stats.covered_ns < self._interval_ns or not len(stats.sizes):
            return
        walks = stats.lower_bound[row]
        race.covered += 1
        race.even += race.rate * price_on(race.rate / self._slices, stats.sizes, walks)
        for which, shares in enumerate(race.now):
            if shares > 0.0:
                race.paid[which] += shares * price_on(shares / self._slices, stats.sizes, walks)
                race.left[which] -= shares

    def _saved(self, race: _Race) -> tuple[float, float] | None:
        """Return what an order that ended has saved, and count it."""
        whole = race.rate * HORIZON
        if race.covered < LEAST_COVERED * HORIZON or max(race.left) > 1e-9 * whole or not race.even > 0.0:
            return None
        twap = race.even / race.covered * HORIZON
        default, learned = (1.0 - min(paid / twap, 2.0) for paid in race.paid)
        self.count(learned - default)
        return default, learned

    def count(self, gain: float) -> None:
        """Count what an order of the day saved more by the learned forecast, a share of TWAP's cost."""
        self._today += gain
        self._ended += 1

    def _plan(self, race: _Race, at: int, forecast: Callable[[bool, Int, float], Curves]) -> bool:
        """Set what each forecast takes in the interval that begins at `at`; False where they have no price."""
        starts = np.arange(at, race.start + HORIZON * self._interval_ns, self._interval_ns, dtype=np.int64)
        free = np.full(len(starts), np.inf)
        for which, left in enumerate(race.left):
            race.now[which] = 0.0
            if not left > 0.0:
                continue
            curves = forecast(which == 1, starts, left / len(starts))
            if not curves.scaled:
                return False
            expected = plain(curves, child_slices=self._slices)
            x, _ = cheapest(anticipate(curves, expected, left, free, child_slices=self._slices), left)
            race.now[which] = float(x[0])
        race.at = at
        return True

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values; `load` continues from it bit for bit."""
        races = [None if race is None else astuple(race) for race in self._races]
        today = [self._day, self._today, self._ended]
        return [self._learned, self.leads, self._sum, self._squares, today, races]

    def load(self, saved: list[Any] | None) -> None:
        """Continue from what `save` returned; of another trained file nothing counts."""
        if saved is None or saved[0] != self._learned:
            return
        _, self.leads, self._sum, self._squares, today, races = saved
        self._day, self._today, self._ended = today
        self._races = [None if race is None else _Race(*race) for race in races]
