r"""The bounds of an order's plan: caps, bounds of its running sum, and its smallest clip.

*Caps*, for each interval by itself:

- max_interval_qty, less the fills of the current interval;
- what a limit price leaves of it (`impactd.core.planning.price_limit`);
- 0 where an interval overlaps a blackout window, lies outside the order's own
  window, or is not wholly inside an open session.

*Participation* bounds the running sum.  At no time may more have traded than
participation_rate times the continuous volume since the order began to work:

.. math::

   \text{cum\_qty} + x_0 + \dots + x_t \le \text{rate} \cdot
      \bigl(V + \hat v_0 + \dots + \hat v_t\bigr)

with V the volume of closed minutes (`Order.market_volume`) and :math:`\hat v` the
forecast; the current interval counts in full, from when the order works, since its
own volume is known only when it has closed.  Allowance that a quiet minute did not
give, or that was less than a lot, is carried forward, and an excess from too high a
forecast is paid back by the intervals that follow.  None follow the last one: in it
only known volume counts, and that grows during the interval
(`impactd.core.planning.pace` plans it again then).  So over its window an
order stays within its rate, unless from some minute to the end the market trades
less than was expected of that minute alone.

A least or a target rate bounds the running sum from below in the same way, in whole
lots, rounded down; it gives way to caps, upper bounds and the order's own quantity, and
what it could not trade it makes up for later.  A target is the upper bound too, unless
participation_rate is given.  While the market is at a would price or a better one, the
interval under way trades at least the order's share of what the book shows there, in
the same way.

Without a forecast of volume nothing may trade until volume has been seen, and the
plan says so by its shortfall.

An order that must complete exceeds its participation where that would leave a
shortfall: as late as possible, so that volume that comes after all is used, by no
more than is missing, and never above a cap.

A clip is the least that an interval trades if it trades at all.  The interval
in progress needs only what its fills leave of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.allocate import placeable
from impactd.core.allocator.bounds import NO_CAP, Int
from impactd.core.allocator.curve import Float
from impactd.core.base.jit import kernel
from impactd.core.base.quantity import MAX_QUANTA, QUANTA
from impactd.core.base.quick import quick_dataclass
from impactd.core.orders.order import Order
from impactd.core.planning.intervals import Intervals

Bools = npt.NDArray[np.bool_]

_MAX_QUANTA: Final = float(MAX_QUANTA)


@quick_dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the plans of I orders over N common intervals, quanta."""

    #: Shape (I, N). `NO_CAP` where there is none.
    cap: Int
    #: Shape (I, N). Bounds of each running sum; `NO_CAP` where there is no upper one.
    low: Int
    high: Int
    #: Shape (I, N). `high` without what `must_complete` has lifted.
    allowed: Int
    #: Shape (I,). Start of the last interval in which each order may trade, ns; 0 where it may not trade at all.
    last: Int

    def broken_by(self, qty: Int) -> bool:
        """Return whether any of the schedules `qty` (I, N) breaks a cap or a bound of its running sum."""
        return _broken(qty, self.cap, self.low, self.high)

    def room_of_all(self) -> Float:
        """Return what each interval may trade of all orders if each trades all that it may, shares, shape (N,)."""
        return _room_of_all(self.cap, self.high)

    def of(self, i: int, rows: slice) -> Limits:
        """Return the limits of one order in some of the intervals."""
        cap, low, high, allowed = (b[i : i + 1, rows] for b in (self.cap, self.low, self.high, self.allowed))
        return Limits(cap, low, high, allowed, self.last[i : i + 1])

    @property
    def n_open(self) -> int:
        """In how many intervals the only order may trade, at least 1."""
        return max(int(np.count_nonzero(self.cap[0] > 0)), 1)

    def lifted(self, qty: Int, lot: int) -> int:
        """Return how much of the only order's schedule (N,), in lots, `must_complete` alone allows, quanta."""
        return _lifted(qty, self.allowed[0], lot)

    def room(self, qty: Int, lot: int) -> Int:
        """Return what each interval may trade at most if those before it trade the only order's `qty` (N,), quanta.

        In whole lots, but for an odd remainder in `qty`.
        """
        room = np.empty(len(qty), np.int64)
        _room(qty, self.cap[0], self.high[0], lot, room)
        return room


@kernel
def _broken(qty: Int, cap: Int, low: Int, high: Int) -> bool:
    for i in range(qty.shape[0]):
        done = np.int64(0)
        for t in range(qty.shape[1]):
            done += qty[i, t]
            if qty[i, t] > cap[i, t] or done > high[i, t] or done < low[i, t]:
                return True
    return False


@kernel
def _room_of_all(cap: Int, high: Int) -> Float:
    room = np.zeros(cap.shape[1])
    for i in range(cap.shape[0]):
        before = np.int64(0)
        for t in range(cap.shape[1]):
            most = min(cap[i, t], high[i, t] - before)
            room[t] += np.inf if most >= NO_CAP else most / QUANTA
            before = high[i, t]
    return room


@kernel
def _lifted(qty: Int, allowed: Int, lot: int) -> int:
    done, most = np.int64(0), np.int64(0)
    for t in range(qty.shape[0]):
        done += qty[t]
        if done > allowed[t]:
            most = max(most, done - allowed[t] // lot * lot)
    return int(most)


@kernel
def _room(qty: Int, cap: Int, high: Int, lot: int, room: Int) -> None:
    before = np.int64(0)
    for t in range(qty.shape[0]):
        most = cap[t] if high[t] == NO_CAP else min(cap[t], high[t] - before)
        room[t] = most if most == NO_CAP else max(most // lot * lot, qty[t])
        before += qty[t]


def limits(
    orders: Sequence[Order],
    grid: Intervals,
    volume: Float | None,
    open_: Bools,
    so_far: float,
    now: int,
    interval_ns: int,
    price_caps: Mapping[int, Int] = MappingProxyType({}),
    at_once: Mapping[int, int] = MappingProxyType({}),
    leaves: Int | None = None,
) -> Limits:
    """Return the limits of orders over the whole intervals of `grid`.

    Parameters
    ----------
    orders : sequence of Order
        Active.
    grid : Intervals
        Whole intervals, which hold all windows from `now` (ns) on.
    volume : ndarray of float64, shape (N,), or None
        Forecast continuous volume, shares.
    open_ : ndarray of bool, shape (N,)
        Whether the market is open.
    so_far : float
        Continuous volume of the current interval until now, shares.
    price_caps : mapping of int to ndarray of int64, shape (N,)
        What a limit price leaves of each interval, quanta, by the order's number.
    at_once : mapping of int to int
        What a would price takes of the interval under way, quanta, by the order's number.
    leaves : ndarray of int64, shape (I,), optional
        What is left of each order outside of auctions, quanta.
    """
    forecast = np.zeros(grid.start.size) if volume is None else volume
    cap, low, high, allowed = np.empty((4, len(orders), grid.start.size), np.int64)
    found = Limits(cap, low, high, allowed, np.zeros(len(orders), np.int64))
    first = int(grid.start[0]) if grid.start.size else 0
    windows = [(i, start, end) for i, order in enumerate(orders) for start, end in order.terms.closed()]
    whole, rates = [], []
    for i, order in enumerate(orders):
        terms = order.terms
        left = order.continuous_qty if leaves is None else int(leaves[i])
        most = NO_CAP if terms.max_interval_qty is None else terms.max_interval_qty
        whole.append(
            (
                max(now, terms.start), terms.end, order.works_from, most, terms.lot_size, left,
                order.cum_qty - order.auction_qty, order.filled_in.get(first, 0), terms.must_complete,
                at_once.get(i, 0),
            )
        )  # fmt: skip
        rates.append((_rate(terms.most_rate), _rate(terms.least_rate), order.market_volume))
    priced = np.full(cap.shape if price_caps else (0, 0), NO_CAP)
    for i, caps in price_caps.items():
        priced[i] = caps
    _fill(
        grid.start,
        interval_ns,
        forecast,
        open_,
        so_far,
        now,
        np.array(whole, np.int64),
        np.array(rates, np.float64),
        np.array(windows, np.int64).reshape(-1, 3),
        priced,
        found.cap,
        found.low,
        found.high,
        found.allowed,
        found.last,
    )
    return found


def _rate(rate: float | None) -> float:
    return -1.0 if rate is None else rate


@kernel
def _fill(  # noqa: PLR0912, PLR0915  # one rule after the other, for every order and interval
    starts: Int,
    interval_ns: int,
    volume: Float,
    open_: Bools,
    so_far: float,
    now: int,
    whole: Int,
    rates: Float,
    blackouts: Int,
    priced: Int,
    cap: Int,
    low: Int,
    high: Int,
    allowed: Int,
    last_start: Int,
) -> None:
    """Fill the limits; see `limits`, which has the columns of `whole` and `rates`, a row for each order."""
    size = starts.shape[0]
    for i in range(whole.shape[0]):
        begin, end, works_from, most, lot = whole[i, 0], whole[i, 1], whole[i, 2], whole[i, 3], whole[i, 4]
        leaves, done, filled, completes, at_once = whole[i, 5], whole[i, 6], whole[i, 7], whole[i, 8], whole[i, 9]
        rate, least, market = rates[i, 0], rates[i, 1], rates[i, 2]
        first, last = -1, -1
        for t in range(size):
            from_, to = max(starts[t], begin), min(starts[t] + interval_ns, end)
            cap[i, t] = most if to > from_ and open_[t] else 0
            if to > from_ and first < 0:
                first = t
                if most != NO_CAP and open_[t]:
                    cap[i, t] = max(most - filled, 0)
            if priced.shape[0] > 0:
                cap[i, t] = min(cap[i, t], priced[i, t])
            low[i, t] = 0
        for k in range(blackouts.shape[0]):
            if blackouts[k, 0] == i:
                for t in range(size):
                    from_, to = max(starts[t], begin), min(starts[t] + interval_ns, end)
                    if from_ < blackouts[k, 2] and to > blackouts[k, 1]:
                        cap[i, t] = 0
        for t in range(size):
            if cap[i, t] > 0:
                last, last_start[i] = t, starts[t]
        allowed[i, :] = NO_CAP
        high[i, :] = NO_CAP
        if rate < 0.0 and least < 0.0 and at_once == 0:
            continue
        for t in range(size):
            from_, to = max(starts[t], begin), min(starts[t] + interval_ns, end)
            if to > from_:
                since = max(works_from, starts[t]) if t == first else from_
                if t != last:
                    market += volume[t] * ((to - since) / interval_ns)
                elif now > starts[t]:  # what a forecast overstates could not be paid back any more
                    market += so_far * (max(now - since, 0) / (now - starts[t]))
            # no order is larger than MAX_QUANTA, and a larger float would not be an int64
            if rate >= 0.0:
                share = min(rate * market * 1e9, _MAX_QUANTA)
                allowed[i, t] = max(np.int64(share) - done, 0)
                high[i, t] = allowed[i, t]
            if least >= 0.0:
                share = min(least * market * 1e9, _MAX_QUANTA)
                low[i, t] = max(np.int64(share) - done, 0) // lot * lot
            low[i, t] = max(low[i, t], at_once // lot * lot)
        if completes and rate >= 0.0:
            lots, later = leaves // lot, 0
            for k in range(size):
                t = size - 1 - k
                must = (lots - later) * lot + (leaves % lot if later == 0 else 0)
                high[i, t] = max(high[i, t], must)
                later += min(cap[i, t] // lot, lots - later)
        # What is due at least gives way to caps, upper bounds and the order's end.
        reach = np.int64(0)
        for t in range(size):
            room = min(high[i, t], leaves) // lot * lot
            more = min(cap[i, t], leaves) // lot * lot
            reach = max(min(reach + more, room), reach)
            low[i, t] = min(low[i, t], reach)


def clips(order: Order, grid: Intervals) -> Int | None:
    """Return the smallest clip of each interval, quanta, shape (N,); None where the order has none."""
    clip = order.terms.min_clip_qty
    if clip is None:
        return None
    least = np.full(grid.start.shape, clip, np.int64)
    if least.size:
        least[0] = max(clip - order.filled_in.get(int(grid.start[0]), 0), 1)
    return least


def complete_in_clips(order: Order, leaves: int, bounds: Limits, least: Int) -> Limits:
    """Return limits that let an order complete in clips of `least`, lifted as late as possible; the same if they do.

    Lots that complete an order need not be clips that do.
    """

    def completes(high: Int) -> bool:
        lot = order.terms.lot_size
        return placeable(leaves, lot, bounds.cap[0], bounds.low[0], high, least) >= leaves // lot

    def lifted(first: int) -> Int:
        high: Int = bounds.high[0].copy()
        high[first:] = NO_CAP
        return high

    if completes(bounds.high[0]) or not completes(lifted(0)):
        return bounds
    first, beyond = 0, bounds.high.shape[1]
    while beyond - first > 1:
        middle = (first + beyond) // 2
        first, beyond = (middle, beyond) if completes(lifted(middle)) else (first, middle)
    return dataclasses.replace(bounds, high=lifted(first)[None])
