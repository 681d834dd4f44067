"""Status of the service in numbers, in one place for every observer.

The loops write here, on the event loop's thread, and decide nothing by it, so
that an observer (a log line, metrics, a health check, a test) can change
nothing.  The one exception is the high watermark, which is a reading of the
broker's.  Durations are in seconds of the monotonic clock.

A `PartitionStatus` belongs to one assignment and ends with it; `Totals` belong to a partition number for the life of
the process, as counters must for rates to be right.
"""

from __future__ import annotations

from collections import Counter
from copy import copy
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Final, TypeVar

from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.durations import Durations

T = TypeVar("T", "PartitionStatus", "Totals")

#: What is timed: a fetch's decoding, a commit's application and transaction, a minute's refits, an order's solve,
#: a partition's restore.
STAGES: Final = ("decode", "apply", "refit", "solve", "transaction", "restore")


class Phase(StrEnum):
    """What an owned partition is doing."""

    ACQUIRING = "acquiring"
    RESTORING = "restoring"
    RUNNING = "running"
    LEAVING = "leaving"


@dataclass(slots=True)
class Totals:
    """What one partition number amounted to in this process, over all the times that it was owned."""

    #: Commits made, input records in them, tick rows in them.
    commits: int = 0
    records: int = 0
    rows: int = 0
    #: Commits that closed minutes without input.
    idle_moves: int = 0
    minutes: int = 0
    #: Plans that the gate has withheld.
    withheld: int = 0
    #: Times that memory was dropped and the partition acquired again.
    failures: int = 0
    #: Those in which another producer had taken the transactional id.
    fenced: int = 0
    #: Messages of a type that this release does not know.
    skipped_unknown: int = 0
    #: Shadow plans that ended, by their length in intervals.
    shadows: Counter[str] = field(default_factory=Counter)
    #: Those whose cost ended within the band in force when they began, by length and nominal coverage.
    shadows_held: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Trials of the forecast: ``ended``, and by ``saved``, ``lost`` and ``possible`` bps of what TWAP cost.
    trials: Counter[str] = field(default_factory=Counter)
    #: Tick rows of closed minutes by result (``accepted``, ``late``, ``rejected``) and reason.
    ticks: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Input records that could not be decoded or did not belong here, by the role of their topic and reason.
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Records sent to the dead letters, by reason.
    dead: Counter[str] = field(default_factory=Counter)
    #: Plans published, by reason and status.
    plans: Counter[tuple[str, str]] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    #: Records published, by the role of their topic.
    outputs: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class OpenPlan:
    """What is expected of a plan in force."""

    #: Currency, of what it has still to trade; 0 where it has no price.
    cost: float
    twap_cost: float
    #: Whether its caps leave something of the order untraded.
    short: bool


@dataclass(slots=True)
class PartitionStatus:
    """One owned partition; counts are since this process owns it."""

    partition: int
    #: Ownership token; grows with each assignment in this process.
    token: int
    phase: Phase = Phase.ACQUIRING
    #: What the partition's task waits for or works at, in words.
    doing: str = "waiting to start"
    #: Next offset of each input as of the last commit.
    positions: dict[Topic, int] = field(default_factory=dict)
    #: Next offset of each input to be fetched: what lies between waits to be applied.
    taken_in: dict[Topic, int] = field(default_factory=dict)
    #: As of the last fetch, or as the broker has answered since.
    high_watermarks: dict[Topic, int] = field(default_factory=dict)
    stable_offsets: dict[Topic, int] = field(default_factory=dict)
    #: Whether the brokers that lead the inputs have answered when they were last asked.
    broker_answers: bool = True
    commits: int = 0
    commit_seq: int = 0
    records: int = 0
    rows: int = 0
    outputs: Counter[Topic] = field(default_factory=Counter)
    idle_moves: int = 0
    #: From the start of the producer to the first fetch.
    restore_seconds: float | None = None
    restored_keys: int = 0
    #: Furthest offset of the state topic that a restore has reached.
    restored_to: int = 0
    #: Monotonic time at which a tick was last fetched.
    last_tick: float | None = None
    #: Monotonic time at which it was restored.
    owned_since: float | None = None
    #: Monotonic time of the last commit.
    last_commit: float | None = None
    #: Event time that the ticks have reached, ns; 0 before the partition's first.
    clock: int = 0
    #: What is halted, and why; ``kill switch`` is that of this process.
    halts: dict[str, str] = field(default_factory=dict)
    #: Active orders, and those of them that are halted.
    orders: int = 0
    halted: int = 0
    #: The plans in force that this process has published, by order.
    plans: dict[str, OpenPlan] = field(default_factory=dict)
    #: Records that went to the dead letters, by reason.
    refused: Counter[str] = field(default_factory=Counter)
    #: Messages of a type that this release does not know.
    skipped_unknown: int = 0
    #: Times that memory was dropped and the partition acquired again.
    failures: int = 0
    #: Why memory was dropped last, until a commit succeeds.
    failing: str | None = None
    #: Fetching of ticks waits until what was fetched is applied.
    paused: bool = False
    #: The share of input that had to be refused is above its limit.
    too_many_invalid: bool = False
    #: Positions that no longer existed.
    lost: dict[Topic, int] = field(default_factory=dict)
    #: Inputs that wait for the schema registry, and why.
    schema_waits: dict[Topic, str] = field(default_factory=dict)
    #: Seconds since the last commit or step of a restore for which records could be read, or the partition was not
    #: restored yet; see `impactd.shell.kafka.stuck`.
    waited_s: float = 0.0

    def lag(self, topic: Topic) -> int:
        """Return the records of an input that are not in a commit yet: high watermark less position."""
        return max(0, self.high_watermarks.get(topic, 0) - self.positions.get(topic, 0))

    def stable_lag(self, topic: Topic) -> int:
        """Return the lag that is not hidden by a producer's open transaction."""
        return max(0, self.stable_offsets.get(topic, 0) - self.positions.get(topic, 0))

    @property
    def knows_lag(self) -> bool:
        """Whether each input was fetched, or asked for its end, since the partition was assigned."""
        return all(topic in self.high_watermarks or topic in self.lost for topic in INPUT_TOPICS)

    @property
    def total_lag(self) -> int:
        """Sum of the lags of all inputs."""
        return sum(self.lag(topic) for topic in INPUT_TOPICS)

    @property
    def stable_lag_total(self) -> int:
        """Sum of what could be read of all inputs."""
        return sum(self.stable_lag(topic) for topic in INPUT_TOPICS)

    def tick_age(self, now: float) -> float | None:
        """Return the seconds since a tick came, or since the restore; None where the partition has never had one."""
        if not self.clock or self.owned_since is None:
            return None
        return now - max(self.owned_since, self.last_tick or 0.0)

    def copy(self) -> PartitionStatus:
        """Return a copy that does not change."""
        return _copy(self)


@dataclass(slots=True)
class Status:
    """The whole process."""

    #: The partitions owned now.
    partitions: dict[int, PartitionStatus] = field(default_factory=dict)
    #: By partition number, also of those that are others' now.
    totals: dict[int, Totals] = field(default_factory=dict)
    #: By stage.
    durations: dict[str, Durations] = field(default_factory=lambda: {stage: Durations() for stage in STAGES})
    rebalances: int = 0
    #: Times that another producer took a partition's transactional id.
    fenced: int = 0
    #: Warm copies of states that were read to their end, and bytes of all copies.
    standby_partitions: int = 0
    standby_bytes: int = 0
    #: Whether the brokers that lead the inputs have answered when they were last asked.
    broker_answers: bool = True
    draining: bool = False
    error: str | None = None

    def totals_of(self, partition: int) -> Totals:
        """Return the totals of a partition number, to be added to."""
        return self.totals.setdefault(partition, Totals())

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
        """Return a copy that does not change."""
        return replace(
            self,
            partitions={n: _copy(p) for n, p in self.partitions.items()},
            totals={n: _copy(t) for n, t in self.totals.items()},
            durations={stage: timed.copy() for stage, timed in self.durations.items()},
        )


def _copy(value: T) -> T:
    """Return a copy of a dataclass whose mappings are its own."""
    made = copy(value)
    for item in fields(value):
        found = getattr(value, item.name)
        if isinstance(found, dict):
            setattr(made, item.name, found.copy())
    return made
