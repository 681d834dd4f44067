"""Impact that lasts: the closed form of Obizhaeva and Wang, Clarabel, and whole lots with their bound."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.allocator.allocate import Allocation, allocate
from impactd.core.allocator.certificate import CERTIFICATE_TOLERANCE
from impactd.core.allocator.cost import gradient, objective, schedule_cost
from impactd.core.allocator.problem import Float, Problem
from impactd.core.allocator.solvers.base import Solution
from impactd.core.allocator.solvers.registry import get_solver
from impactd.core.base.quantity import QUANTA
from tests.core.allocator.problems import KINDS, random_problem

#: The case of must show: shares, resilience times horizon.
X, RHO_T = 1e5, 2.0


def solve(problem: Problem, qty: float, solver: str = "exact") -> Solution:
    known = get_solver(solver)
    found = known.solve(problem, qty)
    assert isinstance(found, Solution), found
    return found


def kernel(problem: Problem) -> Float:
    """Return K from its definition, shape (N, N)."""
    decay = np.cumsum(np.concatenate(([0.0], np.log(problem.keep[1:]))))
    return np.outer(problem.root, problem.root) * np.exp(-np.abs(decay[:, None] - decay[None, :]))


def blocks(n: int, beta: float = 1e-6) -> Problem:
    """Return the market of Obizhaeva and Wang, which may be traded at n + 1 equal steps from 0 to T."""
    keep = np.full(n + 1, math.exp(-RHO_T / n))
    return Problem.from_impact(np.full(n + 1, 0.01), np.full(n + 1, beta), transient_share=1.0, keep=keep)


def with_transient(problem: Problem, rng: np.random.Generator) -> Problem:
    """Return the problem with a part of its linear impact that lasts, decaying by other amounts each interval."""
    part = float(rng.choice([0.3, 0.8, 1.0]))
    n = len(problem)
    return replace(
        problem,
        curve=problem.curve._replace(b=(1.0 - part) * problem.curve.b),
        root=np.sqrt(2.0 * part * problem.curve.b),
        keep=np.exp(-rng.uniform(0.02, 2.0, n)),
    )


# --- closed forms ----------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 10, 100, 1000])
def test_transient_discrete_market_equals_the_closed_form(n: int) -> None:
    # K^-1 1 of the exponential kernel: ends 1 / (1 + theta), all others (1 - theta) / (1 + theta)
    theta = math.exp(-RHO_T / n)
    weights = np.full(n + 1, (1.0 - theta) / (1.0 + theta))
    weights[[0, -1]] = 1.0 / (1.0 + theta)
    found = solve(blocks(n), X)
    np.testing.assert_allclose(found.qty, X * weights / np.sum(weights), rtol=0, atol=1e-7)
    assert found.kkt_residual <= 1e-12


def test_transient_steps_to_none_become_two_blocks_of_25000_and_a_constant_rate() -> None:
    # Obizhaeva and Wang (2013), prop. 3: blocks X / (2 + rho T) at both ends, rate rho X / (2 + rho T) between;
    # n equal steps are off by less than rho T / n of a block
    for n in (100, 1000, 10_000):
        found = solve(blocks(n), X).qty
        assert abs(found[0] - 25_000.0) <= 25_000.0 * RHO_T / n
        assert found[-1] == pytest.approx(found[0], abs=1e-4)
        np.testing.assert_allclose(found[1:-1] * n, 50_000.0, rtol=RHO_T / n)
    np.testing.assert_allclose(np.diff(found[1:-1]), 0.0, atol=1e-6)


def test_transient_resilience_that_is_fast_is_temporary_impact() -> None:
    rng = np.random.default_rng(3)
    beta = rng.uniform(1e-6, 4e-6, 40)
    temporary = Problem.from_impact(np.full(40, 0.01), beta)
    fast = Problem.from_impact(np.full(40, 0.01), beta, transient_share=1.0, keep=np.full(40, 1e-12))
    np.testing.assert_allclose(solve(fast, X).qty, solve(temporary, X).qty, rtol=1e-9)
    assert schedule_cost(fast, np.full(40, 10.0)) == pytest.approx(schedule_cost(temporary, np.full(40, 10.0)))


def test_transient_one_interval_costs_what_was_measured() -> None:
    problem = Problem.from_impact(np.array([0.02]), np.array([3e-6]), transient_share=0.7, keep=np.array([0.5]))
    assert schedule_cost(problem, np.array([400.0])) == pytest.approx(400.0 * (0.02 + 3e-6 * 400.0), rel=1e-14)


# --- definitions -------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_transient_cost_and_gradient_are_those_of_the_kernel(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    problem = Problem.from_impact(
        np.zeros(n), 10.0 ** rng.uniform(-6, -3, n), transient_share=1.0, keep=np.exp(-rng.uniform(0.001, 3, n))
    )
    k, x = kernel(problem), rng.uniform(0, 1e3, n)
    assert objective(problem, float(np.sum(x)), x) == pytest.approx(0.5 * x @ k @ x, rel=1e-12)
    np.testing.assert_allclose(gradient(problem, float(np.sum(x)), x), k @ x, rtol=1e-12)
    assert np.min(np.linalg.eigvalsh(k)) > 0.0


@pytest.mark.parametrize("changes", [{"root": np.ones(2)}, {"root": np.full(3, -1.0)}, {"keep": np.ones(3)}])
def test_problem_terms_that_last_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    base = Problem.from_impact(np.zeros(3), np.ones(3), transient_share=0.5, keep=np.full(3, 0.5))
    with pytest.raises(ValueError, match="root"):
        replace(base, **changes)


def test_problem_lasting_part_beyond_all_of_it_is_refused() -> None:
    with pytest.raises(ValueError, match="transient_share"):
        Problem.from_impact(np.zeros(3), np.ones(3), transient_share=1.1, keep=np.full(3, 0.5))


# --- independent solvers --------------------------------------------------------------


@pytest.mark.parametrize("risk", [False, True])
def test_transient_random_capped_problems_agree_with_clarabel(*, risk: bool) -> None:
    rng = np.random.default_rng(20130101)
    for k in range(24):
        problem, qty = random_problem(rng, (5, 12, 30)[k % 3], KINDS[(k // 3) % 3], risk=risk)
        problem = with_transient(problem, rng)
        mine, other = solve(problem, qty), solve(problem, qty, "clarabel")
        cost, oracle = objective(problem, qty, mine.qty), objective(problem, qty, other.qty)
        assert cost == pytest.approx(oracle, rel=1e-6)
        assert cost <= oracle * (1.0 + 1e-11)
        assert mine.kkt_residual <= 1e-11


@pytest.mark.parametrize("name", ["slsqp", "osqp", "scs"])
def test_transient_other_solvers_agree(name: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(2):
        problem, qty = random_problem(rng, 8, "linear")
        problem = with_transient(problem, rng)
        mine, other = solve(problem, qty), solve(problem, qty, name)
        assert objective(problem, qty, mine.qty) == pytest.approx(objective(problem, qty, other.qty), rel=1e-6)


# --- whole lots --------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), clip=st.integers(1, 4), risk=st.booleans())
@settings(max_examples=40, deadline=None)
def test_transient_whole_lots_cost_no_more_than_their_gap_above_brute_force(
    seed: int, clip: int, *, risk: bool
) -> None:
    rng = np.random.default_rng(seed)
    lots, n = int(rng.integers(2, 9)), 4
    problem = Problem.from_impact(
        rng.uniform(0, 0.05, n),
        10.0 ** rng.uniform(-4, -2, n),
        risk=float(10.0 ** rng.uniform(-4, -2)) if risk else 0.0,
        transient_share=0.7,
        keep=np.exp(-rng.uniform(0.1, 2.0, n)),
    )
    least = np.full(n, clip * QUANTA)
    found = allocate(problem, lots * QUANTA, QUANTA, least_quanta=least)
    assert isinstance(found, Allocation)
    assert found.kkt_residual <= CERTIFICATE_TOLERANCE
    assert found.shortfall_quanta == 0
    x = found.qty()
    clip = min(clip, lots)
    assert all(value == 0 or value >= clip for value in x)
    schedules = itertools.product(*([0, *range(clip, lots + 1)] for _ in range(n)))
    best = min(objective(problem, float(lots), np.array(c, float)) for c in schedules if sum(c) == lots)
    assert found.gap is None or objective(problem, float(lots), x) <= best + found.gap * (1 + 1e-9) + 1e-12


def test_transient_whole_lots_of_a_day_lose_little_to_the_continuous_optimum() -> None:
    rng = np.random.default_rng(8)
    problem = Problem.from_impact(
        0.01 * np.exp(rng.normal(0, 0.2, 390)), 1e-6 * np.exp(rng.normal(0, 0.3, 390)), transient_share=0.5,
        keep=np.full(390, 0.9),
    )  # fmt: skip
    found = allocate(problem, 100_000 * QUANTA, 100 * QUANTA)
    assert isinstance(found, Allocation)
    assert found.gap is not None
    continuous = objective(problem, 1e5, solve(problem, 1e5).qty)
    assert objective(problem, 1e5, found.qty()) == pytest.approx(continuous + found.gap, rel=1e-9)
    assert found.gap <= 2e-4 * continuous


def test_transient_odd_remainder_is_in_one_interval() -> None:
    problem = Problem.from_impact(np.full(6, 0.01), np.full(6, 1e-5), transient_share=0.5, keep=np.full(6, 0.8))
    found = allocate(problem, 1_250 * QUANTA, 100 * QUANTA)
    assert isinstance(found, Allocation)
    assert int(np.sum(found.quanta)) == 1_250 * QUANTA
    assert np.count_nonzero(found.quanta % (100 * QUANTA)) == 1
