"""What a run amounted to: which plan a saving is taken from, and what is counted."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from impactd.core.base.quantity import QUANTA
from impactd.core.base.session import Session
from impactd.core.base.settings import SessionRule
from impactd.core.base.topics import Side, Topic
from impactd.core.outputs.messages import Alert, DeadLetter, Estimate, FillCost, Message, Model, ModelRef, Output, Plan
from impactd.core.tca.executed import Executed
from impactd.shell.realised import Answer
from impactd.shell.tally import Tally

S = 1_000_000_000

PLAN = Plan(
    cl_ord_id="A1",
    symbol="FROG",
    side=Side.BUY,
    plan_version=1,
    as_of=60,
    reason="new",
    status="active",
    text=None,
    group_id=None,
    order_qty=10 * QUANTA,
    cum_qty=0,
    leaves_qty=10 * QUANTA,
    shortfall_qty=0,
    interval_s=60,
    child_slices=1,
    extrapolated_qty=0,
    start=(60,),
    qty=(10 * QUANTA,),
    cap=(None,),
    expected_cost=8.0,
    expected_cost_bps=2.0,
    twap_cost=9.0,
    saving_bps=0.25,
    cost_band=None,
    model=ModelRef("linear", "price_per_share", 60, prior=False),
    certificate=None,
)
PRIOR = ModelRef("linear", "price_per_share", 60, prior=True)


def tally(*messages: Message, topic: Topic = Topic.PLANS, fills: str = "reported") -> Tally:
    made = Tally(fills)
    made.count([Output(topic, None, message, 0, None) for message in messages])
    return made


def test_tally_first_plan_with_a_price_is_what_was_expected_and_the_last_one_the_status() -> None:
    plans = [
        replace(PLAN, model=None, expected_cost=None, twap_cost=None),
        replace(PLAN, model=PRIOR, as_of=120, expected_cost=2.0, cost_band_95=(1.0, 3.0)),
        replace(PLAN, as_of=180, expected_cost=3.0),
        replace(PLAN, status="done", leaves_qty=0, cum_qty=10 * QUANTA, expected_cost=None, twap_cost=None, model=None),
    ]
    (order,) = tally(*plans).orders()
    assert (order.expected_as_of, order.expected_qty, order.expected_cost, order.band_95) == (120, 10, 2.0, (1.0, 3.0))
    assert (order.expected_twap_cost, order.plans) == (9.0, 4)
    assert (order.status, order.cum_qty, order.leaves_qty) == ("done", 10, 0)


def test_tally_nothing_executed_has_no_cost() -> None:
    made = tally(PLAN)
    assert made.questions({}) == {}
    (order,) = made.orders()
    assert (order.cost, order.cost_bps, order.twap_cost, order.saved) == (None, None, None, None)


FIRST = replace(PLAN, as_of=0, start=(0, 60 * S), qty=(4 * QUANTA, 6 * QUANTA), cap=(None, None))
DONE = replace(PLAN, as_of=120 * S, start=(), qty=(), cap=(), cum_qty=10 * QUANTA, leaves_qty=0, status="done")


def test_tally_scheduled_fills_are_priced_as_scheduled_and_save_nothing() -> None:
    made = tally(FIRST, DONE, fills="scheduled")
    (question,) = made.questions({"A1": QUANTA}).values()
    assert (question.symbol, question.side, question.begin) == ("FROG", Side.BUY, 0)
    assert question.paths == ({0: 4 * QUANTA, 60 * S: 6 * QUANTA}, {0: 5 * QUANTA, 60 * S: 5 * QUANTA})
    (order,) = made.orders({"A1": Answer(arrival_px=2.0, costs=[0.5, 0.25], beyond_qty=[1.0, 0.0])})
    assert (order.fills, order.cost, order.twap_cost, order.beyond_depth_qty) == ("scheduled", 0.5, 0.25, 1.0)
    assert (order.cost_bps, order.twap_bps) == (250.0, 125.0)
    assert (order.saved, order.saved_bps) == (None, None)


def fill(exec_id: str, qty: int, mid: float | None = 2.0, **changes: Any) -> FillCost:
    names = {field.name: None for field in fields(FillCost)}
    known = {"cl_ord_id": "A1", "exec_id": exec_id, "symbol": "FROG", "side": Side.BUY, "ts_event": 30 * S}
    costs = {"qty": qty * QUANTA, "mid": mid, "arrival_px": 2.0, "spread_cost": 0.1 * qty, "impact_cost": 0.0}
    return FillCost(**(names | known | costs | changes))


def test_tally_reported_fills_are_priced_by_what_they_paid_and_compare_with_the_same_quantity() -> None:
    partly = replace(DONE, cum_qty=7 * QUANTA, leaves_qty=3 * QUANTA, status="canceled", as_of=90 * S)
    made = tally(FIRST, fill("E1", 9), fill("E2", 2), fill("E1", 5), partly)
    (question,) = made.questions({}).values()
    # Canceled in the second interval: the even pace has had the first one alone.
    assert question.paths == ({}, {0: 7 * QUANTA})
    (order,) = made.orders({"A1": Answer(2.0, [0.0, 1.0], [0.0, 0.0])})
    assert (order.cost, order.twap_cost, order.saved) == (pytest.approx(0.7), 1.0, pytest.approx(0.3))
    assert (order.fills, order.beyond_depth_qty, order.saved_bps) == ("reported", None, pytest.approx(1e4 * 0.3 / 14))


@pytest.mark.parametrize("fills", [(), (("E1", 10, None),), (("E1", 4, 2.0),)])
def test_tally_fills_whose_cost_is_not_known_have_no_cost(fills: tuple[tuple[str, int, float | None], ...]) -> None:
    (order,) = tally(FIRST, *(fill(*one) for one in fills), DONE).orders()
    assert (order.cum_qty, order.cost, order.cost_bps, order.saved) == (10, None, None, None)


@pytest.mark.parametrize("status", ["canceled", "expired", "halted"])
def test_executed_plan_that_ends_early_leaves_what_came_before(status: str) -> None:
    path = Executed()
    path.plan(FIRST)
    path.plan(replace(DONE, status=status, as_of=75 * S, cum_qty=4 * QUANTA))
    assert path.scheduled == {0: 4 * QUANTA}
    assert path.even(8 * QUANTA, QUANTA, 60 * S) == {0: 8 * QUANTA}


def test_executed_order_filled_early_could_have_worked_until_its_end() -> None:
    path = Executed()
    path.plan(FIRST)
    path.plan(replace(DONE, as_of=60 * S))
    assert path.even(8 * QUANTA, QUANTA, 60 * S) == {0: 4 * QUANTA, 60 * S: 4 * QUANTA}


def test_executed_even_pace_trades_while_the_market_is_open() -> None:
    """Otherwise a lunch break or a night in the window left an even pace without a price."""
    path = Executed()
    path.plan(replace(FIRST, start=(0, 60 * S, 120 * S), qty=(4 * QUANTA, 0, 6 * QUANTA), cap=(None, 0, None)))
    with_break = Session(SessionRule(breaks=((60, 120),)))
    assert path.even(8 * QUANTA, QUANTA, 60 * S, with_break) == {0: 4 * QUANTA, 120 * S: 4 * QUANTA}
    shut = Session(SessionRule(open_s=3_600, close_s=7_200))
    assert sum(path.even(9 * QUANTA, QUANTA, 60 * S, shut).values()) == 9 * QUANTA


def test_executed_order_that_ended_in_its_first_interval_has_that_one() -> None:
    path = Executed()
    path.plan(FIRST)
    path.plan(replace(DONE, status="canceled", as_of=45 * S))
    assert path.even(8 * QUANTA, QUANTA, 60 * S) == {0: 8 * QUANTA}


def test_executed_plan_within_an_interval_replaces_it() -> None:
    path = Executed()
    path.plan(FIRST)
    path.plan(replace(FIRST, as_of=30 * S, start=(30 * S, 60 * S), qty=(1 * QUANTA, 9 * QUANTA)))
    assert path.scheduled == {0: QUANTA, 60 * S: 9 * QUANTA}
    assert path.window == {0: 0.5, 60 * S: 1.0}
    assert path.begin == 0


def test_tally_minute_of_two_sides_counts_once() -> None:
    buy = Estimate("FROG", Side.BUY, 0, 60, 5, 1, 2, 60.0, 30.0, 0.01, None, None, (), (), (), ())
    made = tally(buy, replace(buy, side=Side.SELL), topic=Topic.ESTIMATES)
    assert (made.minutes, made.late) == (1, 2)


def test_tally_latest_plan_topic_is_not_counted_again() -> None:
    assert tally(PLAN, topic=Topic.PLANS_LATEST).plans == 0


def test_tally_alerts_and_dead_letters_are_counted_by_kind_and_reason() -> None:
    letter = DeadLetter(Topic.TICKS, 3, "truncated", "x", "json", b"{", None)
    model = Model(
        "FROG", Side.BUY, 0, "linear", "price_per_share", True, 0.01, 1e-5, None, None, None, {}, 1.0, None, True, 0
    )
    made = tally(Alert("halt", None, None, 0, "x"), letter, letter, model)
    assert (made.alerts, made.dead, made.models) == ({"halt": 1}, {"truncated": 2}, 1)
