"""What must hold of a simulated day once it is over, read as any reader of committed records would read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.audit.derive import derive_records
from impactd.shell.kafka.consume import ConsumedRecord, consumed, read_topics
from impactd.shell.kafka.encoder import TRACE_HEADERS
from tests.chaos import judge
from tests.simulate.cluster import Place
from tests.simulate.world import PARTITIONS, SETTINGS

if TYPE_CHECKING:
    from tests.simulate.world import World

_READ: Final = (*judge.PUBLISHED, Topic.JOURNAL)


async def read() -> dict[Topic, dict[int, list[ConsumedRecord]]]:
    """Return the committed records of all topics, by partition."""
    roles = {SETTINGS.topics.name(topic): topic for topic in _READ}
    found: dict[Topic, dict[int, list[ConsumedRecord]]] = {
        topic: {partition: [] for partition in range(PARTITIONS)} for topic in _READ
    }
    async for record in read_topics(SETTINGS, *roles):
        found[roles[record.topic]][record.partition].append(record)
    return found


def _untraced(record: ConsumedRecord) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, value) for name, value in record.headers if name not in TRACE_HEADERS)


def judged(world: World, records: Mapping[Topic, Mapping[int, list[ConsumedRecord]]]) -> judge.Verdict:
    """Return what is wrong with a day."""
    taken = {
        (topic, partition): world.cluster.logs[Place(SETTINGS.topics.name(topic), partition)]
        for topic in INPUT_TOPICS
        for partition in range(PARTITIONS)
    }
    ends = {place: log.end for place, log in taken.items()}
    published = {
        (topic, partition): [judge.Published(record.key, record.value, _untraced(record)) for record in found]
        for topic in judge.PUBLISHED
        for partition, found in records[topic].items()
    }
    journals = records[Topic.JOURNAL]
    inputs: dict[Topic, dict[int, list[ConsumedRecord]]] = {topic: {} for topic in INPUT_TOPICS}
    for (topic, partition), log in taken.items():
        entries = [entry for entry in (*log.deleted, *log.entries) if not entry.mark]
        inputs[topic][partition] = [consumed(entry) for entry in entries]
    return judge.judge(
        [record for found in journals.values() for record in found],
        ends,
        published,
        derive_records(journals, inputs, SETTINGS),
        SETTINGS,
        PARTITIONS,
    )
