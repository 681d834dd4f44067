"""Whole topics, read for a test."""

from __future__ import annotations

from impactd.config import Settings
from impactd.shell.kafka.consume import ConsumedRecord, read_topics


async def read_topic(settings: Settings, topic: str) -> list[ConsumedRecord]:
    """Return the committed records of a topic up to its present end, by partition and offset."""
    records = [record async for record in read_topics(settings, topic)]
    return sorted(records, key=lambda record: (record.partition, record.offset))
