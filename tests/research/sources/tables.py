"""Books of a table, for comparison."""

from __future__ import annotations

import pandas as pd

Side = list[tuple[float, float]]


def books_of(table: pd.DataFrame) -> list[tuple[int, Side, Side]]:
    """Return (ns, bids, asks) of each book of one instrument."""
    found = []
    for at, rows in table.groupby("time", sort=True):
        bids, asks = (_side(rows[(rows["side"] == side) & (rows["size"] > 0)]) for side in ("bid", "ask"))
        found.append((pd.Timestamp(str(at)).value, bids, asks))
    return found


def _side(rows: pd.DataFrame) -> Side:
    best_first = rows.sort_values("level")
    return list(zip(best_first["price"].tolist(), best_first["size"].tolist(), strict=True))


def sides_of(table: pd.DataFrame) -> list[tuple[Side, Side]]:
    """Return (bids, asks) of each book of one instrument."""
    return [(bids, asks) for _, bids, asks in books_of(table)]
