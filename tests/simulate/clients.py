"""The transport protocol on the model of a cluster, with a network in between.

The clients behave as aiokafka's do where the service can tell: what they retry, what they raise and when, what a
failed transaction leaves behind.  What they have sent arrives, or does not, whatever becomes of the caller.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    ConcurrentTransactions,
    IllegalGenerationError,
    IllegalOperation,
    IllegalStateError,
    InvalidProducerEpoch,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    OffsetOutOfRangeError,
    ProducerClosed,
    ProducerFenced,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndTimestamp

from impactd.config import Settings
from impactd.shell.kafka.assignor import StandbyAssignor, standby_assignor
from impactd.shell.kafka.raw_consumer import Made
from impactd.shell.kafka.tasks import end
from tests.simulate.clock import OUTSIDE, Loop, Process
from tests.simulate.cluster import Cluster, Fetched, Parked, Place, Sent

#: As aiokafka has it: before a request is sent again.
_BACKOFF_S: Final = 0.1
_CONCURRENT_S: Final = 0.02

#: Records that one fetch returns of one partition.
_FETCH: Final = 400


class Network:
    """Carries requests between processes and cluster.

    Parameters
    ----------
    seed : str
        How long each takes is drawn from it.
    """

    def __init__(self, loop: Loop, cluster: Cluster, seed: str) -> None:
        self.loop, self.cluster = loop, cluster
        self._random = random.Random(f"{seed}/network")
        #: How much slower than usual.
        self.slowness = 1.0
        #: Share of answers that come late, out of their order.
        self.late = 0.01

    def delay(self) -> float:
        """Return how long one way takes."""
        draw = self._random
        delay = draw.uniform(0.0001, 0.002) * self.slowness
        return delay + draw.uniform(0.02, 0.4) if draw.random() < self.late else delay

    def chance(self) -> bool:
        """Return one of two outcomes."""
        return self._random.random() < 0.5


class Link:
    """The connections of one process."""

    def __init__(self, network: Network, process: Process) -> None:
        self.network, self.process = network, process
        self._loop = network.loop
        #: How often they were dropped.
        self.drops = 0
        #: Until then nothing gets through.
        self.stalled_until = 0.0
        #: What happens at the next request of a kind, before it is carried out or after.
        self.trap: tuple[str, bool, Callable[[], None]] | None = None

    def up(self) -> bool:
        """Return whether requests leave this process."""
        return self.process.alive

    async def call(self, request: Callable[[], Any], point: str = "") -> Any:
        """Send a request and return the answer.

        Raises
        ------
        KafkaError
            What the brokers answer, or that the connection was lost: the request may have been carried out.
        """
        if not self.up():
            raise KafkaConnectionError("the process has ended")
        network, loop, drops = self.network, self._loop, self.drops
        answered = loop.create_future()

        def arrive() -> None:
            trap = None
            if self.trap is not None and self.trap[0] == point:
                trap, self.trap = self.trap, None
            if trap is not None and trap[1]:
                trap[2]()
            # What has left a process arrives, whatever becomes of it, but perhaps not over a dropped connection.
            down = loop.time() < network.cluster.down_until
            if drops != self.drops or down:
                if network.chance() and not down:
                    _try(request)
                reply(KafkaConnectionError("the connection was lost"))
                return
            answer = _try(request)
            if trap is not None and not trap[1]:
                trap[2]()
            if isinstance(answer, Parked):
                answer.then = reply
            else:
                reply(answer)

        def reply(answer: Any) -> None:
            loop.call_at(max(loop.time() + network.delay(), self.stalled_until), land, answer, context=context)

        def land(answer: Any) -> None:
            if answered.done() or not self.up():
                return
            if drops != self.drops or loop.time() < network.cluster.down_until:
                answer = KafkaConnectionError("the connection was lost")
            if isinstance(answer, Exception):
                answered.set_exception(answer)
            else:
                answered.set_result(answer)

        context = contextvars.copy_context()
        loop.call_at(max(loop.time() + network.delay(), self.stalled_until), arrive, context=OUTSIDE)
        return await answered

    async def insist(self, request: Callable[[], Any], within_s: float | None = None, point: str = "") -> Any:
        """Send a request until it is answered with something that sending it again would not change."""
        deadline = None if within_s is None else self._loop.time() + within_s
        while True:
            try:
                return await self.call(request, point)
            except KafkaError as error:
                concurrent = isinstance(error, ConcurrentTransactions)
                if not (concurrent or getattr(error, "retriable", False)) or not self.up():
                    raise
                if deadline is not None and self._loop.time() > deadline:
                    raise KafkaTimeoutError from error
                wait = _CONCURRENT_S if concurrent else _BACKOFF_S
            await asyncio.sleep(wait)


def _try(request: Callable[[], Any]) -> Any:
    try:
        return request()
    except KafkaError as error:
        return error


class _Spot:
    """What a consumer knows of a partition that it is assigned."""

    def __init__(self) -> None:
        self.position: int | None = None
        self.paused = False
        self.high: int | None = None
        self.stable: int | None = None
        self.polled: int | None = None
        self.buffer: deque[Any] = deque()
        self.following = 0


class Consumer:
    """A consumer without a group."""

    def __init__(self, link: Link, settings: Settings) -> None:
        self._link, self._settings = link, settings
        self._loop, self._cluster = link.network.loop, link.network.cluster
        self._spots: dict[Place, _Spot] = {}
        self._changed = self._loop.create_future()
        self._request_s = settings.kafka.request_timeout_ms / 1000

    async def start(self) -> None:
        """Connect."""
        await self._link.call(lambda: None)

    async def stop(self) -> None:
        """Disconnect."""

    def assign(self, places: Iterable[TopicPartition]) -> None:
        """Read these instead of those before."""
        self._spots = {place: _Spot() for place in places}
        self._change()

    def _change(self) -> None:
        if not self._changed.done():
            self._changed.set_result(None)
        self._changed = self._loop.create_future()

    def _spot(self, place: TopicPartition) -> _Spot:
        if place not in self._spots:
            raise IllegalStateError(f"Partition {place} is not assigned")
        return self._spots[place]

    def seek(self, place: TopicPartition, offset: int) -> None:
        """Continue at `offset`."""
        spot = self._spot(place)
        spot.position, spot.buffer = offset, deque()
        self._change()

    def pause(self, *places: TopicPartition) -> None:
        """Return no records of `places`."""
        for place in places:
            self._spot(place).paused = True

    def resume(self, *places: TopicPartition) -> None:
        """Return records of `places` again."""
        for place in places:
            self._spot(place).paused = False
        self._change()

    async def _ready(self) -> None:
        """Wait for an assignment that is under way."""

    async def getmany(
        self, *places: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Any]]:
        """Return what is there, or comes in time."""
        deadline = self._loop.time() + timeout_ms / 1000
        while True:
            await self._ready()
            if found := self._drain(places, max_records or 500):
                return found
            left = deadline - self._loop.time()
            if left <= 1e-9:
                return {}
            wanted = {
                place: spot
                for place in places
                if (spot := self._spots.get(place)) and not spot.paused and spot.position is not None
            }
            if wanted:
                await self._fetch(wanted, left)
            else:
                await asyncio.wait([self._changed], timeout=left)

    async def fetch(self, place: TopicPartition, timeout_ms: int) -> Made | None:
        """Return what is there of one partition, or comes in time, and go on behind it."""
        deadline = self._loop.time() + timeout_ms / 1000
        before = self._spots[place].position if place in self._spots else None
        while True:
            records = (await self.getmany(place, timeout_ms=0, max_records=_FETCH)).get(place, [])
            spot = self._spots.get(place)
            at = None if spot is None else spot.position
            if records or (at != before and at is not None and before is not None):
                return Made(records, at or 0)
            left = deadline - self._loop.time()
            if left <= 1e-9:
                return None
            before = at
            if spot is None or spot.paused or at is None:
                await asyncio.wait([self._changed], timeout=left)
            else:
                await self._fetch({place: spot}, left)

    def _drain(self, places: Sequence[TopicPartition], room: int) -> dict[TopicPartition, list[Any]]:
        found: dict[TopicPartition, list[Any]] = {}
        for place in places:
            spot = self._spots.get(place)
            if spot is None or spot.paused or not spot.buffer or room <= 0:
                continue
            found[place] = [spot.buffer.popleft() for _ in range(min(room, len(spot.buffer)))]
            room -= len(found[place])
            spot.position = found[place][-1].offset + 1 if spot.buffer else spot.following
        return found

    async def _fetch(self, wanted: dict[TopicPartition, _Spot], wait_s: float) -> None:
        positions = {place: spot.position or 0 for place, spot in wanted.items()}
        started = self._loop.time()
        try:
            answers = await self._link.call(lambda: self._cluster.fetch(positions, wait_s, _FETCH))
        except KafkaError as error:
            if not getattr(error, "retriable", False):
                raise
            await asyncio.sleep(min(_BACKOFF_S, max(0.0, wait_s - (self._loop.time() - started))))
            return
        failed: OffsetOutOfRangeError | None = None
        for place, answer in answers.items():
            spot = wanted[place]
            if self._spots.get(place) is not spot or spot.position != positions[place] or spot.buffer:
                continue
            if isinstance(answer, Fetched):
                spot.high, spot.stable, spot.polled = answer.high, answer.stable, answer.timestamp
                spot.buffer.extend(answer.entries)
                spot.following = answer.following
                if not answer.entries:
                    spot.position = answer.following
            else:
                failed = failed or answer
        if failed is not None:
            raise failed
        if not answers:
            await asyncio.sleep(min(_BACKOFF_S, wait_s))

    async def position(self, place: TopicPartition) -> int:
        """Return the offset that is fetched next."""
        spot = self._spot(place)
        while spot.position is None:
            await asyncio.wait([self._changed])
            spot = self._spot(place)
        return spot.position

    async def beginning_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offsets."""
        return await self._insist(lambda: self._cluster.bounds(places, first=True))

    async def end_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the last stable offsets."""
        return await self._insist(lambda: self._cluster.bounds(places, first=False))

    async def _insist(self, request: Callable[[], Any]) -> Any:
        return await self._link.insist(request, self._request_s)

    async def offsets_for_times(self, times_ms: Mapping[TopicPartition, int]) -> dict[TopicPartition, Any]:
        """Return the first records at or after times."""
        found = await self._insist(lambda: {place: self._cluster.at_time(place, at) for place, at in times_ms.items()})
        return {place: None if at is None else OffsetAndTimestamp(*at) for place, at in found.items()}

    def highwater(self, place: TopicPartition) -> int | None:
        """Return the high watermark as of the last fetch."""
        return self._known(place).high

    def last_stable_offset(self, place: TopicPartition) -> int | None:
        """Return the last stable offset as of the last fetch."""
        return self._known(place).stable

    def last_poll_timestamp(self, place: TopicPartition) -> int | None:
        """Return the wall-clock time of the last fetch, ms."""
        return self._known(place).polled

    def _known(self, place: TopicPartition) -> _Spot:
        assert place in self._spots, "Partition is not assigned"
        return self._spots[place]

    async def topics(self) -> set[str]:
        """Ask for the names of all topics."""
        found: set[str] = await self._link.call(lambda: set(self._cluster.partitions))
        return found

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """Return the partitions as of the last metadata."""
        count = self._cluster.partitions.get(topic)
        return None if count is None else set(range(count))


class GroupConsumer(Consumer):
    """The consumer of the group."""

    def __init__(self, link: Link, settings: Settings) -> None:
        super().__init__(link, settings)
        self._coordination: asyncio.Task[None] | None = None
        self._member: str | None = None
        self._generation = -1
        self._joined = asyncio.Event()
        self._listener: Any = None
        self._topic = ""

    def subscribe(self, topics: Sequence[str], *, listener: Any) -> None:
        """Join the group."""
        (self._topic,), self._listener = topics, listener
        self._coordination = self._loop.create_task(self._coordinate(), name="coordination")

    async def _ready(self) -> None:
        await self._joined.wait()

    async def _coordinate(self) -> None:
        beat_s = self._settings.kafka.heartbeat_interval_ms / 1000
        session_s = self._settings.kafka.session_timeout_ms / 1000
        at_most = self._settings.kafka.own_at_most
        assignor = None if at_most is None else standby_assignor(at_most)
        while True:
            self._joined.clear()
            if self._spots:
                self._listener.on_partitions_revoked(list(self._spots))
            member, generation, assigned = await self._join(session_s, assignor)
            self._member, self._generation = member, generation
            if assignor is None:
                self.assign([Place(self._topic, partition) for partition in assigned])
            else:
                assignor.on_assignment(assigned)
                self.assign(assigned.partitions())
            self._listener.on_partitions_assigned(list(self._spots))
            self._joined.set()
            while True:
                await asyncio.sleep(beat_s)
                try:
                    await self._link.call(lambda m=member, g=generation: self._cluster.heartbeat(m, g))
                except RebalanceInProgressError:
                    break
                except (UnknownMemberIdError, IllegalGenerationError):
                    self._member = None
                    break
                except KafkaError:
                    # The connection was lost; the next heartbeat goes over another.
                    continue

    async def _join(self, session_s: float, assignor: type[StandbyAssignor] | None) -> tuple[str, int, Any]:
        metadata = assignor and assignor.metadata([self._topic])
        while True:
            member = self._member
            try:
                joined: tuple[str, int, Any] = await self._link.call(
                    lambda member=member: self._cluster.join(member, session_s, assignor, metadata)
                )
            except UnknownMemberIdError:
                self._member = None
            except KafkaError:
                await asyncio.sleep(_BACKOFF_S)
            else:
                return joined

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit group offsets."""
        if not self._spots:
            raise IllegalStateError("No partitions assigned")
        for place in offsets:
            self._spot(place)
        member, generation = self._member or "", self._generation
        try:
            await self._insist(lambda: self._cluster.commit_offsets(member, generation))
        except (UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError) as error:
            raise CommitFailedError from error

    async def stop(self) -> None:
        """Leave the group."""
        if self._coordination is not None:
            await end(self._coordination)
        if self._member is not None:
            member, self._member = self._member, None
            try:
                await self._link.call(lambda: self._cluster.leave(member))
            except KafkaError:
                return


class Producer:
    """The transactional producer of one id."""

    def __init__(self, link: Link, settings: Settings, name: str) -> None:
        self._link, self._settings, self._name = link, settings, name
        self._loop, self._cluster = link.network.loop, link.network.cluster
        self._timeout_s = settings.kafka.transaction_timeout_ms / 1000
        self._pid = self._epoch = -1
        self._state = "uninitialized"
        self._ended = self._loop.create_future()
        self._added: set[Place] = set()
        self._queue: dict[Place, list[tuple[Sent, asyncio.Future[Any]]]] = {}
        self._sequences: dict[Place, int] = {}
        self._sending: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Fence, settle, begin."""
        await self._link.call(lambda: None)
        request = lambda: self._cluster.init_producer(self._name, self._timeout_s)  # noqa: E731
        self._pid, self._epoch = await self._link.insist(request, point="init")
        self._state = "ready"

    async def partitions_for(self, topic: str) -> set[int]:
        """Return the partitions of a topic."""
        return set(range(self._cluster.partitions[topic]))

    async def begin_transaction(self) -> None:
        """Begin."""
        assert self._state == "ready", f"Invalid state transition {self._state}"
        self._state, self._ended, self._added = "open", self._loop.create_future(), set()

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        *,
        partition: int,
        headers: Sequence[tuple[str, bytes]],
    ) -> asyncio.Future[Any]:
        """Queue a record."""
        if self._closed:
            raise ProducerClosed
        if self._state != "open":
            raise IllegalOperation("Can't send messages while not in transaction")
        sent = Sent(key, value, tuple(headers), self._loop.wall_ns() // 1_000_000)
        delivered = self._loop.create_future()
        self._queue.setdefault(Place(topic, partition), []).append((sent, delivered))
        if self._sending is None or self._sending.done():
            self._sending = self._loop.create_task(self._send_all(), name="sender")
        return delivered

    async def _send_all(self) -> None:
        await asyncio.sleep(0)
        while self._queue:
            queue, self._queue = self._queue, {}
            new = [place for place in queue if place not in self._added]
            try:
                if new:
                    await self._request(
                        lambda new=new: self._cluster.add_partitions(self._name, self._epoch, new), "add"
                    )
                    self._added |= set(new)
            except KafkaError as error:
                self._fail(error, queue)
                return
            await asyncio.gather(*(self._produce(place, batch) for place, batch in queue.items()))

    async def _produce(self, place: Place, batch: list[tuple[Sent, asyncio.Future[Any]]]) -> None:
        records, first = [sent for sent, _ in batch], self._sequences.get(place, 0)
        txn = (self._name, self._pid, self._epoch)
        if self._cluster.write_s:
            await asyncio.sleep(self._cluster.write_s * len(records))
        try:
            at = await self._request(lambda: self._cluster.produce(place, records, txn, first), "produce")
        except KafkaError as error:
            # A batch that fails fails alone: the transaction can still be committed without it.
            for _, delivered in batch:
                if not delivered.done():
                    delivered.set_exception(error)
            return
        self._sequences[place] = first + len(records)
        for n, (_, delivered) in enumerate(batch):
            if not delivered.done():
                delivered.set_result(at + n)

    async def _request(self, request: Callable[[], Any], point: str) -> Any:
        try:
            return await self._link.insist(request, point=point)
        except InvalidProducerEpoch as error:
            raise ProducerFenced from error

    def _fail(self, error: KafkaError, queue: dict[Place, list[tuple[Sent, asyncio.Future[Any]]]]) -> None:
        """Give the producer up: what waits fails, and so does the transaction."""
        self._state = "failed"
        if not self._ended.done():
            self._ended.set_exception(error)
            self._ended.exception()
        for batch in [*queue.values(), *self._queue.values()]:
            for _, delivered in batch:
                if not delivered.done():
                    delivered.set_exception(error)
        self._queue = {}

    async def commit_transaction(self) -> None:
        """Commit."""
        await self._end(commit=True)

    async def abort_transaction(self) -> None:
        """Abort."""
        await self._end(commit=False)

    async def _end(self, *, commit: bool) -> None:
        assert self._state == "open", f"Invalid state transition {self._state}"
        self._state = "ending"
        self._ending = self._loop.create_task(self._request_end(commit=commit), name="end")
        await asyncio.shield(self._ended)

    async def _request_end(self, *, commit: bool) -> None:
        try:
            if self._sending is not None:
                await asyncio.shield(self._sending)
            if self._added and self._state == "ending":
                await self._request(
                    lambda: self._cluster.end_transaction(self._name, self._epoch, commit=commit), "end"
                )
        except KafkaError as error:
            self._fail(error, {})
            return
        if self._state == "ending":
            self._state = "ready"
            if not self._ended.done():
                self._ended.set_result(None)

    def transaction_error(self) -> BaseException | None:
        """Return why the transaction has failed, if it has."""
        ended = self._ended
        return ended.exception() if ended.done() and not ended.cancelled() else None

    async def close(self, within_s: float) -> bool:
        """Close it, whatever is under way."""
        self._closed = True
        tasks = [task for task in (self._sending, self._ending) if task is not None and not task.done()]
        if not tasks:
            return True
        _, pending = await asyncio.wait(tasks, timeout=within_s)
        if pending:
            await end(*tasks)
            self._fail(KafkaError("the producer was abandoned"), {})
        return not pending


class Transport:
    """Makes the clients of one process."""

    def __init__(self, link: Link, settings: Settings) -> None:
        self.link, self._settings = link, settings
        self._closing: dict[asyncio.Task[None], None] = {}

    def group_consumer(self) -> GroupConsumer:
        """Return the consumer of the group."""
        return GroupConsumer(self.link, self._settings)

    def consumer(self, _fetch_bytes: int | None = None) -> Consumer:
        """Return a consumer without a group."""
        return Consumer(self.link, self._settings)

    def producer(self, partition: int) -> Producer:
        """Return the producer of `partition`."""
        return Producer(self.link, self._settings, self._settings.kafka.transactional_id(partition))

    def release(self, consumer: Consumer) -> None:
        """Close a consumer in a task of its own."""
        task = self.link.network.loop.create_task(consumer.stop(), name="close")
        self._closing[task] = None
        task.add_done_callback(lambda done: self._closing.pop(done, None))

    async def close(self) -> None:
        """Wait for what is being closed."""
        if self._closing:
            await asyncio.wait(list(self._closing))
