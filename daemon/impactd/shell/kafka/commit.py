"""One application of the core as one transaction.

Rules, each of which answers an observed behaviour of a real broker:

- Begin, send all, await *every send's own future*, commit. aiokafka commits a
  transaction of which a send has failed, so commit is asked for only when all
  have succeeded.
- Transactional sends never expire, so the whole has its own deadline.
- Any failure means `CommitUnknownError`, also a failed assertion of aiokafka's
  transaction states. Nothing is aborted or retried here: the process that starts the
  next producer of this partition, be it this process, settles the transaction.
- The error of a send is not always the cause. Where one topic of a transaction is
  refused, sends to the others fail too, from a state that follows from it; the
  cause is the transaction's own error.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    IllegalOperation,
    InvalidProducerEpoch,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from impactd.shell.kafka.encoder import Record
from impactd.shell.kafka.errors import CommitLateError, CommitRefusedError, CommitUnknownError, FencedError
from impactd.shell.kafka.tasks import end

if TYPE_CHECKING:
    from impactd.shell.kafka.transport import Producer

#: What the broker will refuse again, however often the same commit is sent.
REFUSALS: Final = (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

#: What a producer raises; where its transaction has failed meanwhile that is no error of Kafka's to aiokafka.
FAILURES: Final = (KafkaError, IllegalOperation, OSError, AssertionError)

#: Sends after which the event loop gets its turn: one takes some 30 us, and none waits for anything by itself.
_SENDS_AT_ONCE: Final = 50


class Committer:
    """Publishes the commits of one partition through one producer, for as long as nothing goes wrong.

    Parameters
    ----------
    producer : Producer
        Started, transactional.
    deadline_s : float
        After this a commit's outcome counts as unknown.
    """

    def __init__(self, producer: Producer, deadline_s: float) -> None:
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
            If anything else went wrong; whether they were written is unknown.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._transact(records)
        except TimeoutError as error:
            late = CommitLateError(f"no answer to a commit within {self._deadline_s:.1f} s")
            raise self._translated(error, late) from error
        except FAILURES as error:
            raise self._translated(error, CommitUnknownError(f"a commit failed: {error!r}")) from error

    def _translated(self, error: Exception, otherwise: CommitUnknownError) -> CommitUnknownError:
        """Return what has gone wrong by what has to be done about it."""
        for cause in (self._producer.transaction_error(), error):
            if isinstance(cause, ProducerFenced | InvalidProducerEpoch):
                return FencedError(f"fenced: {cause!r}")
            if isinstance(cause, REFUSALS):
                return CommitRefusedError(f"the broker refuses the commit: {cause!r}")
        return otherwise

    async def _transact(self, records: Sequence[Record]) -> None:
        producer = self._producer
        await producer.begin_transaction()
        self._open = True
        parts: defaultdict[tuple[str, int], list[Record]] = defaultdict(list)
        for record in records:
            parts[record.topic, record.partition].append(record)
        sends: list[asyncio.Future[Any]] = []
        # A send whose batch is full waits until that batch is on its way. Partition after partition, each batch of a
        # minute's plans and state would be a request of its own; side by side, one request takes one of each.
        sending = [asyncio.create_task(self._send(part, sends)) for part in parts.values()]
        try:
            if sending:
                await asyncio.wait(sending, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            await end(*sending)
        for task in sending:
            if not task.cancelled():
                task.result()
        if sends:
            done, _ = await asyncio.wait(sends, return_when=asyncio.FIRST_EXCEPTION)
            for sent in done:
                sent.result()
        await producer.commit_transaction()
        self._open = False

    async def _send(self, records: Sequence[Record], sends: list[asyncio.Future[Any]]) -> None:
        """Send records of one partition in their order, and add the futures of their delivery to `sends`."""
        for n, record in enumerate(records, 1):
            sent = await self._producer.send(
                record.topic,
                record.value,
                record.key,
                partition=record.partition,
                headers=list(record.headers),
            )
            # A send that fails after the deadline has nobody left to ask for its exception.
            sent.add_done_callback(_retrieve)
            sends.append(sent)
            if n % _SENDS_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def close(self, within_s: float) -> bool:
        """Close the producer, after an attempt to abort what is open; return whether it closed in order.

        The abort spares readers the wait for the transaction's timeout; where it fails, the next owner's start settles
        it.
        """
        if self._open:
            with contextlib.suppress(*FAILURES, TimeoutError):
                async with asyncio.timeout(within_s / 3):
                    await self._producer.abort_transaction()
        return await self._producer.close(within_s * 2 / 3)


def _retrieve(sent: asyncio.Future[Any]) -> None:
    if not sent.cancelled():
        sent.exception()
