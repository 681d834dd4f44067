"""The gate: each limit, what is unknown, what goes wrong, and what a desk sees of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import CoreSettings, GateSettings, PlanSettings
from impactd.core.orders.order import Order
from impactd.core.outputs.messages import Plan
from impactd.core.planning.gate import PACE, Gate, MarketSnapshot
from impactd.core.planning.propose import Proposal, Proposals, propose
from tests.core.builders import (
    T0,
    EngineHarness,
    M,
    S,
    at,
    change,
    fill,
    halt,
    ladder,
    minutes,
    new,
    resume,
    with_order,
)

AROUND = MarketSnapshot(T0, 100.0, 800.0)


def gated(**limits: Any) -> EngineHarness:
    return EngineHarness(CoreSettings(gate=GateSettings(**limits)))


def order_and_proposal() -> tuple[Order, Proposal]:
    """Return an order of 1,200 and a plan of 100 in each of 12 minutes."""
    harness = with_order()
    order = Order.open(new(), T0)
    view = harness.engine._markets.of("FROG").view(order.side, T0)
    proposals = propose([order], T0, view, PlanSettings(), M, lambda _: None)
    assert isinstance(proposals, Proposals)
    return order, proposals.of(0)


def withheld(around: MarketSnapshot = AROUND, **limits: Any) -> str | None:
    found = Gate(GateSettings(**limits)).withholds(*order_and_proposal(), around)
    return None if found is None else found.limit


def test_gate_without_limits_lets_a_plan_pass() -> None:
    assert withheld() is None


@pytest.mark.parametrize(
    ("name", "least"),
    [("max_order_qty", 1_200.0), ("max_order_notional", 120_000.0), ("max_interval_depth", 100.0 / 800.0)],
)
def test_gate_limit_holds_at_its_value_and_not_below(name: str, least: float) -> None:
    assert withheld(**{name: least * (1 + 1e-9)}) is None
    assert withheld(**{name: least * (1 - 1e-9)}) == f"gate.{name}"


@pytest.mark.parametrize("name", ["max_order_qty", "max_order_notional", "max_interval_depth"])
def test_gate_limit_that_is_no_number_withholds(name: str) -> None:
    assert withheld(**{name: math.nan}) == f"gate.{name}"


@pytest.mark.parametrize("unknown", [None, math.nan, -1.0])
def test_gate_unknown_mid_or_depth_withholds_where_it_is_needed(unknown: float | None) -> None:
    mid, depth = replace(AROUND, mid=unknown), replace(AROUND, depth=unknown)
    assert withheld(mid, max_order_notional=1e12) == "gate.max_order_notional"
    assert withheld(depth, max_interval_depth=1e12) == "gate.max_interval_depth"
    assert withheld(mid, max_order_qty=1e12) is None
    assert withheld(depth, max_order_qty=1e12) is None


def test_gate_plan_that_contradicts_itself_is_withheld() -> None:
    order, proposal = order_and_proposal()
    broken = [
        replace(proposal, qty=proposal.qty + 1),
        replace(proposal, qty=proposal.qty * np.array([-1] + [1] * 11), shortfall_qty=200 * QUANTA),
        replace(proposal, limits=replace(proposal.limits, cap=proposal.limits.cap * 0)),
        replace(proposal, limits=replace(proposal.limits, high=proposal.limits.high // 2**60)),
        replace(proposal, expected_cost=math.nan),
        replace(proposal, twap_cost=math.inf),
    ]
    for wrong in broken:
        found = Gate(GateSettings()).withholds(order, wrong, AROUND)
        assert found is not None
        assert found.limit == "gate"


def test_gate_that_fails_withholds_and_reports_it() -> None:
    order, proposal = order_and_proposal()
    found = Gate(GateSettings(max_order_qty="many")).withholds(order, proposal, AROUND)  # type: ignore[arg-type]
    assert found is not None
    assert "the gate failed" in found.text


def test_gate_pace_counts_plans_that_pass_by_seconds_of_event_time() -> None:
    order, proposal = order_and_proposal()
    gate = Gate(GateSettings(max_plans_per_second=2))
    times = [T0, T0 + S - 1, T0 + S - 1, T0 + S, T0, T0, T0 + 2 * S]
    found = [gate.withholds(order, proposal, replace(AROUND, now=now)) for now in times]
    # What runs back counts in the second that was reached.
    assert [why is None for why in found] == [True, True, False, True, True, False, True]


@given(
    limit=st.floats(allow_nan=True, allow_infinity=True),
    mid=st.none() | st.floats(allow_nan=True, allow_infinity=True),
)
def test_gate_passes_a_notional_only_where_it_is_a_number_within_the_limit(limit: float, mid: float | None) -> None:
    order = Order.open(new(), T0)
    passed = Gate(GateSettings(max_order_notional=limit))._order_notional(order, MarketSnapshot(T0, mid, None)) is None
    assert passed == (mid is not None and 0.0 <= 1_200 * mid <= limit)


# --- what a desk sees ---------------------------------------------------------


def said(plan: Plan) -> tuple[str, str, int]:
    return plan.status, plan.reason, plan.shortfall_qty // QUANTA


def test_new_order_over_a_limit_is_halted_and_continues_once_it_is_amended() -> None:
    harness = with_order(gated(max_order_qty=1_000))
    assert said(harness.last()) == ("halted", "new", 1_200)
    assert "gate.max_order_qty" in (harness.last().text or "")
    assert [alert.text for alert in harness.alerts("withheld")] == [harness.last().text]
    harness.run(minutes(3, start=at(2)))
    assert len(harness.plans()) == 1
    assert harness.counts.withheld == 4
    harness.send(change(at(5), order_qty=900))
    assert said(harness.last()) == ("active", "replace", 0)
    assert harness.last().text is None


def test_plan_that_is_withheld_takes_back_the_one_before_it() -> None:
    harness = with_order(gated(max_order_qty=1_500))
    assert said(harness.last()) == ("active", "new", 0)
    harness.send(change(at(3), order_qty=1_600))
    assert said(harness.last()) == ("halted", "replace", 1_600)
    assert harness.last().qty == ()
    # Fills of what was under way still count, and each is answered.
    harness.send(fill(at(3.1), "E1", 100))
    assert said(harness.last()) == ("halted", "fill", 1_500)


def test_thin_book_withholds_until_depth_comes_back() -> None:
    harness = gated(max_interval_depth=0.5)
    harness.run(minutes(2, size=10.0))
    harness.send(new(ts=at(2)))
    assert "gate.max_interval_depth" in (harness.last().text or "")
    harness.run([ladder(at(2) + k * 20 * S, size=100.0) for k in range(1, 4)])
    assert said(harness.last()) == ("active", "minute", 0)


def test_order_before_any_book_waits_where_its_notional_must_be_known() -> None:
    harness = gated(max_order_notional=1e9)
    harness.send(new())
    assert said(harness.last()) == ("halted", "new", 1_200)
    harness.run(minutes(2))
    assert harness.last().status == "active"


def test_resume_does_not_open_the_gate() -> None:
    harness = with_order(gated(max_order_qty=1_000))
    harness.send(halt(at(2.1)), resume(at(2.2)))
    assert harness.last().status == "halted"
    assert "gate.max_order_qty" in (harness.last().text or "")


def test_pace_withholds_what_comes_too_fast_and_states_it_once() -> None:
    harness = with_order(gated(max_plans_per_second=2))
    for k in range(4):
        harness.send(change(at(2) + k, order_qty=1_300 + k))
    # One new, one replace, and the halt that the third brings; the others change nothing that is published.
    assert [plan.status for plan in harness.plans()] == ["active", "active", "halted"]
    assert PACE in (harness.last().text or "")
    assert len(harness.alerts("withheld")) == 1
    harness.reload()
    harness.send(change(at(2) + 5, order_qty=1_400))
    assert harness.last().status == "halted"
    harness.run(minutes(1, start=at(2)))
    assert (harness.last().status, harness.last().order_qty) == ("active", 1_400 * QUANTA)


def test_plans_within_the_limits_are_the_same_bytes_as_without() -> None:
    free, within = EngineHarness(), gated(max_order_qty=1e9, max_order_notional=1e12, max_interval_depth=1e6)
    for harness in (free, within):
        with_order(harness)
        harness.run(minutes(3, start=at(2)))
    assert free.plans() == within.plans()
