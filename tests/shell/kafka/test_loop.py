"""The inbox belongs to one thread at a time, and commits that are slow make the next one smaller."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import orjson
import pytest
import structlog
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from impactd.config import Settings
from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.engine import Engine
from impactd.core.inputs.columns import RecordColumns
from impactd.shell.kafka import registry
from impactd.shell.kafka.commit_size import CommitSize
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.decode import Decoder
from impactd.shell.kafka.listener import Assignments
from impactd.shell.kafka.loop import PartitionLoop
from impactd.shell.kafka.meter import Meter, Stopwatch
from impactd.shell.kafka.registry import RegistryAwayError, SchemaSource
from impactd.shell.kafka.status import PartitionStatus, Status
from impactd.wire.codec import Limits
from impactd.wire.framing import Schema


async def test_inbox_stays_with_a_thread_whose_fetch_was_cancelled() -> None:
    loop = PartitionLoop.__new__(PartitionLoop)
    loop._lock = asyncio.Lock()
    begun, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    def put() -> None:
        begun.set()
        go_on.wait()
        order.append("put")

    with ThreadPoolExecutor(4) as executor:
        loop._executor = executor
        fetch = asyncio.create_task(loop._alone(put))
        await asyncio.to_thread(begun.wait)
        fetch.cancel()
        await asyncio.wait([fetch])
        take = asyncio.create_task(loop._alone(order.append, "take"))
        # Whatever could run beside the thread has had its turns.
        for _ in range(20):
            await asyncio.sleep(0)
        assert not take.done()
        assert order == []
        go_on.set()
        await take
    assert order == ["put", "take"]
    assert not loop._lock.locked()


@given(st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 1.0)), max_size=40))
def test_commit_size_falls_below_what_was_slow_and_stays_within_its_bounds(
    commits: list[tuple[float, float]],
) -> None:
    size = CommitSize(10.0, 50_000, 16_000_000)
    for seconds, share in commits:
        used = max(1, int(size.records * share)), max(1, int(size.bytes * share))
        near = size.took(seconds, *used)
        assert near == (seconds > 5.0)
        assert 1 <= size.records <= 50_000
        assert 1 <= size.bytes <= 16_000_000
        if near:
            assert size.records <= max(1, used[0] // 2)
            assert size.bytes <= max(1, used[1] // 2)
    for _ in range(24):
        size.took(0.01, 1, 1)
    assert (size.records, size.bytes) == (50_000, 16_000_000)


def test_partitions_assigned_to_a_process_that_leaves_are_left_alone() -> None:
    failed: list[BaseException] = []
    status = Status(draining=True)
    assignments = Assignments(None, status, failed.append)  # type: ignore[arg-type]  # no client is to be touched
    assignments.on_partitions_assigned([TopicPartition("ticks", 0)])
    assert not failed
    assert assignments.owned == {}
    assert status.rebalances == 0


async def test_commit_that_is_slow_to_apply_makes_the_next_smaller() -> None:
    class AtOnce:
        async def publish(self, records: list[object]) -> None:
            pass

    loop = PartitionLoop.__new__(PartitionLoop)
    loop._committer = AtOnce()  # type: ignore[assignment]  # all that it is asked for
    loop._size = CommitSize(10.0, 100, 1_000)
    loop._log = structlog.get_logger("test")
    await loop._publish([], (100, 1_000), 1.0)
    assert (loop._size.records, loop._size.bytes) == (100, 1_000)
    await loop._publish([], (100, 1_000), 6.0)
    assert (loop._size.records, loop._size.bytes) == (50, 500)


async def test_fetch_that_an_assignment_overtakes_is_repeated_from_where_it_began() -> None:
    class Consumer:
        """Fetches after an assignment, as aiokafka may: from the position that the loop has set then."""

        at, overtaken = 7, True

        def seek(self, _: TopicPartition, offset: int) -> None:
            self.at = offset

        def resume(self, _: TopicPartition) -> None:
            pass

        async def fetch(self) -> tuple[int, int]:
            if self.overtaken:
                self.overtaken = False
                loop.hold()
                self.at = 0
                loop.go_on()
            self.at += 5
            return self.at - 5, self.at

    consumer = Consumer()
    loop = PartitionLoop.__new__(PartitionLoop)
    loop._ticks = loop._events = cast("Any", consumer)
    loop._where = {Topic.TICKS: TopicPartition("ticks", 0)}
    loop._status = PartitionStatus(0, token=1)
    loop._fetched_to = {Topic.TICKS: 7}
    loop._assigned, loop._arrived, loop._holds = asyncio.Event(), asyncio.Event(), 0
    loop._assigned.set()
    assert await loop._undisturbed((Topic.TICKS,), consumer.fetch) is None
    assert await loop._undisturbed((Topic.TICKS,), consumer.fetch) == (7, 12)


async def test_order_that_waits_for_the_schema_registry_holds_up_no_halt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FIRST_PAUSE_S", 0.01)
    away, taken_in = threading.Event(), {Topic.ORDERS: asyncio.Event(), Topic.CONTROL: asyncio.Event()}
    away.set()

    class Away(SchemaSource):
        def _fetch(self, number: int) -> Schema:
            if away.is_set():
                raise RegistryAwayError("away")
            return super()._fetch(number)

    engine = Engine(CoreSettings(), partition=0, partitions=1)
    engine.genesis(dict.fromkeys(INPUT_TOPICS, 0))
    status, nobody = PartitionStatus(0, token=1), cast("Any", None)
    loop = PartitionLoop(
        Settings(),
        CoreSettings(),
        engine=engine,
        ticks=nobody,
        events=nobody,
        decoder=Decoder(Settings(), Limits(), 0, 1, schemas=Away(None)),
        encoder=nobody,
        committer=nobody,
        executor=nobody,
        status=status,
        meter=Meter(Status(), status, engine, Stopwatch()),
        kill_switch=nobody,
        size=CommitSize(10.0, 100, 1_000),
        wall_ns=nobody,
    )
    halt = orjson.dumps({"type": "halt", "scope": "all", "reason": "r", "ts_event": 1_743_687_000_000_000_000})
    sent = {Topic.ORDERS: b"\0\0\0\0\5 in Avro", Topic.CONTROL: halt}

    async def fetch(topics: Sequence[Topic]) -> tuple[dict[Topic, RecordColumns], dict[Topic, int]]:
        await asyncio.sleep(0.01)
        # The halt is sent when the registry is known to be away.
        there = [topic for topic in topics if topic in sent and (topic is Topic.ORDERS or status.schema_waits)]
        found = {topic: [ConsumedRecord("x", 0, 0, 0, None, sent.pop(topic))] for topic in there}
        for topic, event in taken_in.items():
            if loop._taken_in[topic]:
                event.set()
        ends = {topic: 1 if topic in found else loop._taken_in[topic] for topic in topics}
        return {topic: RecordColumns.of(found.get(topic, [])) for topic in topics}, ends

    monkeypatch.setattr(loop, "_fetch", fetch)
    fetching = asyncio.create_task(loop._fetch_events())
    async with asyncio.timeout(60):
        await taken_in[Topic.CONTROL].wait()
        assert not taken_in[Topic.ORDERS].is_set()
        assert list(status.schema_waits) == [Topic.ORDERS]
        away.clear()
        await taken_in[Topic.ORDERS].wait()
    assert status.schema_waits == {}
    fetching.cancel()
    await asyncio.wait([fetching])
    assert fetching.cancelled()
