r"""From a minute's or a book's walks to the levels that the series follow.

The half-spread s is the measured one.  The **excess** at a size q is what a
walk costs above it, and a tenth of it:

.. math:: E(q) = g(q) - s + s / 10

A book whose first level holds q has no excess, and its logarithm would be
minus infinity.  The tenth makes its level an ordinary one; it is subtracted again when coefficients are read out.

Cells that were not held for `min_coverage` of the time are replaced by the
line through the last two that were, and by no less than their lower bound: a
thin book costs more at these sizes, and leaving the cells out would price it like a deep one.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from impactd.core.base.jit import kernel
from impactd.core.base.quick import quick_dataclass
from impactd.core.model.curves import BookCurve, Float, MinuteBooks

#: The part of the half-spread that is added to every measured excess.
OFFSET: Final = 0.1
#: A half-spread is taken as no smaller than this part of the mid: a locked book has a level too.
FLOOR_MID: Final = 1e-7


@quick_dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Levels of one curve, positive."""

    #: s, price.
    half_spread: float
    #: Shape (K,). E at `sizes`, price.
    excess: Float
    #: Shape (K,). Shares, ascending.
    sizes: Float
    #: How many of the sizes were held long enough.
    held: int

    def at(self, size: float) -> float:
        """Return E at `size` shares: linear between sizes, and on by the last slope."""
        return float(value_at(self.sizes, self.excess, size))


def floored(half_spread: float, mid: float) -> float:
    """Return the half-spread as it is taken: see `FLOOR_MID`."""
    return max(half_spread, FLOOR_MID * (abs(mid) or 1.0))


def of_minute(books: MinuteBooks, row: int, min_coverage: float, *, intercept: bool) -> Levels | None:
    """Return the levels of a closed minute, or None if no size was held long enough."""
    if books.covered_ns <= 0 or books.half_spread is None or books.mid is None or not len(books.sizes):
        return None
    cells = books.slippage[row], books.lower_bound[row], books.coverage[row]
    levels, any_held = _levels(books.sizes, *cells, min_coverage, books.half_spread, books.mid, intercept=intercept)
    return levels if any_held else None


def of_book(book: BookCurve, *, intercept: bool) -> Levels:
    """Return the levels of one prevailing book."""
    # Where it has a price it holds the size.
    cells = book.g, book.lower_bound, np.ones(len(book.sizes))
    return _levels(book.sizes, *cells, 1.0, book.half_spread, book.mid, intercept=intercept)[0]


def _levels(
    sizes: Float,
    g: Float,
    bound: Float,
    coverage: Float,
    least: float,
    half_spread: float,
    mid: float,
    *,
    intercept: bool,
) -> tuple[Levels, bool]:
    """Return the levels, and whether any size was held long enough."""
    spread = floored(half_spread, mid)
    excess, rows = np.empty(len(sizes)), [np.ascontiguousarray(row) for row in (g, bound, coverage)]
    of_curve = spread if intercept else 0.0, OFFSET * spread
    held, any_held = excesses(sizes, rows[0], rows[1], rows[2], least, *of_curve, excess)
    return Levels(spread, excess, sizes, held), any_held


@kernel
def excesses(
    sizes: Float,
    g: Float,
    bound: Float,
    coverage: Float,
    least: float,
    half_spread: float,
    offset: float,
    out: Float,
) -> tuple[int, bool]:
    """Fill `out` with ``g - half_spread + offset`` at sizes, shape (K,).

    Return how many sizes from the first on are measured, which they are at a coverage of `least`, and whether any is.
    """
    n, held, any_held = sizes.shape[0], 0, False
    for k in range(n):
        if coverage[k] >= least and np.isfinite(g[k]):
            any_held = True
            held += held == k
    for k in range(n):
        value = bound[k] if np.isfinite(bound[k]) else 0.0
        if k < held:
            value = g[k]
        elif held > 1:
            slope = max((g[held - 1] - g[held - 2]) / (sizes[held - 1] - sizes[held - 2]), 0.0)
            value = max(value, g[held - 1] + slope * (sizes[k] - sizes[held - 1]))
        elif held == 1:
            value = max(value, g[0])
        out[k] = max(value - half_spread, 0.0) + offset
    return held, any_held


@kernel
def value_at(sizes: Float, values: Float, size: float) -> float:
    """Return the value at a size: linear between sizes, on by the last slope, in proportion below the first."""
    n = sizes.shape[0]
    if n == 1:
        return float(values[0])
    k = 1
    while k < n - 1 and sizes[k] < size:
        k += 1
    value = values[k - 1] + (size - sizes[k - 1]) / (sizes[k] - sizes[k - 1]) * (values[k] - values[k - 1])
    if size < sizes[0]:
        return float(max(value, values[0] * size / sizes[0]))
    if size > sizes[n - 1]:
        return float(max(value, values[n - 1]))
    return float(value)
