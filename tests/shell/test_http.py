"""The pages: their codes, their forms, and what is said where they cannot be served."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from impactd.config import Settings
from impactd.shell.health import Reason
from impactd.shell.http import Views, serve_http
from impactd.shell.kafka.errors import FatalError
from tests.shell.test_metrics import reading

ANY_PORT = Settings(http={"port": 0})


@dataclass
class Process:
    """What the pages are asked to tell of."""

    failure: str | None = None
    reasons: list[Reason] = field(default_factory=list)

    @property
    def views(self) -> Views:
        return Views(lambda: self.failure, lambda: self.reasons, reading)


async def get(address: tuple[str, int] | None, page: str) -> tuple[int, str, bytes]:
    assert address is not None
    host, port = address
    async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}{page}") as answer:
        return answer.status, answer.headers["Content-Type"], await answer.read()


async def test_livez_answers_for_the_failure() -> None:
    process = Process()
    async with serve_http(ANY_PORT, process.views) as address:
        assert await get(address, "/livez") == (200, "application/json", b'{"alive":true,"failure":null}\n')
        process.failure = "the topics are gone"
        code, _, body = await get(address, "/livez")
    assert (code, orjson.loads(body)) == (503, {"alive": False, "failure": "the topics are gone"})


async def test_readyz_answers_with_every_reason() -> None:
    process = Process()
    async with serve_http(ANY_PORT, process.views) as address:
        assert await get(address, "/readyz") == (200, "application/json", b'{"ready":true,"reasons":[]}\n')
        process.reasons = [Reason("draining", "told to stop"), Reason("lag", "7 records wait", 2)]
        code, _, body = await get(address, "/readyz")
    expected: dict[str, Any] = {
        "ready": False,
        "reasons": [
            {"kind": "draining", "detail": "told to stop", "partition": None},
            {"kind": "lag", "detail": "7 records wait", "partition": 2},
        ],
    }
    assert (code, orjson.loads(body)) == (503, expected)


async def test_metrics_answers_prometheus_text() -> None:
    async with serve_http(ANY_PORT, Process().views) as address:
        code, kind, body = await get(address, "/metrics")
    assert (code, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    families = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {"impactd_lag_records", "impactd_commits", "impactd_transaction_seconds"} <= families


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/api/state", "/api/orders", "/api/events"])
async def test_a_service_serves_no_page_and_names_the_command_that_does(path: str) -> None:
    async with serve_http(ANY_PORT, Process().views) as address:
        code, _, body = await get(address, path)
    assert code == 404
    assert path != "/" or b"impactd page" in body


async def test_server_listens_on_loopback_unless_told_otherwise() -> None:
    assert Settings().http.host == "127.0.0.1"
    async with serve_http(ANY_PORT, Process().views) as address:
        assert address is not None
        assert address[0] == "127.0.0.1"


async def test_server_lets_as_many_connections_wait_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[int] = []
    listen = socket.socket.listen
    monkeypatch.setattr(socket.socket, "listen", lambda self, n: (waiting.append(n), listen(self, n)))
    async with serve_http(Settings(http={"port": 0, "backlog": 7}), Process().views):
        assert waiting == [7]


async def test_server_that_is_off_listens_nowhere() -> None:
    async with serve_http(Settings(http={"enabled": False}), Process().views) as address:
        assert address is None


async def test_server_on_a_taken_port_names_it_and_the_setting() -> None:
    async with serve_http(ANY_PORT, Process().views) as address:
        assert address is not None
        with pytest.raises(FatalError, match=re.escape(f"127.0.0.1:{address[1]}")) as refused:
            async with serve_http(Settings(http={"port": address[1]}), Process().views):
                pass
    assert "http.port" in str(refused.value)
