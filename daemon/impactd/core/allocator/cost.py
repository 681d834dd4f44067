"""The cost of a schedule of a whole `Problem`, and its gradient for solvers."""

from __future__ import annotations

import math

import numpy as np

from impactd.core.allocator.curve import Float
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.transient import add_pressure, energy


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
    return math.fsum(problem.curve.cost(x).tolist()) + energy(x, problem.root, problem.keep)


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
    grad = problem.curve.marginal(x)
    if problem.risk > 0.0:
        grad = grad - 2.0 * problem.risk * np.cumsum(inventory(qty, x)[::-1])[::-1]
    if problem.root.size:
        grad = grad.copy()
        add_pressure(x, problem.root, problem.keep, grad)
    return np.asarray(grad, dtype=np.float64)
