"""Grids of sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.base.quantity import QUANTA
from impactd.core.books.grid import check_sizes, default_grid, grid_for, log_grid, needs_new_grid, whole_lot

_END = st.floats(1e-6, 1e12)


@given(lo=_END, hi=_END, n=st.integers(1, 40), lot=st.one_of(st.none(), st.integers(1, 10**12)))
def test_log_grid_of_any_ends_is_unique_ascending_and_in_whole_lots(
    lo: float, hi: float, n: int, lot: int | None
) -> None:
    sizes = log_grid(lo, hi, n, lot)
    check_sizes(sizes)
    assert len(sizes) <= n
    if lot is None:
        assert all(float(f"{s:.2e}") == s for s in sizes)
    else:
        assert all(round(s * QUANTA / lot) * lot == pytest.approx(s * QUANTA, rel=1e-12) for s in sizes)


def test_log_grid_has_equal_ratios_and_three_digits() -> None:
    assert log_grid(1.0, 1_000.0, 4) == (1.0, 10.0, 100.0, 1_000.0)
    assert log_grid(0.123456, 1.23456, 2) == (0.123, 1.23)
    assert log_grid(0.4, 4.4, 3, QUANTA) == (1.0, 4.0)
    assert log_grid(120.0, 260.0, 2, 100 * QUANTA) == (100.0, 300.0)
    assert log_grid(5.0, 2.0, 3) == (5.0,)


@pytest.mark.parametrize(("lo", "hi"), [(0.0, 1.0), (1.0, math.inf), (math.nan, 1.0), (-1.0, 1.0)])
def test_log_grid_of_impossible_ends_is_refused(lo: float, hi: float) -> None:
    with pytest.raises(ValueError, match="positive, finite"):
        log_grid(lo, hi, 4)


@pytest.mark.parametrize(("n", "lot"), [(0, None), (4, 0)])
def test_log_grid_of_no_sizes_or_no_lot_is_refused(n: int, lot: int | None) -> None:
    with pytest.raises(ValueError, match="give 1 or more"):
        log_grid(1.0, 2.0, n, lot)


def test_default_grid_ends_at_three_quarters_of_the_depth() -> None:
    sizes = default_grid(1_280.0, 16, QUANTA)
    assert (sizes[0], sizes[-1], len(sizes)) == (30.0, 960.0, 16)


def test_grid_for_plans_that_ask_more_than_is_visible_still_has_sizes_that_are() -> None:
    sizes = grid_for((10_000.0, 10_000.0), 16, QUANTA, depth=800.0)
    assert (sizes[0], sizes[-1]) == (75.0, 40_000.0)
    assert sum(s <= 600.0 for s in sizes) >= 4


def test_grid_for_plans_that_ask_little_still_shows_the_slope() -> None:
    sizes = grid_for((50.0, 60.0), 16, QUANTA, depth=800.0)
    assert (sizes[0], sizes[-1]) == (12.0, 600.0)


def test_grid_for_plans_before_any_depth_is_known_is_theirs_alone() -> None:
    assert grid_for((100.0, 200.0), 2) == (25.0, 800.0)


@pytest.mark.parametrize(
    ("wanted", "needed"),
    [((5.0, 50.0), False), ((4.9, 100.0), True), ((20.0, 200.0), False), ((10.0, 201.0), True), ((21.0, 100.0), True)],
)
def test_grid_is_replaced_only_if_an_end_is_off_by_more_than_two(wanted: tuple[float, ...], *, needed: bool) -> None:
    assert needs_new_grid((10.0, 30.0, 100.0), wanted) == needed
    assert needs_new_grid((), wanted)


def test_whole_lot_is_one_share_where_all_sizes_are_whole() -> None:
    assert whole_lot(np.array([1.0, 2.0]), np.array([3.0])) == QUANTA
    assert whole_lot(np.array([1.0, 2.0]), np.array([0.5])) is None
