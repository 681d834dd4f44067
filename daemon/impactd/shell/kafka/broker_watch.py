"""Periodically queries the brokers for the end of each partition's inputs.

This shows two things that fetching alone cannot: whether the brokers that lead
a partition's inputs answer at all, and how much there is to read of one whose
fetching is paused, stuck or failing.

It also compares the number of partitions of each input with what it was at
the start, as often as the client's metadata are refreshed: where partitions
were added, symbols have moved, and going on would split them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.state.schema import RESTART
from impactd.shell.kafka.errors import FatalError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from impactd.config import Settings
    from impactd.shell.kafka.status import PartitionStatus, Status
    from impactd.shell.kafka.transport import ManualConsumer

#: From one look to the next, seconds.
_LOOK_S: Final = 1.0


async def watch_brokers(
    settings: Settings, consumer: ManualConsumer, status: Status, partitions: Mapping[Topic, int]
) -> None:
    """Ask for every partition again and again, until cancelled.

    Parameters
    ----------
    consumer : ManualConsumer
        Any that is started and reads committed records.
    status : Status
        Its partitions are written.
    partitions : mapping of Topic to int
        Number of partitions of each topic when the service started.
    """
    while True:
        owned = list(status.partitions.values())
        # Without its own partition the process asks about the first.
        answers = await asyncio.gather(*(_ends(settings, consumer, number) for number in _numbers(owned)))
        status.broker_answers = all(ends is not None for ends in answers)
        for partition, ends in zip(owned, answers, strict=False):
            partition.broker_answers = ends is not None
            for topic, end in (ends or {}).items():
                partition.stable_offsets[topic] = end
                partition.high_watermarks[topic] = max(partition.high_watermarks.get(topic, 0), end)
        check_partitions(settings, consumer, partitions)
        await asyncio.sleep(_LOOK_S)


def check_partitions(settings: Settings, consumer: ManualConsumer, partitions: Mapping[Topic, int]) -> None:
    """Compare the client's metadata with the number of partitions that there were.

    Raises
    ------
    FatalError
        If an input has another number of partitions now.
    """
    for topic in INPUT_TOPICS:
        name, expected = settings.topics.name(topic), partitions[topic]
        known = consumer.partitions_for_topic(name)
        if known and len(known) != expected:
            raise FatalError(
                f"{name} had {expected} partitions and now has {len(known)}: symbols have moved between partitions; "
                f"set topics.partitions to the new number, and {RESTART}"
            )


def _numbers(owned: list[PartitionStatus]) -> list[int]:
    return [status.partition for status in owned] or [0]


async def _ends(settings: Settings, consumer: ManualConsumer, partition: int) -> Mapping[Topic, int] | None:
    """Return the last stable offset of each input, or None where its leaders do not answer."""
    where = {topic: TopicPartition(settings.topics.name(topic), partition) for topic in INPUT_TOPICS}
    try:
        async with asyncio.timeout(settings.kafka.request_timeout_ms / 1000):
            # A consumer that reads committed records is answered with last stable offsets.
            ends = await consumer.end_offsets(list(where.values()))
    except (KafkaError, OSError, TimeoutError):
        return None
    return {topic: ends[place] for topic, place in where.items() if place in ends}
