"""Trading hours: a time zone's name becomes plain UTC offsets.

The core needs no time zone database: it is told the offsets in force from
1990 to 2050.  They are found here by sampling the zone weekly (no zone has
kept an offset for less than that) and bisecting each change to its second.

Offsets are part of the settings that the state is made with, so a release of
the time zone database that changes *this* zone counts as changed settings.

Text that cannot be read is a ValueError that names it and what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise
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
#: First and last local day since 1970-01-01, open and close in local seconds.
SpecialDays = tuple[int, int, int, int]
_CLOCK: Final = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?")


def parse_clock(text: str) -> int:
    """Return seconds after midnight of ``HH:MM`` or ``HH:MM:SS``; ``24:00`` is the day's end."""
    match = _CLOCK.fullmatch(text)
    seconds = (
        sum(int(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else -1
    )
    if not 0 <= seconds <= _DAY_S:
        raise ValueError(f"needs a local time such as '09:30', not {text!r}")
    return seconds


def parse_date(text: str) -> int:
    """Return days since 1970-01-01 of ``YYYY-MM-DD``."""
    try:
        return (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        raise ValueError(f"needs a local date such as '2026-12-25', not {text!r}") from None


def zone(name: str) -> ZoneInfo:
    """Return the time zone called `name`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"needs a zone of the IANA database such as 'America/New_York', not {name!r}") from error


def _offset_s(at: datetime, where: tzinfo) -> int:
    offset = at.astimezone(where).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


@lru_cache(maxsize=8)
def utc_offsets(name: str) -> tuple[tuple[int, int], ...]:
    """Return (from UTC ns, offset in seconds) of a zone, ascending, 1990 to 2050."""
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


def as_clock(second: int) -> str:
    """Return the local time of day, ``HH:MM:SS``, of seconds after midnight, perhaps of the next day."""
    return f"{second // 3_600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}"


def parse_span(text: str) -> tuple[int, int]:
    """Return local seconds after midnight of ``OPEN-CLOSE``; a close at or before the open is on the next day."""
    opens, dash, closes = text.partition("-")
    if not dash:
        raise ValueError(f"needs two local times such as '09:30-13:00', not {text!r}")
    open_s, close_s = parse_clock(opens), parse_clock(closes)
    return open_s, close_s if close_s > open_s else close_s + _DAY_S


def parse_days(text: str) -> tuple[int, int]:
    """Return first and last day since 1970-01-01 of ``YYYY-MM-DD`` or ``YYYY-MM-DD..YYYY-MM-DD``."""
    first, _, last = text.partition("..")
    days = parse_date(first), parse_date(last or first)
    if days[1] < days[0]:
        raise ValueError(f"needs its first day before its last, not {text!r}")
    return days


def parse_special(text: str) -> SpecialDays:
    """Return days with other hours: ``DAYS HOURS``, as `parse_days` and `parse_span` read them."""
    days, space, hours = text.partition(" ")
    if not space:
        raise ValueError(f"needs a day and its hours such as '2025-11-28 09:30-13:00', not {text!r}")
    return *parse_days(days), *parse_span(hours)


def special_days(special: Sequence[str], under: Sequence[SpecialDays] = ()) -> tuple[SpecialDays, ...]:
    """Return days with other hours, ascending; those of `under` make way for them.

    Parameters
    ----------
    special : sequence of str
        As `parse_special` reads them.
    under : sequence, optional
        Other special days, ascending.

    Raises
    ------
    ValueError
        If a day or its hours are none, or days overlap.
    """
    found = sorted(map(parse_special, special))
    for earlier, later in pairwise(found):
        if later[0] <= earlier[1]:
            raise ValueError(f"two entries have the date {_EPOCH + timedelta(later[0])}: keep one")
    for first, last, _, _ in found:
        left = [(a, min(b, first - 1), *hours) for a, b, *hours in under if a < first]
        under = [*left, *((max(a, last + 1), b, *hours) for a, b, *hours in under if b > last)]  # type: ignore[list-item]  # mypy widens a tuple that is unpacked
    return tuple(sorted([*found, *under]))


def session_rule(
    timezone: str,
    opens: str,
    closes: str,
    days: Sequence[str] = WEEKDAYS,
    holidays: Sequence[str] = (),
    breaks: Sequence[str] = (),
    special: Sequence[str] = (),
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
    breaks : sequence of str, optional
        Of every session, ``HH:MM-HH:MM``.
    special : sequence of str, optional
        Days with other hours; see `parse_special`.

    Raises
    ------
    ValueError
        If the zone is unknown, or a time, day or date is none.
    """
    open_s, close_s = parse_span(f"{opens}-{closes}")
    return SessionRule(
        open_s,
        close_s,
        utc_offsets(timezone),
        tuple(sorted({WEEKDAYS.index(day) for day in days})),
        tuple(sorted({parse_date(day) for day in holidays})),
        tuple(sorted(parse_span(span) for span in breaks)),
        special_days(special),
    )
