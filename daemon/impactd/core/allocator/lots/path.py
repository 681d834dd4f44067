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
the optimum (Murota and Shioura 2014, *Discrete Optimization* 14), which from the
rounded continuous path is small, whatever the number of lots.

Moves of one lot between *neighbouring* intervals alone are not enough: over a
long, flat stretch of about a lot an interval each gains next to nothing, and
the lots that should spread over hours crawl.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.curve import Curve, Float, less, lot_price
from impactd.core.allocator.lots.separable import Int
from impactd.core.base.jit import kernel

Moves = npt.NDArray[np.int8]

#: Steps of descent; each lowers the cost, and far fewer are ever needed.
_MAX_STEPS: Final = 1000

#: Savings below this part of the prices that they are the difference of are rounding.
_NOISE: Final = 1e-12


@kernel
def round_path(
    lots: int,
    lot: float,
    start: float,
    given: Curve,
    risk: float,
    x: Float,
    cap: Int,
    n: Int,
) -> float:
    """Fill `n` with the whole lots of least cost and risk, from the continuous path `x`.

    Parameters are those of `impactd.core.allocator.lots.separable.round_separable`;
    `start` is the inventory before the first interval, in shares.

    Returns
    -------
    float
        What the best move still saves, price; 0 at the optimum, which all but
        absurd input reaches.
    """
    round_lots(lots, lot, x, cap, n)
    size = n.shape[0]
    base = math.inf
    for t in range(size):
        if cap[t] > 0:
            base = min(base, given.s[t])
    c = less(given, base)
    cost, came = np.empty((size, 5)), np.empty((size, 3), np.int8)
    saving = 0.0
    for _ in range(_MAX_STEPS):
        scale = _changes(lot, c, cap, n, cost)
        saving, noise = _best_move(lot, start, risk, n, cost, came)
        if saving <= _NOISE * (scale + noise):
            return 0.0
        _apply(came, n)
    return saving


@kernel
def round_lots(lots: int, lot: float, x: Float, cap: Int, n: Int) -> None:
    """Fill `n` with the cumulative path rounded to the nearest lot, which keeps caps and sum."""
    size = x.shape[0]
    done, path = 0, 0.0
    for t in range(size):
        path += x[t]
        upto = lots if t == size - 1 else min(math.floor(path / lot + 0.5), lots)
        n[t] = min(max(upto - done, 0), cap[t])
        done += n[t]
    # the sum of rounding errors in `path` can cost a lot at a full cap
    for t in range(size):
        if done < lots and n[t] < cap[t]:
            extra = min(lots - done, cap[t] - n[t])
            n[t] += extra
            done += extra


@kernel
def _changes(lot: float, c: Curve, cap: Int, n: Int, cost: Float) -> float:
    """Fill `cost` with what -2..2 lots more cost in each interval, a share of a lot; return the largest price."""
    highest = 0.0
    for t in range(n.shape[0]):
        for k in range(5):
            cost[t, k] = math.inf
        cost[t, 2] = 0.0
        total = 0.0
        for k in range(1, 3):
            if n[t] + k > cap[t]:
                break
            price = lot_price(float(n[t] + k), lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
            highest = max(highest, price)
            total += price
            cost[t, 2 + k] = total
        total = 0.0
        for k in range(1, 3):
            if n[t] - k < 0:
                break
            price = lot_price(float(n[t] - k + 1), lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
            highest = max(highest, price)
            total -= price
            cost[t, 2 - k] = total
    return highest


@kernel
def _best_move(lot: float, start: float, risk: float, n: Int, cost: Float, came: Moves) -> tuple[float, float]:
    """Find the move of each inventory by -1, 0 or 1 lots that saves most.

    `came[t, z + 1]` becomes the best move before t where that of t is z.
    Returns the saving, price, and the largest price of risk in it.
    """
    size = n.shape[0]
    before = np.array([math.inf, 0.0, math.inf])  # nothing moves before the first interval
    after = np.empty(3)
    left, dearest = start, 0.0
    for t in range(size):
        left -= n[t] * lot
        for z in range(-1, 2):
            best, via = math.inf, 0
            # standing still is preferred where it costs the same
            for k in range(3):
                v = 0 if k == 0 else (-1 if k == 1 else 1)
                value = before[v + 1] + cost[t, 2 + v - z]
                if value < best:
                    best, via = value, v
            held = risk * z * (2.0 * left + z * lot)
            dearest = max(dearest, abs(held))
            after[z + 1] = best + held
            came[t, z + 1] = via
        before[:] = after
    return -before[1], dearest


@kernel
def _apply(came: Moves, n: Int) -> None:
    """Move the lots of `n` as the best move says."""
    z = 0  # and nothing after the last
    for k in range(n.shape[0]):
        t = n.shape[0] - 1 - k
        v = int(came[t, z + 1])
        n[t] += v - z
        z = v
