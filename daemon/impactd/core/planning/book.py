"""The sum of the current schedules of all orders, by symbol and side.

An order that is planned by itself (it has a smallest clip, say) is charged for the
others' plans too, never as if it were alone.  The sum of all schedules is kept as
they change, so that planning one order does not visit all others.  It follows from
the orders' schedules, and is rebuilt from them after a restart.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.curve import Float
from impactd.core.base.quantity import QUANTA
from impactd.core.base.topics import Side
from impactd.core.orders.ledger import Ledger
from impactd.core.orders.order import Order

#: Unit of the sums, quanta: 0.000016 shares, so that 16,000 orders of any size stay inside int64.
_UNIT: Final = 2**14

#: Intervals kept in one array: a window may be far ahead.
_PART: Final = 512


class Book:
    """Sums of schedules by interval."""

    def __init__(self, orders: Ledger, interval_ns: int) -> None:
        self._orders = orders
        self._interval = interval_ns
        self._sums: dict[tuple[str, Side], _Sum] = {}

    def note(self, order: Order) -> None:
        """Take in an order's schedule instead of the one before."""
        self._of(order.symbol, order.side).put(order, self._interval)

    def others(self, orders: Collection[Order], symbol: str, side: Side, starts: Int) -> Float | None:
        """Return what all but `orders` trade in the intervals that start at `starts` (ns), shares; None for nothing."""
        total = self._of(symbol, side)
        own = [total.laid[order.cl_ord_id] for order in orders if order.cl_ord_id in total.laid]
        if len(own) == len(total.laid):
            return None
        index = starts // self._interval
        units = total.at(index)
        for first, laid in own:
            rows = index - first
            inside = (rows >= 0) & (rows < laid.size)
            units[inside] -= laid[rows[inside]]
        return np.asarray(units * (_UNIT / QUANTA), np.float64) if units.any() else None

    def _of(self, symbol: str, side: Side) -> _Sum:
        total = self._sums.get((symbol, side))
        if total is None:
            total = self._sums[symbol, side] = _Sum()
            for order in self._orders.of(symbol):
                if order.side is side:
                    total.put(order, self._interval)
        return total


class _Sum:
    """Schedules of one symbol and side, by number of interval since the epoch, in units of `_UNIT` quanta.

    Integers, so that the sum does not depend on the order in which schedules came, or on a restart.
    """

    def __init__(self) -> None:
        self.laid: dict[str, tuple[int, Int]] = {}
        self._parts: dict[int, Int] = {}

    def put(self, order: Order, interval_ns: int) -> None:
        """Add an order's schedule, and take off what it was before."""
        before = self.laid.pop(order.cl_ord_id, None)
        if before is not None:
            self._add(*before, -1)
        if order.schedule.start.size:
            first = int(order.schedule.start[0]) // interval_ns
            units = order.schedule.qty // _UNIT
            self.laid[order.cl_ord_id] = (first, units)
            self._add(first, units, 1)
        if not self.laid:
            self._parts.clear()

    def at(self, index: Int) -> Int:
        """Return the sums of some intervals."""
        found = np.zeros(index.size, np.int64)
        for number in np.unique(index // _PART).tolist():
            part = self._parts.get(number)
            if part is not None:
                rows = index // _PART == number
                found[rows] = part[index[rows] % _PART]
        return found

    def _add(self, first: int, units: Int, sign: int) -> None:
        done, change = 0, np.add if sign > 0 else np.subtract
        while done < units.size:
            number, at = divmod(first + done, _PART)
            some = min(units.size - done, _PART - at)
            part = self._parts.get(number)
            if part is None:
                part = self._parts[number] = np.zeros(_PART, np.int64)
            change(part[at : at + some], units[done : done + some], out=part[at : at + some])
            done += some
