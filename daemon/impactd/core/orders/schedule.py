"""The current schedule of a parent order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Int = npt.NDArray[np.int64]


def _none() -> Int:
    return np.empty(0, np.int64)


@dataclass(slots=True, eq=False)
class Schedule:
    """The planned quantities from each start on. Quantities in quanta."""

    #: Shape (N,). Start of each interval, ns, ascending; the first may lie within an interval of the grid.
    start: Int = field(default_factory=_none)
    #: Shape (N,). End of each interval, ns.
    end: Int = field(default_factory=_none)
    #: Shape (N,). Planned quantity of each interval.
    qty: Int = field(default_factory=_none)
    #: Shape (N,). Net fills of each interval since the plan was made; part of its `qty`.
    filled: Int = field(default_factory=_none)
    #: Quantity that the caps leave unplanned.
    shortfall_qty: int = 0
    #: Bound on its cost above the best schedule when it was made, currency; 0 if it was the best.
    gap: float = 0.0
    #: Expected cost of a share when it was made, price.
    price: float = 0.0

    @classmethod
    def of(
        cls,
        start: Sequence[int] | Int,
        end: Sequence[int] | Int,
        qty: Sequence[int] | Int,
        shortfall_qty: int = 0,
        gap: float = 0.0,
        price: float = 0.0,
    ) -> Schedule:
        """Return a schedule without fills."""
        starts, ends, planned = (np.array(values, np.int64) for values in (start, end, qty))
        return cls(starts, ends, planned, np.zeros(len(planned), np.int64), shortfall_qty, gap, price)

    def __eq__(self, other: object) -> bool:
        """Return whether both plan, and have filled, the same."""
        return isinstance(other, Schedule) and self.save() == other.save()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values; `load` gives the same schedule.

        Most of an order's state is its schedule, and it is written with each minute.  Ends are left out where each
        interval ends as the next begins, starts where they are a step apart, and fills where there are none.
        """
        joined = bool((self.end[:-1] == self.start[1:]).all())
        ends = (self.end[-1:] if joined else self.end).tolist()
        filled = self.filled.tolist() if self.filled.any() else []
        planned = self.qty.tolist()
        return [_stepped(self.start), joined, ends, planned, filled, self.shortfall_qty, self.gap, self.price]

    @classmethod
    def load(cls, saved: list[Any]) -> Schedule:
        """Return the schedule that `save` has written."""
        start, joined, ends, qty, filled, *rest = saved
        if isinstance(start, dict):
            later = range(start["second"], start["second"] + start["step"] * (len(qty) - 1), start["step"])
            start = [start["first"], *later]
        found = cls.of(start, [*start[1:], *ends] if joined else ends, qty, *rest)
        if filled:
            found.filled[:] = filled
        return found

    @property
    def on_path(self) -> bool:
        """Whether no interval was filled beyond its planned quantity, or below nothing."""
        return not self.filled.any() or bool(((self.filled >= 0) & (self.filled <= self.qty)).all())

    @property
    def left_qty(self) -> int:
        """What the schedule still accounts for: what it plans, less fills, and its shortfall."""
        return int(self.qty.sum()) - int(self.filled.sum()) + self.shortfall_qty

    def remaining(self) -> Int:
        """Return what each interval still trades."""
        return self.qty - self.filled

    def past(self, at: int) -> int:
        """Return how many intervals end by `at`, ns; the one after them is under way or the next."""
        return int(self.end.searchsorted(at, side="right"))

    def fill(self, ts_event: int, qty: int, interval_ns: int) -> None:
        """Add a change of the filled quantity to the interval that holds `ts_event`, if the schedule has it."""
        k = self.past(ts_event)
        if k < len(self.end) and ts_event >= int(self.start[k]) // interval_ns * interval_ns:
            self.filled[k] += qty

    def advance(self, now: int) -> list[tuple[int, int]]:
        """Drop the intervals that end by `now`; return the start and the unfilled quantity of each."""
        n = self.past(now)
        dropped = list(zip(self.start[:n].tolist(), (self.qty[:n] - self.filled[:n]).tolist(), strict=True))
        self.start, self.end, self.qty, self.filled = (c[n:] for c in (self.start, self.end, self.qty, self.filled))
        return dropped


def _stepped(start: Int) -> dict[str, int] | list[int]:
    """Return starts by the first two and the step after them, as whole intervals follow the one under way."""
    if len(start) >= 3:
        first, second, third = (int(at) for at in start[:3])
        step = third - second
        if step > 0 and bool((start[2:] - start[1:-1] == step).all()):
            return {"first": first, "second": second, "step": step}
    starts: list[int] = start.tolist()  # few of them, or a break lies between them
    return starts
