r"""What a schedule costs, and the derivatives that solvers need.

The cost of an interval is a sum of powers with non-negative coefficients
(see `impactd.core.allocator.problem`), so value, marginal and curvature are
written once here and every solver and every certificate uses them.

Rules:

- a marginal is a price (currency per share): the cost of the next share;
- the cost of the n-th lot is computed as a difference of powers in closed
  form, never as ``C(nL) - C((n-1)L)``: at 1e9 lots that subtraction would
  keep no correct digit.
"""

from __future__ import annotations

import math

import numpy as np

from impactd.core.allocator.problem import Float, Problem
from impactd.core.allocator.transient import add_pressure, energy
from impactd.core.base.jit import kernel


@kernel
def marginal(x: float, s: float, b: float, a: float, e: float, delta: float) -> float:
    """Return C'(x), price: the cost of the next share at `x` shares."""
    value = s + x * (2.0 * b + 3.0 * a * x)
    if e > 0.0 and x > 0.0:
        value += e * (1.0 + delta) * x**delta
    return value


@kernel
def curvature(x: float, b: float, a: float, e: float, delta: float) -> float:
    """Return C''(x), price per share; inf at x = 0 where delta < 1 and e > 0."""
    value = 2.0 * b + 6.0 * a * x
    if e > 0.0:
        if x > 0.0:
            value += e * (1.0 + delta) * delta * x ** (delta - 1.0)
        elif delta < 1.0:
            value = math.inf
        elif delta == 1.0:
            value += 2.0 * e
    return value


@kernel
def slope_and_curvature(x: float, s: float, b: float, a: float, e: float, delta: float) -> tuple[float, float]:
    """Return C'(x) and C''(x) with one power between them."""
    slope = s + x * (2.0 * b + 3.0 * a * x)
    bend = 2.0 * b + 6.0 * a * x
    if e > 0.0:
        if x > 0.0:
            power = e * (1.0 + delta) * x**delta
            slope += power
            bend += delta * power / x
        else:
            bend = curvature(x, b, a, e, delta)
    return slope, bend


@kernel
def lot_price(n: float, lot: float, s: float, b: float, a: float, e: float, delta: float) -> float:
    """Return ``(C(n L) - C((n - 1) L)) / L``, the price per share of the n-th lot, n >= 1.

    The power term is ``n^p - (n-1)^p = -n^p expm1(p log1p(-1/n))`` with
    p = 1 + delta, which loses no digits however large n is.
    """
    value = s
    if b > 0.0:
        value += b * lot * (2.0 * n - 1.0)
    if a > 0.0:
        value += a * lot * lot * (3.0 * n * (n - 1.0) + 1.0)
    if e > 0.0:
        p = 1.0 + delta
        if n <= 1.0:
            value += e * lot**delta
        else:
            value += e * (lot * n) ** delta * n * -math.expm1(p * math.log1p(-1.0 / n))
    return value


@kernel
def added_cost(x: float, q: float, s: float, b: float, a: float, e: float, delta: float) -> float:
    """Return ``C(x + q) - C(x)``, currency, without cancellation; x >= 0, q >= 0."""
    value = q * (s + b * (2.0 * x + q) + a * (3.0 * x * (x + q) + q * q))
    if e > 0.0 and q > 0.0:
        p = 1.0 + delta
        if x <= 0.0:
            value += e * q**p
        else:
            value += e * x**p * math.expm1(p * math.log1p(q / x))
    return value


def interval_cost(problem: Problem, x: Float) -> Float:
    """Return C_t(x_t) of every interval, without what lasts beyond it.

    Parameters
    ----------
    problem : Problem
        N intervals.
    x : ndarray of float64, shape (N,)
        Shares per interval, non-negative.

    Returns
    -------
    ndarray of float64, shape (N,)
        Currency; positive is adverse.
    """
    cost = x * (problem.s + x * (problem.b + x * problem.a))
    if np.any(problem.e > 0):
        cost = cost + problem.e * x ** (1.0 + problem.delta)
    return cost


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
    return math.fsum(interval_cost(problem, x).tolist()) + energy(x, problem.root, problem.keep)


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
        cost += problem.risk * float(left @ left)
    return cost


def gradient(problem: Problem, qty: float, x: Float) -> Float:
    r"""Return the derivative of `objective` by each x_t, price, shape (N,).

    With risk :math:`\partial_t = C_t'(x_t) - 2 \rho \sum_{u \ge t} y_u`: a
    share traded earlier is held for fewer intervals.  Impact that lasts adds
    :math:`(K x)_t`.
    """
    grad = problem.s + x * (2.0 * problem.b + 3.0 * x * problem.a)
    if np.any(problem.e > 0):
        grad = grad + problem.e * (1.0 + problem.delta) * x**problem.delta
    if problem.risk > 0.0:
        grad = grad - 2.0 * problem.risk * np.cumsum(inventory(qty, x)[::-1])[::-1]
    if problem.root.size:
        grad = grad.copy()
        add_pressure(x, problem.root, problem.keep, grad)
    return np.asarray(grad, dtype=np.float64)
