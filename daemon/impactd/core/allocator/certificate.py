r"""The certificate of an allocation: how far it can be from the optimum.

Take any x and any multiplier :math:`\mu` of the sum constraint.  The price at
which interval t should trade is

.. math::

   \lambda_t = \mu + 2 \rho \sum_{u \ge t} y_u,
   \qquad \hat x_t = \arg\min_{0 \le z \le u_t} C_t(z) - \lambda_t z,
   \qquad u_t = \min(cap_t, R),

and the KKT conditions say :math:`x_t = \hat x_t`: the marginal is the price,
or the interval is on the bound that the difference pushes it to.  Where it is
not, the error is a price difference times a quantity difference,

.. math::

   G = \sum_t \bigl(C_t'(x_t) - \lambda_t\bigr) \bigl(x_t - \hat x_t\bigr),

each term of which is non-negative because :math:`C_t'` increases.  (Where
impact lasts, the price is less by :math:`(K x)_t`.)  Lagrangian duality (Boyd
and Vandenberghe 2004, sec. 5.5.1-5.5.2) with the convexity of C, of the risk
term and of what lasts gives ``objective(x) - optimum <= G`` for a feasible x:
G is a residual of stationarity and complementarity and also a proven bound
on the money left.  (What would rather be bought is limited by R in total, so
the terms with :math:`\hat x_t > x_t` count at most ``R`` times their largest
price difference.)

The published number is the largest of

- ``|sum(x) - target| / target``, ``max(-x) / target``, ``max(x - cap) / target``
  (feasibility), and
- ``G / (scale * target)``,

where ``scale`` is a price: the highest marginal paid above the cheapest
spread, plus the prices of risk and of what lasts.  Measured so, a wide but equal spread cannot
hide a bad split.  (The scale is not let below a millionth of the marginal
itself: differences beyond that are below the rounding of prices.)
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from impactd.core.allocator.cost import gradient
from impactd.core.allocator.curve import Curve, Float, marginal
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.supply import invert_marginal, model_kind
from impactd.core.allocator.transient import add_pressure
from impactd.core.base.jit import kernel

#: A schedule is published only up to this residual: it then costs at most a
#: millionth of (highest excess marginal * quantity) more than the optimum.
#: The exact solvers stay below 1e-12; general-purpose ones reach 1e-8.
CERTIFICATE_TOLERANCE: Final = 1e-6

#: Floor of the price scale, as a part of the multiplier.
_PRICE_FLOOR: Final = 2.0**-20

#: Keeps a market without any cost from dividing by zero.
_SMALLEST_PRICE: Final = 2.0**-1000


def capacity(problem: Problem, qty: float) -> float:
    """Return the shares that can be placed: the lesser of `qty` and all caps."""
    total = float(np.sum(np.minimum(problem.cap, qty)))
    return min(qty, total)


def kkt_residual(problem: Problem, qty: float, x: Float, multiplier: float) -> float:
    """Return the relative KKT residual of `x` (see the module's definition).

    Parameters
    ----------
    problem : Problem
        N intervals.
    qty : float
        Shares of the order.
    x : ndarray of float64, shape (N,)
        Shares per interval.
    multiplier : float
        Price of one more share, of the sum constraint.

    Returns
    -------
    float
        Non-negative and dimensionless; inf where `x` or the multiplier is
        not finite.
    """
    if len(problem) == 0 or qty <= 0.0:
        return float(np.max(np.abs(x), initial=0.0))
    p = problem
    return _residual(qty, p.curve, p.cap, p.risk, p.root, p.keep, x, multiplier)


@kernel
def _residual(
    qty: float,
    c: Curve,
    cap: Float,
    risk: float,
    root: Float,
    keep: Float,
    x: Float,
    mu: float,
) -> float:
    n = x.shape[0]
    pressed = np.zeros(n)
    add_pressure(x, root, keep, pressed)
    room, total, outside, held_sum, cheapest = 0.0, 0.0, 0.0, 0.0, math.inf
    finite = math.isfinite(mu)
    for t in range(n):
        finite &= math.isfinite(x[t])
        room += min(cap[t], qty)
        total += x[t]
        outside = max(outside, -x[t], x[t] - cap[t])
        held_sum += abs(qty - total)
        if cap[t] > 0.0:
            cheapest = min(cheapest, c.s[t])
    if not finite:
        return math.inf
    target = min(qty, room)
    unit = target if target > 0.0 else qty
    residual = max(abs(total - target), outside) / unit
    sell, buy, worst, highest, left = 0.0, 0.0, 0.0, -math.inf, qty - total
    lasting = 0.0
    kind = model_kind(c)
    holding = 0.0
    for k in range(n):  # backwards, so that what is held after each interval adds up
        t = n - 1 - k
        impact = marginal(max(x[t], 0.0), c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
        holding += left
        left += x[t]
        price = mu + 2.0 * risk * holding - pressed[t]
        lasting = max(lasting, pressed[t])
        if x[t] > 0.0:
            highest = max(highest, impact)
        if impact != price:
            ideal, _ = invert_marginal(price - c.s[t], kind, c.b[t], c.a[t], c.e[t], c.delta, min(cap[t], qty))
            if impact > price:
                sell += (impact - price) * max(x[t] - ideal, 0.0)
            elif ideal > x[t]:
                buy += (price - impact) * (ideal - x[t])
                worst = max(worst, price - impact)
    gap = sell + min(buy, worst * unit)
    if gap > 0.0:
        highest = max(highest, mu) if highest == -math.inf else highest
        scale = max(highest - cheapest, 0.0) + 2.0 * risk * held_sum + lasting
        scale = max(scale, _PRICE_FLOOR * max(abs(mu), abs(highest)), _SMALLEST_PRICE)
        residual = max(residual, gap / (scale * unit))
    return residual


def best_multiplier(problem: Problem, qty: float, x: Float) -> float:
    """Return the multiplier with the least complementarity gap at `x`, price.

    The sum of both kinds of complementarity is convex and piecewise linear in
    the multiplier, so its minimum is a weighted median of the marginals: the first one at which what would
    rather be bought (room below it) outweighs what would rather be sold
    (quantity above it).

    Parameters
    ----------
    problem : Problem
        N intervals.
    qty : float
        Shares of the order.
    x : ndarray of float64, shape (N,)
        Shares per interval.
    """
    if len(problem) == 0:
        return 0.0
    price = gradient(problem, qty, np.maximum(x, 0.0))
    order = np.argsort(price, kind="stable")
    held = np.maximum(x, 0.0)[order]
    room = np.maximum(np.minimum(problem.cap, qty) - x, 0.0)[order]
    below = np.cumsum(room)
    above = np.sum(held) - np.cumsum(held)
    return float(price[order][int(np.argmax(below >= above))])
