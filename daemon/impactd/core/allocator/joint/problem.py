"""Several orders on one symbol and side: their terms, what they cost together, and one of them given the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.cost import schedule_cost
from impactd.core.allocator.curve import SMALLEST_PRICE, Float, fill_costs
from impactd.core.allocator.problem import Problem
from impactd.core.base.elementary import powers
from impactd.core.base.jit import kernel
from impactd.core.base.quantity import QUANTA
from impactd.core.base.quick import quick_dataclass

#: Least quantity that a power term is expanded about, as a part of the mean.
_LEAST_PART: Final = 1e-9


@quick_dataclass(frozen=True, slots=True)
class Group:
    """The terms of I orders over N common intervals.  Ties are broken in their order."""

    #: Shape (I,). Leaves and lot size of each, quanta.
    qty: Int
    lot: Int
    #: Shape (I, N). Quanta; `NO_CAP` for none, 0 outside an order's window.
    cap: Int
    #: Shape (I, N). Least and most of each running sum, quanta (`impactd.core.allocator.bounds`).
    low: Int
    high: Int
    #: Shape (I,). Weight of squared inventory, currency per share^2.
    risk: Float
    #: Shape (I, N). Current plans, quanta; zeros where an order has none.
    current: Int

    def __len__(self) -> int:
        return int(self.qty.shape[0])


@quick_dataclass(frozen=True, slots=True)
class JointAllocation:
    """The schedules of several orders and their common certificate."""

    #: Shape (I, N). By order and interval.
    quanta: Int
    #: What each order's bounds could not hold.
    shortfall_quanta: tuple[int, ...]
    #: Price of the dearest share of each order.
    multipliers: tuple[float, ...]
    #: Of all together.
    kkt_residual: float
    solver: str
    #: Prices looked at, or steps of the interior point.
    iterations: int
    #: Currency: all schedules together cost at most this more than the best ones in whole lots; None where they are the
    #: best ones.
    gap: float | None = None


def joint_objective(problem: Problem, risk: Float, qty: Float, x: Float) -> float:
    """Return the cost of the sum plus each order's price of risk, currency.

    Parameters
    ----------
    risk, qty : ndarray of float64, shape (I,)
        Weight of squared inventory, and shares to trade.
    x : ndarray of float64, shape (I, N)
        Shares.
    """
    cost = schedule_cost(problem, x.sum(axis=0))
    for i in np.flatnonzero(risk).tolist():
        left = qty[i] - x[i].cumsum()
        cost += risk[i] * float(np.sum(left * left))
    return float(cost)


def in_shares(quanta: Int) -> Float:
    """Return shares; sums of many orders are made in shares, since sums of quanta may leave int64."""
    return np.asarray(quanta / QUANTA, np.float64)


@kernel
def parts_of_cost(x: Float, total: Float, s: Float, b: Float, a: Float, e: Float, delta: float) -> Float:
    """Return what each row of `x` (I, N; shares) pays of the cost of `total` (N,), currency, shape (I,).

    Shares of an interval all pay the same.
    """
    price, cost = np.empty(total.shape[0]), np.zeros(x.shape[0])
    fill_costs(total, s, b, a, e, delta, price)
    for t in range(total.shape[0]):
        price[t] = price[t] / total[t] if total[t] > 0.0 else s[t]  # of the first share where nothing trades
    for i in range(x.shape[0]):
        for t in range(x.shape[1]):
            cost[i] += x[i, t] * price[t]
    return cost


def given_others(problem: Problem, others: Float, own: Float) -> Problem:
    """Return the problem of one order where `others` trade too (shares, shape (N,)), about its own `own`.

    Exact for linear and quadratic impact, of second order about ``others + own``
    for a power term.
    """
    c = problem.curve
    s = c.s + others * (2.0 * c.b + 3.0 * others * c.a)
    b = c.b + 3.0 * others * c.a
    if (c.e > 0.0).any():
        at = others + own
        at = np.maximum(at, _LEAST_PART * max(float(np.mean(at)), SMALLEST_PRICE))
        slope = c.e * (1.0 + c.delta) * powers(at, c.delta)
        bend = 0.5 * c.delta * slope / at
        s, b = s + slope - 2.0 * bend * own, b + bend
        s = s - min(float(s.min()), 0.0)  # what all intervals have in common decides nothing
    return replace(problem, curve=c._replace(s=s, b=b, e=np.zeros(len(problem))))
