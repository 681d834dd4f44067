"""The page in a browser over made-up messages: what it asks for, what it keeps, and what it says when nothing comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from tests.integration import chromium
from tests.shell.live.site import TOKEN, Site, health, served

pytestmark = pytest.mark.usefixtures("chromium_here")

_WITHIN_MS = 20_000


def said(phase: str, *halts: str) -> bytes:
    """Return a health of one partition in a phase, with halts of everything."""
    found = orjson.loads(health())
    found["partitions"] = [
        found["partitions"][0] | {"phase": phase, "halts": [{"scope": "*", "reason": reason} for reason in halts]}
    ]
    return orjson.dumps(found)


@asynccontextmanager
async def visited(
    size: tuple[int, int] = chromium.SIZES[0], theme: str = "light", *, token: str | None = None
) -> AsyncIterator[tuple[Site, chromium.Watched]]:
    """Open the page in a browser."""
    async with (
        served(token=token) as site,
        chromium.browser() as browser,
        chromium.opened(browser, site.base, size, theme) as watched,
    ):
        yield site, watched


async def figures(page: Any) -> dict[str, str]:
    """Return the order's figures by their names."""
    found: dict[str, str] = await page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#figures div')].map((d) => "
        "[d.querySelector('dt').innerText, d.querySelector('dd').innerText]))"
    )
    return found


async def test_page_asks_for_the_token_and_opens_with_it() -> None:
    async with visited(chromium.SIZES[1], token=TOKEN) as (_, watched):
        page = watched.page
        await page.wait_for_selector("#token", timeout=_WITHIN_MS)
        assert await page.inner_text("#link") == "token needed"
        assert await chromium.axe(page) == []
        await page.fill("#token", "wrong")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#refused:has-text('Wrong token.')", timeout=_WITHIN_MS)
        await page.fill("#token", TOKEN)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#orders tr:has-text('A1')", timeout=_WITHIN_MS)
        await page.wait_for_selector("#login", state="hidden", timeout=_WITHIN_MS)
        await chromium.holds(page, "document.querySelector('#link').innerText === 'live'")
        assert TOKEN not in await page.evaluate("document.cookie + location.href")
        # The browser itself writes down that it was asked for a token.
        assert [fault for fault in watched.faults if "401" not in fault] == []
        # The cookie holds: nobody is asked again.
        await page.reload()
        await page.wait_for_selector("#orders tr:has-text('A1')", timeout=_WITHIN_MS)
        assert await page.is_hidden("#login")


async def test_page_shows_the_figures_of_an_order_and_its_costs() -> None:
    async with visited() as (_, watched):
        await watched.page.wait_for_selector("#c-plan canvas", timeout=_WITHIN_MS)
        found = await figures(watched.page)
        assert found["executed"] == "100"
        assert found["expected cost of leaves (95%)"] == "8 (6 to 11)"
        assert found["implementation shortfall"] == "7 (5.8 bp)"
        assert found["spread, impact, timing, opportunity"] == "4, 2, 1, 0"
        assert await watched.page.inner_text("#slope-name") == "Slope, bp per 1,000 shares"
        assert "partition 2: lag, 7 wait" in await watched.page.inner_text("#reasons")
        assert watched.faults == []


@pytest.mark.parametrize("theme", chromium.THEMES)
async def test_page_halt_covers_it_and_stands_while_a_partition_is_restored(theme: str) -> None:
    async with visited(chromium.SIZES[1], theme) as (site, watched):
        page, stream = watched.page, site.follower.stream
        await chromium.holds(page, "document.querySelector('#link').innerText === 'live'")
        stream.say("health", said("running", "drill"))
        await page.wait_for_selector("#halt:has-text('everything: drill')", timeout=_WITHIN_MS)
        assert await page.title() == "■ HALTED — impactd"
        assert await chromium.axe(page) == []
        # Restored, the same partition says nothing of halts until it has read its state; then it says.
        stream.say("health", orjson.dumps(orjson.loads(said("running")) | {"partitions": [], "dead_letters": 77}))
        stream.say("health", orjson.dumps(orjson.loads(said("restoring")) | {"dead_letters": 78}))
        await page.wait_for_selector("#health dd:has-text('78')", timeout=_WITHIN_MS)
        assert await page.inner_text("#halt") == "■ HALTED — everything: drill"
        stream.say("health", said("running"))
        await page.wait_for_selector("#halt", state="hidden", timeout=_WITHIN_MS)
        assert await page.title() == "impactd"
        assert watched.faults == []


async def test_page_without_a_word_for_seconds_reports_it_and_begins_again() -> None:
    async with visited() as (_, watched):
        page = watched.page
        await page.clock.install()
        await page.reload()
        await page.clock.run_for(1_000)
        await chromium.holds(page, "document.querySelector('#link').innerText === 'live'")
        await page.evaluate(
            "window.said = []; new MutationObserver(() => said.push(document.querySelector('#link').innerText))"
            ".observe(document.querySelector('#link'), { childList: true })"
        )
        await page.clock.run_for(8_000)
        await chromium.holds(page, "said.includes('no answer') && said.at(-1) === 'live'")
        assert watched.faults == []
