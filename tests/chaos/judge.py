"""What must hold of a run once it has drained, found out from the topics alone.

Two kinds of evidence.  The journal and the inputs say whether every offset was taken in once, and whether commits
follow each other without a gap.  The captured inputs, derived again under that journal, say what should have been
published; what a committed-only reader finds there must be that, byte for byte: key, value, headers, partition and
order.  A topic that is compacted is compared by the last value of each key.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.core.engine import Engine
from impactd.shell.audit.audit import audit_all, audit_plans
from impactd.shell.audit.compare import topic_records
from impactd.shell.audit.coverage import coverage
from impactd.shell.audit.derive import Derived
from impactd.shell.audit.source import capture_source
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.encoder import Encoder
from impactd.shell.lines import InputFileError

#: Compared record by record.
LOGS: Final = (Topic.ESTIMATES, Topic.MODELS, Topic.PLANS, Topic.SLICES, Topic.ALERTS, Topic.TCA, Topic.DLQ)

#: Compared by the last value of each key, since the cleaner may have been there.
TABLES: Final = (Topic.PLANS_LATEST, Topic.STATE)

PUBLISHED: Final = (*LOGS, *TABLES)

#: Faults told of one topic's partition, at most.
_TOLD: Final = 3


class Published(NamedTuple):
    """A record as readers see it."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def commit(self) -> tuple[int, int]:
        """Partition and number of the commit that it belongs to."""
        mark = dict(self.headers)["commit"].split(b":")
        return int(mark[0]), int(mark[1])

    def __str__(self) -> str:
        return f"{self.key!r} of commit {self.commit}: {(self.value or b'')[:160]!r}"


Place = tuple[Topic, int]
Log = Mapping[Place, Sequence[Published]]


@dataclass(slots=True)
class Verdict:
    """What was found.

    Attributes
    ----------
    faults : dict of str to list of str
        By check; a check without a fault is not there.
    counts : Counter of str
        What was looked at: nothing looked at proves nothing.
    """

    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        """Whether all holds, and there was something to hold."""
        return not self.faults and self.counts["commits"] > 0 and self.counts["plans"] > 0

    def add(self, check: str, faults: Iterable[str]) -> None:
        """Note the faults of a check."""
        found = list(faults)
        if found:
            self.faults[check] += found


def judge(
    journal: Sequence[ConsumedRecord],
    ends: Mapping[Place, int],
    published: Log,
    derived: Iterable[Derived],
    settings: Settings,
    partitions: int,
) -> Verdict:
    """Return what is wrong with a run.

    Parameters
    ----------
    journal : sequence of ConsumedRecord
        Its committed records, by partition and offset.
    ends : mapping of (Topic, partition) to int
        Where the input topics end.
    published : mapping of (Topic, partition) to sequence of Published
        Committed records of the topics in `PUBLISHED`.
    derived : iterable of Derived
        The run, derived again.
    settings : Settings
    partitions : int
    """
    verdict = Verdict()
    entries: dict[int, list[dict[str, Any]]] = {n: [] for n in range(partitions)}
    for record in journal:
        entries[record.partition].append(orjson.loads(record.value or b"{}"))
    for partition, found in entries.items():
        verdict.add("commit numbers", begins(partition, found))
        reached = {topic: end for (topic, number), end in ends.items() if number == partition}
        verdict.add("offsets taken in once", coverage(partition, found, reached))
    verdict.add("order of commits", order(published))
    verdict.counts["commits"] = sum(map(len, entries.values()))
    for topic in LOGS:
        verdict.counts[topic.value] = sum(len(found) for place, found in published.items() if place[0] is topic)
    try:
        expected, state = expectation(derived, settings, partitions)
    except (InputFileError, ValueError, KeyError) as error:
        # A journal that contradicts itself or its inputs cannot be followed.
        verdict.add("derivation", [f"the run cannot be derived again: {error!r}"])
        return verdict
    for topic in LOGS:
        for partition in range(partitions):
            place = topic, partition
            verdict.add("published once, byte for byte", compare(place, published.get(place, ()), expected[place]))
    verdict.add("latest plan of each order", compare_last(Topic.PLANS_LATEST, published, expected, partitions))
    verdict.add("state on the broker", compare_state(published, state))
    return verdict


async def audit(directory: Path, settings: Settings, counts: Counter[str]) -> list[str]:
    """Return what an audit of the captured run finds, and whether it would find a single flipped bit."""
    try:
        source = capture_source(directory, settings)
    except InputFileError as error:
        return [str(error)]
    found = await audit_all(source)
    counts["audited"] += found.records
    counts["snapshots"] += found.snapshots
    faults = [str(item) for item in (*found.differences, *found.underived)]
    plans = [record async for record in topic_records(source, Topic.PLANS)]
    if faults or not plans:
        return faults or ["no plan to audit"]
    victim = plans[len(plans) // 2]
    value = bytearray(victim.value or b"")
    value[len(value) // 2] ^= 1
    kept = source.records[Topic.PLANS][victim.partition]  # type: ignore[attr-defined]  # what was captured is a list
    kept[kept.index(victim)] = forged = replace(victim, value=bytes(value))
    return [] if (await audit_plans(source, [forged])).n_differences == 1 else ["a flipped bit was not found"]


def begins(partition: int, entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what is wrong with the beginning of a partition's journal: nothing of this run may be gone."""
    if entries and (entries[0]["commit_seq"], entries[0]["type"]) != (0, "genesis"):
        yield f"partition {partition} begins with commit {entries[0]['commit_seq']}, a {entries[0]['type']}"


def order(published: Log) -> Iterator[str]:
    """Yield the records that stand behind one of a later commit of the same partition."""
    for (topic, partition), records in published.items():
        last: dict[int, int] = {}
        for place, record in enumerate(records):
            owner, seq = record.commit
            if seq < last.get(owner, 0):
                yield f"{topic}/{partition}, record {place}: commit {seq} stands behind {last[owner]}"
                break
            last[owner] = seq


def expectation(
    run: Iterable[Derived], settings: Settings, partitions: int
) -> tuple[dict[Place, list[Published]], dict[int, dict[bytes, bytes]]]:
    """Return what a run should have published by topic and partition, and the state of each partition."""
    counts = dict.fromkeys(Topic, partitions)
    topics = {settings.topics.name(topic): topic for topic in Topic}
    encoders = [Encoder(settings, n, counts) for n in range(partitions)]
    expected: dict[Place, list[Published]] = {(topic, n): [] for topic in Topic for n in range(partitions)}
    engines: dict[int, Engine] = {}
    for derived in run:
        engines[derived.partition] = derived.engine
        for made in encoders[derived.partition].records(derived.commit, derived.seq):
            topic = topics[made.topic]
            if topic in PUBLISHED:
                expected[topic, made.partition].append(Published(made.key, made.value, made.headers))
    state = {n: {key.encode(): value for key, value in engine.dump().items()} for n, engine in engines.items()}
    return expected, state


def compare(place: Place, found: Sequence[Published], expected: Sequence[Published]) -> Iterator[str]:
    """Yield what is lost, published twice, different or out of order."""
    if list(found) == list(expected):
        return
    there, wanted = Counter(found), Counter(expected)
    name = f"{place[0]}/{place[1]}"
    lost, extra = list((wanted - there).elements()), list((there - wanted).elements())
    yield f"{name}: {len(found)} records, {len(expected)} expected; {len(lost)} lost, {len(extra)} too many"
    if not lost and not extra:
        first = next(n for n, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1])
        yield f"{name}: out of order from record {first} on: {found[first]}"
    for record in lost[:_TOLD]:
        yield f"{name}: lost {record}"
    for record in extra[:_TOLD]:
        yield f"{name}: {'twice' if record in wanted else 'not expected'} {record}"


def compare_last(topic: Topic, published: Log, expected: Log, partitions: int) -> Iterator[str]:
    """Yield the keys of a compacted topic whose last record is not the expected one."""
    for partition in range(partitions):
        there = {record.key: record for record in published.get((topic, partition), ())}
        wanted = {record.key: record for record in expected[topic, partition]}
        for key in sorted(there.keys() | wanted.keys(), key=repr):
            if there.get(key) != wanted.get(key):
                yield f"{topic}/{partition}: {key!r} is {there.get(key)}, should be {wanted.get(key)}"


def compare_state(published: Log, state: Mapping[int, Mapping[bytes, bytes]]) -> Iterator[str]:
    """Yield the keys of the state topic that are not what the derived engine holds in the end."""
    for partition, wanted in state.items():
        there: dict[bytes, bytes] = {}
        for record in published.get((Topic.STATE, partition), ()):
            assert record.key is not None
            if record.value is None:
                there.pop(record.key, None)
            else:
                there[record.key] = record.value
        for key in sorted(there.keys() | wanted.keys()):
            if there.get(key) != wanted.get(key):
                yield f"state/{partition}: {key!r} differs from the derived engine's"
