"""What a schedule costs: the exact allocator against CVXPY's solvers, and how it grows with the horizon.

Every answer is compared in cost with the exact one, so that nothing wins by being wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

import numpy as np

from impactd.core.allocator.allocate import Allocation, allocate
from impactd.core.allocator.bounds import NO_CAP
from impactd.core.allocator.joint.allocate import allocate_jointly
from impactd.core.allocator.joint.problem import Group
from impactd.core.allocator.problem import Float, Problem
from impactd.core.allocator.solvers.base import Solution, SolveFailure
from impactd.core.allocator.solvers.exact import ExactSolver
from impactd.core.allocator.solvers.registry import get_solver
from impactd.core.base.quantity import QUANTA
from tests.benchmarks.clock import in_turns
from tests.benchmarks.figures import Figure, Target

Answer = TypeVar("Answer", Solution, Allocation)

HORIZONS: Final = (390, 10_000, 1_000_000)
KINDS: Final = ("linear", "quadratic", "power")

DAY: Final = 390

#: How many orders are planned together.
TOGETHER: Final = (2, 20, 200)

#: Up to where each of CVXPY's solvers answers: beyond, a solve takes minutes, or Clarabel ends in an error on its
#: power cones.
LARGEST: Final = {
    "linear": {"osqp": 10_000, "clarabel": 10_000},
    "quadratic": {"clarabel": DAY},
    "power": {"clarabel": DAY},
}
#: What a comparison of times has to say besides.
FACTS: Final = {
    "accuracy": "CVXPY's solvers re-parameterised, not rebuilt, at tolerances whose answers pass a certificate "
    "(osqp 1e-9, clarabel 1e-12), every answer with its certificate"
}

_AT_MOST_US: Final = Target("at most", 100.0)
_AT_MOST_RISK_US: Final = Target("at most", 1_000.0)
_GROWTH: Final = Target("at most", 1.1)

#: Shares an interval, on average.
_QTY_AN_INTERVAL: Final = 100


def a_problem(n: int, kind: str, *, risk: float = 0.0) -> tuple[Problem, int]:
    """Return a problem of `n` intervals whose liquidity varies as over a day, and its quantity in shares.

    A tenth of the intervals is capped below what they would take, some are closed.
    """
    rng = np.random.Generator(np.random.PCG64(n))
    u = np.arange(n) / n
    shape = (1.0 + 2.0 * (2.0 * u - 1.0) ** 2) * np.exp(0.3 * rng.standard_normal(n))
    cap = np.full(n, np.inf)
    cap[rng.random(n) < 0.1] = 0.7 * _QTY_AN_INTERVAL
    cap[rng.random(n) < 0.01] = 0.0
    slopes: dict[str, dict[str, Float]] = {
        "linear": {"beta": 1e-5 * shape},
        "quadratic": {"beta": 1e-5 * shape, "alpha": 2e-8 * shape},
        "power": {"eta": 2e-4 * shape},
    }
    problem = Problem.from_impact(0.005 * shape**0.5, **slopes[kind], delta=0.6, cap=cap, risk=risk)
    return problem, _QTY_AN_INTERVAL * n


def cost(problem: Problem, x: Float) -> float:
    """Return what a schedule costs, currency."""
    impact = problem.curve.cost(x)
    left = float(np.sum(x)) - np.cumsum(x)
    return float(np.sum(impact) + problem.risk * np.sum(left**2))


def growth(horizons: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the exponent k of time ~ N^k, by least squares in logs."""
    return float(np.polyfit(np.log(horizons), np.log(seconds), 1)[0])


def measure(horizons: Sequence[int] = HORIZONS, kinds: Sequence[str] = KINDS, rounds: int = 7) -> list[Figure]:
    """Return allocation times and growth exponents."""
    figures: list[Figure] = []
    for kind in kinds:
        figures += _of_kind(kind, horizons, rounds)
    return figures + _with_risk(horizons[0], rounds) + _of_other_terms(horizons[0], rounds)


def _of_kind(kind: str, horizons: Sequence[int], rounds: int) -> list[Figure]:
    figures, exact, whole = [], [], []
    for n in horizons:
        problem, qty = a_problem(n, kind)
        calls = {"exact": _solving("exact", problem, qty), "whole lots": _allocating(problem, qty)}
        for solver, largest in LARGEST[kind].items():
            if n <= largest:
                calls[f"{solver} by CVXPY"] = _solving(solver, problem, qty)
        taken = in_turns(calls, rounds if n <= DAY else 3)
        exact.append(taken["exact"][0])
        whole.append(taken["whole lots"][0])
        for name, (seconds, spread) in taken.items():
            ours = name in {"exact", "whole lots"}
            figures.append(
                Figure(
                    f"{kind}, N = {n:,}: {name}",
                    1e6 * seconds,
                    "us",
                    spread,
                    _AT_MOST_US if name == "exact" and n == DAY else None,
                    "" if ours else f"{seconds / taken['exact'][0]:,.0f} times the exact one's",
                )
            )
    if len(horizons) > 1:
        note = f"of time in N, least squares in logs over N = {', '.join(f'{n:,}' for n in horizons)}"
        figures.append(Figure(f"{kind}: growth exponent, exact", growth(horizons, exact), "", None, _GROWTH, note))
        figures.append(Figure(f"{kind}: growth exponent, whole lots", growth(horizons, whole), "", None, _GROWTH))
    return figures


def _with_risk(n: int, rounds: int) -> list[Figure]:
    problem, qty = a_problem(n, "linear", risk=1e-9)
    calls = {
        "exact": _solving("exact", problem, qty),
        "osqp by CVXPY": _solving("osqp", problem, qty),
        "clarabel by CVXPY": _solving("clarabel", problem, qty),
    }
    taken = in_turns(calls, rounds)
    ours = taken["exact"][0]
    return [
        Figure(
            f"linear with risk, N = {n:,}: {name}",
            1e6 * seconds,
            "us",
            spread,
            _AT_MOST_RISK_US if name == "exact" and n == DAY else None,
            "" if name == "exact" else f"{seconds / ours:,.0f} times the exact one's",
        )
        for name, (seconds, spread) in taken.items()
    ]


def _solving(name: str, problem: Problem, qty: int) -> Callable[[], object]:
    """Return a call that solves, after a comparison of its cost with the exact one's."""
    solver = get_solver(name)
    if solver is None:
        raise RuntimeError(f"there is no solver {name}")
    found = _answer(solver.solve(problem, float(qty)))
    _must_cost(name, cost(problem, found.qty), _least_cost(problem, qty), 1e-6)
    return lambda: solver.solve(problem, float(qty))


def _allocating(problem: Problem, qty: int) -> Callable[[], object]:
    found = _answer(allocate(problem, qty * QUANTA, QUANTA))
    # Whole lots cost a little more than the optimum without them, by the curvature over half a share.
    _must_cost("whole lots", cost(problem, found.qty()), _least_cost(problem, qty), 1e-4)
    return lambda: allocate(problem, qty * QUANTA, QUANTA)


def _least_cost(problem: Problem, qty: int) -> float:
    return cost(problem, _answer(ExactSolver().solve(problem, float(qty))).qty)


def _answer(found: Answer | SolveFailure) -> Answer:
    match found:
        case SolveFailure():
            raise RuntimeError(f"{found.solver}: {found.text}")
        case _:
            return found


def _must_cost(name: str, found: float, best: float, tolerance: float) -> None:
    if not abs(found - best) <= tolerance * best:
        raise RuntimeError(f"{name} costs {found}, the optimum {best}: a time for that compares nothing")


def _of_other_terms(n: int, rounds: int) -> list[Figure]:
    """Return what impact that lasts, a smallest clip and several orders together take, certificates included."""
    problem, qty = a_problem(n, "linear")
    part = replace(
        problem,
        curve=problem.curve._replace(b=0.5 * problem.curve.b),
        root=np.sqrt(problem.curve.b),
        keep=np.full(n, 0.87),
    )
    clip = np.full(n, 3 * _QTY_AN_INTERVAL * QUANTA)
    calls: dict[str, Callable[[], object]] = {
        "half of the impact lasts, exact": _solving("exact", part, qty),
        "half of the impact lasts, whole lots": _allocating(part, qty),
        "a smallest clip, whole lots": lambda: allocate(problem, qty * QUANTA, QUANTA, least_quanta=clip),
    }
    for orders in TOGETHER:
        calls[f"{orders} orders together, whole lots"] = _together(problem, qty, orders)
    taken = in_turns(calls, rounds)
    return [
        Figure(f"linear, N = {n:,}: {name}", 1e6 * seconds, "us", spread) for name, (seconds, spread) in taken.items()
    ]


def _together(problem: Problem, qty: int, orders: int) -> Callable[[], object]:
    """Return the planning of orders whose windows end one after the other, a third of them capped."""
    n = len(problem)
    size = qty // orders
    cap = np.empty((orders, n), np.int64)
    for i in range(orders):
        cap[i] = NO_CAP if i % 3 else 4 * size // n * QUANTA
        cap[i, n - i * n // (2 * orders) :] = 0
    lots = np.full(orders, QUANTA)
    free, none = np.full((orders, n), NO_CAP), np.zeros((orders, n), np.int64)
    group = Group(size * lots, lots, cap, none, free, np.zeros(orders), none)

    def call() -> object:
        found = allocate_jointly(problem, group)
        if isinstance(found, SolveFailure):
            raise TypeError(f"no answer: {found.text}")
        return found

    return call
