"""Samples the ticks on the brokers now: how many, how much of them can be used, how old they are."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.core.base.venue import whole_of
from impactd.shell.audit.source import broker_source
from impactd.shell.kafka.decode import Decoder
from impactd.wire.codec import Limits


@dataclass(frozen=True, slots=True)
class Sample:
    """The last ticks of each partition."""

    #: Partitions of the topic, records read, ticks in them.
    partitions: int
    records: int
    rows: int
    #: Records that cannot be used, by reason.
    refused: dict[str, int]
    symbols: int
    #: Since the newest tick's ts_event, by this machine's clock; None without a tick.
    age_s: float | None

    @property
    def refused_ratio(self) -> float:
        """Share of the records that cannot be used."""
        return sum(self.refused.values()) / self.records if self.records else 0.0


async def sample_ticks(settings: Settings, limits: Limits, records: int) -> Sample:
    """Read about the last `records` records of the ticks topic, as the service would."""
    async with broker_source(settings) as source:
        count = source.partitions[Topic.TICKS]
        read, rows, newest = 0, 0, None
        refused: Counter[str] = Counter()
        symbols: set[str] = set()
        for partition in range(count):
            first, end = await source.bounds(Topic.TICKS, partition)
            if end is None or end <= first:
                continue
            feed = source.feed(Topic.TICKS, partition, max(first, end - max(records // count, 1)))
            found = await feed.until(end)
            await feed.close()
            decoded = Decoder(settings, limits, partition, count).ticks(found)
            read += len(found)
            rows += len(decoded.batch)
            refused.update(item.reason for item in decoded.refused)
            symbols.update(map(whole_of, decoded.batch.symbols))
            if len(decoded.batch):
                newest = max(newest or 0, int(decoded.batch.ts_event.max()))
    age_s = None if newest is None else (time.time_ns() - newest) / 1e9
    return Sample(count, read, rows, dict(refused), len(symbols), age_s)
