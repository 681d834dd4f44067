"""Fetching without blocking the event loop.

aiokafka turns what was fetched into records when it is asked for them, on the
event loop: measured 6 us a record, more than 100 ms for a whole fetch, in
which no heartbeat, order or commit of any partition moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from aiokafka import TopicPartition

    from impactd.shell.kafka.transport import ManualConsumer

#: Records made at a time: some 2 ms.
FETCH_RECORDS: Final = 250


async def getmany_in_turns(
    consumer: ManualConsumer, places: Sequence[TopicPartition], timeout_ms: int, limit: int
) -> dict[TopicPartition, list[Any]]:
    """Return what is there, at most `limit` records, letting the event loop have its turn between them.

    Waits for the first record at most `timeout_ms`, for further ones not at all.
    """
    fetched: dict[TopicPartition, list[Any]] = {}
    room = limit
    while room > 0:
        part = await consumer.getmany(*places, timeout_ms=timeout_ms, max_records=min(room, FETCH_RECORDS))
        if not part:
            break
        for place, records in part.items():
            fetched.setdefault(place, []).extend(records)
            room -= len(records)
        timeout_ms = 0
        await asyncio.sleep(0)
    return fetched
