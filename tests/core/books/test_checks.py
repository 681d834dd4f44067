"""Every reason for which a book is rejected, and the order in which they are looked for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from impactd.core.base.limits import SMALLEST_PX
from impactd.core.books.checks import REASONS, USABLE, Reject, check_book, check_books, check_trade
from impactd.core.inputs.ticks import MID_EVENT, UNDECODABLE_BOOK
from tests.core.rows import Level, Row, batch_of

INT64_MAX = 9_223_372_036_854_775_807.0
GOOD = ((99.0, 1.0), (98.0, 2.0))


def _reason(row: Row, *, max_levels: int = 5, allow_locked: bool = True) -> str | None:
    batch = batch_of([row])
    found, _, _ = check_book(
        batch.bid_px,
        batch.bid_sz,
        batch.ask_px,
        batch.ask_sz,
        0,
        int(batch.n_bid[0]),
        int(batch.n_ask[0]),
        row.flags,
        max_levels,
        allow_locked,
        SMALLEST_PX,
    )
    return None if found == USABLE else REASONS[found].value


@pytest.mark.parametrize(
    ("asks", "reason"),
    [
        (((100.0, math.nan),), "not_finite"),
        (((math.nan, 1.0),), "not_finite"),
        (((math.inf, 1.0),), "not_finite"),
        (((-math.inf, 1.0),), "not_finite"),
        (((INT64_MAX, 1.0),), "sentinel"),
        (((-INT64_MAX, 1.0),), "sentinel"),
        (((9_999_999_999.0, 1.0),), "sentinel"),
        (((9_223_372_036.854775807, 1.0),), "sentinel"),
        (((92_233_720_368.54775807, 1.0),), "sentinel"),
        (((100.0, INT64_MAX),), "sentinel"),
        (((100.0, -INT64_MAX),), "sentinel"),
        (((100.0, 9_999_999_999.0),), "sentinel"),
        (((100.0, 4_294_967_295.0),), "sentinel"),
        (((0.0, 1.0),), "price"),
        (((-100.0, 1.0),), "price"),
        (((100.0, -1.0),), "size"),
        (((101.0, 1.0), (100.0, 1.0)), "unsorted"),
        (((100.0, 1.0), (100.0, 1.0)), "unsorted"),
        (((98.5, 1.0),), "crossed"),
        (tuple((100.0 + k, 1.0) for k in range(6)), "too_deep"),
    ],
)
def test_book_with_one_fault_is_rejected_for_it(asks: tuple[Level, ...], reason: str) -> None:
    assert _reason(Row(0, GOOD, asks)) == reason


def test_bids_that_rise_are_unsorted() -> None:
    assert _reason(Row(0, ((98.0, 1.0), (99.0, 1.0)), ((100.0, 1.0),))) == "unsorted"


@pytest.mark.parametrize(("flag", "reason"), [(MID_EVENT, "mid_event"), (UNDECODABLE_BOOK, "undecodable")])
def test_book_with_a_flag_is_rejected_for_it(flag: int, reason: str) -> None:
    assert _reason(Row(0, GOOD, ((100.0, 1.0),), flags=flag)) == reason


def test_locked_book_is_usable_unless_it_is_forbidden() -> None:
    locked = Row(0, GOOD, ((99.0, 1.0),))
    assert _reason(locked) is None
    assert _reason(locked, allow_locked=False) == "locked"


@pytest.mark.parametrize(
    "row",
    [
        Row(0, GOOD, ((100.0, 1.0), (101.0, 2.0))),
        Row(0, GOOD, ()),
        Row(0, (), ()),
        Row(0, GOOD, ((100.0, 1.0), (math.nan, 0.0), (101.0, 1.0))),
        Row(0, GOOD, ((100.0, 1.0), (50.0, 0.0), (101.0, 1.0))),
        Row(0, GOOD, ((1.0, 0.0),)),
        Row(0, ((2e-5, 2e10),), ((3e-5, 5e12),)),
    ],
    ids=["plain", "no asks", "clear", "empty level", "empty level out of order", "only empty levels", "coin"],
)
def test_book_without_fault_is_usable(row: Row) -> None:
    assert _reason(row) is None


def test_book_with_several_faults_is_rejected_for_the_first_in_order() -> None:
    faults: list[tuple[Level, ...]] = [
        ((100.0, -1.0), (99.0, 1.0)),
        ((100.0, -1.0), (0.0, 1.0)),
        ((100.0, -1.0), (0.0, 1.0), (INT64_MAX, 1.0)),
        ((100.0, -1.0), (0.0, 1.0), (INT64_MAX, 1.0), (math.nan, 1.0)),
    ]
    assert [_reason(Row(0, GOOD, asks)) for asks in faults] == ["size", "price", "sentinel", "not_finite"]
    worst = faults[-1]
    assert _reason(Row(0, GOOD, worst), max_levels=3) == "too_deep"
    assert _reason(Row(0, GOOD, worst, flags=UNDECODABLE_BOOK), max_levels=3) == "undecodable"
    assert _reason(Row(0, GOOD, worst, flags=UNDECODABLE_BOOK | MID_EVENT), max_levels=3) == "mid_event"


def test_check_books_of_padded_rows_states_what_each_row_says() -> None:
    rows = [
        Row(0, GOOD, ((100.0, 1.0),)),
        Row(0, GOOD, ((98.0, 1.0), (101.0, 1.0))),
        Row(0, GOOD, ()),
        Row(0, GOOD, ((100.0, -1.0), (101.0, 1.0), (102.0, 1.0))),
        Row(0, GOOD, ((math.nan, 1.0),)),
        Row(0, GOOD, ((99.0, 1.0),)),
    ]
    batch = batch_of(rows)
    found = check_books(batch.bid_px, batch.bid_sz, batch.ask_px, np.nan_to_num(batch.ask_sz), False)
    assert [None if r == USABLE else REASONS[r].value for r in found] == [_reason(r, allow_locked=False) for r in rows]


def test_reasons_are_looked_for_in_the_order_of_the_enumeration() -> None:
    assert tuple(Reject) == REASONS
    assert REASONS[:2] == (Reject.FUTURE, Reject.CLOCK_BACK)


def test_trade_of_size_zero_is_usable() -> None:
    assert check_trade(1.0, 0.0, SMALLEST_PX) == USABLE
