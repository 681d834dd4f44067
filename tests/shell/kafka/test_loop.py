"""The inbox belongs to one thread at a time, and commits that are slow make the next one smaller."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import structlog
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from impactd.shell.kafka.commit_size import CommitSize
from impactd.shell.kafka.listener import Assignments
from impactd.shell.kafka.loop import PartitionLoop
from impactd.shell.kafka.status import Status


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
