"""Floods of hostile records: what they can make the service hold is bounded by settings, and does not grow in time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final

import orjson
import pytest

from impactd.config import Settings
from impactd.core.base.settings import BookSettings, CoreSettings, PlanSettings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.engine import Engine
from impactd.core.inputs.inbox import Inbox
from impactd.shell.kafka.decode import Decoder
from impactd.shell.kafka.encoder import Encoder
from impactd.wire.codec import Limits
from tests.fuzz.corpus import MINUTE_NS, OPEN_NS, SECOND_NS, Fake, book, fill, new

#: Small, so that a flood of a second reaches each.
SETTINGS: Final = CoreSettings(
    books=BookSettings(max_levels=20),
    plans=PlanSettings(max_orders=20, max_held=20, max_horizon_intervals=60, hold_ns=50 * SECOND_NS),
    max_symbols=60,
)
LIMITS: Final = Limits(max_message_bytes=100_000, max_levels=20)
MIB: Final = 2**20

_numbers = count()


def symbols(now: int) -> bytes:
    """Return books of symbols that nobody has heard of."""
    made = [f"S{next(_numbers)}-{'x' * 20}" for _ in range(40)]
    book = {"type": "book", "ts_event": now, "bids": [[31.0, 5]] * 1, "asks": [[31.1, 5]]}
    return orjson.dumps([book | {"symbol": symbol} for symbol in made])


def wide(now: int) -> bytes:
    """Return one book as deep as is allowed, and as many rows as fit: each is as wide in memory as the deepest."""
    levels = [[round(31.0 + 0.01 * i, 2), 5] for i in range(20)]
    deep = orjson.dumps({"type": "book", "symbol": "A", "ts_event": now, "bids": levels[::-1], "asks": levels[-1:]})
    row = b',{"type":"trade","symbol":"A","ts_event":%d,"px":1,"qty":1}' % now
    return b"[" + deep + row * ((LIMITS.max_message_bytes - len(deep) - 2) // len(row)) + b"]"


def garbage(now: int) -> bytes:
    return b"[" * 99_000 + b"%d" % now


def orders(now: int) -> bytes:
    blackouts = [[now + i, now + i + 1] for i in range(64)]
    return new(f"O{next(_numbers)}", f"T{next(_numbers)}", "buy", now, end=now + 50 * MINUTE_NS, blackouts=blackouts)


def orphans(now: int) -> bytes:
    """Return fills of orders that never come, blown up by a field that nobody reads."""
    number = next(_numbers)
    return fill(f"E{number}", f"X{number}", "A", now)[:-1] + b',"note":"' + b"x" * 90_000 + b'"}'


FLOODS: Final[dict[str, tuple[Topic, Callable[[int], bytes], int]]] = {
    "symbols": (Topic.TICKS, symbols, 2),
    "wide": (Topic.TICKS, wide, 3),
    "garbage": (Topic.TICKS, garbage, 10),
    "orders": (Topic.ORDERS, orders, 4),
    "orphans": (Topic.EXECUTIONS, orphans, 6),
}


class Service:
    """One partition from fetched records to records to publish, which are thrown away."""

    def __init__(self) -> None:
        self._decoder = Decoder(Settings(), LIMITS, 0, 1)
        self._encoder = Encoder(Settings(), 0, dict.fromkeys(Topic, 1))
        self.engine = Engine(SETTINGS)
        self._inbox = Inbox(SETTINGS, {}, {})
        self._next = dict.fromkeys(INPUT_TOPICS, 0)

    def take(self, topic: Topic, now: int, values: Iterator[bytes]) -> int:
        """Send `values` and return how many records came of them."""
        first = self._next[topic]
        key = b"k" * 5_000
        records = [Fake(first + i, now // 1_000_000, value, key + b"%d" % i) for i, value in enumerate(values)]
        end = self._next[topic] = first + len(records)
        if topic is Topic.TICKS:
            decoded = self._decoder.ticks(records)
            self._inbox.put_ticks(decoded.batch, decoded.refused, end)
        else:
            found = self._decoder.events(topic, records)
            self._inbox.put_events(topic, found.events, found.refused, end)
        published = 0
        while (inputs := self._inbox.take()) is not None:
            published += len(self._encoder.records(self.engine.apply(inputs), self.engine.commit_seq))
        return published


@pytest.mark.parametrize("flood", FLOODS)
def test_flood_of_records_holds_no_more_memory_after_long_than_after_short(flood: str) -> None:
    topic, made, n = FLOODS[flood]
    service = Service()
    # Every second the clock goes on, so that minutes close, orders end, and what is held is too old at last.
    clock = (OPEN_NS + second * 10 * SECOND_NS for second in count())

    def send(rounds: int) -> None:
        for _, now in zip(range(rounds), clock, strict=False):
            service.take(Topic.TICKS, now, iter([book("json", "A", now, 0)]))
            assert service.take(topic, now, (made(now) for _ in range(n))) > 0

    send(8)
    tracemalloc.start()
    try:
        # Until all that can be held is held anew under the watch, and its tables have grown to their size.
        send(16)
        settled, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        send(16)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < settled + 1 * MIB, f"{settled / MIB:.1f} MiB, later {held / MIB:.1f}"
    assert peak < 60 * MIB, f"peak {peak / MIB:.1f} MiB"
    assert len(service.engine._books._table) <= 40 * SETTINGS.max_symbols
