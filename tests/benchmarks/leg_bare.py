"""The yardstick: aiokafka drains a partition, and orjson parses each message.  A process of its own.

Nothing is kept and nothing is committed.  It fetches as much at a time as the service does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from impactd.shell.kafka.client import FETCH_BYTES
from tests.benchmarks.legs import Measured, reply


async def drain(bootstrap: str, topic: str, messages: int) -> Measured:
    """Return how long the messages took that followed the first fetch."""
    where = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=FETCH_BYTES
    )
    await consumer.start()
    try:
        consumer.assign([where])
        consumer.seek(where, 0)
        started, cpu, skipped, read = 0.0, 0.0, 0, 0
        while read < messages:
            fetched = await consumer.getmany(where, timeout_ms=1_000)
            for record in fetched.get(where, []):
                orjson.loads(record.value)
                read += 1
            if not started and read:
                started, cpu, skipped = time.perf_counter(), time.process_time(), read
        return Measured(read - skipped, time.perf_counter() - started, time.process_time() - cpu)
    finally:
        await consumer.stop()


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    reply(asyncio.run(drain(asked["bootstrap"], asked["topic"], asked["messages"])))
