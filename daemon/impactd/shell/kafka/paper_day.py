"""A recorded day traded on paper while it is published.

The publisher and the trader take turns, so that the day has one history whatever the pace: a fill is on its topic
before the first tick that is not earlier, and after each interval and each order the day waits until the service has
published the plans that follow.  So a replay of the day's files with the fills gives the same bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from impactd.config import Settings
from impactd.core.base.settings import SECOND_NS, BookSettings
from impactd.core.base.topics import Topic
from impactd.shell.kafka.client import close_within, manual_consumer
from impactd.shell.kafka.errors import FatalError
from impactd.shell.kafka.registry import Readable
from impactd.shell.kafka.topics import partition_counts
from impactd.shell.paper import Book, PaperDesk, usable_rows

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

    from impactd.core.inputs.ticks import TickBatch

#: A service that commits nothing for this long, with ticks to apply, is stuck.
_STALL_S: Final = 60.0

_POLL_MS: Final = 200

#: Of ticks from which plans follow, those that come within so long of the first are awaited together, ns.
_TOGETHER_NS: Final = 5 * SECOND_NS


class PaperDay:
    """Trades the plans of every order on paper; a `Trader` of `impactd.shell.kafka.publish`.

    Attributes
    ----------
    executions : list of dict
        The fills that were published, in their order.
    """

    def __init__(
        self, consumer: AIOKafkaConsumer, ends: AIOKafkaConsumer, settings: Settings, books: BookSettings, seed: int
    ) -> None:
        self.executions: list[dict[str, Any]] = []
        self._consumer = consumer
        # On a connection of its own: a question behind a fetch is answered when the fetch is.
        self._ends = ends
        self._readable = Readable(settings)
        self._journal = settings.topics.name(Topic.JOURNAL)
        self._plans_at = [place for place in consumer.assignment() if place.topic != self._journal]
        self._books = books
        self._desk = PaperDesk(seed, books)
        self._coming: deque[tuple[int, str, Book]] = deque()
        #: By partition: the interval of its latest tick, less the grace; the next tick that is in no commit yet.
        self._interval: dict[int, int] = {}
        self._applied: dict[int, int] = {}
        #: By partition the tick from which plans follow that are not there yet, and the time of the first of them, ns.
        self._awaited: dict[int, asyncio.Future[Any]] = {}
        self._since = 0

    def load(self, ticks: TickBatch) -> None:
        """Take the ticks that are sent next."""
        self._coming.extend(usable_rows(ticks, self._books.allow_locked))

    def until(self, clock: int) -> Sequence[dict[str, Any]]:
        """Return the fills up to a time, ns."""
        fills = [fill.record() for fill in self._desk.until(clock)]
        self.executions += fills
        return fills

    def instructed(self) -> None:
        """Take note that orders or controls were sent: plans follow from the next tick of each partition."""
        self._interval = dict.fromkeys(self._interval, -1)

    async def sent(self, rows: int, partition: int, clock: int, delivery: asyncio.Future[Any]) -> None:
        """Take note that the first `rows` of the loaded ticks are sent, and wait for the plans that follow.

        Raises
        ------
        FatalError
            If the service commits nothing, or the broker fails.
        """
        while self._coming and self._coming[0][0] < rows:
            _, symbol, book = self._coming.popleft()
            self._desk.book(symbol, book)
        # Until the grace is over other symbols of the partition may still close the interval before.
        interval = (clock - self._books.grace_ns) // self._books.interval_ns
        if interval > self._interval.get(partition, -1):
            self._since = self._since if self._awaited else clock
            self._awaited[partition] = delivery
        self._interval[partition] = interval
        # Partitions are awaited together, as far as their ticks come soon.
        if self._awaited and (len(self._awaited) == len(self._interval) or clock - self._since > _TOGETHER_NS):
            try:
                await self._plans()
            except TimeoutError as error:
                raise FatalError(f"the service has committed nothing for {_STALL_S:.0f} s; see its log") from error
            except (KafkaError, OSError) as error:
                raise FatalError(f"plans cannot be read: {error!r}") from error

    async def _plans(self) -> None:
        """Wait until the awaited ticks are in commits, and take the plans up to them."""
        offsets = {partition: (await delivery).offset for partition, delivery in self._awaited.items()}
        self._awaited.clear()
        async with asyncio.timeout(_STALL_S) as deadline:
            while any(self._applied.get(partition, 0) <= offset for partition, offset in offsets.items()):
                if await self._read():
                    deadline.reschedule(asyncio.get_running_loop().time() + _STALL_S)
            # What a commit publishes is there when its record of the journal is.
            ends = await self._ends.end_offsets(self._plans_at)
            while any([await self._consumer.position(place) < end for place, end in ends.items()]):
                await self._read()

    async def _read(self) -> bool:
        """Take what comes next; return whether anything did."""
        fetched = await self._consumer.getmany(timeout_ms=_POLL_MS)
        for place, records in fetched.items():
            for found in await self._readable([record.value for record in records]):
                value = orjson.loads(found or b"null")
                if place.topic != self._journal:
                    self._desk.plan(value)
                elif Topic.TICKS in (reached := value.get("to", {})):
                    self._applied[value["partition"]] = reached[Topic.TICKS]
        return bool(fetched)


@asynccontextmanager
async def paper_day(settings: Settings, books: BookSettings, seed: int = 0) -> AsyncGenerator[PaperDay, None]:
    """Yield a trader of a day on topics that hold nothing yet."""
    counts = await partition_counts(settings)
    consumer, ends = manual_consumer(settings), manual_consumer(settings)
    places = [
        TopicPartition(settings.topics.name(topic), partition)
        for topic in (Topic.PLANS, Topic.JOURNAL)
        for partition in range(counts[topic])
    ]
    try:
        try:
            async with asyncio.timeout(settings.kafka.request_timeout_ms / 1000):
                await consumer.start()
                await ends.start()
                consumer.assign(places)
                await consumer.seek_to_beginning(*places)
        except (KafkaError, OSError, TimeoutError) as error:
            raise FatalError(f"plans cannot be read: {error!r}") from error
        yield PaperDay(consumer, ends, settings, books, seed)
    finally:
        await close_within(ends.stop())
        await close_within(consumer.stop())
