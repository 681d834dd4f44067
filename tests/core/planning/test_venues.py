"""The split over venues against exhaustive search, and what fees, lots and limits do to it by hand."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest

from impactd.core.base.quantity import QUANTA
from impactd.core.base.topics import Side
from impactd.core.base.venue import VenueRule
from impactd.core.books.checks import Book
from impactd.core.planning.venues import Ladder, Split, ladder, split


def book(bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> Book:
    columns = (np.array(column) for side in (bids, asks) for column in zip(*side, strict=True))
    return Book(0, *columns)


def cost_of(quantity: int, its: Ladder) -> Fraction:
    """Return what a walk costs with fees, unit by unit; `quantity` in whole units."""
    units = [cost for (_, n), cost in zip(its.levels, its.costs, strict=True) for _ in range(n // QUANTA)]
    return Fraction(sum(units[:quantity]) * QUANTA, 10**9 * 10**10 * QUANTA)


def exhaustive(qty: int, ladders: list[Ladder]) -> tuple[int, Fraction]:
    """Return the most that can be taken of `qty` units, and the least that it costs."""
    choices = []
    for its in ladders:
        depth = sum(n for _, n in its.levels) // QUANTA
        choices.append(range(0, min(depth, qty) + 1, its.lot // QUANTA))
    found = [(sum(x), x) for x in itertools.product(*choices) if sum(x) <= qty]
    most = max(total for total, _ in found)
    costs = [[cost_of(n, its) for n in range(qty + 1)] for its in ladders]
    least = min(sum(costs[v][n] for v, n in enumerate(x)) for total, x in found if total == most)
    return most, least


def problem(rng: random.Random, venues: int) -> tuple[int, list[Ladder]]:
    """Return a quantity and ladders with close prices, so that ties, fees and lots decide."""
    side = rng.choice([Side.BUY, Side.SELL])
    ladders = []
    for number in range(venues):
        px = [100 + rng.randint(0, 4)]
        while len(px) < rng.randint(1, 4):
            px.append(px[-1] + rng.randint(1, 2))
        levels = [(100.0 + side.sign * (p - 100) / 100, float(rng.randint(1, 9))) for p in px]
        rule = VenueRule(
            "ABC"[number],
            taker_fee_bps=rng.choice([0.0, 1.0, -0.5, 0.25]),
            taker_fee_per_unit=rng.choice([0.0, 0.003, -0.002, 0.01]),
            lot_size=rng.choice([None, 1.0, 2.0, 4.0]),
        )
        its = book(levels, levels)
        ladders.append(ladder(rule.name, its, side, rule, QUANTA, None))
    return rng.randint(1, 30), ladders


def check(seed: int, venues: int) -> None:
    qty, ladders = problem(random.Random(seed), venues)
    found = split(qty * QUANTA, ladders)
    most, least = exhaustive(qty, ladders)
    assert (qty * QUANTA - found.left_qty, found.cost, found.gap) == (most * QUANTA, least, 0)
    lots = {its.venue: its.lot for its in ladders}
    assert all(part.qty > 0 and part.qty % lots[part.venue] == 0 for part in found.parts)
    assert found == split(qty * QUANTA, ladders)


@pytest.mark.parametrize("seed", range(250))
def test_split_over_two_venues_is_the_best_of_all(seed: int) -> None:
    check(seed, 2)


@pytest.mark.parametrize("seed", range(60))
def test_split_over_three_venues_is_the_best_of_all(seed: int) -> None:
    check(1_000 + seed, 3)


def two(
    qty: float, a: VenueRule, b: VenueRule, *, limit: float | None = None, side: Side = Side.BUY, lot: int = QUANTA
) -> Split:
    books = [
        book([(99.99, 100.0)], [(100.01, 100.0), (100.02, 100.0)]),
        book([(99.98, 200.0)], [(100.01, 60.0), (100.03, 300.0)]),
    ]
    return split(
        int(qty * QUANTA),
        [ladder(rule.name, its, side, rule, lot, limit) for rule, its in zip((a, b), books, strict=True)],
    )


def parts(found: Split) -> dict[str, float]:
    return {part.venue: part.qty / QUANTA for part in found.parts}


def test_of_equal_prices_the_first_by_name_is_taken() -> None:
    assert parts(two(120, VenueRule("A"), VenueRule("B"))) == {"A": 100, "B": 20}


def test_a_fee_turns_the_split() -> None:
    dear = two(120, VenueRule("A", taker_fee_per_unit=0.003), VenueRule("B"))
    assert parts(dear) == {"A": 60, "B": 60}
    assert [float(part.fee) for part in dear.parts] == pytest.approx([0.18, 0.0], rel=1e-12)
    rebate = two(120, VenueRule("A"), VenueRule("B", taker_fee_per_unit=-0.025))
    assert parts(rebate) == {"B": 120}
    assert float(rebate.cost) == pytest.approx(60 * 100.01 + 60 * 100.03 - 120 * 0.025, rel=1e-12)


def test_a_sell_pays_its_fee_from_what_it_gets() -> None:
    assert parts(two(150, VenueRule("A"), VenueRule("B"), side=Side.SELL)) == {"A": 100, "B": 50}
    found = two(150, VenueRule("A", taker_fee_bps=2.0), VenueRule("B"), side=Side.SELL)
    assert parts(found) == {"B": 150}
    assert float(found.cost) == pytest.approx(-150 * 99.98, rel=1e-12)


def test_each_venue_takes_whole_lots_of_its_own() -> None:
    assert parts(two(130, VenueRule("A", lot_size=100.0), VenueRule("B"))) == {"A": 100, "B": 30}
    assert parts(two(130, VenueRule("A"), VenueRule("B", lot_size=50.0))) == {"A": 80, "B": 50}


def test_what_the_books_do_not_hold_or_the_limit_forbids_is_left() -> None:
    assert two(700, VenueRule("A"), VenueRule("B")).left_qty == 140 * QUANTA
    found = two(200, VenueRule("A"), VenueRule("B"), limit=100.01)
    assert (parts(found), found.left_qty) == ({"A": 100, "B": 60}, 40 * QUANTA)
    assert [part.limit_px for part in found.parts] == [100.01, 100.01]


def test_lots_that_do_not_divide_each_other_are_bounded_by_the_gap() -> None:
    found = two(130, VenueRule("A", lot_size=30.0), VenueRule("B", lot_size=20.0))
    assert all(part.qty % ({"A": 60, "B": 20}[part.venue] * QUANTA) == 0 for part in found.parts)
    assert found.gap >= 0
