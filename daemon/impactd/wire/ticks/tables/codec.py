"""Tables as CSV: each row is a book, or each row is a trade.

Columns are known by their names (`impactd.wire.ticks.tables.header`), in any order; those that are not known are
skipped. Empty fields, NaN and null are absent: a level without price and size is no level. Times are whole
numbers of `wire.time_unit`, or ISO 8601 text, which is UTC where it has no zone. In a table of books the columns of a
last trade are skipped, since they repeat from row to row.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final, Self

from impactd.wire.codec import FieldError, Limits, instrument_of, placed, shown
from impactd.wire.content import Head
from impactd.wire.fields import parse_number, parse_symbol
from impactd.wire.rows import RowBuilder
from impactd.wire.tick_codec import FileFormatError, FileOptions
from impactd.wire.ticks.column_names import column_of
from impactd.wire.ticks.csv import CsvCodec, decimal_comma, delimiter_of, is_absent, split_header, split_line
from impactd.wire.ticks.one_book import OneBook, id_columns
from impactd.wire.ticks.tables.header import ORDER_COLUMNS, Columns, read_header
from impactd.wire.times import parse_text_time

#: A header by which records are read that come without a file.
HEADER: Final = "time,symbol,bid_price_1,bid_size_1,ask_price_1,ask_size_1"

_OF_DAY: Final = re.compile(r"\d{1,2}:\d\d:\d\d(?:\.\d+)?", re.ASCII)
_AGGRESSORS: Final = {
    **dict.fromkeys(("buy", "b", "1", "bid"), 1),
    **dict.fromkeys(("sell", "s", "-1", "a", "ask"), -1),
    **dict.fromkeys(("unknown", "n", "0"), 0),
}
_MAKERS: Final = {"true": -1, "1": -1, "t": -1, "false": 1, "0": 1, "f": 1}

Side = tuple[list[float], list[float]]


class TableCodec(CsvCodec):
    """Decodes rows of a table, one line per record.

    A dialect derives from it, and sets or replaces what differs.

    Parameters
    ----------
    header : str, optional
        The file's header line; `HEADER` by default.
    symbol : str, optional
        For tables without a symbol column.
    """

    name = "wide-csv"
    fallback = True
    #: Unit of times that are whole numbers, where the format fixes it; None: `wire.time_unit`.
    time_unit: ClassVar[str | None] = None
    #: Names of columns by which a table holds changes of books, which are not read.
    changes: ClassVar[frozenset[str]] = frozenset({"is_snapshot", "update_type", "first_update_id"})

    def __init__(self, limits: Limits | None = None, header: str | None = None, symbol: str | None = None) -> None:
        super().__init__(limits)
        header = header if header is not None else HEADER
        names = split_header(header)
        self._delimiter = delimiter_of(header)
        if self.changes & {name.lower() for name in names}:
            raise FileFormatError("holds changes of books, not books; export snapshots, such as book_snapshot_25")
        self._n_columns = len(names)
        self._columns = self.columns(names)
        if not self._columns.levels and (single := column_of(names, ORDER_COLUMNS)) >= 0:
            raise FileFormatError(
                f"{names[single]}: holds single orders, not trades; export snapshots of books, or trades without it"
            )
        if not self._columns.has_rows:
            raise FileFormatError(
                "no columns of time, and of prices and sizes, in the header; name them time, bid_price_1, bid_size_1, "
                "ask_price_1, ask_size_1 and so on, or time, price, size, side"
            )
        self._symbol = symbol
        self.named_by_file = self._columns.symbol < 0
        self._venue_at, self._instrument_at = id_columns(names, self._columns.symbol)
        if self._columns.levels and not (self.limits.venues and self._venue_at >= 0):
            self.one_book = OneBook(names, self._columns.symbol, self._delimiter, symbol)
            self.venues = self.one_book.venues

    @classmethod
    def columns(cls, names: list[str]) -> Columns:
        """Return what the columns of a header are."""
        return read_header(names)

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether the header names a time, and prices and sizes."""
        return head.is_text and cls.columns(split_header(head.line)).has_rows

    @classmethod
    def from_header(cls, head: Head, options: FileOptions) -> Self:
        """Return the codec for a file with this header line."""
        return cls(options.limits, head.line, options.symbols.name)

    def decode_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        """Decode one line."""
        fields = [field.strip() for field in split_line(value, self._n_columns, self._delimiter)]
        fields = decimal_comma(fields, self._delimiter)
        columns = self._columns
        time = fields[columns.ts_event]
        if columns.date >= 0 and _OF_DAY.fullmatch(time):
            time = f"{fields[columns.date]} {time}"
        ts_event = self._time(time, "time")
        received = fields[columns.ts_recv] if columns.ts_recv >= 0 else ""
        ts_recv = 0 if is_absent(received) else self._time(received, "received time")
        symbol = parse_symbol((fields[columns.symbol] if columns.symbol >= 0 else "") or self._symbol or "")
        venue = fields[self._venue_at] if self._venue_at >= 0 else ""
        symbol, publisher = placed(symbol, self.limits, "venue", venue)
        if columns.levels:
            bids, asks = self._book(fields)
            instrument = instrument_of(self.limits, fields[self._instrument_at] if self._instrument_at >= 0 else "")
            builder.add_book(record, symbol, 0, ts_event, ts_recv, bids, asks, publisher, instrument)
            return 0
        if is_absent(fields[columns.price]) or is_absent(fields[columns.size]):
            raise FieldError("missing_field", "price or size is missing; a trade has both")
        px, qty = parse_number(fields[columns.price], "price"), parse_number(fields[columns.size], "size")
        if qty < 0.0:
            raise FieldError("value", f"size: {qty} is negative; send the traded quantity, and the side in its column")
        builder.add_trade(record, symbol, 0, ts_event, ts_recv, px, qty, self._aggressor(fields))
        return 0

    def _time(self, text: str, name: str) -> int:
        try:
            return parse_text_time(text, name, self.time_unit or self.limits.time_unit)
        except FieldError as error:
            if self.time_unit is None or error.reason != "time_unit":
                raise
            # The setting has no part in it: the advice to change it would not help.
            raise FieldError(
                "value", f"{name}: {shown(text)} is not in {self.time_unit}; convert it to {self.time_unit}"
            ) from None

    def _book(self, fields: list[str]) -> tuple[Side, Side]:
        if len(self._columns.levels) > self.limits.max_levels:
            raise FieldError("too_deep", f"more than {self.limits.max_levels} levels; send fewer (books.max_levels)")
        bids: Side = ([], [])
        asks: Side = ([], [])
        for number, level in enumerate(self._columns.levels, 1):
            for side, name, px_at, sz_at in (
                (bids, "bid", level.bid_px, level.bid_sz),
                (asks, "ask", level.ask_px, level.ask_sz),
            ):
                px, sz = fields[px_at], fields[sz_at]
                size = 0.0 if is_absent(sz) else parse_number(sz, f"size of {name} {number}")
                if is_absent(px):
                    if size != 0.0:
                        raise FieldError("missing_field", f"price of {name} {number} is missing where there is a size")
                    continue
                price = parse_number(px, f"price of {name} {number}")
                if price == 0.0 and size == 0.0:
                    continue  # how tables pad their books
                side[0].append(price)
                side[1].append(self.size(size, fields))
        return bids, asks

    def size(self, size: float, fields: list[str]) -> float:
        """Return the size of a level in units of the instrument; a dialect may scale it."""
        del fields
        return size

    def _aggressor(self, fields: list[str]) -> int:
        at, signs = (self._columns.side, _AGGRESSORS) if self._columns.side >= 0 else (self._columns.maker, _MAKERS)
        if at < 0 or is_absent(fields[at]):
            return 0
        if fields[at].lower() not in signs:
            raise FieldError("value", f"side: {shown(fields[at])} is not a side of a trade; send buy or sell")
        return signs[fields[at].lower()]
