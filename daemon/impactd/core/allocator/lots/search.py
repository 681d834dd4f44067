r"""Whole lots where no exact method exists: impact that lasts, and a smallest clip.

Two things break the structure that the exact methods use.  With
impact that lasts, K couples all intervals, and the integer problem is not
discretely convex (for i < j < k a quadratic would need
:math:`K_{ik} \ge \min(K_{ij}, K_{jk})`; Hirai and Murota 2004).  With a smallest
clip an interval trades nothing or at least :math:`m_t`, which is not convex at
all.  This module searches, and bounds how much the search may have missed:

1. *Start.*  Independent intervals: the Lagrangian in the multiplier of the sum
   opens interval t once the price passes :math:`C_t(m_t) / m_t`, its cheapest
   average; sets are prefixes of that order, and those around the best
   multiplier are solved in whole lots and compared.  Coupled ones, and bounds of
   the running sum: of the schedules that clips allow, one near the continuous
   path.  They are found by the running sums that can be reached after each
   interval, which are a few ranges of lots, so that an order completes whenever
   clips and caps let it.
2. *Descent.*  Blocks of one lot, one clip, or all of an interval move to where
   that lowers the objective most, among near neighbours and the cheapest
   interval of all, until a sweep finds nothing.
3. *Bound.*  The largest value of the Lagrangian (Everett 1963), or the
   continuous optimum, is a lower bound on any schedule in lots; what the
   schedule costs above it is returned and published.  With one coupling
   constraint the first is within one interval's non-convexity of the optimum
   (Shapley and Folkman; Bertsekas 1999, *Nonlinear Programming*, sec. 5.6).

Where no interval trades less than its clip at the continuous optimum, the
optimum in whole lots is optimal with the clip too, and no search is made.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.curve import Curve, Float, added_cost, less
from impactd.core.allocator.lots.separable import move_lots
from impactd.core.allocator.supply import invert_marginal, model_kind
from impactd.core.allocator.transient import add_pressure
from impactd.core.base.jit import kernel
from impactd.core.base.order import stable_order

#: Neighbours on each side that a block may go to.
_REACH: Final = 16

#: Sweeps of descent.
_MAX_SWEEPS: Final = 60

#: Gains below this part of a price are rounding.
_NOISE: Final = 1e-12

#: Sets of open intervals tried on each side of the best multiplier's.
_SETS: Final = 3

#: Ranges of running sums kept for each interval.
_MAX_RANGES: Final = 4096

_FAR: Final = 2**62

#: Bisections of a multiplier: as many as a double has bits, and some.
_BISECTIONS: Final = 80


@kernel
def reach(total: int, least: Int, cap: Int, low: Int, high: Int, begins: Int, ends: Int, count: Int) -> int:
    """Return how many of `total` lots can trade where an interval takes nothing or `least` to `cap`.

    The running sums that can be reached after each interval are a set of ranges,
    exact as long as there are no more than `begins` has room for.  A lower bound
    that no clip can meet gives way.

    Parameters
    ----------
    total : int
        Lots.
    least, cap, low, high : ndarray of int64, shape (N,)
        Lots; see `impactd.core.allocator.bounds`.
    begins, ends : ndarray of int64, shape (N + 1, K)
        Filled with the ranges, ascending.
    count : ndarray of int64, shape (N + 1,)
        Filled with their number.
    """
    size, most = cap.shape[0], begins.shape[1]
    begins[0, 0], ends[0, 0], count[0] = 0, 0, 1
    from_, to = np.empty(2 * most, np.int64), np.empty(2 * most, np.int64)
    for t in range(size):
        n = count[t]
        a, b, k = 0, 0 if cap[t] >= least[t] and cap[t] > 0 else n, 0
        while a < n or b < n:  # merges what stays and what trades, by where ranges begin
            if b < n and least[t] > high[t] - begins[t, b]:
                b = n
                continue
            if b == n or (a < n and begins[t, a] - begins[t, b] <= least[t]):
                lo, hi = begins[t, a], ends[t, a]
                a += 1
            else:
                lo, hi = begins[t, b] + least[t], ends[t, b] + min(cap[t], high[t] - ends[t, b])
                b += 1
            if k > 0 and lo <= to[k - 1] + 1:
                to[k - 1] = max(to[k - 1], hi)
            else:
                from_[k], to[k] = lo, hi
                k += 1
        first = 0
        while first < k and to[first] < low[t]:
            first += 1
        if first == k:
            first = 0
        else:
            from_[first] = max(from_[first], low[t])
        first = max(first, k - most)
        count[t + 1] = k - first
        for u in range(first, k):
            begins[t + 1, u - first], ends[t + 1, u - first] = from_[u], to[u]
    return min(int(ends[size, count[size] - 1]), total)


@kernel
def _nearest(point: int, begins: Int, ends: Int, count: int, lo: int, hi: int) -> int:
    """Return the sum in the ranges and in [lo, hi] that is nearest to `point`, or -1."""
    best, away = -1, _FAR
    for k in range(count):
        a, b = max(begins[k], lo), min(ends[k], hi)
        if a <= b:
            at = min(max(point, a), b)
            if abs(at - point) < away:
                best, away = at, abs(at - point)
    return best


@kernel
def _last_trade(total: int, cap: Int, high: Int, begins: Int, ends: Int, count: Int) -> tuple[int, int]:
    """Return the last interval that can trade all that is left, and the sum before it; (-1, -1) for none."""
    for k in range(cap.shape[0]):
        t = cap.shape[0] - 1 - k
        if high[t] >= total and cap[t] > 0:
            before = _nearest(total, begins[t], ends[t], count[t], total - cap[t], total - 1)
            if before >= 0:
                return t, before
    return -1, -1


@kernel
def clipped_path(
    lots: int, lot: float, x: Float, least: Int, cap: Int, low: Int, high: Int, completes: int, n: Int
) -> int:
    """Fill `n` with lots near the path `x`, each interval's none or `least` to `cap`; return how many can trade.

    `x` (shares) may be empty: then only the number counts.  Where no clips make up
    all lots, and `completes` is not 0, the last trade may be smaller than its clip:
    by then no more is left of the order.
    """
    size = cap.shape[0]
    ranges = min(2 * size + 2, _MAX_RANGES)
    begins, ends = np.empty((size + 1, ranges), np.int64), np.empty((size + 1, ranges), np.int64)
    count, path = np.empty(size + 1, np.int64), np.zeros(size + 1, np.int64)
    placed = reach(lots, least, cap, low, high, begins, ends, count)
    last = size
    at = placed
    n[:] = 0
    if placed < lots and completes:
        last, before = _last_trade(lots, cap, high, begins, ends, count)
        if last < 0:
            last = size
        else:
            placed, at = lots, before
            n[last] = lots - before
    done = 0.0
    for t in range(x.shape[0]):
        done += x[t]
        path[t + 1] = np.int64(math.floor(done / lot + 0.5))
    for k in range(last):
        t = last - 1 - k
        stay = _nearest(at, begins[t], ends[t], count[t], at, at)
        came = -1
        if cap[t] >= least[t] and cap[t] > 0:
            came = _nearest(path[t], begins[t], ends[t], count[t], at - cap[t], at - least[t])
        if came < 0 or (stay >= 0 and abs(stay - path[t]) <= abs(came - path[t])):
            came = stay
        n[t] = at - came
        at = came
    return placed


@kernel
def _spread(  # noqa: PLR0912  # one search, told in order in one compiled function
    lots: int,
    lot: float,
    open_: Int,
    c: Curve,
    least: Int,
    cap: Int,
    n: Int,
) -> float:
    """Fill `n` with the cheapest lots of the open intervals, each `least` to `cap`; return the cost, or inf."""
    size = n.shape[0]
    low, high = 0, 0
    for t in range(size):
        if open_[t]:
            low += least[t]
            high = min(high + cap[t], lots)
    if low > lots or high < lots:
        return math.inf
    kind = model_kind(c)
    bottom, top = 0.0, 0.0
    for t in range(size):
        if open_[t]:
            x = min(cap[t], lots) * lot
            top = max(top, added_cost(x, lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta) / lot)
    for _ in range(_BISECTIONS):
        mu = 0.5 * (bottom + top)
        total = 0.0
        for t in range(size):
            if open_[t]:
                x, _ = invert_marginal(mu - c.s[t], kind, c.b[t], c.a[t], c.e[t], c.delta, min(cap[t], lots) * lot)
                total += max(x / lot, float(least[t]))
        if total < lots:
            bottom = mu
        else:
            top = mu
    placed = 0
    limit = np.zeros(size, np.int64)
    for t in range(size):
        n[t] = 0
        if open_[t]:
            limit[t] = cap[t]
            x, _ = invert_marginal(bottom - c.s[t], kind, c.b[t], c.a[t], c.e[t], c.delta, min(cap[t], lots) * lot)
            n[t] = min(max(np.int64(math.floor(x / lot)), least[t]), cap[t])
            placed += n[t]
    if placed != lots:
        move_lots(lots - placed, lot, c, np.zeros(size), least, limit, n)
    cost = 0.0
    for t in range(size):
        cost += added_cost(0.0, n[t] * lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
    return cost


@kernel
def clipped_separable(  # noqa: PLR0912, PLR0915  # one search, told in order in one compiled function
    lots: int, lot: float, given: Curve, least: Int, cap: Int, n: Int
) -> float:
    """Fill `n` with whole lots, each interval's none or `least` to `cap`; return the bound from below on their cost.

    Both without what all lots pay alike; `lots` are no more than `most_with_clips` says.
    """
    size = n.shape[0]
    usable = (cap >= least) & (cap > 0)
    base = math.inf
    for t in range(size):
        if usable[t]:
            base = min(base, given.s[t])
    c = less(given, base)
    entry = np.full(size, math.inf)
    kind = model_kind(c)
    top = 0.0
    for t in range(size):
        if usable[t]:
            m = least[t] * lot
            entry[t] = added_cost(0.0, m, c.s[t], c.b[t], c.a[t], c.e[t], c.delta) / m
            x = min(cap[t], lots) * lot
            top = max(top, entry[t], added_cost(x, lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta) / lot)
    bottom = 0.0
    for _ in range(_BISECTIONS):
        mu = 0.5 * (bottom + top)
        total = 0.0
        for t in range(size):
            if entry[t] < mu:
                x, _ = invert_marginal(mu - c.s[t], kind, c.b[t], c.a[t], c.e[t], c.delta, min(cap[t], lots) * lot)
                total += max(x / lot, float(least[t]))
        if total < lots:
            bottom = mu
        else:
            top = mu
    bound, count = top * lots * lot, 0
    for t in range(size):
        if entry[t] < top:
            count += 1
            x, _ = invert_marginal(top - c.s[t], kind, c.b[t], c.a[t], c.e[t], c.delta, min(cap[t], lots) * lot)
            x = max(x, least[t] * lot)
            bound += added_cost(0.0, x, c.s[t], c.b[t], c.a[t], c.e[t], c.delta) - top * x
    order = stable_order(entry)
    open_, trial = np.zeros(size, np.int64), np.empty(size, np.int64)
    best = math.inf
    for k in range(size):
        if entry[order[k]] == math.inf:
            break
        open_[order[k]] = 1
        near = count - _SETS <= k + 1 <= count + _SETS
        if near or best == math.inf:
            cost = _spread(lots, lot, open_, c, least, cap, trial)
            if cost < best:
                best = cost
                for t in range(size):
                    n[t] = trial[t]
        if k + 1 > count + _SETS and best < math.inf:
            break
    if best == math.inf:  # only the intervals with the most room hold it
        open_[:] = 0
        clips = 0
        for t in range(size):
            trial[t] = -cap[t]
        for t in stable_order(trial):
            if usable[t] and clips + least[t] <= lots:
                clips += least[t]
                open_[t] = 1
        _spread(lots, lot, open_, c, least, cap, n)
    return bound


@kernel
def _pressures(start: float, lot: float, risk: float, root: Float, keep: Float, n: Int, x: Float, out: Float) -> None:
    """Fill `out` with the derivative of what couples intervals, price, at `n` lots; `x` is scratch."""
    size = n.shape[0]
    left = start
    for t in range(size):
        x[t] = n[t] * lot
        left -= x[t]
        out[t] = left
    holding = 0.0
    for k in range(size):
        t = size - 1 - k
        holding += out[t]
        out[t] = -2.0 * risk * holding
    add_pressure(x, root, keep, out)


@kernel
def _allowed(i: int, j: int, d: int, n: Int, low: Int, high: Int) -> bool:
    """Return whether the running sum stays within its bounds if `d` lots move from interval i to j."""
    done = 0
    for t in range(max(i, j)):
        done += n[t]
        if (i <= t and done - d < low[t]) or (j <= t and done + d > high[t]):
            return False
    return True


@kernel
def descend(  # noqa: PLR0912  # one search, told in order in one compiled function
    lot: float,
    start: float,
    given: Curve,
    risk: float,
    root: Float,
    keep: Float,
    least: Int,
    cap: Int,
    low: Int,
    high: Int,
    n: Int,
) -> int:
    """Move blocks of lots in `n` until no move looked at lowers the objective; return the moves made.

    Parameters
    ----------
    lot : float
        Shares in a lot.
    start : float
        Inventory before the first interval, shares.
    given, risk, root, keep
        Terms of `Problem`.
    least, cap, low, high, n : ndarray of int64, shape (N,)
        Lots: the smallest clip and the cap of each interval, the bounds of the running sum, and the schedule.
    """
    size = n.shape[0]
    base = math.inf
    for t in range(size):
        if cap[t] > 0:
            base = min(base, given.s[t])
    c = less(given, base)
    pressed, x = np.empty(size), np.empty(size)
    _pressures(start, lot, risk, root, keep, n, x, pressed)
    lasts = root.shape[0] > 0
    moves = 0
    for _ in range(_MAX_SWEEPS):
        before = moves
        cheapest, taker = math.inf, -1
        for t in range(size):
            if n[t] > 0 and n[t] < cap[t]:
                price = added_cost(n[t] * lot, lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta) / lot + pressed[t]
                if price < cheapest:
                    cheapest, taker = price, t
        for i in range(size):
            if n[i] == 0:
                continue
            best, to, size_of = 0.0, -1, 0
            for choice in range(3):
                d = 1 if choice == 0 else (least[i] if choice == 1 else n[i])
                if (choice > 0 and d == 1) or d > n[i] or 0 < n[i] - d < least[i]:
                    continue
                q = d * lot
                own = added_cost((n[i] - d) * lot, q, c.s[i], c.b[i], c.a[i], c.e[i], c.delta) + q * pressed[i]
                for k in range(2 * _REACH + 2):
                    j = taker if k == 2 * _REACH + 1 else i - _REACH + k
                    if j < 0 or j >= size or j == i or n[j] + d > cap[j] or n[j] + d < least[j]:
                        continue
                    cost = added_cost(n[j] * lot, q, c.s[j], c.b[j], c.a[j], c.e[j], c.delta) + q * pressed[j]
                    # 2 rho counts the intervals between i and j once; K their own parts and what they share
                    bend = 2.0 * risk * abs(j - i)
                    if lasts:
                        shared = 1.0
                        for u in range(min(i, j) + 1, max(i, j) + 1):
                            shared *= keep[u]
                        bend += root[i] * root[i] + root[j] * root[j] - 2.0 * root[i] * root[j] * shared
                    gain = own - cost - 0.5 * q * q * bend
                    noise = _NOISE * (abs(own) + abs(cost))
                    if gain > best and gain > noise and _allowed(i, j, d, n, low, high):
                        best, to, size_of = gain, j, d
            if to >= 0:
                n[i] -= size_of
                n[to] += size_of
                moves += 1
                _pressures(start, lot, risk, root, keep, n, x, pressed)
        if moves == before:
            break
    return moves
