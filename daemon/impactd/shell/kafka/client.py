"""The Kafka clients.

Every aiokafka client of this package is created here, so that the settings on which exactly-once depends are in one
place:

- consumers read committed records only, never commit offsets by themselves,
  and never jump when a position is gone (``auto_offset_reset="none"``);
- only the ticks topic is subscribed in the group, with the range assignor or, where processes stand by, with
  one that leaves partitions where they are;
- a producer belongs to one partition number, or to a FIX gateway, and its ``transactional_id``
  names environment, group and that number or gateway: starting it fences the one before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

from impactd.config import Settings
from impactd.shell.kafka.assignor import standby_assignor
from impactd.shell.kafka.raw_consumer import RawConsumer
from impactd.shell.kafka.security import security_options
from impactd.shell.kafka.tasks import end

#: The longest that a fetch waits for data. A partition that is resumed waits for the fetch in progress, so it is short.
FETCH_WAIT_MS: Final = 100

#: Ticks are fetched by this many bytes, or after so long. A fetch for each record would cost two turns of a worker
#: thread and the event loop's time, which orders wait for.
TICKS_FETCH_BYTES: Final = 64 * 1024
TICKS_FETCH_WAIT_MS: Final = 20

#: Bytes of one partition in one fetch: about 10,000 books, decoded in some 30 ms.
FETCH_BYTES: Final = 4 * 1024 * 1024

#: Batches of produced records, before compression. Below the broker's usual limit of 1 MB for one batch; a larger
#: record goes alone. A minute's state of many symbols takes several, and each is a way to the broker and back.
BATCH_BYTES: Final = 960 * 1024

#: So long may a client take to close. Over TLS a close waits until the peer has answered, by default for half a minute,
#: and a broker that is gone, or busy with a request of that connection, does not answer.
CLOSE_S: Final = 2.0

#: aiokafka leaves the group when nothing is consumed for this long. What may take long here, a restore, is no reason
#: to.
MAX_POLL_INTERVAL_MS: Final = 24 * 3_600_000


def client_options(settings: Settings) -> dict[str, Any]:
    """Return what every aiokafka client of this process is given: addresses and security."""
    return {
        "bootstrap_servers": settings.kafka.bootstrap,
        "client_id": settings.kafka.client_id,
        "request_timeout_ms": settings.kafka.request_timeout_ms,
        **security_options(settings.kafka.security),
    }


def _consumer(settings: Settings, fetch_bytes: int | None = None, **options: Any) -> RawConsumer:
    return RawConsumer(
        auto_offset_reset="none",
        enable_auto_commit=False,
        check_crcs=settings.kafka.check_crcs,
        max_partition_fetch_bytes=fetch_bytes or max(FETCH_BYTES, settings.wire.max_message_bytes),
        **client_options(settings),
        **options,
    )


def ticks_consumer(settings: Settings) -> RawConsumer:
    """Return the consumer whose group decides who owns a partition number. Not started, not subscribed."""
    return _consumer(
        settings,
        group_id=settings.kafka.group,
        fetch_min_bytes=TICKS_FETCH_BYTES,
        fetch_max_wait_ms=TICKS_FETCH_WAIT_MS,
        partition_assignment_strategy=_assignors(settings),
        session_timeout_ms=settings.kafka.session_timeout_ms,
        heartbeat_interval_ms=settings.kafka.heartbeat_interval_ms,
        rebalance_timeout_ms=settings.kafka.session_timeout_ms,
        max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
    )


def _assignors(settings: Settings) -> tuple[type[AbstractPartitionAssignor], ...]:
    at_most = settings.kafka.own_at_most
    # Both where the setting is new: until the last process has it, the group agrees on the one that all know.
    return (RangePartitionAssignor,) if at_most is None else (standby_assignor(at_most), RangePartitionAssignor)


def manual_consumer(settings: Settings, fetch_bytes: int | None = None) -> RawConsumer:
    """Return a consumer without a group, to be assigned by hand: for events, state, and tools. Not started.

    `fetch_bytes` bounds one fetch of one partition; a single batch may be larger.
    """
    return _consumer(settings, fetch_bytes, group_id=None, fetch_max_wait_ms=FETCH_WAIT_MS)


def partition_producer(settings: Settings, partition: int) -> AIOKafkaProducer:
    """Return the transactional producer of `partition`. Starting it fences the one before. Not started."""
    return transactional_producer(settings, settings.kafka.transactional_id(partition))


def transactional_producer(settings: Settings, transactional_id: str) -> AIOKafkaProducer:
    """Return the producer of an id's transactions. Starting it fences the one before. Not started."""
    return AIOKafkaProducer(
        transactional_id=transactional_id,
        transaction_timeout_ms=settings.kafka.transaction_timeout_ms,
        **_producer_options(settings),
    )


def plain_producer(settings: Settings) -> AIOKafkaProducer:
    """Return an idempotent producer without transactions, for publishing inputs. Not started."""
    return AIOKafkaProducer(enable_idempotence=True, linger_ms=settings.kafka.linger_ms, **_producer_options(settings))


def _producer_options(settings: Settings) -> dict[str, Any]:
    return {
        "acks": "all",
        "compression_type": None if settings.kafka.compression == "none" else settings.kafka.compression,
        "max_batch_size": min(BATCH_BYTES, settings.wire.max_message_bytes),
        "max_request_size": settings.wire.max_message_bytes,
        **client_options(settings),
    }


async def close_within(closing: Coroutine[Any, Any, None], within_s: float = CLOSE_S) -> bool:
    """Run a client's ``stop`` or ``close`` for a bounded time; return whether it ended in order."""
    # In its own task: aiokafka's consumer, closed while a fetch waits to be tried again, raises the cancellation
    # of that fetch, which here would look like one of the caller.
    task = asyncio.ensure_future(closing)
    try:
        await asyncio.wait({task}, timeout=within_s)
    finally:
        if not task.done():
            await end(task)
    if task.cancelled():
        return False
    with contextlib.suppress(KafkaError, OSError, TimeoutError, AssertionError):
        task.result()
        return True
    return False


async def close_producer(producer: AIOKafkaProducer, within_s: float) -> bool:
    """Close `producer` in any state; return whether it closed in order.

    ``stop`` waits for every batch to be delivered, and transactional batches
    never expire, so with a broker away it would wait forever. After half of
    `within_s` the connections are closed under it and its task is cancelled.
    Nothing can be committed by then: this is called either with no commit
    requested, or with one whose outcome the next owner's start will settle.
    """
    if await close_within(producer.stop(), within_s / 2):
        return True
    await _abandon(producer, within_s / 2)
    return False


async def _abandon(producer: AIOKafkaProducer, within_s: float) -> None:
    """End a producer that does not end by itself; aiokafka has no public way."""
    task = producer._sender.sender_task  # noqa: SLF001
    await close_within(producer.client.close(), within_s / 2)
    # The first cancellation makes the sender wait for its requests, the second ends it.
    for _ in range(2):
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=within_s / 4)
    # Whatever still waits for a delivery is told that there will be none; a waiter that nobody asks is asked here.
    accumulator = producer._message_accumulator  # noqa: SLF001
    for batches in accumulator._batches.values():  # noqa: SLF001
        # A batch that waits to be sent again is not among the pending ones, and its callback raises a KeyError when it
        # wants to leave them.
        accumulator._pending_batches.update(batches)  # noqa: SLF001
    accumulator.fail_all(KafkaError("the producer was abandoned"))
    for batches in accumulator._batches.values():  # noqa: SLF001
        for batch in batches:
            batch._drain_waiter.exception()  # noqa: SLF001
