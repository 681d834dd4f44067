"""Good rows of an MBP-10 CSV."""

from __future__ import annotations

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


SAMPLES = CodecSamples(book, trade, MBP10_HEADER.encode() + b"\n")
