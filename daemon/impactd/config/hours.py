"""Trading hours: a time zone's name becomes plain UTC offsets.

The core needs no time zone database: it is told the offsets in force from
1990 to 2050.  They are found here by sampling the zone weekly (no zone has
kept an offset for less than that) and bisecting each change to its second.

Offsets are part of the settings that the state is made with, so a release of
the time zone database that changes *this* zone counts as changed settings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from impactd.core.base.settings import SECOND_NS, SessionRule

FROM: Final = datetime(1990, 1, 1, tzinfo=UTC)
TO: Final = datetime(2051, 1, 1, tzinfo=UTC)
_WEEK: Final = timedelta(days=7)
_SECOND: Final = timedelta(seconds=1)
_DAY_S: Final = 86_400
_EPOCH: Final = date(1970, 1, 1)
#: Weekdays as settings name them, Monday first as the core counts them.
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK: Final = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?")


def parse_clock(text: str) -> int:
    """Return seconds after midnight of ``HH:MM`` or ``HH:MM:SS``; ``24:00`` is the day's end.

    Raises
    ------
    ValueError
        If `text` is not a time of day.
    """
    match = _CLOCK.fullmatch(text)
    seconds = (
        sum(int(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else -1
    )
    if not 0 <= seconds <= _DAY_S:
        raise ValueError(f"needs a local time such as '09:30', not {text!r}")
    return seconds


def parse_date(text: str) -> int:
    """Return days since 1970-01-01 of ``YYYY-MM-DD``.

    Raises
    ------
    ValueError
        If `text` is no date.
    """
    try:
        return (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        raise ValueError(f"needs a local date such as '2026-12-25', not {text!r}") from None


def zone(name: str) -> ZoneInfo:
    """Return the time zone called `name`.

    Raises
    ------
    ValueError
        If the database has no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"needs a zone of the IANA database such as 'America/New_York', not {name!r}") from error


def _offset_s(at: datetime, where: tzinfo) -> int:
    offset = at.astimezone(where).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


@lru_cache(maxsize=8)
def utc_offsets(name: str) -> tuple[tuple[int, int], ...]:
    """Return (from UTC ns, offset in seconds) of a zone, ascending, 1990 to 2050.

    Raises
    ------
    ValueError
        If the database has no such zone.
    """
    where = zone(name)
    current = _offset_s(FROM, where)
    offsets = [(0, current)]
    at = FROM
    while at < TO:
        after = at + _WEEK
        new = _offset_s(after, where)
        if new != current:
            low, high = at, after
            while high - low > _SECOND:
                middle = low + (high - low) // (2 * _SECOND) * _SECOND
                low, high = (middle, high) if _offset_s(middle, where) == current else (low, middle)
            offsets.append((round(high.timestamp()) * SECOND_NS, new))
            current = new
        at = after
    return tuple(offsets)


def session_rule(
    timezone: str, opens: str, closes: str, days: Sequence[str] = WEEKDAYS, holidays: Sequence[str] = ()
) -> SessionRule:
    """Return trading hours as data.

    Parameters
    ----------
    timezone : str
        Name in the IANA database.
    opens, closes : str
        Local ``HH:MM[:SS]``; a close at or before the open is on the next
        day, so that equal times are a market that never closes.
    days : sequence of str, optional
        Of `WEEKDAYS`, those on which it opens.
    holidays : sequence of str, optional
        Local dates, ``YYYY-MM-DD``, on which it does not.

    Raises
    ------
    ValueError
        If the zone is unknown, or a time, day or date is none.
    """
    open_s, close_s = parse_clock(opens), parse_clock(closes)
    if close_s <= open_s:
        close_s += _DAY_S
    return SessionRule(
        open_s,
        close_s,
        utc_offsets(timezone),
        tuple(sorted({WEEKDAYS.index(day) for day in days})),
        tuple(sorted({parse_date(day) for day in holidays})),
    )
