"""Our JSON of ticks: books and trades, one object a record or an array of them.

Two ways lead from bytes to rows, and no one can tell from a row which it took:

- `decode_records`, the reference: orjson, then every field checked in Python.
- `JsonTickCodec`, the fast way: the compiled scanner of
  `impactd.wire.ticks.json.scan` takes every record whose shape it is sure of, and
  leaves each other one (an escape, an unknown field, an exponent, a mistake)
  to the reference.  A record is therefore accepted or refused by the
  reference alone; the scanner only knows how to be sure.

The scanner is kept because measuring says so: see docs/adr/0004.

A record is taken whole or refused whole, arrays too.  Beyond the published
fields two more are understood: ``"mid_event": true`` on a book and
``"auction": true`` on a trade, so that a recorded day keeps what its own
format says about a row when it travels as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from impactd.core.inputs.ticks import (
    AGGRESSOR_BUY,
    AGGRESSOR_NONE,
    AGGRESSOR_SELL,
    AUCTION,
    MID_EVENT,
    Int,
    Refused,
)
from impactd.wire.codec import Decoded, FieldError, Limits, bounded, shown
from impactd.wire.fields import parse_json, parse_number, parse_object, parse_symbol, parse_time, require
from impactd.wire.rows import RowBuilder, interleave, stamped
from impactd.wire.ticks.json.scan import Scanner

NAME: Final = "json"

#: Quantities from here on stand for "undefined" (9999999999 and INT64_MAX are both in use), not for a print.
UNDEFINED_QTY: Final = 9_999_999_999.0

_AGGRESSORS: Final = {None: AGGRESSOR_NONE, "buy": AGGRESSOR_BUY, "sell": AGGRESSOR_SELL}


class JsonTickCodec:
    """Decodes `impactd.ticks` records."""

    name = NAME

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._scanner = Scanner(self._limits)

    def decode_columns(
        self,
        values: Sequence[bytes],
        offsets: Sequence[int] | Int,
        ts_records: Sequence[int] | Int,
        keys: Sequence[bytes | None] | None = None,
    ) -> Decoded:
        """Decode records; see `impactd.wire.codec.TickCodec`."""
        rows, left = self._scanner.scan(values)
        if not left:
            return Decoded(stamped(rows, offsets, ts_records))
        builder = RowBuilder()
        refused, skipped = decode_records(values, offsets, ts_records, keys, self._limits, builder, left)
        return Decoded(stamped(interleave(rows, builder.build()), offsets, ts_records), refused, skipped)


class ReferenceJsonTickCodec:
    """The same codec without the scanner: what the other has to agree with."""

    name = NAME

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()

    def decode_columns(
        self,
        values: Sequence[bytes],
        offsets: Sequence[int] | Int,
        ts_records: Sequence[int] | Int,
        keys: Sequence[bytes | None] | None = None,
    ) -> Decoded:
        """Decode records; see `impactd.wire.codec.TickCodec`."""
        builder = RowBuilder()
        every = range(len(values))
        refused, skipped = decode_records(values, offsets, ts_records, keys, self._limits, builder, every)
        return Decoded(stamped(builder.build(), offsets, ts_records), refused, skipped)


def decode_records(
    values: Sequence[bytes],
    offsets: Sequence[int] | Int,
    ts_records: Sequence[int] | Int,
    keys: Sequence[bytes | None] | None,
    limits: Limits,
    builder: RowBuilder,
    which: Sequence[int],
) -> tuple[list[Refused], int]:
    """Decode the records with index in `which` into `builder`."""
    refused: list[Refused] = []
    skipped = 0
    for i in which:
        try:
            rows = _rows(values[i], limits)
        except FieldError as error:
            key = keys[i] if keys is not None else None
            offset, ts_record = int(offsets[i]), int(ts_records[i])
            refused.append(Refused(offset, error.reason, error.detail, values[i], key, NAME, ts_record))
            continue
        for row in rows:
            if row is None:
                skipped += 1
            elif len(row) == 6:
                builder.add_book(i, *row)
            else:
                builder.add_trade(i, *row)
    return refused, skipped


Row = tuple[Any, ...]


def _rows(value: bytes, limits: Limits) -> list[Row | None]:
    """Return one row an object of the record: arguments for the builder, or None where the type is unknown."""
    if len(value) > limits.max_message_bytes:
        raise FieldError(
            "too_large", f"{len(value)} bytes; send at most {limits.max_message_bytes} (setting wire.max_message_bytes)"
        )
    document = parse_json(value)
    if type(document) is not list:
        return [_row(parse_object(document), limits)]
    rows = []
    for i, element in enumerate(document):
        try:
            rows.append(_row(parse_object(element), limits))
        except FieldError as error:
            # One bad element refuses the record: whoever reads the dead letter has to know which.
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
        return (*_head(obj, flags), bids, asks)
    if kind == "trade":
        flags = _flag(obj, "auction", AUCTION)
        px = parse_number(require(obj, "px"), "px")
        qty = parse_number(require(obj, "qty"), "qty")
        if qty < 0.0:
            raise FieldError("value", f"qty: {shown(qty)} is negative; send the traded quantity and the aggressor")
        if qty >= UNDEFINED_QTY:
            raise FieldError("sentinel", f"qty: {shown(qty)} stands for undefined; leave such a print out")
        aggressor = obj.get("aggressor")
        if aggressor is not None and type(aggressor) is not str:
            raise FieldError("type", f'aggressor: {shown(aggressor)} is not a string; send "buy", "sell" or null')
        if aggressor not in _AGGRESSORS:
            raise FieldError("value", f'aggressor: {shown(aggressor)} is no side; send "buy", "sell" or null')
        return (*_head(obj, flags), px, qty, _AGGRESSORS[aggressor])
    return None


def _head(obj: dict[str, Any], flags: int) -> tuple[str, int, int, int]:
    symbol = parse_symbol(require(obj, "symbol"))
    ts_event = parse_time(require(obj, "ts_event"), "ts_event")
    ts_recv = obj.get("ts_recv")
    return symbol, flags, ts_event, 0 if ts_recv is None else parse_time(ts_recv, "ts_recv")


def _flag(obj: dict[str, Any], field: str, bit: int) -> int:
    value = obj.get(field)
    if value is None or value is False:
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
        px.append(parse_number(level[0], field))
        sz.append(parse_number(level[1], field))
    return px, sz
