"""Captured messages: a line is a JSON object, with the time of its capture before it if there is one.

Venues' clocks and that of the capture differ, and not all messages carry the venue's time. So where a line begins with
the capture's time (a whole number of `wire.time_unit` and a blank), that is the time of its rows; otherwise it is the
venue's. Messages that hold neither books nor trades are counted and skipped; changes of books are refused, with what to
capture in their place.
"""

from __future__ import annotations

import re
from typing import Final, Self

from impactd.wire.codec import FieldError, Limits
from impactd.wire.content import Head
from impactd.wire.fields import parse_json, parse_number, parse_object, parse_symbol, require
from impactd.wire.rows import RowBuilder
from impactd.wire.tick_codec import FileOptions, TickCodec
from impactd.wire.ticks.captures.venues import Book, Trade, find, levels
from impactd.wire.times import parse_time

_LINE: Final = re.compile(rb"(?:(\d{1,19})[ \t,]+)?(\{.*)", re.DOTALL)
_HEAD_LINES: Final = 20


class CaptureCodec(TickCodec):
    """Decodes captured messages of venues.

    Parameters
    ----------
    limits : Limits, optional
    symbol : str, optional
        For messages that name none.
    """

    name = "capture-json"

    def __init__(self, limits: Limits | None = None, symbol: str | None = None) -> None:
        super().__init__(limits)
        self._symbol = symbol

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether one of the first lines is a message of a known venue."""
        return head.is_text and any(_is_known(line) for line in head.text.split(b"\n")[:_HEAD_LINES])

    @classmethod
    def from_header(cls, head: Head, options: FileOptions) -> Self:
        """Return the codec; what a file's name begins with is no symbol of a capture."""
        del head
        return cls(options.limits, None if options.symbols.guessed else options.symbols.name)

    def decode_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        """Decode one line."""
        if not value:
            raise FieldError("empty", "the record has no value; send a message")
        match = _LINE.fullmatch(value)
        if match is None:
            raise FieldError("json", "not a JSON object, with the time of its capture before it or without; send one")
        received = parse_time(match[1].decode(), "time of capture", self.limits.time_unit) if match[1] else 0
        found = find(parse_object(parse_json(match[2])))
        if not found:
            return 1
        for item in found:
            if isinstance(item, Book):
                bids = levels(item.bids, "bids", self.limits.max_levels)
                asks = levels(item.asks, "asks", self.limits.max_levels)
                builder.add_book(record, self._name(item), 0, self._time(item, received), received, bids, asks)
                continue
            px, qty = (parse_number(require({n: v}, n), n) for n, v in (("price", item.px), ("quantity", item.qty)))
            if qty < 0.0:
                raise FieldError("value", f"quantity: {qty} is negative; send the traded quantity and its side")
            ts_event = self._time(item, received)
            builder.add_trade(record, self._name(item), 0, ts_event, received, px, qty, item.aggressor)
        return 0

    def _name(self, item: Book | Trade) -> str:
        if item.symbol is None and self._symbol is None:
            raise FieldError("missing_field", "the message names no symbol; give it: --symbol NAME")
        return parse_symbol(self._symbol if item.symbol is None else item.symbol)

    @staticmethod
    def _time(item: Book | Trade, received: int) -> int:
        if received:
            return received
        if item.time is None:
            raise FieldError("missing_field", "the message has no time; write the time of its capture before it")
        return parse_time(item.time, "time", "ms")


def _is_known(line: bytes) -> bool:
    match = _LINE.fullmatch(line.strip())
    if match is None:
        return False
    try:
        message = parse_object(parse_json(match[2]))
        return bool(find(message)) and "ts_event" not in message
    except FieldError:
        # Changes of books alone make a capture too, whose lines then say what to do.
        return b"depthUpdate" in line or b"orderbook." in line or b"l2update" in line
