"""The desk: all parent orders of one partition, and when their plans are published.

A plan is published when an event forces it (a new or amended order, a fill
off the plan, a control, an end) and, as each minute closes, when replacing
the schedule in force saves more than the threshold.  Nothing else churns it.

Orders on one symbol and side trade into the same book, and are planned
together: whatever forces the plan of one forces all of theirs, the threshold is
on what all save, and their plans share a ``group_id``.  Opposite sides are
alerted and never netted.

An order that has ended is remembered for a while, because executions still
apply to it and a repeated ``new`` must be known as such; then its state keys
are tombstoned.  Whether an event still finds it, or one that was held for it,
is settled by the event's own time, not by when the desk last tidied up.

Under ``fills = "scheduled"`` each interval's quantity counts as filled at its
end, less what executions have reported for it: a reported fill replaces the
assumption as far as it goes, and never adds to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from impactd.core.base.quantity import format_qty
from impactd.core.base.settings import CoreSettings
from impactd.core.base.timing import Probe, unwatched
from impactd.core.base.topics import Side
from impactd.core.books.minute import MinuteStats
from impactd.core.inputs.events import Bust, Control, Correct, Fill, NewOrder, Received
from impactd.core.inputs.inbox import LocalControl
from impactd.core.market.symbol import SymbolMarket
from impactd.core.orders.alerts import UNCOUNTED, OrderAlerts, Say
from impactd.core.orders.early import HeldEvents
from impactd.core.orders.halts import Halts
from impactd.core.orders.ledger import Ledger
from impactd.core.orders.order import ApplyContext, Order, Status, apply_event, refusal, same_order
from impactd.core.planning.gate import Gate
from impactd.core.planning.replan import Planner
from impactd.core.tca.feedback import Feedback


class Desk:
    """Orders, held events and halts of one partition.

    Parameters
    ----------
    opens : callable
        Takes a symbol and an event time (ns), and has its minutes close from
        then on; False where the partition has no room for another symbol.
    market : callable
        Symbol to its `SymbolMarket`.
    say : callable
        Takes each message to publish, with its topic and key.
    counts : Counter
        Counts what became of each event, by outcome.
    probe : Probe, optional
        Times solves.
    """

    def __init__(
        self,
        settings: CoreSettings,
        opens: Callable[[str, int], bool],
        market: Callable[[str], SymbolMarket],
        say: Say,
        counts: Counter[str],
        probe: Probe = unwatched,
    ) -> None:
        self._settings = settings.plans
        self._interval = settings.books.interval_ns
        self._opens = opens
        self._say = say
        self._alerts = OrderAlerts(settings.plans, say)
        self._counts = counts
        self._orders = Ledger()
        #: See `Ledger`.
        self.begins, self.lot, self.active = self._orders.begins, self._orders.lot, self._orders.active
        self.halts = Halts()
        self._gate = Gate(settings.gate)
        self.held = HeldEvents(settings.plans.hold_ns, settings.plans.max_held)
        self._feedback = Feedback(settings, self._orders, market, say)
        self._plans = Planner(
            settings, self._orders, self.halts, self._gate, market, self._alerts, say, self._feedback, counts, probe
        )

    # --- events -----------------------------------------------------------

    def receive(self, received: Received[Any], now: int) -> None:
        """Apply an order, execution or control event at event time `now`."""
        event = received.event
        if isinstance(event, Control):
            self._counts["applied" if self._halted(event, now) else "duplicate"] += 1
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
                self._counts["duplicate"] += 1
                return
            self._counts["rejected"] += 1
            text = "a second new with other content; send a replace to amend the order"
            self._alerts.alert("order_rejected", event.symbol, event.cl_ord_id, now, text)
            return
        order = Order.open(event, now)
        why = self._refusal(order, now)
        if why is not None:
            self._counts["rejected"] += 1
            order.finish(Status.REJECTED, now, why)
            self._plans.publish(order, "new", None)
            self._alerts.alert("order_rejected", order.symbol, order.cl_ord_id, now, why)
            return
        self._counts["applied"] += 1
        self._orders.add(order)
        self._feedback.arrived(order, now)
        self._alerts.opposite(order, self._orders.of(order.symbol), now)
        self._plans.plan(order, now, "new", forced=True)
        self._release(order, now)

    def _refusal(self, order: Order, now: int) -> str | None:
        """Return why a new order cannot be taken, or None."""
        why = refusal(order, self._at(now))
        if why is None and len(self._orders) >= self._settings.max_orders:
            why = f"{len(self._orders)} orders are known already, as many as plans.max_orders allows"
        if why is None and not self._opens(order.symbol, now):
            why = f"{order.symbol} would be one symbol more than max_symbols allows in this partition"
        return why

    def _apply(self, order: Order, received: Received[Any], now: int, since: int) -> None:
        """Apply an event to its order, or hold it as one that waits `since` then."""
        event = received.event
        if event.symbol != order.symbol:
            detail = f"symbol: the order {order.cl_ord_id} is for {order.symbol}, not {event.symbol}"
            self._alerts.dead(received, "symbol_mismatch", detail)
            return
        before = order.executions.get(event.exec_ref_id) if isinstance(event, Correct | Bust) else None
        outcome = apply_event(order, event, self._at(max(now, order.clock)))
        if outcome.kind == "held":
            self._hold(received, now, since)
            return
        self._counts[outcome.kind] += 1
        if outcome.kind in UNCOUNTED:
            self._alerts.uncounted(received, order, outcome.kind)
            if outcome.kind == "executions_full" and order.active:
                self._halted(Control("halt", order.cl_ord_id, "plans.max_executions is reached", now), now)
            return
        if outcome.kind == "applied":
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
        """Apply what was held for `order`."""
        for item in self.held.release(order.cl_ord_id):
            if self.held.is_too_old(item, now):
                self._alerts.orphan(item.received)
            else:
                self._apply(order, item.received, now, item.since)

    def _hold(self, received: Received[Any], now: int, since: int) -> None:
        self.expire_held(now)
        why = self.held.hold(received, since)
        if why is None:
            self._counts["held"] += 1
        else:
            self._alerts.dead(received, "held_full", f"cl_ord_id: no such order or execution yet, and {why}")

    def _halted(self, event: Control, now: int) -> bool:
        changed = self.halts.apply(event)
        if changed is not None:
            # A scope without an order may be misspelt, or of what is to come: its sender can tell.
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
        """Return the active orders that are halted now and were not, or the other way round."""
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
            What the minute has shown.
        shifted : set of Side
            Sides whose regime it has changed: their orders are planned anew.
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
        """End or plan an order whose minute has closed, with its group; return whom it planned."""
        now = max(order.clock, minute_end)
        if order.leaves_qty == 0:
            order.finish(Status.DONE, now)
            self._plans.plan(order, now, "done", forced=True)
            return [order.cl_ord_id]
        if minute_end >= order.end:
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
        """Drop the symbol's orders that ended too long before `now` to matter, and say what waited until then."""
        self._feedback.reach(symbol, now)
        for order in self._orders.of(symbol):
            if self._is_past(order, now):
                self._orders.forget(order)

    def expire_held(self, now: int) -> None:
        """Send to the dead letters what has been held for longer than the setting allows."""
        for item in self.held.expire(now):
            self._alerts.orphan(item.received)

    def demand_range(self, symbol: str) -> tuple[float, float] | None:
        """Return the least and the most that active orders ask of an interval, shares."""
        return self._orders.demand_range(symbol, self._interval)

    # --- bookkeeping ------------------------------------------------------

    def _at(self, now: int) -> ApplyContext:
        plans = self._settings
        half_life = plans.resilience_half_life_ns if plans.transient_share > 0.0 else None
        return ApplyContext(now, self._interval, plans.max_horizon_intervals, plans.max_executions, half_life)

    def _is_past(self, order: Order, now: int) -> bool:
        return order.ended_at is not None and now - order.ended_at > self._settings.keep_ended_ns

    def changes(self) -> dict[str, bytes | None]:
        """Return the state keys that changed since the last call, None for a tombstone."""
        changed = {**self._orders.changed, **self.held.changed}
        self._orders.changed.clear()
        self.held.changed.clear()
        written = {key: None if value is None else value() for key, value in changed.items()}
        return written | self._feedback.changes()

    def meta(self) -> dict[str, Any]:
        """Return what stands in the partition's ``meta``: halts, and the pace of plans."""
        return {**self.halts.save(), "pace": self._gate.pace}

    def load_meta(self, meta: Mapping[str, Any]) -> None:
        """Restore from the partition's ``meta``."""
        self.halts.load(meta)
        second, count = meta["pace"]
        self._gate.pace = (second, count)

    def save(self) -> dict[str, bytes]:
        """Return every state key with its value."""
        return self._orders.save() | self.held.save() | self._feedback.save()

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore orders, executions and held events from their state keys."""
        self._orders.load(items)
        self._feedback.load(items)
        prefix = "held/"
        self.held.load((int(key.removeprefix(prefix)), items[key]) for key in items if key.startswith(prefix))


def _why(order: Order, shifted: AbstractSet[Side]) -> str:
    """Return why an order is planned at a minute's close; all but ``minute`` force a plan."""
    if order.halted:
        return "minute"
    if order.off_plan:
        return "fill"
    return "regime" if order.side in shifted else "minute"
