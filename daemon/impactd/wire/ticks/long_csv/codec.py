"""The long CSV of books: ``time,side,price,size,level``, one level a line.

A snapshot is a run of consecutive lines of equal time (and symbol, where there
is such a column), and one record: whoever reads the file puts its lines
together with `group_lines`.  `side` is ``bid`` or ``ask``; levels may stand in any order
and count from 0 or 1.  A level of size 0 without a price is an empty one.
The format holds no trades.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from impactd.core.inputs.ticks import Int, Refused
from impactd.wire.codec import Decoded, FieldError, Limits, bounded, shown
from impactd.wire.fields import parse_number, parse_symbol
from impactd.wire.rows import RowBuilder, stamped
from impactd.wire.ticks.databento.columns import HeaderError, split_header, split_line
from impactd.wire.times import parse_text_time

NAME: Final = "long-csv"
HEADER: Final = "time,side,price,size,level"

_NEEDED: Final = ("time", "side", "price", "size", "level")
_SIDES: Final = ("bid", "ask")


class LongCsvCodec:
    """Decodes snapshots of the long CSV, all lines of one snapshot a record.

    Parameters
    ----------
    header : str, optional
        The file's header line; `HEADER` by default.
    symbol : str, optional
        For files without a symbol column.

    Raises
    ------
    HeaderError
        If a column that is needed is missing.
    """

    name = NAME

    def __init__(self, header: str | None = None, symbol: str | None = None, limits: Limits | None = None) -> None:
        names = split_header(header if header is not None else HEADER)
        missing = [name for name in _NEEDED if name not in names]
        if missing:
            raise HeaderError(f"no column {', '.join(missing)} in the header; the long CSV has {HEADER}")
        self._n_columns = len(names)
        self._column: dict[str, int] = {name: names.index(name) for name in (*_NEEDED, "symbol") if name in names}
        self._symbol = symbol
        self._limits = limits or Limits()

    def group_lines(self, lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        """Yield each snapshot's lines as one value, with the number of its first line.

        Lines belong together while their time and symbol are the same text, so that no line
        has to be understood to be grouped.

        Parameters
        ----------
        lines : iterable of (int, bytes)
            Line numbers and lines.
        """
        columns = [self._column[name] for name in ("time", "symbol") if name in self._column]
        at, key, group, size = 0, None, list[bytes](), 0
        for number, line in lines:
            fields = line.split(b",")
            this = [fields[c] if c < len(fields) else b"" for c in columns]
            # A snapshot beyond the limit is cut there, and refused for its size.
            if group and (this != key or size > self._limits.max_message_bytes):
                yield at, b"\n".join(group)
                group, size = [], 0
            if not group:
                at, key = number, this
            group.append(line)
            size += len(line) + 1
        if group:
            yield at, b"\n".join(group)

    def decode_columns(
        self,
        values: Sequence[bytes],
        offsets: Sequence[int] | Int,
        ts_records: Sequence[int] | Int,
        keys: Sequence[bytes | None] | None = None,
    ) -> Decoded:
        """Decode snapshots; see `impactd.wire.codec.TickCodec`."""
        builder = RowBuilder()
        refused = []
        for i, value in enumerate(values):
            try:
                self._decode(value, i, builder)
            except FieldError as error:
                key = keys[i] if keys is not None else None
                at, ts_record = int(offsets[i]), int(ts_records[i])
                refused.append(Refused(at, error.reason, error.detail, value, key, NAME, ts_record))
        return Decoded(stamped(builder.build(), offsets, ts_records), refused)

    def _decode(self, value: bytes, index: int, builder: RowBuilder) -> None:
        if len(value) > self._limits.max_message_bytes:
            raise FieldError(
                "too_large", f"a snapshot of {len(value)} bytes; {self._limits.max_message_bytes} are read"
            )
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
        ts_event = parse_text_time(time, "time")
        name = parse_symbol(symbol or self._symbol or "")
        bids, asks = (
            ([px for px, _ in levels], [sz for _, sz in levels])
            for levels in ([sides[side][level] for level in sorted(sides[side])] for side in _SIDES)
        )
        builder.add_book(index, name, 0, ts_event, 0, bids, asks)

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
                "value", f"level: {side} {level} stands in one snapshot twice; give each snapshot its time"
            )
        if len(levels) >= self._limits.max_levels:
            raise FieldError("too_deep", f"more than {self._limits.max_levels} levels; send fewer (books.max_levels)")
        levels[int(level)] = (parse_number(field["price"], "price"), size)
