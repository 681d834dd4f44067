"""What the service is doing, in numbers, in one place for every observer.

The loops write here and nothing here is read back by them, so that an
observer (a log line, metrics, a health check, a test) can change nothing.
Durations are in seconds of the monotonic clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum

from impactd.core.messages import INPUT_TOPICS, Topic


class Phase(StrEnum):
    """What an owned partition is doing."""

    ACQUIRING = "acquiring"
    RESTORING = "restoring"
    RUNNING = "running"
    LEAVING = "leaving"


@dataclass(slots=True)
class PartitionStatus:
    """One owned partition.

    Attributes
    ----------
    token : int
        Ownership token; grows with each assignment in this process.
    positions : dict of Topic to int
        Next offset of each input as of the last commit.
    high_watermarks, stable_offsets : dict of Topic to int
        As of the last fetch; only of topics that were fetched.
    commits, records, rows : int
        Commits made, input records in them, tick rows in them, since this process owns the partition.
    idle_moves : int
        Commits that closed minutes without input.
    commit_seconds : float
        Duration of the last commit, from the opening of its transaction.
    commit_seconds_total, apply_seconds_total, decode_seconds_total : float
    restore_seconds : float or None
        From the start of the producer to the first fetch.
    restored_keys : int
    last_tick : float or None
        Monotonic time at which a tick was last fetched.
    refused : Counter of str
        Records that went to the dead letters, by reason.
    skipped_unknown : int
        Messages of a type that this release does not know.
    failures : int
        Times that memory was dropped and the partition acquired again.
    paused : bool
        Fetching of ticks waits until what was fetched is applied.
    lost : dict of Topic to int
        Positions that no longer existed.
    """

    partition: int
    token: int
    phase: Phase = Phase.ACQUIRING
    positions: dict[Topic, int] = field(default_factory=dict)
    high_watermarks: dict[Topic, int] = field(default_factory=dict)
    stable_offsets: dict[Topic, int] = field(default_factory=dict)
    commits: int = 0
    commit_seq: int = 0
    records: int = 0
    rows: int = 0
    outputs: Counter[Topic] = field(default_factory=Counter)
    idle_moves: int = 0
    commit_seconds: float = 0.0
    commit_seconds_total: float = 0.0
    apply_seconds_total: float = 0.0
    decode_seconds_total: float = 0.0
    restore_seconds: float | None = None
    restored_keys: int = 0
    last_tick: float | None = None
    last_commit: float | None = None
    refused: Counter[str] = field(default_factory=Counter)
    skipped_unknown: int = 0
    failures: int = 0
    paused: bool = False
    lost: dict[Topic, int] = field(default_factory=dict)

    def lag(self, topic: Topic) -> int:
        """Return the records of an input that are not in a commit yet: high watermark less position."""
        return max(0, self.high_watermarks.get(topic, 0) - self.positions.get(topic, 0))

    def stable_lag(self, topic: Topic) -> int:
        """Return the lag that is not hidden by a producer's open transaction."""
        return max(0, self.stable_offsets.get(topic, 0) - self.positions.get(topic, 0))

    @property
    def total_lag(self) -> int:
        """Sum of the lags of all inputs."""
        return sum(self.lag(topic) for topic in INPUT_TOPICS)

    def copy(self) -> PartitionStatus:
        """Return a copy that stands still."""
        return replace(
            self,
            positions=dict(self.positions),
            high_watermarks=dict(self.high_watermarks),
            stable_offsets=dict(self.stable_offsets),
            outputs=Counter(self.outputs),
            refused=Counter(self.refused),
            lost=dict(self.lost),
        )


@dataclass(slots=True)
class Status:
    """The whole process.

    Attributes
    ----------
    partitions : dict of int to PartitionStatus
        The partitions owned now.
    rebalances : int
        Assignments received.
    fenced : int
        Times that another producer took a partition's transactional id.
    draining : bool
    error : str or None
        Why the process stops, if it does.
    """

    partitions: dict[int, PartitionStatus] = field(default_factory=dict)
    rebalances: int = 0
    fenced: int = 0
    draining: bool = False
    error: str | None = None

    @property
    def ready(self) -> bool:
        """Whether the process is in its group and every partition it owns is past its restore."""
        return (
            self.rebalances > 0
            and not self.draining
            and self.error is None
            and all(p.phase is Phase.RUNNING and not p.lost for p in self.partitions.values())
        )

    def snapshot(self) -> Status:
        """Return a copy that stands still."""
        return replace(self, partitions={n: p.copy() for n, p in self.partitions.items()})
