"""What a restore refuses: a state that is not whole, inputs that are others, topics that lose what is needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from impactd.config import Settings
from impactd.config.operation import HealthSection
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.health import unready
from impactd.shell.kafka.client import close_producer, partition_producer
from impactd.shell.kafka.commit import Committer
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.encoder import Record
from impactd.shell.kafka.errors import FatalError
from impactd.shell.kafka.status import PartitionStatus
from impactd.shell.kafka.topics import admin_client, create_topics, topic_configs, touch_topics
from impactd.wire.murmur2 import partition_for
from tests.integration.kafka_lab import (
    OPEN_NS,
    SECOND_NS,
    SYMBOLS,
    day,
    lab,
    live,
    order,
    records_until,
    running,
    send,
    start,
    until,
)
from tests.records import read_topic

pytestmark = pytest.mark.broker

SYMBOL = SYMBOLS[0]
HOME = partition_for(SYMBOL, 2)


async def alter(settings: Settings, topic: Topic, config: Mapping[str, str]) -> None:
    async with admin_client(settings) as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, settings.topics.name(topic), dict(config))
        answers = await admin.alter_configs([resource])
    assert all(found[0] == 0 for answer in answers for found in answer.resources)
    # The broker confirms a change before it is in force everywhere.
    name = settings.topics.name(topic)
    while not config.items() <= (await topic_configs(settings, [name]))[name].items():  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def recreate(settings: Settings, topic: Topic) -> None:
    """Delete a topic and create it again, empty."""
    name = settings.topics.name(topic)
    async with admin_client(settings) as admin:
        await admin.delete_topics([name])
        # It is gone when its name is free, and the broker tells nobody.
        while (await admin.create_topics([NewTopic(name, 2, 1)])).topic_errors[0][1]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await touch_topics(settings)


async def worked(settings: Settings) -> None:
    """Run a service until it has applied ticks and five orders, and end it."""
    rows = [(SYMBOL, value, ts) for _, ts, value in day(2, (SYMBOL,))]
    orders = [(SYMBOL, orjson.dumps(order(f"B{n}", SYMBOL, "buy", OPEN_NS + n, 9)), OPEN_NS) for n in range(5)]
    await send(settings, Topic.TICKS, rows)
    await send(settings, Topic.ORDERS, orders)
    async with running(settings, live()) as run:
        await until(lambda: HOME in run.service.status.partitions, "the partition is owned")
        home = run.service.status.partitions
        await until(
            lambda: (
                run.service.status.partitions[HOME].positions.get(Topic.TICKS) == len(rows)
                and run.service.status.partitions[HOME].positions.get(Topic.ORDERS) == 5
            ),
            f"all is applied: {home}",
        )


async def refused(settings: Settings) -> str:
    """Run a service that must stop by itself; return why it did. Nothing may be published by it."""
    before = len(await read_topic(settings, settings.topics.name(Topic.JOURNAL)))
    run = start(settings, live())
    assert await run.task == 1
    assert isinstance(run.service.error, FatalError)
    assert len(await read_topic(settings, settings.topics.name(Topic.JOURNAL))) == before
    return str(run.service.error)


async def rewrite_state(settings: Settings, records: list[tuple[bytes, bytes | None]]) -> None:
    """Write to the state topic as a stranger would."""
    producer = partition_producer(settings.replace(kafka={"environment": "stranger"}), HOME)
    await producer.start()
    try:
        await producer.begin_transaction()
        for key, value in records:
            await producer.send_and_wait(settings.topics.name(Topic.STATE), value, key, partition=HOME)
        await producer.commit_transaction()
    finally:
        await close_producer(producer, 5)


async def state_records(settings: Settings) -> list[ConsumedRecord]:
    return [r for r in await read_topic(settings, settings.topics.name(Topic.STATE)) if r.partition == HOME]


@pytest.mark.parametrize("accept_settings", [False, True])
async def test_state_that_lost_an_order_is_refused_and_the_remedy_works(
    broker: Broker, *, accept_settings: bool
) -> None:
    settings = await lab(broker.bootstrap)
    await worked(settings)
    lost = next(r.key for r in await state_records(settings) if (r.key or b"").startswith(b"order/"))
    assert lost is not None
    await rewrite_state(settings, [(lost, None)])
    said = await refused(settings.replace(journal={"accept_settings": accept_settings}))
    assert "keys" in said
    assert ("--accept-settings" in said) == accept_settings
    # The remedy: an empty state and journal of other names.
    names = {topic.value: f"{settings.topics.name(topic)}.again" for topic in (Topic.STATE, Topic.JOURNAL)}
    assert all(f"topics.names.{role}" in said for role in names)
    again = settings.replace(topics={"names": names})
    await create_topics(again)
    async with running(again, live()) as run:
        await until(lambda: run.service.status.ready, "the remedy works")
        await records_until(again, Topic.JOURNAL, lambda found: len(found) > 2)


async def test_state_of_an_earlier_commit_is_refused(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    await worked(settings)
    before: dict[bytes, bytes | None] = {}
    for record in await state_records(settings):
        before[record.key or b""] = record.value
    await send(settings, Topic.TICKS, [(SYMBOL, value, ts) for _, ts, value in day(3, (SYMBOL,))][-6:])
    async with running(settings, live()) as run:
        await until(
            lambda: run.service.status.partitions[HOME].commits > 0 if run.service.status.partitions else False,
            "a further commit",
        )
    now = {record.key or b"": record.value for record in await state_records(settings)}
    changed = [(key, before.get(key)) for key in now if now[key] != before.get(key)]
    await rewrite_state(settings, changed)
    assert "journal" in await refused(settings)


@pytest.mark.parametrize("fewer", [False, True], ids=["more", "fewer"])
@pytest.mark.parametrize("topic", [Topic.ORDERS, Topic.TICKS])
async def test_input_that_was_created_again_is_named_and_never_read_on(
    broker: Broker, topic: Topic, *, fewer: bool
) -> None:
    settings = await lab(broker.bootstrap)
    await worked(settings)
    await recreate(settings, topic)
    count = 2 if fewer else 20
    other = [
        (SYMBOL, orjson.dumps(order(f"N{n}", SYMBOL, "sell", OPEN_NS + SECOND_NS * n, 9)), OPEN_NS + SECOND_NS)
        if topic is Topic.ORDERS
        else (SYMBOL, day(9, (SYMBOL,))[n + 7][2], OPEN_NS + SECOND_NS)
        for n in range(count)
    ]
    await send(settings, topic, other)
    said = await refused(settings)
    assert f"{settings.topics.name(topic)}/{HOME}" in said
    assert "created again" in said


async def test_input_restored_from_a_backup_at_shifted_offsets_is_named(broker: Broker) -> None:
    """The same records, of which retention had deleted the first: every offset is another record's."""
    settings = await lab(broker.bootstrap)
    await worked(settings)
    kept = [r for r in await read_topic(settings, settings.topics.name(Topic.ORDERS)) if r.partition == HOME][1:]
    await recreate(settings, Topic.ORDERS)
    more = [(SYMBOL, r.value or b"", r.timestamp * 1_000_000) for r in kept] * 2
    await send(settings, Topic.ORDERS, more)
    assert "created again" in await refused(settings)


async def test_anchor_that_retention_deleted_stops_nothing(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    await worked(settings)
    async with admin_client(settings) as admin:
        place = TopicPartition(settings.topics.name(Topic.ORDERS), HOME)
        await admin.delete_records({place: RecordsToDelete(5)})
    await send(settings, Topic.ORDERS, [(SYMBOL, orjson.dumps(order("L", SYMBOL, "buy", OPEN_NS, 9)), OPEN_NS)])
    async with running(settings, live()) as run:
        await until(
            lambda: any(p.positions.get(Topic.ORDERS) == 6 for p in run.service.status.partitions.values()),
            "the next order is applied",
        )


@pytest.mark.parametrize(
    ("topic", "policy"),
    [(Topic.STATE, "delete"), (Topic.STATE, "compact,delete"), (Topic.ORDERS, "compact"), (Topic.JOURNAL, "compact")],
)
async def test_cleanup_policy_that_loses_what_a_restore_needs_is_refused_with_the_command(
    broker: Broker, topic: Topic, policy: str
) -> None:
    settings = await lab(broker.bootstrap)
    await alter(settings, topic, {"cleanup.policy": policy})
    said = await refused(settings)
    assert settings.topics.name(topic) in said
    wanted = "cleanup.policy=compact" if topic is Topic.STATE else "cleanup.policy=delete"
    assert said.endswith(f"--add-config {wanted}")
    await alter(settings, topic, {"cleanup.policy": wanted.partition("=")[2]})
    async with running(settings, live()) as run:
        await until(lambda: run.service.status.ready, "the remedy works")


async def test_environments_whose_names_differ_by_a_dot_do_not_fence_each_other(broker: Broker) -> None:
    one = await lab(broker.bootstrap, kafka={"environment": "desk.eu", "group": "impact"})
    other = await lab(broker.bootstrap, kafka={"environment": "desk", "group": "eu.impact"})
    async with running(one, live()) as first, running(other, live()) as second:
        await until(lambda: first.service.status.ready and second.service.status.ready, "both run")
        for settings in (one, other, one, other):
            run = first if settings is one else second
            before = run.service.status.totals[HOME].commits
            await send(settings, Topic.TICKS, [(SYMBOL, row[2], row[1]) for row in day(1, (SYMBOL,))[:1]])
            await until(lambda r=run, n=before: r.service.status.totals[HOME].commits > n, "it commits")  # type: ignore[misc]
        assert first.service.status.fenced == second.service.status.fenced == 0


def _poison(size: int) -> bytes:
    return b"{" + b"x" * size


@pytest.mark.parametrize("topic", [Topic.TICKS, Topic.ORDERS])
async def test_rush_of_refused_records_goes_through_in_commits_that_end_in_time(broker: Broker, topic: Topic) -> None:
    """All in one commit would take longer than its transaction may; one of the bound ends on a busy machine too."""
    settings = await lab(
        broker.bootstrap,
        kafka={
            "transaction_timeout_ms": 5_000,
            "max_commit_bytes": 2_000_000,
            "max_backlog_bytes": 8_000_000,
            "compression": "none",
        },
    )
    count, size = 1_500, 100_000
    await send_many(settings, topic, [_poison(size)] * count)
    async with running(settings, live()) as run:
        await until(
            lambda: any(p.positions.get(topic, 0) >= count for p in run.service.status.partitions.values()),
            "all is applied",
        )
        status = run.service.status
    assert sum(totals.failures for totals in status.totals.values()) == 0
    entries = [orjson.loads(r.value or b"") for r in await read_topic(settings, settings.topics.name(Topic.JOURNAL))]
    spans = [e["to"][topic] - e["from"][topic] for e in entries if topic in e.get("to", {})]
    assert sum(spans) >= count
    assert max(spans) * size <= 2_000_000 + size


async def send_many(settings: Settings, topic: Topic, values: list[bytes]) -> None:
    """Produce values to the home partition, many at a time."""
    producer = partition_producer(
        settings.replace(kafka={"environment": "feed", "transaction_timeout_ms": 60_000}), HOME
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        at_ms, key = OPEN_NS // 1_000_000, SYMBOL.encode()
        sends = [
            await producer.send(settings.topics.name(topic), value, key, partition=HOME, timestamp_ms=at_ms)
            for value in values
        ]
        await asyncio.gather(*sends)
        await producer.commit_transaction()
    finally:
        await close_producer(producer, 5)


async def test_commit_that_misses_its_deadline_is_made_smaller_until_it_goes_through(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brokers that take 10 MB/s, and 40 MB that wait at once: the deadline of a second is all that bounds a commit."""
    settings = await lab(
        broker.bootstrap,
        kafka={
            "transaction_timeout_ms": 1_000,
            "max_commit_bytes": 1_000_000_000,
            "max_backlog_bytes": 1_000_000_000,
        },
    )
    count = 800
    await send_many(settings, Topic.ORDERS, [_poison(50_000)] * count)
    run = start(settings, live())
    publish, transact = Committer.publish, Committer._transact

    def home() -> PartitionStatus | None:
        return run.service.status.partitions.get(HOME)

    async def when_all_has_arrived(self: Committer, records: Sequence[Record]) -> None:
        if any(record.partition == HOME and record.topic == settings.topics.name(Topic.DLQ) for record in records):
            await until(lambda: (p := home()) is None or p.taken_in.get(Topic.ORDERS, 0) >= count, "all has arrived")
        await publish(self, records)

    async def slowly(self: Committer, records: Sequence[Record]) -> None:
        await asyncio.sleep(sum(record.size for record in records) / 10e6)
        await transact(self, records)

    monkeypatch.setattr(Committer, "publish", when_all_has_arrived)
    monkeypatch.setattr(Committer, "_transact", slowly)
    try:
        await until(
            lambda: (
                run.service.status.totals_of(HOME).failures > 12
                or ((p := home()) is not None and p.positions.get(Topic.ORDERS, 0) >= count)
            ),
            "all is applied",
        )
        assert run.service.status.totals_of(HOME).failures <= 12
    finally:
        assert await run.end() == 0, run.service.error


async def test_commits_that_do_not_come_make_the_process_not_ready(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The brokers answer, the partition runs, and nothing is committed: that shows before any deadline is missed."""
    settings = await lab(broker.bootstrap, kafka={"transaction_timeout_ms": 60_000})
    open_again = asyncio.Event()
    publish = Committer.publish

    async def held(self: Committer, records: Sequence[Record]) -> None:
        await open_again.wait()
        await publish(self, records)

    limits = HealthSection(max_tick_age_s=0, max_commit_age_s=1.0)
    async with running(settings, live()) as run:

        def kinds() -> set[str]:
            return {r.kind for r in unready(run.service.status, limits, time.monotonic(), OPEN_NS, lambda _: None)}

        await until(lambda: not kinds(), "the partitions are owned")
        monkeypatch.setattr(Committer, "publish", held)
        await send(settings, Topic.ORDERS, [(SYMBOL, b"{", OPEN_NS)])
        await until(lambda: "not_committing" in kinds(), "it is not ready")
        open_again.set()
        await until(lambda: not kinds(), "it is ready again")
