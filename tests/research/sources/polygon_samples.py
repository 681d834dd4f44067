"""Quotes of the vendor's WebSocket."""

from __future__ import annotations

from typing import Any

from tests.checks.source_checks import Level, SourceSamples


def _quote(symbol: str, ts_ns: int, bid: Level, ask: Level) -> list[dict[str, Any]]:
    record = {"ev": "Q", "sym": symbol, "t": ts_ns // 1_000_000}
    for level, price, size in ((bid, "bp", "bs"), (ask, "ap", "as")):
        record |= {price: level[0], size: level[1]} if level is not None else {}
    return [record]


SAMPLES = SourceSamples(_quote)
