"""Rows of market depth."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tests.checks.source_checks import Level, SourceSamples


def _quote(symbol: str, ts_ns: int, bid: Level, ask: Level) -> list[dict[str, Any]]:
    row = {"#RIC": symbol, "Date-Time": pd.Timestamp(ts_ns, tz="UTC").isoformat(), "Type": "Normalized LL2"}
    for level, side in ((bid, "Bid"), (ask, "Ask")):
        price, size = level or ("", "")
        row |= {f"L1-{side}Price": str(price), f"L1-{side}Size": str(size)}
    return [row]


SAMPLES = SourceSamples(_quote)
