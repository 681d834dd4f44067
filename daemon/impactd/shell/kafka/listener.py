"""The rebalance listener: it only marks partitions.

aiokafka calls it between two generations of the group and sends no heartbeat
while it runs, so it starts and stops tasks and never waits.  aiokafka also
swallows what a listener raises; here an exception stops the process.

Every rebalance is eager: all partitions are revoked first.  They are held until
the new assignment is known: what stays goes on as it is, and only what moves is
released here and acquired there.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import structlog
from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener

from impactd.core.base.topics import Topic
from impactd.core.inputs.inbox import EVENT_TOPICS
from impactd.shell.kafka.ownership import Clients, Ownership
from impactd.shell.kafka.tasks import end

if TYPE_CHECKING:
    from impactd.shell.kafka.status import Status

_log = structlog.get_logger(__name__)


class Assignments(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Starts an ownership task for each assigned partition, and ends it on revocation.

    Parameters
    ----------
    fail : callable
        Told of any exception that must stop the process.
    """

    def __init__(self, clients: Clients, status: Status, fail: Callable[[BaseException], None]) -> None:
        self._clients = clients
        self._status = status
        self._fail = fail
        self._tokens = itertools.count(1)
        self._owned: dict[int, Ownership] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        #: Every ownership task that has not ended, also of older tokens.
        self._unfinished: set[asyncio.Task[None]] = set()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let each partition finish the current commit, and begin none."""
        try:
            for partition in (place.partition for place in revoked):
                ownership = self._owned.get(partition)
                if ownership is not None and not ownership.hold():
                    self.release([partition])
        except Exception as error:  # noqa: BLE001  (aiokafka would swallow it; this stops the process)
            self._fail(error)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Release what has gone, let what has stayed go on, and start the tasks that acquire the rest."""
        if self._status.draining:
            # A join that was in progress ends while the group is left: nobody would end what begins now.
            return
        try:
            self._assign(sorted(place.partition for place in assigned))
        except Exception as error:  # noqa: BLE001  (aiokafka would swallow it; this stops the process)
            self._fail(error)

    def release(self, partitions: Iterable[int]) -> None:
        """Tell the owners of `partitions` to leave, and cancel those that are not gone in time."""
        within_s = self._clients.settings.kafka.revoke_timeout_ms / 1000
        loop = asyncio.get_running_loop()
        for partition in partitions:
            ownership = self._owned.pop(partition, None)
            if ownership is not None:
                ownership.leave()
                loop.call_later(within_s, self._tasks[partition].cancel)

    def _assign(self, partitions: list[int]) -> None:
        settings, clients = self._clients.settings, self._clients
        self._status.rebalances += 1
        _log.info("partitions assigned", partitions=partitions)
        ticks = [TopicPartition(settings.topics.name(Topic.TICKS), partition) for partition in partitions]
        events = [TopicPartition(settings.topics.name(topic), p) for topic in EVENT_TOPICS for p in partitions]
        self.release(self._owned.keys() - set(partitions))
        clients.ticks.pause(*ticks)
        clients.events.assign(events)
        clients.events.pause(*events)
        for partition in partitions:
            ownership = self._owned.get(partition)
            if ownership is None or not ownership.go_on():
                self.release([partition])
                self._start(partition)

    def _start(self, partition: int) -> None:
        before = self._tasks.get(partition)
        ownership = Ownership(self._clients, self._status, partition, next(self._tokens), before)
        task = asyncio.create_task(ownership.run(), name=f"partition-{partition}")
        self._owned[partition] = ownership
        self._tasks[partition] = task
        self._unfinished.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self._fail(error)

    @property
    def owned(self) -> dict[int, Ownership]:
        """The partitions that are this process's now."""
        return dict(self._owned)

    async def drain(self, within_s: float) -> bool:
        """End all ownership, finishing commits in progress; return whether all ended in order."""
        self.release(list(self._owned))
        tasks = list(self._unfinished)
        if not tasks:
            return True
        _, pending = await asyncio.wait(tasks, timeout=within_s)
        await end(*pending)
        return not pending
