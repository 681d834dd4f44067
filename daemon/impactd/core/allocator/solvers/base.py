"""What every solver is: one small protocol, and values for failures.

A solver takes a `Problem` and a quantity in shares and returns a `Solution`
(real-valued shares per interval) or a `SolveFailure`; it does not raise.
Whole lots are a later step (`impactd.core.allocator.lots.separable`), the same for
all solvers.

Rules:

- the caps are never broken; if they cannot hold the quantity every cap is
  filled and the rest is the solution's `shortfall`;
- the residual in a solution is computed from its x by
  `impactd.core.allocator.certificate`, never taken from the solver's own word;
- `impactd.core.allocator.solvers.chain.solve_chain` returns only what passes
  its certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from impactd.core.allocator.certificate import (
    best_multiplier,
    capacity,
    kkt_residual,
)
from impactd.core.allocator.curve import Float
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.waterfill import share


class Failure(Enum):
    """Why there is no solution."""

    UNKNOWN_SOLVER = "unknown_solver"
    BAD_INPUT = "bad_input"
    NOT_INSTALLED = "not_installed"
    UNSUPPORTED = "unsupported"
    NOT_CONVERGED = "not_converged"
    BAD_CERTIFICATE = "bad_certificate"
    CHAIN_EXHAUSTED = "chain_exhausted"


@dataclass(frozen=True, slots=True)
class SolveFailure:
    """A solve that gave nothing publishable.

    Attributes
    ----------
    solver : str
        Name of the solver, or of the chain.
    reason : Failure
        What kind of failure.
    text : str
        What happened and what to do about it, one line.
    causes : tuple of SolveFailure
        For a chain, the failure of each solver in turn.
    """

    solver: str
    reason: Failure
    text: str
    causes: tuple[SolveFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class Solution:
    """A real-valued schedule and its certificate.

    Attributes
    ----------
    qty : ndarray of float64, shape (N,)
        Shares per interval.
    multiplier : float
        Price of one more share.
    kkt_residual : float
        Relative, see `impactd.core.allocator.certificate`.
    shortfall : float
        Shares that the caps could not hold.
    solver : str
        Which solver found it.
    iterations : int
        In the solver's own unit.
    failures : tuple of SolveFailure
        Of the solvers that a chain tried before this one.
    """

    qty: Float
    multiplier: float
    kkt_residual: float
    shortfall: float
    solver: str
    iterations: int
    failures: tuple[SolveFailure, ...] = ()


class Solver(Protocol):
    """Finds the real-valued schedule of least cost."""

    @property
    def name(self) -> str:
        """The name that settings and certificates use."""

    @property
    def bounded(self) -> bool:
        """Whether the number of intervals bounds its time: the batch API runs others in a process it can kill."""

    def solve(self, problem: Problem, qty: float) -> Solution | SolveFailure:
        """Return the optimum for `qty` shares, or why there is none."""


def check_input(name: str, problem: Problem, qty: float) -> SolveFailure | None:
    """Return a failure if no solver could take this input."""
    if not (np.isfinite(qty) and qty >= 0.0):
        return SolveFailure(name, Failure.BAD_INPUT, f"qty: {qty} must be finite and non-negative")
    if len(problem) == 0 and qty > 0.0:
        return SolveFailure(name, Failure.BAD_INPUT, "problem: has no interval; extend the window")
    return None


def trivial(name: str, problem: Problem, qty: float) -> Solution | None:
    """Return the solution where there is nothing to choose: no quantity, or every cap filled."""
    if qty > 0.0 and capacity(problem, qty) < qty:
        x = problem.cap.copy()
    elif qty == 0.0:
        x = np.zeros(len(problem))
    elif float(np.sum(problem.cap)) == qty:
        x = problem.cap.copy()
    else:
        return None
    mu = best_multiplier(problem, qty, x)
    return Solution(
        qty=x,
        multiplier=mu,
        kkt_residual=kkt_residual(problem, qty, x, mu),
        shortfall=max(qty - float(np.sum(x)), 0.0),
        solver=name,
        iterations=0,
    )


def finish(name: str, problem: Problem, qty: float, raw: Float, iterations: int) -> Solution:
    """Return a general-purpose solver's answer made feasible, with its own certificate.

    Such a solver meets bounds and sum only to its tolerance.  Values are
    clipped to their bounds and the small remainder of the sum is spread over
    what each interval holds (or has room for); the certificate is computed
    afterwards, so it judges what is returned.
    """
    x = np.clip(raw, 0.0, np.minimum(problem.cap, qty))
    gap = qty - float(np.sum(x))
    if gap > 0.0:
        room = np.minimum(problem.cap, qty) - x
        share(gap, np.minimum(room, x + gap / len(problem)), room, x)
    elif gap < 0.0:
        taken = np.zeros_like(x)
        share(-gap, x, x.copy(), taken)
        x = np.maximum(x - taken, 0.0)
    mu = best_multiplier(problem, qty, x)
    return Solution(
        qty=x,
        multiplier=mu,
        kkt_residual=kkt_residual(problem, qty, x, mu),
        shortfall=0.0,
        solver=name,
        iterations=iterations,
    )
