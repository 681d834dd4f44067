"""Risk aversion: the closed form of Almgren and Chriss, and limits that are known."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from impactd.core.allocator.allocate import Allocation, allocate
from impactd.core.allocator.cost import inventory, objective
from impactd.core.allocator.problem import Problem
from impactd.core.base.quantity import QUANTA
from tests.core.allocator.problems import solve

#: Almgren and Chriss (2000), table 1: price, shares, days, volatility, impact, risk aversion.
S0, X, T, N, SIGMA = 50.0, 1e6, 5.0, 5, 0.95
ETA, GAMMA, EPSILON, LAMBDA = 2.5e-6, 2.5e-7, 0.0625, 1e-6
TAU = T / N


def almgren_chriss(aversion: float) -> tuple[Problem, np.ndarray]:
    """Return the paper's problem and its optimal inventory after each step (eq. 17-18)."""
    eta_tilde = ETA - GAMMA * TAU / 2
    problem = Problem.from_impact(np.full(N, EPSILON), np.full(N, eta_tilde / TAU), risk=aversion * SIGMA**2 * TAU)
    kappa_tilde_squared = aversion * SIGMA**2 / eta_tilde
    kappa = math.acosh(kappa_tilde_squared * TAU**2 / 2 + 1) / TAU
    times = TAU * np.arange(1, N + 1)
    return problem, X * np.sinh(kappa * (T - times)) / np.sinh(kappa * T)


def test_risk_paper_case_leaves_541955_after_one_step() -> None:
    problem, _ = almgren_chriss(LAMBDA)
    found = solve(problem, X)
    assert X - found.qty[0] == pytest.approx(541_955.6, abs=0.1)


@pytest.mark.parametrize("aversion", [1e-9, 1e-7, 1e-6, 2e-6, 1e-4])
def test_risk_linear_impact_equals_almgren_chriss(aversion: float) -> None:
    problem, closed_form = almgren_chriss(aversion)
    found = solve(problem, X)
    assert np.allclose(inventory(X, found.qty), closed_form, rtol=0, atol=1e-8 * X)
    assert found.kkt_residual <= 1e-12


def test_risk_vanishing_equals_the_separable_optimum() -> None:
    rng = np.random.default_rng(1)
    problem = Problem.from_impact(rng.uniform(0.0, 0.01, 50), rng.uniform(1e-5, 1e-4, 50))
    still = solve(problem, 1e4).qty
    assert np.allclose(solve(replace(problem, risk=1e-18), 1e4).qty, still, rtol=0, atol=1e-4)


def test_risk_overwhelming_trades_at_once_under_the_caps() -> None:
    problem = Problem.from_impact(
        np.zeros(5), np.full(5, 1e-6), cap=np.array([30.0, 0.0, 50.0, np.inf, np.inf]), risk=1e3
    )
    assert np.allclose(solve(problem, 100.0).qty, [30.0, 0.0, 50.0, 20.0, 0.0], atol=1e-7)


def test_risk_more_aversion_never_holds_more() -> None:
    rng = np.random.default_rng(2)
    base = Problem.from_impact(np.zeros(30), rng.uniform(1e-5, 1e-4, 30), cap=np.full(30, 800.0))
    held = [inventory(1e4, solve(replace(base, risk=risk), 1e4).qty).sum() for risk in (1e-9, 1e-8, 1e-7, 1e-6, 1e-5)]
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(held))


def test_risk_caps_that_cannot_hold_it_are_filled() -> None:
    found = solve(Problem.from_impact(np.zeros(3), np.ones(3), cap=np.full(3, 2.0), risk=1.0), 10.0)
    assert found.qty.tolist() == [2.0, 2.0, 2.0]
    assert found.shortfall == 4.0


@given(
    st.lists(
        st.tuples(st.floats(0.0, 0.05), st.floats(-9, -2), st.one_of(st.just(math.inf), st.floats(0.0, 2.0))),
        min_size=2,
        max_size=40,
    ),
    st.floats(0, 8),
    st.floats(-12, 0),
    st.sampled_from(["linear", "quadratic", "power"]),
)
# caps of very different size, two of them tied: on the way one interval meets its cap before another has left its own
@example(
    rows=[(0.0, -2.0, 2.0**-9), (0.0, -2.0, math.inf), (2.0**-5, -2.0, 2.0**-14), (2.0**-5, -2.0, 2.0**-14)],
    log_qty=0.0,
    log_risk=0.0,
    kind="linear",
)
@settings(max_examples=200, deadline=None)
def test_risk_any_scales_bounds_and_certificate_hold(
    rows: list[tuple[float, float, float]], log_qty: float, log_risk: float, kind: str
) -> None:
    qty = 10.0**log_qty
    s, log_b, cap = (np.array(column) for column in zip(*rows, strict=True))
    b = 10.0**log_b
    problem = Problem.from_impact(
        s,
        b if kind != "power" else None,
        b / qty if kind == "quadratic" else None,
        b * qty**0.4 if kind == "power" else None,
        0.6,
        cap=cap * qty,
        risk=10.0**log_risk,
    )
    found = solve(problem, qty)
    target = min(qty, math.fsum(np.minimum(problem.cap, qty)))
    assert np.all(found.qty >= 0.0)
    assert np.all(found.qty <= problem.cap)
    assert abs(math.fsum(found.qty) - target) <= 1e-12 * qty
    assert found.kkt_residual <= 1e-9


def test_risk_replanning_on_the_planned_path_changes_nothing() -> None:
    rng = np.random.default_rng(5)
    problem = Problem.from_impact(rng.uniform(0.0, 0.01, 60), rng.uniform(1e-5, 1e-4, 60), risk=1e-7)
    plan = solve(problem, 1e4).qty
    rest = replace(
        problem,
        curve=problem.curve.at(slice(20, None)),
        cap=problem.cap[20:],
        fraction=problem.fraction[20:],
    )
    again = solve(rest, 1e4 - plan[:20].sum()).qty
    assert np.allclose(again, plan[20:], rtol=0, atol=1e-7)


def test_risk_whole_lots_stay_within_a_lot_of_the_path() -> None:
    problem, _ = almgren_chriss(LAMBDA)
    path = inventory(X, solve(problem, X).qty)
    found = allocate(problem, int(X) * QUANTA, 100 * QUANTA)
    assert isinstance(found, Allocation)
    assert np.max(np.abs(inventory(X, found.qty()) - path)) <= 100.0
    assert objective(problem, X, found.qty()) == pytest.approx(objective(problem, X, solve(problem, X).qty), rel=1e-6)
