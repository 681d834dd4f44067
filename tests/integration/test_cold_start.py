"""A service without machine code answers its orders, and leaves no process behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import Broker
from tests.integration.kafka_lab import SECOND_NS, book, lab, order, records_until, send, until

pytestmark = pytest.mark.broker

_NOON_NS = 1_748_865_600_000_000_000


async def test_a_service_without_machine_code_plans_while_it_compiles(broker: Broker, tmp_path: Path) -> None:
    settings = await lab(broker.bootstrap)
    ticks = [
        ("FROG", book("FROG", at, step), at)
        for step, at in enumerate(range(_NOON_NS, _NOON_NS + 150 * SECOND_NS, 5 * SECOND_NS))
    ]
    await send(settings, Topic.TICKS, ticks)
    values: dict[str, Any] = {
        "kafka.bootstrap": settings.kafka.bootstrap,
        "kafka.environment": settings.kafka.environment,
        "kafka.group": settings.kafka.group,
        "topics.prefix": settings.topics.prefix,
        "http.port": 0,
        "log.format": "json",
    }
    flags = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "impactd", "run", *flags),
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kernels")},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    told = asyncio.create_task(process.stderr.read())
    try:
        await records_until(settings, Topic.ESTIMATES, lambda found: len(found) >= 1)
        sent = order("C1", "FROG", "buy", ticks[-1][2] + 1, 30)
        await send(settings, Topic.ORDERS, [("FROG", orjson.dumps(sent), sent["ts_event"])])
        [plan] = await records_until(settings, Topic.PLANS, lambda found: len(found) == 1)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0, (await told)[-2_000:]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert orjson.loads(plan.value or b"")["expected_cost"] > 0.0
    await until(lambda: not _processes_with(str(tmp_path)), "the end of the processes that compile")


def _processes_with(value: str) -> list[int]:
    """Return the processes that have a value in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if value.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found
