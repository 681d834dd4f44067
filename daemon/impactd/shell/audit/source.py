"""Sources of a run's records: the brokers, or a captured directory.

Both give the same: how many partitions a topic has, from which offset on and
up to which one its records are there, and the records themselves in the order
of their offsets.  Records that an open transaction hides are waited for: a record that
the journal vouches for may become readable a moment later than the journal's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.audit.capture import (
    CAPTURE_SCHEMA,
    MANIFEST,
    RecordList,
    capture_file,
    captured_schemas,
    read_partitions,
)
from impactd.shell.kafka.client import close_within, manual_consumer
from impactd.shell.kafka.consume import ConsumedRecord, consumed, read_bounds
from impactd.shell.kafka.errors import FatalError
from impactd.shell.kafka.registry import SchemaSource
from impactd.shell.kafka.topics import partition_counts
from impactd.shell.lines import InputFileError

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

_POLL_MS: Final = 200

#: A reader that gets nothing for this long, short of the end, gives up: twice a transaction's usual timeout.
_STALL_S: Final = 30.0


class Feed(Protocol):
    """The records of one topic's partition, one after the other."""

    async def until(self, to: int) -> Sequence[ConsumedRecord]:
        """Return the next records before offset `to`, as far as they are there."""

    async def close(self) -> None:
        """Let go of it."""


class Source(Protocol):
    """A run that can be read again."""

    @property
    def settings(self) -> Settings:
        """Topic names and formats of the run."""

    @property
    def partitions(self) -> Mapping[Topic, int]:
        """Number of partitions by topic."""

    @property
    def schemas(self) -> SchemaSource | None:
        """Schemas that values in Avro and Protobuf name; None where the run had no registry."""

    async def bounds(self, topic: Topic, partition: int) -> tuple[int, int | None]:
        """Return the first offset that is still there, and the one after the last; None where nobody knows."""

    def feed(self, topic: Topic, partition: int, start: int) -> Feed:
        """Return the records from offset `start` on, or from the first one after it that is there."""


@asynccontextmanager
async def broker_source(settings: Settings) -> AsyncIterator[Source]:
    """Yield the topics on the brokers as a source."""
    source = _BrokerSource(settings, await partition_counts(settings))
    try:
        yield source
    except (KafkaError, OSError, TimeoutError) as error:
        raise FatalError(f"the topics cannot be read: {error!r}") from error
    finally:
        await source.close()


def capture_source(directory: Path, settings: Settings) -> Source:
    """Return the run that `impactd capture` wrote into `directory`."""
    return _CaptureSource.read(directory, settings)


@dataclass(slots=True)
class _BrokerFeed:
    source: _BrokerSource
    where: TopicPartition
    start: int
    consumer: AIOKafkaConsumer | None = None
    at: int = 0
    waiting: deque[ConsumedRecord] = field(default_factory=deque)

    async def until(self, to: int) -> Sequence[ConsumedRecord]:
        consumer = self.consumer or await self._open()
        loop = asyncio.get_running_loop()
        moved = loop.time()
        while self.at < to:
            try:
                fetched = await consumer.getmany(self.where, timeout_ms=_POLL_MS)
            except OffsetOutOfRangeError as error:
                raise FatalError(
                    f"{self.where.topic}/{self.where.partition}: offset {self.at} was deleted while it was "
                    "read; run again"
                ) from error
            self.waiting += [consumed(item) for item in fetched.get(self.where, ())]
            at = await consumer.position(self.where)
            if at > self.at:
                self.at, moved = at, loop.time()
            elif loop.time() - moved > _STALL_S:
                raise FatalError(
                    f"{self.where.topic}/{self.where.partition} gives nothing from offset {self.at} on, short of {to}: "
                    "is a transaction open there?"
                )
        taken = []
        while self.waiting and self.waiting[0].offset < to:
            taken.append(self.waiting.popleft())
        return taken

    async def close(self) -> None:
        if self.consumer is not None:
            await self.source.release(self.consumer)
            self.consumer = None

    async def _open(self) -> AIOKafkaConsumer:
        self.consumer = await self.source.consumer()
        first = (await self.consumer.beginning_offsets([self.where]))[self.where]
        self.at = max(self.start, first)
        self.consumer.assign([self.where])
        self.consumer.seek(self.where, self.at)
        return self.consumer


class _BrokerSource:
    """Topics on brokers; every feed has its own consumer."""

    def __init__(self, settings: Settings, partitions: Mapping[Topic, int]) -> None:
        self.settings = settings
        self.partitions = partitions
        self.schemas = SchemaSource.of(settings)
        self._consumers: list[AIOKafkaConsumer] = []
        #: Asked once a topic: the journal's are asked first, so that what it vouches for lies before the others' ends.
        self._bounds: dict[Topic, dict[int, tuple[int, int]]] = {}

    async def consumer(self) -> AIOKafkaConsumer:
        consumer = manual_consumer(self.settings)
        self._consumers.append(consumer)
        async with asyncio.timeout(self.settings.kafka.request_timeout_ms / 1000):
            await consumer.start()
        return consumer

    async def bounds(self, topic: Topic, partition: int) -> tuple[int, int | None]:
        if topic not in self._bounds:
            self._bounds[topic] = await read_bounds(self.settings, self.settings.topics.name(topic))
        return self._bounds[topic][partition]

    def feed(self, topic: Topic, partition: int, start: int) -> Feed:
        return _BrokerFeed(self, TopicPartition(self.settings.topics.name(topic), partition), start)

    async def release(self, consumer: AIOKafkaConsumer) -> None:
        self._consumers.remove(consumer)
        await close_within(consumer.stop())

    async def close(self) -> None:
        for consumer in self._consumers.copy():
            await self.release(consumer)


@dataclass(frozen=True, slots=True)
class _CaptureFeed:
    records: RecordList

    async def until(self, to: int) -> Sequence[ConsumedRecord]:
        return self.records.until(to)

    async def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _CaptureSource:
    """Files of `impactd capture`."""

    settings: Settings
    partitions: Mapping[Topic, int]
    #: By topic and partition; None where the directory does not say.
    known: Mapping[tuple[Topic, int], tuple[int, int]]
    records: Mapping[Topic, Mapping[int, list[ConsumedRecord]]]
    schemas: SchemaSource | None

    @classmethod
    def read(cls, directory: Path, settings: Settings) -> _CaptureSource:
        manifest = _manifest(directory / MANIFEST)
        records = {topic: read_partitions(directory, topic) for topic in Topic}
        if not records[Topic.JOURNAL]:
            raise InputFileError(f"{capture_file(directory, Topic.JOURNAL)}: no journal; capture the run again")
        known: dict[tuple[Topic, int], tuple[int, int]] = {}
        for name, entry in manifest.get("topics", {}).items():
            topic = Topic(name)
            found = sum(map(len, records[topic].values()))
            if found != entry["records"]:
                raise InputFileError(
                    f"{capture_file(directory, topic)}: holds {found} records, {entry['records']} were captured; "
                    "capture the run again"
                )
            known |= {(topic, int(n)): (first, end) for n, (first, end) in entry["bounds"].items()}
        most = max(records[Topic.JOURNAL]) + 1
        partitions = {
            topic: max([most, *(n + 1 for place, n in known if place is topic), *(n + 1 for n in records[topic])])
            for topic in Topic
        }
        wire = {name: manifest[name] for name in ("timestamps", "codec") if name in manifest}
        kafka = {name: manifest[name] for name in ("max_dead_letter_bytes",) if name in manifest}
        settings = settings.replace(
            wire=settings.wire.replace(**wire),
            kafka=settings.kafka.replace(**kafka),
            topics=settings.topics.renamed(manifest.get("names", {})),
        )
        return cls(settings, partitions, known, records, captured_schemas(directory))

    async def bounds(self, topic: Topic, partition: int) -> tuple[int, int | None]:
        return self.known.get((topic, partition), (0, None))

    def feed(self, topic: Topic, partition: int, start: int) -> Feed:
        records = self.records[topic].get(partition, [])
        feed = RecordList(records)
        feed.until(start)
        return _CaptureFeed(feed)


def _manifest(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        manifest: dict[str, Any] = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputFileError(f"{path}: cannot be read ({error}); capture the run again") from error
    # A capture that names no schema has the first one.
    schema = manifest.get("schema", CAPTURE_SCHEMA)
    if schema != CAPTURE_SCHEMA:
        raise InputFileError(f"{path}: schema {schema}, this release reads {CAPTURE_SCHEMA}; use the one that made it")
    return manifest
