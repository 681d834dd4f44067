"""How soon a service answers that starts without machine code, while ticks and orders come in.

Printed: seconds from the start of the process to the first committed plan, and to the first with a price; how long
orders waited for their plans while kernels ran as Python, and when they were compiled.  Run it on a machine that does
nothing else.

``python -m tests.soak.cold``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import orjson

from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import BrokerUnavailable, find_broker
from impactd.shell.kafka.consume import read_topics
from tests.console import say
from tests.soak import latency
from tests.soak.memory import cpu_seconds
from tests.soak.processes import LEAVE_S, kill, load, place, start

#: Ticks and orders come for so long before the process starts, and after its kernels are compiled.
_BEFORE_S: Final = 2.0
_AFTER_S: Final = 10.0
#: A busy machine takes minutes to compile.
_LONGEST_S: Final = 900.0


async def _measure(bootstrap: str, asked: argparse.Namespace, directory: Path) -> dict[str, Any]:
    settings = await place("cold", bootstrap, (Topic.TICKS, Topic.ORDERS, Topic.PLANS))
    os.environ["NUMBA_CACHE_DIR"] = str(directory / "kernels")
    seen = latency.Seen()
    log = directory / "service.log"
    reader = asyncio.create_task(latency.read(settings, seen))
    sent = load(settings, symbols=asked.symbols, rate=asked.rate, orders=asked.orders, fills=0, seconds=_LONGEST_S)
    loading = asyncio.create_task(sent)
    try:
        await _until(lambda: bool(seen.orders_sent), loading, reader)
        await asyncio.sleep(_BEFORE_S)
        began_ms = time.time_ns() / 1e6
        service = await start(settings, ["plans.apply=on_arrival"], log)
        try:
            await _until(lambda: bool(seen.order_plans), loading, reader)
            first_ms = min(seen.order_plans.values())
            used_s = cpu_seconds(service.pid)
            say(f"first plan {(first_ms - began_ms) / 1000:.2f} s after the start, {used_s:.1f} s of processor time")
            await _until(lambda: b'"compiled"' in log.read_bytes(), loading, reader)
            compiled_ms = time.time_ns() / 1e6
            await asyncio.sleep(_AFTER_S)
            service.terminate()
            async with asyncio.timeout(LEAVE_S):
                await service.wait()
        finally:
            await kill(service)
            if asked.log:
                shutil.copy(log, asked.log)
    finally:
        loading.cancel()
        reader.cancel()
        await asyncio.gather(loading, reader, return_exceptions=True)
    waits = [
        (seen.orders_sent[at], arrived - seen.orders_sent[at])
        for at, arrived in seen.order_plans.items()
        if at in seen.orders_sent
    ]
    priced = [
        record.timestamp
        async for record in read_topics(settings, settings.topics.name(Topic.PLANS))
        if orjson.loads(record.value or b"{}").get("expected_cost") is not None
    ]
    while_python = [wait for sent_ms, wait in waits if first_ms < sent_ms < compiled_ms]
    after = [wait for sent_ms, wait in waits if sent_ms > compiled_ms]
    return {
        "first_plan_s": round((first_ms - began_ms) / 1000, 2),
        "processor_s_until_then": round(used_s, 2),
        "first_priced_plan_s": round((min(priced) - began_ms) / 1000, 2) if priced else None,
        "compiled_s": round((compiled_ms - began_ms) / 1000, 1),
        "order_to_plan_until_compiled_ms": _quantiles(while_python),
        "order_to_plan_after_ms": _quantiles(after),
        "load": [round(one, 1) for one in os.getloadavg()],
    }


async def _until(enough: Any, *tasks: asyncio.Task[Any]) -> None:
    while not enough():
        for task in tasks:
            if task.done():
                task.result()
        await asyncio.sleep(0.02)


def _quantiles(waits: list[float]) -> dict[str, float]:
    return {"orders": len(waits), **{f"p{q}": round(latency.quantile(waits, q / 100), 1) for q in (50, 99) if waits}}


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.cold", description=__doc__)
    parser.add_argument("--rate", type=float, default=500.0, help="ticks a second (default %(default)s)")
    parser.add_argument("--orders", type=float, default=2.0, help="orders a second (default %(default)s)")
    parser.add_argument("--symbols", type=int, default=20, help="symbols (default %(default)s)")
    parser.add_argument("--log", help="where to keep the log of the service")
    asked = parser.parse_args()
    try:
        with find_broker() as broker, tempfile.TemporaryDirectory(prefix="impactd-cold-") as directory:
            say(json.dumps(asyncio.run(_measure(broker.bootstrap, asked, Path(directory))), indent=2))
    except BrokerUnavailable as error:
        sys.stderr.write(f"cold: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
