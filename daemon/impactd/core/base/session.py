r"""Where in a trading session an instant lies.

Liquidity depends on the time since the open and to the close, in local time.
The core has no time zone database, so `impactd.core.base.settings.SessionRule`
gives hours in local seconds and the UTC offsets in force as data; a change to
summer time is one more row of it.

Rules
-----
- A session is [open, close) in local time and may pass midnight.  The gap
  until the next open belongs to the nearer end: its first half has position
  1 (just closed), its second half position 0 (about to open).
- A session belongs to the local date of its open: on that date's weekday, and
  whether it is a holiday, it depends whether there is one.
- An instant before the first offset's own time uses the first offset.
- Model age is counted in minutes of open market: a night or a weekend adds
  none, because nobody trades then.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import kernel
from impactd.core.base.settings import MINUTE_NS, SECOND_NS, SessionRule

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DAY_S: Final = 86_400
DAY_NS: Final = DAY_S * SECOND_NS

#: 1970-01-01, day 0, was a Thursday, and Monday is weekday 0.
_WEEKDAY_OF_DAY_0: Final = 3


@kernel
def since_first_open(ts: int, begins: Int, offsets: Int, open_ns: int) -> int:
    """Return local nanoseconds since the open of 1970-01-01."""
    low, high = 0, begins.shape[0]
    while high - low > 1:
        middle = (low + high) // 2
        if begins[middle] <= ts:
            low = middle
        else:
            high = middle
    return int(ts + offsets[low] - open_ns)


@kernel
def since_open(ts: int, begins: Int, offsets: Int, open_ns: int) -> int:
    """Return local nanoseconds since the last open, in [0, one day)."""
    return int(since_first_open(ts, begins, offsets, open_ns) % DAY_NS)


@kernel
def positions_at(starts: Int, shift_ns: int, begins: Int, offsets: Int, open_ns: int, length_ns: int) -> Float:
    """Return the position in the session, 0 to 1, of each start plus `shift_ns`."""
    out = np.empty(starts.shape[0])
    for i in range(starts.shape[0]):
        since = since_open(starts[i] + shift_ns, begins, offsets, open_ns)
        if since < length_ns:
            out[i] = since / length_ns
        else:
            out[i] = 1.0 if 2 * (since - length_ns) < DAY_NS - length_ns else 0.0
    return out


@kernel
def open_through(
    starts: Int, span_ns: int, begins: Int, offsets: Int, open_ns: int, length_ns: int, days: Bools, holidays: Int
) -> Bools:
    """Return where [start, start + span_ns) lies within one session; `days` by weekday, `holidays` ascending."""
    out = np.zeros(starts.shape[0], np.bool_)
    for i in range(starts.shape[0]):
        since = since_first_open(starts[i], begins, offsets, open_ns)
        day = since // DAY_NS
        if not days[(day + _WEEKDAY_OF_DAY_0) % 7] or since - day * DAY_NS + span_ns > length_ns:
            continue
        k = np.searchsorted(holidays, day)
        out[i] = k == holidays.shape[0] or holidays[k] != day
    return out


class Session:
    """Arithmetic of one `SessionRule`.

    Parameters
    ----------
    rule : SessionRule
        Hours and offsets.

    Raises
    ------
    ValueError
        If the hours are empty or longer than a day, the offsets are
        missing or not ascending, or no weekday is one.
    """

    __slots__ = ("_begins", "_days", "_holidays", "_length_ns", "_offsets", "_open_ns")

    def __init__(self, rule: SessionRule) -> None:
        length_s = rule.close_s - rule.open_s
        if not 0 < length_s <= DAY_S:
            raise ValueError(f"session.close_s: must lie within a day after open_s, not {length_s} s after it")
        if not rule.offsets:
            raise ValueError("session.offsets: needs at least one (from UTC ns, offset in seconds)")
        begins = [begin for begin, _ in rule.offsets]
        if any(later <= earlier for earlier, later in pairwise(begins)):
            raise ValueError("session.offsets: their times must ascend")
        if not rule.days or not all(0 <= day < 7 for day in rule.days):
            raise ValueError(f"session.days: needs weekdays from 0, Monday, to 6, not {rule.days}")
        self._days, self._holidays = frozenset(rule.days), frozenset(rule.holidays)
        self._open_ns = rule.open_s * SECOND_NS
        self._length_ns = length_s * SECOND_NS
        self._begins = np.array(begins, dtype=np.int64)
        self._offsets = np.array([offset * SECOND_NS for _, offset in rule.offsets], dtype=np.int64)

    @property
    def always_open(self) -> bool:
        """Whether its hours are the whole day."""
        return self._length_ns == DAY_NS

    @property
    def length_minutes(self) -> float:
        """Length of a session in minutes."""
        return self._length_ns / MINUTE_NS

    @property
    def hours_s(self) -> tuple[int, int]:
        """Local open and close, seconds after midnight of the open's date."""
        opens = self._open_ns // SECOND_NS
        return opens, opens + self._length_ns // SECOND_NS

    def since_open_ns(self, ts: int) -> int:
        """Return local nanoseconds from the last open to `ts`, in [0, one day)."""
        return int(since_open(ts, self._begins, self._offsets, self._open_ns))

    def is_open(self, ts: int) -> bool:
        """Return whether the market trades at `ts`."""
        day, since = divmod(int(since_first_open(ts, self._begins, self._offsets, self._open_ns)), DAY_NS)
        opens = (day + _WEEKDAY_OF_DAY_0) % 7 in self._days and day not in self._holidays
        return opens and since < self._length_ns

    def open_at(self, starts: Int, length_ns: int) -> Bools:
        """Return where the market trades all through [start, start + length_ns), shape (N,).

        Parameters
        ----------
        starts : ndarray of int64, shape (N,)
            UTC ns.
        length_ns : int
            Less than a day.
        """
        if self.always_open:
            return np.ones(starts.size, np.bool_)
        days = np.array([day in self._days for day in range(7)])
        holidays = np.array(sorted(self._holidays), np.int64)
        return open_through(
            starts, length_ns, self._begins, self._offsets, self._open_ns, self._length_ns, days, holidays
        )

    def steps_open(self, ts: int, steps: Sequence[int], interval_ns: int) -> tuple[int, ...]:
        """Return those of the ascending `steps` of intervals from `ts` on that its session still has."""
        left = self._length_ns - self.since_open_ns(ts)
        return tuple(step for step in steps if step * interval_ns < left)

    def holds(self, start: int, intervals: int, interval_ns: int) -> bool:
        """Return whether so many intervals from `start` (ns) on all begin within one session."""
        last = start + (intervals - 1) * interval_ns
        whole = self.always_open or self.since_open_ns(last) - self.since_open_ns(start) == last - start
        return whole and self.is_open(start) and self.is_open(last)

    def positions(self, starts_ns: Int, shift_ns: int = 0) -> Float:
        """Return positions in the session.

        Parameters
        ----------
        starts_ns : ndarray of int64, shape (N,)
            Instants, UTC.
        shift_ns : int
            Added to each: half an interval gives midpoints.

        Returns
        -------
        ndarray of float64, shape (N,)
            0 at the open, 1 at the close and in the half of the gap after it.
        """
        return positions_at(starts_ns, shift_ns, self._begins, self._offsets, self._open_ns, self._length_ns)

    def open_minutes_between(self, earlier: int, later: int) -> float:
        """Return minutes of open market from `earlier` to `later`.

        Only the two sessions that the instants lie in count: days between them
        without a closed minute are taken as days without trading.

        Parameters
        ----------
        earlier, later : int
            UTC ns, ``earlier <= later``.
        """
        if self.always_open:
            return (later - earlier) / MINUTE_NS
        first = min(self.since_open_ns(earlier), self._length_ns)
        second = min(self.since_open_ns(later), self._length_ns)
        # The same session, where no open lies between: local time since the open then runs with the clock, but for
        # a change of offset, which takes place outside of the hours of every market that closes.
        if second >= first and later - earlier < DAY_NS:
            return (second - first) / MINUTE_NS
        return (self._length_ns - first + second) / MINUTE_NS
