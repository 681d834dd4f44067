r"""Trades within the minute, and every policy's costs over the later mid.

A slice that is decided at t is executed at the book that prevails the latency later.  Nothing refills within an
interval: a slice after d shares of it walks on from there.

A narrow spread or a deep side predicts the mid: an order that buys only when the mid is about to rise pays little
over the current mid, and gains nothing.  Against the mid `LATER_S` seconds after each trade, with m the mid,

.. math:: \text{later}_h = \text{cost} - \text{sign} \sum_t x_t \, (m_{t + h} - m_t),

a policy that has only followed the mid saves nothing.  Minutes are taken at the average of their `POINTS` moments.
A later moment after the close counts as the close: what is quoted then, often a stub, is no price of the session.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import SECOND_NS
from impactd.core.books.interval_cost import Intervals, Prevailing, walk_on
from impactd.core.inputs.ticks import Float, Int
from impactd.core.outputs.messages import Slice
from impactd.core.planning.metaorder import Metaorder

#: How long after a trade the mid is examined, seconds.
LATER_S: Final = (60, 300)

#: Moments of an interval at which its mid is examined.
POINTS: Final = 12


class Takes(NamedTuple):
    """What is taken when: decisions (ns, shape (n,), ascending) and shares."""

    at: Int
    qty: Float

    @classmethod
    def of(cls, slices: Iterable[Slice], left: float, last: int) -> Takes:
        """Return what slices take, and at `last` (ns) the shares that they have left."""
        taken = [(one.as_of, one.qty / QUANTA) for one in slices] + ([(last, left)] if left > 0.0 else [])
        return cls(np.array([at for at, _ in taken], np.int64), np.array([qty for _, qty in taken], np.float64))

    @classmethod
    def even(cls, qty: float, start: int, end: int, every: int) -> Takes:
        """Return equal parts of `qty` shares, one each `every` ns of [start, end)."""
        at = np.arange(start, end, every, dtype=np.int64)
        return cls(at, np.full(len(at), qty / len(at)))

    def by_interval(self, start: int, n: int, interval_ns: int) -> Float:
        """Return the shares taken in each of the `n` intervals from `start` on."""
        path = np.zeros(n)
        np.add.at(path, (self.at - start) // interval_ns, self.qty)
        return path


class Cost(NamedTuple):
    """What an order has cost.

    Attributes
    ----------
    own : float
        Currency over the mid of each trade.
    later : tuple of float
        Over the mid `LATER_S` after it.
    beyond : float
        Shares beyond the visible depth.
    law : float
        Of each cost, the part by the law of `PlanSettings.metaorder`.
    """

    own: float
    later: tuple[float, ...]
    beyond: float
    law: float = 0.0


def price(intervals: Intervals, row: int, takes: Takes, latency_ns: int, law: Metaorder | None = None) -> Cost:
    """Return what takes cost on the recorded books.

    Parameters
    ----------
    intervals : Intervals
        Of the session.
    row : int
        Of the side: 0 to buy, 1 to sell.
    law : Metaorder, optional
        Of the order, for what is beyond the visible depth.
    """
    prevailing, interval_ns = intervals.prevailing, intervals.interval_ns
    at = takes.at + latency_ns
    book = _book_at(prevailing, at)
    own = beyond = taken = 0.0
    interval = -1
    for i, qty in enumerate(takes.qty.tolist()):
        if takes.at[i] // interval_ns != interval:
            interval, taken = int(takes.at[i] // interval_ns), 0.0
        k = int(book[i])
        depth = float(prevailing.depth[k, row])
        half_spread, rising = float(prevailing.half_spread[k]), intervals.rising
        own += walk_on(prevailing.distance[k, row], prevailing.size[k, row], half_spread, depth, taken, qty, rising)
        beyond += max(min(taken + qty - depth, qty), 0.0)
        taken += qty
    part = 0.0
    if law is not None:
        part = law.beyond(float(takes.qty.sum()), beyond)
        own += part
    sign = 1 - 2 * row
    later = tuple(own - sign * float(takes.qty @ _move(intervals, at, seconds)) for seconds in LATER_S)
    return Cost(own, later, beyond, part)


def moves(intervals: Intervals, start: int, n: int) -> Float:
    """Return by how much the mid moves in `LATER_S` after the moments of the `n` intervals from `start`, shape (2, n).

    Price.
    """
    points = start + (np.arange(n * POINTS, dtype=np.int64) * intervals.interval_ns) // POINTS
    return np.stack([_move(intervals, points, seconds).reshape(n, POINTS).mean(axis=1) for seconds in LATER_S])


def later(cost: float, row: int, path: Float, moved: Float) -> tuple[float, ...]:
    """Return the cost of a path by interval over the mid that comes after, from that over its own."""
    return tuple(cost - (1 - 2 * row) * float(path @ by_interval) for by_interval in moved)


def _move(intervals: Intervals, at: Int, seconds: int) -> Float:
    books = intervals.prevailing
    last = intervals.start + len(intervals) * intervals.interval_ns - 1
    then = np.maximum(np.minimum(at + seconds * SECOND_NS, last), at)
    return np.asarray(books.mid[_book_at(books, then)] - books.mid[_book_at(books, at)])


def _book_at(prevailing: Prevailing, at: Int) -> Int:
    """Return the last book that began by each time; the first one before all."""
    return np.maximum(np.searchsorted(prevailing.start, at, "right") - 1, 0)
