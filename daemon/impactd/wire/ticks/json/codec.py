"""Our JSON of ticks: books and trades, one object per record or an array of them.

Two ways lead from bytes to rows, and give the same rows:

- the reference: orjson, then every field checked in Python;
- the compiled scanner of `impactd.wire.ticks.json.scan`, for every record whose
  shape it is sure of.  It leaves any other (an escape, an unknown field, an
  exponent, a mistake) to the reference, which alone refuses records.

Measurements in favour of the scanner: docs/adr/0004.

Beyond the published fields two more are understood: ``"mid_event": true`` on a book and
``"auction": true`` on a trade, so that a recorded day keeps what its own
format says about a row when it travels as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from impactd.core.base.venue import at_venue
from impactd.core.inputs.ticks import (
    AGGRESSOR_BUY,
    AGGRESSOR_NONE,
    AGGRESSOR_SELL,
    AUCTION,
    MID_EVENT,
)
from impactd.wire.codec import FieldError, Limits, bounded, shown
from impactd.wire.content import Content, Head, Line
from impactd.wire.fields import is_blank, parse_json, parse_number, parse_object, parse_symbol, parse_venue, require
from impactd.wire.json_values import json_records
from impactd.wire.rows import RowBuilder, Rows
from impactd.wire.tick_codec import TickCodec
from impactd.wire.ticks.json.scan import Scanner
from impactd.wire.times import parse_time

_ENDINGS: Final = (".jsonl", ".ndjson", ".json")

#: Quantities from here on stand for "undefined" (9999999999 and INT64_MAX are both in use), not for a print.
UNDEFINED_QTY: Final = 9_999_999_999.0

_AGGRESSORS: Final = {None: AGGRESSOR_NONE, "buy": AGGRESSOR_BUY, "sell": AGGRESSOR_SELL}


class JsonTickCodec(TickCodec):
    """Decodes `impactd.ticks` records."""

    name = "json"
    #: Its look is any JSON's: encodings that can tell more of a file go first.
    fallback = True

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits)
        self._scanner = Scanner(self.limits)

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether the file is JSON lines by its name or its first byte."""
        return head.is_text and (head.name.endswith(_ENDINGS) or head.text.lstrip()[:1] in (b"{", b"["))

    def records(self, content: Content) -> Iterator[Line]:
        """Yield the records: lines, or the elements of one array."""
        return json_records(content, self.limits.max_message_bytes)

    def scan(self, values: Sequence[bytes]) -> tuple[Rows | None, Sequence[int]]:
        """Decode the records of a plain shape."""
        return self._scanner.scan(values)

    def decode_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        """Decode one record by orjson, every field checked in Python."""
        skipped = 0
        for row in _rows(value, self.limits):
            if row is None:
                skipped += 1
            elif len(row) == 6:
                builder.add_book(record, *row)
            else:
                builder.add_trade(record, *row)
        return skipped


Row = tuple[Any, ...]


def _rows(value: bytes, limits: Limits) -> list[Row | None]:
    """Return one row per object of the record: arguments for the builder, or None where the type is unknown."""
    document = parse_json(value)
    if type(document) is not list:
        return [_row(parse_object(document), limits)]
    rows = []
    for i, element in enumerate(document):
        try:
            rows.append(_row(parse_object(element), limits))
        except FieldError as error:
            # One bad element refuses the record: a reader of the dead letter has to know which.
            raise FieldError(error.reason, bounded(f"element {i}: {error.detail}")) from None
    return rows


def _row(obj: dict[str, Any], limits: Limits) -> Row | None:
    kind = require(obj, "type")
    if type(kind) is not str:
        raise FieldError("type", f'type: {shown(kind)} is not a string; send "book" or "trade"')
    if kind == "book":
        flags = _flag(obj, "mid_event", MID_EVENT)
        bids = _levels(require(obj, "bids"), "bids", limits.max_levels)
        asks = _levels(require(obj, "asks"), "asks", limits.max_levels)
        return (*_head(obj, flags, limits.time_unit), bids, asks)
    if kind == "trade":
        flags = _flag(obj, "auction", AUCTION)
        px = parse_number(require(obj, "px"), "px")
        qty = parse_number(require(obj, "qty"), "qty")
        if qty < 0.0:
            raise FieldError("value", f"qty: {shown(qty)} is negative; send the traded quantity and the aggressor")
        if qty >= UNDEFINED_QTY:
            raise FieldError("sentinel", f"qty: {shown(qty)} stands for undefined; leave such a print out")
        aggressor = None if is_blank(obj.get("aggressor")) else obj["aggressor"]
        if aggressor is not None and type(aggressor) is not str:
            raise FieldError("type", f'aggressor: {shown(aggressor)} is not a string; send "buy", "sell" or null')
        if aggressor not in _AGGRESSORS:
            raise FieldError("value", f'aggressor: {shown(aggressor)} is not a side; send "buy", "sell" or null')
        return (*_head(obj, flags, limits.time_unit), px, qty, _AGGRESSORS[aggressor])
    return None


def _head(obj: dict[str, Any], flags: int, unit: str) -> tuple[str, int, int, int]:
    symbol = parse_symbol(require(obj, "symbol"))
    if not is_blank(obj.get("venue")):
        symbol = at_venue(symbol, parse_venue(obj["venue"]))
    ts_event = parse_time(require(obj, "ts_event"), "ts_event", unit)
    ts_recv = obj.get("ts_recv")
    return symbol, flags, ts_event, 0 if is_blank(ts_recv) else parse_time(ts_recv, "ts_recv", unit)


def _flag(obj: dict[str, Any], field: str, bit: int) -> int:
    value = obj.get(field)
    if is_blank(value) or value is False:
        return 0
    if value is True:
        return bit
    raise FieldError("type", f"{field}: {shown(value)} is not a boolean; send true or false")


def _levels(value: object, field: str, max_levels: int) -> tuple[list[float], list[float]]:
    if type(value) is not list:
        raise FieldError("type", f"{field}: {shown(value)} is not an array; send [[price, size], ...], best first")
    if len(value) > max_levels:
        raise FieldError(
            "too_deep", f"{field}: {len(value)} levels; send at most {max_levels} (setting books.max_levels)"
        )
    px, sz = [], []
    for level in value:
        if type(level) is not list or len(level) != 2:
            raise FieldError("type", f"{field}: {shown(level)} is not a level; send [price, size]")
        if is_blank(level[0]) or is_blank(level[1]):
            # Feeds that pad their books to a fixed depth do so with nothing.
            if all(is_blank(item) or (item == 0 and type(item) is not bool) for item in level):
                continue
            raise FieldError(
                "missing_field", f"{field}: a level has a price or a size alone; send both, or leave the level out"
            )
        px.append(parse_number(level[0], field))
        sz.append(parse_number(level[1], field))
    return px, sz
