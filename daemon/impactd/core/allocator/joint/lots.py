r"""Whole lots of several orders: their bounds in lots, where to start from, the odd remainders, and the proof.

The orders of a group may have lots of different sizes.  All of them are counted
in units of the greatest common divisor; an order's lots are then a number of
units, and its bounds multiples of it.

*Start.*  An order with a plan starts from it, made to fit its bounds; one without
starts from its share of the sum that would cost least if no order had bounds.
The optimum moves lots only where it must (`impactd.core.allocator.solvers.decomposition`),
so what it returns is near to the plans in force.

*Proof.*  Let :math:`\lambda_t` lie between the price of the last lot of the sum in
interval t and that of one more.  Then for every other whole-lot schedule of the
orders the sum costs at least :math:`\sum_t \lambda_t (z_t - n_t)` more, so if at
these prices no order gains by moving one of its lots, the schedules are optimal;
and if order i gains g_i at most, they cost at most :math:`\sum_i g_i R_i` more than
the optimum, since the way from one schedule of an order to another consists of
single exchanges that are feasible one by one (Murota 2003, sec. 4.2).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from impactd.core.allocator.bounds import Int, count_lots, keep_within, never_bind, tighten
from impactd.core.allocator.curve import PRICE_FLOOR, SMALLEST_PRICE, Curve, Float, added_cost, less, lot_price
from impactd.core.allocator.lots.separable import best_exchange
from impactd.core.allocator.solvers.decomposition import Bools, cheapest_sum, decompose
from impactd.core.base.jit import kernel

#: Fractions of a lot at which the orders round, in turn: spread as evenly as can be, so that the sum is near its aim.
_GOLDEN: Final = 0.6180339887498949


@kernel
def count_in_units(
    qty: Int, lot: Int, unit: int, cap_q: Int, low_q: Int, high_q: Int, cap: Int, low: Int, high: Int, nested: Bools
) -> None:
    """Fill `cap`, `low` and `high` (I, N) with tight bounds in units, whole lots each; `nested` where sums are bounded.

    `qty`, `lot`, `unit` and `cap_q`, `low_q`, `high_q` are in quanta; a lot is a number of units.
    """
    for i in range(qty.shape[0]):
        lots, units = qty[i] // lot[i], lot[i] // unit
        count_lots(lots, lot[i], cap_q[i], low_q[i], high_q[i], cap[i], low[i], high[i])
        placed = tighten(lots, cap[i], low[i], high[i])
        nested[i] = not never_bind(placed, cap[i], low[i], high[i])
        for t in range(cap.shape[1]):
            cap[i, t] *= units
            low[i, t] *= units
            high[i, t] *= units


@kernel
def start_from(
    current: Int, lot: Int, unit: int, c: Curve, fraction: Float, before: Float, cap: Int, low: Int, high: Int, n: Int
) -> None:
    """Fill `n` (I, N) with units within all bounds: near `current` (quanta), or to each order its share of the sum.

    `before` is what others trade, in units; the other terms are those of `count_in_units`.
    """
    orders, size = n.shape
    path, aim = np.empty(size, np.int64), np.empty(size)
    whole, most, ideal = 0, np.zeros(size, np.int64), np.zeros(size, np.int64)
    planned = np.zeros(orders, np.int64)
    for i in range(orders):
        whole += high[i, size - 1]
        for t in range(size):
            most[t] += cap[i, t]
            planned[i] += current[i, t] // lot[i] * (lot[i] // unit)
    if np.any(planned == 0):
        cheapest_sum(whole, unit / 1e9, c, fraction, before, most, ideal)
    for i in range(orders):
        units, total = lot[i] // unit, high[i, size - 1]
        if planned[i] == total:
            done_units = 0
            for t in range(size):
                done_units += current[i, t] // lot[i] * units
                path[t] = done_units
            keep_within(path, cap[i], low[i], high[i], n[i])
            continue
        done = 0.0
        for attempt in range(2):  # where the sum has nothing in its window: evenly over it
            for t in range(size):
                if planned[i] > 0:
                    done += current[i, t] // lot[i]
                elif cap[i, t] > 0:
                    done += ideal[t] if attempt == 0 else fraction[t]
                aim[t] = done
            if done > 0.0:
                break
        scale = total // units / done if done > 0.0 else 0.0
        offset = 0.5 if planned[i] > 0 else (i * _GOLDEN) % 1.0
        for t in range(size):
            path[t] = min(np.int64(math.floor(aim[t] * scale + offset)) * units, total)
        keep_within(path, cap[i], low[i], high[i], n[i])


@kernel
def round_to_lots(units: int, cap: Int, low: Int, high: Int, n: Int) -> None:
    """Round the running sum of one order's `n` to lots of `units` units, within its bounds."""
    path = np.empty(n.shape[0], np.int64)
    done = 0
    for t in range(n.shape[0]):
        done += n[t]
        path[t] = (done + units // 2) // units * units
    keep_within(path, cap, low, high, n)


@kernel
def prove(
    given: Curve, before: Float, unit: float, cap: Int, low: Int, high: Int, level: Float, n: Int, price: Float
) -> tuple[float, float]:
    """Fill `price` (N,) with prices that prove the optimum, and return the residual and the gap that they leave.

    Parameters
    ----------
    before : ndarray of float64, shape (N,)
        What others trade, units.
    unit : float
        Shares.
    cap, low, high, n : ndarray of int64, shape (I, N)
        Units.
    level : ndarray of float64, shape (N,)
        The price at which each interval trades.

    Returns
    -------
    residual : float
        The gap in parts of quantity times the price scale, as in `impactd.core.allocator.certificate`.
    gap : float
        Currency.
    """
    orders, size = n.shape
    base, highest = math.inf, -math.inf
    for t in range(size):
        held, open_ = 0, False
        for i in range(orders):
            held += n[i, t]
            open_ |= cap[i, t] > 0
        s, b, a, e = given.s[t], given.b[t], given.a[t], given.e[t]
        price[t] = max(level[t], 0.0)
        last = lot_price(held + before[t], unit, s, b, a, e, given.delta) if held > 0 else -math.inf
        price[t] = max(min(price[t], lot_price(held + 1 + before[t], unit, s, b, a, e, given.delta)), last)
        if open_:
            base = min(base, s)
        if held > 0:
            highest = max(highest, last)
    gap, whole = 0.0, 0.0
    for i in range(orders):
        total = high[i, size - 1] * unit if size > 0 else 0.0
        whole += total
        if total > 0.0:
            gap += max(best_exchange(n[i], cap[i], low[i], high[i], price, price), 0.0) * total
    if whole == 0.0 or gap == 0.0:
        return 0.0, gap
    scale = max(highest - base, PRICE_FLOOR * abs(highest), SMALLEST_PRICE)
    return gap / (scale * whole), gap


@kernel
def cheapest_together(
    c: Curve,
    fraction: Float,
    current: Int,
    lot: Int,
    unit: int,
    cap: Int,
    low: Int,
    high: Int,
    nested: Bools,
    n: Int,
    multipliers: Float,
) -> tuple[float, float, int]:
    """Fill `n` (I, N) with the units that cost least, from `start_from` on; return `prove`'s and `decompose`'s results.

    `multipliers` (I,) are filled with the highest price that each order pays.
    """
    orders, size = n.shape
    shares, none, level, price = unit / 1e9, np.zeros(size), np.empty(size), np.empty(size)
    start_from(current, lot, unit, c, fraction, none, cap, low, high, n)
    steps = decompose(c, fraction, none, shares, cap, low, high, nested, n, level)
    residual, gap = prove(c, none, shares, cap, low, high, level, n, price)
    for i in range(orders):
        multipliers[i] = 0.0
        for t in range(size):
            if n[i, t] > 0:
                multipliers[i] = max(multipliers[i], price[t])
    return residual, gap, steps


@kernel
def place_remainders(given: Curve, qty: Int, lot: Int, cap: Int, high: Int, quanta: Int, total: Float) -> None:
    """Add to `quanta` (I, N) the part of each order that is no whole lot, where it costs least.

    `cap` and `high` are in quanta, `total` (N,) what all trade, shares; both results are changed in place.
    """
    size = total.shape[0]
    if size == 0:
        return
    c = less(given, np.min(given.s))
    for i in range(qty.shape[0]):
        rest = qty[i] % lot[i]
        if rest == 0:
            continue
        done, where, least = 0, -1, math.inf
        for t in range(size):
            done += quanta[i, t]
        fits = True
        for k in range(size):
            t = size - 1 - k
            fits &= high[i, t] - rest >= done
            done -= quanta[i, t]
            if fits and cap[i, t] - rest >= quanta[i, t]:
                cost = added_cost(total[t], rest / 1e9, c.s[t], c.b[t], c.a[t], c.e[t], c.delta)
                if cost <= least:
                    where, least = t, cost
        if where >= 0:
            quanta[i, where] += rest
            total[where] += rest / 1e9


@kernel
def may_stay(now: Int, best: Int, qty: Int, lot: Int, cap: Int, low: Int, high: Int) -> bool:
    """Return whether the schedules `now` (I, N) trade as much as `best`, within the bounds, and in lots; all quanta.

    Each may have one odd interval, where its order has an odd remainder; a lower bound gives way as far as it does
    for `best`.
    """
    for i in range(now.shape[0]):
        done, reached, odd = np.int64(0), np.int64(0), 0
        for t in range(now.shape[1]):
            done += now[i, t]
            reached += best[i, t]
            odd += now[i, t] % lot[i] != 0
            if not 0 <= now[i, t] <= cap[i, t] or done > high[i, t] or done < min(low[i, t], reached):
                return False
        if done != reached or odd > (qty[i] % lot[i] > 0):
            return False
    return True
