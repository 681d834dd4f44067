"""Solvers in turn, until one gives a certified solution."""

from __future__ import annotations

from collections.abc import Sequence

from impactd.core.allocator.certificate import CERTIFICATE_TOLERANCE
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, Solution, SolveFailure
from impactd.core.allocator.solvers.registry import get_solver
from impactd.core.base.registry import UnknownNameError


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
