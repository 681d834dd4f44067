"""What the service does when the broker refuses, forgets or lies, and what a captured run is good for."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.audit.capture import capture
from impactd.shell.audit.derive import derive
from impactd.shell.broker.broker import Broker
from impactd.shell.kafka.client import close_producer, partition_producer
from impactd.shell.kafka.errors import FatalError
from impactd.shell.kafka.publish import publish
from impactd.shell.kafka.topics import admin_client, check_topics, create_topics, partition_counts
from impactd.wire.murmur2 import partition_for
from impactd.wire.records import encode_output
from tests.integration.kafka_lab import (
    COMPARED,
    MINUTE_NS,
    OPEN_NS,
    SYMBOLS,
    assert_same,
    book,
    day,
    from_files,
    from_topics,
    lab,
    lab_settings,
    live,
    order,
    published_all,
    records_until,
    running,
    send,
    start,
    until,
    values_by_partition,
    write_day,
)

pytestmark = pytest.mark.broker


async def _alter(settings: Settings, topic: Topic, **config: str) -> None:
    names = {name.replace("_", "."): value for name, value in config.items()}
    async with admin_client(settings) as admin:
        answers = await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, settings.topics.name(topic), names)]
        )
    assert all(resource[0] == 0 for answer in answers for resource in answer.resources)


async def test_service_whose_plan_the_broker_refuses_keeps_its_position(broker: Broker, tmp_path: Path) -> None:
    sources = write_day(tmp_path, 6)
    expected = from_files(sources, tmp_path / "out")
    settings = await lab(broker.bootstrap)
    await _alter(settings, Topic.PLANS, max_message_bytes="200")
    await publish(settings, sources)
    refused = start(settings)
    assert await refused.task == 1
    assert isinstance(refused.service.error, FatalError)
    assert "nothing was published" in str(refused.service.error).lower()
    assert await values_by_partition(settings, Topic.PLANS) == [[], []]
    await _alter(settings, Topic.PLANS, max_message_bytes="1048588")
    async with running(settings):
        await published_all(settings, expected)
    assert_same(await from_topics(settings), expected)


async def test_service_with_a_plan_above_its_own_limit_stops_with_the_remedy(broker: Broker) -> None:
    settings = await lab(broker.bootstrap, wire={"max_message_bytes": 6_000})
    symbol = SYMBOLS[0]
    home = partition_for(symbol, 2)
    rows = [(symbol, value, ts) for _, ts, value in day(2, (symbol,))]
    await send(settings, Topic.TICKS, rows)
    long_order = orjson.dumps(order("B1", symbol, "buy", OPEN_NS + MINUTE_NS, 390))
    await send(settings, Topic.ORDERS, [(symbol, long_order, OPEN_NS)])
    stopped = start(settings, live())
    assert await stopped.task == 1
    assert "kafka.max_message_bytes" in str(stopped.service.error)
    entries = [orjson.loads(value) for value in (await values_by_partition(settings, Topic.JOURNAL))[home]]
    assert all(entry["to"].get("orders", 0) == 0 for entry in entries if entry["type"] == "commit")


async def test_service_run_on_arrival_is_derived_from_its_capture_byte_for_byte(broker: Broker, tmp_path: Path) -> None:
    sources = write_day(tmp_path, 10)
    wanted = from_files(sources, tmp_path / "out")
    settings = await lab(broker.bootstrap)
    core = live()
    async with running(settings, core) as run:
        await until(lambda: run.service.status.ready, "the partitions are owned")
        await publish(settings, sources, speed=300)
        # The last minute stays open: on arrival nothing but a minute of silence would close it.
        ready = sum(len(values) for values in wanted[Topic.ESTIMATES]) - 4
        await records_until(settings, Topic.ESTIMATES, lambda found: len(found) >= ready)
        await until(lambda: all(p.total_lag == 0 for p in run.service.status.partitions.values()), "all is applied")
    counts = await capture(settings, tmp_path / "captured")
    assert counts[Topic.ORDERS] == 5
    found: dict[Topic, list[list[bytes]]] = {topic: [[], []] for topic in COMPARED}
    for derived in derive(tmp_path / "captured", settings):
        for output in derived.commit.outputs:
            if output.topic in found:
                found[output.topic][derived.partition].append(encode_output(output).value)
    published = await from_topics(settings)
    assert_same(found, published)
    assert all(published[Topic.PLANS])


@pytest.mark.parametrize("policy", ["halt", "skip"])
async def test_service_whose_position_is_gone_halts_orders_and_never_jumps_silently(
    broker: Broker, policy: str
) -> None:
    settings = await lab(broker.bootstrap, kafka={"lost_position": policy})
    symbol = SYMBOLS[0]
    home = partition_for(symbol, 2)
    rows = [(symbol, value, ts) for _, ts, value in day(6, (symbol,))]
    await send(settings, Topic.TICKS, rows[:10])
    await send(settings, Topic.ORDERS, [(symbol, orjson.dumps(order("B1", symbol, "buy", OPEN_NS, 6)), OPEN_NS)])
    async with running(settings, live()) as run:
        await records_until(settings, Topic.PLANS, lambda found: len(found) >= 1)
        await until(lambda: run.service.status.partitions[home].positions.get(Topic.TICKS) == 10, "ten ticks")
    await send(settings, Topic.TICKS, rows[10:])
    async with admin_client(settings) as admin:
        place = TopicPartition(settings.topics.name(Topic.TICKS), home)
        await admin.delete_records({place: RecordsToDelete(20)})
    async with running(settings, live()) as run:
        plans = await records_until(
            settings, Topic.PLANS, lambda found: orjson.loads(found[-1].value or b"")["status"] == "halted"
        )
        assert orjson.loads(plans[-1].value or b"")["cl_ord_id"] == "B1"
        control = await values_by_partition(settings, Topic.CONTROL)
        assert "position_lost" in orjson.loads(control[home][0])["reason"]
        assert control[1 - home] == []
        if policy == "halt":
            assert run.service.status.partitions[home].lost == {Topic.TICKS: 10}
            assert not run.service.status.ready
        else:
            end = len(rows)
            await until(lambda: run.service.status.partitions[home].positions.get(Topic.TICKS) == end, "the rest")
            assert run.service.status.ready
    entries = [orjson.loads(value) for value in (await values_by_partition(settings, Topic.JOURNAL))[home]]
    spans = [(e["from"]["ticks"], e["to"]["ticks"]) for e in entries if "ticks" in e.get("to", {})]
    assert all(one[1] == other[0] for one, other in pairwise(spans))


async def test_service_behind_an_open_upstream_transaction_is_not_idle(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    symbol = SYMBOLS[0]
    home = partition_for(symbol, 2)
    now = time.time_ns()
    await send(settings, Topic.TICKS, [(symbol, book(symbol, now, 0), now)])
    feed = partition_producer(settings.replace(kafka={"environment": f"{settings.kafka.environment}.feed"}), home)
    await feed.start()
    try:
        await feed.begin_transaction()
        await feed.send_and_wait(
            settings.topics.name(Topic.TICKS),
            book(symbol, now + 1, 1),
            symbol.encode(),
            partition=home,
            timestamp_ms=now // 1_000_000,
        )
        async with running(settings, live(interval_s=0.5, grace_s=0.05)) as run:
            await until(
                lambda: (
                    home in run.service.status.partitions
                    and run.service.status.partitions[home].positions.get(Topic.TICKS) == 1
                ),
                "the committed tick is applied",
            )
            # Several times what would make a quiet partition idle.
            deadline = time.monotonic() + 2.5
            while time.monotonic() < deadline:
                await asyncio.sleep(0.1)
                assert run.service.status.partitions[home].idle_moves == 0
            assert run.service.status.partitions[home].lag(Topic.TICKS) > 0
            assert run.service.status.partitions[home].stable_lag(Topic.TICKS) == 0
            await feed.abort_transaction()
            await until(lambda: run.service.status.partitions[home].idle_moves > 0, "idle after the abort")
    finally:
        await close_producer(feed, 5)


async def test_service_fenced_again_and_again_gives_up_and_names_the_remedy(broker: Broker, tmp_path: Path) -> None:
    settings = await lab(broker.bootstrap)
    symbol = SYMBOLS[0]
    home = partition_for(symbol, 2)
    contested = start(settings, live())
    rows = day(6, (symbol,))
    for symbol, ts_event, value in rows[:20]:
        await until(lambda: contested.service.status.ready or contested.task.done(), "the partition is owned")
        if contested.task.done():
            break
        # Before the stranger comes: what the service had not committed yet, it may try at any moment.
        failures = contested.service.status.fenced
        stranger = partition_producer(settings, home)
        await stranger.start()
        await close_producer(stranger, 5)
        await send(settings, Topic.TICKS, [(symbol, value, ts_event)])
        await until(lambda n=failures: contested.service.status.fenced > n, "the service is fenced")  # type: ignore[misc]
    assert await contested.task == 1
    assert "kafka.environment" in str(contested.service.error)


async def test_service_without_topics_names_them_and_the_command(broker: Broker) -> None:
    missing = start(lab_settings(broker.bootstrap))
    assert await missing.task == 1
    assert "impactd topics create" in str(missing.service.error)


async def test_service_without_a_broker_reports_it() -> None:
    away = start(lab_settings("127.0.0.1:1", kafka={"request_timeout_ms": 2_000}))
    assert await away.task == 1
    assert "kafka.bootstrap" in str(away.service.error)


async def test_topics_made_have_no_difference_and_every_change_is_named(broker: Broker) -> None:
    settings = lab_settings(broker.bootstrap)
    made = await create_topics(settings)
    assert set(made) == {settings.topics.name(topic) for topic in Topic}
    assert await create_topics(settings) == ()
    assert await check_topics(settings) == []
    other = settings.replace(
        topics={"partitions": 3, "input_retention_ms": 5, "compacted_dirty_ratio": 0.5, "input_compression": "producer"}
    )
    differences = await check_topics(other)
    named = {(difference.topic, difference.what) for difference in differences}
    assert (settings.topics.name(Topic.TICKS), "partitions") in named
    assert (settings.topics.name(Topic.JOURNAL), "retention.ms") in named
    assert {topic for topic, what in named if what == "compression.type"} == {
        settings.topics.name(t) for t in INPUT_TOPICS
    }
    assert (settings.topics.name(Topic.STATE), "min.cleanable.dirty.ratio") in named
    assert all(difference.remedy and difference.topic in str(difference) for difference in differences)
    assert [d.what for d in await check_topics(lab_settings(broker.bootstrap))] == ["topic"] * len(Topic)


async def test_topics_with_unequal_partition_counts_are_refused(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    odd = f"{settings.topics.prefix}odd."
    more = settings.replace(topics={"prefix": odd, "partitions": 3})
    await create_topics(more)
    with pytest.raises(FatalError, match="same number of partitions"):
        await partition_counts(settings.replace(topics={"names": {"orders": more.topics.name(Topic.ORDERS)}}))


async def test_publish_of_records_that_retention_would_delete_is_refused(broker: Broker, tmp_path: Path) -> None:
    sources = write_day(tmp_path, 3)
    settings = await lab(broker.bootstrap, topics={"input_retention_ms": 7 * 86_400_000})
    with pytest.raises(FatalError, match="--shift"):
        await publish(settings, sources)
    before = time.time_ns()
    summary = await publish(settings, sources, shift=True)
    assert summary.first_ns is not None
    assert abs(summary.first_ns - before) < 60 * 1_000_000_000
    orders = [orjson.loads(v) for values in await values_by_partition(settings, Topic.ORDERS) for v in values]
    assert all(abs(item["ts_event"] - before) < 600 * 1_000_000_000 for item in orders)
    new = next(item for item in orders if item["cl_ord_id"] == "B1")
    assert new["end"] - new["start"] == MINUTE_NS
