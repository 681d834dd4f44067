"""The page at 500 symbols and 1,000 orders: ``python -m tests.shell.live.paint``.

Prints when the page first painted and when its lists were filled, and the longest task while a list is scrolled: by the
clock, and by the processor time of its thread, which other load on the machine does not lengthen.
"""

from __future__ import annotations

import asyncio
import sys

import orjson

from impactd.core.base.topics import Topic
from tests.integration import chromium
from tests.shell.live.messages import estimate, plan
from tests.shell.live.site import served

_WATCH = """window.longest = 0;
new PerformanceObserver((list) => { for (const e of list.getEntries()) longest = Math.max(longest, e.duration); })
  .observe({ type: 'longtask', buffered: true });"""
_FILLED = "document.querySelector('#n-orders').innerText === '1001'"
_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
_SCROLLED = """(async () => {
  window.longest = 0;
  const list = document.querySelector('#orders').closest('.scroll');
  for (let at = 0; at < list.scrollHeight; at += 500) {
    list.scrollTop = at;
    await new Promise(requestAnimationFrame);
  }
  return longest;
})()"""


async def main(symbols: int = 500, orders: int = 1_000, minutes: int = 390) -> None:
    """Print the figures."""
    async with served() as site, chromium.browser() as browser:
        board = site.follower.board
        for i in range(orders):
            board.take(
                Topic.PLANS, plan(1, 0, n=minutes, cl_ord_id=f"P{i}", cl_ord_ids=[f"P{i}"], symbol=f"S{i % 500}")
            )
        for i in range(symbols):
            board.take(Topic.ESTIMATES, estimate(0, symbol=f"S{i}"))
        async with chromium.opened(browser, site.base) as watched:
            page = watched.page
            await page.evaluate(_WATCH)
            await chromium.holds(page, _FILLED)
            filled = await page.evaluate("performance.now()")
            await page.wait_for_selector("#c-plan canvas")
            painted = await page.evaluate(_PAINTED)
            await browser.start_tracing(page=page, categories=["toplevel", "devtools.timeline"])
            longest = await page.evaluate(_SCROLLED)
            worked = _longest_task_ms(await browser.stop_tracing())
        sys.stdout.write(
            f"{symbols} symbols, {orders} orders: first paint {painted:.0f} ms, lists filled {filled:.0f}, longest "
            f"task while scrolling {longest:.0f} ms (0: none above 50), {worked:.0f} ms of processor time\n"
        )


def _longest_task_ms(trace: bytes) -> float:
    """Return the most processor time that one task of a page's main thread has taken."""
    events = orjson.loads(trace)["traceEvents"]
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"}
    tasks = [e for e in events if "tdur" in e and names.get((e["pid"], e["tid"])) == "CrRendererMain"]
    return max((e["tdur"] for e in tasks), default=0) / 1_000


if __name__ == "__main__":
    asyncio.run(main())
