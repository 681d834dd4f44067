"""What a committed-only reader sees of the plans, and how long after their cause.

A plan's header ``input`` names the record that triggered it: an order, or the tick that closed the minute.  Its
latency runs from that record's timestamp, which is when the broker appended it, to the arrival of the plan here, both
by this machine's clock; timestamps are whole milliseconds, rounded down, so that it errs upwards.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import TopicPartition

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.kafka.client import manual_consumer
from tests.soak.load import PARTITIONS

_POLL_MS: Final = 200

#: Upper bounds of the histogram's bins, ms.
BINS_MS: Final = (2, 5, 10, 15, 20, 30, 45, 60, 100, 200, 500, 1_000, 5_000, math.inf)

Place = tuple[int, int]


@dataclass(slots=True)
class Seen:
    """What was read: when plans arrived, by the place of their trigger, and when that was sent (ms)."""

    orders_sent: dict[Place, int] = field(default_factory=dict)
    order_plans: dict[Place, float] = field(default_factory=dict)
    #: Arrival of each plan of a minute, by the place of the tick that closed it.
    minute_plans: dict[Place, list[float]] = field(default_factory=lambda: defaultdict(list))
    plans: int = 0

    def take(self, role: Topic, record: Any, now_ms: float) -> None:
        """Note one record of the orders or the plans topic."""
        if role is Topic.ORDERS:
            self.orders_sent[record.partition, record.offset] = record.timestamp
            return
        self.plans += 1
        trigger = dict(record.headers).get("input")
        if trigger is None:
            return
        topic, partition, offset = trigger.decode().rsplit("/", 2)
        place = int(partition), int(offset)
        if topic.endswith(Topic.ORDERS.value):
            self.order_plans.setdefault(place, now_ms)
        elif topic.endswith(Topic.TICKS.value):
            self.minute_plans[place].append(now_ms)

    def order_latencies(self) -> list[float]:
        """Return ms from each order to its first plan."""
        return [at - self.orders_sent[place] for place, at in self.order_plans.items() if place in self.orders_sent]


async def read(settings: Settings, seen: Seen) -> None:
    """Read orders and plans as they come, until cancelled."""
    consumer = manual_consumer(settings)
    await consumer.start()
    try:
        roles = {settings.topics.name(role): role for role in (Topic.ORDERS, Topic.PLANS)}
        places = [TopicPartition(name, n) for name in roles for n in range(PARTITIONS)]
        consumer.assign(places)
        for place in places:
            consumer.seek(place, 0)
        while True:
            fetched = await consumer.getmany(*places, timeout_ms=_POLL_MS)
            now_ms = time.time_ns() / 1e6
            for place, records in fetched.items():
                for record in records:
                    seen.take(roles[place.topic], record, now_ms)
    finally:
        await consumer.stop()


async def minute_latencies(settings: Settings, seen: Seen) -> list[float]:
    """Return ms from the tick that closed a minute to each plan of it."""
    found: list[float] = []
    for partition in range(PARTITIONS):
        closings = {offset: arrivals for (n, offset), arrivals in seen.minute_plans.items() if n == partition}
        sent = await _sent_ms(TopicPartition(settings.topics.name(Topic.TICKS), partition), sorted(closings), settings)
        found += [at - sent[offset] for offset, arrivals in closings.items() for at in arrivals]
    return found


async def _sent_ms(place: TopicPartition, offsets: Sequence[int], settings: Settings) -> dict[int, int]:
    """Return the timestamps of some records of one partition."""
    sent: dict[int, int] = {}
    if not offsets:
        return sent
    consumer = manual_consumer(settings)
    await consumer.start()
    try:
        consumer.assign([place])
        for offset in offsets:
            consumer.seek(place, offset)
            async with asyncio.timeout(30):
                while offset not in sent:
                    for records in (await consumer.getmany(place, timeout_ms=_POLL_MS, max_records=1)).values():
                        sent |= {record.offset: record.timestamp for record in records}
    finally:
        await consumer.stop()
    return sent


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def histogram(name: str, values: Sequence[float]) -> Iterable[str]:
    """Yield the lines of a histogram with its p50, p99 and max, ms."""
    if not values:
        yield f"{name}: none"
        return
    marks = ", ".join(f"p{100 * share:g} {quantile(values, share):.1f}" for share in (0.5, 0.9, 0.99))
    yield f"{name}: {len(values)}, {marks}, max {max(values):.1f} ms"
    low = 0.0
    for high in BINS_MS:
        count = sum(low <= value < high for value in values)
        if count:
            bar = "#" * max(1, round(50 * count / len(values)))
            yield f"  {low:6g} - {high:6g} ms {count:8d} {bar}"
        low = high
