"""Good records of our JSON."""

from __future__ import annotations

import orjson

from tests.checks.codec_samples import CodecSamples, Side


def book(symbol: str, ts_event: int, bids: Side, asks: Side) -> bytes:
    return orjson.dumps({"type": "book", "symbol": symbol, "ts_event": ts_event, "bids": bids, "asks": asks})


def trade(symbol: str, ts_event: int, px: float, qty: float) -> bytes:
    obj = {"type": "trade", "symbol": symbol, "ts_event": ts_event, "ts_recv": ts_event + 5, "px": px}
    return orjson.dumps(obj | {"qty": qty, "aggressor": "buy", "auction": False})


def more(symbol: str, ts_event: int) -> list[bytes]:
    shallow = {"type": "book", "symbol": symbol, "ts_event": ts_event, "ts_recv": ts_event, "seq": 7, "mid_event": True}
    made = [book(symbol, ts_event, [(31.2, 5)], [(31.3, 5)]), trade(symbol, ts_event, 31.1, 500)]
    return [orjson.dumps(shallow | {"bids": [["31.2", 5]], "asks": []}), b"[" + b",".join(made) + b"]"]


SAMPLES = CodecSamples(book, trade, file_name="day.jsonl", more=more)
