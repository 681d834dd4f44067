"""The routes of the live page and its API, and who may read them.

Everything is read-only: a question about the cost of an order changes nothing.
A browser may run only this page's own files and
send no request elsewhere (Content-Security-Policy), other sites get no answer that they could read
(no CORS), and on loopback only requests for a loopback name are answered, which prevents DNS rebinding.

With a token, the API asks for ``Authorization: Bearer`` or for the cookie that
``POST /api/session`` sets; the cookie is made from the token by a one-way
function, holds after a restart, and is compared in constant time.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
from collections import deque
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any, Final

import orjson
from aiohttp import web
from aiokafka.errors import KafkaError

from impactd.__about__ import __version__
from impactd.core.planning.estimate import CostEstimate, NoEstimateError
from impactd.shell.estimate import MAX_BYTES, QuestionError
from impactd.shell.live.follow import Follower

COOKIE: Final = "impactd"

_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_KINDS: Final = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}
#: The token in a request's body: bytes that are read, and seconds that it may take.
_MAX_BODY: Final = 4_096
_BODY_S: Final = 5.0

#: Questions a second about the cost of orders: each holds up its partition for some milliseconds.
ESTIMATES_PER_S: Final = 20

Estimate = Callable[[bytes], Awaitable[CostEstimate]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def session_of(token: str) -> str:
    """Return the cookie that is derived from a token."""
    return hmac.new(token.encode(), b"impactd live page", hashlib.sha256).hexdigest()


def add_answers(
    app: web.Application, health: Callable[[], bytes], estimate: Estimate | None, *, token: str | None, host: str
) -> None:
    """Add what a service answers from its own state to an application: its health, and what an order would cost.

    Parameters
    ----------
    health : callable
        Returns the body of ``/api/health``.
    estimate : callable or None
        From a question to what its order would cost; without it, ``/api/estimates`` is not served.
    token : str or None
        What the API asks for, if anything.
    """
    gate = _Gate(token, loopback=_is_loopback(host))
    app.add_routes([web.get("/api/health", gate.guarded(_Health(health).answer))])
    if estimate is not None:
        app.add_routes([web.post("/api/estimates", gate.guarded(_Estimates(estimate).answer))])


def add_page(
    app: web.Application,
    follower: Follower,
    health: Callable[[], bytes],
    *,
    token: str | None,
    max_readers: int,
    host: str,
) -> None:
    """Add the page and its API to an application.

    Parameters
    ----------
    health : callable
        Returns the body of ``/api/health``.
    token : str or None
        What the API asks for, if anything.
    max_readers : int
        Streams that are open at once.
    """
    gate = _Gate(token, loopback=_is_loopback(host))
    pages = _Pages(follower, health, max_readers)
    routes: list[tuple[str, Handler]] = [
        ("/api/health", _Health(health).answer),
        ("/api/state", pages.state),
        ("/api/symbols", pages.symbols),
        ("/api/symbols/{symbol}", pages.symbol),
        ("/api/orders", pages.orders),
        ("/api/orders/{cl_ord_id}", pages.order),
        ("/api/plans/{cl_ord_id}", pages.plan),
        ("/api/plans/{cl_ord_id}/{version:[0-9]{1,9}}", pages.plan_of),
        ("/api/events", pages.events),
    ]
    app.add_routes([web.get(path, gate.guarded(handler)) for path, handler in routes])
    app.add_routes(
        [
            web.get("/", gate.open(_index)),
            web.get("/page/{name:[A-Za-z0-9_./-]+}", gate.open(_static)),
            web.get("/api/openapi.json", gate.open(_openapi)),
            web.post("/api/session", gate.open(gate.session)),
        ]
    )


class _Health:
    """Answers with the body of ``/api/health``."""

    def __init__(self, health: Callable[[], bytes]) -> None:
        self._health = health

    async def answer(self, _request: web.Request) -> web.StreamResponse:
        return _json(self._health())


class _Estimates:
    """Answers what orders would cost: one question at a time, and this many a second, so that commits do not wait."""

    def __init__(self, estimate: Estimate) -> None:
        self._estimate = estimate
        self._turn = asyncio.Lock()
        #: Loop times of the questions of the last second.
        self._lately: deque[float] = deque()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one question."""
        now = asyncio.get_running_loop().time()
        while self._lately and self._lately[0] <= now - 1.0:
            self._lately.popleft()
        if len(self._lately) >= ESTIMATES_PER_S:
            return _problem(429, f"more than {ESTIMATES_PER_S} questions a second; ask again in a second")
        self._lately.append(now)
        try:
            async with asyncio.timeout(_BODY_S):
                value = await request.content.read(MAX_BYTES + 1)
        except TimeoutError:
            return _problem(408, "the question did not come")
        if len(value) > MAX_BYTES:
            return _problem(413, f"a question has at most {MAX_BYTES} bytes")
        try:
            async with self._turn:
                found = await self._estimate(value)
        except QuestionError as error:
            return _problem(400, str(error))
        except NoEstimateError as error:
            return _problem(404, str(error))
        return _json(orjson.dumps(found.as_fields()))


class _Gate:
    """Who may read."""

    def __init__(self, token: str | None, *, loopback: bool) -> None:
        self._token = token
        self._loopback = loopback

    def open(self, handler: Handler) -> Handler:
        """Return a handler that asks for no token."""

        async def handle(request: web.Request) -> web.StreamResponse:
            if self._loopback and not _is_loopback(request.url.host or ""):
                return _problem(421, "this address is served under a loopback name only")
            return await handler(request)

        return handle

    def guarded(self, handler: Handler) -> Handler:
        """Return a handler that asks for the token, if there is one."""

        async def handle(request: web.Request) -> web.StreamResponse:
            if not self._may(request):
                return _problem(401, "a token is needed: Authorization: Bearer TOKEN, or POST /api/session")
            return await handler(request)

        return self.open(handle)

    def _may(self, request: web.Request) -> bool:
        if self._token is None:
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        bearer = scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), self._token.encode())
        cookie = request.cookies.get(COOKIE, "")
        return bearer or hmac.compare_digest(cookie.encode(), session_of(self._token).encode())

    async def session(self, request: web.Request) -> web.StreamResponse:
        """Set the cookie for a caller that has the token."""
        if self._token is None:
            return _json(b"{}")
        try:
            async with asyncio.timeout(_BODY_S):
                given = (await request.content.read(_MAX_BODY)).strip()
        except TimeoutError:
            return _problem(408, "no token was sent")
        if not hmac.compare_digest(given, self._token.encode()):
            return _problem(401, "wrong token")
        answer = _json(b"{}")
        answer.set_cookie(COOKIE, session_of(self._token), httponly=True, samesite="Strict", path="/api")
        return answer


class _Pages:
    """What readers get."""

    def __init__(self, follower: Follower, health: Callable[[], bytes], max_readers: int) -> None:
        self._follower = follower
        self._health = health
        self._max_readers = max_readers
        #: Streams that are open, or about to be.
        self._streams = 0
        #: Path to (version of the board, body): ten readers of the same page have it made once.
        self._made: dict[str, tuple[int, bytes]] = {}

    async def state(self, request: web.Request) -> web.StreamResponse:
        def make() -> dict[str, Any]:
            board = self._follower.board
            return {
                "position": self._follower.stream.position,
                "health": orjson.Fragment(self._health()),
                **board.heads(),
                "alerts": [orjson.Fragment(value) for value in board.alerts],
            }

        return await self._shown(request, make)

    async def symbols(self, request: web.Request) -> web.StreamResponse:
        return await self._shown(request, lambda: {"symbols": self._follower.board.symbols()})

    async def symbol(self, request: web.Request) -> web.StreamResponse:
        return await self._shown(request, lambda: self._follower.board.symbol(request.match_info["symbol"]))

    async def orders(self, request: web.Request) -> web.StreamResponse:
        return await self._shown(request, lambda: {"orders": self._follower.board.plans()})

    async def order(self, request: web.Request) -> web.StreamResponse:
        return await self._shown(request, lambda: self._follower.board.order(request.match_info["cl_ord_id"]))

    async def plan(self, request: web.Request) -> web.StreamResponse:
        """Answer with an order's latest plan, byte for byte as it was published."""
        if not await self._follower.wanted():
            return self._unavailable()
        found = self._follower.board.find(request.match_info["cl_ord_id"])
        return _problem(404, "unknown order") if found is None else _json(found.latest)

    async def plan_of(self, request: web.Request) -> web.StreamResponse:
        """Answer with one plan of an order, byte for byte as it was published."""
        if not await self._follower.wanted():
            return self._unavailable()
        name, version = request.match_info["cl_ord_id"], int(request.match_info["version"])
        try:
            found = await self._follower.plan(name, version)
        except (KafkaError, OSError, TimeoutError) as error:
            return _problem(503, f"the plan cannot be read: {error!r}")
        return _problem(404, "no such plan, or it is no longer on its topic") if found is None else _json(found)

    async def _shown(self, request: web.Request, make: Callable[[], dict[str, Any] | None]) -> web.StreamResponse:
        if not await self._follower.wanted():
            return self._unavailable()
        version, path = self._follower.board.version, request.path
        made = self._made.get(path)
        if made is None or made[0] != version:
            found = make()
            if found is None:
                return _problem(404, f"unknown symbol {path.rpartition('/')[2]}")
            if len(self._made) > self._max_readers:
                self._made.clear()
            made = self._made[path] = version, orjson.dumps(found)
        return _json(made[1])

    def _unavailable(self) -> web.Response:
        return _problem(503, self._follower.problem or "the topics are still being read; ask again")

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Stream events until the reader leaves, is too slow, or the service ends."""
        # The place is taken before anything is waited for: any number may ask at the same moment.
        if self._streams >= self._max_readers:
            return _problem(503, "too many readers: http.max_readers")
        self._streams += 1
        try:
            return await self._stream(request)
        finally:
            self._streams -= 1

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        stream, transport = self._follower.stream, request.transport
        if not await self._follower.wanted() or transport is None:
            return self._unavailable()
        answer = web.StreamResponse(headers=HEADERS | {"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        # What a slow reader has not read must hold up neither its place nor the server's end.
        reader = stream.open(request.headers.get("Last-Event-ID") or request.query.get("after"), transport.abort)
        reader.put(b"retry: 1000\nevent: health\ndata: " + self._health() + b"\n\n")
        try:
            while (frame := await reader.frames()) is not None:
                await answer.write(frame)
        except ConnectionResetError:
            pass
        finally:
            stream.readers.discard(reader)
        return answer


async def _index(_request: web.Request) -> web.StreamResponse:
    return _file("index.html")


async def _static(request: web.Request) -> web.StreamResponse:
    return _file(request.match_info["name"])


async def _openapi(_request: web.Request) -> web.StreamResponse:
    document = orjson.loads(_page("openapi.json") or b"{}")
    document["info"]["version"] = __version__
    return _json(orjson.dumps(document))


def _page(name: str) -> bytes | None:
    if ".." in name:
        return None
    found = resources.files("impactd.shell").joinpath("page", *name.split("/"))
    return found.read_bytes() if found.is_file() else None


def _file(name: str) -> web.Response:
    body, kind = _page(name), _KINDS.get(name[name.rfind(".") :])
    if body is None or kind is None:
        return _problem(404, "no such file")
    return web.Response(body=body, headers=HEADERS, content_type=kind, charset="utf-8")


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, headers=HEADERS, content_type="application/json")


def _problem(status: int, detail: str) -> web.Response:
    return web.Response(
        body=orjson.dumps({"error": detail}), status=status, headers=HEADERS, content_type="application/json"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
