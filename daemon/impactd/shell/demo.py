"""Runs a recorded day live through a broker and again from its files, and compares the results.

One process publishes the day at a pace, runs the service on it, trades its
plans on paper and follows what the service publishes.  When all is applied, the
published records are written to files and compared, byte for byte, with a replay
of the day's files and the fills under the same settings.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson
from aiokafka import TopicPartition

from impactd.config import Settings
from impactd.config.cluster import TopicNames
from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import Topic
from impactd.shell.ask import http_url
from impactd.shell.broker.broker import Broker
from impactd.shell.http import serve_page
from impactd.shell.kafka.client import close_within, manual_consumer
from impactd.shell.kafka.consume import read_topics, tail
from impactd.shell.kafka.errors import FatalError
from impactd.shell.kafka.paper_day import paper_day
from impactd.shell.kafka.publish import publish
from impactd.shell.kafka.registry import Readable
from impactd.shell.kafka.service import Service
from impactd.shell.kafka.status import Status
from impactd.shell.kafka.topics import create_topics, partition_counts, touch_topics
from impactd.shell.kafka.warm import compiled
from impactd.shell.operate import observed
from impactd.shell.outputs import FILES
from impactd.shell.replay import ReplaySummary, Sources, replay
from impactd.shell.view import Scene
from impactd.wire.codec import Limits
from impactd.wire.message_types import Timestamps

#: What is compared; dead letters have another form on the topic than in the file.
COMPARED: Final = (Topic.ESTIMATES, Topic.MODELS, Topic.PLANS, Topic.SLICES, Topic.ALERTS, Topic.TCA)

#: A service that commits nothing for this long, with records to apply, is stuck.
_STALL_S: Final = 60.0

#: The mock gives one batch a fetch; a trader waits for every batch.
_MOCK_LINGER_MS: Final = 250
_MOCK_TRADED_LINGER_MS: Final = 20

#: Where the fills on paper are written.
EXECUTIONS: Final = "executions.jsonl"

#: What the view says is awaited.
FIRST_MINUTE: Final = "the service to take its topics and close the first minute"
NEXT_MINUTE: Final = "the next minute of the day"

#: Lines of one topic by symbol, in their order.
Lines = dict[str | None, list[bytes]]


@dataclass(frozen=True, slots=True)
class Compared:
    """One topic against its file: how many lines each has, and how many of them differ or are in one only."""

    published: int
    replayed: int
    different: int


@dataclass(frozen=True, slots=True)
class DemoResult:
    """How the demo went."""

    compared: Mapping[Topic, Compared]
    replayed: ReplaySummary
    status: Status
    #: Input records by topic; fills on paper are among the executions.
    published: Mapping[str, int]
    #: From the first to the last record published.
    seconds: float

    @property
    def equal(self) -> bool:
        """Whether the broker's way and the file's gave the same bytes."""
        return all(item.different == 0 for item in self.compared.values())


async def run_demo(
    settings: Settings,
    core: CoreSettings,
    sources: Sources,
    out: Path,
    *,
    scene: Scene,
    speed: float | None,
    can_create: bool,
    limits: Limits | None = None,
    timestamps: Timestamps = "int",
    compiling: Callable[[float], None] | None = None,
    updated: Callable[[], None] | None = None,
    listening: Callable[[str], None] | None = None,
    stay: Callable[[], None] | None = None,
) -> DemoResult:
    """Send a day through the broker and the service, and compare with a replay of its files.

    Parameters
    ----------
    settings : Settings
        With topics, group and environment that nobody else uses.
    core : CoreSettings
        Applied in event time. Where fills are reported and `sources` has none, plans are traded on paper.
    out : Path
        Gets ``live/`` and ``replay/``, and the fills on paper.
    scene : Scene
        Takes in what the service publishes, as it comes, and what is awaited.
    speed : float or None
        Seconds of event time in a second; None: as fast as possible.
    can_create : bool
        Whether the broker makes topics when asked to; the mock makes one when it is first named.
    compiling : callable, optional
        Told every few seconds for how long the first start has compiled.
    stay : callable, optional
        Called when the day has been applied: service and page then stay until they are interrupted.
    """
    # The day's minute is for watching: it begins when nothing is left to compile, whatever the machine.
    scene.waits_for = "the kernels, which compile for about a minute the first time"
    await compiled(core, asyncio.Event(), compiling or (lambda _: None))
    await (create_topics(settings) if can_create else touch_topics(settings))
    scene.waits_for = FIRST_MINUTE
    service = Service(settings, core)
    on_paper = core.plans.fills == "reported" and sources.executions is None
    running = asyncio.create_task(service.run())
    following = asyncio.create_task(_follow(settings, scene, updated or (lambda: None)))
    try:
        async with observed(service, core) as address, _page(settings, address, listening):
            async with paper_day(settings, core.books) if on_paper else nullcontext() as trader:
                work = publish(settings, sources, speed=speed, limits=limits, trader=trader)
                summary = await _unless_ended(work, running, following, service=service)
            scene.waits_for = "the service to apply the last ticks"
            await _unless_ended(_applied(settings), running, following, service=service)
            status = service.status
            if stay is not None:
                scene.waits_for = "Ctrl-C; the live page stays open until then"
                stay()
                await _interrupted(running, following, service=service)
    finally:
        following.cancel()
        service.stop()
        # A second interrupt must not cut the drain short: the broker is stopped right after it.
        await asyncio.shield(asyncio.wait([running, following]))
    if service.error is not None:
        raise FatalError(str(service.error)) from service.error
    scene.waits_for = "the replay of the day's files, to compare"
    live = await _published(settings)
    await asyncio.to_thread(_write, live, out / "live")
    if trader is not None:
        sources = replace(sources, executions=out / EXECUTIONS)
        (out / EXECUTIONS).write_bytes(b"".join(orjson.dumps(fill) + b"\n" for fill in trader.executions))
    replayed = await asyncio.to_thread(
        replay,
        sources,
        core,
        out / "replay",
        partitions=(await partition_counts(settings))[Topic.TICKS],
        limits=limits,
        timestamps=timestamps,
        # The service closes the last minute when it has been silent for as long, and nobody waits for that here.
        close_last=await _closed(settings),
    )
    compared = {
        topic: _compare(_by_symbol(live[topic]), _read_lines(out / "replay" / FILES[topic])) for topic in COMPARED
    }
    return DemoResult(compared, replayed, status, summary.records, summary.seconds)


async def _interrupted(*others: asyncio.Task[Any], service: Service) -> None:
    """Return when this task is cancelled, which an interrupt does once: what is left to do is then done."""
    try:
        await _unless_ended(asyncio.Event().wait(), *others, service=service)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()


@asynccontextmanager
async def _page(
    settings: Settings, service: tuple[str, int] | None, listening: Callable[[str], None] | None
) -> AsyncIterator[None]:
    """Serve the live page for the length of a block, as `impactd page` does; not where HTTP is off."""
    if service is None:
        yield
        return
    async with serve_page(settings, [http_url(*service)]) as address:
        if listening is not None:
            listening(f"{http_url(*address)}/")
        yield


async def _unless_ended(work: Any, *others: asyncio.Task[Any], service: Service) -> Any:
    """Return what `work` gives, unless one of `others`, which have no end of their own, ends before."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task, *others], return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
    if task.cancelled():
        for other in others:
            if other.done():
                other.result()
        raise FatalError(str(service.error or "the service ended early"))
    return task.result()


async def _follow(settings: Settings, scene: Scene, updated: Callable[[], None]) -> None:
    """Fold everything that is published into `scene`, forever."""
    roles = {settings.topics.name(topic): topic for topic in COMPARED}
    readable = Readable(settings)
    async with aclosing(tail(settings, *roles)) as records:
        async for record in records:
            [value] = await readable([record.value])
            scene.take(roles[record.topic], orjson.loads(value or b"null"))
            if scene.clock and scene.waits_for == FIRST_MINUTE:
                scene.waits_for = NEXT_MINUTE
            updated()


async def _applied(settings: Settings) -> None:
    """Return once the journal shows every tick on the broker in a commit."""
    consumer = manual_consumer(settings)
    await consumer.start()
    try:
        count = (await partition_counts(settings))[Topic.TICKS]
        places = [TopicPartition(settings.topics.name(Topic.TICKS), partition) for partition in range(count)]
        left = {place.partition: end for place, end in (await consumer.end_offsets(places)).items() if end}
    finally:
        await close_within(consumer.stop())
    loop = asyncio.get_running_loop()
    try:
        async with (
            asyncio.timeout(_STALL_S) as deadline,
            aclosing(tail(settings, settings.topics.name(Topic.JOURNAL))) as journal,
        ):
            while left:
                commit = orjson.loads((await anext(journal)).value or b"null")
                deadline.reschedule(loop.time() + _STALL_S)
                if commit.get("to", {}).get(Topic.TICKS, 0) >= left.get(commit["partition"], math.inf):
                    del left[commit["partition"]]
    except TimeoutError as error:
        raise FatalError(f"the service has committed nothing for {_STALL_S:.0f} s; see its log") from error


async def _closed(settings: Settings) -> frozenset[int]:
    """Return the partitions whose last minute was closed, as their journals tell."""
    idle: dict[int, bool] = {}
    async for record in read_topics(settings, settings.topics.name(Topic.JOURNAL)):
        commit = orjson.loads(record.value or b"null")
        has_ticks = Topic.TICKS in commit.get("to", {})
        idle[record.partition] = commit.get("idle_to") is not None or (
            idle.get(record.partition, False) and not has_ticks
        )
    return frozenset(partition for partition, is_idle in idle.items() if is_idle)


async def _published(settings: Settings) -> dict[Topic, list[bytes]]:
    """Return what was published, by topic."""
    readable = Readable(settings)
    found: dict[Topic, list[bytes]] = {}
    for topic in COMPARED:
        values = [record.value async for record in read_topics(settings, settings.topics.name(topic))]
        found[topic] = [value or b"" for value in await readable(values)]
    return found


def _write(values: Mapping[Topic, list[bytes]], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for topic, lines in values.items():
        (directory / FILES[topic]).write_bytes(b"".join(line + b"\n" for line in lines))


def _read_lines(path: Path) -> Lines:
    return _by_symbol(path.read_bytes().splitlines())


def _by_symbol(values: list[bytes]) -> Lines:
    """Group lines by symbol: only within one do they have an order on a topic of several partitions."""
    lines: Lines = {}
    for value in values:
        lines.setdefault(orjson.loads(value)["symbol"], []).append(value)
    return lines


def _compare(live: Lines, replayed: Lines) -> Compared:
    different = 0
    for symbol in live.keys() | replayed.keys():
        ours, theirs = live.get(symbol, []), replayed.get(symbol, [])
        different += sum(a != b for a, b in zip(ours, theirs, strict=False)) + abs(len(ours) - len(theirs))
    return Compared(sum(map(len, live.values())), sum(map(len, replayed.values())), different)


def demo_settings(settings: Settings, broker: Broker, name: str, *, traded: bool) -> Settings:
    """Return settings under which a demo disturbs nobody on its broker.

    Parameters
    ----------
    name : str
        Names environment, group and topics.
    traded : bool
        Whether plans are traded while the day is published.
    """
    mock_linger_ms = _MOCK_TRADED_LINGER_MS if traded else _MOCK_LINGER_MS
    kafka = settings.kafka
    return settings.replace(
        kafka=kafka.replace(
            bootstrap=broker.bootstrap,
            environment=name,
            group=name,
            start="earliest",
            # The mock writes the marks of transactions without a checksum, and a fetch from it returns one batch.
            check_crcs=kafka.check_crcs and broker.is_real,
            linger_ms=kafka.linger_ms if broker.is_real else mock_linger_ms,
        ),
        topics={
            "prefix": f"{name}.",
            "names": TopicNames(),
            "replication_factor": 1,
            "min_insync_replicas": 1,
            "input_retention_ms": -1,
            "output_retention_ms": -1,
        },
    )
