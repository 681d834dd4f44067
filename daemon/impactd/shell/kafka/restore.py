"""Reading a partition's state, checking it against the topics, and where to begin when there is none.

The state topic's partition is read from its first record to the high
watermark as it stands after the previous owner was fenced: by then its last
transaction is committed or aborted, and nobody else may write.  It is read
by its own consumer, in its own task, so that heartbeats continue
however long it takes.

Before anything is published the state is compared with what it was made from
and with: each input must hold, at the state's anchor, the record that was
applied last, and the journal must end with the state's own commit.

These topics are read one after the other, so a mismatch may also mean that
this process has lost the partition in between, and that its successor has
committed since (or that retention has deleted a record since).  A mismatch
therefore stops the process only if it repeats after the partition is acquired again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.inputs.anchors import Anchor, anchor_of
from impactd.core.state.schema import RESTART
from impactd.shell.kafka.errors import MismatchError, RestoreError

if TYPE_CHECKING:
    from impactd.core.engine import Engine
    from impactd.shell.kafka.standby import Warm
    from impactd.shell.kafka.transport import Fetched, ManualConsumer, Transport

_POLL_MS: Final = 500

#: Bytes of one fetch where a single record is looked for.
_LOOK_BYTES: Final = 64 * 1024

#: Offsets before the journal's end among which its last record is looked for first: marks of transactions take some.
_TAIL: Final = 16


async def read_state(
    transport: Transport,
    settings: Settings,
    partition: int,
    stall_s: float,
    reached: Callable[[int], None] | None = None,
    warm: Warm | None = None,
) -> dict[str, bytes]:
    """Return the last value of every live state key of `partition`.

    Parameters
    ----------
    stall_s : float
        Without progress for this long the attempt is given up.
    reached : callable, optional
        Told the offset after each step.
    warm : Warm, optional
        A copy to continue instead of reading from the beginning. The caller checks the result as any other.

    Raises
    ------
    RestoreError
        If the topic cannot be read to its end now.
    """
    where = TopicPartition(settings.topics.name(Topic.STATE), partition)
    async with _reading(transport, transport.consumer(), [where], stall_s) as consumer:
        first = (await consumer.beginning_offsets([where]))[where]
        items: dict[str, bytes] = {}
        if warm is not None and warm.offset > first:
            # From the last offset that it holds: a fetch at the very end waits for more.
            items, first = warm.items, warm.offset - 1
        consumer.seek(where, first)
        await _drain(consumer, where, stall_s, reached or (lambda _: None), items)
        return items


@asynccontextmanager
async def _reading(
    transport: Transport, consumer: ManualConsumer, places: list[TopicPartition], stall_s: float
) -> AsyncIterator[ManualConsumer]:
    """Yield a consumer that is started and assigned; what fails of it is worth trying again."""
    names = ", ".join(f"{place.topic}/{place.partition}" for place in places)
    try:
        async with asyncio.timeout(stall_s):
            await consumer.start()
        consumer.assign(places)
        yield consumer
    except TimeoutError as error:
        raise RestoreError(f"{names}: no answer") from error
    except (KafkaError, OSError) as error:
        raise RestoreError(f"{names}: cannot be read: {error!r}") from error
    finally:
        transport.release(consumer)


async def _drain(
    consumer: ManualConsumer,
    where: TopicPartition,
    stall_s: float,
    reached: Callable[[int], None],
    items: dict[str, bytes],
) -> None:
    """Enter what stands up to the end into `items`."""
    loop = asyncio.get_running_loop()
    end: int | None = None
    position, moved = -1, loop.time()
    while end is None or position < end:
        fetched = await consumer.fetch(where, _POLL_MS)
        if fetched is not None:
            await loop.run_in_executor(None, _enter, fetched, items)
        if end is None:
            # The high watermark, not the last stable offset: what an open transaction hides must not be missed.
            high = consumer.highwater(where)
            if high is not None:
                # Until a new leader knows how far the partition is replicated, its fetches end too early, even before
                # the first record. Only this question waits for that (KIP-207).
                end = max(high, (await consumer.end_offsets([where]))[where])
        at = await consumer.position(where)
        if at > position:
            position, moved = at, loop.time()
            reached(at)
        elif loop.time() - moved > stall_s:
            raise RestoreError(
                f"{where.topic}/{where.partition} stops at offset {position} of {end}: somebody else has an open "
                "transaction there"
            )


def _enter(fetched: Fetched, items: dict[str, bytes]) -> None:
    """Enter the records of one fetch."""
    for key, value in fetched.records().pairs():
        name = (key or b"").decode()
        if value is None:
            items.pop(name, None)
        else:
            items[name] = value


async def check_topics_against(transport: Transport, settings: Settings, engine: Engine, stall_s: float) -> None:
    """Compare a restored state with the inputs that it was made from and with its journal.

    Parameters
    ----------
    engine : Engine
        Restored; nothing was applied since.
    stall_s : float
        Without an answer for this long the attempt is given up.

    Raises
    ------
    MismatchError
        If an input holds another record at its anchor than was applied or ends before its position, or if the journal
        ends with another commit than the state's.
    RestoreError
        If a topic does not answer now.
    """
    where = {
        topic: TopicPartition(settings.topics.name(topic), engine.partition) for topic in (*INPUT_TOPICS, Topic.JOURNAL)
    }
    places = list(where.values())
    async with _reading(transport, transport.consumer(_LOOK_BYTES), places, stall_s) as consumer:
        async with asyncio.timeout(stall_s):
            first, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
            await _check_journal(consumer, where[Topic.JOURNAL], first, ends, engine.commit_seq)
            wanted: dict[TopicPartition, Anchor] = {}
            for topic in INPUT_TOPICS:
                place, position, anchor = where[topic], engine.positions[topic], engine.anchors.get(topic)
                if ends[place] < position:
                    raise MismatchError(_another(place, f"it ends at offset {ends[place]}, before {position}"))
                # Retention may have deleted the anchor, or the position too: the loop finds and names that.
                if anchor is not None and anchor.offset >= first[place]:
                    wanted[place] = anchor
            await _check_anchors(consumer, wanted)


async def _check_anchors(consumer: ManualConsumer, wanted: dict[TopicPartition, Anchor]) -> None:
    for place, anchor in wanted.items():
        consumer.seek(place, anchor.offset)
    while wanted:
        fetched = await consumer.getmany(*wanted, timeout_ms=_POLL_MS, max_records=1)
        for place in list(wanted):
            anchor, records = wanted[place], fetched.get(place, ())
            if records:
                found = anchor_of(records[0])
                if found != anchor:
                    raise MismatchError(_another(place, _difference(anchor, found)))
                del wanted[place]
            elif await consumer.position(place) > anchor.offset:
                raise MismatchError(_another(place, f"it has no record at offset {anchor.offset}, which was applied"))


def _difference(anchor: Anchor, found: Anchor) -> str:
    at = f"the record at offset {anchor.offset}, the last that was applied,"
    if found.offset != anchor.offset:
        return f"{at} is gone; the next is {found.offset}"
    if found.timestamp_ms != anchor.timestamp_ms:
        return f"{at} has timestamp {found.timestamp_ms} ms, not {anchor.timestamp_ms}"
    return f"{at} has another content (hash {found.digest}, not {anchor.digest})"


def _another(place: TopicPartition, what: str) -> str:
    return (
        f"{place.topic}/{place.partition} is not the topic that this state was made from: {what}. It was deleted and "
        "created again, restored from a backup, or belongs to another cluster. Nothing was published. Bring the former "
        f"topic back, or {RESTART}"
    )


async def _check_journal(
    consumer: ManualConsumer,
    place: TopicPartition,
    first: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    commit_seq: int,
) -> None:
    """Compare the state's commit with the journal's last, where retention has left one."""
    last = await _last_record(consumer, place, first[place], ends[place])
    found = commit_seq if last is None else int(orjson.loads(last.value)["commit_seq"])
    if found != commit_seq:
        raise MismatchError(
            f"the state ends with commit {commit_seq}, and its journal {place.topic}/{place.partition} ends with "
            f"commit {found}: one of the two topics was restored from a backup, or is not theirs. Nothing was "
            f"published. Restore the original topic, or {RESTART}"
        )


async def _last_record(consumer: ManualConsumer, place: TopicPartition, first: int, end: int) -> Any:
    """Return the last committed record before `end`; None where there is none."""
    back, last = _TAIL, None
    while last is None and first < end:
        start = max(first, end - back)
        consumer.seek(place, start)
        while await consumer.position(place) < end:
            for record in (await consumer.getmany(place, timeout_ms=_POLL_MS)).get(place, ()):
                last = record
        end, back = start, 8 * back
    return last


async def genesis_positions(
    transport: Transport, settings: Settings, consumer: ManualConsumer, partition: int
) -> Mapping[Topic, int]:
    """Return where a partition without state begins: ticks as configured, the others at the earliest.

    Parameters
    ----------
    consumer : ManualConsumer
        Any consumer that is started.

    Raises
    ------
    MismatchError
        If the journal holds commits: the state was lost, and beginning again would publish everything twice.
    RestoreError
        If a topic does not answer now; it is worth trying again.
    """
    stall_s = settings.kafka.transaction_timeout_ms / 1000 * 2
    if await _has_commits(transport, settings, partition, stall_s):
        raise MismatchError(
            f"{settings.topics.name(Topic.STATE)}/{partition} is empty although "
            f"{settings.topics.name(Topic.JOURNAL)}/{partition} holds commits: the state topic was deleted or emptied, "
            "and to begin again would publish their plans a second time; bring the state topic back, or begin again "
            "with outputs, state and journal of another name (topics.prefix, topics.names)"
        )
    where = {topic: TopicPartition(settings.topics.name(topic), partition) for topic in INPUT_TOPICS}
    try:
        first = await consumer.beginning_offsets(list(where.values()))
        positions = {topic: first[place] for topic, place in where.items()}
        if settings.kafka.start != "earliest":
            positions[Topic.TICKS] = await _ticks_start(settings, consumer, where[Topic.TICKS])
    except (KafkaError, OSError) as error:
        raise RestoreError(f"the input topics of partition {partition} do not answer: {error!r}") from error
    return positions


async def _has_commits(transport: Transport, settings: Settings, partition: int, stall_s: float) -> bool:
    """Return whether the journal holds a committed record, or has held one; aborted ones do not count."""
    where = TopicPartition(settings.topics.name(Topic.JOURNAL), partition)
    async with _reading(transport, transport.consumer(_LOOK_BYTES), [where], stall_s) as consumer:
        async with asyncio.timeout(stall_s):
            first = (await consumer.beginning_offsets([where]))[where]
            end = (await consumer.end_offsets([where]))[where]
            return first > 0 or await _last_record(consumer, where, first, end) is not None


async def _ticks_start(settings: Settings, consumer: ManualConsumer, where: TopicPartition) -> int:
    if isinstance(settings.kafka.start, int):
        found = await consumer.offsets_for_times({where: settings.kafka.start // 1_000_000})
        if found[where] is not None:
            return int(found[where].offset)
    return int((await consumer.end_offsets([where]))[where])
