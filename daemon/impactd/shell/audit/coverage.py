"""Whether a journal accounts for its inputs: commits without a gap, and every offset in exactly one of them.

This looks at the journal alone, needs no derivation, and is what exactly-once
means on the side of the inputs.  `Coverage` is fed the records of one
partition in their order and keeps only its position.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from impactd.core.base.topics import INPUT_TOPICS, Topic

#: Journal records that accompany a commit's own, under its number.
BESIDE: Final = frozenset({"snapshot"})


class Coverage:
    """Follows the journal of one partition.

    Attributes
    ----------
    reached : dict of Topic to int
        Offset up to which each input is accounted for.
    """

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.commits = 0
        self.reached: dict[Topic, int] = {}
        self._seq: int | None = None

    def add(self, entry: Mapping[str, Any]) -> Iterator[str]:
        """Take in the next record and yield what is wrong with it.

        A journal whose beginning retention has deleted is followed from where
        it begins now.
        """
        if entry["type"] in BESIDE:
            return
        seq: int = entry["commit_seq"]
        if self._seq is not None and seq != self._seq + 1:
            yield f"partition {self.partition}: commit {seq} follows {self._seq}"
        if entry["type"] == "genesis" and (self.commits or seq):
            yield f"partition {self.partition}: commit {seq} is a genesis, but only commit 0 may be one"
        if entry["type"] == "genesis":
            self.reached |= {topic: int(entry["positions"][topic.value]) for topic in INPUT_TOPICS}
        self._seq = seq
        self.commits += 1
        for name, to in entry.get("to", {}).items():
            topic, start = Topic(name), int(entry["from"][name])
            stands = self.reached.get(topic, start)
            if start != stands:
                what = "again" if start < stands else "after a gap"
                yield f"{name}/{self.partition}: commit {seq} begins at {start} {what}, not at {stands}"
            if to < start:
                yield f"{name}/{self.partition}: commit {seq} ends at {to}, before {start} where it begins"
            self.reached[topic] = int(to)

    def behind(self, ends: Mapping[Topic, int]) -> Iterator[str]:
        """Yield the inputs that are not accounted for up to `ends`, or beyond it."""
        for topic, end in ends.items():
            reached = self.reached.get(topic)
            if reached is not None and reached != end:
                yield f"{topic.value}/{self.partition}: accounted for up to {reached} of {end}"


def coverage(
    partition: int, entries: Iterable[Mapping[str, Any]], ends: Mapping[Topic, int] | None = None
) -> Iterator[str]:
    """Yield what is wrong with the journal of one partition.

    Parameters
    ----------
    entries : iterable of mapping
        Its records, in their order.
    ends : mapping of Topic to int, optional
        Where the inputs end, of a run that has taken in all.
    """
    followed = Coverage(partition)
    for entry in entries:
        yield from followed.add(entry)
    if not followed.commits:
        yield f"partition {partition} has no commit"
    yield from followed.behind(ends or {})
