"""The merge rule: what has arrived for one partition and is not applied yet.

Kafka fixes no order between topics, so this module does.  The events of one
commit are merged by (key, rank, offset), where *key* is the ts_event clamped
to its topic's running maximum and *rank* is control < orders < executions <
ticks.  Within a topic the order is always that of the offsets.

Two ways of applying orders, executions and control:

- ``on_arrival``: all that has arrived goes into the next commit;
- ``in_event_time``: each waits until the partition's ticks, or an idle move,
  have passed its key.  Where commits are cut then makes no difference.

A record stamped further ahead than the allowed clock skew advances no clock:
one bad clock must not carry everybody's minutes away.

A cut never divides a record, and spans at most one interval of event time
unless a single record does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.inputs.events import Received
from impactd.core.inputs.ticks import Refused, TickBatch

RANK: Final = {topic: rank for rank, topic in enumerate(INPUT_TOPICS)}
EVENT_TOPICS: Final = (Topic.CONTROL, Topic.ORDERS, Topic.EXECUTIONS)

_Keys = npt.NDArray[np.int64]


class Pending(NamedTuple):
    """An event or refused record at its place in the merge."""

    key: int
    rank: int
    offset: int
    topic: Topic
    item: Received[Any] | Refused


class LocalControl(NamedTuple):
    """The kill switch of the process that owns the partition, turned ``halt`` or ``resume``.

    It comes through no topic, so that it works where none can be written;
    the journal keeps it as it keeps idle moves.
    """

    type: str
    reason: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one commit takes in.

    Attributes
    ----------
    ticks : TickBatch
        Rows in arrival order.
    tick_keys : ndarray of int64, shape (len(ticks),)
        ts_event clamped to the running maximum of the topic, ns.
    events : tuple of Pending
        Sorted by (key, rank, offset).
    spans : mapping of Topic to (int, int)
        Offsets [from, to) that the commit consumes, for the topics that move.
    idle_to : int or None
        Watermark that an idle partition moves to after all else, ns.
    controls : tuple of LocalControl
        Applied before all else.
    """

    ticks: TickBatch
    tick_keys: _Keys
    events: tuple[Pending, ...]
    spans: Mapping[Topic, tuple[int, int]]
    idle_to: int | None
    controls: tuple[LocalControl, ...] = ()


@dataclass(slots=True)
class _Fetch:
    """Tick rows of one fetch, from row `start` on not yet taken."""

    batch: TickBatch
    keys: _Keys
    refused: list[Pending]
    end: int
    start: int = 0


class Inbox:
    """What has arrived for one partition and is not applied yet.

    Parameters
    ----------
    positions : mapping of Topic to int
        Next offset of each input topic.
    clocks : mapping of Topic to int
        Running maximum of ts_event of each input topic, ns.
    """

    def __init__(
        self,
        settings: CoreSettings,
        positions: Mapping[Topic, int],
        clocks: Mapping[Topic, int],
    ) -> None:
        self._skew = settings.books.max_clock_skew_ns
        self._interval = settings.books.interval_ns
        self._grace = settings.books.grace_ns
        self._wait = settings.apply == "in_event_time"
        self._positions = {topic: positions.get(topic, 0) for topic in INPUT_TOPICS}
        self._clocks = {topic: clocks.get(topic, 0) for topic in INPUT_TOPICS}
        #: Key up to which ticks have been handed out: what waiting events are held against.
        self._tick_clock = self._clocks[Topic.TICKS]
        self._fetches: deque[_Fetch] = deque()
        self._events: dict[Topic, deque[Pending]] = {topic: deque() for topic in EVENT_TOPICS}
        self._ends = dict(self._positions)
        #: Tick rows that wait.
        self.rows = 0

    def put_ticks(self, batch: TickBatch, refused: Sequence[Refused], end: int) -> None:
        """Add the decoded ticks of one fetch; `end` is the offset after its last record."""
        before = self._clocks[Topic.TICKS]
        timely = np.where(batch.ts_event <= batch.ts_record + self._skew, batch.ts_event, before)
        keys = np.maximum(np.maximum.accumulate(timely), before) if len(batch) else timely
        pending = []
        for item in refused:
            row = int(np.searchsorted(batch.offset, item.offset))
            key = int(keys[row - 1]) if row else before
            pending.append(Pending(key, RANK[Topic.TICKS], item.offset, Topic.TICKS, item))
        self._fetches.append(_Fetch(batch, keys, pending, end))
        self.rows += len(batch)
        if len(batch):
            self._clocks[Topic.TICKS] = int(keys[-1])
        self._ends[Topic.TICKS] = end

    def put_events(
        self,
        topic: Topic,
        received: Sequence[Received[Any]],
        refused: Sequence[Refused],
        end: int,
    ) -> None:
        """Add the decoded events of one fetch of `topic`; `end` is the offset after it."""
        items: list[Received[Any] | Refused] = sorted([*received, *refused], key=lambda item: item.offset)
        queue = self._events[topic]
        for item in map(self._timely, items):
            if isinstance(item, Received):
                self._clocks[topic] = max(self._clocks[topic], item.event.ts_event)
            queue.append(Pending(self._clocks[topic], RANK[topic], item.offset, topic, item))
        self._ends[topic] = end

    def _timely(self, item: Received[Any] | Refused) -> Received[Any] | Refused:
        if isinstance(item, Refused):
            return item
        ahead = item.event.ts_event - item.ts_record
        if ahead <= self._skew:
            return item
        detail = (
            f"ts_event is {ahead / 1e9:.3f} s ahead of the record's timestamp, more than "
            f"books.max_clock_skew_s allows; check the sender's clock"
        )
        return Refused(item.offset, "future", detail, item.raw, item.key, "json", item.ts_record)

    def urgent(self) -> bool:
        """Return whether something waits that should not wait for the next regular commit.

        An event that may apply, or a tick that may close a minute: from a minute's end until all ticks within `grace`
        of it are handed out, each symbol's next tick closes that symbol's minute.
        """
        if any(self._eligible(topic, self._horizon()) for topic in EVENT_TOPICS):
            return True
        interval = self._interval
        return self.rows > 0 and self._clocks[Topic.TICKS] // interval > (self._tick_clock - self._grace) // interval

    def take(
        self, *, idle_to: int | None = None, max_rows: int = 50_000, controls: Sequence[LocalControl] = ()
    ) -> Inputs | None:
        """Return what the next commit takes in, or None when there is nothing.

        Parameters
        ----------
        idle_to : int, optional
            Watermark of an idle move, ns; only sensible when all ticks were taken.
        max_rows : int
            Tick rows at most, unless one record has more.
        controls : sequence of LocalControl, optional
            Taken in whatever else there is.
        """
        tick_to, more = self._tick_cut(max_rows)
        horizon = self._horizon_at(tick_to)
        if idle_to is not None and not more:
            horizon = max(horizon, idle_to)
        to = {Topic.TICKS: tick_to}
        for topic in EVENT_TOPICS:
            queue = self._events[topic]
            waiting = next((p for p in queue if self._wait and p.key > horizon), None)
            to[topic] = self._ends[topic] if waiting is None else waiting.offset
        moves = any(to[topic] > self._positions[topic] for topic in INPUT_TOPICS)
        idle = None if more else idle_to
        if not moves and idle is None and not controls:
            return None
        return self.take_exact(to, idle, controls)

    def take_exact(self, to: Mapping[Topic, int], idle_to: int | None, controls: Sequence[LocalControl] = ()) -> Inputs:
        """Return all that stands before the offsets `to`, as a journal record has them."""
        pending: list[Pending] = []
        batch, keys = self._pop_ticks(to.get(Topic.TICKS, self._positions[Topic.TICKS]), pending)
        for topic in EVENT_TOPICS:
            queue = self._events[topic]
            while queue and queue[0].offset < to.get(topic, 0):
                pending.append(queue.popleft())
        pending.sort(key=lambda p: p[:3])
        spans = {}
        for topic in INPUT_TOPICS:
            upto = to.get(topic, self._positions[topic])
            if upto > self._positions[topic]:
                spans[topic] = (self._positions[topic], upto)
                self._positions[topic] = upto
        if len(keys):
            self._tick_clock = max(self._tick_clock, int(keys[-1]))
        if idle_to is not None:
            self._tick_clock = max(self._tick_clock, idle_to)
        return Inputs(batch, keys, tuple(pending), spans, idle_to, tuple(controls))

    def _horizon(self) -> int:
        return max(self._tick_clock, self._clocks[Topic.TICKS])

    def _eligible(self, topic: Topic, horizon: int) -> bool:
        queue = self._events[topic]
        return bool(queue) and (not self._wait or queue[0].key <= horizon)

    def _horizon_at(self, tick_to: int) -> int:
        """Return the tick key that will have been handed out once `tick_to` is reached."""
        horizon = self._tick_clock
        for fetch in self._fetches:
            stop = int(np.searchsorted(fetch.batch.offset, tick_to))
            if stop > fetch.start:
                horizon = max(horizon, int(fetch.keys[stop - 1]))
            if fetch.end > tick_to:
                break
        return horizon

    def _tick_cut(self, max_rows: int) -> tuple[int, bool]:
        """Return the offset to cut the ticks at, and whether rows stay behind."""
        first: int | None = None
        room = max_rows
        for fetch in self._fetches:
            n = len(fetch.batch) - fetch.start
            if n == 0:
                continue
            if first is None:
                first = int(fetch.keys[fetch.start])
            in_span = int(np.searchsorted(fetch.keys, first + self._interval, "right"))
            stop = min(in_span, fetch.start + room)
            if stop < len(fetch.batch):
                cut = int(fetch.batch.offset[stop])
                if cut == int(fetch.batch.offset[fetch.start]) and room == max_rows:
                    # The first record alone is over the limit: it goes whole.
                    cut += 1
                return cut, True
            room -= n
        return self._ends[Topic.TICKS], False

    def _pop_ticks(self, to: int, pending: list[Pending]) -> tuple[TickBatch, _Keys]:
        batches: list[TickBatch] = []
        keys: list[_Keys] = []
        while self._fetches:
            fetch = self._fetches[0]
            stop = int(np.searchsorted(fetch.batch.offset, to))
            if stop > fetch.start:
                batches.append(fetch.batch.take(slice(fetch.start, stop)))
                keys.append(fetch.keys[fetch.start : stop])
                self.rows -= stop - fetch.start
                fetch.start = stop
            pending += [p for p in fetch.refused if p.offset < to]
            fetch.refused = [p for p in fetch.refused if p.offset >= to]
            if fetch.end > to:
                break
            self._fetches.popleft()
        return TickBatch.concat(batches), np.concatenate(keys) if keys else np.zeros(0, np.int64)
