r"""Impact that lasts and decays: the kernels of Obizhaeva and Wang's model, O(N) each.

With :math:`K_{ij} = r_i r_j \theta_{ij}`, theta the product of `keep` from i to j,
and the displacement after interval t

.. math::

   F_t = \theta_t F_{t-1} + r_t x_t, \qquad F_{-1} = 0,

completing squares gives

.. math::

   \tfrac12 x^T K x = \tfrac12 \sum_t (1 - \theta_{t+1}^2) F_t^2, \qquad \theta_N = 0,

a sum of squares with positive weights: K is positive definite, and the cost is
to F what the price of risk is to the inventory.  That is why the Newton step is
a linear-quadratic control problem with the two states (inventory, F), solved by
a Riccati recursion; the recursion is written in the form of Joseph (Bucy and
Joseph 1968), a sum of squares too, so that it loses no digits to subtraction.

References
----------
.. [1] Obizhaeva and Wang (2013), J. Financial Markets 16(1), sec. 5-6 and prop. 3.
.. [2] Rawlings, Mayne and Diehl (2017), *Model Predictive Control*, sec. 1.3 and 8.8.
"""

from __future__ import annotations

import math

import numpy as np

from impactd.core.allocator.curve import Float
from impactd.core.base.jit import kernel


@kernel
def energy(x: Float, root: Float, keep: Float) -> float:
    """Return ``x' K x / 2``, currency; 0 where `root` is empty."""
    total, f = 0.0, 0.0
    n = root.shape[0]
    for t in range(n):
        f = keep[t] * f + root[t] * x[t]
        left = keep[t + 1] if t + 1 < n else 0.0
        total += (1.0 - left * left) * f * f
    return 0.5 * total


@kernel
def add_pressure(x: Float, root: Float, keep: Float, out: Float) -> None:
    """Add ``(K x)_t``, price: what all the schedule's trades displace interval t by, before it or by delaying it."""
    f = 0.0
    n = root.shape[0]
    for t in range(n):
        f = keep[t] * f + root[t] * x[t]
        out[t] += root[t] * f
    f = 0.0
    for k in range(1, n):
        t = n - 1 - k
        f = keep[t + 1] * (f + root[t + 1] * x[t + 1])
        out[t] += root[t] * f


@kernel
def _factor(h: Float, stiffness: Float, root: Float, keep: Float, pay: Float, gain: Float) -> None:
    """Fill `pay` (1 / k) and `gain` (S B) by interval: the recursion that does not depend on the gradient."""
    n = h.shape[0]
    p11, p12, p22 = 0.0, 0.0, 0.0
    for j in range(n):
        t = n - 1 - j
        later = keep[t + 1] if t + 1 < n else 0.0
        s11, s12 = p11 + stiffness[t], p12
        s22 = p22 + (1.0 - later * later)
        r, theta = root[t], keep[t]
        sb1, sb2 = s11 + r * s12, s12 + r * s22  # S B, with B = (1, r)
        pay[t] = 0.0 if h[t] == math.inf else 1.0 / (h[t] + sb1 + r * sb2)
        gain[t, 0], gain[t, 1] = sb1, sb2
        # P = A' [(I - B k)' S (I - B k) + h k' k] A, with k = B' S / (h + B' S B) and A = diag(1, theta)
        k1, k2 = sb1 * pay[t], sb2 * pay[t]
        m11, m12, m21, m22 = 1.0 - k1, -k2, -r * k1, 1.0 - r * k2
        p11 = m11 * (s11 * m11 + s12 * m21) + m21 * (s12 * m11 + s22 * m21)
        p12 = m11 * (s11 * m12 + s12 * m22) + m21 * (s12 * m12 + s22 * m22)
        p22 = m12 * (s11 * m12 + s12 * m22) + m22 * (s12 * m12 + s22 * m22)
        if pay[t] > 0.0:
            p11 += h[t] * k1 * k1
            p12 += h[t] * k1 * k2
            p22 += h[t] * k2 * k2
        p12 *= theta
        p22 *= theta * theta


@kernel
def _respond(push: Float, root: Float, keep: Float, pay: Float, gain: Float, dx: Float) -> None:
    """Fill `dx` with the minimum of the factored quadratic for the linear term `push`."""
    n = push.shape[0]
    v1, v2 = 0.0, 0.0  # linear part of the value of the state
    for j in range(n):
        t = n - 1 - j
        r = root[t]
        dx[t] = (push[t] + v1 + r * v2) * pay[t]  # what the state does not ask for; its part comes forward
        v1 -= gain[t, 0] * dx[t]
        v2 = keep[t] * (v2 - gain[t, 1] * dx[t])
    y, f = 0.0, 0.0
    for t in range(n):
        f *= keep[t]
        dx[t] = -(dx[t] + (gain[t, 0] * y + gain[t, 1] * f) * pay[t])
        y += dx[t]
        f += root[t] * dx[t]


@kernel
def transient_step(
    grad: Float, q: Float, stiffness: Float, missing: float, dx: Float, root: Float, keep: Float
) -> None:
    """Fill `dx` with the Newton step: its sum is `missing`, and it is 0 where q is 0.

    Minimises ``grad dx + sum dx^2 / (2 q) + sum stiffness Y^2 / 2 + dx' K dx / 2`` with Y the running sum of dx.
    """
    n = grad.shape[0]
    h, pay, one, gain = np.empty(n), np.empty(n), np.empty(n), np.empty((n, 2))
    push = np.empty(n)
    weight, mean = 0.0, 0.0
    for t in range(n):
        weight += q[t]
        mean += q[t] * grad[t]
        h[t] = 1.0 / q[t] if q[t] > 0.0 else math.inf
        push[t] = -1.0
    mean = mean / weight if weight > 0.0 else 0.0
    _factor(h, stiffness, root, keep, pay, gain)
    _respond(push, root, keep, pay, gain, one)
    total = 0.0
    for t in range(n):
        push[t] = grad[t] - mean
        total += one[t]
    _respond(push, root, keep, pay, gain, dx)
    for _ in range(2):  # the second pass corrects the rounding of the sum
        short = missing
        for t in range(n):
            short -= dx[t]
        level = short / total if total > 0.0 else 0.0
        for t in range(n):
            dx[t] += level * one[t]
