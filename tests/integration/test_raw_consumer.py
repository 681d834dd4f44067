"""What is fetched as bytes from a real broker is what aiokafka's own consumer returns."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Final
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from impactd.core.base.topics import Topic
from impactd.core.inputs.columns import RecordColumns
from impactd.shell.broker.broker import Broker
from impactd.shell.kafka.client import manual_consumer
from impactd.shell.kafka.raw_consumer import RawConsumer
from tests.integration.kafka_lab import lab

pytestmark = pytest.mark.broker

_DEADLINE_S: Final = 300.0
_POLL_MS: Final = 200


async def _write(bootstrap: str, topic: str) -> None:
    """Write committed and aborted transactions of each codec, one after another, with headers, gaps and no values."""
    for codec in (None, "gzip", "snappy", "lz4", "zstd"):
        async with AsyncExitStack() as stack:
            producer = AIOKafkaProducer(
                bootstrap_servers=bootstrap, transactional_id=uuid4().hex, compression_type=codec
            )
            await producer.start()
            stack.push_async_callback(producer.stop)
            for n, ends in enumerate((True, False, True)):
                await producer.begin_transaction()
                for k in range(40):
                    headers = [("trace", b"x" * k), ("codec", b"json")] if k % 7 == 0 else []
                    value = None if k % 11 == 0 else b"v" * (k * 50)
                    key = f"{codec}{n}".encode() if k % 3 or value is None else None
                    await producer.send(topic, value, key=key, headers=headers, partition=0)
                await (producer.commit_transaction() if ends else producer.abort_transaction())


def _fields(record: Any) -> tuple[Any, ...]:
    return record.offset, record.timestamp, record.key, record.value, tuple(record.headers)


async def _fetched(consumer: RawConsumer, place: TopicPartition, end: int) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    async with asyncio.timeout(_DEADLINE_S):
        while await consumer.position(place) < end:
            fetched = await consumer.fetch(place, _POLL_MS)
            if fetched is not None:
                records = fetched.records()
                assert isinstance(records, RecordColumns) or not records
                assert await consumer.position(place) == fetched.end
                found += map(_fields, records)
    return found


async def test_raw_consumer_fetches_what_aiokafka_returns_from_any_position(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    topic = settings.topics.name(Topic.TICKS)
    await _write(broker.bootstrap, topic)
    place = TopicPartition(topic, 0)
    async with AsyncExitStack() as stack:
        plain = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, isolation_level="read_committed")
        # So small that a batch is larger, and most responses end within one.
        raw, small = manual_consumer(settings), manual_consumer(settings, 4_000)
        for consumer in (plain, raw, small):
            await consumer.start()
            stack.push_async_callback(consumer.stop)
            consumer.assign([place])
        end = (await plain.end_offsets([place]))[place]
        plain.seek(place, 0)
        expected: list[tuple[Any, ...]] = []
        async with asyncio.timeout(_DEADLINE_S):
            while await plain.position(place) < end:
                for records in (await plain.getmany(place, timeout_ms=_POLL_MS)).values():
                    expected += map(_fields, records)
        assert len(expected) == 5 * 2 * 40
        for consumer in (raw, small):
            for start in (0, 17, 45, 130, end - 1):
                consumer.seek(place, start)
                assert await _fetched(consumer, place, end) == [fields for fields in expected if fields[0] >= start]
        raw.pause(place)
        raw.seek(place, 0)
        assert await raw.fetch(place, _POLL_MS) is None
        raw.resume(place)
        assert (await _fetched(raw, place, end))[0] == expected[0]
        # What aiokafka had before bytes were asked for, the end of a transaction, moves the position too.
        late = manual_consumer(settings)
        await late.start()
        stack.push_async_callback(late.stop)
        late.assign([place])
        late.seek(place, end - 1)
        async with asyncio.timeout(_DEADLINE_S):
            while place not in late._fetcher._records:  # noqa: ASYNC110  # aiokafka tells nobody
                await asyncio.sleep(0.01)
        assert await _fetched(late, place, end) == []
        raw.seek(place, end + 100)
        with pytest.raises(OffsetOutOfRangeError):
            await _fetched(raw, place, end + 200)
