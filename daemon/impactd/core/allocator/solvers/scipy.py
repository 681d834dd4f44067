"""SciPy's SLSQP and trust-constr: independent solvers that need no extra package.

Both work on parts of the quantity and in units of a typical cost.  They are
dense and slow (SLSQP takes seconds at a few hundred intervals), so they are
the end of the fallback chain and a second opinion in the tests.

References
----------
.. [1] Kraft (1988), "A software package for sequential quadratic programming",
   DFVLR-FB 88-28 (SLSQP).
.. [2] Byrd, Hribar and Nocedal (1999), SIAM J. Optim. 9(4) (trust-constr).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from impactd.core.allocator.bounds import keep_within
from impactd.core.allocator.cost import gradient, objective
from impactd.core.allocator.curve import Float
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, Found, Solution, SolveFailure, solve_by
from impactd.core.allocator.transient import add_pressure
from impactd.core.allocator.waterfill import share
from impactd.core.base.elementary import powers

#: More intervals than this would take minutes or gigabytes of dense matrices.
MAX_INTERVALS: Final = 500

#: Bounds of the running sum that are nearer than this, as a part of the quantity, leave no interior.
_NO_ROOM: Final = 1e-9


@dataclass(frozen=True, slots=True)
class ScipySolver:
    """One of SciPy's constrained minimisers behind the common interface."""

    name: str
    method: Literal["SLSQP", "trust-constr"]
    options: dict[str, Any]
    exact_hessian: bool = False
    bounded: bool = False

    @property
    def max_iterations(self) -> int:
        """Limit on iterations."""
        return int(self.options["maxiter"])

    def solve(self, problem: Problem, qty: float) -> Solution | SolveFailure:
        """Return the optimum for `qty` shares; see `impactd.core.allocator.solvers.base.Solver`."""
        return solve_by(self.name, problem, qty, self._minimised)

    def _minimised(self, problem: Problem, qty: float) -> Found | SolveFailure:
        n = len(problem)
        if n > MAX_INTERVALS:
            text = f"{n} intervals are more than {MAX_INTERVALS}; use exact or clarabel"
            return SolveFailure(self.name, Failure.UNSUPPORTED, text)
        from scipy.optimize import Bounds, LinearConstraint, minimize  # noqa: PLC0415  # slow to import

        unit = _in_parts(problem, qty)
        # Closed intervals are left out: bounds that meet make trust-constr's constraints singular.
        open_ = np.flatnonzero(unit.cap > 0.0)
        upper = unit.cap[open_]
        start = np.zeros(len(open_))
        share(1.0, upper, upper, start)

        def placed(u: Float) -> Float:
            x = np.zeros(n)
            x[open_] = np.maximum(u, 0.0)
            return x

        constraints = [LinearConstraint(np.ones((1, len(open_))), 1.0, 1.0)]
        if problem.nested:
            x = np.empty(n)
            keep_within(np.cumsum(placed(start)), unit.cap, unit.low, unit.high, x)
            start = x[open_]
            low, high = unit.low[:-1], unit.high[:-1]
            if np.any(high - low <= _NO_ROOM):
                text = "a running sum whose bounds meet makes its constraints singular; use exact or clarabel"
                return SolveFailure(self.name, Failure.UNSUPPORTED, text)
            constraints.append(LinearConstraint(np.tri(n)[:-1, open_], low, high))
        hessian: dict[str, Any] = {}
        if self.exact_hessian:
            hessian["hess"] = lambda u: _hessian(unit, placed(u))[np.ix_(open_, open_)]
        result = minimize(  # type: ignore[call-overload]  # its overloads tell methods and options apart one by one
            lambda u: objective(unit, 1.0, placed(u)),
            start,
            jac=lambda u: gradient(unit, 1.0, placed(u))[open_],
            method=self.method,
            bounds=Bounds(np.zeros(len(open_)), upper),
            constraints=constraints,
            options=self.options,
            **hessian,
        )
        if not np.all(np.isfinite(result.x)):
            text = f"ended with {result.message!r}; use exact or clarabel"
            return SolveFailure(self.name, Failure.NOT_CONVERGED, text)
        return placed(np.asarray(result.x, dtype=np.float64)) * qty, int(result.nit), None


def slsqp(effort: float = 1.0) -> ScipySolver:
    """Return SLSQP; `effort` is a multiple of the usual limit on iterations."""
    return ScipySolver("slsqp", "SLSQP", {"maxiter": max(int(1000 * effort), 1), "ftol": 1e-15})


def trust_constr(effort: float = 1.0) -> ScipySolver:
    """Return trust-constr; `effort` is a multiple of the usual limit on iterations."""
    options = {"maxiter": max(int(3000 * effort), 1), "gtol": 1e-11, "xtol": 1e-14, "barrier_tol": 1e-12}
    return ScipySolver("trust-constr", "trust-constr", options, exact_hessian=True)


def _hessian(unit: Problem, u: Float) -> Float:
    """Return the second derivative of the objective, shape (N, N)."""
    # off 0, where a root bends without limit
    x = np.maximum(u, 1e-12)
    c = unit.curve
    bend = 2.0 * c.b + 6.0 * c.a * x + c.e * (1.0 + c.delta) * c.delta * powers(x, c.delta - 1.0)
    held = np.arange(len(unit), 0, -1.0)  # intervals after which a share of t (or of u) is no longer held
    bends = np.diag(bend) + 2.0 * unit.risk * np.minimum.outer(held, held)
    for t in range(len(unit.root)):  # the columns of K
        one = np.zeros(len(unit))
        one[t] = 1.0
        add_pressure(one, unit.root, unit.keep, bends[t])
    return np.asarray(bends, dtype=np.float64)


def _in_parts(problem: Problem, qty: float) -> Problem:
    """Return the problem in parts of `qty` and in units of the equal split's cost."""
    open_ = problem.cap > 0.0
    curve = problem.curve.above(float(np.min(problem.curve.s[open_]))).scaled(qty, 1.0)
    scaled = replace(
        problem,
        curve=curve,
        cap=np.minimum(problem.cap / qty, 1.0),
        risk=problem.risk * qty,
        root=problem.root * np.sqrt(qty),
        low=problem.low / qty,
        high=np.minimum(problem.high / qty, 1.0),
    )
    even: Float = np.where(open_, 1.0 / np.count_nonzero(open_), 0.0)
    unit = objective(scaled, 1.0, even)
    unit = unit if unit > 0.0 else 1.0
    return replace(
        scaled,
        curve=curve.scaled(1.0, unit),
        risk=scaled.risk / unit,
        root=scaled.root / np.sqrt(unit),
    )
