"""The schedule in force of a parent order."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Schedule:
    """The plan in force: what is to trade from each start on. Quantities in quanta.

    Attributes
    ----------
    start : list of int
        Start of each interval, ns, ascending.
    end : list of int
        End of each interval, ns.
    qty : list of int
        What the plan trades in each interval.
    shortfall_qty : int
        What the caps leave over.
    filled_qty : int
        Fills so far within the interval under way, which are part of its `qty`.
    gap : float
        What it may have cost above the best schedule when it was made, currency; 0 where it was the best.
    """

    start: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)
    qty: list[int] = field(default_factory=list)
    shortfall_qty: int = 0
    filled_qty: int = 0
    gap: float = 0.0

    def remaining(self) -> list[int]:
        """Return what each interval still trades: what was planned less the fills of the interval under way."""
        return [self.qty[0] - self.filled_qty, *self.qty[1:]] if self.qty else []

    def advance(self, now: int) -> int:
        """Drop the intervals that end by `now`; return what they had planned and was not filled."""
        n = 0
        while n < len(self.end) and self.end[n] <= now:
            n += 1
        if n == 0:
            return 0
        unfilled = sum(self.qty[:n]) - self.filled_qty
        del self.start[:n], self.end[:n], self.qty[:n]
        self.filled_qty = 0
        return unfilled
