"""The page in a browser over made-up messages: what it asks for, what it keeps, and what it says when nothing comes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from impactd.core.base.topics import Topic
from impactd.shell.health import KINDS
from tests.integration import chromium
from tests.paths import PACKAGE
from tests.shell.live.messages import estimate, model, plan
from tests.shell.live.site import TOKEN, Site, health, served

pytestmark = pytest.mark.usefixtures("chromium_here")

_WITHIN_MS = 600_000


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
        assert found["done"] == "100 (25%)"
        assert found["implementation shortfall"] == "5.8 bps; 7.00"
        assert found["spread, impact, timing, opportunity"] == "4.00, 2.00, 1.00, 0.00"
        assert await watched.page.inner_text("#slope-name") == "Slope: each 1,000 shares add"
        await watched.page.keyboard.press("h")
        assert "partition 2: lag, 7 wait" in await watched.page.inner_text("#reasons")
        assert watched.faults == []


@pytest.mark.parametrize(
    ("leaves", "shown"),
    [(300, "7.7 bps; 6.90 USD"), (1_000, "10.0 bps; 30.00 USD, beyond the books"), (2_001, "\u2013")],
)
async def test_page_prices_the_rest_in_one_trade_up_to_five_times_what_books_have_shown(
    leaves: int, shown: str
) -> None:
    async with served(empty=True) as site, chromium.browser() as browser:
        latest = plan(1, 0, order_qty=leaves, leaves_qty=leaves, currency="USD")
        for topic, value in ((Topic.ESTIMATES, estimate(0)), (Topic.MODELS, model(0)), (Topic.PLANS, latest)):
            site.follower.board.take(topic, value)
        async with chromium.opened(browser, site.base, chromium.SIZES[0], "light") as watched:
            await watched.page.wait_for_selector("#c-plan canvas", timeout=_WITHIN_MS)
            assert (await figures(watched.page))["the rest at once"] == shown
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
        await page.wait_for_selector("#health dd:has-text('78')", state="attached", timeout=_WITHIN_MS)
        assert await page.inner_text("#halt") == "■ HALTED — everything: drill"
        stream.say("health", said("running"))
        await page.wait_for_selector("#halt", state="hidden", timeout=_WITHIN_MS)
        # The service is behind too, and says so once nothing worse holds.
        assert await page.title() == "▲ BEHIND THE FEED — impactd"
        assert watched.faults == []


def well() -> bytes:
    """Return a health without a fault."""
    return orjson.dumps(orjson.loads(said("running")) | {"ready": True, "reasons": [], "broker_answers": True})


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, "ALL WELL"),
        ({"shortfall_qty": 50}, "WILL NOT COMPLETE"),
        ({"blind": True}, "BLIND"),
        ({"status": "done"}, "READY"),
    ],
)
async def test_page_says_in_one_line_whether_all_is_well(fields: dict[str, Any], word: str) -> None:
    async with visited() as (site, watched):
        page, stream = watched.page, site.follower.stream
        await chromium.holds(page, "document.querySelector('#link').innerText === 'live'")
        stream.say("health", well())
        stream.records([(("plan", 0), 9, "plan", plan(3, 1, 100, **fields))])
        await page.wait_for_selector(f"#verdict b:has-text('{word}')", timeout=_WITHIN_MS)
        assert await chromium.axe(page) == []
        assert watched.faults == []


def test_verdict_has_a_word_for_every_reason_and_no_word_for_what_is_no_alert() -> None:
    text = (PACKAGE / "shell" / "page" / "verdict.js").read_text(encoding="utf-8")
    trouble, reasons = (
        set(re.findall(r"^  (\w+): \[", text[text.index(f"const {name} =") :].split("};")[0], re.MULTILINE))
        for name in ("TROUBLE", "REASONS")
    )
    assert reasons == {*KINDS, "service"}
    schema = orjson.loads((PACKAGE / "schemas" / "alert.json").read_bytes())
    alerts = set(schema["properties"]["kind"]["enum"])
    # Named before the service has them.
    assert trouble - alerts <= {"off_band", "price_drift", "cost_off_band"}


async def test_page_searches_sorts_and_filters_a_thousand_orders_and_draws_those_in_sight() -> None:
    async with served() as site, chromium.browser() as browser:
        board = site.follower.board
        for i in range(1_000):
            status = "done" if i % 2 else "active"
            board.take(Topic.PLANS, plan(1, 0, cl_ord_id=f"P{i}", cl_ord_ids=[f"P{i}"], leaves_qty=i, status=status))
        for i in range(500):
            board.take(Topic.ESTIMATES, estimate(0, symbol=f"S{i}"))
        async with chromium.opened(browser, site.base) as watched:
            page = watched.page
            await page.wait_for_selector("#n-orders:has-text('1001')", timeout=_WITHIN_MS)
            assert await page.evaluate("document.querySelectorAll('tbody tr').length") < 200
            await page.click("#orders th[data-sort=leaves] button")
            await page.wait_for_selector("#orders tbody tr[data-name=P999]", timeout=_WITHIN_MS)
            await page.select_option("#which", "working")
            await page.wait_for_selector("#n-orders:has-text('501 of 1001')", timeout=_WITHIN_MS)
            await page.keyboard.press("Escape")
            await page.fill("#find", "p77")
            await page.wait_for_selector("#n-orders:has-text('5 of 1001')", timeout=_WITHIN_MS)
            assert await chromium.axe(page) == []
            await page.fill("#find", "")
            await page.wait_for_selector("#n-orders:has-text('501 of 1001')", timeout=_WITHIN_MS)
            await page.evaluate("document.querySelector('#orders').closest('.scroll').scrollTop = 1e6")
            await page.wait_for_selector("#orders tbody tr[data-name=P0]", timeout=_WITHIN_MS)
            assert watched.faults == []


async def test_page_steps_through_the_plans_of_an_order() -> None:
    async with visited() as (_, watched):
        page = watched.page
        await page.wait_for_selector("#version:has-text('plan 2 of 2')", timeout=_WITHIN_MS)
        assert "Next 30 minutes" in await page.inner_text("#change")
        await page.keyboard.press("[")
        await page.wait_for_selector("#version:has-text('plan 1 of 2')", timeout=_WITHIN_MS)
        assert await page.is_disabled("#older")
        await page.click("#latest")
        await page.wait_for_selector("#version:has-text('plan 2 of 2')", timeout=_WITHIN_MS)
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
