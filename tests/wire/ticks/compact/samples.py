"""Good messages of the compact batch, by an encoder of its own."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from impactd.wire.zstd import ZSTD
from tests.checks.codec_samples import CodecSamples, Side

PX_UNITS, SZ_UNITS = 10**6, 10**6


def message(
    symbol: str,
    times: Sequence[int],
    books: Sequence[tuple[Side, Side]],
    trades: Sequence[tuple[float, float, int] | None] = (),
    *,
    width: int = 8,
    compressed: bool = False,
    base_px: float = 30.0,
    flags: Sequence[int] = (),
    n_levels: int | None = None,
    ts_recv: int = 0,
    venue: str = "",
) -> bytes:
    """Return a message of rows; a row with a trade has no book."""
    n = len(times)
    printed = list(trades) or [None] * n
    room = max([len(side) for book in books for side in book] or [0]) if n_levels is None else n_levels
    signed, unsigned = ("i", "I") if width == 4 else ("q", "Q")
    units = (100, 1) if width == 4 else (PX_UNITS, SZ_UNITS)
    base = round(base_px * units[0])

    def px(value: float) -> int:
        return round(value * units[0]) - base

    body = struct.pack(f"<{n}q", *(ts - times[0] for ts in times)) + struct.pack(f"<{n}q", *[ts_recv] * n)
    body += struct.pack(f"<{n}{signed}", *(0 if one is None else px(one[0]) for one in printed))
    body += struct.pack(f"<{n}{unsigned}", *(0 if one is None else round(one[1] * units[1]) for one in printed))
    for side in range(2):
        for field, code in ((0, signed), (1, unsigned)):
            column: list[int] = []
            for book in books:
                values = [px(level[0]) if field == 0 else round(level[1] * units[1]) for level in book[side]]
                column += values + [0] * (room - len(values))
            body += struct.pack(f"<{n * room}{code}", *column)
    body += bytes(one is not None for one in printed) + bytes(flags or [0] * n)
    body += struct.pack(f"<{n}b", *(0 if one is None else one[2] for one in printed))
    body += bytes(len(book[0]) for book in books) + bytes(len(book[1]) for book in books)
    if compressed:
        body = ZSTD.compress(body)
    name = symbol.encode() + venue.encode()
    sizes = (room, width, len(symbol.encode()), len(venue.encode()))
    return (
        struct.pack("<8sII5B3x", b"IMPBOOK1", 56 + len(name) + len(body), n, compressed, *sizes)
        + struct.pack("<qqqq", times[0] if n else 0, base, *units)
        + name
        + body
    )


def book(symbol: str, ts_event: int, bids: Side, asks: Side) -> bytes:
    return message(symbol, [ts_event], [(bids, asks)])


def trade(symbol: str, ts_event: int, px: float, qty: float) -> bytes:
    return message(symbol, [ts_event], [((), ())], [(px, qty, 1)])


def more(symbol: str, ts_event: int) -> list[bytes]:
    books: list[tuple[Side, Side]] = [([(31.0, 5)], [(31.1, 6)]), ((), ()), ([(31.0, 5), (30.9, 7)], [])]
    times = [ts_event + i for i in range(3)]
    trades = [None, (31.05, 3.0, -1), None]
    return [
        message(symbol, times, books, trades, compressed=True, flags=[1, 2, 0]),
        message(symbol, times, books, trades, width=4, ts_recv=ts_event),
    ]


SAMPLES = CodecSamples(book, trade, file_name="day.bin", fixed_unit=True, more=more, join=b"".join)
