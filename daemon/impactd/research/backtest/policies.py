r"""The policies that the engine is compared with, and the hindsight optimum.

Every policy obeys the same cap per interval.  Quantities are whole lots; what is left when a window
ends trades in its last interval.

- ``twap``: even over time.
- ``vwap``: in proportion to the service's forecast of volume, updated each
  interval; TWAP while there is no forecast.
- ``vwap_hindsight``: in proportion to the volume that traded.
- ``persistence``: the curve of the latest minute, carried along the generic
  session profile to all later intervals (without the profile all intervals
  would be equal, and the policy TWAP).
- ``expanding_mean``: the latest minute's curve for the next interval, the mean
  of the day so far for all later ones, used without shrinkage.
- ``standing_book``: the prevailing book for the interval that begins, the mean of the hour before for all later ones.
- ``known_1``, ``known_5``, ``known_10``: the ladder: the next 1, 5 or 10 intervals exactly, the
  mean of the hour before for all later ones: figures that are not known in advance.
- ``profile_hindsight``: the mean curve of each half hour of the same day, not known
  in advance: what a perfect profile of half hours is worth.
- ``hindsight``: the least cost on this tape.

Those in the middle, from ``persistence`` on, solve the same problem as the engine does, with lines
fitted to each minute's own cells.

The hindsight optimum is exact on a grid of quantities: :math:`C_t` is convex,
so all steps of a cost below one multiplier are taken, found by bisection, and
what is left goes to the cheapest next steps [1]_.

Where a law charges :math:`M(Q) - M(Q - B)` for the B shares beyond what the books
show (`impactd.core.planning.metaorder`), the cost is concave in B, so the optimum is
one of the schedules that are the least for some price of a share beyond.  They are
the corners of a convex curve, found by bisection between neighbours, and left out
where the tangents at both ends show that none between them can cost less.

References
----------
.. [1] Fox (1966), Discrete optimization via marginal analysis, Management Science 13(3), 210-216.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.baseline import twap as even
from impactd.core.allocator.curve import Curve
from impactd.core.allocator.solvers.separable import solve_separable
from impactd.core.allocator.waterfill import share
from impactd.core.base.jit import kernel
from impactd.core.base.quantity import QUANTA
from impactd.core.inputs.ticks import Float
from impactd.core.planning.metaorder import Metaorder

#: Steps of the hindsight optimum's grid between nothing and the cap, at most.
MAX_STEPS: Final = 4096

#: Part of its cost within which the hindsight optimum under a law is exact.
_EXACT: Final = 1e-9

#: What an interval without volume weighs for VWAP against one of average volume: it may hold what no other can.
_LEAST_WEIGHT: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Task:
    """What there is to trade."""

    #: Quanta: of the order, of an interval at most, in a lot.
    qty: int
    cap: int
    lot: int
    n: int

    @property
    def shares(self) -> float:
        """The quantity, shares."""
        return self.qty / QUANTA


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Curves ``s + beta q`` fitted to each interval of one side by itself."""

    #: Shape (n,). Price; price per share.  NaN where no cell could be fitted.
    s: Float
    beta: Float

    def filled(self) -> Lines:
        """Return them with the last one known instead of those missing; NaN only before the first."""
        known = np.where(np.isfinite(self.s), np.arange(self.s.shape[0]), -1)
        at = np.maximum.accumulate(known)
        s, beta = self.s[at], self.beta[at]
        s[at < 0] = np.nan
        return Lines(s, beta)


def twap(task: Task) -> Float:
    """Return the even schedule, shares by interval."""
    return _in_proportion(task, np.ones(task.n))


def vwap(task: Task, volume: Float) -> Float:
    """Return the schedule in proportion to the volume of each interval."""
    if not volume.sum() > 0.0:
        return twap(task)
    return _in_proportion(task, np.maximum(volume / volume.mean(), _LEAST_WEIGHT))


def _in_proportion(task: Task, weight: Float) -> Float:
    return even(task.qty, weight, np.full(task.n, task.cap, np.int64), task.lot) / QUANTA


def vwap_forecast(task: Task, forecast: Float) -> Float:
    """Return the schedule that follows a forecast of volume which is updated each interval.

    Parameters
    ----------
    forecast : ndarray of float64, shape (n, n)
        In row t what was expected of each interval when t began; NaN without a forecast.
    """
    weights = np.where(np.isfinite(forecast), forecast, 1.0)
    mean = weights.mean(axis=1, keepdims=True)
    weights = np.where(mean > 0.0, np.maximum(weights / np.where(mean > 0.0, mean, 1.0), _LEAST_WEIGHT), 1.0)
    return _follow(task.shares, task.cap / QUANTA, task.lot / QUANTA, weights)


@kernel
def _follow(qty: float, cap: float, lot: float, weights: Float) -> Float:
    """Trade each interval's part of what is left, in whole lots."""
    n = weights.shape[0]
    x, left = np.zeros(n), qty
    for t in range(n):
        target = np.zeros(n - t)
        share(left, weights[t, t:], np.full(n - t, cap), target)
        x[t] = _whole(target[0], left, cap, lot, n - 1 - t)
        left -= x[t]
    return x


@kernel
def _whole(x: float, left: float, cap: float, lot: float, after: int) -> float:
    """Round to lots; no less than the intervals `after` cannot hold, all of it in the last."""
    if after == 0:
        return left
    floor = np.ceil((left - after * cap) / lot - 1e-9) * lot
    return float(max(min(np.floor(x / lot + 0.5) * lot, np.floor(cap / lot) * lot, left), floor, 0.0))


def persistence(task: Task, lines: Lines, first: int, s_profile: Float, beta_profile: Float) -> Float:
    """Return the schedule that carries the latest minute along the profile.

    Parameters
    ----------
    task : Task
        Its window is the intervals from `first` on.
    lines : Lines
        Of the whole session.
    s_profile, beta_profile : ndarray of float64, shape (n_session,)
        Relative levels.
    """
    known = lines.filled()
    s = np.empty((task.n, task.n))
    beta = np.empty((task.n, task.n))
    to = slice(first, first + task.n)
    for t in range(task.n):
        last = first + t - 1
        if last < 0 or not np.isfinite(known.s[last]):
            s[t], beta[t] = s_profile[to], beta_profile[to]
        else:
            s[t] = known.s[last] * s_profile[to] / s_profile[last]
            beta[t] = known.beta[last] * beta_profile[to] / beta_profile[last]
    return _replan(task, s, beta)


def expanding_mean(task: Task, lines: Lines, first: int) -> Float:
    """Return the schedule that takes the latest minute, and the mean of the day for the rest."""
    known = lines.filled()
    s = np.ones((task.n, task.n))
    beta = np.ones((task.n, task.n))
    for t in range(task.n):
        upto = first + t
        mean = _mean_before(lines, upto, upto)
        if mean is not None:
            s[t], beta[t] = mean
            s[t, t], beta[t, t] = known.s[upto - 1], known.beta[upto - 1]
    return _replan(task, s, beta)


def standing_book(task: Task, lines: Lines, first: int, book: Lines) -> Float:
    """Return the schedule that takes the standing book for the next interval, and the hour's mean for the rest.

    Parameters
    ----------
    book : Lines
        Of the prevailing book as each interval of the window begins; NaN without one.
    """
    s, beta = _hour_means(task, lines, first)
    at = np.flatnonzero(np.isfinite(book.s))
    s[at, at], beta[at, at] = book.s[at], book.beta[at]
    return _replan(task, s, beta)


def known_ahead(task: Task, lines: Lines, first: int, ahead: int) -> Float:
    """Return the schedule that knows the next `ahead` intervals exactly, and takes the hour's mean for the rest."""
    s, beta = _hour_means(task, lines, first)
    for t in range(task.n):
        to = min(t + ahead, task.n)
        known = np.isfinite(lines.s[first + t : first + to])
        s[t, t:to] = np.where(known, lines.s[first + t : first + to], s[t, t:to])
        beta[t, t:to] = np.where(known, lines.beta[first + t : first + to], beta[t, t:to])
    return _replan(task, s, beta)


def _hour_means(task: Task, lines: Lines, first: int, width: int = 60) -> tuple[Float, Float]:
    """Return for each interval of the window the mean curve of the `width` before, shape (n, n) with equal columns."""
    s, beta = np.ones((task.n, task.n)), np.ones((task.n, task.n))
    for t in range(task.n):
        mean = _mean_before(lines, first + t, width)
        if mean is not None:
            s[t], beta[t] = mean
    return s, beta


@functools.lru_cache(maxsize=8192)
def _mean_before(lines: Lines, at: int, width: int) -> tuple[float, float] | None:
    """Return the mean curve of the `width` intervals before `at`; None where none is known.  Orders share it."""
    before = slice(max(at - width, 0), at)
    if not np.isfinite(lines.s[before]).any():
        return None
    return float(np.nanmean(lines.s[before])), float(np.nanmean(lines.beta[before]))


def profile_hindsight(task: Task, lines: Lines, first: int, width: int = 30) -> Float:
    """Return the schedule that knows the mean curve of each `width` intervals of the day."""
    group = np.arange(lines.s.shape[0]) // width
    good = np.isfinite(lines.s)
    n = np.maximum(np.bincount(group, good), 1)
    means = [np.bincount(group, np.where(good, values, 0.0)) / n for values in (lines.s, lines.beta)]
    s, beta = (mean[group][first : first + task.n] for mean in means)
    return _replan(task, np.tile(s, (task.n, 1)), np.tile(beta, (task.n, 1)))


def _replan(task: Task, s: Float, beta: Float) -> Float:
    return _replans(task.shares, task.cap / QUANTA, task.lot / QUANTA, s, np.maximum(beta, 1e-12))


@kernel
def _replans(qty: float, cap: float, lot: float, s: Float, beta: Float) -> Float:
    """Solve what is left again in each interval and trade the first part of it."""
    n = s.shape[0]
    x, left = np.zeros(n), qty
    for t in range(n):
        m = n - t
        if left <= 0.0:
            break
        plan = np.zeros(m)
        if left < cap * m:
            zero = np.zeros(m)
            solve_separable(left, Curve(s[t, t:], beta[t, t:], zero, zero, 1.0), np.full(m, cap), np.ones(m), plan)
        else:
            plan[0] = cap
        x[t] = _whole(plan[0], left, cap, lot, m - 1)
        left -= x[t]
    return x


def step_of(task: Task) -> int:
    """Return the hindsight optimum's step, quanta: a lot, or as many as leave `MAX_STEPS` below the cap."""
    lots = max(min(task.cap, task.qty) // task.lot, 1)
    return task.lot * -(-lots // MAX_STEPS)


def hindsight(task: Task, table: Float, step: int) -> Float:
    """Return the schedule of least cost.

    Parameters
    ----------
    table : ndarray of float64, shape (n, n_steps + 1)
        C_t of 0, 1, ... steps, currency; convex in each row.
    step : int
        Quanta.

    Returns
    -------
    ndarray of float64, shape (n,)
        Shares; the remainder below one step is in the interval where it costs least.
    """
    steps, rest = divmod(task.qty, step)
    most = min(task.cap // step, table.shape[1] - 1)
    marginal = np.diff(table[:, : most + 1], axis=1)
    count = _cheapest(np.maximum.accumulate(marginal, axis=1), min(steps, most * task.n))
    x = count.astype(np.float64) * (step / QUANTA)
    left = task.qty / QUANTA - float(x.sum())
    if rest or left > 0.0:
        room = np.flatnonzero(count < most)
        at = room[np.argmin(marginal[room, count[room]])] if room.size else task.n - 1
        x[at] += left
    return x


@dataclass(frozen=True, slots=True)
class _Corner:
    """The schedule that is the least where a share beyond the books costs `price`: its quantities, cost and B."""

    price: float
    x: Float
    cost: float
    over: float


def hindsight_under(
    task: Task, table: Float, over: Float, step: int, law: Metaorder, charge: Callable[[Float], tuple[float, float]]
) -> Float:
    """Return the schedule of least cost under a law for what is beyond the books.

    Parameters
    ----------
    table, over : ndarray of float64, shape (n, n_steps + 1)
        Cost without the law, currency, and shares beyond the books, of 0, 1, ... steps; convex in each row.
    charge : callable
        From a schedule to its cost without the law and its shares beyond.
    """
    whole = task.shares

    def corner(price: float) -> _Corner:
        x = hindsight(task, table + price * over, step)
        return _Corner(price, x, *charge(x))

    def total(cost: float, beyond: float) -> float:
        return cost + law.beyond(whole, beyond)

    # No share beyond costs more than the first one, nor less than the last.
    ends = corner(law.scale * (1.0 + law.exponent) * whole**law.exponent), corner(0.0)
    best = min(ends, key=lambda one: total(one.cost, one.over))
    between = [ends]
    while between:
        dear, free = between.pop()
        if not (free.over > dear.over and dear.cost > free.cost):
            continue
        # Where the tangents at both meet: nothing between them is cheaper in both.
        value = dear.cost + dear.price * dear.over
        meet = (value - free.cost - free.price * free.over) / (dear.price - free.price)
        least = total(value - dear.price * meet, meet)
        if least >= total(best.cost, best.over) - _EXACT * best.cost:
            continue
        price = (dear.cost - free.cost) / (free.over - dear.over)
        middle = corner(price)
        if middle.cost + price * middle.over >= dear.cost + price * dear.over - _EXACT * best.cost:
            continue
        best = min(best, middle, key=lambda one: total(one.cost, one.over))
        between += [(dear, middle), (middle, free)]
    return best.x


@kernel
def _cheapest(marginal: Float, steps: int) -> npt.NDArray[np.int64]:
    """Return how many of each row's ascending steps are among the `steps` cheapest of all."""
    n, most = marginal.shape
    count = np.zeros(n, np.int64)
    if most == 0 or steps <= 0:
        return count
    low, high = marginal[:, 0].min(), marginal[:, most - 1].max()
    for _ in range(200):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        total = 0
        for t in range(n):
            total += np.searchsorted(marginal[t], middle, "left")
        if total <= steps:
            low = middle
        else:
            high = middle
    placed = 0
    for t in range(n):
        count[t] = np.searchsorted(marginal[t], low, "left")
        placed += count[t]
    while placed < steps:
        best = -1
        for t in range(n):
            if count[t] < most and (best < 0 or marginal[t, count[t]] < marginal[best, count[best]]):
                best = t
        if best < 0:
            break
        count[best] += 1
        placed += 1
    return count
