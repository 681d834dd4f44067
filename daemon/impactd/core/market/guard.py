r"""Shrink forecasts while trial plans cost more than TWAP.

Every few intervals a trial is planned for the next hour, at a few rates, by the forecast alone, and compared with TWAP.
When the
hour is over both are priced at the walks of its minutes.  With l the share of TWAP's cost that trials saved and p
the share that was possible by the minutes' fitted curves,

.. math:: c = \frac{\sum w\, l + c_0 p_0}{\sum w\, p + p_0}, \qquad \kappa = \min(\max(1 + c, 0), 1)

is what they have captured, with discounted weights w and a prior (`PRIOR_CAPTURE`, `PRIOR_POSSIBLE`).  While c is
not negative, forecasts are used unchanged: trials are not replanned before they end, as orders are, and so earn less.
At c = -1 the plan is TWAP.

Trust :math:`\kappa` shrinks log levels to their mean over the plan's
intervals (`Curves.shrunk`), so that the result is again an optimum with a certificate.  The rate of a plan lies between
those of the trials, in
logs: with the same forecast a small order, which pays the spread, may gain where a large
one, which pays for depth, loses.

The c of the middle rate, without its prior, is the published `capture`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.cost import schedule_cost
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.exact import cheapest
from impactd.core.base.jit import kernel
from impactd.core.base.session import Session
from impactd.core.books.grid import PLAN_REACH
from impactd.core.books.minute import MinuteStats
from impactd.core.market.shadow import in_units, price_on
from impactd.core.model.curves import Curves, Float, Int

#: Intervals that a trial lasts, and from one to the next.
HORIZON: Final = 60
SPACING: Final = 15
#: Its rates, as multiples of what plans ask of an interval (the symbol's grid begins at a quarter of it).
RATES: Final = (0.25, 1.0, 2.0)
_LOG_RATES: Final = tuple(math.log2(multiple) for multiple in RATES)
#: Of these the one by which capture is published.
MIDDLE: Final = 1
#: Intervals whose fits are saved together; a part of `HORIZON`.
PART: Final = 15
#: Half-life of the memory of trial results, in trials that do not overlap.
HALF_LIFE: Final = 12.0
#: What forecasts are taken to capture before any trial, and of how much, as a share of one trial's TWAP.
PRIOR_CAPTURE: Final = 0.3
PRIOR_POSSIBLE: Final = 0.1
#: A trial counts if books prevailed in this share of its intervals.
LEAST_COVERED: Final = 0.8


class TrialResult(NamedTuple):
    """What a trial at the middle rate has saved and what was possible, as shares of TWAP's cost."""

    saved: float
    possible: float


@dataclass(slots=True, eq=False)
class _Trial:
    """Plans for one hour, one row per rate; `units` of uint8, shape (R, HORIZON)."""

    start: int
    unit: Float
    units: npt.NDArray[np.uint8]
    paid: Float
    shares: Float
    even: Float
    covered: int = 0

    def save(self) -> list[Any]:
        return [self.covered, *(values.tolist() for values in (self.paid, self.shares, self.even))]

    def load(self, saved: list[Any]) -> None:
        self.covered, *rows = saved
        self.paid, self.shares, self.even = (np.array(row, np.float64) for row in rows)

    def save_lasting(self) -> list[Any]:
        return [self.start, self.unit.tolist(), base64.b64encode(self.units.tobytes()).decode("ascii")]

    @classmethod
    def begun(cls, saved: list[Any]) -> _Trial:
        """Return the trial as it was when it began, from what `save_lasting` returned."""
        start, unit, units = saved
        asked = np.frombuffer(base64.b64decode(units), np.uint8).reshape(len(RATES), HORIZON)
        return cls(start, np.array(unit, np.float64), asked.copy(), *np.zeros((3, len(RATES))))


class Guard:
    """Trust in the forecasts of one (symbol, side).

    Parameters
    ----------
    row : int
        Of the side in a minute's arrays.
    session : Session
        A trial begins and ends within one session.
    child_slices : int
        Slices an interval that plans are made with.
    """

    def __init__(self, row: int, session: Session, interval_ns: int, child_slices: int = 1) -> None:
        self._row = row
        self._session = session
        self._interval_ns = interval_ns
        self._slices = child_slices
        self._trials: list[_Trial] = []
        #: Discounted sums of what was saved and what was possible, by rate, and the rates' unit in shares.
        self._saved = np.zeros(len(RATES))
        self._possible = np.zeros(len(RATES))
        self._trusts = self._trusted()
        self._ask: float | None = None
        #: Fitted half-spread and slope of the last `HORIZON` intervals, and of those before in the same part: that of
        #: an interval is in the row of its number modulo all rows.
        self._seen = np.full((HORIZON + PART, 2), np.nan)
        self._seen_to: int | None = None
        self.changed = False

    def trust(self, rate: float) -> float:
        """Return the trust in forecasts for plans that ask `rate` shares of an interval, in [0, 1]."""
        if self._ask is None or not rate > 0.0:
            return float(self._trusts[MIDDLE])
        return float(np.interp(math.log2(rate / self._ask), _LOG_RATES, self._trusts))

    def _trusted(self) -> Float:
        """Return the trust at each of `RATES`, which changes only as a trial ends."""
        captures = (self._saved + PRIOR_CAPTURE * PRIOR_POSSIBLE) / (self._possible + PRIOR_POSSIBLE)
        return np.asarray(np.clip(1.0 + captures, 0.0, 1.0), np.float64)

    @property
    def capture(self) -> float | None:
        """Share of the possible saving that trials have had lately; None before any has ended."""
        possible = float(self._possible[MIDDLE])
        return float(self._saved[MIDDLE]) / possible if possible > 0.0 else None

    def update(
        self, stats: MinuteStats, fitted: tuple[float, float] | None, forecast: Callable[[Int, float], Curves]
    ) -> list[TrialResult]:
        """Charge a closed minute to the trials in progress, return those that it ends, and begin another.

        Parameters
        ----------
        stats : MinuteStats
            Later than all before, and known to the forecast.
        fitted : tuple of float, or None
            Half-spread and slope of the minute's own fit; None where it had none.
        forecast : callable
            Starts of intervals (int64 ns) and shares an interval to the forecast `Curves`.
        """
        self._see(stats.minute, fitted)
        end = stats.minute + self._interval_ns
        ended: list[_Trial] = []
        under_way: list[_Trial] = []
        for trial in self._trials:
            self._charge(trial, stats)
            over = end >= trial.start + HORIZON * self._interval_ns
            (ended if over else under_way).append(trial)
        self._trials = under_way
        self.changed |= bool(ended)
        results = [found for trial in ended if (found := self._learn(trial)) is not None]
        begun = self._begun(end, stats, forecast)
        if begun is not None:
            self._trials.append(begun)
            self.changed = True
        return results

    def _see(self, minute: int, fitted: tuple[float, float] | None) -> None:
        """Put the minute's fit behind the others, and nothing for those that were missing."""
        now, rows = minute // self._interval_ns, len(self._seen)
        last = now - 1 if self._seen_to is None else self._seen_to // self._interval_ns
        self.changed |= self._seen_to is None or last // PART != now // PART
        # Rows are cleared by part as it begins, so that those of parts that are over do not change.
        for k in range(max(last + 1, now - rows + 1), now + 1):
            if k % PART == 0:
                self._seen[k % rows : k % rows + PART] = np.nan
        self._seen[now % rows] = np.nan if fitted is None else fitted
        self._seen_to = minute

    def _last(self) -> Float:
        """Return the fits of the last `HORIZON` intervals, the newest last."""
        now = 0 if self._seen_to is None else self._seen_to // self._interval_ns
        return np.asarray(self._seen[np.arange(now - HORIZON + 1, now + 1) % len(self._seen)])

    def _charge(self, trial: _Trial, stats: MinuteStats) -> None:
        interval = (stats.minute - trial.start) // self._interval_ns
        if not 0 <= interval < HORIZON or 2 * stats.covered_ns < self._interval_ns or not len(stats.sizes):
            return
        trial.covered += 1
        walks = stats.lower_bound[self._row]
        charge(
            trial.units, trial.unit, interval, self._slices, stats.sizes, walks, trial.paid, trial.shares, trial.even
        )

    def _learn(self, trial: _Trial) -> TrialResult | None:
        s, b = self._last().T
        there = np.isfinite(s) & np.isfinite(b)
        if min(trial.covered, int(np.sum(there))) < LEAST_COVERED * HORIZON:
            return None
        if not np.all((trial.shares > 0.0) & (trial.even > 0.0)):
            return None
        saved = np.clip(1.0 - (trial.paid / trial.shares) / (trial.even / trial.covered), -1.0, 1.0)
        problem = Problem.from_impact(s[there], b[there], child_slices=self._slices)
        n = len(problem)
        rates = trial.unit * np.sum(trial.units, axis=1, dtype=np.int64) / HORIZON
        possible = np.array([_saving(problem, rate * n, cheapest(problem, rate * n)[0]) for rate in rates.tolist()])
        weight = SPACING / HORIZON
        forget = math.pow(2.0, -weight / HALF_LIFE)
        self._saved = forget * self._saved + weight * saved
        self._possible = forget * self._possible + weight * possible
        self._trusts = self._trusted()
        return TrialResult(float(saved[MIDDLE]), float(possible[MIDDLE]))

    def _begun(self, start: int, stats: MinuteStats, forecast: Callable[[Int, float], Curves]) -> _Trial | None:
        """Return the trial that begins at `start`, if one is due."""
        due = self._session.since_open_ns(start) // self._interval_ns % SPACING == 0
        if not (due and len(stats.sizes) and stats.covered_ns):
            return None
        if not self._session.holds(start, HORIZON, self._interval_ns):
            return None
        self._ask = PLAN_REACH * float(stats.sizes[0])
        starts = start + np.arange(HORIZON, dtype=np.int64) * self._interval_ns
        unit, units = np.empty(len(RATES)), np.empty((len(RATES), HORIZON), np.uint8)
        for k, multiple in enumerate(RATES):
            rate = multiple * self._ask
            curves = forecast(starts, rate)
            if not curves.scaled:
                return None
            units[k], unit[k], _ = in_units(curves, rate * HORIZON, self._slices, waits=False)
        paid, shares, even = np.zeros((3, len(RATES)))
        return _Trial(start, unit, units, paid, shares, even)

    def save(self) -> dict[str, Any] | None:
        """Return the state as JSON-ready values, None before any minute; `load` continues from it bit for bit."""
        if self._seen_to is None:
            return None
        return {
            "saved": self._saved.tolist(),
            "possible": self._possible.tolist(),
            "ask": self._ask,
            "seen": base64.b64encode(self._seen[self._part()].tobytes()).decode("ascii"),
            "seen_to": self._seen_to,
            "trials": [trial.save() for trial in self._trials],
        }

    def load(self, saved: Mapping[str, Any] | None) -> None:
        """Continue from what `save` returned."""
        if saved is None:
            return
        self._saved, self._possible = np.array(saved["saved"]), np.array(saved["possible"])
        self._trusts = self._trusted()
        self._ask = saved["ask"]
        self._seen_to = saved["seen_to"]
        self._seen[self._part()] = np.frombuffer(base64.b64decode(saved["seen"]), np.float64).reshape(PART, 2)
        for trial, charged in zip(self._trials, saved["trials"], strict=True):
            trial.load(charged)

    def save_lasting(self) -> dict[str, Any] | None:
        """Return the plans of trials and the fits of the parts of an hour that are over, None before any minute."""
        if self._seen_to is None:
            return None
        over = self._seen.copy()
        over[self._part()] = np.nan
        return {
            "seen": base64.b64encode(over.tobytes()).decode("ascii"),
            "trials": [trial.save_lasting() for trial in self._trials],
        }

    def load_lasting(self, saved: Mapping[str, Any]) -> None:
        """Continue from what `save_lasting` returned."""
        self._seen = np.frombuffer(base64.b64decode(saved["seen"]), np.float64).reshape(-1, 2).copy()
        self._trials = [_Trial.begun(trial) for trial in saved["trials"]]

    def _part(self) -> slice:
        """Return the rows of the part of an hour in progress."""
        now = 0 if self._seen_to is None else self._seen_to // self._interval_ns
        first = now // PART * PART % len(self._seen)
        return slice(first, first + PART)


@kernel
def charge(
    units: npt.NDArray[np.uint8],
    unit: Float,
    interval: int,
    child_slices: int,
    sizes: Float,
    walks: Float,
    paid: Float,
    shares: Float,
    even: Float,
) -> None:
    """Add to each rate's `paid`, `shares` and `even`, shape (R,), what an interval cost at `walks`, shape (K,)."""
    for k in range(units.shape[0]):
        total = 0.0
        for t in range(units.shape[1]):
            total += units[k, t]
        even[k] += price_on(total * unit[k] / units.shape[1] / child_slices, sizes, walks)
        size = units[k, interval] * unit[k]
        if size > 0.0:
            paid[k] += size * price_on(size / child_slices, sizes, walks)
            shares[k] += size


def _saving(problem: Problem, qty: float, x: Float) -> float:
    """Return what schedule `x` of `qty` shares saves against an even one, as a share of its cost; 0 of nothing."""
    even = schedule_cost(problem, np.full(len(problem), qty / len(problem)))
    return max(1.0 - schedule_cost(problem, x) / even, 0.0) if even > 0.0 else 0.0
