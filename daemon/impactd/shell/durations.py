"""Durations counted into fixed buckets, as Prometheus has its histograms.

A plain value without a client library, so that its writer is independent of its reader.  One thread writes (the event
loop's); a copy does not change.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

#: Upper bounds, seconds: from a solve of one order to the deadline of a transaction.
BOUNDS_S: Final = (
    50e-6,
    100e-6,
    250e-6,
    500e-6,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    120.0,
)


class Durations:
    """How often something took how long.

    Attributes
    ----------
    counts : list of int, length len(BOUNDS_S) + 1
        Observations above the bound before and not above this one; the last is beyond all bounds.
    total_s : float
        Sum of all, seconds.
    """

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    @property
    def count(self) -> int:
        """Number of observations."""
        return sum(self.counts)

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    def cumulative(self) -> list[int]:
        """Return the number at or below each bound, and last the number of all."""
        total, found = 0, []
        for count in self.counts:
            total += count
            found.append(total)
        return found

    def quantile(self, share: float) -> float | None:
        """Return the upper bound of the bucket that holds the quantile; None before any, infinity beyond all bounds."""
        counts = self.cumulative()
        if not counts[-1]:
            return None
        place = next(i for i, count in enumerate(counts) if count >= share * counts[-1] and count)
        return BOUNDS_S[place] if place < len(BOUNDS_S) else float("inf")

    def copy(self) -> Durations:
        """Return a copy that does not change."""
        made = Durations()
        made.counts = list(self.counts)
        made.total_s = self.total_s
        return made
