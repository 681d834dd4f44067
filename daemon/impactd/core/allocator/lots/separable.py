r"""From shares to whole lots, exactly.

Without risk the integer problem is separable and convex: with L shares a lot,
K lots and :math:`p_t(n) = (C_t(nL) - C_t((n-1)L)) / L` the price of the n-th
lot of interval t, non-decreasing in n, an optimum is any choice of the K
cheapest lots (greedy; Gross 1956; Ibaraki and Katoh 1988, *Resource Allocation
Problems*, ch. 4).  Greedy from nothing takes K steps; from the continuous
optimum it takes at most N:

Let :math:`x^*, \mu` solve the continuous problem and :math:`n_t = \lfloor
x_t^* / L \rfloor`.  By the mean value theorem a lot's price is a marginal
somewhere inside the lot, so lot :math:`n_t` and all before cost at most mu, lot
:math:`n_t + 2` and all after at least mu, and only lot :math:`n_t + 1` has to
be looked at: take it if it is cheaper than mu.  Now every lot taken costs at
most mu and every lot not taken at least mu, so this is *the optimum for its
own total* K'.  From there K - K' cheapest lots are added (or K' - K dearest
ones removed) with a heap, and each step keeps it optimal for its total.
K' differs from K by the sum of roundings, typically sqrt(N) lots.

Rounding down and only adding is **not** exact: an interval of nearly flat cost
whose x* is whole keeps a lot that costs more than the extra lot of several
steep intervals.  (Hochbaum 1994, Math. Oper. Res. 19(2), removes a step from
each variable of the greedy start for the same reason.)  The tests hold the
counterexample.

Ties go to the interval that got the fewest extra lots, then to the earlier one.

The odd remainder r < L goes where it costs least.  If it joins interval t, the
lots of t become more expensive, by less than one lot's place: lot n - 1 moved up by r
is no more expensive than lot n was.  So at most one lot leaves t for the cheapest
other place, and both variants are compared for every t.

With risk the lots interact: see `impactd.core.allocator.lots.path`.

Everything is held in int64 quanta (`impactd.core.base.quantity`), so that the sum
is an identity and not an approximation.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.curve import Curve, Float, added_cost, less, lot_price
from impactd.core.base.jit import kernel

#: Exchanges that undo rounding in the prices themselves.
_MAX_REPAIRS: Final = 1000


@kernel
def _before(i: int, j: int, price: Float, moved: Int) -> bool:
    """Return whether i comes out of the heap before j."""
    if price[i] != price[j]:
        return bool(price[i] < price[j])
    if moved[i] != moved[j]:
        return bool(moved[i] < moved[j])
    return i < j


@kernel
def _sink(heap: Int, size: int, at: int, price: Float, moved: Int) -> None:
    """Move heap[at] down to its place."""
    item = heap[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _before(heap[child + 1], heap[child], price, moved):
            child += 1
        if not _before(heap[child], item, price, moved):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = item


@kernel
def move_lots(count: int, lot: float, c: Curve, before: Float, least: Int, cap: Int, n: Int) -> None:
    """Add the `count` cheapest lots to `n`, or remove the ``-count`` dearest ones; none below `least` or above `cap`.

    `before` is what others trade, in lots.  Removal runs on negated prices over
    reversed indices, so that what was last in goes first.
    """
    size_all = n.shape[0]
    adding = count > 0
    price, moved = np.empty(size_all), np.zeros(size_all, np.int64)
    heap = np.empty(size_all, np.int64)
    size = 0
    for i in range(size_all):
        t = i if adding else size_all - 1 - i
        if adding and n[t] < cap[t]:
            price[i] = lot_price(n[t] + 1 + before[t], lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
        elif not adding and n[t] > least[t]:
            price[i] = -lot_price(n[t] + before[t], lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
        else:
            continue
        heap[size] = i
        size += 1
    for k in range(size // 2):
        _sink(heap, size, size // 2 - 1 - k, price, moved)
    for _ in range(abs(count)):
        if size == 0:
            break
        i = heap[0]
        t = i if adding else size_all - 1 - i
        n[t] += 1 if adding else -1
        moved[i] += 1
        if adding and n[t] < cap[t]:
            price[i] = lot_price(n[t] + 1 + before[t], lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
        elif not adding and n[t] > least[t]:
            price[i] = -lot_price(n[t] + before[t], lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
        else:
            size -= 1
            heap[0] = heap[size]
        if size > 0:
            _sink(heap, size, 0, price, moved)


@kernel
def round_separable(
    lots: int,
    lot: float,
    mu: float,
    given: Curve,
    x: Float,
    cap: Int,
    n: Int,
) -> float:
    """Fill `n` with the optimal whole lots.

    Parameters
    ----------
    lots : int
        K, at most the sum of `cap`.
    lot : float
        Shares in a lot.
    mu : float
        Multiplier of the continuous optimum, price.
    x : ndarray of float64, shape (N,)
        The continuous optimum, shares.
    cap : ndarray of int64, shape (N,)
        Most lots of each interval.
    n : ndarray of int64, shape (N,)
        Filled with lots per interval.

    Returns
    -------
    float
        By how much the dearest lot taken is more expensive than the cheapest not
        taken, price; 0 at the optimum.
    """
    size = n.shape[0]
    base = math.inf
    for t in range(size):
        if cap[t] > 0:
            base = min(base, given.s[t])
    c = less(given, base)
    level = mu - base
    before, least = np.zeros(size), np.zeros(size, np.int64)
    total = 0
    for t in range(size):
        count = min(np.int64(math.floor(x[t] / lot)), cap[t])
        count = max(count, 0)
        if count < cap[t] and lot_price(float(count + 1), lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta) < level:
            count += 1
        n[t] = count
        total += count
    if total != lots:
        move_lots(lots - total, lot, c, before, least, cap, n)
    return repair(lot, c, before, least, cap, n)


@kernel
def repair(lot: float, c: Curve, before: Float, least: Int, cap: Int, n: Int) -> float:
    """Exchange single lots misplaced by rounding in prices; return what one more exchange would save, price."""
    size = n.shape[0]
    worst = 0.0
    for _ in range(_MAX_REPAIRS):
        dearest, cheapest, giver, taker = -math.inf, math.inf, -1, -1
        for t in range(size):
            if n[t] > least[t]:
                price = lot_price(n[t] + before[t], lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
                if price > dearest:
                    dearest, giver = price, t
            if n[t] < cap[t]:
                price = lot_price(n[t] + 1 + before[t], lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
                if price < cheapest:
                    cheapest, taker = price, t
        worst = max(dearest - cheapest, 0.0)
        if not dearest > cheapest:
            worst = 0.0
            break
        n[giver] -= 1
        n[taker] += 1
    return worst


@kernel
def place_remainder(
    rest: int,
    lot_quanta: int,
    unit: float,
    given: Curve,
    cap: Int,
    cap_quanta: Int,
    n: Int,
) -> int:
    """Return the interval where `rest` quanta (less than a lot) cost least, or -1.

    Moves at most one lot in `n` (module docstring); the earlier interval wins a tie.
    `cap` is in lots, `cap_quanta` in quanta: the remainder may use the part of a
    cap that is less than a lot.
    """
    size = n.shape[0]
    lot = lot_quanta * unit
    small = rest * unit
    base = math.inf
    for t in range(size):
        if cap_quanta[t] > 0:
            base = min(base, given.s[t])
    c = less(given, base)
    first, second = -1, -1  # the two cheapest places for one more lot
    price_first, price_second = math.inf, math.inf
    for t in range(size):
        if n[t] < cap[t]:
            price = lot_price(float(n[t] + 1), lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
            if price < price_first:
                second, price_second = first, price_first
                first, price_first = t, price
            elif price < price_second:
                second, price_second = t, price
    best, where, to = math.inf, -1, -1
    for t in range(size):
        if n[t] <= (cap_quanta[t] - rest) // lot_quanta and cap_quanta[t] >= rest:
            cost = added_cost(n[t] * lot, small, c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
            if cost < best:
                best, where, to = cost, t, -1
        other = second if first == t else first
        if n[t] > 0 and other >= 0:
            price = price_second if first == t else price_first
            kept = (n[t] - 1) * lot + small
            cost = lot * price - added_cost(kept, lot - small, c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
            if cost < best:
                best, where, to = cost, t, other
    if to >= 0:
        n[where] -= 1
        n[to] += 1
    return where


@kernel
def best_exchange(n: Int, cap: Int, low: Int, high: Int, last: Float, first: Float) -> float:
    """Return the most that moving one lot to another interval saves, price; negative where none would save.

    Parameters
    ----------
    n, cap, low, high : ndarray of int64, shape (N,)
        Lots; see `impactd.core.allocator.bounds`.
    last, first : ndarray of float64, shape (N,)
        Price of the last lot that each interval holds, and of one more.
    """
    size = n.shape[0]
    saves = -math.inf
    done, dearest, cheapest = 0, -math.inf, math.inf
    for t in range(size):  # `dearest` may still move to here, and a lot from here to `cheapest`
        if n[t] < cap[t]:
            saves = max(saves, dearest - first[t])
            cheapest = min(cheapest, first[t])
        if n[t] > 0:
            saves = max(saves, last[t] - cheapest)
            dearest = max(dearest, last[t])
        done += n[t]
        if done <= low[t]:
            dearest = -math.inf
        if done >= high[t]:
            cheapest = math.inf
    return saves
