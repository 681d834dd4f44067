"""Solvers by name.

A new solver is one module with a class, and one line in `SOLVERS`; another package's is an entry point.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final

from impactd.core.base.registry import Registry

if TYPE_CHECKING:
    from impactd.core.allocator.solvers.base import Solver

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


@cache
def get_solver(name: str, effort: float = 1.0) -> Solver:
    """Return the solver of that name, made once."""
    return SOLVERS.get(name)(effort)
