"""Dead letters: read, chosen, and sent again to where they came from.

A letter is sent again as it was: its bytes, its key, the codec that it was read with, and a header `redriven_from`
that names its place among the dead letters.  Only the partition is chosen again, by the key, so that a record from
the wrong partition reaches the right one.  A record without a key, and a control, which is one of several, return to
their own partition.

Never sent again are a letter that was cut, since its bytes are not the original ones, and one whose source is not an
input topic of these settings, since a header must not decide where to write.

What was sent again is not recorded.  The service counts a repeated order or
execution once, but a repeated trade adds to its volume, if it is not late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.inputs.columns import CODEC_HEADER
from impactd.shell.kafka.consume import ConsumedRecord, read_record, read_topics
from impactd.shell.kafka.deliver import Send, delivery
from impactd.shell.kafka.encoder import Record
from impactd.shell.kafka.topics import partition_counts
from impactd.wire.murmur2 import murmur2

REDRIVEN_FROM: Final = "redriven_from"

#: Letters that are sent again together: their bytes are in memory meanwhile.
_AT_ONCE: Final = 1_000

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter with what its headers say."""

    #: Partition and offset among the dead letters.
    place: Place
    #: When it was written, ms.
    timestamp: int
    reason: str
    detail: str
    codec: str
    source_topic: str
    #: None where the header is missing or no number.
    source_partition: int | None
    source_offset: int | None
    key: bytes | None
    #: Original bytes, or their beginning.
    value: bytes
    #: Their number before the cut.
    original_bytes: int
    #: Of the original bytes, where they were cut.
    sha256: str | None

    @property
    def truncated(self) -> bool:
        """Whether it was cut."""
        return self.sha256 is not None or self.original_bytes != len(self.value)

    @property
    def source(self) -> str:
        """Where it stood: topic/partition/offset."""
        return "/".join("?" if part is None else str(part) for part in self._source())

    def _source(self) -> tuple[str, int | None, int | None]:
        return self.source_topic, self.source_partition, self.source_offset


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which letters are meant; what is None or empty excludes none."""

    reason: str | None = None
    #: Source topic, by its role or its name on the broker.
    topic: str | None = None
    #: Written then or later, UTC ns.
    since_ns: int | None = None
    #: Partition and offset among the dead letters.
    places: frozenset[Place] = frozenset()

    def has(self, letter: Letter, names: Mapping[str, str]) -> bool:
        """Return whether `letter` is meant; `names` are topics by role."""
        return (
            (self.reason is None or letter.reason == self.reason)
            and (self.topic is None or letter.source_topic == names.get(self.topic, self.topic))
            and (self.since_ns is None or letter.timestamp * 1_000_000 >= self.since_ns)
            and (not self.places or letter.place in self.places)
        )


@dataclass(slots=True)
class Survey:
    """The dead letters that were selected."""

    #: Those that can be sent again, by source topic.
    ready: Counter[str] = field(default_factory=Counter)
    #: Those that cannot, by the reason.
    kept: Counter[str] = field(default_factory=Counter)
    #: Partition to the offset after its last letter that was looked at.
    ends: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Redriven:
    """What became of letters that were to be sent again."""

    sent: Counter[str] = field(default_factory=Counter)
    #: Letters that are not known to have been written, and why.
    failed: list[tuple[Place, str]] = field(default_factory=list)


def letter_of(record: ConsumedRecord) -> Letter:
    """Return what a record of the dead-letter topic says."""
    value = record.value or b""
    cut = _header(record, "sha256")
    size = _integer(_header(record, "original_bytes"))
    return Letter(
        place=(record.partition, record.offset),
        timestamp=record.timestamp,
        reason=_header(record, "reason") or "unknown",
        detail=_header(record, "detail") or "",
        codec=_header(record, "codec") or "",
        source_topic=_header(record, "source_topic") or "",
        source_partition=_integer(_header(record, "source_partition")),
        source_offset=_integer(_header(record, "source_offset")),
        key=record.key,
        value=value,
        original_bytes=len(value) if size is None else size,
        sha256=cut,
    )


def _header(record: ConsumedRecord, name: str) -> str | None:
    value = record.header(name)
    return None if value is None else bytes(value).decode("utf-8", "replace")


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 20 else None


async def dead_letters(settings: Settings, chosen: Chosen) -> AsyncGenerator[Letter, None]:
    """Yield the dead letters that are meant, each partition's in order."""
    names = {topic.value: settings.topics.name(topic) for topic in Topic}
    async with aclosing(read_topics(settings, settings.topics.name(Topic.DLQ))) as records:
        async for record in records:
            letter = letter_of(record)
            if chosen.has(letter, names):
                yield letter


async def dead_letter(settings: Settings, place: Place) -> tuple[Letter, ConsumedRecord] | None:
    """Return the letter at `place` with its record, or None where there is none."""
    record = await read_record(settings, settings.topics.name(Topic.DLQ), *place)
    return None if record is None else (letter_of(record), record)


async def survey(settings: Settings, chosen: Chosen) -> Survey:
    """Say what can be sent again."""
    counts = await partition_counts(settings)
    found = Survey()
    async with aclosing(dead_letters(settings, chosen)) as letters:
        async for letter in letters:
            partition, offset = letter.place
            found.ends[partition] = offset + 1
            why = why_kept(letter, _roles(settings), counts)
            if why is None:
                found.ready[letter.source_topic] += 1
            else:
                found.kept[why] += 1
    return found


async def redrive(settings: Settings, chosen: Chosen, ends: Mapping[int, int]) -> Redriven:
    """Send the letters again that are meant and can be, up to the `ends` of a survey."""
    counts = await partition_counts(settings)
    roles = _roles(settings)
    done = Redriven()
    ready: list[tuple[Place, Record]] = []
    async with delivery(settings) as send, aclosing(dead_letters(settings, chosen)) as letters:
        async for letter in letters:
            partition, offset = letter.place
            if offset < ends.get(partition, 0) and why_kept(letter, roles, counts) is None:
                role = roles[letter.source_topic]
                ready.append((letter.place, _again(settings, letter, role, counts[role])))
            if len(ready) == _AT_ONCE:
                await _send(send, ready, done)
                ready.clear()
        await _send(send, ready, done)
    return done


async def _send(send: Send, ready: Sequence[tuple[Place, Record]], done: Redriven) -> None:
    answers = await send([record for _, record in ready])
    for (place, record), answer in zip(ready, answers, strict=True):
        if isinstance(answer, int):
            done.sent[record.topic] += 1
        else:
            done.failed.append((place, answer))


def _roles(settings: Settings) -> dict[str, Topic]:
    return {settings.topics.name(role): role for role in INPUT_TOPICS}


def why_kept(letter: Letter, roles: Mapping[str, Topic], counts: Mapping[Topic, int]) -> str | None:
    """Return why a letter cannot be sent again, or None.

    Parameters
    ----------
    roles : mapping of str to Topic
        Input topics by their names on the broker.
    counts : mapping of Topic to int
        Partitions of each.
    """
    if letter.truncated:
        return "truncated"
    role = roles.get(letter.source_topic)
    if role is None:
        return "source is not an input topic"
    stood = letter.source_partition
    if (letter.key is None or role is Topic.CONTROL) and (stood is None or stood >= counts[role]):
        return "source partition unknown"
    return None


def _again(settings: Settings, letter: Letter, role: Topic, partitions: int) -> Record:
    if letter.key is None or role is Topic.CONTROL:
        partition = letter.source_partition or 0
    else:
        partition = (murmur2(letter.key) & 0x7FFFFFFF) % partitions
    place = "/".join(map(str, (settings.topics.name(Topic.DLQ), *letter.place)))
    headers = [(REDRIVEN_FROM, place.encode())]
    if letter.codec:
        headers.append((CODEC_HEADER, letter.codec.encode()))
    return Record(letter.source_topic, partition, letter.key, letter.value, tuple(headers))
