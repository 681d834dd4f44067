"""The service itself, as ``impactd run`` starts it, measured from outside by what it has committed.

The journal has a record a commit with the positions that it reached, in the same transaction as its outputs; the
record's timestamp is the commit's beginning.  What is counted are the messages of all commits after the first, over
the time from the first commit to the last; or, of several processes, after the first that comes when they have had
time to share the partitions.
"""

from __future__ import annotations

import asyncio
import math
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Final

import orjson

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.kafka.consume import tail
from impactd.shell.kafka.topics import create_topics
from tests.benchmarks.books import SIZES
from tests.benchmarks.legs import LEG_TIMEOUT_S, Measured
from tests.soak.memory import cpu_seconds

_DRAIN_S: Final = 15.0


def run_service(
    source: Settings,
    messages: int,
    place: str,
    *,
    processes: int = 1,
    settle_s: float = 0.0,
    look: Callable[[], AbstractAsyncContextManager[object]] | None = None,
) -> Measured:
    """Run a service on the ticks of `source` until it has committed `messages`.

    Parameters
    ----------
    source : Settings
        Where the ticks are.
    messages : int
        How many the topic holds.
    place : str
        Prefix of the topics, group and environment that this service has for itself.
    processes : int
        Of the service, in one group.
    settle_s : float
        Time after the first commit that does not count.
    look : callable, optional
        Makes what is done meanwhile.

    Raises
    ------
    RuntimeError
        If the service ends by itself or does not drain.
    """
    settings = source.replace(
        kafka={"environment": place, "group": place},
        topics={"prefix": f"{place}.", "names": {"ticks": source.topics.name(Topic.TICKS)}},
    )
    asyncio.run(create_topics(settings))
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "impactd", "run", *_flags(settings)]
        services = [subprocess.Popen(command, stdout=log, stderr=log) for _ in range(processes)]
        try:
            looking = nullcontext() if look is None else look()
            measured = asyncio.run(_watch(settings, services, messages, settle_s, looking))
            for service in services:
                service.send_signal(signal.SIGTERM)
            codes = [service.wait(_DRAIN_S) for service in services]
        except (RuntimeError, TimeoutError, subprocess.TimeoutExpired) as error:
            log.seek(0)
            raise RuntimeError(f"{error}; its log ends:\n{log.read()[-4000:].decode(errors='replace')}") from error
        finally:
            for service in services:
                service.kill()
                service.wait()
    if any(codes):
        raise RuntimeError(f"the service left with code {max(codes)}")
    return measured


def _flags(settings: Settings) -> list[str]:
    values = {
        "kafka.bootstrap": settings.kafka.bootstrap,
        "kafka.environment": settings.kafka.environment,
        "kafka.group": settings.kafka.group,
        "topics.prefix": settings.topics.prefix,
        "topics.names.ticks": settings.topics.name(Topic.TICKS),
        "books.sizes": list(SIZES),
        "log.level": "warning",
        "http.port": 0,
    }
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


async def _watch(
    settings: Settings,
    services: Sequence[subprocess.Popen[bytes]],
    messages: int,
    settle_s: float,
    looking: AbstractAsyncContextManager[object],
) -> Measured:
    """Return what `_committed` finds while somebody looks; fail where a process ends before."""
    pids = [service.pid for service in services]
    counting = asyncio.create_task(_committed(settings, pids, messages, settle_s))
    try:
        async with asyncio.timeout(LEG_TIMEOUT_S), looking:
            while not counting.done():
                for service in services:
                    if service.poll() is not None:
                        raise RuntimeError(f"the service ended by itself with code {service.returncode}")
                await asyncio.wait([counting], timeout=0.5)
        return counting.result()
    finally:
        counting.cancel()
        await asyncio.wait([counting])


async def _committed(settings: Settings, pids: Sequence[int], messages: int, settle_s: float) -> Measured:
    """Return what was committed between the first commit of ticks that counts and the one that reaches `messages`."""
    begun: int | None = None
    first: tuple[int, int, float] | None = None
    reached: dict[int, int] = {}
    async with aclosing(tail(settings, settings.topics.name(Topic.JOURNAL))) as records:
        async for record in records:
            position = orjson.loads(record.value or b"{}").get("to", {}).get(Topic.TICKS)
            if position is None:
                continue
            reached[record.partition] = max(position, reached.get(record.partition, 0))
            at, done, cpu = record.timestamp, sum(reached.values()), math.fsum(map(cpu_seconds, pids))
            begun = at if begun is None else begun
            if first is None and at >= begun + 1_000 * settle_s:
                first = at, done, cpu
            if done >= messages:
                if first is None or first[0] >= at:
                    raise RuntimeError("all was committed before it could be measured: give more messages")
                return Measured(done - first[1], (at - first[0]) / 1_000, cpu - first[2])
    raise RuntimeError("the journal's reader ended")
