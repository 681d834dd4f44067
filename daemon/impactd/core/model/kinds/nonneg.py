r"""Non-negative weighted least squares, exactly, for at most three terms.

.. math::

   \min_{c \ge 0} \sum_k w_k (g_k - \sum_j c_j a_{jk})^2

The optimum is the unconstrained least squares fit on its own support (Lawson
and Hanson [1]_, ch. 23: the dual of a zero coefficient is non-negative, that
of a positive one is zero).  With p <= 3 terms there are at most seven
supports; each is solved by Gram-Schmidt (orthogonalised twice, so that no
squared condition number enters), and among those with positive coefficients
the least sum of squares wins.  A coefficient is never clipped: clipping one
leaves the others where they were fitted next to it.

A larger support must lower the sum of squares by more than rounding, so that
an exact line stays a line under a quadratic fit.

References
----------
.. [1] Lawson and Hanson (1974), Solving Least Squares Problems.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import kernel

Float = npt.NDArray[np.float64]

#: Supports as bit masks, smaller ones first.
_SUPPORTS: Final = (1, 2, 4, 3, 5, 6, 7)
#: A column whose part orthogonal to the others is below this share of it adds only rounding.
_RANK: Final = 1e-10
#: A sum of squares is known to about this share of the total (a few hundred roundings of float64).
_ROUNDING: Final = 1e-24


@kernel
def fit_nonneg(  # noqa: PLR0912, PLR0915  (one loop nest: numba inlines it, and a support is solved in place)
    columns: Float, g: Float, weight: Float, coef: Float
) -> float:
    """Fit `g` by non-negative multiples of `columns`; return the weighted sum of squared residuals.

    Parameters
    ----------
    columns : ndarray of float64, shape (p, K)
        Terms by cell, p <= 3.
    g, weight : ndarray of float64, shape (K,)
        Values and weights, weights >= 0.
    coef : ndarray of float64, shape (p,)
        Written: the coefficients.
    """
    p, n = columns.shape
    total = 0.0
    for k in range(n):
        total += weight[k] * g[k] * g[k]
    best = total
    for j in range(p):
        coef[j] = 0.0
    q = np.empty((3, n))
    r = np.zeros((3, 3))
    z = np.empty(3)
    trial = np.empty(3)
    index = np.empty(3, dtype=np.int64)
    for support in _SUPPORTS:
        if support >= (1 << p):
            continue
        size = 0
        usable = True
        for j in range(p):
            if not (support >> j) & 1:
                continue
            norm0 = 0.0
            for k in range(n):
                q[size, k] = columns[j, k] * np.sqrt(weight[k])
                norm0 += q[size, k] * q[size, k]
            for i in range(size):
                r[i, size] = 0.0
            for _ in range(2):
                for i in range(size):
                    dot = 0.0
                    for k in range(n):
                        dot += q[i, k] * q[size, k]
                    r[i, size] += dot
                    for k in range(n):
                        q[size, k] -= dot * q[i, k]
            norm = 0.0
            for k in range(n):
                norm += q[size, k] * q[size, k]
            if not norm > _RANK * _RANK * norm0:
                usable = False
                break
            norm = np.sqrt(norm)
            r[size, size] = norm
            for k in range(n):
                q[size, k] /= norm
            index[size] = j
            size += 1
        if not usable:
            continue
        for i in range(size):
            dot = 0.0
            for k in range(n):
                dot += q[i, k] * np.sqrt(weight[k]) * g[k]
            z[i] = dot
        for i in range(size - 1, -1, -1):
            value = z[i]
            for j in range(i + 1, size):
                value -= r[i, j] * trial[j]
            trial[i] = value / r[i, i]
            if not trial[i] > 0.0:
                usable = False
        if not usable:
            continue
        sse = 0.0
        for k in range(n):
            residual = g[k]
            for i in range(size):
                residual -= trial[i] * columns[index[i], k]
            sse += weight[k] * residual * residual
        if sse < best - _ROUNDING * total:
            best = sse
            for j in range(p):
                coef[j] = 0.0
            for i in range(size):
                coef[index[i]] = trial[i]
    return best


@kernel
def fit_powers(
    u: Float,
    g: Float,
    weight: Float,
    exponents: Float,
    intercept: bool,  # noqa: FBT001  (kernels take positional arguments)
) -> Float:
    """Fit ``c0 + c1 u^delta`` for each exponent.

    Parameters
    ----------
    u, g, weight : ndarray of float64, shape (K,)
        Scaled sizes (positive), values and weights.
    exponents : ndarray of float64, shape (M,)
        Candidates of delta.
    intercept : bool
        False fixes c0 at 0.

    Returns
    -------
    ndarray of float64, shape (M, 3)
        c0, c1 and the weighted sum of squared residuals.
    """
    n = u.shape[0]
    out = np.zeros((exponents.shape[0], 3))
    p = 2 if intercept else 1
    columns = np.ones((p, n))
    coef = np.empty(p)
    for m in range(exponents.shape[0]):
        for k in range(n):
            columns[p - 1, k] = u[k] ** exponents[m]
        out[m, 2] = fit_nonneg(columns, g, weight, coef)
        out[m, 1] = coef[p - 1]
        if intercept:
            out[m, 0] = coef[0]
    return out


@kernel
def weighted_variation(g: Float, weight: Float) -> float:
    """Return the weighted sum of squared deviations of `g` from its weighted mean."""
    total = 0.0
    mean = 0.0
    for k in range(g.shape[0]):
        if weight[k] > 0.0:
            total += weight[k]
            mean += weight[k] / total * (g[k] - mean)
    variation = 0.0
    for k in range(g.shape[0]):
        distance = g[k] - mean
        variation += weight[k] * (distance * distance)
    return variation
