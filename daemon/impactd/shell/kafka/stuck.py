"""Distinguishes a stuck partition from one that only waits.

A partition is stuck if it could move and does not: the brokers answer when
they are asked about its inputs, there are records that could be read (up to
the last stable offset: what a producer's open transaction hides cannot), and
for `after_s` neither its positions nor its restore have come further.

Not stuck, therefore: a restore or a catch-up that moves, however slowly; a
partition whose fetching is paused while it applies what it has; one whose
brokers are away, which is not ready but would gain nothing from a restart; a
topic that stands at a lost position; an input that waits for the schema
registry; events that wait for ticks to pass their time.

An attempt that failed and was begun again is no progress, for any reason: in another process, or on another machine, it
may succeed.

Time is counted in checks.  A process that was stopped, or a machine that
slept, has lost time in which no progress was possible, so a long gap between
two checks counts as a short one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.kafka.status import Phase

if TYPE_CHECKING:
    from collections.abc import Hashable

    from impactd.shell.kafka.status import PartitionStatus

#: Pace of the looks, seconds.
LOOK_S: Final = 1.0


class StuckDetector:
    """Watches the partitions of one process.

    Parameters
    ----------
    after_s : float
        Without progress for this long a partition is stuck.
    in_event_time : bool
        Whether orders, executions and control wait for ticks: what was fetched of them is then no lag.
    """

    def __init__(self, after_s: float, *, in_event_time: bool) -> None:
        self._after_s = after_s
        self._in_event_time = in_event_time
        self._watched: dict[int, tuple[Hashable, float]] = {}
        self._looked: float | None = None

    def look(self, partitions: dict[int, PartitionStatus], now: float) -> PartitionStatus | None:
        """Look once, at monotonic time `now`; return a partition that is stuck, or None."""
        passed = 0.0 if self._looked is None else min(now - self._looked, 2 * LOOK_S)
        self._looked = now
        self._watched = {number: known for number, known in self._watched.items() if number in partitions}
        for number, status in partitions.items():
            reached = _reached(status)
            before, waited = self._watched.get(number, (None, 0.0))
            waits = before == reached and self._could_move(status)
            waited = status.waited_s = waited + passed if waits else 0.0
            self._watched[number] = (reached, waited)
            if waited >= self._after_s:
                return status
        return None

    def _could_move(self, status: PartitionStatus) -> bool:
        if not status.broker_answers or status.phase is Phase.LEAVING:
            return False
        return status.phase is not Phase.RUNNING or any(
            status.stable_offsets.get(topic, 0) > self._applied(status, topic)
            for topic in INPUT_TOPICS
            if topic not in status.lost and topic not in status.schema_waits
        )

    def _applied(self, status: PartitionStatus, topic: Topic) -> int:
        if self._in_event_time and topic is not Topic.TICKS:
            return status.taken_in.get(topic, 0)
        return status.positions.get(topic, 0)


def _reached(status: PartitionStatus) -> Hashable:
    # What was fetched alone is no progress, except where it may wait: there, and only there, it changes what is lag.
    return status.token, status.restored_to, status.commit_seq, tuple(sorted(status.positions.items()))
