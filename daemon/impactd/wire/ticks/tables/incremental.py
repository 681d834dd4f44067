"""Tardis's incremental_book_L2: one level per line, snapshots and changes.

Consecutive lines of one symbol, `local_timestamp` and `is_snapshot` are one message, and one record. A snapshot begins
the book again, also in the middle of a day, where Tardis connected again. Times are microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby, islice
from typing import Final, Self

from impactd.wire.codec import FieldError, Limits, shown
from impactd.wire.content import Content, Head, Line
from impactd.wire.fields import parse_number, parse_symbol
from impactd.wire.rows import RowBuilder
from impactd.wire.tick_codec import FileFormatError, FileOptions
from impactd.wire.ticks.building.builder import Change
from impactd.wire.ticks.building.codec import BuildingCodec
from impactd.wire.ticks.building.ladder import Levels
from impactd.wire.ticks.csv import CsvCodec, joined_lines, split_header, split_line
from impactd.wire.ticks.one_book import OneBook
from impactd.wire.times import parse_text_time

HEADER: Final = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"

_NEEDED: Final = ("symbol", "timestamp", "local_timestamp", "is_snapshot", "side", "price", "amount")
_SIDES: Final = {"bid": 0, "ask": 1}
_FLAGS: Final = {"true": True, "false": False}
#: Lines of one message, at most.
_MAX_LINES: Final = 100_000


class IncrementalCodec(BuildingCodec, CsvCodec):
    """Decodes messages of changes, all lines of one message per record.

    Parameters
    ----------
    header : str, optional
        The file's header line; `HEADER` by default.
    """

    name = "tardis-incremental-csv"
    takes_commas = True

    def __init__(self, limits: Limits | None = None, header: str | None = None) -> None:
        super().__init__(limits)
        names = split_header((header if header is not None else HEADER).lower())
        missing = [name for name in _NEEDED if name not in names]
        if missing:
            raise FileFormatError(f"no column {', '.join(missing)} in the header; incremental_book_L2 has {HEADER}")
        self._n_columns = len(names)
        self._column = {name: names.index(name) for name in _NEEDED}
        self.one_book = OneBook(names, self._column["symbol"], ",")
        self.venues = self.one_book.venues

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether the header has all columns."""
        return set(_NEEDED) <= set(split_header(head.line.lower()))

    @classmethod
    def from_header(cls, head: Head, options: FileOptions) -> Self:
        """Return the codec for a file with this header line."""
        return cls(options.limits, head.line)

    def records(self, content: Content) -> Iterator[Line]:
        """Yield each message as one record, with the number of its first line; a fault in one line is the message's."""
        return self.noted(_messages(CsvCodec.records(self, content), self._key))

    def _key(self, line: Line) -> list[bytes]:
        fields = line.text.split(b",")
        columns = (self._column[name] for name in ("symbol", "local_timestamp", "is_snapshot"))
        return [fields[column] if column < len(fields) else b"" for column in columns]

    def _check_size(self, value: bytes) -> None:
        if self.books is None:
            super()._check_size(value)  # a file's lines are bounded one by one

    def read_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        """Decode one message."""
        sides: tuple[Levels, Levels] = (([], []), ([], []))
        heads = set()
        time = ""
        for line in value.split(b"\n"):
            fields = split_line(line, self._n_columns)
            field = {name: fields[column].strip() for name, column in self._column.items()}
            heads.add((field["symbol"], field["local_timestamp"], field["is_snapshot"].lower()))
            time = field["timestamp"]
            if field["side"] not in _SIDES:
                raise FieldError("value", f"side: {shown(field['side'])} is not a side; send bid or ask")
            px, sz = sides[_SIDES[field["side"]]]
            px.append(parse_number(field["price"], "price"))
            sz.append(parse_number(field["amount"], "amount"))
        if len(heads) != 1:
            raise FieldError(
                "value", "symbols, times or is_snapshot of one message differ; send one message per record"
            )
        symbol, received, flag = heads.pop()
        if flag not in _FLAGS:
            raise FieldError("value", f"is_snapshot: {shown(flag)} is neither true nor false; send one")
        ts_event, ts_recv = self._time(time, "timestamp"), self._time(received, "local_timestamp")
        if _FLAGS[flag]:
            sides = (_sorted(sides[0], -1), _sorted(sides[1], 1))
        change = Change("incremental_book_L2", *sides, is_snapshot=_FLAGS[flag])
        return self.add_change(change, parse_symbol(symbol), record, ts_event, ts_recv, builder)

    @staticmethod
    def _time(text: str, name: str) -> int:
        try:
            return parse_text_time(text, name, "us")
        except FieldError as error:
            if error.reason != "time_unit":
                raise
            raise FieldError(
                "value", f"{name}: {shown(text)} is not in microseconds; send Tardis's own files"
            ) from None


def _messages(lines: Iterator[Line], key: Callable[[Line], list[bytes]]) -> Iterator[Line]:
    for _, run in groupby(lines, key=key):
        held = list(islice(run, _MAX_LINES + 1))
        message = joined_lines(held)
        if len(held) > _MAX_LINES:
            fault = FieldError("too_large", f"more than {_MAX_LINES} lines of one message; send Tardis's own files")
            message = Line(message.number, held[0].text, fault)
        yield message


def _sorted(levels: Levels, sign: int) -> Levels:
    """Return the levels of a snapshot that have a size, best first."""
    kept = sorted((px * sign, px, sz) for px, sz in zip(*levels, strict=True) if sz != 0.0)
    return [px for _, px, _ in kept], [sz for _, _, sz in kept]
