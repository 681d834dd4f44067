"""aiokafka's consumer, which also hands out what it has fetched as bytes.

Connections, metadata, the group, positions and errors stay aiokafka's.  Added is one thing: each fetch response passes
through here on its way to aiokafka, and `fetch` takes the bytes of a partition out of it instead of having aiokafka
make an object of each record.  The position then moves by ``seek``, which also makes aiokafka forget its own copy and
fetch on.

What is not public of it: ``_client``, whose ``send`` every request goes through, and ``_fetcher._records``, which says
whether a response was taken or dropped.  `tests/shell/kafka/test_raw_consumer.py` names them; the version is pinned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.protocol.fetch import FetchRequest

from impactd.core.inputs.columns import RecordColumns
from impactd.shell.kafka.fetched import Aborted, Fetched

#: Versions of the fetch response from which the list of aborted transactions has a place of its own.
_WITH_REPLICA, _WITH_ABORTED = 11, 4

#: Records that aiokafka makes at a time where bytes cannot be handed out.
_SLOW_RECORDS = 250


class Made:
    """Records that aiokafka has made: of a format before 2."""

    def __init__(self, records: Sequence[Any], end: int) -> None:
        self._records = records
        self.end = end

    def records(self) -> RecordColumns:
        """Return them."""
        return RecordColumns.of(self._records)


class RawConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka ships no types
    """A consumer of committed records; takes what `AIOKafkaConsumer` takes."""

    def __init__(self, *, check_crcs: bool = True, **options: Any) -> None:
        super().__init__(check_crcs=check_crcs, isolation_level="read_committed", **options)
        self._crcs = check_crcs
        #: Partitions that `fetch` was asked for: nothing is kept of others.
        self._wanted: set[TopicPartition] = set()
        self._raw: dict[TopicPartition, tuple[int, bytes, Aborted | None]] = {}
        #: Set, and replaced, with each response.
        self._responded = asyncio.Event()
        self._send = self._client.send
        self._client.send = self._observed

    async def _observed(self, node_id: int, request: Any, **options: Any) -> Any:
        response = await self._send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            self._keep(request, response)
            # Who waits runs after the fetcher, which goes on with the response without a pause.
            responded, self._responded = self._responded, asyncio.Event()
            responded.set()
        return response

    def _keep(self, request: Any, response: Any) -> None:
        version = response.API_VERSION
        if version < _WITH_ABORTED:
            return
        asked = {
            TopicPartition(topic, partition): offset
            for topic, partitions in request.topics
            for partition, offset, _ in partitions
        }
        for topic, partitions in response.topics:
            for partition, error, _highwater, *rest in partitions:
                place = TopicPartition(topic, partition)
                if error == 0 and rest[-1] and place in self._wanted:
                    aborted = rest[2] if version >= _WITH_REPLICA else rest[-2]
                    self._raw[place] = (asked[place], rest[-1], aborted)
                else:
                    self._raw.pop(place, None)

    async def fetch(self, place: TopicPartition, timeout_ms: int) -> Fetched | Made | None:
        """Return the records of one partition fetched by now or within `timeout_ms`, and move behind them."""
        self._wanted.add(place)
        deadline = asyncio.get_running_loop().time() + timeout_ms / 1_000
        before = await self.position(place)
        while True:
            responded = self._responded
            fetched = await self._take(place)
            if fetched is not None:
                return fetched
            # Raises what has failed, and tells the group that this consumer is alive.
            made = (await self.getmany(place, timeout_ms=0, max_records=_SLOW_RECORDS)).get(place)
            at = await self.position(place)
            if made or at != before:
                # It moves without a record where aiokafka has passed over the end of a transaction.
                return Made(made or [], at)
            try:
                async with asyncio.timeout_at(deadline):
                    await responded.wait()
            except TimeoutError:
                return None

    async def _take(self, place: TopicPartition) -> Fetched | None:
        if place not in self._raw or not isinstance(self._fetcher._records.get(place), FetchResult):  # noqa: SLF001
            return None
        position, data, aborted = self._raw[place]
        if place in self.paused() or await self.position(place) != position:
            return None
        fetched = Fetched(place, data, aborted, position, check_crcs=self._crcs)
        if fetched.end is None:
            return None
        self.seek(place, fetched.end)
        return fetched

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Continue at `offset`; what was fetched is forgotten."""
        self._raw.pop(partition, None)
        super().seek(partition, offset)
