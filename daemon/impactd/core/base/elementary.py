"""Elementary functions of arrays, by the C library: NumPy's own differ between processors in the last digit.

The same holds for BLAS, and so for products of vectors by ``@``: the core sums what it has multiplied.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import kernel

Float = npt.NDArray[np.float64]


@kernel
def powers(values: Float, exponent: float) -> Float:
    """Return each value to the power of `exponent`, shape (N,)."""
    out = np.empty(values.shape[0])
    for t in range(values.shape[0]):
        out[t] = values[t] ** exponent
    return out


@kernel
def exps(values: Float) -> Float:
    """Return e to the power of each value, shape (N,)."""
    out = np.empty(values.shape[0])
    for t in range(values.shape[0]):
        out[t] = math.exp(values[t])
    return out


@kernel
def logs(values: Float) -> Float:
    """Return the natural logarithm of each value, shape (N,)."""
    out = np.empty(values.shape[0])
    for t in range(values.shape[0]):
        out[t] = math.log(values[t])
    return out
