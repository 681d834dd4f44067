"""Books out of changes: against dictionaries, with messages lost, repeated and out of order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.wire.codec import FieldError, GapError
from impactd.wire.ticks.building.builder import MAX_WAITING, Builder, Change, Checksum
from impactd.wire.ticks.building.ladder import ASK, BID, Ladder

LEVEL = st.tuples(st.integers(-30, 30).map(lambda k: k / 4), st.sampled_from([0.0, 0.0, 1.0, 2.5, 7.0]))
LEVELS = st.lists(LEVEL, max_size=40)
EMPTY: tuple[list[float], list[float]] = ([], [])


def columns(levels: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [px for px, _ in levels], [sz for _, sz in levels]


def put(book: dict[float, float], levels: list[tuple[float, float]]) -> None:
    for px, sz in levels:
        book.pop(px, None)
        if sz:
            book[px] = sz


def best(book: dict[float, float], side: int, n: int) -> tuple[list[float], list[float]]:
    ordered = sorted(book.items(), reverse=side == BID)[:n]
    return columns(ordered)


@given(st.lists(st.tuples(st.sampled_from([BID, ASK]), LEVELS, st.sampled_from([None, None, 3, 10])), max_size=12))
def test_ladder_is_a_sorted_dictionary(steps: list[tuple[int, list[tuple[float, float]], int | None]]) -> None:
    ladder = Ladder()
    books: dict[int, dict[float, float]] = {BID: {}, ASK: {}}
    for side, levels, depth in steps:
        ladder.change(side, *columns(levels))
        put(books[side], levels)
        if depth is not None:
            ladder.keep(depth)
            books = {one: dict(zip(*best(book, one, depth), strict=True)) for one, book in books.items()}
        for one, book in books.items():
            for n in (1, 5, 100):
                assert ladder.best(one, n) == best(book, one, n)


class Venue:
    """A venue with one book, whose messages come in one of the ways in which venues number them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.number = 100
        self.book: dict[int, dict[float, float]] = {BID: {}, ASK: {}}

    def snapshot(self) -> Change:
        sides = (columns(sorted(self.book[side].items())) for side in (BID, ASK))
        last = None if self.kind == "none" else self.number
        return Change("s", *sides, is_snapshot=True, last=last, waits=self.kind == "ranges")

    def change(self, bids: list[tuple[float, float]], asks: list[tuple[float, float]], step: int) -> Change:
        before = self.number
        self.number += step if self.kind == "ranges" else 1
        put(self.book[BID], bids)
        put(self.book[ASK], asks)
        numbers: dict[str, Any] = {
            "ranges": {"first": before + 1, "last": self.number, "waits": True},
            "one": {"first": self.number, "last": self.number},
            "before": {"prev": before, "last": self.number},
            "none": {},
        }[self.kind]
        return Change("s", columns(bids), columns(asks), is_snapshot=False, **numbers)

    def books(self) -> tuple[Any, Any]:
        return best(self.book[BID], BID, 1_000), best(self.book[ASK], ASK, 1_000)


STEP = st.one_of(
    st.tuples(st.just("change"), LEVELS, LEVELS, st.integers(1, 5)),
    st.tuples(st.sampled_from(["lost", "twice", "late", "snapshot", "old"]), LEVELS, LEVELS, st.integers(1, 5)),
)


@settings(max_examples=300)
@given(st.sampled_from(["ranges", "one", "before"]), st.lists(STEP, max_size=40))
def test_book_is_the_venue_s_or_none_under_loss_repeats_and_delay(kind: str, steps: list[Any]) -> None:
    venue, builder = Venue(kind), Builder(1_000)
    states = {}
    follow(builder, venue.snapshot(), states, venue)
    held: Change | None = None
    old = venue.snapshot()
    for what, bids, asks, step in steps:
        if what == "snapshot":
            old = venue.snapshot()
            follow(builder, old, states, venue)
            continue
        if what == "old" and kind == "ranges":
            follow(builder, old, states, venue)
            continue
        change = venue.change(bids, asks, step)
        states[venue.number] = venue.books()
        if what == "lost":
            continue
        if what == "late" and held is None:
            held = change
            continue
        for one in [change] * (2 if what == "twice" else 1):
            follow(builder, one, states, venue)
        if held is not None:
            follow(builder, held, states, venue)
            held = None


def follow(builder: Builder, change: Change, states: dict[int, Any], venue: Venue) -> None:
    """Follow a message: what is given is the venue's book at the number that was reached."""
    if change.is_snapshot:
        states.setdefault(venue.number, venue.books())
    try:
        book = builder.follow("FROG", change)
    except GapError:
        assert not builder.stands("FROG")
        return
    except FieldError:
        return
    if book is not None:
        reached = builder._books["FROG"].last
        assert book == states[reached or 0]
        assert (change.last or 0) <= (reached or 0)


def test_missing_change_ends_the_book_and_a_snapshot_begins_it_again() -> None:
    venue, builder = Venue("one"), Builder(10)
    venue.change([(1.0, 5.0)], [(2.0, 5.0)], 1)
    assert builder.follow("A", venue.snapshot()) == (([1.0], [5.0]), ([2.0], [5.0]))
    lost, after = venue.change([(1.0, 6.0)], [], 1), venue.change([(0.5, 6.0)], [], 1)
    with pytest.raises(GapError):
        builder.follow("A", after)
    assert builder.follow("A", lost) is None
    assert builder.follow("A", venue.change([(0.5, 6.0)], [], 1)) is None
    assert builder.follow("A", venue.snapshot()) == (([1.0, 0.5], [6.0, 6.0]), ([2.0], [5.0]))
    assert builder.follow("A", venue.change([(0.5, 0.0)], [], 1)) == (([1.0], [6.0]), ([2.0], [5.0]))


def test_changes_before_the_answer_with_a_snapshot_are_applied_behind_it() -> None:
    venue, builder = Venue("ranges"), Builder(10)
    early = venue.change([(1.0, 5.0)], [(2.0, 5.0)], 3)
    snapshot = venue.snapshot()
    later = [venue.change([(1.0, float(k))], [], 2) for k in (6, 7)]
    assert all(builder.follow("A", change) is None for change in (early, *later))
    assert builder.follow("A", snapshot) == (([1.0], [7.0]), ([2.0], [5.0]))
    assert builder.follow("A", snapshot) is None


def test_first_change_may_begin_within_the_snapshot() -> None:
    builder = Builder(10)
    builder.follow("A", Change("s", ([1.0], [5.0]), EMPTY, is_snapshot=True, last=10, waits=True))
    change = Change("s", ([1.0], [6.0]), EMPTY, is_snapshot=False, first=8, last=12, prev=7, waits=True)
    assert builder.follow("A", change) == (([1.0], [6.0]), EMPTY)
    change = Change("s", ([1.0], [7.0]), EMPTY, is_snapshot=False, first=15, last=16, prev=12, waits=True)
    assert builder.follow("A", change) == (([1.0], [7.0]), EMPTY)
    with pytest.raises(GapError):
        builder.follow("A", Change("s", EMPTY, EMPTY, is_snapshot=False, first=17, last=18, prev=15, waits=True))


def test_changes_without_a_snapshot_are_refused_once() -> None:
    builder = Builder(10)
    change = Change("s", EMPTY, EMPTY, is_snapshot=False, first=1, last=1)
    with pytest.raises(FieldError) as refused:
        builder.follow("A", change)
    assert refused.value.reason == "gap"
    assert builder.follow("A", change) is None
    waits = Change("s", EMPTY, EMPTY, is_snapshot=False, first=1, last=1, waits=True)
    for _ in range(MAX_WAITING - 1):
        assert builder.follow("B", waits) is None
    with pytest.raises(FieldError) as refused:
        builder.follow("B", waits)
    assert refused.value.reason == "gap"
    assert builder.follow("B", waits) is None


def test_lost_message_ends_books_without_numbers_alone() -> None:
    builder = Builder(10)
    builder.follow("A", Change("s", ([1.0], [5.0]), EMPTY, is_snapshot=True))
    builder.follow("B", Change("s", ([1.0], [5.0]), EMPTY, is_snapshot=True, last=1))
    builder.lose()
    with pytest.raises(GapError):
        builder.follow("A", Change("s", ([1.0], [6.0]), EMPTY, is_snapshot=False))
    assert builder.follow("B", Change("s", EMPTY, EMPTY, is_snapshot=False, first=2, last=2)) is not None


def test_wrong_checksum_ends_the_book() -> None:
    builder = Builder(10)

    def change(size: float, value: int, *, is_snapshot: bool = False) -> Change:
        checksum = Checksum(value, lambda bids, asks: len(bids) + 10 * int(float(bids[0][1])) + len(asks), 1)
        texts = ([("1.0", str(size)), ("0.5", "1")], [])
        return Change("s", ([1.0, 0.5], [size, 1.0]), EMPTY, is_snapshot=is_snapshot, checksum=checksum, texts=texts)

    assert builder.follow("A", change(5.0, 51, is_snapshot=True)) is not None
    assert builder.follow("A", change(6.0, 61)) is not None
    with pytest.raises(GapError):
        builder.follow("A", change(7.0, 61))
    assert not builder.stands("A")


def test_levels_behind_the_stream_s_depth_are_dropped() -> None:
    builder = Builder(10)
    builder.follow("A", Change("s", ([3.0, 2.0], [1.0, 1.0]), EMPTY, is_snapshot=True, depth=2))
    builder.follow("A", Change("s", ([4.0], [1.0]), EMPTY, is_snapshot=False))
    book = builder.follow("A", Change("s", ([4.0], [0.0]), EMPTY, is_snapshot=False))
    assert book == (([3.0], [1.0]), EMPTY)


def test_second_stream_of_a_symbol_is_skipped() -> None:
    builder = Builder(10)
    builder.follow("A", Change("s", ([3.0], [1.0]), EMPTY, is_snapshot=True))
    assert builder.follow("A", Change("t", ([9.0], [1.0]), EMPTY, is_snapshot=True)) is None
    assert builder.follow("A", Change("s", EMPTY, EMPTY, is_snapshot=False)) == (([3.0], [1.0]), EMPTY)
