"""The batch API's allocator: a fitted history in, the schedule of least impact out.

The schedule is the best one for a history that is already known, so what it
saves is a hindsight figure, biased up by the noise in each interval's curve,
and labelled so.  What a forecast earns is the backtest's business.

Every solver that was tried is in the result, with its outcome.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from impactd.core.allocator.certificate import capacity
from impactd.core.allocator.cost import objective, schedule_cost
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers import cvxpy, scipy
from impactd.core.allocator.solvers.base import Failure, Solution, SolveFailure
from impactd.core.allocator.solvers.registry import SOLVERS, get_solver
from impactd.core.allocator.waterfill import share
from impactd.core.base.registry import UnknownNameError
from impactd.core.base.settings import PlanSettings
from impactd.core.inputs.ticks import Float
from impactd.research import solver_process
from impactd.research.differences import of_schedule
from impactd.research.errors import (
    INFEASIBLE,
    MALFORMED,
    NOT_CONVERGED,
    TIME_LIMIT,
    OptimizationError,
    ValidationError,
)
from impactd.research.impact_model import ImpactModel
from impactd.research.options import (
    OptimizerConfig,
    SolverType,
    check_count,
    check_number,
    solver_type,
    without_rounding,
)
from impactd.research.solver_process import TimedOut

logger = logging.getLogger("impactd.research")

_ANALYTICAL: Final = (SolverType.ANALYTICAL.value,)
_EXACT: Final = (SolverType.EXACT.value,)

#: Solvers of each kind, in the order in which they are tried.
CHAINS: Final = {
    SolverType.ANALYTICAL: _ANALYTICAL,
    SolverType.EXACT: _EXACT,
    SolverType.SCIPY: SOLVERS.from_module(scipy.__name__),
    SolverType.CVXPY: SOLVERS.from_module(cvxpy.__name__),
    SolverType.AUTO: _ANALYTICAL + _EXACT,
}

#: Follow where a solver fails: the service's own.
_FALLBACKS: Final = PlanSettings().solvers

#: The limits on iterations in the core's solvers stand for this many (`OptimizerConfig.max_iterations`).
_USUAL_ITERATIONS: Final = 1000

#: Failures that say nothing of the problem: the next solver of the same kind is not a fallback.
_NOT_THERE: Final = (Failure.NOT_INSTALLED, Failure.UNSUPPORTED, Failure.UNKNOWN_SOLVER)

MAX_INTERVALS: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one solver came to."""

    solver: str
    #: solved, timed_out, or a `Failure`'s value.
    outcome: str
    #: Wall clock.
    seconds: float
    #: What happened and what to do about it; empty if solved.
    text: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {"solver": self.solver, "outcome": self.outcome, "seconds": self.seconds, "text": self.text}


@dataclass(slots=True)
class _Trial:
    """One call's attempts and its deadline."""

    config: OptimizerConfig
    attempts: list[Attempt] = field(default_factory=list)

    def run(self, chain: tuple[str, ...], problem: Problem, qty: float) -> Solution:
        """Return the first solution that passes.

        Raises
        ------
        OptimizationError
            3003 if the time was up, else 3001.
        """
        deadline = time.monotonic() + self.config.timeout_seconds
        for name in chain:
            begin = time.monotonic()
            is_bounded = get_solver(name).bounded
            if begin >= deadline and not is_bounded:
                continue
            found: Solution | SolveFailure | TimedOut
            if is_bounded:
                found = get_solver(name).solve(problem, qty)
            else:
                effort = self.config.max_iterations / _USUAL_ITERATIONS
                found = solver_process.solve(name, problem, qty, deadline, effort)
            seconds = time.monotonic() - begin
            if isinstance(found, Solution) and found.kkt_residual <= self.config.tolerance:
                self.attempts.append(Attempt(name, "solved", seconds))
                return found
            self.attempts.append(self._failed(name, found, seconds))
            logger.warning("%s: %s", name, self.attempts[-1].text)
            if not self.config.fallback and not (isinstance(found, SolveFailure) and found.reason in _NOT_THERE):
                break
        raise self._error()

    def _failed(self, name: str, found: Solution | SolveFailure | TimedOut, seconds: float) -> Attempt:
        if isinstance(found, TimedOut):
            return Attempt(name, "timed_out", seconds, found.text)
        if isinstance(found, SolveFailure):
            return Attempt(name, found.reason.value, seconds, found.text)
        text = f"relative KKT residual {found.kkt_residual:.3g} is above {self.config.tolerance:.3g}; raise tolerance"
        return Attempt(name, Failure.BAD_CERTIFICATE.value, seconds, text)

    def _error(self) -> OptimizationError:
        tried = tuple(attempt.as_dict() for attempt in self.attempts)
        said = "; ".join(f"{a.solver}: {a.text}" for a in self.attempts) or "no solver was left to try"
        if any(attempt.outcome == "timed_out" for attempt in self.attempts):
            limit = f"timeout_seconds: {self.config.timeout_seconds:g} were not enough ({said})"
            return OptimizationError(TIME_LIMIT, limit, "raise it, allow the fallback, or use SolverType.EXACT", tried)
        return OptimizationError(
            NOT_CONVERGED, f"solver: none gave a schedule ({said})", "use SolverType.EXACT, or raise tolerance", tried
        )


class TradeAllocator:
    """Schedules of least impact over a fitted history.

    Where the default solver is one that runs in its own process (SciPy,
    CVXPY), that process is started here, and makes ready while you continue.

    Parameters
    ----------
    impact_model : ImpactModel
        Fitted.
    total_shares : float
        To place, positive.
    n_intervals : int
        Of the schedule; the model's intervals are mapped onto them (`mapped`).
    side : str
        'buy' or 'sell'.
    max_interval_qty : float or array_like, optional
        Cap on each interval, shares; one for all, or one each.
    risk : float
        Weight of squared inventory, currency per share^2: risk aversion times
        sigma^2 times the interval's length (Almgren and Chriss 2000).
    transient_share, half_life_intervals : float
        Part of the linear impact, in [0, 1], that lasts beyond its interval, and in
        how many intervals it falls to a half (Obizhaeva and Wang 2013).

    Raises
    ------
    ValidationError
        1001 for input that cannot be used.
    ModelFittingError
        2001 if the model is not fitted.
    OptimizationError
        3002 if the caps cannot hold the quantity.

    Examples
    --------
    >>> model = ImpactModel()
    >>> slippage = model.estimate_slippage(model.generate_synthetic_orderbook(50, 10))
    >>> _ = model.fit_model(slippage)
    >>> result = TradeAllocator(model, 10_000).optimize(SolverType.ANALYTICAL)
    >>> result["optimal_allocation"].shape, result["improvement_pct"] > 0.0, result["improvement_basis"]
    ((50,), True, 'hindsight')
    """

    def __init__(
        self,
        impact_model: ImpactModel,
        total_shares: float,
        n_intervals: int = 50,
        config: OptimizerConfig | None = None,
        *,
        side: str = "buy",
        max_interval_qty: Any = None,
        risk: float = 0.0,
        transient_share: float = 0.0,
        half_life_intervals: float = 5.0,
    ) -> None:
        if not isinstance(impact_model, ImpactModel):
            raise ValidationError(MALFORMED, f"impact_model: {impact_model!r} is none", "give a fitted ImpactModel")
        if config is not None and not isinstance(config, OptimizerConfig):
            raise ValidationError(MALFORMED, f"config: {config!r} cannot be used", "give an OptimizerConfig")
        check_number("total_shares", total_shares, 0.0, above=True)
        check_count("n_intervals", n_intervals, 1, MAX_INTERVALS)
        check_number("risk", risk, 0.0)
        check_number("transient_share", transient_share, 0.0)
        check_number("half_life_intervals", half_life_intervals, 0.0, above=True)
        self.config = config or OptimizerConfig()
        self.impact_model = impact_model
        self.total_shares = float(total_shares)
        self.n_intervals = int(n_intervals)
        self.side = side
        curves = impact_model.fitted.side(side)
        self._n_fitted = len(curves)
        s, beta, alpha, eta = mapped(curves.terms(), self.n_intervals)
        self._cap = _caps(max_interval_qty, self.n_intervals)
        if transient_share > 1.0 or (transient_share > 0.0 and beta is None):
            text = f"transient_share: {transient_share!r} cannot be used"
            raise ValidationError(MALFORMED, text, "give a part in [0, 1], and 0 with a power model, which has no line")
        keep = np.full(self.n_intervals, 0.5 ** (1.0 / half_life_intervals))
        self.problem = Problem.from_impact(
            s,
            beta,
            alpha,
            eta,
            curves.delta,
            cap=None if self._cap is None else without_rounding(self._cap, self.total_shares),
            risk=float(risk),
            transient_share=float(transient_share),
            keep=keep,
        )
        room = capacity(self.problem, self.total_shares)
        if room < self.total_shares:
            raise OptimizationError(
                INFEASIBLE,
                f"max_interval_qty: holds {room:,.10g} of {self.total_shares:,.10g} shares",
                "raise the caps, add intervals or place less",
            )
        if self.config.default_solver in (SolverType.SCIPY, SolverType.CVXPY):
            solver_process.start()

    def equal_allocation(self) -> Float:
        """Return equal parts, as far as the caps allow, shares, shape (n_intervals,)."""
        x = np.zeros(self.n_intervals)
        share(self.total_shares, np.ones(self.n_intervals), self.problem.cap, x)
        return x

    def optimize(self, solver: SolverType | str | None = None) -> dict[str, Any]:
        """Return the schedule of least impact.

        Parameters
        ----------
        solver : SolverType, optional
            Tried first; the configuration's default otherwise.  Others follow
            unless the configuration has no fallback.

        Returns
        -------
        dict
            ``optimal_allocation`` (ndarray, shares, shape (n_intervals,), not
            negative, sums to the total), ``optimal_cost`` and ``equal_cost``
            (currency over mid), ``improvement_pct`` of one against the other,
            ``improvement_basis`` ('hindsight'), ``differences`` (what sets these costs
            apart from a replay's, by name: `impactd.research.differences`), ``solver_used``, ``certificate``
            (solver, multiplier, kkt_residual), ``attempts`` (a dict for each
            solver tried: solver, outcome, seconds, text), ``fell_back``,
            ``objective`` (cost and price of risk), ``extrapolated_qty`` (shares
            in intervals that ask for more than any size that was fitted), ``seconds``.

        Raises
        ------
        OptimizationError
            3001 if no solver converged, 3003 at the time limit.
        ValidationError
            1001 if there is no such solver.
        """
        first = self.config.default_solver if solver is None else solver_type(solver)
        chain = CHAINS[first]
        if self.config.fallback:
            chain = (*chain, *(name for name in _FALLBACKS if name not in chain))
        return self._result(chain, CHAINS[first])

    def scipy_optimize(self) -> dict[str, Any]:
        """Return the schedule that SciPy finds: SLSQP, else trust-constr; see `optimize`."""
        return self._result(CHAINS[SolverType.SCIPY], CHAINS[SolverType.SCIPY])

    def cvxpy_optimize(self) -> dict[str, Any]:
        """Return the schedule that CVXPY finds: Clarabel, else OSQP, ECOS if installed, SCS; see `optimize`."""
        return self._result(CHAINS[SolverType.CVXPY], CHAINS[SolverType.CVXPY])

    def solve_with(self, name: str) -> dict[str, Any]:
        """Return the schedule of one solver by its name (such as 'osqp'), without any other; see `optimize`."""
        try:
            SOLVERS.check(name)
        except UnknownNameError as error:
            raise ValidationError(MALFORMED, str(error), "give a solver's name") from None
        return self._result((name,), (name,))

    def _result(self, chain: tuple[str, ...], asked: tuple[str, ...]) -> dict[str, Any]:
        begin = time.monotonic()
        trial = _Trial(self.config)
        solution = trial.run(chain, self.problem, self.total_shares)
        # Below the caps as given, not as raised by their rounding.
        qty = solution.qty if self._cap is None else np.minimum(solution.qty, self._cap)
        x = _exact_sum(qty, self.total_shares, self.problem.cap)
        cost = schedule_cost(self.problem, x)
        equal = schedule_cost(self.problem, self.equal_allocation())
        largest = self.impact_model.fitted.fitted_range[1]
        not_there = {reason.value for reason in _NOT_THERE}
        skipped = all(attempt.outcome in not_there for attempt in trial.attempts[:-1])
        return {
            "optimal_allocation": x,
            "improvement_pct": 100.0 * (1.0 - cost / equal) if equal > 0.0 else 0.0,
            "improvement_basis": "hindsight",
            "differences": of_schedule(
                n_fitted=self._n_fitted, n_intervals=self.n_intervals, intercept=self.impact_model.fitted.intercept
            ),
            "optimal_cost": cost,
            "equal_cost": equal,
            "solver_used": solution.solver,
            "certificate": {
                "solver": solution.solver,
                "multiplier": solution.multiplier,
                "kkt_residual": solution.kkt_residual,
            },
            "attempts": [attempt.as_dict() for attempt in trial.attempts],
            "fell_back": solution.solver not in asked or not skipped,
            "objective": objective(self.problem, self.total_shares, x),
            "extrapolated_qty": float(np.sum(x[x > largest])),
            "seconds": time.monotonic() - begin,
        }


def mapped(terms: Float, n_intervals: int) -> Float:
    """Return coefficients by T fitted intervals as those of `n_intervals` equal parts of the same time.

    Each part has the mean over what it overlaps, by how much.

    Parameters
    ----------
    terms : ndarray of float64, shape (k, T)

    Returns
    -------
    ndarray of float64, shape (k, n_intervals)

    Examples
    --------
    >>> mapped(np.array([[1.0, 2.0, 6.0]]), 2).round(9).tolist()
    [[1.333333333, 4.666666667]]
    >>> mapped(np.array([[1.0, 2.0]]), 4).tolist()
    [[1.0, 1.0, 2.0, 2.0]]
    """
    n_fitted = terms.shape[1]
    if n_fitted == n_intervals:
        return terms.copy()
    # Edges in units of 1 / (T N), so that they are exact.
    fitted, wanted = np.arange(n_fitted + 1) * n_intervals, np.arange(n_intervals + 1) * n_fitted
    edges = np.union1d(fitted, wanted)
    source = np.searchsorted(fitted, edges[:-1], side="right") - 1
    target = np.searchsorted(wanted, edges[:-1], side="right") - 1
    width = np.diff(edges) / n_fitted
    return np.stack([np.bincount(target, row[source] * width, n_intervals) for row in terms])


def spread_over(x: Float, n_fitted: int) -> Float:
    """Return quantities of equal intervals as those of `n_fitted` equal parts of the same time, at an even pace within.

    Examples
    --------
    >>> spread_over(np.array([3.0, 6.0]), 4).tolist()
    [1.5, 1.5, 3.0, 3.0]
    >>> spread_over(np.array([3.0, 6.0]), 3).tolist()
    [2.0, 3.0, 4.0]
    """
    return np.asarray(mapped(x[None], n_fitted)[0] * (len(x) / n_fitted))


def _caps(value: Any, n_intervals: int) -> Float | None:
    if value is None:
        return None
    try:
        caps = np.broadcast_to(np.asarray(value, np.float64), (n_intervals,)).copy()
    except (ValueError, TypeError) as error:
        raise ValidationError(MALFORMED, f"max_interval_qty: {error}", "give one number, or one an interval") from error
    if not (caps >= 0.0).all():
        raise ValidationError(
            MALFORMED, "max_interval_qty: holds negative or missing values", "give shares of 0 or more"
        )
    return caps


def _exact_sum(x: Float, total: float, cap: Float) -> Float:
    """Return `x` with the rounding of its sum put where there is most room."""
    rest = total - math.fsum(x.tolist())
    if rest != 0.0:
        room = np.minimum(cap, total) - x if rest > 0.0 else x
        at = int(np.argmax(room))
        x = x.copy()
        x[at] = max(x[at] + rest, 0.0)
    return x
