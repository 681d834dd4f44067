"""The merged book of a symbol's venues, against a slow merge that is fed as a plain symbol."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.base.settings import BookSettings
from impactd.core.base.venue import VenueRule, at_venue
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.books.minute import MinuteStats
from tests.core.rows import Level, Row, batch_of, bits, book, play, play_rows, state, trade

AGE = 300
SMALL = BookSettings(
    interval_ns=1_000, grace_ns=100, max_clock_skew_ns=500, max_silence_ns=2_500, max_levels=5, sizes=(1.0, 3.0, 8.0)
)
RULES = (VenueRule("A", max_book_age_ns=AGE), VenueRule("B", max_book_age_ns=2 * AGE))
AGES = {"A": AGE, "B": 2 * AGE, "C": 2_500}


def at(row: Row, venue: str) -> Row:
    return replace(row, symbol=at_venue("S", venue))


def aggregator(rules: tuple[VenueRule, ...] = RULES, **changes: object) -> MinuteAggregator:
    return MinuteAggregator(replace(SMALL, **changes), venues=rules)


def slow_merge(books: dict[str, Row], now: int) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
    """Return bids and asks of the books that have not become too old by `now`."""
    sides: list[dict[float, float]] = [{}, {}]
    for venue, row in sorted(books.items()):
        if row.ts + AGES[venue] > now:
            for levels, side in zip((row.bids, row.asks), sides, strict=True):
                for px, sz in levels:
                    side[px] = side.get(px, 0.0) + sz
    bids, asks = sides
    if bids and asks and max(bids) > min(asks):
        mid = (max(bids) + min(asks)) / 2
        for side, crosses in ((bids, max), (asks, min)):
            crossing = [px for px in side if crosses(px, mid) == px]
            total = sum(side.pop(px) for px in sorted(crossing, reverse=crosses is max))
            side[mid] = total
    return tuple(sorted(bids.items(), reverse=True)), tuple(sorted(asks.items()))


def merged_feed(rows: list[Row]) -> list[Row]:
    """Return the rows that a feed of the merged book would have: one with each change, and with each end of a book."""
    books: dict[str, Row] = {}
    feed: list[Row] = []

    def pass_to(now: int) -> None:
        for end in sorted({row.ts + AGES[venue] for venue, row in books.items() if row.bids or row.asks}):
            if (feed[-1].ts if feed else 0) < end <= now:
                feed.append(Row(end, *slow_merge(books, end), symbol="S"))

    for row in rows:
        pass_to(row.ts)
        if row.qty is not None:
            feed.append(replace(row, symbol="S"))
        else:
            books[row.symbol[-1]] = row
            feed.append(Row(row.ts, *slow_merge(books, row.ts), symbol="S"))
    pass_to(rows[-1].ts + 10_000)
    return feed


_SIDE = st.dictionaries(st.integers(90, 110), st.sampled_from([1.0, 2.0, 5.0]), min_size=0, max_size=3)


@st.composite
def feeds(draw: st.DrawFn) -> list[Row]:
    rows, ts = [], 50_000
    for _ in range(draw(st.integers(2, 14))):
        ts += draw(st.integers(1, 450))
        venue = draw(st.sampled_from("ABC"))
        if draw(st.integers(0, 4)) == 0:
            rows.append(at(trade(ts, 3.0), venue))
            continue
        bids, asks = (sorted(draw(_SIDE).items(), reverse=best) for best in (True, False))
        asks = [(float(px), sz) for px, sz in asks if not bids or px > bids[0][0]]
        rows.append(at(Row(ts, tuple((float(px), sz) for px, sz in bids), tuple(asks)), venue))
    return rows


def of_whole(stats: list[MinuteStats]) -> list[object]:
    """Return what the minutes of the symbol itself measured, to the last bit; the number of books depends on rows."""
    return [bits(replace(its, n_books=0)) for its in stats if its.symbol == "S"]


@settings(max_examples=150, deadline=None)
@given(feeds())
def test_the_merged_book_is_what_a_feed_of_it_would_be(rows: list[Row]) -> None:
    end = [book(rows[-1].ts + 10_000, symbol="Z")]
    ours = play_rows(aggregator(), rows + end, regrid=False)
    theirs = play_rows(aggregator((), max_silence_ns=10**9, max_levels=15), merged_feed(rows) + end, regrid=False)
    assert of_whole(ours) == of_whole(theirs)


@settings(max_examples=60, deadline=None)
@given(feeds(), st.data())
def test_batches_and_restarts_change_no_bit(rows: list[Row], data: st.DataObject) -> None:
    whole, parts = aggregator(), aggregator()
    expected = play_rows(whole, rows, regrid=False)
    found = []
    while rows:
        n = data.draw(st.integers(1, len(rows)))
        found += play(parts, batch_of(rows[:n]), regrid=False)
        rows = rows[n:]
        restored = aggregator()
        restored.load(parts.dump())
        parts = restored
    assert [bits(its) for its in found] == [bits(its) for its in expected]
    assert state(parts) == state(whole)


def test_one_venue_gives_what_a_plain_feed_gives() -> None:
    plain = [book(1_000 + 70 * k, 99.0 - k % 3, 101.0 + k % 2, 10.0 + k, "S") for k in range(60)]
    ours = play_rows(aggregator((), sizes=()), [at(row, "A") for row in plain])
    theirs = play_rows(aggregator((), sizes=()), plain)
    assert [bits(its) for its in ours if its.symbol == "S"] == [bits(its) for its in theirs]


def test_a_venue_that_dies_leaves_at_the_time_its_book_is_too_old() -> None:
    tape = aggregator()
    play_rows(tape, [at(book(1_000, 99.0, 101.0, 4.0), "A"), at(book(1_010, 98.0, 102.0, 6.0), "B")])
    both = tape.prevailing("S", 1_000 + AGE)
    alone = tape.prevailing("S", 1_000 + AGE + 1)
    assert both is not None
    assert alone is not None
    assert both.ask_px.tolist() == [101.0, 102.0]
    assert alone.ask_px.tolist() == [102.0]
    assert tape.prevailing("S", 1_010 + 2 * AGE + 1) is None
    assert list(tape.at_venues("S", 1_500)) == ["B"]
    assert tape.became_old(at_venue("S", "A"), 1_000) == 1_000 + AGE
    assert tape.became_old(at_venue("S", "A"), 2_000) is None


@pytest.mark.parametrize("ask", [99.0, 98.5])
def test_venues_may_be_locked_or_crossed_against_each_other(ask: float) -> None:
    tape = aggregator(allow_locked=False)
    play_rows(tape, [at(book(1_000, 99.0, 101.0, 4.0), "A"), at(book(1_010, 98.0, ask, 6.0), "B")])
    merged = tape.prevailing("S", 1_010)
    assert merged is not None
    assert merged.half_spread == 0.0
    assert merged.mid == (99.0 + ask) / 2
    assert merged.ask_sz.sum() == merged.bid_sz.sum() == 10.0
    assert tape.rejected_total("S") == {}


def test_a_book_that_is_crossed_within_its_venue_is_refused_and_the_other_stays() -> None:
    tape = aggregator()
    play_rows(tape, [at(book(1_000), "A"), at(book(1_010, 101.0, 99.0), "B"), at(book(1_020, 98.0, 103.0), "B")])
    merged = tape.prevailing("S", 1_020)
    assert merged is not None
    assert merged.ask_px.tolist() == [101.0, 103.0]
    assert tape.rejected_total("S") == {"crossed": 1}


def test_a_clock_that_lags_behind_another_venues_delays_nothing() -> None:
    tape = aggregator()
    play_rows(tape, [at(book(1_500, 99.0, 101.0), "A"), at(book(1_400, 99.5, 100.5), "B")])
    merged = tape.prevailing("S", 1_500)
    assert merged is not None
    assert merged.mid == 100.0
    assert merged.half_spread == 0.5
    assert merged.ts_event == 1_500


def test_a_book_without_its_venue_is_refused_once_others_name_theirs_and_trades_count() -> None:
    tape = aggregator()
    rows = [at(book(1_000), "A"), book(1_010, 1.0, 2.0, symbol="S"), trade(1_020, 5.0, "S"), at(trade(1_030, 2.0), "A")]
    play_rows(tape, rows)
    assert tape.rejected_total("S") == {"no_venue": 1}
    assert tape.volume_since("S", 1_000) == 7.0
    merged = tape.prevailing("S", 1_030)
    assert merged is not None
    assert merged.mid == 100.0


def test_a_halt_ends_the_books_of_all_venues_and_each_comes_back_with_its_own_next_one() -> None:
    tape = aggregator(())
    play_rows(tape, [at(book(1_000, 99.0, 101.0), "A"), at(book(1_000, 98.0, 102.0), "B")])
    tape.halt("S", 1_100)
    assert tape.prevailing("S", 1_100) is None
    play_rows(tape, [at(book(1_150), "B")])
    tape.resume("S", 1_200)
    assert tape.rejected_total("S") == {"halted": 1}
    assert tape.prevailing("S", 1_200) is None
    play_rows(tape, [at(book(1_250, 97.0, 103.0), "B")])
    merged = tape.prevailing("S", 1_250)
    assert merged is not None
    assert merged.ask_px.tolist() == [103.0]


def test_symbols_are_those_of_the_feed() -> None:
    tape = aggregator()
    play_rows(tape, [at(book(1_000), "A"), at(book(1_000), "B"), book(1_000, symbol="T")])
    assert tape.symbols == ["S", "T"]
    assert tape.venues("S") == ("A", "B")
    assert tape.venues("T") == ()
    assert np.array_equal(tape.sizes("S"), tape.sizes(at_venue("S", "B")))
