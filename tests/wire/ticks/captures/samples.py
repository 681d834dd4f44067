"""Good captured messages."""

from __future__ import annotations

import orjson

from tests.checks.codec_samples import CodecSamples, Side


def line(ts_event: int, message: object) -> bytes:
    return b"%d %s" % (ts_event, orjson.dumps(message))


def book(symbol: str, ts_event: int, bids: Side, asks: Side) -> bytes:
    sides = ([[str(px), str(sz)] for px, sz in side] for side in (bids, asks))
    message = dict(zip(("symbol", "bids", "asks", "nonce", "timestamp"), (symbol, *sides, 7, None), strict=True))
    return line(ts_event, message)


def trade(symbol: str, ts_event: int, px: float, qty: float) -> bytes:
    data = {"e": "trade", "E": 1, "s": symbol, "t": 5, "p": str(px), "q": str(qty), "T": 1, "m": True}
    return line(ts_event, {"stream": "x@trade", "data": data})


def more(symbol: str, ts_event: int) -> list[bytes]:
    data = {"symbol": symbol, "bid": 31.0, "bid_qty": 5, "ask": 31.1, "ask_qty": 3}
    return [
        line(ts_event, {"u": 1, "s": symbol, "b": "31.0", "B": "2", "a": "31.1", "A": "3"}),
        line(ts_event, {"channel": "ticker", "type": "snapshot", "data": [data]}),
    ]


SAMPLES = CodecSamples(book, trade, file_name="capture.jsonl", more=more)
