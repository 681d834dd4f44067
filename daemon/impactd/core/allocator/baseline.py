"""The schedules that a plan is measured against.

TWAP trades in proportion to the time in each interval, as far as the caps
allow; what a full interval cannot take is spread over the others in the same
proportion (water-filling).  It is rounded to whole lots by largest remainder,
so its sum is exact.
"""

from __future__ import annotations

import numpy as np

from impactd.core.allocator.integer import Int
from impactd.core.allocator.problem import Float
from impactd.core.allocator.share import share


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
    count = np.minimum(np.floor(target).astype(np.int64), cap)
    left = min(lots, sum(cap.tolist())) - sum(count.tolist())
    while left < 0:  # float64 rounds totals beyond 2^53 either way
        widest = int(np.argmax(count))
        count[widest] -= min(-left, int(count[widest]))
        left = min(lots, sum(cap.tolist())) - sum(count.tolist())
    order = np.argsort(-(target - count), kind="stable")
    while left > 0:
        for t in order.tolist():
            step = min(left, int(cap[t] - count[t]), 1 + left // len(order))
            count[t] += step
            left -= step
            if left == 0:
                break
    quanta = count * lot_quanta
    if rest > 0:
        open_ = np.flatnonzero(quanta <= cap_quanta - rest)
        if open_.size:
            quanta[open_[0]] += rest
    return quanta
