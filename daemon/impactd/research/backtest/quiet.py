"""The desk of the service, for orders of which nobody reads the plans: what they trade is the same to the last bit.

Half of what a minute costs an order is what its plan says, who is told, and what is saved of it.  A backtest asks for
its first plan, and then for what was traded.  So once an order has stated a price, the end of a minute counts its
interval as filled, solves the same problem, and takes the new schedule where the service does; whatever else happens
(an end, a halt, no schedule that passes its certificate) goes the service's way.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from impactd.core.allocator.solvers.base import SolveFailure
from impactd.core.base.settings import CoreSettings, GateSettings
from impactd.core.base.topics import Side
from impactd.core.books.minute import MinuteStats
from impactd.core.desk import Desk, reason_at_close
from impactd.core.orders.order import Order
from impactd.core.orders.schedule import Schedule
from impactd.core.planning.propose import Proposal
from impactd.core.planning.replan import Planner


class QuietPlanner(Planner):
    """Plans one order at a time, and may keep its plans to itself."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        #: All orders that it has published a plan of, and those of which one had a price, by id.
        self.worked: dict[str, Order] = {}
        self.stated: set[str] = set()

    def publish(self, order: Order, reason: str, proposal: Proposal | None, group_id: str | None = None) -> None:
        """Publish a plan as the service does, and note whether it has a price."""
        super().publish(order, reason, proposal, group_id)
        self.worked[order.cl_ord_id] = order
        if proposal is not None and proposal.priced and proposal.shares > 0.0 and proposal.mid is not None:
            self.stated.add(order.cl_ord_id)

    def replace(self, order: Order, now: int, *, forced: bool) -> bool:
        """Replace the order's schedule where the service would; return False if there is more to do than that."""
        order.clock = max(order.clock, now)
        found = self._proposed([order], order.clock, self._markets.of(order.symbol).view(order.side, order.clock))
        if isinstance(found, SolveFailure):
            return False
        order.depth_root = float(found.problem.root[0]) if found.problem.root.size else 0.0
        if not (forced or self._worth_it(found)):
            return True
        qty, cost, shares = found.qty[0], float(found.cost[0]), float(found.x[0].sum())
        # What the gate withholds whatever its limits: no solver gives it.
        whole = int(qty.sum()) == order.leaves_qty - found.shortfall[0] and bool((qty >= 0).all())
        if not (whole and np.isfinite(cost) and found.priced) or found.limits.broken_by(found.qty):
            return False
        gap, price = found.certificates[0].gap or 0.0, cost / shares if shares > 0.0 else 0.0
        grid = found.grid
        order.schedule = Schedule.of(grid.start, grid.end, qty, found.shortfall[0], gap, price)
        order.plan_version += 1
        return True


class QuietDesk(Desk):
    """Moves orders past a minute's end without a word, where no setting asks for more than their schedules."""

    planner = QuietPlanner
    _plans: QuietPlanner

    def __init__(self, settings: CoreSettings, *parts: Any) -> None:
        super().__init__(settings, *parts)
        #: Whether plans act within the minute, or the gate's limits may withhold one.
        self._loud = self.slices.on or settings.gate != GateSettings()

    @property
    def worked(self) -> Mapping[str, Order]:
        """All orders that it has worked, by id."""
        return self._plans.worked

    def on_minute_close(
        self, symbol: str, minute_end: int, last_tick: int | None, stats: MinuteStats, shifted: AbstractSet[Side]
    ) -> None:
        """Move the symbol's orders past `minute_end`, as `Desk.on_minute_close` does."""
        orders = self._orders.active_of(symbol)
        quiet = all(o.cl_ord_id in self._plans.stated and not (o.halted or o.blind) for o in orders)
        if self._loud or self._halts.any or not quiet:
            super().on_minute_close(symbol, minute_end, last_tick, stats, shifted)
            return
        before = self._at(minute_end - 1)
        for order in orders:
            self._pass(order, minute_end, before)
            if order.leaves_qty == 0 or minute_end >= order.terms.end:
                self._close_order(order, minute_end, last_tick, shifted)
                continue
            now, reason = max(order.clock, minute_end), reason_at_close(order, shifted, last_tick)
            if not self._plans.replace(order, now, forced=reason != "minute"):
                self._plans.plan(order, now, reason, forced=reason != "minute")
