r"""Several orders on one symbol and side, scheduled together.

They trade into the same book, so the cost of an interval is that of their sum:

.. math::

   \min_x \sum_t C_t\Bigl(\sum_i x_{it}\Bigr) + \sum_i \rho_i \sum_t y_{it}^2

with each order's own window (its caps are 0 outside), caps, bounds of its running
sum, lots and risk.

- *Without risk* the optimum of the sum is found exactly, in whole lots, for any number of orders
  (`impactd.core.allocator.solvers.decomposition`), and its split is close to the
  current plans.
- *With risk* an interior point finds the continuous optimum of all
  (`impactd.core.allocator.joint.risk`); the orders with risk are rounded along their
  paths, one after the other, and the rest is then solved exactly around them.
- *Lots of several sizes* are first taken as multiples of their common divisor, which
  bounds the cost from below; then the orders are rounded and solved again, those
  with the largest lots first.  What that may cost is stated.
- *Current plans* that cost no more than all this are kept as they are.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np

from impactd.core.allocator.bounds import MOST_LOTS, NO_CAP, Int
from impactd.core.allocator.certificate import CERTIFICATE_TOLERANCE
from impactd.core.allocator.curve import SMALLEST_PRICE, Float
from impactd.core.allocator.joint.lots import (
    cheapest_together,
    count_in_units,
    may_stay,
    place_remainders,
    round_to_lots,
)
from impactd.core.allocator.joint.problem import Group, JointAllocation, given_others, in_shares, joint_objective
from impactd.core.allocator.joint.risk import certificate, solve_with_risk
from impactd.core.allocator.lots.path import round_path, round_running_sum
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, SolveFailure
from impactd.core.allocator.solvers.decomposition import decompose
from impactd.core.allocator.solvers.interior import solve_risk
from impactd.core.base.quantity import QUANTA

#: Current plans are kept where they cost no more than this part above the best ones.
_SAME_COST: Final = 1e-12


def allocate_jointly(
    problem: Problem, group: Group, *, tolerance: float = CERTIFICATE_TOLERANCE
) -> JointAllocation | SolveFailure:
    """Return the schedules that cost least together, in whole lots.

    Parameters
    ----------
    problem : Problem
        N intervals that all orders share; its bounds and risk do not count.
    tolerance : float
        Largest residual that passes.
    """
    if len(problem) == 0:
        quanta = np.zeros((len(group), 0), np.int64)
        return JointAllocation(quanta, tuple(group.qty.tolist()), (0.0,) * len(group), 0.0, "joint", 0)
    n = len(problem)
    none = np.empty(0)
    if problem.risk or problem.root.size or problem.nested or not np.isinf(problem.cap).all():
        problem = replace(problem, cap=np.full(n, np.inf), risk=0.0, root=none, keep=none, low=none, high=none)
    solving = _Solving(problem, group)
    if ((solving.lot > group.qty) & (group.qty >= group.lot)).any():
        return SolveFailure("joint", Failure.UNSUPPORTED, "the lots of the orders have no measure in common")
    averse = bool((group.risk > 0.0).any())
    residual, multipliers, steps = solving.with_risk(tolerance) if averse else solving.exactly()
    if not residual <= tolerance:
        text = f"joint residual {residual:.3g} is above {tolerance:.3g}"
        return SolveFailure("joint", Failure.BAD_CERTIFICATE, text)
    quanta = solving.quanta()
    gap = solving.gap
    quanta = _kept(problem, group, quanta)
    shortfall = tuple((group.qty - quanta.sum(axis=1)).tolist())
    return JointAllocation(quanta, shortfall, multipliers, residual, "joint", steps, gap)


def common_lots(qty: list[int], lot: list[int]) -> tuple[int, Int]:
    """Return the unit in which the lots of all are counted, at most `MOST_LOTS` of them, and each order's lot, quanta.

    Where lots are too fine for that, several are taken as one.  An order of less than a lot has no part in the unit.
    """
    whole = [size for size, ordered in zip(lot, qty, strict=True) if ordered >= size]
    unit = math.gcd(*whole) or 1
    total = sum(ordered for size, ordered in zip(lot, qty, strict=True) if ordered >= size)
    while total // unit > MOST_LOTS:
        unit *= 2
    taken = [
        min(math.lcm(size, unit), NO_CAP) if ordered >= size else unit * (ordered // unit + 1)
        for size, ordered in zip(lot, qty, strict=True)
    ]
    return unit, np.array(taken, np.int64)


class _Solving:
    """The orders in units of their lots' common divisor, and what they trade."""

    def __init__(self, problem: Problem, group: Group) -> None:
        self.problem, self.group = problem, group
        unit, self.lot = common_lots(group.qty.tolist(), group.lot.tolist())
        self.unit, self.shares = unit, unit / QUANTA
        shape = group.cap.shape
        self.cap, self.low, self.high = np.empty(shape, np.int64), np.empty(shape, np.int64), np.empty(shape, np.int64)
        self.nested = np.empty(len(group), np.bool_)
        count_in_units(
            group.qty, self.lot, unit, group.cap, group.low, group.high, self.cap, self.low, self.high, self.nested
        )
        self.units = self.lot // unit
        self.total = self.high[:, -1]
        self.n = np.empty(shape, np.int64)
        self.gap: float | None = None

    def exactly(self) -> tuple[float, tuple[float, ...], int]:
        """Solve orders without risk; return residual, multipliers and steps."""
        p, multipliers = self.problem, np.empty(len(self.group))
        residual, money, steps = cheapest_together(
            p.curve, p.fraction, self.group.current, self.lot, self.unit, self.cap, self.low, self.high, self.nested,
            self.n, multipliers,
        )  # fmt: skip
        if (self.units > 1).any():
            bound = self._cost(self.in_shares(self.n)) - money
            self._round_by_size(np.arange(len(self.group)), np.zeros(len(p)))
            self.gap = max(self._cost(self.in_shares(self.n)) - bound, 0.0)
        return residual, tuple(multipliers.tolist()), steps

    def _round_by_size(self, rows: Int, before: Float) -> None:
        """Round orders to their own lots, and solve those of each size again where the others trade too."""
        p = self.problem
        for i in rows[self.units[rows] > 1]:
            round_to_lots(int(self.units[i]), self.cap[i], self.low[i], self.high[i], self.n[i])
        for size in sorted(set(self.units[rows].tolist()), reverse=True):
            same, rest = rows[self.units[rows] == size], rows[self.units[rows] != size]
            others = before + self.n[rest].sum(axis=0, dtype=np.float64)
            n = self.n[same] // size
            decompose(
                p.curve, p.fraction, others / size, self.shares * size, self.cap[same] // size, self.low[same] // size,
                self.high[same] // size, self.nested[same], n, np.empty(len(p)),
            )  # fmt: skip
            self.n[same] = n * size

    def with_risk(self, tolerance: float) -> tuple[float, tuple[float, ...], int]:
        """Solve orders of which some have risk; return residual, multipliers and steps."""
        p, risk = self.problem, self.group.risk
        qty = self.in_shares(self.total)
        bounds = (self.in_shares(self.cap), self.in_shares(self.low), self.in_shares(self.high))
        x, steps = solve_with_risk(p, qty, *bounds, self.nested, risk)
        multipliers, residual, money = certificate(p, qty, self.cap, self.low, self.high, self.shares, risk, x)
        if not residual <= tolerance:
            return residual, multipliers, steps
        left_over = self._round_averse(x, qty)
        free = np.flatnonzero(risk == 0.0)
        trade: Float = self.n[risk > 0.0].sum(axis=0, dtype=np.float64)
        for i in free:
            round_running_sum(x[i], self.shares, self.cap[i], self.low[i], self.high[i], self.n[i])
        if free.size:
            n = self.n[free]
            decompose(
                p.curve, p.fraction, trade, self.shares, self.cap[free], self.low[free], self.high[free],
                self.nested[free], n, np.empty(len(p)),
            )  # fmt: skip
            self.n[free] = n
            if (self.units[free] > 1).any():
                self._round_by_size(free, trade)
        residual = max(residual, left_over / max(*(abs(m) for m in multipliers), SMALLEST_PRICE))
        self.gap = max(self._cost(self.in_shares(self.n)) - (self._cost(x) - money), 0.0)
        return residual, multipliers, steps

    def _round_averse(self, x: Float, qty: Float) -> float:
        """Round the orders with risk along their paths, each where the others trade too; return the saving left."""
        others, left_over = x.sum(axis=0), 0.0
        for i in np.flatnonzero(self.group.risk).tolist():
            others = np.maximum(others - x[i], 0.0)
            curve = given_others(self.problem, others, x[i]).curve
            size = int(self.units[i])
            lot, bounds = size * self.shares, (self.cap[i] // size, self.low[i] // size, self.high[i] // size)
            n, own = np.empty(len(self.problem), np.int64), np.empty(len(self.problem))
            # to the last digit: lots may be many, and rounding starts from here
            solve_risk(float(qty[i]), curve, *self._own(i), own)
            round_running_sum(own, lot, *bounds, n)
            left_over = max(left_over, round_path(lot, float(qty[i]), curve, float(self.group.risk[i]), *bounds, n))
            self.n[i] = n * size
            others += n * lot
        return left_over

    def _own(self, i: int) -> tuple[Float, float, Float, Float, Float, Float]:
        """Return cap, risk and bounds of order i as `solve_risk` takes them."""
        none = np.empty(0)
        low, high = (self.in_shares(self.low[i]), self.in_shares(self.high[i])) if self.nested[i] else (none, none)
        return self.in_shares(self.cap[i]), float(self.group.risk[i]), none, none, low, high

    def in_shares(self, units: Int) -> Float:
        """Return shares."""
        return np.asarray(units * self.shares, np.float64)

    def _cost(self, x: Float) -> float:
        """Return what schedules cost without what all lots pay alike, which would hide a gap in its rounding."""
        c = self.problem.curve
        above = replace(self.problem, curve=c.above(float(c.s.min(initial=np.inf))))
        return joint_objective(above, self.group.risk, self.in_shares(self.total), x)

    def quanta(self) -> Int:
        """Return quanta by order and interval, odd remainders included."""
        group, quanta = self.group, np.asarray(self.n * self.unit, np.int64)
        if (group.qty % self.lot).any():
            total = in_shares(quanta).sum(axis=0)
            place_remainders(self.problem.curve, group.qty, self.lot, group.cap, group.high, quanta, total)
        return quanta


def _kept(problem: Problem, group: Group, quanta: Int) -> Int:
    """Return the current plans where they can continue and cost no more, else `quanta`."""
    now = group.current
    if not may_stay(now, quanta, group.qty, group.lot, group.cap, group.low, group.high):
        return quanta
    qty = in_shares(group.qty)
    mine, theirs = (joint_objective(problem, group.risk, qty, in_shares(plan)) for plan in (quanta, now))
    return now.copy() if theirs <= mine + _SAME_COST * abs(mine) else quanta
