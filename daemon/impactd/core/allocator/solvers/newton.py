r"""The Newton step of the problem with risk, and its derivatives.

The Hessian in inventories is tridiagonal, and a Newton step is a chain of
springs.  Link t has the compliance :math:`q_t = 1 / H_t` (H_t: the curvature of
C_t and of a barrier), node t, between links t and t + 1, is held by a spring of
stiffness :math:`k_t` (:math:`2 \rho`, and the barrier of a bound of the running
sum), and both ends are fixed.  Eliminating from the
far end,

.. math::

   c_{t-1} = \frac{c_t + q_t}{1 + k_{t-1} (c_t + q_t)}, \qquad c_{N-1} = 0,

which is the block Cholesky (Riccati) recursion of the tridiagonal system
written for compliances.  It has no subtraction, so it stays accurate however
stiff the barrier makes a link, and an interval on a bound is simply q = 0.

Several orders are as many chains, tied together where they trade in the same
interval: there the curvature b_t of the sum's cost acts on their sum.  With
:math:`W_i` the compliance matrix of chain i (its links' response to prices, its sum
held), the price of the sum solves

.. math::

   \bigl(I + B^{1/2} \textstyle\sum_i W_i B^{1/2}\bigr) z = B^{1/2} \textstyle\sum_i r_i,
   \qquad \pi = B^{1/2} z, \quad B = \mathrm{diag}(b),

r_i what each chain would do alone: a positive definite matrix of N rows however
many the orders are.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from impactd.core.allocator.curve import Float
from impactd.core.base.jit import kernel

#: The matrix is the identity and more; rounding must not make less of it.
_LEAST_PIVOT: Final = 0.5


@kernel
def chain_step(grad: Float, q: Float, stiffness: Float, missing: float, dx: Float, pull: Float, comp: Float) -> None:
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
        if t > 0:
            soften = 1.0 / (1.0 + stiffness[t - 1] * through)
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
def _add_compliance(q: Float, stiffness: Float, total: Float) -> None:
    """Add the compliance matrix of a chain (N, N) to the upper half of `total`."""
    n = q.shape[0]
    right, share = np.empty(n), np.empty(n)  # compliance beyond each link, and the part of a shift that it takes
    c = 0.0
    for k in range(n):
        t = n - 1 - k
        right[t] = c
        through = c + q[t]
        share[t] = q[t] / through if through > 0.0 else 0.0
        if t > 0:
            c = through / (1.0 + stiffness[t - 1] * through)
    left = 0.0  # compliance before the link
    for t in range(n):
        if q[t] > 0.0:
            beyond = left + right[t]
            force = q[t] / (q[t] + beyond)
            total[t, t] += force * beyond
            shift = force * right[t]
            for u in range(t + 1, n):
                taken = shift * share[u]
                total[t, u] -= taken
                shift -= taken
        through = left + q[t]
        left = through / (1.0 + stiffness[t] * through)


@kernel
def _solve_spd(a: Float, rhs: Float) -> None:
    """Solve ``a y = rhs`` in place; `a` is symmetric positive definite, given in its upper half and overwritten."""
    n = rhs.shape[0]
    for j in range(n):  # a = U' U, by rows, so that the inner loop runs along one
        pivot = math.sqrt(max(a[j, j], _LEAST_PIVOT))
        for k in range(j, n):
            a[j, k] /= pivot
        for i in range(j + 1, n):
            factor = a[j, i]
            if factor != 0.0:
                for k in range(i, n):
                    a[i, k] -= factor * a[j, k]
    for j in range(n):
        rhs[j] /= a[j, j]
        for k in range(j + 1, n):
            rhs[k] -= a[j, k] * rhs[j]
    for m in range(n):
        j = n - 1 - m
        for k in range(j + 1, n):
            rhs[j] -= a[j, k] * rhs[k]
        rhs[j] /= a[j, j]


@kernel
def group_step(push: Float, q: Float, stiffness: Float, bend: Float, missing: Float, dx: Float) -> None:
    """Fill `dx` (I, N) with the Newton step of several orders, whose sums are `missing` (I,).

    `push`, `q` and `stiffness` (I, N) are as in `chain_step`, without the curvature `bend` (N,) of the sum's cost.
    """
    orders, n = push.shape
    matrix, price, pushed = np.zeros((n, n)), np.zeros(n), np.empty(n)
    pull, comp = np.empty(n), np.empty(n)
    for i in range(orders):
        _add_compliance(q[i], stiffness[i], matrix)
        chain_step(push[i], q[i], stiffness[i], missing[i], dx[i], pull, comp)
        for t in range(n):
            price[t] += dx[i, t]
    root = np.empty(n)
    for t in range(n):
        root[t] = math.sqrt(bend[t])
    for t in range(n):
        price[t] *= root[t]
        for u in range(t, n):
            matrix[t, u] *= root[t] * root[u]
        matrix[t, t] += 1.0
    _solve_spd(matrix, price)
    for i in range(orders):
        for t in range(n):
            pushed[t] = push[i, t] + root[t] * price[t]
        chain_step(pushed, q[i], stiffness[i], missing[i], dx[i], pull, comp)
