"""What an order executed by interval, read off what was published, and the same quantity at an even pace.

Rules:

- a plan replaces the schedule from its own interval on, and what lies before it was executed as it was scheduled:
  this is how ``fills = "scheduled"`` counts;
- the even pace (TWAP) trades the quantity that the order executed, in whole lots, over the intervals in which the order
  could work: those of its plans in which the market is open, until it was canceled or expired.  An order that was
  filled early could have worked until its end; one that ended in its first interval has that one.  The order's own
  limits do not bind the even pace.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from impactd.core.allocator.baseline import twap
from impactd.core.base.quantity import MAX_QUANTA
from impactd.core.base.session import Session
from impactd.core.outputs.messages import FillCost, Plan


@dataclass(slots=True)
class Executed:
    """One order's executed quantity, folded from its messages."""

    #: Start of an interval, ns, to the quanta that the plans scheduled in it.
    scheduled: dict[int, int] = field(default_factory=dict)
    #: Start of an interval in which the order could work, to the part of the interval that was left for it.
    window: dict[int, float] = field(default_factory=dict)
    #: The latest cost of each fill, by exec_id.
    fills: dict[str, FillCost] = field(default_factory=dict)
    #: When the order began to work, ns.
    begin: int | None = None

    def plan(self, plan: Plan) -> None:
        """Take in the order's next plan."""
        interval_ns = plan.interval_s * 1_000_000_000
        at = plan.as_of // interval_ns * interval_ns
        self.scheduled = {start: qty for start, qty in self.scheduled.items() if start < at}
        if plan.status != "done":
            self.window = {start: part for start, part in self.window.items() if start < at}
        for start, qty in zip(plan.start, plan.qty, strict=True):
            key = start // interval_ns * interval_ns
            self.scheduled[key] = qty
            self.window[key] = (key + interval_ns - start) / interval_ns
        if self.begin is None and plan.start:
            self.begin = plan.start[0]

    def fill(self, cost: FillCost) -> None:
        """Take in a fill."""
        self.fills[cost.exec_id] = cost

    @property
    def scheduled_qty(self) -> int:
        """Quanta that count as executed where plans fill as scheduled."""
        return sum(self.scheduled.values())

    @property
    def filled_qty(self) -> int:
        """Quanta of the fills whose costs are known."""
        return sum(fill.qty for fill in self.fills.values())

    def paid_over_mid(self) -> float | None:
        """Return what the fills paid over mid, currency; None where no mid is known for one of them."""
        total = 0.0
        for fill in self.fills.values():
            if fill.qty == 0:
                continue
            if fill.mid is None or fill.spread_cost is None or fill.impact_cost is None:
                return None
            total += fill.spread_cost + fill.impact_cost
        return total

    def even(self, qty: int, lot_size: int, interval_ns: int, session: Session | None = None) -> dict[int, int]:
        """Return `qty` quanta at an even pace over the order's intervals, in whole lots: start, ns, to quanta.

        Intervals in which the market of `session` is shut have no part in it, unless it is shut in all of them.
        """
        starts = sorted(self.window)
        if session is not None and starts:
            is_open = session.open_at(np.array(starts, np.int64), interval_ns).tolist()
            starts = [start for start, trades in zip(starts, is_open, strict=True) if trades] or starts
        if not starts:
            return {} if self.begin is None else {self.begin // interval_ns * interval_ns: qty}
        fraction = np.array([self.window[start] for start in starts])
        path = twap(qty, fraction, np.full(len(starts), MAX_QUANTA, np.int64), lot_size)
        return dict(zip(starts, path.tolist(), strict=True))
