"""Follows the published topics while there is a reader.

The output topics are read by its own consumer, committed records only:
the page shows the topics' content, from any process, and a
restart of the service does not change it.  The consumer starts with the
first reader and ends a while after the last, with all that it had folded; a service without readers has none.

`plans.latest` is read from its beginning, so that every order is there, and
from the other topics the last `BACKFILL` records of each partition.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.kafka.client import close_within, manual_consumer
from impactd.shell.kafka.errors import FatalError
from impactd.shell.kafka.registry import Readable
from impactd.shell.kafka.tasks import end
from impactd.shell.kafka.topics import partition_counts
from impactd.shell.live.board import Board
from impactd.shell.live.stream import Stream

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

#: Topics whose records are events, and the events' names.
EVENTS: Final = {
    Topic.ESTIMATES: "estimate",
    Topic.MODELS: "model",
    Topic.PLANS: "plan",
    Topic.ALERTS: "alert",
    Topic.TCA: "cost",
}

BACKFILL: Final = 20_000

#: The consumer stays for this long without a reader.
LINGER_S: Final = 30.0

_POLL_MS: Final = 200
_AT_ONCE: Final = 500
#: Frames are no closer than this: what is published meanwhile goes along.
_PACE_S: Final = 0.2
_HEALTH_S: Final = 1.0
_RETRY_S: Final = 2.0

_log = structlog.get_logger(__name__)


class Follower:
    """Keeps a board and a stream for as long as someone looks.

    Parameters
    ----------
    health : callable
        Returns the event ``health``, encoded.
    """

    def __init__(self, settings: Settings, health: Callable[[], bytes]) -> None:
        self._settings = settings
        self._readable = Readable(settings)
        self._health = health
        self.board = Board(self._settings.core())
        self.stream = Stream()
        #: Why nothing can be followed, while that is so.
        self.problem: str | None = None
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._wanted_at = 0.0

    @property
    def following(self) -> bool:
        """Whether a consumer is there."""
        return self._task is not None and not self._task.done()

    async def wanted(self, within_s: float = 10.0) -> bool:
        """Note that someone looks; return whether the board is complete, after a wait for that."""
        self._wanted_at = time.monotonic()
        if not self.following:
            self._caught_up.clear()
            self._task = asyncio.create_task(self._run(), name="live")
        deadline = self._wanted_at + within_s
        while not self._caught_up.is_set() and self.problem is None and time.monotonic() < deadline:
            try:
                async with asyncio.timeout(0.1):
                    await self._caught_up.wait()
            except TimeoutError:
                continue
        return self._caught_up.is_set()

    async def close(self) -> None:
        """End the consumer and every stream."""
        for reader in self.stream.readers:
            reader.drop()
        if self._task is not None:
            await end(self._task)

    async def plan(self, cl_ord_id: str, version: int) -> bytes | None:
        """Return a plan of an order as it was published, read again from its topic; None where it is not kept."""
        order = self.board.find(cl_ord_id)
        if order is None or version == order.version:
            return None if order is None else order.latest
        place = order.plans.place(version)
        return None if place is None else await self._record(*place)

    async def _record(self, partition: int, offset: int) -> bytes | None:
        """Read one record of the plans again; None if it was deleted."""
        place = TopicPartition(self._settings.topics.name(Topic.PLANS), partition)
        consumer = manual_consumer(self._settings)
        try:
            async with asyncio.timeout(self._settings.kafka.request_timeout_ms / 1000):
                await consumer.start()
                consumer.assign([place])
                consumer.seek(place, offset)
                record = await consumer.getone(place)
        except OffsetOutOfRangeError:
            return None
        finally:
            await close_within(consumer.stop())
        return (await self._readable([record.value]))[0] if record.offset == offset else None

    def _is_wanted(self) -> bool:
        if self.stream.readers:
            self._wanted_at = time.monotonic()
        return time.monotonic() - self._wanted_at < LINGER_S

    async def _run(self) -> None:
        health = asyncio.create_task(self._tell_health(), name="live-health")
        try:
            while self._is_wanted():
                try:
                    await self._follow()
                except TopicAuthorizationFailedError as error:
                    self._fail(f"not allowed to read {error}: the live page needs READ on the outputs (topics acls)")
                except (KafkaError, OSError, TimeoutError, FatalError) as error:
                    self._fail(f"the output topics cannot be read: {error!r}")
                await asyncio.sleep(_RETRY_S if self.problem else 0)
        finally:
            await end(health)
            self.board = Board(self._settings.core())
            self._caught_up.clear()
            self.problem = None

    def _fail(self, problem: str) -> None:
        if self.problem != problem:
            _log.warning("live page interrupted", problem=problem)
        self.problem = problem

    async def _tell_health(self) -> None:
        while True:
            if self.stream.readers:
                self.stream.say("health", self._health())
            await asyncio.sleep(_HEALTH_S)

    async def _follow(self) -> None:
        settings = self._settings
        counts = await partition_counts(settings)
        consumer = manual_consumer(settings)
        try:
            async with asyncio.timeout(settings.kafka.request_timeout_ms / 1000):
                await consumer.start()
                latest = self._places(Topic.PLANS_LATEST, counts[Topic.PLANS_LATEST])
                live = {place: topic for topic in EVENTS for place in self._places(topic, counts[topic])}
                consumer.assign([*latest, *live])
                first = await consumer.beginning_offsets([*latest, *live])
                ends = await consumer.end_offsets([*latest, *live])
            starts = {place: max(first[place], ends[place] - BACKFILL) for place in live}
            for place in latest:
                consumer.seek(place, first[place])
            for place, start in starts.items():
                consumer.seek(place, start)
            self.board = Board(self._settings.core())
            self.stream.begin({(EVENTS[live[p]], p.partition): start for p, start in starts.items()})
            await self._backfill(consumer, dict.fromkeys(latest, Topic.PLANS_LATEST), ends)
            await self._backfill(consumer, {p: t for p, t in live.items() if t is Topic.PLANS}, ends)
            await self._backfill(consumer, live, ends)
            self.problem = None
            self._caught_up.set()
            while self._is_wanted():
                if await self._take(consumer, live):
                    await asyncio.sleep(_PACE_S)
        except OffsetOutOfRangeError as error:
            raise FatalError("records were deleted before they were shown") from error
        finally:
            await close_within(consumer.stop())

    def _places(self, topic: Topic, count: int) -> list[TopicPartition]:
        return [TopicPartition(self._settings.topics.name(topic), partition) for partition in range(count)]

    async def _backfill(
        self, consumer: AIOKafkaConsumer, places: dict[TopicPartition, Topic], ends: dict[TopicPartition, int]
    ) -> None:
        while any([await consumer.position(place) < ends[place] for place in places]):
            await self._take(consumer, places)
            # Buffered records come without a pause; the service's own work needs one.
            await asyncio.sleep(0)

    async def _take(self, consumer: AIOKafkaConsumer, places: dict[TopicPartition, Topic]) -> bool:
        fetched = await consumer.getmany(*places, timeout_ms=_POLL_MS, max_records=_AT_ONCE)
        items = []
        for place, records in fetched.items():
            topic = places[place]
            for record, value in zip(records, await self._readable([r.value for r in records]), strict=True):
                if value is None:
                    continue
                self.board.take(topic, value, (place.partition, record.offset))
                if topic in EVENTS:
                    items.append(((EVENTS[topic], place.partition), record.offset, EVENTS[topic], value))
        self.stream.records(items)
        if any(event == "alert" for _, _, event, _ in items) and self.stream.readers:
            # A halt is an alert, and nobody should wait a second for it.
            self.stream.say("health", self._health())
        return bool(fetched)
