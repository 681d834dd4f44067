"""Ticks a second where a record holds fifty books: `impactd.books/1` and DBN, to committed estimates.

The drain takes the same bytes from the same broker and throws them away: what is left for the service is less.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import numpy as np

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.core.inputs.ticks import Float, TickBatch
from impactd.shell.broker.broker import find_broker
from tests.benchmarks.books import BOOKS_PER_SECOND, SYMBOLS, book_batches
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.leg_service import run_service
from tests.benchmarks.legs import Measured, rate_figure, run_leg, take_turns
from tests.benchmarks.service import Sent, fill_topic, source_at
from tests.checks.codec_samples import Side
from tests.records import read_topic
from tests.wire.ticks.compact.samples import message
from tests.wire.ticks.dbn.samples import record as dbn_record

BOOKS: Final = 50

#: Ticks for each message of the section on single books: these legs are as long then.
TIMES: Final = 4

#: Seconds of books that are made; they are sent again and again, with later times.
MADE_S: Final = 20

_TARGET: Final = Target("at least", 1_000_000)

#: Places of the times in a record of DBN: ts_event and ts_recv.
_DBN_TIMES: Final = (8, 32)
_DBN_BYTES: Final = 368
#: Place of the base time in a message of `impactd.books/1`.
_BASE_TIME: Final = 24

CODECS: Final = ("impactd.books/1", "dbn")


def batched_records(codec: str, ticks: int) -> Iterator[Sent]:
    """Yield records of fifty books of one symbol each, `ticks` books or a few less in all."""
    made = [_encoded(codec, books) for books in _chunks()]
    for n in range(ticks // BOOKS):
        again, at = divmod(n, len(made))
        symbol, value, ts_ns = made[at]
        later_ns = again * MADE_S * 1_000_000_000
        yield Sent(symbol, _later(codec, value, later_ns), (ts_ns + later_ns) // 1_000_000, codec)


def _chunks() -> Iterator[TickBatch]:
    """Yield fifty books of one symbol at a time, in the order of their last ones."""
    n = MADE_S * BOOKS_PER_SECOND
    books = TickBatch.concat(list(book_batches(n, SYMBOLS))).take(slice(0, n))
    found = []
    for code in range(len(books.symbols)):
        rows = np.flatnonzero(books.symbol == code)
        found += [rows[at : at + BOOKS] for at in range(0, len(rows) - BOOKS + 1, BOOKS)]
    yield from (books.take(rows) for rows in sorted(found, key=lambda rows: int(rows[-1])))


def _encoded(codec: str, books: TickBatch) -> tuple[str, bytes, int]:
    code = int(books.symbol[0])
    symbol, times = books.symbols[code], books.ts_event.tolist()
    sides = [
        (
            _side(books.bid_px[i], books.bid_sz[i], books.n_bid[i]),
            _side(books.ask_px[i], books.ask_sz[i], books.n_ask[i]),
        )
        for i in range(BOOKS)
    ]
    if codec == "dbn":
        value = b"".join(dbn_record(code + 1, ts, *both) for ts, both in zip(times, sides, strict=True))
    else:
        value = message(symbol, times, sides, width=4, base_px=float(books.bid_px[0, 0]))
    return symbol, value, times[-1]


def _side(px: Float, sz: Float, n: int) -> Side:
    return list(zip(px[:n].tolist(), sz[:n].tolist(), strict=True))


def _later(codec: str, value: bytes, by_ns: int) -> bytes:
    out = np.frombuffer(value, np.uint8).copy()
    if codec == "dbn":
        rows = out.reshape(-1, _DBN_BYTES)
        for at in _DBN_TIMES:
            times = rows[:, at : at + 8].copy().view(np.int64) + by_ns
            rows[:, at : at + 8] = times.view(np.uint8).reshape(-1, 8)
    else:
        out[_BASE_TIME : _BASE_TIME + 8] = (out[_BASE_TIME : _BASE_TIME + 8].view(np.int64) + by_ns).view(np.uint8)
    return out.tobytes()


def measure(messages: int, rounds: int) -> tuple[list[Figure], dict[str, str]]:
    """Return the rates of each codec and of the drain, and what the broker is.

    Raises
    ------
    BrokerUnavailable
        If there is no real broker here.
    RuntimeError
        If a leg fails.
    """
    ticks = TIMES * messages
    with find_broker() as broker:
        figures = [figure for codec in CODECS for figure in _of_codec(codec, broker.bootstrap, ticks, rounds)]
    return figures, {"broker": f"broker: {broker.kind}", "ticks": f"{ticks:,} ticks, {BOOKS} a record"}


def _of_codec(codec: str, bootstrap: str, ticks: int, rounds: int) -> list[Figure]:
    source = source_at(bootstrap, "batched")
    asyncio.run(fill_topic(source, batched_records(codec, ticks)))
    topic, records = source.topics.name(Topic.TICKS), ticks // BOOKS

    def service(number: int) -> Measured:
        return run_service(source, records, f"{source.topics.prefix}service-{number}")

    def drain(_number: int) -> Measured:
        return run_leg("leg_drain", bootstrap=bootstrap, topic=topic, messages=records)

    found = take_turns({"impactd run": service, "the drain": drain}, rounds)
    _must_count(source, rounds - 1)
    return [
        rate_figure(f"{codec}: {name}", legs, "ticks/s", BOOKS, target)
        for (name, legs), target in zip(found.items(), (_TARGET, None), strict=True)
    ]


def _must_count(source: Settings, number: int) -> None:
    """Refuse to compare where records were refused, or no minute was estimated."""
    place = f"{source.topics.prefix}service-{number}"
    refused = asyncio.run(read_topic(source, f"{place}.{Topic.DLQ}"))
    estimates = asyncio.run(read_topic(source, f"{place}.{Topic.ESTIMATES}"))
    if refused or not estimates:
        raise RuntimeError(f"{len(refused)} records refused, {len(estimates)} estimates: the leg measures nothing")
