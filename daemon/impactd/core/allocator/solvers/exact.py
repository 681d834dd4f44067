"""The service's own solver behind the common interface: exact, compiled, O(N) a step.

Where intervals are independent the multiplier search of `impactd.core.allocator.solvers.separable`;
with risk, or impact that lasts, the inventory method of `impactd.core.allocator.solvers.interior`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from impactd.core.allocator.curve import Float
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Found, Solution, SolveFailure, solve_by
from impactd.core.allocator.solvers.interior import solve_risk
from impactd.core.allocator.solvers.nested import solve_nested
from impactd.core.allocator.solvers.separable import solve_separable


@dataclass(frozen=True, slots=True)
class ExactSolver:
    """Solves the KKT conditions directly (see the modules it calls)."""

    #: Not used: it takes the steps that it needs.
    effort: float = 1.0
    name: str = "exact"
    bounded: bool = True

    def solve(self, problem: Problem, qty: float) -> Solution | SolveFailure:
        """Return the optimum for `qty` shares: a failure only for input that no solver takes."""
        return solve_by(self.name, problem, qty, _optimum, exact=True)


def _optimum(p: Problem, qty: float) -> Found:
    x = np.empty(len(p))
    if not p.separable:
        steps = solve_risk(qty, p.curve, p.cap, p.risk, p.root, p.keep, p.low, p.high, x)
        return x, steps, None
    if p.nested:
        return x, solve_nested(qty, p.curve, p.fraction, p.cap, p.low, p.high, x), None
    mu, steps = solve_separable(qty, p.curve, p.cap, p.fraction, x)
    return x, steps, mu


def cheapest(problem: Problem, qty: float) -> tuple[Float, float]:
    """Return the cheapest schedule of a separable problem, shape (N,), and its price; no certificate is made.

    Parameters
    ----------
    problem : Problem
        Separable.
    qty : float
        Shares, above 0 and below the sum of the caps, which the caller has seen to.
    """
    x, p = np.empty(len(problem)), problem
    price, _ = solve_separable(qty, p.curve, p.cap, p.fraction, x)
    return x, float(price)
