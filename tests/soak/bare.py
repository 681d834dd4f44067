"""Bare transactions beside the service: the floor of what an order can wait for.

A process of its own writes a short record to as many topics as an order's commit does, and commits, at a slow pace,
through the client and with the settings of the service.  Nothing is read, decided or encoded.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Final

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.kafka.client import close_producer, transactional_producer

#: Where an order's commit writes.
_TOPICS: Final = (Topic.PLANS, Topic.PLANS_LATEST, Topic.STATE, Topic.JOURNAL)
_EVERY_S: Final = 0.5
_VALUE: Final = b"x" * 300


async def transactions(settings: Settings, seconds: float) -> list[float]:
    """Return how long each transaction took from its beginning to the broker's answer to its commit, ms."""
    producer = transactional_producer(settings, "bare")
    await producer.start()
    took, started = list[float](), time.monotonic()
    try:
        while (begun := time.monotonic()) < started + seconds:
            async with producer.transaction():
                sends = [
                    await producer.send(settings.topics.name(topic), _VALUE, b"bare", partition=0) for topic in _TOPICS
                ]
                await asyncio.gather(*sends)
            took.append((time.monotonic() - begun) * 1e3)
            await asyncio.sleep(max(0.0, begun + _EVERY_S - time.monotonic()))
    finally:
        await close_producer(producer, 5.0)
    return took


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    place = Settings(kafka={"bootstrap": asked["bootstrap"]}, topics={"prefix": asked["prefix"]})
    sys.stdout.write(json.dumps({"ms": asyncio.run(transactions(place, asked["seconds"]))}) + "\n")
