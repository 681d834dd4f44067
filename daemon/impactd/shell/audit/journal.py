"""A run's journal, read from its source: the records up to a commit, and those that account for the inputs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from impactd.core.base.topics import Topic
from impactd.shell.audit.coverage import Coverage
from impactd.shell.audit.source import Source
from impactd.shell.kafka.consume import ConsumedRecord

#: Kind of a record that should be a journal's and is not.
UNREADABLE: Final = "unreadable"


@dataclass(frozen=True, slots=True)
class Mark:
    """A journal record, as far as it helps to find one's way."""

    offset: int
    timestamp: int
    seq: int
    kind: str


async def read_marks(source: Source, partition: int) -> AsyncIterator[tuple[Mark, Mapping[str, Any]]]:
    """Yield each record of a partition's journal, with what it holds."""
    first, end = await source.bounds(Topic.JOURNAL, partition)
    async for record in read_journal(source, partition, first, end):
        entry = parsed(record.value)
        yield Mark(record.offset, record.timestamp, entry.get("commit_seq", -1), entry.get("type", UNREADABLE)), entry


async def read_journal(source: Source, partition: int, start: int, end: int | None) -> AsyncIterator[ConsumedRecord]:
    """Yield the records of a partition's journal from offset `start` to `end`."""
    feed, at = source.feed(Topic.JOURNAL, partition, start), start
    while end is None or at < end:
        at = 2**63 if end is None else min(end, at + 2_000)
        for record in await feed.until(at):
            yield record
        if end is None:
            break
    await feed.close()


async def start_before(source: Source, partition: int, first: int) -> Mark | None:
    """Return the last record before commit `first` that a derivation can begin at, or the first of all."""
    start = None
    async for mark, _ in read_marks(source, partition):
        if mark.kind == UNREADABLE:
            continue
        if mark.seq > first or (mark.seq == first and mark.kind != "genesis"):
            # A snapshot of the same commit follows its outputs.
            return start or mark
        if start is None or _begins(mark, start):
            start = mark
    return start


def _begins(mark: Mark, before: Mark) -> bool:
    """Return whether a derivation can begin at a record, and not already at `before` of the same commit."""
    if mark.kind == "snapshot":
        return mark.seq != before.seq or before.kind == "commit"
    return mark.kind in {"genesis", "settings"}


async def cover(source: Source) -> tuple[list[str], int]:
    """Check that the journal accounts for every input offset exactly once; return faults, and the commits seen."""
    faults: list[str] = []
    commits = 0
    for partition in range(source.partitions[Topic.JOURNAL]):
        followed = Coverage(partition)
        async for mark, entry in read_marks(source, partition):
            if mark.kind == UNREADABLE:
                faults.append(f"journal/{partition}: the record at offset {mark.offset} is not a journal record")
            else:
                faults += followed.add(entry)
        commits += followed.commits
        for topic, reached in followed.reached.items():
            _, end = await source.bounds(topic, partition)
            if end is not None and reached > end:
                faults.append(f"{topic.value}/{partition}: accounted for up to {reached}, but the topic ends at {end}")
    return faults, commits


def parsed(value: bytes | None) -> dict[str, Any]:
    """Return a record's value as a JSON object; an empty one where it is none."""
    try:
        found = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
