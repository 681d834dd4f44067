r"""The separable problem, solved exactly: a one-dimensional search on the multiplier.

At the optimum every interval that trades below its cap pays the same marginal
price (KKT): :math:`C_t'(x_t) = \mu`, with :math:`x_t = 0` where the first
share is more expensive than :math:`\mu` and :math:`x_t = cap_t` where the last is
cheaper.  So x is a function of one number,

.. math::

   x_t(\mu) = \mathrm{clip}\bigl((C_t')^{-1}(\mu),\, 0,\, \min(cap_t, 2R)\bigr),
   \qquad S(\mu) = \sum_t x_t(\mu),

and S is non-decreasing: find :math:`S(\mu) = R`.  (2R stands for no cap: it
keeps everything finite and never binds.)  This is the continuous
resource allocation problem; the search on the multiplier goes back to Gibbs,
see Patriksson (2008), "A survey on the continuous nonlinear resource
allocation problem", EJOR 185(1), sec. 2.

Speed and robustness:

- Spreads are measured from the cheapest one, so that a spread common to all
  intervals takes no digits from the impact.
- Newton's method inside a bracket.  S is piecewise linear for a linear
  impact, where Newton ends at the exact answer once it knows which intervals
  trade.  Otherwise S is close to a power of mu, so Newton runs on log S
  against log mu: for a power model with one spread and no caps that is exact
  after one step.  A step that leaves the bracket, or three in a row that
  do not halve the error of the sum, are replaced by a bisection.
- Intervals without any curvature (spread only) are steps of S.  Their levels
  are searched first; when mu falls on one, what is left is shared over the
  tied intervals in proportion to their `fraction`.
- Where S is so steep that no float64 mu gives R, the bracket ends as two
  neighbouring floats and x is taken between its values at both ends: feasible,
  and optimal to the last digit of mu.
- Finally the last rounding error of the sum is moved into intervals that are
  off their bounds, in proportion to dx/dmu, which is the Newton step in x.

Every sum is sequential (and compensated), so the result is the same on every
run.
"""

from __future__ import annotations

import math

import numpy as np

from impactd.core.allocator.curve import Curve, Float, flat_at, less, marginal, mean_marginal
from impactd.core.allocator.supply import LINEAR, invert_marginal, model_kind
from impactd.core.allocator.waterfill import share
from impactd.core.base.jit import kernel
from impactd.core.base.order import stable_order

#: Newton stops at this relative error of the sum; the last correction is of
#: second order in it.
_SUM_TOLERANCE = 1e-12

#: ... provided that correction moves the multiplier by less than this part of it: where all but a
#: tiny interval is at its cap, even a small error of the sum is a large one of the multiplier.
_STEP_TOLERANCE = 1e-9

#: A bracket of positive float64 has 2046 * 2^52 members, so bisection by the
#: geometric and then the arithmetic mean ends within about 75 steps.
_MAX_STEPS = 300


@kernel
def _totals(mu: float, kind: int, c: Curve, top: Float) -> tuple[float, float]:
    """Return S(mu) and its slope.

    Where an interval has no curvature x steps from 0 to top just above its s.
    """
    total, slope = 0.0, 0.0
    for t in range(top.shape[0]):
        value, rate = invert_marginal(mu - c.s[t], kind, c.b[t], c.a[t], c.e[t], c.delta, top[t])
        total += value
        slope += rate
    return total, slope


@kernel
def _supply(mu: float, kind: int, c: Curve, top: Float, x: Float, w: Float) -> float:
    """Fill x(mu) and its slope w = dx/dmu; return the compensated sum of x (Neumaier 1974)."""
    total, carry = 0.0, 0.0
    for t in range(top.shape[0]):
        value, w[t] = invert_marginal(mu - c.s[t], kind, c.b[t], c.a[t], c.e[t], c.delta, top[t])
        x[t] = value
        after = total + value
        carry += (total - after) + value if total >= value else (value - after) + total
        total = after
    return total + carry


@kernel
def _mean(lo: float, hi: float) -> float:
    """Return a point between, geometric while the ends differ in magnitude."""
    if lo > 0.0 and hi > 4.0 * lo:
        return math.sqrt(lo) * math.sqrt(hi)
    if lo == 0.0 and hi > 0.0:
        return hi * 2.0**-10
    return lo + 0.5 * (hi - lo)


@kernel
def _first_guess(qty: float, kind: int, c: Curve, top: Float) -> float:
    """Return a multiplier to begin with.

    Linear: the answer if every interval trades and no cap binds.  Otherwise
    the marginal of an equal split at the mean coefficients.
    """
    if kind == LINEAR:
        rates, offset = 0.0, 0.0
        for t in range(top.shape[0]):
            if top[t] > 0.0 and c.b[t] > 0.0:
                rates += 0.5 / c.b[t]
                offset += c.s[t] * (0.5 / c.b[t])
        return (qty + offset) / rates if rates > 0.0 else 0.0
    return mean_marginal(qty, c, top)


@kernel
def _settle(qty: float, total: float, top: Float, x: Float, w: Float) -> float:
    """Move the sum of `x` to `qty` along `w`; return the change of the multiplier."""
    n = x.shape[0]
    change = 0.0
    for _ in range(4):
        slope = 0.0
        for t in range(n):
            slope += w[t]
        gap = qty - total
        if gap == 0.0 or slope <= 0.0:
            break
        step = gap / slope
        change += step
        total, carry = 0.0, 0.0
        for t in range(n):
            if w[t] > 0.0:
                x[t] = min(max(x[t] + w[t] * step, 0.0), top[t])
            after = total + x[t]
            carry += (total - after) + x[t] if total >= x[t] else (x[t] - after) + total
            total = after
        total += carry
    # what rounding still leaves (a few units in the last place) goes where it fits in whole
    gap = qty - total
    if gap != 0.0:
        best = -1
        for t in range(n):
            if w[t] > 0.0 and 0.0 <= x[t] + gap <= top[t] and (best < 0 or x[t] > x[best]):
                best = t
        if best >= 0:
            x[best] += gap
    return change


@kernel
def _flat_bracket(
    qty: float,
    kind: int,
    c: Curve,
    top: Float,
) -> tuple[float, float, bool, int]:
    """Return (lo, hi, tied, steps): between which flat levels mu lies, or the level it is on."""
    found, levels, last = np.empty(top.shape[0]), np.empty(top.shape[0]), 0
    for t in range(top.shape[0]):
        if top[t] > 0.0 and flat_at(c.b[t], c.a[t], c.e[t]):
            found[last] = c.s[t]
            last += 1
    order = stable_order(found[:last])
    for k in range(last):
        levels[k] = found[order[k]]
    first, count = 0, last
    steps = 0
    while first < last:  # the first level at whose upper side the sum holds qty
        middle = (first + last) // 2
        level = levels[middle]
        below, _ = _totals(level, kind, c, top)
        steps += 1
        if below >= qty:
            last = middle
            continue
        at = 0.0
        for t in range(top.shape[0]):
            if c.s[t] == level and flat_at(c.b[t], c.a[t], c.e[t]):
                at += top[t]
        if below + at >= qty:
            return level, level, True, steps
        first = middle + 1
    lo = levels[first - 1] if first > 0 else 0.0
    hi = levels[first] if first < count else math.inf
    return lo, hi, False, steps


@kernel
def solve_separable(  # noqa: PLR0912, PLR0915  # one algorithm, told in order in one compiled function
    qty: float,
    given: Curve,
    cap: Float,
    fraction: Float,
    x: Float,
) -> tuple[float, int]:
    """Fill `x` with the optimum; 0 < qty < sum of caps, which the caller has seen to.

    Returns
    -------
    multiplier : float
        Price.
    steps : int
        Evaluations of S.
    """
    n = x.shape[0]
    top = np.empty(n)
    w = np.empty(n)
    base = math.inf
    for t in range(n):
        top[t] = min(cap[t], 2.0 * qty)
        if top[t] > 0.0:
            base = min(base, given.s[t])
    c = less(given, base)
    flat = False
    for t in range(n):
        if top[t] > 0.0:
            flat |= flat_at(c.b[t], c.a[t], c.e[t])
    kind = model_kind(c)
    lo, tied, steps = 0.0, False, 0
    hi = math.inf
    if flat:
        lo, hi, tied, steps = _flat_bracket(qty, kind, c, top)
        if tied:
            total = _supply(lo, kind, c, top, x, w)
            room = np.zeros(n)
            for t in range(n):
                if c.s[t] == lo and flat_at(c.b[t], c.a[t], c.e[t]):
                    room[t] = top[t]
            share(qty - total, fraction, room, x)
            return lo + base, steps + 1
    if hi == math.inf:
        hi = 0.0
        for t in range(n):
            if top[t] > 0.0:
                hi = max(hi, marginal(top[t], c.s[t], c.b[t], c.a[t], c.e[t], c.delta))
        hi = hi * (1.0 + 1e-9)
    mu = _first_guess(qty, kind, c, top)
    if not lo < mu < hi:
        mu = _mean(lo, hi)
    slow, previous = 0, math.inf
    while steps < _MAX_STEPS:
        total, slope = _totals(mu, kind, c, top)
        steps += 1
        gap = qty - total
        if abs(gap) <= _SUM_TOLERANCE * qty and abs(gap) <= _STEP_TOLERANCE * slope * mu:
            total = _supply(mu, kind, c, top, x, w)
            return mu + _settle(qty, total, top, x, w) + base, steps
        if gap > 0.0:
            lo = mu
        else:
            hi = mu
        after = -1.0
        if slope > 0.0:
            if kind == LINEAR or total <= 0.0:
                after = mu + gap / slope
            else:
                after = mu * math.exp(math.log(qty / total) * total / (slope * mu))
        slow = 0 if abs(gap) <= 0.5 * previous else slow + 1
        previous = abs(gap)
        if not lo < after < hi or slow > 2:
            after = _mean(lo, hi)
            slow, previous = 0, math.inf
            if not lo < after < hi:
                break
        mu = after
    # S jumps over qty between two neighbouring floats: go between both ends
    above = np.empty(n)
    _supply(hi, kind, c, top, above, w)
    total = _supply(lo, kind, c, top, x, w)
    for t in range(n):
        above[t] = max(above[t] - x[t], 0.0)
    share(qty - total, fraction, above, x)
    return hi + base, steps + 2
