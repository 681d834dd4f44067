"""The service as a person runs it, on a real broker: its pages, what makes it give up, and how it leaves."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from impactd.config import Settings
from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import Topic
from impactd.core.engine import Engine
from impactd.shell.audit.capture import capture
from impactd.shell.audit.derive import derive
from impactd.shell.broker.broker import Broker
from impactd.shell.broker.server import KafkaServer
from impactd.shell.kafka.client import close_producer, partition_producer, plain_producer
from impactd.shell.kafka.service import Service
from impactd.shell.kafka.stuck import StuckDetector
from impactd.shell.operate import observed
from impactd.wire.murmur2 import partition_for
from impactd.wire.records import encode_output
from tests.integration.kafka_lab import (
    COMPARED,
    DAY,
    MINUTE_NS,
    SECOND_NS,
    SYMBOLS,
    Running,
    assert_same,
    book,
    day,
    from_topics,
    lab,
    live,
    order,
    records_until,
    running,
    send,
    until,
)
from tests.records import read_topic

pytestmark = pytest.mark.broker


@dataclass
class Pages:
    """A client of the pages."""

    base: str
    session: aiohttp.ClientSession

    async def readyz(self) -> tuple[int, set[str]]:
        """Return the code and the kinds of the reasons."""
        async with self.session.get(f"{self.base}/readyz") as answer:
            body = orjson.loads(await answer.read())
            assert body["ready"] == (answer.status == 200)
            return answer.status, {reason["kind"] for reason in body["reasons"]}

    async def livez(self) -> int:
        async with self.session.get(f"{self.base}/livez") as answer:
            return answer.status

    async def metrics(self) -> dict[str, float]:
        """Return each metric's samples added up."""
        found: dict[str, float] = {}
        async with self.session.get(f"{self.base}/metrics") as answer:
            text = await answer.text()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
        return found

    async def until_ready(self, *, within_s: float = 60.0) -> set[str]:
        """Wait until it is ready, and return the reasons why it was not."""
        seen: set[str] = set()
        async with asyncio.timeout(within_s):
            while True:
                code, kinds = await self.readyz()
                if code == 200:
                    return seen
                seen |= kinds
                await asyncio.sleep(0.02)

    async def until_not_ready(self, kind: str, *, within_s: float = 60.0) -> None:
        """Wait until a reason is named."""
        async with asyncio.timeout(within_s):
            while True:
                if kind in (await self.readyz())[1]:
                    return
                await asyncio.sleep(0.02)


@asynccontextmanager
async def pages(service: Service, core: CoreSettings) -> AsyncIterator[Pages]:
    """Serve the pages of a service, and yield a client."""
    async with observed(service, core) as address, aiohttp.ClientSession() as session:
        assert address is not None
        yield Pages(f"http://{address[0]}:{address[1]}", session)


def _all_applied(service: Service) -> bool:
    owned = service.status.partitions.values()
    return len(owned) == 2 and all(p.knows_lag and not p.total_lag for p in owned)


async def test_pages_follow_a_service_from_start_to_end(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    rows = day(3)
    await send(settings, Topic.TICKS, [(symbol, value, ts) for symbol, ts, value in rows])
    await send(settings, Topic.TICKS, [(SYMBOLS[0], b"poison", rows[-1][1])])
    late = book(SYMBOLS[0], rows[0][1], 1)
    await send(settings, Topic.TICKS, [(SYMBOLS[0], late, rows[-1][1])])
    end = rows[-1][1] + 2 * MINUTE_NS
    await send(settings, Topic.TICKS, [(symbol, book(symbol, end, 1), end) for symbol in SYMBOLS])
    new = order("B1", SYMBOLS[0], "buy", rows[0][1], 30)
    await send(settings, Topic.ORDERS, [(SYMBOLS[0], orjson.dumps(new), rows[0][1])])
    core = live()
    service = Service(settings, core)
    async with pages(service, core) as client:
        assert await client.readyz() == (503, {"starting"})
        assert await client.livez() == 200
        run = Running(service, asyncio.create_task(service.run()))
        await records_until(settings, Topic.DLQ, lambda found: len(found) >= 1)
        seen = await client.until_ready()
        assert seen <= {"starting", "acquiring", "restoring", "lag"}
        await until(lambda: _all_applied(service), "all is applied")
        found = await client.metrics()
        assert found["impactd_ready"] == 1
        assert found["impactd_partitions_owned"] == 2
        assert found["impactd_lag_records"] == 0
        assert found["impactd_tick_rows_total"] == len(rows) + 3
        assert found["impactd_dead_letters_total"] == 1
        assert found["impactd_minutes_closed_total"] >= 6
        assert found["impactd_plans_total"] >= 1
        assert found["impactd_orders_active"] == 1
        assert found["impactd_rebalances_total"] >= 1
        for stage in ("decode", "apply", "refit", "solve", "transaction", "restore"):
            assert found[f"impactd_{stage}_seconds_count"] > 0, stage
        assert found["impactd_transaction_seconds_count"] == found["impactd_commits_total"]
        by_result = service.status.totals[partition_for(SYMBOLS[0], 2)].ticks
        assert by_result["late", ""] == 1
        assert await run.end() == 0
        code, kinds = await client.readyz()
        assert code == 503
        assert "draining" in kinds


async def test_readyz_of_a_service_that_failed_reports_it_and_livez_too(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    service = Service(settings, DAY)
    async with pages(service, DAY) as client:
        service._fail(RuntimeError("a task has died"))
        assert await client.livez() == 503
        assert "failed" in (await client.readyz())[1]


async def test_readyz_names_lag_that_cannot_be_applied(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = await lab(broker.bootstrap)
    released = threading.Event()
    monkeypatch.setattr(Engine, "apply", _held_by(released, Engine.apply))
    async with running(settings, live()) as run, pages(run.service, live()) as client:
        await client.until_ready()
        now = time.time_ns()
        await send(settings, Topic.TICKS, [(SYMBOLS[0], book(SYMBOLS[0], now + k, k), now) for k in range(60)])
        await client.until_not_ready("lag")
        released.set()
        await client.until_ready()


async def test_readyz_names_input_that_is_stale(broker: Broker) -> None:
    settings = await lab(broker.bootstrap, health={"max_tick_age_s": 1.0})
    now = time.time_ns()
    await send(settings, Topic.TICKS, [(SYMBOLS[0], book(SYMBOLS[0], now, 1), now)])
    async with running(settings, live()) as run, pages(run.service, live()) as client:
        await client.until_not_ready("stale_input")
        now = time.time_ns()
        await send(settings, Topic.TICKS, [(SYMBOLS[0], book(SYMBOLS[0], now, 1), now)])
        await client.until_ready()


async def test_lag_hidden_by_an_open_transaction_is_distinguished_from_what_can_be_read(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    home = partition_for(SYMBOLS[0], 2)
    now = time.time_ns()
    upstream = partition_producer(lab_upstream(settings), home)
    await upstream.start()
    try:
        async with running(settings, live()) as run:
            await until(lambda: run.service.status.ready, "the service is ready")
            await upstream.begin_transaction()
            sent = await upstream.send(
                settings.topics.name(Topic.TICKS), book(SYMBOLS[0], now, 1), SYMBOLS[0].encode(), partition=home
            )
            await sent
            await until(lambda: run.service.status.partitions[home].lag(Topic.TICKS) == 1, "the record is seen")
            assert run.service.status.partitions[home].stable_lag(Topic.TICKS) == 0
            await upstream.commit_transaction()
            await until(lambda: run.service.status.partitions[home].lag(Topic.TICKS) == 0, "the record is applied")
    finally:
        await close_producer(upstream, 5)


def lab_upstream(settings: Settings) -> Settings:
    """Return settings under which a producer fences nobody of the service's."""
    return Settings(
        kafka={
            "bootstrap": settings.kafka.bootstrap,
            "environment": f"{settings.kafka.environment}.upstream",
        }
    )


def _held_by(released: threading.Event, apply: Callable[..., Any]) -> Callable[..., Any]:
    """Return an `apply` that does not return before the event; the made-up day before a start is let through."""

    def held(*args: Any) -> Any:
        if threading.current_thread().name != "impactd-compile":
            released.wait()
        return apply(*args)

    return held


def _doing(service: Service, partition: int) -> str | None:
    owned = service.status.partitions.get(partition)
    return None if owned is None else owned.doing


async def test_partition_that_never_moves_ends_the_process_with_all_that_is_known(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = await lab(broker.bootstrap, kafka={"drain_timeout_ms": 2_000, "revoke_timeout_ms": 500})
    released = threading.Event()
    monkeypatch.setattr(Engine, "apply", _held_by(released, Engine.apply))
    now = time.time_ns()
    await send(settings, Topic.TICKS, [(SYMBOLS[0], book(SYMBOLS[0], now, 1), now)])
    service = Service(settings, live())
    try:
        with capture_logs() as logged:
            running_service = asyncio.create_task(service.run())
            home = partition_for(SYMBOLS[0], 2)
            await until(lambda: _doing(service, home) == "applying input", "it applies its first input")
            # Impatient only now: how long a start takes is the machine's affair.
            service._stuck = StuckDetector(3.0, in_event_time=False)
            assert await running_service == 1
    finally:
        released.set()
    (line,) = [entry for entry in logged if entry["event"] == "partition stuck"]
    assert line["partition"] == home
    assert (line["phase"], line["doing"]) == ("running", "applying input")
    assert line["positions"]["ticks"] < line["readable_to"]["ticks"]
    assert any("_commits" in frame for stack in line["tasks"].values() for frame in stack)
    assert any("held" in frame for stack in line["threads"].values() for frame in stack)
    assert "makes no progress" in str(service.error)


@pytest.mark.slow
async def test_broker_that_is_away_makes_the_service_unready_but_not_stuck(
    new_kafka: Callable[..., KafkaServer],
) -> None:
    server = new_kafka()
    settings = await lab(server.bootstrap, kafka={"request_timeout_ms": 2_000, "transaction_timeout_ms": 3_000})
    now = time.time_ns()
    await send(settings, Topic.TICKS, [(SYMBOLS[0], book(SYMBOLS[0], now, 1), now)])
    service = Service(settings, live())
    async with pages(service, live()) as client:
        run = Running(service, asyncio.create_task(service.run()))
        await client.until_ready()
        await until(lambda: sum(totals.rows for totals in service.status.totals.values()) == 1, "the tick is applied")
        await asyncio.to_thread(server.kill)
        await client.until_not_ready("broker_away")
        assert await client.livez() == 200
        # From here on impatient with brokers that answer; these do not.
        patient, impatient = service._stuck, StuckDetector(3.0, in_event_time=False)
        service._stuck = impatient
        watched = time.monotonic()
        await until(lambda: time.monotonic() - watched > 6.0 or run.task.done(), "twice the patience")
        assert not run.task.done()
        service._stuck = patient
        await asyncio.to_thread(server.restart)
        await client.until_ready(within_s=600.0)
        now = time.time_ns()
        before = sum(totals.rows for totals in service.status.totals.values())
        await send(settings, Topic.TICKS, [(SYMBOLS[0], book(SYMBOLS[0], now, 1), now)])
        await until(lambda: sum(t.rows for t in service.status.totals.values()) > before, "ticks are applied again")
        assert await run.end() == 0


def _command(settings: Settings) -> tuple[str, ...]:
    values = {
        "kafka.bootstrap": settings.kafka.bootstrap,
        "kafka.environment": settings.kafka.environment,
        "kafka.group": settings.kafka.group,
        "kafka.session_timeout_ms": settings.kafka.session_timeout_ms,
        "kafka.heartbeat_interval_ms": settings.kafka.heartbeat_interval_ms,
        "topics.prefix": settings.topics.prefix,
        "books.interval_s": 1,
        "books.grace_s": 0.2,
        "log.format": "json",
    }
    flags = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    return (sys.executable, "-m", "impactd", "run", *flags)


async def _load(settings: Settings, enough: asyncio.Event) -> int:
    """Send books, orders and fills as fast as they are acknowledged, until there are enough; return how many."""
    producer = plain_producer(settings)
    await producer.start()
    count = 0
    try:
        while not enough.is_set():
            sends = []
            for symbol in SYMBOLS:
                now, partition = time.time_ns(), partition_for(symbol, 2)
                records = [(Topic.TICKS, book(symbol, now + k, count + k)) for k in range(20)]
                cl_ord_id = f"{symbol}-{count}"
                new = order(cl_ord_id, symbol, "buy", now, 1, end=now + 20 * SECOND_NS)
                records.append((Topic.ORDERS, orjson.dumps(new)))
                fill = {
                    "type": "fill",
                    "exec_id": f"E{cl_ord_id}",
                    "cl_ord_id": cl_ord_id,
                    "symbol": symbol,
                    "last_qty": 100,
                    "last_px": 31.2,
                    "ts_event": now,
                }
                records.append((Topic.EXECUTIONS, orjson.dumps(fill)))
                for topic, value in records:
                    name = settings.topics.name(topic)
                    sends.append(await producer.send(name, value, symbol.encode(), partition=partition))
            await asyncio.gather(*sends)
            count += len(sends)
            await asyncio.sleep(0.1)
    finally:
        await close_producer(producer, 5)
    return count


@pytest.mark.slow
@pytest.mark.timeout(1200)  # three processes, one after the other, on a machine that may be busy
async def test_run_told_to_leave_under_load_leaves_in_time_and_loses_nothing(broker: Broker, tmp_path: Path) -> None:
    settings = await lab(broker.bootstrap)
    command = _command(settings)
    enough = asyncio.Event()
    loading = asyncio.create_task(_load(settings, enough))
    try:
        for number, commits in ((signal.SIGTERM, 15), (signal.SIGINT, 40)):
            process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
            try:
                await records_until(settings, Topic.JOURNAL, lambda found, n=commits: len(found) >= n)  # type: ignore[misc]
                process.send_signal(number)
                async with asyncio.timeout(120):
                    assert await process.wait() == 0
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    finally:
        enough.set()
        sent = await loading
    # What was left over is applied by one more.
    core = live(1.0, 0.2)
    async with running(settings, core) as run:
        await until(lambda: _all_applied(run.service), "all is applied")
    await capture(settings, tmp_path)
    derived: dict[Topic, list[list[bytes]]] = {topic: [[], []] for topic in COMPARED}
    for step in derive(tmp_path, settings):
        for output in step.commit.outputs:
            if output.topic in derived:
                derived[output.topic][step.partition].append(encode_output(output).value)
    assert_same(await from_topics(settings), derived)
    assert all(derived[Topic.PLANS])
    seqs: dict[int, list[int]] = {0: [], 1: []}
    read = 0
    for record in await read_topic(settings, settings.topics.name(Topic.JOURNAL)):
        entry = orjson.loads(record.value or b"")
        if entry["type"] != "snapshot":
            seqs[record.partition].append(entry["commit_seq"])
        read += sum(entry.get("to", {}).values()) - sum(entry.get("from", {}).values())
    assert all(found == list(range(len(found))) for found in seqs.values())
    assert read == sent
