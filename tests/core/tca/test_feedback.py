"""Fills against the market and the model: what is published, when, and what revises it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import orjson
import pytest

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import CoreSettings, ModelSettings, PlanSettings, SessionRule
from impactd.core.base.topics import Side, Topic
from impactd.core.inputs.events import Fill
from impactd.core.outputs.messages import DayCost, FillCost, OrderCost
from impactd.core.tca.feedback import DAYS_KEPT, MAX_WAITING
from tests.core.builders import (
    EngineHarness,
    M,
    S,
    at,
    bust,
    cancel,
    correct,
    encoded,
    fill,
    ladder,
    minutes,
    new,
    with_order,
)
from tests.core.rows import Row

C = TypeVar("C", FillCost, OrderCost, DayCost)


def said(harness: EngineHarness, kind: type[C]) -> list[C]:
    return [output.message for output in harness.outputs if isinstance(output.message, kind)]


def taker(ts: int, exec_id: str, qty: float, px: float, cl_ord_id: str = "A") -> Fill:
    return replace(fill(ts, exec_id, qty, cl_ord_id, px=px), last_liquidity_ind="taker")


def trade(ts: int, px: float, qty: float) -> Row:
    return Row(ts, px=px, qty=qty)


def traded_minute() -> EngineHarness:
    """Return a harness in which A has bought 100 at 100.03 in a minute whose average price is 100.01."""
    harness = with_order()
    harness.run([trade(at(2.2), 100.0, 300.0), trade(at(2.3), 100.04, 100.0)])
    harness.send(taker(at(2.5), "E1", 100, 100.03))
    assert said(harness, FillCost) == []
    harness.run([ladder(at(3) + 2 * S, mid=100.1)])
    return harness


def test_fill_is_measured_when_its_interval_has_closed() -> None:
    [cost] = said(traded_minute(), FillCost)
    assert (cost.cl_ord_id, cost.exec_id, cost.reason, cost.qty, cost.px) == ("A", "E1", "fill", 100 * QUANTA, 100.03)
    assert (cost.mid, cost.half_spread, cost.arrival_px) == (100.0, pytest.approx(0.02), 100.0)
    assert cost.interval_vwap == pytest.approx(100.01)
    assert cost.slippage_bps == pytest.approx(3.0)
    assert cost.vwap_bps == pytest.approx(2.0, rel=1e-3)
    assert cost.predicted_bps == pytest.approx(2.0, abs=0.5)  # the best level, which holds a hundred
    assert (cost.spread_cost, cost.impact_cost, cost.timing_cost) == (
        pytest.approx(2.0), pytest.approx(1.0), pytest.approx(0.0),
    )  # fmt: skip
    assert cost.cost == pytest.approx(3.0)


def test_fill_on_its_topic_has_the_symbols_key() -> None:
    harness = traded_minute()
    outputs = [output for output in harness.outputs if output.topic is Topic.TCA]
    assert [output.key for output in outputs] == ["FROG"]


def test_fills_of_one_interval_are_expected_to_walk_on() -> None:
    harness = with_order()
    harness.send(taker(at(2.5), "E1", 100, 100.02), taker(at(2.6), "E2", 100, 100.03))
    harness.run([ladder(at(3) + 2 * S)])
    first, second = said(harness, FillCost)
    assert first.predicted_bps is not None
    assert second.predicted_bps is not None
    assert second.predicted_bps > first.predicted_bps


def test_correction_after_the_interval_is_published_at_once() -> None:
    harness = traded_minute()
    harness.send(correct(at(3.5), "E2", "E1", 50))
    _, again = said(harness, FillCost)
    assert (again.exec_id, again.reason, again.qty, again.px) == ("E1", "correct", 50 * QUANTA, 100.0)
    assert (again.mid, again.interval_vwap) == (100.0, pytest.approx(100.01))
    harness.send(bust(at(3.6), "E3", "E1"))
    last = said(harness, FillCost)[-1]
    assert (last.reason, last.qty, last.cost, last.slippage_bps) == ("bust", 0, 0.0, None)


def test_correction_within_the_interval_is_published_once() -> None:
    harness = with_order()
    harness.send(taker(at(2.5), "E1", 100, 100.05), correct(at(2.6), "E2", "E1", 50))
    harness.run([ladder(at(3) + 2 * S)])
    [cost] = said(harness, FillCost)
    assert (cost.qty, cost.px) == (50 * QUANTA, 100.0)


def test_order_that_ends_states_its_shortfall_and_its_parts() -> None:
    harness = traded_minute()
    harness.send(taker(at(3.5), "E2", 100, 100.13), cancel(at(3.6)))
    [cost] = said(harness, OrderCost)
    assert (cost.status, cost.reason, cost.fills) == ("canceled", "cancel", 2)
    assert (cost.order_qty, cost.cum_qty) == (1_200 * QUANTA, 200 * QUANTA)
    assert (cost.arrival_px, cost.avg_px, cost.end_px) == (100.0, pytest.approx(100.08), pytest.approx(100.1))
    assert cost.spread_cost == pytest.approx(4.0)
    assert cost.impact_cost == pytest.approx(2.0)
    assert cost.timing_cost == pytest.approx(10.0)
    assert cost.opportunity_cost == pytest.approx(100.0)
    assert cost.shortfall == cost.spread_cost + cost.impact_cost + cost.timing_cost + cost.opportunity_cost
    assert cost.shortfall_bps == pytest.approx(116.0 / 120_000 * 1e4)
    assert cost.market_vwap == pytest.approx(100.01)


def test_late_fill_revises_the_order() -> None:
    harness = traded_minute()
    harness.send(cancel(at(3.2)))
    harness.send(taker(at(3.4), "E9", 100, 100.12))
    first, again = said(harness, OrderCost)
    assert (first.fills, again.fills, again.reason) == (1, 2, "fill")
    assert first.opportunity_cost == pytest.approx(110.0)
    assert again.opportunity_cost == pytest.approx(100.0)


def test_bust_that_reopens_an_order_takes_its_end_back() -> None:
    harness = with_order(qty=100)
    harness.send(taker(at(2.5), "E1", 100, 100.02))
    harness.send(bust(at(2.6), "E2", "E1"))
    harness.run([ladder(at(2.8), mid=100.2)])
    harness.send(cancel(at(2.9)))
    done, canceled = said(harness, OrderCost)
    assert (done.status, done.fills, done.opportunity_cost) == ("done", 1, 0.0)
    assert (canceled.status, canceled.fills, canceled.spread_cost) == ("canceled", 0, 0.0)
    assert canceled.opportunity_cost == pytest.approx(20.0)


def test_arrival_of_an_order_that_begins_later_is_the_mid_of_then() -> None:
    harness = EngineHarness()
    harness.run(minutes(1))
    harness.send(new(ts=at(1), start=at(3)))
    harness.run([ladder(at(2.9), mid=101.0), ladder(at(3) + 2 * S, mid=102.0)])
    harness.send(cancel(at(3.2)))
    [cost] = said(harness, OrderCost)
    assert cost.arrival_px == 101.0


def test_fill_without_any_book_counts_as_its_own_arrival() -> None:
    harness = EngineHarness()
    harness.send(new(ts=at(0)))
    harness.send(fill(at(0.5), "E1", 100, px=50.0), cancel(at(0.6)))
    [cost] = said(harness, OrderCost)
    harness.run([ladder(at(1) + 2 * S)])
    [filled] = said(harness, FillCost)
    assert (filled.spread_cost, filled.impact_cost, filled.timing_cost, filled.cost) == (None, None, None, 0.0)
    assert (cost.arrival_px, cost.spread_cost, cost.impact_cost, cost.timing_cost) == (50.0, None, None, None)
    # Nor is there a price at the end, of what was not traded.
    assert (cost.opportunity_cost, cost.shortfall, cost.shortfall_bps, cost.predicted_bps) == (None, None, None, None)


COSTS = ("spread_cost", "impact_cost", "timing_cost", "shortfall")


def test_costs_of_fills_that_are_assumed_are_unknown_not_0() -> None:
    core = CoreSettings(session=OPEN_10, plans=PlanSettings(fills="scheduled", solvers=("exact",)))
    harness = with_order(EngineHarness(core), qty=600, length=3 * M)
    harness.run([ladder(at(3) + 2 * S)])
    harness.reload()
    harness.run([ladder(at(minute) + 2 * S) for minute in (4, 5, 6, 10, 11)])
    [order], days = said(harness, OrderCost), said(harness, DayCost)
    assert (order.status, order.cum_qty, order.fills, order.opportunity_cost) == ("done", 600 * QUANTA, 0, 0.0)
    [buy] = days
    assert (buy.side, buy.orders, buy.fills) == ("buy", 1, 0)
    for cost in (order, buy):
        assert [getattr(cost, name) for name in COSTS] == [None] * len(COSTS)


def test_costs_of_reported_fills_within_an_assumed_schedule_are_unknown_together() -> None:
    core = CoreSettings(plans=PlanSettings(fills="scheduled", solvers=("exact",)))
    harness = with_order(EngineHarness(core), qty=600, length=3 * M)
    harness.send(taker(at(2.5), "E1", 50, 100.03))
    harness.run([ladder(at(minute) + 2 * S) for minute in (3, 4, 5, 6)])
    [order] = said(harness, OrderCost)
    assert (order.fills, order.cum_qty, order.avg_px) == (1, 600 * QUANTA, 100.03)
    assert [getattr(order, name) for name in COSTS] == [None] * len(COSTS)


def test_late_reports_replace_what_was_assumed_in_the_costs_too() -> None:
    """Costs are unknown while a fill is assumed, and those of the reports once all are reported."""
    core = CoreSettings(session=OPEN_10, plans=PlanSettings(fills="scheduled", solvers=("exact",)))
    harness = with_order(EngineHarness(core), qty=600, length=3 * M)
    harness.run([ladder(at(minute) + 2 * S) for minute in (3, 4, 5, 6, 10, 11)])
    order = harness.engine.orders.get("A")
    assert order is not None
    for number, (start, qty) in enumerate(sorted(order.assumed.items())):
        assert said(harness, DayCost)[-1].shortfall is None
        # In two parts, the second of which is more than what is left of the assumption.
        harness.send(taker(start + 30 * S, f"E{number}", 40, 100.03))
        harness.send(taker(start + 40 * S, f"F{number}", qty // QUANTA - 30, 100.03))
        harness.reload()
    day, cost = said(harness, DayCost)[-1], said(harness, OrderCost)[-1]
    assert (day.qty, day.fills, cost.cum_qty) == (630 * QUANTA, 6, 630 * QUANTA)
    for found in (day, cost):
        assert found.shortfall == pytest.approx(630 * 0.03)
    harness.send(bust(at(11), "B1", "F0"))
    assert said(harness, DayCost)[-1].shortfall is not None


OPEN_10 = SessionRule(36_000, 36_000 + 600)  # ten minutes from T0 on


def test_day_is_said_after_its_close_and_revised_after_it() -> None:
    harness = EngineHarness(CoreSettings(session=OPEN_10))
    harness.run(minutes(2))
    harness.send(new(ts=at(2), length=6 * M), new("B", ts=at(2), length=6 * M, side=Side.SELL))
    harness.send(taker(at(2.5), "E1", 100, 100.03), taker(at(2.5), "E2", 100, 99.98, "B"))
    harness.run([ladder(at(9))])
    assert said(harness, DayCost) == []
    harness.run([ladder(at(10) + 2 * S)])
    days = said(harness, DayCost)
    assert [(day.side, day.reason, day.orders, day.fills, day.day) for day in days] == [
        ("buy", "close", 1, 1, at(0)),
        ("sell", "close", 1, 1, at(0)),
    ]
    assert days[0].shortfall == pytest.approx(3.0)
    assert days[0].bias == 1.0
    harness.send(bust(at(10.5), "E3", "E1"))
    again = said(harness, DayCost)[-1]
    assert (again.side, again.fills, again.shortfall, again.orders) == ("buy", 0, 0.0, 1)


def biased(limit: float, fills: int = 120) -> EngineHarness:
    """Return a harness in which every minute's fill has paid half as much again as the book had asked."""
    core = CoreSettings(model=ModelSettings(fill_bias_limit=limit), plans=PlanSettings(solvers=("exact",)))
    harness = with_order(EngineHarness(core), length=600 * M, qty=60_000)
    for i in range(fills):
        harness.send(taker(at(2.5 + i), f"E{i}", 100, 100.03))
        harness.run([ladder(at(3 + i) + 2 * S)])
    return harness


def test_persistent_bias_corrects_the_model_and_is_published() -> None:
    harness = biased(0.25)
    model = [found for found in harness.models() if found.side is Side.BUY][-1]
    other = [found for found in harness.models() if found.side is Side.SELL][-1]
    assert 1.1 < model.bias <= 1.25
    assert other.bias == 1.0
    assert model.half_spread == pytest.approx(other.half_spread * model.bias, rel=1e-6)
    assert model.forecast is not None
    assert other.forecast is not None
    assert model.forecast.half_spread[0] == pytest.approx(other.forecast.half_spread[0] * model.bias, rel=1e-6)
    assert model.forecast.beta is not None
    assert other.forecast.beta is not None
    assert model.forecast.beta[-1] == pytest.approx(other.forecast.beta[-1] * model.bias, rel=1e-6)
    assert said(harness, FillCost)[-1].predicted_bps == pytest.approx(2.0 * model.bias, rel=0.1)


def test_bias_that_is_off_corrects_nothing() -> None:
    assert {found.bias for found in biased(0.0, fills=60).models()} == {1.0}


def test_bias_does_not_feed_on_itself() -> None:
    harness = biased(3.0, fills=400)
    bias = [model.bias for model in harness.models() if model.side is Side.BUY][-1]
    predicted_bps = said(harness, FillCost)[-1].predicted_bps
    assert predicted_bps is not None
    assert bias == pytest.approx(3.0 / (predicted_bps / bias), rel=0.06)


def test_state_of_a_symbol_is_bounded() -> None:
    harness = with_order(qty=100_000, length=600 * M)
    harness.send(*(fill(at(2.5) + k, f"E{k}", 1) for k in range(MAX_WAITING + 5)))
    # Those that do not wait are published at once, without their interval's average.
    assert [cost.interval_vwap for cost in said(harness, FillCost)] == [None] * 5
    harness.run([ladder(at(3) + 2 * S)])
    assert len(said(harness, FillCost)) == MAX_WAITING + 5
    assert orjson.loads(harness.state["tca/FROG"])["waiting"] == []


def test_days_that_are_forgotten_stay_forgotten() -> None:
    harness = EngineHarness(CoreSettings(session=OPEN_10, plans=PlanSettings(keep_ended_ns=10 * 24 * 60 * M)))
    harness.run(minutes(2))
    for k in range(DAYS_KEPT + 1):
        day = k * 24 * 60 * M
        harness.run([ladder(at(2) + day)])
        harness.send(new(f"O{k}", 100, ts=at(2) + day))
        harness.send(taker(at(2.5) + day, f"E{k}", 100, 100.03, f"O{k}"))
        harness.run([ladder(at(11) + day)])
    assert len(said(harness, DayCost)) == DAYS_KEPT + 1
    harness.send(bust(at(11.5) + day, "X", "E0", "O0"))
    assert len(said(harness, DayCost)) == DAYS_KEPT + 1
    assert len(orjson.loads(harness.state["tca/FROG"])["days"]) == DAYS_KEPT


def through_a_correction(every: Callable[[EngineHarness], None]) -> EngineHarness:
    """Return a harness after two fills, a correction and a cancel, with `every` called between them."""
    harness = with_order()
    harness.send(taker(at(2.5), "E1", 100, 100.03), fill(at(2.6), "E2", 50, px=100.0))
    every(harness)
    harness.run([ladder(at(3) + 2 * S, mid=100.1)])
    harness.send(correct(at(3.2), "E3", "E1", 70))
    every(harness)
    harness.send(cancel(at(3.5)))
    return harness


def test_feedback_continues_after_a_reload_as_if_there_had_been_none() -> None:
    reloaded, plain = through_a_correction(EngineHarness.reload), through_a_correction(lambda _: None)
    assert encoded(reloaded.outputs) == encoded(plain.outputs)
    assert reloaded.state == plain.state
    assert said(plain, OrderCost)[0].fills == 2
