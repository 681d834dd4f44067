"""The Kafka operations that ownership needs, as a protocol, and their implementation by aiokafka.

`ownership`, `loop`, `commit` and `restore` reach a broker through `Transport` alone, so that they can run unchanged
against another one, such as a simulation in virtual time.  The protocols list only what those modules call, with
aiokafka's names, `TopicPartition` and errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from aiokafka import TopicPartition

from impactd.core.inputs.columns import RecordColumns
from impactd.shell.kafka.client import (
    close_producer,
    close_within,
    manual_consumer,
    partition_producer,
    ticks_consumer,
)

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from impactd.config import Settings

Headers = Sequence[tuple[str, bytes]]


class Fetched(Protocol):
    """What one fetch of a partition has brought."""

    @property
    def end(self) -> int:
        """Offset behind it."""

    def records(self) -> RecordColumns:
        """Return its committed records; decompresses and checks, so not on the event loop."""


class ManualConsumer(Protocol):
    """Reads partitions that are assigned by hand; committed records only, and it never jumps."""

    async def start(self) -> None:
        """Connect."""

    async def stop(self) -> None:
        """Leave the group, if there is one, and disconnect."""

    def assign(self, places: Iterable[TopicPartition]) -> None:
        """Read these partitions instead of those before."""

    def seek(self, place: TopicPartition, offset: int) -> None:
        """Continue at `offset`."""

    def pause(self, *places: TopicPartition) -> None:
        """Return no records of `places`."""

    def resume(self, *places: TopicPartition) -> None:
        """Return records of `places` again."""

    async def getmany(
        self, *places: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Any]]:
        """Return what is there, or comes within `timeout_ms`."""

    async def fetch(self, place: TopicPartition, timeout_ms: int) -> Fetched | None:
        """Return the records of one partition fetched by now or within `timeout_ms`, and move behind them."""

    async def position(self, place: TopicPartition) -> int:
        """Return the offset that is fetched next."""

    async def beginning_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offsets."""

    async def end_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the last stable offsets."""

    async def offsets_for_times(self, times_ms: Mapping[TopicPartition, int]) -> dict[TopicPartition, Any]:
        """Return the first records at or after times."""

    def highwater(self, place: TopicPartition) -> int | None:
        """Return the high watermark as of the last fetch."""

    def last_stable_offset(self, place: TopicPartition) -> int | None:
        """Return the last stable offset as of the last fetch."""

    def last_poll_timestamp(self, place: TopicPartition) -> int | None:
        """Return the wall-clock time of the last fetch, ms."""

    async def topics(self) -> set[str]:
        """Ask for the names of all topics."""

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """Return the partitions as of the last metadata."""


class GroupConsumer(ManualConsumer, Protocol):
    """Reads what the group assigns."""

    def subscribe(self, topics: Sequence[str], *, listener: Any) -> None:
        """Join the group; `listener` is told of assignments."""

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit group offsets; fails where this process is no member of the present generation."""


class Producer(Protocol):
    """The transactional producer of one partition number; starting it fences the one before."""

    async def start(self) -> None:
        """Fence, settle the open transaction of the owner before, and begin."""

    async def close(self, within_s: float) -> bool:
        """Close it whatever state it is in; return whether it closed in order."""

    async def partitions_for(self, topic: str) -> set[int]:
        """Return the partitions of a topic."""

    async def begin_transaction(self) -> None:
        """Begin."""

    async def commit_transaction(self) -> None:
        """Commit."""

    async def abort_transaction(self) -> None:
        """Abort."""

    async def send(
        self, topic: str, value: bytes | None, key: bytes | None, *, partition: int, headers: Headers
    ) -> asyncio.Future[Any]:
        """Queue a record and return the future of its delivery."""

    def transaction_error(self) -> BaseException | None:
        """Return why the transaction itself has failed, if it has."""


class Transport(Protocol):
    """Makes the clients of one process."""

    def group_consumer(self) -> GroupConsumer:
        """Return the consumer whose group decides who owns a partition number. Not started."""

    def consumer(self, fetch_bytes: int | None = None) -> ManualConsumer:
        """Return a consumer without a group; `fetch_bytes` bounds one fetch of one partition. Not started."""

    def producer(self, partition: int) -> Producer:
        """Return the transactional producer of `partition`. Not started."""

    def release(self, consumer: ManualConsumer) -> None:
        """Close a consumer that is no longer used, without waiting for it."""

    async def close(self) -> None:
        """Wait for what is being closed, within bounds."""


class _Producer:
    """aiokafka's producer."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self.start = producer.start
        self.partitions_for = producer.partitions_for
        self.begin_transaction = producer.begin_transaction
        self.commit_transaction = producer.commit_transaction
        self.abort_transaction = producer.abort_transaction
        self.send = producer.send

    async def close(self, within_s: float) -> bool:
        return await close_producer(self._producer, within_s)

    def transaction_error(self) -> BaseException | None:
        # aiokafka has no public way to ask.
        ended = self._producer._txn_manager.wait_for_transaction_end()  # noqa: SLF001
        if ended is None or not ended.done() or ended.cancelled():
            return None
        failed: BaseException | None = ended.exception()
        return failed


class KafkaTransport:
    """Clients of aiokafka."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._closing: set[asyncio.Task[bool]] = set()

    def group_consumer(self) -> GroupConsumer:
        """Return a consumer of the group."""
        made: GroupConsumer = ticks_consumer(self._settings)
        return made

    def consumer(self, fetch_bytes: int | None = None) -> ManualConsumer:
        """Return a consumer without a group."""
        made: ManualConsumer = manual_consumer(self._settings, fetch_bytes)
        return made

    def producer(self, partition: int) -> Producer:
        """Return the producer of `partition`."""
        return _Producer(partition_producer(self._settings, partition))

    def release(self, consumer: ManualConsumer) -> None:
        """Close a consumer in its own task."""
        task = asyncio.create_task(close_within(consumer.stop()), name="close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Wait for what is being closed; each has its bound."""
        if self._closing:
            await asyncio.wait(self._closing)
