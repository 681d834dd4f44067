"""``make soak``: the service at a fixed rate for a chosen time; its memory and its latencies.

Exit code 0 when it has run through and its memory does not grow beyond noise after the warm-up; figures are printed
either way.  Run it on a machine that does nothing else: latencies are those of the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import BrokerUnavailable, find_broker
from impactd.shell.kafka.topics import admin_client, create_topics
from tests.soak import latency, memory
from tests.soak.load import PARTITIONS

#: Share of the time that counts as warm-up: of ten minutes, as long as orders are remembered and a minute more.
_WARM_UP: Final = 0.4
_READY_S: Final = 300.0
_LEAVE_S: Final = 30.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "make soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example:\n  make soak RATE=20000 MINUTES=10",
    )
    parser.add_argument("--rate", type=float, default=20_000, help="ticks a second")
    parser.add_argument("--symbols", type=int, default=20, help="of the ticks and orders")
    parser.add_argument("--minutes", type=float, default=10, help="how long")
    parser.add_argument("--orders", type=float, default=2, help="new orders a second")
    parser.add_argument("--fills", type=float, default=5, help="fills a second")
    parser.add_argument("--set", action="append", default=[], help="a further setting of the service")
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _wait_ready(log: Path, service: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(_READY_S):
        while log.read_bytes().count(b"partition owned") < PARTITIONS:  # noqa: ASYNC240  (a local file)
            if service.returncode is not None:
                raise RuntimeError(f"the service left with code {service.returncode}: {log.read_text('utf-8')[-2000:]}")  # noqa: ASYNC240
            await asyncio.sleep(0.2)


async def _stamp_at_append(settings: Settings) -> None:
    """Have the broker stamp ticks and orders as it appends them."""
    stamped = {"message.timestamp.type": "LogAppendTime"}
    names = [settings.topics.name(role) for role in (Topic.TICKS, Topic.ORDERS)]
    async with admin_client(settings) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, stamped) for name in names])


async def _load(wanted: dict[str, Any]) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.soak.load", json.dumps(wanted), stdout=subprocess.PIPE
    )
    told, _ = await process.communicate()
    return dict(json.loads(told))


async def _soak(bootstrap: str, asked: argparse.Namespace, directory: Path) -> dict[str, Any]:
    name = f"soak-{os.getpid()}"
    settings = Settings(
        kafka={"bootstrap": bootstrap, "environment": name, "group": name},
        topics={"prefix": f"{name}.", "partitions": PARTITIONS},
    )
    await create_topics(settings)
    await _stamp_at_append(settings)
    log = directory / "service.log"
    flags = {
        "kafka.bootstrap": bootstrap,
        "kafka.environment": name,
        "kafka.group": name,
        "topics.prefix": settings.topics.prefix,
        # Else the orders that are remembered, and memory with them, grow for a day.
        "plans.keep_ended_s": "30",
        "http.port": "0",
        "log.format": "json",
    }
    options = [part for setting in [*(f"{k}={v}" for k, v in flags.items()), *asked.set] for part in ("--set", setting)]
    with log.open("wb") as out:
        service = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.leash", "run", *options, stdin=subprocess.PIPE, stdout=out, stderr=out
        )
    seen, samples = latency.Seen(), list[memory.Sample]()
    tasks: list[asyncio.Task[None]] = []
    try:
        await _wait_ready(log, service)
        tasks = [
            asyncio.create_task(latency.read(settings, seen)),
            asyncio.create_task(memory.watch(service.pid, samples)),
        ]
        place = {
            "bootstrap": bootstrap,
            "prefix": settings.topics.prefix,
            "seconds": asked.minutes * 60,
            "symbols": asked.symbols,
        }
        # Two processes: an order must not wait for its sender's own ticks.
        ticks, events = await asyncio.gather(
            _load(place | {"rate": asked.rate, "orders": 0, "fills": 0}),
            _load(place | {"rate": 0, "orders": asked.orders, "fills": asked.fills}),
        )
        sent = ticks | {name: events[name] for name in ("orders", "fills")}
        minutes = await latency.minute_latencies(settings, seen)
        service.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_LEAVE_S):
            code = await service.wait()
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if service.returncode is None:
            service.kill()
            await service.wait()
    return {"sent": sent, "seen": seen, "minutes": minutes, "samples": samples, "code": code}


def _report(asked: argparse.Namespace, found: dict[str, Any]) -> bool:
    sent, seen, samples = found["sent"], found["seen"], found["samples"]
    orders = seen.order_latencies()
    _say(
        f"sent {sent['ticks'] / sent['seconds']:,.0f} ticks/s for {sent['seconds'] / 60:.1f} minutes; "
        f"{sent['orders']} orders, {sent['fills']} fills; {seen.plans} plans read; exit code {found['code']}"
    )
    for line in latency.histogram("order appended to its committed plan", orders):
        _say(line)
    for line in latency.histogram("tick that closes a minute to its committed plans", found["minutes"]):
        _say(line)
    slope = memory.slope(samples, asked.minutes * 60 * _WARM_UP)
    values = [value for _, value in samples]
    _say(
        f"resident memory {values[0]:.0f} MB at the start, {values[-1]:.0f} MB in the end, {max(values):.0f} at most; "
        f"slope after warm-up {slope.mb_per_hour:+.1f} +- {slope.error:.1f} MB/h"
    )
    answered = len(orders) >= 0.99 * sent["orders"]
    if not answered:
        _say(f"only {len(orders)} of {sent['orders']} orders were planned")
    return answered and found["code"] == 0 and (slope.is_zero or slope.mb_per_hour < 0)


def main() -> int:
    """Run it."""
    asked = _arguments()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    try:
        with find_broker() as broker, tempfile.TemporaryDirectory(prefix="impactd-soak-") as directory:
            return 0 if _report(asked, asyncio.run(_soak(broker.bootstrap, asked, Path(directory)))) else 1
    except BrokerUnavailable as error:
        sys.stderr.write(f"soak: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
