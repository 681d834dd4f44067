"""The live page in a real browser, over a real broker: it shows, changes, halts, and survives a restart."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.ask import http_url
from impactd.shell.broker.broker import Broker
from impactd.shell.http import serve_page
from impactd.shell.kafka.publish import publish
from impactd.shell.replay import Sources
from tests.integration import chromium
from tests.integration.kafka_lab import DAY, MINUTE_NS, OPEN_NS, SYMBOLS, day, lab, live, order, send
from tests.integration.live_service import served
from tests.records import read_topic
from tests.shell.test_replay import day as day_lines
from tests.shell.test_replay import new, write

pytestmark = [pytest.mark.broker, pytest.mark.timeout(1200)]

#: The first service of a fresh clone compiles its kernels.
_WITHIN_MS = 600_000


async def text(page: Any, selector: str) -> str:
    found: str = await page.inner_text(selector)
    return found


async def changes(page: Any, selector: str) -> None:
    """Wait until what an element says changes."""
    said = f"document.querySelector({orjson.dumps(selector).decode()}).innerText"
    before = orjson.dumps(await page.evaluate(said)).decode()
    await chromium.holds(page, f"{said} !== {before}")


async def test_page_shows_and_changes_and_has_no_fault(broker: Broker, chromium_here: None, tmp_path: Path) -> None:
    settings = await lab(broker.bootstrap)
    data = write(tmp_path / "day.jsonl", day_lines(SYMBOLS, minutes=120))
    orders = write(
        tmp_path / "orders.jsonl",
        [new(end=OPEN_NS + 110 * MINUTE_NS), new("A2", SYMBOLS[1], side="sell", end=OPEN_NS + 110 * MINUTE_NS)],
    )
    core = dataclasses.replace(DAY, plans=dataclasses.replace(DAY.plans, fills="scheduled"))
    sources = Sources((data,), orders)
    async with served(settings, core) as base, chromium.browser() as found:
        sending = asyncio.create_task(publish(settings, sources, speed=240.0))
        try:
            async with chromium.opened(found, base) as watched:
                page = watched.page
                await page.wait_for_selector("#order canvas", timeout=_WITHIN_MS)
                await page.wait_for_selector("#c-curve canvas", timeout=_WITHIN_MS)
                for selector in ("#figures", "#symbols tbody", "#partitions", "#clock"):
                    await changes(page, selector)
                await page.keyboard.press("s")
                await page.keyboard.press("j")
                await chromium.holds(page, f"document.querySelector('#market-name').innerText.includes('{SYMBOLS[0]}')")
                await page.keyboard.press("t")
                assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
                assert watched.faults == []
            for size in chromium.SIZES:
                for theme in chromium.THEMES:
                    async with chromium.opened(found, base, size, theme) as watched:
                        await watched.page.wait_for_selector("#c-path canvas", timeout=_WITHIN_MS)
                        assert await chromium.axe(watched.page) == []
                        wide = await watched.page.evaluate("document.documentElement.scrollWidth")
                        assert wide <= size[0]
                        assert watched.faults == []
        finally:
            sending.cancel()
            await asyncio.wait([sending])


async def test_halt_shows_within_two_seconds_and_all_is_there_after_a_restart(
    broker: Broker, chromium_here: None
) -> None:
    settings, core, now = await lab(broker.bootstrap), live(), time.time_ns()
    symbol = SYMBOLS[0]
    ticks = day(5, [symbol], now // MINUTE_NS * MINUTE_NS - 5 * MINUTE_NS)
    sent = orjson.dumps(order("A1", symbol, "buy", now, 60))
    async with chromium.browser() as found, contextlib.AsyncExitStack() as first:
        base = await first.enter_async_context(served(settings, core))
        await send(settings, Topic.TICKS, [(name, value, ts) for name, ts, value in ticks])
        await send(settings, Topic.ORDERS, [(symbol, sent, now)])
        async with chromium.opened(found, base) as watched:
            page = watched.page
            await page.wait_for_selector("#orders tbody tr", timeout=_WITHIN_MS)
            assert await page.is_hidden("#halt")
            await control(settings, "halt")
            await page.wait_for_selector("#halt:has-text('everything: drill')", state="visible", timeout=60_000)
            await page.wait_for_selector("#orders td.stop", timeout=60_000)
            assert watched.faults == []
            await first.aclose()
            await chromium.holds(page, "document.querySelector('#link').innerText === 'reconnecting'")
            async with served(settings, core, port=int(base.rstrip("/").rpartition(":")[2])):
                await chromium.holds(page, "document.querySelector('#link').innerText === 'live'")
                # Also while the partitions are being restored and do not know yet.
                assert await text(page, "#halt") == "■ HALTED — everything: drill"
                # Nothing new has been published: what a fresh page shows comes from what was there.
                async with chromium.opened(found, base) as fresh:
                    await fresh.page.wait_for_selector("#halt", state="visible", timeout=_WITHIN_MS)
                    await fresh.page.wait_for_selector("#orders tr:has-text('A1') td.stop", timeout=_WITHIN_MS)
                    assert fresh.faults == []
                await control(settings, "resume")
                await page.wait_for_selector("#halt", state="hidden", timeout=_WITHIN_MS)
                await agrees(base, settings, "A1")


async def test_nothing_is_read_while_nobody_looks(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    nowhere = settings.replace(http={"page_port": 0})
    async with serve_page(nowhere, ["http://127.0.0.1:1"]) as address, aiohttp.ClientSession() as session:
        for path in ("", "page/main.js", "api/openapi.json"):
            async with session.get(f"{http_url(*address)}/{path}"):
                pass
        assert "live" not in {task.get_name() for task in asyncio.all_tasks()}
        async with session.get(f"{http_url(*address)}/api/orders") as answer:
            assert (answer.status, await answer.read()) == (200, b'{"orders":[]}')
        assert "live" in {task.get_name() for task in asyncio.all_tasks()}
    assert "live" not in {task.get_name() for task in asyncio.all_tasks()}


async def agrees(base: str, settings: Settings, name: str) -> None:
    """Wait until the API shows the last plan that was published; the next minute's may come between two looks."""
    deadline = time.monotonic() + 60.0
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{base}api/plans/{name}") as answer:
                shown = await answer.read()
            if shown == (await read_topic(settings, settings.topics.name(Topic.PLANS)))[-1].value:
                return
            assert time.monotonic() < deadline, shown
            await asyncio.sleep(0.1)


async def control(settings: Settings, kind: str) -> None:
    """Halt or resume everything, in both partitions."""
    now = time.time_ns()
    value = orjson.dumps({"type": kind, "scope": "*", "reason": "drill", "ts_event": now})
    for partition in range(2):
        await send(settings, Topic.CONTROL, [(None, value, now)], partition=partition)
