"""The service's own solver behind the common interface: exact, compiled, O(N) a step.

Where intervals are independent the multiplier search of `impactd.core.allocator.solvers.separable`;
with risk, or impact that lasts, the inventory method of `impactd.core.allocator.solvers.interior`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from impactd.core.allocator.certificate import best_multiplier, kkt_residual
from impactd.core.allocator.curve import Float
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Solution, SolveFailure, check_input, trivial
from impactd.core.allocator.solvers.interior import solve_risk
from impactd.core.allocator.solvers.separable import solve_separable


@dataclass(frozen=True, slots=True)
class ExactSolver:
    """Solves the KKT conditions directly (see the modules it calls)."""

    #: Not used: it takes the steps that it needs.
    effort: float = 1.0
    name: str = "exact"
    bounded: bool = True

    def solve(self, problem: Problem, qty: float) -> Solution | SolveFailure:
        """Return the optimum for `qty` shares.

        Parameters
        ----------
        problem : Problem
            N intervals, any kind, with or without risk.
        qty : float
            Shares, finite and non-negative.

        Returns
        -------
        Solution or SolveFailure
            A failure only for input that no solver takes.
        """
        failure = check_input(self.name, problem, qty)
        if failure is not None:
            return failure
        found = trivial(self.name, problem, qty)
        if found is not None:
            return found
        p = problem
        x = np.empty(len(p))
        if p.separable:
            mu, steps = solve_separable(qty, p.curve, p.cap, p.fraction, x)
        else:
            steps = solve_risk(qty, p.curve, p.cap, p.risk, p.root, p.keep, x)
            mu = best_multiplier(p, qty, x)
        return Solution(
            qty=x,
            multiplier=mu,
            kkt_residual=kkt_residual(p, qty, x, mu),
            shortfall=0.0,
            solver=self.name,
            iterations=steps,
        )


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
