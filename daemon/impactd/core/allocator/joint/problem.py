"""What several orders on one symbol and side are to the solvers: their terms, their cost, and one beside the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from impactd.core.allocator.cost import schedule_cost
from impactd.core.allocator.curve import Float
from impactd.core.allocator.lots.separable import Int
from impactd.core.allocator.problem import Problem

#: Least quantity that a power term is expanded about, as a part of the mean.
_LEAST_PART: Final = 1e-9

_SMALLEST_PRICE: Final = 2.0**-1000


@dataclass(frozen=True, slots=True)
class GroupOrder:
    """One of several orders.

    Attributes
    ----------
    qty_quanta : int
        Its leaves.
    lot_quanta : int
        Quanta in one lot.
    cap_quanta : ndarray of int64, shape (N,)
        `NO_CAP` for none; 0 outside its window.
    risk : float
        Weight of its squared inventory, currency per share^2.
    current_quanta : ndarray of int64, shape (N,)
        Its current plan; zeros where it has none.
    """

    qty_quanta: int
    lot_quanta: int
    cap_quanta: Int
    risk: float
    current_quanta: Int


@dataclass(frozen=True, slots=True)
class JointAllocation:
    """The schedules of several orders and their common certificate.

    Attributes
    ----------
    quanta : ndarray of int64, shape (I, N)
        By order and interval.
    shortfall_quanta : tuple of int
        What each order's caps could not hold.
    multipliers : tuple of float
        Price of one more share of each order.
    kkt_residual : float
        Of all together.
    rounds : int
        In which every order had its turn, or steps of the interior point.
    gap : float or None
        Currency: all schedules together cost at most this more than the best ones in whole lots; None where they
        are the best ones.
    """

    quanta: Int
    shortfall_quanta: tuple[int, ...]
    multipliers: tuple[float, ...]
    kkt_residual: float
    solver: str
    rounds: int
    gap: float | None = None


def joint_objective(problem: Problem, risk: Sequence[float], qty: Sequence[float], x: Float) -> float:
    """Return the cost of the sum plus each order's price of risk, currency.

    Parameters
    ----------
    risk, qty : sequence of float
        By order: weight of squared inventory, and shares to trade.
    x : ndarray of float64, shape (I, N)
    """
    cost = schedule_cost(problem, np.sum(x, axis=0))
    for rho, total, row in zip(risk, qty, x, strict=True):
        if rho > 0.0:
            left = total - np.cumsum(row)
            cost += rho * float(left @ left)
    return cost


def shifted(problem: Problem, others: Float, own: Float, cap: Float, risk: float) -> Problem:
    """Return the problem of one order beside `others` (shares, shape (N,)), about its own `own`.

    Exact for linear and quadratic impact, of second order about ``others + own``
    for a power term.  What all intervals have in common is left out of s.
    """
    p = problem
    c = p.curve
    s = c.s + others * (2.0 * c.b + 3.0 * others * c.a)
    b = c.b + 3.0 * others * c.a
    if np.any(c.e > 0.0):
        at = others + own
        at = np.maximum(at, _LEAST_PART * max(float(np.mean(at)), _SMALLEST_PRICE))
        slope = c.e * (1.0 + c.delta) * at**c.delta
        bend = 0.5 * c.delta * slope / at
        s, b = s + slope - 2.0 * bend * own, b + bend
    return replace(p, curve=c._replace(s=s - np.min(s, initial=np.inf), b=b, e=np.zeros(len(p))), cap=cap, risk=risk)
