"""The intervals of one or more execution windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.curve import Float
from impactd.core.base.jit import kernel


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals of the grid, ascending, in part or whole; ns."""

    #: Shape (N,).
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
        lasts = np.zeros(self.start.size, np.int64)
        _cover(self.start, self.end, begin, end, lasts)
        return np.asarray(lasts / (self.end - self.start), np.float64)


@kernel
def _cover(start: Int, end: Int, begin: Int, beyond: Int, lasts: Int) -> None:
    """Fill `lasts` (N,) with the time from the first opening to the last close of windows in each interval, ns."""
    for t in range(start.shape[0]):
        first, last = end[t], start[t]
        for i in range(begin.shape[0]):
            if begin[i] < end[t] and beyond[i] > start[t]:
                first, last = min(first, max(begin[i], start[t])), max(last, min(beyond[i], end[t]))
        lasts[t] = max(last - first, 0)
