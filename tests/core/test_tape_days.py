"""The tape on recorded days: what is known of them must come out."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from impactd.core.base.settings import MINUTE_NS, BookSettings
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.books.checks import USABLE, check_books
from impactd.core.books.minute import MinuteStats
from impactd.core.books.walk import BUY, walk_curves
from impactd.core.inputs.ticks import BOOK, MID_EVENT, TickBatch
from impactd.wire.ticks.databento.codec import DatabentoCodec
from tests.core.rows import bits, play, state


def _day(path: Path) -> TickBatch:
    header, *lines = gzip.decompress(path.read_bytes()).splitlines()
    numbers = np.arange(len(lines))
    decoded = DatabentoCodec(header=header.decode(), symbol=path.name.split("_")[0]).decode_columns(
        lines, numbers, numbers + 2**61
    )
    assert not decoded.refused
    return decoded.batch


@pytest.fixture(scope="module")
def frog(data_dir: Path) -> TickBatch:
    return _day(data_dir / "FROG_2025-04-03_mbp10.csv.gz")


@pytest.fixture(scope="module")
def arl(data_dir: Path) -> TickBatch:
    return _day(data_dir / "ARL_2025-07-17_mbp10.csv.gz")


def _closed(tape: MinuteAggregator, batch: TickBatch) -> list[MinuteStats]:
    """Return all minutes of a day, the last one too."""
    closed = play(tape, batch)
    return [*closed, tape.close_minute(batch.symbols[0])]


def test_frog_day_closes_every_minute_and_counts_every_reject(frog: TickBatch) -> None:
    tape = MinuteAggregator(BookSettings())
    closed = _closed(tape, frog)
    assert len(closed) == 390
    assert [s.minute for s in closed] == list(range(closed[0].minute, closed[0].minute + 390 * MINUTE_NS, MINUTE_NS))
    assert tape.rejected_total("FROG") == {"mid_event": 1_569}
    assert sum(s.n_rejected for s in closed) == 1_569
    assert sum(s.n_books for s in closed) == 33_286 - 1_569
    assert [s.covered_ns for s in closed[1:]] == [MINUTE_NS] * 389
    assert sum(s.volume_auction or 0.0 for s in closed) == 42_747.0
    assert sum(s.volume_continuous or 0.0 for s in closed) == 232_833.0 - 42_747.0
    assert all(s.n_late == 0 for s in closed)


def test_frog_default_grid_keeps_nearly_all_cells_covered(frog: TickBatch) -> None:
    cells = np.concatenate([s.coverage.ravel() for s in _closed(MinuteAggregator(BookSettings()), frog)])
    assert (cells >= 0.95).mean() > 0.97


def test_frog_sizes_are_covered_up_to_500_and_rarely_at_2000(frog: TickBatch) -> None:
    closed = _closed(MinuteAggregator(BookSettings(sizes=(100.0, 500.0, 2_000.0))), frog)
    coverage = np.array([s.coverage for s in closed])
    assert (coverage[:, :, :2] >= 0.95).mean() > 0.98
    assert np.median(coverage[:, :, 2]) < 0.05
    bound = np.array([s.lower_bound for s in closed])
    slippage = np.array([s.slippage for s in closed])
    assert (np.diff(bound, axis=2) >= 0.0).all()
    held = coverage == 1.0
    np.testing.assert_array_equal(slippage[held], bound[held])
    # Where the best level always held a size, it costs the half-spread to the last bit.
    touch = bound[:, :, :1] == np.array([s.half_spread for s in closed])[:, None, None]
    assert touch.mean() > 0.05


def test_frog_rows_mostly_cannot_fill_2000(frog: TickBatch) -> None:
    books = frog.take((frog.kind == BOOK) & (frog.flags & MID_EVENT == 0))
    sides = (books.bid_px, books.bid_sz, books.ask_px, books.ask_sz)
    assert (check_books(*sides, True) == USABLE).all()
    curves = walk_curves(*sides, np.array([500.0, 2_000.0]))
    assert 0.87 < 1.0 - curves.full[:, BUY, 1].mean() < 0.90
    assert curves.full[:, BUY, 0].mean() > 0.95


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_frog_morning_in_batches_gives_the_same_bits(frog: TickBatch, size: int) -> None:
    morning = frog.take(slice(0, 6_000))
    whole, parts = MinuteAggregator(BookSettings()), MinuteAggregator(BookSettings())
    closed = [bits(s) for s in play(whole, morning)]
    again = []
    for start in range(0, len(morning), size):
        again += [bits(s) for s in play(parts, morning.take(slice(start, start + size)))]
    assert again == closed
    assert state(parts) == state(whole)


def test_frog_saved_and_loaded_between_all_minutes_gives_the_same_bits(frog: TickBatch) -> None:
    closed = [bits(s) for s in play(MinuteAggregator(BookSettings()), frog)]
    tape, again, row = MinuteAggregator(BookSettings()), [], 0
    while (row := tape.run(frog, row, len(frog))) < len(frog):
        fresh = MinuteAggregator(BookSettings())
        fresh.load(tape.dump())
        tape = fresh
        while tape.closing(frog, row):
            stats = tape.close_minute("FROG")
            tape.regrid("FROG", stats)
            again.append(bits(stats))
    assert again == closed


def test_arl_day_of_long_gaps_and_empty_levels_runs_through(arl: TickBatch) -> None:
    tape = MinuteAggregator(BookSettings())
    closed = _closed(tape, arl)
    minutes = [s.minute for s in closed]
    assert minutes == list(range(minutes[0], minutes[-1] + 1, MINUTE_NS))
    books = int((arl.kind == BOOK).sum())
    assert sum(s.n_books for s in closed) + tape.rejected_total("ARL")["mid_event"] <= books
    in_hours = [s for s in closed if s.n_books]
    assert len(in_hours) >= 200
    assert all(s.half_spread is not None and s.half_spread > 0.0 for s in in_hours if s.covered_ns)


def test_arl_with_an_age_limit_of_a_minute_loses_half_of_what_stood(arl: TickBatch) -> None:
    rules = BookSettings()
    covered = [
        sum(s.covered_ns for s in _closed(MinuteAggregator(replace(rules, max_book_age_ns=age)), arl))
        for age in (None, MINUTE_NS)
    ]
    assert covered[1] < 0.6 * covered[0]
