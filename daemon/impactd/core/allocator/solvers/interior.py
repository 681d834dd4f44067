r"""The problem with risk, lasting impact or several orders: interior point, O(N) a step for one order.

With :math:`y_t = R - x_0 - \dots - x_t` the objective

.. math::

   \sum_t C_t(y_{t-1} - y_t) + \rho \sum_t y_t^2

couples neighbours only, and bounds of the running sum are bounds on y: the
Hessian in y is tridiagonal, and a Newton step is O(N)
(`impactd.core.allocator.solvers.newton`).  Where impact lasts
(`impactd.core.allocator.transient`) the state has a second part and the step is
that module's.  Several orders, each with its own risk and bounds, share the cost
of their sum; their step has a matrix of N rows in the middle.

On it runs a primal-dual interior-point method with Mehrotra's predictor and
corrector (Mehrotra 1992; Nocedal and Wright 2006, ch. 14 and 19).  Every bound
that can bind has a slack of its own, which is positive from the start, while the
bound itself may be broken until the method has converged.

One order without bounds of its running sum is then polished
(`impactd.core.allocator.solvers.polish`).

Where impact is linear and no bound binds, this is the discrete problem of
Almgren and Chriss (2000), J. Risk 3(2), eq. (18)-(20).  In their terms a trade
of n costs ``epsilon n + (eta - gamma tau / 2) / tau n^2`` (our s and b), and
``risk = lambda sigma^2 tau``.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.bounds import keep_within
from impactd.core.allocator.curve import Curve, Float, curvature, less, mean_marginal, slope_and_curvature
from impactd.core.allocator.solvers.newton import chain_step, group_step
from impactd.core.allocator.solvers.polish import polish
from impactd.core.allocator.transient import add_pressure, transient_step
from impactd.core.base.jit import kernel
from impactd.core.base.sums import sum_of

Bools = npt.NDArray[np.bool_]

#: Complementarity, dual and primal residual (cost in units of a typical cost) that end the interior point.
_GAP_TOLERANCE: Final = 1e-11
#: ... or, once rounding stops them from falling, this.
_STALE_TOLERANCE: Final = 1e-8
_MAX_STEPS: Final = 200

#: Who trades what of several orders' sum costs nothing: a step is kept short in that direction by this part of the
#: curvature.
_NEARNESS: Final = 1e-9

#: The gap is closed no further while prices differ by more than this many times of it.
_LAG: Final = 10.0

#: Mehrotra's corrector can go round in circles.  After this many steps without progress it is left out, the gap is
#: aimed at no less than this part of it, cubed, and no step goes beyond its least.
_CYCLE: Final = 5
_CENTRED: Final = 0.6

#: Part of the way to the nearest bound that a step may go (Mehrotra 1992).
_TO_BOUNDARY: Final = 0.995

#: Room that is less than this part of all orders counts as none.
_CLOSED: Final = 1e-14

#: A running sum is put on its bound where it is this much nearer, in parts, than its multiplier is high.
_PRESSED: Final = 1e-6

#: Stiffness, in units of a typical price, that holds a running sum whose bounds meet.
_PINNED: Final = 1e12

#: The scale of a schedule that costs nothing, in units of a typical cost.
_LEAST_SCALE: Final = 1e-9


@kernel
def _room(k: int, x: float, done: float, cap: float, low: float, high: float) -> float:
    """Return the room to bound k: x >= 0, x <= cap, running sum >= low, running sum <= high."""
    if k == 0:
        return x
    if k == 1:
        return cap - x
    return done - low if k == 2 else high - done


@kernel
def _keep(x: Float, mult: Float, best: Float, best_mult: Float) -> None:
    """Copy a schedule and its multipliers, by elements: numba compiles arrays into arrays with all that may not fit."""
    for i in range(x.shape[0]):
        for t in range(x.shape[1]):
            best[i, t] = x[i, t]
            for k in range(4):
                best_mult[k, i, t] = mult[k, i, t]


@kernel
def interior_point(  # noqa: PLR0912, PLR0915  # one algorithm, told in order in one compiled function
    c: Curve,
    offset: Float,
    qty: Float,
    cap: Float,
    low: Float,
    high: Float,
    nested: Bools,
    risk: Float,
    root: Float,
    keep: Float,
    x: Float,
    mult: Float,
) -> int:
    """Move `x` to the optimum; return the steps taken.

    Parameters
    ----------
    c : Curve
        Prices in units of a typical one.
    offset : ndarray of float64, shape (N,)
        What others trade.  All quantities are parts of one that all orders make up.
    qty, risk : ndarray of float64, shape (I,)
    cap, low, high : ndarray of float64, shape (I, N)
        Attainable bounds; the last two count where `nested`.
    nested : ndarray of bool, shape (I,)
    root, keep : ndarray of float64, shape (N,) or (0,)
        See `Problem`; only for one order.
    x : ndarray of float64, shape (I, N)
        A schedule within all bounds, changed in place.
    mult : ndarray of float64, shape (4, I, N)
        Filled with the multipliers of the bounds; 0 where one cannot bind.
    """
    orders, n = x.shape
    transient = root.shape[0] > 0
    slack, off = np.ones((4, orders, n)), np.zeros((4, orders, n))
    ds, dz, target = np.zeros((4, orders, n)), np.zeros((4, orders, n)), np.zeros((4, orders, n))
    moves = np.zeros((orders, n), np.bool_)
    base_stiffness = np.zeros((orders, n))
    count = 0
    mult[:] = 0.0
    for i in range(orders):
        done, low_before, high_before = 0.0, 0.0, 0.0
        for t in range(n):
            done += x[i, t]
            least, most = 0.0, min(cap[i, t], qty[i])
            base_stiffness[i, t] = 2.0 * risk[i]
            if nested[i]:
                least, most = low[i, t] - high_before, min(most, high[i, t] - low_before)
                low_before, high_before = low[i, t], high[i, t]
                if t < n - 1:
                    if high[i, t] - low[i, t] <= _CLOSED:
                        base_stiffness[i, t] = _PINNED
                    else:
                        mult[2, i, t] = 1.0 if low[i, t] > 0.0 else 0.0
                        mult[3, i, t] = 1.0 if high[i, t] < qty[i] else 0.0
            moves[i, t] = most - max(least, 0.0) > _CLOSED
            mult[0, i, t] = 1.0 if moves[i, t] else 0.0
            mult[1, i, t] = 1.0 if moves[i, t] and cap[i, t] < qty[i] else 0.0
            for k in range(4):
                if mult[k, i, t] > 0.0:
                    room = _room(k, x[i, t], done, cap[i, t], low[i, t], high[i, t])
                    width = most - max(least, 0.0) if k < 2 else high[i, t] - low[i, t]
                    slack[k, i, t] = max(room, 1e-3 * min(width, qty[i] / n))
                    mult[k, i, t] = 0.1 / (n * orders * slack[k, i, t])
                    count += 1
    grad, bend, total = np.empty((orders, n)), np.empty(n), np.empty(n)
    push, q, stiffness = np.empty((orders, n)), np.zeros((orders, n)), np.empty((orders, n))
    dx, missing, pull, comp = np.zeros((orders, n)), np.empty(orders), np.empty(n), np.empty(n)
    least_error, stale, careful = math.inf, 0, False
    best, best_mult = x.copy(), mult.copy()
    nearness = 0.0
    step_count = 0
    while step_count < _MAX_STEPS:
        step_count += 1
        # derivatives
        scale, gap, broken, spread = 0.0, 0.0, 0.0, 0.0
        for t in range(n):
            total[t] = 0.0
            for i in range(orders):
                total[t] += x[i, t]
            slope, bend[t] = slope_and_curvature(
                max(total[t] + offset[t], 0.0), c.s[t], c.b[t], c.a[t], c.e[t], c.delta
            )
            if bend[t] == math.inf:  # a power below one is steepest at nothing; steps need a number
                bend[t] = curvature(_CLOSED, c.b[t], c.a[t], c.e[t], c.delta)
            scale += total[t] * slope
            trades = False
            for i in range(orders):
                grad[i, t] = slope
                trades |= moves[i, t]
            if not trades:
                bend[t] = 0.0
        for i in range(orders):
            left, holding = qty[i], 0.0
            for t in range(n):
                left -= x[i, t]
                push[i, t] = left
            missing[i] = left
            for j in range(n):
                t = n - 1 - j
                holding += push[i, t]
                grad[i, t] -= 2.0 * risk[i] * holding
            scale += 2.0 * risk[i] * abs(holding)
        if transient:
            before = 0.0
            for t in range(n):
                before += x[0, t] * grad[0, t]
            add_pressure(x[0], root, keep, grad[0])
            for t in range(n):
                scale += x[0, t] * grad[0, t]
            scale -= before
        scale = max(scale, _LEAST_SCALE)
        nearness = _NEARNESS * max(sum_of(bend) / bend.shape[0], 1.0)
        # how far the conditions are from being met
        for i in range(orders):
            done = 0.0
            for t in range(n):
                done += x[i, t]
                for k in range(4):
                    if mult[k, i, t] > 0.0:
                        room = _room(k, x[i, t], done, cap[i, t], low[i, t], high[i, t])
                        off[k, i, t] = room - slack[k, i, t]
                        gap += slack[k, i, t] * mult[k, i, t]
                        broken = max(broken, abs(off[k, i, t]))
            upper, lower, later = -math.inf, math.inf, 0.0
            for j in range(n):
                t = n - 1 - j
                later += mult[2, i, t] - mult[3, i, t]
                stiffness[i, t] = base_stiffness[i, t]
                if base_stiffness[i, t] == _PINNED:  # what is before and after has prices of its own
                    spread = max(spread, (upper - lower) * qty[i])
                    upper, lower = -math.inf, math.inf
                for k in range(2, 4):
                    stiffness[i, t] += mult[k, i, t] / slack[k, i, t]
                if moves[i, t]:
                    dual = grad[i, t] - mult[0, i, t] + mult[1, i, t] - later
                    upper, lower = max(upper, dual), min(lower, dual)
                    hessian = mult[0, i, t] / slack[0, i, t] + mult[1, i, t] / slack[1, i, t]
                    q[i, t] = 1.0 / (hessian + (bend[t] if orders == 1 else nearness))
            spread = max(spread, (upper - lower) * qty[i])
        error = max(gap, spread, broken * scale) / scale
        stale = 0 if error < 0.7 * least_error else stale + 1
        if error < least_error:
            least_error = error
            _keep(x, mult, best, best_mult)
        if stale > _CYCLE and not careful:
            careful, stale = True, 0
        if least_error <= _GAP_TOLERANCE or (stale > 2 and least_error <= _STALE_TOLERANCE) or stale > 20:
            break
        barrier, falls, bends = 0.0, 0.0, 0.0
        for corrector in range(2):
            for i in range(orders):
                force = 0.0
                for j in range(n):
                    t = n - 1 - j
                    for k in range(4):
                        if mult[k, i, t] > 0.0:
                            aim = barrier - (ds[k, i, t] * dz[k, i, t] if corrector == 1 and not careful else 0.0)
                            target[k, i, t] = aim - mult[k, i, t] * off[k, i, t]
                    for k in range(2, 4):
                        if mult[k, i, t] > 0.0:
                            force += (-1.0 if k == 2 else 1.0) * target[k, i, t] / slack[k, i, t]
                    push[i, t] = grad[i, t] + force
                    if moves[i, t]:
                        for k in range(2):
                            if mult[k, i, t] > 0.0:
                                push[i, t] += (-1.0 if k == 0 else 1.0) * target[k, i, t] / slack[k, i, t]
            if orders > 1:
                group_step(push, q, stiffness, bend, missing, dx)
            elif transient:
                transient_step(push[0], q[0], stiffness[0], missing[0], dx[0], root, keep)
            else:
                chain_step(push[0], q[0], stiffness[0], missing[0], dx[0], pull, comp)
            length, falls, bends = 1.0 / _TO_BOUNDARY, 0.0, 0.0  # the gap along the step: gap + l falls + l^2 bends
            for i in range(orders):
                moved = 0.0
                for t in range(n):
                    moved += dx[i, t]
                    for k in range(4):
                        z = mult[k, i, t]
                        if z > 0.0:
                            s = slack[k, i, t]
                            along = dx[i, t] if k < 2 else moved
                            along = -along if k in (1, 3) else along
                            ds[k, i, t] = along + off[k, i, t]
                            dz[k, i, t] = (target[k, i, t] - z * along) / s - z
                            falls += s * dz[k, i, t] + z * ds[k, i, t]
                            bends += ds[k, i, t] * dz[k, i, t]
                            if ds[k, i, t] < 0.0:
                                length = min(length, -s / ds[k, i, t])
                            if dz[k, i, t] < 0.0:
                                length = min(length, -z / dz[k, i, t])
            if corrector == 0:
                length = min(length, 1.0)
                after = gap + length * (falls + length * bends)
                ratio = max(after, 0.0) / gap if gap > 0.0 else 0.0
                if careful:
                    ratio = max(ratio, _CENTRED)
                # prices must not lag behind
                barrier = (ratio * ratio * ratio if spread <= _LAG * gap else 1.0) * gap / max(count, 1)
        length = min(1.0, _TO_BOUNDARY * length)
        if careful and falls < 0.0 < bends:
            length = min(length, -0.5 * falls / bends)  # beyond it the gap would grow
        for i in range(orders):
            for t in range(n):
                x[i, t] += length * dx[i, t]
                for k in range(4):
                    if mult[k, i, t] > 0.0:
                        slack[k, i, t] += length * ds[k, i, t]
                        mult[k, i, t] += length * dz[k, i, t]
    _keep(best, best_mult, x, mult)
    return step_count


@kernel
def settle(cap: Float, low: Float, high: Float, mult: Float, x: Float) -> None:
    """Put on its bound what its multiplier (4, N) presses there, and keep `x` within bounds of its running sum."""
    path = np.empty(x.shape[0])
    done = 0.0
    for t in range(x.shape[0]):
        done += x[t]
        path[t] = done
        if done - low[t] < _PRESSED * mult[2, t]:
            path[t] = low[t]
        elif high[t] - done < _PRESSED * mult[3, t]:
            path[t] = high[t]
    keep_within(path, cap, low, high, x)


@kernel
def _in_parts(
    qty: float, given: Curve, cap_in: Float, risk: float, root: Float, cap: Float
) -> tuple[Curve, Float, float]:
    """Return curve, root and risk in parts of `qty` and units of a typical price; fill `cap` with caps in parts."""
    base = math.inf
    for t in range(cap.shape[0]):
        cap[t] = min(cap_in[t] / qty, 1.0)
        if cap[t] < _CLOSED:
            cap[t] = 0.0
        if cap[t] > 0.0:
            base = min(base, given.s[t])
    c = less(given, base)
    unit = mean_marginal(qty, c, cap) + 2.0 * risk * qty
    if root.shape[0] > 0:
        mean, count = sum_of(root) / root.shape[0], 0
        for t in range(cap.shape[0]):
            count += cap[t] != 0.0
        unit += qty * (mean * mean) / count
    n, strength = cap.shape[0], np.empty(root.shape[0])
    s, b, a, e = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for t in range(n):  # as `Curve.scaled`
        s[t] = c.s[t] / unit
        b[t] = c.b[t] * (qty / unit)
        a[t] = c.a[t] * (qty * qty / unit)
        e[t] = c.e[t] * (qty**c.delta / unit)
    for t in range(root.shape[0]):
        strength[t] = root[t] * math.sqrt(qty / unit)
    return Curve(s, b, a, e, c.delta), strength, risk * qty / unit


@kernel
def _in_shares(part: Float, qty: float, cap: Float, x: Float) -> None:
    """Fill `x` with the parts of `qty` within `cap`; the last rounding error of the sum goes where it fits in whole."""
    total, best = 0.0, -1
    for t in range(x.shape[0]):
        x[t] = min(part[t] * qty, cap[t])
        total += x[t]
    for t in range(x.shape[0]):
        if 0.0 <= x[t] + (qty - total) <= cap[t] and (best < 0 or x[t] > x[best]):
            best = t
    if best >= 0:
        x[best] += qty - total


def _under_caps(qty: float, given: Curve, cap_in: Float, risk: float, root: Float, keep: Float, x: Float) -> int:
    """Fill `x` with one order's optimum under caps alone; return the Newton steps of both stages."""
    n = x.shape[0]
    if qty <= 0.0:
        x[:] = 0.0
        return 0
    cap, mult, none = np.empty((1, n)), np.empty((4, 1, n)), np.zeros((1, n))
    c, root, risk = _in_parts(qty, given, cap_in, risk, root, cap[0])
    room = sum_of(cap[0])
    if room <= 1.0 + n * _CLOSED:  # the caps hold it only just
        x[:] = cap[0] / room * qty if room > 0.0 else 0.0
        return 0
    part = cap / room
    free = np.zeros(1, np.bool_)
    steps = interior_point(c, none[0], np.ones(1), cap, none, none, free, np.array([risk]), root, keep, part, mult)
    polished = part[0].copy()
    more, reached = polish(c, cap[0], risk, root, keep, polished, mult[0, 0], mult[1, 0])
    _in_shares(polished if reached else part[0], qty, cap_in, x)
    return steps + more


@kernel
def _pinned(x: Float, low: Float, high: Float, mult: Float, low_in: Float, high_in: Float, qty: float) -> Float:
    """Return the running sum, shares, where it is on a bound, the last one with them; NaN elsewhere."""
    n = x.shape[0]
    upto, done = np.empty(n), 0.0
    for t in range(n):
        done += x[t]
        if t == n - 1:
            upto[t] = qty
        elif high[t] - done <= max(mult[3, 0, t], _CLOSED):
            upto[t] = high_in[t]
        elif done - low[t] <= max(mult[2, 0, t], _CLOSED):
            upto[t] = low_in[t]
        else:
            upto[t] = math.nan
    return upto


def solve_risk(
    qty: float,
    given: Curve,
    cap_in: Float,
    risk: float,
    root: Float,
    keep: Float,
    low_in: Float,
    high_in: Float,
    x: Float,
) -> int:
    r"""Fill `x` with one order's optimum; 0 < qty < sum of caps, and bounds of the running sum are attainable.

    Between two running sums that are on a bound the order is one with caps alone,
    whose inventory does not end at 0: with y left over at the end of the piece, a
    share of interval t is held for :math:`2 \rho y` less an interval.  So each
    such piece is solved by itself, as exactly as one without bounds; where impact
    lasts the pieces are not independent, and the interior point's answer stands.

    Python that calls kernels: a kernel that called the interior point would be compiled with all of its code once more.

    Returns
    -------
    int
        Newton steps.
    """
    n = x.shape[0]
    if low_in.shape[0] == 0:
        return _under_caps(qty, given, cap_in, risk, root, keep, x)
    cap, part, mult = np.empty((1, n)), np.empty((1, n)), np.empty((4, 1, n))
    low, high = low_in[None] / qty, np.minimum(high_in[None] / qty, 1.0)
    c, strength, some_risk = _in_parts(qty, given, cap_in, risk, root, cap[0])
    inside(cap[0], low[0], high[0], part[0])
    steps = interior_point(
        c, np.zeros(n), np.ones(1), cap, low, high, np.ones(1, np.bool_), np.array([some_risk]), strength, keep, part,
        mult,
    )  # fmt: skip
    if root.shape[0] > 0:
        settle(cap[0], low[0], high[0], np.ascontiguousarray(mult[:, 0]), part[0])
        x[:] = part[0] * qty
        keep_within(np.cumsum(x), cap_in, low_in, high_in, x)
        return steps
    pinned = _pinned(part[0], low[0], high[0], mult, low_in, high_in, qty)
    before, first = 0.0, 0
    for t in np.flatnonzero(~np.isnan(pinned)).tolist():
        piece, upto = slice(first, t + 1), float(pinned[t])
        own = given.at(piece)
        own = own._replace(s=own.s - 2.0 * risk * (qty - upto) * np.arange(t + 1 - first, 0, -1))
        steps += _under_caps(upto - before, own, cap_in[piece], risk, root, keep, x[piece])
        before, first = upto, t + 1
    keep_within(np.cumsum(x), cap_in, low_in, high_in, x)
    return steps


@kernel
def inside(cap: Float, low: Float, high: Float, x: Float) -> None:
    """Fill `x` with a schedule well inside its bounds: between the earliest, the latest, and that of the caps."""
    n = x.shape[0]
    path, early, late, even = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    room, done = sum_of(cap), 0.0
    for t in range(n):
        done += cap[t] / room if room > 0.0 else 0.0
        path[t] = done * high[n - 1]
    keep_within(path, cap, low, high, even)
    keep_within(high, cap, low, high, early)
    keep_within(low, cap, low, high, late)
    for t in range(n):
        x[t] = (early[t] + late[t] + even[t]) / 3.0
