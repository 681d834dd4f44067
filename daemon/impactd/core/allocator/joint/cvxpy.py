"""Several orders together by Clarabel through CVXPY: a second start for the turns of `joint`, and the tests' oracle.

Quantities are parts of the largest order and prices are in units of a typical
one, so that tolerances mean the same for coins and for millions of shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from impactd.core.allocator.curve import Float
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, SolveFailure

#: Tolerances to try in turn; limits are iterations, so that results do not depend on load.
_TOLERANCES: Final = (1e-12, 1e-10, 1e-8)


def solve_together(problem: Problem, qty: Float, cap: Float, risk: Sequence[float]) -> Float | SolveFailure:
    """Return shares by order and interval, shape (I, N), to Clarabel's accuracy.

    Parameters
    ----------
    problem : Problem
        N intervals; its cap and risk do not count.
    qty : ndarray of float64, shape (I,)
        Shares to place, no more than the caps hold.
    cap : ndarray of float64, shape (I, N)
        Finite.
    risk : sequence of float
        Weight of each order's squared inventory.
    """
    try:
        import cvxpy  # noqa: PLC0415  # optional, and half a second to import
    except ImportError:
        return SolveFailure("clarabel", Failure.NOT_INSTALLED, "cvxpy is not installed; install impactd[solvers]")
    cp: Any = cvxpy  # its stubs do not know what it exports
    p, n = problem, len(problem)
    unit = max(float(np.max(qty)), 1e-9)
    u = cp.Variable((len(qty), n))
    total = cp.sum(u, axis=0)
    s, b, a, e, delta = p.curve.above(float(np.min(p.curve.s))).scaled(unit, 1.0)
    price = float(np.median(s + b / n + a / n**2 + e / n**delta)) or 1.0
    cost: Any = (s / price) @ total + cp.sum_squares(cp.multiply(np.sqrt(b / price), total))
    constraints = [u >= 0, u <= cap / unit, cp.sum(u, axis=1) == qty / unit]
    for coefficient, exponent in ((a, 3.0), (e, 1.0 + delta)):
        if np.any(coefficient > 0.0):
            v = cp.Variable(n)
            cost += (coefficient / price) @ v
            constraints.append(cp.PowCone3D(v, np.ones(n), total, np.full(n, 1.0 / exponent)))
    for i, rho in enumerate(risk):
        if rho > 0.0:
            left = qty[i] / unit - cp.cumsum(u[i])
            cost += cp.sum_squares(np.sqrt(rho * unit / price) * left)
    compiled = cp.Problem(cp.Minimize(cost), constraints)
    status = "unsolved"
    for tolerance in _TOLERANCES:
        options = {"tol_gap_abs": tolerance, "tol_gap_rel": tolerance, "tol_feas": tolerance, "max_iter": 200}
        data, chain, inverse = compiled.get_problem_data("CLARABEL", solver_opts=options)
        raw = chain.solve_via_data(compiled, data, warm_start=False, verbose=False, solver_opts=options)
        solution = chain.invert(raw, inverse)
        status = str(solution.status)
        value = solution.primal_vars.get(u.id) if solution.primal_vars else None
        if value is not None and np.all(np.isfinite(value)) and status == cp.OPTIMAL:
            return np.asarray(value, dtype=np.float64) * unit
    return SolveFailure("clarabel", Failure.NOT_CONVERGED, f"joint problem ended as {status}; plan orders alone")
