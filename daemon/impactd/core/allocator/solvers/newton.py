r"""The Newton step of the problem with risk, and its derivatives.

The Hessian in inventories is tridiagonal, and a Newton step is a chain of
springs.  Link t has the compliance :math:`q_t = 1 / H_t` (H_t: the curvature of
C_t and of a barrier), each node is held by a spring of stiffness
:math:`2 \rho`, and both ends are fixed.  Eliminating from the far end,

.. math::

   c_{t-1} = \frac{c_t + q_t}{1 + 2 \rho (c_t + q_t)}, \qquad c_{N-1} = 0,

which is the block Cholesky (Riccati) recursion of the tridiagonal system
written for compliances.  It has no subtraction, so it stays accurate however
stiff the barrier makes a link, and an interval on a bound is simply q = 0.
"""

from __future__ import annotations

from typing import Final

from impactd.core.allocator.curve import Curve, Float, slope_and_curvature
from impactd.core.allocator.transient import add_pressure
from impactd.core.base.jit import kernel

#: The scale of a schedule that costs nothing, in units of a typical cost.
_LEAST_SCALE: Final = 1e-9


@kernel
def chain_step(grad: Float, q: Float, stiffness: float, missing: float, dx: Float, pull: Float, comp: Float) -> None:
    """Fill `dx` with the Newton step of the chain: its sum is `missing`, and it is 0 where q is 0.

    `grad` is the derivative by x_t, the holding cost included; `pull` and `comp` are scratch.
    """
    n = grad.shape[0]
    weight, mean = 0.0, 0.0
    for t in range(n):
        weight += q[t]
        mean += q[t] * grad[t]
    mean = mean / weight if weight > 0.0 else 0.0
    ideal, c = -missing, 0.0
    for k in range(n):
        t = n - 1 - k
        pull[t] = ideal
        comp[t] = c
        through = c + q[t]
        soften = 1.0 / (1.0 + stiffness * through)
        ideal = (ideal - (grad[t] - mean) * q[t]) * soften
        c = through * soften
    shift = 0.0  # of the inventory so far
    for t in range(n):
        through = comp[t] + q[t]
        dx[t] = 0.0
        if q[t] > 0.0:
            own = -(grad[t] - mean) * q[t]
            dx[t] = own * (comp[t] / through) + (shift - pull[t]) * (q[t] / through)
        shift -= dx[t]


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
