"""A position that retention has deleted: never a silent jump.

The loss is recorded where it takes effect and survives: a halt of all orders goes into the partition's own control
topic, through the partition's
own producer.  It is an input like any other, so it is journalled, publishes
an alert, and is lifted by a resume.  The topic then stays where it is, or
continues from its earliest record, as set by `kafka.lost_position`; the gap shows
in the journal as a span without records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.core.state.schema import RESTART
from impactd.shell.kafka.commit import Committer
from impactd.shell.kafka.encoder import Record
from impactd.shell.kafka.errors import FatalError, PositionLostError, RestoreError

if TYPE_CHECKING:
    from impactd.shell.kafka.transport import ManualConsumer


async def announce_loss(
    settings: Settings, committer: Committer, partition: int, loss: PositionLostError, ts_event: int
) -> None:
    """Publish the halt that a lost position brings, at event time `ts_event` (ns).

    Raises
    ------
    CommitUnknownError
        If it is not known to have been written.
    """
    halt = {
        "type": "halt",
        "scope": "*",
        "reason": f"position_lost: {loss}",
        "ts_event": ts_event,
    }
    record = Record(settings.topics.name(Topic.CONTROL), partition, b"*", orjson.dumps(halt))
    await committer.publish([record])


def may_skip(settings: Settings, topic: Topic) -> bool:
    """Return whether a topic continues behind the gap; control always does, or the halt would never be read."""
    return settings.kafka.lost_position == "skip" or topic is Topic.CONTROL


async def first_after_loss(consumer: ManualConsumer, where: TopicPartition, position: int) -> int:
    """Return the earliest offset that is left.

    Raises
    ------
    FatalError
        If the topic ends before the position: it has been recreated.
    """
    try:
        first = int((await consumer.beginning_offsets([where]))[where])
    except (KafkaError, OSError) as error:
        raise RestoreError(f"{where.topic}/{where.partition} does not answer: {error!r}") from error
    if first < position:
        raise FatalError(
            f"{where.topic}/{where.partition} ends before offset {position}, which was applied already: the topic was "
            f"deleted and created again; {RESTART}"
        )
    return first
