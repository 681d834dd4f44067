"""What the broker and a client can do at most: fetches are taken as bytes and thrown away.  A process of its own."""

from __future__ import annotations

import json
import sys

import uvloop
from aiokafka import TopicPartition

from impactd.config import Settings
from impactd.shell.kafka.client import manual_consumer
from tests.benchmarks.legs import Measured, drain, reply


async def thrown_away(bootstrap: str, topic: str, messages: int) -> Measured:
    """Return how long the messages took that followed the first fetch."""
    consumer = manual_consumer(Settings(kafka={"bootstrap": bootstrap}))
    position = 0

    async def fetch(where: TopicPartition) -> int:
        nonlocal position
        fetched = await consumer.fetch(where, 1_000)
        before = position
        if fetched is not None and fetched.end is not None:
            position = fetched.end
        return position - before

    return await drain(consumer, topic, messages, fetch)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    reply(uvloop.run(thrown_away(asked["bootstrap"], asked["topic"], asked["messages"])))
