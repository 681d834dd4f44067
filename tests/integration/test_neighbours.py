"""What the service does when its neighbours misbehave: topics that go away or grow, refusals, clocks that jump."""

from __future__ import annotations

import asyncio
import random
import time

import orjson
import pytest
from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.kafka import loop as loop_module
from impactd.shell.kafka.topics import admin_client, create_topics
from impactd.wire.murmur2 import partition_for
from tests.integration.kafka_lab import (
    OPEN_NS,
    SECOND_NS,
    SYMBOLS,
    book,
    day,
    lab,
    live,
    order,
    records_until,
    running,
    send,
    start,
    until,
    values_by_partition,
)

pytestmark = pytest.mark.broker

_SYMBOL = SYMBOLS[0]
_HOME = partition_for(_SYMBOL, 2)


async def _ticks(settings: Settings, first: int, last: int) -> None:
    rows = day(6, (_SYMBOL,))[first:last]
    await send(settings, Topic.TICKS, [(symbol, value, ts) for symbol, ts, value in rows])


async def _order(settings: Settings) -> None:
    new = orjson.dumps(order("B1", _SYMBOL, "buy", OPEN_NS, 6))
    await send(settings, Topic.ORDERS, [(_SYMBOL, new, OPEN_NS)])


async def _delete(settings: Settings, topic: Topic) -> None:
    async with admin_client(settings) as admin:
        await admin.delete_topics([settings.topics.name(topic)])


@pytest.mark.parametrize("topic", [Topic.TICKS, Topic.PLANS])
async def test_service_whose_topic_is_deleted_stops_and_names_it(broker: Broker, topic: Topic) -> None:
    settings = await lab(broker.bootstrap, kafka={"request_timeout_ms": 3_000, "transaction_timeout_ms": 3_000})
    run = start(settings, live())
    await until(lambda: run.service.status.ready, "the partitions are owned")
    await _ticks(settings, 0, 10)
    await until(lambda: run.service.status.partitions[_HOME].positions.get(Topic.TICKS) == 10, "ten ticks")
    await _delete(settings, topic)
    if topic is Topic.PLANS:
        await _order(settings)
    async with asyncio.timeout(600):
        assert await run.task == 1
    assert settings.topics.name(topic) in str(run.service.error)
    assert "impactd topics create" in str(run.service.error)
    # The order that could not be planned was not taken in.
    entries = [orjson.loads(value) for value in (await values_by_partition(settings, Topic.JOURNAL))[_HOME]]
    assert all("orders" not in entry.get("to", {}) for entry in entries)


async def test_service_whose_state_was_deleted_does_not_publish_everything_again(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    await _order(settings)
    async with running(settings, live()) as run:
        await _ticks(settings, 0, 20)
        await until(lambda: run.service.status.ready, "the partitions are owned")
        await records_until(settings, Topic.PLANS, lambda found: len(found) >= 1)
    await _delete(settings, Topic.STATE)
    made: tuple[str, ...] = ()
    while not made:
        # A deletion takes a moment to be known everywhere.
        made = await create_topics(settings)
    before = await values_by_partition(settings, Topic.JOURNAL)
    again = start(settings, live())
    async with asyncio.timeout(600):
        assert await again.task == 1
    assert "a second time" in str(again.service.error)
    assert await values_by_partition(settings, Topic.JOURNAL) == before


async def test_service_whose_topic_gets_more_partitions_stops_with_the_remedy(broker: Broker) -> None:
    settings = await lab(broker.bootstrap, kafka={"request_timeout_ms": 3_000})
    run = start(settings, live())
    await until(lambda: run.service.status.ready, "the partitions are owned")
    async with admin_client(settings) as admin:
        await admin.create_partitions({settings.topics.name(Topic.TICKS): NewPartitions(3)})
    # What tells a client of it is the next refresh of its metadata; a restart comes first here.
    run.service.stop()
    assert await run.task == 0
    again = start(settings, live())
    assert await again.task == 1
    assert "partitions" in str(again.service.error)


async def test_service_whose_dead_letter_is_refused_keeps_its_position(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    async with admin_client(settings) as admin:
        limit = {"max.message.bytes": "400"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topics.name(Topic.DLQ), limit)])
    # What does not compress: the limit is on the batch as it is sent.
    await send(settings, Topic.TICKS, [(_SYMBOL, random.Random(1).randbytes(1_000), OPEN_NS)])
    refused = start(settings, live())
    async with asyncio.timeout(600):
        assert await refused.task == 1
    assert "Nothing was published and no position has moved" in str(refused.service.error)
    async with admin_client(settings) as admin:
        limit = {"max.message.bytes": "1048588"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topics.name(Topic.DLQ), limit)])
    async with running(settings, live()):
        letters = await records_until(settings, Topic.DLQ, lambda found: len(found) >= 1)
    assert letters[0].header("source_offset") == b"0"


@pytest.mark.parametrize("jump_s", [-3_600, 3_600])
async def test_service_whose_clock_jumps_closes_no_minute_before_its_time(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, jump_s: int
) -> None:
    settings = await lab(broker.bootstrap)
    now = time.time_ns()
    # As if this machine's clock had been set; the feed's and the monotonic one go on.
    jumped = type("jumped", (), {"time_ns": lambda: time.time_ns() + jump_s * SECOND_NS, "monotonic": time.monotonic})
    async with running(settings, live(interval_s=3600.0, grace_s=0.1)) as run:
        await until(lambda: run.service.status.ready, "the partitions are owned")
        await send(settings, Topic.TICKS, [(_SYMBOL, book(_SYMBOL, now, 1), now)])
        await until(lambda: run.service.status.partitions[_HOME].positions.get(Topic.TICKS) == 1, "one tick")
        monkeypatch.setattr(loop_module, "time", jumped)
        await send(settings, Topic.TICKS, [(_SYMBOL, book(_SYMBOL, now + 1, 2), now)])
        await until(lambda: run.service.status.partitions[_HOME].positions.get(Topic.TICKS) == 2, "another tick")
        asked = time.monotonic()
        await until(
            lambda: time.monotonic() - asked > 3 * settings.kafka.idle_after_ms / 1000,
            "it was asked for idleness",
        )
        assert run.service.status.partitions[_HOME].idle_moves == 0
    assert await values_by_partition(settings, Topic.ESTIMATES) == [[], []]
