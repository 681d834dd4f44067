"""What bounds each interval of a plan: caps and the smallest clip, in quanta.

Caps are the least of

- participation_rate times the forecast continuous volume of the interval, less
  what earlier fills exceed of participation_rate times the realised volume (a
  deficit is carried to the intervals that follow).  The interval under way is
  allowed its whole, from when the order works, less what was filled in it:
  its own volume is known only when it has closed;
- max_interval_qty, less the fills of the interval under way;
- 0 for an interval that overlaps a blackout window.

Without a forecast of volume a participation cap is 0: nothing may trade until
volume has been seen, and the plan says so by its shortfall.

An order that must complete trades beyond its participation cap where that would
leave a rest: the last intervals are lifted first, so that volume that comes after
all is used, and never above max_interval_qty or into a blackout.

A clip is the least that an interval trades if it trades at all.  The interval
under way needs only what its fills leave of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from impactd.core.allocator.allocate import NO_CAP
from impactd.core.base.quantity import MAX_QUANTA, QUANTA
from impactd.core.orders.order import Order
from impactd.core.planning.intervals import Float, Int, Intervals


class Caps(NamedTuple):
    """Caps by interval, quanta.

    Attributes
    ----------
    cap : ndarray of int64, shape (N,)
        `NO_CAP` where there is none.
    allowed : ndarray of int64, shape (N,)
        The same without what `must_complete` has lifted.
    """

    cap: Int
    allowed: Int

    def lifted(self, qty: Int) -> int:
        """Return how much of the schedule `qty` only `must_complete` allows, quanta."""
        return int(np.sum(np.maximum(qty - self.allowed, 0)))


def caps(order: Order, intervals: Intervals, volume: Float | None, interval_ns: int) -> Caps:
    """Return the caps of each interval.

    Parameters
    ----------
    volume : ndarray of float64, shape (N,), or None
        Forecast continuous volume of whole intervals, shares.
    """
    hard = np.full(intervals.start.shape, NO_CAP, np.int64)
    if not hard.size:
        return Caps(hard, hard)
    filled = _filled(order, intervals, interval_ns)
    if order.terms.max_interval_qty is not None:
        hard[:] = order.terms.max_interval_qty
        hard[0] = max(order.terms.max_interval_qty - filled, 0)
    for start, end in order.terms.blackouts:
        hard[(intervals.start < end) & (intervals.end > start)] = 0
    if order.terms.participation_rate is None:
        return Caps(hard, hard)
    interval = int(intervals.start[0]) // interval_ns * interval_ns
    lasts = intervals.fraction.copy()
    lasts[0] = (int(intervals.end[0]) - max(order.works_from, interval)) / interval_ns
    forecast = np.zeros(hard.size) if volume is None else volume * lasts
    # No order is larger than MAX_QUANTA, and a larger float would not be an int64.
    shares = np.minimum(order.terms.participation_rate * forecast, MAX_QUANTA / QUANTA)
    realised = int(order.terms.participation_rate * order.market_volume * QUANTA)
    deficit = max(order.cum_qty - filled - realised, 0)
    allowed = np.minimum(_carry(np.floor(shares * QUANTA).astype(np.int64), deficit + filled), hard)
    return Caps(_lifted(order, allowed, hard) if order.terms.must_complete else allowed, allowed)


def clips(order: Order, intervals: Intervals, interval_ns: int) -> Int | None:
    """Return the smallest clip of each interval, quanta, shape (N,); None where the order has none."""
    if order.terms.min_clip_qty is None:
        return None
    least = np.full(intervals.start.shape, order.terms.min_clip_qty, np.int64)
    if least.size:
        least[0] = max(order.terms.min_clip_qty - _filled(order, intervals, interval_ns), 1)
    return least


def _filled(order: Order, intervals: Intervals, interval_ns: int) -> int:
    """Return what was filled in the interval under way, quanta."""
    interval = int(intervals.start[0]) // interval_ns * interval_ns
    return order.filled_in.get(interval, 0)


def _carry(cap: Int, deficit: int) -> Int:
    """Take `deficit` quanta off the caps, earliest first."""
    left = cap.copy()
    for t in range(left.size):
        if deficit <= 0:
            break
        taken = min(int(left[t]), deficit)
        left[t] -= taken
        deficit -= taken
    return left


def _lifted(order: Order, allowed: Int, hard: Int) -> Int:
    """Raise caps, latest first, until whole lots (and the odd rest) of all that is left find room."""
    lot = order.terms.lot_size
    base = allowed // lot * lot
    left = order.leaves_qty - sum(np.minimum(base, order.leaves_qty).tolist())
    cap = allowed.copy()
    for t in range(cap.size - 1, -1, -1):
        if left <= 0:
            break
        up = min(int(hard[t]) - int(base[t]), left)
        if up < left:
            up = up // lot * lot
        if up > 0:
            cap[t] = base[t] + up
            if order.terms.min_clip_qty is not None:  # less than a clip would not trade
                cap[t] = max(int(cap[t]), min(order.terms.min_clip_qty, int(hard[t])))
            left -= int(cap[t]) - int(base[t])
    return cap
