"""A recorded day into Kafka: ticks, orders, executions and control in the order of their time.

Keys are symbols, partitions are named by murmur2, and a record's timestamp is
what a file replay takes for it, so that the service, applying in event time,
publishes what the file replay writes.  For that an order must be there before
any tick that follows it: its delivery is awaited before later ticks are sent.

With original times, topics need a retention that keeps records of that age;
this is checked first, because a broker deletes older records silently.  Shifted,
the first event happens now, and windows and blackouts of orders move along.

The pace is that of event time divided by the speed, on the monotonic clock.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np
import orjson
from aiokafka.errors import KafkaError

from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.inputs.inbox import RANK
from impactd.shell.files import merge_files
from impactd.shell.kafka.client import close_producer, plain_producer
from impactd.shell.kafka.errors import FatalError, UnsupportedError
from impactd.shell.kafka.topics import partition_counts, topic_configs
from impactd.shell.lines import open_content
from impactd.wire.codec import FieldError, Limits, floor_ms
from impactd.wire.json_orders import TIME_FIELDS
from impactd.wire.json_values import json_objects
from impactd.wire.murmur2 import partition_for
from impactd.wire.tick_records import encode_ticks
from impactd.wire.times import parse_time

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from impactd.core.inputs.ticks import TickBatch
    from impactd.shell.replay import Sources

#: Records in flight before their delivery is awaited.
_IN_FLIGHT: Final = 5_000

#: A broker that takes nothing for this long is given up.
_DELIVERY_S: Final = 60.0

#: Called periodically: records sent so far, event time reached (ns).
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PublishSummary:
    """What was published."""

    #: By topic; a control record counts once for each partition.
    records: dict[str, int]
    #: Records of the data files that could not be decoded and were left out.
    refused: int
    #: Event time of the first and the last tick, as published.
    first_ns: int | None
    last_ns: int | None
    #: Added to every time.
    shift_ns: int
    #: Files of which nothing was published, each with its first reason.
    unusable: tuple[str, ...]
    seconds: float


class Trader(Protocol):
    """Trades a day while it is published; times as published."""

    def load(self, ticks: TickBatch) -> None:
        """Take the ticks that are sent next."""

    def until(self, clock: int) -> Sequence[Mapping[str, Any]]:
        """Return the executions up to a time, ns: they are sent before the tick of that time."""

    async def sent(self, rows: int, partition: int, clock: int, delivery: asyncio.Future[Any]) -> None:
        """Note that the first `rows` of the loaded ticks are sent; publishing continues when it returns."""

    def instructed(self) -> None:
        """Take note that orders or controls were sent."""


class _Item(NamedTuple):
    """A record at its place in time."""

    key_ns: int
    topic: Topic
    symbol: str | None
    value: bytes
    timestamp_ms: int
    #: Of a tick record: where its rows end in their batch.
    rows: int = 0


async def publish(
    settings: Settings,
    sources: Sources,
    *,
    speed: float | None = None,
    shift: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
    trader: Trader | None = None,
) -> PublishSummary:
    """Publish the files of `sources` and return when every record is delivered.

    Parameters
    ----------
    speed : float, optional
        Seconds of event time in a second; as fast as possible by default.
    shift : bool, optional
        Move all times so that the first event happens now.
    trader : Trader, optional
        Its executions are published among the ticks.

    Raises
    ------
    FatalError
        If the topics are missing, would not keep records of that age, or take nothing.
    InputFileError
        If a file cannot be read.
    """
    return await _Publisher(settings, sources, speed, limits or Limits(), progress, trader).run(shift=shift)


class _Publisher:
    def __init__(
        self,
        settings: Settings,
        sources: Sources,
        speed: float | None,
        limits: Limits,
        progress: Progress | None,
        trader: Trader | None,
    ) -> None:
        self._trader = trader
        self._settings = settings
        self._sources = sources
        self._speed = speed
        self._limits = limits
        self._ticks = merge_files(sources.data, sources.codec, sources.symbol, limits=limits)
        self._progress = progress
        self._names = {topic: settings.topics.name(topic) for topic in Topic}
        self._counts: dict[Topic, int] = {}
        self._sent: Counter[Topic] = Counter()
        self._flying: list[asyncio.Future[Any]] = []
        self._refused = 0
        self._first: int | None = None
        self._last: int | None = None
        self._started = 0.0

    async def run(self, *, shift: bool) -> PublishSummary:
        self._counts = await partition_counts(self._settings)
        events = [item for topic, path in self._sources.events().items() for item in _events(topic, path, self._limits)]
        batches = self._batches()
        head = await asyncio.to_thread(next, batches, None)
        first = min(
            [item.key_ns for item in events] + ([] if head is None else [int(head.ts_event.min())]), default=None
        )
        shift_ns = floor_ms(time.time_ns() - first) if shift and first is not None else 0
        if first is not None:
            await self._check_retention(first + shift_ns)
        producer = plain_producer(self._settings)
        self._started = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.kafka.request_timeout_ms / 1000):
                await producer.start()
            await self._send_all(
                producer,
                _in_order([_shifted(item, shift_ns, self._limits.time_unit) for item in events]),
                head,
                batches,
                shift_ns,
            )
            await self._deliver()
        except (KafkaError, OSError, TimeoutError) as error:
            raise FatalError(f"publishing to {self._settings.kafka.bootstrap} failed: {error!r}") from error
        finally:
            await close_producer(producer, 5.0)
        return PublishSummary(
            {topic.value: self._sent[topic] for topic in INPUT_TOPICS},
            self._refused,
            self._first,
            self._last,
            shift_ns,
            tuple(self._ticks.unusable()),
            time.monotonic() - self._started,
        )

    async def _check_retention(self, first_ns: int) -> None:
        """Make sure that the broker will keep what is published."""
        try:
            configs = await topic_configs(self._settings, [self._names[topic] for topic in INPUT_TOPICS])
        except UnsupportedError:
            # librdkafka's mock cannot describe itself; it keeps everything.
            return
        age_ms = (time.time_ns() - first_ns) // 1_000_000
        for name, config in configs.items():
            kept_ms = int(config.get("retention.ms", "-1"))
            if 0 <= kept_ms < age_ms:
                raise FatalError(
                    f"{name} keeps records for {kept_ms / 86_400_000:.1f} days, these are {age_ms / 86_400_000:.0f} "
                    "days old and would be deleted: publish them with --shift, or set the topic's retention.ms to -1"
                )
            if config.get("message.timestamp.type") == "LogAppendTime":
                raise FatalError(f"{name} has message.timestamp.type=LogAppendTime: set it to CreateTime")

    def _batches(self) -> Iterator[TickBatch]:
        for decoded in self._ticks:
            self._refused += len(decoded.refused)
            if len(decoded.batch):
                yield decoded.batch

    async def _send_all(
        self,
        producer: AIOKafkaProducer,
        events: Sequence[_Item],
        head: TickBatch | None,
        batches: Iterator[TickBatch],
        shift_ns: int,
    ) -> None:
        start_ns = min(
            [item.key_ns for item in events[:1]] + ([] if head is None else [int(head.ts_event[0]) + shift_ns]),
            default=0,
        )
        at, clock = 0, 0
        batch = head
        while batch is not None:
            moved, items = await asyncio.to_thread(_ticks, batch, shift_ns)
            if self._trader is not None:
                self._trader.load(moved)
            for item in items:
                clock = max(clock, item.key_ns)
                due = at
                while due < len(events) and events[due].key_ns <= clock:
                    due += 1
                if due > at:
                    await self._send_events(producer, events[at:due], start_ns)
                    at = due
                    if self._trader is not None:
                        self._trader.instructed()
                if self._trader is not None and (traded := self._trader.until(clock)):
                    await self._send_events(producer, [_execution(record) for record in traded], start_ns)
                await self._until(clock, start_ns)
                partition = partition_for(item.symbol or "", self._counts[Topic.TICKS])
                sent = await self._send(producer, item, partition)
                if self._trader is not None:
                    await self._trader.sent(item.rows, partition, clock, sent)
                self._first = item.key_ns if self._first is None else self._first
                self._last = clock
            if self._progress is not None:
                self._progress(self._sent.total(), clock)
            batch = await asyncio.to_thread(next, batches, None)
        await self._send_events(producer, events[at:], start_ns)

    async def _send_events(self, producer: AIOKafkaProducer, events: Sequence[_Item], start_ns: int) -> None:
        """Send orders, executions and controls, and wait until they are there: later ticks must find them."""
        for item in events:
            await self._until(item.key_ns, start_ns)
            count = self._counts[item.topic]
            if item.topic is Topic.CONTROL:
                for partition in range(count):
                    await self._send(producer, item, partition)
            else:
                await self._send(producer, item, partition_for(item.symbol, count) if item.symbol else 0)
        await self._deliver()

    async def _until(self, event_ns: int, start_ns: int) -> None:
        """Wait until an event time is due."""
        if self._speed is None:
            return
        wait = self._started + (event_ns - start_ns) / 1e9 / self._speed - time.monotonic()
        # A timer is no finer than a millisecond, and what is due earlier than that goes along.
        if wait > 0.001:
            await asyncio.sleep(wait)

    async def _send(self, producer: AIOKafkaProducer, item: _Item, partition: int) -> asyncio.Future[Any]:
        sent: asyncio.Future[Any] = await producer.send(
            self._names[item.topic],
            item.value,
            None if item.symbol is None else item.symbol.encode(),
            partition=partition,
            timestamp_ms=item.timestamp_ms,
        )
        self._sent[item.topic] += 1
        self._flying.append(sent)
        if len(self._flying) >= _IN_FLIGHT:
            await self._deliver()
        return sent

    async def _deliver(self) -> None:
        flying, self._flying = self._flying, []
        if flying:
            async with asyncio.timeout(_DELIVERY_S):
                await asyncio.gather(*flying)


def _ticks(batch: TickBatch, shift_ns: int) -> tuple[TickBatch, list[_Item]]:
    """Return a batch as it is published, and its records, each with the largest time among its rows."""
    moved = replace(batch, ts_event=batch.ts_event + shift_ns, ts_record=batch.ts_record + shift_ns)
    clock = np.maximum.accumulate(moved.ts_event)
    return moved, [
        _Item(
            int(clock[record.rows.stop - 1]),
            Topic.TICKS,
            record.symbol,
            record.value,
            record.ts_record // 1_000_000,
            record.rows.stop,
        )
        for record in encode_ticks(moved)
    ]


def _execution(record: Mapping[str, Any]) -> _Item:
    at = record["ts_event"]
    return _Item(at, Topic.EXECUTIONS, record["symbol"], orjson.dumps(record), at // 1_000_000)


def _events(topic: Topic, path: Any, limits: Limits) -> Iterator[_Item]:
    """Yield the values of an event file as they are; one that is no event of ours goes out anyway."""
    clock = 0
    for line in json_objects(open_content(path), limits.max_message_bytes):
        ts_event, symbol = _time_and_symbol(line.text, limits.time_unit)
        clock = max(clock, ts_event or 0)
        yield _Item(clock, topic, symbol, line.text, (clock if ts_event is None else ts_event) // 1_000_000)


def _time_and_symbol(value: bytes, unit: str) -> tuple[int | None, str | None]:
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None, None
    if not isinstance(event, dict):
        return None, None
    symbol = event.get("symbol")
    return _time_ns(event.get("ts_event"), unit), symbol if isinstance(symbol, str) else None


def _time_ns(value: Any, unit: str) -> int | None:
    """Return a time in ns; None where the decoder will refuse it."""
    try:
        return parse_time(value, "", unit)
    except FieldError:
        return None


def _in_order(events: Sequence[_Item]) -> list[_Item]:
    return sorted(events, key=lambda item: (item.key_ns, RANK[item.topic]))


def _shifted(item: _Item, shift_ns: int, unit: str) -> _Item:
    return item._replace(
        key_ns=item.key_ns + shift_ns,
        timestamp_ms=item.timestamp_ms + shift_ns // 1_000_000,
        value=shifted(item.value, shift_ns, unit) if shift_ns else item.value,
    )


def shifted(value: bytes, shift_ns: int, unit: str) -> bytes:
    """Return a record with all its times moved by `shift_ns`, in ns; bytes that are no JSON object stay as they are."""
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
    if not isinstance(event, dict):
        return value
    times = {name: _later(event[name], shift_ns, unit) for name in TIME_FIELDS if name in event}
    return orjson.dumps(event | times)


def _later(value: Any, shift_ns: int, unit: str) -> Any:
    """Return a time, or each of a list, moved by `shift_ns`, in ns; what is no time is left as it is."""
    if isinstance(value, list):
        return [_later(item, shift_ns, unit) for item in value]
    ns = _time_ns(value, unit)
    return value if ns is None else ns + shift_ns
