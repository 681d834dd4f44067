"""How cost grows: a tick's with symbols, a minute's close with orders, memory with both.

Times are of the processor.  A tick is decoded and applied within one minute of event time, so that no minute's close is
part of it: that has a section of its own.  Memory is what a process of its own has resident after a collection, beside
the same process without the symbols or orders.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import Final

import numpy as np

from impactd.config import Settings
from impactd.core.base.settings import MINUTE_NS, CoreSettings, PlanSettings
from impactd.core.base.timing import unwatched
from impactd.core.engine import Engine
from impactd.core.inputs.columns import Record
from impactd.core.inputs.inbox import Inbox
from impactd.core.inputs.ticks import TickBatch
from impactd.shell.kafka.decode import Decoder
from impactd.wire.codec import Limits
from impactd.wire.tick_records import encode_ticks
from tests.benchmarks import minute
from tests.benchmarks.allocator import growth
from tests.benchmarks.books import OPEN_NS, book_batches
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.legs import LEG_TIMEOUT_S
from tests.soak.memory import resident_mb

SYMBOLS: Final = (1, 10, 100, 1_000, 5_000)
ORDERS: Final = (50, 500, 5_000)
#: Symbols that the orders are spread over.
_BOOKS_OF: Final = 100

#: Ticks in a commit, and commits measured.
BATCH: Final = 10_000
COMMITS: Final = 7
#: Minutes measured at each number of orders.
MINUTES: Final = 4

#: Flat, and linear: what noise adds to an exponent of 0 or 1.
_FLAT: Final = 0.05
_LINEAR: Final = 1.05
#: What the service's memory is planned by, MB, and kB of each symbol and order.
BASE_MB: Final = 150.0
SYMBOL_KB: Final = 20.0
ORDER_KB: Final = 5.0

FACTS: Final = {"memory": "resident, in a process of its own that has decoded, applied and planned"}


def measure(
    symbols: Sequence[int] = SYMBOLS,
    orders: Sequence[int] = ORDERS,
    *,
    batch: int = BATCH,
    commits: int = COMMITS,
    minutes: int = MINUTES,
    memory: bool = True,
) -> list[Figure]:
    """Return the times by symbols and orders with their exponents, and the memory of each."""
    ticks = [tick_seconds(n, batch, commits) for n in symbols]
    figures = [Figure(f"a tick, {n:,} symbols", 1e6 * taken, "us") for n, taken in zip(symbols, ticks, strict=True)]
    figures.append(Figure("exponent of a tick's time in symbols", growth(symbols, ticks), "", None, _at_most(_FLAT)))
    closes = [close_seconds(n, minutes) for n in orders]
    figures += [
        Figure(f"a minute's close, {n:,} orders, {_BOOKS_OF} symbols", 1e3 * taken, "ms")
        for n, taken in zip(orders, closes, strict=True)
    ]
    exponent = growth(orders, closes)
    figures.append(Figure("exponent of a close's time in orders", exponent, "", None, _at_most(_LINEAR)))
    return figures + (_memory(symbols[-1], orders[-1]) if memory else [])


def _at_most(value: float) -> Target:
    return Target("at most", value)


def tick_seconds(symbols: int, batch: int = BATCH, commits: int = COMMITS) -> float:
    """Return the processor time of decoding and applying one tick among `symbols`, seconds."""
    core = CoreSettings()
    decoder, engine, inbox = Decoder(Settings(), Limits(), 0, 1), Engine(core), Inbox(core, {}, {})
    engine.genesis({})
    taken = []
    for number, records in enumerate(_commits(symbols, batch, commits)):
        begun = time.process_time()
        ticks = decoder.ticks(records)
        inbox.put_ticks(ticks.batch, ticks.refused, records[-1].offset + 1)
        while inputs := inbox.take(max_rows=batch):
            engine.apply(inputs)
        taken.append((time.process_time() - begun) / len(records))
        if number == 0:
            taken.clear()  # symbols become known in the first commit
    return median(taken)


def _commits(symbols: int, batch: int, commits: int) -> Iterator[list[Record]]:
    """Yield the records of each commit, all of one minute; the first has every symbol."""
    first = max(batch, symbols)
    books = TickBatch.concat(list(book_batches(first + commits * batch, symbols)))
    books = books.take(slice(0, first + commits * batch))
    at = OPEN_NS + np.arange(len(books)) * (MINUTE_NS // len(books))
    books = replace(books, ts_event=at, ts_record=at // 1_000_000 * 1_000_000)
    keys = [books.symbols[code].encode() for code in books.symbol]
    made = [
        Record(offset, int(at[offset]) // 1_000_000, keys[offset], record.value, ())
        for offset, record in enumerate(encode_ticks(books))
    ]
    yield made[:first]
    for start in range(first, len(made), batch):
        yield made[start : start + batch]


def close_seconds(orders: int, minutes: int = MINUTES) -> float:
    """Return the processor time of a minute's close with `orders` open, applied and encoded, seconds."""
    partition = _trading(_BOOKS_OF, orders, minutes)
    found = [partition.minute() for _ in range(minutes)]
    return median(close.applied + close.encoded for close in found)


def _trading(symbols: int, orders: int, minutes: int = 0) -> minute.Partition:
    """Return a partition whose orders have been planned once at a minute's close."""
    plans = PlanSettings(fills="scheduled", max_orders=max(PlanSettings().max_orders, orders))
    partition = minute.Partition(symbols, unwatched, minutes=minutes, plans=plans)
    for _ in range(minute.BEFORE):
        partition.minute()
    for order in minute.orders_of(orders, symbols):
        partition.order(order)
    partition.minute()
    return partition


def _memory(symbols: int, orders: int) -> list[Figure]:
    """Return the resident memory of a small partition, and what each symbol and order adds to it."""
    few = _resident(symbols=1, orders=2)
    many = _resident(symbols=symbols, orders=2)
    open_ = _resident(symbols=_BOOKS_OF, orders=orders)
    some = _resident(symbols=_BOOKS_OF, orders=2)
    return [
        Figure("memory of one symbol", few, "MB", None, _at_most(BASE_MB)),
        Figure(
            f"memory of each of {symbols:,} symbols",
            1e3 * (many - few) / (symbols - 1),
            "kB",
            None,
            _at_most(SYMBOL_KB),
        ),
        Figure(
            f"memory of each of {orders:,} orders",
            1e3 * (open_ - some) / (orders - 2),
            "kB",
            None,
            _at_most(ORDER_KB),
        ),
    ]


def _resident(**asked: int) -> float:
    """Return the resident memory of a process of its own, MB."""
    command = [sys.executable, "-m", "tests.benchmarks.growth", json.dumps(asked)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=LEG_TIMEOUT_S)
    return float(json.loads(done.stdout))


def resident(symbols: int, orders: int) -> float:
    """Return this process's resident memory, MB, with so many symbols and orders, after a collection."""
    partition = _trading(symbols, orders)
    partition.end()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is not what the partition needs
    return resident_mb(os.getpid())


if __name__ == "__main__":
    import impactd.shell.kafka.service  # noqa: F401  # what a service has loaded

    sys.stdout.write(json.dumps(resident(**json.loads(sys.argv[1]))))
