"""Walks against exact fractions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.books.walk import BUY, SELL, walk, walk_curve, walk_curves
from tests.core.slow_tape import slow_walk

_SIDE = st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**5).map(lambda n: n / 8)), min_size=1, max_size=12)
_SIZES = st.lists(st.integers(1, 10**6).map(lambda n: n / 8), min_size=1, max_size=20, unique=True).map(sorted)


def _levels(start: float, direction: int, steps: list[tuple[int, float]]) -> list[tuple[float, float]]:
    """Return levels that move away from `start` by steps of a hundredth."""
    px = 0
    levels = []
    for step, size in steps:
        levels.append((start + direction * px * 0.01, size))
        px += step
    return levels


@settings(max_examples=200, deadline=None)
@given(bids=_SIDE, asks=_SIDE, spread=st.integers(0, 500), sizes=_SIZES)
def test_walk_curve_of_random_books_agrees_with_exact_fractions(
    bids: list[tuple[int, float]], asks: list[tuple[int, float]], spread: int, sizes: list[float]
) -> None:
    buy = _levels(2e5 + spread * 0.01, 1, asks)
    sell = _levels(2e5, -1, bids)
    bid_px, bid_sz = np.array(sell).T
    ask_px, ask_sz = np.array(buy).T
    g, bound, full = walk_curve(bid_px, bid_sz, ask_px, ask_sz, np.array(sizes))
    for side, own, other in ((BUY, buy, sell), (SELL, sell, buy)):
        for k, size in enumerate(sizes):
            exact, low = slow_walk(own, other[0][0], size)
            assert full[side, k] == (exact is not None)
            assert bound[side, k] == pytest.approx(float(low), rel=1e-12, abs=0.0)
            if exact is None:
                assert math.isnan(g[side, k])
            else:
                assert g[side, k] == pytest.approx(float(exact), rel=1e-12, abs=0.0)
        assert (np.diff(bound[side]) >= -1e-12 * bound[side, -1]).all()


def test_walk_through_three_levels_gives_the_average_over_mid() -> None:
    ask_px, ask_sz = np.array([101.0, 102.0, 104.0]), np.array([10.0, 20.0, 70.0])
    assert walk(ask_px, ask_sz, 40.0, 100.0) == ((10 * 1 + 20 * 2 + 10 * 4) / 40, 40.0)
    assert walk(200.0 - ask_px, ask_sz, 40.0, 100.0) == ((10 * 1 + 20 * 2 + 10 * 4) / 40, 40.0)


def test_walk_beyond_the_levels_has_no_value_and_gives_their_depth() -> None:
    g, filled = walk(np.array([101.0, np.nan, 102.0]), np.array([10.0, 0.0, 20.0]), 30.5, 100.0)
    assert math.isnan(g)
    assert filled == 30.0


def test_walk_of_exactly_the_depth_is_not_censored() -> None:
    assert walk(np.array([101.0, 102.0]), np.array([10.0, 10.0]), 20.0, 100.0) == (1.5, 20.0)


def test_walk_of_no_levels_fills_nothing() -> None:
    g, filled = walk(np.array([np.nan]), np.array([0.0]), 1.0, 100.0)
    assert math.isnan(g)
    assert filled == 0.0


def test_walk_of_a_locked_book_costs_only_the_levels_beyond() -> None:
    side = np.array([[100.0, 101.0]]).T, np.array([10.0, 10.0])
    g, _, _ = walk_curve(200.0 - side[0].ravel(), side[1], side[0].ravel(), side[1], np.array([10.0, 20.0]))
    assert g.tolist() == [[0.0, 0.5], [0.0, 0.5]]


def test_walk_curves_of_many_books_are_those_of_each() -> None:
    rng = np.random.default_rng(5)
    away = rng.uniform(0.01, 1.0, (2, 50, 10)).cumsum(axis=2)
    size = rng.integers(0, 300, (2, 50, 10)).astype(float)
    sizes = np.geomspace(10.0, 5_000.0, 16)
    bids, asks = 100.0 - away[0], 100.0 + away[1]
    size[0, 7] = 0.0
    many = walk_curves(bids, size[0], asks, size[1], sizes)
    for i in range(50):
        g, bound, full = walk_curve(bids[i], size[0, i], asks[i], size[1, i], sizes)
        np.testing.assert_array_equal(many.g[i], g)
        np.testing.assert_array_equal(many.lower_bound[i], bound)
        np.testing.assert_array_equal(many.full[i], full)
    assert np.isnan(many.mid[7])
    assert np.isnan(many.lower_bound[7]).all()
    assert not many.full[7].any()


@pytest.mark.parametrize("sizes", [[2.0, 1.0], [0.0, 1.0], [1.0, 1.0], [[1.0]], [math.nan]])
def test_walk_curves_at_sizes_that_do_not_ascend_are_refused(sizes: list[float]) -> None:
    levels = np.ones((1, 1))
    with pytest.raises(ValueError, match="ascending"):
        walk_curves(levels, levels, levels, levels, np.array(sizes))


def test_walks_of_arrays_that_do_not_fit_are_refused() -> None:
    levels = np.ones((1, 1))
    with pytest.raises(ValueError, match="one shape"):
        walk_curves(levels, levels, np.ones((1, 2)), levels, np.ones(1))
    with pytest.raises(ValueError, match="as many prices as sizes"):
        walk(np.ones(2), np.ones(3), 1.0, 1.0)
    with pytest.raises(ValueError, match="positive quantity"):
        walk(np.ones(2), np.ones(2), 0.0, 1.0)
