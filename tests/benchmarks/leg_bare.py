"""The yardstick: aiokafka drains a partition, and orjson parses each message.  A process of its own.

Nothing is kept and nothing is committed.  It fetches as much at a time as the service does.
"""

from __future__ import annotations

import asyncio
import json
import sys

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from impactd.shell.kafka.client import FETCH_BYTES
from tests.benchmarks.legs import Measured, drain, reply


async def bare(bootstrap: str, topic: str, messages: int) -> Measured:
    """Return how long the messages took that followed the first fetch."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=FETCH_BYTES
    )

    async def fetch(where: TopicPartition) -> int:
        records = (await consumer.getmany(where, timeout_ms=1_000)).get(where, [])
        for record in records:
            orjson.loads(record.value)
        return len(records)

    return await drain(consumer, topic, messages, fetch)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    reply(asyncio.run(bare(asked["bootstrap"], asked["topic"], asked["messages"])))
