"""The service with one promise broken, to see that the harness notices: a check that cannot fail proves nothing.

Each variant replaces something of the package in the process that it is installed in, and of nothing else.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiokafka.errors import KafkaError

from impactd.config.cluster import KafkaSection
from impactd.core.base.topics import Topic
from impactd.shell.kafka import commit, ownership
from impactd.shell.kafka.client import close_producer, plain_producer
from impactd.shell.kafka.commit import Committer
from impactd.shell.kafka.encoder import Record
from impactd.shell.kafka.errors import CommitUnknownError, FencedError
from impactd.shell.kafka.transport import KafkaTransport, Producer

#: The state key that holds the positions.
_META: Final = b"meta"


@dataclass(frozen=True, slots=True)
class Variant:
    """A broken service.

    Attributes
    ----------
    what : str
        The promise that it breaks.
    install : callable
        Breaks it, in this process.
    faults : tuple of str
        What brings it to light.
    topic_configs : mapping of Topic to mapping of str to str
        Properties of topics that it is run with.
    """

    what: str
    install: Callable[[], None]
    faults: tuple[str, ...]
    topic_configs: Mapping[Topic, Mapping[str, str]] = field(default_factory=dict)


class Apart(Committer):
    """Writes the positions after the transaction instead of in it."""

    async def publish(self, records: Sequence[Record]) -> None:
        await super().publish([record for record in records if record.key != _META])
        await self._outside([record for record in records if record.key == _META])

    async def _outside(self, records: Sequence[Record]) -> None:
        producer = plain_producer(_transport_of(self)._settings)
        await producer.start()
        try:
            for record in records:
                await producer.send_and_wait(
                    record.topic, record.value, record.key, partition=record.partition, headers=list(record.headers)
                )
        finally:
            await close_producer(producer, 1.0)


def _positions_outside() -> None:
    _replace_committer(Apart)


def _id_of_process() -> None:
    """Name transactional ids by process, as aiokafka's documentation has it: nobody fences anybody."""

    def transactional_id(kafka: KafkaSection, partition: int) -> str:
        return f"{kafka.environment}.{kafka.group}.{os.getpid()}.{partition}"

    KafkaSection.transactional_id = transactional_id  # type: ignore[method-assign]


class Hasty(Committer):
    """Commits without looking at what became of the sends."""

    async def _transact(self, records: Sequence[Record]) -> None:
        producer = self._producer
        await producer.begin_transaction()
        for record in records:
            sent = await producer.send(
                record.topic, record.value, record.key, partition=record.partition, headers=list(record.headers)
            )
            sent.add_done_callback(commit._retrieve)
        await producer.commit_transaction()


def _sends_not_awaited() -> None:
    _replace_committer(Hasty)


class Stubborn(Committer):
    """Goes on with the memory that a failed commit has changed, with a new producer."""

    async def publish(self, records: Sequence[Record]) -> None:
        try:
            await super().publish(records)
        except FencedError:
            raise
        except CommitUnknownError:
            self._open = False
            await self._again(self._maker(), records[-1].partition)

    def _maker(self) -> Callable[[int], Producer]:
        return _transport_of(self).producer

    async def _again(self, made: Callable[[int], Producer], partition: int) -> None:
        while True:
            await self._producer.close(1.0)
            self._producer = made(partition)
            try:
                async with asyncio.timeout(self._deadline_s):
                    await self._producer.start()
                    return
            except (TimeoutError, OSError, KafkaError):
                await asyncio.sleep(0.2)


def _memory_kept() -> None:
    _replace_committer(Stubborn)


_transports: dict[int, KafkaTransport] = {}


def _transport_of(committer: Committer) -> KafkaTransport:
    return _transports[id(committer._producer)]


def _replace_committer(kind: type[Committer]) -> None:
    """Make ownership use another committer, and remember by which transport its producer was made."""
    make = KafkaTransport.producer

    def remember(self: KafkaTransport, partition: int) -> Producer:
        producer = make(self, partition)
        _transports[id(producer)] = self
        return producer

    KafkaTransport.producer = remember  # type: ignore[method-assign]
    ownership.Committer = kind  # type: ignore[misc]


VARIANTS: Final = {
    "positions-outside": Variant(
        "positions are written in the transaction of what they account for",
        _positions_outside,
        ("kill at committed", "kill at committed", "kill"),
    ),
    "id-of-process": Variant(
        "a partition's transactional id is the same in every process",
        _id_of_process,
        ("freeze at begun", "freeze at begun", "freeze"),
    ),
    "sends-not-awaited": Variant(
        "a transaction is committed only when each of its sends has succeeded",
        _sends_not_awaited,
        ("calm",),
        {Topic.PLANS: {"max.message.bytes": "1000"}},
    ),
    "memory-kept": Variant(
        "memory counts only after its commit",
        _memory_kept,
        ("fail at sent", "fail at begun", "restart"),
    ),
}
