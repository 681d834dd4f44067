"""What the broker and a client can do at most: fetches are taken as bytes and thrown away.  A process of its own."""

from __future__ import annotations

import json
import sys
import time

import uvloop
from aiokafka import TopicPartition

from impactd.config import Settings
from impactd.shell.kafka.client import manual_consumer
from tests.benchmarks.legs import Measured, reply


async def drain(bootstrap: str, topic: str, messages: int) -> Measured:
    """Return how long the messages took that followed the first fetch."""
    where = TopicPartition(topic, 0)
    consumer = manual_consumer(Settings(kafka={"bootstrap": bootstrap}))
    await consumer.start()
    try:
        consumer.assign([where])
        consumer.seek(where, 0)
        started, cpu, skipped, read = 0.0, 0.0, 0, 0
        while read < messages:
            fetched = await consumer.fetch(where, 1_000)
            if fetched is None or fetched.end is None:
                continue
            read = fetched.end
            if not started:
                started, cpu, skipped = time.perf_counter(), time.process_time(), read
        return Measured(read - skipped, time.perf_counter() - started, time.process_time() - cpu)
    finally:
        await consumer.stop()


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    reply(uvloop.run(drain(asked["bootstrap"], asked["topic"], asked["messages"])))
