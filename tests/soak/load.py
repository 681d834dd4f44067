"""The load of a soak, a process of its own: ten-level books at a fixed rate, with orders and fills among them.

Books come as a feed handler sends them, some to a record, and some records to a request.  What they say is prepared;
only their times are of now.  Rates follow the monotonic clock: a step that comes late is followed by a larger one.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from typing import Any, Final

import orjson

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.kafka.client import close_producer, plain_producer
from impactd.wire.murmur2 import partition_for

PARTITIONS: Final = 4
_BATCH: Final = 10
_BODIES: Final = 200
_STEP_S: Final = 0.01
#: How long a feed handler waits for more books to send together; an order waits for nothing.
_FEED_LINGER_MS: Final = 5
_MINUTE_NS: Final = 60_000_000_000


class Books:
    """Prepared books of all symbols, to be stamped with the time."""

    def __init__(self, draw: random.Random, symbols: int) -> None:
        self.symbols = [f"S{n}" for n in range(symbols)]
        self._draw = draw
        self._tails = {
            symbol: [self._tail(1_000 + 50 * n) for _ in range(_BODIES)] for n, symbol in enumerate(self.symbols)
        }
        self._next = itertools.cycle(self.symbols)

    def _tail(self, mid: int) -> bytes:
        draw = self._draw
        mid += draw.randrange(-5, 6)
        book = {
            "bids": [[(mid - k - 1) / 100, draw.randrange(100, 2_000)] for k in range(10)],
            "asks": [[(mid + k + 1) / 100, draw.randrange(100, 2_000)] for k in range(10)],
        }
        return b"," + orjson.dumps(book)[1:]

    def record(self, now: int) -> tuple[str, bytes]:
        """Return the key and value of one record of books."""
        symbol = next(self._next)
        head = b'{"type":"book","symbol":"%s","ts_event":' % symbol.encode()
        books = (
            head + b"%d" % (now + n) + tail for n, tail in enumerate(self._draw.sample(self._tails[symbol], _BATCH))
        )
        return symbol, b"[" + b",".join(books) + b"]"


class Desk:
    """Orders of some minutes, and their fills."""

    def __init__(self, draw: random.Random, symbols: list[str]) -> None:
        self._draw, self._symbols = draw, symbols
        self._ids = itertools.count()
        self._open: list[tuple[str, str]] = []

    def order(self, now: int) -> tuple[str, bytes]:
        """Return a new order."""
        draw = self._draw
        symbol, cl_ord_id = draw.choice(self._symbols), f"C{next(self._ids)}"
        self._open = [*self._open[-200:], (cl_ord_id, symbol)]
        order = {
            "type": "new",
            "cl_ord_id": cl_ord_id,
            "symbol": symbol,
            "side": draw.choice(["buy", "sell"]),
            "order_qty": draw.randrange(10, 100) * 100,
            "ts_event": now,
            "start": now,
            "end": now + draw.randrange(1, 3) * _MINUTE_NS,
        }
        return symbol, orjson.dumps(order)

    def fill(self, now: int) -> tuple[str, bytes] | None:
        """Return a fill of some open order."""
        if not self._open:
            return None
        cl_ord_id, symbol = self._draw.choice(self._open)
        fill = {
            "type": "fill",
            "exec_id": f"E{next(self._ids)}",
            "cl_ord_id": cl_ord_id,
            "symbol": symbol,
            "last_qty": self._draw.randrange(1, 50),
            "last_px": 10.0,
            "ts_event": now,
        }
        return symbol, orjson.dumps(fill)


async def load(settings: Settings, symbols: int, rate: float, orders: float, fills: float, seconds: float) -> None:
    """Send for `seconds`: ticks, orders and fills a second, over so many symbols."""
    draw = random.Random("soak")
    books = Books(draw, symbols)
    desk = Desk(draw, books.symbols)
    ticks_producer = plain_producer(settings.replace(kafka={"linger_ms": _FEED_LINGER_MS}))
    events_producer = plain_producer(settings)
    await ticks_producer.start()
    await events_producer.start()
    sent = {"ticks": 0, "orders": 0, "fills": 0}
    started = time.monotonic()
    flying: set[Any] = set()

    async def send(producer: Any, topic: Topic, key: str, value: bytes) -> None:
        future = await producer.send(
            settings.topics.name(topic), value, key.encode(), partition=partition_for(key, PARTITIONS)
        )
        flying.add(future)
        future.add_done_callback(flying.discard)

    try:
        while (elapsed := time.monotonic() - started) < seconds:
            for _ in range(int((elapsed * rate - sent["ticks"]) / _BATCH)):
                await send(ticks_producer, Topic.TICKS, *books.record(time.time_ns()))
                sent["ticks"] += _BATCH
            if sent["orders"] < elapsed * orders:
                await send(events_producer, Topic.ORDERS, *desk.order(time.time_ns()))
                sent["orders"] += 1
            if sent["fills"] < elapsed * fills and (fill := desk.fill(time.time_ns())) is not None:
                await send(events_producer, Topic.EXECUTIONS, *fill)
                sent["fills"] += 1
            await asyncio.sleep(_STEP_S)
        await asyncio.gather(*flying)
    finally:
        await close_producer(ticks_producer, 5.0)
        await close_producer(events_producer, 5.0)
    sys.stdout.write(json.dumps(sent | {"seconds": time.monotonic() - started}) + "\n")


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    place = Settings(kafka={"bootstrap": asked["bootstrap"], "linger_ms": 0}, topics={"prefix": asked["prefix"]})
    asyncio.run(load(place, asked["symbols"], asked["rate"], asked["orders"], asked["fills"], asked["seconds"]))
