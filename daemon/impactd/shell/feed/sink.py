"""Where a feed's messages go: the ticks topic, or, for a dry run, a text."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Protocol

import orjson
import structlog
from aiokafka.errors import KafkaError

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.kafka.client import close_producer, plain_producer
from impactd.shell.kafka.errors import FatalError
from impactd.shell.kafka.topics import partition_counts
from impactd.wire.murmur2 import partition_for

#: Messages that are sent and not confirmed, at most. Beyond it the feed waits, and so does the vendor's connection.
_IN_FLIGHT: Final = 10_000
#: A wait for the broker that is longer is logged.
_LATE_S: Final = 1.0
_DELIVERY_S: Final = 60.0
#: Time between lines of the log with what was sent.
_REPORT_S: Final = 60.0


class FeedRecord(NamedTuple):
    """A record of the ticks topic."""

    symbol: str
    codec: str
    value: bytes
    ts_ns: int


class Sink(Protocol):
    """Takes records in their order."""

    async def put(self, record: FeedRecord) -> None:
        """Take a record; waits where too many are on their way."""


def book_end(symbol: str, ts_ns: int) -> FeedRecord:
    """Return the record that ends a symbol's book: what the book is now is not known."""
    value = b"%d %s" % (ts_ns, orjson.dumps({"type": "book_end", "symbol": symbol}))
    return FeedRecord(symbol, "capture-json", value, ts_ns)


class TextSink:
    """Shows records instead of sending them, `limit` at most."""

    def __init__(self, show: Callable[[str], None], limit: int | None = None) -> None:
        self._show = show
        self._left = limit
        self.done = asyncio.Event()

    async def put(self, record: FeedRecord) -> None:
        """Show a record."""
        if self.done.is_set():
            return
        value = record.value.hex() if record.codec == "dbn" else record.value.decode(errors="replace")
        self._show(f"{record.symbol} {record.codec} {value}")
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self.done.set()


class KafkaSink:
    """Sends records with one idempotent producer, to the partition of their symbol.

    Parameters
    ----------
    producer : AIOKafkaProducer
        Started.
    """

    def __init__(self, settings: Settings, producer: Any, partitions: int) -> None:
        self._topic = settings.topics.name(Topic.TICKS)
        self._max_bytes = settings.wire.max_message_bytes
        self._producer = producer
        self._partitions = partitions
        self._flying: deque[asyncio.Future[Any]] = deque()
        self._log = structlog.get_logger()
        self._sent = 0
        self._reported = time.monotonic()

    async def put(self, record: FeedRecord) -> None:
        """Send a record.

        Raises
        ------
        FatalError
            If a record is too large, or the broker does not take one.
        """
        if len(record.value) > self._max_bytes:
            raise FatalError(
                f"{record.symbol}: a message of {len(record.value):,} bytes; set wire.max_message_bytes to more, and "
                "the ticks topic's max.message.bytes"
            )
        try:
            sent = await self._producer.send(
                self._topic,
                record.value,
                record.symbol.encode(),
                partition=partition_for(record.symbol, self._partitions),
                timestamp_ms=record.ts_ns // 1_000_000,
                headers=[("codec", record.codec.encode())],
            )
            self._flying.append(sent)
            while self._flying and self._flying[0].done():
                self._flying.popleft().result()
            if len(self._flying) >= _IN_FLIGHT:
                await self._wait()
        except KafkaError as error:
            raise FatalError(f"the broker does not take the records: {error!r}") from error
        self._sent += 1
        if time.monotonic() - self._reported >= _REPORT_S:
            self._log.info("feed", records=self._sent, unconfirmed=len(self._flying))
            self._sent, self._reported = 0, time.monotonic()

    async def _wait(self) -> None:
        """Wait until half of the records on their way have arrived."""
        started = time.monotonic()
        while len(self._flying) > _IN_FLIGHT // 2:
            await self._flying.popleft()
        seconds = time.monotonic() - started
        if seconds > _LATE_S:
            self._log.warning("feed waiting for the broker", seconds=round(seconds, 1), records=_IN_FLIGHT)

    async def flush(self) -> None:
        """Wait until every record has arrived."""
        while self._flying:
            await self._flying.popleft()


@asynccontextmanager
async def kafka_sink(settings: Settings) -> AsyncIterator[KafkaSink]:
    """Yield a connected sink, and wait at the end until its records have arrived."""
    counts = await partition_counts(settings)
    producer = plain_producer(settings)
    try:
        try:
            async with asyncio.timeout(settings.kafka.request_timeout_ms / 1000):
                await producer.start()
        except (KafkaError, OSError, TimeoutError) as error:
            raise FatalError(f"{settings.kafka.bootstrap} does not answer: {error!r}") from error
        sink = KafkaSink(settings, producer, counts[Topic.TICKS])
        try:
            yield sink
        finally:
            try:
                async with asyncio.timeout(_DELIVERY_S):
                    await sink.flush()
            except (KafkaError, TimeoutError) as error:
                raise FatalError(f"some of the last records may not have arrived: {error!r}") from error
    finally:
        await close_producer(producer, 5.0)
