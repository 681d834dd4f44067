"""The life of a parent order: every transition, and what always holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.base.instrument import UNDEFINED
from impactd.core.base.quantity import MAX_QUANTA, QUANTA
from impactd.core.base.settings import MINUTE_NS
from impactd.core.base.topics import Side
from impactd.core.inputs.events import Bust, CancelOrder, Correct, Fill, NewOrder, ReplaceOrder
from impactd.core.inputs.terms import Terms
from impactd.core.orders.life import TRANSITIONS, Change, Outcome, apply_event, refusal, same_order
from impactd.core.orders.order import ApplyContext, Order, Status
from impactd.core.orders.schedule import Schedule
from impactd.core.outputs.counts import EventOutcome

HOUR = 60 * MINUTE_NS


def new(qty: int = 1_000, start: int = 0, end: int = HOUR, **terms: Any) -> NewOrder:
    return NewOrder("P1", "FROG", Side.BUY, 0, Terms(qty * QUANTA, start, end, **terms))


def opened(qty: int = 1_000) -> Order:
    order = Order.open(new(qty), 0)
    order.schedule = Schedule.of([0, MINUTE_NS], [MINUTE_NS, HOUR], [100 * QUANTA, (qty - 100) * QUANTA])
    return order


def fill(exec_id: str, qty: int, px: float = 10.0, ts: int = 0) -> Fill:
    return Fill(exec_id, "P1", "FROG", qty * QUANTA, px, ts)


def bust(exec_id: str, ref: str, ts: int = 0) -> Bust:
    return Bust(exec_id, ref, "P1", "FROG", ts)


def correct(exec_id: str, ref: str, qty: int, ts: int = 0, px: float = 10.0) -> Correct:
    return Correct(exec_id, ref, "P1", "FROG", qty * QUANTA, px, ts)


def replace_qty(qty: int, ts: int = 0) -> ReplaceOrder:
    return ReplaceOrder("P1", "FROG", ts, (("order_qty", qty * QUANTA),))


def apply(order: Order, event: Any, now: int = 1, max_executions: int = 1_000) -> Outcome:
    return apply_event(order, event, ApplyContext(now, MINUTE_NS, 600, max_executions))


def test_new_order_leaves_all() -> None:
    order = opened()
    assert (order.status, order.leaves_qty, order.cum_qty) == (Status.ACTIVE, 1_000 * QUANTA, 0)
    assert not order.off_plan


def test_fill_on_plan_asks_for_no_plan() -> None:
    order = opened()
    assert apply(order, fill("E1", 60)).replan is None
    assert order.leaves_qty == 940 * QUANTA
    assert apply(order, fill("E2", 40)).replan is None


def test_fill_beyond_the_interval_asks_for_a_plan() -> None:
    order = opened()
    assert apply(order, fill("E1", 101)).replan == "fill"


def test_fill_twice_counts_once() -> None:
    order = opened()
    apply(order, fill("E1", 60))
    assert apply(order, fill("E1", 60)) == Outcome("duplicate")
    assert order.cum_qty == 60 * QUANTA


def test_last_fill_ends_the_order() -> None:
    order = opened()
    assert apply(order, fill("E1", 1_000)).replan == "fill"
    assert (order.status, order.leaves_qty) == (Status.DONE, 0)


def test_overfill_leaves_nothing_and_alerts() -> None:
    order = opened()
    outcome = apply(order, fill("E1", 1_200))
    assert outcome.alert == ("overfill", "filled 200 more than ordered")
    assert (order.status, order.leaves_qty, order.cum_qty) == (Status.DONE, 0, 1_200 * QUANTA)


def test_bust_gives_back_what_the_fill_took() -> None:
    order = opened()
    apply(order, fill("E1", 60, 10.0))
    assert apply(order, Bust("E2", "E1", "P1", "FROG", 0)).kind == "applied"
    assert order.cum_qty == 0
    assert apply(order, Bust("E2", "E1", "P1", "FROG", 0)).kind == "duplicate"


def test_bust_of_a_fill_of_an_earlier_interval_asks_for_a_plan() -> None:
    order = opened()
    apply(order, fill("E1", 100))
    order.schedule.advance(MINUTE_NS)
    assert apply(order, Bust("E2", "E1", "P1", "FROG", 0), MINUTE_NS).replan == "bust"


def test_bust_of_an_unknown_fill_is_held() -> None:
    assert apply(opened(), Bust("E2", "E1", "P1", "FROG", 0)) == Outcome("held")


def test_bust_reopens_a_filled_order_inside_its_window() -> None:
    order = opened()
    apply(order, fill("E1", 1_000))
    assert apply(order, Bust("E2", "E1", "P1", "FROG", 0), HOUR - 1).replan == "bust"
    assert (order.status, order.leaves_qty) == (Status.ACTIVE, 1_000 * QUANTA)


def test_bust_after_the_window_makes_a_filled_order_expired() -> None:
    order = opened()
    apply(order, fill("E1", 1_000))
    outcome = apply(order, Bust("E2", "E1", "P1", "FROG", 0), HOUR)
    assert (order.status, order.cum_qty, order.leaves_qty) == (Status.EXPIRED, 0, 0)
    assert outcome.alert == ("shortfall", "fills of 1000 were reversed after the window had ended")


def test_fill_beyond_any_order_is_too_large() -> None:
    order = opened()
    assert apply(order, Fill("E1", "P1", "FROG", MAX_QUANTA, 10.0, 0)).kind == "applied"
    assert apply(order, Fill("E2", "P1", "FROG", 1, 10.0, 0)) == Outcome("too_large")
    assert "E2" not in order.executions


def test_fill_counts_in_the_interval_of_its_own_time_whenever_it_arrives() -> None:
    order = opened()
    order.clock = MINUTE_NS
    order.schedule.advance(MINUTE_NS)
    assert apply(order, fill("E1", 60, ts=MINUTE_NS - 1), MINUTE_NS + 5).replan == "fill"
    assert order.filled_in == {}
    order.schedule = Schedule.of([MINUTE_NS], [HOUR], [940 * QUANTA])
    assert apply(order, fill("E2", 30, ts=MINUTE_NS), MINUTE_NS + 6).replan is None
    assert order.filled_in == {MINUTE_NS: 30 * QUANTA}
    assert apply(order, bust("E3", "E1", ts=MINUTE_NS + 7), MINUTE_NS + 7).replan == "bust"
    assert (order.cum_qty, order.filled_in) == (30 * QUANTA, {MINUTE_NS: 30 * QUANTA})
    assert apply(order, correct("E4", "E2", 20, ts=MINUTE_NS + 8), MINUTE_NS + 8).replan == "correct"
    assert order.filled_in == {MINUTE_NS: 20 * QUANTA}


def test_fill_before_its_minute_has_closed_counts_against_the_interval_that_planned_it() -> None:
    order = opened()
    assert apply(order, fill("E1", 500, ts=MINUTE_NS), MINUTE_NS).replan is None
    assert order.schedule.filled.tolist() == [0, 500 * QUANTA]


def test_bust_in_its_own_interval_is_planned_although_it_nets_to_nothing() -> None:
    order = opened()
    apply(order, fill("E1", 60))
    assert apply(order, bust("E2", "E1")).replan == "bust"


def test_correction_of_the_price_alone_asks_for_no_plan() -> None:
    order = opened()
    apply(order, fill("E1", 60))
    before = order.executions["E1"]
    outcome = apply(order, correct("C1", "E1", 60, px=11.0))
    assert (outcome.replan, outcome.change) == (None, Change("E1", before, 0))


@pytest.mark.parametrize("refs", [("E1", "C1", "C2"), ("E1", "E1", "E1"), ("E1", "C1", "E1"), ("E1", "E1", "C1")])
def test_amendments_form_a_chain_back_to_their_fill(refs: tuple[str, str, str]) -> None:
    order = opened()
    apply(order, fill("E1", 100))
    found = []
    for event in (correct("C1", refs[0], 90, 1), correct("C2", refs[1], 80, 2), bust("B1", refs[2], 3)):
        outcome = apply(order, event)
        assert outcome.change is not None
        assert outcome.change.exec_id == "E1"
        found.append(order.cum_qty // QUANTA)
    assert found == [90, 80, 0]


def test_amendment_delivered_after_a_later_one_changes_nothing() -> None:
    order = opened()
    apply(order, fill("E1", 100))
    apply(order, correct("C2", "E1", 80, 5))
    assert apply(order, correct("C1", "E1", 90, 4)) == Outcome(EventOutcome.APPLIED)
    assert order.cum_qty == 80 * QUANTA
    apply(order, bust("B1", "C1", 6))
    assert order.cum_qty == 0


def test_amendment_that_names_the_latest_one_follows_it_for_any_clocks() -> None:
    order = opened()
    apply(order, fill("E1", 100))
    apply(order, correct("C1", "E1", 90, 5))
    apply(order, correct("C2", "C1", 80, 4))
    assert order.cum_qty == 80 * QUANTA


def test_correct_changes_quantity_and_price() -> None:
    order = opened()
    apply(order, fill("E1", 60, 10.0))
    apply(order, Correct("E2", "E1", "P1", "FROG", 50 * QUANTA, 11.0, 0))
    assert (order.cum_qty, order.executions["E1"].px) == (50 * QUANTA, 11.0)
    apply(order, Correct("E3", "E1", "P1", "FROG", 70 * QUANTA, 12.0, 0))
    assert (order.cum_qty, order.executions["E1"].px) == (70 * QUANTA, 12.0)


def test_fill_after_the_end_still_counts() -> None:
    order = opened()
    apply(order, CancelOrder("P1", "FROG", 0))
    outcome = apply(order, fill("E1", 10))
    assert outcome.alert is not None
    assert outcome.alert[0] == "late_fill"
    assert (order.status, order.cum_qty, order.leaves_qty) == (Status.CANCELED, 10 * QUANTA, 0)


def test_replace_changes_only_what_it_names() -> None:
    order = opened()
    outcome = apply(
        order, ReplaceOrder("P1", "FROG", 0, (("order_qty", 500 * QUANTA), ("max_interval_qty", 5 * QUANTA)))
    )
    assert outcome == Outcome("applied", "replace")
    assert (order.order_qty, order.terms.max_interval_qty, order.terms.end) == (500 * QUANTA, 5 * QUANTA, HOUR)


def test_replace_below_cum_qty_ends_the_order_as_filled() -> None:
    order = opened()
    apply(order, fill("E1", 60))
    apply(order, ReplaceOrder("P1", "FROG", 0, (("order_qty", 50 * QUANTA),)))
    assert (order.status, order.order_qty, order.leaves_qty) == (Status.DONE, 60 * QUANTA, 0)


def test_replace_below_cum_qty_is_worked_up_to_when_busts_bring_cum_qty_below_it() -> None:
    order = opened()
    apply(order, fill("E1", 60))
    apply(order, fill("E2", 40))
    apply(order, replace_qty(50))
    assert (order.status, order.order_qty) == (Status.DONE, 100 * QUANTA)
    outcome = apply(order, bust("B1", "E2"))
    assert (order.status, order.order_qty, order.leaves_qty, outcome.alert) == (Status.DONE, 60 * QUANTA, 0, None)
    apply(order, bust("B2", "E1"))
    assert (order.status, order.order_qty, order.leaves_qty) == (Status.ACTIVE, 50 * QUANTA, 50 * QUANTA)


@pytest.mark.parametrize(
    "changes",
    [(("end", 601 * MINUTE_NS),), (("end", 0),), (("urgency", 1.0), ("risk_aversion", 1.0)), (("would_px", 5.0),)],
)
def test_replace_below_cum_qty_takes_no_terms_that_a_bust_could_not_bring_back_to_work(changes: Any) -> None:
    order = opened()
    apply(order, fill("E1", 60))
    assert apply(order, ReplaceOrder("P1", "FROG", 0, (("order_qty", 50 * QUANTA), *changes))).kind == "rejected"
    assert (order.status, order.order_qty, order.terms.end) == (Status.ACTIVE, 1_000 * QUANTA, HOUR)


def test_replace_below_cum_qty_that_a_bust_undoes_is_worked_by_its_new_terms() -> None:
    order = opened()
    order.impact_scale = [1.0, 2.0, 3.0]
    apply(order, fill("E1", 60))
    apply(
        order,
        ReplaceOrder("P1", "FROG", 7, (("order_qty", 50 * QUANTA), ("alpha_bps", 5.0), ("alpha_half_life_s", 9.0))),
    )
    apply(order, bust("B1", "E1"))
    assert (order.status, order.view_from, order.impact_scale) == (Status.ACTIVE, 7, [])


def test_fill_after_a_replace_below_cum_qty_is_an_overfill() -> None:
    order = opened()
    apply(order, fill("E1", 60))
    apply(order, replace_qty(50))
    assert apply(order, fill("E2", 5)).alert == ("overfill", "filled 5 more than ordered")
    assert (order.status, order.order_qty) == (Status.DONE, 65 * QUANTA)


def test_replace_delivered_again_changes_nothing() -> None:
    order = opened()
    first = replace_qty(500, 1)
    apply(order, first)
    apply(order, replace_qty(700, 2))
    assert apply(order, first).kind == "duplicate"
    assert order.order_qty == 700 * QUANTA


def test_report_replaces_what_was_assumed_and_never_adds_to_it() -> None:
    order, at = opened(), ApplyContext(MINUTE_NS, MINUTE_NS, 600, 1_000)
    order.assume(0, 100 * QUANTA, at)
    for event, cum in (
        (fill("E1", 60), 100),
        (fill("E2", 60), 120),
        (bust("B1", "E1"), 60),
        (fill("E3", 10), 70),
        (correct("C1", "E2", 50), 60),
    ):
        apply(order, event, MINUTE_NS)
        assert order.cum_qty == cum * QUANTA
    assert order.assumed == {}


@pytest.mark.parametrize("changes", [(("end", 0),), (("start", HOUR),), (("end", 601 * MINUTE_NS),)])
def test_replace_that_cannot_be_worked_changes_nothing(changes: tuple[tuple[str, object], ...]) -> None:
    order = opened()
    outcome = apply(order, ReplaceOrder("P1", "FROG", 0, changes))
    assert outcome.kind == "rejected"
    assert outcome.alert is not None
    assert (order.terms.start, order.terms.end, order.status) == (0, HOUR, Status.ACTIVE)


def test_replace_of_an_ended_order_is_rejected() -> None:
    order = opened()
    apply(order, CancelOrder("P1", "FROG", 0))
    assert apply(order, ReplaceOrder("P1", "FROG", 0, (("order_qty", 1),))).kind == "rejected"


def test_cancel_of_an_order_that_will_not_work_again_is_ignored() -> None:
    order = opened()
    apply(order, CancelOrder("P1", "FROG", 0))
    assert apply(order, CancelOrder("P1", "FROG", 1)) == Outcome(EventOutcome.IGNORED)


def test_cancel_of_a_filled_order_is_kept_for_a_bust_that_would_put_it_back_to_work() -> None:
    order = opened()
    apply(order, fill("E1", 1_000))
    cancel = CancelOrder("P1", "FROG", 0)
    assert [apply(order, cancel).kind for _ in range(2)] == [EventOutcome.APPLIED, EventOutcome.DUPLICATE]
    assert order.status is Status.DONE
    outcome = apply(order, bust("E2", "E1"))
    assert (outcome.kind, outcome.replan) == (EventOutcome.APPLIED, "bust")
    assert (order.status, order.leaves_qty) == (Status.CANCELED, 0)
    assert apply(order, cancel) == Outcome(EventOutcome.IGNORED)


def test_window_in_the_past_is_refused() -> None:
    why = refusal(new().terms, Side.BUY, ApplyContext(HOUR, MINUTE_NS, 600, 1_000), UNDEFINED)
    assert why is not None
    assert "window ended" in why


def test_window_that_is_too_long_is_refused() -> None:
    why = refusal(new(end=601 * MINUTE_NS).terms, Side.BUY, ApplyContext(0, MINUTE_NS, 600, 1_000), UNDEFINED)
    assert why is not None
    assert "max_horizon_intervals" in why


def test_second_new_is_the_same_whenever_it_was_sent() -> None:
    first = new()
    assert same_order(first, NewOrder("P1", "FROG", Side.BUY, 99, Terms(1_000 * QUANTA, 0, HOUR)))
    assert not same_order(first, new(qty=999))


def test_every_status_but_rejected_knows_every_execution() -> None:
    for status in (Status.ACTIVE, Status.DONE, Status.EXPIRED, Status.CANCELED):
        for kind in (Fill, Correct, Bust):
            assert (status, kind) in TRANSITIONS


_events = st.lists(
    st.one_of(
        st.builds(fill, st.sampled_from([f"E{k}" for k in range(6)]), st.integers(1, 700)),
        st.builds(
            lambda k, ref: Bust(f"B{k}", f"E{ref}", "P1", "FROG", 0),
            st.integers(0, 3),
            st.integers(0, 5),
        ),
        st.builds(
            lambda k, ref, qty: Correct(f"C{k}", f"E{ref}", "P1", "FROG", qty * QUANTA, 9.5, 0),
            st.integers(0, 3),
            st.integers(0, 5),
            st.integers(1, 700),
        ),
        st.builds(replace_qty, st.integers(1, 2_000), st.integers(0, 3)),
        st.just(CancelOrder("P1", "FROG", 0)),
    ),
    max_size=25,
)


@given(events=_events)
def test_quantities_always_add_up(events: list[Any]) -> None:
    order = opened()
    for event in events:
        apply(order, event)
        if order.active:
            assert order.order_qty == order.cum_qty + order.leaves_qty
            assert order.leaves_qty > 0
        else:
            assert order.leaves_qty == 0
        assert order.cum_qty == sum(e.qty for e in order.executions.values())
        assert order.order_qty == max(order.terms.order_qty, order.cum_qty if order.reduced else 0)


@given(events=_events, again=st.integers(0, 24))
def test_redelivered_execution_changes_nothing(events: list[Any], again: int) -> None:
    order, counted = opened(), dict[str, Any]()
    for event in events:
        apply(order, event)
        if getattr(event, "exec_id", None) in order.executions:
            counted.setdefault(event.exec_id, event)
    executions = [e for e in events if isinstance(e, Fill | Bust | Correct) and e.exec_id in order.executions]
    if executions:
        before = (order.status, order.cum_qty, dict(order.executions))
        event = executions[again % len(executions)]
        same = replace(event, ts_event=0) == replace(counted[event.exec_id], ts_event=0)
        assert apply(order, event).kind == ("duplicate" if same else "conflict")
        assert (order.status, order.cum_qty, order.executions) == before


def test_execution_beyond_the_bound_is_not_counted_and_known_ones_still_are() -> None:
    order = opened()
    apply(order, fill("E1", 10))
    apply(order, Bust("E2", "E1", "P1", "FROG", 0), max_executions=2)
    assert (order.cum_qty, len(order.executions)) == (0, 2)
    for event in (
        fill("E3", 10),
        Correct("E4", "E1", "P1", "FROG", 5 * QUANTA, 10.0, 0),
        Bust("E5", "E1", "P1", "FROG", 0),
    ):
        assert apply(order, event, max_executions=2).kind == "executions_full"
    assert apply(order, fill("E1", 10), max_executions=2).kind == "duplicate"
    assert (order.cum_qty, len(order.executions)) == (0, 2)
