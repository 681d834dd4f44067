"""Every registered solver against the shared checks, and the chain of them."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

from impactd.core.allocator.cost import objective
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, Solution, SolveFailure, Solver
from impactd.core.allocator.solvers.chain import solve_chain
from impactd.core.allocator.solvers.registry import SOLVERS, get_solver
from tests.checks.solver_checks import CHECKS
from tests.core.allocator.problems import DELTAS, KINDS, random_problem

LINE = Problem.from_impact(np.zeros(3), np.array([1.0, 2.0, 4.0]))
CURVE = Problem.from_impact(np.zeros(3), np.ones(3), np.ones(3))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", SOLVERS.names())
def test_solver_contract_holds(name: str, check: Callable[[Solver], None]) -> None:
    check(get_solver(name))


@pytest.mark.slow
@pytest.mark.parametrize(("count", "risk"), [(1000, False), (300, True)], ids=["separable", "risk"])
def test_exact_thousand_random_capped_problems_agree_with_clarabel(count: int, *, risk: bool) -> None:
    rng = np.random.default_rng(20250717)
    exact, clarabel = get_solver("exact"), get_solver("clarabel")
    for k in range(count):
        n = (5, 12, 30)[k % 3]
        kind = KINDS[(k // 3) % 3]
        problem, qty = random_problem(rng, n, kind, delta=DELTAS[(k // 9) % 3], risk=risk)
        mine, other = exact.solve(problem, qty), clarabel.solve(problem, qty)
        assert isinstance(mine, Solution), mine
        assert isinstance(other, Solution), other
        cost, oracle = objective(problem, qty, mine.qty), objective(problem, qty, other.qty)
        assert abs(cost - oracle) <= 1e-6 * oracle, (k, kind, n)
        assert cost <= oracle * (1.0 + 1e-11), (k, kind, n)
        assert mine.kkt_residual <= 1e-11


@pytest.mark.parametrize("name", ["scs", "slsqp", "osqp"])
def test_exact_other_independent_solvers_agree(name: str) -> None:
    rng = np.random.default_rng(3)
    exact, solver = get_solver("exact"), get_solver(name)
    for k in range(18):
        kind = "linear" if name == "osqp" else KINDS[k % 3]
        problem, qty = random_problem(rng, 8, kind, risk=k % 2 == 1)
        mine, other = exact.solve(problem, qty), solver.solve(problem, qty)
        assert isinstance(mine, Solution)
        assert isinstance(other, Solution)
        assert objective(problem, qty, mine.qty) == pytest.approx(objective(problem, qty, other.qty), rel=1e-6)


def test_chain_first_solver_unsupported_falls_through_and_reports_it() -> None:
    found = solve_chain(CURVE, 3.0, ("osqp", "exact"))
    assert isinstance(found, Solution)
    assert found.solver == "exact"
    assert [failure.reason for failure in found.failures] == [Failure.UNSUPPORTED]
    assert "clarabel" in found.failures[0].text


def test_chain_unknown_solver_names_the_known_ones() -> None:
    found = solve_chain(LINE, 7.0, ("gurobi",))
    assert isinstance(found, SolveFailure)
    assert found.reason is Failure.CHAIN_EXHAUSTED
    assert [cause.reason for cause in found.causes] == [Failure.UNKNOWN_SOLVER]
    assert "clarabel" in found.text


def test_chain_certificate_above_tolerance_is_not_returned() -> None:
    problem, qty = random_problem(np.random.default_rng(1), 30, "power")
    found = solve_chain(problem, qty, ("scs",), tolerance=0.0)
    assert isinstance(found, SolveFailure)
    assert found.causes[0].reason is Failure.BAD_CERTIFICATE


def test_chain_no_solver_named_is_a_failure() -> None:
    assert isinstance(solve_chain(LINE, 7.0, ()), SolveFailure)


def test_cvxpy_not_installed_states_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    found = solve_chain(LINE, 7.0, ("clarabel", "slsqp"))
    assert isinstance(found, Solution)
    assert found.solver == "slsqp"
    assert found.failures[0].reason is Failure.NOT_INSTALLED
    assert "impactd[solvers]" in found.failures[0].text


def test_scipy_more_intervals_than_it_can_take_is_a_failure() -> None:
    found = solve_chain(Problem.from_impact(np.zeros(501), np.ones(501)), 7.0, ("slsqp",))
    assert isinstance(found, SolveFailure)
    assert found.causes[0].reason is Failure.UNSUPPORTED


def test_solver_empty_problem_is_a_failure() -> None:
    found = solve_chain(Problem.from_impact(np.zeros(0)), 7.0, ("exact",))
    assert isinstance(found, SolveFailure)
    assert found.causes[0].reason is Failure.BAD_INPUT
