"""The stream: encoded once, resumed exactly, bounded."""

from __future__ import annotations

import asyncio

from impactd.shell.live import stream as module
from impactd.shell.live.stream import RESET, Stream

HERE = ("plan", 0)


def sent(n: int, first: int = 5) -> Stream:
    stream = Stream()
    stream.begin({HERE: first})
    for offset in range(first, first + n):
        stream.records([(HERE, offset, "plan", b"%d" % offset)])
    return stream


async def waiting(stream: Stream, after: str | None) -> bytes | None:
    reader = stream.open(after)
    reader.put(b"|")
    return await reader.frames()


async def test_stream_readers_get_the_same_frame() -> None:
    stream = sent(0)
    readers = [stream.open(None) for _ in range(3)]
    stream.records([(HERE, 5, "plan", b"a"), (HERE, 6, "plan", b"b")])
    frames = [await reader.frames() for reader in readers]
    assert frames == [b"event: plan\ndata: a\n\nid: plan.0.6\nevent: plan\ndata: b\n\n"] * 3


async def test_stream_resumed_sends_what_came_after_the_id() -> None:
    assert await waiting(sent(3), "plan.0.5") == b"event: plan\ndata: 6\n\nid: plan.0.7\nevent: plan\ndata: 7\n\n|"


async def test_stream_of_another_process_resumes_from_the_same_id() -> None:
    # Restarted, it has read the topic again, from further back.
    assert await waiting(sent(7, first=1), "plan.0.6") == b"id: plan.0.7\nevent: plan\ndata: 7\n\n|"


async def test_stream_up_to_date_reader_gets_nothing_again() -> None:
    assert await waiting(sent(3), "plan.0.7") == b"|"


async def test_stream_id_that_is_not_remembered_is_reset() -> None:
    assert await waiting(sent(3), "plan.0.1") == RESET + b"|"
    assert await waiting(sent(3), "nonsense") == RESET + b"|"


async def test_stream_remembers_no_more_than_its_bound() -> None:
    stream = sent(module.REMEMBERED + 10, first=0)
    assert await waiting(stream, "plan.0.5") == RESET + b"|"
    assert (await waiting(stream, "plan.0.9") or b"").count(b"event: plan") == module.REMEMBERED


async def test_reader_that_does_not_read_is_dropped_and_others_are_not() -> None:
    stream = sent(0)
    slow, quick = stream.open(None), stream.open(None)
    for offset in range(module.QUEUE_FRAMES + 1):
        stream.say("health", b"{}")
        assert await quick.frames() is not None, offset
    assert slow.dropped
    assert await slow.frames() is None
    assert not quick.dropped


async def test_reader_waits_until_something_comes() -> None:
    stream = sent(0)
    reader = stream.open(None)
    task = asyncio.create_task(reader.frames())
    await asyncio.sleep(0)
    assert not task.done()
    stream.say("health", b"{}")
    assert await task == b"event: health\ndata: {}\n\n"
