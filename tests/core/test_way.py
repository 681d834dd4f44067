"""The way of a tick, a fill and a minute's close through the core's modules is the one that the method page states."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import pytest

from tests.core.builders import EngineHarness, M, at, fill, minutes, with_order
from tests.paths import PACKAGE, ROOT

CORE = str(PACKAGE / "core") + "/"
PAGE = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")


def stated(way: str) -> list[str]:
    """Return the modules that the page lists for a way, in order."""
    paragraph = re.search(rf"^\*\*{way}\*\*: (.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert paragraph is not None, f"docs/method.md has no paragraph for: {way}"
    return re.findall(r"`([a-z_/]+)`", paragraph[1])


def entered(act: Callable[[], object]) -> list[str]:
    """Return the core's modules in the order in which a call first enters each."""
    found: dict[str, None] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(CORE):
            found.setdefault(name.removeprefix(CORE).removesuffix(".py"))

    def traced() -> None:
        sys.setprofile(note)
        try:
            act()
        finally:
            sys.setprofile(None)

    # On a thread of its own: whether calls are traced on this one also depends on the tests before.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(traced).result()
    return list(found)


@pytest.fixture
def harness() -> EngineHarness:
    """Return an order under way, in the middle of a minute that has had a book."""
    harness = with_order(length=20 * M)
    harness.run(minutes(6, start=at(2))[1:-3])
    return harness


def test_ways_are_those_that_the_page_states(harness: EngineHarness) -> None:
    rows = minutes(6, start=at(2))
    ways: dict[str, Callable[[], object]] = {
        "A tick within its minute": lambda: harness.run(rows[-3:-2]),
        "A fill that leaves the plan's path": lambda: harness.send(fill(rows[-3].ts + 1, "E1", 600)),
        "A minute's close": lambda: harness.run(minutes(1, start=at(8))[:1]),
    }
    for way, act in ways.items():
        listed = stated(way)
        assert len(listed) > 5
        assert [module for module in entered(act) if module in listed] == listed, way
