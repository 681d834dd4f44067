"""The protocol of solvers, and values for failures.

A solver takes a `Problem` and a quantity in shares and returns a `Solution`
(real-valued shares per interval) or a `SolveFailure`; it does not raise.
Whole lots are a later step (`impactd.core.allocator.lots.separable`), the same for
all solvers.

Rules:

- the caps are never broken; if they cannot hold the quantity every cap is
  filled and the rest is the solution's `shortfall`;
- the residual in a solution is computed from its x by
  `impactd.core.allocator.certificate`, never taken from the solver's own report;
- `impactd.core.allocator.solvers.chain.solve_chain` returns only what passes
  its certificate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Protocol

import numpy as np

from impactd.core.allocator.bounds import keep_within, never_bind, tighten
from impactd.core.allocator.certificate import best_multiplier, capacity, kkt_residual
from impactd.core.allocator.curve import Float
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.waterfill import share
from impactd.core.base.quick import quick_dataclass

#: Rounding of a sum, as a part of it, for each term.
_ROUNDING: Final = 2.0**-52


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
    """A solve that gave nothing publishable."""

    solver: str
    reason: Failure
    #: What happened and what to do about it, one line.
    text: str
    #: For a chain, the failure of each solver in turn.
    causes: tuple[SolveFailure, ...] = ()


@quick_dataclass(frozen=True, slots=True)
class Solution:
    """A real-valued schedule and its certificate."""

    #: Shape (N,). Shares per interval.
    qty: Float
    #: Price of one more share.
    multiplier: float
    #: Relative, see `impactd.core.allocator.certificate`.
    kkt_residual: float
    #: Shares that the caps could not hold.
    shortfall: float
    solver: str
    #: In the solver's own unit.
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


#: What a method finds: shares per interval, its iterations, and the price of one more share where it knows it.
Found = tuple[Float, int, float | None]


def solve_by(
    name: str,
    problem: Problem,
    qty: float,
    method: Callable[[Problem, float], Found | SolveFailure],
    *,
    exact: bool = False,
) -> Solution | SolveFailure:
    """Return what `method` finds, with its certificate.

    Parameters
    ----------
    qty : float
        Shares.
    method : callable
        Takes a problem whose bounds are tight and the shares that they hold, which leave a choice.
    exact : bool
        Whether the method keeps bounds and sum to rounding; else what it finds is made feasible first.  The
        certificate is computed afterwards, so it judges what is returned.
    """
    if not (np.isfinite(qty) and qty >= 0.0):
        return SolveFailure(name, Failure.BAD_INPUT, f"qty: {qty} must be finite and non-negative")
    if len(problem) == 0 and qty > 0.0:
        return SolveFailure(name, Failure.BAD_INPUT, "problem: has no interval; extend the window")
    problem, placed = tightened(problem, qty)
    room = float(np.minimum(problem.cap, placed).sum())
    x, steps, mu = np.zeros(len(problem)), 0, None
    if placed > 0.0 and room <= placed + len(problem) * _ROUNDING * placed:
        x = np.minimum(problem.cap, qty)
    elif placed > 0.0:
        found = method(problem, placed)
        if isinstance(found, SolveFailure):
            return found
        x, steps, mu = found
        x = x if exact else _feasible(problem, placed, x)
    mu = best_multiplier(problem, placed, x) if mu is None else mu
    return Solution(x, mu, kkt_residual(problem, placed, x, mu), qty - placed, name, steps)


def tightened(problem: Problem, qty: float) -> tuple[Problem, float]:
    """Return the problem with attainable bounds, and the part of `qty` that they hold.

    Bounds of the running sum that cannot bind are dropped.
    """
    if not problem.nested:
        room = capacity(problem, qty)
        return problem, qty if room >= qty * (1.0 - len(problem) * _ROUNDING) else room
    cap, low, high = problem.cap.copy(), problem.low.copy(), problem.high.copy()
    placed = float(tighten(qty, cap, low, high))
    if placed >= qty * (1.0 - len(problem) * _ROUNDING):
        placed = qty
    if never_bind(placed, cap, low, high):
        low = high = np.empty(0)
    return replace(problem, cap=cap, low=low, high=high), placed


def _feasible(problem: Problem, qty: float, raw: Float) -> Float:
    """Return a general-purpose solver's answer, which meets bounds and sum to its tolerance only, made feasible.

    Values are clipped to their bounds, and the small remainder of the sum is
    spread over what each interval holds (or has room for).
    """
    x = np.clip(raw, 0.0, np.minimum(problem.cap, qty))
    gap = qty - float(x.sum())
    if gap > 0.0:
        room = np.minimum(problem.cap, qty) - x
        share(gap, np.minimum(room, x + gap / len(problem)), room, x)
    elif gap < 0.0:
        taken = np.zeros_like(x)
        share(-gap, x, x.copy(), taken)
        x = np.maximum(x - taken, 0.0)
    if problem.nested:
        keep_within(np.cumsum(x), problem.cap, problem.low, problem.high, x)
    return x
