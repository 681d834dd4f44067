"""One order's schedule in whole lots: solver chain, rounding, certificate.

The way: bounds down to whole lots -> continuous optimum (`solve_chain`) -> whole
lots (`impactd.core.allocator.lots`) -> odd remainder -> certificate.  Quantities
in and out are int64 quanta.

An interval may have a smallest clip: it then trades nothing, or at least that.
Where `impactd.core.allocator.lots.search` had to search, for clips or because
impact lasts, the schedule states how much it may cost above the best one.

The remainder (the part of the order that is no whole lot) may use the part of
a cap that is no whole lot, so an odd end of 50 shares still trades under a cap
of 80 when the lot is 100; a cap itself is never exceeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from impactd.core.allocator.bounds import MOST_LOTS, NO_CAP, Int, count_lots, never_bind, tighten
from impactd.core.allocator.certificate import CERTIFICATE_TOLERANCE
from impactd.core.allocator.cost import gradient, objective
from impactd.core.allocator.curve import SMALLEST_PRICE, Float
from impactd.core.allocator.lots.path import round_path, round_running_sum
from impactd.core.allocator.lots.search import clipped_path, clipped_separable, descend
from impactd.core.allocator.lots.separable import place_remainder, round_separable
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, Solution, SolveFailure
from impactd.core.allocator.solvers.chain import chain_exhausted, solve_chain
from impactd.core.allocator.solvers.decomposition import decompose_one
from impactd.core.base.quantity import MAX_QUANTA, QUANTA
from impactd.core.base.quick import quick_dataclass


@quick_dataclass(frozen=True, slots=True)
class Allocation:
    """A schedule in quanta and its certificate."""

    #: Shape (N,). 1e-9 shares per interval; ``quanta.sum() + shortfall_quanta`` is the order's quantity, exactly.
    quanta: Int
    #: What the caps could not hold.
    shortfall_quanta: int
    #: Price of one more share, from the continuous optimum.
    multiplier: float
    #: The larger of the continuous optimum's residual and of what the best exchange of lots would still save, relative
    #: to the multiplier.
    kkt_residual: float
    solver: str
    #: In the solver's own unit.
    iterations: int
    failures: tuple[SolveFailure, ...] = ()
    #: Currency: the schedule in whole lots costs at most this more than the best one; None where it is the best one.
    gap: float | None = None

    def qty(self) -> Float:
        """Return the shares per interval, float64, shape (N,)."""
        return self.quanta / QUANTA


def caps_in_quanta(problem: Problem) -> Int:
    """Return the problem's caps in quanta, rounded to the nearest; `NO_CAP` where they never bind."""
    bounded = problem.cap < MAX_QUANTA / QUANTA
    quanta = np.full(len(problem), NO_CAP, dtype=np.int64)
    quanta[bounded] = np.rint(problem.cap[bounded] * QUANTA).astype(np.int64)
    return quanta


def _bad_input(problem: Problem, qty_quanta: int, lot_quanta: int, bounds: Sequence[Int]) -> SolveFailure | None:
    text, n = None, len(problem)
    if not 0 <= qty_quanta <= MAX_QUANTA:
        text = f"qty_quanta: {qty_quanta} must lie in 0..{MAX_QUANTA}"
    elif lot_quanta < 1:
        text = f"lot_quanta: {lot_quanta} must be positive"
    elif any(bound.shape != (n,) or bound.min(initial=0) < 0 for bound in bounds):
        text = f"cap_quanta, low_quanta, high_quanta: need {n} non-negative values ({NO_CAP} for no limit)"
    return None if text is None else SolveFailure("allocate", Failure.BAD_INPUT, text)


def allocate(
    problem: Problem,
    qty_quanta: int,
    lot_quanta: int,
    cap_quanta: Int | None = None,
    *,
    low_quanta: Int | None = None,
    high_quanta: Int | None = None,
    least_quanta: Int | None = None,
    completes: bool = False,
    solvers: Sequence[str] = ("exact",),
    tolerance: float = CERTIFICATE_TOLERANCE,
) -> Allocation | SolveFailure:
    """Return the schedule of least cost in whole lots.

    Parameters
    ----------
    problem : Problem
        N intervals.  Its `cap` counts only where `cap_quanta` is None; its `low` and `high` do not.
    qty_quanta : int
        The order's leaves, quanta.
    lot_quanta : int
        Quanta in one lot.  Where the order has more than `MOST_LOTS` lots, several are placed as one.
    cap_quanta : ndarray of int64, shape (N,), optional
        Exact caps in quanta; `NO_CAP` for none.
    low_quanta, high_quanta : ndarray of int64, shape (N,), optional
        Least and most of the running sum after each interval, in whole lots of the sum; the odd remainder may use
        the part of `high_quanta` that is no whole lot.  A lower bound that caps and upper bounds do not allow gives
        way.
    least_quanta : ndarray of int64, shape (N,), optional
        Smallest clip of each interval, which trades nothing or at least this, in whole lots.  What is left of an
        order below its smallest clip may trade as one.
    completes : bool
        Whether the last trade may be smaller than its clip where no clips make up the whole order.
    solvers : sequence of str
        Chain for the continuous optimum; one whose schedule in whole lots does not pass makes way for the next.
    tolerance : float
        Largest residual that passes.

    Returns
    -------
    Allocation or SolveFailure
        The exact optimum in whole lots, or one with its `gap`; an odd remainder is placed by its impact alone.
    """
    n = len(problem)
    caps = caps_in_quanta(problem) if cap_quanta is None else cap_quanta
    low = np.zeros(n, np.int64) if low_quanta is None else low_quanta
    high = np.full(n, NO_CAP) if high_quanta is None else high_quanta
    failure = _bad_input(problem, qty_quanta, lot_quanta, (caps, low, high))
    if failure is not None:
        return failure
    lot_quanta *= -(-(qty_quanta // lot_quanta) // MOST_LOTS) or 1
    rounding = _Rounding(problem, qty_quanta, lot_quanta, caps, low, high, least_quanta, completes=completes)
    failures: tuple[SolveFailure, ...] = ()
    while True:  # a failure is added each time, so the chain gets shorter
        solution = _relaxed(rounding, solvers[len(failures) :], tolerance)
        if isinstance(solution, SolveFailure):
            return chain_exhausted(failures + solution.causes)
        failures += solution.failures
        quanta, residual, gap = rounding.whole_lots(solution)
        if residual <= tolerance:
            break
        text = f"relative residual {residual:.3g} of the whole-lot schedule is above {tolerance:.3g}"
        failures += (SolveFailure(solution.solver, Failure.BAD_CERTIFICATE, text),)
    return Allocation(
        quanta=quanta,
        shortfall_quanta=qty_quanta - int(quanta.sum()),
        multiplier=solution.multiplier,
        kkt_residual=residual,
        solver=solution.solver,
        iterations=solution.iterations,
        failures=failures,
        gap=gap,
    )


def placeable(qty_quanta: int, lot_quanta: int, cap: Int, low: Int, high: Int, least: Int) -> int:
    """Return how many lots of an order that must complete can trade in clips; the terms are those of `allocate`."""
    n = cap.shape[0]
    problem = Problem.from_impact(np.zeros(n))
    return _Rounding(problem, qty_quanta, lot_quanta, cap, low, high, least, completes=True).placed


class _Rounding:
    """An order in lots: its clips and its bounds, tight, and how many of its lots they hold."""

    def __init__(
        self,
        problem: Problem,
        qty_quanta: int,
        lot_quanta: int,
        caps: Int,
        low: Int,
        high: Int,
        least: Int | None,
        *,
        completes: bool,
    ) -> None:
        self.problem, self.qty_quanta, self.lot_quanta = problem, qty_quanta, lot_quanta
        self.caps, self.high_quanta = caps, high
        self.lots = qty_quanta // lot_quanta
        self.cap, self.low, self.high = np.empty((3, len(problem)), np.int64)
        count_lots(self.lots, lot_quanta, caps, low, high, self.cap, self.low, self.high)
        self.least: Int | None = None
        self.clips_fit, self.completes = True, completes
        if least is not None and self.lots > 0 and bool((least > lot_quanta).any()):
            self.least = np.clip(-(-least // lot_quanta), 1, self.lots)
            self.completes &= tighten(self.lots, self.cap.copy(), self.low.copy(), self.high.copy()) == self.lots
            if not self.completes:  # else the last trade may be less
                self.cap = np.where(self.cap < self.least, 0, self.cap)
        asked = self.low if self.least is None else self.low.copy()
        self.placed = int(tighten(self.lots, self.cap, self.low, self.high))
        if self.least is not None:
            # what clips can place is not known yet, so no running sum is owed for it
            none, count, last = np.empty(0), np.empty_like(self.cap), int(self.completes)
            self.placed = clipped_path(self.placed, 1.0, none, self.least, self.cap, asked, self.high, last, count)
            self.clips_fit = not bool(((count > 0) & (count < self.least)).any())
            self.low = asked
            tighten(self.placed, self.cap, self.low, self.high)
        self.nested = not never_bind(self.placed, self.cap, self.low, self.high)

    def whole_lots(self, solution: Solution) -> tuple[Int, float, float | None]:
        """Return the continuous optimum in whole lots with the odd remainder, quanta; its residual; and its gap."""
        count, left_over, bound = self._lots(solution)
        residual = solution.kkt_residual
        if left_over > 0.0:
            residual = max(residual, left_over / max(abs(solution.multiplier), SMALLEST_PRICE))
        where = self._remainder(count)
        quanta = count * self.lot_quanta
        if where >= 0:
            quanta[where] += self.qty_quanta % self.lot_quanta
        if bound is None:
            return quanta, residual, None
        placed = np.asarray(quanta / QUANTA, np.float64)
        return quanta, residual, max(objective(self._above(), float(placed.sum()), placed) - bound, 0.0)

    def _lots(self, solution: Solution) -> tuple[Int, float, float | None]:
        """Return lots by interval, the saving of the best move that was left (price), and a bound from below.

        The bound (currency, see `_above`) is None where the schedule is the best one.
        """
        p, lot, least = self.problem, self.lot_quanta / QUANTA, self.least
        if self.cap.sum(dtype=np.float64) <= self.placed:  # nothing to choose
            return self.cap.copy(), 0.0, None
        count, left_over = np.zeros(len(p), dtype=np.int64), 0.0
        if p.separable and not self.nested:
            left_over = round_separable(
                self.placed, lot, solution.multiplier, p.curve, solution.qty, self.cap, count
            )  # fmt: skip
        else:
            round_running_sum(solution.qty, lot, self.cap, self.low, self.high, count)
        if p.separable and self.nested:
            left_over = decompose_one(p.curve, p.fraction, lot, self.cap, self.low, self.high, count)
        elif not p.separable and not p.transient:
            left_over = round_path(lot, self.placed * lot, p.curve, p.risk, self.cap, self.low, self.high, count)
        clipped = least is not None and bool(((count > 0) & (count < least)).any())
        if not p.transient and not clipped:
            return count, left_over, self._bound(solution) if self._odd_with_risk() else None
        return self._searched(solution, count)

    def _searched(self, solution: Solution, count: Int) -> tuple[Int, float, float]:
        p, lot, placed, cap = self.problem, self.lot_quanta / QUANTA, self.placed, self.cap
        least, bound = self.least, self._bound(solution)
        if least is None:
            least = np.ones(len(p), np.int64)
        elif p.separable and not self.nested and self.clips_fit:
            bound = clipped_separable(placed, lot, p.curve, least, cap, count)
        else:
            clipped_path(placed, lot, solution.qty, least, cap, self.low, self.high, int(self.completes), count)
        last = int(np.flatnonzero(count).max(initial=0))
        if count[last] < least[last]:  # the last trade, of less than its clip, stays the last
            cap = np.where(np.arange(len(p)) > last, 0, cap)
        descend(lot, placed * lot, p.curve, p.risk, p.root, p.keep, least, cap, self.low, self.high, count)
        return count, 0.0, bound

    def _odd_with_risk(self) -> bool:
        """Return whether there is an odd remainder, which is placed by its impact, and risk with it."""
        return self.problem.risk > 0.0 and self.qty_quanta % self.lot_quanta > 0

    def _bound(self, solution: Solution) -> float:
        """Return what the continuous optimum costs, currency."""
        return objective(self._above(), self.placed * self.lot_quanta / QUANTA, solution.qty)

    def _above(self) -> Problem:
        """Return the problem without what all lots pay alike, which would hide a gap in its rounding."""
        p = self.problem
        base = float(p.curve.s[self.cap > 0].min(initial=np.inf))
        return replace(p, curve=p.curve.above(base if np.isfinite(base) else 0.0))

    def _remainder(self, count: Int) -> int:
        """Return where the part of the order that is no whole lot trades, or -1; may move a lot of `count`."""
        p, rest = self.problem, self.qty_quanta % self.lot_quanta
        if rest == 0 or len(p) == 0:
            return -1
        free = never_bind(self.qty_quanta, self.caps, np.zeros_like(self.caps), self.high_quanta)  # with the remainder
        if self.least is None and not p.transient and not self.nested and free:
            return place_remainder(
                rest, self.lot_quanta, 1.0 / QUANTA, p.curve, self.cap, self.caps, count
            )  # fmt: skip
        fits = (self.caps - rest) // self.lot_quanta >= count
        fits &= self.caps >= rest
        room = self.high_quanta - count.cumsum() * self.lot_quanta >= rest  # of the running sum, from here to the end
        fits &= np.flip(np.logical_and.accumulate(np.flip(room)))
        if self.least is not None and bool((fits & (count > 0)).any()):
            fits &= count > 0  # with a clip, where one has room
        if not bool(fits.any()):
            return -1
        held = np.asarray(count * (self.lot_quanta / QUANTA), np.float64)
        price = gradient(p, self.qty_quanta / QUANTA, held)
        return int(np.argmin(np.where(fits, price, np.inf)))


def _relaxed(rounding: _Rounding, solvers: Sequence[str], tolerance: float) -> Solution | SolveFailure:
    """Return the continuous optimum under bounds of whole lots."""
    problem = rounding.problem
    if len(problem) == 0:
        return Solution(np.empty(0), 0.0, 0.0, 0.0, "none", 0)
    lot = rounding.lot_quanta / QUANTA
    cap = np.where(rounding.cap < rounding.placed, rounding.cap * lot, np.inf)
    low = high = np.empty(0)
    if rounding.nested:
        low, high = (np.asarray(bound * lot, np.float64) for bound in (rounding.low, rounding.high))
    return solve_chain(
        replace(problem, cap=cap, low=low, high=high), rounding.placed * lot, solvers, tolerance=tolerance
    )  # fmt: skip
