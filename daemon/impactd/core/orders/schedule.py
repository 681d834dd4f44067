"""The current schedule of a parent order."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Schedule:
    """The planned quantities from each start on. Quantities in quanta.

    Attributes
    ----------
    start : list of int
        Start of each interval, ns, ascending; the first may lie within an interval of the grid.
    end : list of int
        End of each interval, ns.
    qty : list of int
        Planned quantity of each interval.
    filled : list of int
        Net fills of each interval since the plan was made; part of its `qty`.
    shortfall_qty : int
        Quantity that the caps leave unplanned.
    gap : float
        Bound on its cost above the best schedule when it was made, currency; 0 if it was the best.
    price : float
        Expected cost of a share when it was made, price.
    """

    start: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)
    qty: list[int] = field(default_factory=list)
    filled: list[int] = field(default_factory=list)
    shortfall_qty: int = 0
    gap: float = 0.0
    price: float = 0.0

    @classmethod
    def of(
        cls,
        start: list[int],
        end: list[int],
        qty: list[int],
        shortfall_qty: int = 0,
        gap: float = 0.0,
        price: float = 0.0,
    ) -> Schedule:
        """Return a schedule without fills."""
        return cls(start, end, qty, [0] * len(qty), shortfall_qty, gap, price)

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values; `load` gives the same schedule.

        Most of an order's state is its schedule, and it is written with each minute.  Ends are left out where each
        interval ends as the next begins, starts where they are a step apart, and fills where there are none.
        """
        joined = self.end[:-1] == self.start[1:]
        ends = self.end[-1:] if joined else self.end
        filled = self.filled if any(self.filled) else []
        return [_stepped(self.start), joined, ends, self.qty, filled, self.shortfall_qty, self.gap, self.price]

    @classmethod
    def load(cls, saved: list[Any]) -> Schedule:
        """Return the schedule that `save` has written."""
        start, joined, ends, qty, filled, *rest = saved
        if isinstance(start, dict):
            later = range(start["second"], start["second"] + start["step"] * (len(qty) - 1), start["step"])
            start = [start["first"], *later]
        return cls(start, [*start[1:], *ends] if joined else ends, qty, filled or [0] * len(qty), *rest)

    @property
    def on_path(self) -> bool:
        """Whether no interval was filled beyond its planned quantity, or below nothing."""
        if not any(self.filled):
            return True
        return all(0 <= filled <= qty for filled, qty in zip(self.filled, self.qty, strict=True))

    @property
    def left_qty(self) -> int:
        """What the schedule still accounts for: what it plans, less fills, and its shortfall."""
        return sum(self.qty) - sum(self.filled) + self.shortfall_qty

    def remaining(self) -> list[int]:
        """Return what each interval still trades."""
        if not any(self.filled):  # as most plans are, and a desk may have a thousand of them
            return self.qty.copy()
        return [qty - filled for qty, filled in zip(self.qty, self.filled, strict=True)]

    def fill(self, ts_event: int, qty: int, interval_ns: int) -> None:
        """Add a change of the filled quantity to the interval that holds `ts_event`, if the schedule has it."""
        k = bisect_right(self.end, ts_event)
        if k < len(self.end) and ts_event >= self.start[k] // interval_ns * interval_ns:
            self.filled[k] += qty

    def advance(self, now: int) -> list[tuple[int, int]]:
        """Drop the intervals that end by `now`; return the start and the unfilled quantity of each."""
        n = bisect_right(self.end, now)
        dropped = [(self.start[k], self.qty[k] - self.filled[k]) for k in range(n)]
        del self.start[:n], self.end[:n], self.qty[:n], self.filled[:n]
        return dropped


def _stepped(start: list[int]) -> dict[str, int] | list[int]:
    """Return starts by the first two and the step after them, as whole intervals follow the one under way."""
    if len(start) < 3:
        return start
    first, second, step = start[0], start[1], start[2] - start[1]
    if step <= 0 or start[1:] != list(range(second, second + step * (len(start) - 1), step)):
        return start  # a break lies between them
    return {"first": first, "second": second, "step": step}
