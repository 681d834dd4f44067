"""Whether the process is ready, and if not, every reason.

*Ready* means that its output is current: it is in its group, every
partition that it owns is restored, reads what arrives, and commits it.  A
process that owns nothing, because there are more processes than partitions,
is ready: it is a standby.

A halt by an operator is not a reason: the service does what it was told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from impactd.config.operation import HealthSection
from impactd.core.base.session import Session, Sessions
from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import Topic
from impactd.shell.kafka.status import PartitionStatus, Phase, Status

Kind = Literal[
    "starting",
    "draining",
    "failed",
    "broker_away",
    "acquiring",
    "restoring",
    "leaving",
    "failing",
    "position_lost",
    "registry_away",
    "lag",
    "not_committing",
    "stale_input",
    "invalid_ratio",
]

#: What each reason means and what to do, for the reference.
KINDS: Final[dict[Kind, str]] = {
    "starting": "The group has not given this process its partitions yet.",
    "draining": "The process is stopping and finishes its open commits.",
    "failed": "The process has failed and is about to exit; the log states why.",
    "broker_away": "The brokers that lead the inputs do not answer.",
    "acquiring": "The partition's producer is being started, which fences the previous owner.",
    "restoring": "The partition's state is being read, or its inputs have not been fetched since.",
    "leaving": "The partition was revoked; its open commit is finished.",
    "failing": "The last commit or restore failed and is tried again; the detail states why.",
    "position_lost": "Retention deleted records that were not read; orders are halted until they are resumed.",
    "registry_away": "An input waits for a schema, and the schema registry does not answer.",
    "lag": "More records than `health.max_lag` wait to be applied.",
    "not_committing": "No commit for longer than `health.max_commit_age_s`, although records could be read.",
    "stale_input": "No tick for longer than `health.max_tick_age_s`, although the session is open.",
    "invalid_ratio": "More of the input is invalid than the limit allows; see the dead letters.",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason for not being ready; `partition` is None where it is the whole process's."""

    kind: Kind
    detail: str
    partition: int | None = None


def open_for(settings: CoreSettings) -> Callable[[int], float | None]:
    """Return a function from a wall-clock time (ns) to the seconds for which ticks have been expected.

    It gives the longest of all sessions that are open, None where none is. None at all times where events apply in
    event time: a recorded day keeps a time of its own.
    """
    sessions = Sessions(settings).all()

    def of_one(session: Session, wall_ns: int) -> float | None:
        if not session.is_open(wall_ns):
            return None
        begin = wall_ns - session.since_resumed_ns(wall_ns)
        # Where sessions follow each other without a gap, one continues where another has ended.
        return math.inf if session.is_open(begin - 1) else (wall_ns - begin) / 1e9

    def seconds(wall_ns: int) -> float | None:
        if settings.apply == "in_event_time":
            return None
        found = [of_one(session, wall_ns) for session in sessions]
        return max((one for one in found if one is not None), default=None)

    return seconds


def unready(
    status: Status, limits: HealthSection, now: float, wall_ns: int, session: Callable[[int], float | None]
) -> list[Reason]:
    """Return every reason for which the process is not ready; none if it is.

    Parameters
    ----------
    now : float
        Monotonic time, seconds.
    wall_ns : int
        Wall clock, ns since the epoch.
    session : callable
        From `open_for`.
    """
    reasons = list(_of_process(status))
    expected_s = session(wall_ns)
    for _, partition in sorted(status.partitions.items()):
        reasons += _of_partition(partition, limits, now, expected_s)
    return reasons


def _of_process(status: Status) -> Iterator[Reason]:
    if status.error is not None:
        yield Reason("failed", status.error)
    if status.draining:
        yield Reason("draining", "the process was asked to stop")
    elif not status.rebalances:
        yield Reason("starting", "waiting for the group's first assignment")
    if not status.broker_answers:
        yield Reason("broker_away", "the brokers that lead the inputs do not answer")


def _of_partition(
    status: PartitionStatus, limits: HealthSection, now: float, expected_s: float | None
) -> Iterator[Reason]:
    number = status.partition
    phases: dict[Phase, Kind] = {
        Phase.ACQUIRING: "acquiring",
        Phase.RESTORING: "restoring",
        Phase.LEAVING: "leaving",
    }
    if status.phase in phases:
        yield Reason(phases[status.phase], status.doing, number)
    elif not status.knows_lag:
        yield Reason("restoring", "the amount left to read is not known yet", number)
    if status.failing is not None and (status.phase is not Phase.RUNNING or status.stable_lag_total):
        # A partition that has nothing to do has recovered, although no commit has shown it yet.
        yield Reason("failing", status.failing, number)
    for topic, position in sorted(status.lost.items()):
        yield Reason("position_lost", f"{topic.value} has no offset {position} any more", number)
    for topic, why in sorted(status.schema_waits.items()):
        yield Reason("registry_away", f"{topic.value} waits for a schema: {why}", number)
    if status.total_lag > limits.max_lag:
        yield Reason("lag", f"{status.total_lag} records wait, more than {limits.max_lag}", number)
    if status.phase is Phase.RUNNING and status.waited_s > limits.max_commit_age_s:
        yield Reason("not_committing", f"no commit for {status.waited_s:.0f} s, although records wait", number)
    if status.too_many_invalid:
        yield Reason("invalid_ratio", "more of the input is invalid than the limit allows", number)
    age = status.tick_age(now)
    if age is None or expected_s is None or not limits.max_tick_age_s:
        return
    # Ticks that wait to be fetched are lag, which has a limit of its own.
    settled = status.phase is Phase.RUNNING and not status.lag(Topic.TICKS)
    if settled and min(age, expected_s) > limits.max_tick_age_s:
        yield Reason("stale_input", f"no tick for {age:.0f} s", number)
