"""The tape against a slow reference, and each of its rules by itself."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.base.settings import BookSettings
from impactd.core.base.topics import Side
from impactd.core.books.aggregator import MinuteAggregator, Stop
from impactd.core.books.minute import MinuteStats
from impactd.core.inputs.ticks import AUCTION, MID_EVENT, UNDECODABLE_BOOK, TickBatch
from tests.core.rows import Row, batch_of, bits, book, play, play_rows, state, trade
from tests.core.slow_tape import SlowTape

MINUTE = 1_000
DAY = 86_400 * 10**9
SMALL = BookSettings(
    interval_ns=MINUTE,
    grace_ns=100,
    max_clock_skew_ns=500,
    max_silence_ns=2_500,
    max_levels=5,
    sizes=(1.0, 2.0, 3.0, 5.0, 8.0, 40.0),
)
RULES = (
    SMALL,
    replace(SMALL, max_book_age_ns=300, allow_locked=False),
    replace(SMALL, grace_ns=0, max_book_age_ns=1_000),
)

_TICKS = st.integers(1, 12)
_SIZES = st.sampled_from([0.0, 1.0, 2.0, 4.0, 7.0, 0.5])
_LEVELS = st.lists(st.tuples(_TICKS, _SIZES), min_size=0, max_size=4)
_ODD_LEVELS = st.lists(
    st.tuples(
        st.sampled_from([99.0, 100.0, 101.0, -1.0, 0.0, math.nan, 1e10, 2.0**63]),
        st.sampled_from([1.0, 0.0, -1.0, math.inf]),
    ),
    max_size=6,
)


def _side(start: float, direction: int, levels: list[tuple[int, float]]) -> tuple[tuple[float, float], ...]:
    """Return levels that move away from `start` by the ticks given, in cents."""
    away, side = 0, []
    for ticks, size in levels:
        side.append((start + direction * away * 0.01, size))
        away += ticks
    return tuple(side)


@st.composite
def _rows(draw: st.DrawFn) -> list[Row]:
    """Return a stream in which clocks jump, run back and run ahead, with good books and bad ones."""
    now = draw(st.sampled_from([50 * MINUTE, DAY - MINUTE])) + draw(st.integers(0, MINUTE))
    rows = []
    for _ in range(draw(st.integers(1, 40))):
        now += draw(st.sampled_from([0, 0, 1, 7, 60, 250, 600, 1_100, 4_700, -20, -700]))
        ts = max(now + draw(st.sampled_from([0, 0, 0, -30, -1_500])), 1)
        row = Row(ts, symbol=draw(st.sampled_from("AAB")), publisher=draw(st.sampled_from([0, 2, 2, 2, 39])))
        row = replace(row, instrument=draw(st.sampled_from([0, 7, 7, 7, 8])))
        row = replace(row, ts_record=ts - draw(st.sampled_from([0, 0, 0, 0, 500, 501])))
        what = draw(st.sampled_from(["book", "book", "book", "book", "odd", "trade"]))
        if what == "trade":
            flags = draw(st.sampled_from([0, 0, AUCTION, MID_EVENT]))
            row = replace(row, qty=float(draw(st.integers(0, 9))), px=99.5, flags=flags)
        elif what == "book":
            centre = 99.0 + 0.01 * draw(st.integers(0, 50))
            spread = draw(st.sampled_from([0.01, 0.02, 0.05, 0.0, -0.01]))
            row = replace(
                row,
                bids=_side(centre, -1, draw(_LEVELS)),
                asks=_side(centre + spread, 1, draw(_LEVELS)),
                flags=draw(st.sampled_from([0] * 6 + [MID_EVENT, UNDECODABLE_BOOK])),
            )
        else:
            row = replace(row, bids=tuple(draw(_ODD_LEVELS)), asks=tuple(draw(_ODD_LEVELS)))
        rows.append(row)
    return rows


def _agree(stats: MinuteStats, slow: dict[str, object]) -> None:
    for name, value in slow.items():
        ours = getattr(stats, name)
        if name in {"slippage", "lower_bound", "depth"}:
            _close(ours, value)
        elif name == "coverage":
            assert ours.tolist() == value, name
        elif isinstance(value, Fraction):
            assert ours == pytest.approx(float(value), rel=1e-12, abs=0.0), name
        else:
            assert ours == value, name


def _close(ours: np.ndarray, exact: object) -> None:
    """Compare an array with (nested) lists of fractions, in which None stands for NaN."""
    flat = np.array(exact, dtype=object).ravel()
    for value, right in zip(ours.ravel(), flat, strict=True):
        if right is None:
            assert math.isnan(value)
        else:
            assert value == pytest.approx(float(right), rel=1e-12, abs=0.0)


@pytest.mark.parametrize("rules", RULES)
@settings(max_examples=80, deadline=None)
@given(rows=_rows())
def test_tape_of_random_rows_agrees_with_slow_reference(rules: BookSettings, rows: list[Row]) -> None:
    tape, slow = MinuteAggregator(rules), SlowTape(rules)
    closed = play_rows(tape, rows)
    for row in rows:
        slow.take(row)
    for symbol, its in slow.symbols.items():
        assert tape.minute(symbol) == its.minute
        if its.minute is not None:
            closed.append(tape.close_minute(symbol))
            slow.close(symbol)
    assert len(closed) == len(slow.closed)
    for stats, exact in zip(closed, slow.closed, strict=True):
        _agree(stats, exact)


@pytest.mark.parametrize("rules", [SMALL, replace(SMALL, sizes=(), max_book_age_ns=300)])
@settings(max_examples=60, deadline=None)
@given(rows=_rows(), cut=st.integers(1, 11))
def test_tape_in_batches_of_any_size_gives_the_same_bits(rules: BookSettings, rows: list[Row], cut: int) -> None:
    whole = MinuteAggregator(rules)
    closed = [bits(s) for s in play_rows(whole, rows)]
    for size in (1, cut):
        tape = MinuteAggregator(rules)
        parts = [play_rows(tape, rows[i : i + size]) for i in range(0, len(rows), size)]
        assert [bits(s) for part in parts for s in part] == closed
        assert state(tape) == state(whole)


@pytest.mark.parametrize("rules", [SMALL, replace(SMALL, sizes=())])
@settings(max_examples=60, deadline=None)
@given(rows=_rows(), data=st.data())
def test_tape_saved_and_loaded_at_any_row_continues_to_the_same_bits(
    rules: BookSettings, rows: list[Row], data: st.DataObject
) -> None:
    whole = MinuteAggregator(rules)
    closed = [bits(s) for s in play_rows(whole, rows)]
    at = data.draw(st.integers(0, len(rows)))
    first = MinuteAggregator(rules)
    before = play_rows(first, rows[:at])
    second = MinuteAggregator(rules)
    second.load(first.dump())
    assert state(second) == state(first)
    after = play_rows(second, rows[at:])
    assert [bits(s) for s in before + after] == closed
    assert state(second) == state(whole)


def test_book_that_prevails_at_the_end_opens_the_next_minute() -> None:
    tape = MinuteAggregator(SMALL)
    closed = play_rows(tape, [book(400), book(2_200)])
    assert [(s.minute, s.n_books, s.covered_ns) for s in closed] == [(0, 1, 600), (1_000, 0, 1_000)]
    assert closed[1].mid_close == 100.0
    assert tape.close_minute("FROG").covered_ns == 1_000


def test_average_weights_books_by_the_time_they_stood_not_by_their_number() -> None:
    rows = [book(0, 99.0, 101.0), *(book(900 + k, 98.0, 104.0) for k in range(50)), book(1_000)]
    stats = play_rows(MinuteAggregator(SMALL), rows)[0]
    assert stats.n_books == 51
    assert stats.half_spread == pytest.approx(0.9 * 1.0 + 0.1 * 3.0, rel=1e-14)
    assert stats.mid == pytest.approx(0.9 * 100.0 + 0.1 * 101.0, rel=1e-14)


def test_size_beyond_the_depth_is_censored_with_its_coverage_and_lower_bound() -> None:
    deep = Row(0, ((99.0, 3.0), (98.0, 5.0)), ((101.0, 3.0), (102.0, 5.0)))
    thin = Row(750, ((99.0, 3.0),), ((101.0, 3.0),))
    stats = play_rows(MinuteAggregator(SMALL), [deep, thin, book(1_000)])[0]
    buy = stats.estimate(Side.BUY, 1)
    assert buy.sizes == SMALL.sizes
    assert buy.coverage == (1.0, 1.0, 1.0, 0.75, 0.75, 0.0)
    assert buy.slippage[2:] == (pytest.approx(1.0), pytest.approx(1.4), pytest.approx(1.625), None)
    assert buy.lower_bound[3] == pytest.approx(0.75 * 1.4 + 0.25 * 1.0)
    assert buy.lower_bound[5] == pytest.approx(0.75 * (40 + 37) / 40 + 0.25 * 1.0)
    assert stats.estimate(Side.SELL, 1).slippage == buy.slippage
    assert stats.depth.tolist() == [0.75 * 8 + 0.25 * 3] * 2


def test_slippage_within_the_best_level_is_the_half_spread_to_the_last_bit() -> None:
    rows = [book(k * 7, 99.0 - 0.01 * (k % 13), 99.37 + 0.013 * (k % 7)) for k in range(142)]
    stats = play_rows(MinuteAggregator(SMALL), [*rows, book(1_000)])[0]
    assert stats.slippage.tolist() == stats.lower_bound.tolist() == [[stats.half_spread] * len(SMALL.sizes)] * 2


def test_empty_side_ends_the_standing_book() -> None:
    stats = play_rows(
        MinuteAggregator(SMALL), [book(0), Row(300), book(600), Row(700, bids=((99.0, 1.0),)), book(1_000)]
    )[0]
    assert (stats.covered_ns, stats.n_books, stats.n_rejected, stats.mid_close) == (400, 2, 0, None)


def test_rejected_book_leaves_the_one_before_it_standing() -> None:
    stats = play_rows(MinuteAggregator(SMALL), [book(0), book(300, 101.0, 99.0), book(1_000)])[0]
    assert (stats.covered_ns, stats.rejected, stats.mid_close) == (1_000, {"crossed": 1}, 100.0)


def test_max_book_age_ends_a_book_that_is_too_old() -> None:
    stats = play_rows(MinuteAggregator(replace(SMALL, max_book_age_ns=300)), [book(0), book(500), book(1_000)])[0]
    assert (stats.covered_ns, stats.mid_close) == (600, None)


def test_max_silence_ends_a_book_where_no_age_is_set() -> None:
    closed = play_rows(MinuteAggregator(SMALL), [book(0), book(9_500)])
    assert [s.covered_ns for s in closed] == [1_000, 1_000, 500, 0, 0, 0, 0, 0, 0]
    assert [s.mid_close for s in closed[:3]] == [100.0, 100.0, None]
    assert closed[3].mid is None
    assert np.isnan(closed[3].lower_bound).all()
    assert (closed[3].coverage == 0.0).all()


def test_minute_closes_on_its_own_clock_without_grace() -> None:
    tape = MinuteAggregator(SMALL)
    batch = batch_of([book(10), book(999), book(1_000)])
    assert tape.run(batch, 0, 3) == 2
    assert tape.peek(batch, 2) is Stop.OWN_CLOCK
    assert tape.closing(batch, 2) == ["FROG"]


def test_minute_closes_on_the_partition_clock_after_grace() -> None:
    tape = MinuteAggregator(SMALL)
    batch = batch_of([book(10, symbol="B"), book(20, symbol="A"), book(1_050, symbol="C"), book(1_100, symbol="C")])
    assert tape.run(batch, 0, 4) == 3
    assert tape.peek(batch, 3) is Stop.PARTITION_CLOCK
    assert tape.closing(batch, 3) == ["A", "B"]
    assert tape.due() == []
    assert tape.due(1_100) == ["A", "B"]
    for symbol in ("A", "B"):
        tape.close_minute(symbol)
    assert tape.run(batch, 3, 4) == 4
    assert tape.clock == 1_100


def test_minutes_that_are_due_come_earliest_first_then_by_name() -> None:
    tape = MinuteAggregator(SMALL)
    tape.open("B", 0)
    tape.open("C", 0)
    tape.open("A", 1_000)
    assert tape.due(9_000) == ["B", "C", "A"]


def test_row_before_the_open_minute_is_late_and_counts_nowhere_else() -> None:
    tape = MinuteAggregator(SMALL)
    closed = play_rows(tape, [book(0), book(1_500), book(900, 98.0), trade(999, 5.0), book(2_000)])
    assert [s.n_late for s in closed] == [0, 2]
    assert closed[1].n_trades == 0
    assert closed[1].volume_continuous is None
    assert closed[1].mid == 100.0


def test_book_that_runs_back_is_rejected_and_a_trade_that_does_still_counts() -> None:
    stats = play_rows(MinuteAggregator(SMALL), [book(0), book(600), book(500, 98.0), trade(400, 5.0), book(1_000)])[0]
    assert stats.rejected == {"clock_back": 1}
    assert (stats.n_trades, stats.volume_continuous, stats.n_books) == (1, 5.0, 2)


def test_row_too_far_ahead_is_rejected_and_moves_no_clock() -> None:
    tape = MinuteAggregator(SMALL)
    ahead = replace(book(5_501), ts_record=5_000)
    assert play_rows(tape, [ahead]) == []
    assert (tape.clock, tape.minute("FROG"), tape.symbols) == (None, None, ["FROG"])
    stats = play_rows(
        tape, [book(0), replace(book(900), ts_record=400), replace(book(901), ts_record=400), book(1_000)]
    )
    assert stats[0].rejected == {"future": 2}  # the one from before its first minute is not lost
    assert stats[0].n_books == 2
    assert tape.rejected_total("FROG") == {"future": 2}


def test_time_beyond_what_sums_can_hold_is_from_the_future() -> None:
    tape = MinuteAggregator(SMALL)
    play_rows(tape, [book(2**63 - 1)])
    assert tape.rejected_total("FROG") == {"future": 1}


def test_volume_is_kept_apart_and_mid_event_prints_count() -> None:
    rows = [
        book(0),
        trade(1, 100.0, flags=AUCTION | MID_EVENT),
        trade(2, 30.0, flags=MID_EVENT),
        trade(3, 7.0),
        book(1_000),
    ]
    stats = play_rows(MinuteAggregator(SMALL), rows)[0]
    assert (stats.n_trades, stats.volume_continuous, stats.volume_auction) == (3, 37.0, 100.0)
    assert stats.n_rejected == 0


def test_volume_is_unknown_before_the_first_trade_and_zero_after() -> None:
    closed = play_rows(MinuteAggregator(SMALL), [book(0), book(1_000), trade(1_500, 4.0), book(2_000), book(3_000)])
    assert [s.volume_continuous for s in closed] == [None, 4.0, 0.0]
    assert [s.volume_auction for s in closed] == [None, 0.0, 0.0]


@pytest.mark.parametrize(
    ("px", "qty", "reason"),
    [
        (math.nan, 1.0, "not_finite"),
        (1.0, math.inf, "not_finite"),
        (9223372036.854775807, 1.0, "sentinel"),
        (0.0, 1.0, "price"),
        (1.0, -1.0, "size"),
    ],
)
def test_trade_that_is_no_trade_is_rejected(px: float, qty: float, reason: str) -> None:
    stats = play_rows(MinuteAggregator(SMALL), [book(0), trade(1, qty, px=px), book(1_000)])[0]
    assert (stats.rejected, stats.n_trades) == ({reason: 1}, 0)


def test_rejections_add_up_over_minutes_and_survive_a_save() -> None:
    tape = MinuteAggregator(SMALL)
    closed = play_rows(
        tape, [book(0, 101.0, 99.0), book(1_000, flags=MID_EVENT), book(1_001, flags=MID_EVENT), book(2_000)]
    )
    assert [s.n_rejected for s in closed] == [1, 2]
    other = MinuteAggregator(SMALL)
    other.load(tape.dump())
    assert other.rejected_total("FROG") == {"mid_event": 2, "crossed": 1}


def test_book_rejected_for_its_content_opens_a_minute_without_a_book() -> None:
    tape = MinuteAggregator(SMALL)
    play_rows(tape, [book(1_234, 101.0, 99.0)])
    assert (tape.minute("FROG"), tape.last_ts("FROG"), tape.prevailing("FROG", 1_500)) == (1_000, 1_234, None)


def test_idle_moves_the_clock_so_that_quiet_minutes_close() -> None:
    tape = MinuteAggregator(SMALL)
    play_rows(tape, [book(10)])
    tape.idle(999)
    assert tape.due() == []
    tape.idle(1_000)
    assert tape.due() == ["FROG"]
    tape.idle(500)
    assert tape.clock == 1_100


def test_open_without_a_tick_gives_a_minute_to_close() -> None:
    tape = MinuteAggregator(SMALL)
    assert tape.open("FROG", 1_234)
    stats = tape.close_minute("FROG")
    assert (stats.minute, stats.covered_ns, stats.mid, stats.volume_continuous) == (1_000, 0, None, None)
    assert np.isnan(stats.depth).all()
    assert set(tape.changes()) == {"books/FROG", "clock"}


def test_skip_to_jumps_over_minutes_in_which_nothing_happened() -> None:
    tape = MinuteAggregator(SMALL)
    play_rows(tape, [book(10)])
    for _ in range(3):
        assert not tape.is_idle("FROG")
        with pytest.raises(RuntimeError, match="not idle"):
            tape.skip_to("FROG", 90_000)
        tape.close_minute("FROG")
    assert tape.is_idle("FROG")
    with pytest.raises(ValueError, match="start of an interval"):
        tape.skip_to("FROG", 90_001)
    tape.skip_to("FROG", 90_000)
    closed = play_rows(tape, [book(90_400), book(91_000)])
    assert [(s.minute, s.covered_ns) for s in closed] == [(90_000, 600)]


def test_skipping_gives_the_bits_that_closing_empty_minutes_gives() -> None:
    skipped, closed = MinuteAggregator(SMALL), MinuteAggregator(SMALL)
    for tape in (skipped, closed):
        play_rows(tape, [book(10), trade(20, 5.0)])
        for _ in range(3):
            tape.close_minute("FROG")
    skipped.skip_to("FROG", 8_000)
    for _ in range(5):
        closed.close_minute("FROG")
    assert state(skipped) == state(closed)


def test_grid_comes_from_the_first_two_sided_book_and_changes_only_at_a_minutes_opening() -> None:
    tape = MinuteAggregator(replace(SMALL, sizes=(), n_sizes=4))
    batch = batch_of([Row(0, bids=((99.0, 1e6),)), book(10, size=128.0), book(20, size=12_800.0), book(1_000)])
    assert tape.run(batch, 0, 1) == 1
    assert tape.sizes("FROG") == ()
    row = tape.run(batch, 1, 4)
    assert tape.sizes("FROG") == (3.0, 10.0, 30.0, 96.0)
    assert row == 3
    with pytest.raises(KeyError, match="no open minute"):
        tape.set_grid("ARL", (1.0,))
    stats = tape.close_minute("FROG")
    assert stats.sizes.tolist() == [3.0, 10.0, 30.0, 96.0]
    assert tape.regrid("FROG", stats)
    assert tape.sizes("FROG")[-1] == pytest.approx(0.75 * float(stats.depth[0]), rel=0.01)
    assert not tape.regrid("FROG", stats)


def test_grid_within_a_minute_that_was_walked_is_refused() -> None:
    tape = MinuteAggregator(SMALL)
    play_rows(tape, [book(0), book(10)])
    with pytest.raises(RuntimeError, match="right after a minute has closed"):
        tape.set_grid("FROG", (1.0, 2.0))


def test_grid_with_plans_reaches_four_times_what_they_ask_each_way() -> None:
    tape = MinuteAggregator(replace(SMALL, sizes=(), n_sizes=16))
    closed = play_rows(tape, [book(0, size=1_000.0), book(1_000, size=1_000.0)])
    assert tape.regrid("FROG", closed[0], demand_range=(20.0, 400.0))
    assert (tape.sizes("FROG")[0], tape.sizes("FROG")[-1]) == (5.0, 1_600.0)


def test_grid_of_more_sizes_than_there_was_room_for_is_walked_whole() -> None:
    tape = MinuteAggregator(replace(SMALL, sizes=(), n_sizes=4))
    play_rows(tape, [book(0), book(1_000)], regrid=False)
    tape.set_grid("FROG", tuple(float(k) for k in range(1, 41)))
    closed = play_rows(tape, [book(2_000)])
    assert closed[0].slippage[0].tolist() == [1.0] * 40


def test_grid_of_settings_never_changes() -> None:
    tape = MinuteAggregator(SMALL)
    closed = play_rows(tape, [book(0, size=1e6), book(1_000, size=1e6)])
    assert not tape.regrid("FROG", closed[0], demand_range=(1e5, 1e5))
    assert tape.sizes("FROG") == SMALL.sizes


def test_coin_sizes_stay_fractions_without_a_book() -> None:
    tape = MinuteAggregator(replace(SMALL, sizes=(), n_sizes=4))
    closed = play_rows(tape, [book(0, size=0.5), Row(900), book(1_000, size=0.5)])
    tape.regrid("FROG", replace(closed[0], depth=closed[0].depth * 16))
    assert tape.sizes("FROG")[0] == pytest.approx(0.75 * 8 / 32, rel=1e-2)


def test_standing_book_is_readable_until_it_is_too_old() -> None:
    tape = MinuteAggregator(SMALL)
    play_rows(tape, [Row(10, ((99.0, 1.0), (98.0, 0.0), (97.0, 2.0)), ((101.0, 4.0),))])
    standing = tape.prevailing("FROG", 2_510)
    assert standing is not None
    assert (standing.ts_event, standing.mid, standing.half_spread) == (10, 100.0, 1.0)
    assert standing.bid_px.tolist() == [99.0, 97.0]
    assert standing.bid_sz.tolist() == [1.0, 2.0]
    assert tape.prevailing("FROG", 2_511) is None
    assert tape.prevailing("ARL", 0) is None


def test_symbols_beyond_the_limit_are_dropped_and_counted_however_batched() -> None:
    rows = [book(1, symbol=s) for s in ("C", "A", "B", "A", "B", "D")]
    whole, single = MinuteAggregator(SMALL, max_symbols=2), MinuteAggregator(SMALL, max_symbols=2)
    play_rows(whole, rows)
    for row in rows:
        play_rows(single, [row])
    assert whole.symbols == single.symbols == ["A", "C"]
    assert whole.unknown_rows == single.unknown_rows == 3
    assert not whole.open("B", 1)
    assert not whole.open("E", 1)
    assert whole.peek(batch_of(rows), 2) is None


def test_changes_are_the_keys_that_changed_since_the_last_call() -> None:
    tape = MinuteAggregator(SMALL)
    play_rows(tape, [book(0, symbol="A"), book(1, symbol="B")])
    assert list(tape.changes()) == ["books/A", "books/B", "clock"]
    play_rows(tape, [book(2, symbol="B")])
    assert list(tape.changes()) == ["books/B", "clock"]


def test_state_of_ten_levels_is_small() -> None:
    tape = MinuteAggregator(BookSettings())
    side = [(100.0 + 0.01 * k, 100.0) for k in range(10)]
    bids = tuple((200.0 - px - 0.01, size) for px, size in side)
    play_rows(tape, [Row(10, bids, tuple(side)), book(20)])
    assert len(tape.dump()["books/FROG"]) < 6_000


@pytest.mark.parametrize("cut", [0, 3, 17, 200, -1])
def test_state_that_is_damaged_is_refused_with_a_remedy(cut: int) -> None:
    tape = MinuteAggregator(SMALL)
    play_rows(tape, [book(0)])
    with pytest.raises(ValueError, match="rebuild the state by a replay"):
        MinuteAggregator(SMALL).load(tape.dump() | {"books/FROG": tape.dump()["books/FROG"][:cut]})


@pytest.mark.parametrize("cut", [0, 3, -1])
def test_clock_that_is_damaged_is_refused_with_a_remedy(cut: int) -> None:
    tape = MinuteAggregator(SMALL)
    with pytest.raises(ValueError, match="restore it with the release"):
        tape.load({"clock": tape.dump()["clock"][:cut]})


def test_state_of_another_layout_is_refused() -> None:
    tape = MinuteAggregator(SMALL)
    play_rows(tape, [book(0)])
    data = bytearray(tape.dump()["books/FROG"])
    data[4] += 1
    with pytest.raises(ValueError, match="layout 1"):
        MinuteAggregator(SMALL).load(tape.dump() | {"books/FROG": bytes(data)})


def test_loading_over_a_symbol_leaves_nothing_of_it() -> None:
    rules = replace(SMALL, sizes=())
    small, large = MinuteAggregator(rules), MinuteAggregator(rules)
    play_rows(small, [book(0, size=1.0), book(500, size=1.0)])
    play_rows(large, [book(0, size=1e5), book(500, size=1e5)])
    large.load(small.dump())
    rest = [book(1_000, size=1e4), book(2_000)]
    assert [bits(s) for s in play_rows(large, rest)] == [bits(s) for s in play_rows(small, rest)]


@pytest.mark.parametrize(
    "change",
    [
        {"interval_ns": 0},
        {"grace_ns": -1},
        {"max_book_age_ns": 0},
        {"max_silence_ns": 0},
        {"max_levels": 0},
        {"n_sizes": 0},
        {"sizes": (2.0, 1.0)},
        {"sizes": (0.0, 1.0)},
        {"sizes": (1.0, math.nan)},
    ],
)
def test_settings_that_cannot_be_worked_with_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(change)).removesuffix('_ns')}.*give"):
        MinuteAggregator(replace(SMALL, **change))  # type: ignore[arg-type]  # the parameter names the field


def _with_levels_beyond(batch: TickBatch) -> TickBatch:
    batch.n_ask[0] = 2
    return batch


def _with_symbol_beyond(batch: TickBatch) -> TickBatch:
    batch.symbol[0] = 1
    return batch


def _with_a_short_column(batch: TickBatch) -> TickBatch:
    return replace(batch, px=batch.px[:0])


@pytest.mark.parametrize("broken", [_with_levels_beyond, _with_symbol_beyond, _with_a_short_column])
def test_batch_that_breaks_its_contract_is_refused(broken: object) -> None:
    assert callable(broken)
    with pytest.raises(ValueError, match="a batch"):
        MinuteAggregator(SMALL).run(broken(batch_of([book(0)])), 0, 1)


def test_rows_beyond_the_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="rows 0 to 2"):
        MinuteAggregator(SMALL).run(batch_of([book(0)]), 0, 2)


def test_batch_with_strided_columns_gives_the_same_bits() -> None:
    rows = [book(0), book(1), book(300, 98.0), book(301), book(1_000), book(1_001)]
    every_other = batch_of(rows).take(slice(None, None, 2))
    strided, plain = MinuteAggregator(SMALL), MinuteAggregator(SMALL)
    assert [bits(s) for s in play(strided, every_other)] == [bits(s) for s in play_rows(plain, rows[::2])]
