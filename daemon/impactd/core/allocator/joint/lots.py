r"""Several orders that share their intervals: whole lots of them.

Only the sum per interval bears on cost (risk aside), so the split is free.

*Whole lots.*  A lot can leave interval t for u if some order holds one in t and
has room in u, or over a third interval by way of two orders, and so on.  What
such a chain costs depends on its ends alone, since totals in between do not
move.  A schedule is optimal if no chain gains: an exchange that costs less and
cannot be made by single chains would be a cycle of the residual graph, and
cycles are sums of chains (Ahuja, Magnanti and Orlin 1993, *Network Flows*,
sec. 9.3 and 14.4: convex separable cost flows).  So chains are looked for by
breadth-first search, the dearest lot first, until none gains.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from impactd.core.allocator.curve import Curve, Float, added_cost, less
from impactd.core.allocator.lots.separable import Int
from impactd.core.base.jit import kernel

#: Steps of a search for a level: as many bisections as a double has bits, and some.
_LEVEL_STEPS: Final = 120

#: Gains below this part of a price are rounding.
_NOISE: Final = 1e-12


@kernel
def _level(c: Float, u: Float, q: float) -> float:
    """Return theta with ``sum clip(c + theta, 0, u) = q``; 0 <= q <= sum of u."""
    n = c.shape[0]
    lo, hi = math.inf, -math.inf
    for k in range(n):
        if u[k] > 0.0:
            lo, hi = min(lo, -c[k]), max(hi, u[k] - c[k])
    if not lo < hi:
        return 0.0
    theta = min(max(0.0, lo), hi)
    for _ in range(_LEVEL_STEPS):
        total, inside = 0.0, 0
        for k in range(n):
            value = c[k] + theta
            total += min(max(value, 0.0), u[k])
            inside += 1 if 0.0 < value < u[k] else 0
        gap = q - total
        if abs(gap) <= 1e-15 * q:
            break
        if gap > 0.0:
            lo = theta
        else:
            hi = theta
        after = theta + gap / inside if inside > 0 else lo + 0.5 * (hi - lo)
        if not lo < after < hi:
            after = lo + 0.5 * (hi - lo)
            if not lo < after < hi:
                break
        theta = after
    return theta


@kernel
def nearest_feasible(p: Float, cap: Float, qty: float, x: Float) -> None:
    """Fill `x` with what is nearest to `p`, sums to `qty` and keeps ``0 <= x <= cap``."""
    theta = _level(p, cap, qty)
    for t in range(p.shape[0]):
        x[t] = min(max(p[t] + theta, 0.0), cap[t])


@kernel
def round_split(lots: Int, lot: Float, cap: Int, x: Float, carried: Float, n: Int) -> None:
    """Fill `n` with whole lots near `x`, each order's sum exact; `carried` (N,) takes on what rounding left, shares.

    The error of the orders before is handed to the next, so that the totals stay within about a lot.
    """
    n_orders, size = x.shape
    rest = np.empty(size)
    for i in range(n_orders):
        done = 0
        for t in range(size):
            want = min(max((x[i, t] + carried[t]) / lot[i], 0.0), float(cap[i, t]))
            n[i, t] = min(np.int64(math.floor(want)), cap[i, t])
            rest[t] = want - n[i, t]
            done += n[i, t]
        order = np.argsort(-rest, kind="mergesort")
        while done < lots[i]:
            before = done
            for t in order:
                if done < lots[i] and n[i, t] < cap[i, t]:
                    n[i, t] += 1
                    done += 1
            if done == before:
                break
        while done > lots[i]:
            for k in range(size):
                t = order[size - 1 - k]
                if done > lots[i] and n[i, t] > 0:
                    n[i, t] -= 1
                    done -= 1
        for t in range(size):
            carried[t] += x[i, t] - n[i, t] * lot[i]


@kernel
def exchange(  # noqa: PLR0912  # one search, told in order in one compiled function
    lot: float, given: Curve, cap: Int, n: Int, total: Float, most: int
) -> float:
    """Move lots of orders with the same lot size along chains until none gains, or `most` have moved.

    Parameters
    ----------
    lot : float
        Shares.
    given : Curve
    cap, n : ndarray of int64, shape (I, N)
        Lots by order; `n` is changed in place.
    total : ndarray of float64, shape (N,)
        Shares of all orders, these and others; changed in place.
    most : int
        Moves.

    Returns
    -------
    float
        What the last chain that was found saves a share, price; 0 at the optimum.
    """
    n_orders, size = n.shape
    c = less(given, np.min(given.s) if size > 0 else 0.0)
    stays = np.zeros(size, np.bool_)
    source, way = np.empty(size, np.int64), np.empty(size, np.int64)
    queue, used = np.empty(size, np.int64), np.empty(n_orders, np.bool_)
    moves = 0
    while True:
        giver, dearest = -1, -math.inf
        for t in range(size):
            if not stays[t]:
                holds = False
                for i in range(n_orders):
                    holds |= n[i, t] > 0
                if not holds:
                    continue
                price = added_cost(max(total[t] - lot, 0.0), lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta) / lot
                if price > dearest:
                    giver, dearest = t, price
        if giver < 0:
            return 0.0
        source[:] = -1
        used[:] = False
        source[giver] = giver
        queue[0], first, last = giver, 0, 1
        taker, cheapest = -1, math.inf
        while first < last:
            t = queue[first]
            first += 1
            for i in range(n_orders):
                if used[i] or n[i, t] == 0:
                    continue
                used[i] = True
                for u in range(size):
                    if source[u] < 0 and n[i, u] < cap[i, u]:
                        source[u], way[u] = t, i
                        queue[last] = u
                        last += 1
                        price = added_cost(total[u], lot, c.s[u], c.b[u], c.a[u], c.e[u], c.delta) / lot
                        if price < cheapest:
                            taker, cheapest = u, price
        if taker < 0 or dearest - cheapest <= _NOISE * (abs(dearest) + abs(cheapest)):
            stays[giver] = True
            continue
        if moves >= most:
            return dearest - cheapest
        moves += 1
        u = taker
        while u != giver:
            t = source[u]
            n[way[u], t] -= 1
            n[way[u], u] += 1
            u = t
        total[giver] -= lot
        total[taker] += lot
        stays[:] = False
