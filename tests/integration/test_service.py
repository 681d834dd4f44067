"""The service on a real broker: what it publishes is what the files give, whatever happens to it."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from impactd.core.base.settings import BookSettings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.kafka.client import close_producer, partition_producer
from impactd.shell.kafka.publish import publish
from impactd.shell.kafka.topics import create_topics
from impactd.wire.murmur2 import partition_for
from tests.integration.kafka_lab import (
    DAY,
    MINUTE_NS,
    OPEN_NS,
    SECOND_NS,
    SYMBOLS,
    assert_same,
    book,
    day,
    from_files,
    from_topics,
    lab,
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
from tests.records import read_topic

pytestmark = pytest.mark.broker


async def test_service_recorded_day_publishes_the_bytes_of_the_file_replay(broker: Broker, tmp_path: Path) -> None:
    sources = write_day(tmp_path, 12)
    expected = from_files(sources, tmp_path / "out")
    settings = await lab(broker.bootstrap)
    summary = await publish(settings, sources)
    async with running(settings) as run:
        await published_all(settings, expected)
        status = run.service.status
    assert_same(await from_topics(settings), expected)
    assert all(len(values) > 20 for values in expected[Topic.ESTIMATES])
    assert summary.records["orders"] == 5
    assert all(p.restore_seconds is not None and p.commits for p in status.partitions.values())


async def test_service_records_carry_schema_commit_and_trigger(broker: Broker, tmp_path: Path) -> None:
    sources = write_day(tmp_path, 6)
    settings = await lab(broker.bootstrap)
    await publish(settings, sources)
    async with running(settings):
        await published_all(settings, from_files(sources, tmp_path / "out"))
    plans = await read_topic(settings, settings.topics.name(Topic.PLANS))
    assert plans
    for record in plans:
        assert record.header("schema") == b"impactd.plan/1"
        partition, seq = (record.header("commit") or b"").split(b":")
        assert int(partition) == record.partition
        assert int(seq) > 0
        # The last minute was closed by silence, which is no record.
        trigger = record.header("input")
        assert trigger is None or trigger.startswith(settings.topics.prefix.encode())
    assert any(record.header("input") for record in plans)
    latest = await read_topic(settings, settings.topics.name(Topic.PLANS_LATEST))
    assert {record.key for record in latest} == {b"B1", b"B2", b"S1"}
    assert all(r.partition == partition_for((r.key or b"").decode(), 2) for r in latest)


async def test_service_joined_and_left_by_another_publishes_each_plan_once(broker: Broker, tmp_path: Path) -> None:
    sources = write_day(tmp_path, 40)
    expected = from_files(sources, tmp_path / "out")
    settings = await lab(broker.bootstrap)
    first = start(settings)
    publishing = asyncio.create_task(publish(settings, sources, speed=400))
    await records_until(settings, Topic.JOURNAL, lambda found: len(found) >= 10)
    async with running(settings) as second:
        await until(lambda: bool(second.service.status.partitions), "the second instance owns a partition")
        await until(lambda: len(first.service.status.partitions) == 1, "the first instance gives one up")
        await until(lambda: second.service.status.ready, "the second instance is ready")
        assert await first.end() == 0
        await publishing
        await published_all(settings, expected)
    assert_same(await from_topics(settings), expected)


async def test_service_fenced_by_a_stranger_continues_without_loss_or_duplicate(broker: Broker, tmp_path: Path) -> None:
    sources = write_day(tmp_path, 30)
    expected = from_files(sources, tmp_path / "out")
    settings = await lab(broker.bootstrap)
    async with running(settings) as run:
        publishing = asyncio.create_task(publish(settings, sources, speed=400))
        await records_until(settings, Topic.JOURNAL, lambda found: len(found) >= 10)
        for partition in range(2):
            stranger = partition_producer(settings, partition)
            await stranger.start()
            await close_producer(stranger, 5)
        await publishing
        await published_all(settings, expected)
        await until(lambda: run.service.status.ready, "both partitions are owned again")
        assert run.service.status.fenced + sum(p.failures for p in run.service.status.partitions.values()) > 0
    assert_same(await from_topics(settings), expected)


_PROCESS = """
import asyncio, json, sys
from impactd.config import Settings
from impactd.shell.kafka.service import Service
from tests.integration.kafka_lab import DAY

settings = Settings.model_validate_json(sys.argv[1])

async def serve():
    return await Service(settings, DAY).run(signals=True)

sys.exit(asyncio.run(serve()))
"""


@pytest.mark.slow
async def test_service_killed_twice_publishes_each_plan_once(broker: Broker, tmp_path: Path) -> None:
    sources = write_day(tmp_path, 60)
    expected = from_files(sources, tmp_path / "out")
    settings = await lab(broker.bootstrap)
    arguments = (sys.executable, "-c", _PROCESS, settings.model_dump_json())
    publishing = asyncio.create_task(publish(settings, sources, speed=600))
    for commits in (15, 40):
        process = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.DEVNULL)
        try:
            await records_until(settings, Topic.JOURNAL, lambda found, n=commits: len(found) >= n)  # type: ignore[misc]
        finally:
            process.kill()
            await process.wait()
    await publishing
    process = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.DEVNULL)
    try:
        await published_all(settings, expected)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(120):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert_same(await from_topics(settings), expected)
    seqs: dict[int, list[int]] = {0: [], 1: []}
    for record in await read_topic(settings, settings.topics.name(Topic.JOURNAL)):
        entry = orjson.loads(record.value or b"")
        if entry["type"] != "snapshot":
            seqs[record.partition].append(entry["commit_seq"])
    assert all(found == list(range(len(found))) for found in seqs.values())


async def test_service_poison_records_reach_the_dead_letters_as_they_were(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    symbol = SYMBOLS[0]
    home = partition_for(symbol, 2)
    rows = day(2, (symbol,))
    poison = [b'{"type":"book","symbol":"FROG","ts_ev', b"[1,2,3]", b"\xff\xfe\x00", b'{"type":"trade","px":NaN}']
    await send(settings, Topic.TICKS, [(symbol, value, ts) for _, ts, value in rows[:5]])
    await send(settings, Topic.TICKS, [(symbol, value, rows[5][1]) for value in poison])
    await send(settings, Topic.TICKS, [(symbol, rows[5][2], rows[5][1])], headers=[("codec", b"morse")])
    stray = book(symbol, rows[5][1], 1)
    await send(settings, Topic.TICKS, [(symbol, stray, rows[5][1])], partition=1 - home)
    await send(settings, Topic.ORDERS, [(symbol, b'{"type":"new"}', rows[5][1])])
    await send(settings, Topic.TICKS, [(symbol, value, ts) for _, ts, value in rows[5:]])
    async with running(settings, live()) as run:
        letters = await records_until(settings, Topic.DLQ, lambda found: len(found) >= 7)
        await records_until(settings, Topic.ESTIMATES, lambda found: len(found) >= 2)
        refused = run.service.status.partitions[home].refused
    by_reason = {(record.header("reason") or b"").decode(): record for record in letters}
    assert {record.value for record in letters} == {*poison, rows[5][2], stray, b'{"type":"new"}'}
    assert by_reason["misplaced"].value == stray
    assert by_reason["misplaced"].header("source_partition") == str(1 - home).encode()
    assert by_reason["misplaced"].header("source_topic") == settings.topics.name(Topic.TICKS).encode()
    assert by_reason["unknown_codec"].value == rows[5][2]
    (order,) = [record for record in letters if record.value == b'{"type":"new"}']
    assert order.header("reason") == b"missing_field"
    assert order.header("source_topic") == settings.topics.name(Topic.ORDERS).encode()
    assert sum(refused.values()) == 6


async def test_service_without_state_begins_where_it_is_told(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    rows = day(4, SYMBOLS[:1])
    home = partition_for(SYMBOLS[0], 2)
    await send(settings, Topic.TICKS, [(symbol, value, ts) for symbol, ts, value in rows])
    await send(
        settings, Topic.ORDERS, [(SYMBOLS[0], orjson.dumps(order("B1", SYMBOLS[0], "buy", rows[0][1], 3)), OPEN_NS)]
    )
    middle = next(i for i, row in enumerate(rows) if row[1] >= OPEN_NS + 2 * MINUTE_NS)
    for begin, position in (("earliest", 0), ("latest", len(rows)), (OPEN_NS + 2 * MINUTE_NS, middle)):
        name = f"{settings.kafka.environment}.{position}"
        outputs = {role.value: f"{name}.{role.value}" for role in Topic if role not in INPUT_TOPICS}
        topics = settings.topics.renamed(outputs)
        begun = settings.replace(kafka={"environment": name, "group": name, "start": begin}, topics=topics)
        await create_topics(begun)
        async with running(begun):
            found = await records_until(begun, Topic.JOURNAL, lambda found: len({r.partition for r in found}) == 2)
        genesis = {record.partition: orjson.loads(record.value or b"") for record in reversed(found)}
        assert genesis[home]["type"] == "genesis"
        assert genesis[home]["positions"] == {topic.value: 0 for topic in INPUT_TOPICS} | {"ticks": position}
        assert genesis[home]["partitions"] == 2


async def test_service_with_other_settings_stops_before_it_processes(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    async with running(settings) as run:
        await until(lambda: run.service.status.ready, "the state is made")
    before = await values_by_partition(settings, Topic.JOURNAL)
    other = start(settings, replace(DAY, books=BookSettings(n_sizes=8)))
    assert await other.task == 1
    assert "settings" in str(other.service.error)
    assert await values_by_partition(settings, Topic.JOURNAL) == before


async def test_service_quiet_partition_closes_its_minute(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    now = time.time_ns()
    symbol = SYMBOLS[0]
    await send(settings, Topic.TICKS, [(symbol, book(symbol, now + k, k), now) for k in range(3)])
    async with running(settings, live(interval_s=1.0, grace_s=0.1)) as run:
        found = await records_until(settings, Topic.ESTIMATES, lambda found: len(found) >= 2)
        home = run.service.status.partitions[partition_for(symbol, 2)]
        assert home.idle_moves >= 1
    assert orjson.loads(found[0].value or b"")["minute"] == now // SECOND_NS * SECOND_NS
    entries = [orjson.loads(v) for v in (await values_by_partition(settings, Topic.JOURNAL))[home.partition]]
    assert any(entry.get("idle_to") for entry in entries)
