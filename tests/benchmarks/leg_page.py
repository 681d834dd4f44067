"""The live page by itself: a process that follows what a service publishes, as the service would, and shows it.

Its processor time is what the page takes from a service that serves it, without the noise of the rest.
"""

from __future__ import annotations

import asyncio
import sys
import time

from aiohttp import web

from impactd.config import Settings
from impactd.shell.durations import Durations
from impactd.shell.kafka.status import PartitionStatus, Status
from impactd.shell.live.condition import condition
from impactd.shell.live.follow import Follower
from impactd.shell.live.pages import add_page
from impactd.shell.metrics import Reading
from tests.benchmarks.legs import Measured, reply

READY = "ready"


async def serve(settings: Settings, port: int) -> Measured:
    """Serve until standard input ends; return how many records were folded, and what that took."""
    status = Status(partitions={0: PartitionStatus(partition=0, token=1)})

    def health() -> bytes:
        now = time.monotonic()
        reading = Reading(
            status=status,
            now=now,
            wall_ns=time.time_ns(),
            ready=True,
            loop_delays=Durations(),
            longest_loop_delay_s=0.0,
            suppressed_logs=0,
            started=now,
        )
        return condition(reading, [], "UTC")

    follower = Follower(settings, health)
    app = web.Application()
    add_page(app, follower, health, token=None, max_readers=50, host="127.0.0.1")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.to_thread(sys.stdin.read)
    measured = Measured(follower.board.version, time.perf_counter() - started, time.process_time() - cpu)
    await follower.close()
    await runner.cleanup()
    return measured


if __name__ == "__main__":
    reply(asyncio.run(serve(Settings.model_validate_json(sys.argv[1]), int(sys.argv[2]))))
