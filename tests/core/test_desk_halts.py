"""Halts and resumes: publication stops and goes on, estimates never stop."""

from __future__ import annotations

import pytest

from impactd.core.base.quantity import QUANTA
from tests.core.builders import T0, EngineHarness, M, at, fill, halt, minutes, new, resume, with_order


@pytest.mark.parametrize("scope", ["*", "FROG", "A"])
def test_halt_stops_plans_and_resume_replans(scope: str) -> None:
    harness = with_order()
    harness.send(halt(at(2.5), scope, "exchange"))
    assert (harness.last().status, harness.last().reason, harness.last().qty) == ("halted", "control", ())
    assert (harness.last().text, harness.last().shortfall_qty) == ("exchange", 1_200 * QUANTA)
    halted, estimates, models = len(harness.plans()), len(harness.estimates()), len(harness.models())
    harness.run(minutes(3, start=at(2)))
    assert len(harness.plans()) == halted
    assert (len(harness.estimates()), len(harness.models())) == (estimates + 6, models + (2 if scope == "FROG" else 6))
    harness.send(resume(at(5.5), scope))
    assert (harness.last().status, harness.last().reason, sum(harness.last().qty)) == (
        "active",
        "control",
        1_200 * QUANTA,
    )


def test_halt_twice_is_once() -> None:
    harness = with_order()
    harness.send(halt(at(2.5)), halt(at(2.5)))
    assert [plan.status for plan in harness.plans()] == ["active", "halted"]
    assert len(harness.alerts("halt")) == 1


def test_resume_of_one_scope_leaves_the_other_halted() -> None:
    harness = with_order()
    harness.send(halt(at(2.5)), halt(at(2.5), "FROG"), resume(at(2.6)))
    assert harness.last().status == "halted"
    harness.send(resume(at(2.7), "FROG"))
    assert harness.last().status == "active"


@pytest.mark.parametrize(("scope", "orders"), [("*", 2), ("FROG", 2), ("B", 1), ("FORG", 0), ("C", 0)])
def test_halt_states_how_many_orders_it_stops_and_waits_for_those_to_come(scope: str, orders: int) -> None:
    harness = with_order()
    harness.send(new("B", ts=at(2)))
    harness.send(halt(at(2.5), scope, "exchange"))
    assert [alert.text for alert in harness.alerts("halt")] == [f"{scope}: exchange (active orders here: {orders})"]
    harness.send(new("C", ts=at(2.6)))
    assert harness.last("C").status == ("halted" if scope in {"*", "FROG", "C"} else "active")


def test_resume_of_what_is_not_halted_is_silent() -> None:
    assert with_order().send(resume(at(2.5))) == []


def test_halted_order_takes_fills_and_reports_it() -> None:
    harness = with_order()
    harness.send(halt(at(2.5)), fill(at(2.6), "E1", 100))
    assert (harness.last().status, harness.last().cum_qty, harness.last().leaves_qty) == (
        "halted",
        100 * QUANTA,
        1_100 * QUANTA,
    )


def test_new_order_under_a_halt_is_halted() -> None:
    harness = EngineHarness()
    harness.send(halt(T0, "FROG"))
    harness.reload()
    harness.send(new())
    assert [plan.status for plan in harness.plans()] == ["halted"]


def test_halted_order_expires_at_its_end() -> None:
    harness = with_order(length=2 * M)
    harness.send(halt(at(2.5)))
    harness.run(minutes(3, start=at(2)))
    assert (harness.last().status, harness.last().shortfall_qty) == ("expired", 1_200 * QUANTA)
