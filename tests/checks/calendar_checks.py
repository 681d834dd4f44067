"""What every calendar of trading hours promises (`impactd.core.base.session.Session`), against the IANA database.

A check takes the hours as they are written in the settings, and raises AssertionError.  What a calendar does (it
closes, it has holidays, its zone changes its offset) is read off it, and a check that needs that asks for it; none
names a market.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np

from impactd.config.hours import WEEKDAYS, session_rule
from impactd.core.base.session import Session
from impactd.core.base.settings import MINUTE_NS, SECOND_NS

FIRST, DAYS = date(2025, 2, 24), 280
"""The days looked at: both changes of the clock, north and south of the equator, lie within."""


@dataclass(frozen=True)
class Hours:
    """Trading hours as the settings give them; a close at or before the open is on the next day."""

    timezone: str
    opens: str = "00:00"
    closes: str = "24:00"
    days: tuple[str, ...] = WEEKDAYS
    holidays: tuple[str, ...] = ()

    def session(self) -> Session:
        return Session(session_rule(self.timezone, self.opens, self.closes, self.days, self.holidays))

    @property
    def length(self) -> timedelta:
        length = timedelta(seconds=seconds(self.closes) - seconds(self.opens))
        return length if length > timedelta(0) else length + timedelta(days=1)

    def sessions(self) -> Iterator[tuple[int, int]]:
        """Yield [open, close) of each session, UTC ns, by the IANA database."""
        zone, of_day = ZoneInfo(self.timezone), timedelta(seconds=seconds(self.opens))
        for k in range(DAYS):
            day = FIRST + timedelta(days=k)
            if WEEKDAYS[day.weekday()] in self.days and day.isoformat() not in self.holidays:
                opens = datetime.combine(day, time()) + of_day
                yield ns(opens, zone), ns(opens + self.length, zone)


def seconds(clock: str) -> int:
    hours, minutes = map(int, clock.split(":"))
    return hours * 3600 + minutes * 60


def ns(local: datetime, zone: ZoneInfo) -> int:
    return int(local.replace(tzinfo=zone).astimezone(UTC).timestamp()) * SECOND_NS


def check_opens_and_closes_to_the_nanosecond(hours: Hours) -> None:
    session, known = hours.session(), list(hours.sessions())
    opens, closes = {start for start, _ in known}, {end for _, end in known}
    for start, end in known:
        assert session.is_open(start)
        assert session.is_open(end - 1)
        assert session.is_open(start - 1) == (start in closes or session.always_open)
        assert session.is_open(end) == (end in opens or session.always_open)


def check_an_interval_is_open_if_all_of_it_is(hours: Hours) -> None:
    session = hours.session()
    starts = np.array([at for start, end in hours.sessions() for at in (start - 1, start, end - MINUTE_NS, end)])
    found = session.open_at(starts, MINUTE_NS)
    for start, open_ in zip(starts.tolist(), found.tolist(), strict=True):
        ends = [session.is_open(start), session.is_open(start + MINUTE_NS - 1)]
        assert open_ == all(ends) or session.always_open


def check_positions_run_from_open_to_close(hours: Hours) -> None:
    session, steps = hours.session(), 7
    for start, end in hours.sessions():
        local = (end - start) // SECOND_NS == hours.length.total_seconds()
        at = np.array([start + (end - start) * k // steps for k in range(steps)])
        positions = session.positions(at)
        assert positions[0] == 0.0
        assert np.all(np.diff(positions) > 0.0)
        if local:  # the clock does not change within it
            np.testing.assert_allclose(positions, np.arange(steps) / steps, atol=1e-9)


def check_minutes_of_open_market_add_up(hours: Hours) -> None:
    session, known = hours.session(), list(hours.sessions())
    for (start, end), (later, _) in pairwise(known):
        whole = session.open_minutes_between(start, end)
        halves = (
            session.open_minutes_between(start, (start + end) // 2),
            session.open_minutes_between((start + end) // 2, end),
        )
        assert abs(sum(halves) - whole) < 1e-6
        if not session.always_open and (end - start) // SECOND_NS == hours.length.total_seconds():
            assert whole == (end - start) / MINUTE_NS
            assert session.open_minutes_between(end, later) == 0.0


def check_a_plan_is_held_by_one_session(hours: Hours) -> None:
    session = hours.session()
    for start, end in hours.sessions():
        if not session.always_open and (end - start) // SECOND_NS == hours.length.total_seconds():
            n = (end - start) // MINUTE_NS
            assert session.holds(start, n, MINUTE_NS)
            assert not session.holds(start, n + 1, MINUTE_NS)
            assert session.steps_open(end - 3 * MINUTE_NS, (1, 2, 3, 4), MINUTE_NS) == (1, 2)


Check = Callable[[Hours], None]

CHECKS: tuple[Check, ...] = (
    check_opens_and_closes_to_the_nanosecond,
    check_an_interval_is_open_if_all_of_it_is,
    check_positions_run_from_open_to_close,
    check_minutes_of_open_market_add_up,
    check_a_plan_is_held_by_one_session,
)
