"""Tardis: book_snapshot_5, book_snapshot_25, quotes and trades, as its downloads have them.

Times are microseconds: `timestamp` is the exchange's, `local_timestamp` that of the capture.
"""

from __future__ import annotations

from typing import Self

from impactd.wire.content import Head
from impactd.wire.tick_codec import FileFormatError, FileOptions
from impactd.wire.ticks.csv import split_header
from impactd.wire.ticks.tables.codec import TableCodec


class TardisCodec(TableCodec):
    """Decodes rows of Tardis's tables."""

    name = "tardis-csv"
    fallback = False
    time_unit = "us"

    @classmethod
    def from_header(cls, head: Head, options: FileOptions) -> Self:
        """Return the codec for a file with this header line; liquidations have that of trades, and are some of them."""
        if "_liquidations_" in head.name:
            raise FileFormatError("holds liquidations, which are among the trades; download trades")
        return super().from_header(head, options)

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether the header begins as all of Tardis's do."""
        return split_header(head.line.lower())[:4] == ["exchange", "symbol", "timestamp", "local_timestamp"]
