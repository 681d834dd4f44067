"""The programs of docs/howto/connect-a-program.md, each against a broker."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import orjson
import pytest

from impactd.client import Client, Plan, RefusedError
from impactd.config import Settings
from impactd.core.base.settings import MINUTE_NS
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.broker.release import BrokerUnavailable, kafka_jars
from impactd.shell.broker.server import KAFKA_VERSION
from impactd.wire.json_orders import decode_events
from impactd.wire.murmur2 import partition_for
from tests.integration.kafka_lab import OPEN_NS, SYMBOLS, book, day, lab, live, order, running, send
from tests.paths import ROOT
from tests.records import read_topic

pytestmark = pytest.mark.broker

PAGE = ROOT / "docs" / "howto" / "connect-a-program.md"

#: Symbols whose partitions a partitioner that is not Kafka's would mix up.
MANY = tuple(f"S{k}" for k in range(12))


def program(title: str, settings: Settings, directory: Path) -> Path:
    """Write a program of the page, with the broker and the topics of a test."""
    (text,) = re.findall(rf'^```\w+ title="{title}"\n(.*?)^```$', PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    text = text.replace("localhost:9092", settings.kafka.bootstrap).replace('"impactd.', f'"{settings.topics.prefix}')
    text = text.replace("async with Client(", f"async with Client(prefix={settings.topics.prefix!r}, bootstrap=")
    path = directory / title
    path.write_text(text, encoding="utf-8")
    return path


async def run(words: Sequence[str | Path], directory: Path) -> str:
    """Run a command, off the event loop, and return what it printed."""
    done = await asyncio.to_thread(
        subprocess.run, [*map(str, words)], cwd=directory, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


async def check_orders(settings: Settings) -> None:
    """Every order is one that the service takes, in its symbol's partition."""
    records = await read_topic(settings, settings.topics.name(Topic.ORDERS))
    assert sorted(orjson.loads(record.value or b"")["symbol"] for record in records) == sorted(MANY)
    for record in records:
        assert record.partition == partition_for((record.key or b"").decode(), 2)
        assert not decode_events(Topic.ORDERS, [record.value or b""], [0], [0]).refused


async def test_python_program_sends_follows_and_fills(broker: Broker, tmp_path: Path) -> None:
    settings = await lab(broker.bootstrap)
    now = time.time_ns()
    async with running(settings, live()):
        await send(settings, Topic.TICKS, [("FROG", book("FROG", now, 0), now)])
        printed = await run([sys.executable, program("trade.py", settings, tmp_path)], tmp_path)
    plans = [line.split() for line in printed.splitlines()]
    assert [(reason, status, qty) for _, reason, status, qty, _ in plans] == [
        ("new", "active", "600"),
        ("fill", "active", "400"),
        ("cancel", "canceled", "0"),
    ]


async def test_client_follows_alerts_costs_and_latest_plans(broker: Broker) -> None:
    """Whatever is published after the opening is seen, however late one begins to follow."""
    settings = await lab(broker.bootstrap)
    minute, now = 60_000_000_000, time.time_ns()
    async with running(settings, live()), Client(settings.kafka.bootstrap, prefix=settings.topics.prefix) as desk:
        # Records of a stranger in the topics of the service are passed over.
        for topic in (Topic.PLANS, Topic.PLANS_LATEST, Topic.ALERTS, Topic.TCA):
            await send(settings, topic, [("FROG", b"{", now), ("FROG", b'{"type":"plan"}', now)])
        for symbol in SYMBOLS:
            name = f"L-{symbol}"
            await desk.new(name, symbol, "buy", order_qty=300, start=now, end=now + 10 * minute)
            await desk.replace(f"{name}-2", symbol, orig_cl_ord_id=name, order_qty=200)
            await desk.fill(f"E-{symbol}", f"{name}-2", symbol, 100, 31.25)
            await desk.correct(f"F-{symbol}", f"E-{symbol}", name, symbol, 50, "31.25")
            await desk.bust(f"G-{symbol}", f"F-{symbol}", name, symbol)
            await desk.cancel(f"{name}-3", symbol, orig_cl_ord_id=f"{name}-2")
        with pytest.raises(RefusedError) as refused:
            await desk.new("bad", "FROG", "buy", order_qty=-1, start=now, end=now + minute)
        assert refused.value.reason == "value"
        reasons = [plan["reason"] async for plan in _until_canceled(desk, f"L-{SYMBOLS[0]}")]
        assert reasons == ["new", "replace", "fill", "correct", "bust", "cancel"]
        async for _ in _until_canceled(desk, f"L-{SYMBOLS[1]}"):
            pass
        latest = await desk.latest_plans()
        assert {name: plan["status"] for name, plan in latest.items()} == {f"L-{s}": "canceled" for s in SYMBOLS}
        async for alert in desk.alerts():
            assert (alert["type"], alert["kind"]) == ("alert", "missing_ticks")
            break
        async for cost in desk.costs():
            assert cost["type"] in {"fill_cost", "order_cost"}
            break


async def test_client_follows_slices(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    symbol, at = SYMBOLS[0], OPEN_NS + MINUTE_NS
    async with running(settings), Client(settings.kafka.bootstrap, prefix=settings.topics.prefix) as desk:
        value = orjson.dumps(order("B1", symbol, "buy", at, 10))
        await send(settings, Topic.ORDERS, [(symbol, value, at)])
        await send(settings, Topic.TICKS, [(name, value, ts_event) for name, ts_event, value in day(6)])
        async for one in desk.slices("B1"):
            assert (one["type"], one["cl_ord_id"], one["slice"]) == ("slice", "B1", 1)
            assert one["valid_until"] > one["as_of"]
            break


async def _until_canceled(desk: Client, name: str) -> AsyncIterator[Plan]:
    async for plan in desk.plans(name):
        yield plan
        if plan["status"] == "canceled":
            return


async def test_confluent_program_finds_the_partitions(broker: Broker, tmp_path: Path) -> None:
    pytest.importorskip("confluent_kafka")
    settings = await lab(broker.bootstrap)
    await run([sys.executable, program("order.py", settings, tmp_path), *MANY], tmp_path)
    await check_orders(settings)


async def test_java_program_finds_the_partitions(broker: Broker, tmp_path: Path) -> None:
    if shutil.which("javac") is None:
        pytest.skip("javac is not installed")
    try:
        jars = await asyncio.to_thread(kafka_jars, KAFKA_VERSION)
    except BrokerUnavailable as error:
        pytest.skip(f"Kafka's jars are not there: {error}")
    settings = await lab(broker.bootstrap)
    path = program("Order.java", settings, tmp_path)
    await run(["javac", "-cp", f"{jars}/*", path], tmp_path)
    await run(["java", "-cp", f"{jars}/*{os.pathsep}{tmp_path}", "Order", *MANY], tmp_path)
    await check_orders(settings)


async def test_go_program_finds_the_partitions(broker: Broker, tmp_path: Path) -> None:
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    settings = await lab(broker.bootstrap)
    path = program("order.go", settings, tmp_path)
    await run(["go", "mod", "init", "order"], tmp_path)
    fetched = await asyncio.to_thread(
        subprocess.run, ["go", "mod", "tidy"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600
    )
    if fetched.returncode != 0:
        pytest.skip(f"franz-go cannot be fetched: {fetched.stderr[-200:]}")
    await run(["go", "run", path, *MANY], tmp_path)
    await check_orders(settings)
