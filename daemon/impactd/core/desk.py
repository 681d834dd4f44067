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

from collections import deque
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.curve import Float
from impactd.core.base.quantity import format_qty
from impactd.core.base.settings import CoreSettings
from impactd.core.base.stateful import SingleKey
from impactd.core.base.timing import Probe, unwatched
from impactd.core.base.topics import Side, Topic
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.books.minute import MinuteStats
from impactd.core.inputs.events import (
    CancelOrder,
    Control,
    Correct,
    Definition,
    Fill,
    Imbalance,
    NewOrder,
    Received,
    ReplaceOrder,
    TradingStatus,
    order_ids,
)
from impactd.core.inputs.inbox import LocalControl
from impactd.core.inputs.instruments import Instruments
from impactd.core.market.markets import Markets
from impactd.core.orders.alerts import UNCOUNTED, OrderAlerts
from impactd.core.orders.codec import Held
from impactd.core.orders.early import HeldEvents
from impactd.core.orders.halts import KEY as HALTS_KEY
from impactd.core.orders.halts import Halts
from impactd.core.orders.ledger import Ledger
from impactd.core.orders.life import Outcome, apply_event, refusal, same_order
from impactd.core.orders.order import MAX_IDS, ApplyContext, Order, Status
from impactd.core.outputs.counts import EventOutcome
from impactd.core.outputs.outbox import Outbox
from impactd.core.planning.auctions import pending
from impactd.core.planning.gate import Gate
from impactd.core.planning.pace import Pace
from impactd.core.planning.price_watch import PriceWatch
from impactd.core.planning.replan import Planner
from impactd.core.slices.watch import Slicer
from impactd.core.state.schema import RESTART, StateMismatchError
from impactd.core.tca.feedback import Feedback


class Desk:
    """Applies order, execution and control events, and moves orders past each minute's end.

    Parameters
    ----------
    books : MinuteAggregator
        Minutes of an order's symbol close from its arrival on.

    Attributes
    ----------
    planner : type of Planner
        Makes the plans.
    """

    planner: ClassVar[type[Planner]] = Planner

    def __init__(
        self,
        settings: CoreSettings,
        orders: Ledger,
        halts: Halts,
        instruments: Instruments,
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
        self._markets = markets
        self._alerts = OrderAlerts(settings.plans, outbox)
        self._halts = halts
        self._instruments = instruments
        self.held = HeldEvents(settings.plans.hold_ns, settings.plans.max_held)
        self._feedback = Feedback(settings, orders, markets, outbox)
        gate = Gate(settings.gate)
        self.pace = Pace(orders, self._interval)
        self.prices = PriceWatch(settings, orders, books, markets)
        self._plans = self.planner(
            settings, orders, halts, gate, markets, self._feedback, self._alerts, self.pace, self.prices, outbox, probe
        )
        self.slices = Slicer(settings, orders, self._plans.halt_of, books, outbox)
        #: The parts of the desk with state keys of their own.
        self.stateful = (
            orders,
            self.slices,
            self.prices,
            self.held,
            self._feedback,
            SingleKey(HALTS_KEY, halts.dump, halts.load),
            SingleKey("gate", gate.dump, gate.load),
        )

    def planned(self, symbol: str, side: Side, starts: Int) -> Float | None:
        """Return what the current schedules of all orders trade in intervals, shares; None for nothing."""
        return self._plans.planned(symbol, side, starts)

    # --- events -----------------------------------------------------------

    def receive(self, received: Received[Any], now: int, topic: Topic | None = None) -> None:
        """Apply an event at event time `now`; `topic` is the one it arrived on, if not its own."""
        event = received.event
        if isinstance(event, Control):
            self._count(EventOutcome.APPLIED if self._control(event, now) else EventOutcome.DUPLICATE)
        elif isinstance(event, Definition | TradingStatus | Imbalance):
            self._market_event(received, now, topic)
        elif isinstance(event, NewOrder):
            self._new(event, now)
        else:
            self._work([Held(now, received, ())], now)

    def _market_event(self, received: Received[Any], now: int, topic: Topic | None) -> None:
        event = received.event
        try:
            if isinstance(event, Definition):
                changes = self._define(event)
            elif isinstance(event, Imbalance):
                changes = self._markets.see_imbalance(event)
            else:
                changes = self._status(event, now)
        except ValueError as error:
            self._alerts.dead(received, "market", str(error), now, topic)
        else:
            self._count(EventOutcome.APPLIED if changes else EventOutcome.DUPLICATE)

    def _new(self, event: NewOrder, now: int) -> None:
        known = self._find((event.cl_ord_id,), now)
        if known is not None and known.cl_ord_id == event.cl_ord_id and same_order(known.new, event):
            self._count(EventOutcome.DUPLICATE)
            return
        if known is not None:
            self._count(EventOutcome.REJECTED)
            text = "another order has this cl_ord_id; send a replace to amend it"
            if known.cl_ord_id != event.cl_ord_id:
                text = f"the id belongs to order {known.cl_ord_id}; send another id"
            self._alerts.alert("order_rejected", event.symbol, event.cl_ord_id, now, text)
            return
        order = Order.open(event, now, self._instruments.of(event.symbol))
        why = self._refusal(order, now)
        if why is not None:
            self._count(EventOutcome.REJECTED)
            order.finish(Status.REJECTED, now, why)
            self._plans.publish(order, "new", None)
            self._alerts.alert("order_rejected", order.symbol, order.cl_ord_id, now, why)
            return
        self._count(EventOutcome.APPLIED)
        self._orders.add(order)
        self._feedback.arrived(order, now)
        self._alerts.opposite(order, self._orders.active_of(order.symbol), now)
        self._alerts.missing(order, self._silence(order.symbol, self._books.last_ts(order.symbol), now), now)
        self._plans.plan(order, now, "new", forced=True)
        self._work(self.held.release(order.cl_ord_id), now)

    def _refusal(self, order: Order, now: int) -> str | None:
        """Return why a new order cannot be taken, or None."""
        why = refusal(order.terms, order.side, self._for(order, now), order.instrument)
        if why is None and self.slices.on and order.instrument.negative_px:
            why = f"prices of {order.symbol} may be at or below zero: it is not worked in slices; set plans.act"
        if why is None and len(self._orders) >= self._settings.max_orders and not self._made_room():
            why = f"{len(self._orders)} orders already, the limit plans.max_orders"
        if why is None and not self._books.open(order.symbol, now):
            why = f"{order.symbol} would exceed books.max_symbols in this partition"
        return why

    def _made_room(self) -> bool:
        """Forget the order that ended first, those without an execution before the others; return whether one had."""
        ended = [(bool(o.executions), o.ended_at, o.cl_ord_id) for o in self._orders if o.ended_at is not None]
        found = self._orders.get(min(ended)[2]) if ended else None
        if found is not None:
            self._orders.forget(found)
        return found is not None

    def _silence(self, symbol: str, last_tick: int | None, now: int) -> int | None:
        """Return the time since the last tick, ns, without what the market was closed; None without a tick."""
        if last_tick is None or now - last_tick <= self._settings.missing_ticks_ns:
            return None if last_tick is None else now - last_tick
        session = self._markets.session(symbol)
        if session.always_open:
            return now - last_tick
        return min(now - last_tick, session.since_resumed_ns(now)) if session.is_open(now) else 0

    def _work(self, items: Iterable[Held], now: int) -> None:
        """Apply events in order, each followed by those that waited for it."""
        waiting = deque(items)
        while waiting:
            item = waiting.popleft()
            if self.held.is_too_old(item, now):
                self._alerts.orphan(item.received, now)
            else:
                waiting.extendleft(reversed(self._apply(item, now)))

    def _apply(self, item: Held, now: int) -> list[Held]:
        """Apply an event to its order, or hold it; return the events that waited for it."""
        received, event = item.received, item.received.event
        order = self._find(order_ids(event), now)
        if order is None:
            self._hold(item._replace(awaits=order_ids(event)[:1]), now)
            return []
        if event.symbol != order.symbol:
            detail = f"symbol: the order {order.cl_ord_id} is for {order.symbol}, not {event.symbol}"
            self._alerts.dead(received, "symbol_mismatch", detail, now)
            return []
        other = self._orders.get(event.cl_ord_id)
        if other is not None and other is not order:
            detail = f"cl_ord_id: {event.cl_ord_id} is not an id of the order that orig_cl_ord_id names"
            self._alerts.dead(received, "id_mismatch", detail, now)
            return []
        if isinstance(event, Fill | Correct) and event.last_px <= 0.0 and not order.instrument.negative_px:
            detail = f"last_px: {event.last_px:g} is not positive; send the price, or set negative_px of the instrument"
            self._alerts.dead(received, "value", detail, now)
            return []
        at = self._for(order, max(now, order.clock))
        outcome = apply_event(order, event, at)
        if outcome.kind is EventOutcome.HELD:
            self._hold(item._replace(awaits=(order.cl_ord_id, event.exec_ref_id)), now)
            return []
        self._count(outcome.kind)
        if outcome.kind in UNCOUNTED:
            self._alerts.uncounted(received, order, outcome.kind, now)
            if outcome.kind is EventOutcome.EXECUTIONS_FULL and order.active:
                self._control(Control("halt", order.cl_ord_id, "plans.max_executions is reached", now), now)
            return []
        released = self._note(order, event, outcome, at.now)
        if outcome.alert is not None:
            self._alerts.alert(outcome.alert[0], order.symbol, order.cl_ord_id, now, outcome.alert[1])
        if outcome.replan is not None:
            self._plans.plan(order, now, outcome.replan, forced=True)
        return released

    def _note(self, order: Order, event: Any, outcome: Outcome, now: int) -> list[Held]:
        """Note what an event has changed; return the events that waited for it."""
        if outcome.kind in {EventOutcome.APPLIED, EventOutcome.REJECTED}:
            self._orders.mark(order)
        if isinstance(event, ReplaceOrder | CancelOrder):
            # Also the id of a request that was rejected: what follows may name it.
            if event.cl_ord_id in order.ids or len(order.later_ids) >= MAX_IDS:
                return []
            self._orders.add_id(order, event.cl_ord_id)
            return self.held.release(event.cl_ord_id)
        if outcome.kind is not EventOutcome.APPLIED:
            return []
        self._orders.mark_execution(order, event.exec_id)
        if outcome.change is not None:
            self._orders.mark_execution(order, outcome.change.exec_id)
            self._feedback.executed(order, event, outcome.change, now)
        return self.held.release(order.cl_ord_id, event.exec_id)

    def _find(self, ids: Iterable[str], now: int) -> Order | None:
        """Return the order that has one of these ids, unless its keep time is over at `now`."""
        for cl_ord_id in ids:
            order = self._orders.get(cl_ord_id)
            if order is not None and self._is_past(order, now):
                self._orders.forget(order)
                order = None
            if order is not None:
                return order
        return None

    def _hold(self, item: Held, now: int) -> None:
        self.expire_held(now)
        why = self.held.hold(item.received, item.since, item.awaits)
        if why is None:
            self._count(EventOutcome.HELD)
        else:
            detail = f"cl_ord_id: no such order or execution yet, and {why}"
            self._alerts.dead(item.received, "held_full", detail, now)

    def _control(self, event: Control, now: int) -> bool:
        """Apply a halt or resume and return whether it changes anything."""
        changed = self._halts.apply(event)
        if changed is None:
            return False
        self._mark_halt(event.scope, event.ts_event)
        # A scope may be misspelt or refer to a later order: the count lets the sender tell.
        self._alerts.alert(event.type, None, None, now, f"{changed} (active orders here: {len(self._turned())})")
        self._replan_halted(now)
        return True

    def _mark_halt(self, scope: str, at: int) -> None:
        """Tell the books of a symbol since when it is halted, or that it trades from `at` on, ns."""
        since = self._halts.halted_since(scope)
        if since is None:
            self._books.resume(scope, at)
        else:
            self._books.halt(scope, since)

    def _status(self, event: TradingStatus, now: int) -> bool:
        """Apply a market's status and return whether it changes anything."""
        was = self._halts.halted_since(event.symbol)
        changed = self._halts.markets.apply(event)
        if changed is None:
            return False
        if self._halts.halted_since(event.symbol) != was:
            self._mark_halt(event.symbol, event.ts_event)
        text = f"{changed} (active orders here: {len(self._turned())})"
        self._alerts.alert("market_status", event.symbol, None, now, text)
        self._replan_halted(now)
        return True

    def _count(self, outcome: EventOutcome) -> None:
        self._outbox.counts.events[outcome] += 1

    def switch(self, control: LocalControl, now: int) -> None:
        """Turn the kill switch on or off at event time `now`."""
        if self._halts.switch(control.reason if control.type == "halt" else None):
            self._alerts.alert(control.type, None, None, now, control.reason)
            self._replan_halted(now)

    def _replan_halted(self, now: int) -> None:
        """Plan the orders whose halt has begun or ended: those of one book once, together."""
        turned = {order.cl_ord_id: order for order in self._turned()}
        while turned:
            order = next(iter(turned.values()))
            order.clock = max(order.clock, now)
            group = self._plans.group(order) if self._plans.halt_of(order) is None else [order]
            reasons = {member.cl_ord_id: "control" for member in group if member.cl_ord_id in turned}
            if len(group) > 1 and order in group:
                self._plans.plan_group(group, now, reasons, forced=True)
            else:
                self._plans.plan(order, now, "control", forced=True)
            for cl_ord_id in (order.cl_ord_id, *reasons):
                turned.pop(cl_ord_id, None)

    def _turned(self) -> list[Order]:
        """Return the active orders whose halt has begun or ended."""
        return [o for o in self._orders.all_active() if (self._plans.halt_of(o) is not None) != o.halted]

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
        shifted : set of Side
            Sides whose impact level has shifted: their plans are replaced.
        """
        volume, vwap = stats.volume_continuous or 0.0, stats.vwap
        self._feedback.minute(symbol, stats.minute, vwap, volume)
        self._feedback.reach(symbol, minute_end)
        orders, before = self._orders.active_of(symbol), self._at(minute_end - 1)
        for order in orders:
            for taken in self._pass(order, minute_end, before):
                self._feedback.assumed(order, taken, minute_end - 1)
            if self._settings.fills == "scheduled":
                self._assume_auctions(order, minute_end)
            worked = min(max(minute_end - order.works_from, 0), self._interval)
            order.market_volume += volume * (worked / self._interval)
            if vwap is not None:
                order.vwap_volume += volume * (worked / self._interval)
                order.vwap_turnover += vwap * volume * (worked / self._interval)
            self._feedback.begin(order, minute_end)
            if order.works_from < minute_end:
                minutes = (minute_end - order.works_from) / self._interval
                self._alerts.progress(order, volume * (worked / self._interval), minutes, stats.mid_close, minute_end)
            self._orders.mark(order)
        planned: set[str] = set()
        for order in orders:
            if order.cl_ord_id not in planned:
                planned.update(self._close_order(order, minute_end, last_tick, shifted))
        self.forget(symbol, minute_end)

    def _pass(self, order: Order, minute_end: int, before: ApplyContext) -> list[int]:
        """Drop the intervals of an order's schedule that have closed; return what each of them counts as filled."""
        passed = order.schedule.advance(minute_end)
        if self._settings.fills != "scheduled" or self.slices.on:
            return []
        found = []
        for start, unfilled in passed:
            found.append(min(max(unfilled, 0), order.leaves_qty))
            order.assume(start, found[-1], before)
        return found

    def _assume_auctions(self, order: Order, minute_end: int) -> None:
        """Count the entries of auctions held by `minute_end`, ns, as filled."""
        for entry in order.auctions:
            taken = min(entry.left, order.leaves_qty)
            if entry.at <= minute_end and taken:
                order.assume(entry.at, taken, self._at(minute_end))
                order.enter(entry.at, taken)
                self._feedback.assumed(order, taken, minute_end - 1)

    def _close_order(
        self, order: Order, minute_end: int, last_tick: int | None, shifted: AbstractSet[Side]
    ) -> list[str]:
        """End or plan an order whose minute has closed, with its group; return the ids it has planned."""
        now = max(order.clock, minute_end)
        if order.leaves_qty == 0:
            order.finish(Status.DONE, now)
            self._plans.plan(order, now, "done", forced=True)
            return [order.cl_ord_id]
        if minute_end >= order.terms.end and pending(order.auctions, minute_end, self._settings):
            return [order.cl_ord_id]  # the close's fills are still to come
        if minute_end >= order.terms.end:
            left = format_qty(order.leaves_qty)
            order.finish(Status.EXPIRED, now)
            text = f"the window ended with {left} not traded"
            self._alerts.alert("shortfall", order.symbol, order.cl_ord_id, now, text)
            self._plans.plan(order, now, "expired", forced=True)
            return [order.cl_ord_id]
        silence = self._silence(order.symbol, last_tick, now)
        group = self._plans.group(order)
        if len(group) < 2 or order not in group:
            self._alerts.missing(order, silence, now)
            reason = reason_at_close(order, shifted, last_tick)
            self._plans.plan(order, now, reason, forced=reason != "minute")
            return [order.cl_ord_id]
        reasons = {}
        for member in group:
            self._alerts.missing(member, silence, now)
            reasons[member.cl_ord_id] = reason_at_close(member, shifted, last_tick)
        self._plans.plan_group(group, now, reasons, forced=set(reasons.values()) != {"minute"})
        return list(reasons)

    @property
    def next(self) -> int:
        """When the next plan by volume or price, or decision on slices, is due, ns; `FOREVER` without any."""
        return min(self.pace.next, self.prices.next, self.slices.next)

    def wake(self, time: int) -> None:
        """Note a tick at event time `time`, ns."""
        self.slices.wake(time)
        self.prices.wake(time)

    def loaded(self) -> None:
        """Find what follows from the orders of a loaded state."""
        self.pace.load()

    def reach(self, time: int) -> None:
        """Plan by price and by volume and decide on slices, at each time that is due by `time`, ns."""
        while self.next <= time:
            if self.prices.next == self.next:
                at, orders = self.prices.take()
                for order in orders:
                    if order.active and self._plans.halt_of(order) is None:
                        self._plans.plan(order, at, "price", forced=True)
                continue
            if self.slices.next < self.pace.next:
                self._slice()
                continue
            at, orders = self.pace.take()
            for order in orders:
                if not self.pace.is_due(order, at):  # it was planned with its group, or by an event
                    self.pace.note(order)
                elif self._plans.halt_of(order) is None:
                    self._plans.plan(order, at, "minute", forced=False)

    def _slice(self) -> None:
        """Decide on slices; end the orders that count as filled with them."""
        for order, qty, at in self.slices.decide(self._at):
            self._feedback.assumed(order, qty, at)
            self._orders.mark(order)
            if order.active and order.leaves_qty == 0:
                order.finish(Status.DONE, at)
                self._plans.plan(order, at, "done", forced=True)

    def forget(self, symbol: str, now: int) -> None:
        """Publish what is due at `now`, and drop the symbol's orders whose keep time is over."""
        self._feedback.reach(symbol, now)
        for order in self._orders.of(symbol):
            if self._is_past(order, now):
                self._orders.forget(order)

    def expire_held(self, now: int) -> None:
        """Send events that have been held for longer than the setting allows to the dead letters."""
        for item in self.held.expire(now):
            self._alerts.orphan(item.received, now)

    # --- instruments ------------------------------------------------------

    def _define(self, event: Definition) -> bool:
        """Take in a definition and return whether it changes anything."""
        symbol = event.symbol
        its = self._instruments.with_record(symbol, event.instrument)
        of_orders = [order.instrument for order in self._orders.of(symbol)]
        for used in (*of_orders, *self._feedback.instruments(symbol)):
            if used.unit != its.unit:
                raise ValueError(
                    f"multiplier, currency: costs of {symbol} are counted with {used.points:g} and {used.currency}; "
                    "define it before its first order, or use another symbol"
                )
        hours = self._markets.session(symbol).rule.calendar
        if its.calendar is not None and its.calendar != hours:
            raise ValueError(
                f"calendar: {symbol} has the hours of {hours or 'no calendar'}; name {its.calendar} in "
                "[[session.by_symbol]]"
            )
        if not self._instruments.define(symbol, event.instrument):
            return False
        self._books.define(symbol, negative_px=bool(its.negative_px))
        return True

    def check_units(self) -> None:
        """Refuse a loaded state whose costs are counted in another unit than the definitions say.

        Raises
        ------
        StateMismatchError
            If the multiplier or the currency of a symbol with orders has changed.
        """
        for order in self._orders:
            its = self._instruments.of(order.symbol)
            if its.unit != order.instrument.unit:
                raise StateMismatchError(
                    f"instruments: {order.symbol} has orders with multiplier {order.instrument.points:g} and currency "
                    f"{order.instrument.currency}, not {its.points:g} and {its.currency}; restore the definition, or "
                    f"{RESTART}"
                )

    # --- bookkeeping ------------------------------------------------------

    def _at(self, now: int) -> ApplyContext:
        plans = self._settings
        half_life = plans.resilience_half_life_ns if plans.transient_share > 0.0 else None
        return ApplyContext(now, self._interval, plans.max_horizon_intervals, plans.max_executions, half_life)

    def _for(self, order: Order, now: int) -> ApplyContext:
        """Return the context of an event about an order: its market has auctions if it ever closes."""
        auctions = not self._markets.session(order.symbol).always_open
        venues = self._markets.venues(order.symbol)
        return self._at(now)._replace(auctions=auctions, venues=venues, sliced=self.slices.on)

    def _is_past(self, order: Order, now: int) -> bool:
        return order.ended_at is not None and now - order.ended_at > self._settings.keep_ended_ns


def reason_at_close(order: Order, shifted: AbstractSet[Side], last_tick: int | None) -> str:
    """Return the reason of an order's plan at a minute's close; every reason but ``minute`` forces it."""
    if order.halted:
        return "minute"
    if order.off_plan:
        return "fill"
    if order.blind and last_tick is not None:
        return "first_tick"
    return "regime" if order.side in shifted else "minute"
