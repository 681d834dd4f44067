r"""Slippage: the cost of walking a book, per share and over mid.

Theory
------
A book has levels :math:`(p_j, v_j)`, best first, on the side that is walked:
a buy walks the asks, a sell the bids.  With the half-spread
:math:`h = (a_0 - b_0)/2`, the distance :math:`e_j = |p_j - p_0|` of a level
from the best one, and :math:`V_j = v_0 + \dots + v_j`, walking `q` costs over
mid

.. math::

    C(q) = h q + \sum_{j<m} v_j e_j + (q - V_{m-1}) e_m,
    \qquad V_{m-1} < q \le V_m,
    \qquad g(q) = C(q) / q .

That is side sign times (average fill price - mid), and it is never negative.
It is computed from distances within the book, which are exact or nearly so,
and not from the difference of an average price and the mid, which cancels.

If the visible depth is less than `q`, the walk is *censored*: `g` has no
value (NaN).  What is then known is a lower bound, which prices the rest at
the last visible level:

.. math:: \underline g(q) = \bigl(h q + \sum_j v_j e_j + (q - V) e_{last}\bigr) / q .

Sizes ascend, so one pass over the levels serves all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import inner_kernel, kernel
from impactd.core.books.checks import compact_side
from impactd.core.inputs.ticks import Float

#: Index of the two sides in every array of shape (2, ...) here and in `impactd.core.books.aggregator`.
BUY: Final = 0
SELL: Final = 1

#: First of the two rows, price and size, in which an array of shape (n, 4, n_levels) has a side.
BIDS: Final = 0
ASKS: Final = 2


class WalkCurves(NamedTuple):
    """Walks of many books."""

    #: Shape (n, 2, n_sizes). Price per share over mid to buy and to sell; NaN where censored.
    g: Float
    #: Shape (n, 2, n_sizes). The same with what is beyond the visible depth at the last level.
    lower_bound: Float
    #: Shape (n, 2, n_sizes). Whether the visible depth held the size.
    full: npt.NDArray[np.bool_]
    #: Shape (n,). NaN where a side is empty.
    mid: Float
    half_spread: Float


@inner_kernel
def walk_side(
    levels: Float,
    i: int,
    side: int,
    n: int,
    half_spread: float,
    sizes: Float,
    n_sizes: int,
    g: Float,
) -> tuple[int, float]:
    """Walk one side of book `i` for ascending sizes.

    Parameters
    ----------
    levels : ndarray of float64, shape (n_books, 4, n_levels)
        bid_px, bid_sz, ask_px, ask_sz; best first.
    i : int
        Row of `levels` and of `sizes`.
    side : int
        `ASKS` to buy, `BIDS` to sell.
    n : int
        Levels of the side, at least one, all of positive size.
    sizes : ndarray of float64, shape (n_books, >= n_sizes)
        Ascending, positive.
    g : ndarray of float64, shape (>= n_sizes,)
        Receives the price per share over mid: exact for the sizes that the
        side holds, the lower bound for those beyond.  Within the best level
        it *is* the half-spread, without rounding.

    Returns
    -------
    held : int
        The first `held` sizes are within the visible depth.
    depth : float
        Visible depth, shares.
    """
    best = levels[i, side, 0]
    filled = 0.0
    excess = 0.0
    distance = 0.0
    # The current level; one of any size at the last price follows the last, which gives the lower bound.
    size = levels[i, side + 1, 0]
    j = 0
    held = 0
    for k in range(n_sizes):
        qty = sizes[i, k]
        while filled + size < qty:
            filled += size
            excess += size * distance
            j += 1
            if j < n:
                size = levels[i, side + 1, j]
                distance = abs(levels[i, side, j] - best)
            else:
                size = np.inf
        if j < n:
            held += 1
        g[k] = half_spread + (excess + (qty - filled) * distance) / qty
    depth = filled
    while j < n:
        depth += levels[i, side + 1, j]
        j += 1
    return held, depth


@kernel
def _walk_one(px: Float, sz: Float, qty: float, mid: float) -> tuple[float, float]:
    """Walk the levels of one side, shape (1, n_levels); see `walk`."""
    width = px.shape[1]
    levels = np.empty((1, 4, width))
    n = compact_side(px, sz, 0, width, levels, 0, ASKS)
    if n == 0:
        return np.nan, 0.0
    g = np.empty(1)
    half_spread = abs(levels[0, ASKS, 0] - mid)
    held, depth = walk_side(levels, 0, ASKS, n, half_spread, np.full((1, 1), qty), 1, g)
    if held == 0:
        return np.nan, depth
    return g[0], qty


def walk(px: Float, sz: Float, qty: float, mid: float) -> tuple[float, float]:
    """Walk the levels of one side for one quantity.

    Parameters
    ----------
    px, sz : ndarray of float64, shape (n_levels,)
        Levels best first: asks to buy, bids to sell.  Levels of size 0 or NaN
        are not there.
    qty : float
        Shares, positive.
    mid : float
        Price that the cost is measured from.

    Returns
    -------
    g : float
        Price per share over mid, NaN if the levels do not hold `qty`.
    filled : float
        Shares that the visible levels give: `qty`, or their depth.

    Raises
    ------
    ValueError
        If `px` and `sz` are not of one length, or `qty` is not positive.
    """
    row = [np.ascontiguousarray(a, np.float64).reshape(1, -1) for a in (px, sz)]
    if row[0].shape != row[1].shape or not qty > 0.0:
        raise ValueError("walk: give as many prices as sizes, and a positive quantity")
    return _walk_one(row[0], row[1], float(qty), float(mid))


@kernel
def _walk_books(
    bid_px: Float,
    bid_sz: Float,
    ask_px: Float,
    ask_sz: Float,
    sizes: Float,
    g: Float,
    bound: Float,
    full: npt.NDArray[np.bool_],
    mid: Float,
    half: Float,
) -> None:
    """Fill the arrays of `WalkCurves`, which come in as NaN and False; `sizes` has shape (1, n_sizes)."""
    n, n_sizes = bid_px.shape[0], sizes.shape[1]
    n_bid, n_ask = min(bid_px.shape[1], bid_sz.shape[1]), min(ask_px.shape[1], ask_sz.shape[1])
    levels = np.empty((1, 4, max(n_bid, n_ask)))
    walked = np.empty(n_sizes)
    for i in range(n):
        bids = compact_side(bid_px, bid_sz, i, n_bid, levels, 0, BIDS)
        asks = compact_side(ask_px, ask_sz, i, n_ask, levels, 0, ASKS)
        if asks == 0 or bids == 0:
            continue
        half[i] = 0.5 * (levels[0, ASKS, 0] - levels[0, BIDS, 0])
        mid[i] = 0.5 * (levels[0, ASKS, 0] + levels[0, BIDS, 0])
        for side in range(2):
            if side == BUY:
                held, _ = walk_side(levels, 0, ASKS, asks, half[i], sizes, n_sizes, walked)
            else:
                held, _ = walk_side(levels, 0, BIDS, bids, half[i], sizes, n_sizes, walked)
            for k in range(n_sizes):
                bound[i, side, k] = walked[k]
                if k < held:
                    g[i, side, k] = walked[k]
                    full[i, side, k] = True


def walk_curves(bid_px: Float, bid_sz: Float, ask_px: Float, ask_sz: Float, sizes: Float) -> WalkCurves:
    """Walk many books for the same sizes.

    Parameters
    ----------
    bid_px, bid_sz, ask_px, ask_sz : ndarray of float64, shape (n, n_levels)
        Levels best first; levels of size 0 or NaN are not there.  The books
        are taken as checked (`impactd.core.books.checks.check_books`).
    sizes : ndarray of float64, shape (n_sizes,)
        Shares, positive and ascending.

    Returns
    -------
    WalkCurves
        With NaN, and False, for books with an empty side.

    Raises
    ------
    ValueError
        If the shapes do not agree or `sizes` is not positive and ascending.
    """
    levels = [np.ascontiguousarray(a, np.float64) for a in (bid_px, bid_sz, ask_px, ask_sz)]
    if levels[0].ndim != 2 or any(a.shape != levels[0].shape for a in levels):
        raise ValueError("bid_px, bid_sz, ask_px, ask_sz: give four arrays of one shape (n, n_levels)")
    return _walked(levels, sizes)


def _walked(levels: Sequence[Float], sizes: Float) -> WalkCurves:
    """Return the walks of books whose sides may have different widths; see `walk_curves`."""
    sizes = np.ascontiguousarray(sizes, np.float64)
    if sizes.ndim != 1 or not _ascends(sizes):
        raise ValueError("sizes: give one dimension of positive, strictly ascending sizes")
    n = levels[0].shape[0]
    g, bound = np.full((2, n, 2, sizes.shape[0]), np.nan)
    full = np.zeros(g.shape, np.bool_)
    mid, half = np.full((2, n), np.nan)
    _walk_books(levels[0], levels[1], levels[2], levels[3], sizes.reshape(1, -1), g, bound, full, mid, half)
    return WalkCurves(g, bound, full, mid, half)


@kernel
def _ascends(sizes: Float) -> bool:
    """Return whether sizes are positive and ascend."""
    before = 0.0
    for k in range(sizes.shape[0]):
        if not sizes[k] > before:
            return False
        before = sizes[k]
    return True


def walk_curve(
    bid_px: Float, bid_sz: Float, ask_px: Float, ask_sz: Float, sizes: Float
) -> tuple[Float, Float, npt.NDArray[np.bool_]]:
    """Walk one book for many sizes.

    Parameters
    ----------
    bid_px, bid_sz, ask_px, ask_sz : ndarray of float64, shape (n_levels,)
        Levels best first; levels of size 0 or NaN are not there.
    sizes : ndarray of float64, shape (n_sizes,)
        Shares, positive and ascending.

    Returns
    -------
    g : ndarray of float64, shape (2, n_sizes)
        Price per share over mid to buy and to sell; NaN where censored.
    lower_bound : ndarray of float64, shape (2, n_sizes)
    full : ndarray of bool, shape (2, n_sizes)
    """
    sides = (bid_px, bid_sz, ask_px, ask_sz)
    curves = _walked([np.ascontiguousarray(side, np.float64).reshape(1, -1) for side in sides], sizes)
    return curves.g[0], curves.lower_bound[0], curves.full[0]
