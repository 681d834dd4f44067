"""Calendars of every form keep the contract: by day, over midnight, without end, on both sides of the equator."""

from __future__ import annotations

import pytest

from tests.checks.calendar_checks import CHECKS, Check, Hours

WEEK = ("mon", "tue", "wed", "thu", "fri")

CALENDARS = {
    "never closes": Hours("UTC"),
    "by day": Hours("America/New_York", "09:30", "16:00", WEEK, ("2025-05-26", "2025-07-04")),
    "without a change of the clock": Hours("Asia/Tokyo", "09:00", "15:30", WEEK),
    "a change in the other direction": Hours("Australia/Sydney", "10:00", "16:00", WEEK),
    "over midnight": Hours("America/Chicago", "17:00", "16:00", ("sun", "mon", "tue", "wed", "thu"), ("2025-04-17",)),
    "to midnight": Hours("Europe/London", "08:00", "24:00", WEEK),
    "a minute a week": Hours("Asia/Kathmandu", "12:00", "12:05", ("sat",)),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("hours", CALENDARS.values(), ids=CALENDARS)
def test_calendar_keeps_the_contract(hours: Hours, check: Check) -> None:
    check(hours)
