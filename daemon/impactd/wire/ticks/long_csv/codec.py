"""The long CSV of books: ``time,side,price,size,level``, one level per line.

Consecutive lines of one time are a snapshot, or one of each symbol where there
is a ``symbol`` column, in whatever order its lines are; a snapshot is one record.
Columns may be in any order and have the usual other names (``timestamp``, ``px``,
``qty``); other columns are skipped.  `side` is a word for bid or ask; levels
may be in any order and count from 0 or 1, and where there is no column of them
they are ordered by price.  A level of size 0 without a price is an empty one.
The format holds no trades: where sides are ``buy`` and ``sell`` and there is no
column of levels, a file is one of trades.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Self

from impactd.wire.codec import FieldError, Limits, bounded, instrument_of, placed, shown
from impactd.wire.content import Content, Head, Line
from impactd.wire.fields import parse_number, parse_symbol
from impactd.wire.rows import RowBuilder
from impactd.wire.tick_codec import FileFormatError, FileOptions
from impactd.wire.ticks.column_names import column_of
from impactd.wire.ticks.csv import (
    CsvCodec,
    decimal_comma,
    delimiter_of,
    is_absent,
    joined_lines,
    split_header,
    split_line,
)
from impactd.wire.ticks.one_book import OneBook, id_columns
from impactd.wire.ticks.tables.header import EVENT, ORDER_COLUMNS, SYMBOL, TRADE_PRICE, TRADE_SIZE
from impactd.wire.times import parse_text_time

HEADER: Final = "time,side,price,size,level"

#: Other names of the columns, compared without case, blanks and underscores.
_NAMES: Final = {
    "time": EVENT,
    "side": ("side", "bidask", "bookside"),
    "price": TRADE_PRICE,
    "size": TRADE_SIZE,
    "level": ("level", "lvl", "position", "rank"),
    "symbol": SYMBOL,
}
_NEEDED: Final = ("time", "side", "price", "size")
_SIDES: Final = {
    **dict.fromkeys(("bid", "bids", "b", "buy"), "bid"),
    **dict.fromkeys(("ask", "asks", "a", "sell", "s", "offer", "o"), "ask"),
}
#: Sides of books alone, which tell a file without levels from one of trades.
_OF_BOOKS: Final = frozenset({"bid", "bids", "ask", "asks", "a", "offer", "o"})


#: Bytes of lines of one time that are held, at most.
_MAX_RUN_BYTES: Final = 1 << 26


def _field(line: bytes, column: int, delimiter: bytes) -> bytes:
    fields = line.split(delimiter, column + 1)
    return fields[column] if column < len(fields) else b""


class LongCsvCodec(CsvCodec):
    """Decodes snapshots of the long CSV, all lines of one snapshot per record.

    Parameters
    ----------
    header : str, optional
        The file's header line; `HEADER` by default.
    symbol : str, optional
        For files without a symbol column.
    """

    name = "long-csv"

    def __init__(self, limits: Limits | None = None, header: str | None = None, symbol: str | None = None) -> None:
        super().__init__(limits)
        header = header if header is not None else HEADER
        names = split_header(header)
        self._delimiter = delimiter_of(header)
        self._column: dict[str, int] = _columns(names)
        missing = [name for name in _NEEDED if name not in self._column]
        if missing:
            raise FileFormatError(f"no column {', '.join(missing)} in the header; the long CSV has {HEADER}")
        self._n_columns = len(names)
        self._symbol = symbol
        self.named_by_file = "symbol" not in self._column
        symbol_at = self._column.get("symbol", -1)
        self._venue_at, self._instrument_at = id_columns(names, symbol_at)
        self._venue_column = names[self._venue_at] if self._venue_at >= 0 else ""
        #: What tells the books of one time apart.
        self._book_at = [symbol_at] if symbol_at >= 0 else []
        if self.limits.venues and self._venue_at >= 0:
            self._book_at.append(self._venue_at)
        else:
            self.one_book = OneBook(names, symbol_at, self._delimiter, symbol)
            self.venues = self.one_book.venues

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether the header has all columns; without levels, whether the first line is of a book."""
        if not head.is_text:
            return False
        column = _columns(split_header(head.line))
        if not set(_NEEDED) <= column.keys() or "level" in column:
            return set(_NEEDED) <= column.keys()
        if column_of(split_header(head.line), ORDER_COLUMNS) >= 0:
            return False
        lines = (line for line in head.text.splitlines()[1:] if line.strip())
        side = _field(next(lines, b""), column["side"], delimiter_of(head.line).encode()).strip(b' "').lower()
        return side.decode(errors="replace") in _OF_BOOKS

    @classmethod
    def from_header(cls, head: Head, options: FileOptions) -> Self:
        """Return the codec for a file with this header line."""
        return cls(options.limits, head.line, options.symbols.name)

    def records(self, content: Content) -> Iterator[Line]:
        """Yield each snapshot as one record, with the number of its first line; a fault in one line is the snapshot's.

        Consecutive lines of one time belong together, by symbol, and by venue where the settings name some.  They are
        compared as text, so that no line has to be decoded to be grouped.

        Raises
        ------
        FileFormatError
            If bids and asks of a symbol's first snapshot are apart: neither would be a book.
        """
        mark = self._delimiter.encode()
        groups: dict[bytes, list[Line]] = {}
        one_sided: dict[bytes, tuple[bytes, str] | None] = {}
        run, size = b"", 0
        for line in super().records(content):
            time = _field(line.text, self._column["time"], mark)
            symbol = mark.join(_field(line.text, column, mark) for column in self._book_at)
            if groups and (time != run or size > _MAX_RUN_BYTES):
                self._check_sides(run, groups, one_sided)
                yield from map(joined_lines, groups.values())
                groups, size = {}, 0
            run = time
            groups.setdefault(symbol, []).append(line)
            size += len(line.text)
        self._check_sides(run, groups, one_sided)
        yield from map(joined_lines, groups.values())

    def _check_sides(
        self, time: bytes, groups: dict[bytes, list[Line]], one_sided: dict[bytes, tuple[bytes, str] | None]
    ) -> None:
        """Note which side a symbol's first snapshot has, unless both; raise where the other one comes apart from it."""
        mark = self._delimiter.encode()
        for symbol, lines in groups.items():
            before = one_sided.get(symbol, (b"", ""))
            if before is None:
                continue
            words = {_field(line.text, self._column["side"], mark).strip().lower().decode("latin-1") for line in lines}
            sides = {_SIDES.get(word, "") for word in words}
            if len(sides) != 1:
                one_sided[symbol] = None
            elif before == (b"", ""):
                one_sided[symbol] = time, sides.pop()
            elif before[0] == time and before[1] not in sides:
                at, name = bounded(time.decode("latin-1")), symbol.decode("latin-1") or "the file"
                raise FileFormatError(f"bids and asks of {name} at {at} are apart; sort the rows by time")

    def decode_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        """Decode one snapshot."""
        sides: dict[str, dict[float, tuple[float, float]]] = {"bid": {}, "ask": {}}
        heads, venues, instruments = set(), set(), set()
        for number, line in enumerate(value.split(b"\n")):
            try:
                fields = decimal_comma(split_line(line, self._n_columns, self._delimiter), self._delimiter)
                field: dict[str, str] = {name: fields[column].strip() for name, column in self._column.items()}
                heads.add((field["time"], field.get("symbol", "")))
                venues.add(fields[self._venue_at].strip() if self._venue_at >= 0 else "")
                instruments.add(fields[self._instrument_at].strip() if self._instrument_at >= 0 else "")
                self._add_level(field, sides)
            except FieldError as error:
                raise FieldError(error.reason, bounded(f"line {number} of the snapshot: {error.detail}")) from None
        if len(heads) != 1:
            raise FieldError("value", "times or symbols of one snapshot differ; send one snapshot per record")
        if len(venues) != 1:
            raise FieldError("value", "venues of one snapshot differ; send one venue's snapshot per record")
        if len(instruments) != 1:
            raise FieldError("value", "instruments of one snapshot differ; send one instrument's snapshot per record")
        time, symbol = heads.pop()
        ts_event = parse_text_time(time, "time", self.limits.time_unit)
        name = parse_symbol(symbol or self._symbol or "")
        name, publisher = placed(name, self.limits, self._venue_column, venues.pop())
        instrument = instrument_of(self.limits, instruments.pop())
        bids, asks = (
            ([px for px, _ in levels], [sz for _, sz in levels])
            for levels in ([levels[at] for at in sorted(levels)] for levels in sides.values())
        )
        builder.add_book(record, name, 0, ts_event, 0, bids, asks, publisher, instrument)
        return 0

    def _add_level(self, field: dict[str, str], sides: dict[str, dict[float, tuple[float, float]]]) -> None:
        side = _SIDES.get(field["side"].lower())
        if side is None:
            raise FieldError("value", f"side: {shown(field['side'])} is not a side; send bid or ask")
        level = field.get("level")
        if level is not None:
            level = level.removesuffix(".0")  # as pandas writes whole numbers where some are missing
        if level is not None and not (level.isascii() and level.isdigit() and len(level) <= 6):
            raise FieldError("type", f"level: {shown(level)} is not a whole number; number levels from the best on")
        size = 0.0 if is_absent(field["size"]) else parse_number(field["size"], "size")
        if is_absent(field["price"]):
            if size == 0.0:
                return
            raise FieldError("missing_field", "price is missing where there is a size; send both")
        price = parse_number(field["price"], "price")
        at = float(level) if level is not None else (-price if side == "bid" else price)
        levels = sides[side]
        if at in levels:
            what = level if level is not None else f"at {price}"
            raise FieldError("value", f"level: {side} {what} is in one snapshot twice; give each snapshot its own time")
        if len(levels) >= self.limits.max_levels:
            raise FieldError("too_deep", f"more than {self.limits.max_levels} levels; send fewer (books.max_levels)")
        levels[at] = (price, size)


def _columns(names: list[str]) -> dict[str, int]:
    """Return the columns that are there, by what they are."""
    found = {what: column_of(names, others) for what, others in _NAMES.items()}
    return {what: column for what, column in found.items() if column >= 0}
