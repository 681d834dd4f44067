"""Kafka settings, and the clients made from them.

Every aiokafka client of this package is made here, so that what
exactly-once rests on is said once:

- consumers read committed records only, never commit offsets by themselves,
  and never jump when a position is gone (``auto_offset_reset="none"``);
- only the ticks topic is subscribed in the group, with the range assignor;
- a producer belongs to one partition number, and its ``transactional_id``
  names environment, group and that number: starting it fences whoever
  owned the partition before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

from impactd.core.base.topics import Topic
from impactd.shell.kafka.security import KafkaSecurity, security_options

#: The longest that a fetch waits for data. A partition that is resumed waits for the fetch under way, so it is short.
FETCH_WAIT_MS: Final = 100

#: Ticks are fetched by so many bytes, or after so long. A fetch for each record would cost two turns of a worker thread
#: and the event loop's time, which orders wait for.
TICKS_FETCH_BYTES: Final = 64 * 1024
TICKS_FETCH_WAIT_MS: Final = 20

#: Bytes of one partition in one fetch: about 10,000 books, decoded in some 30 ms.
FETCH_BYTES: Final = 4 * 1024 * 1024

#: Batches of produced records. Below the broker's usual limit of 1 MB for one batch; a larger record goes alone.
BATCH_BYTES: Final = 512 * 1024

#: aiokafka leaves the group when nothing is consumed for so long. What may take long here, a restore, is no reason to.
MAX_POLL_INTERVAL_MS: Final = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """What `impactd topics create` asks of the broker, and `check` compares with.

    Times are milliseconds, sizes bytes. Compacted topics (state and
    plans.latest) have small segments and an eager cleaner, because a restore
    reads whatever the cleaner has not yet reached.
    """

    partitions: int = 4
    replication_factor: int = 1
    min_insync_replicas: int = 1
    #: Inputs and the journal are kept alike: a journal without its inputs derives nothing.
    input_retention_ms: int = 7 * 86_400_000
    output_retention_ms: int = 7 * 86_400_000
    dlq_retention_ms: int = 14 * 86_400_000
    compacted_segment_bytes: int = 16 * 1024 * 1024
    compacted_segment_ms: int = 600_000
    compacted_dirty_ratio: float = 0.1
    compacted_max_lag_ms: int = 600_000
    #: A consumer of plans.latest must read a tombstone within this time.
    delete_retention_ms: int = 86_400_000
    #: How the broker keeps inputs. What it unpacks itself it also measures: see docs/security.md.
    input_compression: str = "uncompressed"


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Everything the shell needs to know about Kafka.

    Attributes
    ----------
    bootstrap : str
        Comma-separated ``host:port``.
    environment : str
        Part of every ``transactional_id``: two environments on one cluster never fence each other.
    group : str
        Consumer group of the ticks topic.
    topic_prefix, topics
        Name of a topic: the one in `topics`, else prefix and role (``impactd.plans.latest``).
    codec : str
        Codec of tick records without a ``codec`` header.
    timestamps : str
        ``int`` or ``string``: how times are published.
    start : str or int
        Where ticks begin when a partition has no state: ``earliest``, ``latest`` or a time in ns.
        Orders, executions and control always begin at the earliest.
    commit_interval_ms, urgent_interval_ms : int
        Pace of commits, and the least distance of commits for orders and closed minutes.
    transaction_timeout_ms : int
        After this the broker aborts an open transaction.
    session_timeout_ms, heartbeat_interval_ms : int
        Group membership of the ticks consumer.
    request_timeout_ms : int
        Deadline of one request to a broker.
    max_poll_records : int
        Tick records decoded together, at most.
    max_backlog_rows : int
        Rows that wait to be applied before fetching pauses.
    max_message_bytes : int
        Largest record published or accepted.
    max_state_bytes : int
        Largest value of a state key.
    max_dead_letter_bytes : int
        Dead letters keep that much of the original bytes, and the hash of the whole.
    compression : str or None
        ``lz4``, ``zstd``, ``snappy``, ``gzip`` or None.
    revoke_timeout_ms : int
        How long a commit under way may take to finish when its partition is taken away.
    drain_timeout_ms : int
        How long the process may take to leave.
    group_commit_interval_ms : int
        Pace of group offsets, which only lag tools read.
    idle_after_ms : int
        A partition without a tick for so long is asked whether it is idle.
    linger_ms : int
        How long `impactd publish` gathers records into one batch.
    lost_position : str
        What follows a position that retention has deleted. Orders of the partition are halted in any case; with
        ``halt`` the topic then stays where it is, with ``skip`` it goes on from its earliest record.
    snapshot_s : int
        A commit that carries event time past a multiple of this holds the whole state in its journal; 0 for never.
    accept_settings : bool
        Go on from a state of other settings, where it keeps its meaning under these.
    check_crcs : bool
        Verify the checksum of what is fetched. Only librdkafka's mock needs it off: its control records have none.
    """

    bootstrap: str = "127.0.0.1:9092"
    environment: str = "dev"
    group: str = "impactd"
    client_id: str = "impactd"
    topic_prefix: str = "impactd."
    topics: Mapping[Topic, str] = field(default_factory=dict)
    codec: str = "json"
    timestamps: Literal["int", "string"] = "int"
    security: KafkaSecurity = field(default_factory=KafkaSecurity)
    topic_settings: TopicSettings = field(default_factory=TopicSettings)
    start: str | int = "earliest"
    commit_interval_ms: int = 100
    urgent_interval_ms: int = 15
    transaction_timeout_ms: int = 10_000
    session_timeout_ms: int = 10_000
    heartbeat_interval_ms: int = 3_000
    request_timeout_ms: int = 10_000
    max_poll_records: int = 20_000
    max_backlog_rows: int = 100_000
    max_message_bytes: int = 1_000_000
    max_state_bytes: int = 256 * 1024
    max_dead_letter_bytes: int = 512 * 1024
    compression: str | None = "lz4"
    revoke_timeout_ms: int = 3_000
    drain_timeout_ms: int = 8_000
    group_commit_interval_ms: int = 5_000
    idle_after_ms: int = 500
    linger_ms: int = 5
    lost_position: str = "halt"
    snapshot_s: int = 3_600
    accept_settings: bool = False
    check_crcs: bool = True

    def topic(self, role: Topic) -> str:
        """Return the name of a topic on the broker."""
        return self.topics.get(role, self.topic_prefix + role.value)

    def transactional_id(self, partition: int) -> str:
        """Return the id that fences earlier owners of `partition`."""
        return f"{self.environment}.{self.group}.{partition}"


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return what every aiokafka client of this process is given: addresses and security.

    Raises
    ------
    FatalError
        If a certificate or key cannot be read.
    """
    return {
        "bootstrap_servers": settings.bootstrap,
        "client_id": settings.client_id,
        "request_timeout_ms": settings.request_timeout_ms,
        **security_options(settings.security),
    }


def _consumer(settings: KafkaSettings, **options: Any) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        isolation_level="read_committed",
        auto_offset_reset="none",
        enable_auto_commit=False,
        check_crcs=settings.check_crcs,
        max_partition_fetch_bytes=max(FETCH_BYTES, settings.max_message_bytes),
        **client_options(settings),
        **options,
    )


def ticks_consumer(settings: KafkaSettings) -> AIOKafkaConsumer:
    """Return the consumer whose group decides who owns a partition number. Not started, not subscribed."""
    return _consumer(
        settings,
        group_id=settings.group,
        fetch_min_bytes=TICKS_FETCH_BYTES,
        fetch_max_wait_ms=TICKS_FETCH_WAIT_MS,
        partition_assignment_strategy=(RangePartitionAssignor,),
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        rebalance_timeout_ms=settings.session_timeout_ms,
        max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
    )


def manual_consumer(settings: KafkaSettings) -> AIOKafkaConsumer:
    """Return a consumer without a group, to be assigned by hand: for events, state, and tools. Not started."""
    return _consumer(settings, group_id=None, fetch_max_wait_ms=FETCH_WAIT_MS)


def partition_producer(settings: KafkaSettings, partition: int) -> AIOKafkaProducer:
    """Return the transactional producer of `partition`. Starting it fences the one before. Not started."""
    return AIOKafkaProducer(
        transactional_id=settings.transactional_id(partition),
        transaction_timeout_ms=settings.transaction_timeout_ms,
        **_producer_options(settings),
    )


def plain_producer(settings: KafkaSettings) -> AIOKafkaProducer:
    """Return an idempotent producer without transactions, for publishing inputs. Not started."""
    return AIOKafkaProducer(enable_idempotence=True, linger_ms=settings.linger_ms, **_producer_options(settings))


def _producer_options(settings: KafkaSettings) -> dict[str, Any]:
    return {
        "acks": "all",
        "compression_type": settings.compression,
        "max_batch_size": BATCH_BYTES,
        "max_request_size": settings.max_message_bytes,
        **client_options(settings),
    }


async def close_producer(producer: AIOKafkaProducer, within_s: float) -> bool:
    """Close `producer` whatever state it is in; return whether it closed in order.

    ``stop`` waits for every batch to be delivered, and transactional batches
    never expire, so with a broker away it would wait for ever. After half of
    `within_s` the connections are closed under it and its task is cancelled.
    Nothing can be committed by then: this is called either with no commit
    requested, or with one whose outcome the next owner's start will settle.
    """
    with contextlib.suppress(KafkaError, OSError, TimeoutError, AssertionError):
        async with asyncio.timeout(within_s / 2):
            await producer.stop()
            return True
    await _abandon(producer, within_s / 2)
    return False


async def _abandon(producer: AIOKafkaProducer, within_s: float) -> None:
    """End a producer that does not end by itself; aiokafka has no public way."""
    task = producer._sender.sender_task  # noqa: SLF001
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(within_s / 2):
            await producer.client.close()
    # The first cancellation makes the sender wait for its requests, the second ends it.
    for _ in range(2):
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=within_s / 4)
    # Whatever still waits for a delivery is told that there will be none; a waiter that nobody asks is asked here.
    accumulator = producer._message_accumulator  # noqa: SLF001
    accumulator.fail_all(KafkaError("the producer was abandoned"))
    for batches in accumulator._batches.values():  # noqa: SLF001
        for batch in batches:
            batch._drain_waiter.exception()  # noqa: SLF001
