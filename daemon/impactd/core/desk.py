"""The desk: all parent orders of one partition, and when their plans are published.

A plan is published when an event forces it (a new or amended order, a fill
off the plan, a control, an end) and, as each minute closes, when replacing
the schedule in force saves more than the threshold.  Nothing else churns it.

An order that has ended is remembered for a while, because executions still
apply to it and a repeated ``new`` must be known as such; then its state keys
are tombstoned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from impactd.core.allocator.solver import SolveFailure
from impactd.core.events import Bust, Control, Correct, ExecutionEvent, Fill, NewOrder, Received
from impactd.core.grid import PLAN_REACH
from impactd.core.held import HeldEvents, topic_of
from impactd.core.market import SymbolMarket
from impactd.core.messages import Alert, DeadLetter, Plan, Topic
from impactd.core.order import At, Effect, Order, Schedule, Status, apply_event, refusal, same_order
from impactd.core.planner import Proposal, plan_message, propose
from impactd.core.quantity import QUANTA, format_qty
from impactd.core.saved import EXECUTIONS_A_KEY, dump_executions, dump_order, load_executions, load_order
from impactd.core.settings import SECOND_NS, CoreSettings

Say = Callable[[Topic, str | None, Alert | DeadLetter | Plan], None]

#: A saving smaller than this part of the cost is rounding, not a better plan.
_ROUNDING: Final = 1e-9


class Desk:
    """Orders, held events and halts of one partition.

    Parameters
    ----------
    settings : CoreSettings
    market : callable
        Symbol and event time to its `SymbolMarket`, which is opened if new.
    say : callable
        Takes each message to publish, with its topic and key.
    """

    def __init__(self, settings: CoreSettings, market: Callable[[str, int], SymbolMarket], say: Say) -> None:
        self._settings = settings.plans
        self._interval = settings.books.interval_ns
        self._market = market
        self._say = say
        self.orders: dict[str, Order] = {}
        self.halts: dict[str, str] = {}
        self.held = HeldEvents(settings.plans.hold_ns, settings.plans.max_held)
        self.counts: Counter[str] = Counter()
        self._by_symbol: dict[str, set[str]] = {}
        #: State keys that changed since the last commit; None stands for a tombstone.
        self._changed: dict[str, Callable[[], bytes] | None] = {}

    # --- events -----------------------------------------------------------

    def receive(self, received: Received[Any], now: int) -> None:
        """Apply an order, execution or control event at event time `now`."""
        event = received.event
        if isinstance(event, Control):
            self._control(event, now)
        elif isinstance(event, NewOrder):
            self._new(event, now)
        elif event.cl_ord_id not in self.orders:
            self._hold(received, now)
        else:
            self._apply(received, now)

    def _new(self, event: NewOrder, now: int) -> None:
        known = self.orders.get(event.cl_ord_id)
        if known is not None:
            if same_order(known.new, event):
                self.counts["duplicate"] += 1
                return
            self.counts["rejected"] += 1
            text = "a second new with other content; send a replace to amend the order"
            self._alert("order_rejected", event.symbol, event.cl_ord_id, now, text)
            return
        order = Order.open(event, now)
        why = refusal(order, self._at(now))
        if why is None and len(self.orders) >= self._settings.max_orders:
            why = f"{len(self.orders)} orders are known already, as many as plans.max_orders allows"
        if why is not None:
            self.counts["rejected"] += 1
            order.finish(Status.REJECTED, now, why)
            self._publish(order, "new", None)
            self._alert("order_rejected", order.symbol, order.cl_ord_id, now, why)
            return
        self.counts["applied"] += 1
        self._add(order)
        self._mark(order)
        self._warn_opposite(order, now)
        self.plan(order, now, "new", forced=True)
        for item in self.held.release(order.cl_ord_id):
            self._apply(item, now)

    def _apply(self, received: Received[Any], now: int) -> None:
        event = received.event
        order = self.orders[event.cl_ord_id]
        if event.symbol != order.symbol:
            detail = f"symbol: the order {order.cl_ord_id} is for {order.symbol}, not {event.symbol}"
            self._dead(received, "symbol_mismatch", detail)
            return
        effect = apply_event(order, event, self._at(max(now, order.clock)))
        if effect.outcome == "held":
            self._hold(received, now)
            return
        self.counts[effect.outcome] += 1
        if effect.outcome == "applied":
            self._mark(order)
            if isinstance(event, Fill | Correct | Bust):
                self._mark_executions(order, event)
        self._follow(order, effect, now)
        if isinstance(event, Fill) and self.held.awaits(order.cl_ord_id, event.exec_id):
            for item in self.held.release(order.cl_ord_id):
                self._apply(item, now)

    def _follow(self, order: Order, effect: Effect, now: int) -> None:
        if effect.alert is not None:
            self._alert(effect.alert[0], order.symbol, order.cl_ord_id, now, effect.alert[1])
        if effect.replan is not None:
            self.plan(order, now, effect.replan, forced=True)

    def _hold(self, received: Received[Any], now: int) -> None:
        if self.held.hold(received, now):
            self.counts["held"] += 1
            return
        detail = f"cl_ord_id: no such order, and {len(self.held)} events are held already (plans.max_held)"
        self._dead(received, "held_full", detail)

    def _control(self, event: Control, now: int) -> None:
        self.counts["applied"] += 1
        if event.type == "halt":
            self.halts[event.scope] = event.reason
        else:
            self.halts.pop(event.scope, None)
        self._alert(event.type, None, None, now, f"{event.scope}: {event.reason}")
        for order in self._sorted(self.orders):
            if order.active and (self._halt_of(order) is not None) != order.halted:
                self.plan(order, now, "control", forced=True)

    # --- time -------------------------------------------------------------

    def roll(self, symbol: str, minute_end: int, market: SymbolMarket, volume: float) -> None:
        """Move the symbol's orders past `minute_end`, whose minute traded `volume` shares."""
        for order in self._sorted(self._by_symbol.get(symbol, ())):
            if not order.active:
                self._forget_if_old(order, minute_end)
                continue
            planned = order.schedule.roll(minute_end)
            if planned and self._settings.fills == "scheduled":
                order.trade(planned, planned * (market.mid or 0.0))
            if order.start < minute_end:
                order.market_volume += volume
            self._mark(order)
            now = max(order.clock, minute_end)
            if order.leaves_qty == 0:
                order.finish(Status.DONE, now)
                self.plan(order, now, "done", forced=True)
            elif minute_end >= order.end:
                left = format_qty(order.leaves_qty)
                order.finish(Status.EXPIRED, now)
                self._alert("shortfall", symbol, order.cl_ord_id, now, f"the window ended with {left} not traded")
                self.plan(order, now, "expired", forced=True)
            else:
                self._warn_missing(order, market, now)
                off_plan = order.off_plan and not order.halted
                self.plan(order, now, "fill" if off_plan else "minute", forced=off_plan)

    def expire_held(self, now: int) -> None:
        """Send to the dead letters what has been held for longer than the setting allows."""
        for item in self.held.expire(now):
            waited = self._settings.hold_ns // SECOND_NS
            detail = f"cl_ord_id: no such order or execution within {waited} s; redrive it once that is there"
            self._dead(item, "orphan", detail)

    def has_orders(self, symbol: str) -> bool:
        """Return whether the symbol has orders to roll at each minute's end."""
        return symbol in self._by_symbol

    def asks(self, symbol: str) -> tuple[float, float] | None:
        """Return the least and the most that active orders ask of an interval, shares.

        The least is an order's whole quantity over its whole window, the most
        also what its schedule puts into one interval.  What is left of it
        would not do: sizes that shrink with it would hide the slope that the
        next plan needs.
        """
        least, most = [], []
        for order in self._sorted(self._by_symbol.get(symbol, ())):
            if order.active:
                rate = order.order_qty / QUANTA / max((order.end - order.start) / self._interval, 1.0)
                least.append(rate)
                most.append(max(rate, max(order.schedule.qty, default=0) / QUANTA / PLAN_REACH))
        return (min(least), max(most)) if least else None

    def lot(self, symbol: str) -> int | None:
        """Return the smallest lot of the symbol's active orders, quanta; None without any."""
        lots = [order.lot_size for order in self._sorted(self._by_symbol.get(symbol, ())) if order.active]
        return min(lots, default=None)

    # --- plans ------------------------------------------------------------

    def plan(self, order: Order, now: int, reason: str, *, forced: bool) -> None:
        """Publish a plan for `order` if `forced`, or if a better one is worth it."""
        order.clock = max(order.clock, now)
        halt = self._halt_of(order)
        if not order.active or halt is not None:
            if forced or not order.halted:
                order.halted = order.active
                order.schedule = Schedule(shortfall_qty=order.leaves_qty)
                order.text = halt if order.active else order.text
                self._publish(order, reason, None)
            return
        market = self._market(order.symbol, now)
        proposal = propose(order, order.clock, market.view(order.side), self._settings, self._interval)
        if isinstance(proposal, SolveFailure):
            self.counts["unsolved"] += 1
            self._alert("solver_failed", order.symbol, order.cl_ord_id, now, str(proposal))
            return
        if not (forced or order.halted or self._worth_it(order, proposal, market)):
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
        self._warn(order, now, "shortfall", short if proposal.shortfall_qty else None)
        self._publish(order, reason, proposal)

    def _worth_it(self, order: Order, proposal: Proposal, market: SymbolMarket) -> bool:
        """Return whether `proposal` should replace the schedule in force."""
        schedule = order.schedule
        if schedule.start != proposal.pieces.start.tolist() or schedule.shortfall_qty != proposal.shortfall_qty:
            return True
        if any(qty > cap for qty, cap in zip(schedule.qty, proposal.cap.tolist(), strict=True)):
            return True
        saving = proposal.improvement_on(schedule.qty)
        if saving <= _ROUNDING * abs(proposal.expected_cost):
            return False
        notional = order.leaves_qty / QUANTA * (market.mid or 0.0)
        return notional == 0.0 or saving / notional * 1e4 > self._settings.replan_threshold_bps

    def _publish(self, order: Order, reason: str, proposal: Proposal | None) -> None:
        if order.status is not Status.REJECTED:
            order.plan_version += 1
            self._mark(order)
        mid = None if proposal is None else self._market(order.symbol, order.clock).mid
        plan = plan_message(order, reason, proposal, mid, self._settings, self._interval)
        self.counts["plans"] += 1
        self._say(Topic.PLANS, order.symbol, plan)
        self._say(Topic.PLANS_LATEST, order.cl_ord_id, plan)

    # --- alerts -----------------------------------------------------------

    def _alert(self, kind: str, symbol: str | None, cl_ord_id: str | None, now: int, text: str) -> None:
        self._say(Topic.ALERTS, symbol, Alert(kind, symbol, cl_ord_id, now, text))

    def _dead(self, received: Received[Any], reason: str, detail: str) -> None:
        topic = topic_of(received)
        letter = DeadLetter(topic, received.offset, reason, detail, "json", received.raw, received.key)
        self.counts["dead"] += 1
        self._say(Topic.DLQ, None if received.key is None else received.event.symbol, letter)

    def _warn(self, order: Order, now: int, kind: str, text: str | None) -> None:
        """Alert once when a condition begins to hold; `text` is None while it does not."""
        if text is None:
            order.alerted.discard(kind)
        elif kind not in order.alerted:
            order.alerted.add(kind)
            self._alert(kind, order.symbol, order.cl_ord_id, now, text)

    def _warn_opposite(self, order: Order, now: int) -> None:
        others = (o for o in self._sorted(self._by_symbol[order.symbol]) if o.active and o.side != order.side)
        for other in others:
            text = f"{other.cl_ord_id} works the other side of {order.symbol}; the two are not netted"
            self._warn(order, now, "opposite_side", text)

    def _warn_missing(self, order: Order, market: SymbolMarket, now: int) -> None:
        silent = now - market.last_tick if market.last_tick is not None else None
        limit = self._settings.missing_ticks_ns
        text = None
        if order.start <= now and (silent is None or silent > limit):
            text = "no tick yet" if silent is None else f"no tick for {silent // SECOND_NS} s"
        self._warn(order, now, "missing_ticks", text)

    # --- bookkeeping ------------------------------------------------------

    def _at(self, now: int) -> At:
        return At(now, self._interval, self._settings.max_horizon_intervals)

    def _halt_of(self, order: Order) -> str | None:
        scopes = ("*", order.symbol, order.cl_ord_id)
        return next((self.halts[scope] for scope in scopes if scope in self.halts), None)

    def _sorted(self, ids: Iterable[str]) -> list[Order]:
        return [self.orders[cl_ord_id] for cl_ord_id in sorted(ids)]

    def _add(self, order: Order) -> None:
        self.orders[order.cl_ord_id] = order
        self._by_symbol.setdefault(order.symbol, set()).add(order.cl_ord_id)

    def _forget_if_old(self, order: Order, now: int) -> None:
        if order.ended_at is None or now - order.ended_at <= self._settings.keep_ended_ns:
            return
        del self.orders[order.cl_ord_id]
        self._by_symbol[order.symbol].discard(order.cl_ord_id)
        if not self._by_symbol[order.symbol]:
            del self._by_symbol[order.symbol]
        self._changed[f"order/{order.cl_ord_id}"] = None
        for chunk in range(_n_chunks(order)):
            self._changed[f"execs/{order.cl_ord_id}/{chunk}"] = None

    def _mark(self, order: Order) -> None:
        self._changed[f"order/{order.cl_ord_id}"] = lambda: dump_order(order)

    def _mark_executions(self, order: Order, event: ExecutionEvent) -> None:
        chunks = {_n_chunks(order) - 1}
        if isinstance(event, Correct | Bust):
            chunks.add(list(order.executions).index(event.exec_ref_id) // EXECUTIONS_A_KEY)
        for chunk in sorted(chunks):
            self._mark_chunk(order, chunk)

    def _mark_chunk(self, order: Order, chunk: int) -> None:
        self._changed[f"execs/{order.cl_ord_id}/{chunk}"] = lambda: dump_executions(order, chunk)

    def changes(self) -> dict[str, bytes | None]:
        """Return the state keys that changed since the last call, None for a tombstone."""
        changed = {**self._changed, **self.held.changed}
        self._changed.clear()
        self.held.changed.clear()
        return {key: None if value is None else value() for key, value in changed.items()}

    def save(self) -> dict[str, bytes]:
        """Return every state key with its value."""
        items: dict[str, bytes] = {}
        for order in self._sorted(self.orders):
            items[f"order/{order.cl_ord_id}"] = dump_order(order)
            for chunk in range(_n_chunks(order)):
                items[f"execs/{order.cl_ord_id}/{chunk}"] = dump_executions(order, chunk)
        return items | self.held.save()

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore orders, executions and held events from their state keys."""
        for key, value in items.items():
            kind, _, name = key.partition("/")
            if kind == "order":
                order, n_executions = load_order(value)
                for chunk in range(-(-n_executions // EXECUTIONS_A_KEY)):
                    order.executions.update(load_executions(items[f"execs/{name}/{chunk}"]))
                self._add(order)
            elif kind == "held":
                self.held.load(name, value)


def _n_chunks(order: Order) -> int:
    return -(-len(order.executions) // EXECUTIONS_A_KEY)
