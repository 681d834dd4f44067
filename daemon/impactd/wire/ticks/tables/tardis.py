"""Tardis: book_snapshot_5, book_snapshot_25, quotes and trades, as its downloads have them.

Times are microseconds: `timestamp` is the exchange's, `local_timestamp` that of the capture.
"""

from __future__ import annotations

from impactd.wire.content import Head
from impactd.wire.ticks.csv import split_header
from impactd.wire.ticks.tables.codec import TableCodec


class TardisCodec(TableCodec):
    """Decodes rows of Tardis's tables."""

    name = "tardis-csv"
    fallback = False
    time_unit = "us"

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether the header begins as all of Tardis's do."""
        return split_header(head.line)[:4] == ["exchange", "symbol", "timestamp", "local_timestamp"]
