"""What a minute's close costs with many orders open: processor time by step, and the bytes that it writes.

The engine and the encoder run as in the service, without a broker.  Books differ from minute to minute, so that most
plans change.  Bytes are those of a commit's record batches, compressed as the producer does by default.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Final, NamedTuple

import numpy as np
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from impactd.config import Settings
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import MINUTE_NS, CoreSettings, PlanSettings
from impactd.core.base.timing import Probe
from impactd.core.base.topics import SIDES, Topic
from impactd.core.engine import Engine
from impactd.core.inputs.events import NewOrder, Received
from impactd.core.inputs.inbox import Inbox
from impactd.core.inputs.terms import Terms
from impactd.core.inputs.ticks import TickBatch
from impactd.shell.heap import collect_seldom
from impactd.shell.kafka.encoder import Encoder, Record
from tests.benchmarks.books import OPEN_NS, book_batches
from tests.benchmarks.figures import Figure, Target

SYMBOLS: Final = 100
ORDERS: Final = (300, 1_000)

#: Books a symbol and minute: enough for an estimate, so that the close and not the tape is what is measured.
_BOOKS: Final = 6
#: Minutes before the orders come, and minutes measured.
BEFORE: Final = 3
_MINUTES: Final = 12
#: Minutes that an order lasts at least: half a session.
_LASTS: Final = 195
#: A partition's close is to be committed within 40 ms at the median, of which the broker's part is some 10.
_CLOSE_MS: Final = 40.0
#: Orders, symbols, and books a symbol and minute with which slices are compared with none: AMZN shows 400 books a
#: minute, and FROG 60, where the decisions are more of the whole.
_SLICED: Final = (100, 20, (60, 400))
_SLICED_SHARE: Final = 0.9


class Steps:
    """A probe that sums the processor time of each step."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        begun = time.process_time()
        try:
            yield
        finally:
            self.seconds[step] += time.process_time() - begun


class Close(NamedTuple):
    """A commit's records, and the processor time of applying and encoding it, seconds."""

    applied: float
    encoded: float
    records: list[Record]


class Partition:
    """An engine with its encoder, fed minute by minute."""

    def __init__(
        self,
        symbols: int,
        probe: Probe,
        *,
        minutes: int = _MINUTES,
        plans: PlanSettings | None = None,
        books: int = _BOOKS,
    ) -> None:
        core = CoreSettings(plans=plans or PlanSettings(fills="scheduled"))
        self.engine = Engine(core, probe=probe)
        self._inbox = Inbox(core, {}, {})
        self._encoder = Encoder(Settings(), 0, dict.fromkeys(Topic, 1))
        self._ends = dict.fromkeys(Topic, 0)
        self._books = _minutes_of(symbols, minutes, books)
        self.engine.genesis({})

    def order(self, order: NewOrder) -> None:
        """Send an order in a commit of its own."""
        offset = self._ends[Topic.ORDERS]
        self._ends[Topic.ORDERS] += 1
        self._inbox.put_events(Topic.ORDERS, [Received(order, offset, order.ts_event, b"", b"")], [], offset + 1)
        self._commit()

    def minute(self) -> Close:
        """Send a minute's books, of which the first close the minute before."""
        batch, first = next(self._books), self._ends[Topic.TICKS]
        self._ends[Topic.TICKS] += len(batch)
        self._inbox.put_ticks(replace(batch, offset=batch.offset + first), [], self._ends[Topic.TICKS])
        return self._commit()

    def end(self) -> None:
        """Let go of the minutes that have not been sent."""
        self._books = iter(())

    def _commit(self) -> Close:
        """Apply what waits."""
        inputs = self._inbox.take(max_rows=100_000)
        assert inputs is not None
        begun = time.process_time()
        commit = self.engine.apply(inputs)
        applied = time.process_time()
        records = self._encoder.records(commit, self.engine.commit_seq)
        return Close(applied - begun, time.process_time() - applied, records)


def _minutes_of(symbols: int, minutes: int, each: int) -> Iterator[TickBatch]:
    """Yield the books of each minute, `each` of a symbol, at an even pace over all symbols."""
    n, row = symbols * each, 0
    books = TickBatch.concat(list(book_batches(n * (BEFORE + minutes + 2), symbols)))
    while row + n <= len(books):
        batch = books.take(slice(row, row + n))
        at = OPEN_NS + np.arange(row, row + n) * (MINUTE_NS // n)
        yield replace(batch, offset=np.arange(n), ts_event=at, ts_record=at)
        row += n


def orders_of(n: int, symbols: int) -> list[NewOrder]:
    """Return orders of several sizes and windows, a third of them with a limit by interval."""
    draw, found = np.random.default_rng(0), []
    now = OPEN_NS + BEFORE * MINUTE_NS
    names = TickBatch.concat(list(book_batches(symbols, symbols))).symbols
    for i in range(n):
        qty, lasts = int(draw.integers(10, 100)) * 100 * QUANTA, int(draw.integers(_LASTS, 2 * _LASTS))
        limit = qty // 20 if i % 3 == 0 else None
        terms = Terms(qty, now, now + lasts * MINUTE_NS, lot_size=QUANTA, max_interval_qty=limit)
        found.append(NewOrder(f"O{i:05}", names[i % symbols], SIDES[i // symbols % 2], now + i, terms))
    return found


def written(records: Sequence[Record]) -> dict[str, int]:
    """Return the bytes of each topic's record batch, compressed as the producer compresses it."""
    by_topic: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_topic[record.topic].append(record)
    return {topic: _batch_bytes(batch) for topic, batch in by_topic.items()}


def _batch_bytes(records: Sequence[Record]) -> int:
    batch = DefaultRecordBatchBuilder(2, 4, 1, 0, 0, 0, 1 << 30)  # magic 2, zstd, transactional
    for offset, record in enumerate(records):
        batch.append(offset, 0, record.key, record.value, list(record.headers))
    return len(batch.build())


def measure(orders: Sequence[int] = ORDERS, symbols: int = SYMBOLS, minutes: int = _MINUTES) -> list[Figure]:
    """Return the processor time of a close and the bytes an order and minute, for each number of orders."""
    collect_seldom()  # as `impactd run` does
    closes = [figure for n in orders for figure in _measured(n, symbols, minutes)]
    return closes + [sliced(books) for books in _SLICED[2]]


def sliced(books: int, minutes: int = _MINUTES) -> Figure:
    """Return the throughput with slices as a part of that without, at `books` books a symbol and minute."""
    n, symbols, _ = _SLICED
    by_act = {}
    for act in ("minute", "slices"):
        plans = PlanSettings(fills="scheduled", act=act)
        by_act[act] = Partition(symbols, Steps(), minutes=minutes, plans=plans, books=books)
        for _ in range(BEFORE):
            by_act[act].minute()
        for order in orders_of(n, symbols):
            by_act[act].order(order)
        by_act[act].minute()
    # In turn, so that both meet the same machine.
    found = [{act: partition.minute() for act, partition in by_act.items()} for _ in range(minutes)]
    taken = {act: median(closes[act].applied + closes[act].encoded for closes in found) for act in by_act}
    slices = sum(Settings().topics.name(Topic.SLICES) == r.topic for closes in found for r in closes["slices"].records)
    return Figure(
        f"{n:,} orders, {symbols} symbols, {books} books a minute: throughput with slices, of that without",
        taken["minute"] / taken["slices"],
        target=Target("at least", _SLICED_SHARE),
        note=f"{slices / minutes:.0f} slices a minute; books decoded",
    )


def _measured(n: int, symbols: int, minutes: int) -> list[Figure]:
    steps = Steps()
    partition = Partition(symbols, steps, minutes=minutes)
    for _ in range(BEFORE):
        partition.minute()
    begun = time.process_time()
    for order in orders_of(n, symbols):
        partition.order(order)
    arrivals = time.process_time() - begun
    partition.minute()
    steps.seconds.clear()
    found = [partition.minute() for _ in range(minutes)]
    names = Settings().topics
    sizes = [written(close.records) for close in found]
    plans = sum(record.topic == names.name(Topic.PLANS) for close in found for record in close.records)
    both = [1e3 * (close.applied + close.encoded) for close in found]
    title = f"{n:,} orders, {symbols} symbols"
    note = f"{plans / minutes:.0f} plans a minute; {min(both):.0f} to {max(both):.0f}"
    target = Target("at most", _CLOSE_MS) if n == ORDERS[0] else None
    figures = [
        Figure(f"{title}: a close, applied and encoded", median(both), "ms", None, target, note),
        Figure(f"{title}: of it refits", 1e3 * steps.seconds["refit"] / minutes, "ms"),
        Figure(f"{title}: of it solves", 1e3 * steps.seconds["solve"] / minutes, "ms"),
        Figure(f"{title}: of it encoding", 1e3 * median(close.encoded for close in found), "ms"),
        Figure(f"{title}: an arrival", 1e3 * arrivals / n, "ms"),
    ]
    for topic in (Topic.PLANS, Topic.PLANS_LATEST, Topic.STATE, Topic.JOURNAL):
        each = sum(size.get(names.name(topic), 0) for size in sizes) / minutes / n
        figures.append(Figure(f"{title}: bytes an order and minute, {topic}", each, "bytes", note="zstd"))
    return figures
