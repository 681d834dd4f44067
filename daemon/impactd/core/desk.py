"""The desk: orders, executions and controls of one partition, and when their plans are due.

Each event is applied to its order, or held if it arrived before what it refers
to.  A plan is due when the outcome says so, and for every active order when its
symbol's minute closes.  `impactd.core.planning.replan` decides what is published.

An ended order is kept for a while, because executions still apply to it and a
repeated ``new`` must be recognised; then its state keys are deleted.  Whether an
event still finds its order is decided by the event's own time, not by when the
desk last cleaned up.

With ``fills = "scheduled"`` each interval's quantity counts as filled at its
end, less the executions that were reported for it: a reported fill replaces the
assumption as far as it goes, and never adds to it.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from impactd.core.base.quantity import format_qty
from impactd.core.base.settings import CoreSettings
from impactd.core.base.stateful import SingleKey
from impactd.core.base.timing import Probe, unwatched
from impactd.core.base.topics import Side
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.books.minute import MinuteStats
from impactd.core.inputs.events import Bust, Control, Correct, Fill, NewOrder, Received
from impactd.core.inputs.inbox import LocalControl
from impactd.core.market.markets import Markets
from impactd.core.orders.alerts import UNCOUNTED, OrderAlerts
from impactd.core.orders.early import HeldEvents
from impactd.core.orders.halts import Halts
from impactd.core.orders.ledger import Ledger
from impactd.core.orders.order import ApplyContext, Order, Status, apply_event, refusal, same_order
from impactd.core.outputs.counts import EventOutcome
from impactd.core.outputs.outbox import Outbox
from impactd.core.planning.gate import Gate
from impactd.core.planning.replan import Planner
from impactd.core.tca.feedback import Feedback


class Desk:
    """Applies order, execution and control events, and moves orders past each minute's end.

    Parameters
    ----------
    settings : CoreSettings
    orders : Ledger
    books : MinuteAggregator
        Minutes of an order's symbol close from its arrival on.
    markets : Markets
    outbox : Outbox
    probe : Probe, optional
        Times solves.
    """

    def __init__(
        self,
        settings: CoreSettings,
        orders: Ledger,
        books: MinuteAggregator,
        markets: Markets,
        outbox: Outbox,
        probe: Probe = unwatched,
    ) -> None:
        self._settings = settings.plans
        self._interval = settings.books.interval_ns
        self._orders = orders
        self._books = books
        self._outbox = outbox
        self._alerts = OrderAlerts(settings.plans, outbox)
        self.halts = Halts()
        self.held = HeldEvents(settings.plans.hold_ns, settings.plans.max_held)
        self._feedback = Feedback(settings, orders, markets, outbox)
        gate = Gate(settings.gate)
        self._plans = Planner(settings, orders, self.halts, gate, markets, self._feedback, self._alerts, outbox, probe)
        #: The parts of the desk with state keys of their own.
        self.stateful = (
            orders,
            self.held,
            self._feedback,
            SingleKey("halts", self.halts.dump, self.halts.load),
            SingleKey("gate", gate.dump, gate.load),
        )

    # --- events -----------------------------------------------------------

    def receive(self, received: Received[Any], now: int) -> None:
        """Apply an order, execution or control event at event time `now`."""
        event = received.event
        if isinstance(event, Control):
            changed = self._halted(event, now)
            self._outbox.counts.events[EventOutcome.APPLIED if changed else EventOutcome.DUPLICATE] += 1
            return
        order = self._orders.get(event.cl_ord_id)
        if order is not None and self._is_past(order, now):
            self._orders.forget(order)
            order = None
        if isinstance(event, NewOrder):
            self._new(event, order, now)
        elif order is None:
            self._hold(received, now, now)
        else:
            self._apply(order, received, now, now)

    def _new(self, event: NewOrder, known: Order | None, now: int) -> None:
        if known is not None:
            if same_order(known.new, event):
                self._outbox.counts.events[EventOutcome.DUPLICATE] += 1
                return
            self._outbox.counts.events[EventOutcome.REJECTED] += 1
            text = "a second new with other content; send a replace to amend the order"
            self._alerts.alert("order_rejected", event.symbol, event.cl_ord_id, now, text)
            return
        order = Order.open(event, now)
        why = self._refusal(order, now)
        if why is not None:
            self._outbox.counts.events[EventOutcome.REJECTED] += 1
            order.finish(Status.REJECTED, now, why)
            self._plans.publish(order, "new", None)
            self._alerts.alert("order_rejected", order.symbol, order.cl_ord_id, now, why)
            return
        self._outbox.counts.events[EventOutcome.APPLIED] += 1
        self._orders.add(order)
        self._feedback.arrived(order, now)
        self._alerts.opposite(order, self._orders.of(order.symbol), now)
        self._plans.plan(order, now, "new", forced=True)
        self._release(order, now)

    def _refusal(self, order: Order, now: int) -> str | None:
        """Return why a new order cannot be taken, or None."""
        why = refusal(order.terms, self._at(now))
        if why is None and len(self._orders) >= self._settings.max_orders:
            why = f"{len(self._orders)} orders are known already, as many as plans.max_orders allows"
        if why is None and not self._books.open(order.symbol, now):
            why = f"{order.symbol} would be one symbol more than max_symbols allows in this partition"
        return why

    def _apply(self, order: Order, received: Received[Any], now: int, since: int) -> None:
        """Apply an event to its order, or hold it with the time `since` which it waits."""
        event = received.event
        if event.symbol != order.symbol:
            detail = f"symbol: the order {order.cl_ord_id} is for {order.symbol}, not {event.symbol}"
            self._alerts.dead(received, "symbol_mismatch", detail)
            return
        before = order.executions.get(event.exec_ref_id) if isinstance(event, Correct | Bust) else None
        outcome = apply_event(order, event, self._at(max(now, order.clock)))
        if outcome.kind is EventOutcome.HELD:
            self._hold(received, now, since)
            return
        self._outbox.counts.events[outcome.kind] += 1
        if outcome.kind in UNCOUNTED:
            self._alerts.uncounted(received, order, outcome.kind)
            if outcome.kind is EventOutcome.EXECUTIONS_FULL and order.active:
                self._halted(Control("halt", order.cl_ord_id, "plans.max_executions is reached", now), now)
            return
        if outcome.kind is EventOutcome.APPLIED:
            self._orders.mark(order)
            if isinstance(event, Fill | Correct | Bust):
                self._orders.mark_execution(order, event)
                self._feedback.executed(order, event, before, max(now, order.clock))
        if outcome.alert is not None:
            self._alerts.alert(outcome.alert[0], order.symbol, order.cl_ord_id, now, outcome.alert[1])
        if outcome.replan is not None:
            self._plans.plan(order, now, outcome.replan, forced=True)
        if isinstance(event, Fill) and self.held.awaits(order.cl_ord_id, event.exec_id):
            self._release(order, now)

    def _release(self, order: Order, now: int) -> None:
        """Apply the events held for `order`."""
        for item in self.held.release(order.cl_ord_id):
            if self.held.is_too_old(item, now):
                self._alerts.orphan(item.received)
            else:
                self._apply(order, item.received, now, item.since)

    def _hold(self, received: Received[Any], now: int, since: int) -> None:
        self.expire_held(now)
        why = self.held.hold(received, since)
        if why is None:
            self._outbox.counts.events[EventOutcome.HELD] += 1
        else:
            self._alerts.dead(received, "held_full", f"cl_ord_id: no such order or execution yet, and {why}")

    def _halted(self, event: Control, now: int) -> bool:
        changed = self.halts.apply(event)
        if changed is not None:
            # A scope without an order may be misspelt or refer to a later order: the count lets the sender tell.
            self._alerts.alert(event.type, None, None, now, f"{changed} ({len(self._turned())} active orders here)")
            self._replan_halted(now)
        return changed is not None

    def switch(self, control: LocalControl, now: int) -> None:
        """Turn the kill switch on or off at event time `now`."""
        if self.halts.switch(control.reason if control.type == "halt" else None):
            self._alerts.alert(control.type, None, None, now, control.reason)
            self._replan_halted(now)

    def _replan_halted(self, now: int) -> None:
        for order in self._turned():
            self._plans.plan(order, now, "control", forced=True)

    def _turned(self) -> list[Order]:
        """Return the active orders whose halt has begun or ended."""
        return [
            order for order in self._orders if order.active and (self._plans.halt_of(order) is not None) != order.halted
        ]

    # --- time -------------------------------------------------------------

    def on_minute_close(
        self, symbol: str, minute_end: int, last_tick: int | None, stats: MinuteStats, shifted: AbstractSet[Side]
    ) -> None:
        """Move the symbol's orders past `minute_end`.

        Parameters
        ----------
        minute_end : int
            ns.
        last_tick : int or None
            ts_event of the symbol's latest tick, ns.
        stats : MinuteStats
            Of the closed minute.
        shifted : set of Side
            Sides whose impact level has shifted: their plans are replaced.
        """
        volume, vwap = stats.volume_continuous or 0.0, stats.vwap
        self._feedback.minute(symbol, stats.minute, vwap, volume)
        self._feedback.reach(symbol, minute_end)
        orders = [order for order in self._orders.of(symbol) if order.active]
        for order in orders:
            unfilled = order.schedule.advance(minute_end)
            if self._settings.fills == "scheduled":
                taken = min(unfilled, order.leaves_qty)
                order.cum_qty += taken
                order.displace(taken, self._at(minute_end - 1))
                self._feedback.assumed(order, taken, minute_end - 1)
            worked = min(max(minute_end - order.works_from, 0), self._interval)
            order.market_volume += volume * (worked / self._interval)
            if vwap is not None:
                order.vwap_volume += volume * (worked / self._interval)
                order.vwap_turnover += vwap * volume * (worked / self._interval)
            self._feedback.begin(order, minute_end)
            self._orders.mark(order)
        planned: set[str] = set()
        for order in orders:
            if order.cl_ord_id not in planned:
                planned.update(self._close_order(order, minute_end, last_tick, shifted))
        self.forget(symbol, minute_end)

    def _close_order(
        self, order: Order, minute_end: int, last_tick: int | None, shifted: AbstractSet[Side]
    ) -> list[str]:
        """End or plan an order whose minute has closed, with its group; return the ids it has planned."""
        now = max(order.clock, minute_end)
        if order.leaves_qty == 0:
            order.finish(Status.DONE, now)
            self._plans.plan(order, now, "done", forced=True)
            return [order.cl_ord_id]
        if minute_end >= order.terms.end:
            left = format_qty(order.leaves_qty)
            order.finish(Status.EXPIRED, now)
            text = f"the window ended with {left} not traded"
            self._alerts.alert("shortfall", order.symbol, order.cl_ord_id, now, text)
            self._plans.plan(order, now, "expired", forced=True)
            return [order.cl_ord_id]
        group = self._plans.group(order)
        if len(group) < 2 or order not in group:
            self._alerts.missing(order, last_tick, now)
            reason = _why(order, shifted)
            self._plans.plan(order, now, reason, forced=reason != "minute")
            return [order.cl_ord_id]
        reasons = {}
        for member in group:
            self._alerts.missing(member, last_tick, now)
            reasons[member.cl_ord_id] = _why(member, shifted)
        self._plans.plan_group(group, now, reasons, forced=set(reasons.values()) != {"minute"})
        return list(reasons)

    def forget(self, symbol: str, now: int) -> None:
        """Publish what is due at `now`, and drop the symbol's orders whose keep time is over."""
        self._feedback.reach(symbol, now)
        for order in self._orders.of(symbol):
            if self._is_past(order, now):
                self._orders.forget(order)

    def expire_held(self, now: int) -> None:
        """Send events that have been held for longer than the setting allows to the dead letters."""
        for item in self.held.expire(now):
            self._alerts.orphan(item.received)

    # --- bookkeeping ------------------------------------------------------

    def _at(self, now: int) -> ApplyContext:
        plans = self._settings
        half_life = plans.resilience_half_life_ns if plans.transient_share > 0.0 else None
        return ApplyContext(now, self._interval, plans.max_horizon_intervals, plans.max_executions, half_life)

    def _is_past(self, order: Order, now: int) -> bool:
        return order.ended_at is not None and now - order.ended_at > self._settings.keep_ended_ns


def _why(order: Order, shifted: AbstractSet[Side]) -> str:
    """Return the reason of an order's plan at a minute's close; every reason but ``minute`` forces it."""
    if order.halted:
        return "minute"
    if order.off_plan:
        return "fill"
    return "regime" if order.side in shifted else "minute"
