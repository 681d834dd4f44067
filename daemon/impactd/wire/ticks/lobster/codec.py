"""LOBSTER's message and orderbook files, each line of one with its line of the other.

Line i of the orderbook file is the book after message i: ask price, ask size, bid price, bid size, level by level,
prices in 1e-4 dollars; a level that is not there has a price of 9,999,999,999 or its negative. A message has its
time (seconds after midnight in New York), type, order id, size, price and direction:

- 1, 2, 3: an order is entered, reduced or deleted. The line gives a book.
- 4: a visible order is executed: a trade and the book after it. Direction 1 is a bid that was hit: a sale.
- 5: a hidden order is executed: a trade alone, since no book changes.
- 6: a cross: an auction print alone.
- 7: a trading indicator. A halt (price -1) ends the prevailing book; after a resumption (0, 1) it prevails again.

The orderbook file alone has no times: line i is taken as i times 100 ms after the beginning that its name states,
and trades are unknown.

References
----------
.. [1] R. Huang and T. Polak (2011), LOBSTER: Limit Order Book Reconstruction System; readme of the sample files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Self

from impactd.core.inputs.ticks import AUCTION
from impactd.wire.codec import FieldError, Limits, shown
from impactd.wire.content import Content, Head, Line
from impactd.wire.fields import parse_symbol
from impactd.wire.rows import RowBuilder
from impactd.wire.tick_codec import FileFormatError, FileOptions, TickCodec
from impactd.wire.ticks.lobster.names import MESSAGE, ORDERBOOK, PAIR, LobsterName

_EXECUTION, _HIDDEN, _CROSS, _HALT = "4", "5", "6", "7"
_TYPES: Final = frozenset("1234567")
_AGGRESSORS: Final = {"1": -1, "-1": 1}
_N_MESSAGE: Final = 6
_PRICE_UNIT: Final = 10_000
_NO_PRICE: Final = 9_999_999_999
_STEP_NS: Final = 100_000_000
_DAY_S: Final = 86_400
_TIME: Final = re.compile(rb"(\d{1,5})(?:\.(\d{1,12}))?", re.ASCII)
_WHOLE: Final = re.compile(rb"-?\d{1,15}", re.ASCII)
#: The first line of an orderbook file: four whole numbers a level.
_LEVELS: Final = re.compile(r"-?\d+(?:,-?\d+){3}(?:(?:,-?\d+){4})*\s*", re.ASCII)

Side = tuple[list[float], list[float]]


class LobsterCodec(TickCodec):
    """Decodes joined lines of a pair of files, or lines of an orderbook file.

    Parameters
    ----------
    name : LobsterName, optional
        Symbol, day and kind, which the lines themselves do not hold.
    """

    name = "lobster"

    def __init__(self, limits: Limits | None = None, name: LobsterName | None = None) -> None:
        super().__init__(limits)
        self._file = name
        self._is_pair = name is None or name.kind == PAIR

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether the file begins with a number and has one of LOBSTER's names, or one to be completed."""
        named = LobsterName.parse(head.name) is not None
        named = named or ("orderbook" in head.name.lower() and _LEVELS.fullmatch(head.line) is not None)
        return named and head.line[:1].isdigit()

    @classmethod
    def from_header(cls, head: Head, options: FileOptions) -> Self:
        """Return the codec for a file of this name."""
        name = LobsterName.parse(head.name)
        if name is None:
            levels = max((head.line.count(",") + 1) // 4, 1)
            raise FileFormatError(
                "the name gives no day and no times in milliseconds; with your symbol and day, "
                f"call it AMZN_2012-06-21_34200000_57600000_orderbook_{levels}.csv"
            )
        if name.kind == MESSAGE:
            raise FileFormatError(f"holds messages without books; put {name.text(ORDERBOOK)} next to it")
        return cls(options.limits, name)

    def records(self, content: Content) -> Iterator[Line]:
        """Yield the lines; those of an orderbook file with their number instead of a message."""
        for line in content.lines(self.limits.max_message_bytes):
            yield line if self._is_pair else line._replace(text=b"%d,%s" % (line.number, line.text))

    def decode_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        """Decode one joined line, or one numbered line of an orderbook file."""
        if self._file is None:
            raise FieldError("missing_field", "a line of LOBSTER's has no day and no symbol; read it from its file")
        fields = value.split(b",")
        symbol = parse_symbol(self._file.symbol)
        begin = _N_MESSAGE if self._is_pair else 1
        n_levels = self._file.n_levels
        if self._is_pair and len(fields) == begin + 1 + 4 * n_levels:
            del fields[begin]  # newer files state the market participant behind the direction
        if len(fields) != begin + 4 * n_levels:
            raise FieldError(
                "truncated", f"{len(fields)} columns where {begin + 4 * n_levels} belong; send all of them"
            )
        if not self._is_pair:
            row = _whole(fields[0], "row")
            ts_event = self._file.midnight_ns + self._file.start_ms * 1_000_000 + row * _STEP_NS
            builder.add_book(record, symbol, 0, ts_event, 0, *_sides(fields, begin))
            return 0
        kind = fields[1].decode(errors="replace")
        if kind not in _TYPES:
            raise FieldError("value", f"type: {shown(kind)} is not one of 1 to 7; send LOBSTER's event types")
        ts_event = self._file.midnight_ns + _time(fields[0])
        px, qty = _whole(fields[4], "price"), _whole(fields[3], "size")
        bids, asks = _sides(fields, begin)
        if kind in (_EXECUTION, _HIDDEN, _CROSS):
            if qty < 0 or abs(px) >= _NO_PRICE:
                raise FieldError("value", "price or size of an execution is negative or undefined; leave it out")
            sign = 0 if kind == _CROSS else _AGGRESSORS.get(fields[5].decode(errors="replace"), 0)
            flags = AUCTION if kind == _CROSS else 0
            builder.add_trade(record, symbol, flags, ts_event, 0, px / _PRICE_UNIT, float(qty), sign)
        if kind == _HALT and px < 0:
            bids = asks = ([], [])
        if kind not in (_HIDDEN, _CROSS):
            builder.add_book(record, symbol, 0, ts_event, 0, bids, asks)
        return 0


def _whole(text: bytes, field: str) -> int:
    if _WHOLE.fullmatch(text) is None:
        raise FieldError("type", f"{field}: {shown(text)} is not a whole number; send LOBSTER's own files")
    return int(text)


def _time(text: bytes) -> int:
    """Return nanoseconds after midnight."""
    match = _TIME.fullmatch(text)
    if match is None or int(match[1]) >= _DAY_S:
        raise FieldError("value", f"time: {shown(text)} is not in seconds after midnight; send LOBSTER's own files")
    return int(match[1]) * 1_000_000_000 + int((match[2] or b"")[:9].ljust(9, b"0"))


def _sides(fields: list[bytes], begin: int) -> tuple[Side, Side]:
    """Return bids and asks, best first, without the levels that are not there."""
    bids: Side = ([], [])
    asks: Side = ([], [])
    for at in range(begin, len(fields), 4):
        for side, i in ((asks, at), (bids, at + 2)):
            px, sz = _whole(fields[i], "price"), _whole(fields[i + 1], "size")
            if abs(px) < _NO_PRICE:
                side[0].append(px / _PRICE_UNIT)
                side[1].append(float(sz))
    return bids, asks
