"""Sizes at which the books of a symbol are walked: a logarithmic grid.

Rules
-----
- Sizes given in the settings hold for every symbol.
- Where open plans need between ``lo`` and ``hi`` of an interval, the grid
  runs from ``0.25 lo`` to ``4 hi`` at least.  It continues to the upper end
  that the default would have: a plan that needs less than the best level
  holds would see no slope otherwise, and it trades more in a cheap interval
  than in most.  Its lower end is at most an eighth of that, so that a plan
  which needs more than the book shows still leaves sizes that a fit can use.
- By default it runs from 1/32 of its upper end to 3/4 of `depth`, the
  time-weighted visible depth of the thinner side in the minute before (or
  the depth of the first two-sided book).  On FROG's and ARL's recorded days
  98% of the cells are then covered for 95% of the minute and more, and 80%
  of the largest sizes are; with the whole depth as the upper end these are
  95% and 60%, with half of it 99.7% and 96%.
- A grid changes only at the opening of a minute, and only if one of its
  ends is off by more than a factor of two: models compare minutes at equal
  sizes.
- A size is rounded to three significant digits, then to whole lots (at least
  one).  Sizes that round to the same one are one.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from typing import Final

import numpy as np

from impactd.core.base.quantity import QUANTA, to_float
from impactd.core.inputs.ticks import Float

#: Upper end of the default grid as a share of the thinner side's visible depth.
DEPTH_SHARE: Final = 0.75

#: Ratio of the ends of the default grid.
SPAN: Final = 32.0

#: How far beyond what plans ask the grid reaches, each way (design, section 2).
PLAN_REACH: Final = 4.0

#: A plan's grid begins at this part of the default's upper end, or lower.
_VISIBLE_PART: Final = 8.0

#: More sizes than this are a mistake: every book is walked for all of them.
MAX_SIZES: Final = 1_000

#: An end of the grid may be off by this factor before the grid is replaced.
HYSTERESIS: Final = 2.0


def log_grid(lo: float, hi: float, n_sizes: int, lot: int | None = None) -> tuple[float, ...]:
    """Return sizes from `lo` to `hi` at equal ratios, rounded.

    Parameters
    ----------
    lo, hi : float
        Ends, shares; positive and finite.  A `hi` below `lo` counts as `lo`.
    n_sizes : int
        The number of sizes before those that round to the same one are joined.
    lot : int or None
        Lot size in quanta; None where it is not known: no rounding to lots.

    Returns
    -------
    tuple of float
        Ascending and unique; at least one, at most `n_sizes`.

    Raises
    ------
    ValueError
        If an end is not positive and finite, or `n_sizes` or `lot` is below 1.
    """
    if not (0.0 < lo < np.inf and 0.0 < hi < np.inf):
        raise ValueError(f"grid ends {lo!r} and {hi!r}: give positive, finite sizes")
    if n_sizes < 1 or (lot is not None and lot < 1):
        raise ValueError(f"n_sizes {n_sizes}, lot {lot}: give 1 or more")
    hi = max(lo, hi)
    ratio = hi / lo
    steps = max(n_sizes - 1, 1)
    return tuple(sorted({_rounded(lo * math.pow(ratio, k / steps), lot) for k in range(n_sizes)}))


def _rounded(size: float, lot: int | None) -> float:
    """Return `size` at three significant digits and in whole lots."""
    digits = Decimal(f"{size:.2e}")
    if lot is None:
        return float(digits)
    lots = int((digits * QUANTA / lot).to_integral_value(ROUND_HALF_EVEN))
    return to_float(max(lots, 1) * lot)


def default_grid(depth: float, n_sizes: int, lot: int | None = None) -> tuple[float, ...]:
    """Return the grid for a visible depth.

    Parameters
    ----------
    depth : float
        Visible depth of the thinner side, shares; positive.
    lot : int or None
        Lot size in quanta.
    """
    hi = DEPTH_SHARE * depth
    return log_grid(hi / SPAN, hi, n_sizes, lot)


def grid_for(
    demand_range: tuple[float, float], n_sizes: int, lot: int | None = None, depth: float | None = None
) -> tuple[float, ...]:
    """Return the grid for what plans ask of an interval.

    Parameters
    ----------
    demand_range : tuple of float
        Smallest and largest quantity that open plans ask of an interval,
        shares; positive.
    lot : int or None
        Lot size in quanta.
    depth : float or None
        Visible depth of the thinner side, shares, where it is known.
    """
    lo, hi = demand_range[0] / PLAN_REACH, demand_range[1] * PLAN_REACH
    if depth is not None and depth > 0.0:
        lo = min(lo, DEPTH_SHARE * depth / _VISIBLE_PART)
        hi = max(hi, DEPTH_SHARE * depth)
    return log_grid(lo, hi, n_sizes, lot)


def check_sizes(sizes: tuple[float, ...]) -> None:
    """Raise ValueError unless `sizes` can be walked: positive, finite, ascending, 1 to 1,000 of them."""
    ascending = all(a < b for a, b in pairwise(sizes))
    if not (1 <= len(sizes) <= MAX_SIZES and ascending and sizes[0] > 0.0 and sizes[-1] < np.inf):
        raise ValueError(f"sizes {sizes!r}: give 1 to {MAX_SIZES} positive sizes, strictly ascending")


def whole_lot(*sizes: Float) -> int | None:
    """Return one share in quanta if all `sizes` are whole, else None."""
    return QUANTA if all(np.array_equal(s, np.floor(s)) for s in sizes) else None


def needs_new_grid(current: tuple[float, ...], wanted: tuple[float, ...]) -> bool:
    """Return whether `wanted` differs enough from `current` to replace it.

    Parameters
    ----------
    current, wanted : tuple of float
        Ascending sizes; `current` may be empty, `wanted` not.  Only their
        ends are examined.

    Returns
    -------
    bool
        True if there is no grid yet, or if an end is off by more than a
        factor of `HYSTERESIS`.
    """
    if not current:
        return True
    ends = ((current[0], wanted[0]), (current[-1], wanted[-1]))
    return any(max(a, b) > HYSTERESIS * min(a, b) for a, b in ends)
