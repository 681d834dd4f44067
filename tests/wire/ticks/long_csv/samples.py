"""Good snapshots of a long CSV."""

from __future__ import annotations

from tests.checks.codec_samples import CodecSamples, Side


def book(symbol: str, ts_event: int, bids: Side, asks: Side) -> bytes:
    sides = (("bid", bids or [("", 0)]), ("ask", asks or [("", 0)]))
    lines = [f"{ts_event},{symbol},{s},{px},{sz},{i}" for s, side in sides for i, (px, sz) in enumerate(side)]
    return "\n".join(lines).encode()


SAMPLES = CodecSamples(book, header=b"time,symbol,side,price,size,level\n")
