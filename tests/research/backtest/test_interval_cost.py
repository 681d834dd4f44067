"""What walks through recorded books cost: by hand, and by the service's own tape."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.base.settings import BookSettings
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.books.interval_cost import Intervals, Prevailing
from impactd.core.books.walk import BUY, SELL
from impactd.core.inputs.ticks import TickBatch
from impactd.research.backtest.days import read_tapes
from tests.core.builders import T0, M, S, random_rows
from tests.core.rows import Row, batch_of, book
from tests.research.backtest.made import SETTINGS, ladder, noisy_rows, tape_of

FROG = "FROG_2025-04-03_mbp10.csv.gz"


def intervals_of(rows: list[Row], n: int = 1) -> Intervals:
    return Intervals.of(Prevailing.of(batch_of(rows), BookSettings()), T0, n, M)


def cost(intervals: Intervals, x: float, row: int = BUY, at: int = 0, taken: float = 0.0) -> float:
    found, _ = intervals.costs(row, np.array([at]), np.array([x]), np.array([taken]))
    return float(found[0])


def test_cost_within_the_depth_is_the_walk_by_hand() -> None:
    intervals = intervals_of([ladder(T0, 0.02, 0.01, 100.0, levels=3)])
    assert cost(intervals, 250.0) == pytest.approx(0.02 * 250 + 0.01 * 100 + 0.02 * 50)
    assert cost(intervals, 250.0, SELL) == pytest.approx(cost(intervals, 250.0))


def test_cost_beyond_the_depth_continues_with_the_slope_of_the_book() -> None:
    intervals = intervals_of([ladder(T0, 0.02, 0.01, 100.0, levels=3)])
    shown = 0.02 * 300 + 0.01 * 100 + 0.02 * 100
    found, beyond = intervals.costs(BUY, np.array([0]), np.array([450.0]))
    assert found[0] == pytest.approx(shown + 0.02 * 150 + 0.02 * 150 + 0.5 * 0.02 / 300 * 150**2)
    assert beyond[0] == pytest.approx(150.0)


def test_cost_of_a_book_of_one_level_rises_beyond_it_by_the_half_spread() -> None:
    intervals = intervals_of([ladder(T0, 0.02, size=100.0, levels=1)])
    assert cost(intervals, 200.0) == pytest.approx(0.02 * 200 + 0.5 * 0.02 / 100 * 100**2)


def test_books_count_by_the_time_they_stood() -> None:
    intervals = intervals_of([ladder(T0, 0.02), ladder(T0 + 45 * S, 0.06)])
    assert cost(intervals, 100.0) == pytest.approx(100 * (0.75 * 0.02 + 0.25 * 0.06))


def test_book_continues_into_the_next_interval_and_an_empty_side_ends_it() -> None:
    intervals = intervals_of([ladder(T0 + 30 * S), Row(T0 + 90 * S, ((99.0, 5.0),))], 3)
    assert intervals.covered_ns.tolist() == [30 * S, 30 * S, 0]
    assert np.isnan(cost(intervals, 1.0, at=2))


def test_quantity_already_taken_is_walked_from_there() -> None:
    intervals = intervals_of([ladder(T0, levels=4)])
    for taken in (0.0, 130.0, 500.0):
        more = cost(intervals, 90.0, taken=taken)
        assert more == pytest.approx(cost(intervals, taken + 90.0) - (cost(intervals, taken) if taken else 0.0))


@given(st.integers(0, 1_000), st.sampled_from([BUY, SELL]))
@settings(max_examples=20, deadline=None)
def test_table_is_the_walks_and_convex(seed: int, row: int) -> None:
    tape = tape_of(noisy_rows(seed, n=3))
    intervals = tape.days[0].intervals
    table = intervals.table(row, 0, 3, 7.0, 300)
    for t in range(3):
        direct, _ = intervals.costs(row, np.full(301, t), 7.0 * np.arange(301.0))
        assert table[t] == pytest.approx(direct, rel=1e-12)
        assert (np.diff(table[t], 2) >= -1e-9).all()


def agree_with_the_tape(batch: TickBatch, book_settings: BookSettings) -> int:
    """Close every minute of a batch by the service's tape, and compare; return how many cells were."""
    tape = MinuteAggregator(book_settings)
    prevailing = Prevailing.of(batch, book_settings)
    n, at, symbol = 0, 0, batch.symbols[0]
    while True:
        at = tape.run(batch, at, len(batch))
        stats = tape.close_minute(symbol)
        intervals = Intervals.of(prevailing, stats.minute, 1, book_settings.interval_ns)
        assert intervals.covered_ns[0] == stats.covered_ns
        if stats.covered_ns:
            assert intervals.depth[:, 0] == pytest.approx(stats.depth, rel=1e-9)
            for row in (BUY, SELL):
                whole = stats.coverage[row] == 1.0
                sizes = stats.sizes[whole]
                walked, _ = intervals.costs(row, np.zeros(len(sizes), np.int64), sizes)
                assert walked / sizes == pytest.approx(stats.slippage[row][whole], rel=1e-9)
                n += len(sizes)
        if at == len(batch):
            return n


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("changes", [{}, {"max_book_age_ns": 7 * S}, {"max_levels": 2}, {"allow_locked": False}])
def test_books_that_stood_are_those_of_the_tape(seed: int, changes: dict[str, int]) -> None:
    rows = random_rows(np.random.default_rng(seed), 200, ("FROG",), 6 * M)
    agree_with_the_tape(batch_of(rows), BookSettings(sizes=(1.0, 20.0, 150.0), **changes))


def test_books_of_a_recorded_day_are_those_of_the_tape(data_dir: Path) -> None:
    (tape,) = read_tapes(
        [data_dir / FROG],
        dataclasses.replace(
            SETTINGS, session=dataclasses.replace(SETTINGS.session, open_s=13 * 3_600 + 1_800, close_s=20 * 3_600)
        ),
    )
    n = agree_with_the_tape(tape.batch.take(slice(0, 8_000)), BookSettings(sizes=(50.0, 100.0, 300.0)))
    assert n > 100


def test_late_and_early_rows_stand_for_nothing() -> None:
    rows = [book(T0), book(T0 + 70 * S, 98.0), book(T0 + 50 * S, 97.0), book(T0 + 65 * S, 96.0)]
    prevailing = Prevailing.of(batch_of(rows), BookSettings())
    assert prevailing.start.tolist() == [T0, T0 + 70 * S]
