"""The merge rule: inputs of one partition that have arrived and are not applied yet.

Kafka defines no order between topics, so this module does.  The events of one
commit are merged by (key, rank, offset), where *key* is the ts_event clamped
to its topic's running maximum and *rank* is control < instruments < status <
orders < executions < ticks.  Within a topic the order is always that of the offsets.

Two ways of applying all inputs but ticks:

- ``on_arrival``: everything that has arrived goes into the next commit;
- ``in_event_time``: each waits until the partition's ticks, or an idle move,
  have reached its key.  The result does not depend on where commits are cut: a
  commit always takes the head of the merged sequence.

In event time a tick also waits for events: it is handed out only when every
event that was published before it has arrived.  Until an event topic is read
as far as it reached when the tick arrived, ticks stop short of the topic's
clock.

A tick counts no later than its record (`impactd.core.inputs.ticks.by_record_time`), and a record stamped further
ahead than the allowed clock skew advances no clock: one bad clock must not close the minutes of other symbols.

A cut never divides a record, and spans at most one interval of event time
unless a single record does.  It is bounded in records and bytes of each
input: rows, refusals and events alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.inputs.anchors import Anchor, Trail
from impactd.core.inputs.columns import SourceRecord
from impactd.core.inputs.events import Received
from impactd.core.inputs.ticks import Refused, TickBatch, by_record_time

RANK: Final = {topic: rank for rank, topic in enumerate(INPUT_TOPICS)}
EVENT_TOPICS: Final[tuple[Topic, ...]] = tuple(topic for topic in INPUT_TOPICS if topic is not Topic.TICKS)

#: Later than any event time, ns.
_FOR_EVER: Final = 2**63 - 1

_NO_ENDS: Final[Mapping[Topic, int]] = {}

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
    """What one commit takes in."""

    #: Rows in arrival order.
    ticks: TickBatch
    #: Shape (len(ticks). ts_event clamped to the running maximum of the topic, ns.
    tick_keys: _Keys
    #: Sorted by (key, rank, offset).
    events: tuple[Pending, ...]
    #: Offsets [from, to) that the commit consumes, for the topics that move.
    spans: Mapping[Topic, tuple[int, int]]
    #: Watermark that an idle partition moves to after all else, ns.
    idle_to: int | None
    #: Applied before all else.
    controls: tuple[LocalControl, ...] = ()
    #: Last record of each input that the commit consumes, where records were given.
    anchors: Mapping[Topic, Anchor] = field(default_factory=dict)
    #: Changed keys of the books that changes build, as of the end of its ticks; None for a deleted one.
    built: Mapping[str, bytes | None] = field(default_factory=dict)
    #: First tick offset behind records that are gone; the span of ticks begins with the gap.
    skipped_to: int | None = None


@dataclass(slots=True)
class _Fetch:
    """What is left of the ticks of one fetch."""

    #: Rows, of which those before `start` are taken.
    batch: TickBatch
    keys: _Keys
    #: What is refused, and events among the ticks.
    refused: list[Pending]
    #: Of rows and refused records together, in the order of their offsets.
    offsets: _Keys
    item_keys: _Keys
    end: int
    #: Offsets up to which event topics must be read before any of it may be handed out.
    needs: Mapping[Topic, int]
    start: int = 0


class _Cut(NamedTuple):
    """Where the ticks of a commit end."""

    to: int
    #: Key that ticks will have reached, ns.
    handed: int
    #: Key of what stays behind, ns; None where nothing does.
    following: int | None
    #: Of its fetch.
    needs: Mapping[Topic, int]


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
        self._trails = {topic: Trail() for topic in INPUT_TOPICS}
        #: Tick rows that wait.
        self.rows = 0
        #: Whether the last commit left something behind that could be taken in at once.
        self.behind = False

    def waiting(self, topic: Topic) -> tuple[int, int]:
        """Return how many records of an input wait, and their bytes."""
        return self._trails[topic].records, self._trails[topic].bytes

    def put_ticks(
        self,
        batch: TickBatch,
        refused: Sequence[Refused],
        end: int,
        records: Sequence[SourceRecord] = (),
        needs: Mapping[Topic, int] = _NO_ENDS,
        events: Sequence[Received[Any]] = (),
    ) -> None:
        """Add the decoded ticks of one fetch.

        Parameters
        ----------
        end : int
            Offset after its last record.
        records : sequence of SourceRecord, optional
            What was fetched, for bounds and anchors.
        needs : mapping of Topic to int, optional
            Where the event topics ended when the ticks arrived; only looked at in event time.
        events : sequence of Received, optional
            Definitions and trading statuses among the ticks: each applies after the rows before its record.
        """
        batch = by_record_time(batch, self._skew)
        before = self._clocks[Topic.TICKS]
        timely = np.where(batch.ts_event <= batch.ts_record + self._skew, batch.ts_event, before)
        keys = np.maximum(np.maximum.accumulate(timely), before) if len(batch) else timely
        pending = []
        for item in sorted([*refused, *map(self._timely, events)], key=lambda found: found.offset):
            row = int(np.searchsorted(batch.offset, item.offset))
            key = int(keys[row - 1]) if row else before
            pending.append(Pending(key, RANK[Topic.TICKS], item.offset, Topic.TICKS, item))
        offsets, item_keys = batch.offset, keys
        if pending:
            # What is refused has the key of the row before its offset: it comes first, so that keys ascend.
            offsets = np.concatenate([np.array([p.offset for p in pending], np.int64), offsets])
            order = np.argsort(offsets, kind="stable")
            offsets = offsets[order]
            item_keys = np.concatenate([np.array([p.key for p in pending], np.int64), keys])[order]
        needs = needs if self._wait else _NO_ENDS
        self._fetches.append(_Fetch(batch, keys, pending, offsets, item_keys, end, needs))
        self._trails[Topic.TICKS].add(records)
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
        records: Sequence[SourceRecord] = (),
    ) -> None:
        """Add the decoded events of one fetch of `topic`; see `put_ticks`."""
        items: list[Received[Any] | Refused] = sorted([*received, *refused], key=lambda item: item.offset)
        queue = self._events[topic]
        for item in map(self._timely, items):
            if isinstance(item, Received):
                self._clocks[topic] = max(self._clocks[topic], item.event.ts_event)
            queue.append(Pending(self._clocks[topic], RANK[topic], item.offset, topic, item))
        self._trails[topic].add(records)
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
        symbol, cl_ord_id = getattr(item.event, "symbol", None), getattr(item.event, "cl_ord_id", None)
        return Refused(item.offset, "future", detail, item.raw, item.key, item.codec, item.ts_record, symbol, cl_ord_id)

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
        self,
        *,
        idle_to: int | None = None,
        needs: Mapping[Topic, int] = _NO_ENDS,
        max_rows: int = 50_000,
        max_records: int = 50_000,
        max_bytes: int = 64_000_000,
        controls: Sequence[LocalControl] = (),
    ) -> Inputs | None:
        """Return what the next commit takes in, or None when there is nothing.

        Parameters
        ----------
        idle_to : int, optional
            Watermark of an idle move, ns; only sensible when all ticks were taken.
        needs : mapping of Topic to int, optional
            Where the event topics ended when the idle move was decided.
        max_rows : int
            Tick rows and refused ticks at most, unless one record has more rows.
        max_records, max_bytes : int
            Records of each input, and bytes of their keys and values; one record may be larger.
        controls : sequence of LocalControl, optional
            Taken in whatever else there is.
        """
        bounds = {topic: trail.bound(max_records, max_bytes) for topic, trail in self._trails.items()}
        cut = self._tick_cut(max_rows, bounds[Topic.TICKS], _FOR_EVER)
        left, over = self._left(cut, idle_to, needs, bounds)
        if over and self._wait:
            # Only the head of the merged sequence goes: nothing passes the first event that stays behind.
            first = min(over)
            cut = self._tick_cut(max_rows, bounds[Topic.TICKS], first.key)
            for topic, queue in self._events.items():
                later = next((p for p in queue if p[:3] >= first[:3]), None)
                if later is not None and (topic not in left or later.offset < left[topic].offset):
                    left[topic] = later
        to = {Topic.TICKS: cut.to}
        to |= {topic: left[topic].offset if topic in left else self._ends[topic] for topic in EVENT_TOPICS}
        short = idle_to is not None and bool(self._short(needs, idle_to))
        self.behind = cut.following is not None or bool(over) or short
        moves = any(to[topic] > self._positions[topic] for topic in INPUT_TOPICS)
        idle = None if self.behind else idle_to
        if not moves and idle is None and not controls:
            return None
        return self.take_exact(to, idle, controls)

    def take_exact(self, to: Mapping[Topic, int], idle_to: int | None, controls: Sequence[LocalControl] = ()) -> Inputs:
        """Return all that precedes the offsets `to`, as a journal record has them."""
        pending: list[Pending] = []
        batch, keys = self._pop_ticks(to.get(Topic.TICKS, self._positions[Topic.TICKS]), pending)
        for topic in EVENT_TOPICS:
            queue = self._events[topic]
            while queue and queue[0].offset < to.get(topic, 0):
                pending.append(queue.popleft())
        pending.sort(key=lambda p: p[:3])
        spans, anchors = {}, {}
        for topic in INPUT_TOPICS:
            upto = to.get(topic, self._positions[topic])
            if upto > self._positions[topic]:
                spans[topic] = (self._positions[topic], upto)
                self._positions[topic] = upto
                anchor = self._trails[topic].pass_to(upto)
                if anchor is not None:
                    anchors[topic] = anchor
        if len(keys):
            self._tick_clock = max(self._tick_clock, int(keys[-1]))
        if idle_to is not None:
            self._tick_clock = max(self._tick_clock, idle_to)
        return Inputs(batch, keys, tuple(pending), spans, idle_to, tuple(controls), anchors)

    def _horizon(self) -> int:
        return max(self._tick_clock, self._clocks[Topic.TICKS])

    def _eligible(self, topic: Topic, horizon: int) -> bool:
        queue = self._events[topic]
        return bool(queue) and (not self._wait or queue[0].key <= horizon)

    def _short(self, needs: Mapping[Topic, int], key: int) -> list[Topic]:
        """Return the event topics of which events up to `key` may be missing: not read to `needs`, nor past `key`."""
        return [topic for topic, end in needs.items() if self._ends[topic] < end and self._clocks[topic] <= key]

    def _left(
        self, cut: _Cut, idle_to: int | None, needs: Mapping[Topic, int], bounds: Mapping[Topic, int | None]
    ) -> tuple[dict[Topic, Pending], list[Pending]]:
        """Return the first event of each topic that stays behind, and those of them that only the bounds keep back."""
        following, awaited = (cut.following, cut.needs) if cut.following is not None else (idle_to, needs)
        left, over = {}, []
        for topic, queue in self._events.items():
            horizon, bound = self._reach(topic, cut.handed, following, awaited), bounds[topic]
            if not queue or (bound is None and queue[-1].key <= horizon):
                continue
            found = next((p for p in queue if p.key > horizon or (bound is not None and p.offset >= bound)), None)
            if found is not None:
                left[topic] = found
                if found.key <= horizon:
                    over.append(found)
        return left, over

    def _reach(self, topic: Topic, handed: int, following: int | None, needs: Mapping[Topic, int]) -> int:
        """Return the key up to which events of a topic may be taken in.

        They come before the tick that follows, unless those of another topic that come before them may be missing.
        """
        if not self._wait:
            return _FOR_EVER
        if following is None:
            return handed
        others = (
            self._clocks[other] - (RANK[other] < RANK[topic])
            for other in self._short(needs, following)
            if other is not topic
        )
        return max(handed, min((following, *others)))

    def _tick_cut(self, max_rows: int, bound: int | None, barrier: int) -> _Cut:
        """Return where to cut the ticks: at a number of items, an interval, an offset, or a key that waits for events.

        Parameters
        ----------
        bound : int or None
            Offset that is not passed.
        barrier : int
            Key at and past which nothing goes, ns.
        """
        first: int | None = None
        position, room, handed = self._positions[Topic.TICKS], max_rows, self._tick_clock
        for fetch in self._fetches:
            offsets, keys, n = fetch.offsets, fetch.item_keys, len(fetch.offsets)
            start = int(np.searchsorted(offsets, position))
            if start < n:
                first = int(keys[start]) if first is None else first
                short = self._short(fetch.needs, int(keys[-1]))
                shut = min((barrier, *(self._clocks[topic] for topic in short)))
                open_to = int(np.searchsorted(keys, shut))
                in_span = int(np.searchsorted(keys, first + self._interval, "right"))
                stop = min(in_span, start + max(room, 0), open_to)
                if bound is not None:
                    stop = min(stop, int(np.searchsorted(offsets, bound)))
                if stop < n:
                    to = int(offsets[stop])
                    whole = int(np.searchsorted(offsets, to, "right"))
                    if to == int(offsets[start]) and room == max_rows and whole <= open_to:
                        # The first record alone is over the limit: it goes whole.
                        to += 1
                    to = to if bound is None else min(to, bound)
                    stop = int(np.searchsorted(offsets, to))
                    if stop < n:
                        handed = max(handed, int(keys[stop - 1])) if stop > start else handed
                        return _Cut(to, handed, int(keys[stop]), fetch.needs)
                handed = max(handed, int(keys[-1]))
                room -= n - start
            if bound is not None and bound < fetch.end:
                return _Cut(bound, handed, handed, fetch.needs)
        return _Cut(self._ends[Topic.TICKS], handed, None, _NO_ENDS)

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
