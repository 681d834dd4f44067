"""All events of orders in all orders of delivery, again, late and across minutes, against a plain ledger.

What it checks after every step: quantities and status are those of `PlainLedger`, nothing else is held, and the
plan that was published last still accounts for what is left: what it planned, less the fills that are part of it,
plus its shortfall.  A step that breaks this must have published another plan.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import MINUTE_NS
from impactd.core.inputs.events import Bust, CancelOrder, Correct, Fill, NewOrder, ReplaceOrder
from impactd.core.outputs.messages import Plan
from tests.core.builders import T0, EngineHarness, M, ladder, new, settings
from tests.core.orders.plain_ledger import PlainLedger, PlainOrder, minute_of

#: Sequences that are run.
SEQUENCES: Final = int(os.environ.get("IMPACTD_ORDER_SEQUENCES", "40"))
#: A long run is not to spend its time on making a failure small.
PHASES: Final = tuple(Phase) if SEQUENCES < 1_000 else (Phase.reuse, Phase.generate)
ORDERS: Final = ("A", "B")
MINUTES: Final = 6
CAP: Final = 150 * QUANTA

quantities = st.integers(1, 400).map(lambda shares: shares * QUANTA)


class OrderLife(RuleBasedStateMachine):
    """Events are made in the order of the venue, and delivered in any."""

    @initialize(
        fills=st.sampled_from(["reported", "scheduled"]), capped=st.booleans(), early=st.sampled_from([0, 1, 2, 2])
    )
    def open(self, *, fills: str, capped: bool, early: int) -> None:
        self.fills = fills
        self.harness = EngineHarness(settings(fills=fills, hold_ns=10**18))
        self.ledger = PlainLedger()
        self.now = T0
        self.ids: dict[str, list[str]] = {name: [name] for name in ORDERS}
        self.executions: list[Any] = []
        #: Amendment to what it supersedes, whatever it names.
        self.amends: dict[str, str] = {}
        self.delivered: list[Any] = []
        limit = {"max_interval_qty": CAP} if capped else {}
        length = MINUTES * M
        self.pool: list[Any] = [new(name, 900, T0, length, **limit) for name in ORDERS]  # type: ignore[arg-type]  # terms
        #: By order: the plan that was published last, and the fills by minute of their own time that it knew of.
        self.plan: dict[str, Plan] = {}
        self.known: dict[str, dict[int, int]] = {}
        self.closed = T0
        self.harness.run([ladder(T0)])
        self.ledger.now = T0
        for _ in range(early):
            self._deliver(self.pool.pop(0))

    # --- what the venue and the desk do -----------------------------------

    def _time(self) -> int:
        self.now += 1_000_000_000
        return min(self.now, minute_of(self.now - 1) + MINUTE_NS - 1)

    def _send(self, event: Any, *, at_once: bool) -> None:
        if at_once:
            self._deliver(event)
        else:
            self.pool.append(event)

    @rule(name=st.sampled_from(ORDERS), qty=quantities, latest=st.booleans(), at_once=st.booleans())
    def fill(self, *, name: str, qty: int, latest: bool, at_once: bool) -> None:
        cl_ord_id = self.ids[name][-1 if latest else 0]
        event = Fill(f"E{len(self.executions)}", cl_ord_id, "FROG", qty, 100.0, self._time())
        self.executions.append(event)
        self._send(event, at_once=at_once)

    @precondition(lambda self: self._latest())
    @rule(data=st.data(), qty=st.none() | quantities, original=st.booleans(), at_once=st.booleans())
    def amend(self, *, data: st.DataObject, qty: int | None, original: bool, at_once: bool) -> None:
        """Correct or bust the latest state of a fill, by its own id or by that of the fill."""
        named = data.draw(st.sampled_from(self._latest()))
        exec_id, root = f"E{len(self.executions)}", named.exec_id
        self.amends[exec_id] = named.exec_id
        while root in self.amends:
            root = self.amends[root]
        ref, ts = root if original else named.exec_id, self._time()
        event: Any = Bust(exec_id, ref, named.cl_ord_id, "FROG", ts)
        if qty is not None:
            event = Correct(exec_id, ref, named.cl_ord_id, "FROG", qty, 100.5, ts)
        self.executions.append(event)
        self._send(event, at_once=at_once)

    @precondition(lambda self: self.executions)
    @rule(data=st.data(), at_once=st.booleans())
    def contradict(self, *, data: st.DataObject, at_once: bool) -> None:
        """Report another quantity under an exec_id that has been used; the first that is delivered counts."""
        event = data.draw(st.sampled_from(self.executions))
        if not isinstance(event, Bust):
            self._send(replace(event, last_qty=event.last_qty + QUANTA), at_once=at_once)

    def _latest(self) -> list[Any]:
        """Return the executions that an amendment may name: the latest state of each fill that is not busted."""
        superseded = set(self.amends.values())
        return [e for e in self.executions if not isinstance(e, Bust) and e.exec_id not in superseded]

    @rule(name=st.sampled_from(ORDERS), qty=st.integers(1, 1_500), chained=st.booleans())
    def replace(self, *, name: str, qty: int, chained: bool) -> None:
        cl_ord_id, before = self._request(name, chained=chained)
        changes = (("order_qty", qty * QUANTA),)
        self.pool.append(ReplaceOrder(cl_ord_id, "FROG", self._time(), changes, before))

    @rule(name=st.sampled_from(ORDERS), chained=st.booleans(), meant=st.integers(0, 4))
    def cancel(self, *, name: str, chained: bool, meant: int) -> None:
        if meant:
            return  # a cancel ends most of what there is to test
        cl_ord_id, before = self._request(name, chained=chained)
        self.pool.append(CancelOrder(cl_ord_id, "FROG", self._time(), before))

    def _request(self, name: str, *, chained: bool) -> tuple[str, str | None]:
        before = self.ids[name][-1]
        if not chained:
            return before, None
        self.ids[name].append(f"{name}{len(self.ids[name]) + 1}")
        return self.ids[name][-1], before

    # --- how it is delivered ----------------------------------------------

    @precondition(lambda self: self.pool)
    @rule(data=st.data(), n=st.integers(1, 6))
    def deliver(self, data: st.DataObject, n: int) -> None:
        for _ in range(min(n, len(self.pool))):
            self._deliver(self.pool.pop(data.draw(st.integers(0, len(self.pool) - 1))))

    @precondition(lambda self: self.delivered)
    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        before = len(self.harness.plans("A")) + len(self.harness.plans("B"))
        event = data.draw(st.sampled_from(self.delivered))
        waiting = [held.event for held in self.ledger.waiting]
        self._deliver(event)
        rejected = isinstance(event, NewOrder) and event.cl_ord_id not in self.ledger.orders
        if event not in [*waiting, *(held.event for held in self.ledger.waiting)] and not rejected:
            assert len(self.harness.plans("A")) + len(self.harness.plans("B")) == before

    @precondition(lambda self: self.now < T0 + (MINUTES + 3) * M)
    @rule(minutes=st.integers(1, 2))
    def close_minutes(self, minutes: int) -> None:
        for _ in range(minutes):
            end = minute_of(self.now) + MINUTE_NS
            self.now = end
            while self.closed < end:
                unfilled = {} if self.fills == "reported" else self._unfilled(self.closed)
                self.ledger.close(self.closed, unfilled)
                self.closed += MINUTE_NS
            self.ledger.now = end
            self._read(self.harness.run([ladder(end)]))

    @rule(meant=st.integers(0, 2))
    def reload(self, *, meant: int) -> None:
        if not meant:
            self.harness.reload()

    def _deliver(self, event: Any) -> None:
        self.ledger.deliver(event)
        self.delivered.append(event)
        self._read(self.harness.send(event))

    def _read(self, outputs: list[Any]) -> None:
        for output in outputs:
            plan = output.message
            if output.topic == "plans" and isinstance(plan, Plan) and plan.status != "rejected":
                name = plan.cl_ord_id
                self.plan[name] = plan
                order = self.ledger.orders[name]
                # Held events apply one after the other in a step, and a plan may come before the last of them.
                states = [*self.ledger.history.get(name, ()), (order.cum_qty, order.filled())]
                self.known[name] = next(filled for cum, filled in reversed(states) if cum == plan.cum_qty)
        self.ledger.history.clear()

    def _since(self, name: str) -> dict[int, int]:
        """Return the net fills that an order's last plan did not know of, by minute."""
        now, known = self.ledger.orders[name].filled(), self.known[name]
        return {minute: now.get(minute, 0) - known.get(minute, 0) for minute in {*now, *known}}

    def _unfilled(self, minute: int) -> dict[str, int]:
        """Return what the plans had for a minute that was not reported."""
        found = {}
        for name, plan in self.plan.items():
            planned = sum(q for start, q in zip(plan.start, plan.qty, strict=True) if minute_of(start) == minute)
            found[name] = planned - self._since(name).get(minute, 0)
        return found

    # --- what must hold ---------------------------------------------------

    @invariant()
    def is_as_the_plain_ledger_has_it(self) -> None:
        if not hasattr(self, "harness"):
            return
        for name, plain in self.ledger.orders.items():
            order = self.harness.engine.orders.get(name)
            assert order is not None
            found = (order.status, order.order_qty, order.cum_qty, order.leaves_qty)
            assert found == (plain.status, plain.order_qty, plain.cum_qty, plain.leaves_qty), name
            for cl_ord_id in plain.ids:
                assert self.harness.engine.orders.get(cl_ord_id) is order
            self._plan_accounts_for_what_is_left(name, plain)
        assert len(self.harness.engine._desk.held) == len(self.ledger.waiting)
        assert [letter.reason for letter in self.harness.dead()] == ["conflict"] * self.ledger.conflicts

    def _plan_accounts_for_what_is_left(self, name: str, plain: PlainOrder) -> None:
        plan, since = self.plan[name], self._since(name)
        if plain.status != "active":
            assert (plan.status, plan.cum_qty) == (plain.status, plain.cum_qty)
            return
        planned: dict[int, int] = {}
        for start, qty in zip(plan.start, plan.qty, strict=True):
            if minute_of(start) >= self.closed:
                planned[minute_of(start)] = qty
        inside = {minute: qty for minute, qty in since.items() if minute in planned}
        assert all(0 <= qty <= planned[minute] for minute, qty in inside.items())
        assert sum(planned.values()) - sum(inside.values()) + plan.shortfall_qty == plain.leaves_qty
        for cap, qty, start in zip(plan.cap, plan.qty, plan.start, strict=True):
            if cap is not None:
                before = self.known[name].get(minute_of(start), 0)
                assert qty <= max(CAP - before, 0)


OrderLife.TestCase.settings = hypothesis_settings(
    max_examples=SEQUENCES,
    stateful_step_count=50,
    phases=PHASES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
#: However long a long run takes.
test_orders_live_as_the_plain_ledger_has_them = pytest.mark.timeout(0)(OrderLife.TestCase)
