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
    """What one partition number amounted to in this process, over all the times that it was owned.

    Attributes
    ----------
    commits, records, rows : int
        Commits made, input records in them, tick rows in them.
    idle_moves : int
        Commits that closed minutes without input.
    withheld : int
        Plans that the gate has withheld.
    failures : int
        Times that memory was dropped and the partition acquired again.
    shadows : Counter of str
        Shadow plans that ended, by their length in intervals.
    shadows_held : Counter of (str, str)
        Those whose cost ended within the band in force when they began, by length and nominal coverage.
    trials : Counter of str
        Trials of the forecast: ``ended``, and by ``saved``, ``lost`` and ``possible`` bps of what TWAP cost.
    fenced : int
        Those in which another producer had taken the transactional id.
    skipped_unknown : int
        Messages of a type that this release does not know.
    ticks : Counter of (str, str)
        Tick rows of closed minutes by result (``accepted``, ``late``, ``rejected``) and reason.
    refused : Counter of (str, str)
        Input records that could not be decoded or did not belong here, by the role of their topic and reason.
    dead : Counter of str
        Records sent to the dead letters, by reason.
    plans : Counter of (str, str)
        Plans published, by reason and status.
    outputs : Counter of str
        Records published, by the role of their topic.
    """

    commits: int = 0
    records: int = 0
    rows: int = 0
    idle_moves: int = 0
    minutes: int = 0
    withheld: int = 0
    failures: int = 0
    fenced: int = 0
    skipped_unknown: int = 0
    shadows: Counter[str] = field(default_factory=Counter)
    shadows_held: Counter[tuple[str, str]] = field(default_factory=Counter)
    trials: Counter[str] = field(default_factory=Counter)
    ticks: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    plans: Counter[tuple[str, str]] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    outputs: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class OpenPlan:
    """What is expected of a plan in force.

    Attributes
    ----------
    cost, twap_cost : float
        Currency, of what it has still to trade; 0 where it has no price.
    short : bool
        Whether its caps leave something of the order untraded.
    """

    cost: float
    twap_cost: float
    short: bool


@dataclass(slots=True)
class PartitionStatus:
    """One owned partition.

    Attributes
    ----------
    token : int
        Ownership token; grows with each assignment in this process.
    doing : str
        What the partition's task waits for or works at, in words.
    positions : dict of Topic to int
        Next offset of each input as of the last commit.
    taken_in : dict of Topic to int
        Next offset of each input to be fetched: what lies between waits to be applied.
    high_watermarks, stable_offsets : dict of Topic to int
        As of the last fetch, or as the broker has answered since.
    broker_answers : bool
        Whether the brokers that lead the inputs have answered when they were last asked.
    commits, records, rows : int
        Commits made, input records in them, tick rows in them, since this process owns the partition.
    restore_seconds : float or None
        From the start of the producer to the first fetch.
    restored_to : int
        Furthest offset of the state topic that a restore has reached.
    last_tick : float or None
        Monotonic time at which a tick was last fetched.
    owned_since : float or None
        Monotonic time at which it was restored.
    last_commit : float or None
        Monotonic time of the last commit.
    clock : int
        Event time that the ticks have reached, ns; 0 before the partition's first.
    halts : dict of str to str
        What is halted, and why; ``kill switch`` is that of this process.
    orders, halted : int
        Active orders, and those of them that are halted.
    plans : dict of str to OpenPlan
        The plans in force that this process has published, by order.
    refused : Counter of str
        Records that went to the dead letters, by reason.
    skipped_unknown : int
        Messages of a type that this release does not know.
    failures : int
        Times that memory was dropped and the partition acquired again.
    failing : str or None
        Why memory was dropped last, until a commit succeeds.
    paused : bool
        Fetching of ticks waits until what was fetched is applied.
    too_many_invalid : bool
        The share of input that had to be refused is above its limit.
    lost : dict of Topic to int
        Positions that no longer existed.
    schema_waits : dict of Topic to str
        Inputs that wait for the schema registry, and why.
    waited_s : float
        Seconds since the last commit or step of a restore for which records could be read, or the partition was not
        restored yet; see `impactd.shell.kafka.stuck`.
    """

    partition: int
    token: int
    phase: Phase = Phase.ACQUIRING
    doing: str = "waiting to start"
    positions: dict[Topic, int] = field(default_factory=dict)
    taken_in: dict[Topic, int] = field(default_factory=dict)
    high_watermarks: dict[Topic, int] = field(default_factory=dict)
    stable_offsets: dict[Topic, int] = field(default_factory=dict)
    broker_answers: bool = True
    commits: int = 0
    commit_seq: int = 0
    records: int = 0
    rows: int = 0
    outputs: Counter[Topic] = field(default_factory=Counter)
    idle_moves: int = 0
    restore_seconds: float | None = None
    restored_keys: int = 0
    restored_to: int = 0
    last_tick: float | None = None
    owned_since: float | None = None
    last_commit: float | None = None
    clock: int = 0
    halts: dict[str, str] = field(default_factory=dict)
    orders: int = 0
    halted: int = 0
    plans: dict[str, OpenPlan] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    skipped_unknown: int = 0
    failures: int = 0
    failing: str | None = None
    paused: bool = False
    too_many_invalid: bool = False
    lost: dict[Topic, int] = field(default_factory=dict)
    schema_waits: dict[Topic, str] = field(default_factory=dict)
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
    """The whole process.

    Attributes
    ----------
    partitions : dict of int to PartitionStatus
        The partitions owned now.
    totals : dict of int to Totals
        By partition number, also of those that are others' now.
    durations : dict of str to Durations
        By stage.
    fenced : int
        Times that another producer took a partition's transactional id.
    standby_partitions, standby_bytes : int
        Warm copies of states that were read to their end, and bytes of all copies.
    broker_answers : bool
        Whether the brokers that lead the inputs have answered when they were last asked.
    """

    partitions: dict[int, PartitionStatus] = field(default_factory=dict)
    totals: dict[int, Totals] = field(default_factory=dict)
    durations: dict[str, Durations] = field(default_factory=lambda: {stage: Durations() for stage in STAGES})
    rebalances: int = 0
    fenced: int = 0
    standby_partitions: int = 0
    standby_bytes: int = 0
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
