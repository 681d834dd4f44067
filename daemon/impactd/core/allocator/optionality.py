r"""The value of planning a schedule again each minute.

The rest of an order is planned again each minute, at the levels seen then.  An
interval ahead is therefore not traded at its expected level but at the level it will
show: much if it turns out cheap, nothing if it turns out expensive.  With a half-spread s whose forecast is its
mean and whose log will have been seen to depart from it by the variance V (`impactd.core.model.curves.Curves`), a
marginal price p buys on average

.. math::

   x(p) = E\left[ m^{-1}\left( (p - s)^+ \right) \right]

of the interval, m the marginal price of the terms above the spread.  For m linear, and to
first order for others, this is what an interval gives that is there with probability P only,
at the mean spread that it has then:

.. math::

   P = \Pr(s < p) = \Phi(d), \quad E[s \mid s < p] = \hat s \, \frac{\Phi(d - \sqrt V)}{\Phi(d)},
   \quad d = \frac{\log(p / \hat s) + V / 2}{\sqrt V} .

So the problem is solved for the forecast's means, its price p gives each interval its
P and s, and that is solved again, until the price stays: the fixed point has the x(p) above,
and is an ordinary `Problem` with an ordinary certificate.  A plan by means alone trades too
early; most of all a small order, which pays little but the spread, and may wait for a narrow one.

Plans wait for the spread only.  The excess varies as much, but acting on its variation lost more than it gained on
A-shares (ADR 22).

The price of a problem that is not separable differs by interval; it is taken
from its separable part, once.

Limits: caps are taken as they are, though an interval that is there with
probability P has room for that part of its cap; levels of different intervals are taken one
by one, though an expensive hour is expensive in all its minutes.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.curve import Curve
from impactd.core.allocator.problem import Problem, or_zeros, scaled_curve
from impactd.core.allocator.solvers.separable import solve_separable
from impactd.core.base.jit import inner_kernel, kernel
from impactd.core.model.curves import Curves

Float = npt.NDArray[np.float64]

#: The price has settled when it moves by no more than this part of itself, or after this many solves.
SETTLED: Final = 1e-4
MAX_SOLVES: Final = 12
#: An interval is never taken as there with less than this probability.
LEAST_CHANCE: Final = 0.01
#: A variance below this is none.
NO_VARIANCE: Final = 1e-12


@inner_kernel
def normal(z: float) -> float:
    """Return the standard normal distribution function at `z`."""
    return 0.5 * math.erfc(-z * math.sqrt(0.5))


@kernel
def chances(price: float, spread: Float, variance: Float) -> tuple[Float, Float]:
    """Return with which probability each interval's spread is below `price`, and its mean where it is.

    Parameters
    ----------
    price : float
        Marginal price per share over mid.
    spread, variance : ndarray of float64, shape (N,)
        Mean, price; and variance of the log.

    Returns
    -------
    chance, mean : ndarray of float64, shape (N,)
        Intervals without variance have the chance 1.
    """
    chance, mean = np.ones(spread.shape[0]), spread.copy()
    for t in range(spread.shape[0]):
        if variance[t] < NO_VARIANCE or spread[t] <= 0.0 or price <= 0.0:
            continue
        sd = math.sqrt(variance[t])
        d = (math.log(price / spread[t]) + 0.5 * variance[t]) / sd
        below = normal(d)
        if below < LEAST_CHANCE:
            # So far out that the mean below the price is the price, as nearly as matters.
            chance[t], mean[t] = LEAST_CHANCE, price
        else:
            chance[t] = below
            mean[t] = min(spread[t] * normal(d - sd) / below, price)
    return chance, mean


def plain(curves: Curves, *, fraction: Float | None = None, child_slices: int = 1) -> Problem:
    """Return the problem of what is expected, without caps or risk."""
    return Problem.from_impact(
        curves.half_spread,
        curves.beta,
        curves.alpha,
        curves.eta,
        curves.delta,
        fraction=fraction,
        child_slices=child_slices,
    )


def anticipate(curves: Curves, base: Problem, qty: float, cap: Float, *, child_slices: int = 1) -> Problem:
    """Return the problem to solve for a schedule that will be planned again.

    Parameters
    ----------
    curves : Curves
        Over N intervals.
    base : Problem
        What is expected of them (`plain`).
    qty : float
        Shares.
    cap : ndarray of float64, shape (N,)
        Shares; inf for none.

    Returns
    -------
    Problem
        Without caps and risk.  `base`, where no spread swings or the caps leave no choice.
    """
    variance = curves.spread_variance
    if variance is None or float(variance.max(initial=0.0)) < NO_VARIANCE or not 0.0 < qty < cap.sum():
        return base
    s, part = curves.half_spread, base.fraction
    terms = or_zeros(s, curves.beta, curves.alpha, curves.eta)
    found = anticipated(qty, base.curve, s, *terms, variance, cap, part, child_slices, np.empty(len(base)))
    return Problem(found, base.cap, part)


@kernel
def anticipated(
    qty: float,
    base: Curve,
    half_spread: Float,
    beta: Float,
    alpha: Float,
    eta: Float,
    variance: Float,
    cap: Float,
    fraction: Float,
    child_slices: int,
    x: Float,
) -> Curve:
    """Return the costs at which the price of `qty` shares stays, from `base` on; `x` (N,) is filled with a schedule."""
    curve, price, part = base, 0.0, np.empty(fraction.shape[0])
    for _ in range(MAX_SOLVES):
        found, _ = solve_separable(qty, curve, cap, fraction, x)
        if not math.isfinite(found) or abs(found - price) <= SETTLED * found:
            break
        price = found
        chance, mean = chances(price, half_spread, variance)
        for t in range(part.shape[0]):
            part[t] = fraction[t] * chance[t]
        curve = scaled_curve(mean, beta, alpha, eta, base.delta, part, child_slices)
    return curve
