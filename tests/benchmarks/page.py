"""What ten readers of the live page cost the service: its rate alone, and while `impactd page` serves ten readers.

Both legs take turns on the same preloaded partition of a real broker.  Event time runs some hundred times faster than
live, and so do minutes and updates of the page.  The page and its readers run on the same machine, so the rates include
what they take; the figure with a target is the processor time of the page's process (`leg_page`) over the service's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from operator import attrgetter
from typing import Final

import aiohttp
import orjson

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import find_broker
from impactd.shell.broker.probe import free_ports
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.leg_page import READY
from tests.benchmarks.leg_service import run_service
from tests.benchmarks.legs import Measured, by_round, rate_figure, take_turns
from tests.benchmarks.service import preload, source_at

READERS: Final = 10

ALONE: Final = "impactd run"
SEEN: Final = f"with {READERS} pages open at impactd page"

_OF_SERVICE: Final = Target("at most", 0.03)

#: A page asks for what has changed so often at most.
_DETAILS_S: Final = 1.0


def measure(messages: int, rounds: int) -> tuple[list[Figure], dict[str, str]]:
    """Return the figures, and what the broker is.

    Raises
    ------
    BrokerUnavailable
        If there is no real broker here.
    RuntimeError
        If a leg or a reader fails.
    """
    with find_broker() as broker:
        source = source_at(broker.bootstrap, "page")
        asyncio.run(preload(source, messages))

        def at(leg: str, number: int) -> str:
            return f"{source.topics.prefix}{leg}-{number}"

        pages: list[Measured] = []

        def watched(number: int) -> Measured:
            place = at("seen", number)
            return run_service(source, messages, place, look=partial(looked_at, source, place, pages))

        legs = {ALONE: lambda number: run_service(source, messages, at("alone", number)), SEEN: watched}
        found = take_turns(legs, rounds)
    return figures(found, pages), {"broker": f"broker: {broker.kind}", "messages": f"{messages:,} messages"}


def figures(found: Mapping[str, Sequence[Measured]], pages: Sequence[Measured]) -> list[Figure]:
    """Return each leg's rate, their ratio within the same rounds, and the processor time of the page."""
    rows = [rate_figure(name, legs) for name, legs in found.items()]
    value, spread = by_round(found[SEEN], found[ALONE], attrgetter("rate"))
    cpu, _ = by_round(found[SEEN], found[ALONE], attrgetter("cpu_seconds"))
    rows.append(Figure(f"{SEEN}, over: {ALONE}", value, "", spread, None, f"{cpu:.2f} times the processor time"))
    value, spread = by_round(pages, found[SEEN], attrgetter("cpu_seconds"))
    busy = statistics.median(page.cpu_seconds / page.seconds for page in pages)
    note = f"{busy:.3f} s of processor a second, for {statistics.median(page.messages for page in pages):,.0f} records"
    rows.append(
        Figure(f"processor time of {READERS} open pages, over the service's", value, "", spread, _OF_SERVICE, note)
    )
    return rows


@asynccontextmanager
async def looked_at(source: Settings, place: str, pages: list[Measured]) -> AsyncIterator[None]:
    """Serve the page in a process of its own with readers for the length of a block; note what it took."""
    [port] = free_ports(1)
    settings = source.replace(
        kafka={"environment": place, "group": place},
        topics={"prefix": f"{place}.", "names": {"ticks": source.topics.name(Topic.TICKS)}},
    )
    child = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "tests.benchmarks.leg_page",
            settings.model_dump_json(),
            str(port),
        ),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        if child.stdout is None or (await child.stdout.readline()).decode().strip() != READY:
            raise RuntimeError("the live page did not start")
        async with readers_of(f"http://127.0.0.1:{port}"):
            yield
        # Without input Python 3.11 would leave it open, and the child waits for its end.
        out, _ = await child.communicate(b"")
        pages.append(Measured(**json.loads(out.splitlines()[-1])))
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


@asynccontextmanager
async def readers_of(base: str) -> AsyncIterator[None]:
    """Have so many pages open at an address for the length of a block.

    Raises
    ------
    RuntimeError
        If one of them fails, or has seen nothing.
    """
    seen = [0] * READERS
    tasks = [asyncio.create_task(_look(base, number, seen)) for number in range(READERS)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    if broken := [item for item in ended if isinstance(item, Exception)]:
        raise RuntimeError(f"a reader of the live page failed: {broken[0]!r}")
    if not all(seen):
        raise RuntimeError(f"readers of the live page have seen {seen} bytes of events")


async def _look(base: str, number: int, seen: list[int]) -> None:
    """Do what a page does, without end: read the state and the events, and a symbol again when it has changed."""
    async with aiohttp.ClientSession(base, timeout=aiohttp.ClientTimeout(total=None)) as session:
        while True:
            # The page may still be starting.
            with contextlib.suppress(aiohttp.ClientConnectorError):
                async with session.get("/api/state") as answer:
                    if answer.status == 200:
                        state = orjson.loads(await answer.read())
                        await _events(session, state["position"], number, seen)
            await asyncio.sleep(0.2)


async def _events(session: aiohttp.ClientSession, position: str, number: int, seen: list[int]) -> None:
    asked, symbol = 0.0, b""
    async with session.get("/api/events", params={"after": position}) as answer:
        async for chunk in answer.content.iter_any():
            seen[number] += len(chunk)
            if not symbol:
                # Each looks at another one.
                names = sorted({part.partition(b'"')[0] for part in chunk.split(b'"symbol":"')[1:]})
                symbol = names[number % len(names)] if names else b""
            now = time.monotonic()
            if symbol and b'"symbol":"%b"' % symbol in chunk and now - asked > _DETAILS_S:
                asked = now
                async with session.get(f"/api/symbols/{symbol.decode()}") as details:
                    await details.read()
