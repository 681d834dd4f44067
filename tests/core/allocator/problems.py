"""Random allocation problems that look like a trading day, for the tests of this folder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Solution
from impactd.core.allocator.solvers.registry import get_solver

KINDS = ("linear", "quadratic", "power")
DELTAS = (0.4, 0.6, 1.2)


def random_problem(
    rng: np.random.Generator, n: int, kind: str, *, delta: float = 0.6, risk: bool = False
) -> tuple[Problem, float]:
    """Return a capped problem of n intervals and a quantity that its caps hold."""
    qty = 10.0 ** rng.uniform(1, 6)
    spread = rng.uniform(0.0, 0.05, n)
    beta = 10.0 ** rng.uniform(-7, -4) * np.exp(rng.normal(0.0, 1.0, n))
    cap = np.where(rng.random(n) < 0.5, rng.uniform(0.5, 4.0, n) * qty / n, np.inf)
    if np.sum(cap) <= qty:
        cap[0] = np.inf
    weight = float(10.0 ** rng.uniform(-3, 1) * np.mean(beta) / n) if risk else 0.0
    problem = Problem.from_impact(
        spread,
        None if kind == "power" else beta,
        beta / qty if kind == "quadratic" else None,
        beta * qty ** (1.0 - delta) if kind == "power" else None,
        delta,
        cap=cap,
        risk=weight,
    )
    return problem, float(qty)


def bounded(rng: np.random.Generator, problem: Problem, qty: float) -> Problem:
    """Return the problem with bounds of its running sum, as of a participation limit and a least rate."""
    n = len(problem)
    x = rng.exponential(1, n)
    x = np.sort(x) if rng.random() < 0.3 else x
    path = np.cumsum(x) / np.sum(x) * qty
    high, low = np.full(n, np.inf), np.zeros(n)
    if rng.random() < 0.8:
        high = path * rng.uniform(0.8, 1.5) + (qty * 0.05 if rng.random() < 0.5 else 0.0)
    if rng.random() < 0.5:
        low = path * rng.uniform(0.3, 0.99)
    if rng.random() < 0.2:  # bounds that meet
        low, k = np.minimum(low, high), rng.integers(n)
        low[k] = high[k] = min(path[k], high[k])
    return replace(problem, low=low, high=high)


def solve(problem: Problem, qty: float) -> Solution:
    """Return the exact solution."""
    solver = get_solver("exact")
    found = solver.solve(problem, qty)
    assert isinstance(found, Solution)
    return found
