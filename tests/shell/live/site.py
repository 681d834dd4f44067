"""The live page and its API over made-up messages: no broker, nothing follows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from impactd.config import Settings
from impactd.config.operation import HttpSection
from impactd.core.base.topics import Topic
from impactd.shell.health import Reason
from impactd.shell.http import listening
from impactd.shell.live.condition import condition
from impactd.shell.live.follow import Follower
from impactd.shell.live.pages import Estimate, add_answers, add_page
from tests.shell.live.messages import ALERT, T0, estimate, fill_cost, model, order_cost, plan
from tests.shell.test_metrics import reading

#: Made up for these tests.
TOKEN = "s3" + "cret"


def health() -> bytes:
    return condition(reading(), [Reason("lag", "7 wait", 2)], "UTC")


class Still(Follower):
    """Has what it has, and follows nothing."""

    async def wanted(self, within_s: float = 0.0) -> bool:  # noqa: ARG002  # the follower's signature
        return self.problem is None

    async def _record(self, partition: int, offset: int) -> bytes | None:  # noqa: ARG002  # the follower's signature
        return plan(offset, offset - 1)


@dataclass(frozen=True, slots=True)
class Site:
    """Where it is served, and what from."""

    follower: Still
    session: aiohttp.ClientSession
    base: str


@asynccontextmanager
async def served(
    token: str | None = None,
    readers: int = 5,
    asked: Estimate | None = None,
    *,
    empty: bool = False,
    said: bytes | None = None,
) -> AsyncIterator[Site]:
    """Serve an order, its minutes, its costs and an alert for the length of a block; nothing if `empty`.

    Parameters
    ----------
    said : bytes, optional
        The health, instead of one with a lag.
    """

    def condition_now() -> bytes:
        return health() if said is None else said

    follower = Still(Settings(), condition_now)
    follower.stream.begin({("plan", 0): 0})
    if not empty:
        _fill(follower)
    app = web.Application()
    add_page(app, follower, condition_now, token=token, max_readers=readers, host="127.0.0.1")
    if asked is not None:
        # Of a service; here both are in one process.
        add_answers(app, condition_now, asked, token=token, host="127.0.0.1")
    async with listening(app, HttpSection(), 0, "http.page_port") as (host, port):
        base = f"http://{host}:{port}"
        async with aiohttp.ClientSession(base, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            try:
                yield Site(follower, session, base)
            finally:
                await follower.close()


def _fill(follower: Still) -> None:
    for version, value in ((1, plan(1, 0)), (2, plan(2, 1, 100))):
        follower.board.take(Topic.PLANS, value, (0, version))
    for topic, value in (
        (Topic.ESTIMATES, estimate(0)),
        (Topic.MODELS, model(0)),
        (Topic.ALERTS, ALERT),
        (Topic.TCA, fill_cost("E1", T0, 100, over_mid=2.0)),
        (Topic.TCA, order_cost()),
    ):
        follower.board.take(topic, value)
