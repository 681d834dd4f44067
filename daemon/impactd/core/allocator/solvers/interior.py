r"""The problem with risk: interior point in inventory coordinates, O(N) a step.

With :math:`y_t = R - x_0 - \dots - x_t` the objective

.. math::

   \sum_t C_t(y_{t-1} - y_t) + \rho \sum_t y_t^2

couples neighbours only: the Hessian in y is tridiagonal, and a Newton step is
O(N) (`impactd.core.allocator.solvers.newton`).  On it run

1. a primal-dual interior-point method with Mehrotra's predictor and corrector
   (Mehrotra 1992; Nocedal and Wright 2006, ch. 14 and 19) that starts and
   stays feasible.  Caps that cannot bind have no barrier.
2. an active-set Newton polish: what the interior point left at a bound is put
   on it exactly, the rest is solved with ``q = 1 / C''``, one bound after the
   other where a guess was wrong (Nocedal and Wright 2006, sec. 16.5).

Where impact lasts (`impactd.core.allocator.transient`) the state has a second
part and the step is that module's; all else is the same.

Where impact is linear and no bound binds, this is the discrete problem of
Almgren and Chriss (2000), J. Risk 3(2), eq. (18)-(20).  In their terms a trade
of n costs ``epsilon n + (eta - gamma tau / 2) / tau n^2`` (our s and b), and
``risk = lambda sigma^2 tau``.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from impactd.core.allocator.curve import Curve, Float, less, mean_marginal
from impactd.core.allocator.solvers.newton import chain_step, slopes
from impactd.core.allocator.supply import invert_marginal, model_kind
from impactd.core.allocator.transient import transient_step
from impactd.core.base.jit import kernel

#: Complementarity and dual residual (cost in units of a typical cost) that end the interior point.
_GAP_TOLERANCE: Final = 1e-11
#: ... or, once rounding stops both from falling, this for complementarity alone.
_STALE_TOLERANCE: Final = 1e-7
_MAX_STEPS: Final = 200
#: Steps of the polish, and as many again as there are bounds: each step may meet one.
_POLISH_STEPS: Final = 20

#: Part of the way to the nearest bound that a step may go (Mehrotra 1992).
_TO_BOUNDARY: Final = 0.995

#: An interval that takes less than this part of the order counts as closed.
_CLOSED: Final = 1e-14

#: The polish ends at steps, and ignores gains, below this.
_STILL: Final = 1e-14

#: ... or below this where impact lasts, which leaves the Newton system less well conditioned.
_STILL_LASTING: Final = 1e-12

#: Least curvature that the polish assumes, as a part of the risk weight: without any, its step is proximal.
_PROXIMAL: Final = 1e-6


@kernel
def _longest(x: Float, dx: Float, z: Float, dz: Float, step: float) -> float:
    """Return the longest part of the step that keeps x and z non-negative where a barrier is (z > 0)."""
    for t in range(x.shape[0]):
        if z[t] > 0.0:
            if dx[t] < 0.0:
                step = min(step, -x[t] / dx[t])
            if dz[t] < 0.0:
                step = min(step, -z[t] / dz[t])
    return step


@kernel
def _interior_point(  # noqa: PLR0912, PLR0915  # one algorithm, told in order in one compiled function
    c: Curve,
    cap: Float,
    risk: float,
    root: Float,
    keep: Float,
    x: Float,
    z: Float,
    v: Float,
) -> int:
    """Move the interior `x` (parts of 1) to the optimum; z, v: multipliers of 0 <= x, x <= cap."""
    n = x.shape[0]
    lasts = root.shape[0] > 0
    grad, bend, q, dx = np.empty(n), np.empty(n), np.zeros(n), np.empty(n)
    push, pull, comp = np.empty(n), np.empty(n), np.empty(n)
    dz, dv, room, back = np.zeros(n), np.zeros(n), np.empty(n), np.empty(n)
    zz, vv = np.zeros(n), np.zeros(n)
    count = 0
    for t in range(n):
        room[t] = cap[t] - x[t]
        if x[t] > 0.0:
            z[t] = 0.1 / (n * x[t])
            count += 1
            if cap[t] < 1.0:
                v[t] = 0.1 / (n * room[t])
                count += 1
    least, stale = math.inf, 0
    for step_count in range(_MAX_STEPS):
        scale, missing = slopes(x, c, risk, root, keep, grad, bend)
        gap, high, low = 0.0, -math.inf, math.inf
        for t in range(n):
            gap += z[t] * x[t] + (v[t] * room[t] if v[t] > 0.0 else 0.0)
            if x[t] > 0.0:
                dual = grad[t] - z[t] + v[t]
                high = max(high, dual)
                low = min(low, dual)
                q[t] = 1.0 / (bend[t] + z[t] / x[t] + (v[t] / room[t] if v[t] > 0.0 else 0.0))
        error = max(gap, high - low)
        stale = 0 if error < 0.7 * least else stale + 1
        least = min(least, error)
        if error <= _GAP_TOLERANCE * scale or (stale > 2 and gap <= _STALE_TOLERANCE * scale):
            return step_count
        barrier = 0.0
        for corrector in range(2):
            for t in range(n):
                push[t] = grad[t]
                if x[t] > 0.0:
                    zz[t] = barrier - (dx[t] * dz[t] if corrector == 1 else 0.0)
                    push[t] -= zz[t] / x[t]
                    if v[t] > 0.0:
                        vv[t] = barrier + (dx[t] * dv[t] if corrector == 1 else 0.0)
                        push[t] += vv[t] / room[t]
            if lasts:
                transient_step(push, q, 2.0 * risk, missing, dx, root, keep)
            else:
                chain_step(push, q, 2.0 * risk, missing, dx, pull, comp)
            for t in range(n):
                if x[t] > 0.0:
                    dz[t] = (zz[t] - z[t] * dx[t]) / x[t] - z[t]
                    if v[t] > 0.0:
                        dv[t] = (vv[t] + v[t] * dx[t]) / room[t] - v[t]
                back[t] = -dx[t]
            length = _longest(x, dx, z, dz, 1.0 / _TO_BOUNDARY)
            length = _longest(room, back, v, dv, length)
            if corrector == 0:
                length = min(length, 1.0)
                after = 0.0
                for t in range(n):
                    after += (x[t] + length * dx[t]) * (z[t] + length * dz[t])
                    if v[t] > 0.0:
                        after += (room[t] - length * dx[t]) * (v[t] + length * dv[t])
                ratio = max(after, 0.0) / gap if gap > 0.0 else 0.0
                barrier = ratio * ratio * ratio * gap / count
        length = min(1.0, _TO_BOUNDARY * length)
        for t in range(n):
            if x[t] > 0.0:
                x[t] += length * dx[t]
                z[t] += length * dz[t]
                if v[t] > 0.0:
                    room[t] -= length * dx[t]
                    v[t] += length * dv[t]
    return _MAX_STEPS


@kernel
def _to_bound(x: float, dx: float, cap: float) -> float:
    """Return the part of the step `dx` at which `x` meets a bound."""
    if dx == 0.0:
        return math.inf
    return (x if dx < 0.0 else cap - x) / abs(dx)


@kernel
def _polish(  # noqa: PLR0912, PLR0915  # one algorithm, told in order in one compiled function
    c: Curve,
    cap: Float,
    risk: float,
    root: Float,
    keep: Float,
    x: Float,
    z: Float,
    v: Float,
) -> tuple[int, bool]:
    """Put on its bound what is there within the interior point's accuracy, and solve for the rest.

    A step ends at the first bound it meets.  Were it cut off at every bound for itself, a few caps of
    very different size could leave every interval on a bound and the sum unmet.

    Returns the steps taken, and whether the optimum was reached.
    """
    n = x.shape[0]
    lasts = root.shape[0] > 0
    grad, bend, q, dx = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    pull, comp, free = np.empty(n), np.empty(n), np.empty(n, np.bool_)
    stiffer = Curve(c.s, c.b + risk, c.a, c.e, c.delta)
    kind = model_kind(stiffer)
    for t in range(n):
        free[t] = cap[t] > 0.0
        if x[t] <= z[t]:
            free[t] = False
            x[t] = 0.0
        elif cap[t] - x[t] <= v[t]:
            free[t] = False
            x[t] = cap[t]
    for step_count in range(_POLISH_STEPS + 2 * n):
        scale, missing = slopes(x, c, risk, root, keep, grad, bend)
        price, total = 0.0, 0.0
        for t in range(n):
            still = risk + (root[t] * root[t] if lasts else 0.0)
            q[t] = 1.0 / max(bend[t], _PROXIMAL * still) if free[t] else 0.0
            price += q[t] * grad[t]
            total += q[t]
        giver, taker = -1, -1
        if total > 0.0:
            price /= total
        else:  # a corner: the dearest quantity sets the price
            for t in range(n):
                if x[t] < cap[t] and (taker < 0 or grad[t] < grad[taker]):
                    taker = t
                if x[t] > 0.0 and (giver < 0 or grad[t] > grad[giver]):
                    giver = t
            if abs(missing) > n * _STILL:  # one bound too many: the sum is corrected where that costs least
                at = taker if missing > 0.0 else giver
                x[at] = min(max(x[at] + missing, 0.0), cap[at])
                free[at] = 0.0 < x[at] < cap[at]
                continue
            price = grad[giver]
        if lasts:
            transient_step(grad, q, 2.0 * risk, missing, dx, root, keep)
        else:
            chain_step(grad, q, 2.0 * risk, missing, dx, pull, comp)
        size, length = 0.0, 1.0
        for t in range(n):
            if free[t]:
                size = max(size, abs(dx[t]))
                length = min(length, _to_bound(x[t], dx[t], cap[t]))
        for t in range(n):
            if free[t]:
                meets = _to_bound(x[t], dx[t], cap[t]) <= length
                x[t] += length * dx[t]
                if meets or (x[t] >= cap[t] if dx[t] > 0.0 else x[t] <= 0.0):
                    free[t] = False
                    x[t] = cap[t] if dx[t] > 0.0 else 0.0
        if length < 1.0 or size > (_STILL_LASTING if lasts else _STILL):
            continue
        wrong = False  # a bound holds only what would rather be beyond it
        for t in range(n):
            if not free[t] and cap[t] > 0.0:
                gain = price - grad[t] if x[t] == 0.0 else grad[t] - price
                if gain <= _STILL * max(scale, abs(price), 2.0 * risk):  # rounding: of prices, or of the inventory
                    continue
                if x[t] == 0.0 and bend[t] == math.inf:  # no Newton step would leave it; risk bends by 2 rho at least
                    x[t], _ = invert_marginal(
                        gain, kind, stiffer.b[t], stiffer.a[t], stiffer.e[t], stiffer.delta, cap[t]
                    )
                    if x[t] <= 0.0:
                        continue
                free[t] = True
                wrong = True
        if not wrong:
            return step_count, True
        if giver >= 0:
            free[giver] = True
    return _POLISH_STEPS + 2 * n, False


@kernel
def _scaled(c: Curve, qty: float, price: float) -> Curve:
    """Return `Curve.scaled`, compiled."""
    b, a = c.b * (qty / price), c.a * (qty * qty / price)
    return Curve(c.s / price, b, a, c.e * (qty**c.delta / price), c.delta)


@kernel
def solve_risk(
    qty: float,
    given: Curve,
    cap_in: Float,
    risk_in: float,
    root_in: Float,
    keep: Float,
    x: Float,
) -> int:
    """Fill `x` with the optimum; 0 < qty < sum of caps, which the caller has seen to.

    Returns
    -------
    int
        Newton steps of both stages.
    """
    n = x.shape[0]
    cap = np.empty(n)
    base, room = math.inf, 0.0
    for t in range(n):
        cap[t] = min(cap_in[t] / qty, 1.0)
        if cap[t] < _CLOSED:
            cap[t] = 0.0
        room += cap[t]
        if cap[t] > 0.0:
            base = min(base, given.s[t])
    if room <= 1.0 + n * _CLOSED:  # the caps hold it only just
        for t in range(n):
            x[t] = cap[t] / room * qty if cap[t] > 0.0 else 0.0
        return 0
    # unit of price: an equal split's marginal over the spread, plus one interval's risk
    c = less(given, base)
    unit = mean_marginal(qty, c, cap) + 2.0 * risk_in * qty
    if root_in.shape[0] > 0:
        unit += qty * float(np.mean(root_in)) ** 2 / np.count_nonzero(cap)
    root = root_in * math.sqrt(qty / unit)
    c = _scaled(c, qty, unit)
    risk = risk_in * qty / unit
    part, z, v = np.empty(n), np.zeros(n), np.zeros(n)
    for t in range(n):
        part[t] = cap[t] / room
    steps = _interior_point(c, cap, risk, root, keep, part, z, v)
    polished = part.copy()
    more, reached = _polish(c, cap, risk, root, keep, polished, z, v)
    if reached:
        part = polished
    total = 0.0
    for t in range(n):
        x[t] = min(part[t] * qty, cap_in[t])
        total += x[t]
    best = -1  # the last rounding error of the sum goes where it fits in whole
    for t in range(n):
        if 0.0 <= x[t] + (qty - total) <= cap_in[t] and (best < 0 or x[t] > x[best]):
            best = t
    if best >= 0:
        x[best] += qty - total
    return steps + more
