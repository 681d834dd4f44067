"""Reading topics from outside: for tools, tests and the demo's view. Committed records only, no group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from impactd.config import Settings
from impactd.shell.kafka.client import close_within, manual_consumer
from impactd.shell.kafka.errors import FatalError
from impactd.shell.kafka.topics import admin_client

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

_POLL_MS: Final = 200

#: A reader that gets nothing for this long, short of the end, gives up.
_STALL_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class ConsumedRecord:
    """A record on the broker; `timestamp` in ms."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    def header(self, name: str) -> bytes | None:
        """Return the first header of that name."""
        return next((value for found, value in self.headers if found == name), None)


@asynccontextmanager
async def _reader(
    settings: Settings, topics: Sequence[str]
) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
    """Yield a consumer that is assigned every partition of `topics`, at their beginning."""
    async with admin_client(settings) as admin:
        found = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    missing = [name for name in topics if name not in found]
    if missing:
        raise FatalError(f"missing topics: {', '.join(missing)}")
    places = [TopicPartition(name, partition) for name in topics for partition in range(found[name])]
    consumer = manual_consumer(settings)
    try:
        async with asyncio.timeout(settings.kafka.request_timeout_ms / 1000):
            await consumer.start()
            consumer.assign(places)
            for place, first in (await consumer.beginning_offsets(places)).items():
                consumer.seek(place, first)
        yield consumer, places
    except (KafkaError, OSError, TimeoutError) as error:
        raise FatalError(f"{', '.join(topics)} cannot be read: {error!r}") from error
    finally:
        await close_within(consumer.stop())


async def read_topics(
    settings: Settings,
    *topics: str,
    hidden: bool = False,
    since: Mapping[int, int] | None = None,
    gaps: list[str] | None = None,
) -> AsyncGenerator[ConsumedRecord, None]:
    """Yield the committed records of `topics` up to their present end; a partition's come in order.

    Parameters
    ----------
    hidden : bool, optional
        Wait for the end of the transactions that are open now, and yield what they have committed.
    since : mapping of int to int, optional
        Offset to begin at, by partition of every topic; where it is missing, the beginning.
    gaps : list of str, optional
        Takes what of `since` on is not there any more, as text.

    Raises
    ------
    FatalError
        If a topic is missing, cannot be read to its end, or ends before `since`.
    """
    async with _reader(settings, topics) as (consumer, places):
        # Before the last stable offset: what is committed now.
        ends = await consumer.end_offsets(places)
        if hidden:
            bounds = {topic: await read_bounds(settings, topic) for topic in topics}
            ends = {place: bounds[place.topic][place.partition][1] for place in places}
        for place in places:
            wanted, first = (since or {}).get(place.partition, 0), await consumer.position(place)
            if wanted > ends[place]:
                raise FatalError(
                    f"{place.topic}/{place.partition} ends at {ends[place]}, before offset {wanted}: it was made again"
                )
            if wanted > first:
                consumer.seek(place, wanted)
            elif 0 < wanted < first and gaps is not None:
                gaps.append(f"{place.topic}/{place.partition} offsets {wanted} to {first - 1}")
        left = {place for place in places if ends[place] > await consumer.position(place)}
        while left:
            async with asyncio.timeout(_STALL_S):
                fetched = await _next(consumer, left, ends)
            for place, records in fetched.items():
                for record in records:
                    if record.offset < ends[place]:
                        yield record
            left = {place for place in left if await consumer.position(place) < ends[place]}


async def _next(
    consumer: AIOKafkaConsumer, places: set[TopicPartition], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, list[ConsumedRecord]]:
    """Wait until something is fetched or a position has moved."""
    before = {place: await consumer.position(place) for place in places}
    while True:
        fetched = await consumer.getmany(*places, timeout_ms=_POLL_MS)
        after = {place: await consumer.position(place) for place in places}
        if fetched or any(after[place] != before[place] for place in places) or after == dict(ends):
            return {place: [consumed(item) for item in records] for place, records in fetched.items()}


async def read_record(settings: Settings, topic: str, partition: int, offset: int) -> ConsumedRecord | None:
    """Return the committed record at one place, or None where there is none."""
    async with _reader(settings, [topic]) as (consumer, places):
        place = TopicPartition(topic, partition)
        if place not in places:
            return None
        ends = await consumer.end_offsets([place])
        # Assigned at its beginning by the reader.
        if not await consumer.position(place) <= offset < ends[place]:
            return None
        consumer.seek(place, offset)
        async with asyncio.timeout(_STALL_S):
            while await consumer.position(place) <= offset:
                for record in (await _next(consumer, {place}, ends)).get(place, ()):
                    if record.offset == offset:
                        return record
                    if record.offset > offset:
                        return None
        return None


async def read_bounds(settings: Settings, topic: str) -> dict[int, tuple[int, int]]:
    """Return by partition the first offset of a topic and its high watermark.

    The high watermark, and not the last stable offset: what an open transaction hides is there too.
    """
    async with _reader(settings, [topic]) as (consumer, places), asyncio.timeout(_STALL_S):
        first = await consumer.beginning_offsets(places)
        while any(consumer.highwater(place) is None for place in places):
            await consumer.getmany(*places, timeout_ms=_POLL_MS, max_records=1)
        return {place.partition: (first[place], consumer.highwater(place)) for place in places}


async def tail(settings: Settings, *topics: str) -> AsyncGenerator[ConsumedRecord, None]:
    """Yield the committed records of `topics` from their beginning on, and then as they come, without end."""
    async with _reader(settings, topics) as (consumer, places):
        while True:
            for records in (await consumer.getmany(*places, timeout_ms=_POLL_MS)).values():
                for record in records:
                    yield consumed(record)


def consumed(item: object) -> ConsumedRecord:
    """Return a record of aiokafka's as ours."""
    names = ("topic", "partition", "offset", "timestamp", "key", "value", "headers")
    return ConsumedRecord(*(getattr(item, name) for name in names))
