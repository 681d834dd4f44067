"""A place of its own on the shared broker for each test, and a small day to send through it."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from impactd.config import Settings
from impactd.core.base.settings import BookSettings, CoreSettings, PlanSettings
from impactd.core.base.topics import Topic
from impactd.shell.audit.audit import Audit, audit_all
from impactd.shell.audit.source import broker_source
from impactd.shell.kafka.client import close_producer, plain_producer
from impactd.shell.kafka.consume import ConsumedRecord, tail
from impactd.shell.kafka.service import Service
from impactd.shell.kafka.topics import create_topics
from impactd.shell.outputs import FILES
from impactd.shell.replay import Sources, replay
from impactd.wire.murmur2 import partition_for
from tests.records import read_topic

#: 2025-04-03 13:30 UTC, a minute's beginning.
OPEN_NS = 1_743_687_000_000_000_000
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS

#: Two symbols that live on different numbers of two partitions.
SYMBOLS = ("FROG", "AAPL")
PARTITIONS = 2

#: What a recorded day is applied with: whatever holds by slices holds by the minute.
DAY = CoreSettings(apply="in_event_time", plans=PlanSettings(act="slices"))

_DEADLINE_S = 300.0
_names = itertools.count()


def lab_settings(bootstrap: str, **sections: dict[str, Any]) -> Settings:
    """Return settings with topics, group and environment that no other test has, and other values by section."""
    name = f"t{os.getpid()}-{next(_names)}"
    settings = Settings(
        kafka={
            "bootstrap": bootstrap,
            "environment": name,
            "group": f"{name}.group",
            "session_timeout_ms": 6_000,
            "heartbeat_interval_ms": 500,
        },
        topics={"prefix": f"{name}.", "partitions": 2, "input_retention_ms": -1, "output_retention_ms": -1},
        http={"port": 0},
        health={"max_lag": 50, "max_tick_age_s": 0},
    )
    return settings.replace(**sections)


async def lab(bootstrap: str, **sections: dict[str, Any]) -> Settings:
    """Return settings whose topics exist."""
    settings = lab_settings(bootstrap, **sections)
    await create_topics(settings)
    return settings


@dataclass
class Running:
    """A service that runs in this process."""

    service: Service
    task: asyncio.Task[int]

    async def end(self) -> int:
        """Stop it and return its exit code."""
        self.service.stop()
        return await self.task


@asynccontextmanager
async def running(settings: Settings, core: CoreSettings = DAY) -> AsyncIterator[Running]:
    """Run a service for the length of a block, and fail if it failed."""
    run = start(settings, core)
    try:
        yield run
    finally:
        code = await run.end()
    assert code == 0, run.service.error


def start(settings: Settings, core: CoreSettings = DAY) -> Running:
    """Start a service and return it."""
    service = Service(settings, core)
    return Running(service, asyncio.create_task(service.run()))


async def until(condition: Callable[[], bool], what: str, within_s: float = _DEADLINE_S) -> None:
    """Wait until `condition` holds; it is looked at often, and for a limited time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s"
        await asyncio.sleep(0.02)


async def records_until(
    settings: Settings, topic: Topic, enough: Callable[[list[ConsumedRecord]], bool]
) -> list[ConsumedRecord]:
    """Return the records of a topic as soon as there are enough."""
    found: list[ConsumedRecord] = []
    async with asyncio.timeout(_DEADLINE_S), aclosing(tail(settings, settings.topics.name(topic))) as records:
        async for record in records:
            found.append(record)
            if enough(found):
                break
    return found


async def values_by_partition(settings: Settings, topic: Topic, partitions: int = 2) -> list[list[bytes]]:
    """Return the values of a topic's records, by partition, in order."""
    values: list[list[bytes]] = [[] for _ in range(partitions)]
    for record in await read_topic(settings, settings.topics.name(topic)):
        values[record.partition].append(record.value or b"")
    return values


async def send(
    settings: Settings, topic: Topic, records: Sequence[tuple[str | None, bytes, int]], **options: Any
) -> None:
    """Produce (key, value, timestamp in ns) and wait for the delivery; `partition` overrules the key's."""
    producer = plain_producer(settings)
    await producer.start()
    try:
        for key, value, timestamp in records:
            partition = options.get("partition", partition_for(key or "", 2))
            sent: Awaitable[Any] = await producer.send(
                settings.topics.name(topic),
                value,
                None if key is None else key.encode(),
                partition=partition,
                timestamp_ms=timestamp // 1_000_000,
                headers=options.get("headers"),
            )
            await sent
    finally:
        await close_producer(producer, 5)


def book(symbol: str, ts_event: int, step: int) -> bytes:
    """Return a book of ten levels a side that varies with `step`."""
    mid = 31.0 + (step * 7 % 40) * 0.01
    depth = 100 + step * 13 % 50
    return orjson.dumps(
        {
            "type": "book",
            "symbol": symbol,
            "ts_event": ts_event,
            "bids": [[round(mid - 0.01 * (k + 1), 2), depth * (k + 1)] for k in range(10)],
            "asks": [[round(mid + 0.01 * (k + 1), 2), depth * (k + 2)] for k in range(10)],
        }
    )


def day(minutes: int, symbols: Sequence[str] = SYMBOLS, start_ns: int = OPEN_NS) -> list[tuple[str, int, bytes]]:
    """Return (symbol, ts_event, value) of books each ten seconds and some trades; the last stands at a minute's end."""
    rows = []
    for step in range(minutes * 6):
        for place, symbol in enumerate(symbols):
            ts_event = start_ns + step * 10 * SECOND_NS + 8_900_000_000 + place * 100_000_000
            rows.append((symbol, ts_event, book(symbol, ts_event, step)))
            if step % 5 == place:
                trade = {
                    "type": "trade",
                    "symbol": symbol,
                    "ts_event": ts_event,
                    "px": 31.1,
                    "qty": 100,
                    "aggressor": "buy",
                }
                rows.append((symbol, ts_event, orjson.dumps(trade)))
    return rows


def order(cl_ord_id: str, symbol: str, side: str, ts_event: int, minutes: int, **fields: Any) -> dict[str, Any]:
    """Return a new order over `minutes` from its own time on."""
    return {
        "type": "new",
        "cl_ord_id": cl_ord_id,
        "symbol": symbol,
        "side": side,
        "order_qty": 5_000,
        "ts_event": ts_event,
        "start": ts_event,
        "end": ts_event + minutes * MINUTE_NS,
        **fields,
    }


def write_day(directory: Path, minutes: int) -> Sources:
    """Write a day's files: ticks, orders of which one is replaced and one cancelled, and a fill."""
    directory.mkdir(parents=True, exist_ok=True)
    buy, sell = SYMBOLS
    at = OPEN_NS + MINUTE_NS + 500_000_000
    orders = [
        order("B1", buy, "buy", at, minutes - 2),
        order("S1", sell, "sell", at, minutes - 2),
        {"type": "replace", "cl_ord_id": "S1", "symbol": sell, "ts_event": at + 2 * MINUTE_NS, "order_qty": 8_000},
        order("B2", buy, "buy", at + MINUTE_NS, 5),
        {"type": "cancel", "cl_ord_id": "B2", "symbol": buy, "ts_event": at + 2 * MINUTE_NS},
    ]
    fill = {
        "type": "fill",
        "exec_id": "E1",
        "cl_ord_id": "B1",
        "symbol": buy,
        "last_qty": 200,
        "last_px": 31.2,
        "ts_event": at + 2 * MINUTE_NS,
    }
    return write_files(directory, [value for _, _, value in day(minutes)], orders, [fill])


def write_files(
    directory: Path, ticks: Sequence[bytes], orders: Sequence[dict[str, Any]], executions: Sequence[dict[str, Any]]
) -> Sources:
    """Write the files of a day."""
    lines = {"ticks": ticks, "orders": map(orjson.dumps, orders), "executions": map(orjson.dumps, executions)}
    for name, values in lines.items():
        (directory / f"{name}.jsonl").write_bytes(b"".join(value + b"\n" for value in values))
    return Sources((directory / "ticks.jsonl",), directory / "orders.jsonl", directory / "executions.jsonl")


COMPARED = (Topic.ESTIMATES, Topic.MODELS, Topic.PLANS, Topic.SLICES, Topic.ALERTS, Topic.TCA)


def from_files(sources: Sources, out: Path, core: CoreSettings = DAY) -> dict[Topic, list[list[bytes]]]:
    """Return what a file replay writes, by topic and partition."""
    replay(sources, core, out, partitions=PARTITIONS)
    return values_by_topic(out)


def values_by_topic(out: Path) -> dict[Topic, list[list[bytes]]]:
    """Return what a file replay has written to `out`, by topic and partition."""
    found: dict[Topic, list[list[bytes]]] = {}
    for topic in COMPARED:
        values: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
        for line in (out / FILES[topic]).read_bytes().splitlines():
            symbol = orjson.loads(line)["symbol"]
            values[0 if symbol is None else partition_for(symbol, PARTITIONS)].append(line)
        found[topic] = values
    return found


async def from_topics(settings: Settings) -> dict[Topic, list[list[bytes]]]:
    """Return what the service has published, by topic and partition."""
    return {topic: await values_by_partition(settings, topic) for topic in COMPARED}


def messages(values: dict[Topic, list[list[bytes]]]) -> dict[Topic, list[dict[str, Any]]]:
    """Return values as messages, by topic."""
    return {topic: [orjson.loads(value) for part in parts for value in part] for topic, parts in values.items()}


async def audited(settings: Settings) -> Audit:
    """Derive again what a service has published."""
    async with broker_source(settings) as source:
        return await audit_all(source)


def _difference(one: bytes, other: bytes) -> dict[str, Any]:
    """Return the fields in which two messages differ, with both values."""
    left, right = orjson.loads(one), orjson.loads(other)
    return {name: (left.get(name), right.get(name)) for name in left | right if left.get(name) != right.get(name)}


def assert_same(found: dict[Topic, list[list[bytes]]], expected: dict[Topic, list[list[bytes]]]) -> None:
    """Fail at the first record that differs, rather than with all of them."""
    for topic in COMPARED:
        for partition in range(2):
            pairs = zip(found[topic][partition], expected[topic][partition], strict=False)
            for place, (one, other) in enumerate(pairs):
                assert one == other, f"{topic}/{partition}, record {place}: {_difference(one, other)}"
            assert len(found[topic][partition]) == len(expected[topic][partition]), f"{topic}/{partition}"


async def published_all(settings: Settings, expected: dict[Topic, list[list[bytes]]]) -> None:
    """Wait until as many estimates are published as are expected."""
    wanted = sum(len(values) for values in expected[Topic.ESTIMATES])
    await records_until(settings, Topic.ESTIMATES, lambda found: len(found) >= wanted)


def live(interval_s: float = 60.0, grace_s: float = 1.0) -> CoreSettings:
    """Return settings of a live feed."""
    books = BookSettings(interval_ns=int(interval_s * SECOND_NS), grace_ns=int(grace_s * SECOND_NS))
    return CoreSettings(books=books)
