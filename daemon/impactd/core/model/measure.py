"""From the cells of one curve to the levels s and E that a series follows.

A fit may say zero (all sizes inside the first level; a strongly convex
curve), which has no logarithm: it counts as `FLOOR` of the measured
half-spread, less than a book can show.  Where there are fewer cells than the
model has terms, the measured half-spread stands for s, and the cells' own
excess is brought to q_ref by the shape known so far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from impactd.core.model.curves import BookCurve, MinuteBooks
from impactd.core.model.kinds.base import Float, ImpactModel, MinuteFit

#: What a fitted zero counts as, in measured half-spreads.
FLOOR: Final = 0.01
#: The same in mids, where the half-spread is zero too (a locked book): a thousandth of a basis point.
FLOOR_MID: Final = 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The usable cells of one side's curve.

    Attributes
    ----------
    sizes, g, weight : ndarray of float64, shape (K,)
        Shares, ascending; price per share; weights > 0.  K >= 1.
    half_spread, mid : float
        Measured, price.
    """

    sizes: Float
    g: Float
    weight: Float
    half_spread: float
    mid: float

    @classmethod
    def of_minute(cls, books: MinuteBooks, row: int, min_coverage: float) -> Cells | None:
        """Return the cells of side `row` that were held long enough; None if there are none."""
        if books.covered_ns <= 0 or books.half_spread is None or books.mid is None:
            return None
        g, coverage = books.slippage[row], books.coverage[row]
        held = (coverage >= min_coverage) & np.isfinite(g)
        if not held.any():
            return None
        return cls(books.sizes[held], g[held], coverage[held], books.half_spread, books.mid)

    @classmethod
    def of_book(cls, book: BookCurve) -> Cells:
        """Return the cells that one standing book holds; its smallest one's lower bound if it holds none."""
        held = np.isfinite(book.g)
        if held.any():
            return cls(book.sizes[held], book.g[held], np.ones(int(held.sum())), book.half_spread, book.mid)
        return cls(book.sizes[:1], book.lower_bound[:1], np.ones(1), book.half_spread, book.mid)

    def reference_size(self) -> float:
        """Return the geometric mean of the sizes, shares."""
        return math.exp(math.fsum(math.log(q) for q in self.sizes.tolist()) / len(self.sizes))


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Levels of one curve by candidate, positive.

    Attributes
    ----------
    half_spread, excess : ndarray of float64, shape (M,)
        s and E, price.
    fits : tuple of MinuteFit
        Empty where there were fewer cells than terms.
    """

    half_spread: Float
    excess: Float
    fits: tuple[MinuteFit, ...]


def measure(model: ImpactModel, cells: Cells, q_ref: float, shapes: list[float]) -> Levels:
    """Return the levels of one curve.

    Parameters
    ----------
    q_ref : float
        Reference size, shares.
    shapes : list of float
        Shape parameter of each candidate, for curves too thin to be fitted.
    """
    floor = max(FLOOR * cells.half_spread, FLOOR_MID * cells.mid)
    if len(cells.sizes) >= model.n_terms:
        fits = model.fit(cells.sizes, cells.g, cells.weight, q_ref)
        half_spread = np.array([max(fit.half_spread, floor) for fit in fits])
        return Levels(half_spread, np.array([max(fit.excess, floor) for fit in fits]), fits)
    over = np.maximum(cells.g - (cells.half_spread if model.intercept else 0.0), 0.0) * cells.weight
    total = float(cells.weight.sum())
    at_ref = [float((over / model.excess_shape(cells.sizes / q_ref, shape)).sum()) / total for shape in shapes]
    half_spread = np.full(len(shapes), max(cells.half_spread, floor))
    return Levels(half_spread, np.array([max(excess, floor) for excess in at_ref]), ())
