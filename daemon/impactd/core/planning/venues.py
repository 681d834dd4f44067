"""Splits a quantity over a symbol's venues, at least cost with fees, in whole lots of each.

Theory
------
Taking x at one venue walks its levels, and each unit costs its level's price and the fee: a buy pays p + f |p| + c, a
sell gets p - f |p| - c.  Levels get dearer, so the cost of each venue is convex in x, and so is the sum.  Where all
venues have one lot, taking the cheapest lot that is left, again and again, is therefore best.

Lots that differ are a chain: each divides the next.  Whatever is best takes a number of the smallest lots that is given
modulo the next lot, and these are the cheapest; the others come in bundles of the next lot, the cheapest together.
Bundles are as good as lots of that size, and get dearer too, so the same holds for the next lot.  This is exact.  A
lot that the one before it does not divide is raised to a common multiple; then `Split.gap` bounds what that costs.

Prices and fees are integers here, so ties are ties: the venue that comes first by name is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from impactd.core.base.quantity import QUANTA
from impactd.core.base.topics import Side
from impactd.core.base.venue import VenueRule
from impactd.core.books.checks import Book
from impactd.core.orders.costs import PX_QUANTA, px_quanta

#: Costs are in this part of a price quantum: a fee counts to a millionth of a basis point.
_PART: Final = 10**10

#: Items of one cost in a row: cost, and how many.
_Run = tuple[int, int]

#: Items of one lot by source, the cheapest first (-1: bundles of smaller lots), and how many to take by themselves.
_Stage = tuple[list[tuple[int, _Run]], int]


class Ladder(NamedTuple):
    """What one venue offers: its levels, best first, and its lot."""

    venue: str
    #: Prices, and quanta.
    levels: list[tuple[float, int]]
    #: Of a quantum of each level with its fee, 1 / (`PX_QUANTA` `_PART`).
    costs: list[int]
    #: Quanta.
    lot: int
    #: 1 to buy, -1 to sell.
    sign: int = 1


@dataclass(frozen=True, slots=True)
class Part:
    """What to take at one venue."""

    venue: str
    #: Quanta.
    qty: int
    #: Price of the last level that it takes.
    limit_px: float
    #: Price without the fee.
    avg_px: float
    #: Paid with fees, or for a sell minus what it gets; price times shares.
    cost: Fraction
    #: The part of `cost` that is fees; negative is a rebate.
    fee: Fraction


@dataclass(frozen=True, slots=True)
class Split:
    """A quantity over venues."""

    parts: tuple[Part, ...]
    #: What the visible books do not hold in whole lots, quanta.
    left_qty: int
    #: Of all parts.
    cost: Fraction
    #: Bound of what a better split could save; 0: there is none.
    gap: Fraction


def ladder(
    venue: str, book: Book, side: Side, rule: VenueRule, lot: int, limit: float | None, points: float = 1.0
) -> Ladder:
    """Return what a venue offers an order.

    Parameters
    ----------
    lot : int
        Quanta, where the venue has none of its own.
    limit : float or None
        Worst price.
    points : float
        Currency that one unit of quantity gains when the price rises by 1: fees by unit are in currency.
    """
    px, sz = book.offers(side)
    levels = [
        (price, int(size * QUANTA))
        for price, size in zip(px.tolist(), sz.tolist(), strict=True)
        if limit is None or side.sign * (price - limit) <= 0.0
    ]
    by_bps, by_unit = round(Fraction(rule.taker_fee_bps) * 10**6), px_quanta(rule.taker_fee_per_unit / points) * _PART
    quanta = [px_quanta(price) for price, _ in levels]
    costs = [side.sign * p * _PART + abs(p) * by_bps + by_unit for p in quanta]
    return Ladder(venue, levels, costs, rule.lot() or lot, side.sign)


def split(qty: int, ladders: Sequence[Ladder]) -> Split:
    """Return the cheapest split of `qty` quanta, or of as much of it as the venues hold in whole lots."""
    lots, exact = _chain({each.lot for each in ladders})
    runs = {
        lot: [
            (number, run)
            for number, each in enumerate(ladders)
            if lots[each.lot] == lot
            for run in _bundled(list(zip(each.costs, [n for _, n in each.levels], strict=True)), lot, 0)
        ]
        for lot in sorted(set(lots.values()))
    }
    taken = _taken(qty, runs)
    parts = tuple(_part(each, taken[number]) for number, each in enumerate(ladders) if taken.get(number))
    cost = sum((part.cost for part in parts), Fraction(0))
    left = qty - sum(part.qty for part in parts)
    gap = Fraction(0) if exact else max(cost - _relaxed(qty - left, ladders), Fraction(0))
    return Split(parts, left, cost, gap)


def _chain(lots: set[int]) -> tuple[dict[int, int], bool]:
    """Return for each lot the one to use, of which each divides the next, and whether these are the lots themselves."""
    used, before = {}, 1
    for lot in sorted(lots):
        before = used[lot] = math.lcm(before, lot)
    return used, all(lot == other for lot, other in used.items())


def _taken(qty: int, runs: Mapping[int, list[tuple[int, _Run]]]) -> dict[int, int]:
    """Return the quanta to take of each source; `runs` has by lot, ascending, the sources with their runs of lots."""
    lots = list(runs)
    stages: list[_Stage] = []
    carried: list[_Run] = []
    left = qty
    for at, lot in enumerate(lots):
        items = sorted([*((-1, run) for run in carried), *runs[lot]], key=lambda item: (item[1][0], item[0]))
        number = sum(run[1] for _, run in items)
        more = sum(run[1] * later for later in lots[at + 1 :] for _, run in runs[later])
        if at + 1 == len(lots) or number * lot + more <= left:
            # The last lot, or all there is.
            stages.append((items, min(number, left // lot)))
            left -= stages[-1][1] * lot
            rest = [(later, source, run) for later in lots[at + 1 :] for source, run in runs[later]]
            taken: dict[int, int] = {}
            for later, source, run in rest:
                taken[source] = taken.get(source, 0) + run[1] * later
            return _unwound(stages, lots, taken)
        ratio = lots[at + 1] // lot
        needed = left // lot % ratio
        skip = min(needed, number)
        left = (left // lot - skip) * lot if skip == needed else (left // lots[at + 1]) * lots[at + 1]
        stages.append((items, skip))
        carried = _bundled([run for _, run in items], ratio, skip)
    return {}


def _unwound(
    stages: list[tuple[list[tuple[int, _Run]], int]], lots: list[int], taken: dict[int, int]
) -> dict[int, int]:
    """Return the quanta of each source, from how many items each stage takes by itself."""
    bundles = 0
    for at in reversed(range(len(stages))):
        items, own = stages[at]
        left = own + (bundles * (lots[at + 1] // lots[at]) if bundles else 0)
        bundles = 0
        for source, (_, number) in items:
            some = min(number, left)
            left -= some
            if source < 0:
                bundles += some
            elif some:
                taken[source] = taken.get(source, 0) + some * lots[at]
    return taken


def _bundled(runs: Sequence[_Run], size: int, skip: int) -> list[_Run]:
    """Return items in bundles of `size`, without the first `skip` and without what makes no whole bundle."""
    bundles: list[_Run] = []
    held = cost = 0
    for each, count in runs:
        number = count - min(skip, count)
        skip -= count - number
        if held:
            some = min(size - held, number)
            held, cost, number = held + some, cost + some * each, number - some
            if held == size:
                bundles.append((cost, 1))
                held = cost = 0
        if number:
            whole, held = divmod(number, size)
            cost = held * each
            if whole:
                bundles.append((each * size, whole))
    return bundles


def _relaxed(qty: int, ladders: Sequence[Ladder]) -> Fraction:
    """Return the least that `qty` quanta can cost without regard to lots."""
    total = 0
    for cost, number in sorted(
        (cost, n) for each in ladders for cost, (_, n) in zip(each.costs, each.levels, strict=True)
    ):
        some = min(number, qty)
        qty -= some
        total += some * cost
    return Fraction(total, PX_QUANTA * _PART * QUANTA)


def _part(each: Ladder, qty: int) -> Part:
    """Return the walk of `qty` quanta at one venue."""
    left, net, gross, limit_px = qty, 0, 0, 0.0
    for (px, n), by_quantum in zip(each.levels, each.costs, strict=True):
        some = min(n, left)
        if some == 0:
            continue
        left -= some
        net += some * by_quantum
        gross += some * px_quanta(px)
        limit_px = px
    cost, paid = Fraction(net, PX_QUANTA * _PART * QUANTA), Fraction(each.sign * gross, PX_QUANTA * QUANTA)
    return Part(each.venue, qty, limit_px, gross / (qty * PX_QUANTA), cost, cost - paid)
