"""Rows for tests, written as a person would say them, and turned into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.books.minute import MinuteStats
from impactd.core.inputs.ticks import BOOK, TRADE, TickBatch

Level = tuple[float, float]


@dataclass(frozen=True)
class Row:
    """One book or trade; a trade has `qty`."""

    ts: int
    bids: tuple[Level, ...] = ()
    asks: tuple[Level, ...] = ()
    symbol: str = "FROG"
    flags: int = 0
    px: float = 100.0
    qty: float | None = None
    ts_record: int | None = None
    publisher: int = 0
    instrument: int = 0


def book(
    ts: int, bid: float = 99.0, ask: float = 101.0, size: float = 100.0, symbol: str = "FROG", flags: int = 0
) -> Row:
    """Return a book of one level a side."""
    return Row(ts, ((bid, size),), ((ask, size),), symbol, flags)


def trade(ts: int, qty: float, symbol: str = "FROG", flags: int = 0, px: float = 100.0) -> Row:
    """Return a trade."""
    return Row(ts, symbol=symbol, flags=flags, px=px, qty=qty)


def batch_of(rows: Sequence[Row]) -> TickBatch:
    """Return rows as a batch; the symbol table is in order of appearance."""
    table = {s: k for k, s in enumerate(dict.fromkeys(r.symbol for r in rows))}
    width = max((len(side) for r in rows for side in (r.bids, r.asks)), default=0)
    batch = TickBatch.empty(len(rows), width, tuple(table))
    for i, row in enumerate(rows):
        batch.symbol[i] = table[row.symbol]
        batch.kind[i] = BOOK if row.qty is None else TRADE
        batch.flags[i] = row.flags
        batch.ts_event[i] = row.ts
        batch.ts_record[i] = row.ts if row.ts_record is None else row.ts_record
        batch.offset[i] = i
        batch.publisher[i] = row.publisher
        batch.instrument[i] = row.instrument
        for side, px, sz, n in (
            (row.bids, batch.bid_px, batch.bid_sz, batch.n_bid),
            (row.asks, batch.ask_px, batch.ask_sz, batch.n_ask),
        ):
            n[i] = len(side)
            for j, (level_px, level_sz) in enumerate(side):
                px[i, j], sz[i, j] = level_px, level_sz
        if row.qty is not None:
            batch.px[i], batch.qty[i] = row.px, row.qty
    return batch


def play(tape: MinuteAggregator, batch: TickBatch, *, regrid: bool = True) -> list[MinuteStats]:
    """Run a batch and close what must close, the earliest minute first and then by name."""
    closed = []
    row = 0
    while (row := tape.run(batch, row, len(batch))) < len(batch):
        while due := tape.closing(batch, row):
            closed.append(tape.close_minute(due[0]))
            if regrid:
                tape.regrid(due[0], closed[-1])
    return closed


def play_rows(tape: MinuteAggregator, rows: Sequence[Row], *, regrid: bool = True) -> list[MinuteStats]:
    """Run rows as one batch."""
    return play(tape, batch_of(rows), regrid=regrid)


def bits(stats: MinuteStats) -> dict[str, bytes]:
    """Return all fields so that equal means equal to the last bit."""
    values = (getattr(stats, field.name) for field in fields(stats))
    return tuple((v.shape, v.tobytes()) if isinstance(v, np.ndarray) else repr(v) for v in values)


def state(tape: MinuteAggregator) -> dict[str, bytes]:
    """Return everything that a tape would save."""
    return tape.dump()
