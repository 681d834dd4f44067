"""How long partitions wait while processes are restarted one after the other, or one is killed, under load.

Two processes and one that stands by (``--spares 0``: none), `make soak`'s load, and a reader of committed records.
Printed for each leg: the longest gap between commits of a partition, by the broker's append times of the journal, and
how long orders waited for their plans.  Run it on a machine that does nothing else.

``python -m tests.soak.rolling --rate 20000``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import BrokerUnavailable, find_broker
from impactd.shell.kafka.consume import read_topics
from tests.console import say
from tests.soak import latency
from tests.soak.load import PARTITIONS
from tests.soak.processes import LEAVE_S, kill, load, place, start, until_logged

#: Between a process that is back and the next step.
_SETTLE_S: Final = 5.0


class Fleet:
    """Processes of the service, by number."""

    def __init__(self, settings: Settings, further: list[str], directory: Path) -> None:
        self._settings = settings
        self._further = further
        self._directory = directory
        self._starts = 0
        self.running: dict[int, tuple[asyncio.subprocess.Process, Path]] = {}

    async def start(self, number: int) -> None:
        """Start a process and wait until it is in the group."""
        self._starts += 1
        log = self._directory / f"{number}-{self._starts}.log"
        process = await start(self._settings, self._further, log)
        self.running[number] = process, log
        await until_logged(process, log, lambda text: b"partitions assigned" in text)

    async def end(self, number: int, by: signal.Signals) -> None:
        """End a process and wait until it has."""
        process, _ = self.running[number]
        process.send_signal(by)
        async with asyncio.timeout(LEAVE_S):
            await process.wait()

    def owner(self) -> int:
        """Return the number of a process that owns partitions."""
        for number, (process, log) in self.running.items():
            assigned = [line for line in log.read_bytes().splitlines() if b'"partitions assigned"' in line]
            if process.returncode is None and assigned and json.loads(assigned[-1])["partitions"]:
                return number
        raise RuntimeError("nobody owns a partition")

    def restores(self) -> list[dict[str, Any]]:
        """Return what the log says of each partition that was owned."""
        lines = [line for log in sorted(self._directory.glob("*.log")) for line in log.read_bytes().splitlines()]
        return [json.loads(line) for line in lines if b'"partition owned"' in line]

    async def kill(self) -> None:
        """End all that is left."""
        for process, _ in self.running.values():
            await kill(process)


async def _gaps(settings: Settings, since_ms: float, until_ms: float) -> dict[int, float]:
    """Return the longest time between commits of each partition in a span, ms."""
    stamps: dict[int, list[float]] = {partition: [since_ms] for partition in range(PARTITIONS)}
    async for record in read_topics(settings, settings.topics.name(Topic.JOURNAL)):
        if since_ms <= record.timestamp <= until_ms:
            stamps[record.partition].append(record.timestamp)
    return {
        partition: max(b - a for a, b in zip(found, [*found[1:], until_ms], strict=True))
        for partition, found in stamps.items()
    }


async def _roll(fleet: Fleet) -> None:
    for number in sorted(fleet.running):
        await fleet.end(number, signal.SIGTERM)
        await fleet.start(number)
        await asyncio.sleep(_SETTLE_S)


async def _kill(fleet: Fleet, session_s: float) -> None:
    number = fleet.owner()
    await fleet.end(number, signal.SIGKILL)
    await asyncio.sleep(session_s + _SETTLE_S)
    await fleet.start(number)
    await asyncio.sleep(_SETTLE_S)


async def _measure(bootstrap: str, asked: argparse.Namespace, directory: Path) -> bool:
    settings = await place("rolling", bootstrap, (Topic.TICKS, Topic.ORDERS, Topic.JOURNAL))
    standby = ["kafka.standby=true", f"kafka.own_at_most={PARTITIONS // 2}"] if asked.spares else []
    session_s = settings.kafka.session_timeout_ms / 1000
    fleet = Fleet(settings, [*standby, *asked.set], directory)
    seen = latency.Seen()
    tasks: list[asyncio.Task[Any]] = []
    good = True
    try:
        for number in range(2 + asked.spares):
            await fleet.start(number)
        common = {"seconds": 3_600, "symbols": 20}
        tasks = [
            asyncio.create_task(work)
            for work in (
                latency.read(settings, seen),
                load(settings, **common, rate=asked.rate, orders=0, fills=0),
                load(settings, **common, rate=0, orders=asked.orders, fills=5),
            )
        ]
        await asyncio.sleep(asked.warm_up)
        for leg, work, limit_s in (
            ("rolling restart", _roll(fleet), 1.0),
            ("kill -9", _kill(fleet, session_s), session_s + 1.0),
        ):
            before, since_ms = set(seen.order_plans), time.time() * 1000
            await work
            await asyncio.sleep(_SETTLE_S)
            gaps = await _gaps(settings, since_ms, time.time() * 1000)
            longest = max(gaps.values()) / 1000
            good &= longest < limit_s
            by = ", ".join(f"{partition}: {gap / 1000:.2f}" for partition, gap in gaps.items())
            say(f"{leg}: longest gap between commits {longest:.2f} s (limit {limit_s:.0f} s); by partition {by}")
            waited = [at - seen.orders_sent[p] for p, at in seen.order_plans.items() if p not in before]
            for line in latency.histogram("  order appended to its committed plan", waited):
                say(line)
        restores = [entry for entry in fleet.restores() if entry["seq"] > 1]
        for warm in (True, False):
            found = sorted(entry["seconds"] for entry in restores if entry["warm"] is warm)
            if found:
                say(
                    f"{len(found)} partitions acquired {'warm' if warm else 'cold'}: "
                    f"{found[len(found) // 2]:.2f} s in the middle, {found[-1]:.2f} s at most"
                )
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await fleet.kill()
    return good


def main() -> int:
    """Measure; exit code 1 if a gap is above its limit."""
    parser = argparse.ArgumentParser("python -m tests.soak.rolling", description=__doc__)
    parser.add_argument("--rate", type=float, default=20_000, help="ticks a second")
    parser.add_argument("--orders", type=float, default=5, help="new orders a second")
    parser.add_argument("--spares", type=int, default=1, choices=[0, 1], help="processes that stand by")
    parser.add_argument("--warm-up", type=float, default=70, help="seconds before the first leg")
    parser.add_argument("--set", action="append", default=[], help="a further setting of the service")
    asked = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    try:
        with find_broker() as broker, tempfile.TemporaryDirectory(prefix="impactd-rolling-") as directory:
            return 0 if asyncio.run(_measure(broker.bootstrap, asked, Path(directory))) else 1
    except BrokerUnavailable as error:
        sys.stderr.write(f"rolling: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
