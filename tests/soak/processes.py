"""The service and its load as processes, with topics of their own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.kafka.topics import admin_client, create_topics
from tests.soak.load import PARTITIONS

#: How long a process has to leave after a signal.
LEAVE_S: Final = 30.0
_READY_S: Final = 300.0


async def place(kind: str, bootstrap: str, stamped: Iterable[Topic]) -> Settings:
    """Return settings whose topics exist; the broker stamps the records of `stamped` as it appends them."""
    name = f"{kind}-{os.getpid()}"
    settings = Settings(
        kafka={"bootstrap": bootstrap, "environment": name, "group": name},
        topics={"prefix": f"{name}.", "partitions": PARTITIONS},
    )
    await create_topics(settings)
    config = {"message.timestamp.type": "LogAppendTime"}
    names = [settings.topics.name(topic) for topic in stamped]
    async with admin_client(settings) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, config) for name in names])
    return settings


async def start(settings: Settings, further: Iterable[str], log: Path) -> Process:
    """Start a service that writes to `log`; `further` settings are NAME=VALUE."""
    values = {
        "kafka.bootstrap": settings.kafka.bootstrap,
        "kafka.environment": settings.kafka.environment,
        "kafka.group": settings.kafka.group,
        "topics.prefix": settings.topics.prefix,
        # Else the orders that are remembered, and memory with them, grow for a day.
        "plans.keep_ended_s": "30",
        "http.port": "0",
        "log.format": "json",
    }
    given = [*(f"{name}={value}" for name, value in values.items()), *further]
    options = [part for setting in given for part in ("--set", setting)]
    with log.open("wb") as out:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.leash", "run", *options, stdin=subprocess.PIPE, stdout=out, stderr=out
        )


async def until_logged(service: Process, log: Path, enough: Callable[[bytes], bool]) -> None:
    """Wait until the log of a service has `enough` in it.

    Raises
    ------
    RuntimeError
        If the service ends before.
    """
    async with asyncio.timeout(_READY_S):
        while not enough(log.read_bytes()):  # noqa: ASYNC240  (a local file)
            if service.returncode is not None:
                raise RuntimeError(f"a service left with code {service.returncode}: {log.read_text('utf-8')[-2000:]}")  # noqa: ASYNC240
            await asyncio.sleep(0.1)


async def load(settings: Settings, **asked: float) -> dict[str, Any]:
    """Run `tests.soak.load` in a process of its own, and return what it sent; cancelled, it is killed."""
    return await _told("tests.soak.load", settings, asked)


async def bare(settings: Settings, seconds: float) -> list[float]:
    """Run `tests.soak.bare` on topics of its own in a process of its own; return what each transaction took, ms."""
    own = settings.replace(topics={"prefix": f"{settings.topics.prefix}bare.", "partitions": 1})
    await create_topics(own)
    return list((await _told("tests.soak.bare", own, {"seconds": seconds}))["ms"])


async def _told(module: str, settings: Settings, asked: Mapping[str, float]) -> dict[str, Any]:
    """Return what a module, run as a process, prints."""
    wanted = {"bootstrap": settings.kafka.bootstrap, "prefix": settings.topics.prefix, **asked}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, json.dumps(wanted), stdout=subprocess.PIPE
    )
    try:
        told, _ = await process.communicate()
    finally:
        await kill(process)
    return dict(json.loads(told))


async def kill(process: Process) -> None:
    """End a process that has not ended."""
    if process.returncode is None:
        process.kill()
        await process.wait()
