"""Sends records for operator tools, and reports the fate of each.

An idempotent producer without transactions: an acknowledged record is written once, at the returned offset.  One that
is not acknowledged within the deadline may have been written; it is reported as unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from impactd.config import Settings
from impactd.shell.kafka.client import client_options, close_producer, plain_producer
from impactd.shell.kafka.encoder import Record
from impactd.shell.kafka.errors import FatalError
from impactd.shell.kafka.security import CONNECT_ERRORS, why_unreachable

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

#: Records that are on their way at once.
_IN_FLIGHT: Final = 1_000

_CLOSE_S: Final = 5.0

Send = Callable[[Sequence[Record]], Awaitable[list[int | str]]]


@asynccontextmanager
async def delivery(settings: Settings) -> AsyncIterator[Send]:
    """Yield a function that sends records and returns for each its offset, or why it is not known to have been written.

    Raises
    ------
    FatalError
        If no broker answers: nothing was sent then.
    """
    deadline_s = 2 * settings.kafka.request_timeout_ms / 1000
    producer = plain_producer(settings)

    async def send(records: Sequence[Record]) -> list[int | str]:
        answers: list[int | str] = []
        for first in range(0, len(records), _IN_FLIGHT):
            answers += await _deliver(producer, records[first : first + _IN_FLIGHT], deadline_s)
        return answers

    try:
        try:
            async with asyncio.timeout(deadline_s):
                await producer.start()
        except CONNECT_ERRORS as error:
            why = await why_unreachable(settings.kafka.bootstrap, client_options(settings), deadline_s, error)
            raise FatalError(why) from error
        yield send
    finally:
        await close_producer(producer, _CLOSE_S)


async def _deliver(producer: AIOKafkaProducer, records: Sequence[Record], deadline_s: float) -> list[int | str]:
    async def one(record: Record) -> int | str:
        try:
            sent: Any = await producer.send(
                record.topic, record.value, record.key, partition=record.partition, headers=list(record.headers)
            )
            return int((await sent).offset)
        except (TopicAuthorizationFailedError, ClusterAuthorizationFailedError):
            return f"this principal may not write {record.topic}; grant it WRITE"
        except (KafkaError, IllegalStateError, OSError, AssertionError) as error:
            return repr(error)

    tasks = [asyncio.create_task(one(record)) for record in records]
    _, late = await asyncio.wait(tasks, timeout=deadline_s)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return [f"no answer within {deadline_s:.0f} s" if task in late else task.result() for task in tasks]
