"""Progress as the journal shows it: who watches it sees what is committed, whatever happens to the processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import orjson
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.kafka.client import manual_consumer
from tests.chaos.cluster import PARTITIONS

_POLL_MS: Final = 200


class JournalWatch:
    """Follows the journal's committed records.

    Parameters
    ----------
    settings : Settings
        By which the broker is reached directly.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._next = dict.fromkeys(range(PARTITIONS), 0)
        #: Commits seen, by partition.
        self.commits = dict.fromkeys(range(PARTITIONS), 0)
        #: Input offsets that commits have reached.
        self.reached: dict[tuple[Topic, int], int] = {}
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """Follow it until cancelled, with a new consumer whenever one fails."""
        while True:
            consumer = manual_consumer(self._settings)
            try:
                async with asyncio.timeout(10):
                    await consumer.start()
                places = [TopicPartition(self._settings.topics.name(Topic.JOURNAL), n) for n in range(PARTITIONS)]
                consumer.assign(places)
                for place in places:
                    consumer.seek(place, self._next[place.partition])
                while True:
                    for place, records in (await consumer.getmany(*places, timeout_ms=_POLL_MS)).items():
                        for record in records:
                            self._take(place.partition, record.offset, record.value)
            except (KafkaError, OSError, TimeoutError):
                await asyncio.sleep(0.2)
            finally:
                await consumer.stop()

    def _take(self, partition: int, offset: int, value: bytes) -> None:
        entry = orjson.loads(value)
        self._next[partition] = offset + 1
        self.commits[partition] += 1
        for name, end in entry.get("to", {}).items():
            self.reached[Topic(name), partition] = end
        self._moved.set()

    async def progress(self, within_s: float) -> list[int]:
        """Wait until every partition has a further commit; return those that have none in time."""
        before = dict(self.commits)

        def still() -> list[int]:
            return [n for n in range(PARTITIONS) if self.commits[n] == before[n]]

        await self._until(lambda: not still(), within_s)
        return still()

    async def drained(self, within_s: float) -> list[str]:
        """Wait until the commits have reached the end of every input; return what is missing."""
        ends = await input_ends(self._settings)

        def missing() -> list[str]:
            return [
                f"{topic}/{partition} at {self.reached.get((topic, partition), 0)} of {end}"
                for (topic, partition), end in ends.items()
                if self.reached.get((topic, partition), 0) < end
            ]

        await self._until(lambda: not missing(), within_s)
        return missing()

    async def _until(self, condition: Callable[[], bool], within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return


async def input_ends(settings: Settings) -> dict[tuple[Topic, int], int]:
    """Return where each input topic's partition ends now."""
    consumer = manual_consumer(settings)
    await consumer.start()
    try:
        places = {
            (topic, number): TopicPartition(settings.topics.name(topic), number)
            for topic in INPUT_TOPICS
            for number in range(PARTITIONS)
        }
        ends = await consumer.end_offsets(list(places.values()))
        return {name: ends[place] for name, place in places.items()}
    finally:
        await consumer.stop()
