"""Good rows of an MBP-10 CSV."""

from __future__ import annotations

import zlib

import orjson

from impactd.wire.ticks.databento.columns import MBP10_HEADER
from tests.checks.codec_samples import CodecSamples, Side


def _row(symbol: str, ts_event: int, bids: Side, asks: Side, **fields: object) -> bytes:
    fields |= {"ts_recv": ts_event + 1_000, "ts_event": ts_event, "side": "B", "flags": 128, "symbol": symbol}
    for name, side in (("bid", bids), ("ask", asks)):
        for i, (px, sz) in enumerate(side):
            fields |= {f"{name}_px_{i:02}": px, f"{name}_sz_{i:02}": sz}
    empty = {f"{name}_px_{i:02}": "" for name in ("bid", "ask") for i in range(10)}
    return ",".join(str((empty | fields).get(name, 0)) for name in MBP10_HEADER.split(",")).encode()


def book(symbol: str, ts_event: int, bids: Side, asks: Side) -> bytes:
    return _row(symbol, ts_event, bids, asks, action="A", price=bids[0][0] if bids else "", size=100)


def trade(symbol: str, ts_event: int, px: float, qty: float) -> bytes:
    return _row(symbol, ts_event, [(px - 0.01, 300)], [(px + 0.01, 300)], action="T", price=px, size=qty)


def json_record(symbol: str, ts_event: int, bids: Side, asks: Side, **fields: object) -> bytes:
    """Return a record of MBP-10 as JSON, as Databento's library writes it."""
    levels = []
    for i in range(10):
        level: dict[str, object] = {}
        for name, side in (("bid", bids), ("ask", asks)):
            px, sz = side[i] if i < len(side) else (None, 0)
            level |= {f"{name}_px": None if px is None else f"{px:.9f}", f"{name}_sz": sz, f"{name}_ct": 1}
        levels.append(level)
    head = {"ts_event": str(ts_event), "rtype": 10, "publisher_id": 2, "instrument_id": zlib.crc32(symbol.encode())}
    record = {"ts_recv": str(ts_event + 1_000), "hd": head, "action": "A", "side": "B", "depth": 0, "flags": 128}
    record |= {"price": None, "size": 100, "ts_in_delta": 0, "sequence": 0, "levels": levels, "symbol": symbol}
    return orjson.dumps(record | fields)


def json_trade(symbol: str, ts_event: int, px: float, qty: float) -> bytes:
    sides = ([(px - 0.01, 300)], [(px + 0.01, 300)])
    return json_record(symbol, ts_event, *sides, action="T", price=f"{px:.9f}", size=qty)


SAMPLES = {
    "databento-mbp10-csv": CodecSamples(book, trade, MBP10_HEADER.encode() + b"\n"),
    "databento-json": CodecSamples(json_record, json_trade, file_name="day.json"),
}
