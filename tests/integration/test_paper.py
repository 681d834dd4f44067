"""Orders traded on paper on a real broker: what is reported is what the service counts, across a restart too."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import orjson
import pytest

from impactd.client import Client
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.kafka.paper import trade_on_paper
from impactd.shell.kafka.tasks import end
from impactd.shell.paper import PaperFill, Style, Untraded
from impactd.wire.codec import Limits
from tests.integration.kafka_lab import SECOND_NS, book, lab, live, running, send
from tests.records import read_topic

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("style", list(Style))
async def test_order_is_filled_on_paper_and_every_fill_counts_once(broker: Broker, style: Style) -> None:
    """Event time moves by the ticks that are sent, 50 ms each; the trader restarts in the middle."""
    settings = await lab(broker.bootstrap)
    core = live(interval_s=1.0, grace_s=0.1)
    told: list[PaperFill | Untraded] = []

    def trader() -> asyncio.Task[None]:
        work = trade_on_paper(settings, core.books, Limits(), orders="P-*", style=style, told=told.append)
        return asyncio.create_task(work)

    task = trader()
    planned = asyncio.Event()
    try:
        async with running(settings, core), Client(settings.kafka.bootstrap, prefix=settings.topics.prefix) as desk:

            async def follow() -> None:
                async for plan in desk.plans("P-1"):
                    planned.set()
                    if plan["status"] not in {"active", "halted"}:
                        return

            begin = time.time_ns()

            following = asyncio.create_task(follow())
            terms = {"order_qty": 300, "start": begin, "end": begin + 20 * SECOND_NS}
            await desk.new("P-1", "FROG", "buy", **terms)
            await desk.new("OTHER", "FROG", "sell", **terms)
            restarted = False
            await asyncio.wait_for(planned.wait(), 300)
            for k in range(1_000):
                assert not task.done(), task
                ts = begin + k * SECOND_NS // 20
                # A trade through every bid: it takes the queue, and then the order that rests.
                trade = {"type": "trade", "symbol": "FROG", "ts_event": ts, "px": 30.5, "qty": 40}
                ticks = [book("FROG", ts, (ts - begin) // SECOND_NS), orjson.dumps(trade)]
                await send(settings, Topic.TICKS, [("FROG", tick, time.time_ns()) for tick in ticks])
                if told and not restarted:
                    await end(task)
                    task, restarted = trader(), True
                if following.done():
                    break
            await asyncio.wait_for(following, 300)
    finally:
        with suppress(asyncio.CancelledError):
            await end(task)
    assert restarted
    records = await read_topic(settings, settings.topics.name(Topic.EXECUTIONS))
    fills: dict[str, Any] = {}
    for record in records:
        fill = orjson.loads(record.value or b"")
        # The first of an exec_id counts.
        fills.setdefault(fill["exec_id"], fill)
    assert {fill["cl_ord_id"] for fill in fills.values()} == {"P-1"}
    assert {fill.exec_id for fill in told if isinstance(fill, PaperFill)} <= set(fills)
    liquidity = {fill["last_liquidity_ind"] for fill in fills.values()}
    assert liquidity == {"taker"} if style is Style.TAKE else "maker" in liquidity
    last = {}
    for record in await read_topic(settings, settings.topics.name(Topic.PLANS)):
        plan = orjson.loads(record.value or b"")
        last[plan["cl_ord_id"]] = plan
    assert all(fill["ts_event"] < begin + 20 * SECOND_NS for fill in fills.values())
    assert sum(fill["last_qty"] for fill in fills.values()) == last["P-1"]["cum_qty"] > 0
    assert last["OTHER"]["cum_qty"] == 0
