"""The messages that decoding and the service are measured with: ten-level books of busy symbols, as our JSON.

The books are generated (`impactd.research.generator`); only their times are set here, at an even pace over all
symbols, so that minutes close while a leg runs.  Prices and sizes have as many digits as makes a message of about 383
bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from impactd.core.inputs.ticks import BOOK, TickBatch
from impactd.research.generator import GeneratorSpec, generate
from impactd.wire.tick_records import TickRecord, encode_ticks

SYMBOLS: Final = 20

#: Books a second of event time over all symbols, 50 a symbol: busy stocks.
BOOKS_PER_SECOND: Final = 1_000

#: Shares that every book is walked for, a side; the largest are beyond some books' depth.
SIZES: Final = tuple(float(round(100 * 1.4**k)) for k in range(16))

#: 2025-06-02 09:30 in New York.
OPEN_NS: Final = 1_748_871_000_000_000_000


def book_batches(n: int, symbols: int = SYMBOLS) -> Iterator[TickBatch]:
    """Yield `n` ten-level books or a few more, in the order of their times."""
    spec = GeneratorSpec(snapshots=-(-n // symbols), symbols=symbols, base_price=200.0, depth_qty=2_000.0)
    row = 0
    for made in generate(spec):
        batch = made.take(made.kind == BOOK)
        rows = np.arange(row, row + len(batch))
        ts = OPEN_NS + rows * (1_000_000_000 // BOOKS_PER_SECOND)
        row += len(batch)
        yield replace(batch, offset=rows, ts_event=ts, ts_record=ts // 1_000_000 * 1_000_000)


def book_records(n: int, symbols: int = SYMBOLS) -> Iterator[TickRecord]:
    """Yield `n` books, each a record."""
    left = n
    for batch in book_batches(n, symbols):
        yield from encode_ticks(batch.take(slice(0, left)))
        left -= min(left, len(batch))
