"""Who may publish for a partition, and what it must do first.

The group assigns partition numbers, but aiokafka does not fence by group
generation, so an assignment alone gives no right to publish.  Ownership is acquired at the broker, in steps:

0. The rebalance listener only marks: it pauses the partition, takes a new
   token, and starts a task.  While a listener runs no heartbeat is sent, so
   it never waits for anything.
1. The task starts the partition's producer.  The broker thereby fences the
   previous owner and settles its open transaction.
2. It reads the state to its end, takes the positions from it, seeks both
   consumers and resumes.  An empty state begins with a genesis commit.
3. The loop runs.  Memory counts only after a commit: on any failure or
   unknown outcome both memory and producer are dropped, and it is step 1
   again, but only after the group has confirmed this member, so that a
   process that was asleep does not fence its successor.
4. Whatever was fetched under an older token is dropped: it belongs to a loop
   that has ended before its successor seeks.
5. Fenced five times in a minute, the process gives up: someone else runs
   with the same environment and group.

While the group assigns its partitions, the loop is held after the current
commit.  If the partition stays, the loop goes on with its memory and its
producer: had anyone else acquired the partition meanwhile, the next commit
would be fenced.  Otherwise the commit may finish within a deadline; then the
loop is cancelled and the producer closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from impactd.config import Settings
from impactd.core.base.settings import SECOND_NS
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.engine import Engine
from impactd.core.state.schema import RESTART, StateBrokenError, StateMismatchError
from impactd.shell.kafka.commit import REFUSALS, Committer
from impactd.shell.kafka.commit_size import CommitSize
from impactd.shell.kafka.decode import Decoder
from impactd.shell.kafka.encoder import Encoder, Record
from impactd.shell.kafka.errors import (
    CommitRefusedError,
    CommitUnknownError,
    FatalError,
    FencedError,
    MismatchError,
    PositionLostError,
    RestoreError,
)
from impactd.shell.kafka.formats import with_formats
from impactd.shell.kafka.loop import PartitionLoop
from impactd.shell.kafka.lost import announce_loss, first_after_loss, may_skip
from impactd.shell.kafka.meter import Meter, Stopwatch
from impactd.shell.kafka.restore import check_topics_against, genesis_positions, read_state
from impactd.shell.kafka.status import PartitionStatus, Phase, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from impactd.core.base.settings import CoreSettings
    from impactd.shell.kafka.registry import SchemaSource
    from impactd.shell.kafka.standby import Standby, Warm
    from impactd.shell.kafka.traces import Traces
    from impactd.shell.kafka.transport import GroupConsumer, ManualConsumer, Producer, Transport
    from impactd.shell.kill_switch import KillSwitch
    from impactd.wire.codec import Limits
    from impactd.wire.framing import Framer

T = TypeVar("T")

#: Backoff after a failure: doubled each time, from the first to the last.
_FIRST_BACKOFF_S: Final = 0.1
_LAST_BACKOFF_S: Final = 5.0

#: Fenced so often within a minute means that another process claims the same transactional id.
_FENCED_AT_MOST: Final = 5

#: Topics do not match the state so often before the process gives up. An owner that was replaced while it restored
#: has the group's word by then, and a new leader knows how far its topic is replicated.
_MISMATCHES_AT_MOST: Final = 4

#: The broker refuses the same commit so often before the process gives up: permissions may be on their way.
_REFUSED_AT_MOST: Final = 5


@dataclass(frozen=True, slots=True)
class Clients:
    """What the partitions of one process share."""

    settings: Settings
    core: CoreSettings
    limits: Limits
    transport: Transport
    ticks: GroupConsumer
    events: ManualConsumer
    partitions: Mapping[Topic, int]
    executor: Executor
    kill_switch: KillSwitch
    wall_ns: Callable[[], int] = time.time_ns
    standby: Standby | None = None
    #: Makes the traces of a partition, where tracing is on.
    traces: Callable[[int], Traces] | None = None
    schemas: SchemaSource | None = None
    framers: Mapping[Topic, Framer] = field(default_factory=dict)


class Ownership:
    """One assignment of one partition number: from its token to its revocation.

    Parameters
    ----------
    status : Status
        Of the process; the partition enters itself.
    before : asyncio.Task or None
        The task of this partition's previous token, which must have ended first.
    """

    def __init__(
        self, clients: Clients, status: Status, partition: int, token: int, before: asyncio.Task[None] | None
    ) -> None:
        self._clients = clients
        self._settings = clients.settings
        self._process = status
        self._status = PartitionStatus(partition, token)
        status.partitions[partition] = self._status
        self.partition = partition
        self._before = before
        self._log = structlog.get_logger(__name__).bind(partition=partition, token=token)
        self._where = {topic: TopicPartition(self._settings.topics.name(topic), partition) for topic in INPUT_TOPICS}
        self._leaving = asyncio.Event()
        self._loop: PartitionLoop | None = None
        #: The loop that waits for the group's assignment.
        self._held: PartitionLoop | None = None
        self._fenced: deque[float] = deque(maxlen=_FENCED_AT_MOST)
        self._distrusted = False
        self._refused = 0
        self._mismatches = 0
        self._failures = 0
        self._size = CommitSize(
            self._settings.kafka.transaction_timeout_ms / 1000,
            self._settings.kafka.max_commit_records,
            self._settings.kafka.max_commit_bytes,
        )
        self._commits_before = 0
        self._unannounced: PositionLostError | None = None
        self._clock = 0

    @property
    def status(self) -> PartitionStatus:
        """What observers see."""
        return self._status

    @property
    def loop(self) -> PartitionLoop | None:
        """Its loop while it runs; None while it is acquired, restored or released."""
        return self._loop

    def leave(self) -> None:
        """Let the current commit finish, then end."""
        self._status.phase = Phase.LEAVING
        self._leaving.set()
        if self._loop is not None:
            self._loop.leave()

    def hold(self) -> bool:
        """Let the current commit finish and begin none; return False if no loop runs that could go on."""
        if self._loop is None or self._leaving.is_set():
            return False
        self._held = self._loop
        self._held.hold()
        self._status.phase = Phase.LEAVING
        return True

    def go_on(self) -> bool:
        """Continue with the loop that is held; return False if it has failed meanwhile."""
        held, self._held = self._held, None
        if held is None or held is not self._loop:
            return False
        self._phase(Phase.RUNNING, "waiting for input")
        held.go_on()
        return True

    async def run(self) -> None:
        """Own the partition until told to leave or cancelled.

        Raises
        ------
        FatalError
            If the process must stop.
        """
        try:
            if self._before is not None:
                await asyncio.wait([self._before])
            while not self._leaving.is_set():
                try:
                    await self._own()
                except PositionLostError as error:
                    self._lose(error)
                except (CommitUnknownError, RestoreError) as error:
                    self._distrusted |= isinstance(error, RestoreError)
                    await self._recover(error)
                except StateMismatchError as error:
                    raise FatalError(str(error)) from error
                if self._held is not None:
                    # It failed while the group assigns its partitions: if this one stays, another token acquires it.
                    self._phase(Phase.ACQUIRING, "waiting for the group's assignment")
                    await self._leaving.wait()
        finally:
            if self._process.partitions.get(self.partition) is self._status:
                del self._process.partitions[self.partition]

    async def _own(self) -> None:
        """Acquire, restore and run once."""
        settings, clients = self._settings, self._clients
        self._phase(Phase.ACQUIRING, "starting the producer, which fences the previous owner")
        started = time.monotonic()
        committer = await self._acquire()
        try:
            await self._announce(committer)
            self._phase(Phase.RESTORING, "reading the state")
            stall_s = settings.kafka.transaction_timeout_ms / 1000 * 2
            warm = self._warm()
            items = await read_state(clients.transport, settings, self.partition, stall_s, self._restored_to, warm)
            stopwatch = Stopwatch()
            engine = Engine(
                with_formats(clients.core, settings),
                partition=self.partition,
                partitions=clients.partitions[Topic.TICKS],
                probe=stopwatch,
                snapshot_ns=settings.journal.snapshot_s * SECOND_NS,
            )
            encoder = Encoder(settings, self.partition, clients.partitions, clients.framers)
            self._phase(Phase.RESTORING, "loading the state" if items else "committing the first state")
            if items:
                await self._load(engine, items)
                await check_topics_against(clients.transport, settings, engine, stall_s)
                await self._hand_over(engine, committer, encoder)
            else:
                positions = await genesis_positions(clients.transport, settings, clients.events, self.partition)
                await committer.publish(encoder.records(engine.genesis(positions), engine.commit_seq))
            if self._leaving.is_set():
                return
            loop = PartitionLoop(
                settings,
                clients.core,
                engine=engine,
                ticks=clients.ticks,
                events=clients.events,
                decoder=Decoder(
                    settings,
                    clients.limits,
                    self.partition,
                    clients.partitions[Topic.TICKS],
                    engine.built.items,
                    schemas=clients.schemas,
                ),
                encoder=encoder,
                committer=committer,
                executor=clients.executor,
                status=self._status,
                meter=Meter(self._process, self._status, engine, stopwatch),
                kill_switch=clients.kill_switch,
                size=self._size,
                wall_ns=clients.wall_ns,
                traces=None if clients.traces is None else clients.traces(self.partition),
            )
            self._clock = engine.clocks[Topic.TICKS]
            self._seek(engine.positions)
            await self._skip(loop)
            self._status.positions = dict(engine.positions)
            self._status.commit_seq = engine.commit_seq
            self._status.restored_keys = len(items)
            self._status.owned_since = time.monotonic()
            self._status.restore_seconds = self._status.owned_since - started
            self._process.durations["restore"].observe(self._status.restore_seconds)
            self._phase(Phase.RUNNING, "waiting for input")
            self._log.info(
                "partition owned",
                seconds=round(self._status.restore_seconds, 3),
                keys=len(items),
                warm=warm is not None,
                seq=engine.commit_seq,
                positions=self._positions(),
            )
            self._distrusted = False
            self._loop = loop
            await loop.run()
        finally:
            self._loop = None
            self._pause()
            await committer.close(settings.kafka.revoke_timeout_ms / 1000)

    def _warm(self) -> Warm | None:
        """Return the standby's copy; where a restore has failed, the state is read from its beginning instead."""
        standby = self._clients.standby
        if standby is not None and self._distrusted:
            standby.drop(self.partition)
        return None if standby is None or self._distrusted else standby.take(self.partition)

    async def _load(self, engine: Engine, items: Mapping[str, bytes]) -> None:
        def load() -> None:
            engine.load(items, accept_settings=self._settings.journal.accept_settings)

        try:
            await self._in_thread(load)
        except StateBrokenError as error:
            # A successor's commits and the cleaner may have removed records between two fetches.
            raise MismatchError(str(error)) from error

    async def _hand_over(self, engine: Engine, committer: Committer, encoder: Encoder) -> None:
        """Commit under what the state continues where settings, release or schema have changed."""

        def hand_over() -> tuple[Mapping[str, object], list[Record]] | None:
            commit = engine.handover()
            return None if commit is None else (commit.journal, encoder.records(commit, engine.commit_seq))

        made = await self._in_thread(hand_over)
        if made is not None:
            journal, records = made
            await committer.publish(records)
            names = ("previous", "config", "release")
            self._log.warning("state handed over", seq=engine.commit_seq, **{name: journal[name] for name in names})

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._clients.executor, function)

    def _phase(self, phase: Phase, doing: str) -> None:
        # A partition that is leaving stays so while it finishes.
        if not self._leaving.is_set():
            self._status.phase = phase
        self._status.doing = doing

    def _restored_to(self, offset: int) -> None:
        self._status.restored_to = max(self._status.restored_to, offset)

    async def _acquire(self) -> Committer:
        """Start the partition's producer, which fences the one before and settles its transaction."""
        deadline_s = self._settings.kafka.transaction_timeout_ms / 1000
        producer = self._clients.transport.producer(self.partition)
        committer = Committer(producer, deadline_s)
        try:
            # The broker may have to wait out the previous owner's transaction.
            async with asyncio.timeout(2 * deadline_s):
                await producer.start()
                await self._check_partitions(producer)
        except BaseException as error:
            await committer.close(self._settings.kafka.revoke_timeout_ms / 1000)
            if isinstance(error, REFUSALS):
                raise CommitRefusedError(f"the broker refuses the producer: {error!r}") from error
            if isinstance(error, TimeoutError | KafkaError | OSError):
                raise CommitUnknownError(f"the producer does not start: {error!r}") from error
            raise
        return committer

    async def _check_partitions(self, producer: Producer) -> None:
        for topic, expected in self._clients.partitions.items():
            found = len(await producer.partitions_for(self._settings.topics.name(topic)))
            if found != expected:
                raise FatalError(
                    f"{self._settings.topics.name(topic)} had {expected} partitions and now has {found}: symbols have "
                    f"moved between partitions; set topics.partitions to the new number, and {RESTART}"
                )

    def _seek(self, positions: Mapping[Topic, int]) -> None:
        try:
            for topic, where in self._where.items():
                consumer = self._consumer(topic)
                consumer.seek(where, positions[topic])
                if topic not in self._status.lost:
                    consumer.resume(where)
        except IllegalStateError as error:
            raise CommitUnknownError("the partition was revoked while it was restored") from error

    def _pause(self) -> None:
        for topic, where in self._where.items():
            # Where the assignment has gone there is nothing to pause.
            with contextlib.suppress(IllegalStateError):
                self._consumer(topic).pause(where)
        self._status.paused = False

    def _consumer(self, topic: Topic) -> ManualConsumer:
        return self._clients.ticks if topic is Topic.TICKS else self._clients.events

    # What follows a failure

    async def _recover(self, error: CommitUnknownError | RestoreError) -> None:
        """Back off, and return when the group has confirmed this member; count what must not continue forever."""
        self._failed(error)
        if self._status.commits > self._commits_before:
            self._commits_before = self._status.commits
            self._failures = self._refused = 0
        self._failures += 1
        backoff = min(_LAST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** min(self._failures - 1, 10))
        self._log.warning(
            "partition dropped, acquiring it again", reason=str(error), backoff_s=backoff, positions=self._positions()
        )
        self._count(error)
        self._phase(Phase.ACQUIRING, f"waiting {backoff:.1f} s after a failure")
        await self._sleep(backoff)
        self._phase(Phase.ACQUIRING, "waiting for the group to confirm this member")
        while not self._leaving.is_set() and not await self._is_member():
            await self._sleep(self._settings.kafka.heartbeat_interval_ms / 1000)

    def _count(self, error: Exception) -> None:
        now = time.monotonic()
        if isinstance(error, FencedError):
            self._process.fenced += 1
            self._process.totals_of(self.partition).fenced += 1
            self._fenced.append(now)
            if len(self._fenced) == _FENCED_AT_MOST and now - self._fenced[0] < 60:
                raise FatalError(
                    f"partition {self.partition} was fenced {_FENCED_AT_MOST} times in a minute: another process uses "
                    f"transactional id {self._settings.kafka.transactional_id(self.partition)}; give each deployment "
                    "its own kafka.environment or kafka.group"
                ) from error
        self._mismatches = self._mismatches + 1 if isinstance(error, MismatchError) else 0
        if self._mismatches >= _MISMATCHES_AT_MOST:
            raise FatalError(str(error)) from error
        self._refused += isinstance(error, CommitRefusedError)
        if self._refused >= _REFUSED_AT_MOST:
            raise FatalError(
                f"partition {self.partition}: {error}. Nothing was published and no position has moved; compare "
                "the topics (impactd topics check) and permissions (impactd topics acls)"
            ) from error

    async def _is_member(self) -> bool:
        """Ask the group's coordinator whether this process still holds the partition.

        A commit of group offsets is what the coordinator checks against
        member and generation; the offset itself only serves lag tools.
        """
        where = self._where[Topic.TICKS]
        position = self._status.positions.get(Topic.TICKS, 0)
        try:
            async with asyncio.timeout(self._settings.kafka.session_timeout_ms / 1000):
                await self._clients.ticks.commit({where: position})
        except (KafkaError, OSError, TimeoutError) as error:
            self._log.info("group membership not confirmed yet", reason=repr(error))
            return False
        return True

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not beyond the order to leave."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leaving.wait()

    def _lose(self, loss: PositionLostError) -> None:
        """Note a position that is gone; the next acquisition announces it."""
        topic = next(role for role, where in self._where.items() if where.topic == loss.topic)
        self._status.lost[topic] = loss.position
        self._failed(loss)
        self._unannounced = loss
        self._log.error(
            "position lost", topic=loss.topic, position=loss.position, policy=self._settings.kafka.lost_position
        )

    def _failed(self, error: Exception) -> None:
        self._status.failures += 1
        self._status.failing = str(error)
        self._process.totals_of(self.partition).failures += 1

    def _positions(self) -> dict[str, int]:
        return {topic.value: at for topic, at in self._status.positions.items()}

    async def _announce(self, committer: Committer) -> None:
        if self._unannounced is not None:
            # A recorded day has a time of its own; a halt stamped now would wait forever.
            ts_event = self._clock if self._clients.core.apply == "in_event_time" else self._clients.wall_ns()
            await announce_loss(self._settings, committer, self.partition, self._unannounced, ts_event)
            self._unannounced = None

    async def _skip(self, loop: PartitionLoop) -> None:
        for topic in [topic for topic in self._status.lost if may_skip(self._settings, topic)]:
            position = self._status.lost[topic]
            first = await first_after_loss(self._consumer(topic), self._where[topic], position)
            await loop.skip(topic, first)
            del self._status.lost[topic]
            self._log.warning("position skipped", topic=topic.value, position=position, first=first)
