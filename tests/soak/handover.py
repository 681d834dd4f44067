"""How long partitions stand still when one of two processes leaves or is killed: ``python -m tests.soak.handover``.

Measured from the signal to the moment at which the survivor owns the last partition again, by its own log, with the
default settings of the group.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Final

import orjson

from impactd.config import Settings
from impactd.shell.broker.broker import find_broker
from impactd.shell.kafka.topics import create_topics
from tests.paths import ROOT

PARTITIONS: Final = 4

#: Without a line for so long the measurement is given up.
STALLED_S: Final = 120.0


class Process:
    """One ``impactd run`` whose log is read."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.owned: set[int] = set()

    async def until_owned(self, count: int) -> float:
        """Read the log until `count` partitions of one assignment are owned; return when the last line came."""
        assert self.process.stderr is not None
        while len(self.owned) < count:
            async with asyncio.timeout(STALLED_S):
                line = await self.process.stderr.readline()
            assert line, "the process ended"
            if not line.startswith(b"{"):
                continue
            entry = orjson.loads(line)
            if entry["event"] == "partitions assigned":
                self.owned.clear()
            elif entry["event"] == "partition owned":
                self.owned.add(entry["partition"])
        return time.monotonic()


async def start(settings: Settings) -> Process:
    """Start a process of these settings."""
    given = {
        "kafka.bootstrap": settings.kafka.bootstrap,
        "kafka.environment": settings.kafka.environment,
        "kafka.group": settings.kafka.group,
        "topics.prefix": settings.topics.prefix,
        "log.format": "json",
        "http.port": "0",
    }
    flags = [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
    return Process(
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "impactd", "run", *flags, cwd=ROOT, stderr=asyncio.subprocess.PIPE
        )
    )


async def measure(bootstrap: str, number: signal.Signals) -> float:
    """Return the seconds from a signal to one of two processes until the other owns all partitions."""
    name = f"handover{os.getpid()}-{number.name.lower()}"
    settings = Settings(
        kafka={"bootstrap": bootstrap, "environment": name, "group": name},
        topics={"prefix": f"{name}.", "partitions": PARTITIONS},
    )
    await create_topics(settings)
    first = await start(settings)
    await first.until_owned(PARTITIONS)
    second = await start(settings)
    await second.until_owned(PARTITIONS // 2)
    first.owned.clear()
    await first.until_owned(PARTITIONS // 2)
    first.owned.clear()
    sent = time.monotonic()
    second.process.send_signal(number)
    seconds = await first.until_owned(PARTITIONS) - sent
    first.process.terminate()
    for one in (first, second):
        await one.process.communicate()
    return seconds


async def main() -> None:
    """Measure both, and print a line for each."""
    with find_broker() as broker:
        for number in (signal.SIGTERM, signal.SIGKILL):
            found = [await measure(broker.bootstrap, number) for _ in range(3)]
            print(number.name, *(f"{seconds:.2f} s" for seconds in found))  # noqa: T201  (the result)


if __name__ == "__main__":
    asyncio.run(main())
