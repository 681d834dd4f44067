"""A TCP proxy in front of the broker, whose connections can be dropped and stalled.

A stall moves no byte and closes nothing, as a network that loses packets does.  What was read before it is kept and
goes on afterwards, so that a stalled commit may still arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 64 * 1024


class Proxy:
    """Forwards a loopback port to an address that may be named later."""

    def __init__(self) -> None:
        self.target = ("127.0.0.1", 0)
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._pairs: set[asyncio.Task[None]] = set()
        self.dropped = 0

    @property
    def address(self) -> str:
        """``host:port`` that it listens on."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.resume()
        self.drop()
        if self._pairs:
            await asyncio.wait(self._pairs)
        await self._server.wait_closed()

    def drop(self) -> int:
        """Close every connection, and return how many there were."""
        for pair in self._pairs:
            pair.cancel()
        self.dropped += len(self._pairs)
        return len(self._pairs)

    def stall(self) -> None:
        """Move no byte until `resume`."""
        self._flowing.clear()

    def resume(self) -> None:
        """Let everything flow again."""
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pairs.add(task)
        try:
            await self._relay(reader, writer)
        except asyncio.CancelledError:
            # Dropped: the streams' own callback would report a cancelled handler as an error.
            pass
        finally:
            self._pairs.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        pumps: list[asyncio.Task[None]] = []
        try:
            with contextlib.suppress(OSError):
                above, below = await asyncio.open_connection(*self.target)
                writers.append(below)
                pumps = [asyncio.create_task(self._pump(reader, below)), asyncio.create_task(self._pump(above, writer))]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            for open_writer in writers:
                # Both ends learn at once, as from a reset connection.
                open_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
