r"""Several orders of which some have risk: the continuous optimum, and its certificate.

The certificate is the gap of Frank and Wolfe (1956; Jaggi 2013, ICML, sec. 2),

.. math::

   G = \sum_i \max_{z \in P_i} \sum_t \partial_{it} (x_{it} - z_t)
     \;\ge\; \text{objective}(x) - \text{optimum},

with P_i the schedules that order i may have: it is 0 just where every order's
KKT conditions hold at the joint prices.  It is measured in highest excess
marginal times quantity, as that of one order is.  The best z at given prices is a
problem of `impactd.core.allocator.solvers.decomposition` with constant prices.
"""

from __future__ import annotations

import numpy as np

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.curve import PRICE_FLOOR, SMALLEST_PRICE, Curve, Float, mean_marginal
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.decomposition import Bools, decompose
from impactd.core.allocator.solvers.interior import inside, interior_point, settle
from impactd.core.base.uncompiled import in_machine_code


def solve_with_risk(
    problem: Problem, qty: Float, cap: Float, low: Float, high: Float, nested: Bools, risk: Float
) -> tuple[Float, int]:
    """Return shares by order and interval, shape (I, N), and the steps taken.

    Parameters
    ----------
    problem : Problem
        N intervals.
    qty, risk : ndarray of float64, shape (I,)
        Shares, which the bounds hold; weight of squared inventory.
    cap, low, high : ndarray of float64, shape (I, N)
        Tight bounds, shares.
    nested : ndarray of bool, shape (I,)
    """
    x = np.array(cap)
    choice = np.flatnonzero((qty > 0.0) & (np.sum(cap, axis=1) > qty * (1.0 + 1e-12)))
    if choice.size == 0:
        return x, 0
    offset = np.sum(np.delete(cap, choice, axis=0), axis=0)
    whole = float(np.sum(qty[choice]))
    open_ = np.max(cap[choice], axis=0)
    base = float(np.min(problem.curve.s[open_ > 0.0]))
    curve = problem.curve._replace(s=problem.curve.s - base)
    unit = mean_marginal(whole + float(np.sum(offset)), curve, open_)
    unit += 2.0 * float(np.max(risk[choice] * qty[choice]))
    least, most = low[choice] / whole, high[choice] / whole
    limit = cap[choice] / whole
    q = qty[choice] / whole
    start = np.empty(limit.shape)
    for i in range(len(choice)):
        inside(limit[i], least[i], most[i], start[i])
    mult = np.empty((4, *start.shape))
    none = np.empty(0)
    # Each of its steps solves as many equations as there are intervals: hours as Python.
    steps = in_machine_code(
        interior_point, curve.scaled(whole, unit), offset / whole, q, limit, least, most, nested[choice],
        risk[choice] * (whole / unit), none, none, start, mult,
    )  # fmt: skip
    for i in range(len(choice)):
        settle(limit[i], least[i], most[i], np.ascontiguousarray(mult[:, i]), start[i])
    x[choice] = start * whole
    return x, steps


def certificate(
    problem: Problem, qty: Float, cap: Int, low: Int, high: Int, unit: float, risk: Float, x: Float
) -> tuple[tuple[float, ...], float, float]:
    """Return each order's multiplier, the relative residual of all, and the bound on what could be saved, currency.

    `cap`, `low` and `high` are in units of `unit` shares, `x` (I, N) in shares.
    """
    p, n = problem, len(problem)
    zero = np.zeros(n)
    impact = p.curve.marginal(np.maximum(np.sum(x, axis=0), 0.0))
    multipliers, gap, scale_qty, outside = [], 0.0, 0.0, 0.0
    for i, row in enumerate(x):
        left = qty[i] - np.cumsum(row)
        price = impact - 2.0 * risk[i] * np.cumsum(left[::-1])[::-1]
        if qty[i] <= 0.0:
            multipliers.append(0.0)
            continue
        lots, level = np.empty((1, n), np.int64), np.empty(n)
        lots[0] = np.diff(high[i], prepend=0)
        flat = Curve(price - float(np.min(price)), zero, zero, zero, 1.0)
        decompose(
            flat, p.fraction, zero, unit, cap[i : i + 1], low[i : i + 1], high[i : i + 1], np.ones(1, np.bool_), lots,
            level,
        )  # fmt: skip
        best = lots[0] * unit
        gap += max(float(np.sum((price - float(np.min(price))) * (row - best))), 0.0)
        multipliers.append(float(np.max(price[lots[0] > 0])))
        highest = float(np.max(impact[row > 0.0], initial=-np.inf))
        cheapest = float(np.min(p.curve.s[cap[i] > 0], initial=np.inf))
        scale = highest - cheapest + 2.0 * risk[i] * float(np.sum(np.abs(left)))
        scale_qty += qty[i] * max(scale, PRICE_FLOOR * abs(highest), SMALLEST_PRICE)
        path = np.cumsum(row)
        bad = max(
            abs(float(path[-1]) - qty[i]), float(np.max(row - cap[i] * unit)), float(np.max(-row)),
            float(np.max(path - high[i] * unit)), float(np.max(low[i] * unit - path)),
        )  # fmt: skip
        outside = max(outside, bad / float(qty[i]))
    # Numbers of Python, as messages hold them: those of NumPy are no JSON.
    return tuple(multipliers), float(max(gap / scale_qty if scale_qty > 0.0 else 0.0, outside)), gap
