"""Quotes of the US consolidated tapes as tables: Polygon's flat files and Alpaca's downloads.

They differ from other tables in the sizes, which count round lots until November 2025
(`impactd.wire.ticks.round_lots`). Their trades are tables like any other.
"""

from __future__ import annotations

from typing import ClassVar, Final

from impactd.wire.content import Head
from impactd.wire.fields import parse_symbol
from impactd.wire.ticks.csv import split_header
from impactd.wire.ticks.round_lots import lot_of
from impactd.wire.ticks.tables.codec import TableCodec

_QUOTE: Final = frozenset({"bid_price", "bid_size", "ask_price", "ask_size", "bid_exchange", "ask_exchange"})


class PolygonCodec(TableCodec):
    """Decodes rows of Polygon's quotes."""

    name = "polygon-quotes-csv"
    fallback = False
    time_unit: ClassVar[str | None] = "ns"
    own_columns: ClassVar[frozenset[str]] = frozenset({"sip_timestamp"})

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether the header is one of quotes, with the vendor's own columns."""
        return _QUOTE | cls.own_columns <= set(split_header(head.line))

    def size(self, size: float, fields: list[str]) -> float:
        """Return the size of a level in shares."""
        columns = self._columns
        named = fields[columns.symbol] if columns.symbol >= 0 else ""
        return size * lot_of(parse_symbol(named or self._symbol or ""), self._time(fields[columns.ts_event], "time"))


class AlpacaCodec(PolygonCodec):
    """Decodes rows of Alpaca's quotes."""

    name = "alpaca-quotes-csv"
    time_unit = None
    own_columns = frozenset({"timestamp", "conditions", "tape"})
