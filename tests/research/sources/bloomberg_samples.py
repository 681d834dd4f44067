"""Ticks of both sides."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tests.checks.source_checks import Level, SourceSamples


def _quote(symbol: str, ts_ns: int, bid: Level, ask: Level) -> list[dict[str, Any]]:
    time = pd.Timestamp(ts_ns, tz="UTC").isoformat()
    rows = []
    for level, kind in ((bid, "BEST_BID"), (ask, "BEST_ASK")):
        value, size = level or (0, 0)
        rows.append({"security": symbol, "time": time, "type": kind, "value": value, "size": size})
    return rows


SAMPLES = SourceSamples(_quote)
