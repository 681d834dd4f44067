"""Several orders on one symbol and side: planned together, published together."""

from __future__ import annotations

import math
from typing import Any

import pytest

from impactd.core.allocator.solvers.base import Failure, SolveFailure
from impactd.core.base.quantity import QUANTA
from impactd.core.base.topics import Side
from impactd.core.inputs.events import Event
from impactd.core.outputs.messages import Plan
from impactd.core.planning import propose, replan
from tests.core.builders import (
    EngineHarness,
    M,
    at,
    cancel,
    check_window,
    encoded,
    fill,
    halt,
    minutes,
    new,
    plans,
    resume,
    settings,
)


def _lab(**plans: Any) -> EngineHarness:
    return EngineHarness(settings(max_group=10, group_risk=True, **plans))


def two(harness: EngineHarness | None = None, **terms: Any) -> EngineHarness:
    """Return a harness with orders A and B of 1,200 over the same 12 minutes."""
    harness = harness or _lab()
    harness.run(minutes(2))
    harness.send(new(ts=at(2)), new("B", ts=at(2), **terms))
    return harness


def total(harness: EngineHarness) -> list[int]:
    return [a + b for a, b in zip(harness.last("A").qty, harness.last("B").qty, strict=True)]


def test_second_order_forces_both_plans_with_one_group_id() -> None:
    harness = two()
    a, b = harness.last("A"), harness.last("B")
    assert a.group_id == b.group_id is not None
    assert (a.reason, b.reason) == ("group", "new")
    assert [plan.group_id for plan in harness.plans("A")] == [None, a.group_id]


def test_sum_of_a_group_is_what_one_order_of_that_size_trades() -> None:
    one = _lab()
    one.run(minutes(2))
    one.send(new(qty=2_400, ts=at(2)))
    harness = two()
    assert total(harness) == list(one.last().qty)
    costs = [plan.expected_cost for plan in (harness.last("A"), harness.last("B"), one.last())]
    assert costs[0] is not None
    assert costs[1] is not None
    assert costs[0] + costs[1] == pytest.approx(costs[2], rel=1e-12)


@pytest.mark.parametrize("terms", [{"urgency": 0.5}, {"urgency": 2.0, "max_interval_qty": 130 * QUANTA}])
def test_plans_of_a_group_with_urgency_can_be_published(terms: dict[str, Any]) -> None:
    # The harness encodes whatever is published.
    harness = two(qty=900, **terms)
    residuals = [harness.last(cl_ord_id).certificate for cl_ord_id in ("A", "B")]
    assert [type(found.kkt_residual) for found in residuals if found is not None] == [float, float]


def test_group_keeps_each_orders_window_caps_lots_and_blackouts() -> None:
    harness = _lab()
    harness.run(minutes(2))
    orders = [
        new(ts=at(2), max_interval_qty=130 * QUANTA),
        new("B", ts=at(2), start=at(5.5), length=6 * M, lot_size=100 * QUANTA, qty=1_250),
        new("C", ts=at(2), risk_aversion=1e-3, blackouts=((at(3), at(5)),), qty=700),
    ]
    harness.send(*orders)
    for order in orders:
        plan = harness.last(order.cl_ord_id)
        check_window(plan, order, order.terms.lot_size)
        assert (plan.shortfall_qty, plan.group_id) == (0, harness.last("A").group_id)
    assert harness.last("B").start[0] == at(5.5)
    assert harness.last("C").qty[1:3] == (0, 0)


def follow(harness: EngineHarness, ids: tuple[str, ...], n: int, first: int = 2) -> None:
    """Fill what is planned for `n` minutes, and let them close."""
    for k in range(first, first + n):
        for cl_ord_id in ids:
            plan = harness.last(cl_ord_id)
            if at(k) in plan.start and (qty := plan.qty[plan.start.index(at(k))]):
                harness.send(fill(at(k + 0.4), f"{cl_ord_id}{k}", qty / QUANTA, cl_ord_id))
        harness.run(minutes(1, start=at(k))[1:])


@pytest.mark.parametrize("terms", [{}, {"risk_aversion": 1e-4}, {"max_interval_qty": 150 * QUANTA}])
def test_group_on_its_planned_path_is_not_planned_again(terms: dict[str, Any]) -> None:
    harness = two(**terms)
    before = [len(harness.plans(cl_ord_id)) for cl_ord_id in "AB"]
    follow(harness, ("A", "B"), 8)
    assert [len(harness.plans(cl_ord_id)) for cl_ord_id in "AB"] == before


def test_forced_replanning_of_a_group_on_path_gives_the_same_plans() -> None:
    harness = two()
    before = {cl_ord_id: harness.last(cl_ord_id).qty for cl_ord_id in "AB"}
    harness.send(new("C", ts=at(2), qty=0.000000001, lot_size=1), cancel(at(2), "C"))
    for cl_ord_id, qty in before.items():
        after = harness.last(cl_ord_id).qty
        assert sum(abs(x - y) for x, y in zip(after, qty, strict=True)) <= 2 * QUANTA


def test_fill_off_plan_of_one_plans_all_again() -> None:
    harness = two()
    harness.send(fill(at(2.5), "E1", 900))
    assert (harness.last("A").reason, harness.last("B").reason) == ("fill", "group")
    assert harness.last("A").group_id == harness.last("B").group_id


def test_halted_order_leaves_its_group_and_comes_back() -> None:
    harness = two()
    harness.send(halt(at(2.2), "B"))
    assert harness.last("B").status == "halted"
    harness.run(minutes(1, start=at(2))[1:])
    assert harness.last("A").group_id is None
    harness.send(resume(at(3.2), "B"))
    assert harness.last("A").group_id == harness.last("B").group_id is not None


def test_opposite_sides_are_no_group() -> None:
    harness = two(side=Side.SELL)
    assert harness.last("A").group_id is harness.last("B").group_id is None
    assert len(harness.alerts("opposite_side")) == 1


def test_group_with_scheduled_fills_runs_to_its_end() -> None:
    harness = two(_lab(fills="scheduled"), length=6 * M)
    harness.run(minutes(13, start=at(2))[1:])
    assert [harness.last(cl_ord_id).status for cl_ord_id in "AB"] == ["done", "done"]
    assert [harness.last(cl_ord_id).cum_qty for cl_ord_id in "AB"] == [1_200 * QUANTA] * 2


def test_group_after_a_restart_publishes_the_same_bytes() -> None:
    def run(*, restarted: bool) -> list[bytes]:
        harness = two(risk_aversion=1e-4)
        if restarted:
            harness.reload()
        harness.send(fill(at(2.5), "E1", 300))
        harness.run(minutes(3, start=at(2), size=60.0)[1:])
        return encoded(harness.outputs)

    assert run(restarted=False) == run(restarted=True)


def test_group_threshold_is_on_what_all_save_together() -> None:
    def plans(threshold_bps: float) -> tuple[list[Plan], list[Plan]]:
        harness = two(_lab(fills="scheduled", replan_threshold_bps=threshold_bps))
        for k in range(2, 10):
            harness.run(minutes(1, start=at(k), size=60.0 + 20.0 * (k % 5))[1:])
        return harness.plans("A"), harness.plans("B")

    a, b = plans(0.0)
    assert len(a) > 3
    assert len(b) <= len(a)  # lots move first by the orders that come first, and only plans that change are published
    assert [len(x) for x in plans(5.0)] == [2, 1]


def test_group_larger_than_the_setting_is_planned_one_by_one() -> None:
    harness = two(EngineHarness(settings(max_group=1)))
    assert harness.last("A").group_id is harness.last("B").group_id is None
    assert (harness.last("A").reason, harness.last("B").reason) == ("new", "new")
    three = two(EngineHarness(settings(max_group=2)))
    assert three.last("A").group_id is not None
    three.send(new("C", ts=at(2.5)))
    assert three.last("C").group_id is None


def arrivals(n: int, **how: Any) -> tuple[EngineHarness, list[Event]]:
    harness = EngineHarness(settings(**how))
    harness.run(minutes(2))
    return harness, [
        new(
            f"O{i:03}", qty=300 + 7 * i, ts=at(2) + i, start=at(2), length=(4 + i % 4) * M, max_interval_qty=90 * QUANTA
        )
        for i in range(n)
    ]


def test_arrivals_of_many_orders_solve_all_of_them_less_often_the_more_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replan, "AT_ONCE", 4)
    harness, events = arrivals(40)
    harness.send(*events)
    together = {plan.group_id for plan in plans(harness.outputs) if plan.group_id is not None}
    assert 8 <= len(together) <= 4 + replan.PART * math.log((40 - 4) / replan.PART) + replan.PART
    assert {plan.cl_ord_id for plan in plans(harness.outputs)} == {event.cl_ord_id for event in events}
    assert not harness.alerts("joint_fallback")
    harness.run(minutes(1, start=at(2)))
    assert not any(order.single for order in harness.engine.orders)


def test_arrivals_of_many_orders_are_the_same_for_any_batch_and_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replan, "AT_ONCE", 4)

    def run(step: int) -> list[bytes]:
        harness, events = arrivals(20, fills="scheduled")
        events += [cancel(at(2) + 50, f"O{i:03}") for i in (3, 7)]
        events += [fill(at(2) + 60 + i, f"E{i}", 9, f"O{i:03}") for i in range(8, 14)]
        for k in range(0, len(events), step):
            harness.send(*events[k : k + step])
            harness.reload()
        harness.run(minutes(3, start=at(2)))
        return encoded(harness.outputs)

    assert run(1) == run(7) == run(100)


def test_orders_whose_joint_problem_fails_are_charged_for_each_other_and_alerted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = two(qty=1_200)
    failure = SolveFailure("joint", Failure.BAD_CERTIFICATE, "made to fail")
    monkeypatch.setattr(propose, "allocate_jointly", lambda *_args, **_named: failure)
    apart = two(qty=1_200)
    assert [alert.cl_ord_id for alert in apart.alerts("joint_fallback")] == ["A", "B"]
    assert all("made to fail" in alert.text for alert in apart.alerts("joint_fallback"))
    assert apart.counts.unsolved > 0
    assert (apart.last("B").group_id, apart.last("B").status) == (None, "active")
    # Both plan nearly what they would together, in a market that is flat; each is charged for the sum.
    joint, alone = together.last("B").expected_cost, one_cost()
    cost = apart.last("B").expected_cost
    assert joint is not None
    assert cost is not None
    assert cost == pytest.approx(joint, rel=0.05)
    assert cost > 1.1 * alone
    # Each minute tries again; what holds is alerted once, and once solved it no longer holds.
    apart.run(minutes(1, start=at(2)))
    assert len(apart.alerts("joint_fallback")) == 2
    monkeypatch.undo()
    apart.run(minutes(1, start=at(3)))
    assert not any("joint_fallback" in order.alerted for order in apart.engine.orders)


def one_cost() -> float:
    """Return what a plan of 1,200 costs where no other order is."""
    harness = _lab()
    harness.run(minutes(2))
    harness.send(new(ts=at(2)))
    cost = harness.last().expected_cost
    assert cost is not None
    return cost
