"""Scripts of requests whose outcome a reader of the service's code relies on: the model and a broker must agree.

Each history uses the transport protocol alone and returns what it has seen: offsets, records, watermarks, names of
errors.  Nothing that chance decides is looked at, such as which member of a group gets which partition.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import IllegalOperation, KafkaError

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.kafka.transport import GroupConsumer, ManualConsumer, Producer, Transport

#: Largest batch of the topic of plans, where a history needs a limit.
LIMIT: Final = 2_000


class Bench(Protocol):
    """Where a history is played."""

    settings: Settings

    def transport(self) -> Transport:
        """Return the clients of a further process."""

    async def limit(self, topic: Topic, n_bytes: int) -> None:
        """Bound the batches of a topic."""

    async def delete_before(self, topic: Topic, offset: int) -> None:
        """Delete the first records of partition 0."""


Seen = list[Any]
History = Callable[[Bench], Awaitable[Seen]]


async def _tried(work: Awaitable[Any]) -> Any:
    """Return what `work` gives, or the name of its error."""
    try:
        async with asyncio.timeout(60):
            return await work
    except (KafkaError, IllegalOperation, AssertionError) as error:
        return type(error).__name__


def _called(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except (KafkaError, AssertionError) as error:
        return type(error).__name__


def _place(bench: Bench, topic: Topic = Topic.PLANS) -> TopicPartition:
    return TopicPartition(bench.settings.topics.name(topic), 0)


async def _owner(bench: Bench) -> Producer:
    made = bench.transport().producer(0)
    await made.start()
    return made


async def _sent(bench: Bench, by: Producer, values: Iterable[bytes], topic: Topic = Topic.PLANS) -> list[Any]:
    """Send, wait, and return offsets or names of errors."""
    place = _place(bench, topic)
    futures = [await by.send(place.topic, value, b"k", partition=0, headers=()) for value in values]
    return [getattr(found, "offset", found) for found in [await _tried(future) for future in futures]]


async def _reader(bench: Bench, *topics: Topic) -> ManualConsumer:
    made = bench.transport().consumer()
    await made.start()
    places = [_place(bench, topic) for topic in topics or (Topic.PLANS,)]
    made.assign(places)
    for place in places:
        made.seek(place, 0)
    return made


async def _read(bench: Bench, reader: ManualConsumer, topic: Topic = Topic.PLANS) -> Seen:
    """Read up to the last stable offset; return records, position, and the two watermarks."""
    place = _place(bench, topic)
    end = (await reader.end_offsets([place]))[place]
    found: list[Any] = []
    async with asyncio.timeout(60):
        while reader.highwater(place) is None or await reader.position(place) < end:
            fetched = await reader.fetch(place, 200)
            found += [(record.offset, record.value) for record in fetched.records()] if fetched else []
    return [found, await reader.position(place), end, reader.highwater(place), reader.last_stable_offset(place)]


async def _settled(bench: Bench, reader: ManualConsumer, at: int, topic: Topic = Topic.PLANS) -> None:
    """Wait until the last stable offset is `at`."""
    place = _place(bench, topic)
    async with asyncio.timeout(60):
        while (await reader.end_offsets([place]))[place] < at:  # noqa: ASYNC110  (a broker has no event)
            await asyncio.sleep(0.05)


async def commits_and_aborts(bench: Bench) -> Seen:
    """Commit and abort: a mark takes an offset, and an empty transaction leaves nothing."""
    owner, reader, seen = await _owner(bench), await _reader(bench), []
    await owner.begin_transaction()
    seen.append(await _sent(bench, owner, [b"a", b"b"]))
    await owner.commit_transaction()
    await owner.begin_transaction()
    seen.append(await _sent(bench, owner, [b"c"]))
    await owner.abort_transaction()
    await owner.begin_transaction()
    await owner.commit_transaction()
    await owner.begin_transaction()
    seen.append(await _sent(bench, owner, [b"d", b"e"]))
    await owner.commit_transaction()
    await _settled(bench, reader, 8)
    seen.append(await _read(bench, reader))
    seen.append(await owner.close(5.0))
    await reader.stop()
    return seen


async def fences_the_owner_before(bench: Bench) -> Seen:
    """Start the next producer: it aborts what is open, and what the former one still tries is refused."""
    former, reader, seen = await _owner(bench), await _reader(bench), []
    await former.begin_transaction()
    seen.append(await _sent(bench, former, [b"hidden"]))
    owner = await _owner(bench)
    seen.append(await _tried(former.commit_transaction()))
    seen.append(type(former.transaction_error()).__name__)
    seen.append(await _tried(former.begin_transaction()))
    await owner.begin_transaction()
    seen.append(await _sent(bench, owner, [b"seen"]))
    await owner.commit_transaction()
    await _settled(bench, reader, 4)
    seen.append(await _read(bench, reader))
    for producer in (former, owner):
        await producer.close(2.0)
    await reader.stop()
    return seen


async def fences_between_transactions(bench: Bench) -> Seen:
    """Begin again after a fence: a former owner adds nothing."""
    former, reader, seen = await _owner(bench), await _reader(bench), []
    owner = await _owner(bench)
    seen.append(await _tried(former.begin_transaction()))
    place = _place(bench)
    sent = await former.send(place.topic, b"zombie", b"k", partition=0, headers=())
    seen.append(await _tried(sent))
    seen.append(type(former.transaction_error()).__name__)
    await owner.begin_transaction()
    seen.append(await _sent(bench, owner, [b"seen"]))
    await owner.commit_transaction()
    await _settled(bench, reader, 2)
    seen.append(await _read(bench, reader))
    for producer in (former, owner):
        await producer.close(2.0)
    await reader.stop()
    return seen


async def hides_what_is_open(bench: Bench) -> Seen:
    """Leave a transaction open: it holds the last stable offset, also for the records of others behind it."""
    first, reader, seen = await _owner(bench), await _reader(bench), []
    second = bench.transport().producer(1)
    await second.start()
    await first.begin_transaction()
    seen.append(await _sent(bench, first, [b"open"]))
    await second.begin_transaction()
    seen.append(await _sent(bench, second, [b"behind"]))
    await second.commit_transaction()
    async with asyncio.timeout(60):
        while reader.highwater(_place(bench)) != 3:
            # The mark of the second, which is behind what is open.
            await reader.fetch(_place(bench), 100)
    seen.append(await _read(bench, reader))
    seen.append(await reader.getmany(_place(bench), timeout_ms=300))
    await first.commit_transaction()
    await _settled(bench, reader, 4)
    seen.append(await _read(bench, reader))
    for producer in (first, second):
        await producer.close(2.0)
    await reader.stop()
    return seen


async def abandons_a_transaction(bench: Bench) -> Seen:
    """Close without an end: the transaction stays open until the next owner starts."""
    former, reader, seen = await _owner(bench), await _reader(bench), []
    await former.begin_transaction()
    seen.append(await _sent(bench, former, [b"left"]))
    await former.close(2.0)
    seen.append(await _read(bench, reader))
    owner = await _owner(bench)
    await _settled(bench, reader, 2)
    seen.append(await _read(bench, reader))
    await owner.close(2.0)
    await reader.stop()
    return seen


async def times_a_transaction_out(bench: Bench) -> Seen:
    """Wait too long: the brokers end the transaction, and its producer with it."""
    owner, reader, seen = await _owner(bench), await _reader(bench), []
    await owner.begin_transaction()
    seen.append(await _sent(bench, owner, [b"late"]))
    await _settled(bench, reader, 2)
    seen.append(await _tried(owner.commit_transaction()))
    seen.append(await _read(bench, reader))
    await owner.close(2.0)
    await reader.stop()
    return seen


async def refuses_a_large_record_alone(bench: Bench) -> Seen:
    """Send a record that is too large: the transaction commits without it, which is why each send is awaited."""
    await bench.limit(Topic.PLANS, LIMIT)
    owner, reader, seen = await _owner(bench), await _reader(bench, Topic.PLANS, Topic.ALERTS), []
    await owner.begin_transaction()
    # Bytes that do not compress.
    large = random.Random(1).randbytes(3 * LIMIT)
    seen.append(await _sent(bench, owner, [large]))
    seen.append(await _sent(bench, owner, [b"small"], Topic.ALERTS))
    seen.append(await _tried(owner.commit_transaction()))
    await _settled(bench, reader, 2, Topic.ALERTS)
    seen.append(await _read(bench, reader, Topic.ALERTS))
    await owner.close(2.0)
    await reader.stop()
    return seen


async def misuses_a_producer(bench: Bench) -> Seen:
    """States that a producer is not in."""
    owner = await _owner(bench)
    place = _place(bench)
    seen = [await _tried(owner.send(place.topic, b"x", b"k", partition=0, headers=()))]
    seen.append(await _tried(owner.commit_transaction()))
    await owner.begin_transaction()
    seen.append(await _tried(owner.begin_transaction()))
    await owner.abort_transaction()
    seen.append(await _tried(owner.abort_transaction()))
    seen.append(sorted(await owner.partitions_for(place.topic)))
    await owner.close(2.0)
    return seen


async def reads_out_of_range(bench: Bench) -> Seen:
    """Read where nothing is: the error names the position; deleting moves the beginning."""
    owner, reader, place = await _owner(bench), await _reader(bench), _place(bench)
    await owner.begin_transaction()
    seen: Seen = [await _sent(bench, owner, [b"a", b"b", b"c", b"d"])]
    await owner.commit_transaction()
    await _settled(bench, reader, 5)
    reader.seek(place, 50)
    seen.append(await _tried(reader.getmany(place, timeout_ms=5_000)))
    await bench.delete_before(Topic.PLANS, 2)
    seen.append(await reader.beginning_offsets([place]))
    reader.seek(place, 1)
    seen.append(await _tried(reader.getmany(place, timeout_ms=5_000)))
    reader.seek(place, 2)
    seen.append(await _read(bench, reader))
    seen.append((await reader.offsets_for_times({place: 0}))[place].offset)
    seen.append((await reader.offsets_for_times({place: 10**14}))[place])
    await owner.close(2.0)
    await reader.stop()
    return [str(item).replace(place.topic, "") for item in seen]


async def assigns_pauses_and_seeks(bench: Bench) -> Seen:
    """Assign, pause and seek: what a consumer knows of a partition goes with its assignment."""
    owner, reader, place = await _owner(bench), await _reader(bench), _place(bench)
    await owner.begin_transaction()
    seen: Seen = [await _sent(bench, owner, [b"a", b"b", b"c"])]
    await owner.commit_transaction()
    await _settled(bench, reader, 4)
    reader.pause(place)
    seen.append(await reader.getmany(place, timeout_ms=300))
    reader.resume(place)
    got = await reader.getmany(place, timeout_ms=5_000, max_records=2)
    seen.append([record.offset for record in got[place]])
    seen.append(await reader.position(place))
    reader.seek(place, 1)
    got = await reader.getmany(place, timeout_ms=5_000, max_records=1)
    seen.append([record.offset for record in got[place]])
    reader.assign([_place(bench, Topic.ALERTS)])
    seen += [await _tried(reader.position(place)), _called(lambda: reader.seek(place, 0))]
    seen += [_called(lambda: reader.pause(place)), _called(lambda: reader.highwater(place))]
    seen.append(await reader.getmany(place, timeout_ms=300))
    reader.assign([place])
    seen.append(reader.highwater(place))
    await owner.close(2.0)
    await reader.stop()
    return seen


class _Told(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Notes what a member is told, and how many partitions it has."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.places: list[TopicPartition] = []
        self._called = asyncio.Event()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Note."""
        found = list(revoked)
        if found:
            self.calls.append(("revoked", len(found)))

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Note."""
        self.places = sorted(assigned)
        self.calls.append(("assigned", len(self.places)))
        self._called.set()

    async def until(self, count: int) -> None:
        """Wait for an assignment of so many partitions."""
        async with asyncio.timeout(60):
            while not self.calls or self.calls[-1] != ("assigned", count):
                self._called.clear()
                await self._called.wait()


async def shares_a_group(bench: Bench) -> Seen:
    """Share a group: every rebalance is eager; a member may commit what it holds, and nothing else."""
    topic = bench.settings.topics.name(Topic.TICKS)

    async def member() -> tuple[GroupConsumer, _Told]:
        made, told = bench.transport().group_consumer(), _Told()
        await made.start()
        made.subscribe([topic], listener=told)
        return made, told

    first, told = await member()
    await told.until(2)
    seen: Seen = [await _tried(first.commit({TopicPartition(topic, 0): 0}))]
    second, also = await member()
    await told.until(1)
    await also.until(1)
    seen.append(sorted(place.partition for place in [*told.places, *also.places]))
    seen.append(await _tried(second.commit({also.places[0]: 0})))
    seen.append(await _tried(second.commit({told.places[0]: 0})))
    seen.append(_called(lambda: first.seek(also.places[0], 0)))
    await first.stop()
    await also.until(2)
    seen += [told.calls, also.calls]
    await second.stop()
    return seen


HISTORIES: Final[tuple[History, ...]] = (
    commits_and_aborts,
    fences_the_owner_before,
    fences_between_transactions,
    hides_what_is_open,
    abandons_a_transaction,
    times_a_transaction_out,
    refuses_a_large_record_alone,
    misuses_a_producer,
    reads_out_of_range,
    assigns_pauses_and_seeks,
    shares_a_group,
)
