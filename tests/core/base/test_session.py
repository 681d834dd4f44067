"""Session arithmetic against the time zone database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.base.session import Session
from impactd.core.base.settings import MINUTE_NS, SECOND_NS, SessionRule

NEW_YORK = ZoneInfo("America/New_York")


def ns(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND_NS


def offsets(zone: ZoneInfo, years: range) -> tuple[tuple[int, int], ...]:
    rows: list[tuple[int, int]] = []
    at = datetime(years[0], 1, 1, tzinfo=UTC)
    while at.year <= years[-1]:
        offset = at.astimezone(zone).utcoffset()
        assert offset is not None
        seconds = int(offset.total_seconds())
        if not rows or rows[-1][1] != seconds:
            rows.append((ns(at), seconds))
        at += timedelta(hours=1)
    return tuple(rows)


EXCHANGE = SessionRule(34_200, 57_600, offsets(NEW_YORK, range(2024, 2026)))
DAY = Session(EXCHANGE)


@given(
    st.integers(ns(datetime(2024, 1, 2, tzinfo=UTC)) // SECOND_NS, ns(datetime(2025, 12, 30, tzinfo=UTC)) // SECOND_NS)
)
@settings(max_examples=200, deadline=None)
def test_position_any_second_of_two_years_equals_zoneinfo(second: int) -> None:
    local = datetime.fromtimestamp(second, NEW_YORK)
    of_day = local.hour * 3600 + local.minute * 60 + local.second
    inside = 34_200 <= of_day < 57_600
    assert DAY.is_open(second * SECOND_NS) == inside
    position = float(DAY.positions(np.array([second * SECOND_NS], dtype=np.int64))[0])
    if inside:
        assert position == pytest.approx((of_day - 34_200) / 23_400, abs=1e-12)
    else:
        assert position in {0.0, 1.0}


#: The days from 30 Dec 2023 on, past both ends of the offsets.
_FIRST = ns(datetime(2023, 12, 30, tzinfo=UTC))
_TIMES = st.integers(0, 3 * 366 * 86_400).map(lambda second: _FIRST + second * SECOND_NS)
_ODD_DAYS = tuple((day, day, 8 * 3600 + day % 5 * 3600, 14 * 3600 + day % 7 * 1800) for day in range(19_800, 20_600, 3))
_SESSIONS = (
    DAY,
    Session(replace(EXCHANGE, breaks=((41_400, 46_800),), holidays=(19_801, 20_000), special=_ODD_DAYS)),
    Session(SessionRule(18 * 3600, 41 * 3600, offsets(NEW_YORK, range(2024, 2026)), days=(6, 0, 1, 2, 3))),
    Session(SessionRule()),
)


@given(
    st.lists(_TIMES, min_size=1, max_size=4),
    st.sampled_from([1, 60, 3_600]),
    st.sampled_from(_SESSIONS),
)
@settings(max_examples=200, deadline=None)
def test_many_instants_have_the_positions_and_hours_of_each_one(times: list[int], step: int, session: Session) -> None:
    at = np.concatenate([time + np.arange(300, dtype=np.int64) * step * SECOND_NS for time in times])
    assert session.positions(at).tolist() == [session.position(ts) for ts in at.tolist()]
    alone = [bool(session.open_at(at[i : i + 1], MINUTE_NS)[0]) for i in range(len(at))]
    assert session.open_at(at, MINUTE_NS).tolist() == alone


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 60), st.sampled_from([0, 30, 60])), max_size=12),
    st.sampled_from(range(len(_SESSIONS))),
)
@settings(max_examples=50, deadline=None)
def test_what_was_asked_before_changes_no_answer(asked: list[tuple[int, int, int]], which: int) -> None:
    session = Session(_SESSIONS[which].rule)
    for first, n, shift_s in asked:
        at = _FIRST + (first * 9_300 + np.arange(n, dtype=np.int64)) * MINUTE_NS
        fresh = Session(session.rule)
        shift = shift_s * SECOND_NS
        assert session.positions(at, shift).tolist() == fresh.positions(at, shift).tolist()
        assert session.open_at(at, shift).tolist() == fresh.open_at(at, shift).tolist()


@pytest.mark.parametrize("day", [(2025, 3, 7), (2025, 3, 10), (2025, 10, 31), (2025, 11, 3)], ids=str)
def test_position_before_and_after_a_clock_change_open_is_zero(day: tuple[int, int, int]) -> None:
    opening = ns(datetime(*day, 9, 30, tzinfo=NEW_YORK))
    found = DAY.positions(np.array([opening, opening + 195 * MINUTE_NS, opening + 390 * MINUTE_NS], dtype=np.int64))
    assert found.tolist() == [0.0, 0.5, 1.0]
    assert not DAY.is_open(opening - 1)
    assert DAY.is_open(opening + 390 * MINUTE_NS - 1)


def test_position_outside_belongs_to_the_nearer_end() -> None:
    close = ns(datetime(2025, 4, 3, 16, 0, tzinfo=NEW_YORK))
    hours = np.array([close + h * 3600 * SECOND_NS for h in (1, 8, 9, 17)], dtype=np.int64)
    assert DAY.positions(hours).tolist() == [1.0, 1.0, 0.0, 0.0]


def test_position_shift_gives_midpoints() -> None:
    opening = np.array([ns(datetime(2025, 4, 3, 9, 30, tzinfo=NEW_YORK))], dtype=np.int64)
    assert DAY.positions(opening, MINUTE_NS // 2)[0] == pytest.approx(0.5 / 390)


def test_open_minutes_within_a_session_and_over_nights() -> None:
    thursday = ns(datetime(2025, 4, 3, 15, 50, tzinfo=NEW_YORK))
    assert DAY.open_minutes_between(thursday, thursday + 5 * MINUTE_NS) == 5
    assert DAY.open_minutes_between(thursday, ns(datetime(2025, 4, 3, 20, 0, tzinfo=NEW_YORK))) == 10
    assert DAY.open_minutes_between(thursday, ns(datetime(2025, 4, 4, 9, 37, tzinfo=NEW_YORK))) == 17
    assert DAY.open_minutes_between(thursday, ns(datetime(2025, 4, 7, 9, 37, tzinfo=NEW_YORK))) == 17


def test_steps_open_end_with_the_session() -> None:
    before = ns(datetime(2025, 4, 3, 15, 50, tzinfo=NEW_YORK))
    assert DAY.steps_open(before, (5, 9, 10, 60), MINUTE_NS) == (5, 9)
    assert DAY.steps_open(before + 10 * MINUTE_NS, (5,), MINUTE_NS) == ()


def test_always_open_market_counts_every_minute() -> None:
    session = Session(SessionRule())
    assert session.always_open
    assert session.open_minutes_between(0, 3 * 86_400 * SECOND_NS) == 3 * 1440
    assert session.positions(np.array([0, 43_200 * SECOND_NS], dtype=np.int64)).tolist() == [0.0, 0.5]


def test_session_over_midnight_is_one_session() -> None:
    session = Session(SessionRule(18 * 3600, 41 * 3600))  # 18:00 to 17:00 of the next day
    evening = ns(datetime(2025, 4, 3, 18, 0, tzinfo=UTC))
    assert session.open_minutes_between(evening, evening + 10 * 3600 * SECOND_NS) == 600
    assert session.positions(np.array([evening + int(11.5 * 3600) * SECOND_NS], dtype=np.int64))[0] == 0.5
    assert not session.is_open(evening - MINUTE_NS)


@given(st.dates(date(2024, 1, 2), date(2025, 12, 30)))
@settings(max_examples=100, deadline=None)
def test_session_opens_on_its_weekdays_but_not_on_holidays(day: date) -> None:
    christmas = date(2024, 12, 25)
    rule = replace(EXCHANGE, days=(0, 1, 2, 3, 4), holidays=((christmas - date(1970, 1, 1)).days,))
    noon = ns(datetime(day.year, day.month, day.day, 12, tzinfo=NEW_YORK))
    session = Session(rule)
    assert session.is_open(noon) == (day.weekday() < 5 and day != christmas)
    # A day without a session changes what is open, not where in a day a time lies.
    at = np.array([noon], dtype=np.int64)
    assert session.positions(at) == DAY.positions(at)


def test_session_over_midnight_belongs_to_the_day_of_its_open() -> None:
    # Sunday to Thursday evenings, each until the next afternoon: 2025-04-04 was a Friday.
    week = Session(SessionRule(18 * 3600, 41 * 3600, days=(6, 0, 1, 2, 3)))
    hours = {(4, 16): True, (4, 18): False, (5, 12): False, (6, 17): False, (6, 18): True, (7, 3): True}
    found = {at: week.is_open(ns(datetime(2025, 4, *at, 30, tzinfo=UTC))) for at in hours}
    assert found == hours


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (SessionRule(10, 10), "close_s"),
        (SessionRule(0, 86_401), "close_s"),
        (SessionRule(offsets=()), "offsets"),
        (SessionRule(offsets=((5, 0), (5, 1))), "offsets"),
        (SessionRule(days=()), "days"),
        (SessionRule(days=(7,)), "days"),
    ],
)
def test_bad_rule_is_named(rule: SessionRule, field: str) -> None:
    with pytest.raises(ValueError, match=f"session.{field}"):
        Session(rule)
