"""Halts and resumes: publication stops and goes on, estimates never stop."""

from __future__ import annotations

import pytest

from impactd.core.base.quantity import QUANTA
from tests.core.builders import T0, Lab, M, at, fill, halt, minutes, new, resume, with_order


@pytest.mark.parametrize("scope", ["*", "FROG", "A"])
def test_halt_stops_plans_and_resume_replans(scope: str) -> None:
    lab = with_order()
    lab.send(halt(at(2.5), scope, "exchange"))
    assert (lab.last().status, lab.last().reason, lab.last().qty) == ("halted", "control", ())
    assert (lab.last().text, lab.last().shortfall_qty) == ("exchange", 1_200 * QUANTA)
    halted, estimates, models = len(lab.plans()), len(lab.estimates()), len(lab.models())
    lab.run(minutes(3, start=at(2)))
    assert len(lab.plans()) == halted
    assert (len(lab.estimates()), len(lab.models())) == (estimates + 6, models + 6)
    lab.send(resume(at(5.5), scope))
    assert (lab.last().status, lab.last().reason, sum(lab.last().qty)) == ("active", "control", 1_200 * QUANTA)


def test_halt_twice_is_once() -> None:
    lab = with_order()
    lab.send(halt(at(2.5)), halt(at(2.5)))
    assert [plan.status for plan in lab.plans()] == ["active", "halted"]
    assert len(lab.alerts("halt")) == 1


def test_resume_of_one_scope_leaves_the_other_halted() -> None:
    lab = with_order()
    lab.send(halt(at(2.5)), halt(at(2.5), "FROG"), resume(at(2.6)))
    assert lab.last().status == "halted"
    lab.send(resume(at(2.7), "FROG"))
    assert lab.last().status == "active"


@pytest.mark.parametrize(("scope", "orders"), [("*", 2), ("FROG", 2), ("B", 1), ("FORG", 0), ("C", 0)])
def test_halt_says_how_many_orders_it_stops_and_waits_for_those_to_come(scope: str, orders: int) -> None:
    lab = with_order()
    lab.send(new("B", ts=at(2)))
    lab.send(halt(at(2.5), scope, "exchange"))
    assert [alert.text for alert in lab.alerts("halt")] == [f"{scope}: exchange ({orders} active orders here)"]
    lab.send(new("C", ts=at(2.6)))
    assert lab.last("C").status == ("halted" if scope in {"*", "FROG", "C"} else "active")


def test_resume_of_what_is_not_halted_is_silent() -> None:
    assert with_order().send(resume(at(2.5))) == []


def test_halted_order_takes_fills_and_says_so() -> None:
    lab = with_order()
    lab.send(halt(at(2.5)), fill(at(2.6), "E1", 100))
    assert (lab.last().status, lab.last().cum_qty, lab.last().leaves_qty) == ("halted", 100 * QUANTA, 1_100 * QUANTA)


def test_new_order_under_a_halt_is_halted() -> None:
    lab = Lab()
    lab.send(halt(T0, "FROG"))
    lab.reload()
    lab.send(new())
    assert [plan.status for plan in lab.plans()] == ["halted"]


def test_halted_order_expires_at_its_end() -> None:
    lab = with_order(length=2 * M)
    lab.send(halt(at(2.5)))
    lab.run(minutes(3, start=at(2)))
    assert (lab.last().status, lab.last().shortfall_qty) == ("expired", 1_200 * QUANTA)
