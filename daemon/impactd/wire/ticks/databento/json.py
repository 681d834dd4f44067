"""Databento's JSON lines: the schemas of books, trades and events, with the fields of its CSV.

A record has a head (`hd`: time, record type, publisher, instrument) and, in schemas of books, `levels`.
`impactd.wire.ticks.databento.codec` defines its fields. Records of other types are counted and skipped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, Self

import numpy as np
import orjson

from impactd.wire.codec import FieldError, Limits, shown
from impactd.wire.content import Content, Head, Line
from impactd.wire.fields import is_blank, parse_json, parse_object, require
from impactd.wire.json_values import first_values, json_records
from impactd.wire.rows import RowBuilder
from impactd.wire.symbols import FileSymbols
from impactd.wire.tick_codec import FileOptions, TickCodec
from impactd.wire.ticks.databento import kernel as k
from impactd.wire.ticks.databento.codec import TBBO_NAME, decode_fields
from impactd.wire.ticks.databento.columns import BOOK_AFTER, BOOK_BEFORE, TRADE_ONLY, Columns
from impactd.wire.ticks.databento.identity import Identity
from impactd.wire.ticks.databento.notices import NOTICES, add_notice, fields_of

#: Layouts by record type; sampled books have that of a book after its event.
_LAYOUTS: Final = {
    0: TRADE_ONLY,
    1: BOOK_AFTER,
    10: BOOK_AFTER,
    177: BOOK_AFTER,
    192: BOOK_AFTER,
    193: BOOK_AFTER,
    194: BOOK_BEFORE,
    195: BOOK_AFTER,
    196: BOOK_AFTER,
}
_SAMPLED: Final = frozenset({192, 193, 195, 196})
_MBP_1: Final = 1
#: Single orders, which `impactd.wire.ticks.dbn.mbo_json` reads.
_MBO: Final = 160
_FIELDS: Final = (("action", k.ACTION), ("side", k.SIDE), ("flags", k.FLAGS), ("price", k.PRICE), ("size", k.SIZE))
_PLANES: Final = ("bid_px", "bid_sz", "ask_px", "ask_sz")
ID_COLUMNS: Final = ["publisher_id", "instrument_id", "symbol"]


class DatabentoJsonCodec(TickCodec):
    """Decodes records of Databento's JSON, one line per record."""

    name = "databento-json"

    def __init__(
        self, limits: Limits | None = None, symbols: FileSymbols | None = None, *, is_tbbo: bool = False
    ) -> None:
        super().__init__(limits)
        self._symbols = symbols or FileSymbols()
        self._is_tbbo = is_tbbo
        self.named_by_file = False

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether the first line is a record with a head."""
        return b'"hd"' in head.text and any(rtype_of(value) not in (None, _MBO) for value in first_values(head)[:1])

    @classmethod
    def from_header(cls, head: Head, options: FileOptions) -> Self:
        """Return the codec for a file that begins so."""
        is_tbbo = TBBO_NAME.search(head.name) is not None
        if not is_tbbo:
            records = [parsed for line in first_values(head) if (parsed := object_of(line))]
            is_tbbo = len(records) > 1 and all(
                record.get("action") == "T" and _rtype(record) == _MBP_1 for record in records
            )
        codec = cls(options.limits, options.symbols, is_tbbo=is_tbbo)
        codec.named_by_file = is_unnamed(head)
        return codec

    def records(self, content: Content) -> Iterator[Line]:
        """Yield the records, which must be distinguished by their symbols; see `Identity`."""
        identity = Identity(ID_COLUMNS, self._symbols, check_ids, merges=bool(self.limits.venues))
        self.venues = identity.venues
        return identified(content, self.limits, identity, frozenset({*_LAYOUTS, *NOTICES}))

    def decode_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        """Decode one record."""
        obj = parse_object(parse_json(value))
        head = require(obj, "hd")
        rtype = _rtype(obj)
        if not isinstance(head, dict) or rtype is None:
            raise FieldError("type", f"hd: {shown(head)} is no head with rtype; send Databento's records")
        if rtype in NOTICES:
            texts = {name: text_of(obj.get(name), name) for name in (*fields_of(rtype), "symbol")}
            texts["ts_event"] = text_of(head.get("ts_event"), "ts_event")
            return add_notice(record, rtype, texts, self._symbols.name, self.limits, builder)
        layout = _LAYOUTS.get(rtype)
        if layout is None:
            return 1
        if self._is_tbbo and rtype == _MBP_1:
            layout = BOOK_BEFORE
        levels = obj.get("levels") if layout != TRADE_ONLY else []
        if not isinstance(levels, list) or not all(isinstance(level, dict) for level in levels):
            raise FieldError("missing_field", "levels are missing, or no list of objects; send Databento's records")
        if len(levels) > self.limits.max_levels:
            raise FieldError("too_deep", f"more than {self.limits.max_levels} levels; send fewer (books.max_levels)")
        received = text_of(obj.get("ts_recv"), "ts_recv")
        field = {role: text_of(obj[name], name) for name, role in _FIELDS if name in obj}
        if rtype in _SAMPLED:
            field = {k.TS_EVENT: received}
        else:
            missing = [name for name, role in _FIELDS if role not in field]
            if missing:
                raise FieldError("missing_field", f"{missing[0]} is missing; send it")
            field |= {k.TS_EVENT: text_of(head.get("ts_event"), "ts_event"), k.TS_RECV: received}
        field[k.SYMBOL] = text_of(obj.get("symbol"), "symbol")
        for i, level in enumerate(levels):
            for plane, name in enumerate(_PLANES):
                field[k.LEVEL + 4 * i + plane] = text_of(level.get(name), name)
        columns = _columns(len(levels), layout)
        field[k.PUBLISHER] = text_of(head.get("publisher_id"), "publisher_id")
        field[k.INSTRUMENT] = text_of(head.get("instrument_id"), "instrument_id")
        return decode_fields(field, record, columns, self._symbols.name, self.limits, builder)


def identified(content: Content, limits: Limits, identity: Identity, rtypes: frozenset[int]) -> Iterator[Line]:
    """Yield the records of a file, which must be distinguished by their symbols; see `Identity`.

    Parameters
    ----------
    rtypes : frozenset of int
        Types of the records that have an instrument.
    """
    held: deque[Line] = deque()

    def ids() -> Iterator[Line]:
        for line in json_records(content, limits.max_message_bytes):
            held.append(line)
            yield line if line.fault is not None else line._replace(text=_ids_of(line.text, rtypes))

    for named in identity.follow(ids()):
        line = held.popleft()
        if named.fault is not None:
            line = line._replace(fault=named.fault)
        elif identity.is_mapped and named.text.count(b",") == len(ID_COLUMNS):
            name = named.text.rpartition(b",")[2].decode()
            line = line._replace(text=line.text.rstrip()[:-1] + b',"symbol":' + orjson.dumps(name) + b"}")
        yield line


@cache
def _columns(n_levels: int, layout: int) -> Columns:
    names = {role: name for name, role in _FIELDS}
    names |= {k.LEVEL + 4 * i + plane: f"{name}_{i:02}" for i in range(n_levels) for plane, name in enumerate(_PLANES)}
    return Columns(np.empty(0, np.int64), names, n_levels, has_symbol=True, layout=layout)


def text_of(value: object, field: str) -> str:
    """Return a value as it would be in a CSV; blank where it means nothing."""
    if is_blank(value):
        return ""
    if isinstance(value, str):
        return value
    if type(value) is int or type(value) is float:
        return repr(value)
    raise FieldError("type", f"{field}: {shown(value)} is neither a number nor text; send Databento's records")


def object_of(line: bytes) -> dict[str, Any] | None:
    """Return the object of a line; None for what is none."""
    try:
        return parse_object(parse_json(line))
    except FieldError:
        return None


def is_unnamed(head: Head) -> bool:
    """Return whether a file's first record names no symbol."""
    first = next(map(object_of, first_values(head)), None)
    return first is not None and not first.get("symbol")


def rtype_of(line: bytes) -> int | None:
    """Return the type of a record; None for what is no record."""
    obj = object_of(line)
    return None if obj is None else _rtype(obj)


def _rtype(obj: dict[str, Any]) -> int | None:
    head = obj.get("hd")
    rtype = head.get("rtype") if isinstance(head, dict) else None
    return rtype if type(rtype) is int else None


def _ids_of(line: bytes, rtypes: frozenset[int]) -> bytes:
    """Return publisher, instrument and symbol of a record; empty for what is none."""
    obj = object_of(line)
    head = None if obj is None else obj.get("hd")
    if obj is None or not isinstance(head, dict) or _rtype(obj) not in rtypes:
        return b""
    values = (head.get("publisher_id"), head.get("instrument_id"), obj.get("symbol"))
    return ",".join("" if value is None else str(value).replace(",", " ") for value in values).encode()


def check_ids(line: bytes) -> None:
    """Refuse a record without ids."""
    if not line:
        raise FieldError("json", "not a record of Databento's; send one")
