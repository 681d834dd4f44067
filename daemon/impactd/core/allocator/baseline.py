"""The schedules that a plan is measured against.

TWAP trades in proportion to the time in each interval, as far as the caps
allow; what a full interval cannot take is spread over the others in the same
proportion (water-filling).  Whole lots follow the running sum, each as soon as
half of it is due: the pace stays even however few lots there are (largest
remainders would put those of an equal pace into its first intervals, which on a
trading day are the dear ones).
"""

from __future__ import annotations

import numpy as np

from impactd.core.allocator.curve import Float
from impactd.core.allocator.lots.separable import Int
from impactd.core.allocator.waterfill import share
from impactd.core.base.jit import kernel


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
    lots, rest = divmod(qty_quanta, lot_quanta)
    cap = np.minimum(cap_quanta // lot_quanta, lots)
    target = np.zeros(fraction.shape[0])
    share(float(lots), fraction, cap.astype(np.float64), target)
    count = _paced(target, cap)
    left = _missing(lots, cap, count)
    if left > 0:
        _hand_out(left, np.argsort(count - target, kind="stable"), cap, count)
    quanta = count * lot_quanta
    if rest > 0:
        open_ = np.flatnonzero(quanta <= cap_quanta - rest)
        if open_.size:
            quanta[open_[0]] += rest
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
