"""Good DBN messages, each with a head that names its symbols."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

import orjson

from impactd.wire.ticks.dbn.mbo_csv import HEADER
from tests.checks.codec_samples import CodecSamples, Side

IDS: Final = {"FROG": 6292, "ARL": 1108, "BTC-USDT": 77}
UNDEF_PX: Final = 2**63 - 1
WIDTH: Final = 71


def _text(text: str, width: int = WIDTH) -> bytes:
    return text.encode().ljust(width, b"\0")


def head(schema: int = 2, version: int = 3, ids: dict[str, int] = IDS) -> bytes:
    """Return a head whose symbols are valid for ever."""
    width = 22 if version == 1 else WIDTH
    fixed = _text("XNAS.ITCH", 16) + struct.pack("<HQQQ", schema, 0, 2**64 - 1, 0)
    fixed += struct.pack("<Q", 0) if version == 1 else b""
    fixed += bytes([1, 0, 0]) + (b"" if version == 1 else struct.pack("<H", width))
    body = fixed.ljust(100, b"\0") + struct.pack("<I", 0)
    body += struct.pack("<I", len(ids)) + b"".join(_text(name, width) for name in ids)
    body += struct.pack("<III", 0, 0, len(ids))
    for name, number in ids.items():
        body += _text(name, width) + struct.pack("<III", 1, 19700101, 22600101) + _text(str(number), width)
    return b"DBN" + bytes([version]) + struct.pack("<I", len(body)) + body


def _of(symbol: str) -> tuple[int, dict[str, int]]:
    """Return the instrument of a symbol, and the symbols of a head that names it."""
    if symbol in IDS:
        return IDS[symbol], IDS
    number = zlib.crc32(symbol.encode())
    return number, {symbol: number}


def _fixed(px: float) -> int:
    return round(px * 1e9)


def record(
    instrument: int,
    ts_event: int,
    bids: Side = (),
    asks: Side = (),
    *,
    action: str = "A",
    side: str = "B",
    px: float | None = None,
    size: int = 100,
    flags: int = 128,
    rtype: int = 10,
    n_levels: int = 10,
    publisher: int = 2,
    ts_recv: int | None = None,
) -> bytes:
    """Return one record of a book type, or of trades."""
    length = (48 + 32 * n_levels) // 4
    data = struct.pack("<BBHIQ", length, rtype, publisher, instrument, ts_event)
    price = UNDEF_PX if px is None else _fixed(px)
    data += struct.pack("<qIccBB", price, size, action.encode(), side.encode(), flags, 0)
    data += struct.pack("<QiI", ts_event + 1_000 if ts_recv is None else ts_recv, 0, 0)
    for i in range(n_levels):
        (bid, bid_sz), (ask, ask_sz) = (
            (_fixed(levels[i][0]), int(levels[i][1])) if i < len(levels) else (UNDEF_PX, 0) for levels in (bids, asks)
        )
        data += struct.pack("<qqIIII", bid, ask, bid_sz, ask_sz, 0, 0)
    return data


def book(symbol: str, ts_event: int, bids: Side, asks: Side) -> bytes:
    number, ids = _of(symbol)
    return head(ids=ids) + record(number, ts_event, bids, asks, px=bids[0][0] if bids else None)


def trade(symbol: str, ts_event: int, px: float, qty: float) -> bytes:
    sides = ([(px - 0.01, 300.0)], [(px + 0.01, 300.0)])
    number, ids = _of(symbol)
    return head(ids=ids) + record(number, ts_event, *sides, action="T", px=px, size=int(qty))


def more(symbol: str, ts_event: int) -> list[bytes]:
    number, ids = _of(symbol)
    side = [(31.0, 100.0)]
    return [
        head(ids=ids) + record(number, ts_event, side, (), action="R"),
        head(ids=ids) + record(number, ts_event, side, [(31.1, 5.0)], rtype=1, n_levels=1),
        head(ids=ids) + record(number, ts_event, side, (), rtype=195, n_levels=1) + record(number, ts_event + 1, side),
        head(ids=ids) + record(number, ts_event, action="T", px=31.0, rtype=0, n_levels=0),
    ]


def join(records: Sequence[bytes]) -> bytes:
    """Return the content of a file: one head, and the records without theirs."""
    return head(schema=0xFFFF) + b"".join(record[len(head()) :] for record in records)


def orders(symbol: str, ts_event: int, bids: Side, asks: Side) -> bytes:
    """Return a book as lines of MBO: a clear, and an order a level."""
    number = zlib.crc32(symbol.encode())
    levels = [("B", *level) for level in bids] + [("A", *level) for level in asks]
    rows = [("R", "N", "", 0, 32 if levels else 128)]
    rows += [("A", side, f"{px:.9f}", int(sz), 128 * (i == len(levels))) for i, (side, px, sz) in enumerate(levels, 1)]
    return "\n".join(
        f"{ts_event + 1_000},{ts_event},160,2,{number},{action},{side},{px},{sz},0,{i},{flags},0,0,{symbol}"
        for i, (action, side, px, sz, flags) in enumerate(rows, 1)
    ).encode()


def as_json(lines: bytes) -> bytes:
    """Return lines of MBO's CSV as JSON lines."""
    names = HEADER.split(",")
    return b"\n".join(_json_of(dict(zip(names, line.split(","), strict=True))) for line in lines.decode().split("\n"))


def _json_of(row: dict[str, str]) -> bytes:
    head = {"ts_event": row["ts_event"], "rtype": 160, "publisher_id": int(row["publisher_id"])}
    head["instrument_id"] = int(row["instrument_id"])
    numbers = {name: int(row[name]) for name in ("size", "channel_id", "flags", "ts_in_delta", "sequence")}
    text = {name: row[name] for name in ("action", "side", "order_id", "ts_recv", "symbol")}
    return orjson.dumps({"hd": head, **text, "price": row["price"] or None, **numbers})


def json_orders(symbol: str, ts_event: int, bids: Side, asks: Side) -> bytes:
    return as_json(orders(symbol, ts_event, bids, asks))


def json_order_trade(symbol: str, ts_event: int, px: float, qty: float) -> bytes:
    return as_json(order_trade(symbol, ts_event, px, qty))


def order_trade(symbol: str, ts_event: int, px: float, qty: float) -> bytes:
    number = zlib.crc32(symbol.encode())
    return f"{ts_event + 1_000},{ts_event},160,2,{number},T,B,{px:.9f},{int(qty)},0,0,128,0,0,{symbol}".encode()


SAMPLES = {
    "dbn": CodecSamples(book, trade, file_name="day.dbn", more=more, join=join, whole_sizes=True, fixed_unit=True),
    "databento-mbo-json": CodecSamples(json_orders, json_order_trade, whole_sizes=True),
    "databento-mbo-csv": CodecSamples(orders, order_trade, HEADER.encode() + b"\n", whole_sizes=True),
}
