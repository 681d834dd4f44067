r"""Position of an instant in a trading session.

Liquidity depends on the time since the open and to the close, in local time.
The core has no time zone database and no calendar, so
`impactd.core.base.settings.SessionRule` gives hours in local seconds, the UTC
offsets in force, holidays and days with other hours as data; a change to
summer time is one more row of it.

Rules
-----
- A session is [open, close) in local time, less its breaks, and may pass
  midnight.  It belongs to the local date of its open: that date decides its
  hours, and whether there is a session at all.
- A *position* is 0 at the open and 1 at the close, in open time: a break adds
  nothing.  A session shorter than the regular one leaves out the middle, since
  the open and the close are what liquidity follows; a longer one repeats it.
- The gap until the next open belongs to the nearer end: its first half has
  position 1 (just closed), its second half position 0 (about to open).
- An instant before the first offset's own time uses the first offset.
- Model age is counted in minutes of open market: a break, a night or a weekend
  adds none, because nobody trades then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import kernel
from impactd.core.base.settings import MINUTE_NS, SECOND_NS, CoreSettings, SessionRule

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Answers = TypeVar("Answers", bound=npt.NDArray[Any])

DAY_NS: Final = 86_400 * SECOND_NS

#: 1970-01-01, day 0, was a Thursday, and Monday is weekday 0.
_WEEKDAY_OF_DAY_0: Final = 3

#: Instants of which the answers are kept: every symbol whose minute closes asks for the same few.
_KEPT: Final = 64
#: So many instants are kept as one.
_MANY: Final = 16


class Table(NamedTuple):
    """A `SessionRule` as arrays, for the kernels; times of day in ns."""

    begins: Int
    offsets: Int
    open_ns: int
    close_ns: int
    days: Bools
    holidays: Int
    #: Breaks, shape (B,).
    break_from: Int
    break_to: Int
    #: Days with other hours, shape (S,): first and last day, open and close.
    first: Int
    last: Int
    opens: Int
    closes: Int
    #: Open time of a regular session.
    length_ns: int


@kernel
def hours_on(table: Table, day: int) -> tuple[int, int]:
    """Return open and close of the session of a local day, ns after its midnight, whether or not it opens."""
    k = np.searchsorted(table.last, day)
    if k < table.last.shape[0] and table.first[k] <= day:
        return int(table.opens[k]), int(table.closes[k])
    return table.open_ns, table.close_ns


@kernel
def opens_on(table: Table, day: int) -> bool:
    """Return whether there is a session on a local day."""
    if not table.days[(day + _WEEKDAY_OF_DAY_0) % 7]:
        return False
    k = np.searchsorted(table.holidays, day)
    return bool(k == table.holidays.shape[0] or table.holidays[k] != day)


@kernel
def _offset_at(table: Table, ts: int) -> int:
    """Return the number of the offset in force at `ts`."""
    low, high = 0, table.begins.shape[0]
    while high - low > 1:
        middle = (low + high) // 2
        if table.begins[middle] <= ts:
            low = middle
        else:
            high = middle
    return low


@kernel
def locate(table: Table, ts: int) -> tuple[int, int, int, int]:
    """Return the local day of the last open before or at `ts`, ns since then, and that session's open and close."""
    local = int(ts + table.offsets[_offset_at(table, ts)])
    day = local // DAY_NS
    opens, closes = hours_on(table, day)
    if local - day * DAY_NS < opens:
        day -= 1
        opens, closes = hours_on(table, day)
    return day, local - day * DAY_NS - opens, opens, closes


@kernel
def open_time(table: Table, opens: int, since: int) -> int:
    """Return how much of the first `since` ns after a session's open (ns after midnight) lies outside of breaks."""
    left = since
    for k in range(table.break_from.shape[0]):
        begin, end = max(table.break_from[k], opens), min(table.break_to[k], opens + since)
        if end > begin:
            left -= end - begin
    return int(left)


@kernel
def _locate_all(table: Table, ts: int) -> tuple[int, int, int, int, int, int]:
    """Return day, opening instant, open and close as `locate` finds them, and from when until when (ns) it does.

    Instants of one session follow each other: what it takes to find it is done once for all of them.
    """
    day, since, opens, closes = locate(table, ts)
    opened, k = ts - since, _offset_at(table, ts)
    begin, until = opened, opened + DAY_NS + hours_on(table, day + 1)[0] - opens
    if k > 0:
        begin = max(begin, int(table.begins[k]))
    if k + 1 < table.begins.shape[0]:
        until = min(until, int(table.begins[k + 1]))
    return day, opened, opens, closes, begin, until


@kernel
def position_in(table: Table, since: int, opens: int, length: int, span: int) -> float:
    """Return the position `since` ns after the open of a session with `length` ns of open time, `span` in all."""
    if since >= span:
        return 1.0 if 2 * (since - span) < DAY_NS - span else 0.0
    seen = open_time(table, opens, since)
    early, late = seen / table.length_ns, 1.0 - (length - seen) / table.length_ns
    if length == table.length_ns:
        return early
    if length < table.length_ns:
        return early if 2 * seen < length else late
    return early if early < 0.5 else max(late, 0.5)


@kernel
def position_at(table: Table, ts: int) -> float:
    """Return the position in the session, 0 to 1, of an instant."""
    _, since, opens, closes = locate(table, ts)
    return position_in(table, since, opens, open_time(table, opens, closes - opens), closes - opens)


@kernel
def positions_at(table: Table, starts: Int, shift_ns: int) -> Float:
    """Return the position in the session, 0 to 1, of each start plus `shift_ns`."""
    out = np.empty(starts.shape[0])
    opened, opens, closes, begin, until, length = 0, 0, 0, 0, 0, 0
    for i in range(starts.shape[0]):
        at = starts[i] + shift_ns
        if not begin <= at < until:
            _, opened, opens, closes, begin, until = _locate_all(table, at)
            length = open_time(table, opens, closes - opens)
        out[i] = position_in(table, at - opened, opens, length, closes - opens)
    return out


@kernel
def open_through(table: Table, starts: Int, span_ns: int) -> Bools:
    """Return where [start, start + span_ns) lies within one session and no break."""
    out = np.zeros(starts.shape[0], np.bool_)
    opened, opens, closes, begin, until, trades = 0, 0, 0, 0, 0, False
    for i in range(starts.shape[0]):
        if not begin <= starts[i] < until:
            day, opened, opens, closes, begin, until = _locate_all(table, starts[i])
            trades = opens_on(table, day)
        since = starts[i] - opened
        if since + span_ns > closes - opens or not trades:
            continue
        out[i] = True
        for k in range(table.break_from.shape[0]):
            if table.break_from[k] < opens + since + span_ns and opens + since < table.break_to[k]:
                out[i] = False
    return out


class _OfMany(Generic[Answers]):
    """A kernel's answers for many instants; those for the last ones are kept.

    The plans of a minute begin with the same intervals and differ in how many there are: one's are the first of
    another's.  The records of its models are for the same few intervals.
    """

    __slots__ = ("_answers", "_few", "_instants", "_kernel", "_shift", "_table")

    def __init__(self, kernel: Callable[[Table, Int, int], Answers], table: Table) -> None:
        self._kernel, self._table = kernel, table
        self._shift, self._instants, self._answers = 0, b"", kernel(table, np.empty(0, np.int64), 0)
        self._few: Callable[[bytes, int], Answers] = lru_cache(_KEPT)(
            # A copy, as to a kernel arrays that cannot be written to are of another type.
            lambda asked, shift: kernel(table, np.frombuffer(asked, np.int64).copy(), shift)
        )

    def __call__(self, instants: Int, shift: int) -> Answers:
        """Return the answers, which are not to be changed, shape (N,)."""
        asked = instants.tobytes()
        if instants.size < _MANY:
            return self._few(asked, shift)
        if shift != self._shift or not self._instants.startswith(asked):
            self._answers = self._kernel(self._table, instants, shift)
            self._shift, self._instants = shift, asked
        return cast(Answers, self._answers[: instants.size])


class Session:
    """Arithmetic of one `SessionRule`.

    Raises
    ------
    ValueError
        If the hours cannot be used; see `SessionRule.check`.
    """

    __slots__ = (
        "_elapsed",
        "_is_open",
        "_locate",
        "_open_through",
        "_position",
        "_positions",
        "_table",
        "always_open",
        "rule",
    )

    def __init__(self, rule: SessionRule) -> None:
        rule.check()
        self.rule = rule
        columns = np.array(rule.special, np.int64).reshape(-1, 4)
        breaks = np.array(rule.breaks, np.int64).reshape(-1, 2) * SECOND_NS
        table = Table(
            begins=np.array([begin for begin, _ in rule.offsets], np.int64),
            offsets=np.array([offset * SECOND_NS for _, offset in rule.offsets], np.int64),
            open_ns=rule.open_s * SECOND_NS,
            close_ns=rule.close_s * SECOND_NS,
            days=np.array([day in rule.days for day in range(7)]),
            holidays=np.array(sorted(rule.holidays), np.int64),
            break_from=breaks[:, 0].copy(),
            break_to=breaks[:, 1].copy(),
            first=columns[:, 0].copy(),
            last=columns[:, 1].copy(),
            opens=columns[:, 2] * SECOND_NS,
            closes=columns[:, 3] * SECOND_NS,
            length_ns=0,
        )
        table = table._replace(length_ns=open_time(table, table.open_ns, table.close_ns - table.open_ns))
        self._table = table
        self._locate: Callable[[int], tuple[int, int, int, int]] = lru_cache(_KEPT)(lambda ts: locate(table, ts))
        self._position: Callable[[int], float] = lru_cache(_KEPT)(lambda ts: float(position_at(table, ts)))
        self._is_open: Callable[[int], bool] = lru_cache(_KEPT)(
            lambda ts: bool(open_through(table, np.array([ts], np.int64), 1)[0])
        )
        self._elapsed: Callable[[int], int] = lru_cache(_KEPT)(self._elapsed_at)
        self._positions = _OfMany(positions_at, table)
        self._open_through = _OfMany(open_through, table)
        #: Whether it never closes.
        self.always_open = (
            table.length_ns == DAY_NS and len(set(rule.days)) == 7 and not rule.holidays and not rule.special
        )

    @property
    def length_minutes(self) -> float:
        """Open time of a regular session in minutes."""
        return self._table.length_ns / MINUTE_NS

    @property
    def hours_s(self) -> tuple[int, int]:
        """Regular local open and close, seconds after midnight of the open's date."""
        return self.rule.open_s, self.rule.close_s

    def hours_on(self, day: int) -> tuple[int, int] | None:
        """Return local open and close of a day since 1970-01-01, ns after midnight; None where it does not open."""
        if not opens_on(self._table, day):
            return None
        opens, closes = hours_on(self._table, day)
        return opens, closes

    def segments_on(self, day: int) -> tuple[tuple[int, int], ...]:
        """Return [from, to) of a local day's trading, UTC ns, split by its breaks; empty where it does not open."""
        hours = self.hours_on(day)
        if hours is None:
            return ()
        begin, close = hours
        edges = []
        for break_from, break_to in self.rule.breaks:
            if break_to * SECOND_NS > begin and break_from * SECOND_NS < close:
                edges.append((begin, break_from * SECOND_NS))
                begin = break_to * SECOND_NS
        edges.append((begin, close))
        utc = [(self.utc_of(day * DAY_NS + a), self.utc_of(day * DAY_NS + b)) for a, b in edges if a < b]
        return tuple(utc)

    def utc_of(self, local_ns: int) -> int:
        """Return the UTC ns of local ns since 1970-01-01; of a time that a change of offset leaves out, a later one."""
        table = self._table
        ts = local_ns - int(table.offsets[max(int(np.searchsorted(table.begins, local_ns, "right")) - 1, 0)])
        return local_ns - int(table.offsets[max(int(np.searchsorted(table.begins, ts, "right")) - 1, 0)])

    def local_ns(self, ts: Int) -> Int:
        """Return local ns since 1970-01-01 of instants (UTC ns), shape (N,)."""
        table = self._table
        return np.asarray(ts + table.offsets[np.maximum(np.searchsorted(table.begins, ts, "right") - 1, 0)], np.int64)

    def day_of(self, ts: int) -> int:
        """Return the local day, since 1970-01-01, of the last open before or at `ts` (UTC ns)."""
        return int(self._locate(ts)[0])

    def since_open_ns(self, ts: int) -> int:
        """Return local nanoseconds from the last open to `ts`, breaks included; a day without a session has one too."""
        return int(self._locate(ts)[1])

    def since_resumed_ns(self, ts: int) -> int:
        """Return nanoseconds from the last open, or the end of the last break after it, to `ts`."""
        _, since, opens, _ = self._locate(ts)
        ends = (end * SECOND_NS - opens for _, end in self.rule.breaks)
        return since - max((end for end in ends if 0 <= end <= since), default=0)

    def close_after(self, ts: int) -> int:
        """Return the close (UTC ns) of the session whose open is the last before or at `ts`."""
        _, since, opens, closes = self._locate(ts)
        return ts - since + closes - opens

    def is_open(self, ts: int) -> bool:
        """Return whether the market trades at `ts`."""
        return self.always_open or self._is_open(ts)

    def open_at(self, starts: Int, length_ns: int) -> Bools:
        """Return where the market trades all through [start, start + length_ns), shape (N,); not to be changed.

        Parameters
        ----------
        starts : ndarray of int64, shape (N,)
            UTC ns.
        length_ns : int
            Less than a day.
        """
        if self.always_open:
            return np.ones(starts.size, np.bool_)
        return self._open_through(starts, length_ns)

    def steps_open(self, ts: int, steps: Sequence[int], interval_ns: int) -> tuple[int, ...]:
        """Return those of the ascending `steps` of intervals from `ts` on that are open in its session."""
        _, since, opens, closes = self._locate(ts)
        left = closes - opens - since
        inside = tuple(step for step in steps if step * interval_ns < left)
        if not self.rule.breaks:
            return inside
        return tuple(step for step in inside if self.is_open(ts + step * interval_ns))

    def holds(self, start: int, intervals: int, interval_ns: int) -> bool:
        """Return whether this many intervals from `start` (ns) on all begin within one session, without a break."""
        last = start + (intervals - 1) * interval_ns
        if self.always_open:
            return True
        whole = self.since_open_ns(last) - self.since_open_ns(start) == last - start
        if not (whole and self.is_open(start) and self.is_open(last)):
            return False
        return not self.rule.breaks or self._elapsed(last) - self._elapsed(start) == last - start

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
            0 at the open, 1 at the close and in the half of the gap after it; not to be changed.
        """
        return self._positions(starts_ns, shift_ns)

    def position(self, ts: int) -> float:
        """Return the position in the session of one instant, UTC ns."""
        return self._position(ts)

    def elapsed_minutes(self, ts: int) -> float:
        """Return minutes of open market from the last open to `ts`, at most the whole session."""
        return self._elapsed(ts) / MINUTE_NS

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
        first, second = self._elapsed(earlier), self._elapsed(later)
        # The same session, where no open lies between: local time since the open then runs with the clock, except for
        # a change of offset, which takes place outside of the hours of every market that closes.
        if second >= first and later - earlier < DAY_NS:
            return (second - first) / MINUTE_NS
        _, _, opens, closes = self._locate(earlier)
        return (open_time(self._table, opens, closes - opens) - first + second) / MINUTE_NS

    def _elapsed_at(self, ts: int) -> int:
        _, since, opens, closes = self._locate(ts)
        return int(open_time(self._table, opens, min(since, closes - opens)))


class Sessions:
    """The session of each symbol.

    Parameters
    ----------
    settings : CoreSettings
        `session` is the default; the first pattern of `sessions` that fits a symbol decides.
    """

    def __init__(self, settings: CoreSettings) -> None:
        self.default = Session(settings.session)
        self._patterns = [(pattern, Session(rule)) for pattern, rule in settings.sessions]

    def of(self, symbol: str) -> Session:
        """Return the session of a symbol; symbols of one rule share it."""
        for pattern, session in self._patterns:
            if fnmatchcase(symbol, pattern):
                return session
        return self.default

    def all(self) -> tuple[Session, ...]:
        """Return every session, the default first."""
        return self.default, *(session for _, session in self._patterns)
