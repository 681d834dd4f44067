"""Reservation prices, the microprice's part and the trial, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.books.checks import Book
from impactd.core.slices.microprice import PRIOR, PRIOR_SD, Microprice, distance
from impactd.core.slices.supply import N_PRICES, PRICES, STAYS, Supply, deepest, reach
from impactd.core.slices.worth import PRIOR as PRIOR_SAVING
from impactd.core.slices.worth import PRIOR_SD as PRIOR_SAVING_SD
from impactd.core.slices.worth import Gate, Worth, walked
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
        asked = share * STAYS * float(sz.sum())
        price, offer = supply.price(asked, px, sz, MID, 1, move)
        assert price is not None
        assert offer == reach(px, sz, MID, 1.0, move, price)
        above = float(PRICES[min(int(np.searchsorted(PRICES, price)), N_PRICES - 1)])
        assert reach(px, sz, MID, 1.0, move, above) >= asked * (1 - 1e-12)
    assert supply.price(1.01 * STAYS * float(sz.sum()), px, sz, MID, 1, move) == (np.inf, 0.0)
    again = Supply.load(supply.save())
    assert again.save() == supply.save()


def test_too_few_minutes_have_no_price() -> None:
    supply = Supply()
    px, sz = sides(3, np.random.default_rng(0))
    supply.see(M, px, sz, MID, 1, 0.0)
    supply.see(2 * M, px, sz, MID, 1, 0.0)
    assert supply.price(1.0, px, sz, MID, 1, 0.0) == (None, 0.0)


def test_what_waiting_costs_makes_now_cheaper() -> None:
    px, sz = np.array([100.02, 100.05]), np.array([100.0, 100.0])
    price = 0.03 / MID
    assert reach(px, sz, MID, 1.0, 0.0, price) == STAYS * 100.0
    assert reach(px, sz, MID, 1.0, 0.02, price) == STAYS * 200.0
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


@pytest.mark.parametrize("planted", [(0.2, 0.1), (0.5, 0.0), (0.9, -0.1)])
def test_regression_finds_the_parts_that_were_planted(planted: tuple[float, float]) -> None:
    """The mid goes a part of the microprice's distance in a minute, and goes on by a part of its last change."""
    rng, micro, mid, at, last = np.random.default_rng(1), Microprice(), MID, M, 0.0
    assert micro.parts == PRIOR
    assert micro.standard_errors == pytest.approx(PRIOR_SD)
    for k in range(24_000):
        # In pairs: the first book of each shows nothing, and the second one follows 15 s later.
        bid, ask = rng.integers(1, 20, 2) * 100.0 if k % 2 else (100.0, 100.0)
        book = Book(at, np.array([mid - 0.01]), np.array([bid]), np.array([mid + 0.01]), np.array([ask]))
        move = micro.see(at, book)
        if k % 2 == 0:
            before, mid, at = mid, mid + 0.01 * float(rng.standard_normal()), at + 15 * S
            last = mid - before
        else:
            assert move == pytest.approx(sum(p * x for p, x in zip(micro.parts, (distance(book), last), strict=True)))
            mid += planted[0] * distance(book) + planted[1] * last + 0.01 * float(rng.standard_normal())
            at += 60 * S
    assert micro.parts == pytest.approx(planted, abs=5 * max(micro.standard_errors))
    assert max(micro.standard_errors) < 0.05
    again = Microprice.load(micro.save())
    assert again.save() == micro.save()


def judged(gate: Gate, worth: Worth, saved: float, n: int, seed: int = 2, start: int = M) -> int:
    """Have `n` takes judged that cost `saved` less a share than even ones, which cost 0.02 over mid."""
    rng, at = np.random.default_rng(seed), start
    ask, size = np.array([MID + 0.02]), np.array([1e6])
    for _ in range(n):
        at += 15 * S
        worth.see(at, MID, 1, gate)
        worth.decide(at, 100.0, 0.0, 100.0)
        worth.execute(ask, size, MID, 1.0)
        gate.judge(100.0, 100.0 * (0.02 - saved + 0.01 * float(rng.standard_normal())), 100.0, 2.0, 0.0)
    return at


@pytest.mark.parametrize(("edge", "on"), [(0.01, True), (-0.01, False)])
def test_gate_turns_off_what_loses_and_on_what_pays_again(edge: float, *, on: bool) -> None:
    gate, worth = Gate(), Worth()
    assert gate.on
    assert gate.saving == (PRIOR_SAVING, PRIOR_SAVING_SD)
    at = judged(gate, worth, edge, 500)
    assert gate.on is on
    assert np.sign(gate.saving[0]) == np.sign(edge)
    at = judged(gate, worth, -edge, 3_000, start=at)
    assert gate.on is not on
    assert Gate.load(gate.save()).save() == gate.save()
    assert Worth.load(worth.save()).save() == worth.save()


def test_what_the_mid_gives_back_is_no_saving() -> None:
    """Takes at a price that is 0.01 better, twice the even quantity or none, after which the mid gives 0.01 back."""
    gate, rng = Gate(), np.random.default_rng(3)
    for k in range(4_000):
        shares, noise = 200.0 * (k % 2), float(rng.standard_normal())
        gate.judge(shares, shares * (0.01 + 0.005 * noise), 100.0, 2.0, 0.01 if shares else -0.01)
    saved, sd = gate.saving
    assert abs(saved) < 5 * sd + 0.02
    for k in range(4_000):
        shares = 200.0 * (k % 2)
        gate.judge(shares, shares * 0.01, 100.0, 2.0, 0.03 if shares else -0.03)
    assert not gate.on


def test_trial_pays_the_book_of_its_execution() -> None:
    worth, ask, size = Worth(), np.array([MID + 0.01, MID + 0.03]), np.array([100.0, 100.0])
    worth.asks(M, M, 400.0)
    worth.decide(M, 150.0, 0.0, 100.0)
    assert worth.tried
    assert worth.taken == 150.0
    assert worth.paid == (0.0, 0.0, 0.0, 0.0)
    worth.execute(ask, size, MID, 1.0)
    assert worth.paid == pytest.approx((150.0, 1.0 + 1.5, 100.0, 1.0))
    worth.decide(M + 15 * S, 20.0, 100.0, 100.0)
    worth.drop()
    worth.execute(ask, size, MID, 1.0)
    assert worth.paid[0] == 150.0
    worth.decide(M + 30 * S, 20.0, 200.0, 100.0)
    again = Worth.load(worth.save())
    assert again.tried
    assert again.save() == worth.save()
