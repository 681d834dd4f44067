"""A book by price: both sides, changed level by level.

Levels lie worst first, so that a change near the best, as most are, moves few others.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import uncounted_kernel
from impactd.core.inputs.ticks import Float

BID: Final = 0
ASK: Final = 1

_CAPACITY: Final = 64

Numbers = npt.NDArray[Any]

#: Prices and sizes.
Levels = tuple[list[float], list[float]]


@uncounted_kernel
def place(keys: Numbers, n: int, key: float) -> int:
    """Return the first place whose key is not less than `key`; `n` where none is."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@uncounted_kernel
def set_level(keys: Numbers, sizes: Numbers, n: int, key: float, size: float) -> int:
    """Set the size at a key, 0 to remove the level; return how many levels there are then.

    Parameters
    ----------
    keys : ndarray of float64 or int64
        Ascending to the best: prices of bids, negative prices of asks. One more than `n` long at least.
    """
    at = place(keys, n, key)
    is_there = at < n and keys[at] == key
    if size == 0:
        if not is_there:
            return n
        for i in range(at, n - 1):
            keys[i] = keys[i + 1]
            sizes[i] = sizes[i + 1]
        return n - 1
    if not is_there:
        for i in range(n, at, -1):
            keys[i] = keys[i - 1]
            sizes[i] = sizes[i - 1]
        keys[at] = key
        n += 1
    sizes[at] = size
    return n


@uncounted_kernel
def _change(keys: Float, sizes: Float, n: int, sign: float, px: Float, sz: Float) -> int:
    for i in range(px.shape[0]):
        n = set_level(keys, sizes, n, sign * px[i], sz[i])
    return n


class Ladder:
    """The levels of one book."""

    __slots__ = ("_keys", "_n", "_sizes")

    def __init__(self) -> None:
        self._keys = [np.empty(_CAPACITY), np.empty(_CAPACITY)]
        self._sizes = [np.empty(_CAPACITY), np.empty(_CAPACITY)]
        self._n = [0, 0]

    def change(self, side: int, px: list[float], sz: list[float]) -> None:
        """Set the sizes at prices of a side, in their order; a size of 0 removes the level."""
        needed = self._n[side] + len(px)
        if needed > len(self._keys[side]):
            for arrays in (self._keys, self._sizes):
                grown = np.empty(2 * needed)
                grown[: self._n[side]] = arrays[side][: self._n[side]]
                arrays[side] = grown
        if px:
            sign = 1.0 if side == BID else -1.0
            self._n[side] = _change(
                self._keys[side], self._sizes[side], self._n[side], sign, np.array(px, float), np.array(sz, float)
            )

    def n_levels(self, side: int) -> int:
        """Return how many levels a side has."""
        return self._n[side]

    def keep(self, depth: int) -> None:
        """Drop the levels of each side behind the best `depth`."""
        for side in (BID, ASK):
            extra = self._n[side] - depth
            if extra > 0:
                for arrays in (self._keys, self._sizes):
                    arrays[side] = arrays[side][extra:].copy()
                self._n[side] = depth

    def best(self, side: int, n_levels: int) -> Levels:
        """Return prices and sizes of a side's best levels, best first."""
        n = self._n[side]
        levels = slice(max(0, n - n_levels), n)
        keys: Float = self._keys[side][levels][::-1]
        prices: list[float] = (keys if side == BID else 0.0 - keys).tolist()
        return prices, self._sizes[side][levels][::-1].tolist()
