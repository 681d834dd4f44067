"""One application of the core as one transaction.

Rules, each of which answers something that a real broker has done:

- A commit is encoded and measured before its transaction begins: what is too
  large is found while there is nothing to undo.
- Begin, send all, await *every send's own future*, commit. aiokafka commits a
  transaction of which a send has failed, so commit is asked for only when all
  have succeeded.
- Transactional sends never expire, so the whole has a deadline of its own.
- Any failure means `CommitUnknownError`, also a failed assertion of aiokafka's
  transaction states. Nothing is aborted or retried here: whoever starts the
  next producer of this partition, be it this process, settles the transaction.
- What a send failed of is not always why. Where one topic of a transaction is
  refused, sends to the others fail too, of a state that follows from it; the
  reason is what the transaction itself failed of.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidProducerEpoch,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from impactd.core.base.topics import Topic
from impactd.core.outputs.messages import DeadLetter, Output
from impactd.shell.kafka.client import KafkaSettings, close_producer
from impactd.shell.kafka.errors import CommitRefusedError, CommitUnknownError, FatalError, FencedError
from impactd.wire.murmur2 import partition_for
from impactd.wire.records import Record as Encoded
from impactd.wire.records import Timestamps, dead_letter_record, encode_output

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from impactd.core.engine import Commit

Headers = tuple[tuple[str, bytes], ...]

JOURNAL_SCHEMA: Final = b"impactd.journal/1"
STATE_SCHEMA: Final = b"impactd.state/1"

#: What the broker will refuse again, however often the same commit is sent.
REFUSALS: Final = (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

#: Sends after which the event loop gets its turn: one takes some 30 us, and none waits for anything by itself.
_SENDS_AT_ONCE: Final = 50

#: Bytes of a record beside key, value and headers, at most.
_RECORD_OVERHEAD: Final = 64


@dataclass(frozen=True, slots=True)
class Record:
    """A record to be produced. `value` None is a tombstone."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def size(self) -> int:
        """An upper bound of the bytes that it takes on the wire."""
        named = sum(len(name.encode()) + len(value) + 10 for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + named + _RECORD_OVERHEAD


class Encoder:
    """Turns the commits of one partition into records.

    Parameters
    ----------
    partitions : mapping of Topic to int
        Number of partitions of each topic.
    """

    def __init__(self, settings: KafkaSettings, partition: int, partitions: Mapping[Topic, int]) -> None:
        self._settings = settings
        self._partition = partition
        self._partitions = partitions
        self._names = {topic: settings.topic(topic) for topic in Topic}
        self._timestamps: Timestamps = "string" if settings.timestamps == "string" else "int"
        #: The last message, and its record.
        self._said: tuple[object, Encoded] | None = None

    def records(self, commit: Commit, seq: int) -> list[Record]:
        """Return everything that `commit` publishes, in order: outputs, state, journal.

        Raises
        ------
        FatalError
            If a record is larger than what may be published. Sending it would
            fail each time, and leaving it out would lose it silently.
        """
        mark = f"{self._partition}:{seq}".encode()
        made = [self._output(output, mark) for output in commit.outputs]
        for key, value in commit.state.items():
            self._check_state(key, value)
            made.append(self._own(Topic.STATE, key.encode(), value, (("schema", STATE_SCHEMA), ("commit", mark))))
        for entry in (commit.journal, *commit.snapshot):
            journal = orjson.dumps(entry, option=orjson.OPT_NON_STR_KEYS)
            made.append(self._own(Topic.JOURNAL, None, journal, (("schema", JOURNAL_SCHEMA), ("commit", mark))))
        for record in made:
            self._check_size(record)
        return made

    def _output(self, output: Output, mark: bytes) -> Record:
        made = self._encoded(output)
        headers = [*made.headers, ("commit", mark)]
        if output.trigger is not None:
            topic, offset = output.trigger
            headers.append(("input", f"{self._names[topic]}/{self._partition}/{offset}".encode()))
        if output.topic is Topic.DLQ or output.key is None:
            return self._own(output.topic, made.key, made.value, tuple(headers))
        partition = partition_for(output.key, self._partitions[output.topic])
        return Record(self._names[output.topic], partition, made.key, made.value, tuple(headers))

    def _encoded(self, output: Output) -> Encoded:
        letter = output.message
        if not isinstance(letter, DeadLetter):
            if self._said is not None and self._said[0] is letter:
                # A plan goes to two topics, and is written once.
                key = None if output.key is None else output.key.encode()
                return dataclasses.replace(self._said[1], topic=output.topic, key=key)
            made = encode_output(output, self._timestamps)
            self._said = letter, made
            return made
        made = dead_letter_record(letter, self._partition, self._settings.max_dead_letter_bytes)
        # Whoever reads dead letters looks for the topic by the name that it has on the broker.
        named = [
            (name, self._names[letter.topic].encode() if name == "source_topic" else value)
            for name, value in made.headers
        ]
        return dataclasses.replace(made, headers=tuple(named))

    def _own(self, topic: Topic, key: bytes | None, value: bytes | None, headers: Headers) -> Record:
        """Return a record for this partition's own number: state, journal and dead letters stay with their owner."""
        return Record(self._names[topic], self._partition % self._partitions[topic], key, value, headers)

    def _check_state(self, key: str, value: bytes | None) -> None:
        limit = self._settings.max_state_bytes
        if value is not None and len(value) > limit:
            raise FatalError(
                f"state key {key!r} of partition {self._partition} has {len(value)} bytes, more than {limit}: "
                "nothing of this commit is published; lower the limits on orders and horizon, or raise "
                "kafka.max_state_bytes"
            )

    def _check_size(self, record: Record) -> None:
        limit = self._settings.max_message_bytes
        if record.size > limit:
            raise FatalError(
                f"a record for {record.topic} with key {record.key!r} has {record.size} bytes, more than "
                f"kafka.max_message_bytes = {limit}: nothing of this commit is published; raise it together with the "
                "topic's max.message.bytes, or lower plans.max_horizon_intervals"
            )


class Committer:
    """Publishes the commits of one partition through one producer, for as long as nothing goes wrong.

    Parameters
    ----------
    producer : AIOKafkaProducer
        Started, transactional.
    deadline_s : float
        After this a commit's outcome counts as unknown.
    """

    def __init__(self, producer: AIOKafkaProducer, deadline_s: float) -> None:
        self._producer = producer
        self._deadline_s = deadline_s
        self._open = False

    async def publish(self, records: Sequence[Record]) -> None:
        """Publish `records` in one transaction.

        Raises
        ------
        FencedError
            If another producer has taken over the partition.
        CommitRefusedError
            If the broker will not take one of them.
        CommitUnknownError
            If anything else went wrong; whether they stand is unknown.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._transact(records)
        except TimeoutError as error:
            raise self._translated(error, f"no answer to a commit within {self._deadline_s:.1f} s") from error
        except (KafkaError, OSError, AssertionError) as error:
            raise self._translated(error, f"a commit failed: {error!r}") from error

    def _translated(self, error: Exception, otherwise: str) -> CommitUnknownError:
        """Return what has gone wrong by what has to be done about it."""
        for cause in (_transaction_error(self._producer), error):
            if isinstance(cause, ProducerFenced | InvalidProducerEpoch):
                return FencedError(f"fenced: {cause!r}")
            if isinstance(cause, REFUSALS):
                return CommitRefusedError(f"the broker refuses the commit: {cause!r}")
        return CommitUnknownError(otherwise)

    async def _transact(self, records: Sequence[Record]) -> None:
        producer = self._producer
        await producer.begin_transaction()
        self._open = True
        sends: list[asyncio.Future[Any]] = []
        for record in records:
            sent = await producer.send(
                record.topic,
                record.value,
                record.key,
                partition=record.partition,
                headers=list(record.headers),
            )
            # A send that fails after the deadline has nobody left to ask for its exception.
            sent.add_done_callback(_retrieve)
            sends.append(sent)
            if len(sends) % _SENDS_AT_ONCE == 0:
                await asyncio.sleep(0)
        if sends:
            done, _ = await asyncio.wait(sends, return_when=asyncio.FIRST_EXCEPTION)
            for sent in done:
                sent.result()
        await producer.commit_transaction()
        self._open = False

    async def close(self, within_s: float) -> bool:
        """Close the producer, after an attempt to abort what is open; return whether it closed in order.

        The abort spares readers the wait for the transaction's timeout; where it fails, the next owner's start settles
        it.
        """
        if self._open:
            with contextlib.suppress(KafkaError, OSError, AssertionError, TimeoutError):
                async with asyncio.timeout(within_s / 3):
                    await self._producer.abort_transaction()
        return await close_producer(self._producer, within_s * 2 / 3)


def _transaction_error(producer: AIOKafkaProducer) -> BaseException | None:
    """Return what the producer's transaction itself has failed of; aiokafka has no public way to ask."""
    ended = producer._txn_manager.wait_for_transaction_end()  # noqa: SLF001
    if ended is None or not ended.done() or ended.cancelled():
        return None
    failed: BaseException | None = ended.exception()
    return failed


def _retrieve(sent: asyncio.Future[Any]) -> None:
    if not sent.cancelled():
        sent.exception()
