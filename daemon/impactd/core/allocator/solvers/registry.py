"""Solvers by name, and the chain that returns the first certified solution.

A new solver is one module with a class, and one line in `registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final

from impactd.core.allocator.certificate import CERTIFICATE_TOLERANCE
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, Solution, SolveFailure, Solver
from impactd.core.allocator.solvers.exact import ExactSolver


def _cvxpy(name: str) -> Callable[[], Solver]:
    def make() -> Solver:
        from impactd.core.allocator.solvers.cvxpy import CvxpySolver  # noqa: PLC0415  # heavy, optional

        return CvxpySolver(name)

    return make


def _scipy(name: str) -> Callable[[], Solver]:
    def make() -> Solver:
        from impactd.core.allocator.solvers.scipy import ScipySolver  # noqa: PLC0415  # heavy

        return ScipySolver(name)

    return make


#: Every solver by name; made when first asked for.
registry: Final[Mapping[str, Callable[[], Solver]]] = {
    "exact": ExactSolver,
    "clarabel": _cvxpy("clarabel"),
    "osqp": _cvxpy("osqp"),
    "scs": _cvxpy("scs"),
    "slsqp": _scipy("slsqp"),
    "trust-constr": _scipy("trust-constr"),
}


@cache
def get_solver(name: str) -> Solver | None:
    """Return the solver of that name, made once, or None if there is none."""
    make = registry.get(name)
    return None if make is None else make()


def solve_chain(
    problem: Problem,
    qty: float,
    solvers: Sequence[str] = ("exact", "clarabel", "slsqp"),
    *,
    tolerance: float = CERTIFICATE_TOLERANCE,
) -> Solution | SolveFailure:
    """Return the first solution whose certificate passes.

    Parameters
    ----------
    problem : Problem
        N intervals.
    qty : float
        Shares to place.
    solvers : sequence of str
        Names from `registry`, in the order to try.
    tolerance : float
        Largest relative KKT residual that passes.

    Returns
    -------
    Solution or SolveFailure
        The solution lists in `failures` what was tried before it; a failure
        lists every solver's in `causes`.
    """
    failed: list[SolveFailure] = []
    for name in solvers:
        solver = get_solver(name)
        if solver is None:
            text = f"no solver is called {name!r}; choose from {', '.join(registry)}"
            failed.append(SolveFailure(name, Failure.UNKNOWN_SOLVER, text))
            continue
        found = solver.solve(problem, qty)
        if isinstance(found, SolveFailure):
            failed.append(found)
        elif not found.kkt_residual <= tolerance:
            text = f"relative KKT residual {found.kkt_residual:.3g} is above {tolerance:.3g}; the next solver is tried"
            failed.append(SolveFailure(name, Failure.BAD_CERTIFICATE, text))
        elif failed:
            return Solution(
                found.qty,
                found.multiplier,
                found.kkt_residual,
                found.shortfall,
                found.solver,
                found.iterations,
                tuple(failed),
            )
        else:
            return found
    return chain_exhausted(failed)


def chain_exhausted(failed: Sequence[SolveFailure]) -> SolveFailure:
    """Return the failure of a chain that ended without a schedule, each solver's failure as a cause."""
    tried = "; ".join(f"{f.solver}: {f.text}" for f in failed) or "no solver was named"
    return SolveFailure(
        "chain", Failure.CHAIN_EXHAUSTED, f"no schedule passed its certificate ({tried})", tuple(failed)
    )
