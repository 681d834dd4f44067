"""Compares the published records of a commit with the derived ones, down to the first byte that differs.

A record is what a reader sees of it: topic, partition, key, headers and
value.  Topics that are compacted may have lost what a later record of the
same key has replaced; the others may have lost their beginning to retention.
Neither is a difference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from impactd.core.base.topics import Topic
from impactd.shell.audit.capture import OUTPUT_TOPICS
from impactd.shell.audit.source import Source
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.encoder import TRACE_HEADERS, Record
from impactd.wire.forms import OUTPUTS

Place = tuple[Topic, int]

#: Kept by their last record of each key.
COMPACTED: Final = frozenset({Topic.PLANS_LATEST})

#: Bytes shown on each side of a difference.
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Difference:
    """One record that is not what it should be."""

    #: Of the commit that it belongs to.
    partition: int
    commit: int
    #: Role of its topic.
    topic: str
    output_partition: int
    #: Place of the published record; None if there is none.
    offset: int | None
    key: str | None
    #: ``value``, ``key``, ``headers``, ``lost`` (derived but not published) or ``extra`` (published but not derived).
    what: str
    #: Where `what` first differs.
    byte: int | None
    #: Its surroundings.
    published: bytes | None
    derived: bytes | None

    def __str__(self) -> str:
        at = f"offset {self.offset}" if self.offset is not None else "nowhere"
        where = f"commit {self.commit} of partition {self.partition}: {self.topic}/{self.output_partition} {at}"
        if self.what == "lost":
            return f"{where}: a record with key {self.key} is derived and was not published: {_text(self.derived)}"
        if self.what == "extra":
            return f"{where}: a record with key {self.key} was published and is not derived: {_text(self.published)}"
        return (
            f"{where}, key {self.key}: the {self.what} differs from byte {self.byte} on: published "
            f"{_text(self.published)}, derived {_text(self.derived)}"
        )


@dataclass(slots=True)
class Published:
    """What was published by the commits that are examined, by (partition, commit) and place."""

    by_commit: dict[tuple[int, int], dict[Place, list[ConsumedRecord]]] = field(default_factory=dict)
    #: Records that no commit claims.
    foreign: list[ConsumedRecord] = field(default_factory=list)
    #: First offset of each place that is still there.
    first: dict[Place, int] = field(default_factory=dict)
    #: Of each place, the earliest commit of each partition that has a record there.
    earliest: dict[tuple[Place, int], int] = field(default_factory=dict)

    def add(self, topic: Topic, record: ConsumedRecord, wanted: Mapping[int, tuple[int, int]]) -> None:
        """Take in a record, if it belongs to one of the commits (first, last) that are `wanted` by partition."""
        mark = commit_of(record)
        if mark is None:
            self.foreign.append(record)
            return
        owner, seq = mark
        place = topic, record.partition
        self.earliest.setdefault((place, owner), seq)
        first, last = wanted.get(owner, (0, -1))
        if first <= seq <= last:
            self.by_commit.setdefault(mark, defaultdict(list))[place].append(record)

    def kept(self, place: Place, owner: int, seq: int) -> bool | None:
        """Return whether what a commit has published there is still there: True, False, or None for a part of it."""
        if self.first.get(place, 0) == 0:
            return True
        earliest = self.earliest.get((place, owner))
        if earliest is None or seq < earliest:
            return False
        return None if seq == earliest else True


async def read_published(source: Source, wanted: Mapping[int, tuple[int, int]]) -> Published:
    """Read what the commits (first, last) of each partition have published."""
    published = Published()
    for topic in OUTPUT_TOPICS:
        async for record in topic_records(source, topic, published.first):
            published.add(topic, record, wanted)
    return published


async def topic_records(
    source: Source, topic: Topic, first_of: dict[Place, int] | None = None
) -> AsyncIterator[ConsumedRecord]:
    """Yield all records of a topic, partition by partition."""
    for partition in range(source.partitions[topic]):
        first, end = await source.bounds(topic, partition)
        if first_of is not None:
            first_of[topic, partition] = first
        feed = source.feed(topic, partition, first)
        stop = 2**63 if end is None else end
        at = first
        while at < stop:
            # A bounded part at a time: the topic may be larger than memory.
            at = stop if end is None else min(stop, at + 20_000)
            found = await feed.until(at)
            if source.schemas is not None and topic in OUTPUTS:
                # What is published in another format is compared as the JSON that it says.
                values = await source.schemas.as_json([record.value for record in found])
                found = [replace(record, value=value) for record, value in zip(found, values, strict=True)]
            for record in found:
                yield record
        await feed.close()


def commit_of(record: ConsumedRecord) -> tuple[int, int] | None:
    """Return partition and number of the commit that a record says it belongs to."""
    owner, colon, seq = (record.header("commit") or b"").partition(b":")
    return (int(owner), int(seq)) if colon and owner.isdigit() and seq.isdigit() else None


def compare(
    owner: int, seq: int, derived: Mapping[Place, Sequence[Record]], published: Published
) -> tuple[list[Difference], int, int]:
    """Compare what a commit derives to with what it has published.

    Returns
    -------
    (list of Difference, int, int)
        Differences, records that were compared, and records that are no longer kept.
    """
    found = published.by_commit.get((owner, seq), {})
    differences: list[Difference] = []
    compared = unkept = 0
    for place in sorted({*derived, *found}):
        mine, theirs = list(derived.get(place, ())), found.get(place, [])
        if place[0] in COMPACTED:
            kept = _last_of(mine, theirs)
            unkept += len(mine) - len(kept)
            mine = kept
        else:
            kept_there = published.kept(place, owner, seq)
            gone = len(mine) if kept_there is False else 0
            if kept_there is None:
                gone = max(0, len(mine) - len(theirs))
            unkept += gone
            mine = mine[gone:]
        compared += max(len(mine), len(theirs))
        differences += _of_place(owner, seq, place, mine, theirs)
    return differences, compared, unkept


def _last_of(derived: Sequence[Record], published: Sequence[ConsumedRecord]) -> list[Record]:
    """Return those of `derived` that a cleaner has left, as far as the keys tell."""
    kept: list[Record] = []
    left = list(derived)
    for record in reversed(published):
        while left:
            last = left.pop()
            if last.key == record.key:
                kept.append(last)
                break
    return kept[::-1]


def _of_place(
    owner: int, seq: int, place: Place, derived: Sequence[Record], published: Sequence[ConsumedRecord]
) -> Iterator[Difference]:
    for n in range(max(len(derived), len(published))):
        mine = derived[n] if n < len(derived) else None
        theirs = published[n] if n < len(published) else None
        if mine is None and theirs is not None:
            yield _difference(owner, seq, place, theirs, "extra", None, theirs.value, None)
        elif mine is not None and theirs is None:
            yield _difference(owner, seq, place, mine, "lost", None, None, mine.value)
        elif mine is not None and theirs is not None:
            yield from difference(owner, seq, place, theirs, mine)


def difference(owner: int, seq: int, place: Place, published: ConsumedRecord, derived: Record) -> Iterator[Difference]:
    """Yield how a published record differs from the derived one, if it does."""
    pairs = (
        ("key", published.key, derived.key),
        ("headers", _flat(published.headers), _flat(derived.headers)),
        ("value", published.value, derived.value),
    )
    for what, theirs, mine in pairs:
        if theirs != mine:
            yield _difference(owner, seq, place, published, what, first_difference(theirs, mine), theirs, mine)
            return


def first_difference(one: bytes | None, other: bytes | None) -> int:
    """Return the first byte at which two values differ; where one ends, if it is the beginning of the other."""
    a, b = one or b"", other or b""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _difference(
    owner: int,
    seq: int,
    place: Place,
    record: ConsumedRecord | Record,
    what: str,
    byte: int | None,
    published: bytes | None,
    derived: bytes | None,
) -> Difference:
    key = None if record.key is None else record.key.decode("utf-8", "backslashreplace")
    offset = record.offset if isinstance(record, ConsumedRecord) else None
    return Difference(
        owner, seq, place[0].value, place[1], offset, key, what, byte, _around(published, byte), _around(derived, byte)
    )


def _around(data: bytes | None, byte: int | None) -> bytes | None:
    if data is None:
        return None
    start = max(0, (byte or 0) - _SHOWN // 2)
    return data[start : start + 2 * _SHOWN]


def _flat(headers: Sequence[tuple[str, bytes]]) -> bytes:
    return b"; ".join(name.encode() + b"=" + value for name, value in headers if name not in TRACE_HEADERS)


def _text(data: bytes | None) -> str:
    return "nothing" if data is None else f"...{data.decode('utf-8', 'backslashreplace')}..."
