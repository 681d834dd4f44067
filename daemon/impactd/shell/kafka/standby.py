"""Warm copies of states: what a process follows to take a partition over without a full restore.

The state topic of every partition is followed, those that this process owns included: after a commit with an unknown
outcome they too are acquired again.  A copy is never trusted.  At an assignment it is read on to the end, and
then passes the checks of a cold restore: number and hash of the keys against ``meta``, the anchors of the inputs, the
journal's last commit.  Where it fails them it is dropped, and the state is read from its beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from impactd.core.base.topics import Topic

if TYPE_CHECKING:
    from impactd.config import Settings
    from impactd.shell.kafka.status import Status
    from impactd.shell.kafka.transport import ManualConsumer, Transport

_POLL_MS: Final = 200
_RECORDS: Final = 2_000
_BACKOFF_S: Final = 1.0

#: What a key costs besides its bytes.
_OVERHEAD_BYTES: Final = 200

_log = structlog.get_logger(__name__)


class Warm(NamedTuple):
    """A state as of an offset: live values by key, and where to read on."""

    items: dict[str, bytes]
    offset: int


@dataclass(slots=True)
class _Copy:
    """One partition's state so far."""

    items: dict[str, bytes] = field(default_factory=dict)
    offset: int = 0
    bytes: int = 0
    #: Read to the end once.
    whole: bool = False
    #: Too large for what is left of the limit.
    refused: bool = False
    #: Does not hold: to be read from its beginning.
    dropped: bool = False


class Standby:
    """Follows the states of all partitions.

    Parameters
    ----------
    status : Status
        Told how many copies there are, and their bytes.
    """

    def __init__(self, transport: Transport, settings: Settings, partitions: int, status: Status) -> None:
        self._status = status
        self._transport = transport
        topic = settings.topics.name(Topic.STATE)
        self._most = settings.kafka.standby_bytes
        self._places = [TopicPartition(topic, partition) for partition in range(partitions)]
        self._copies = {place: _Copy() for place in self._places}
        self._caught_up = asyncio.Event()

    def take(self, partition: int) -> Warm | None:
        """Return the copy of a partition, which is followed further; None where there is none yet."""
        copy = self._copies[self._places[partition]]
        return Warm(dict(copy.items), copy.offset) if copy.whole and not copy.dropped else None

    def drop(self, partition: int) -> None:
        """Forget a copy that does not hold; it is read from its beginning again."""
        self._copies[self._places[partition]].dropped = True

    async def caught_up(self) -> None:
        """Wait until every copy was read to the end once, or is too large."""
        await self._caught_up.wait()

    async def follow(self) -> None:
        """Follow until cancelled; without a broker the copies wait."""
        while True:
            consumer = self._transport.consumer()
            try:
                await consumer.start()
                await self._follow(consumer)
            except (KafkaError, OSError, TimeoutError) as error:
                _log.info("warm copies interrupted, trying again", reason=repr(error))
            finally:
                self._transport.release(consumer)
            await asyncio.sleep(_BACKOFF_S)

    async def _follow(self, consumer: ManualConsumer) -> None:
        consumer.assign(self._places)
        first = await consumer.beginning_offsets(self._places)
        ends = await consumer.end_offsets(self._places)
        for place in self._places:
            copy = self._copies[place]
            if copy.refused:
                consumer.pause(place)
            # Where records were deleted meanwhile, the copy would miss them.
            copy.dropped |= not first[place] <= copy.offset <= ends[place]
            consumer.seek(place, copy.offset)
        while True:
            for place in self._places:
                if self._copies[place].dropped:
                    self._copies[place] = _Copy()
                    consumer.seek(place, (await consumer.beginning_offsets([place]))[place])
            places = [place for place in self._places if not self._copies[place].refused]
            try:
                fetched = await consumer.getmany(*places, timeout_ms=_POLL_MS, max_records=_RECORDS)
            except OffsetOutOfRangeError:
                for copy in self._copies.values():
                    copy.dropped = True
                raise
            for place in places:
                self._enter(self._copies[place], fetched.get(place, ()))
                self._copies[place].offset = at = await consumer.position(place)
                self._copies[place].whole |= at >= ends[place]
                self._count()
                if self._status.standby_bytes > self._most:
                    _log.warning("no warm copy: kafka.standby_bytes reached", partition=place.partition)
                    self._copies[place] = _Copy(refused=True)
                    consumer.pause(place)
            if all(copy.whole or copy.refused for copy in self._copies.values()):
                self._caught_up.set()

    def _count(self) -> None:
        copies = self._copies.values()
        self._status.standby_partitions = sum(copy.whole and not copy.dropped for copy in copies)
        self._status.standby_bytes = sum(copy.bytes for copy in copies)

    def _enter(self, copy: _Copy, records: Sequence[Any]) -> None:
        for record in records:
            name = (record.key or b"").decode()
            before = copy.items.pop(name, None)
            if before is not None:
                copy.bytes -= len(name) + len(before) + _OVERHEAD_BYTES
            if record.value is not None:
                copy.items[name] = record.value
                copy.bytes += len(name) + len(record.value) + _OVERHEAD_BYTES
