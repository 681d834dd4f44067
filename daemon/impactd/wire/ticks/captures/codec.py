"""Captured messages: a line is a JSON object, with the time of its capture before it if there is one.

Venues' clocks and that of the capture differ, and not all messages carry the venue's time. So where a line begins with
the capture's time (a whole number of `wire.time_unit`, or ISO 8601, and a blank), or an object around the message has
it (``{"ts":..., "data":{...}}``, also with the message as text), that is the time of its rows; otherwise it is the
venue's. Messages that hold neither books nor trades are counted and skipped.

In a file and live, snapshots and changes of a book make a book each, of its best `books.max_levels` levels
(`impactd.wire.ticks.building.builder`). While such a book prevails, messages with fewer levels of it (best prices,
partial books) are skipped. A snapshot that names no symbol, as Binance's answer to a request, is of the one symbol
that the file has named before or names in its first messages, or of the symbol that is the key of its record in Kafka;
where the file names several, it is refused. A line
``{"type":"book_end","symbol":...}`` ends a book, as `impactd feed` writes where a connection is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, Final, Self

from impactd.wire.codec import FieldError, Limits, shown
from impactd.wire.content import Content, Head, Line
from impactd.wire.fields import is_blank, parse_json, parse_number, parse_object, parse_symbol, require
from impactd.wire.json_values import first_values, json_records
from impactd.wire.rows import RowBuilder
from impactd.wire.tick_codec import FileOptions
from impactd.wire.ticks.building.builder import Change, Checksum, Texts
from impactd.wire.ticks.building.codec import BuildingCodec
from impactd.wire.ticks.building.ladder import Levels
from impactd.wire.ticks.captures.venues import Book, Delta, End, Found, Trade, find, kraken_1, numbers, pairs
from impactd.wire.ticks.round_lots import lot_of
from impactd.wire.times import MAX_NS, parse_time

_LINE: Final = re.compile(rb"(?:(\d{1,19}|\d{4}-\d\d-\d\dT[\d:.]{5,18}Z?)[ \t,]+)?([{\[].*)", re.DOTALL)
#: Fields in which captures keep a message as it came, and the time at which it did.
_PAYLOADS: Final = ("data", "message", "msg", "raw", "payload", "body")
_TIMES: Final = (
    "ts",
    "timestamp",
    "time",
    "local_ts",
    "local_timestamp",
    "received",
    "received_at",
    "recv_ts",
    "ts_recv",
)
#: Fields of venues' own messages, which have `data` as well.
_OWN: Final = frozenset({"stream", "topic", "arg", "channel", "e", "type", "method", "jsonrpc", "ts_event"})
#: Within 64 bits, which is as much as the books that are saved can hold.
_INTEGER: Final = re.compile(r"-?\d{1,18}|\d{19}", re.ASCII)
_SEQUENCE: Final = re.compile(rb'"sequence_num"\s*:\s*(\d{1,18})\b')
#: Messages of a file that are looked at for its symbol before they are read.
_FIRST: Final = 50
#: Levels of a side of a snapshot or of changes, at most.
_MAX_LEVELS: Final = 50_000


class CaptureCodec(BuildingCodec):
    """Decodes captured messages of venues.

    Parameters
    ----------
    symbol : str, optional
        For messages that name none.
    """

    name = "capture-json"

    def __init__(self, limits: Limits | None = None, symbol: str | None = None) -> None:
        super().__init__(limits)
        self._symbol = symbol
        #: Symbols that the current file has named, or names in its first messages.
        self._named: set[str] = set()
        self._sequence: int | None = None

    def for_file(self) -> Self:
        """Return the codec with books and symbols of its own."""
        file = super().for_file()
        file._named = set()  # noqa: SLF001  # of the same class
        return file

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether one of the first lines is a message of a known venue."""
        return head.is_text and any(_is_known(line) for line in first_values(head))

    @classmethod
    def from_header(cls, head: Head, options: FileOptions) -> Self:
        """Return the codec; what a file's name begins with is no symbol of a capture."""
        del head
        return cls(options.limits, None if options.symbols.guessed else options.symbols.name)

    def read_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        """Decode one line."""
        if not value:
            raise FieldError("empty", "the record has no value; send a message")
        match = _LINE.fullmatch(value)
        if match is None:
            raise FieldError("json", "not a JSON object, with the time of its capture before it or without; send one")
        received = parse_time(match[1].decode(), "time of capture", self.limits.time_unit) if match[1] else 0
        self._follow_sequence(match[2])
        time, message = _unwrapped(_parse(match[2]))
        if time is not None and not received:
            received = self._wrapped_time(time)
        found = _found(message)
        n_skipped = 0
        for item in found or ():
            symbol = self._name(item)
            ts_event = self._time(item, received)
            if isinstance(item, Trade):
                px, qty = (parse_number(require({n: v}, n), n) for n, v in (("price", item.px), ("quantity", item.qty)))
                if qty < 0.0:
                    raise FieldError("value", f"quantity: {qty} is negative; send the traded quantity and its side")
                builder.add_trade(record, symbol, 0, ts_event, received, px, qty, item.aggressor)
            elif isinstance(item, Delta):
                n_skipped += self.add_change(_change(item), symbol, record, ts_event, received, builder)
            elif isinstance(item, End):
                if self.books is not None:
                    self.books.end(symbol)
                builder.add_book(record, symbol, 0, ts_event, received, ([], []), ([], []))
            elif self.books is not None and self.books.stands(symbol):
                n_skipped += 1
            else:
                bids = self._levels(item.bids, "bids", self.limits.max_levels)
                asks = self._levels(item.asks, "asks", self.limits.max_levels)
                if item.is_quote:
                    lot = lot_of(symbol, ts_event)
                    bids, asks = ((px, [lot * size for size in sz]) for px, sz in (bids, asks))
                builder.add_book(record, symbol, 0, ts_event, received, bids, asks)
        return n_skipped if found else 1

    def _wrapped_time(self, time: object) -> int:
        """Return the time of capture in the object around a message: text, a whole number, or seconds with a point."""
        # So small a number is a time in no other unit.
        in_seconds = isinstance(time, float) and time * 10**9 <= MAX_NS
        return parse_time(time, "time of capture", "s" if in_seconds else self.limits.time_unit)

    @staticmethod
    def _levels(value: object, field: str, max_levels: int) -> Levels:
        return numbers(pairs(value, field, max_levels), field)

    def _follow_sequence(self, text: bytes) -> None:
        """Follow the numbers that Coinbase gives all messages of a connection: one that is missing was a change."""
        # A connection's messages go to several partitions, so that live none has all of its numbers.
        if self.books is None or self._is_live or (match := _SEQUENCE.search(text)) is None:
            return
        before, self._sequence = self._sequence, int(match[1])
        if before is not None and self._sequence not in (0, before + 1):
            self.books.lose()

    def records(self, content: Content) -> Iterator[Line]:
        """Yield the messages: lines, or the elements of one array."""
        lines = self.noted(json_records(content, self.limits.max_message_bytes))
        if self._symbol is None:
            # A snapshot may come before all that names the symbol.
            first = list(islice(lines, _FIRST))
            self._named = {name for line in first if line.fault is None for name in _named_in(line.text)}
            return chain(first, lines)
        return lines

    def _name(self, item: Book | Trade | Delta | End) -> str:
        if item.symbol is not None:
            symbol = parse_symbol(item.symbol)
            if self.books is not None and not self._is_live:
                self._named.add(symbol)
            return symbol
        if self._is_live and self.key is not None:
            return parse_symbol(self.key.decode(errors="replace"))
        if self._symbol is not None:
            return parse_symbol(self._symbol)
        if len(self._named) == 1:
            return next(iter(self._named))
        raise FieldError("missing_field", "the message names no symbol; give it: --symbol NAME, or the record's key")

    @staticmethod
    def _time(item: Book | Trade | Delta | End, received: int) -> int:
        if received:
            return received
        if item.time is None:
            raise FieldError("missing_field", "the message has no time; write the time of its capture before it")
        return parse_time(item.time, "time", "ms")


def _unwrapped(parsed: object) -> tuple[object, object]:
    """Return the time of capture and the message that a capture's own object holds; None and the message otherwise."""
    if isinstance(parsed, dict) and _OWN.isdisjoint(parsed):
        for name in _PAYLOADS:
            inner = parsed.get(name)
            if isinstance(inner, str) and inner[:1] in ("{", "["):
                inner = _parse(inner.encode())
            if isinstance(inner, dict | list):
                return next((parsed[time] for time in _TIMES if not is_blank(parsed.get(time))), None), inner
    return None, parsed


def _found(parsed: object) -> Found | None:
    """Return what a message holds, or the messages of an array; None where none is of a known venue."""
    if not isinstance(parsed, list):
        return find(parse_object(parsed))
    if (found := kraken_1(parsed)) is not None:
        return found
    each = [find(parse_object(one)) for one in parsed]
    return None if all(one is None for one in each) else [item for one in each for item in one or ()]


def _parse(text: bytes) -> Any:
    """Return a JSON document; where it has a checksum, with numbers as they were written, which it is made of."""
    parsed = parse_json(text)
    return json.loads(text, parse_float=str) if b'"checksum"' in text else parsed


def _change(item: Delta) -> Change:
    """Return a snapshot or changes with their levels and numbers read."""
    levels = [
        [] if value is None and not item.is_snapshot else pairs(value, side, _MAX_LEVELS)
        for side, value in (("bids", item.bids), ("asks", item.asks))
    ]
    checksum = None
    texts: list[Texts] = [[], []]
    if item.checksum is not None and not is_blank(item.checksum[0]):
        value, of, n_levels = item.checksum
        checksum = Checksum(_number(value, "checksum") or 0, of, n_levels)
        texts = [[(str(px), str(sz)) for px, sz in side] for side in levels]
    longest = max(map(len, levels))
    return Change(
        item.stream,
        numbers(levels[0], "bids"),
        numbers(levels[1], "asks"),
        item.is_snapshot,
        first=_number(item.first, "first number"),
        last=_number(item.last, "last number"),
        prev=_number(item.prev, "number before"),
        waits=item.waits,
        depth=next((depth for depth in item.depths if depth >= longest), None) if item.is_snapshot else None,
        checksum=checksum,
        texts=(texts[0], texts[1]),
    )


def _number(value: object, field: str) -> int | None:
    if is_blank(value):
        return None
    if type(value) is int:
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    raise FieldError("type", f"{field}: {shown(value)} is not a whole number; send the venue's own messages")


def _is_known(line: bytes) -> bool:
    match = _LINE.fullmatch(line.strip())
    if match is None:
        return False
    try:
        return bool(_found(_unwrapped(_parse(match[2]))[1])) and b'"ts_event"' not in line
    except FieldError:
        return False


def _named_in(line: bytes) -> list[str]:
    """Return the symbols that a line of a capture names."""
    match = _LINE.fullmatch(line)
    try:
        found = _found(_unwrapped(_parse(match[2]))[1]) if match is not None else None
        return [parse_symbol(item.symbol) for item in found or () if item.symbol is not None]
    except FieldError:
        return []


def symbols_in(text: bytes) -> list[str]:
    """Return the symbols that a message of a venue names, each once; none where it has neither books nor trades."""
    found = _found(_parse(text)) or ()
    return list(dict.fromkeys(parse_symbol(item.symbol) for item in found if item.symbol is not None))
