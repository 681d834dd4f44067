"""Connections: who gets in, how long they may take, and what bytes they may send."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from impactd.config import Settings
from impactd.config.operation import HttpSection
from impactd.shell.door import connections_allowed
from impactd.shell.http import application, listening, serve_http
from tests.shell.live.site import TOKEN, served
from tests.shell.test_http import Process

#: Far beyond what anything here takes by itself: only something that never ends reaches it.
STALLED_S = 60.0

GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[tuple[str, int]], Awaitable[Streams]]


@asynccontextmanager
async def door(**settings: object) -> AsyncIterator[tuple[str, int]]:
    async with serve_http(Settings(http={"port": 0} | settings), Process().views) as address:
        assert address is not None
        yield address


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Yield what opens connections; all of them are closed after the test."""
    opened: list[Streams] = []

    async def open_one(address: tuple[str, int]) -> Streams:
        opened.append(await asyncio.open_connection(*address))
        return opened[-1]

    yield open_one
    for _, writer in opened:
        writer.transport.abort()
    await asyncio.sleep(0)


async def answered(streams: Streams, request: bytes = GET) -> int:
    """Send a request and return the status of its answer; its body is read."""
    reader, writer = streams
    writer.write(request)
    async with asyncio.timeout(STALLED_S):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(length)
    return int(head.split()[1])


async def is_closed(streams: Streams) -> bool:
    """Wait until the server closes the connection."""
    async with asyncio.timeout(STALLED_S):
        try:
            return await streams[0].read() == b""
        except ConnectionResetError:
            return True


@pytest.mark.parametrize(
    "sent", [b"", b"GET /livez HTTP/1.1\r\nHost:", GET[:-2]], ids=["nothing", "a part", "almost all"]
)
async def test_request_that_does_not_come_whole_in_time_is_cut_off(sent: bytes, connect: Connect) -> None:
    async with door(header_s=0.2, idle_s=600.0) as address:
        streams = await connect(address)
        streams[1].write(sent)
        assert await is_closed(streams)


async def test_headers_that_come_byte_by_byte_have_one_deadline_for_all(connect: Connect) -> None:
    async with door(header_s=0.3, idle_s=600.0) as address:
        streams = await connect(address)

        async def drip() -> None:
            for byte in itertools.cycle(b"x"):
                streams[1].write(bytes([byte]))
                await asyncio.sleep(0.02)

        streams[1].write(b"GET /livez HTTP/1.1\r\nX-Slow: ")
        dripping = asyncio.create_task(drip())
        try:
            assert await is_closed(streams)
        finally:
            dripping.cancel()


async def test_connection_that_asks_nothing_more_is_closed_after_a_while(connect: Connect) -> None:
    async with door(header_s=300.0, idle_s=0.2) as address:
        streams = await connect(address)
        assert await answered(streams) == 200
        assert await answered(streams) == 200
        assert await is_closed(streams)


async def test_connections_that_only_sit_there_keep_no_request_out(connect: Connect) -> None:
    async with door(max_connections=8, max_readers=1) as address:
        idle = [await connect(address) for _ in range(40)]
        for streams in idle[:20]:
            streams[1].write(GET[:20])
        for _ in range(10):
            assert await answered(await connect(address)) == 200
        # The ones that came first had to go.
        assert await is_closed(idle[0])


async def test_connections_beyond_the_limit_are_closed_while_all_others_are_answered(connect: Connect) -> None:
    app = application(Process().views)
    begun, end = asyncio.Semaphore(0), asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        begun.release()
        await end.wait()
        return web.Response(text="done")

    app.add_routes([web.get("/slow", slow)])
    async with listening(app, HttpSection(max_connections=8, max_readers=1), 0, "http.port") as address:
        busy = [await connect(address) for _ in range(8)]
        for _, writer in busy:
            writer.write(GET.replace(b"/livez", b"/slow"))
        for _ in busy:
            await begun.acquire()
        assert await is_closed(await connect(address))
        end.set()
        for reader, _ in busy:
            assert b"200" in await reader.readline()
        # Their places are free again.
        assert await answered(await connect(address)) == 200


@pytest.mark.parametrize(
    ("wanted", "descriptors", "expected"), [(256, 1024, 256), (256, 256, 64), (256, 8, 4), (256, -1, 256)]
)
def test_connections_never_take_more_than_their_share_of_descriptors(
    wanted: int, descriptors: int, expected: int
) -> None:
    assert connections_allowed(wanted, descriptors) == expected


@pytest.mark.parametrize("header", [b"Authorization", b"Cookie", b"Host", b"Last-Event-ID", b"User-Agent"])
async def test_bytes_that_no_header_may_hold_are_answered_400(header: bytes, connect: Connect) -> None:
    """Every byte, in every header that is read: never an error of ours, never a connection that hangs."""
    async with served(token=TOKEN) as site:
        host, port = site.base.removeprefix("http://").split(":")
        for byte in range(256):
            value = b"Bearer a" + bytes([byte]) + b"b" if header == b"Authorization" else b"im" + bytes([byte]) + b"=b"
            fields = b"" if header == b"Host" else b"Host: localhost\r\n"
            request = b"GET /api/orders HTTP/1.1\r\n" + fields + header + b": " + value + b"\r\n\r\n"
            reader, writer = await connect((host, int(port)))
            writer.write(request)
            async with asyncio.timeout(STALLED_S):
                status = int((await reader.readline()).split()[1])
            printable = 32 <= byte < 127 or byte == 9
            assert status in ({200, 400, 401, 421} if printable or byte in b"\r\n" else {400}), (header, byte, status)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/events?after=plan.0.\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/orders HTTP/1.1\r\nHost: [::x]:y\r\n\r\n",
        b"GET /api/orders HTTP/1.1\r\nHost: localhost:port\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/orders HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /api/orders HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_request_that_cannot_be_read_is_answered_400(head: bytes, connect: Connect) -> None:
    async with served(token=None) as site:
        host, port = site.base.removeprefix("http://").split(":")
        reader, writer = await connect((host, int(port)))
        writer.write(head)
        async with asyncio.timeout(STALLED_S):
            status = (await reader.readline()).split()[1]
        assert status in {b"400", b"421"}, status


async def test_rush_of_readers_leaves_no_more_than_allowed() -> None:
    """All ask at the same moment, and each waits until the topics are read."""
    async with served(readers=3) as site:
        ready = asyncio.Event()

        async def wanted(_within_s: float = 10.0) -> bool:
            await ready.wait()
            return True

        site.follower.wanted = wanted  # type: ignore[method-assign]
        asked = [asyncio.create_task(site.session.get("/api/events")) for _ in range(12)]
        while sum(task.done() for task in asked) < 9:
            await asyncio.wait([task for task in asked if not task.done()], return_when=asyncio.FIRST_COMPLETED)
        ready.set()
        answers = await asyncio.gather(*asked)
        assert sorted(answer.status for answer in answers) == [200] * 3 + [503] * 9
        for answer in answers:
            answer.close()


async def test_reader_that_was_dropped_frees_its_place_though_it_reads_nothing(connect: Connect) -> None:
    async with served(readers=1) as site:
        host, port = site.base.removeprefix("http://").split(":")
        # It never reads: the server's writes wait for it for ever.
        _, writer = await connect((host, int(port)))
        writer.write(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(STALLED_S):
            while not site.follower.stream.readers:  # noqa: ASYNC110  (the server takes its turn)
                await asyncio.sleep(0)
            offset = 0
            while site.follower.stream.readers:
                offset += 1
                site.follower.stream.records([(("plan", 0), offset, "plan", b"x" * 1_000_000)])
                await asyncio.sleep(0)
            while True:
                async with site.session.get("/api/events") as answer:
                    if answer.status == 200:
                        break
