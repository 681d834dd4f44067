"""One record to the orders topic, by hand."""

from __future__ import annotations

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.kafka.deliver import delivery
from impactd.shell.kafka.encoder import Record
from impactd.shell.kafka.topics import partition_counts
from impactd.wire.murmur2 import partition_for


async def send_order(settings: Settings, symbol: str, value: bytes) -> tuple[str, int, int | str]:
    """Send a record of a symbol's order; return topic, partition, and the offset or why it is not known to be there.

    Raises
    ------
    FatalError
        If topics are missing or no broker answers: nothing was sent then.
    """
    name = settings.topics.name(Topic.ORDERS)
    partition = partition_for(symbol, (await partition_counts(settings))[Topic.ORDERS])
    async with delivery(settings) as send:
        (answer,) = await send([Record(name, partition, symbol.encode(), value)])
    return name, partition, answer
