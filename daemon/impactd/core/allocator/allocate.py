"""One order's schedule in whole lots: solver chain, rounding, certificate.

The way: caps down to whole lots -> continuous optimum (`solve_chain`) -> whole
lots (`integer`) -> odd remainder -> certificate.  Quantities in and out are
int64 quanta.

The remainder (the part of the order that is no whole lot) may use the part of
a cap that is no whole lot, so an odd end of 50 shares still trades under a cap
of 80 when the lot is 100; a cap itself is never exceeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from impactd.core.allocator.certificate import CERTIFICATE_TOLERANCE
from impactd.core.allocator.integer import Int, place_remainder, round_separable
from impactd.core.allocator.integer_path import round_path
from impactd.core.allocator.problem import Float, Problem
from impactd.core.allocator.solver import Failure, Solution, SolveFailure, chain_exhausted, solve_chain
from impactd.core.quantity import MAX_QUANTA, QUANTA

#: Keeps a market without any cost from dividing by zero.
_SMALLEST_PRICE: Final = 2.0**-1000

#: A cap that does not bind.
NO_CAP: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Allocation:
    """A schedule in quanta and its certificate.

    Attributes
    ----------
    quanta : ndarray of int64, shape (N,)
        1e-9 shares per interval; ``quanta.sum() + shortfall_quanta`` is the order's quantity, exactly.
    shortfall_quanta : int
        What the caps could not hold.
    multiplier : float
        Price of one more share, from the continuous optimum.
    kkt_residual : float
        The larger of the continuous optimum's residual and of what the best
        exchange of lots would still save, relative to the multiplier.
    solver : str
        Which solver found the continuous optimum.
    iterations : int
        In the solver's own unit.
    failures : tuple of SolveFailure
        What was tried before.
    """

    quanta: Int
    shortfall_quanta: int
    multiplier: float
    kkt_residual: float
    solver: str
    iterations: int
    failures: tuple[SolveFailure, ...] = ()

    def qty(self) -> Float:
        """Return the shares per interval, float64, shape (N,)."""
        return self.quanta / QUANTA


def caps_in_quanta(problem: Problem) -> Int:
    """Return the problem's caps in quanta, rounded to the nearest; `NO_CAP` where they never bind."""
    bounded = problem.cap < MAX_QUANTA / QUANTA
    quanta = np.full(len(problem), NO_CAP, dtype=np.int64)
    quanta[bounded] = np.rint(problem.cap[bounded] * QUANTA).astype(np.int64)
    return quanta


def _bad_input(problem: Problem, qty_quanta: int, lot_quanta: int, cap_quanta: Int) -> SolveFailure | None:
    text = None
    if not 0 <= qty_quanta <= MAX_QUANTA:
        text = f"qty_quanta: {qty_quanta} must lie in 0..{MAX_QUANTA}"
    elif lot_quanta < 1:
        text = f"lot_quanta: {lot_quanta} must be positive"
    elif cap_quanta.shape != (len(problem),) or bool(np.any(cap_quanta < 0)):
        text = f"cap_quanta: needs {len(problem)} non-negative values ({NO_CAP} for no cap)"
    return None if text is None else SolveFailure("allocate", Failure.BAD_INPUT, text)


def allocate(
    problem: Problem,
    qty_quanta: int,
    lot_quanta: int,
    cap_quanta: Int | None = None,
    *,
    solvers: Sequence[str] = ("exact",),
    tolerance: float = CERTIFICATE_TOLERANCE,
) -> Allocation | SolveFailure:
    """Return the schedule of least cost in whole lots.

    Parameters
    ----------
    problem : Problem
        N intervals.  Its `cap` counts only where `cap_quanta` is None.
    qty_quanta : int
        The order's leaves, quanta.
    lot_quanta : int
        Quanta in one lot.
    cap_quanta : ndarray of int64, shape (N,), optional
        Exact caps in quanta; `NO_CAP` for none.
    solvers : sequence of str
        Chain for the continuous optimum; one whose schedule in whole lots does not pass makes way for the next.
    tolerance : float
        Largest residual that passes.

    Returns
    -------
    Allocation or SolveFailure
        The exact optimum in whole lots; an odd remainder is placed by its impact alone.
    """
    caps = caps_in_quanta(problem) if cap_quanta is None else cap_quanta
    failure = _bad_input(problem, qty_quanta, lot_quanta, caps)
    if failure is not None:
        return failure
    lots = qty_quanta // lot_quanta
    cap_lots = np.minimum(caps // lot_quanta, lots)
    # Small lots without caps: their sum may leave int64.
    room = int(np.sum(cap_lots)) if float(np.sum(cap_lots, dtype=np.float64)) < 2.0**62 else sum(cap_lots.tolist())
    placed = min(lots, room)
    failures: tuple[SolveFailure, ...] = ()
    while True:  # a failure is added each time, so the chain gets shorter
        solution = _relaxed(problem, placed, lot_quanta, cap_lots, lots, solvers[len(failures) :], tolerance)
        if isinstance(solution, SolveFailure):
            return chain_exhausted(failures + solution.causes)
        failures += solution.failures
        quanta, residual = _whole_lots(problem, qty_quanta, lot_quanta, caps, cap_lots, solution, choice=placed < room)
        if residual <= tolerance:
            break
        text = f"relative residual {residual:.3g} of the whole-lot schedule is above {tolerance:.3g}"
        failures += (SolveFailure(solution.solver, Failure.BAD_CERTIFICATE, text),)
    return Allocation(
        quanta=quanta,
        shortfall_quanta=qty_quanta - int(np.sum(quanta)),
        multiplier=solution.multiplier,
        kkt_residual=residual,
        solver=solution.solver,
        iterations=solution.iterations,
        failures=failures,
    )


def _whole_lots(
    problem: Problem,
    qty_quanta: int,
    lot_quanta: int,
    caps: Int,
    cap_lots: Int,
    solution: Solution,
    *,
    choice: bool,
) -> tuple[Int, float]:
    """Return the continuous optimum in whole lots with the odd remainder, quanta, and its residual.

    Without a `choice` every cap is filled.
    """
    p, lot, left_over = problem, lot_quanta / QUANTA, 0.0
    lots, rest = divmod(qty_quanta, lot_quanta)
    count = np.zeros(len(p), dtype=np.int64)
    if not choice:
        count[:] = cap_lots
    elif p.risk == 0.0:
        left_over = round_separable(
            lots, lot, solution.multiplier, p.s, p.b, p.a, p.e, p.delta, solution.qty, cap_lots, count
        )
    else:
        start = qty_quanta / QUANTA
        left_over = round_path(lots, lot, start, p.s, p.b, p.a, p.e, p.delta, p.risk, solution.qty, cap_lots, count)
    residual = solution.kkt_residual
    if left_over > 0.0:
        residual = max(residual, left_over / max(abs(solution.multiplier), _SMALLEST_PRICE))
    where = -1
    if rest > 0 and len(p) > 0:
        where = place_remainder(rest, lot_quanta, 1.0 / QUANTA, p.s, p.b, p.a, p.e, p.delta, cap_lots, caps, count)
    quanta = count * lot_quanta
    if where >= 0:
        quanta[where] += rest
    return quanta, residual


def _relaxed(
    problem: Problem,
    placed: int,
    lot_quanta: int,
    cap_lots: Int,
    lots: int,
    solvers: Sequence[str],
    tolerance: float,
) -> Solution | SolveFailure:
    """Return the continuous optimum under caps of whole lots."""
    if len(problem) == 0:
        return Solution(np.empty(0), 0.0, 0.0, 0.0, "none", 0)
    lot = lot_quanta / QUANTA
    cap = np.where(cap_lots < lots, cap_lots * lot, np.inf)
    if not np.array_equal(cap, problem.cap):
        problem = replace(problem, cap=cap)
    return solve_chain(problem, placed * lot, solvers, tolerance=tolerance)
