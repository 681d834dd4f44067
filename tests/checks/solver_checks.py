"""What every allocation solver must keep, whatever its method.

A check takes a solver and raises AssertionError.  ``CHECKS`` lists them; the
test that runs them takes every solver from the registry, so a new one is
checked without a line here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from impactd.core.allocator.certificate import CERTIFICATE_TOLERANCE
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, Solution, SolveFailure, Solver

#: General-purpose solvers end with errors of this size in a share of the quantity.
LOOSE = 2e-2


def _problem(**changes: object) -> Problem:
    base = Problem.from_impact(
        np.array([0.02, 0.01, 0.03, 0.01, 0.02]),
        np.array([3e-5, 1e-5, 2e-5, 4e-5, 2e-5]),
        cap=np.array([np.inf, 250.0, np.inf, 400.0, np.inf]),
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # the names are Problem's fields


def _solve(solver: Solver, problem: Problem, qty: float) -> Solution:
    found = solver.solve(problem, qty)
    if isinstance(found, SolveFailure) and found.reason in (Failure.UNSUPPORTED, Failure.NOT_INSTALLED):
        pytest.skip(found.text)
    assert isinstance(found, Solution), found
    return found


def _cost(problem: Problem, qty: float, x: np.ndarray) -> float:
    """Return the objective from its definition, apart from the code under test."""
    s, b, a, e, delta = problem.curve
    impact = s * x + b * x**2 + a * x**3 + e * x ** (1 + delta)
    left = qty - np.cumsum(x)
    return math.fsum(impact) + problem.risk * math.fsum(left**2)


def check_takes_the_plainest_problem(solver: Solver) -> None:
    """Linear impact without caps is taken by every solver that is installed; shares are as 1 to beta."""
    found = solver.solve(Problem.from_impact(np.zeros(3), np.array([1.0, 2.0, 4.0])), 7.0)
    if isinstance(found, SolveFailure) and found.reason is Failure.NOT_INSTALLED:
        pytest.skip(found.text)
    assert isinstance(found, Solution), found
    assert np.allclose(found.qty, [4.0, 2.0, 1.0], rtol=0, atol=LOOSE * 7.0)


def check_feasible(solver: Solver) -> None:
    """Bounds hold exactly, the sum to rounding."""
    problem = _problem()
    found = _solve(solver, problem, 1000.0)
    assert np.all(found.qty >= 0.0)
    assert np.all(found.qty <= problem.cap)
    assert abs(math.fsum(found.qty) - 1000.0) <= 1e-12 * 1000.0
    assert found.shortfall == 0.0
    assert found.solver == solver.name


def check_shortfall(solver: Solver) -> None:
    """Caps that cannot hold the quantity are filled, and the rest is stated."""
    cap = np.array([10.0, 0.0, 20.0, 30.0, 0.5])
    found = _solve(solver, _problem(cap=cap), 100.0)
    assert np.array_equal(found.qty, cap)
    assert found.shortfall == 100.0 - 60.5


def check_nothing_to_trade(solver: Solver) -> None:
    """No quantity gives a schedule of zeros."""
    found = _solve(solver, _problem(), 0.0)
    assert np.all(found.qty == 0.0)


def check_closed_interval(solver: Solver) -> None:
    """Keep a cap of zero (a blackout), even where trading is cheapest."""
    problem = _problem(cap=np.array([np.inf, 0.0, np.inf, 0.0, np.inf]))
    found = _solve(solver, problem, 500.0)
    assert found.qty[1] == found.qty[3] == 0.0
    assert found.kkt_residual <= CERTIFICATE_TOLERANCE


def check_certificate_is_honest(solver: Solver) -> None:
    """No feasible schedule found by random exchange is cheaper than the residual allows."""
    rng = np.random.default_rng(7)
    for risk in (0.0, 1e-7):
        problem = _problem(risk=risk)
        found = _solve(solver, problem, 1000.0)
        assert 0.0 <= found.kkt_residual <= 100 * CERTIFICATE_TOLERANCE
        mine = _cost(problem, 1000.0, found.qty)
        for _ in range(300):
            i, j = rng.choice(5, 2, replace=False)
            step = min(found.qty[i], problem.cap[j] - found.qty[j]) * rng.random() ** 4
            other = found.qty.copy()
            other[i] -= step
            other[j] += step
            assert _cost(problem, 1000.0, other) >= mine * (1.0 - 100 * CERTIFICATE_TOLERANCE)


def check_running_sum(solver: Solver) -> None:
    """Bounds of the running sum hold, or the solver refuses them as unsupported."""
    low, high = np.array([0.0, 100.0, 300.0, 600.0, 0.0]), np.array([150.0, 250.0, 600.0, 900.0, np.inf])
    found = _solve(solver, _problem(low=low, high=high), 1000.0)
    done = np.cumsum(found.qty)
    assert np.all(done >= low - 1e-9)
    assert np.all(done <= high + 1e-9)
    assert abs(done[-1] - 1000.0) <= 1e-9
    assert 0.0 <= found.kkt_residual <= 100 * CERTIFICATE_TOLERANCE


def check_running_sum_shortfall(solver: Solver) -> None:
    """State as shortfall what an upper bound of the running sum cannot hold."""
    problem = _problem(low=np.zeros(5), high=np.array([100.0, 200.0, 300.0, 400.0, 450.0]))
    found = _solve(solver, problem, 1000.0)
    assert abs(found.shortfall - 550.0) <= 1e-9
    assert np.all(np.cumsum(found.qty) <= problem.high + 1e-9)


def check_permutation(solver: Solver) -> None:
    """Without risk the order of the intervals does not matter."""
    problem, order = _problem(), np.array([3, 0, 4, 2, 1])
    shuffled = replace(
        problem,
        curve=problem.curve.at(order),
        cap=problem.cap[order],
        fraction=problem.fraction[order],
    )
    here, there = _solve(solver, problem, 1000.0), _solve(solver, shuffled, 1000.0)
    assert np.allclose(here.qty[order], there.qty, rtol=0, atol=LOOSE * 1000.0)


def check_scaling(solver: Solver) -> None:
    """Prices times ten, or shares counted in thousands, change the unit of the answer and nothing else."""
    problem = _problem()
    base = _solve(solver, problem, 1000.0)
    dear = _solve(solver, replace(problem, curve=problem.curve.scaled(1.0, 0.1)), 1000.0)
    assert np.allclose(dear.qty, base.qty, rtol=0, atol=LOOSE * 1000.0)
    large = _solve(solver, replace(problem, curve=problem.curve.scaled(1e-3, 1.0), cap=problem.cap * 1000), 1e6)
    assert np.allclose(large.qty, base.qty * 1000, rtol=0, atol=LOOSE * 1e6)


def check_wider_cap_costs_no_more(solver: Solver) -> None:
    """Widen a cap: the optimum falls or stays."""
    costs = []
    for limit in (50.0, 150.0, 250.0, 350.0, np.inf):
        problem = _problem(cap=np.array([np.inf, limit, np.inf, 400.0, np.inf]))
        costs.append(_cost(problem, 1000.0, _solve(solver, problem, 1000.0).qty))
    assert all(later <= earlier * (1.0 + 1e-4) for earlier, later in pairwise(costs))


def check_same_answer_twice(solver: Solver) -> None:
    """Equal problems give equal bytes, whatever was solved in between."""
    first = _solve(solver, _problem(), 1000.0)
    _solve(solver, _problem(curve=_problem().curve.above(1.0)), 77.0)
    again = _solve(solver, _problem(), 1000.0)
    assert first.qty.tobytes() == again.qty.tobytes()


def check_bad_quantity(solver: Solver) -> None:
    """Refuse a quantity that is no quantity by a failure that names the field."""
    for qty in (math.nan, math.inf, -1.0):
        found = solver.solve(_problem(), qty)
        assert isinstance(found, SolveFailure)
        assert found.reason is Failure.BAD_INPUT
        assert "qty" in found.text


CHECKS: tuple[Callable[[Solver], None], ...] = (
    check_takes_the_plainest_problem,
    check_feasible,
    check_shortfall,
    check_nothing_to_trade,
    check_closed_interval,
    check_certificate_is_honest,
    check_running_sum,
    check_running_sum_shortfall,
    check_permutation,
    check_scaling,
    check_wider_cap_costs_no_more,
    check_same_answer_twice,
    check_bad_quantity,
)
