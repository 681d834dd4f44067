r"""Clarabel, OSQP, SCS and ECOS through CVXPY: independent solvers of the same problem.

The problem is put in parts of the quantity, u = x / R, and in units of a
typical cost, so that tolerances mean the same for a coin and for a million
shares.  It is written once per (solver, N, kind, exponent, risk) with
`cp.Parameter` in DPP form (Agrawal et al. 2019) and only re-parameterised
afterwards:

.. math::

   \min_u\; c_s^T u + \lVert c_b \circ u \rVert^2 + c_a^T v + c_e^T w
           + \lVert \rho' y \rVert^2 + \lVert w' \circ F \rVert^2

with v and w bounded by power cones, :math:`v_t \ge u_t^3`,
:math:`w_t \ge u_t^{1+\delta}`: exact exponents, where `cp.power` would round
them to fractions, and F the displacement of impact that lasts, :math:`F_t = k_t F_{t-1} + r_t u_t`.

OSQP takes quadratic programs only and ECOS no power cones; they answer other
kinds with a failure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, Found, Solution, SolveFailure, solve_by
from impactd.core.base.extras import MissingExtraError, extra_module

#: CVXPY lays out a dense array of the square of this: more intervals would take gigabytes and minutes.
MAX_INTERVALS: Final = 10_000

#: What each solver calls its limit on iterations.
_LIMITS: Final = ("max_iter", "max_iters")

#: Compiled problems kept; the oldest is dropped.
_KEPT: Final = 32


@dataclass(slots=True)
class _Compiled:
    """A problem in CVXPY's form, with the handles to re-parameterise it."""

    problem: Any
    u: Any
    parameters: dict[str, Any]


@dataclass(slots=True)
class CvxpySolver:
    """One of CVXPY's solvers behind the common interface."""

    name: str
    #: Settings to try in turn: first tolerances near the solver's reach, then, where it stops short of them and returns
    #: whatever it has, ones that it can meet.  Limits are iterations, never seconds, so that results do not depend on
    #: load.
    options: tuple[dict[str, Any], ...]
    #: Whether it takes quadratic programs but no power cones.
    linear_only: bool = False
    #: Multiple of the usual limit on iterations.
    effort: float = 1.0
    bounded: bool = False
    _compiled: dict[tuple[object, ...], _Compiled] = field(default_factory=dict)

    @property
    def max_iterations(self) -> int:
        """Limit on iterations with the first options at this effort."""
        return next(max(int(self.options[0][name] * self.effort), 1) for name in _LIMITS if name in self.options[0])

    def solve(self, problem: Problem, qty: float) -> Solution | SolveFailure:
        """Return the optimum for `qty` shares; see `impactd.core.allocator.solvers.base.Solver`."""
        return solve_by(self.name, problem, qty, self._minimised)

    def _minimised(self, problem: Problem, qty: float) -> Found | SolveFailure:
        cubic, power = bool(np.any(problem.curve.a > 0)), bool(np.any(problem.curve.e > 0))
        if self.linear_only and (cubic or power):
            text = "takes linear impact only; use clarabel or scs for quadratic and power models"
            return SolveFailure(self.name, Failure.UNSUPPORTED, text)
        if len(problem) > MAX_INTERVALS:
            text = f"{len(problem):,} intervals are more than {MAX_INTERVALS:,}; use exact"
            return SolveFailure(self.name, Failure.UNSUPPORTED, text)
        try:
            cp = extra_module("cvxpy", "solvers")  # here, as it takes half a second to import
        except MissingExtraError as error:
            return SolveFailure(self.name, Failure.NOT_INSTALLED, str(error))
        if self.name.upper() not in cp.installed_solvers():
            text = f"{self.name} is not installed; install it, or name another solver"
            return SolveFailure(self.name, Failure.NOT_INSTALLED, text)
        key = (
            len(problem),
            cubic,
            problem.curve.delta if power else None,
            problem.risk > 0.0,
            problem.transient,
            problem.nested,
        )
        # taken out while in use: two worker threads never share one
        compiled = self._compiled.pop(key, None)
        if compiled is None:
            terms = {"cubic": cubic, "risk": problem.risk > 0, "lasts": problem.transient, "nested": problem.nested}
            compiled = _compile(cp, len(problem), problem.curve.delta if power else None, **terms)
        _set_parameters(compiled, problem, qty)
        try:
            status, value, steps = self._run(cp, compiled)
        except cp.error.SolverError as error:
            text = f"did not solve ({error}); name another solver in `solvers`"
            return SolveFailure(self.name, Failure.NOT_CONVERGED, text)
        if value is None or not np.all(np.isfinite(value)):
            text = f"ended as {status}; check caps and coefficients, or name another solver"
            return SolveFailure(self.name, Failure.NOT_CONVERGED, text)
        while len(self._compiled) >= _KEPT:
            self._compiled.pop(next(iter(tuple(self._compiled))), None)
        self._compiled[key] = compiled
        return value * qty, steps, None

    def _run(self, cp: Any, compiled: _Compiled) -> tuple[str, Any, int]:
        """Return status, u (None without an answer) and iterations of the first settings that are met, or the last.

        The steps of `cp.Problem.solve` one by one: that would also warn of an
        inaccurate answer, which here its certificate judges.
        """
        status, value, steps = "unsolved", None, 0
        for usual in self.options:
            options = {k: max(int(v * self.effort), 1) if k in _LIMITS else v for k, v in usual.items()}
            data, chain, inverse = compiled.problem.get_problem_data(self.name.upper(), solver_opts=options)
            raw = chain.solve_via_data(compiled.problem, data, warm_start=False, verbose=False, solver_opts=options)
            solution = chain.invert(raw, inverse)
            status = str(solution.status)
            value = solution.primal_vars.get(compiled.u.id) if solution.primal_vars else None
            steps = int(solution.attr.get("num_iters") or 0)
            if status == cp.OPTIMAL:
                break
        return status, value, steps


def clarabel(effort: float = 1.0) -> CvxpySolver:
    """Return Clarabel, an interior-point solver that takes all kinds of impact."""
    options = (
        {"tol_gap_abs": tolerance, "tol_gap_rel": tolerance, "tol_feas": tolerance, "max_iter": 200}
        for tolerance in (1e-12, 1e-10, 1e-8)
    )
    return CvxpySolver("clarabel", tuple(options), effort=effort)


def osqp(effort: float = 1.0) -> CvxpySolver:
    """Return OSQP, a first-order solver of quadratic programs."""
    options = {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iter": 200_000, "polishing": True, "adaptive_rho": True}
    return CvxpySolver("osqp", (options,), linear_only=True, effort=effort)


def ecos(effort: float = 1.0) -> CvxpySolver:
    """Return ECOS, which is no dependency: it serves where it is installed."""
    options = {"abstol": 1e-10, "reltol": 1e-10, "feastol": 1e-10, "max_iters": 200}
    return CvxpySolver("ecos", (options,), linear_only=True, effort=effort)


def scs(effort: float = 1.0) -> CvxpySolver:
    """Return SCS, a first-order solver that takes all kinds of impact."""
    return CvxpySolver("scs", ({"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 200_000},), effort=effort)


def _compile(cp: Any, n: int, delta: float | None, *, cubic: bool, risk: bool, lasts: bool, nested: bool) -> _Compiled:
    u = cp.Variable(n)
    parameters = {
        "cap": cp.Parameter(n, nonneg=True),
        "s": cp.Parameter(n, nonneg=True),
        "b": cp.Parameter(n, nonneg=True),
    }
    cost = parameters["s"] @ u + cp.sum_squares(cp.multiply(parameters["b"], u))
    constraints = [cp.sum(u) == 1, u >= 0, u <= parameters["cap"]]
    one = np.ones(n)
    if cubic:
        parameters["a"] = cp.Parameter(n, nonneg=True)
        v = cp.Variable(n)
        cost += parameters["a"] @ v
        constraints.append(cp.PowCone3D(v, one, u, np.full(n, 1.0 / 3.0)))
    if delta is not None:
        parameters["e"] = cp.Parameter(n, nonneg=True)
        w = cp.Variable(n)
        cost += parameters["e"] @ w
        constraints.append(cp.PowCone3D(w, one, u, np.full(n, 1.0 / (1.0 + delta))))
    if risk:
        parameters["risk"] = cp.Parameter(nonneg=True)
        y = cp.Variable(n)
        cost += cp.sum_squares(parameters["risk"] * y)
        constraints += [y[0] == 1 - u[0]]
        if n > 1:
            constraints += [y[1:] == y[:-1] - u[1:]]
    if nested and n > 1:
        for name in ("low", "high"):
            parameters[name] = cp.Parameter(n - 1, nonneg=True)
        done = cp.cumsum(u)[:-1]
        constraints += [done >= parameters["low"], done <= parameters["high"]]
    if lasts:
        for name in ("root", "keep", "weight"):
            parameters[name] = cp.Parameter(n, nonneg=True)
        f = cp.Variable(n)
        traded = cp.multiply(parameters["root"], u)
        cost += cp.sum_squares(cp.multiply(parameters["weight"], f))
        constraints += [f[0] == traded[0]]
        if n > 1:
            constraints += [f[1:] == cp.multiply(parameters["keep"][1:], f[:-1]) + traded[1:]]
    return _Compiled(cp.Problem(cp.Minimize(cost), constraints), u, parameters)


def _set_parameters(compiled: _Compiled, problem: Problem, qty: float) -> None:
    """Scale the problem to parts of `qty` and to a typical price above the cheapest spread."""
    open_ = problem.cap > 0.0
    n_open = max(int(np.count_nonzero(open_)), 1)
    base = float(np.min(problem.curve.s[open_], initial=np.inf))
    part = qty / n_open
    typical = problem.curve.marginal(np.full(len(problem), part)) - base
    unit = float(np.median(typical[open_])) + problem.risk * qty
    if problem.transient:
        unit += part * float(np.median(problem.root[open_])) ** 2
    unit = unit if unit > 0.0 else 1.0
    scaled = problem.curve.scaled(qty, unit)
    # a closed interval's coefficients say nothing, and its spread may lie below `base`
    values = {
        "cap": np.minimum(problem.cap / qty, 1.0),
        "s": np.where(open_, scaled.s - base / unit, 0.0),
        "b": np.sqrt(scaled.b),
        "a": scaled.a,
        "e": scaled.e,
        "risk": np.sqrt(problem.risk * qty / unit),
        "root": problem.root * np.sqrt(qty / unit),
        "keep": problem.keep,
        "low": problem.low[:-1] / qty,
        "high": np.minimum(problem.high[:-1] / qty, 1.0),
        "weight": np.sqrt(0.5 * (1.0 - np.append(problem.keep[1:], 0.0) ** 2)) if problem.transient else problem.keep,
    }
    for name, parameter in compiled.parameters.items():
        parameter.value = values[name]
