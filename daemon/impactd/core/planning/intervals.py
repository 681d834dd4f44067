"""The intervals of one or more execution windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.curve import Float


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals of the grid, ascending, in part or whole; ns.

    Attributes
    ----------
    start, end : ndarray of int64, shape (N,)
    """

    start: Int
    end: Int

    @classmethod
    def over(cls, begin: Int, end: Int, interval_ns: int) -> Intervals:
        """Return the whole intervals that the windows [begin, end) touch; windows are empty where end <= begin."""
        real = end > begin
        first, beyond = begin[real] // interval_ns, -(-end[real] // interval_ns)
        order = np.argsort(first, kind="stable")
        runs: list[list[int]] = []
        for low, high in zip(first[order].tolist(), beyond[order].tolist(), strict=True):
            if runs and low <= runs[-1][1]:
                runs[-1][1] = max(runs[-1][1], high)
            else:
                runs.append([low, high])
        index = np.concatenate([np.arange(low, high, dtype=np.int64) for low, high in runs] or [np.empty(0, np.int64)])
        return cls(index * interval_ns, (index + 1) * interval_ns)

    def rows(self, begin: int, end: int) -> slice:
        """Return which intervals the window [begin, end) touches; they are neighbours."""
        first = int(np.searchsorted(self.end, begin, side="right"))
        return slice(first, max(int(np.searchsorted(self.start, end)), first))

    def cut(self, begin: int, end: int) -> Intervals:
        """Return the intervals of [begin, end), the first and the last in part where the window has only a part."""
        rows = self.rows(begin, end)
        return Intervals(np.maximum(self.start[rows], begin), np.minimum(self.end[rows], end))

    def covered(self, begin: Int, end: Int) -> Float:
        """Return the part of each interval in which any of the windows [begin, end) is open, shape (N,)."""
        part = np.zeros(self.start.size)
        if not self.start.size:
            return part
        first, last = np.full(self.start.size, np.iinfo(np.int64).max), np.zeros(self.start.size, np.int64)
        for low, high in set(zip(begin.tolist(), end.tolist(), strict=True)):
            rows = self.rows(low, high)
            first[rows] = np.minimum(first[rows], np.maximum(self.start[rows], low))
            last[rows] = np.maximum(last[rows], np.minimum(self.end[rows], high))
        return np.asarray((last - first) / (self.end - self.start), np.float64)
