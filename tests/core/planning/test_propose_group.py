"""Several orders on one symbol and side: planned together, published together."""

from __future__ import annotations

from typing import Any

import pytest

from impactd.core.base.quantity import QUANTA
from impactd.core.base.topics import Side
from impactd.core.outputs.messages import Plan
from tests.core.builders import Lab, M, at, cancel, check_window, encoded, fill, halt, minutes, new, resume, settings


def _lab(**plans: Any) -> Lab:
    return Lab(settings(max_group=10, group_risk=True, **plans))


def two(lab: Lab | None = None, **terms: Any) -> Lab:
    """Return a lab with orders A and B of 1,200 over the same 12 minutes."""
    lab = lab or _lab()
    lab.run(minutes(2))
    lab.send(new(ts=at(2)), new("B", ts=at(2), **terms))
    return lab


def total(lab: Lab) -> list[int]:
    return [a + b for a, b in zip(lab.last("A").qty, lab.last("B").qty, strict=True)]


def test_second_order_forces_both_plans_with_one_group_id() -> None:
    lab = two()
    a, b = lab.last("A"), lab.last("B")
    assert a.group_id == b.group_id is not None
    assert (a.reason, b.reason) == ("group", "new")
    assert [plan.group_id for plan in lab.plans("A")] == [None, a.group_id]


def test_sum_of_a_group_is_what_one_order_of_that_size_trades() -> None:
    one = _lab()
    one.run(minutes(2))
    one.send(new(qty=2_400, ts=at(2)))
    lab = two()
    assert total(lab) == list(one.last().qty)
    costs = [plan.expected_cost for plan in (lab.last("A"), lab.last("B"), one.last())]
    assert costs[0] is not None
    assert costs[1] is not None
    assert costs[0] + costs[1] == pytest.approx(costs[2], rel=1e-12)


def test_group_keeps_each_orders_window_caps_lots_and_blackouts() -> None:
    lab = _lab()
    lab.run(minutes(2))
    orders = [
        new(ts=at(2), max_interval_qty=130 * QUANTA),
        new("B", ts=at(2), start=at(5.5), length=6 * M, lot_size=100 * QUANTA, qty=1_250),
        new("C", ts=at(2), risk_aversion=1e-3, blackouts=((at(3), at(5)),), qty=700),
    ]
    lab.send(*orders)
    for order in orders:
        plan = lab.last(order.cl_ord_id)
        check_window(plan, order, order.lot_size)
        assert (plan.shortfall_qty, plan.group_id) == (0, lab.last("A").group_id)
    assert lab.last("B").start[0] == at(5.5)
    assert lab.last("C").qty[1:3] == (0, 0)


def follow(lab: Lab, ids: tuple[str, ...], n: int, first: int = 2) -> None:
    """Fill what is planned for `n` minutes, and let them close."""
    for k in range(first, first + n):
        for cl_ord_id in ids:
            plan = lab.last(cl_ord_id)
            if at(k) in plan.start and (qty := plan.qty[plan.start.index(at(k))]):
                lab.send(fill(at(k + 0.4), f"{cl_ord_id}{k}", qty / QUANTA, cl_ord_id))
        lab.run(minutes(1, start=at(k))[1:])


@pytest.mark.parametrize("terms", [{}, {"risk_aversion": 1e-4}, {"max_interval_qty": 150 * QUANTA}])
def test_group_on_its_planned_path_is_not_planned_again(terms: dict[str, Any]) -> None:
    lab = two(**terms)
    before = [len(lab.plans(cl_ord_id)) for cl_ord_id in "AB"]
    follow(lab, ("A", "B"), 8)
    assert [len(lab.plans(cl_ord_id)) for cl_ord_id in "AB"] == before


def test_forced_replanning_of_a_group_on_path_gives_the_same_plans() -> None:
    lab = two()
    before = {cl_ord_id: lab.last(cl_ord_id).qty for cl_ord_id in "AB"}
    lab.send(new("C", ts=at(2), qty=0.000000001, lot_size=1), cancel(at(2), "C"))
    for cl_ord_id, qty in before.items():
        after = lab.last(cl_ord_id).qty
        assert sum(abs(x - y) for x, y in zip(after, qty, strict=True)) <= 2 * QUANTA


def test_fill_off_plan_of_one_plans_all_anew() -> None:
    lab = two()
    lab.send(fill(at(2.5), "E1", 900))
    assert (lab.last("A").reason, lab.last("B").reason) == ("fill", "group")
    assert lab.last("A").group_id == lab.last("B").group_id


def test_halted_order_leaves_its_group_and_comes_back() -> None:
    lab = two()
    lab.send(halt(at(2.2), "B"))
    assert lab.last("B").status == "halted"
    lab.run(minutes(1, start=at(2))[1:])
    assert lab.last("A").group_id is None
    lab.send(resume(at(3.2), "B"))
    assert lab.last("A").group_id == lab.last("B").group_id is not None


def test_opposite_sides_are_no_group() -> None:
    lab = two(side=Side.SELL)
    assert lab.last("A").group_id is lab.last("B").group_id is None
    assert len(lab.alerts("opposite_side")) == 1


def test_group_with_scheduled_fills_runs_to_its_end() -> None:
    lab = two(_lab(fills="scheduled"), length=6 * M)
    lab.run(minutes(13, start=at(2))[1:])
    assert [lab.last(cl_ord_id).status for cl_ord_id in "AB"] == ["done", "done"]
    assert [lab.last(cl_ord_id).cum_qty for cl_ord_id in "AB"] == [1_200 * QUANTA] * 2


def test_group_after_a_restart_says_the_same_bytes() -> None:
    def run(*, restarted: bool) -> list[bytes]:
        lab = two(risk_aversion=1e-4)
        if restarted:
            lab.reload()
        lab.send(fill(at(2.5), "E1", 300))
        lab.run(minutes(3, start=at(2), size=60.0)[1:])
        return encoded(lab.outputs)

    assert run(restarted=False) == run(restarted=True)


def test_group_threshold_is_on_what_all_save_together() -> None:
    def plans(threshold_bps: float) -> tuple[list[Plan], list[Plan]]:
        lab = two(_lab(fills="scheduled", replan_threshold_bps=threshold_bps))
        for k in range(2, 10):
            lab.run(minutes(1, start=at(k), size=60.0 + 20.0 * (k % 5))[1:])
        return lab.plans("A"), lab.plans("B")

    a, b = plans(0.0)
    assert len(a) == len(b) + 1 > 3
    assert [len(x) for x in plans(5.0)] == [2, 1]


def test_group_larger_than_the_setting_is_planned_one_by_one() -> None:
    lab = two(Lab(settings(max_group=1)))
    assert lab.last("A").group_id is lab.last("B").group_id is None
    assert (lab.last("A").reason, lab.last("B").reason) == ("new", "new")
    three = two(Lab(settings(max_group=2)))
    assert three.last("A").group_id is not None
    three.send(new("C", ts=at(2.5)))
    assert three.last("C").group_id is None
