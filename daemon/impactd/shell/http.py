"""Health and metrics over HTTP: /livez, /readyz and /metrics.

- ``/livez`` answers 200 while the process is worth keeping: the event loop
  runs (otherwise there is no answer) and nothing has failed permanently.  The
  remedy for a 503 is a restart.
- ``/readyz`` answers 200 while the output is current, and otherwise 503
  with every reason.  A restart mostly does not help.
- ``/metrics`` is Prometheus' text.

It listens on loopback by default and is read-only.  These three need no token.  ``/api/health`` and
``/api/estimates``, what an order would cost, are answered from the service's own state and may require one.
Orders and markets are shown by a process of their own (``impactd page``, `impactd.shell.live`), which reads the
topics, so that its readers cost the service nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

import orjson
import structlog
from aiohttp import web

from impactd.config import Settings
from impactd.config.operation import HttpSection
from impactd.shell.door import Door, connections_allowed
from impactd.shell.exposition import CONTENT_TYPE, exposition
from impactd.shell.health import Reason
from impactd.shell.kafka.errors import FatalError
from impactd.shell.live.condition import condition
from impactd.shell.live.follow import Follower
from impactd.shell.live.pages import Estimate, add_answers, add_page
from impactd.shell.live.services import Services
from impactd.shell.metrics import Reading

#: A request waits at most so long for the rest of it when the server closes.
_CLOSE_S: Final = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Views:
    """What the pages are made from."""

    #: Returns why the process is not worth keeping, or None.
    failure: Callable[[], str | None]
    #: Returns why it is not ready.
    reasons: Callable[[], list[Reason]]
    #: Returns what metrics are made from.
    reading: Callable[[], Reading]
    #: From a question to what its order would cost; see `impactd.shell.estimate`.
    estimate: Estimate | None = None


@asynccontextmanager
async def serve_http(settings: Settings, views: Views) -> AsyncIterator[tuple[str, int] | None]:
    """Serve for the length of a block; yield host and port, or None where HTTP is off."""
    http = settings.http
    if not http.enabled:
        yield None
        return
    app = application(views)

    def health() -> bytes:
        return condition(views.reading(), views.reasons(), settings.session.timezone)

    add_answers(app, health, views.estimate, token=_token(http), host=http.host)
    async with listening(app, http, http.port, "http.port") as address:
        yield address


@asynccontextmanager
async def serve_page(settings: Settings, services: Sequence[str]) -> AsyncIterator[tuple[str, int]]:
    """Serve the live page for the length of a block; yield host and port."""
    http = settings.http
    asked = Services(services, _token(http), settings.session.timezone)
    follower, app = Follower(settings, asked.health), web.Application()
    add_page(app, follower, asked.health, token=_token(http), max_readers=http.max_readers, host=http.host)
    async with asked.asked(), listening(app, http, http.page_port, "http.page_port") as address:
        try:
            yield address
        finally:
            await follower.close()


def _token(http: HttpSection) -> str | None:
    return None if http.token is None else http.token.get_secret_value()


@asynccontextmanager
async def listening(app: web.Application, http: HttpSection, port: int, setting: str) -> AsyncIterator[tuple[str, int]]:
    """Serve an application behind the door for the length of a block; yield host and port.

    Parameters
    ----------
    port : int
        0: any free one.
    setting : str
        Path of the setting of the port.

    Raises
    ------
    FatalError
        If the address cannot be listened on.
    """
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=_CLOSE_S, handle_signals=False, keepalive_timeout=http.idle_s
    )
    most = connections_allowed(http.max_connections)
    door = Door(most, http.header_s, http.idle_s)
    app.middlewares.insert(0, door.middleware)
    await runner.setup()
    listener: asyncio.Server | None = None
    try:
        loop = asyncio.get_running_loop()
        try:
            protocol = door.before(cast(web.Server, runner.server))
            listener = await loop.create_server(protocol, http.host, port, backlog=min(http.backlog, most))
        except OSError as error:
            raise FatalError(
                f"http: {http.host}:{port} cannot be listened on ({error.strerror or error}); set "
                f"{setting} to a free one (0 takes any)"
            ) from error
        host, port = listener.sockets[0].getsockname()[:2]
        _log.info("http listening", host=host, port=port, connections=most)
        yield host, port
    finally:
        if listener is not None:
            listener.close()
        await runner.cleanup()


def application(views: Views) -> web.Application:
    """Return the pages."""

    async def livez(_request: web.Request) -> web.Response:
        failure = views.failure()
        return _json({"alive": failure is None, "failure": failure}, status=200 if failure is None else 503)

    async def readyz(_request: web.Request) -> web.Response:
        reasons = views.reasons()
        return _json(
            {"ready": not reasons, "reasons": [asdict(reason) for reason in reasons]}, status=503 if reasons else 200
        )

    async def metrics(_request: web.Request) -> web.Response:
        # The reading is a copy, so it can be written outside the event loop.
        text = await asyncio.to_thread(exposition, views.reading())
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def where(_request: web.Request) -> web.Response:
        return _json({"error": "a service has no page: start impactd page"}, status=404)

    app = web.Application()
    app.add_routes(
        [web.get("/", where), web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)]
    )
    return app


def _json(body: dict[str, Any], *, status: int) -> web.Response:
    return web.Response(
        body=orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
