r"""The last digits of a schedule with risk or lasting impact: an active-set Newton method.

What the interior point left at a bound is put on it exactly, and the rest is
solved with ``q = 1 / C''``, one bound after the other where a guess was wrong
(Nocedal and Wright 2006, sec. 16.5).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from impactd.core.allocator.curve import Curve, Float, slope_and_curvature
from impactd.core.allocator.solvers.newton import chain_step
from impactd.core.allocator.supply import invert_marginal, model_kind
from impactd.core.allocator.transient import add_pressure, transient_step
from impactd.core.base.jit import kernel

#: The scale of a schedule that costs nothing, in units of a typical cost.
_LEAST_SCALE: Final = 1e-9

#: Steps, and as many again as there are bounds: each step may meet one.
_POLISH_STEPS: Final = 20

#: Steps that end it, and gains that it ignores, are below this.
_STILL: Final = 1e-14

#: ... or below this where impact lasts, which leaves the Newton system less well conditioned.
_STILL_TRANSIENT: Final = 1e-12

#: Least curvature that it assumes, as a part of the risk weight: without any, its step is proximal.
_PROXIMAL: Final = 1e-6


@kernel
def slopes(
    x: Float,
    c: Curve,
    risk: float,
    root: Float,
    keep: Float,
    grad: Float,
    bend: Float,
) -> tuple[float, float]:
    """Fill the derivative by x_t (holding cost included) and C''; quantities are parts of 1.

    Returns the price scale of the schedule (its mean marginal and its price
    of risk), and what is missing from a sum of 1.
    """
    n = x.shape[0]
    left = 1.0
    for t in range(n):
        left -= x[t]
        grad[t] = left
    holding, scale = 0.0, 0.0
    for k in range(n):
        t = n - 1 - k
        holding += grad[t]
        impact, bend[t] = slope_and_curvature(x[t], c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
        scale += x[t] * impact
        grad[t] = impact - 2.0 * risk * holding
    if root.shape[0] > 0:
        before = 0.0
        for t in range(n):
            before += x[t] * grad[t]
        add_pressure(x, root, keep, grad)
        for t in range(n):
            scale += x[t] * grad[t]
        scale -= before
    return max(scale + 2.0 * risk * abs(holding), _LEAST_SCALE), left


@kernel
def _to_bound(x: float, dx: float, cap: float) -> float:
    """Return the part of the step `dx` at which `x` meets a bound."""
    if dx == 0.0:
        return math.inf
    return (x if dx < 0.0 else cap - x) / abs(dx)


@kernel
def polish(  # noqa: PLR0912, PLR0915  # one algorithm, told in order in one compiled function
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
    stiffness = np.full(n, 2.0 * risk)
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
            transient_step(grad, q, stiffness, missing, dx, root, keep)
        else:
            chain_step(grad, q, stiffness, missing, dx, pull, comp)
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
        if length < 1.0 or size > (_STILL_TRANSIENT if lasts else _STILL):
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
