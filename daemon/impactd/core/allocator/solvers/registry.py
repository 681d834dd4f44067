"""Solvers by name, and the chain that returns the first certified solution.

A new solver is one module with a class, and one line in `SOLVERS`; another package's is an entry point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from impactd.core.allocator.certificate import CERTIFICATE_TOLERANCE
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, Solution, SolveFailure, Solver
from impactd.core.base.registry import Registry, UnknownNameError

_HERE: Final = "impactd.core.allocator.solvers"

#: Called with `effort`, a multiple of the usual limit on iterations.
SOLVERS: Final[Registry[Callable[[float], Solver]]] = Registry(
    "solver",
    "impactd.solvers",
    {
        "analytical": f"{_HERE}.analytical:AnalyticalSolver",
        "exact": f"{_HERE}.exact:ExactSolver",
        "clarabel": f"{_HERE}.cvxpy:clarabel",
        "osqp": f"{_HERE}.cvxpy:osqp",
        "ecos": f"{_HERE}.cvxpy:ecos",
        "scs": f"{_HERE}.cvxpy:scs",
        "slsqp": f"{_HERE}.scipy:slsqp",
        "trust-constr": f"{_HERE}.scipy:trust_constr",
    },
)

#: Independent libraries' solvers of the same problem, in the order in which they are worth a try.
CVXPY_SOLVERS: Final = SOLVERS.from_module(f"{_HERE}.cvxpy")
SCIPY_SOLVERS: Final = SOLVERS.from_module(f"{_HERE}.scipy")


@cache
def get_solver(name: str, effort: float = 1.0) -> Solver:
    """Return the solver of that name, made once.

    Raises
    ------
    UnknownNameError
        If there is none.
    """
    return SOLVERS.get(name)(effort)


def solve_chain(
    problem: Problem,
    qty: float,
    solvers: Sequence[str],
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
        Names from `SOLVERS`, in the order to try.
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
        try:
            solver = get_solver(name)
        except UnknownNameError as error:
            failed.append(SolveFailure(name, Failure.UNKNOWN_SOLVER, str(error)))
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
