"""A ledger of orders that is slow and obviously right: it keeps every event and counts from the start each time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from impactd.core.base.settings import MINUTE_NS
from impactd.core.inputs.events import Bust, CancelOrder, Correct, Fill, NewOrder, ReplaceOrder


def minute_of(ts: int) -> int:
    return ts // MINUTE_NS * MINUTE_NS


@dataclass
class PlainOrder:
    """One order: what was asked for, every execution, and the quantities that were assumed by minute."""

    wish: int
    end: int
    ids: list[str]
    status: str = "active"
    reduced: bool = False
    cancel_asked: bool = False
    executions: dict[str, Any] = field(default_factory=dict)
    replaces: list[ReplaceOrder] = field(default_factory=list)
    assumed: dict[int, int] = field(default_factory=dict)

    def fill_of(self, exec_id: str) -> str:
        """Return the fill at the root of an execution's chain."""
        event = self.executions[exec_id]
        return exec_id if isinstance(event, Fill) else self.fill_of(event.exec_ref_id)

    def qty_of(self, fill_id: str) -> int:
        """Return what a fill counts: as the latest amendment of its chain has it."""
        chain = [event for exec_id, event in self.executions.items() if self.fill_of(exec_id) == fill_id]
        latest = max(chain, key=lambda event: event.ts_event)
        return 0 if isinstance(latest, Bust) else latest.last_qty

    def filled(self) -> dict[int, int]:
        """Return the reported quantity by minute of each fill's own time."""
        found: dict[int, int] = {}
        for exec_id, event in self.executions.items():
            if isinstance(event, Fill):
                minute = minute_of(event.ts_event)
                found[minute] = found.get(minute, 0) + self.qty_of(exec_id)
        return found

    @property
    def cum_qty(self) -> int:
        return sum(self.filled().values()) + sum(self.assumed.values())

    @property
    def order_qty(self) -> int:
        return max(self.wish, self.cum_qty) if self.reduced else self.wish

    @property
    def leaves_qty(self) -> int:
        return max(self.order_qty - self.cum_qty, 0) if self.status == "active" else 0


@dataclass(eq=False)
class Waiting:
    """An event that waits; the same one may wait twice."""

    event: Any


class PlainLedger:
    """Applies events one by one; one that refers to what is not there waits, and applies right after it."""

    def __init__(self) -> None:
        self.orders: dict[str, PlainOrder] = {}
        self.waiting: list[Waiting] = []
        self.now = 0
        #: Executions under an exec_id that another one has.
        self.conflicts = 0
        #: By order: cum_qty and fills by minute after each event that has applied.
        self.history: dict[str, list[tuple[int, dict[int, int]]]] = {}

    def find(self, event: Any) -> PlainOrder | None:
        names = {event.cl_ord_id, event.orig_cl_ord_id}
        return next((order for order in self.orders.values() if names & set(order.ids)), None)

    def deliver(self, event: Any) -> None:
        """Take an event; what waited for it follows in order of arrival."""
        if isinstance(event, NewOrder):
            provided = self._new(event)
        else:
            order = self.find(event)
            ref = getattr(event, "exec_ref_id", None)
            if order is None or (
                ref is not None and event.exec_id not in order.executions and ref not in order.executions
            ):
                self.waiting.append(Waiting(event))
                return
            provided = self._apply(order, event)
        for name, order in self.orders.items():
            self.history.setdefault(name, []).append((order.cum_qty, order.filled()))
        released = [held for held in self.waiting if provided & self._needs(held.event)]
        self.waiting = [held for held in self.waiting if held not in released]
        for held in released:
            self.deliver(held.event)

    @staticmethod
    def _refers_to_known(order: PlainOrder, event: Any) -> bool:
        ref = getattr(event, "exec_ref_id", None)
        return ref is None or bool({event.exec_id, ref} & order.executions.keys())

    def _needs(self, event: Any) -> set[Any]:
        order = self.find(event)
        if order is None or getattr(event, "exec_ref_id", None) is None:
            return {event.orig_cl_ord_id or event.cl_ord_id}
        return {event.orig_cl_ord_id or event.cl_ord_id, (order.ids[0], event.exec_ref_id)}

    def _new(self, event: NewOrder) -> set[Any]:
        if event.cl_ord_id in self.orders or event.terms.end <= self.now:
            return set()
        self.orders[event.cl_ord_id] = PlainOrder(event.terms.order_qty, event.terms.end, [event.cl_ord_id])
        return {event.cl_ord_id}

    def _apply(self, order: PlainOrder, event: Any) -> set[Any]:
        if isinstance(event, ReplaceOrder | CancelOrder):
            if isinstance(event, CancelOrder) and order.status == "active":
                order.status = "canceled"
            elif isinstance(event, CancelOrder) and order.status == "done":
                order.cancel_asked = True
            elif isinstance(event, ReplaceOrder) and event not in order.replaces:
                order.replaces.append(event)
                wish: Any = dict(event.changes)["order_qty"]
                if order.status != "active" and (order.status != "done" or wish > order.cum_qty):
                    return self._named(order, event)
                order.wish = wish
                if order.wish <= order.cum_qty:
                    order.status, order.reduced = "done", True
            return self._named(order, event)
        if event.exec_id in order.executions:
            known = order.executions[event.exec_id]
            self.conflicts += replace(event, ts_event=0, cl_ord_id="") != replace(known, ts_event=0, cl_ord_id="")
            return set()
        self._execute(order, event)
        return {(order.ids[0], event.exec_id)}

    @staticmethod
    def _named(order: PlainOrder, event: ReplaceOrder | CancelOrder) -> set[Any]:
        """Add the request's id to the chain, whatever became of the request."""
        if event.cl_ord_id in order.ids:
            return set()
        order.ids.append(event.cl_ord_id)
        return {event.cl_ord_id}

    def _execute(self, order: PlainOrder, event: Fill | Correct | Bust) -> None:
        ordered, before = order.order_qty, order.filled()
        order.executions[event.exec_id] = event
        for minute, qty in order.filled().items():
            # What is reported takes the place of what was assumed, as far as it goes.
            more = max(qty - before.get(minute, 0), 0)
            order.assumed[minute] = max(order.assumed.get(minute, 0) - more, 0)
        if order.status == "active" and order.cum_qty >= ordered:
            order.status = "done"
        elif order.status == "done" and order.cum_qty < order.wish:
            order.reduced = False
            order.status = "active" if self.now < order.end else "expired"
            if order.cancel_asked:
                order.status = "canceled"

    def close(self, minute: int, unfilled: dict[str, int]) -> None:
        """End a minute; `unfilled` is what counts as filled in it without a report, by order."""
        end = minute + MINUTE_NS
        for order in self.orders.values():
            if order.status != "active":
                continue
            order.assumed[minute] = min(max(unfilled.get(order.ids[0], 0), 0), order.leaves_qty)
            if order.leaves_qty == 0:
                order.status = "done"
            elif end >= order.end:
                order.status = "expired"
