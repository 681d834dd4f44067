"""Reading a partition's state, and where to begin when there is none.

The state topic's partition is read from its first record to the high
watermark as it stands after the previous owner was fenced: by then its last
transaction is committed or aborted, and nobody else may write.  It is read
by a consumer of its own, in a task of its own, so that heartbeats go on
however long it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.kafka.client import manual_consumer
from impactd.shell.kafka.errors import FatalError, RestoreError
from impactd.shell.kafka.fair_fetch import FETCH_RECORDS

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

_POLL_MS: Final = 500


async def read_state(
    settings: Settings, partition: int, stall_s: float, reached: Callable[[int], None] | None = None
) -> dict[str, bytes]:
    """Return the last value of every live state key of `partition`.

    Parameters
    ----------
    stall_s : float
        Without progress for so long the attempt is given up.
    reached : callable, optional
        Told the offset after each step.

    Raises
    ------
    RestoreError
        If the topic cannot be read to its end now.
    """
    where = TopicPartition(settings.topics.name(Topic.STATE), partition)
    consumer = manual_consumer(settings)
    try:
        async with asyncio.timeout(stall_s):
            await consumer.start()
            consumer.assign([where])
            first = (await consumer.beginning_offsets([where]))[where]
            consumer.seek(where, first)
        return await _drain(consumer, where, stall_s, reached or (lambda _: None))
    except TimeoutError as error:
        raise RestoreError(f"{where.topic}/{partition} does not answer") from error
    except (KafkaError, OSError) as error:
        raise RestoreError(f"{where.topic}/{partition} cannot be read: {error!r}") from error
    finally:
        await consumer.stop()


async def _drain(
    consumer: AIOKafkaConsumer, where: TopicPartition, stall_s: float, reached: Callable[[int], None]
) -> dict[str, bytes]:
    loop = asyncio.get_running_loop()
    items: dict[str, bytes] = {}
    end: int | None = None
    position, moved = -1, loop.time()
    while end is None or position < end:
        fetched = await consumer.getmany(where, timeout_ms=_POLL_MS, max_records=FETCH_RECORDS)
        for record in fetched.get(where, ()):
            key = record.key.decode()
            if record.value is None:
                items.pop(key, None)
            else:
                items[key] = record.value
        if end is None:
            # The high watermark, not the last stable offset: what an open transaction hides must not be missed.
            end = consumer.highwater(where)
        at = await consumer.position(where)
        if at > position:
            position, moved = at, loop.time()
            reached(at)
        elif loop.time() - moved > stall_s:
            raise RestoreError(
                f"{where.topic}/{where.partition} stands still at offset {position} of {end}: "
                "somebody else has an open transaction there"
            )
        # Buffered records come without a pause; the heartbeat needs one.
        await asyncio.sleep(0)
    return items


async def genesis_positions(settings: Settings, consumer: AIOKafkaConsumer, partition: int) -> Mapping[Topic, int]:
    """Return where a partition without state begins: ticks as configured, the others at the earliest.

    Parameters
    ----------
    consumer : AIOKafkaConsumer
        Any consumer that is started.

    Raises
    ------
    FatalError
        If the journal knows of commits: then the state was lost, and beginning again would publish everything twice.
    RestoreError
        If a topic does not answer now; it is worth trying again.
    """
    stall_s = settings.kafka.transaction_timeout_ms / 1000 * 2
    if await _has_commits(settings, partition, stall_s):
        raise FatalError(
            f"{settings.topics.name(Topic.STATE)}/{partition} is empty although "
            f"{settings.topics.name(Topic.JOURNAL)}/{partition} holds commits: the "
            "state topic was deleted or emptied, and to begin again would publish their plans a "
            "second time; bring the state topic back, or begin again with outputs, state and journal of another name "
            "(topics.prefix, topics.names)"
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


async def _has_commits(settings: Settings, partition: int, stall_s: float) -> bool:
    """Return whether the journal holds a committed record, or has held one; aborted ones do not count."""
    where = TopicPartition(settings.topics.name(Topic.JOURNAL), partition)
    consumer = manual_consumer(settings)
    try:
        async with asyncio.timeout(stall_s):
            await consumer.start()
            consumer.assign([where])
            first = (await consumer.beginning_offsets([where]))[where]
            end = (await consumer.end_offsets([where]))[where]
            consumer.seek(where, first)
            found: bool = first > 0
            while not found and await consumer.position(where) < end:
                found = bool(await consumer.getmany(where, timeout_ms=_POLL_MS, max_records=1))
            return found
    except TimeoutError as error:
        raise RestoreError(f"{where.topic}/{partition} does not answer") from error
    except (KafkaError, OSError) as error:
        raise RestoreError(f"{where.topic}/{partition} cannot be read: {error!r}") from error
    finally:
        await consumer.stop()


async def _ticks_start(settings: Settings, consumer: AIOKafkaConsumer, where: TopicPartition) -> int:
    if isinstance(settings.kafka.start, int):
        found = await consumer.offsets_for_times({where: settings.kafka.start // 1_000_000})
        if found[where] is not None:
            return int(found[where].offset)
    return int((await consumer.end_offsets([where]))[where])
