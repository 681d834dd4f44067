"""Writes exchange calendars as plain times, from the library exchange_calendars.

See `impactd.config.calendars` for the form of the file, which the service reads
without the library.
"""

from __future__ import annotations

import warnings
from collections import Counter
from datetime import date, timedelta
from importlib.metadata import version
from typing import Any

import exchange_calendars
import pandas as pd

from impactd.config.hours import WEEKDAYS
from impactd.research.errors import MALFORMED, ValidationError

_DAY_S = 86_400
_EPOCH = date(1970, 1, 1)

Hours = tuple[int, int]


def calendar_file(name: str, first_year: int, last_year: int, *, today: date) -> dict[str, Any]:
    """Return the content of a calendar's file.

    Parameters
    ----------
    name : str
        As the library names it, such as ``XNYS``.
    first_year, last_year : int
        Whole years; the file ends earlier where the library knows no later holidays, and says so by ``through``.
    today : date
        That it is written on.

    Raises
    ------
    ValidationError
        1001 if the library has no such calendar, or none of those years, or its sessions are not regular hours with
        the same breaks every day.
    """
    try:
        found = _library_calendar(name, first_year, last_year)
    except (exchange_calendars.errors.CalendarError, ValueError) as error:
        remedy = "name one that the library has, and years that it knows"
        raise ValidationError(MALFORMED, f"calendar {name}: {error}", remedy) from error
    zone = str(found.tz)
    hours: dict[int, Hours] = {}
    breaks: dict[int, Hours] = {}
    for opens, closes, break_from, break_to in zip(
        found.opens, found.closes, found.break_starts, found.break_ends, strict=True
    ):
        day = _day(opens, zone)
        hours[day] = _seconds(opens, day, zone), _seconds(closes, day, zone)
        if not pd.isna(break_from):
            breaks[day] = _seconds(break_from, day, zone), _seconds(break_to, day, zone)
    # The hours of the last year are the regular ones: former hours are those of special days.
    latest = max(hours)
    regular = Counter(span for day, span in hours.items() if day > latest - 365).most_common(1)[0][0]
    breaks_seen = set(breaks.values())
    if len(breaks_seen) > 1 or any(
        day not in breaks and span[0] < end and begin < span[1]
        for day, span in hours.items()
        for begin, end in breaks_seen
    ):
        raise ValidationError(MALFORMED, f"calendar {name}: its breaks are not the same every day", "name later years")
    weekdays = sorted({(day + 3) % 7 for day in hours})
    first_day = min(hours)
    closed = [day for day in range(first_day, latest + 1) if (day + 3) % 7 in weekdays and day not in hours]
    return {
        "calendar": name,
        "source": f"exchange_calendars {version('exchange_calendars')}",
        "written": today.isoformat(),
        "timezone": zone,
        "open": _clock(regular[0]),
        "close": _clock(regular[1]),
        "breaks": [_span(span) for span in sorted(breaks_seen)],
        "days": [WEEKDAYS[day] for day in weekdays],
        "since": _date(first_day),
        "through": None if len(weekdays) == 7 and not closed else _date(latest),
        "holidays": [_date(day) for day in closed],
        "special": _special(hours, regular),
    }


def _library_calendar(name: str, first_year: int, last_year: int) -> Any:
    first, last = pd.Timestamp(first_year, 1, 1), pd.Timestamp(last_year, 12, 31)
    # The library uses what pandas will change; nothing of it reaches the times.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        known = exchange_calendars.get_calendar(name)
        return exchange_calendars.get_calendar(
            name, start=max(first, known.bound_min() or first), end=min(last, known.bound_max() or last)
        )


def _special(hours: dict[int, Hours], regular: Hours) -> list[str]:
    """Return the days with other hours; days of the same hours that follow each other are one entry."""
    found: list[list[Any]] = []
    previous: int | None = None
    for day, span in sorted(hours.items()):
        # Between two sessions lie only days without one.
        if span != regular:
            if found and found[-1][2] == span and found[-1][1] == previous:
                found[-1][1] = day
            else:
                found.append([day, day, span])
        previous = day
    return [f"{_date(a) if a == b else f'{_date(a)}..{_date(b)}'} {_span(span)}" for a, b, span in found]


def _day(at: Any, zone: str) -> int:
    return int((at.tz_convert(zone).date() - _EPOCH).days)


def _seconds(at: Any, day: int, zone: str) -> int:
    local = at.tz_convert(zone)
    seconds: int = ((local.date() - _EPOCH).days - day) * _DAY_S + local.hour * 3600 + local.minute * 60 + local.second
    return seconds


def _date(day: int) -> str:
    return (_EPOCH + timedelta(day)).isoformat()


def _clock(second: int) -> str:
    second = second if second <= _DAY_S else second - _DAY_S
    text = f"{second // 3600:02}:{second // 60 % 60:02}"
    return text if second % 60 == 0 else f"{text}:{second % 60:02}"


def _span(span: Hours) -> str:
    return f"{_clock(span[0])}-{_clock(span[1])}"
