"""The long CSV of books: ``time,side,price,size,level``, one level a line.

Consecutive lines of one time are a snapshot, or one of each symbol where there
is a ``symbol`` column, in whatever order its lines are; a snapshot is one record.
`side` is ``bid`` or ``ask``; levels may be in any order and count from 0 or 1.
A level of size 0 without a price is an empty one.  The format holds no trades.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Self

from impactd.wire.codec import FieldError, Limits, bounded, shown
from impactd.wire.content import Content, Head, Line
from impactd.wire.fields import parse_number, parse_symbol
from impactd.wire.rows import RowBuilder
from impactd.wire.tick_codec import FileFormatError, FileOptions
from impactd.wire.ticks.csv import CsvCodec, split_header, split_line
from impactd.wire.times import parse_text_time

HEADER: Final = "time,side,price,size,level"

_NEEDED: Final = ("time", "side", "price", "size", "level")
_SIDES: Final = ("bid", "ask")


#: Bytes of lines of one time that are held, at most.
_MAX_RUN_BYTES: Final = 1 << 26


def _field(line: bytes, column: int) -> bytes:
    fields = line.split(b",", column + 1)
    return fields[column] if column < len(fields) else b""


def _joined(lines: list[Line]) -> Line:
    fault = next((line.fault for line in lines if line.fault is not None), None)
    return Line(lines[0].number, b"\n".join(line.text for line in lines), fault)


class LongCsvCodec(CsvCodec):
    """Decodes snapshots of the long CSV, all lines of one snapshot a record.

    Parameters
    ----------
    limits : Limits, optional
    header : str, optional
        The file's header line; `HEADER` by default.
    symbol : str, optional
        For files without a symbol column.

    Raises
    ------
    FileFormatError
        If a column that is needed is missing.
    """

    name = "long-csv"

    def __init__(self, limits: Limits | None = None, header: str | None = None, symbol: str | None = None) -> None:
        super().__init__(limits)
        names = split_header(header if header is not None else HEADER)
        missing = [name for name in _NEEDED if name not in names]
        if missing:
            raise FileFormatError(f"no column {', '.join(missing)} in the header; the long CSV has {HEADER}")
        self._n_columns = len(names)
        self._column: dict[str, int] = {name: names.index(name) for name in (*_NEEDED, "symbol") if name in names}
        self._symbol = symbol
        self.named_by_file = "symbol" not in self._column

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether the header has all columns."""
        return set(_NEEDED) <= set(split_header(head.line))

    @classmethod
    def from_header(cls, head: Head, options: FileOptions) -> Self:
        """Return the codec for a file with this header line."""
        return cls(options.limits, head.line, options.symbols.name)

    def records(self, content: Content) -> Iterator[Line]:
        """Yield each snapshot as one record, with the number of its first line; a fault in one line is the snapshot's.

        Consecutive lines of one time belong together, by symbol.  Time and symbol are compared
        as text, so that no line has to be decoded to be grouped.
        """
        columns = [self._column[name] for name in ("time", "symbol") if name in self._column]
        groups: dict[bytes, list[Line]] = {}
        run, size = b"", 0
        for line in super().records(content):
            time, symbol, *_ = *(_field(line.text, column) for column in columns), b""
            if groups and (time != run or size > _MAX_RUN_BYTES):
                yield from map(_joined, groups.values())
                groups, size = {}, 0
            run = time
            groups.setdefault(symbol, []).append(line)
            size += len(line.text)
        yield from map(_joined, groups.values())

    def decode_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        """Decode one snapshot."""
        sides: dict[str, dict[int, tuple[float, float]]] = {side: {} for side in _SIDES}
        heads = set()
        for number, line in enumerate(value.split(b"\n")):
            try:
                fields = split_line(line, self._n_columns)
                field: dict[str, str] = {name: fields[column].strip() for name, column in self._column.items()}
                heads.add((field["time"], field.get("symbol", "")))
                self._add_level(field, sides)
            except FieldError as error:
                raise FieldError(error.reason, bounded(f"line {number} of the snapshot: {error.detail}")) from None
        if len(heads) != 1:
            raise FieldError("value", "times or symbols of one snapshot differ; send one snapshot a record")
        time, symbol = heads.pop()
        ts_event = parse_text_time(time, "time", self.limits.time_unit)
        name = parse_symbol(symbol or self._symbol or "")
        bids, asks = (
            ([px for px, _ in levels], [sz for _, sz in levels])
            for levels in ([sides[side][level] for level in sorted(sides[side])] for side in _SIDES)
        )
        builder.add_book(record, name, 0, ts_event, 0, bids, asks)
        return 0

    def _add_level(self, field: dict[str, str], sides: dict[str, dict[int, tuple[float, float]]]) -> None:
        side = field["side"].lower()
        if side not in sides:
            raise FieldError("value", f"side: {shown(field['side'])} is no side; send bid or ask")
        level = field["level"]
        if not (level.isascii() and level.isdigit() and len(level) <= 6):
            raise FieldError("type", f"level: {shown(level)} is not a whole number; number levels from the best on")
        size = parse_number(field["size"] or "0", "size")
        if field["price"].lower() in ("", "nan"):
            if size == 0.0:
                return
            raise FieldError("missing_field", "price is missing where there is a size; send both")
        levels = sides[side]
        if int(level) in levels:
            raise FieldError(
                "value", f"level: {side} {level} is in one snapshot twice; give each snapshot its own time"
            )
        if len(levels) >= self.limits.max_levels:
            raise FieldError("too_deep", f"more than {self.limits.max_levels} levels; send fewer (books.max_levels)")
        levels[int(level)] = (parse_number(field["price"], "price"), size)
