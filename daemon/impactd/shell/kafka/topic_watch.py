"""Detects that a topic has been deleted.

aiokafka takes a topic that is no longer there for one that is not there yet,
and requests it again forever: fetches return nothing, commits run into their
deadline, and nothing reports why.  So the brokers' topics are listed
periodically.  A topic counts as gone only when two answers, some seconds
apart, know other topics but not this one: a broker that has just started may
not know them all.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError

from impactd.core.base.topics import Topic
from impactd.shell.kafka.errors import FatalError

if TYPE_CHECKING:
    from impactd.config import Settings
    from impactd.shell.kafka.transport import ManualConsumer

#: Seconds from one look to the next, and to the one that makes sure.
_LOOK_S: Final = 5.0
_MAKE_SURE_S: Final = 1.0


async def watch_topics(settings: Settings, consumer: ManualConsumer) -> None:
    """Ask for the topics until cancelled.

    Raises
    ------
    FatalError
        If one of the service's topics is gone.
    """
    wanted = {settings.topics.name(topic) for topic in Topic}
    missing: frozenset[str] = frozenset()
    while True:
        await asyncio.sleep(_MAKE_SURE_S if missing else _LOOK_S)
        now = await _missing(settings, consumer, wanted)
        if gone := missing & now:
            raise FatalError(
                f"topics are gone: {', '.join(sorted(gone))}; they were deleted, or this principal may no longer "
                "describe them (impactd topics acls). Outputs can be recreated with impactd topics create; without "
                "the state, the journal or an input start again under other names (topics.prefix, topics.names)"
            )
        missing = now


async def _missing(settings: Settings, consumer: ManualConsumer, wanted: set[str]) -> frozenset[str]:
    """Return the topics that an answer leaves out; none where there is no answer, or an empty one."""
    try:
        async with asyncio.timeout(settings.kafka.request_timeout_ms / 1000):
            there = await consumer.topics()
    except (KafkaError, OSError, TimeoutError):
        return frozenset()
    return frozenset(wanted - there) if there else frozenset()
