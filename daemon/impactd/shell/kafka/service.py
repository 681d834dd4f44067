"""The service as one process: clients, assignments, signals, and its end.

It ends in one of three ways: by a signal (it drains: commits in progress finish, producers close, the group is left),
by a second signal (at once: the broker settles open transactions), or because a task failed.  No exception of a task
is swallowed: the first one is logged, the process drains, and the exit code shows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from impactd.config import Settings
from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import Topic
from impactd.core.base.uncompiled import compile_missing
from impactd.core.planning.estimate import CostEstimate, NoEstimateError
from impactd.shell.estimate import question
from impactd.shell.kafka.broker_watch import watch_brokers
from impactd.shell.kafka.client import CLOSE_S, close_within
from impactd.shell.kafka.errors import FatalError, UnsupportedError
from impactd.shell.kafka.listener import Assignments
from impactd.shell.kafka.ownership import Clients
from impactd.shell.kafka.registry import SchemaSource
from impactd.shell.kafka.standby import Standby
from impactd.shell.kafka.status import Status
from impactd.shell.kafka.stuck import LOOK_S, StuckDetector
from impactd.shell.kafka.tasks import end, until
from impactd.shell.kafka.topic_watch import watch_topics
from impactd.shell.kafka.topics import check_policies, partition_counts
from impactd.shell.kafka.transport import KafkaTransport
from impactd.shell.kafka.warm import compile_meanwhile, ready
from impactd.shell.kill_switch import KillSwitch
from impactd.shell.stacks import task_stacks, thread_stacks
from impactd.wire.codec import Limits
from impactd.wire.murmur2 import partition_for

if TYPE_CHECKING:
    from impactd.shell.kafka.traces import Traces
    from impactd.shell.kafka.transport import GroupConsumer, ManualConsumer, Transport

#: The longest that the event loop waits for a thread which computes in Python, s. It wakes some ten times before an
#: order's plan is committed, and Python's own 5 ms would be waited each time.
_SWITCH_S: Final = 0.0005

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_HURRIED: Final = 130

#: A process joins the group once its warm copies are whole, or after so long.
_CATCH_UP_S: Final = 60.0

#: A partition number that no topic has: asking for it fetches nothing, and raises what the group has to say.
_NO_PARTITION: Final = 2**31 - 1

_log = structlog.get_logger(__name__)


class Service:
    """The live service.

    Parameters
    ----------
    core : CoreSettings
        Those of `settings`, or others in their place.
    traces : callable, optional
        Makes the traces of a partition, where tracing is on.

    Examples
    --------
    ::

        service = Service(settings, core)
        exit_code = asyncio.run(service.run(signals=True))
    """

    def __init__(self, settings: Settings, core: CoreSettings, traces: Callable[[int], Traces] | None = None) -> None:
        self._traces = traces
        self._settings = settings
        self._core = core
        self._limits = Limits(
            settings.wire.max_message_bytes, core.books.max_levels, settings.wire.time_unit, core.venues
        )
        self._status = Status()
        switch = settings.controls.kill_switch_file
        self._stuck = StuckDetector(settings.health.stuck_after_s, in_event_time=core.apply == "in_event_time")
        self._kill_switch = KillSwitch(None if switch is None else Path(switch))
        self._stop = asyncio.Event()
        self._error: BaseException | None = None
        #: Set while it runs.
        self._assignments: Assignments | None = None
        self._partitions: int | None = None

    @property
    def status(self) -> Status:
        """What the service is doing now, as an unchanging copy."""
        return self._status.snapshot()

    @property
    def settings(self) -> Settings:
        """Its settings."""
        return self._settings

    @property
    def error(self) -> BaseException | None:
        """Why the service has stopped by itself, if it has."""
        return self._error

    @property
    def stopping(self) -> bool:
        """Whether it was told to end, or ends by itself."""
        return self._stop.is_set()

    @property
    def has_committed(self) -> bool:
        """Whether input has been applied since the start."""
        return any(totals.commits for totals in self._status.totals.values())

    @property
    def drain_s(self) -> float:
        """How long its end may take, seconds."""
        return self._settings.kafka.drain_timeout_ms / 1000

    def stop(self) -> None:
        """Drain and end; `run` then returns."""
        self._stop.set()

    async def run(self, *, signals: bool = False) -> int:
        """Run until told to stop, or until something fails.

        Parameters
        ----------
        signals : bool, optional
            Handle SIGTERM and SIGINT: the first drains, the second leaves at once.

        Returns
        -------
        int
            Exit code: 0 after an ordered end, 1 after a failure.
        """
        with contextlib.ExitStack() as stack:
            if signals:
                stack.callback(self._handle_signals())
            stack.callback(compile_missing)
            stack.callback(sys.setswitchinterval, sys.getswitchinterval())
            sys.setswitchinterval(_SWITCH_S)
            try:
                await self._run()
            except FatalError as error:
                self._fail(error)
        if self._error is not None:
            return EXIT_FAILED
        _log.info("service ended")
        return EXIT_OK

    async def _run(self) -> None:
        settings = self._settings
        counts = await partition_counts(settings)
        try:
            await check_policies(settings)
        except UnsupportedError as error:
            _log.warning("cleanup policies not checked", reason=str(error))
        # Reading machine code holds Python's lock, so it is done before the group is joined.
        is_ready = await ready(self._core, self._stop)
        schemas = SchemaSource.of(settings)
        framers = {} if schemas is None else await until(self._stop, schemas.framers(settings))
        if framers is None:
            return
        workers = min(counts[Topic.TICKS], (os.cpu_count() or 1) + 1)
        executor = ThreadPoolExecutor(workers, thread_name_prefix="impactd")
        transport = KafkaTransport(settings)
        ticks, events = transport.group_consumer(), transport.consumer()
        standby = Standby(transport, settings, counts[Topic.TICKS], self._status) if settings.kafka.standby else None
        clients = Clients(
            settings,
            self._core,
            self._limits,
            transport,
            ticks,
            events,
            counts,
            executor,
            self._kill_switch,
            standby=standby,
            traces=self._traces,
            schemas=schemas,
            framers=framers,
        )
        assignments = self._assignments = Assignments(clients, self._status, self._fail)
        self._partitions = counts[Topic.TICKS]
        helpers: list[asyncio.Task[None]] = []
        try:
            if not is_ready:
                helpers.append(self._helper(compile_meanwhile(self._core), "compile"))
            # Known before the first commit, or that one would publish what must not be.
            await self._kill_switch.look()
            await self._start(ticks, events)
            if standby is not None:
                helpers.append(self._helper(standby.follow(), "standby"))
                # What joins before its copies are whole would restore in full what another process just gave up.
                with contextlib.suppress(TimeoutError):
                    await until(self._stop, asyncio.wait_for(standby.caught_up(), _CATCH_UP_S))
                if self._stop.is_set():
                    return
            # Subscribed only now: a start that is subscribed already would wait for the first assignment.
            ticks.subscribe([settings.topics.name(Topic.TICKS)], listener=assignments)
            _log.info(
                "service started",
                bootstrap=settings.kafka.bootstrap,
                group=settings.kafka.group,
                partitions=counts[Topic.TICKS],
            )
            helpers += [
                self._helper(self._watch_group(ticks), "group"),
                self._helper(self._commit_group_offsets(ticks, assignments), "group-offsets"),
                self._helper(watch_brokers(settings, events, self._status, counts), "brokers"),
                self._helper(watch_topics(settings, events), "topics"),
                self._helper(self._watch_progress(), "progress"),
                self._helper(self._kill_switch.watch(), "kill-switch"),
            ]
            await self._stop.wait()
        finally:
            await self._drain(assignments, helpers, transport, ticks, events)
            executor.shutdown(wait=False, cancel_futures=True)

    async def _start(self, *consumers: ManualConsumer) -> None:
        try:
            async with asyncio.timeout(self._settings.kafka.request_timeout_ms / 1000):
                for consumer in consumers:
                    await consumer.start()
        except (KafkaError, OSError, TimeoutError) as error:
            raise FatalError(f"no broker answers at {self._settings.kafka.bootstrap}: {error!r}") from error

    async def _drain(
        self,
        assignments: Assignments,
        helpers: list[asyncio.Task[None]],
        transport: Transport,
        ticks: GroupConsumer,
        events: ManualConsumer,
    ) -> None:
        self._status.draining = True
        within_s = self.drain_s
        deadline = time.monotonic() + within_s
        # A commit in progress may take the deadline of a revocation, and as long again to be abandoned.
        if not await assignments.drain(within_s * 0.85):
            _log.warning("some partitions did not close cleanly; their transactions are settled by the next owner")
        await end(*helpers)
        # Together, for each may have to wait for a peer that says nothing.
        bound_s = max(0.5, min(CLOSE_S, deadline - time.monotonic()))
        closed = await asyncio.gather(*(close_within(consumer.stop(), bound_s) for consumer in (ticks, events)))
        await transport.close()
        if not all(closed):
            _log.warning("a consumer did not close in time", seconds=bound_s)

    async def estimate(self, value: bytes) -> CostEstimate:
        """Return what the order in a question would cost now; see `impactd.shell.estimate.question`.

        Raises
        ------
        QuestionError, NoEstimateError
            If the question cannot be used, or this process does not know its symbol.
        """
        new, max_cost_bps = question(value, time.time_ns(), self._limits)
        assignments = self._assignments
        owned = {} if assignments is None else assignments.owned
        partition = None if self._partitions is None else partition_for(new.symbol, self._partitions)
        loop = owned[partition].loop if partition in owned else None
        if loop is None:
            where = f"partition {partition} is not this process's, or not ready"
            raise NoEstimateError(f"{new.symbol}: {where}; ask the process that owns it")
        return await loop.estimate(new, max_cost_bps)

    # Helpers

    def _helper(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._helper_ended)
        return task

    def _helper_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Note why the process must stop, once, and stop it."""
        if self._error is None:
            self._error = error
            self._status.error = str(error) or repr(error)
            known = isinstance(error, FatalError)
            _log.critical("service failed", reason=self._status.error, exc_info=None if known else error)
        self._stop.set()

    async def _watch_group(self, ticks: GroupConsumer) -> None:
        """Raise what the group's coordinator has to say even while no partition is owned or all are restoring."""
        nowhere = TopicPartition(self._settings.topics.name(Topic.TICKS), _NO_PARTITION)
        while True:
            try:
                await ticks.getmany(nowhere, timeout_ms=self._settings.kafka.heartbeat_interval_ms)
            except GroupAuthorizationFailedError as error:
                raise FatalError(
                    f"not allowed to join group {self._settings.kafka.group}: grant READ on it (impactd topics acls)"
                ) from error
            except KafkaError as error:
                raise FatalError(f"the group's coordination failed: {error!r}") from error

    async def _watch_progress(self) -> None:
        """Raise when a partition is stuck, after saying all that is known about it."""
        while True:
            stuck = self._stuck.look(self._status.partitions, time.monotonic())
            if stuck is not None:
                _log.critical(
                    "partition stuck",
                    partition=stuck.partition,
                    phase=stuck.phase.value,
                    doing=stuck.doing,
                    positions={topic.value: at for topic, at in stuck.positions.items()},
                    readable_to={topic.value: at for topic, at in stuck.stable_offsets.items()},
                    paused=stuck.paused,
                    failures=stuck.failures,
                    failing=stuck.failing,
                    tasks=task_stacks(),
                    threads=thread_stacks(),
                )
                raise FatalError(
                    f"partition {stuck.partition} makes no progress although its brokers answer: it is "
                    f"{stuck.phase.value}, {stuck.doing}; the log says where each task stands"
                )
            await asyncio.sleep(LOOK_S)

    async def _commit_group_offsets(self, ticks: GroupConsumer, assignments: Assignments) -> None:
        """Commit group offsets periodically, for lag tools; they are never read back."""
        topic = self._settings.topics.name(Topic.TICKS)
        while True:
            await asyncio.sleep(self._settings.kafka.group_commit_interval_ms / 1000)
            offsets: Mapping[TopicPartition, int] = {
                TopicPartition(topic, partition): ownership.status.positions[Topic.TICKS]
                for partition, ownership in assignments.owned.items()
                if Topic.TICKS in ownership.status.positions
            }
            if offsets:
                with contextlib.suppress(KafkaError, OSError, TimeoutError):
                    async with asyncio.timeout(self._settings.kafka.request_timeout_ms / 1000):
                        await ticks.commit(offsets)

    def _handle_signals(self) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        handled = (signal.SIGTERM, signal.SIGINT)

        def handle(received: signal.Signals) -> None:
            if self._stop.is_set():
                _log.warning("exit at once: second signal", signal=received.name)
                os._exit(EXIT_HURRIED)
            _log.info("draining", signal=received.name)
            self.stop()

        for number in handled:
            loop.add_signal_handler(number, handle, number)

        def restore() -> None:
            for number in handled:
                loop.remove_signal_handler(number)

        return restore
