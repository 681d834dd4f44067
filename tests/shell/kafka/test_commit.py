"""A commit is published whole or not at all, and every way of failing has its meaning."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from aiokafka.errors import (
    IllegalOperation,
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    TopicAuthorizationFailedError,
)

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.core.engine import Commit
from impactd.core.outputs.messages import Alert, DeadLetter, Output
from impactd.shell.kafka.commit import Committer
from impactd.shell.kafka.encoder import Encoder, Record
from impactd.shell.kafka.errors import CommitLateError, CommitRefusedError, CommitUnknownError, FatalError, FencedError
from impactd.wire.murmur2 import partition_for

RECORDS = [Record("plans", 0, b"a", b"1"), Record("state", 0, b"b", b"2"), Record("journal", 0, None, b"3")]


class FakeProducer:
    """Behaves as aiokafka's producer does, with all its traps: it commits whatever the sends did."""

    def __init__(
        self,
        send_error: BaseException | None = None,
        begin_error: BaseException | None = None,
        commit_error: BaseException | None = None,
        *,
        transaction_error: BaseException | None = None,
        never_delivers: bool = False,
    ) -> None:
        self.calls: list[str] = []
        self._send_error = send_error
        self._begin_error = begin_error
        self._commit_error = commit_error
        self._never_delivers = never_delivers
        self._transaction_error = transaction_error

    def transaction_error(self) -> BaseException | None:
        return self._transaction_error

    async def begin_transaction(self) -> None:
        self.calls.append("begin")
        if self._begin_error is not None:
            raise self._begin_error

    async def send(self, topic: str, *_: Any, **__: Any) -> asyncio.Future[None]:
        self.calls.append(f"send {topic}")
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._send_error is not None and topic == "state":
            sent.set_exception(self._send_error)
        elif not self._never_delivers:
            sent.set_result(None)
        return sent

    async def commit_transaction(self) -> None:
        self.calls.append("commit")
        if self._commit_error is not None:
            raise self._commit_error

    async def abort_transaction(self) -> None:
        self.calls.append("abort")

    async def close(self, _within_s: float) -> bool:
        self.calls.append("close")
        return True


async def test_publish_all_delivered_commits_once() -> None:
    producer = FakeProducer()
    await Committer(producer, 1.0).publish(RECORDS)
    assert producer.calls == ["begin", "send plans", "send state", "send journal", "commit"]


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (MessageSizeTooLargeError(), CommitRefusedError),
        (TopicAuthorizationFailedError("plans"), CommitRefusedError),
        (ProducerFenced(), FencedError),
        (InvalidProducerEpoch(), FencedError),
        (KafkaError("zombie"), CommitUnknownError),
        (OSError("reset"), CommitUnknownError),
        (IllegalOperation("Can't send messages while not in transaction"), CommitUnknownError),
    ],
)
async def test_publish_with_a_failed_send_never_commits(error: Exception, meaning: type[Exception]) -> None:
    producer = FakeProducer(send_error=error)
    with pytest.raises(meaning) as caught:
        await Committer(producer, 1.0).publish(RECORDS)
    assert type(caught.value) is meaning
    assert "commit" not in producer.calls


async def test_publish_states_what_the_transaction_failed_of_and_not_what_followed() -> None:
    denied = TopicAuthorizationFailedError("plans")
    producer = FakeProducer(send_error=KafkaError("an operation in another state"), transaction_error=denied)
    with pytest.raises(CommitRefusedError, match="plans"):
        await Committer(producer, 1.0).publish(RECORDS)
    assert "commit" not in producer.calls


async def test_publish_with_a_send_that_never_ends_is_unknown_at_its_deadline() -> None:
    producer = FakeProducer(never_delivers=True)
    with pytest.raises(CommitLateError):
        await Committer(producer, 0.05).publish(RECORDS)
    assert "commit" not in producer.calls


@pytest.mark.parametrize(
    "make",
    [
        lambda: FakeProducer(begin_error=AssertionError("Invalid state transition")),
        lambda: FakeProducer(commit_error=AssertionError("Invalid state transition")),
        lambda: FakeProducer(commit_error=KafkaError("unexpected")),
        lambda: FakeProducer(commit_error=IllegalOperation("Not in the middle of a transaction")),
    ],
)
async def test_publish_with_a_dead_producer_is_unknown(make: Callable[[], FakeProducer]) -> None:
    with pytest.raises(CommitUnknownError):
        await Committer(make(), 1.0).publish(RECORDS)


async def test_close_after_a_failed_send_aborts_what_is_open() -> None:
    producer = FakeProducer(send_error=KafkaError("lost"))
    committer = Committer(producer, 1.0)
    with pytest.raises(CommitUnknownError):
        await committer.publish(RECORDS)
    assert await committer.close(1.0)
    assert producer.calls[-2:] == ["abort", "close"]


async def test_close_after_a_commit_aborts_nothing() -> None:
    producer = FakeProducer()
    committer = Committer(producer, 1.0)
    await committer.publish(RECORDS)
    await committer.close(1.0)
    assert "abort" not in producer.calls


SETTINGS = Settings(wire={"max_message_bytes": 2_000}, kafka={"max_state_bytes": 1_000, "max_dead_letter_bytes": 1_000})
ENCODER = Encoder(SETTINGS, 1, dict.fromkeys(Topic, 3))


def _commit(*outputs: Output, state: dict[str, bytes | None] | None = None, **journal: object) -> Commit:
    return Commit(outputs, state or {}, {"type": "commit", **journal})


def test_records_of_a_commit_are_outputs_state_and_journal() -> None:
    alert = Alert("halted", "FROG", None, 5, "text")
    output = Output(Topic.ALERTS, "FROG", alert, 5, (Topic.CONTROL, 17))
    made = ENCODER.records(_commit(output, state={"meta": b"{}", "order/A": None}), 42)
    assert [record.topic for record in made] == [
        "impactd.alerts",
        "impactd.state",
        "impactd.state",
        "impactd.journal",
    ]
    assert made[0].partition == partition_for("FROG", 3)
    assert dict(made[0].headers) == {
        "schema": b"impactd.alert/1",
        "commit": b"1:42",
        "input": b"impactd.control/1/17",
    }
    assert [(record.key, record.value, record.partition) for record in made[1:3]] == [
        (b"meta", b"{}", 1),
        (b"order/A", None, 1),
    ]
    assert made[3].partition == 1
    assert orjson.loads(made[3].value or b"") == {"type": "commit"}


def test_records_of_a_dead_letter_stay_with_their_partition_and_are_cut() -> None:
    letter = DeadLetter(Topic.TICKS, 9, "json", "detail", "json", b"x" * 1_500, b"FROG")
    made = ENCODER.records(_commit(Output(Topic.DLQ, None, letter, 5, (Topic.TICKS, 9))), 1)[0]
    headers = dict(made.headers)
    assert (made.key, made.partition, len(made.value or b"")) == (b"FROG", 1, 1_000)
    assert headers["source_topic"] == b"impactd.ticks"
    assert headers["source_partition"] == b"1"
    assert headers["source_offset"] == b"9"
    assert headers["original_bytes"] == b"1500"


def test_records_with_a_state_value_over_the_limit_are_refused_by_name() -> None:
    with pytest.raises(FatalError, match=r"order/A.*max_state_bytes"):
        ENCODER.records(_commit(state={"order/A": b"x" * 1_001}), 1)


def test_records_over_the_message_limit_are_refused_with_the_remedy() -> None:
    with pytest.raises(FatalError, match="max_message_bytes"):
        ENCODER.records(_commit(note="x" * 2_000), 1)


async def test_commit_sends_partitions_side_by_side_each_in_its_order() -> None:
    plans = [Record("plans", k % 2, b"%d" % k, b"1") for k in range(200)]
    records = [*plans, Record("state", 0, b"b", b"2"), Record("state", 0, b"c", b"2"), Record("journal", 0, None, b"3")]
    places = {(record.topic, record.partition) for record in records}
    sent: list[tuple[str, int, bytes | None]] = []
    woken, last = asyncio.Event(), asyncio.Event()
    seen: list[set[tuple[str, int]]] = []

    class Full(FakeProducer):
        """A batch of plans is full after ten, and on its way only when the last partition has been heard of."""

        async def send(self, topic: str, *values: Any, **named: Any) -> asyncio.Future[None]:
            woken.set()
            if topic == "plans" and sum(place[:2] == (topic, named["partition"]) for place in sent) >= 10:
                await last.wait()
            if topic == "journal":
                last.set()
            sent.append((topic, named["partition"], values[1]))
            return await super().send(topic)

    async def sender() -> None:
        # As aiokafka's, it is woken by the first send, and names the partitions of the transaction that it sees then.
        await woken.wait()
        seen.append({place[:2] for place in sent})

    running = asyncio.create_task(sender())
    await asyncio.sleep(0)
    await Committer(Full(), 600.0).publish(records)
    await running
    assert seen == [places]
    for place in places:
        expected = [record.key for record in records if (record.topic, record.partition) == place]
        assert [key for *at, key in sent if tuple(at) == place] == expected
