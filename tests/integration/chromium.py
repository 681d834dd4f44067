"""A Chromium that this machine has, driven by Playwright."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

#: Names the browser's program; otherwise it is looked for.
CHROMIUM_VARIABLE: Final = "IMPACTD_CHROMIUM"

HOW_TO_HAVE_ONE: Final = f"install chromium (Debian: apt-get install chromium), or name one in {CHROMIUM_VARIABLE}"

#: Width and height: a desk's screen and a telephone.
SIZES: Final = ((1280, 900), (390, 844))
THEMES: Final = ("light", "dark")


def program() -> str | None:
    """Return the browser's path, or None."""
    names = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
    return os.environ.get(CHROMIUM_VARIABLE) or next(filter(None, map(shutil.which, names)), None)


class Watched:
    """A page, with what went wrong on it.

    Attributes
    ----------
    faults : list of str
        Errors and warnings of the console, exceptions, and requests to anybody else.
    """

    def __init__(self, page: Any, base: str) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("console", lambda m: self.faults.append(m.text) if m.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(base) else self.faults.append(f"asks {r.url}"))


@asynccontextmanager
async def browser() -> AsyncIterator[Any]:
    """Yield a headless browser."""
    from playwright.async_api import async_playwright  # noqa: PLC0415  # only where there is a browser

    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(
            executable_path=program(),
            # Tests run as root in containers, where the sandbox cannot; the page is our own.
            args=["--no-sandbox"] if os.geteuid() == 0 else [],
        )
        try:
            yield found
        finally:
            await found.close()


@asynccontextmanager
async def opened(
    found: Any, base: str, size: tuple[int, int] = SIZES[0], theme: str = "light"
) -> AsyncIterator[Watched]:
    """Yield the live page, opened."""
    width, height = size
    context = await found.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    try:
        page = await context.new_page()
        watched = Watched(page, base)
        await page.goto(base)
        yield watched
    finally:
        await context.close()


async def holds(page: Any, expression: str, within_s: float = 600.0) -> None:
    """Wait until an expression holds; Playwright's own wait evaluates text in the page, which the page forbids."""
    deadline = time.monotonic() + within_s
    while not await page.evaluate(expression):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s} s: {expression}")
        await asyncio.sleep(0.05)


async def axe(page: Any) -> list[str]:
    """Return what axe-core finds that is serious or critical."""
    from axe_playwright_python.base import AXE_SCRIPT  # noqa: PLC0415  # only where there is a browser

    # The page's policy lets no foreign script in; the debugger's evaluation is not subject to it.
    await page.evaluate(AXE_SCRIPT)
    found = await page.evaluate("axe.run()")
    return [
        f"{item['id']}: {item['nodes'][0]['html']}"
        for item in found["violations"]
        if item["impact"] in {"serious", "critical"}
    ]
