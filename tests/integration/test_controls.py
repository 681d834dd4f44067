"""Halt, resume and dead letters by their commands, on a broker, with the service as a process of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from impactd.cli import main
from impactd.config import Settings
from impactd.core.base.settings import GateSettings, InvalidSettings
from impactd.core.base.topics import Topic
from impactd.core.inputs.events import Control
from impactd.shell.audit.capture import capture
from impactd.shell.audit.derive import derive
from impactd.shell.broker.broker import Broker
from impactd.shell.health import unready
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.control import give
from impactd.shell.kafka.service import Service
from impactd.wire.murmur2 import partition_for
from impactd.wire.records import encode_output
from tests.integration.kafka_lab import (
    COMPARED,
    MINUTE_NS,
    SYMBOLS,
    Running,
    assert_same,
    book,
    from_topics,
    lab,
    live,
    order,
    records_until,
    running,
    send,
    until,
)
from tests.integration.test_commands import environment, impactd, succeeded
from tests.records import read_topic

pytestmark = pytest.mark.broker

HOMES = tuple(partition_for(symbol, 2) for symbol in SYMBOLS)


@asynccontextmanager
async def processes(environ: dict[str, str], log: Path, n: int = 2) -> AsyncIterator[None]:
    """Run `n` services as processes for the length of a block; each must end in order."""
    running = []
    for k in range(n):
        with (log / f"log-{k}").open("wb") as file:
            command = (sys.executable, "-m", "impactd", "run")
            running.append(await asyncio.create_subprocess_exec(*command, env=environ, stderr=file))
    try:
        yield
        for process in running:
            process.send_signal(signal.SIGTERM)
        codes = [await asyncio.wait_for(process.wait(), 30) for process in running]
        logged = [(log / f"log-{k}").read_bytes()[-2_000:].decode() for k in range(n)]
        assert codes == [0] * n, logged
    finally:
        for process in running:
            if process.returncode is None:
                process.kill()
                await process.wait()


def live_environment(settings: Settings) -> dict[str, str]:
    return environment(settings) | {"IMPACTD__PLANS__APPLY": "on_arrival", "IMPACTD__HTTP__PORT": "0"}


async def send_orders(settings: Settings, prefix: str = "A") -> dict[str, str]:
    """Send a book and an order for a symbol of each partition and return symbols by cl_ord_id."""
    now = time.time_ns()
    orders = {}
    for symbol in SYMBOLS:
        await send(settings, Topic.TICKS, [(symbol, book(symbol, now, 0), now)])
        name = f"{prefix}-{symbol}"
        orders[name] = symbol
        value = order(name, symbol, "buy", now, 30)
        await send(settings, Topic.ORDERS, [(symbol, orjson.dumps(value), now)])
    return orders


def latest(records: list[ConsumedRecord]) -> dict[str, dict[str, Any]]:
    plans: dict[str, dict[str, Any]] = {}
    for record in records:
        plan = orjson.loads(record.value or b"")
        plans[plan["cl_ord_id"]] = plan
    return plans


async def plans_until(settings: Settings, **statuses: str) -> dict[str, dict[str, Any]]:
    """Wait until the latest plan of each order has its status."""
    wanted = {name.replace("_", "-"): status for name, status in statuses.items()}

    def settled(records: list[ConsumedRecord]) -> bool:
        plans = latest(records)
        return all(plans.get(name, {}).get("status") == status for name, status in wanted.items())

    return latest(await records_until(settings, Topic.PLANS, settled))


async def test_halt_reaches_every_process_and_resume_lifts_it(broker: Broker, tmp_path: Path) -> None:
    settings = await lab(broker.bootstrap)
    environ = live_environment(settings)

    async def control(kind: str, scope: str) -> None:
        given = await give(settings, Control(kind, scope, "mine", time.time_ns()))
        assert (set(given.offsets), given.failed) == ({0, 1}, {})

    async with processes(environ, tmp_path):
        await send_orders(settings)
        await plans_until(settings, A_FROG="active", A_AAPL="active")

        said = await succeeded(environ, "halt", "--reason", "drill")
        assert said.splitlines() == [
            f"halt of everything written to {settings.topics.name(Topic.CONTROL)}/{partition} at offset 0"
            for partition in range(2)
        ]
        plans = await plans_until(settings, A_FROG="halted", A_AAPL="halted")
        assert {(plan["text"], plan["reason"], *plan["qty"]) for plan in plans.values()} == {("drill", "control")}

        # What is halted stays so for whoever comes, and consumption goes on.
        await send_orders(settings, "B")
        await plans_until(settings, B_FROG="halted", B_AAPL="halted")

        done = await asyncio.to_thread(impactd, environ, "halt", "--symbol", "FORG", "--reason", "drill")
        assert (done.returncode, done.stdout.count("written to")) == (3, 2)
        done = await asyncio.to_thread(impactd, environ, "resume", "--order", "nobody")
        assert (done.returncode, done.stdout.count("written to")) == (3, 2)
        await succeeded(environ, "resume", "--symbol", "FORG")
        await succeeded(environ, "halt", "--symbol", "FROG", "--reason", "mine")
        await control("resume", "*")
        await plans_until(settings, A_FROG="halted", A_AAPL="active", B_FROG="halted", B_AAPL="active")
        await control("resume", "FROG")
        await control("halt", "A-AAPL")
        plans = await plans_until(settings, A_FROG="active", A_AAPL="halted", B_AAPL="active")
        assert plans["A-AAPL"]["text"] == "mine"
    alerts = [orjson.loads(r.value or b"") for r in await read_topic(settings, settings.topics.name(Topic.ALERTS))]
    assert [a["text"] for a in alerts if a["kind"] == "halt"].count("*: drill (active orders here: 1)") == 2


async def test_halt_that_a_partition_does_not_take_fails_and_states_which(broker: Broker) -> None:
    settings = await lab(broker.bootstrap, topics={"partitions": 2})
    # The broker takes no record of this size, so that none of them stands.
    small = settings.replace(wire={"max_message_bytes": 1_000})
    given = await give(small, Control("halt", "*", "x" * 2_000, 1))
    assert given.offsets == {}
    assert set(given.failed) == {0, 1}
    assert await read_topic(settings, settings.topics.name(Topic.CONTROL)) == []


async def test_halt_without_its_topic_fails_and_writes_nothing(broker: Broker) -> None:
    settings = (await lab(broker.bootstrap)).replace(topics={"prefix": "nowhere."})
    done = await asyncio.to_thread(impactd, environment(settings), "halt", "--reason", "drill")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "missing topic: nowhere.control" in done.stderr


# --- dead letters -------------------------------------------------------------


def letters(out: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in out.splitlines()]


async def dead(settings: Settings, enough: Callable[[list[ConsumedRecord]], bool]) -> list[ConsumedRecord]:
    return await records_until(settings, Topic.DLQ, enough)


@pytest.fixture
def _unlogged() -> Iterator[None]:
    """Keep what the service logs, which runs in this process, out of what a command says."""
    with structlog.testing.capture_logs():
        yield


@pytest.mark.usefixtures("_unlogged")
async def test_dlq_lists_shows_and_sends_again(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = await lab(broker.bootstrap, kafka={"max_dead_letter_bytes": 1_000})
    for name, value in live_environment(settings).items():
        monkeypatch.setenv(name, value)

    async def dlq(*args: str, code: int = 0) -> str:
        """Run the command in this process, which spares its start, and return what it says."""
        capsys.readouterr()
        assert await asyncio.to_thread(main, ["dlq", *args]) == code
        out, err = capsys.readouterr()
        assert (err.count("\n"), bool(code) and bool(out)) == (1 if code else 0, False)
        return out

    now = time.time_ns()
    frog, _ = HOMES
    fill = {
        "type": "fill",
        "exec_id": "E1",
        "cl_ord_id": "A-FROG",
        "symbol": "FROG",
        "last_qty": 7,
        "last_px": 31.2,
        "ts_event": now,
    }
    async with running(settings, live()):
        await send_orders(settings)
        # One that nothing mends, one that stands in the wrong partition, one too long to be kept whole.
        await send(settings, Topic.TICKS, [("FROG", b"\xff\x00no json", now)])
        await send(settings, Topic.EXECUTIONS, [("FROG", orjson.dumps(fill), now)], partition=1 - frog)
        await send(settings, Topic.ORDERS, [("FROG", b"[" + b"1" * 2_000, now)])
        await dead(settings, lambda found: len(found) == 3)

        found = letters(await dlq("list", "--json"))
        assert sorted((x["reason"], x["source_topic"].split(".")[-1], x["truncated"]) for x in found) == [
            ("json", "ticks", False),
            ("misplaced", "executions", False),
            ("not_finite", "orders", True),
        ]
        table = await dlq("list", "--reason", "json", "--topic", "ticks", "--since", "5m")
        assert "1  dead letters" in table
        assert await dlq("list", "--since", str(now + 10 * MINUTE_NS), "--json") == ""
        place = {x["reason"]: x["place"] for x in found}

        text = await dlq("show", place["misplaced"])
        assert "misplaced" in text
        assert orjson.loads(text.split("\n\n")[1]) == fill
        dump = await dlq("show", place["json"])
        assert "ff 00 6e 6f 20 6a 73 6f 6e" in dump
        assert "..no json" in dump
        await dlq("show", "1:999", code=1)

        await dlq("redrive", "--all", code=2)

        said = await dlq("redrive", "--all", "--yes")
        assert [line.split(maxsplit=1) for line in said.splitlines()] == [
            ["1", "stay: truncated"],
            ["1", f"to {settings.topics.name(Topic.EXECUTIONS)}"],
            ["1", f"to {settings.topics.name(Topic.TICKS)}"],
            ["2", "sent again"],
        ]
        # The fill has come home, and counts; the tick is no better for its second journey.
        stored = await records_until(settings, Topic.STATE, lambda rs: any(b'"E1"' in (r.value or b"") for r in rs))
        assert stored[-1].partition == frog
        again = await dead(settings, lambda records: len(records) == 4)

        assert "1  sent again" in await dlq("redrive", place["json"], "--yes")
        await dead(settings, lambda records: len(records) == 5)
        await dlq("redrive", "0:999", "--yes", code=1)
    assert [record.header("reason") for record in again].count(b"json") == 2
    executions = await read_topic(settings, settings.topics.name(Topic.EXECUTIONS))
    came, home = sorted(executions, key=lambda record: record.partition == frog)
    assert (came.value, came.key) == (home.value, home.key)
    assert (
        home.header("redriven_from")
        == f"{settings.topics.name(Topic.DLQ)}/{place['misplaced']}".replace(":", "/").encode()
    )


# --- kill switch, gate, share of invalid input ----------------------------------


async def test_kill_switch_gate_and_invalid_input_are_seen_and_derived_again(broker: Broker, tmp_path: Path) -> None:
    """Each stops or warns while the service runs, and the journal derives all of it byte for byte."""
    settings = await lab(broker.bootstrap)
    core = replace(live(), gate=GateSettings(max_order_qty=6_000), invalid=InvalidSettings(0.1, 20, 5))
    stop = tmp_path / "stop"
    stop.touch()
    service = Service(settings.replace(controls={"kill_switch_file": str(stop)}), core)
    run = Running(service, asyncio.create_task(service.run()))
    try:
        await send_orders(settings)
        plans = await plans_until(settings, A_FROG="halted", A_AAPL="halted")
        assert {plan["text"] for plan in plans.values()} == {f"kill switch: {stop} exists"}
        stop.unlink()
        await plans_until(settings, A_FROG="active", A_AAPL="active")
        stop.touch()
        await plans_until(settings, A_FROG="halted", A_AAPL="halted")
        stop.unlink()
        await plans_until(settings, A_FROG="active", A_AAPL="active")

        now = time.time_ns()
        large = order("L1", "FROG", "buy", now, 30, order_qty=7_000)
        await send(settings, Topic.ORDERS, [("FROG", orjson.dumps(large), now)])
        plans = await plans_until(settings, L1="halted")
        assert "gate.max_order_qty" in plans["L1"]["text"]
        smaller = {"type": "replace", "cl_ord_id": "L1", "symbol": "FROG", "ts_event": now, "order_qty": 5_000}
        await send(settings, Topic.ORDERS, [("FROG", orjson.dumps(smaller), now)])
        await plans_until(settings, L1="active")

        await send(settings, Topic.TICKS, [("FROG", b"{", now)] * 30)
        await dead(settings, lambda found: len(found) == 30)
        await until(lambda: service.status.partitions[HOMES[0]].too_many_invalid, "the partition says so")
        reasons = unready(service.status, settings.health, time.monotonic(), now, lambda _: None)
        assert {(reason.kind, reason.partition) for reason in reasons} == {("invalid_ratio", HOMES[0])}
    finally:
        code = await run.end()
    assert code == 0, service.error
    alerts = [
        orjson.loads(r.value or b"")["kind"] for r in await read_topic(settings, settings.topics.name(Topic.ALERTS))
    ]
    # An order may be read before the book that was sent first: it is of another topic.
    told = sorted(kind for kind in alerts if kind != "missing_ticks")
    assert told == ["halt"] * 4 + ["invalid_ratio"] + ["resume"] * 4 + ["withheld"]

    await capture(settings, tmp_path / "captured")
    found: dict[Topic, list[list[bytes]]] = {topic: [[], []] for topic in COMPARED}
    for derived in derive(tmp_path / "captured", settings):
        for output in derived.commit.outputs:
            if output.topic in found:
                found[output.topic][derived.partition].append(encode_output(output).value)
    assert_same(found, await from_topics(settings))


async def test_partition_taken_over_without_the_file_continues(broker: Broker, tmp_path: Path) -> None:
    settings = await lab(broker.bootstrap)
    stop = tmp_path / "stop"
    stop.touch()
    first = Service(settings.replace(controls={"kill_switch_file": str(stop)}), live())
    run = Running(first, asyncio.create_task(first.run()))
    await send_orders(settings)
    await plans_until(settings, A_FROG="halted", A_AAPL="halted")
    assert await run.end() == 0
    async with running(settings, live()):
        await plans_until(settings, A_FROG="active", A_AAPL="active")
