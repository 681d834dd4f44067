"""A run: rounds of faults drawn from a seed while the load goes on, then quiet, and a verdict.

A round brings one fault, sometimes two, to processes, broker or connections, and ends when every partition has made a
further commit: a service that stands still is found in the round that stopped it.  Deadlines are far beyond what
anything takes; what is judged is what was published, never how fast.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from impactd.shell.audit.capture import capture
from impactd.shell.audit.derive import derive
from tests.chaos import judge
from tests.chaos.cluster import PARTITIONS, SESSION_TIMEOUT_S, Cluster, cluster
from tests.chaos.feed import Feed
from tests.chaos.hooks import EARLY_POINTS, FAIL, POINTS
from tests.chaos.journal import JournalWatch, input_ends
from tests.chaos.members import Member, Members
from tests.chaos.variants import VARIANTS
from tests.records import read_topic

#: Processes at the beginning and at the end, and bounds on how many there are in between.
PROCESSES: Final = 3
_FEWEST, _MOST = 2, 4

#: Far beyond what a round, the last drain and a process's leave take, even on a machine that does other work.
PROGRESS_S: Final = 300.0
_DRAIN_S: Final = 600.0
_LEAVE_S: Final = 30.0

#: A broken service may have lost what would end its drain.
_BROKEN_DRAIN_S: Final = 20.0

#: How long a fault point may take to be reached before a process is hit where it is.
_POINT_S: Final = 4.0

#: Fault and its weight.
_WEIGHTS: Final = {
    "kill": 2,
    "kill at": 5,
    "freeze": 2,
    "freeze at": 4,
    "fail at": 2,
    "restart": 1,
    "kill broker": 1,
    "drop": 2,
    "stall": 2,
    "add": 2,
    "remove": 2,
}

#: Share of rounds with a second fault at about the same time.
_DOUBLE: Final = 0.3

Say = Callable[[str], None]


@dataclass(slots=True)
class Report:
    """What a run has come to."""

    seed: str
    rounds: int = 0
    faults: list[str] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    verdict: judge.Verdict | None = None
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the run holds what it must."""
        return not self.stuck and self.verdict is not None and self.verdict.ok

    def lines(self) -> list[str]:
        """Return it as text."""
        found = [f"seed {self.seed}: {self.rounds} rounds in {self.seconds:.0f} s: {'ok' if self.ok else 'FAILED'}"]
        if self.verdict is not None:
            counts = self.verdict.counts
            found.append("  " + ", ".join(f"{counts[name]} {name}" for name in ("commits", *judge.LOGS)))
            for check, faults in self.verdict.faults.items():
                found.append(f"  {check}: {len(faults)} faults")
                found += [f"    {fault}" for fault in faults[:8]]
        found += [f"  stuck: {line}" for line in self.stuck]
        found += [f"  left by itself: {line}" for line in self.surprises]
        return found


class Run:
    """One run on a cluster.

    Parameters
    ----------
    place : Cluster
    directory : Path
        Of logs and the captured run.
    seed : str
    variant : str
        Name of a broken variant; empty for the product.
    say : callable
        Told of each round.
    """

    def __init__(self, place: Cluster, directory: Path, seed: str, variant: str, say: Say) -> None:
        self._place, self._directory, self._variant, self._say = place, directory, variant, say
        self._random = random.Random(f"{seed}/{variant}")
        self._members = Members(place.proxied, directory, seed, variant)
        self._watch = JournalWatch(place.direct)
        self._feed = Feed(place.direct, seed)
        self.report = Report(seed)

    async def go(self, faults: list[str]) -> None:
        """Run through `faults`, drain, and judge."""
        started = time.monotonic()
        watching = asyncio.create_task(self._watch.run())
        feeding = asyncio.create_task(self._feed.run())
        try:
            for _ in range(PROCESSES):
                await self._members.new().start()
            await self._progress("at the start")
            for number, fault in enumerate(faults):
                if self.report.stuck:
                    break
                await self._round(number, fault)
            self._feed.stop()
            await feeding
            if not self.report.stuck:
                await self._drain(_BROKEN_DRAIN_S if self._variant else _DRAIN_S)
        finally:
            for member in self._members.all:
                self.report.surprises += member.surprises
            await self._members.close()
            for task in (watching, feeding):
                task.cancel()
            await asyncio.wait([watching, feeding])
        self.report.verdict = await self._judge()
        self.report.seconds = time.monotonic() - started

    # Rounds

    async def _round(self, number: int, fault: str) -> None:
        await asyncio.sleep(self._random.uniform(0.2, 1.5))
        started = time.monotonic()
        parts = fault.split(" + ")
        # Each has a source of chance of its own: which of two ends first must not change what they draw.
        told = await asyncio.gather(*(self._do(part, random.Random(f"{self._random.random()}")) for part in parts))
        await self._members.supervise()
        await self._progress(f"round {number}: {fault}")
        self.report.rounds += 1
        self.report.faults.append(fault)
        done = "; ".join(told)
        commits = sum(self._watch.commits.values())
        self._say(f"round {number:3d} {time.monotonic() - started:5.1f} s  {done}  ({commits} commits)")

    async def _progress(self, when: str) -> None:
        """Wait for a further commit of every partition, as a supervisor would: starting again what has ended."""
        deadline = time.monotonic() + PROGRESS_S
        progress = asyncio.create_task(self._watch.progress(PROGRESS_S))
        while not progress.done() and time.monotonic() < deadline + 5:
            await self._members.supervise()
            await asyncio.wait([progress], timeout=0.5)
        still = await progress
        if still:
            await self._members.say_where()
            self.report.stuck.append(f"{when}: partitions {still} made no commit within {PROGRESS_S:.0f} s")

    async def _do(self, fault: str, draw: random.Random) -> str:
        name, at, point = fault.partition(" at")
        action: Callable[[random.Random, str], Awaitable[str]] = {
            "calm": self._calm,
            "kill": self._kill,
            "freeze": self._freeze,
            "fail": self._fail,
            "restart": self._restart,
            "kill broker": self._kill_broker,
            "drop": self._drop,
            "stall": self._stall,
            "add": self._add,
            "remove": self._remove,
        }[name]
        return await action(draw, point.strip() or (draw.choice(POINTS) if at else ""))

    def _pick(self, draw: random.Random) -> Member | None:
        present = [member for member in self._members.present if not member.frozen]
        return draw.choice(present) if present else None

    async def _calm(self, _draw: random.Random, _point: str) -> str:
        await asyncio.sleep(3.0)
        return "calm"

    async def _kill(self, draw: random.Random, point: str) -> str:
        member = self._pick(draw)
        if member is None:
            return "nobody to kill"
        hit = await self._hit(member, point, signal.SIGKILL)
        await member.kill()
        await asyncio.sleep(draw.choice([0.0, 0.5, SESSION_TIMEOUT_S]))
        await member.start()
        return f"kill {member.name}{hit}"

    async def _freeze(self, draw: random.Random, point: str) -> str:
        member = self._pick(draw)
        if member is None:
            return "nobody to freeze"
        member.frozen = True
        hit = await self._hit(member, point, signal.SIGSTOP)
        seconds = SESSION_TIMEOUT_S * draw.uniform(1.1, 2.2)
        await asyncio.sleep(seconds)
        member.send(signal.SIGCONT)
        member.frozen = False
        return f"freeze {member.name}{hit} for {seconds:.1f} s"

    async def _fail(self, draw: random.Random, point: str) -> str:
        member = self._pick(draw)
        if member is None:
            return "nobody to fail"
        if point in EARLY_POINTS:
            point = "committed"
        member.ask(point, FAIL)
        return f"fail {member.name}{'' if await member.reached(_POINT_S) else ' (not)'} at {point}"

    async def _hit(self, member: Member, point: str, number: signal.Signals) -> str:
        """Let a member be hit at a fault point, or hit it where it is."""
        if point:
            if point in EARLY_POINTS:
                # Reached by whoever takes a partition over: a process that comes back does.
                await member.kill()
                await member.start()
            member.ask(point, number.name)
            if await member.reached(_POINT_S * 4 if point in EARLY_POINTS else _POINT_S):
                return f" at {point}"
        member.send(number)
        return f" (not at {point})" if point else ""

    async def _restart(self, _draw: random.Random, _point: str) -> str:
        await self._place.restart(kill=False)
        return "restart the broker"

    async def _kill_broker(self, _draw: random.Random, _point: str) -> str:
        await self._place.restart(kill=True)
        return "kill the broker"

    async def _drop(self, draw: random.Random, _point: str) -> str:
        times = draw.randrange(1, 5)
        dropped = 0
        for _ in range(times):
            dropped += self._place.proxy.drop()
            await asyncio.sleep(draw.uniform(0.0, 0.6))
        return f"drop {dropped} connections in {times} goes"

    async def _stall(self, draw: random.Random, _point: str) -> str:
        seconds = draw.choice([0.3, 1.5, SESSION_TIMEOUT_S * 1.5, SESSION_TIMEOUT_S * 2.5])
        self._place.proxy.stall()
        await asyncio.sleep(seconds)
        if draw.random() < 0.5:
            self._place.proxy.drop()
        self._place.proxy.resume()
        return f"stall for {seconds:.1f} s"

    async def _add(self, draw: random.Random, point: str) -> str:
        if len(self._members.present) >= _MOST:
            return await self._remove(draw, point)
        gone = [member for member in self._members.all if member.expected and not member.running]
        member = gone[0] if gone else self._members.new()
        await member.start()
        return f"add {member.name}"

    async def _remove(self, draw: random.Random, point: str) -> str:
        if len(self._members.present) <= _FEWEST:
            return await self._add(draw, point)
        member = self._pick(draw)
        if member is None:
            return "nobody to remove"
        code = await member.leave(_LEAVE_S)
        if code != 0:
            member.surprises.append(f"{member.name}.{member.starts} was told to leave and left with code {code}")
        return f"remove {member.name}"

    # The end

    async def _drain(self, within_s: float) -> None:
        while len(self._members.present) < PROCESSES:
            await self._add(self._random, "")
        deadline = time.monotonic() + within_s
        draining = asyncio.create_task(self._watch.drained(within_s))
        while not draining.done() and time.monotonic() < deadline + 5:
            await self._members.supervise()
            await asyncio.wait([draining], timeout=0.5)
        self.report.stuck += [f"not drained: {line}" for line in await draining]
        for member in self._members.present:
            code = await member.leave(_LEAVE_S)
            if code != 0:
                self.report.surprises.append(f"{member.name} left with code {code} in the end")

    async def _judge(self) -> judge.Verdict:
        settings = self._place.direct
        ends = await input_ends(settings)
        captured = self._directory / "captured"
        await capture(settings, captured, outputs=True)
        published: dict[judge.Place, list[judge.Published]] = {}
        for topic in judge.PUBLISHED:
            for record in await read_topic(settings, settings.topics.name(topic)):
                made = judge.Published(record.key, record.value, record.headers)
                published.setdefault((topic, record.partition), []).append(made)
        journal = await read_topic(settings, settings.topics.name(judge.Topic.JOURNAL))
        derived = derive(captured, settings)
        verdict = await asyncio.to_thread(judge.judge, journal, ends, published, derived, settings, PARTITIONS)
        verdict.add("audit", await judge.audit(captured, settings, verdict.counts))
        return verdict


def drawn(seed: str, rounds: int) -> list[str]:
    """Return the faults of a seed's rounds."""
    draw = random.Random(f"{seed}/faults")

    def one() -> str:
        return draw.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]

    return [f"{one()} + {one()}" if draw.random() < _DOUBLE else one() for _ in range(rounds)]


async def run(seed: str, faults: list[str], directory: Path, say: Say, variant: str = "") -> Report:
    """Run through `faults` on a broker of its own and return the report; logs stay in `directory`."""
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(cluster(f"chaos-{variant or 'run'}"))
        for topic, config in (VARIANTS[variant].topic_configs if variant else {}).items():
            await place.alter(topic, config)
        made = Run(place, directory, seed, variant, say)
        await made.go(faults)
        return made.report
