"""Databento's MBO as JSON lines: the fields of its CSV, with times, publisher and instrument in a head (`hd`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Self

from impactd.wire.codec import FieldError, Limits, shown
from impactd.wire.content import Content, Head, Line
from impactd.wire.fields import parse_json, parse_object, require
from impactd.wire.json_values import first_values
from impactd.wire.symbols import FileSymbols
from impactd.wire.tick_codec import FileOptions
from impactd.wire.ticks.databento.identity import Identity
from impactd.wire.ticks.databento.json import ID_COLUMNS, check_ids, identified, is_unnamed, rtype_of, text_of
from impactd.wire.ticks.dbn.mbo_csv import MBO_RTYPE, DatabentoMboCodec

_HEAD: Final = ("ts_event", "publisher_id", "instrument_id")
_BODY: Final = ("ts_recv", "action", "side", "price", "size", "order_id", "flags", "symbol")


class DatabentoMboJsonCodec(DatabentoMboCodec):
    """Decodes records of MBO in Databento's JSON, one line per order."""

    name = "databento-mbo-json"

    def __init__(self, limits: Limits | None = None, symbols: FileSymbols | None = None) -> None:
        super().__init__(limits)
        self._symbols = symbols or FileSymbols()
        self.named_by_file = False

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether the first record is a single order."""
        return b'"hd"' in head.text and any(rtype_of(value) == MBO_RTYPE for value in first_values(head)[:1])

    @classmethod
    def from_header(cls, head: Head, options: FileOptions) -> Self:
        """Return the codec for a file that begins so."""
        codec = cls(options.limits, options.symbols)
        codec.named_by_file = is_unnamed(head)
        return codec

    def records(self, content: Content) -> Iterator[Line]:
        """Yield the records, which must be distinguished by their symbols."""
        identity = Identity(ID_COLUMNS, self._symbols, check_ids, merges=bool(self.limits.venues))
        self.venues = identity.venues
        return identified(content, self.limits, identity, frozenset({MBO_RTYPE}))

    def _fields(self, line: bytes) -> dict[str, str]:
        obj = parse_object(parse_json(line))
        head = require(obj, "hd")
        if not isinstance(head, dict) or head.get("rtype") != MBO_RTYPE:
            raise FieldError("type", f"hd: {shown(head)} is not the head of an order (rtype 160); send MBO alone")
        return {name: text_of(head.get(name), name) for name in _HEAD} | {
            name: text_of(obj.get(name), name) for name in _BODY
        }
