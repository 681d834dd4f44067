"""The desk: all parent orders of one partition, and when their plans are published.

A plan is published when an event forces it (a new or amended order, a fill
off the plan, a control, an end) and, as each minute closes, when replacing
the schedule in force saves more than the threshold.  Nothing else churns it.

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
from typing import Any, Final

from impactd.core.allocator.solver import SolveFailure
from impactd.core.desk_alerts import UNCOUNTED, DeskAlerts, Say
from impactd.core.events import Bust, Control, Correct, Fill, NewOrder, Received, Side
from impactd.core.gate import PACE, Gate, Surroundings
from impactd.core.grid import PLAN_REACH
from impactd.core.halts import Halts
from impactd.core.held import HeldEvents
from impactd.core.inbox import LocalControl
from impactd.core.ledger import Ledger
from impactd.core.market import SideView, SymbolMarket
from impactd.core.messages import Topic
from impactd.core.order import At, Order, Schedule, Status, apply_event, refusal, same_order
from impactd.core.planner import Proposal, plan_message, propose
from impactd.core.probe import Probe, unwatched
from impactd.core.quantity import QUANTA, format_qty
from impactd.core.settings import CoreSettings
from impactd.core.tape_symbols import FOREVER

#: A saving smaller than this part of the cost is rounding, not a better plan.
_ROUNDING: Final = 1e-9

Views = dict[tuple[Side, int], SideView]


class Desk:
    """Orders, held events and halts of one partition.

    Parameters
    ----------
    settings : CoreSettings
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
        self._market = market
        self._say = say
        self._alerts = DeskAlerts(settings.plans, say)
        self._counts = counts
        self._probe = probe
        self._orders = Ledger()
        self.halts = Halts()
        self._gate = Gate(settings.gate)
        self.held = HeldEvents(settings.plans.hold_ns, settings.plans.max_held)

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
            self._publish(order, "new", None)
            self._alerts.alert("order_rejected", order.symbol, order.cl_ord_id, now, why)
            return
        self._counts["applied"] += 1
        self._orders.add(order)
        self._alerts.opposite(order, self._orders.of(order.symbol), now)
        self.plan(order, now, "new", forced=True)
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
        effect = apply_event(order, event, self._at(max(now, order.clock)))
        if effect.outcome == "held":
            self._hold(received, now, since)
            return
        self._counts[effect.outcome] += 1
        if effect.outcome in UNCOUNTED:
            self._alerts.uncounted(received, order, effect.outcome)
            if effect.outcome == "executions_full" and order.active:
                self._halted(Control("halt", order.cl_ord_id, "plans.max_executions is reached", now), now)
            return
        if effect.outcome == "applied":
            self._orders.mark(order)
            if isinstance(event, Fill | Correct | Bust):
                self._orders.mark_execution(order, event)
        if effect.alert is not None:
            self._alerts.alert(effect.alert[0], order.symbol, order.cl_ord_id, now, effect.alert[1])
        if effect.replan is not None:
            self.plan(order, now, effect.replan, forced=True)
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
            self.plan(order, now, "control", forced=True)

    def _turned(self) -> list[Order]:
        """Return the active orders that are halted now and were not, or the other way round."""
        return [order for order in self._orders if order.active and (self._halt_of(order) is not None) != order.halted]

    # --- time -------------------------------------------------------------

    def roll(self, symbol: str, minute_end: int, last_tick: int | None, volume: float) -> None:
        """Move the symbol's orders past `minute_end`.

        Parameters
        ----------
        symbol : str
        minute_end : int
            ns.
        last_tick : int or None
            ts_event of the symbol's latest tick, ns.
        volume : float
            What the minute has traded, shares.
        """
        views: Views = {}
        for order in self._orders.of(symbol):
            if order.active:
                self._roll(order, minute_end, last_tick, volume, views)
        self.forget(symbol, minute_end)

    def _roll(self, order: Order, minute_end: int, last_tick: int | None, volume: float, views: Views) -> None:
        unfilled = order.schedule.roll(minute_end)
        if self._settings.fills == "scheduled":
            order.cum_qty += min(unfilled, order.leaves_qty)
        worked = min(max(minute_end - order.works_from, 0), self._interval)
        order.market_volume += volume * (worked / self._interval)
        self._orders.mark(order)
        now = max(order.clock, minute_end)
        if order.leaves_qty == 0:
            order.finish(Status.DONE, now)
            self.plan(order, now, "done", forced=True)
        elif minute_end >= order.end:
            left = format_qty(order.leaves_qty)
            order.finish(Status.EXPIRED, now)
            text = f"the window ended with {left} not traded"
            self._alerts.alert("shortfall", order.symbol, order.cl_ord_id, now, text)
            self.plan(order, now, "expired", forced=True)
        else:
            self._alerts.missing(order, last_tick, now)
            off_plan = order.off_plan and not order.halted
            self.plan(order, now, "fill" if off_plan else "minute", forced=off_plan, views=views)

    def forget(self, symbol: str, now: int) -> None:
        """Drop the symbol's orders that ended too long before `now` to matter."""
        for order in self._orders.of(symbol):
            if self._is_past(order, now):
                self._orders.forget(order)

    def expire_held(self, now: int) -> None:
        """Send to the dead letters what has been held for longer than the setting allows."""
        for item in self.held.expire(now):
            self._alerts.orphan(item.received)

    def begins(self, symbol: str) -> int:
        """Return when the first of the symbol's active orders begins, ns; `FOREVER` without any."""
        return min((order.start for order in self._orders.of(symbol) if order.active), default=FOREVER)

    def asks(self, symbol: str) -> tuple[float, float] | None:
        """Return the least and the most that active orders ask of an interval, shares.

        The least is an order's whole quantity over its whole window, the most
        also what its schedule puts into one interval.  What is left of it
        would not do: sizes that shrink with it would hide the slope that the
        next plan needs.
        """
        least, most = [], []
        for order in self._orders.of(symbol):
            if order.active:
                rate = order.order_qty / QUANTA / max((order.end - order.start) / self._interval, 1.0)
                least.append(rate)
                most.append(max(rate, max(order.schedule.qty, default=0) / QUANTA / PLAN_REACH))
        return (min(least), max(most)) if least else None

    def lot(self, symbol: str) -> int | None:
        """Return the smallest lot of the symbol's active orders, quanta; None without any."""
        return min((order.lot_size for order in self._orders.of(symbol) if order.active), default=None)

    def active(self) -> tuple[int, int]:
        """Return how many orders are active, and how many of them are halted."""
        halted = [order.halted for order in self._orders if order.active]
        return len(halted), sum(halted)

    # --- plans ------------------------------------------------------------

    def plan(self, order: Order, now: int, reason: str, *, forced: bool, views: Views | None = None) -> None:
        """Publish a plan for `order` if `forced`, or if a better one is worth it; `views` of its symbol are shared."""
        order.clock = max(order.clock, now)
        self._orders.mark(order)
        halt = self._halt_of(order)
        if not order.active or halt is not None:
            if forced or not order.halted:
                self._publish_none(order, reason, halt)
            return
        at, views = (order.side, order.clock), {} if views is None else views
        view = views[at] = views.get(at) or self._market(order.symbol).view(*at)
        with self._probe("solve"):
            proposal = propose(order, order.clock, view, self._settings, self._interval)
        failed = isinstance(proposal, SolveFailure)
        self._alerts.warn(order, now, "solver_failed", str(proposal) if failed else None)
        if isinstance(proposal, SolveFailure):
            self._counts["unsolved"] += 1
            # The schedule in force goes on where nothing has happened that it does not know of; else it is taken back.
            if forced and not order.halted:
                self._publish_none(order, reason, f"no schedule passes its certificate: {proposal.text}")
            return
        if not (forced or order.halted or self._worth_it(order, proposal)):
            return
        withheld = self._gate.withholds(order, proposal, Surroundings(order.clock, view.mid, view.depth))
        self._alerts.warn(order, now, "withheld", None if withheld is None else withheld.text)
        if withheld is not None:
            self._counts["withheld"] += 1
            if not order.halted or (forced and withheld.limit != PACE):
                self._publish_none(order, reason, withheld.text)
            return
        order.halted = False
        order.text = None
        order.schedule = Schedule(
            start=proposal.pieces.start.tolist(),
            end=proposal.pieces.end.tolist(),
            qty=proposal.qty.tolist(),
            shortfall_qty=proposal.shortfall_qty,
        )
        short = f"the caps leave {format_qty(proposal.shortfall_qty)} of {format_qty(order.leaves_qty)} not planned"
        if not proposal.volume_known and order.participation_rate is not None:
            short += "; no trade has been seen yet, so participation_rate allows nothing"
        self._alerts.warn(order, now, "shortfall", short if proposal.shortfall_qty else None)
        self._publish(order, reason, proposal)

    def _worth_it(self, order: Order, proposal: Proposal) -> bool:
        """Return whether `proposal` should replace the schedule in force."""
        schedule = order.schedule
        if schedule.start != proposal.pieces.start.tolist() or schedule.shortfall_qty != proposal.shortfall_qty:
            return True
        current = schedule.remaining()
        if any(qty > cap for qty, cap in zip(current, proposal.cap.tolist(), strict=True)):
            return True
        saving = proposal.improvement_on(current)
        if saving <= _ROUNDING * abs(proposal.expected_cost):
            return False
        notional = order.leaves_qty / QUANTA * (proposal.mid or 0.0)
        return notional == 0.0 or saving / notional * 1e4 > self._settings.replan_threshold_bps

    def _publish_none(self, order: Order, reason: str, halt: str | None) -> None:
        """Publish that nothing is to be traded: the order has ended, or is halted for a reason."""
        order.halted = order.active
        order.schedule = Schedule(shortfall_qty=order.leaves_qty)
        order.text = halt if order.active else order.text
        self._publish(order, reason, None)

    def _publish(self, order: Order, reason: str, proposal: Proposal | None) -> None:
        if order.status is not Status.REJECTED:
            order.plan_version += 1
        plan = plan_message(order, reason, proposal, self._settings, self._interval)
        self._say(Topic.PLANS, order.symbol, plan)
        self._say(Topic.PLANS_LATEST, order.cl_ord_id, plan)

    # --- bookkeeping ------------------------------------------------------

    def _at(self, now: int) -> At:
        return At(now, self._interval, self._settings.max_horizon_intervals, self._settings.max_executions)

    def _halt_of(self, order: Order) -> str | None:
        return self.halts.of(order.symbol, order.cl_ord_id)

    def _is_past(self, order: Order, now: int) -> bool:
        return order.ended_at is not None and now - order.ended_at > self._settings.keep_ended_ns

    def changes(self) -> dict[str, bytes | None]:
        """Return the state keys that changed since the last call, None for a tombstone."""
        changed = {**self._orders.changed, **self.held.changed}
        self._orders.changed.clear()
        self.held.changed.clear()
        return {key: None if value is None else value() for key, value in changed.items()}

    def meta(self) -> dict[str, Any]:
        """Return what stands in the partition's ``meta``: halts, and the pace of plans."""
        return {**self.halts.save(), "pace": self._gate.pace}

    def load_meta(self, meta: Mapping[str, Any]) -> None:
        """Restore from the partition's ``meta``."""
        self.halts.load(meta)
        second, count = meta.get("pace", (0, 0))
        self._gate.pace = (second, count)

    def save(self) -> dict[str, bytes]:
        """Return every state key with its value."""
        return self._orders.save() | self.held.save()

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore orders, executions and held events from their state keys."""
        self._orders.load(items)
        prefix = "held/"
        self.held.load((int(key.removeprefix(prefix)), items[key]) for key in items if key.startswith(prefix))
