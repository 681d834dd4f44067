"""An audit of what a service has published on a broker, through restarts and changed settings; and of forgeries."""

from __future__ import annotations

import asyncio
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from impactd.cli import main
from impactd.config import Settings
from impactd.core.base.settings import PlanSettings
from impactd.core.base.topics import Topic
from impactd.shell.audit.audit import audit_plans, find_plan
from impactd.shell.audit.journal import cover
from impactd.shell.audit.source import broker_source
from impactd.shell.broker.broker import Broker
from impactd.shell.kafka.client import close_producer, plain_producer
from impactd.shell.kafka.publish import publish
from impactd.shell.kafka.topics import admin_client, create_topics
from impactd.shell.replay import Sources
from tests.integration.kafka_lab import audited, lab, live, records_until, running, start, until, write_day
from tests.records import read_topic

pytestmark = pytest.mark.broker

#: A setting that may change under a state.
CORE: Final = live()
CHANGED: Final = replace(CORE, plans=PlanSettings(child_slices=3))


async def ran(settings: Settings, sources: Sources) -> None:
    """Run a day on arrival: restarted once, and once under other settings."""
    publishing = asyncio.create_task(publish(settings, sources, speed=300))
    seen = 0
    for core in (CORE, CORE, CHANGED):
        accepting = settings.replace(journal={"accept_settings": core is CHANGED})
        async with running(accepting, core) as run:
            seen += 20
            await records_until(settings, Topic.ESTIMATES, lambda found, n=seen: len(found) >= n)  # type: ignore[misc]
            if core is CHANGED:
                await publishing
                await until(
                    lambda: all(p.total_lag == 0 for p in run.service.status.partitions.values()), "all is applied"
                )


async def forged(settings: Settings) -> tuple[Settings, int]:
    """Return settings whose plans topic is a copy with one bit of one plan flipped, and that plan's partition."""
    plans = await read_topic(settings, settings.topics.name(Topic.PLANS))
    name = f"{settings.topics.prefix}forged"
    other = settings.replace(topics={"names": {"plans": name}})
    await create_topics(other)
    victim = plans[len(plans) // 2]
    producer = plain_producer(settings)
    await producer.start()
    try:
        for record in plans:
            value = bytearray(record.value or b"")
            if record is victim:
                place = value.index(b'"expected_cost":') + 17
                value[place] ^= 1
            sent = await producer.send(
                name, bytes(value), record.key, partition=record.partition, headers=list(record.headers)
            )
            await sent
    finally:
        await close_producer(producer, 5)
    return other, victim.partition


async def delete_before(settings: Settings, topic: Topic, partition: int, offset: int) -> None:
    async with admin_client(settings) as admin:
        where = TopicPartition(settings.topics.name(topic), partition)
        await admin.delete_records({where: RecordsToDelete(before_offset=offset)})


async def asked(settings: Settings, directory: Path, *args: str) -> tuple[int, str]:
    """Run a command in this process and return its exit code and what it said."""
    config = directory / "impactd.toml"
    names = "".join(f'names.{role} = "{name}"\n' for role, name in settings.topics.names if name is not None)
    config.write_text(
        f'[kafka]\nbootstrap = "{settings.kafka.bootstrap}"\n[topics]\nprefix = "{settings.topics.prefix}"\n{names}',
        encoding="utf-8",
    )
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = await asyncio.to_thread(main, [*args, "-c", str(config)])
    return code, said.getvalue()


async def test_audit_after_restart_and_changed_settings_agrees_and_finds_forgery_and_loss(
    broker: Broker, tmp_path: Path
) -> None:
    settings = await lab(broker.bootstrap, journal={"snapshot_s": 600})
    await ran(settings, write_day(tmp_path, 20))

    audit = await audited(settings)
    assert (audit.outcome, audit.differences, audit.underived) == ("agrees", [], [])
    journal = [
        orjson.loads(record.value or b"") for record in await read_topic(settings, settings.topics.name(Topic.JOURNAL))
    ]
    kinds = [entry["type"] for entry in journal]
    assert kinds.count("settings") == kinds.count("genesis") == 2
    assert audit.commits == len(kinds) - kinds.count("snapshot")
    assert audit.snapshots == kinds.count("snapshot") >= 4
    assert max(len(orjson.dumps(entry)) for entry in journal) < 256_000
    async with broker_source(settings) as source:
        assert (await cover(source))[0] == []

    # One plan, by the command, from the brokers and from a capture.
    plan = orjson.loads((await read_topic(settings, settings.topics.name(Topic.PLANS)))[-1].value or b"")
    named = f"{plan['cl_ord_id']}:{plan['plan_version']}"
    code, said = await asked(settings, tmp_path, "audit", "--plan", named, "--coverage")
    assert (code, "every byte agrees" in said, "every input offset once" in said) == (0, True, True), said
    code, said = await asked(settings, tmp_path, "capture", "--outputs", "--out", str(tmp_path / "captured"))
    assert code == 0, said
    code, said = await asked(settings, tmp_path, "audit", "--all", "--json", "--capture", str(tmp_path / "captured"))
    assert code == 0, said
    assert orjson.loads(said)["records"] == audit.records
    assert (await asked(settings, tmp_path, "audit", "--plan", "A1"))[0] == 2
    code, said = await asked(settings, tmp_path, "audit", "--plan", "nobody:1")
    assert (code, "not among the plans" in said) == (2, True)

    # One bit of one plan.
    other, partition = await forged(settings)
    code, said = await asked(other, tmp_path, "audit", "--all")
    assert code == 1, said
    assert f"plans/{partition} offset" in said
    assert "the value differs from byte" in said
    assert "1 records differ" in said

    # Inputs that are gone.
    for number in range(2):
        await delete_before(settings, Topic.TICKS, number, 30)
    code, said = await asked(settings, tmp_path, "audit", "--all")
    assert code == 3, said
    assert f"{settings.topics.name(Topic.TICKS)}/0 offsets 0 to" in said
    assert "cannot be derived: inputs are missing" in said
    async with broker_source(settings) as source:
        found = await find_plan(source, plan["cl_ord_id"], plan["plan_version"])
        # The last plans are derived from a snapshot behind what is gone.
        assert (await audit_plans(source, found)).outcome == "agrees"


async def test_service_under_other_settings_stops_unless_they_are_accepted_and_possible(
    broker: Broker, tmp_path: Path
) -> None:
    settings = await lab(broker.bootstrap)
    await publish(settings, write_day(tmp_path, 4))
    async with running(settings, CORE):
        await records_until(settings, Topic.PLANS, lambda found: len(found) >= 2)

    async def refused(core: Any, kafka: Settings) -> str:
        stopped = start(kafka, core)
        assert await stopped.task == 1
        return str(stopped.service.error)

    assert "--accept-settings" in await refused(CHANGED, settings)
    accepting = settings.replace(journal={"accept_settings": True})
    impossible = replace(CORE, model=replace(CORE.model, kind="power"))
    assert "model.kind was linear and is power" in await refused(impossible, accepting)
    async with running(accepting, CHANGED) as run:
        await until(lambda: run.service.status.ready, "the partitions are owned")
    async with running(settings, CHANGED) as run:
        await until(lambda: run.service.status.ready, "the state is that of the new settings now")
    assert (await audited(settings)).outcome == "agrees"
