"""Days of recorded files on which the market's calendar differs from what the file shows.

A wrong calendar is costly and silent: on a holiday that it does not know, the
service plans a whole day; past an early close that it does not know, it leaves
quantity for hours in which nobody trades.  Only hours from a calendar are
checked, since hours set by hand may omit any time on purpose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from impactd.core.base.session import DAY_NS, Session, Sessions
from impactd.core.base.settings import MINUTE_NS, CoreSettings
from impactd.core.base.topics import Side
from impactd.core.outputs.messages import Estimate, Output

#: How much earlier than the calendar's close a day's last book may be, or later than an early close its last trade.
TOLERANCE_NS: Final = 30 * MINUTE_NS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def date_text(day: int) -> str:
    """Return a day since 1970-01-01 as ``YYYY-MM-DD``."""
    return (_EPOCH + timedelta(day)).date().isoformat()


@dataclass(slots=True)
class _Day:
    books: int = 0
    last: int = 0
    last_traded: int = 0


@dataclass(slots=True)
class CalendarCheck:
    """Collects the days of each symbol whose hours are from a calendar."""

    settings: CoreSettings
    _sessions: Sessions = field(init=False)
    _days: dict[tuple[str, int], _Day] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sessions = Sessions(self.settings)

    def count(self, outputs: Iterable[Output]) -> None:
        """Take what one commit published."""
        for output in outputs:
            message = output.message
            if not isinstance(message, Estimate) or message.side is not Side.BUY or message.mid is None:
                continue
            session = self._sessions.of(message.symbol)
            if session.rule.calendar:
                day = self._days.setdefault((message.symbol, session.day_of(message.minute)), _Day())
                day.books += 1
                day.last = message.minute
                if message.volume_continuous:
                    day.last_traded = message.minute

    def warnings(self) -> Iterator[str]:
        """Yield a line for each day that differs."""
        ends = Counter[str]()
        for (symbol, day), seen in sorted(self._days.items()):
            session = self._sessions.of(symbol)
            rule, hours = session.rule, session.hours_on(day)
            if rule.through is not None and day > rule.through:
                ends[
                    f"calendar {rule.calendar} ends on {date_text(rule.through)}: of later days no holiday is known"
                ] += 1
            elif hours is None:
                yield (
                    f"{symbol} has {seen.books:,} minutes with a book on {date_text(day)}, when {rule.calendar} has no "
                    "session; nothing is planned there: check session.calendar and the file's date"
                )
            else:
                yield from _differences(symbol, day, seen, session)
        yield from ends


def _differences(symbol: str, day: int, seen: _Day, session: Session) -> Iterator[str]:
    closes = session.close_after(seen.last)
    regular = session.rule.close_s * DAY_NS // 86_400
    name, hours = session.rule.calendar, session.hours_on(day)
    if seen.last + TOLERANCE_NS < closes:
        yield (
            f"{symbol} has its last book of {date_text(day)} {(closes - seen.last) // MINUTE_NS} minutes before the "
            f"close of {name}: an early close that the calendar does not know, or a file that is cut short"
        )
    elif hours is not None and hours[1] < regular and seen.last_traded > closes + TOLERANCE_NS:
        yield (
            f"{symbol} trades on {date_text(day)} until {(seen.last_traded - closes) // MINUTE_NS} minutes after the "
            f"early close of {name}; nothing is planned there: check session.calendar"
        )
