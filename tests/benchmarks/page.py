"""What the live page costs: the service without it, with it and nobody looking, and with ten who look.

All read the same preloaded partition of a real broker and take turns.  Event time runs some hundred times
as fast as it would live, and so do minutes and what is shown of them.  Those who look run on the same
machine, and what they take is in the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import orjson

from impactd.shell.broker import find_broker
from impactd.shell.kafka.client import KafkaSettings, TopicSettings
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.leg_service import run_service
from tests.benchmarks.legs import Measured, median_and_spread, take_turns
from tests.benchmarks.service import preload

READERS: Final = 10

WITHOUT: Final = "impactd run, http.page=false"
UNSEEN: Final = "with the page, nobody looks"
SEEN: Final = f"with {READERS} pages open"

_OF_UNSEEN: Final = Target("at least", 0.97)

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
    place = f"page{os.getpid()}-{time.time_ns()}"
    with find_broker() as broker:
        source = KafkaSettings(
            bootstrap=broker.bootstrap,
            topic_prefix=f"{place}.",
            topic_settings=TopicSettings(partitions=1, input_retention_ms=-1, output_retention_ms=-1),
            compression=None,
        )
        asyncio.run(preload(source, messages))

        def at(leg: str, number: int) -> str:
            return f"{source.topic_prefix}{leg}-{number}"

        legs = {
            WITHOUT: lambda number: run_service(source, messages, at("without", number), page=False),
            UNSEEN: lambda number: run_service(source, messages, at("unseen", number)),
            SEEN: lambda number: run_service(source, messages, at("seen", number), look=looked_at),
        }
        found = take_turns(legs, rounds)
    return figures(found), {"broker": f"broker: {broker.kind}", "messages": f"{messages:,} messages"}


def figures(found: Mapping[str, Sequence[Measured]]) -> list[Figure]:
    """Return each leg's rate, and ratios within the same rounds."""
    rows = []
    for name, legs in found.items():
        rate, spread = median_and_spread([leg.rate for leg in legs])
        cpu = statistics.median(leg.messages / leg.cpu_seconds for leg in legs)
        seconds = statistics.median(leg.seconds for leg in legs)
        rows.append(
            Figure(
                name, rate, "messages/s", spread, None, f"{seconds:.1f} s a leg; {cpu:,.0f} a second of processor time"
            )
        )
    for name, to, target in ((UNSEEN, WITHOUT, None), (SEEN, UNSEEN, _OF_UNSEEN)):
        pairs = list(zip(found[name], found[to], strict=True))
        value, spread = median_and_spread([one.rate / other.rate for one, other in pairs])
        cpu = statistics.median(one.cpu_seconds / other.cpu_seconds for one, other in pairs)
        rows.append(Figure(f"{name}, over: {to}", value, "", spread, target, f"{cpu:.2f} times the processor time"))
    return rows


@asynccontextmanager
async def looked_at(base: str) -> AsyncIterator[None]:
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
    """Do what a page does, without end: take the state and the events, and a symbol anew when it has changed."""
    async with aiohttp.ClientSession(base, timeout=aiohttp.ClientTimeout(total=None)) as session:
        while True:
            # The service may still be on its way.
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
