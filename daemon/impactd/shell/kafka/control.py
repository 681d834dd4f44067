"""Halt and resume: one control record in each partition of the control topic.

Every partition has its own owner, and an order lives in one partition; a control
that reached only some would leave the others trading.  So it counts as given
only when every partition has acknowledged it.  Repeating it is harmless: an
engine ignores a halt that it already has.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass

import orjson

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.core.inputs.events import Control
from impactd.core.orders.halts import known_scopes
from impactd.shell.kafka.consume import read_topics
from impactd.shell.kafka.deliver import delivery
from impactd.shell.kafka.encoder import Record
from impactd.shell.kafka.errors import FatalError
from impactd.shell.kafka.topics import admin_client


@dataclass(frozen=True, slots=True)
class Given:
    """Where a control record was acknowledged."""

    topic: str
    offsets: dict[int, int]
    #: Partition to the reason, where it was not acknowledged.
    failed: dict[int, str]


def control_value(control: Control) -> bytes:
    """Return the value of a control record."""
    return orjson.dumps(
        {"type": control.type, "scope": control.scope, "reason": control.reason, "ts_event": control.ts_event}
    )


async def scopes_of(settings: Settings) -> tuple[set[str], set[str]]:
    """Return the symbols and ids of orders that the service's state knows, and the scopes that are halted in it."""
    items: dict[tuple[int, str], bytes] = {}
    async with aclosing(read_topics(settings, settings.topics.name(Topic.STATE))) as records:
        async for record in records:
            key = (record.partition, (record.key or b"").decode(errors="replace"))
            if record.value is None:
                items.pop(key, None)
            else:
                items[key] = record.value
    names, halted = set[str](), set[str]()
    for (_, name), value in items.items():
        found = known_scopes(name, value)
        names |= found[0]
        halted |= found[1]
    return names, halted


async def give(settings: Settings, control: Control) -> Given:
    """Write `control` into each partition of the control topic, and wait until all have answered.

    Raises
    ------
    FatalError
        If the topic is missing or no broker answers: nothing was written then.
    """
    name = settings.topics.name(Topic.CONTROL)
    async with admin_client(settings) as admin:
        found = [topic for topic in await admin.describe_topics() if topic["topic"] == name]
    partitions = len(found[0]["partitions"]) if found else 0
    if not partitions:
        raise FatalError(f"missing topic: {name}; is topics.prefix that of the service? (impactd topics check)")
    value = control_value(control)
    records = [Record(name, partition, control.scope.encode(), value) for partition in range(partitions)]
    given = Given(name, {}, {})
    async with delivery(settings) as send:
        answers = await send(records)
    for partition, answer in enumerate(answers):
        if isinstance(answer, int):
            given.offsets[partition] = answer
        else:
            given.failed[partition] = answer
    return given
