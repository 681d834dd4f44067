r"""From shares to whole lots where risk couples the intervals, exactly.

With L shares a lot and :math:`y_t` the lots left after interval t, the problem

.. math::

   \min_y \sum_t C_t\bigl((y_{t-1} - y_t) L\bigr) + \rho L^2 \sum_t y_t^2

sums convex functions of differences and of single variables: it is L-natural
convex on the integers (Murota 2003, *Discrete Convex Analysis*, sec. 7.1 and
7.3).  For such a function a point that no common move of a set of variables by
one improves is a global optimum (ibid., thm 7.14).  Here the variables form a
chain, so the best of all such moves, up for some and down for others, is found
by dynamic programming over three states an interval, in O(N); and it is repeated
until nothing is left to gain.  The number of steps is the distance in lots to
the optimum (Murota and Shioura 2014, *Discrete Optimization* 14).  From the
rounded continuous path that is small, except for orders of very many lots, which
first move by strides of many lots, halved each time that nothing is left to gain.

Moves of one lot between *neighbouring* intervals alone are not enough: over a
long, flat stretch of about a lot an interval each gains next to nothing, and lots that should spread over hours
move too slowly.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.bounds import Int, keep_within
from impactd.core.allocator.curve import Curve, Float, added_cost, less, lot_price
from impactd.core.base.jit import kernel

Moves = npt.NDArray[np.int8]

#: The first strides are of less than this power of two of all lots.
_FINEST: Final = 16

#: Steps of descent at each stride; each lowers the cost, and far fewer are ever needed.
_MAX_STEPS: Final = 1000

#: Savings below this part of the prices that they are the difference of are rounding.
_NOISE: Final = 1e-12


@kernel
def round_path(lot: float, start: float, given: Curve, risk: float, cap: Int, low: Int, high: Int, n: Int) -> float:
    """Move the lots of `n`, a schedule within all bounds, to those of least cost and risk.

    Parameters
    ----------
    lot : float
        Shares.
    start : float
        Inventory before the first interval, shares.
    cap, low, high, n : ndarray of int64, shape (N,)
        Lots; see `impactd.core.allocator.bounds`.

    Returns
    -------
    float
        What the best move still saves, price; 0 at the optimum, which all but
        absurd input reaches.
    """
    size = n.shape[0]
    base = math.inf
    for t in range(size):
        if cap[t] > 0:
            base = min(base, given.s[t])
    c = less(given, base)
    cost, came = np.empty((size, 5)), np.empty((size, 3), np.int8)
    stride, saving = 1, 0.0
    while stride < np.sum(n) >> _FINEST:
        stride *= 2
    while stride > 0:
        for _ in range(_MAX_STEPS):
            scale = _changes(stride, lot, c, cap, n, cost)
            saving, noise = _best_move(stride, lot, start, risk, n, low, high, cost, came)
            if saving <= _NOISE * (scale + noise):
                saving = 0.0
                break
            _apply(stride, came, n)
        stride //= 2
    return saving


@kernel
def round_running_sum(x: Float, lot: float, cap: Int, low: Int, high: Int, n: Int) -> None:
    """Fill `n` with lots whose running sum is that of `x` (shares) to the nearest lot, within tightened bounds."""
    path = np.empty(x.shape[0], np.int64)
    done = 0.0
    for t in range(x.shape[0]):
        done += x[t]
        path[t] = np.int64(math.floor(done / lot + 0.5))
    keep_within(path, cap, low, high, n)


@kernel
def _changes(stride: int, lot: float, c: Curve, cap: Int, n: Int, cost: Float) -> float:
    """Fill `cost` with what -2..2 strides more cost in each interval, a share of a stride; return the largest price."""
    highest, block = 0.0, stride * lot
    for t in range(n.shape[0]):
        s, b, a, e = c.s[t], c.b[t], c.a[t], c.e[t]
        for k in range(5):
            cost[t, k] = math.inf
        cost[t, 2] = 0.0
        total = 0.0
        for k in range(1, 3):
            if n[t] > cap[t] - k * stride:
                break
            if stride == 1:
                price = lot_price(float(n[t] + k), lot, s, b, a, e, c.delta)
            else:
                price = added_cost((n[t] + (k - 1) * stride) * lot, block, s, b, a, e, c.delta) / block
            highest = max(highest, price)
            total += price
            cost[t, 2 + k] = total
        total = 0.0
        for k in range(1, 3):
            if n[t] < k * stride:
                break
            if stride == 1:
                price = lot_price(float(n[t] - k + 1), lot, s, b, a, e, c.delta)
            else:
                price = added_cost((n[t] - k * stride) * lot, block, s, b, a, e, c.delta) / block
            highest = max(highest, price)
            total -= price
            cost[t, 2 - k] = total
    return highest


@kernel
def _best_move(
    stride: int, lot: float, start: float, risk: float, n: Int, low: Int, high: Int, cost: Float, came: Moves
) -> tuple[float, float]:
    """Find the move of each inventory by -1, 0 or 1 strides that saves most, within bounds of the running sum.

    `came[t, z + 1]` becomes the best move before t where that of t is z.
    Returns the saving, price, and the largest price of risk in it.
    """
    size = n.shape[0]
    before = np.array([math.inf, 0.0, math.inf])  # nothing moves before the first interval
    after = np.empty(3)
    left, dearest, done = start, 0.0, 0
    for t in range(size):
        left -= n[t] * lot
        done += n[t]
        for z in range(-1, 2):
            best, via = math.inf, 0
            if not low[t] <= done - z * stride <= high[t]:
                after[z + 1], came[t, z + 1] = math.inf, 0
                continue
            # standing still is preferred where it costs the same
            for k in range(3):
                v = 0 if k == 0 else (-1 if k == 1 else 1)
                value = before[v + 1] + cost[t, 2 + v - z]
                if value < best:
                    best, via = value, v
            held = risk * z * (2.0 * left + z * (stride * lot))
            dearest = max(dearest, abs(held))
            after[z + 1] = best + held
            came[t, z + 1] = via
        for k in range(3):
            before[k] = after[k]
    return -before[1], dearest


@kernel
def _apply(stride: int, came: Moves, n: Int) -> None:
    """Move the lots of `n` as the best move says."""
    z = 0  # and nothing after the last
    for k in range(n.shape[0]):
        t = n.shape[0] - 1 - k
        v = int(came[t, z + 1])
        n[t] += (v - z) * stride
        z = v
