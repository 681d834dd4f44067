"""The cost of a schedule of a whole `Problem`, and its gradient for solvers."""

from __future__ import annotations

import math

import numpy as np

from impactd.core.allocator.curve import Float, fill_costs
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.transient import add_pressure, energy
from impactd.core.base.jit import kernel


@kernel
def exact_sum(values: Float) -> float:
    """Return the sum of finite values, rounded once, as `math.fsum` does [1]_; that of others as they add up.

    References
    ----------
    .. [1] Shewchuk (1997), Adaptive Precision Floating-Point Arithmetic, Discrete and Computational Geometry 18.
    """
    # Parts that do not overlap, the smallest first; their sum is exact.
    parts = np.empty(values.shape[0] + 1)
    n, plain = 0, 0.0
    for i in range(values.shape[0]):
        x = values[i]
        plain += x
        kept = 0
        for k in range(n):
            y = parts[k]
            if abs(x) < abs(y):
                x, y = y, x
            high = x + y
            low = y - (high - x)
            if low != 0.0:
                parts[kept] = low
                kept += 1
            x = high
        parts[kept] = x
        n = kept + 1
    if not math.isfinite(plain):
        return plain
    if n == 0:
        return 0.0
    n -= 1
    high, low = parts[n], 0.0
    while n > 0:
        x, y = high, parts[n - 1]
        n -= 1
        high = x + y
        low = y - (high - x)
        if low != 0.0:
            break
    # Half-way between two floats, what is left decides.
    if n > 0 and ((low < 0.0 and parts[n - 1] < 0.0) or (low > 0.0 and parts[n - 1] > 0.0)):
        twice = low * 2.0
        x = high + twice
        if twice == x - high:
            high = x
    return float(high)


@kernel
def separable_cost(x: Float, s: Float, b: Float, a: Float, e: Float, delta: float) -> float:
    """Return the sum over intervals of what `x` costs, currency."""
    cost = np.empty(x.shape[0])
    fill_costs(x, s, b, a, e, delta, cost)
    return exact_sum(cost)


def schedule_cost(problem: Problem, x: Float) -> float:
    """Return the expected impact cost of a schedule above mid, without the risk term.

    Parameters
    ----------
    problem : Problem
        N intervals.
    x : ndarray of float64, shape (N,)
        Shares per interval, non-negative.

    Returns
    -------
    float
        Currency; positive is adverse.
    """
    cost = separable_cost(x, *problem.curve)
    return cost + energy(x, problem.root, problem.keep) if problem.root.size else cost


def inventory(qty: float, x: Float) -> Float:
    """Return what is left of `qty` after each interval, shares, shape (N,)."""
    return qty - np.cumsum(x)


def objective(problem: Problem, qty: float, x: Float) -> float:
    """Return cost plus the risk term, currency: what a solver minimises.

    Parameters
    ----------
    problem : Problem
        N intervals.
    qty : float
        Shares of the order; inventory starts here.
    x : ndarray of float64, shape (N,)
        Shares per interval, non-negative.
    """
    cost = schedule_cost(problem, x)
    if problem.risk > 0.0:
        left = inventory(qty, x)
        cost += problem.risk * float(np.sum(left * left))
    return cost


def gradient(problem: Problem, qty: float, x: Float) -> Float:
    r"""Return the derivative of `objective` by each x_t, price, shape (N,).

    With risk :math:`\partial_t = C_t'(x_t) - 2 \rho \sum_{u \ge t} y_u`: a
    share traded earlier is held for fewer intervals.  Impact that lasts adds
    :math:`(K x)_t`.
    """
    grad = problem.curve.marginal(x)
    if problem.risk > 0.0:
        grad = grad - 2.0 * problem.risk * np.cumsum(inventory(qty, x)[::-1])[::-1]
    if problem.root.size:
        grad = grad.copy()
        add_pressure(x, problem.root, problem.keep, grad)
    return np.asarray(grad, dtype=np.float64)
