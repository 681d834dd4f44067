"""The pipeline of one owned partition: fetch, decode, merge, apply, commit.

Three tasks share one inbox:

- *ticks* fetches and decodes, and waits when too much is undigested;
- *events* does the same for orders, executions and control, so that ticks
  catching up never delay an order;
- *commits* takes what has arrived, applies it, and publishes the result.

Decoding and applying run in a worker thread, except for a few events.  A lock
keeps the inbox to one thread at a time, and is held until that thread has
ended, also where nobody waits for it any more; the engine is only touched by
the third task.  While a commit is in progress the next fetches are decoded.

What waits is bounded for each input, in records and bytes, and so is what one
commit takes in; see `commit_size`.

Commits keep a pace: one each `commit_interval_ms`, or `urgent_interval_ms`
after the last one when an order, execution or control waits or a minute is
over.  A transaction right after another would only wait at the broker.

Quiet is not idle.  The partition is idle when a fetch has succeeded lately,
everything up to the high watermark (not the last stable offset) has been
taken in, and fetching is not paused.  Only then may the watermark move by
the time since the last tick, less any time without a broker; the engine says
how far, and whether it matters.

When events apply in event time, the inbox is told with each fetch of ticks
how far the event topics reached when the ticks arrived: an order that was
published before a tick is then always applied before it.

While the group assigns its partitions the loop is held: it finishes the
current commit and begins none.  If the partition stays with this process, it
continues with what is in its memory.  Consumers lose their positions at an
assignment, so they are set again to the ends of what was fetched, and a fetch
that was in progress is dropped and repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError

from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.inputs.columns import RecordColumns
from impactd.core.inputs.inbox import EVENT_TOPICS, Inbox, LocalControl
from impactd.core.inputs.ticks import TickBatch
from impactd.shell.kafka.client import FETCH_WAIT_MS
from impactd.shell.kafka.errors import CommitUnknownError, FatalError, PositionLostError
from impactd.shell.kafka.fair_fetch import FETCH_RECORDS, getmany_in_turns
from impactd.shell.kafka.tasks import end, run_together

if TYPE_CHECKING:
    from impactd.core.base.settings import CoreSettings
    from impactd.core.engine import Commit, Engine
    from impactd.core.inputs.events import NewOrder
    from impactd.core.planning.estimate import CostEstimate
    from impactd.shell.kafka.commit import Committer
    from impactd.shell.kafka.commit_size import CommitSize
    from impactd.shell.kafka.decode import Decoder
    from impactd.shell.kafka.encoder import Encoder, Record
    from impactd.shell.kafka.meter import Meter
    from impactd.shell.kafka.status import PartitionStatus
    from impactd.shell.kafka.traces import Traced, Traces
    from impactd.shell.kafka.transport import Fetched, ManualConsumer
    from impactd.shell.kill_switch import KillSwitch

T = TypeVar("T")

#: A fetch that succeeded within this time is lately: several times its longest wait.
_LATELY_S: Final = 10 * FETCH_WAIT_MS / 1000

_POLL_MS: Final = 2 * FETCH_WAIT_MS

#: So many events are decoded in less time than a worker thread takes to begin.
_FEW_EVENTS: Final = 16
_FEW_BYTES: Final = 16_384


@contextlib.contextmanager
def _fetch_errors() -> Iterator[None]:
    """Turn what a fetch raises into what ownership knows."""
    try:
        yield
    except OffsetOutOfRangeError as error:
        where, position = next(iter(error.args[0].items()))
        raise PositionLostError(where.topic, where.partition, position) from error
    except TopicAuthorizationFailedError as error:
        raise FatalError(f"not allowed to read {error}: grant READ to this principal (impactd topics acls)") from error


class PartitionLoop:
    """Runs one partition from restored state until it is told to leave or something fails.

    Parameters
    ----------
    engine : Engine
        Restored; belongs to the loop from here on.
    ticks, events : ManualConsumer
        Seeked to the engine's positions.
    """

    def __init__(
        self,
        settings: Settings,
        core: CoreSettings,
        *,
        engine: Engine,
        ticks: ManualConsumer,
        events: ManualConsumer,
        decoder: Decoder,
        encoder: Encoder,
        committer: Committer,
        executor: Executor,
        status: PartitionStatus,
        meter: Meter,
        kill_switch: KillSwitch,
        size: CommitSize,
        wall_ns: Callable[[], int],
        traces: Traces | None = None,
    ) -> None:
        self._settings = settings
        self._in_event_time = core.apply == "in_event_time"
        self._engine = engine
        #: Held while the engine applies a commit, or answers a question: each in a worker thread.
        self._engine_lock = threading.Lock()
        self._inbox = Inbox(core, engine.positions, engine.clocks)
        self._ticks = ticks
        self._events = events
        self._decoder = decoder
        #: First tick offset behind a gap that no commit has taken in yet.
        self._skipped_to: int | None = None
        self._encoder = encoder
        self._committer = committer
        self._executor = executor
        self._status = status
        self._meter = meter
        self._kill_switch = kill_switch
        self._size = size
        self._wall_ns = wall_ns
        self._traces = traces
        partition = status.partition
        self._where = {topic: TopicPartition(settings.topics.name(topic), partition) for topic in INPUT_TOPICS}
        self._log = structlog.get_logger(__name__).bind(partition=partition, token=status.token)
        #: Offsets up to which records are in the inbox.
        self._taken_in = status.taken_in = dict(engine.positions)
        #: Offsets up to which records were fetched.
        self._fetched_to = dict(engine.positions)
        #: Cleared while the group assigns its partitions.
        self._assigned = asyncio.Event()
        self._assigned.set()
        self._holds = 0
        self._lock = asyncio.Lock()
        self._leaving = asyncio.Event()
        self._arrived = asyncio.Event()
        #: Set whenever a commit has taken something in, for the fetches that wait for room.
        self._room = asyncio.Event()
        self._waiting = False
        self._urgent = False
        #: Since when nothing has come although fetches succeeded: time without a broker is no silence of the feed.
        self._silent_since = asyncio.get_running_loop().time()
        self._polled: tuple[int | None, float] = (None, 0.0)

    def leave(self) -> None:
        """Finish the current commit, and end."""
        self._leaving.set()
        self._arrived.set()

    def hold(self) -> None:
        """Finish the current commit, and begin none until `go_on`."""
        self._holds += 1
        self._assigned.clear()

    def go_on(self) -> None:
        """Continue after an assignment that leaves the partition with this process."""
        for topic, where in self._where.items():
            self._consumer(topic).seek(where, self._fetched_to[topic])
            if topic not in self._status.lost and not (topic is Topic.TICKS and self._status.paused):
                self._consumer(topic).resume(where)
        self._assigned.set()
        self._arrived.set()

    async def run(self) -> None:
        """Run until told to leave.

        Raises
        ------
        CommitUnknownError
            If memory and producer are worthless now.
        FatalError
            If the process must stop.
        """
        try:
            with self._kill_switch.heard_by(self._arrived.set):
                await run_together(
                    self._commits(),
                    self._until_leaving(self._fetch_ticks()),
                    self._until_leaving(self._fetch_events()),
                )
        except (KafkaError, OSError) as error:
            raise CommitUnknownError(f"a fetch failed: {error!r}") from error

    async def skip(self, topic: Topic, first: int) -> None:
        """Go on at offset `first` of a topic whose earlier records are gone; before `run`."""

        def put() -> bool:
            if topic is Topic.TICKS:
                self._skipped_to = first
                self._decoder.skip_ticks(first)
                self._inbox.put_ticks(TickBatch.empty(), [], first)
            else:
                self._inbox.put_events(topic, [], [], first)
            return self._inbox.urgent()

        consumer = self._consumer(topic)
        consumer.seek(self._where[topic], first)
        consumer.resume(self._where[topic])
        await self._put(put)
        self._taken_in[topic] = self._fetched_to[topic] = first

    async def _until_leaving(self, fetch: Coroutine[Any, Any, None]) -> None:
        """Fetch until told to leave: the assignment changes then, while a commit may still finish."""
        await run_together(fetch, self._wait(self._leaving))
        await self._wait(asyncio.Event())

    @staticmethod
    async def _wait(event: asyncio.Event) -> None:
        await event.wait()

    # Fetching

    def _consumer(self, topic: Topic) -> ManualConsumer:
        return self._ticks if topic is Topic.TICKS else self._events

    async def _undisturbed(self, topics: tuple[Topic, ...], fetch: Callable[[], Awaitable[T]]) -> T | None:
        """Return what a fetch returns; None if the group has assigned its partitions meanwhile."""
        await self._assigned.wait()
        holds = self._holds
        try:
            with _fetch_errors():
                found = await fetch()
        except IllegalStateError:
            if holds == self._holds:
                raise
        else:
            if holds == self._holds:
                return found
        await self._assigned.wait()
        for topic in topics:
            # It may have moved the new position.
            self._consumer(topic).seek(self._where[topic], self._fetched_to[topic])
        return None

    async def _fetch_ticks(self) -> None:
        where = self._where[Topic.TICKS]

        async def fetch() -> tuple[Fetched | None]:
            fetched = await self._ticks.fetch(where, _POLL_MS)
            # Raises where the partition is this process's no longer.
            await self._ticks.position(where)
            return (fetched,)

        while True:
            if self._is_full(Topic.TICKS):
                # What is buffered stays, because nobody asks for it before the partition is resumed.
                self._ticks.pause(where)
                self._status.paused = True
                await self._until_room(Topic.TICKS)
                self._ticks.resume(where)
                self._status.paused = False
            found = await self._undisturbed((Topic.TICKS,), fetch)
            if found is None:
                continue
            (fetched,) = found
            self._observe(self._ticks, Topic.TICKS, where)
            if fetched is None or fetched.end == self._taken_in[Topic.TICKS]:
                continue
            self._fetched_to[Topic.TICKS] = fetched.end
            needs = await self._event_ends() if self._in_event_time else {}
            records = await self._in_thread(fetched.records)
            if records:
                self._silent_since = asyncio.get_running_loop().time()
                self._status.last_tick = time.monotonic()
            at_once = self._settings.kafka.max_poll_records
            for first in range(0, max(len(records), 1), at_once):
                rest = records[first + at_once : first + at_once + 1]
                end = rest[0].offset if rest else fetched.end
                await self._put_ticks(records[first : first + at_once], end, needs)

    def _is_full(self, topic: Topic, share: float = 1.0) -> bool:
        """Return whether more of an input waits than that share of its bounds."""
        records, n_bytes = self._inbox.waiting(topic)
        if topic is Topic.TICKS:
            records = max(records, self._inbox.rows)
        settings = self._settings
        return (
            records >= share * settings.kafka.max_backlog_records or n_bytes >= share * settings.kafka.max_backlog_bytes
        )

    async def _until_room(self, *topics: Topic) -> None:
        """Return once half the bounds of one of these inputs are free."""
        while all(self._is_full(topic, 0.5) for topic in topics):
            self._room.clear()
            await self._room.wait()

    async def _put_ticks(self, records: RecordColumns, end: int, needs: Mapping[Topic, int]) -> None:
        await self._know_schemas(Topic.TICKS, records)
        started = time.monotonic()
        decoded = await self._in_thread(self._decoder.ticks, records)
        self._meter.decoded(Topic.TICKS, time.monotonic() - started, decoded.refused, decoded.skipped_unknown)
        if self._traces is not None:
            self._traces.decoded(Topic.TICKS, records, time.monotonic() - started)

        def put() -> bool:
            self._inbox.put_ticks(decoded.batch, decoded.refused, end, records, needs, decoded.events)
            return self._inbox.urgent()

        await self._put(put)
        self._taken_in[Topic.TICKS] = end

    async def _fetch_events(self) -> None:
        # What waits for the schema registry holds up its own topic alone: a halt must not wait for an order.
        held: dict[Topic, asyncio.Task[None]] = {}
        try:
            while True:
                for topic in [topic for topic, put in held.items() if put.done()]:
                    held.pop(topic).result()
                there = tuple(topic for topic in EVENT_TOPICS if topic not in self._status.lost and topic not in held)
                topics = tuple(topic for topic in there if not self._is_full(topic))
                if held and not topics:
                    await asyncio.wait(held.values(), timeout=_POLL_MS / 1000, return_when=asyncio.FIRST_COMPLETED)
                    continue
                if there and not topics:
                    await self._until_room(*there)
                    continue
                found = await self._undisturbed(topics, partial(self._fetch, topics))
                if found is None:
                    continue
                fetched, ends = found
                self._fetched_to |= ends
                for topic in topics:
                    if ends[topic] == self._taken_in[topic]:
                        continue
                    if self._decoder.knows_schemas(topic, fetched[topic]):
                        await self._put_events(topic, fetched[topic], ends[topic])
                    else:
                        held[topic] = asyncio.create_task(self._put_events(topic, fetched[topic], ends[topic]))
        finally:
            await end(*held.values())

    async def _put_events(self, topic: Topic, records: RecordColumns, end: int) -> None:
        await self._know_schemas(topic, records)
        started = time.monotonic()
        few = len(records) <= _FEW_EVENTS and int(records.sizes()[-1]) <= _FEW_BYTES
        decoder = self._decoder.events
        decoded = decoder(topic, records) if few else await self._in_thread(decoder, topic, records)
        self._meter.decoded(topic, time.monotonic() - started, decoded.refused, 0)
        if self._traces is not None:
            self._traces.decoded(topic, records, time.monotonic() - started)

        def put() -> bool:
            self._inbox.put_events(topic, decoded.events, decoded.refused, end, records)
            return self._inbox.urgent()

        await self._put(put, here=few)
        self._taken_in[topic] = end

    async def _know_schemas(self, topic: Topic, records: RecordColumns) -> None:
        """Wait until the schemas of records are known: without its answer from the registry none is refused."""

        def waiting(why: str | None) -> None:
            if why is None:
                self._status.schema_waits.pop(topic, None)
            else:
                self._status.schema_waits[topic] = why

        await self._decoder.know_schemas(topic, records, waiting)

    async def _put(self, put: Callable[[], bool], *, here: bool = False) -> None:
        def put_and_mark() -> None:
            self._urgent = put()
            self._waiting = True

        await self._alone(put_and_mark, here=here)
        self._arrived.set()

    async def _alone(self, function: Callable[..., T], *args: Any, here: bool = False) -> T:
        """Run `function` with the inbox to itself, in a worker thread unless `here`.

        A thread cannot be cancelled.  Where this task is, the lock stays with the thread until that has ended.
        """
        await self._lock.acquire()
        if here:
            try:
                return function(*args)
            finally:
                self._lock.release()
        running = asyncio.ensure_future(self._in_thread(function, *args))
        running.add_done_callback(self._unlock)
        return await asyncio.shield(running)

    def _unlock(self, ended: asyncio.Future[Any]) -> None:
        self._lock.release()
        if not ended.cancelled():
            # Where nobody waits any more, nobody asks for its exception.
            ended.exception()

    async def _fetch(self, topics: tuple[Topic, ...]) -> tuple[Mapping[Topic, RecordColumns], Mapping[Topic, int]]:
        """Return the next records of some event topics, and the offsets that follow them."""
        places = [self._where[topic] for topic in topics if topic not in self._status.lost]
        if not places:
            await self._wait(asyncio.Event())
        fetched = await getmany_in_turns(self._events, places, _POLL_MS, FETCH_RECORDS)
        ends = {}
        for topic in topics:
            where = self._where[topic]
            # Positions pass control records too, so that they reach the high watermark.
            ends[topic] = await self._events.position(where)
            self._observe(self._events, topic, where)
        return {topic: RecordColumns.of(fetched.get(self._where[topic], [])) for topic in topics}, ends

    def _observe(self, consumer: ManualConsumer, topic: Topic, where: TopicPartition) -> None:
        high, stable = consumer.highwater(where), consumer.last_stable_offset(where)
        if high is not None:
            self._status.high_watermarks[topic] = high
        if stable is not None:
            self._status.stable_offsets[topic] = stable
        if topic is Topic.TICKS:
            # The wall clock may jump, so only a change of this timestamp is evidence of a fetch.
            polled = consumer.last_poll_timestamp(where)
            now = asyncio.get_running_loop().time()
            # Unknown after an assignment, until the next fetch.
            if polled is not None and polled != self._polled[0]:
                if now - self._polled[1] > _LATELY_S:
                    self._silent_since = now
                self._polled = (polled, now)

    async def _event_ends(self) -> dict[Topic, int]:
        """Return how far the event topics reach now."""
        topics = [topic for topic in EVENT_TOPICS if topic not in self._status.lost]
        ends = await self._events.end_offsets([self._where[topic] for topic in topics])
        return {topic: ends[self._where[topic]] for topic in topics}

    # Committing

    async def _commits(self) -> None:
        loop = asyncio.get_running_loop()
        last = 0.0
        while not self._leaving.is_set():
            self._status.doing = "waiting for input"
            idle_to, needs = await self._due(last)
            if self._leaving.is_set():
                return
            if not self._assigned.is_set():
                continue
            self._status.doing = "applying input"
            started = loop.time()
            made = await self._alone(self._apply, idle_to, needs)
            self._room.set()
            if made is None:
                continue
            commit, records, (read, rows), taken, traced = made
            last = loop.time()
            self._meter.applied(last - started)
            self._status.doing = f"publishing commit {self._engine.commit_seq} of {len(records)} records"
            if traced is None or self._traces is None:
                await self._publish(records, taken, last - started)
            else:
                with self._traces.committing(traced, self._meter.solves(), last - started):
                    await self._publish(records, taken, last - started)
                    self._log.debug("traced input committed", seq=self._engine.commit_seq)
            self._meter.committed(commit, read, rows, loop.time() - last, idle=idle_to is not None)
            self._log.debug("committed", seq=self._engine.commit_seq, rows=rows, seconds=round(loop.time() - last, 4))

    async def _publish(self, records: list[Record], taken: tuple[int, int], applied_s: float) -> None:
        """Publish, and let what it took decide how much the next commit takes in.

        The time of applying counts too: a partition that is lost meanwhile keeps its thread until it is done.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            await self._committer.publish(records)
        finally:
            seconds = applied_s + loop.time() - started
            if self._size.took(seconds, *taken):
                self._log.warning(
                    "commit near its deadline",
                    seconds=round(seconds, 3),
                    records=len(records),
                    next_records=self._size.records,
                    next_bytes=self._size.bytes,
                )

    async def _due(self, last: float) -> tuple[int | None, Mapping[Topic, int]]:
        """Wait until a commit is due; return the watermark of an idle move, if it is one, and what it needs."""
        loop = asyncio.get_running_loop()
        while not self._leaving.is_set():
            if not self._assigned.is_set():
                self._status.doing = "waiting for the group's assignment"
                self._arrived.clear()
                await self._arrived.wait()
                continue
            turned = bool(self._turned())
            urgent, waiting = self._urgent or turned, self._waiting or turned
            pace = self._settings.kafka.urgent_interval_ms if urgent else self._settings.kafka.commit_interval_ms
            wait = last + pace / 1000 - loop.time()
            if waiting and wait <= 0:
                break
            if not waiting:
                wait = self._settings.kafka.idle_after_ms / 1000
            self._arrived.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._arrived.wait()
            except TimeoutError:
                if not self._waiting:
                    idle_to, needs = await self._idle_target()
                    if idle_to is not None:
                        return idle_to, needs
        return None, {}

    def _apply(
        self, idle_to: int | None, needs: Mapping[Topic, int]
    ) -> tuple[Commit, list[Record], tuple[int, int], tuple[int, int], Traced | None] | None:
        """Take what has arrived, apply it and encode the result. Runs in the worker thread.

        Returns the commit, its records, the input's records and rows, of the input that gave most its records and
        bytes, and what is traced.
        """
        before = [self._inbox.waiting(topic) for topic in INPUT_TOPICS]
        inputs = self._inbox.take(
            idle_to=idle_to,
            needs=needs,
            max_rows=self._size.records,
            max_records=self._size.records,
            max_bytes=self._size.bytes,
            controls=self._turned(),
        )
        self._waiting = inputs is not None and self._inbox.behind
        self._urgent = self._inbox.urgent()
        if inputs is None:
            return None
        if Topic.TICKS in inputs.spans:
            built = self._decoder.books_at(inputs.spans[Topic.TICKS][1])
            inputs = replace(inputs, built=built, skipped_to=self._skipped_to)
            self._skipped_to = None
        after = [self._inbox.waiting(topic) for topic in INPUT_TOPICS]
        taken = tuple(max(b[part] - a[part] for b, a in zip(before, after, strict=True)) for part in range(2))
        with self._engine_lock:
            commit = self._engine.apply(inputs)
        read = sum(to - start for start, to in inputs.spans.values())
        traced = None if self._traces is None else self._traces.applied(inputs.spans)
        records = self._encoder.records(commit, self._engine.commit_seq, None if traced is None else traced.headers)
        return commit, records, (read, len(inputs.ticks)), (taken[0], taken[1]), traced

    async def estimate(self, new: NewOrder, max_cost_bps: float | None) -> CostEstimate:
        """Return what an order would cost now; see `Engine.estimate`."""

        def answer() -> CostEstimate:
            with self._engine_lock:
                return self._engine.estimate(new, max_cost_bps)

        return await self._in_thread(answer)

    def _turned(self) -> tuple[LocalControl, ...]:
        """Return what the kill switch says and the engine does not know yet."""
        return self._kill_switch.turned(self._engine.halts.kill_switch)

    async def _idle_target(self) -> tuple[int | None, Mapping[Topic, int]]:
        """Return the watermark that this partition may move to because it is idle, if it is and that matters.

        Also how far event topics must be read for it.
        """
        now = asyncio.get_running_loop().time()
        high = self._status.high_watermarks.get(Topic.TICKS)
        caught_up = high is not None and self._taken_in[Topic.TICKS] == high
        if not caught_up or self._status.paused or now - self._polled[1] > _LATELY_S:
            return None, {}
        needs = await self._event_ends() if self._in_event_time else {}
        elapsed_ns = int((now - self._silent_since) * 1e9)
        return self._engine.idle_target(elapsed_ns, self._wall_ns()), needs

    async def _in_thread(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)
