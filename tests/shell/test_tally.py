"""What a run amounted to: which plan a saving is taken from, and what is counted."""

from __future__ import annotations

from dataclasses import replace

from impactd.core.base.quantity import QUANTA
from impactd.core.base.topics import Side, Topic
from impactd.core.outputs.messages import Alert, DeadLetter, Estimate, Model, ModelRef, Output, Plan
from impactd.shell.tally import Tally

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
GENERIC = ModelRef("linear", "price_per_share", None, prior=True)
PRIOR = ModelRef("linear", "price_per_share", 60, prior=True)


def tally(*messages: Plan | Estimate | Model | Alert | DeadLetter, topic: Topic = Topic.PLANS) -> Tally:
    made = Tally()
    made.count([Output(topic, None, message, 0, None) for message in messages])
    return made


def test_tally_generic_prior_has_no_price() -> None:
    (order,) = tally(replace(PLAN, model=GENERIC)).orders()
    assert (order.plans, order.expected_cost, order.twap_cost, order.saving_bps) == (1, None, None, None)


def test_tally_first_fitted_plan_is_the_price_and_the_last_one_the_status() -> None:
    plans = [
        replace(PLAN, model=GENERIC, expected_cost=1.0),
        replace(PLAN, model=PRIOR, expected_cost=2.0),
        replace(PLAN, expected_cost=3.0),
        replace(PLAN, expected_cost=4.0),
        replace(PLAN, status="done", leaves_qty=0, cum_qty=10 * QUANTA, expected_cost=None, twap_cost=None, model=None),
    ]
    (order,) = tally(*plans).orders()
    assert (order.expected_cost, order.twap_cost, order.plans) == (3.0, 9.0, 5)
    assert (order.status, order.cum_qty, order.leaves_qty) == ("done", 10, 0)


def test_tally_prior_serves_where_nothing_better_comes() -> None:
    (order,) = tally(replace(PLAN, model=PRIOR, expected_cost=2.0)).orders()
    assert order.expected_cost == 2.0


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
