"""The intervals of one or more execution windows."""

from __future__ import annotations

import numpy as np

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.curve import Float
from impactd.core.base.jit import kernel
from impactd.core.base.quick import quick_dataclass


@quick_dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals of the grid, ascending, in part or whole; ns."""

    #: Shape (N,).
    start: Int
    end: Int

    @classmethod
    def over(cls, begin: Int, end: Int, interval_ns: int) -> Intervals:
        """Return the whole intervals that the windows [begin, end) touch; windows are empty where end <= begin."""
        runs: list[list[int]] = []
        windows = zip(begin.tolist(), end.tolist(), strict=True)
        for low, high in sorted((a // interval_ns, -(-b // interval_ns)) for a, b in windows if b > a):
            if runs and low <= runs[-1][1]:
                runs[-1][1] = max(runs[-1][1], high)
            else:
                runs.append([low, high])
        starts = [np.arange(a * interval_ns, b * interval_ns, interval_ns, dtype=np.int64) for a, b in runs]
        start = starts[0] if len(starts) == 1 else np.concatenate([*starts, np.empty(0, np.int64)])
        return cls(start, start + interval_ns)

    def rows(self, begin: int, end: int) -> slice:
        """Return which intervals the window [begin, end) touches; they are neighbours."""
        first = int(self.end.searchsorted(begin, side="right"))
        return slice(first, max(int(self.start.searchsorted(end)), first))

    def cut(self, begin: int, end: int) -> Intervals:
        """Return the intervals of [begin, end), the first and the last in part where the window has only a part."""
        rows = self.rows(begin, end)
        return Intervals(np.maximum(self.start[rows], begin), np.minimum(self.end[rows], end))

    def covered(self, begin: Int, end: Int) -> Float:
        """Return the part of each interval in which any of the windows [begin, end) is open, shape (N,)."""
        part = np.empty(self.start.size)
        _cover(self.start, self.end, begin, end, part)
        return part


@kernel
def _cover(start: Int, end: Int, begin: Int, beyond: Int, part: Float) -> None:
    """Fill `part` (N,) with that of each interval from the first opening to the last close of windows in it."""
    for t in range(start.shape[0]):
        first, last = end[t], start[t]
        for i in range(begin.shape[0]):
            if begin[i] < end[t] and beyond[i] > start[t]:
                first, last = min(first, max(begin[i], start[t])), max(last, min(beyond[i], end[t]))
        part[t] = max(last - first, 0) / (end[t] - start[t])
