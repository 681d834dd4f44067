"""Drift views: closed form, another solver as oracle, and the order's life."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from impactd.core.allocator.cost import objective
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Solution
from impactd.core.allocator.solvers.registry import get_solver
from impactd.core.base.topics import Side
from impactd.core.orders.order import Order, Status
from impactd.core.planning.alpha import drift, with_alpha
from impactd.core.planning.intervals import Intervals
from tests.core.builders import M, at, change, new, plans
from tests.core.planning.engines import market, proposed

N, QTY, SLOPE, MID = 20, 10_000.0, 1e-5, 50.0


def viewed(alpha: float, half_life: float, side: Side = Side.BUY, risk: float = 0.0) -> tuple[Problem, Problem]:
    """Return an even problem without and with a view."""
    order = Order.open(new("A", QTY, at(0), N * M, side=side, alpha_bps=alpha, alpha_half_life_s=half_life), at(0))
    starts = at(0) + np.arange(N, dtype=np.int64) * M
    plain = Problem.from_impact(np.full(N, 0.01), np.full(N, SLOPE), risk=risk)
    return plain, with_alpha(plain, order, MID, Intervals(starts, starts + M))


def solved(name: str, problem: Problem) -> Solution:
    found = get_solver(name).solve(problem, QTY)
    assert isinstance(found, Solution)
    return found


@pytest.mark.parametrize("alpha", [-2.0, 1.5])
@pytest.mark.parametrize("side", list(Side))
def test_plan_with_a_view_is_the_closed_form(alpha: float, side: Side) -> None:
    """With C = b x^2 and a gain g by interval, x_k = Q / N - (g_k - mean g) / (2 b) where none is negative."""
    _, problem = viewed(alpha, 300.0, side)
    gain = side.sign * MID * alpha / 1e4 * np.array([1 - quad(lambda t: 2 ** -(t / 5), k, k + 1)[0] for k in range(N)])
    x = QTY / N - (gain - np.mean(gain)) / (2 * SLOPE)
    assert np.all(x > 0)
    assert solved("exact", problem).qty == pytest.approx(x, rel=1e-6)


@given(
    alpha=st.floats(-300, 300),
    half_life=st.floats(1, 1e6),
    risk=st.sampled_from([0.0, 1e-8, 1e-6]),
    side=st.sampled_from(list(Side)),
)
def test_plan_with_a_view_is_the_one_of_a_general_solver(
    alpha: float, half_life: float, risk: float, side: Side
) -> None:
    _, problem = viewed(alpha, half_life, side, risk)
    own, other = (objective(problem, QTY, solved(name, problem).qty) for name in ("exact", "clarabel"))
    assert own <= other * (1 + 1e-6) + 1e-6


@given(begin=st.floats(0, 1e5), lasts=st.floats(1e-3, 1e4), half_life=st.floats(1, 1e7))
def test_drift_is_the_mean_over_the_interval_and_never_beyond_the_whole(
    begin: float, lasts: float, half_life: float
) -> None:
    (mean,) = drift(10.0, half_life, np.array([begin]), np.array([begin + lasts])).tolist()
    edges = [10.0 * (1 - 2 ** -(t / half_life)) for t in (begin, begin + lasts)]
    assert edges[0] - 1e-6 <= mean <= edges[1] + 1e-6


def test_costs_are_without_the_view() -> None:
    terms = {"alpha_bps": 30.0, "alpha_half_life_s": 240.0}
    early = proposed(market(), Order.open(new("A", 6_000, at(31), 12 * M, **terms), at(31)))
    plain = proposed(market(), Order.open(new("A", 6_000, at(31), 12 * M), at(31)))
    assert int(np.cumsum(early.qty[0])[3]) > int(np.cumsum(plain.qty[0])[3])
    assert early.expected.curve.s == pytest.approx(plain.expected.curve.s)
    assert early.expected_cost >= plain.expected_cost * 0.999


@pytest.mark.parametrize("terms", [{"alpha_bps": 5.0}, {"alpha_half_life_s": 60.0}])
def test_half_a_view_is_refused(terms: dict[str, Any]) -> None:
    (refused,) = plans(market().send(new("A", 1_200, at(31), **terms)))
    assert refused.status == Status.REJECTED
    assert "alpha_half_life_s" in (refused.text or "")


def test_view_counts_from_when_it_was_sent() -> None:
    harness = market()
    harness.send(new("A", 6_000, at(31), 12 * M, alpha_bps=30.0, alpha_half_life_s=60.0))
    order = harness.engine.orders.get("A")
    assert order is not None
    assert order.view_from == order.new.ts_event
    harness.send(change(at(32), "A", order_qty=6_001))
    assert order.view_from == order.new.ts_event
    harness.send(change(at(33), "A", alpha_bps=-5.0))
    assert order.view_from == at(33)
