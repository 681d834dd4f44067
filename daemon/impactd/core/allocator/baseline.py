"""The baseline schedules of a plan: TWAP.

TWAP trades in proportion to the time in each interval, as far as the caps
allow; what a full interval cannot take is spread over the others in the same
proportion (water-filling).  Whole lots follow the running sum, each as soon as
half of it is due: the pace stays even for any number of lots (largest
remainders would put them into the first intervals, which are the expensive ones
of a trading day).
"""

from __future__ import annotations

import numpy as np

from impactd.core.allocator.bounds import NO_CAP, Int, keep_within, tighten
from impactd.core.allocator.curve import Float
from impactd.core.allocator.waterfill import share
from impactd.core.base.jit import kernel
from impactd.core.base.order import stable_order


def twap(qty_quanta: int, fraction: Float, cap_quanta: Int, lot_quanta: int = 1) -> Int:
    """Return the time-weighted schedule under caps.

    Parameters
    ----------
    qty_quanta : int
        Quanta to place, non-negative.
    fraction : ndarray of float64, shape (N,)
        Part of an interval that each one lasts, positive.
    cap_quanta : ndarray of int64, shape (N,)
        Most quanta of each interval.
    lot_quanta : int
        Quanta in one lot.

    Returns
    -------
    ndarray of int64, shape (N,)
        Quanta per interval: whole lots, and the odd remainder (less than a
        lot) in the first interval whose cap still holds it.  The sum is
        `qty_quanta`, or less where the caps hold less.
    """
    low, high = np.zeros((1, len(cap_quanta)), np.int64), np.full((1, len(cap_quanta)), NO_CAP)
    qty, lot = np.array([qty_quanta], np.int64), np.array([lot_quanta], np.int64)
    quanta: Int = twap_of(qty, lot, fraction, np.reshape(cap_quanta, (1, -1)), low, high)[0]
    return quanta


@kernel
def twap_of(qty: Int, lot: Int, fraction: Float, cap: Int, low: Int, high: Int) -> Int:
    """Return the time-weighted schedules of several orders under caps and bounds of their running sums.

    Parameters
    ----------
    qty, lot : ndarray of int64, shape (I,)
        Quanta.
    fraction : ndarray of float64, shape (N,)
        Part of an interval that each one lasts.
    cap, low, high : ndarray of int64, shape (I, N)
        Quanta; see `impactd.core.allocator.bounds`.
    """
    orders, size = cap.shape
    quanta = np.empty((orders, size), np.int64)
    most, least, limit = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    target, room = np.empty(size), np.empty(size)
    for i in range(orders):
        lots, rest = qty[i] // lot[i], qty[i] % lot[i]
        for t in range(size):
            most[t] = min(cap[i, t] // lot[i], lots)
            room[t] = float(most[t])
            target[t] = 0.0
        share(float(lots), fraction, room, target)
        count = _paced(target, most)
        left = _missing(lots, most, count)
        if left > 0:
            for t in range(size):
                target[t] = count[t] - target[t]
            _hand_out(left, stable_order(target), most, count)
        bounded = False
        for t in range(size):
            bounded |= low[i, t] > 0 or high[i, t] < qty[i]
        if bounded:
            for t in range(size):
                least[t] = min((low[i, t] + lot[i] - 1) // lot[i] if low[i, t] < qty[i] else lots, lots)
                limit[t] = min(high[i, t] // lot[i], lots)
            tighten(lots, most, least, limit)
            keep_within(np.cumsum(count), most, least, limit, count)
        done = 0
        for t in range(size):
            quanta[i, t] = count[t] * lot[i]
            done += quanta[i, t]
        where, fits = -1, rest > 0
        for k in range(size):  # the odd remainder goes where it first fits, from where the running sum has room for it
            t = size - 1 - k
            fits &= high[i, t] - rest >= done
            if fits and quanta[i, t] <= cap[i, t] - rest:
                where = t
            done -= quanta[i, t]
        if where >= 0:
            quanta[i, where] += rest
    return quanta


@kernel
def _paced(target: Float, cap: Int) -> Int:
    """Round to whole lots so that the running sum stays within half a lot of the target's, as far as the caps allow."""
    count = np.zeros(target.shape[0], np.int64)
    due, done = 0.0, 0
    for t in range(target.shape[0]):
        due += target[t]
        count[t] = min(max(int(np.floor(due + 0.5)) - done, 0), cap[t])
        done += count[t]
    return count


@kernel
def _missing(lots: int, cap: Int, count: Int) -> int:
    """Return how many lots `count` falls short of `lots` or of all caps; none too many are left in it."""
    room, total, widest = 0, 0, 0
    for t in range(cap.shape[0]):
        room += min(cap[t], lots - room)  # in this order no sum leaves int64
        total += count[t]
    while total > room:  # float64 rounds totals beyond 2^53 either way
        for t in range(cap.shape[0]):
            if count[t] > count[widest]:
                widest = t
        step = min(total - room, count[widest])
        count[widest] -= step
        total -= step
    return room - total


@kernel
def _hand_out(left: int, order: Int, cap: Int, count: Int) -> None:
    """Add `left` lots to `count`, one each or an even part of many, first to those first in `order`."""
    n = order.shape[0]
    while left > 0:
        for t in order:
            step = min(left, cap[t] - count[t], 1 + left // n)
            count[t] += step
            left -= step
            if left == 0:
                break
