"""The desk: what each event does to an order's plan, to what is held, and to what is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from impactd.core.allocator.solvers.base import Failure, SolveFailure
from impactd.core.base.quantity import MAX_QUANTA, QUANTA
from impactd.core.base.settings import SessionRule
from impactd.core.base.topics import Side, Topic
from impactd.core.orders.codec import assumed_chunk
from impactd.core.orders.early import MAX_HELD_BYTES
from impactd.core.outputs.counts import EventOutcome
from impactd.core.planning import replan as desk_module
from tests.core.builders import (
    T0,
    EngineHarness,
    M,
    S,
    at,
    bust,
    cancel,
    change,
    correct,
    fill,
    ladder,
    minutes,
    new,
    numbers,
    raw_of,
    resume,
    settings,
    with_order,
)

# --- new, replace, cancel ---------------------------------------------------


def test_new_order_publishes_a_plan_and_the_latest_plan() -> None:
    harness = with_order()
    topics = {(output.topic, output.key) for output in harness.commits[-1].outputs}
    assert topics == {(Topic.PLANS, "FROG"), (Topic.PLANS_LATEST, "A")}
    assert (harness.last().reason, harness.last().status, len(harness.last().start)) == ("new", "active", 12)
    assert harness.last().expected_cost is not None


def test_new_again_with_the_same_content_is_ignored() -> None:
    harness = with_order()
    assert harness.send(new(ts=at(2))) == []
    assert harness.send(new(ts=at(2) + 5, start=at(2))) == []
    assert harness.counts.events[EventOutcome.DUPLICATE] == 2


def test_new_again_with_other_content_is_rejected_and_the_order_continues() -> None:
    harness = with_order()
    harness.send(new(qty=7, ts=at(2)))
    assert [alert.cl_ord_id for alert in harness.alerts("order_rejected")] == ["A"]
    assert len(harness.plans()) == 1


def test_plan_states_the_mid_that_its_costs_in_bps_are_of() -> None:
    plan = with_order().last()
    assert plan.mid == pytest.approx(100.0)
    assert plan.expected_cost is not None
    assert plan.expected_cost_bps == pytest.approx(plan.expected_cost / (1_200 * plan.mid) * 1e4)


def test_new_order_for_a_symbol_without_ticks_gets_the_priors_shape_without_costs() -> None:
    harness = EngineHarness()
    harness.send(new())
    plan = harness.last()
    assert (plan.status, sum(plan.qty)) == ("active", 1_200 * QUANTA)
    assert (plan.mid, plan.expected_cost, plan.expected_cost_bps, plan.cost_band) == (None, None, None, None)
    assert plan.model is not None
    assert plan.model.prior
    for k in range(1, 4):
        harness.commit(idle_to=at(k))
    assert [alert.as_of for alert in harness.alerts("missing_ticks")] == [T0]
    assert plan.blind


def test_new_order_with_its_window_in_the_past_is_rejected_by_a_plan_and_an_alert() -> None:
    harness = EngineHarness()
    harness.send(new(ts=at(30), start=T0))
    assert (harness.last().status, harness.last().leaves_qty, harness.last().qty) == ("rejected", 0, ())
    assert harness.last().text is not None
    assert len(harness.alerts("order_rejected")) == 1
    assert not [key for key in harness.state if key.startswith("order/")]


def test_new_order_beyond_max_orders_is_rejected() -> None:
    harness = with_order(EngineHarness(settings(max_orders=1)))
    harness.send(new("B", ts=at(2)))
    assert "plans.max_orders" in (harness.last("B").text or "")


def test_ended_orders_make_room_for_new_ones() -> None:
    harness = with_order(EngineHarness(settings(max_orders=3)))
    harness.send(fill(at(2), "E1", 10), cancel(at(2)))
    for name in "BCDEF":
        harness.send(new(name, ts=at(2)), cancel(at(2), name))
    assert harness.alerts("order_rejected") == []
    assert [order.cl_ord_id for order in harness.engine.orders] == ["A", "E", "F"]
    harness.reload()
    harness.send(new("G", ts=at(2)), new("H", ts=at(2)), new("I", ts=at(2)), new("J", ts=at(2)))
    assert [alert.cl_ord_id for alert in harness.alerts("order_rejected")] == ["J"]


@pytest.mark.parametrize("terms", [{"risk_aversion": 1e300}, {"start": 2**62, "length": M}])
def test_new_order_with_terms_beyond_reason_is_rejected(terms: dict[str, float]) -> None:
    harness = EngineHarness()
    harness.run(minutes(3))
    harness.send(new(ts=at(3), **terms))
    assert harness.last().status == "rejected"


def test_replace_amends_and_publishes() -> None:
    harness = with_order()
    harness.send(change(at(3), order_qty=2_000, end=at(20)))
    assert (harness.last().reason, harness.last().order_qty, harness.last().leaves_qty) == (
        "replace",
        2_000 * QUANTA,
        2_000 * QUANTA,
    )
    assert len(harness.last().start) == 17


def test_replace_below_what_was_filled_ends_the_order_as_done() -> None:
    harness = with_order()
    harness.send(fill(at(2), "E1", 300))
    harness.send(change(at(3), order_qty=200))
    plan = harness.last()
    assert (plan.status, plan.order_qty, plan.cum_qty, plan.leaves_qty) == ("done", 300 * QUANTA, 300 * QUANTA, 0)


def test_replace_to_a_window_in_the_past_is_rejected_and_changes_nothing() -> None:
    harness = with_order()
    harness.send(change(at(3), end=at(2.5), order_qty=5))
    assert len(harness.alerts("order_rejected")) == 1
    assert len(harness.plans()) == 1
    harness.send(change(at(3), max_interval_qty=500 * QUANTA))
    assert harness.last().order_qty == 1_200 * QUANTA


def test_cancel_ends_the_order() -> None:
    harness = with_order()
    harness.send(fill(at(2), "E1", 60), cancel(at(2)))
    assert (harness.last().status, harness.last().cum_qty, harness.last().leaves_qty) == ("canceled", 60 * QUANTA, 0)


def test_opposite_side_is_alerted_once_an_order() -> None:
    harness = with_order()
    harness.send(new("B", ts=at(2), side=Side.SELL), new("C", ts=at(2), side=Side.SELL))
    assert [alert.cl_ord_id for alert in harness.alerts("opposite_side")] == ["B", "C"]
    harness.run(minutes(3, start=at(2)))
    assert len(harness.alerts("opposite_side")) == 2


# --- executions --------------------------------------------------------------


def test_fill_on_plan_publishes_nothing() -> None:
    harness = with_order()
    assert harness.send(fill(at(2.5), "E1", harness.last().qty[0] / QUANTA)) == []


def test_fill_off_plan_publishes_a_plan() -> None:
    harness = with_order()
    harness.send(fill(at(2.5), "E1", 800))
    assert (harness.last().reason, harness.last().cum_qty) == ("fill", 800 * QUANTA)


def test_fill_twice_counts_once() -> None:
    harness = with_order()
    harness.send(fill(at(2.5), "E1", 800), fill(at(2.5), "E1", 800))
    assert harness.last().cum_qty == 800 * QUANTA
    assert harness.counts.events[EventOutcome.DUPLICATE] == 1


def test_overfill_ends_the_order_with_an_alert() -> None:
    harness = with_order()
    harness.send(fill(at(2.5), "E1", 1_250))
    assert (harness.last().status, harness.last().leaves_qty, harness.last().cum_qty) == ("done", 0, 1_250 * QUANTA)
    assert [numbers(alert) for alert in harness.alerts("overfill")] == [[50]]


def test_fills_beyond_any_quantity_are_dead_letters_and_the_partition_continues() -> None:
    harness = with_order()
    most = MAX_QUANTA / QUANTA
    harness.send(fill(at(2.5), "E1", most), fill(at(2.5), "E2", most), fill(at(2.6), "E3", most))
    assert [letter.reason for letter in harness.dead()] == ["too_large", "too_large"]
    harness.reload()
    harness.send(new("B", ts=at(3)))
    assert harness.last("B").status == "active"


def test_bust_off_plan_gives_the_quantity_back() -> None:
    harness = with_order()
    harness.send(fill(at(2.5), "E1", 1_200))
    harness.send(bust(at(2.6), "E2", "E1"))
    assert (harness.last().status, harness.last().reason, harness.last().leaves_qty) == (
        "active",
        "bust",
        1_200 * QUANTA,
    )


def test_bust_before_its_fill_waits_for_it() -> None:
    harness = with_order()
    assert harness.send(bust(at(2.5), "E2", "E1")) == []
    harness.send(fill(at(2.6), "E1", 800))
    assert (harness.last().reason, harness.last().cum_qty) == ("bust", 0)
    assert harness.dead() == []


def test_correct_changes_what_was_filled() -> None:
    harness = with_order()
    harness.send(fill(at(2.5), "E1", 800), correct(at(2.6), "E2", "E1", 700))
    assert (harness.last().reason, harness.last().cum_qty) == ("correct", 700 * QUANTA)


def test_plans_state_the_average_price_of_what_is_filled() -> None:
    harness = with_order()
    assert harness.last().avg_px is None
    steps = [
        (fill(at(2.5), "E1", 300, px=100.0), 100.0),
        (fill(at(2.6), "E2", 600, px=100.3), 100.2),
        (correct(at(2.7), "C1", "E2", 300), 100.0),
        (bust(at(2.8), "B1", "E1"), 100.0),
        (bust(at(2.9), "B2", "C1"), None),
    ]
    for event, expected in steps:
        harness.send(event)
        assert harness.last().avg_px == (expected if expected is None else pytest.approx(expected))


def test_fill_after_the_end_still_counts_with_an_alert() -> None:
    harness = with_order()
    harness.send(cancel(at(3)), fill(at(3.5), "E1", 10))
    assert (harness.last().status, harness.last().cum_qty, harness.last().leaves_qty) == ("canceled", 10 * QUANTA, 0)
    assert len(harness.alerts("late_fill")) == 1


def test_event_for_another_symbol_than_its_orders_is_a_dead_letter() -> None:
    harness = with_order()
    event = fill(at(2.5), "E1", 10, symbol="ARL")
    assert [output.topic for output in harness.send(event)] == [Topic.DLQ, Topic.ALERTS]
    assert [alert.cl_ord_id for alert in harness.alerts("execution_refused")] == ["A"]
    assert (harness.dead()[0].reason, harness.dead()[0].raw, harness.dead()[0].key) == (
        "symbol_mismatch",
        raw_of(event),
        b"key",
    )


# --- held events --------------------------------------------------------------


def test_held_fill_before_its_order_applies_when_it_comes() -> None:
    harness = EngineHarness()
    assert harness.send(fill(T0, "E1", 200), fill(T0, "E2", 100)) == []
    harness.reload()
    harness.send(new())
    assert [plan.cum_qty // QUANTA for plan in harness.plans()][-1] == 300
    assert not [key for key in harness.state if key.startswith("held/")]


def test_held_bust_and_fill_before_their_order_apply_together() -> None:
    harness = EngineHarness()
    harness.send(bust(T0, "E2", "E1"), fill(T0 + 1, "E1", 200))
    harness.send(new(ts=T0 + 2))
    assert harness.last().cum_qty == 0
    assert harness.dead() == []


def test_held_cancel_before_its_order_ends_it() -> None:
    harness = EngineHarness()
    harness.send(cancel(T0))
    harness.send(new(ts=T0 + 1))
    assert [plan.status for plan in harness.plans()] == ["active", "canceled"]


def test_orphan_is_a_dead_letter_after_hold_ns_with_its_original_bytes() -> None:
    harness = EngineHarness(settings(hold_ns=90 * S))
    event = fill(T0, "E1", 10)
    harness.send(event)
    harness.run(minutes(1))
    assert harness.dead() == []
    harness.run(minutes(3, start=at(1)))
    letter = harness.dead()[0]
    assert (letter.reason, letter.raw, letter.topic, letter.offset) == ("orphan", raw_of(event), Topic.EXECUTIONS, 0)


def test_orphan_whose_order_comes_too_late_is_not_applied() -> None:
    harness = EngineHarness(settings(hold_ns=90 * S))
    harness.send(fill(T0, "E1", 10))
    harness.send(new(ts=T0 + 91 * S))
    assert (harness.last().cum_qty, [letter.reason for letter in harness.dead()]) == (0, ["orphan"])


def test_orphan_bust_of_a_known_order_waits_no_longer_than_hold_ns() -> None:
    harness = EngineHarness(settings(hold_ns=90 * S))
    harness.send(bust(T0, "E2", "E1"))
    harness.send(new(ts=T0 + 80 * S))
    harness.send(fill(T0 + 91 * S, "E1", 10), cancel(T0 + 91 * S))
    assert (harness.last().cum_qty, [letter.reason for letter in harness.dead()]) == (10 * QUANTA, ["orphan"])


def test_held_event_without_any_ticks_expires_by_an_idle_move() -> None:
    harness = EngineHarness(settings(hold_ns=90 * S))
    harness.send(fill(T0, "E1", 10))
    assert harness.engine.idle_target(60 * S, at(60)) is None
    target = harness.engine.idle_target(130 * S, at(60))
    assert target == at(2)
    harness.commit(idle_to=target)
    assert [letter.reason for letter in harness.dead()] == ["orphan"]
    assert harness.engine.idle_target(600 * S, at(60)) is None


def test_held_events_beyond_max_held_are_dead_letters() -> None:
    harness = EngineHarness(settings(max_held=2))
    harness.send(*(fill(T0, f"E{k}", 10) for k in range(3)))
    assert [(letter.reason, letter.offset) for letter in harness.dead()] == [("held_full", 2)]


def test_held_event_in_a_long_record_is_a_dead_letter() -> None:
    harness = EngineHarness()
    event = fill(T0, "E1" + "x" * MAX_HELD_BYTES, 10)
    harness.send(event)
    assert [(letter.reason, letter.raw) for letter in harness.dead()] == [("held_full", raw_of(event))]


# --- the end ------------------------------------------------------------------


def test_expiry_states_and_alerts_the_shortfall() -> None:
    harness = with_order(length=2 * M)
    harness.send(fill(at(2.5), "E1", 100))
    harness.run(minutes(3, start=at(2)))
    plan = harness.last()
    assert (plan.status, plan.reason, plan.leaves_qty) == ("expired", "expired", 1_100 * QUANTA)
    assert (plan.shortfall_qty, plan.qty) == (1_100 * QUANTA, ())
    assert [numbers(alert) for alert in harness.alerts("shortfall")] == [[1_100]]
    harness.send(fill(at(5.5), "E2", 1_100))
    assert (harness.last().status, harness.last().shortfall_qty) == ("expired", 0)


def test_ended_order_is_forgotten_after_keep_ended_ns() -> None:
    harness = with_order(EngineHarness(settings(keep_ended_ns=2 * M)))
    harness.send(fill(at(2.5), "E1", 100), cancel(at(2.5)))
    assert {"order/A", "execs/A/0"} <= set(harness.state)
    harness.run(minutes(4, start=at(2)))
    assert not [key for key in harness.state if key.startswith(("order/", "execs/", "assumed/"))]


def test_assumed_quantities_are_saved_by_part_of_the_hour_and_forgotten_with_their_order() -> None:
    harness = with_order(EngineHarness(settings(fills="scheduled", keep_ended_ns=2 * M)), length=60 * M)
    harness.run(minutes(45, start=at(2)))
    parts = sorted(key for key in harness.state if key.startswith("assumed/"))
    assert len(parts) >= 3
    harness.run(minutes(1, start=at(47)))
    assert [key for key in harness.commits[-1].state if key.startswith("assumed/")] == parts[-1:]
    order = harness.engine.orders.get("A")
    assert order is not None
    assumed = dict(order.assumed)
    harness.reload()
    again = harness.engine.orders.get("A")
    assert again is not None
    assert again.assumed == assumed
    # Reports of all of the first part take its place: nothing of it is left to save.
    first = [start for start in sorted(assumed) if f"assumed/A/{assumed_chunk(start)}" == parts[0]]
    for k, start in enumerate(first):
        harness.send(fill(start, f"E{k}", assumed[start] // QUANTA))
    assert parts[0] not in harness.state
    assert harness.engine.dump() == harness.state
    harness.send(cancel(at(48)))
    harness.run(minutes(4, start=at(48)))
    assert not [key for key in harness.state if key.startswith(("order/", "execs/", "assumed/"))]


def test_ended_order_is_past_by_the_events_own_time() -> None:
    harness = with_order(EngineHarness(settings(keep_ended_ns=2 * M)))
    harness.send(cancel(at(2.5)))
    harness.send(new(qty=10, ts=at(4.4)))
    assert len(harness.alerts("order_rejected")) == 1
    harness.send(new(qty=10, ts=at(4.6)))
    assert (harness.last().plan_version, harness.last().order_qty) == (1, 10 * QUANTA)


def test_executions_beyond_one_key_survive_a_restart() -> None:
    harness = with_order(qty=10_000)
    harness.send(*(fill(at(2.5), f"E{k}", 1) for k in range(1_001)))
    harness.reload()
    harness.send(bust(at(2.6), "B1", "E3"), fill(at(2.6), "E1000", 1), cancel(at(2.6)))
    assert harness.last().cum_qty == 1_000 * QUANTA
    assert harness.counts.events[EventOutcome.DUPLICATE] == 1


def test_missing_ticks_are_alerted_once_and_again_after_they_came() -> None:
    harness = with_order()
    for k in range(3, 8):
        harness.commit(idle_to=at(k))
    assert len(harness.alerts("missing_ticks")) == 1
    harness.run([ladder(at(7.1)), *minutes(1, start=at(8))])
    for k in range(10, 14):
        harness.commit(idle_to=at(k))
    assert len(harness.alerts("missing_ticks")) == 2


@pytest.mark.parametrize("before", [0, 30])
def test_time_while_the_market_is_closed_is_no_silence(before: int) -> None:
    hours = SessionRule(9 * 3_600, 10 * 3_600 + 300, ((0, 0),))
    harness = EngineHarness(replace(settings(missing_ticks_ns=2 * M), session=hours))
    harness.run(minutes(4))
    opens = at(23 * 60)
    harness.send(new(ts=opens - before * M, length=60 * M))
    harness.commit(idle_to=opens + 2 * M)
    assert not harness.alerts("missing_ticks")
    harness.commit(idle_to=opens + 4 * M)
    (alert,) = harness.alerts("missing_ticks")
    assert alert.as_of == opens + 3 * M


# --- too many executions -----------------------------------------------------


def test_execution_without_room_is_a_dead_letter_and_halts_its_order_until_resumed() -> None:
    harness = with_order(EngineHarness(settings(max_executions=2)))
    harness.send(new("B", ts=at(2)))
    harness.send(*(fill(at(2.5), f"E{k}", 10) for k in range(4)))
    assert [letter.reason for letter in harness.dead()] == ["executions_full", "executions_full"]
    assert harness.counts.events[EventOutcome.EXECUTIONS_FULL] == 2
    assert (harness.last("A").status, harness.last("A").cum_qty) == ("halted", 20 * QUANTA)
    assert "plans.max_executions" in (harness.last("A").text or "")
    assert [(alert.text.split(":")[0], numbers(alert)) for alert in harness.alerts("halt")] == [("A", [1])]
    assert harness.last("B").status == "active"
    harness.reload()
    harness.run(minutes(1, start=at(3)))
    assert harness.last("A").status == "halted"
    harness.send(resume(at(4.5), "A"))
    assert harness.last("A").status == "active"


def test_execution_without_room_of_an_ended_order_halts_nothing() -> None:
    harness = with_order(EngineHarness(settings(max_executions=1)))
    harness.send(fill(at(2.1), "E1", 10), cancel(at(2.2)), fill(at(2.3), "E2", 10))
    assert [letter.reason for letter in harness.dead()] == ["executions_full"]
    assert harness.alerts("halt") == []


# --- a solve that fails -----------------------------------------------------


@pytest.fixture
def unsolvable(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Yield what makes every solve fail from here on, until it is undone."""
    failure = SolveFailure("chain", Failure.CHAIN_EXHAUSTED, "exact: bad_certificate")
    with monkeypatch.context() as patch:
        patch.setattr(desk_module, "propose", lambda *_: failure)
        yield patch


def test_new_order_that_cannot_be_solved_reports_it_and_is_planned_when_it_can(
    unsolvable: pytest.MonkeyPatch,
) -> None:
    harness = with_order()
    assert (harness.last().status, harness.last().reason, harness.last().qty) == ("halted", "new", ())
    harness.run(minutes(2, start=at(2)))
    assert len(harness.plans()) == 1
    assert [alert.text for alert in harness.alerts("solver_failed")] == [str(desk_module.propose(*()))]
    unsolvable.undo()
    harness.run(minutes(1, start=at(4)))
    assert (harness.last().status, harness.last().text) == ("active", None)
    assert sum(harness.last().qty) == 1_200 * QUANTA


def test_schedule_in_force_outlives_a_failed_solve_but_not_an_amendment(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = with_order(EngineHarness(settings(fills="scheduled")))
    failure = SolveFailure("chain", Failure.CHAIN_EXHAUSTED, "exact: bad_certificate")
    monkeypatch.setattr(desk_module, "propose", lambda *_: failure)
    published = len(harness.plans())
    harness.run(minutes(2, start=at(2)))
    assert len(harness.plans()) == published
    harness.send(change(at(5), order_qty=900))
    assert (harness.last().status, harness.last().reason, harness.last().qty) == ("halted", "replace", ())
    assert harness.last().shortfall_qty == harness.last().leaves_qty > 0
