"""``make soak``: the service at a fixed rate for a chosen time; its memory and its latencies.

Exit code 0 when it has run through and its memory, where the run is long enough to tell, does not grow beyond noise
after the warm-up; figures are printed either way.  Run it on a machine that does nothing else: latencies are those of
the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import BrokerUnavailable, find_broker
from tests.console import say
from tests.soak import latency, memory
from tests.soak.load import PARTITIONS
from tests.soak.processes import LEAVE_S, bare, kill, load, place, start, until_logged

#: Share of the time that counts as warm-up: of ten minutes, as long as orders are remembered and a minute more.
_WARM_UP: Final = 0.4


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


async def _soak(bootstrap: str, asked: argparse.Namespace, directory: Path) -> dict[str, Any]:
    settings = await place("soak", bootstrap, (Topic.TICKS, Topic.ORDERS))
    log = directory / "service.log"
    service = await start(settings, asked.set, log)
    seen, samples = latency.Seen(), list[memory.Sample]()
    tasks: list[asyncio.Task[None]] = []
    try:
        await until_logged(service, log, lambda text: text.count(b"partition owned") >= PARTITIONS)
        tasks = [
            asyncio.create_task(latency.read(settings, seen)),
            asyncio.create_task(memory.watch(service.pid, samples)),
        ]
        common = {"seconds": asked.minutes * 60, "symbols": asked.symbols}
        # Two processes: an order must not wait for its sender's own ticks.
        ticks, events, floor = await asyncio.gather(
            load(settings, **common, rate=asked.rate, orders=0, fills=0),
            load(settings, **common, rate=0, orders=asked.orders, fills=asked.fills),
            bare(settings, asked.minutes * 60),
        )
        sent = ticks | {name: events[name] for name in ("orders", "fills")}
        minutes = await latency.minute_latencies(settings, seen)
        service.send_signal(signal.SIGTERM)
        async with asyncio.timeout(LEAVE_S):
            code = await service.wait()
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await kill(service)
    return {"sent": sent, "seen": seen, "minutes": minutes, "bare": floor, "samples": samples, "code": code}


def _report(asked: argparse.Namespace, found: dict[str, Any]) -> bool:
    sent, seen, samples = found["sent"], found["seen"], found["samples"]
    orders = seen.order_latencies()
    say(
        f"sent {sent['ticks'] / sent['seconds']:,.0f} ticks/s for {sent['seconds'] / 60:.1f} minutes; "
        f"{sent['orders']} orders, {sent['fills']} fills; {seen.plans} plans read; exit code {found['code']}"
    )
    for line in latency.histogram("order appended to its committed plan", orders):
        say(line)
    for line in latency.histogram("tick that closes a minute to its committed plans", found["minutes"]):
        say(line)
    for line in latency.histogram("a bare transaction beside them", found["bare"]):
        say(line)
    slope = memory.slope(samples, asked.minutes * 60 * _WARM_UP)
    values = [value for _, value in samples]
    rise = "too short a run for its slope" if slope is None else f"slope after warm-up {slope}"
    say(
        f"resident memory {values[0]:.0f} MB at the start, {values[-1]:.0f} MB in the end, {max(values):.0f} at most; "
        f"{rise}"
    )
    answered = len(orders) >= 0.99 * sent["orders"]
    if not answered:
        say(f"only {len(orders)} of {sent['orders']} orders were planned")
    return answered and found["code"] == 0 and (slope is None or slope.is_zero or slope.mb_per_hour < 0)


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
