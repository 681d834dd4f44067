"""The remaining intervals of an order's window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Intervals:
    """The remaining window, cut at the ends of the interval grid.

    Attributes
    ----------
    start, end : ndarray of int64, shape (N,)
        Nanoseconds.
    fraction : ndarray of float64, shape (N,)
        Length of each, as a part of a whole interval.
    """

    start: Int
    end: Int
    fraction: Float

    @classmethod
    def of(cls, start: int, end: int, interval_ns: int) -> Intervals:
        """Return the intervals of [start, end), which is empty where end <= start."""
        edges = np.arange(start // interval_ns, -(-end // interval_ns) + 1, dtype=np.int64) * interval_ns
        edges = np.clip(edges, start, end)
        lower, upper = edges[:-1], edges[1:]
        real = upper > lower
        lower, upper = lower[real], upper[real]
        return cls(lower, upper, (upper - lower) / interval_ns)
