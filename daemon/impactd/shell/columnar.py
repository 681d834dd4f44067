"""Parquet and Arrow files as text: CSV, or JSON lines where columns are nested.

pyarrow reads them, which the extra ``arrow`` installs. Numbers are written with the digits that give them back, times
as ISO 8601 in UTC, and in JSON as nanoseconds since the epoch.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

import orjson

from impactd.core.base.extras import extra_module

PARQUET: Final = b"PAR1"
ARROW: Final = b"ARROW1"
#: A stream of Arrow's, which has no directory: a length behind a mark.
STREAM: Final = b"\xff\xff\xff\xff"

_ROWS: Final = 16_384


class TableError(Exception):
    """A table that is damaged, or cannot be written as text."""


def opened(file: Any, magic: bytes) -> io.BufferedReader:
    """Return a table's text as a stream.

    Parameters
    ----------
    file : file object
        Decompressed, at its beginning.
    magic : bytes
        `PARQUET`, `ARROW` or `STREAM`.

    Raises
    ------
    MissingExtraError
        Without pyarrow.
    TableError
    """
    arrow: Any = extra_module("pyarrow", "arrow")
    try:
        # Files have their directory at the end.
        source = arrow.BufferReader(file.read())
        batches = _batches(source, magic)
        first = next(batches, None)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise TableError(str(error)) from error
    return io.BufferedReader(_Text(_text(arrow, first, batches)), 1 << 20)


def _batches(source: Any, magic: bytes) -> Iterator[Any]:
    if magic == PARQUET:
        yield from import_module("pyarrow.parquet").ParquetFile(source).iter_batches(_ROWS)
        return
    ipc = import_module("pyarrow.ipc")
    if magic == STREAM:
        yield from ipc.open_stream(source)
        return
    reader = ipc.open_file(source)
    for i in range(reader.num_record_batches):
        yield reader.get_batch(i)


def _text(arrow: Any, first: Any, batches: Iterator[Any]) -> Iterator[bytes]:
    batch, is_first = first, True
    while batch is not None:
        try:
            table = _plain(arrow, arrow.Table.from_batches([batch]))
            if any(arrow.types.is_nested(column.type) for column in table.schema):
                table = _with_ns(arrow, table)
                yield b"".join(orjson.dumps(row, default=str) + b"\n" for row in table.to_pylist())
            else:
                yield from _csv(arrow, table, with_header=is_first)
            batch, is_first = next(batches, None), False
        except (arrow.ArrowException, OSError, ValueError, TypeError) as error:
            raise TableError(str(error)) from error


def _plain(arrow: Any, table: Any) -> Any:
    """Return a table without dictionaries, decimals and zones, which CSV has not."""
    for i, column in enumerate(table.schema):
        kind = column.type
        if arrow.types.is_dictionary(kind):
            kind = kind.value_type
        if arrow.types.is_timestamp(kind) and kind.tz is not None:
            kind = arrow.timestamp(kind.unit, "UTC")
        if arrow.types.is_decimal(kind):
            kind = arrow.string()
        if kind != column.type:
            table = table.set_column(i, column.name, table.column(i).cast(kind))
    return table


def _with_ns(arrow: Any, table: Any) -> Any:
    """Return a table with nanoseconds since the epoch as times, which objects hold to the last digit."""
    for i, column in enumerate(table.schema):
        if arrow.types.is_timestamp(column.type):
            whole = table.column(i).cast(arrow.timestamp("ns", column.type.tz)).cast(arrow.int64())
            table = table.set_column(i, column.name, whole)
    return table


def _csv(arrow: Any, table: Any, *, with_header: bool) -> Iterator[bytes]:
    csv = import_module("pyarrow.csv")
    sink = arrow.BufferOutputStream()
    try:
        csv.write_csv(table, sink, csv.WriteOptions(include_header=with_header, quoting_style="none"))
    except arrow.ArrowInvalid:  # a text holds a comma or a quote
        sink = arrow.BufferOutputStream()
        csv.write_csv(table, sink, csv.WriteOptions(include_header=with_header, quoting_style="needed"))
    yield sink.getvalue().to_pybytes()


class _Text(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._held:
            self._held = memoryview(next(self._pieces, b""))
        n = min(len(buffer), len(self._held))
        buffer[:n], self._held = self._held[:n], self._held[n:]
        return n
