"""Export of what is on the topics: committed records up to the present end, each once."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.export.tables import TABLES, Place, Sink, rows, tables_of
from impactd.shell.kafka.consume import ConsumedRecord, read_topics
from impactd.shell.kafka.registry import Readable
from impactd.wire.codec import Limits

#: Records of a partition that are written together.
_CHUNK: Final = 20_000


@dataclass(slots=True)
class Exported:
    """What a run has written."""

    rows: Counter[str] = field(default_factory=Counter)
    #: Ranges of offsets that were deleted by retention before they were exported, as text.
    gaps: list[str] = field(default_factory=list)
    #: Records that are no message of the service, and have no row; by topic.
    foreign: Counter[str] = field(default_factory=Counter)


async def export(settings: Settings, sink: Sink, *, chunk: int = _CHUNK) -> Exported:
    """Write the committed records that a sink does not have yet, up to the present end.

    Raises
    ------
    FatalError
        If a topic is missing or cannot be read, or ends before what was exported of it: it was made again.
    """
    done = Exported()
    positions = dict(await asyncio.to_thread(sink.positions))
    for topic in dict.fromkeys(table.topic for table in TABLES):
        await _export(settings, topic, sink, positions, done, chunk)
    return done


async def _export(
    settings: Settings, topic: Topic, sink: Sink, positions: dict[Place, int], done: Exported, chunk: int
) -> None:
    name = settings.topics.name(topic)
    tables = tables_of(topic)
    waiting: dict[int, list[ConsumedRecord]] = {}
    since = {
        partition: min(positions.get(Place(table.name, name, partition), 0) for table in tables)
        for partition in {place.partition for place in positions if place.topic == name}
    }
    readable = Readable(settings)
    limits = Limits.of(settings.core())

    async def write(mine: list[ConsumedRecord]) -> None:
        values = await readable([record.value for record in mine])
        found = [
            record if record.value is value else replace(record, value=value)
            for record, value in zip(mine, values, strict=True)
        ]
        await asyncio.to_thread(_write, topic, name, found, limits, sink, positions, done)
        mine.clear()

    async with aclosing(read_topics(settings, name, since=since, gaps=done.gaps)) as records:
        async for record in records:
            mine = waiting.setdefault(record.partition, [])
            mine.append(record)
            if len(mine) >= chunk:
                await write(mine)
    for mine in waiting.values():
        if mine:
            await write(mine)


def _write(
    topic: Topic,
    name: str,
    records: list[ConsumedRecord],
    limits: Limits,
    sink: Sink,
    positions: dict[Place, int],
    done: Exported,
) -> None:
    found, foreign = rows(topic, records, limits)
    done.foreign[name] += foreign
    partition, end = records[0].partition, records[-1].offset + 1
    for table in tables_of(topic):
        place = Place(table.name, name, partition)
        # Tables of one topic may have come to different places when a run ended early.
        first = positions.get(place, 0)
        if first >= end:
            continue
        new = [row for of, row in found if of is table and row[1] >= first]
        # Without rows too: the position moves on.
        sink.write(table, place, first, end, new)
        positions[place] = end
        done.rows[table.name] += len(new)
