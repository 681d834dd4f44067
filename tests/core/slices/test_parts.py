"""Reservation prices, the microprice's part and the trial, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.books.checks import Book
from impactd.core.slices.microprice import PRIOR, PRIOR_SD, Microprice, distance
from impactd.core.slices.supply import N_PRICES, PRICES, Supply, deepest, reach
from impactd.core.slices.worth import LEAST, Worth, walked
from tests.core.builders import M, S

MID = 100.0


def sides(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    px = MID + 0.01 * np.cumsum(rng.integers(1, 4, n))
    return px, rng.integers(1, 9, n) * 100.0


@given(st.integers(0, 2**32 - 1), st.floats(-0.01, 0.01))
def test_an_order_that_asks_what_minutes_offer_gets_it(seed: int, move: float) -> None:
    """Where all minutes are alike, the book offers at the reservation price what was asked, to a step of the grid."""
    px, sz = sides(6, np.random.default_rng(seed))
    supply = Supply()
    for minute in range(1, 5):
        for k in range(4):
            supply.see(minute * M, px, sz, MID, 1, move)
            assert k < 4
    for share in (0.01, 0.3, 0.9, 1.0):
        asked = share * float(sz.sum())
        price = supply.price(5 * asked, 5.0, np.inf)
        assert price is not None
        above = float(PRICES[min(int(np.searchsorted(PRICES, price)), N_PRICES - 1)])
        assert reach(px, sz, MID, 1.0, move, above) >= asked * (1 - 1e-12)
    assert supply.price(1.01 * float(sz.sum()), 1.0, np.inf) == np.inf
    again = Supply.load(supply.save())
    assert again.save() == supply.save()


def test_too_few_minutes_have_no_price() -> None:
    supply = Supply()
    px, sz = sides(3, np.random.default_rng(0))
    supply.see(M, px, sz, MID, 1, 0.0)
    supply.see(2 * M, px, sz, MID, 1, 0.0)
    assert supply.price(1.0, 1.0, np.inf) is None


def test_what_waiting_costs_makes_now_cheaper() -> None:
    px, sz = np.array([100.02, 100.05]), np.array([100.0, 100.0])
    price = 0.03 / MID
    assert reach(px, sz, MID, 1.0, 0.0, price) == 100.0
    assert reach(px, sz, MID, 1.0, 0.02, price) == 200.0
    assert reach(px, sz, MID, 1.0, -0.02, price) == 0.0


def test_deepest_level_of_a_quantity() -> None:
    px, sz = np.array([10.0, 11.0]), np.array([5.0, 5.0])
    assert [deepest(px, sz, q) for q in (1.0, 5.0, 5.1, 20.0)] == [10.0, 10.0, 11.0, 11.0]


@given(st.floats(0.0, 30.0), st.floats(0.0, 30.0))
def test_two_walks_cost_what_one_does(first: float, second: float) -> None:
    px, sz = np.array([10.0, 11.0, 13.0]), np.array([5.0, 7.0, 3.0])
    one = walked(px, sz, 9.5, 1.0, 0.0, first + second)
    two = walked(px, sz, 9.5, 1.0, 0.0, first) + walked(px, sz, 9.5, 1.0, first, second)
    assert two == pytest.approx(one, abs=1e-9)


@pytest.mark.parametrize("planted", [0.2, 0.5, 0.9])
def test_microprice_finds_the_part_that_was_planted(planted: float) -> None:
    rng, micro, mid, at = np.random.default_rng(1), Microprice(), MID, M
    assert (micro.kappa, micro.standard_error) == (PRIOR, pytest.approx(PRIOR_SD))
    for _ in range(6_000):
        bid, ask = rng.integers(1, 20, 2) * 100.0
        book = Book(at, np.array([mid - 0.01]), np.array([bid]), np.array([mid + 0.01]), np.array([ask]))
        micro.see(at, book)
        mid += planted * distance(book) + 0.01 * float(rng.standard_normal())
        at += 60 * S
    assert micro.kappa == pytest.approx(planted, abs=4 * micro.standard_error)
    assert micro.standard_error < 0.05
    again = Microprice.load(micro.save())
    assert again.save() == micro.save()


@pytest.mark.parametrize(("edge", "on"), [(0.01, True), (-0.01, False)])
def test_trial_turns_off_what_loses(edge: float, *, on: bool) -> None:
    """Takes that cost `edge` less a share than even slices over the later mid."""
    rng, worth, at = np.random.default_rng(2), Worth(), M
    for _ in range(LEAST + 200):
        at += 15 * S
        worth.see(at, MID, 1)
        worth.take(at, MID, (100.0, 100.0 * (0.02 - edge + 0.01 * float(rng.standard_normal()))), (100.0, 2.0))
        if not on and not worth.on:
            break
    assert worth.on is on
    assert Worth.load(worth.save()).save() == worth.save()
