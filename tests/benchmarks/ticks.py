"""What a tick costs once its message is there: decoding, and walking its book for 16 sizes a side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import orjson

from impactd.core.base.settings import BookSettings
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.books.walk import walk_curves
from impactd.core.inputs.ticks import Float, TickBatch
from impactd.wire.content import Content
from impactd.wire.tick_codec import TickCodec
from impactd.wire.tick_records import encode_ticks
from impactd.wire.ticks.dbn.codec import DbnCodec
from impactd.wire.ticks.json.codec import JsonTickCodec
from tests.benchmarks.books import book_batches
from tests.benchmarks.clock import in_turns
from tests.benchmarks.figures import Figure
from tests.wire.ticks.dbn.samples import head as dbn_head
from tests.wire.ticks.dbn.samples import record as dbn_record

#: Records decoded and applied together, as in a fetch of the service.
BATCH = 10_000


def measure(n: int = BATCH, rounds: int = 7) -> list[Figure]:
    """Return the cost of a tick, by step and way."""
    books = TickBatch.concat(list(book_batches(n))).take(slice(0, n))
    values = [record.value for record in encode_ticks(books)]
    dbn = [_dbn_record(books, i) for i in range(n)]
    content = dbn_head(ids={name: i for i, name in enumerate(books.symbols, 1)}) + b"".join(dbn)
    pieces = [content[i : i + (1 << 20)] for i in range(0, len(content), 1 << 20)]
    keys = [books.symbols[code].encode() for code in books.symbol]
    taken = in_turns(
        {
            "orjson.loads alone, thrown away": lambda: deque(map(orjson.loads, values), maxlen=0),
            "decode: orjson and checks (reference)": _decoding(JsonTickCodec().reference(), values, books),
            "decode: compiled scanner": _decoding(JsonTickCodec(), values, books),
            "decode: DBN, MBP-10, a file": lambda: _read_dbn(pieces),
            "decode: DBN, MBP-10, a message each": lambda: DbnCodec().decode_columns(
                dbn, books.offset, books.ts_record, keys
            ),
            "walk 16 sizes a side: NumPy, book by book": lambda: _numpy_walks(books),
            "walk 16 sizes a side: compiled": lambda: walk_curves(
                books.bid_px, books.bid_sz, books.ask_px, books.ask_sz, _sizes(books)
            ),
            "tape: checks, walk, time-weighting": lambda: _run_tape(books),
        },
        rounds,
    )
    bytes_a_message = sum(map(len, values)) / n
    figures = [Figure("message", bytes_a_message, "bytes", note=f"ten levels a side, {n} together")]
    figures += [Figure(name, 1e6 * seconds / n, "us/tick", spread) for name, (seconds, spread) in taken.items()]
    return figures


def _decoding(codec: TickCodec, values: list[bytes], books: TickBatch) -> Callable[[], object]:
    return lambda: codec.decode_columns(values, books.offset, books.ts_record)


def _dbn_record(books: TickBatch, i: int) -> bytes:
    """Return a book as a record of MBP-10."""
    sides = (
        list(zip(px[i, :count].tolist(), sz[i, :count].tolist(), strict=True))
        for px, sz, count in (
            (books.bid_px, books.bid_sz, books.n_bid[i]),
            (books.ask_px, books.ask_sz, books.n_ask[i]),
        )
    )
    return dbn_record(int(books.symbol[i]) + 1, int(books.ts_event[i]), *sides)


def _read_dbn(pieces: list[bytes]) -> None:
    for batch in DbnCodec().batches(Content("day.dbn", iter(pieces)), BATCH):
        assert not batch.decoded.refused


def _run_tape(books: TickBatch) -> None:
    tape = MinuteAggregator(BookSettings())
    row = 0
    while (row := tape.run(books, row, len(books))) < len(books):
        for symbol in tape.closing(books, row):
            tape.regrid(symbol, tape.close_minute(symbol))


def _sizes(books: TickBatch) -> Float:
    depth = float(np.median(books.ask_sz.sum(axis=1)))
    return np.geomspace(depth / 100, depth, 16)


def _numpy_walks(books: TickBatch) -> None:
    sizes = _sizes(books)
    for i in range(len(books)):
        numpy_walk(books.ask_px[i], books.ask_sz[i], sizes)
        numpy_walk(books.bid_px[i], books.bid_sz[i], sizes)


def numpy_walk(px: Float, sz: Float, sizes: Float) -> Float:
    """Return the average price of each size on one side of a book, NaN beyond its depth."""
    depth = np.concatenate(([0.0], np.cumsum(sz)))
    paid = np.concatenate(([0.0], np.cumsum(px * sz)))
    return np.interp(sizes, depth, paid, right=np.nan) / sizes
