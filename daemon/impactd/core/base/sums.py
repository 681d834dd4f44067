"""Sums in the order of the elements, for kernels: NumPy adds floats in pairs, numba's ``np.sum`` one after another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import kernel


@kernel
def sum_of(values: npt.NDArray[np.float64]) -> float:
    """Return the sum; 0 of nothing."""
    added = 0.0
    for k in range(values.shape[0]):
        added += values[k]
    return added
