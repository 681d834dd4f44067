r"""Several orders without risk that share their intervals: an interior point, O(N I^2) a step.

.. math::

   \min_x \sum_t C_t\Bigl(o_t + \sum_i x_{it}\Bigr)
      + \epsilon \sum_{it} (x_{it} - p_{it})^2
   \quad\text{s.t.}\quad \sum_t x_{it} = R_i,\; 0 \le x_{it} \le u_{it}

with o what other orders trade.  Only the sum per interval bears on cost, so the
split is free; the second term, too small to matter in money, chooses the split
that is nearest to the orders' current plans p (Tikhonov and Arsenin 1977: as
epsilon falls the minimiser tends to the nearest of all minimisers).

In a Newton step the interval t has the matrix :math:`D_t + c_t 1 1^T`, D
diagonal (barriers and epsilon) and c the curvature of C_t at the sum: its
inverse is closed (Sherman and Morrison 1950).  What is left are the I
multipliers of the sums, by Cholesky.  Steps are Mehrotra's, feasible from the
start, as in `impactd.core.allocator.solvers.interior`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from impactd.core.allocator.curve import Curve, Float, less, slope_and_curvature
from impactd.core.base.jit import kernel

#: Complementarity and dual residual, in units of a typical cost, that end it; or once rounding stops both from
#: falling, the second for complementarity alone.
_GAP_TOLERANCE: Final = 1e-12
_STALE_TOLERANCE: Final = 1e-8
_MAX_STEPS: Final = 100

#: Part of the way to the nearest bound that a step may go (Mehrotra 1992).
_TO_BOUNDARY: Final = 0.995

#: Weight of the distance to the current plans, as a part of the mean curvature.
_NEARNESS: Final = 1e-8

#: An order whose caps hold no more than this part above its quantity fills them.
_FULL: Final = 1e-12

_TINY: Final = 1e-300


@kernel
def _solve_spd(a: Float, rhs: Float) -> None:
    """Solve ``a y = rhs`` in place for a positive definite `a`, which is overwritten by its Cholesky factor."""
    n = rhs.shape[0]
    for j in range(n):
        for k in range(j):
            a[j, j] -= a[j, k] * a[j, k]
        a[j, j] = math.sqrt(max(a[j, j], _TINY))
        for i in range(j + 1, n):
            for k in range(j):
                a[i, j] -= a[i, k] * a[j, k]
            a[i, j] /= a[j, j]
    for j in range(n):
        for k in range(j):
            rhs[j] -= a[j, k] * rhs[k]
        rhs[j] /= a[j, j]
    for m in range(n):
        j = n - 1 - m
        for k in range(j + 1, n):
            rhs[j] -= a[k, j] * rhs[k]
        rhs[j] /= a[j, j]


@kernel
def _step(push: Float, h: Float, bend: Float, missing: Float, dx: Float, price: Float) -> None:
    """Fill `dx` (I, N) with the Newton step whose sums are `missing`; `h` is inf where nothing moves."""
    orders, n = push.shape
    schur, weight = np.zeros((orders, orders)), np.empty(orders)
    price[:] = missing
    for t in range(n):
        total, pushed = 0.0, 0.0
        for i in range(orders):
            weight[i] = 1.0 / h[i, t]
            total += weight[i]
            pushed += weight[i] * push[i, t]
        shared = bend[t] / (1.0 + bend[t] * total)
        for i in range(orders):
            if weight[i] == 0.0:
                continue
            price[i] += weight[i] * (push[i, t] - shared * pushed)
            schur[i, i] += weight[i]
            for k in range(i + 1):
                schur[i, k] -= shared * weight[i] * weight[k]
    for i in range(orders):
        if schur[i, i] <= 0.0:
            schur[i, i] = 1.0
    _solve_spd(schur, price)
    for t in range(n):
        total, pushed = 0.0, 0.0
        for i in range(orders):
            weight[i] = 1.0 / h[i, t]
            dx[i, t] = weight[i] * (price[i] - push[i, t])
            total += weight[i]
            pushed += dx[i, t]
        shared = bend[t] / (1.0 + bend[t] * total)
        for i in range(orders):
            dx[i, t] -= shared * weight[i] * pushed


@kernel
def _longest(x: Float, dx: Float, z: Float, dz: Float, step: float) -> float:
    """Return the longest part of the step that keeps x and z non-negative where a barrier is (z > 0)."""
    for i in range(x.shape[0]):
        for t in range(x.shape[1]):
            if z[i, t] > 0.0:
                if dx[i, t] < 0.0:
                    step = min(step, -x[i, t] / dx[i, t])
                if dz[i, t] < 0.0:
                    step = min(step, -z[i, t] / dz[i, t])
    return step


@kernel
def solve_group(  # noqa: PLR0912, PLR0915  # one algorithm, told in order in one compiled function
    qty_in: Float,
    given: Curve,
    offset_in: Float,
    cap_in: Float,
    near_in: Float,
    x_out: Float,
) -> int:
    """Fill `x_out` with the optimum, shares; return the steps taken.

    Parameters
    ----------
    qty_in : ndarray of float64, shape (I,)
        R_i, no more than the caps hold.
    given : Curve
    offset_in : ndarray of float64, shape (N,)
        What others trade, shares.
    cap_in, near_in, x_out : ndarray of float64, shape (I, N)
        Finite caps, current plans, and the result.
    """
    orders, n = cap_in.shape
    whole, widest = 0.0, 0.0
    offset = offset_in.copy()
    free = np.zeros(orders, np.bool_)
    room_of = np.zeros(orders)
    for i in range(orders):
        for t in range(n):
            room_of[i] += min(cap_in[i, t], qty_in[i])
        free[i] = qty_in[i] > 0.0 and room_of[i] > qty_in[i] * (1.0 + _FULL)
        for t in range(n):
            if qty_in[i] > 0.0 and not free[i]:  # its caps hold it only just
                x_out[i, t] = min(cap_in[i, t], qty_in[i]) * (qty_in[i] / room_of[i])
                offset[t] += x_out[i, t]
            elif qty_in[i] == 0.0:
                x_out[i, t] = 0.0
        if free[i]:
            whole += qty_in[i]
            widest = max(widest, qty_in[i])
    if whole == 0.0:
        return 0
    # quantities in parts of all, prices in those of an equal split
    x, z, v, room = np.zeros((orders, n)), np.zeros((orders, n)), np.zeros((orders, n)), np.zeros((orders, n))
    base, count, open_count = math.inf, 0, 0
    for t in range(n):
        some = False
        for i in range(orders):
            some |= free[i] and cap_in[i, t] > 0.0
        if some:
            base = min(base, given.s[t])
            open_count += 1
    c = less(given, base)
    unit = 0.0
    for t in range(n):
        slope, _ = slope_and_curvature(whole / open_count + offset[t], c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
        unit += max(slope, 0.0) / n
    unit = max(unit, _TINY)
    q, near = qty_in / whole, near_in / whole
    for i in range(orders):
        for t in range(n):
            if not free[i]:
                continue
            u = min(cap_in[i, t], qty_in[i]) / whole
            if u <= 0.0:
                continue
            x[i, t] = q[i] * (u * whole / room_of[i])
            z[i, t] = 0.1 / (n * x[i, t] * orders)
            count += 1
            if cap_in[i, t] < qty_in[i]:
                room[i, t] = u - x[i, t]
                v[i, t] = 0.1 / (n * room[i, t] * orders)
                count += 1
    push, h, dx = np.empty((orders, n)), np.empty((orders, n)), np.zeros((orders, n))
    dz, dv, back = np.zeros((orders, n)), np.zeros((orders, n)), np.zeros((orders, n))
    grad, bend, price, missing = np.empty(n), np.empty(n), np.empty(orders), np.empty(orders)
    least, stale, steps = math.inf, 0, 0
    weight = -1.0
    while steps < _MAX_STEPS:
        steps += 1
        scale, mean = 0.0, 0.0
        for t in range(n):
            total = 0.0
            for i in range(orders):
                total += x[i, t]
            at = max(total * whole + offset[t], 0.0)
            slope, curve = slope_and_curvature(at, c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
            grad[t], bend[t] = slope / unit, curve * whole / unit if total > 0.0 else 0.0
            scale += total * max(grad[t], 0.0)
            mean += bend[t] / open_count
        scale = max(scale, 1e-9)
        if weight < 0.0:
            weight = _NEARNESS * max(mean, 1e-9)
        gap, error = 0.0, 0.0
        for i in range(orders):
            high, low = -math.inf, math.inf
            missing[i] = q[i] if free[i] else 0.0
            for t in range(n):
                missing[i] -= x[i, t]
                gap += z[i, t] * x[i, t] + (v[i, t] * room[i, t] if v[i, t] > 0.0 else 0.0)
                if x[i, t] > 0.0:
                    dual = grad[t] + 2.0 * weight * (x[i, t] - near[i, t]) - z[i, t] + v[i, t]
                    high, low = max(high, dual), min(low, dual)
            if free[i]:
                error = max(error, (high - low) * q[i])
        error = max(error, gap)
        stale = 0 if error < 0.7 * least else stale + 1
        least = min(least, error)
        if error <= _GAP_TOLERANCE * scale or (stale > 2 and gap <= _STALE_TOLERANCE * scale) or stale > 8:
            break
        barrier = 0.0
        for corrector in range(2):
            for i in range(orders):
                for t in range(n):
                    if x[i, t] <= 0.0:
                        push[i, t], h[i, t] = 0.0, math.inf
                        continue
                    push[i, t] = grad[t] + 2.0 * weight * (x[i, t] - near[i, t])
                    h[i, t] = 2.0 * weight + z[i, t] / x[i, t]
                    aimed = barrier - (dx[i, t] * dz[i, t] if corrector == 1 else 0.0)
                    push[i, t] -= aimed / x[i, t]
                    if v[i, t] > 0.0:
                        h[i, t] += v[i, t] / room[i, t]
                        push[i, t] += (barrier + (dx[i, t] * dv[i, t] if corrector == 1 else 0.0)) / room[i, t]
                    # the corrector's targets stay where the directions are made from them
                    back[i, t] = aimed
            kept_dv = barrier
            old_dx, old_dv = dx.copy(), dv.copy()
            _step(push, h, bend, missing, dx, price)
            for i in range(orders):
                for t in range(n):
                    if x[i, t] <= 0.0:
                        dx[i, t] = 0.0
                        continue
                    dz[i, t] = (back[i, t] - z[i, t] * dx[i, t]) / x[i, t] - z[i, t]
                    if v[i, t] > 0.0:
                        aimed = kept_dv + (old_dx[i, t] * old_dv[i, t] if corrector == 1 else 0.0)
                        dv[i, t] = (aimed + v[i, t] * dx[i, t]) / room[i, t] - v[i, t]
            length = _longest(x, dx, z, dz, 1.0 / _TO_BOUNDARY)
            length = _longest(room, -dx, v, dv, length)
            if corrector == 0:
                length = min(length, 1.0)
                after = 0.0
                for i in range(orders):
                    for t in range(n):
                        if x[i, t] > 0.0:
                            after += (x[i, t] + length * dx[i, t]) * (z[i, t] + length * dz[i, t])
                            if v[i, t] > 0.0:
                                after += (room[i, t] - length * dx[i, t]) * (v[i, t] + length * dv[i, t])
                ratio = max(after, 0.0) / gap if gap > 0.0 else 0.0
                barrier = ratio * ratio * ratio * gap / count
        length = min(1.0, _TO_BOUNDARY * length)
        for i in range(orders):
            for t in range(n):
                if x[i, t] > 0.0:
                    x[i, t] += length * dx[i, t]
                    z[i, t] += length * dz[i, t]
                    if v[i, t] > 0.0:
                        room[i, t] -= length * dx[i, t]
                        v[i, t] += length * dv[i, t]
    for i in range(orders):
        if free[i]:
            total, best, most = 0.0, -1, 0
            for t in range(n):
                x_out[i, t] = min(max(x[i, t] * whole, 0.0), cap_in[i, t])
                # beyond what its price presses on it, it is on its bound
                if x[i, t] < z[i, t] * 1e-6:
                    x_out[i, t] = 0.0
                elif v[i, t] > 0.0 and room[i, t] < v[i, t] * 1e-6:
                    x_out[i, t] = cap_in[i, t]
                if x[i, t] > x[i, most]:
                    most = t
                total += x_out[i, t]
            short = qty_in[i] - total
            for t in range(n):  # what rounding leaves of the sum goes where it fits in whole
                fits = x_out[i, t] > 0.0 and 0.0 <= x_out[i, t] + short <= cap_in[i, t]
                if fits and (best < 0 or x_out[i, t] > x_out[i, best]):
                    best = t
            best = most if best < 0 else best  # an order that is next to nothing beside the others
            x_out[i, best] = min(max(x_out[i, best] + short, 0.0), cap_in[i, best])
    return steps
