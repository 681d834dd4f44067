"""What is left of an order's window, cut at the ends of intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pieces:
    """What is left of a window, cut at the ends of intervals.

    Attributes
    ----------
    start, end : ndarray of int64, shape (N,)
        Nanoseconds.
    fraction : ndarray of float64, shape (N,)
        Part of an interval that each piece lasts.
    """

    start: Int
    end: Int
    fraction: Float

    @classmethod
    def of(cls, start: int, end: int, interval_ns: int) -> Pieces:
        """Return the pieces of [start, end), which is empty where end <= start."""
        edges = np.arange(start // interval_ns, -(-end // interval_ns) + 1, dtype=np.int64) * interval_ns
        edges = np.clip(edges, start, end)
        lower, upper = edges[:-1], edges[1:]
        real = upper > lower
        lower, upper = lower[real], upper[real]
        return cls(lower, upper, (upper - lower) / interval_ns)
