"""The health of several services, merged, and a page without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from impactd.config import Settings
from impactd.config.operation import HttpSection
from impactd.shell.http import listening, serve_page
from impactd.shell.live import services
from impactd.shell.live.pages import add_answers
from impactd.shell.live.services import Services
from tests.shell.live.site import TOKEN, health


@asynccontextmanager
async def service(said: dict[str, Any], token: str | None = None) -> AsyncIterator[str]:
    """Serve a health as a service does, for the length of a block."""
    app = web.Application()
    body = orjson.dumps(orjson.loads(health()) | said)
    add_answers(app, lambda: body, None, token=token, host="127.0.0.1")
    async with listening(app, HttpSection(), 0, "http.port") as (host, port):
        yield f"http://{host}:{port}"


async def until(services: Services, *details: str) -> dict[str, Any]:
    """Wait until the reasons are these, by a part of their text; return the health."""
    while True:
        found: dict[str, Any] = orjson.loads(services.health())
        told = [reason["detail"] for reason in found["reasons"]]
        if len(told) == len(details) and all(part in text for part, text in zip(details, told, strict=True)):
            return found
        await asyncio.sleep(0.01)


async def test_health_of_services_is_merged() -> None:
    one = {"reasons": [], "ready": True, "restores": 2, "commit_p99_s": 0.5, "halts": [{"scope": "*", "reason": "x"}]}
    two = {"reasons": [], "ready": True, "restores": 3, "commit_p99_s": None, "halts": [{"scope": "*", "reason": "x"}]}
    async with service(one, TOKEN) as first, service(two, TOKEN) as second:
        services = Services([first, second + "/"], TOKEN, "UTC")
        assert orjson.loads(services.health())["ready"] is False
        async with services.asked():
            found = await until(services)
    assert (found["ready"], found["restores"], found["commit_p99_s"]) == (True, 5, 0.5)
    assert found["halts"] == [{"scope": "*", "reason": "x"}]
    numbers = [partition["partition"] for partition in found["partitions"]]
    assert numbers == sorted(numbers)
    assert len(numbers) == 2 * len(orjson.loads(health())["partitions"])


async def test_service_that_does_not_answer_is_a_reason() -> None:
    async with service({"reasons": [], "ready": True}) as alive:
        services = Services([alive, "http://127.0.0.1:1"], None, "UTC")
        async with services.asked():
            found = await until(services, "http://127.0.0.1:1 does not answer")
    assert (found["ready"], found["reasons"][0]["kind"]) == (False, "service")


async def test_service_that_asks_for_another_token_is_a_reason() -> None:
    async with service({"reasons": [], "ready": True}, TOKEN) as alive:
        services = Services([alive], None, "UTC")
        async with services.asked():
            assert (await until(services, "answers 401"))["ready"] is False


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/api/health", 200), ("/metrics", 404)])
async def test_page_is_served_without_a_service(path: str, status: int) -> None:
    settings = Settings().replace(http={"page_port": 0})
    async with (
        serve_page(settings, ["http://127.0.0.1:1"]) as (host, port),
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}{path}") as answer,
    ):
        assert answer.status == status


@pytest.mark.parametrize(("path", "status"), [("/", 404), ("/api/state", 404), ("/api/health", 200)])
async def test_service_answers_its_health_alone(path: str, status: int) -> None:
    async with service({}) as base, aiohttp.ClientSession() as session, session.get(base + path) as answer:
        assert answer.status == status


async def test_name_with_several_addresses_names_several_services(monkeypatch: pytest.MonkeyPatch) -> None:
    async def several(*_: Any, **__: Any) -> list[Any]:
        return [(None, None, None, "", address) for address in (("10.0.0.2", 9464), ("10.0.0.1", 9464), ("fd::1", 1))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", several)
    there = await services._addresses("http://impactd:9464")
    assert there == ["http://10.0.0.1:9464", "http://10.0.0.2:9464", "http://[fd::1]:9464"]
    # A certificate is for the name.
    assert await services._addresses("https://impactd") == ["https://impactd"]


async def test_name_that_is_not_found_in_time_is_asked_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer must not keep what was said before as if it were now."""

    async def never(*_: Any, **__: Any) -> list[Any]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    monkeypatch.setattr(services, "_TIMEOUT_S", 0.01)
    assert await services._addresses("http://impactd:9464") == ["http://impactd:9464"]


@pytest.mark.parametrize("url", ["http://impactd:99999", f"http://{'a' * 70}.example"])
async def test_address_that_is_none_is_a_reason(url: str) -> None:
    asked = Services([url], None, "UTC")
    async with asked.asked():
        found = await until(asked, f"{url} does not answer")
    assert not found["ready"]


async def test_every_address_of_a_name_is_asked_and_one_that_is_silent_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with service({"reasons": [], "ready": True, "restores": 2}) as first:

        async def both(_url: str) -> list[str]:
            return [first, "http://127.0.0.1:1"]

        monkeypatch.setattr(services, "_addresses", both)
        asked = Services(["http://impactd:9464"], None, "UTC")
        async with asked.asked():
            found = await until(asked, "http://127.0.0.1:1 does not answer")
    assert (found["ready"], found["restores"]) == (False, 2)
