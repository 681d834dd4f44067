r"""Whole lots where no exact method is at hand: impact that lasts, and a smallest clip.

Two things break the structure that `integer` and `integer_path` use.  With
impact that lasts, K couples all intervals, and the integer problem is not
discretely convex (for i < j < k a quadratic would need
:math:`K_{ik} \ge \min(K_{ij}, K_{jk})`; Hirai and Murota 2004).  With a smallest
clip an interval trades nothing or at least :math:`m_t`, which is not convex at
all.  So here is a search, and a bound that says how much it may have missed:

1. *Start.*  Independent intervals: the Lagrangian in the multiplier of the sum
   opens interval t once the price passes :math:`C_t(m_t) / m_t`, its cheapest
   average; sets are prefixes of that order, and those around the best
   multiplier are solved in whole lots and compared.  Coupled ones: the
   continuous path, traded whenever half a clip is due.
2. *Descent.*  Blocks of one lot, one clip, or all of an interval move to where
   that lowers the objective most, among near neighbours and the cheapest
   interval of all, until a sweep finds nothing.
3. *Bound.*  The largest value of the Lagrangian (Everett 1963), or the
   continuous optimum, is a lower bound on any schedule in lots; what the
   schedule costs above it is returned and published.  With one coupling
   constraint the first is within one interval's non-convexity of the optimum
   (Shapley and Folkman; Bertsekas 1999, *Nonlinear Programming*, sec. 5.6).

Where no interval trades less than its clip at the continuous optimum, the
schedule of `integer` is optimal with the clip too, and no search is made.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from impactd.core.allocator.curve import Curve, Float, added_cost, less
from impactd.core.allocator.lots.separable import Int, move_lots
from impactd.core.allocator.supply import invert_marginal, model_kind
from impactd.core.allocator.transient import add_pressure
from impactd.core.base.jit import kernel

#: Neighbours on each side that a block may go to.
_REACH: Final = 16

#: Sweeps of descent.
_MAX_SWEEPS: Final = 60

#: Gains below this part of a price are rounding.
_NOISE: Final = 1e-12

#: Sets of open intervals tried on each side of the best multiplier's.
_SETS: Final = 3

#: Bisections of a multiplier: as many as a double has bits, and some.
_BISECTIONS: Final = 80


@kernel
def most_with_clips(lots: int, least: Int, cap: Int) -> int:
    """Return how many of `lots` can be placed where an interval takes nothing or `least` to `cap`.

    Exact where all clips are equal: as many intervals as clips fit, those with the most room.
    """
    order = np.argsort(-cap)
    clips, room = 0, 0
    for t in order:
        if 0 < least[t] <= cap[t] and clips + least[t] <= lots:
            clips += least[t]
            room = min(room + cap[t], lots)
    return room


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
        move_lots(lots - placed, lot, c, least, limit, n)
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
    order = np.argsort(entry, kind="mergesort")
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
                n[:] = trial
        if k + 1 > count + _SETS and best < math.inf:
            break
    if best == math.inf:  # only the intervals with the most room hold it
        open_[:] = 0
        clips = 0
        for t in np.argsort(-cap, kind="mergesort"):
            if usable[t] and clips + least[t] <= lots:
                clips += least[t]
                open_[t] = 1
        _spread(lots, lot, open_, c, least, cap, n)
    return bound


@kernel
def clipped_path(lots: int, lot: float, x: Float, least: Int, cap: Int, n: Int) -> None:
    """Fill `n` with lots along the path `x`, each interval's none or `least` to `cap`: a trade once half of one is due.

    `lots` are no more than `most_with_clips` says; where the path leaves some over they go where there is room.
    """
    size = x.shape[0]
    done, path = 0, 0.0
    for t in range(size):
        path += x[t] / lot
        n[t] = 0
        due = path - done
        left = lots - done
        if cap[t] >= least[t] and left >= least[t] and due >= 0.5 * least[t]:
            n[t] = min(max(np.int64(math.floor(due + 0.5)), least[t]), cap[t], left)
            done += n[t]
    for widen in range(2):
        for t in range(size):
            if done < lots and (n[t] > 0 or (widen == 1 and least[t] <= min(cap[t], lots - done))):
                extra = min(lots - done, cap[t] - n[t])
                n[t] += extra
                done += extra
    if done == lots:
        return
    n[:] = 0  # too many small clips: those with the most room hold it
    done = 0
    order = np.argsort(-cap, kind="mergesort")
    for t in order:
        if 0 < least[t] <= cap[t] and done + least[t] <= lots:
            n[t] = least[t]
            done += n[t]
    for t in order:
        if n[t] > 0:
            extra = min(lots - done, cap[t] - n[t])
            n[t] += extra
            done += extra


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
def descend(  # noqa: PLR0912  # one search, told in order in one compiled function
    lot: float,
    start: float,
    given: Curve,
    risk: float,
    root: Float,
    keep: Float,
    least: Int,
    cap: Int,
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
    least, cap, n : ndarray of int64, shape (N,)
        Lots: the smallest clip and the cap of each interval, and the schedule.
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
                    if gain > best and gain > _NOISE * (abs(own) + abs(cost)):
                        best, to, size_of = gain, j, d
            if to >= 0:
                n[i] -= size_of
                n[to] += size_of
                moves += 1
                _pressures(start, lot, risk, root, keep, n, x, pressed)
        if moves == before:
            break
    return moves
