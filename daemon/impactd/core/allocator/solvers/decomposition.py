r"""Whole lots of one or more orders on one book, exactly: decomposition by price.

The orders' costs depend on their sum alone,

.. math::

   \min \sum_t C_t\Bigl(o_t + L \sum_i n_{it}\Bigr)
   \quad\text{s.t.}\quad \sum_t n_{it} = R_i,\; 0 \le n_{it} \le u_{it},\;
   \ell_{it} \le n_{i0} + \dots + n_{it} \le h_{it},

in lots of L shares, with o what others trade.  The schedules of one order are
the integer points of a base polyhedron (bounds on a chain of sets are a laminar
family), and so are the sums of several orders' schedules.  Over such a set the
separable convex problem decomposes (Fujishige 1980; Groenevelt 1991, EJOR 54;
for one order: Vidal, Gribel and Jaillet 2019, INFORMS J. Optimization 1):

1. Solve it with the sum of all lots as the only constraint: every lot that is
   cheaper than one price mu is taken (`_target`).
2. Move lots from the intervals that hold more than that to those that hold less,
   as far as the orders' bounds allow: a maximum flow, along shortest chains of
   orders (Dinic 1970).
3. If all arrive, this is the optimum.  Else what is left over stays where it is:
   the intervals that it can still reach all end more expensive than mu, those that still
   want lots and all that could send them any end cheaper, and the rest has what
   it wants at mu.  No lot has to cross between these three, so each of the first
   two is solved by itself in the same way.

One price splits off at least one interval.  Where a split is lopsided the next one
is made at the median of the present prices, so that the depth stays of the order
of log N.  Whole lots make every comparison exact: no tolerance decides which bound
binds.

Lots move only as far as the optimum asks, from the schedules that are handed in,
along chains of as few orders as possible and first by the orders that come first:
the optimum of the sum is unique (except for ties), its split is not, and the split is
one near to where it started.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.curve import Curve, Float, less, lot_price
from impactd.core.allocator.lots.separable import best_exchange, move_lots, repair
from impactd.core.allocator.supply import invert_marginal, model_kind
from impactd.core.allocator.waterfill import share
from impactd.core.base.jit import inner_kernel, kernel
from impactd.core.base.order import stable_order

Bools = npt.NDArray[np.bool_]

#: Steps of the search for a price: Newton's, and bisections where they fail.
_MAX_STEPS: Final = 200

#: A part of more than this share of a split class makes the split lopsided; smaller classes are not worth a median.
_LOPSIDED: Final = 0.8
_SMALL: Final = 16

#: Slack of an order without bounds on its running sum.
_FREE: Final = 2**62


@kernel
def _wanted(mu: float, kind: int, c: Curve, before: Float, lot: float, least: Int, most: Int, n: Int) -> float:
    """Fill `n` with the lots that cost at most `mu`, within `least` and `most`; return the slope of their sum."""
    slope = 0.0
    for t in range(n.shape[0]):
        o = before[t] * lot
        top = o + most[t] * lot
        x, rate = invert_marginal(mu - c.s[t], kind, c.b[t], c.a[t], c.e[t], c.delta, top)
        count = most[t] if x >= top else min(np.int64(math.floor(max(x - o, 0.0) / lot)), most[t])
        if count < most[t]:
            next_lot = count + 1 + before[t]
            if lot_price(next_lot, lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta) <= mu:
                count += 1
        n[t] = max(count, least[t])
        if x > o and count > least[t]:
            slope += rate
    return slope / lot


@kernel
def _between(lo: float, hi: float) -> float:
    """Return a price inside the bracket, geometric while its ends differ in magnitude; `lo` where there is none."""
    if lo > 0.0:
        return math.sqrt(lo) * math.sqrt(hi) if hi > 4.0 * lo else lo + 0.5 * (hi - lo)
    return hi * 2.0**-30 if hi > 1e-280 else lo


@kernel
def _around(
    total: int, kind: int, c: Curve, before: Float, lot: float, least: Int, most: Int, lo: float, hi: float, n: Int,
    above: Int,
) -> None:  # fmt: skip
    """Fill `n` and `above` with the lots below and up to a price that many lots share, between `lo` and `hi`.

    The ends may be off by the rounding of prices where an interval's price is that of a class before.
    """
    width = 2.0**-52 * hi
    _wanted(hi, kind, c, before, lot, least, most, above)
    while np.sum(above) < total:
        hi, width = hi + width, 4.0 * width
        _wanted(hi, kind, c, before, lot, least, most, above)
    for t in range(n.shape[0]):
        n[t] = least[t]
    width = 2.0**-52 * hi
    while lo > 0.0:
        _wanted(lo, kind, c, before, lot, least, most, n)
        if np.sum(n) <= total:
            return
        lo, width = lo - width, 4.0 * width
        for t in range(n.shape[0]):
            n[t] = least[t]


@kernel
def _target(  # noqa: PLR0912  # one search, told in order in one compiled function
    total: int,
    lot: float,
    kind: int,
    c: Curve,
    before: Float,
    fraction: Float,
    least: Int,
    most: Int,
    lo: float,
    hi: float,
    mu: float,
    n: Int,
) -> float:
    """Fill `n` with the `total` cheapest lots, each interval's `least` to `most`; return their price.

    The price lies in [lo, hi]; `mu` is a first guess.
    """
    size = n.shape[0]
    above = np.empty(size, np.int64)
    if not lo < mu < hi:
        mu = lo + 0.5 * (hi - lo)
    last = math.inf
    for _ in range(_MAX_STEPS):
        slope = _wanted(mu, kind, c, before, lot, least, most, n)
        gap = float(total - np.sum(n))
        if abs(gap) <= size:
            break
        if gap > 0.0:
            lo = mu
        else:
            hi = mu
        after = mu + gap / slope if slope > 0.0 else math.inf
        if not lo < after < hi or abs(gap) > 0.5 * last:
            after = _between(lo, hi)
        last = abs(gap)
        if not lo < after < hi:  # many lots at one price: between two neighbouring floats
            mu = hi
            _around(total, kind, c, before, lot, least, most, lo, hi, n, above)
            break
        mu = after
    missing = int(total - np.sum(n))
    if missing > size:
        room, part = np.zeros(size), np.zeros(size)
        for t in range(size):
            room[t] = max(above[t] - n[t], 0)
        share(float(missing), fraction, room, part)
        for t in range(size):
            n[t] += min(np.int64(math.floor(part[t])), most[t] - n[t])
        missing = int(total - np.sum(n))
    if missing != 0:
        move_lots(missing, lot, c, before, least, most, n)
    repair(lot, c, before, least, most, n)
    dearest, cheapest = -math.inf, math.inf
    for t in range(size):
        s, b, a, e = c.s[t], c.b[t], c.a[t], c.e[t]
        if n[t] > least[t]:
            dearest = max(dearest, lot_price(n[t] + before[t], lot, s, b, a, e, c.delta))
        if n[t] < most[t]:
            cheapest = min(cheapest, lot_price(n[t] + 1 + before[t], lot, s, b, a, e, c.delta))
    return min(max(mu, dearest), cheapest)


@kernel
def cheapest_sum(total: int, lot: float, given: Curve, fraction: Float, before: Float, most: Int, n: Int) -> None:
    """Fill `n` with the `total` cheapest lots, at most `most` of each interval; see `decompose`."""
    size = n.shape[0]
    base, highest = math.inf, 0.0
    for t in range(size):
        if most[t] > 0:
            base = min(base, given.s[t])
    if base == math.inf:
        n[:] = 0
        return
    c = less(given, base)
    for t in range(size):
        if most[t] > 0:
            last = most[t] + before[t]
            highest = max(highest, lot_price(last, lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta))
    roof = highest * (1.0 + 1e-9) + 1e-300
    _target(total, lot, model_kind(c), c, before, fraction, np.zeros(size, np.int64), most, 0.0, roof, 0.5 * roof, n)


@kernel
def _levels(  # noqa: PLR0912  # one search, told in order in one compiled function
    give: Int, room: Int, onward: Int, back: Int, nested: Bools, start: Int, seen: Int, queue: Int, level: Int
) -> None:
    """Fill `level` with how many orders a lot has to pass through from an interval of `start` > 0; -1 where it cannot.

    `give` and `room` (I, K): lots that an order holds in an interval, and could still hold there.  `onward` and
    `back` (I, K): lots that it could move over the gap after each interval, to later and to earlier ones.
    """
    orders, size = give.shape
    level[:] = -1
    seen[:] = 0
    first, last = 0, 0
    for j in range(size):
        if start[j] > 0:
            level[j] = 0
            queue[last] = j
            last += 1
    while first < last:
        j = queue[first]
        first += 1
        for i in range(orders):
            if give[i, j] == 0:
                continue
            if not nested[i]:
                if seen[i, 0] == 0:
                    seen[i, 0] = 1
                    for u in range(size):
                        if level[u] < 0 and room[i, u] > 0:
                            level[u] = level[j] + 1
                            queue[last] = u
                            last += 1
                continue
            for u in range(j + 1, size):
                if onward[i, u - 1] == 0 or seen[i, u] & 1:
                    break
                seen[i, u] |= 1
                if level[u] < 0 and room[i, u] > 0:
                    level[u] = level[j] + 1
                    queue[last] = u
                    last += 1
            for k in range(j):
                u = j - 1 - k
                if back[i, u] == 0 or seen[i, u] & 2:
                    break
                seen[i, u] |= 2
                if level[u] < 0 and room[i, u] > 0:
                    level[u] = level[j] + 1
                    queue[last] = u
                    last += 1


@inner_kernel
def _living(u: int, level: Int, beyond: Int) -> int:
    """Return the first interval from u on, by `beyond`, whose level is above 0, or the end; shorten the way there."""
    found = u
    while 0 <= found < level.shape[0] and level[found] <= 0:
        found = beyond[found]
    while u != found:
        after = beyond[u]
        beyond[u] = found
        u = after
    return found


@inner_kernel
def _next(
    i: int, j: int, place: int, room: Int, onward: Int, back: Int, nested: Bools, level: Int, right: Int, left: Int
) -> int:
    """Return the next interval, from `place` on, that order i can move a lot to from j in one step; -1 for none.

    Later intervals come first, nearest first, then earlier ones; `place` is one of them, or j for all.  `right` and
    `left` (N,) lead to a neighbour, or past intervals whose level has fallen: none rises while these levels hold.
    """
    size, wanted = level.shape[0], level[j] + 1
    if nested[i]:
        for u in range(j + 1, size):
            if onward[i, u - 1] == 0:
                break
            if level[u] == wanted and room[i, u] > 0:
                return u
        for k in range(j):
            if back[i, j - 1 - k] == 0:
                break
            if level[j - 1 - k] == wanted and room[i, j - 1 - k] > 0:
                return j - 1 - k
        return -1
    u = place
    if place >= j:
        u = _living(max(place, j + 1), level, right)
        while u < size and not (level[u] == wanted and room[i, u] > 0):
            u = _living(u + 1, level, right)
        if u < size:
            return u
        u = j - 1
    u = _living(u, level, left)
    while u >= 0 and not (level[u] == wanted and room[i, u] > 0):
        u = _living(u - 1, level, left)
    return u


@kernel
def _flow(  # noqa: PLR0912  # one search, told in order in one compiled function
    give: Int, room: Int, onward: Int, back: Int, nested: Bools, surplus: Int, deficit: Int
) -> None:
    """Move lots from intervals of `surplus` to those of `deficit`, as many as the orders' bounds allow, in place."""
    orders, size = give.shape
    level, queue = np.empty(size, np.int64), np.empty(size, np.int64)
    seen = np.empty((orders, size), np.int64)
    turn, place = np.empty(size, np.int64), np.empty(size, np.int64)
    right, left = np.empty(size, np.int64), np.empty(size, np.int64)
    path, via = np.empty(size + 1, np.int64), np.empty(size + 1, np.int64)
    while True:
        _levels(give, room, onward, back, nested, surplus, seen, queue, level)
        arrives, deepest = False, 0
        for j in range(size):
            arrives |= level[j] > 0 and deficit[j] > 0
            deepest = max(deepest, level[j])
        if not arrives:
            return
        turn[:] = 0
        for j in range(size):
            place[j], right[j], left[j] = j, j + 1, j - 1
        for source in range(size):
            depth = 0
            path[0] = source
            while surplus[source] > 0 and level[source] == 0:
                j = path[depth]
                u = -1
                while turn[j] < orders and level[j] < deepest:  # from the deepest level nothing leads on
                    i = turn[j]
                    if give[i, j] > 0:
                        u = _next(i, j, place[j], room, onward, back, nested, level, right, left)
                        if u >= 0:
                            place[j] = u
                            break
                    turn[j] += 1
                    place[j] = j
                if u < 0:  # a dead end
                    level[j] = -1
                    depth -= 1
                    if depth < 0:
                        break
                    continue
                via[depth] = turn[j]
                depth += 1
                path[depth] = u
                if deficit[u] == 0:
                    continue
                amount = min(surplus[source], deficit[u])
                for k in range(depth):
                    amount = min(amount, _movable(via[k], path[k], path[k + 1], give, room, onward, back, nested))
                for k in range(depth):
                    _move(via[k], path[k], path[k + 1], amount, give, room, onward, back, nested)
                surplus[source] -= amount
                deficit[u] -= amount
                depth = 0


@inner_kernel
def _movable(i: int, j: int, u: int, give: Int, room: Int, onward: Int, back: Int, nested: Bools) -> int:
    """Return how many lots order i can move from interval j to u."""
    amount: int = min(give[i, j], room[i, u])
    if nested[i]:
        for w in range(j, u):
            amount = min(amount, onward[i, w])
        for w in range(u, j):
            amount = min(amount, back[i, w])
    return amount


@inner_kernel
def _move(i: int, j: int, u: int, amount: int, give: Int, room: Int, onward: Int, back: Int, nested: Bools) -> None:
    """Move `amount` lots of order i from interval j to u."""
    give[i, j] -= amount
    room[i, j] += amount
    give[i, u] += amount
    room[i, u] -= amount
    if nested[i]:
        for w in range(j, u):
            onward[i, w] -= amount
            back[i, w] += amount
        for w in range(u, j):
            onward[i, w] += amount
            back[i, w] -= amount


@kernel
def _median(values: Float) -> float:
    order, half = stable_order(values), values.shape[0] // 2
    upper = values[order[half]]
    return float(upper if values.shape[0] % 2 == 1 else (values[order[half - 1]] + upper) / 2.0)


@kernel
def _gathered(
    who: Int, cap: Int, low: Int, high: Int, nested: Bools, n: Int, give: Int, room: Int, onward: Int, back: Int
) -> None:
    """Fill the last four with what each order holds, has room for and can move among the intervals `who`."""
    for i in range(n.shape[0]):
        if not nested[i]:
            for k in range(who.shape[0]):
                give[i, k] = n[i, who[k]]
                room[i, k] = cap[i, who[k]] - n[i, who[k]]
            continue
        done, t = 0, 0
        for k in range(who.shape[0]):
            until = who[k + 1] if k + 1 < who.shape[0] else n.shape[1]
            while t < who[k]:
                done += n[i, t]
                t += 1
            give[i, k] = n[i, t]
            room[i, k] = cap[i, t] - n[i, t]
            onward[i, k], back[i, k] = _FREE, _FREE
            while t < until:
                done += n[i, t]
                onward[i, k] = min(onward[i, k], done - low[i, t])
                back[i, k] = min(back[i, k], high[i, t] - done)
                t += 1


@kernel
def decompose(  # noqa: PLR0912, PLR0915  # one algorithm, told in order in one compiled function
    given: Curve,
    fraction: Float,
    before: Float,
    lot: float,
    cap: Int,
    low: Int,
    high: Int,
    nested: Bools,
    n: Int,
    level: Float,
) -> int:
    """Move the lots of `n` until their sum costs least.

    Parameters
    ----------
    given : Curve
        N intervals.
    fraction : ndarray of float64, shape (N,)
        Lots at one price are shared in proportion to it.
    before : ndarray of float64, shape (N,)
        What others trade, in lots of `lot` shares.
    lot : float
        Shares.
    cap, low, high : ndarray of int64, shape (I, N)
        Lots; `impactd.core.allocator.bounds.tighten` has made them attainable.  The last two count where `nested`.
    nested : ndarray of bool, shape (I,)
        Whether an order has bounds on its running sum.
    n : ndarray of int64, shape (I, N)
        Lots within all bounds, changed in place.  All together are at most `MOST_LOTS`.
    level : ndarray of float64, shape (N,)
        Filled with the price at which each interval trades.

    Returns
    -------
    int
        Prices looked at.
    """
    orders, size = n.shape
    held, least, most = np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(size, np.int64)
    for i in range(orders):
        low_before, high_before = 0, 0
        for t in range(size):
            held[t] += n[i, t]
            if nested[i]:
                least[t] += max(low[i, t] - high_before, 0)
                most[t] += min(cap[i, t], high[i, t] - low_before)
                low_before, high_before = low[i, t], high[i, t]
            else:
                most[t] += cap[i, t]
    base, highest = math.inf, 0.0
    for t in range(size):
        if most[t] > 0:
            base = min(base, given.s[t])
    c = less(given, base if base < math.inf else 0.0)
    for t in range(size):
        if most[t] > 0:
            last = most[t] + before[t]
            highest = max(highest, lot_price(last, lot, c.s[t], c.b[t], c.a[t], c.e[t], c.delta))
    kind = model_kind(c)
    price = np.empty(size)
    who, dear, cheap = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    for t in range(size):
        who[t] = t
    # classes still to be solved: places in `who`, a bracket of their prices, and whether to try their median first
    first, last_of = np.zeros(size + 1, np.int64), np.zeros(size + 1, np.int64)
    floor, roof = np.zeros(size + 1), np.zeros(size + 1)
    halve = np.zeros(size + 1, np.bool_)
    last_of[0], roof[0] = size, highest * (1.0 + 1e-9) + 1e-300
    waiting, looked = 1, 0
    while waiting > 0:
        waiting -= 1
        begin, end, lo, hi, by_median = first[waiting], last_of[waiting], floor[waiting], roof[waiting], halve[waiting]
        k = end - begin
        mine = who[begin:end].copy()
        part = Curve(np.empty(k), np.empty(k), np.empty(k), np.empty(k), c.delta)
        o, f = np.empty(k), np.empty(k)
        at_least, at_most, target = np.empty(k, np.int64), np.empty(k, np.int64), np.empty(k, np.int64)
        total = 0
        for j in range(k):
            t = mine[j]
            part.s[j], part.b[j], part.a[j], part.e[j] = c.s[t], c.b[t], c.a[t], c.e[t]
            o[j], f[j], at_least[j], at_most[j] = before[t], fraction[t], least[t], most[t]
            total += held[t]
            x = held[t] + max(o[j], 0.0)
            price[j] = lot_price(max(x, 1.0), lot, part.s[j], part.b[j], part.a[j], part.e[j], part.delta)
        mu = _median(price[:k])
        looked += 1
        if by_median and lo < mu < hi:
            _wanted(mu, kind, part, o, lot, at_least, at_most, target)
        else:
            by_median = False
            mu = _target(total, lot, kind, part, o, f, at_least, at_most, lo, hi, mu, target)
        for j in range(k):
            level[mine[j]] = mu + base
        surplus, deficit = np.zeros(k, np.int64), np.zeros(k, np.int64)
        more, fewer = 0, 0
        for j in range(k):
            surplus[j] = max(held[mine[j]] - target[j], 0)
            deficit[j] = max(target[j] - held[mine[j]], 0)
            more += surplus[j]
            fewer += deficit[j]
        if more == 0 and fewer == 0:
            continue
        give, room = np.empty((orders, k), np.int64), np.empty((orders, k), np.int64)
        onward, back = np.empty((orders, k), np.int64), np.empty((orders, k), np.int64)
        _gathered(mine, cap, low, high, nested, n, give, room, onward, back)
        if more > 0 and fewer > 0:
            _flow(give, room, onward, back, nested, surplus, deficit)
            for j in range(k):
                held[mine[j]] = 0
                for i in range(orders):
                    n[i, mine[j]] = give[i, j]
                    held[mine[j]] += give[i, j]
        from_surplus, to_deficit = np.empty(k, np.int64), np.empty(k, np.int64)
        seen, queue = np.empty((orders, k), np.int64), np.empty(k, np.int64)
        _levels(give, room, onward, back, nested, surplus, seen, queue, from_surplus)
        _levels(room, give, back, onward, nested, deficit, seen, queue, to_deficit)
        n_dear, n_cheap = 0, 0
        for j in range(k):
            if from_surplus[j] >= 0:
                dear[n_dear] = mine[j]
                n_dear += 1
            elif to_deficit[j] >= 0:
                cheap[n_cheap] = mine[j]
                n_cheap += 1
        for side in range(2):
            count = n_dear if side == 0 else n_cheap
            if count == 0:
                continue
            at = begin if side == 0 else begin + n_dear
            for j in range(count):
                who[at + j] = dear[j] if side == 0 else cheap[j]
            first[waiting], last_of[waiting] = at, at + count
            floor[waiting] = mu if side == 0 else lo
            roof[waiting] = hi if side == 0 else mu
            halve[waiting] = not by_median and count > _SMALL and count > _LOPSIDED * k
            waiting += 1
    return looked


@kernel
def decompose_one(curve: Curve, fraction: Float, lot: float, cap: Int, low: Int, high: Int, n: Int) -> float:
    """Move the lots of one order's `n` to the optimum; return what the best exchange would still save, price."""
    size = n.shape[0]
    none, level = np.zeros(size), np.empty(size)
    decompose(
        curve, fraction, none, lot, cap.reshape(1, size), low.reshape(1, size), high.reshape(1, size),
        np.ones(1, np.bool_), n.reshape(1, size), level,
    )  # fmt: skip
    last, first = np.zeros(size), np.zeros(size)
    base = np.min(curve.s) if size > 0 else 0.0
    for t in range(size):
        s = curve.s[t] - base
        first[t] = lot_price(float(n[t] + 1), lot, s, curve.b[t], curve.a[t], curve.e[t], curve.delta)
        if n[t] > 0:
            last[t] = lot_price(float(n[t]), lot, s, curve.b[t], curve.a[t], curve.e[t], curve.delta)
    return max(best_exchange(n, cap, low, high, last, first), 0.0)
