"""The service itself, as ``impactd run`` starts it, measured from outside by what it has committed.

The journal has a record a commit with the positions that it reached, in the same transaction as its outputs; the
record's timestamp is the commit's beginning.  What is counted are the messages of all commits after the first, over
the time from the first commit to the last.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Final

import orjson

from impactd.core.messages import Topic
from impactd.shell.kafka.client import KafkaSettings
from impactd.shell.kafka.consume import tail
from impactd.shell.kafka.topics import create_topics
from tests.benchmarks.books import SIZES
from tests.benchmarks.legs import LEG_TIMEOUT_S, Measured

_DRAIN_S: Final = 15.0


def run_service(source: KafkaSettings, messages: int, place: str) -> Measured:
    """Run a service on the ticks of `source` until it has committed `messages`.

    Parameters
    ----------
    source : KafkaSettings
        Where the ticks are.
    messages : int
        How many the topic holds.
    place : str
        Prefix of the topics, group and environment that this service has for itself.

    Raises
    ------
    RuntimeError
        If the service ends by itself or does not drain.
    """
    settings = replace(
        source,
        environment=place,
        group=place,
        topic_prefix=f"{place}.",
        topics={Topic.TICKS: source.topic(Topic.TICKS)},
    )
    asyncio.run(create_topics(settings))
    with tempfile.TemporaryFile() as log:
        service = subprocess.Popen([sys.executable, "-m", "impactd", "run", *_flags(settings)], stdout=log, stderr=log)
        try:
            measured = asyncio.run(_watch(settings, service, messages))
            service.send_signal(signal.SIGTERM)
            code = service.wait(_DRAIN_S)
        except (RuntimeError, TimeoutError, subprocess.TimeoutExpired) as error:
            log.seek(0)
            raise RuntimeError(f"{error}; its log ends:\n{log.read()[-4000:].decode(errors='replace')}") from error
        finally:
            service.kill()
            service.wait()
    if code != 0:
        raise RuntimeError(f"the service left with code {code}")
    return measured


def _flags(settings: KafkaSettings) -> list[str]:
    values = {
        "kafka.bootstrap": settings.bootstrap,
        "kafka.environment": settings.environment,
        "kafka.group": settings.group,
        "topics.prefix": settings.topic_prefix,
        "topics.names.ticks": settings.topic(Topic.TICKS),
        "books.sizes": list(SIZES),
        "log.level": "warning",
        "http.port": "0",
    }
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


async def _watch(settings: KafkaSettings, service: subprocess.Popen[bytes], messages: int) -> Measured:
    """Return what `_committed` finds; fail where the service ends before."""
    counting = asyncio.create_task(_committed(settings, service.pid, messages))
    try:
        async with asyncio.timeout(LEG_TIMEOUT_S):
            while not counting.done():
                if service.poll() is not None:
                    raise RuntimeError(f"the service ended by itself with code {service.returncode}")
                await asyncio.wait([counting], timeout=0.5)
        return counting.result()
    finally:
        counting.cancel()
        await asyncio.wait([counting])


async def _committed(settings: KafkaSettings, pid: int, messages: int) -> Measured:
    """Return what was committed between the first commit of ticks and the one that reaches `messages`."""
    first: tuple[int, int, float] | None = None
    async with aclosing(tail(settings, settings.topic(Topic.JOURNAL))) as records:
        async for record in records:
            position = orjson.loads(record.value or b"{}").get("to", {}).get(Topic.TICKS)
            if position is None:
                continue
            cpu = _cpu_seconds(pid)
            if first is None:
                first = record.timestamp, position, cpu
            if position >= messages:
                return Measured(position - first[1], (record.timestamp - first[0]) / 1_000, cpu - first[2])
    raise RuntimeError("the journal's reader ended")


def _cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has taken, NaN where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
