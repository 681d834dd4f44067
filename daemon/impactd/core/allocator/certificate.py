r"""The certificate of an allocation: how far it can be from the optimum.

Take any x and any multiplier :math:`\mu_t = \mu` of the sum constraint.  The price
at which interval t should trade is

.. math::

   \lambda_t = \mu_t + 2 \rho \sum_{u \ge t} y_u,
   \qquad \hat x_t = \arg\min_{0 \le z \le u_t} C_t(z) - \lambda_t z,
   \qquad u_t = \min(cap_t, R),

and the KKT conditions say :math:`x_t = \hat x_t`: the marginal is the price,
or the interval is on the bound that the difference pushes it to.  Bounds of the
running sum X make the multiplier a step function of time, :math:`\mu_t`: it may
rise after t only where :math:`X_t` is on its upper bound h, and fall only where it
is on its lower bound :math:`\ell`.  Where this does not hold, the error is a price
difference times a quantity difference,

.. math::

   G = \sum_t \bigl(C_t'(x_t) - \lambda_t\bigr) \bigl(x_t - \hat x_t\bigr)
     + \sum_t (\mu_{t+1} - \mu_t)^+ (h_t - X_t) + (\mu_t - \mu_{t+1})^+ (X_t - \ell_t),

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
  and by how much X leaves its bounds, by ``target`` too (feasibility), and
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
from impactd.core.allocator.curve import PRICE_FLOOR, SMALLEST_PRICE, Curve, Float, marginal
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.supply import invert_marginal, model_kind
from impactd.core.allocator.transient import add_pressure
from impactd.core.base.jit import kernel
from impactd.core.base.order import stable_order

#: A schedule is published only up to this residual: it then costs at most a
#: millionth of (highest excess marginal * quantity) more than the optimum.
#: The exact solvers stay below 1e-12; general-purpose ones reach 1e-8.
CERTIFICATE_TOLERANCE: Final = 1e-6


#: A running sum this near to a bound, as a part of the quantity, is taken to be on it.
_ON_BOUND: Final = 1e-6


def capacity(problem: Problem, qty: float) -> float:
    """Return the shares that can be placed: the lesser of `qty` and all caps."""
    total = float(np.minimum(problem.cap, qty).sum())
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
        return float(np.abs(x).max(initial=0.0))
    p = problem
    prices = _chain(p, qty, x) if p.nested else np.full(len(p), multiplier)
    return _residual(qty, p.curve, p.cap, p.risk, p.root, p.keep, p.low, p.high, x, prices)


def _chain(problem: Problem, qty: float, x: Float) -> Float:
    """Return the multipliers by interval that leave next to no gap at `x`, where bounds of the running sum bind."""
    prices = np.empty(len(problem))
    price = gradient(problem, qty, np.maximum(x, 0.0))
    step_prices(price, x, problem.cap, problem.low, problem.high, qty, _ON_BOUND * qty, prices)
    return prices


@kernel
def step_prices(
    price: Float, x: Float, cap: Float, low: Float, high: Float, qty: float, slack: float, out: Float
) -> None:
    """Fill `out` with multipliers that change only where the running sum of `x` is within `slack` of a bound.

    Between two such places any multiplier in a range leaves the least gap (see
    `best_multiplier`).  A pass forward narrows each range to what the ranges
    before it allow, with the sign that the bound between them gives; a pass
    backward picks from what is left.
    """
    n = x.shape[0]
    least, most = np.empty(n), np.empty(n)  # by piece
    end, turn = np.empty(n, np.int64), np.empty(n, np.int64)
    open_below = np.empty(n, np.bool_)
    pieces, first, done = 0, 0, 0.0
    for t in range(n):
        done += x[t]
        up, down = done >= high[t] - slack, done <= low[t] + slack
        if t < n - 1 and not up and not down:
            continue
        least[pieces], most[pieces] = _median_range(price, x, cap, qty, slack, first, t + 1)
        open_below[pieces] = least[pieces] == -math.inf
        end[pieces] = t + 1
        turn[pieces] = (1 if up else 0) - (1 if down else 0) if up != down else 2
        pieces += 1
        first = t + 1
    for k in range(1, pieces):
        before = turn[k - 1]
        if before == 1:  # on its upper bound: the price may rise
            least[k] = max(least[k], least[k - 1])
            most[k] = max(most[k], least[k])
        elif before == -1:
            most[k] = min(most[k], most[k - 1])
            least[k] = min(least[k], most[k])
    after = 0.0
    for j in range(pieces):
        k = pieces - 1 - j
        lo, hi = least[k], most[k]
        if j > 0 and turn[k] == 1:
            hi = max(min(hi, after), lo)
        elif j > 0 and turn[k] == -1:
            lo = min(max(lo, after), hi)
        if hi < math.inf and (open_below[k] or lo == -math.inf):
            after = hi  # next to the price at which something would be bought
        elif lo > -math.inf:
            after = lo
        for t in range(end[k - 1] if k > 0 else 0, end[k]):
            out[t] = after


@kernel
def _median_range(
    price: Float, x: Float, cap: Float, qty: float, slack: float, first: int, last: int
) -> tuple[float, float]:
    """Return the range of multipliers with the least gap in the intervals from `first` to before `last`."""
    order = stable_order(price[first:last])
    above = 0.0  # what is held, and so would be sold below its price
    for t in range(first, last):
        above += x[t] if x[t] > slack else 0.0
    below, least = 0.0, -math.inf if above == 0.0 else math.inf
    for k in range(last - first):
        t = first + order[k]
        room = min(cap[t], qty) - x[t]
        below += room if room > slack else 0.0
        above -= x[t] if x[t] > slack else 0.0
        if below > above:
            return min(least, price[t]), price[t]
        if below == above:
            least = min(least, price[t])
    return min(least, price[first + order[last - first - 1]]), math.inf


@kernel
def _residual(
    qty: float,
    c: Curve,
    cap: Float,
    risk: float,
    root: Float,
    keep: Float,
    low: Float,
    high: Float,
    x: Float,
    prices: Float,
) -> float:
    n = x.shape[0]
    pressed = np.zeros(n)
    add_pressure(x, root, keep, pressed)
    room, total, outside, held_sum, cheapest = 0.0, 0.0, 0.0, 0.0, math.inf
    finite = True
    for t in range(n):
        finite &= math.isfinite(x[t]) and math.isfinite(prices[t])
        room += min(cap[t], qty)
        total += x[t]
        outside = max(outside, -x[t], x[t] - cap[t])
        if low.shape[0] > 0:
            outside = max(outside, total - high[t], low[t] - total)
        held_sum += abs(qty - total)
        if cap[t] > 0.0:
            cheapest = min(cheapest, c.s[t])
    if not finite:
        return math.inf
    target = min(qty, room)
    unit = target if target > 0.0 else qty
    residual = max(abs(total - target), outside) / unit
    sell, buy, worst, highest, left = 0.0, 0.0, 0.0, -math.inf, qty - total
    turns, mu, lasting = 0.0, prices[n - 1], 0.0
    kind = model_kind(c)
    holding = 0.0
    for k in range(n):  # backwards, so that what is held after each interval adds up
        t = n - 1 - k
        impact = marginal(max(x[t], 0.0), c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
        holding += left
        left += x[t]
        if low.shape[0] > 0 and k > 0:
            rise = prices[t + 1] - prices[t]
            done = qty - left + x[t]
            turns += rise * max(high[t] - done, 0.0) if rise > 0.0 else -rise * max(done - low[t], 0.0)
        price = prices[t] + 2.0 * risk * holding - pressed[t]
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
    gap = sell + min(buy, worst * unit) + turns
    if gap > 0.0:
        highest = max(highest, mu) if highest == -math.inf else highest
        scale = max(highest - cheapest, 0.0) + 2.0 * risk * held_sum + lasting
        scale = max(scale, PRICE_FLOOR * max(abs(mu), abs(highest)), SMALLEST_PRICE)
        residual = max(residual, gap / (scale * unit))
    return residual


def best_multiplier(problem: Problem, qty: float, x: Float) -> float:
    """Return the multiplier with the least complementarity gap at `x`, price: of the last interval, where it changes.

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
    if problem.nested:
        return float(_chain(problem, qty, x)[-1])
    price = gradient(problem, qty, np.maximum(x, 0.0))
    order = np.argsort(price, kind="stable")
    held = np.maximum(x, 0.0)[order]
    room = np.maximum(np.minimum(problem.cap, qty) - x, 0.0)[order]
    below = room.cumsum()
    above = held.sum() - held.cumsum()
    return float(price[order][int(np.argmax(below >= above))])
