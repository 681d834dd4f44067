"""How fast a partition's state is restored: ``python -m tests.benchmarks.restore``.

Two states. *Busy*: 500 symbols and 1,000 open orders, each key once, as a good cleaner leaves them. *Unclean*: the same
behind a gigabyte of older values of the same keys, as a cleaner that does not keep up leaves them; there the rate is
stated against a bare drain of the topic by the same client, and the service restores it as a member of its group, whose
heartbeats must not be missed: one assignment, and the longest that its event loop was away.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka import TopicPartition

from impactd.config import Settings
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import INPUT_TOPICS, Side, Topic
from impactd.core.engine import Engine
from impactd.core.inputs.events import NewOrder, Received
from impactd.core.inputs.inbox import Inbox
from impactd.core.inputs.terms import Terms
from impactd.shell.broker.broker import find_broker
from impactd.shell.kafka.client import close_producer, manual_consumer, plain_producer
from impactd.shell.kafka.restore import read_state
from impactd.shell.kafka.service import Service
from impactd.shell.kafka.topics import create_topics
from impactd.shell.logging import setup
from tests.benchmarks.books import OPEN_NS, book_batches
from tests.console import say

SYMBOLS: Final = 500
ORDERS: Final = 1_000
_BOOKS: Final = 40_000
_MINUTE_NS: Final = 60_000_000_000
_BEAT_S: Final = 0.05
_ROUNDS: Final = 3


def busy_engine(core: CoreSettings) -> Engine:
    """Return an engine that has seen a little of many symbols and holds many orders."""
    engine = Engine(core)
    engine.genesis(dict.fromkeys(INPUT_TOPICS, 0))
    inbox = Inbox(core, engine.positions, engine.clocks)
    end = 0
    batches = list(book_batches(_BOOKS, symbols=SYMBOLS))
    symbols = sorted({symbol for batch in batches for symbol in batch.symbols})
    for batch in batches:
        end = int(batch.offset[-1]) + 1
        inbox.put_ticks(batch, [], end)
    orders = []
    for n in range(ORDERS):
        start = OPEN_NS + _MINUTE_NS // 2
        new = NewOrder(
            f"B{n}",
            symbols[n % len(symbols)],
            Side.BUY if n % 3 else Side.SELL,
            OPEN_NS,
            Terms((1_000 + n) * QUANTA, start, start + 120 * _MINUTE_NS),
        )
        orders.append(Received(new, n, OPEN_NS, b"", None))
    inbox.put_events(Topic.ORDERS, orders, [], len(orders))
    while inputs := inbox.take():
        engine.apply(inputs)
    # The inputs are not in any topic: whoever restores this begins where an empty topic does.
    engine.positions = dict.fromkeys(INPUT_TOPICS, 0)
    return engine


@dataclass(frozen=True, slots=True)
class Place:
    """A state topic that is filled."""

    settings: Settings
    records: int
    mb: float


async def fill(settings: Settings, items: Mapping[str, bytes], unclean_mb: int) -> Place:
    """Write older values of `items` until there are `unclean_mb`, then the items themselves."""
    producer = plain_producer(settings.replace(kafka={"compression": "none", "linger_ms": 20}))
    await producer.start()
    draw = random.Random("restore")
    keys = list(items)
    name, records, sent = settings.topics.name(Topic.STATE), 0, 0
    flying: list[Any] = []
    try:
        while sent < unclean_mb * 1_000_000:
            key = draw.choice(keys)
            value = draw.randbytes(max(64, len(items[key])))
            flying.append(await producer.send(name, value, key.encode(), partition=0))
            records, sent = records + 1, sent + len(value)
            if len(flying) >= 2_000:
                await asyncio.gather(*flying)
                flying.clear()
        for key, value in items.items():
            flying.append(await producer.send(name, value, key.encode(), partition=0))
            records, sent = records + 1, sent + len(value)
        await asyncio.gather(*flying)
    finally:
        await close_producer(producer, 10)
    return Place(settings, records, sent / 1e6)


async def drain(settings: Settings) -> float:
    """Return the seconds that the client alone takes to read the topic to its end, keeping nothing."""
    where = TopicPartition(settings.topics.name(Topic.STATE), 0)
    consumer = manual_consumer(settings)
    await consumer.start()
    try:
        consumer.assign([where])
        consumer.seek(where, 0)
        end = (await consumer.end_offsets([where]))[where]
        started = time.perf_counter()
        while await consumer.position(where) < end:
            await consumer.getmany(where, timeout_ms=500)
        return time.perf_counter() - started
    finally:
        await consumer.stop()


async def longest_absence(done: asyncio.Event) -> float:
    """Return the longest that the event loop took to come back to a short sleep, s, until `done`."""
    longest, last = 0.0, time.perf_counter()
    while not done.is_set():
        await asyncio.sleep(_BEAT_S)
        now = time.perf_counter()
        longest, last = max(longest, now - last - _BEAT_S), now
    return longest


def resident_mb() -> float:
    """Return this process's resident memory, MB."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def restore(settings: Settings, core: CoreSettings) -> dict[str, float]:
    """Let a service restore the partition as a member of its group, and return what that took."""
    service = Service(settings, core)
    done = asyncio.Event()
    beating = asyncio.create_task(longest_absence(done))
    running = asyncio.create_task(service.run())
    peak = 0.0
    while not service.status.ready and not running.done():
        peak = max(peak, resident_mb())
        await asyncio.sleep(_BEAT_S)
    if running.done():
        raise RuntimeError(f"the service ended: {service.error}")
    status = service.status
    done.set()
    absence = await beating
    service.stop()
    await running
    found = status.partitions[0]
    assert found.restore_seconds is not None
    return {
        "seconds": found.restore_seconds,
        "keys": found.restored_keys,
        "absence_s": absence,
        "assignments": status.rebalances,
        "peak_mb": peak,
    }


async def measure(bootstrap: str, unclean_mb: int) -> None:
    """Measure and print both states."""
    core = CoreSettings()
    engine = busy_engine(core)
    items = engine.dump()
    size = sum(map(len, items.values())) / 1e6
    largest = max(map(len, items.values()))
    say(f"{SYMBOLS} symbols, {ORDERS} orders: {len(items)} keys, {size:.1f} MB, the largest {largest} bytes")
    base = Settings(
        kafka={"bootstrap": bootstrap},
        topics={"partitions": 1, "compacted_segment_bytes": 1_000_000_000, "compacted_segment_ms": 2**62},
    )
    name = f"restore-{os.getpid()}"
    for kind, mb in (("busy", 0), ("unclean", unclean_mb)):
        settings = base.replace(
            kafka={"environment": f"{name}-{kind}", "group": f"{name}-{kind}"}, topics={"prefix": f"{name}-{kind}."}
        )
        await create_topics(settings)
        place = await fill(settings, items, mb)
        before = resident_mb()
        for _ in range(_ROUNDS):
            bare = await drain(settings)
            gc.collect()
            started = time.perf_counter()
            read = await read_state(settings, 0, 60.0)
            reading = time.perf_counter() - started
            started = time.perf_counter()
            Engine(core).load(read)
            loading = time.perf_counter() - started
            assert len(read) == len(items)
            say(
                f"{kind}: {place.records} records, {place.mb:.0f} MB: "
                f"bare drain {bare:.2f} s ({place.mb / bare:.0f} MB/s), "
                f"read_state {reading:.2f} s ({bare / reading:.2f} of the drain's rate), load {loading:.2f} s"
            )
            del read
        found = await restore(settings, core)
        say(
            f"{kind}: the service owned it after {found['seconds']:.2f} s with {found['keys']:.0f} keys; "
            f"{found['assignments']:.0f} assignment, event loop away for {found['absence_s']:.2f} s at most, "
            f"resident {before:.0f} MB before, {found['peak_mb']:.0f} MB at most"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m tests.benchmarks.restore", description=__doc__)
    parser.add_argument("--mb", type=int, default=1_000, help="size of the unclean changelog")
    asked = parser.parse_args()
    setup("error", "console")
    with find_broker() as broker:
        asyncio.run(measure(broker.bootstrap, asked.mb))
