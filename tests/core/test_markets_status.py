"""Definitions and trading status by topic: what they change, and that a restart forgets none of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from impactd.core.base.instrument import Instrument
from impactd.core.base.quantity import QUANTA
from impactd.core.base.topics import Side, Topic
from impactd.core.engine import Engine
from impactd.core.inputs.events import STATUSES, TRADING, Definition, TradingStatus
from impactd.core.outputs.messages import FillCost
from impactd.core.state.schema import StateMismatchError
from tests.core.builders import T0, EngineHarness, M, S, at, fill, halt, minutes, new, resume, settings, with_order


def status(ts: int, value: str | None, symbol: str = "FROG", *, short: bool | None = None) -> TradingStatus:
    return TradingStatus(symbol, ts, value, "", short)


def definition(ts: int, symbol: str = "FROG", **fields: Any) -> Definition:
    return Definition(symbol, ts, Instrument(**fields))


@pytest.mark.parametrize("value", [value for value in STATUSES if value != TRADING])
def test_no_book_no_model_and_no_plan_while_a_market_does_not_trade(value: str) -> None:
    harness = with_order()
    models = len(harness.models())
    harness.send(status(at(2) + S, value))
    plan = harness.last()
    assert (plan.status, plan.reason, plan.qty) == ("halted", "control", ())
    assert value in (plan.text or "")
    [alert] = harness.alerts("market_status")
    assert (alert.symbol, value in alert.text) == ("FROG", True)
    harness.run(minutes(3, start=at(2) + 2 * S))
    assert harness.estimates()[-1].n_books == 0
    assert len(harness.models()) == models + 2  # of the minute in which it ceased to trade
    harness.reload()
    assert harness.last().status == "halted"
    harness.send(status(at(5) + 3 * S, TRADING))
    assert harness.last().status == "active"
    assert len(harness.alerts("market_status")) == 2
    harness.run(minutes(2, start=at(5) + 20 * S))
    assert harness.estimates()[-1].n_books > 0


def test_a_status_that_is_repeated_changes_nothing() -> None:
    harness = with_order()
    harness.send(status(at(2) + S, "halt"))
    before = len(harness.outputs)
    harness.send(status(at(2) + 2 * S, "halt"))
    assert len(harness.outputs) == before


@pytest.mark.parametrize("venue_first", [True, False])
def test_an_order_works_once_neither_the_venue_nor_a_control_holds_it(venue_first: bool) -> None:  # noqa: FBT001
    harness = with_order()
    harness.send(status(at(2) + S, "halt"), halt(at(2) + 2 * S, "FROG"))
    ends = [status(at(2) + 3 * S, TRADING), resume(at(2) + 4 * S, "FROG")]
    first, second = ends if venue_first else ends[::-1]
    harness.send(replace(first, ts_event=at(2) + 3 * S))
    assert harness.last().status == "halted"
    harness.send(replace(second, ts_event=at(2) + 4 * S))
    assert harness.last().status == "active"


def test_a_short_sale_restriction_holds_sells_and_leaves_books_and_buys() -> None:
    harness = with_order()
    harness.send(new("B", ts=at(2) + S, side=Side.SELL), status(at(2) + 2 * S, None, short=True))
    assert harness.last("A").status == "active"
    assert harness.last("B").status == "halted"
    harness.run(minutes(2, start=at(2) + 3 * S))
    assert harness.estimates()[-1].n_books > 0
    harness.send(status(at(5), TRADING))
    assert harness.last("B").status == "halted"
    harness.send(status(at(5) + S, None, short=False))
    assert harness.last("B").status == "active"


def test_a_status_before_the_first_tick_holds_for_its_books() -> None:
    harness = EngineHarness()
    harness.send(status(T0, "closed"))
    harness.run(minutes(2, start=T0 + S))
    assert all(found.n_books == 0 for found in harness.estimates())


def test_a_definition_holds_for_orders_after_it_and_across_a_restart() -> None:
    harness = EngineHarness()
    harness.run(minutes(2))
    harness.send(definition(at(2), multiplier=50.0, currency="USD", lot_size=10.0))
    harness.reload()
    harness.send(new(ts=at(2) + S, lot_size=0))
    plan = harness.last()
    assert plan.currency == "USD"
    assert all(qty % (10 * QUANTA) == 0 for qty in plan.qty)
    harness.send(fill(at(2) + 2 * S, "E1", 10, px=100.02))
    harness.run(minutes(1, start=at(3)))
    [cost] = [o.message for o in harness.outputs if isinstance(o.message, FillCost)]
    assert cost.cost == pytest.approx(0.02 * 10 * 50)


def test_a_definition_never_changes_the_unit_of_costs_that_are_counted() -> None:
    harness = with_order()
    harness.send(definition(at(2) + S, multiplier=50.0))
    [letter] = harness.dead()
    assert (letter.topic, letter.reason) == (Topic.INSTRUMENTS, "market")
    assert harness.alerts("instrument_refused")
    harness.send(definition(at(2) + 2 * S, tick_size=0.01, lot_size=5.0))
    assert len(harness.dead()) == 1
    assert harness.engine.instruments.of("FROG").lot == 5 * QUANTA
    assert harness.last().expected_cost_ticks is None  # the order keeps what it was taken under


def test_settings_prevail_and_may_not_change_the_unit_of_a_states_costs() -> None:
    core = replace(settings(), instruments=(("FR*", Instrument(multiplier=2.0)),))
    harness = EngineHarness(core)
    harness.run(minutes(2))
    harness.send(definition(at(2), multiplier=50.0, tick_size=0.01), new(ts=at(2) + S))
    its = harness.engine.instruments.of("FROG")
    assert (its.points, its.tick_size) == (2.0, 0.01)
    with pytest.raises(StateMismatchError, match="multiplier"):
        Engine(settings()).load(harness.state, accept_settings=True)


def test_a_calendar_that_the_settings_do_not_have_is_refused() -> None:
    harness = EngineHarness()
    harness.send(definition(T0, calendar="XNYS"))
    assert [letter.reason for letter in harness.dead()] == ["market"]


def test_prices_below_zero_are_books_once_they_are_defined() -> None:
    harness = EngineHarness()
    harness.run(minutes(2, mid=-3.0))
    assert all(found.n_books == 0 for found in harness.estimates())
    harness.send(definition(at(2) + S, negative_px=True))
    harness.run(minutes(2, start=at(2) + 20 * S, mid=-3.0))
    assert harness.estimates()[-1].n_books > 0
    assert harness.estimates()[-1].mid == pytest.approx(-3.0)
    harness.send(new(ts=at(4) + 30 * S, length=5 * M))
    assert harness.last().status == "active"
    assert harness.last().expected_cost is not None
    assert harness.last().expected_cost_bps is None
