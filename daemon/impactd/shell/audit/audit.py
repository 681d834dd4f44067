"""Recomputes what was published and compares the bytes.

The audit follows a partition's journal from its genesis, or from the latest
snapshot before the commits in question.  Each commit applies the inputs that its
journal record names; its outputs are compared with those in the output topics
under its number and with the journal itself, and each snapshot on the way with
the derived state.

There are three results.  Everything agrees.  Something differs: the report names
commit, topic, record and byte.  Or a range cannot be derived because inputs are
gone, another release wrote it, or the journal has a gap: the report says so, and
the derivation continues from the next snapshot.  A difference after lost inputs
is a consequence of the loss, not evidence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from impactd.__about__ import __version__
from impactd.core.base.topics import Topic
from impactd.core.engine import Commit
from impactd.core.state.schema import SCHEMA_VERSION
from impactd.core.state.snapshot import snapshot_items
from impactd.shell.audit.capture import OUTPUT_TOPICS
from impactd.shell.audit.compare import (
    Difference,
    Published,
    commit_of,
    compare,
    difference,
    read_published,
    topic_records,
)
from impactd.shell.audit.derive import DerivationError, Rederivation
from impactd.shell.audit.journal import UNREADABLE, parsed, read_journal, read_marks, start_before
from impactd.shell.audit.source import Feed, Source
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.encoder import Encoder, Record
from impactd.wire.codec import Limits

#: Differences kept of one audit; the others are counted.
_KEPT: Final = 20


@dataclass(frozen=True, slots=True)
class Underived:
    """Commits that could not be derived, first to last, and why."""

    partition: int
    first: int
    last: int
    why: str

    def __str__(self) -> str:
        which = f"commit {self.first}" if self.first == self.last else f"commits {self.first} to {self.last}"
        return f"{which} of partition {self.partition} cannot be derived: {self.why}"


@dataclass(slots=True)
class Audit:
    """What an audit has found."""

    #: Commits derived, records and plans compared, snapshots compared with the derived state.
    commits: int = 0
    records: int = 0
    plans: int = 0
    snapshots: int = 0
    #: Derived records that retention or compaction has removed from the outputs.
    unkept: int = 0
    #: The first of them, in the order in which they were found.
    differences: list[Difference] = field(default_factory=list)
    n_differences: int = 0
    underived: list[Underived] = field(default_factory=list)
    #: What did no harm, but a person should know.
    notes: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        """``differs``, ``underived`` or ``agrees``; the gravest."""
        if self.n_differences:
            return "differs"
        return "underived" if self.underived or not self.commits else "agrees"

    def differ(self, found: list[Difference]) -> None:
        """Note differences."""
        self.n_differences += len(found)
        self.differences += found[: max(0, _KEPT - len(self.differences))]


async def audit_all(
    source: Source, since_ms: int | None = None, limits: Limits | None = None, *, learned: str = ""
) -> Audit:
    """Audit every commit that was published since a time.

    Parameters
    ----------
    since_ms : int, optional
        Timestamp of the journal record, ms; all commits by default.
    limits : Limits, optional
        Bounds on input records, as the run had them.
    learned : str, optional
        The trained file, where the run's forecasts were made with one.
    """
    wanted = {}
    for partition in range(source.partitions[Topic.JOURNAL]):
        last = first = None
        async for mark, _ in read_marks(source, partition):
            if mark.kind == UNREADABLE:
                continue
            last = mark.seq
            if first is None and (since_ms is None or mark.timestamp >= since_ms):
                first = mark.seq
        if first is not None and last is not None:
            wanted[partition] = first, last
    return await _audit(source, wanted, limits, learned)


async def find_plan(source: Source, cl_ord_id: str, plan_version: int) -> list[ConsumedRecord]:
    """Return the published records of a plan: one, or several where an id was used again."""
    found = []
    text = orjson.dumps(cl_ord_id)
    async for record in topic_records(source, Topic.PLANS):
        value = record.value or b""
        if text in value:
            plan = parsed(value)
            if (plan.get("cl_ord_id"), plan.get("plan_version")) == (cl_ord_id, plan_version):
                found.append(record)
    return found


async def audit_plans(
    source: Source, plans: list[ConsumedRecord], limits: Limits | None = None, *, learned: str = ""
) -> Audit:
    """Audit the commits of published plans, and all that leads there from the genesis or the latest snapshot."""
    wanted: dict[int, tuple[int, int]] = {}
    unmarked = []
    for record in plans:
        mark = commit_of(record)
        if mark is None:
            unmarked.append(record)
            continue
        owner, seq = mark
        first, last = wanted.get(owner, (seq, seq))
        wanted[owner] = min(first, seq), max(last, seq)
    audit = await _audit(source, wanted, limits, learned)
    for record in unmarked:
        audit.differ([_foreign(record, Topic.PLANS)])
    return audit


async def _audit(source: Source, wanted: Mapping[int, tuple[int, int]], limits: Limits | None, learned: str) -> Audit:
    """Follow the journals to the last commits wanted, from the last start before the first."""
    audit = Audit()
    starts: dict[int, int] = {}
    ranges: dict[int, tuple[int, int]] = {}
    for partition, (first, last) in wanted.items():
        begin = await start_before(source, partition, first)
        if begin is None:
            audit.underived.append(Underived(partition, first, last, "its journal is gone (retention)"))
            continue
        starts[partition] = begin.offset
        ranges[partition] = begin.seq, last
    published = await read_published(source, ranges)
    for partition, offset in starts.items():
        await _Walk(source, partition, published, audit, limits, learned).run(offset, ranges[partition][1])
    for record in published.foreign:
        topic = next(t for t in OUTPUT_TOPICS if record.topic in {t.value, source.settings.topics.name(t)})
        audit.differ([_foreign(record, topic)])
    return audit


class _Walk:
    """Follows one partition's journal."""

    def __init__(
        self, source: Source, partition: int, published: Published, audit: Audit, limits: Limits | None, learned: str
    ) -> None:
        self._source = source
        self._partition = partition
        self._published = published
        self._audit = audit
        self._run = Rederivation(source.settings, partition, limits, learned=learned, schemas=source.schemas)
        self._limits, self._learned = limits, learned
        self._encoder = Encoder(source.settings, partition, source.partitions)
        self._encodes_for = source.settings
        self._roles = {source.settings.topics.name(topic): topic for topic in Topic}
        self._feeds: dict[Topic, Feed] = {}
        self._parts: list[tuple[ConsumedRecord, Mapping[str, Any]]] = []
        #: Inputs that were taken in and are gone, since the derivation began.
        self._missing: list[str] = []
        self._gap: tuple[int, int, str] | None = None

    async def run(self, offset: int, last: int) -> None:
        """Follow the journal from a record's offset to the end of commit `last`."""
        _, end = await self._source.bounds(Topic.JOURNAL, self._partition)
        seq = 0
        async for record in read_journal(self._source, self._partition, offset, end):
            entry = parsed(record.value)
            seq = entry.get("commit_seq", seq + 1)
            if seq > last:
                break
            try:
                await self._take(record, entry, seq)
            except DerivationError as error:
                self._lose(seq, str(error))
            except (KeyError, TypeError, ValueError) as error:
                self._lose(seq, f"the journal record at offset {record.offset} cannot be followed: {error!r}")
        self._close_gap()
        for feed in self._feeds.values():
            await feed.close()
        if self._missing:
            self._audit.notes.append(
                f"partition {self._partition}: all agrees although inputs are gone: {'; '.join(self._missing[:3])}"
            )

    async def _take(self, record: ConsumedRecord, entry: Mapping[str, Any], seq: int) -> None:
        if entry["release"] != __version__:
            self._lose(seq, f"release {entry['release']} wrote them, this is {__version__}: audit with that release")
        elif entry["type"] == "snapshot":
            self._parts.append((record, entry))
            if entry["part"] + 1 == entry["parts"]:
                parts, self._parts = self._parts, []
                self._at_snapshot(parts, seq)
        elif entry["type"] == "genesis":
            self._check(record, seq, self._run.begin(entry).commit)
        elif entry["type"] == "settings":
            if self._can_follow(entry):
                self._check(record, seq, self._run.hand_over(entry).commit)
        elif not self._run.begun:
            self._lose(seq, "neither its genesis nor a snapshot before it is kept (retention)")
        else:
            consumed = {Topic(name): await self._consumed(Topic(name), seq, entry) for name in entry["to"]}
            self._check(record, seq, self._run.apply(entry, consumed).commit)

    def _can_follow(self, entry: Mapping[str, Any]) -> bool:
        """Return whether this release wrote the state before a handover; if not, derivation needs the next snapshot."""
        previous = entry["previous"]
        if self._run.begun and (previous["release"], previous["schema"]) != (__version__, SCHEMA_VERSION):
            self._restart()
        return self._run.begun

    async def _consumed(self, topic: Topic, seq: int, entry: Mapping[str, Any]) -> list[ConsumedRecord]:
        start, to = int(entry["from"][topic.value]), int(entry["to"][topic.value])
        first, end = await self._source.bounds(topic, self._partition)
        where = f"{self._source.settings.topics.name(topic)}/{self._partition}"
        if start < first:
            upto = min(to, first)
            self._missing.append(
                f"{where} offsets {start} to {upto - 1} of commit {seq} (retention, or records deleted)"
            )
        if end is not None and to > end:
            self._missing.append(
                f"{where} offsets {max(start, end)} to {to - 1} of commit {seq} (the topic ends before)"
            )
        feed = self._feeds.get(topic)
        if feed is None:
            feed = self._feeds[topic] = self._source.feed(topic, self._partition, start)
        records = list(await feed.until(to if end is None else min(to, end)))
        await self._run.know_schemas(topic, records)
        return records

    def _check(self, record: ConsumedRecord, seq: int, commit: Commit) -> None:
        """Compare a derived commit with what it has published."""
        derived: dict[tuple[Topic, int], list[Record]] = defaultdict(list)
        if self._run.settings != self._encodes_for:
            self._encodes_for = self._run.settings
            self._encoder = Encoder(self._run.settings, self._partition, self._source.partitions)
        made = self._encoder.records(commit, seq)
        for item in made:
            topic = self._roles[item.topic]
            if topic in OUTPUT_TOPICS:
                derived[topic, item.partition].append(item)
        found, compared, unkept = compare(self._partition, seq, derived, self._published)
        place = Topic.JOURNAL, self._partition
        own = next(item for item in made if self._roles[item.topic] is Topic.JOURNAL)
        found += difference(self._partition, seq, place, record, own)
        if found and self._missing:
            self._lose(seq, f"inputs are missing: {'; '.join(self._missing[:3])}")
            return
        self._close_gap()
        audit = self._audit
        audit.differ(found)
        audit.commits += 1
        audit.records += compared + 1
        audit.unkept += unkept
        audit.plans += sum(len(items) for (topic, _), items in derived.items() if topic is Topic.PLANS)

    def _at_snapshot(self, parts: list[tuple[ConsumedRecord, Mapping[str, Any]]], seq: int) -> None:
        """Compare a snapshot with the derived state, or begin with it where there is none."""
        entries = [entry for _, entry in parts]
        if not self._run.begun or self._run.engine.commit_seq != seq:
            self._restart()
            self._run.resume(entries)
            return
        mine, theirs = self._run.engine.dump(), snapshot_items(entries)
        changed = sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key))
        if changed and self._missing:
            self._lose(seq, f"inputs are missing: {'; '.join(self._missing[:3])}")
            self._restart()
            self._run.resume(entries)
            return
        self._audit.snapshots += 1
        place = Topic.JOURNAL, self._partition
        for key in changed:
            first = parts[0][0]
            stands = ConsumedRecord(first.topic, first.partition, first.offset, 0, key.encode(), theirs.get(key))
            derived = Record(first.topic, first.partition, key.encode(), mine.get(key))
            self._audit.differ(list(difference(self._partition, seq, place, stands, derived)))

    def _lose(self, seq: int, why: str) -> None:
        """Note that a commit cannot be derived, nor what follows it up to the next snapshot."""
        self._restart()
        if self._gap is None:
            self._gap = seq, seq, why
        else:
            self._gap = self._gap[0], seq, self._gap[2]

    def _close_gap(self) -> None:
        if self._gap is not None:
            first, last, why = self._gap
            self._audit.underived.append(Underived(self._partition, first, last, why))
            self._gap = None

    def _restart(self) -> None:
        """Forget the derivation so far."""
        self._run = Rederivation(
            self._source.settings, self._partition, self._limits, learned=self._learned, schemas=self._source.schemas
        )
        self._feeds.clear()
        self._missing.clear()


def _foreign(record: ConsumedRecord, topic: Topic) -> Difference:
    key = None if record.key is None else record.key.decode("utf-8", "backslashreplace")
    value = None if record.value is None else record.value[:80]
    return Difference(
        record.partition, -1, topic.value, record.partition, record.offset, key, "extra", None, value, None
    )
