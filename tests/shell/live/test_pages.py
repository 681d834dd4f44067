"""The API: answers as the document describes them, and who may read."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from impactd.config import Settings
from impactd.core.base.settings import MINUTE_NS as M
from impactd.core.planning.estimate import CostEstimate
from impactd.shell.estimate import QuestionError, question
from impactd.shell.live.pages import ESTIMATES_PER_S, add_answers, add_page
from impactd.wire.codec import Limits
from tests.core.builders import T0
from tests.core.planning.engines import market
from tests.shell.live.messages import plan
from tests.shell.live.site import TOKEN, Still, health, served


async def document(session: aiohttp.ClientSession) -> dict[str, Any]:
    async with session.get("/api/openapi.json") as answer:
        found: dict[str, Any] = orjson.loads(await answer.read())
        return found


async def test_openapi_document_is_valid_and_names_every_route() -> None:
    async with served() as site:
        found = await document(site.session)
    validate(found)
    app = web.Application()
    add_page(app, Still(Settings(), health), health, token=None, max_readers=1, host="127.0.0.1")
    add_answers(app, health, answered, token=None, host="127.0.0.1")
    routes = {route.resource.canonical for route in app.router.routes() if route.resource is not None}
    assert {path for path in routes if path.startswith("/api/")} == {*found["paths"], "/api/openapi.json"}


@pytest.mark.parametrize("symbol", ["FROG"])
async def test_answers_are_as_the_document_describes_them(symbol: str) -> None:
    async with served() as site:
        found = await document(site.session)
        for path, methods in found["paths"].items():
            if path in {"/api/events", "/api/session", "/api/estimates"}:
                continue
            async with site.session.get(path.format(symbol=symbol, cl_ord_id="A1", version=2)) as answer:
                assert answer.status == 200, path
                body = orjson.loads(await answer.read())
            schema = methods["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            Draft202012Validator(schema | {"components": found["components"]}).validate(body)


async def answered(value: bytes) -> CostEstimate:
    """Return the estimate of an engine that has seen half an hour."""
    new, max_cost_bps = question(value, T0, Limits())
    return market().engine.estimate(new, max_cost_bps)


ASKED = {"symbol": "FROG", "side": "buy", "order_qty": 1_200, "start": T0 + 31 * M, "end": T0 + 43 * M}


async def test_estimate_is_as_the_document_describes_it() -> None:
    async with served(asked=answered) as site:
        found = await document(site.session)
        async with site.session.post("/api/estimates", data=orjson.dumps(ASKED | {"max_cost_bps": 5})) as answer:
            assert answer.status == 200
            body = orjson.loads(await answer.read())
    schema = found["paths"]["/api/estimates"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator(schema | {"components": found["components"]}).validate(body)
    assert [one["policy"] for one in body["schedules"]][:3] == ["impactd", "twap", "vwap"]


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"order_qty": -1}, 400, "order_qty"),
        ({"urgent": True}, 400, "urgent"),
        ({"max_cost_bps": 0}, 400, "max_cost_bps"),
        ({"type": "cancel"}, 400, "cancel"),
        ({"symbol": "TOAD"}, 404, "TOAD"),
        ({"end": T0 + M, "start": T0}, 404, "window is over"),
        ({"symbol": "X" * 20_000}, 413, "bytes"),
    ],
)
async def test_question_that_cannot_be_answered_is_refused_by_name(
    fields: dict[str, object], status: int, words: str
) -> None:
    body = orjson.dumps(ASKED | fields)
    async with served(asked=answered) as site, site.session.post("/api/estimates", data=body) as answer:
        assert answer.status == status
        assert words in orjson.loads(await answer.read())["error"]


async def test_questions_are_bounded_in_rate_and_need_the_token() -> None:
    async def at_once(value: bytes) -> CostEstimate:
        raise QuestionError(value.decode())

    async with served(asked=at_once) as site:
        found = []
        for _ in range(ESTIMATES_PER_S + 1):
            async with site.session.post("/api/estimates", data=b"?") as answer:
                found.append(answer.status)
    assert found[:-1] == [400] * ESTIMATES_PER_S
    assert found[-1] == 429
    async with served(TOKEN, asked=at_once) as site, site.session.post("/api/estimates", data=b"?") as answer:
        assert answer.status == 401


async def test_plan_is_the_bytes_of_its_topic() -> None:
    async with served() as site, site.session.get("/api/plans/A1") as answer:
        assert await answer.read() == plan(2, 1, 100)


async def test_unknown_order_and_symbol_are_404() -> None:
    async with served() as site:
        for path in ("/api/plans/no", "/api/orders/no", "/api/symbols/no", "/page/no.js", "/page/..%2fhttp.py"):
            async with site.session.get(path) as answer:
                assert answer.status == 404, path


async def test_topics_that_cannot_be_read_are_503_with_the_reason() -> None:
    async with served() as site:
        site.follower.problem = "not allowed to read plans"
        async with site.session.get("/api/orders") as answer:
            assert (answer.status, orjson.loads(await answer.read())) == (503, {"error": "not allowed to read plans"})


async def test_token_is_asked_for_and_the_cookie_holds() -> None:
    async with served(token=TOKEN) as site:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"impactd={TOKEN}"}):
            async with site.session.get("/api/orders", headers=headers) as answer:
                assert answer.status == 401
                assert TOKEN not in await answer.text()
        async with site.session.get("/api/orders", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            assert answer.status == 200
        async with site.session.get("/") as answer:
            assert answer.status == 200
        async with site.session.post("/api/session", data=b"wrong") as answer:
            assert answer.status == 401
        async with site.session.post("/api/session", data=TOKEN.encode()) as answer:
            assert answer.status == 200
            cookie = answer.headers["Set-Cookie"]
        assert TOKEN not in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        async with site.session.get("/api/orders") as answer:
            assert answer.status == 200


async def test_loopback_is_not_served_under_a_foreign_name() -> None:
    async with served() as site:
        async with site.session.get("/api/orders", headers={"Host": "evil.example"}) as answer:
            assert answer.status == 421
        async with site.session.get("/api/orders", headers={"Host": "localhost:1"}) as answer:
            assert answer.status == 200


async def test_every_answer_forbids_foreign_content_and_allows_no_origin() -> None:
    async with served() as site:
        for path in ("/", "/page/main.js", "/api/orders", "/api/no", "/api/plans/no"):
            async with site.session.get(path, headers={"Origin": "https://evil.example"}) as answer:
                assert "Access-Control-Allow-Origin" not in answer.headers
                if answer.status == 200:
                    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_events_come_with_ids_and_more_readers_than_allowed_are_refused() -> None:
    async with served(readers=1) as site, site.session.get("/api/events") as answer:
        async with asyncio.timeout(120):
            assert (await answer.content.readline()) == b"retry: 1000\n"
            async with site.session.get("/api/events") as refused:
                assert refused.status == 503
            site.follower.stream.records([(("plan", 0), 7, "plan", plan(3, 2, 200))])
            lines = []
            while b"id: plan.0.7\n" not in lines:
                lines.append(await answer.content.readline())
            assert await answer.content.readline() == b"event: plan\n"
            assert await answer.content.readline() == b"data: " + plan(3, 2, 200) + b"\n"
