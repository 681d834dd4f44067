"""Records of a feed that runs until there are enough of them, and what they are to the service."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from impactd.shell.feed.sink import FeedRecord
from impactd.wire.codec import Limits
from impactd.wire.live_books import LiveBooks


class Kept:
    """A sink that keeps what is put, until `n` records have come."""

    def __init__(self, n: int) -> None:
        self.records: list[FeedRecord] = []
        self._n = n
        self._full = asyncio.Event()

    async def put(self, record: FeedRecord) -> None:
        self.records.append(record)
        if len(self.records) >= self._n:
            self._full.set()

    async def fill(self, feed: Coroutine[Any, Any, None]) -> None:
        """Run a feed into this sink until it is full; raise what ends the feed before."""
        running = asyncio.create_task(feed)
        tasks = running, asyncio.create_task(self._full.wait())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def kinds(records: Sequence[FeedRecord]) -> list[str]:
    """Return what each record is, to the service that reads it."""
    books = LiveBooks("json", Limits())
    found = []
    for at, record in enumerate(records):
        decoded = books.decode_columns([record.value], [at], [record.ts_ns], [record.symbol.encode()], [record.codec])
        batch = decoded.batch
        found.append(
            "refused" if decoded.refused else "none" if not len(batch) else "book" if batch.n_bid[-1] else "end"
        )
    return found
