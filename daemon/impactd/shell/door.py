"""Limits on HTTP connections that aiohttp lacks: how many, and for how long.

- At most this many connections are open, and never more than this server's share of the process's file descriptors: the
  others belong to the brokers' connections and the logs.
- A connection on which no request is in progress has a limited time: for the rest of a request that has begun, and for
  the next one.
- Where all are taken, a new connection replaces the one that has been waiting longest without a request in progress, so
that idle connections do not keep a health check out.
- A request whose headers hold bytes that no header may hold, or whose host or path cannot be read, is answered 400.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable
from typing import Final, cast

from aiohttp import web

#: The largest share of the process's file descriptors that readers over HTTP may take.
SHARE_OF_DESCRIPTORS: Final = 0.25

_FEWEST: Final = 4

#: Bytes that no header may hold: control characters other than the tabulator.
_CONTROLS: Final = frozenset({*range(32), 127} - {9})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def connections_allowed(wanted: int, descriptors: int | None = None) -> int:
    """Return how many connections may be open where `wanted` are asked for.

    Parameters
    ----------
    descriptors : int, optional
        File descriptors that the process may have; what the system says by default.
    """
    if descriptors is None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptors < 0:  # unlimited
        return wanted
    return max(_FEWEST, min(wanted, int(descriptors * SHARE_OF_DESCRIPTORS)))


class Door:
    """Bounds connections.

    Parameters
    ----------
    most : int
        Connections at once.
    header_s : float
        Seconds from the first byte of a request to the end of its headers, and to the first byte of a connection.
    idle_s : float
        Seconds from an answer to the next request.
    """

    def __init__(self, most: int, header_s: float, idle_s: float) -> None:
        self._most = most
        self.header_s = header_s
        self.idle_s = idle_s
        #: Open connections; those without a request in progress are in the order in which they began to wait.
        self._waiting: dict[_Guarded, None] = {}
        self._busy: set[_Guarded] = set()

    def before(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """Return what makes the protocol of a new connection, from what makes aiohttp's own."""
        return lambda: _Guarded(self, make())

    @property
    def open(self) -> int:
        """Connections that are open."""
        return len(self._waiting) + len(self._busy)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what cannot be read, and know a connection as busy while its request is answered."""
        transport = request.transport
        guarded = None if transport is None else transport.get_protocol()
        if not isinstance(guarded, _Guarded):
            return await handler(request)
        self._waiting.pop(guarded, None)
        self._busy.add(guarded)
        guarded.expect(None)
        try:
            if not _is_readable(request):
                raise web.HTTPBadRequest(text="a header, the host or the path cannot be read\n")
            return await handler(request)
        finally:
            if guarded in self._busy:
                self._busy.discard(guarded)
                self._waiting[guarded] = None
                guarded.expect(self.idle_s)

    def enter(self, guarded: _Guarded) -> bool:
        """Let a new connection in, instead of the one that waits longest where all are taken."""
        if self.open >= self._most:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return False
            oldest.abort()
            self.leave(oldest)
        self._waiting[guarded] = None
        return True

    def leave(self, guarded: _Guarded) -> None:
        """Forget a connection."""
        self._waiting.pop(guarded, None)
        self._busy.discard(guarded)


def _is_readable(request: web.Request) -> bool:
    """Return whether headers are printable ASCII, and host and path can be taken apart."""
    for name, value in request.raw_headers:
        if not (name + value).isascii() or any(byte in _CONTROLS for byte in name + value):
            return False
    try:
        _ = request.url.host, request.url.port, request.query
    except ValueError:
        return False
    return True


class _Guarded(asyncio.Protocol):
    """A connection of aiohttp's with a clock on it."""

    def __init__(self, door: Door, inner: asyncio.Protocol) -> None:
        self._door = door
        self._inner = inner
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        #: Whether the timer runs for a request that has begun, or the first one.
        self._begun = False

    def expect(self, seconds: float | None) -> None:
        """Close the connection unless a request has come whole within `seconds`; None: a request is in progress."""
        if self._timer is not None:
            self._timer.cancel()
        self._begun = False
        self._timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self.abort)

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._door.enter(self):
            self._transport.abort()
            return
        self._inner.connection_made(transport)
        self.expect(self._door.header_s)
        self._begun = True

    def data_received(self, data: bytes) -> None:
        if self._timer is not None and not self._begun:
            self.expect(self._door.header_s)
            self._begun = True
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.leave(self)
        self.expect(None)
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
