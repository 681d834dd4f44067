"""Stable order of values, for kernels: numba takes seconds to compile its own sorts, and again in what calls them."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import kernel

Int = npt.NDArray[np.int64]
Number = TypeVar("Number", Int, npt.NDArray[np.float64])


@kernel
def stable_order(values: Number) -> Int:
    """Return the indices that sort `values`, none of which is NaN; equals keep their order.

    A merge sort from runs of one upward.
    """
    n = values.shape[0]
    order, merged = np.empty(n, np.int64), np.empty(n, np.int64)
    for k in range(n):
        order[k] = k
    run = 1
    while run < n:
        for begin in range(0, n, 2 * run):
            middle, end = min(begin + run, n), min(begin + 2 * run, n)
            left, right = begin, middle
            for k in range(begin, end):
                if left < middle and (right == end or values[order[left]] <= values[order[right]]):
                    merged[k] = order[left]
                    left += 1
                else:
                    merged[k] = order[right]
                    right += 1
        order, merged = merged, order
        run *= 2
    return order
