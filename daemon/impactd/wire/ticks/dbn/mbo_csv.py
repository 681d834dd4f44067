"""Databento's MBO as CSV: single orders, of which books are built as of those in DBN.

A file's lines, and the records of a partition, are followed one after another (`impactd.wire.ticks.dbn.orders`). A
record in Kafka holds one line or several. Decoded by itself, it holds the lines of whole books: each begins with a
clear, ``R``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Final, NamedTuple, Self

import numpy as np

from impactd.core.base.venue import at_venue, named_venue, whole_of
from impactd.core.inputs.ticks import BOOK, Int
from impactd.wire.codec import FROM_DATA, OF_SYMBOL, Decoded, FieldError, Limits, shown
from impactd.wire.content import Content, Head, Line
from impactd.wire.fields import parse_number, parse_symbol
from impactd.wire.rows import RowBuilder, Rows, stamped
from impactd.wire.symbols import FileSymbols
from impactd.wire.tick_codec import FileBatch, FileFormatError, FileOptions, dated, with_faults
from impactd.wire.ticks.csv import CsvCodec, split_line
from impactd.wire.ticks.databento.columns import header_names
from impactd.wire.ticks.databento.identity import Identity
from impactd.wire.ticks.databento.kernel import FIXED_POINT_FROM
from impactd.wire.ticks.dbn.codec import error_of
from impactd.wire.ticks.dbn.kernel import GOOD, MBO, SHORT, VENUE
from impactd.wire.ticks.dbn.orders import LOST, LiveOrders, OrderBooks, of_messages
from impactd.wire.times import parse_text_time

HEADER: Final = (
    "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,price,size,channel_id,order_id,flags,ts_in_delta,"
    "sequence,symbol"
)

_NEEDED: Final = ("ts_event", "action", "side", "price", "size", "order_id", "flags")
#: Databento's record type of single orders.
MBO_RTYPE: Final = 160
_WORDS: Final = 7
_WHAT: Final = 4
_F_LAST: Final = 128
_CHANGES: Final = frozenset(b"AMC")
_LAYOUT: Final = np.zeros(256, np.uint8)
_LAYOUT[MBO_RTYPE] = MBO
_UNDEF_PRICE: Final = 2**63 - 1
_UNDEFINED: Final = frozenset({"", "nan", "NaN", str(_UNDEF_PRICE)})
_UNDEFINED_TIME: Final = frozenset({"", "18446744073709551615"})


class _Order(NamedTuple):
    """The order of a line."""

    #: At its venue where venues are set.
    symbol: str
    words: list[int]
    #: `VENUE` where its publisher is none of the venues that are set: it is no order of their books.
    fault: int = GOOD


#: In place of a line that cannot be read.
_UNREAD: Final = _Order("", [MBO_RTYPE << 8, *[0] * (_WORDS - 1)])


class DatabentoMboCodec(CsvCodec):
    """Decodes rows of an MBO CSV file.

    Parameters
    ----------
    header : str, optional
        The file's header line; by default Databento's own order of columns.
    """

    name = "databento-mbo-csv"
    takes_commas = True

    def __init__(
        self, limits: Limits | None = None, header: str | None = None, symbols: FileSymbols | None = None
    ) -> None:
        super().__init__(limits)
        names = header_names(header if header is not None else HEADER)
        self._symbols = symbols or FileSymbols()
        if self._symbols.by_key:
            names = ["" if name == "symbol" else name for name in names] + ["symbol"]
        missing = [name for name in _NEEDED if name not in names]
        if missing:
            raise FileFormatError(f"no column {', '.join(missing)} in the header; export MBO with all its columns")
        self._n_columns = len(names)
        self._column = {name: i for i, name in enumerate(names) if name}
        self.named_by_file = "symbol" not in self._column
        self.books: LiveOrders | None = None

    def live(self) -> Self:
        """Return the codec with books that one call of `decode_columns` hands to the next."""
        codec = copy.copy(self)
        codec.books = LiveOrders(self.limits.max_levels, has_instruments=self.limits.has_instruments)
        return codec

    def decode_columns(
        self,
        values: Sequence[bytes],
        offsets: Sequence[int] | Int,
        ts_records: Sequence[int] | Int,
        keys: Sequence[bytes | None] | None = None,
    ) -> Decoded:
        """Decode records of one line or several; see `TickCodec.decode_columns`."""
        if self.books is None:
            return super().decode_columns(values, offsets, ts_records, keys)
        orders: list[_Order] = []
        record: list[int] = []
        errors: dict[int, FieldError] = {}
        for i, value in enumerate(values):
            key = keys[i] if keys is not None else None
            try:
                self._check_size(value)
                read = [self._order(line, key) for line in value.split(b"\n")]
            except FieldError as error:
                errors[i] = error.unraised()
                read = [_UNREAD._replace(symbol="" if key is None else key.decode(errors="replace"))]
            orders += read
            record += [i] * len(read)
        origin = np.array(record, np.int64)
        lost = np.isin(origin, list(errors))
        fault = np.where(lost, LOST, [order.fault for order in orders]).astype(np.uint8)
        words = np.array([order.words for order in orders], np.int64).reshape(-1)
        start = np.arange(len(orders), dtype=np.int64) * _WORDS
        names = list(dict.fromkeys(order.symbol for order in orders if order.symbol))
        number = {name: at for at, name in enumerate(names)}
        code = np.array([number.get(order.symbol, -1) for order in orders], np.int64)
        rows = self.books.read(words, start, code, names, _LAYOUT, fault)
        for at in np.flatnonzero((fault != GOOD) & ~lost).tolist():
            found = error_of(int(fault[at]), words, int(start[at]))
            if found.reason in OF_SYMBOL:
                found.symbol = whole_of(orders[at].symbol) or None
            errors.setdefault(record[at], found)
        bad = np.zeros(len(values), np.bool_)
        bad[list(errors)] = True
        batch = stamped(of_messages(rows, origin, bad), offsets, ts_records)
        refused = self._refused(errors, values, offsets, ts_records, keys)
        return Decoded(batch, refused, building=[int(offset) for offset in offsets])

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether the header has the columns of single orders, and none of books."""
        names = header_names(head.line)
        return set(_NEEDED) <= set(names) and not any(name.startswith(("bid_", "ask_")) for name in names)

    @classmethod
    def from_header(cls, head: Head, options: FileOptions) -> Self:
        """Return the codec for a file with this header line."""
        return cls(options.limits, head.line, options.symbols)

    def records(self, content: Content) -> Iterator[Line]:
        """Yield the rows, which must be distinguished by their symbols; see `Identity`."""
        names = [name for name in self._column if name != "symbol" or not self._symbols.by_key]
        ids = ["" for _ in range(self._n_columns - bool(self._symbols.by_key))]
        for name in names:
            ids[self._column[name]] = name
        identity = Identity(ids, self._symbols, self._order, merges=bool(self.limits.venues))
        self.venues = identity.venues
        return identity.follow(super().records(content))

    def decode_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        """Decode the lines of whole books."""
        if not value:
            raise FieldError("empty", "the record has no value; send the lines of a book")
        orders = [self._order(line) for line in value.split(b"\n")]
        names = list(dict.fromkeys(order.symbol for order in orders))
        books = OrderBooks(self.limits.max_levels + 1, has_instruments=self.limits.has_instruments)
        rows, fault = _follow(books, orders, names, [False] * len(orders))
        bad = np.flatnonzero(fault)
        if len(bad):
            words = np.array(orders[bad[0]].words, np.int64)
            raise error_of(int(fault[bad[0]]), words, 0)
        batch = rows.batch
        what = orders[-1].words[_WHAT]
        is_open = (what >> 48) & 0xFF in _CHANGES and not (what >> 32) & _F_LAST
        if not len(batch) or is_open:
            raise FieldError("truncated", "the last event has no end (flag 128), or changes nothing; send whole events")
        if max(batch.n_bid.max(initial=0), batch.n_ask.max(initial=0)) > self.limits.max_levels:
            raise FieldError("too_deep", f"more than {self.limits.max_levels} levels; send fewer (books.max_levels)")
        for i in range(len(batch)):
            ids = int(batch.publisher[i]), int(batch.instrument[i])
            head = (record, batch.symbols[batch.symbol[i]], 0, int(batch.ts_event[i]), int(rows.ts_recv[i]))
            if batch.kind[i] == BOOK:
                n_bid, n_ask = int(batch.n_bid[i]), int(batch.n_ask[i])
                bids = (batch.bid_px[i, :n_bid].tolist(), batch.bid_sz[i, :n_bid].tolist())
                asks = (batch.ask_px[i, :n_ask].tolist(), batch.ask_sz[i, :n_ask].tolist())
                builder.add_book(*head, bids, asks, *ids)
            else:
                trade = (float(batch.px[i]), float(batch.qty[i]), int(batch.aggressor[i]))
                builder.add_trade(*head, *trade, *ids)
        return 0

    def batches(self, content: Content, batch_rows: int) -> Iterator[FileBatch]:
        """Yield a file's rows in batches; its books are built from one to the next."""
        source = self.records(content)
        books, names = OrderBooks(self.limits.max_levels, has_instruments=self.limits.has_instruments), dict[str, int]()
        ts_last = 0
        while lines := list(islice(source, batch_rows)):
            orders: list[_Order] = []
            faults: dict[int, FieldError] = {}
            for i, line in enumerate(lines):
                try:
                    if line.fault is not None:
                        raise line.fault
                    orders.append(self._order(line.text))
                    names.setdefault(orders[-1].symbol, len(names))
                except FieldError as error:
                    faults[i] = error.unraised()
                    orders.append(_UNREAD)
            # A line of an instrument that is left out on purpose is no change that is lost.
            lost = [i in faults and faults[i].reason != "unmapped" for i in range(len(lines))]
            left_out = [i in faults and not lost[i] for i in range(len(lines))]
            kept = [i for i in range(len(lines)) if not left_out[i]]
            rows, fault = _follow(books, [orders[i] for i in kept], list(names) or [""], [lost[i] for i in kept])
            for at in np.flatnonzero(fault).tolist():
                i = kept[at]
                faults.setdefault(i, error_of(int(fault[at]), np.array(orders[i].words, np.int64), 0))
            numbers = np.array([line.number for line in lines], np.int64)
            origin = np.array(kept, np.int64)
            placed = Rows(rows.batch, origin[rows.record] if len(rows.record) else rows.record, rows.ts_recv)
            batch = stamped(placed, numbers, np.full(len(lines), FROM_DATA, np.int64))
            letters = [lines[i]._replace(fault=error) for i, error in sorted(faults.items())]
            refused = dated(with_faults([], letters, self.name), batch.offset, batch.ts_record, ts_last)
            ts_last = int(batch.ts_record[-1]) if len(batch) else ts_last
            yield FileBatch(Decoded(batch, refused), numbers, self.venues)

    def _fields(self, line: bytes) -> dict[str, str]:
        """Return the fields of a line by name, as text."""
        fields = split_line(line, self._n_columns)
        return {name: fields[column].strip() for name, column in self._column.items()}

    def _order(self, line: bytes, key: bytes | None = None) -> _Order:
        """Return the order of a line; its symbol is its own, or the record's key."""
        field = self._fields(line)
        named = field.get("symbol") or self._symbols.name or (key or b"").decode(errors="replace")
        symbol = parse_symbol(named)
        unit = self.limits.time_unit
        ts_event = parse_text_time(field["ts_event"], "ts_event", unit)
        received = field.get("ts_recv", "")
        ts_recv = 0 if received in _UNDEFINED_TIME else parse_text_time(received, "ts_recv", unit)
        action, side = (_letter(field[name], name) for name in ("action", "side"))
        size, flags = _whole(field["size"], "size", 32), _whole(field["flags"], "flags", 8)
        order = _whole(field["order_id"], "order_id", 64)
        instrument = _whole(field.get("instrument_id") or "0", "instrument_id", 32)
        publisher = _whole(field.get("publisher_id") or "0", "publisher_id", 16)
        fault = GOOD
        if publisher and self.limits.venues:
            venue = named_venue(self.limits.venues, str(publisher))
            symbol, fault = at_venue(symbol, venue), VENUE if venue is None else GOOD
        head = MBO_RTYPE << 8 | publisher << 16 | instrument << 32
        what = size | flags << 32 | action << 48 | side << 56
        words = [head, ts_event, order, _price(field["price"]), what, ts_recv, 0]
        return _Order(symbol, [word - 2**64 if word >= 2**63 else word for word in words], fault)


def _follow(
    books: OrderBooks, orders: Sequence[_Order], names: list[str], lost: Sequence[bool]
) -> tuple[Rows, np.ndarray[tuple[int], np.dtype[np.uint8]]]:
    number = {name: i for i, name in enumerate(names)}
    words = np.array([order.words for order in orders], np.int64).reshape(-1)
    start = np.arange(len(orders), dtype=np.int64) * _WORDS
    code = np.array([number.get(order.symbol, 0) for order in orders], np.int64)
    fault = np.where(np.array(lost, np.bool_), SHORT, [order.fault for order in orders]).astype(np.uint8)
    rows = books.read(words, start, code, _LAYOUT, names, fault)
    return rows, np.where(np.array(lost, np.bool_), GOOD, fault).astype(np.uint8)


def _letter(text: str, field: str) -> int:
    if len(text) != 1 or not text.isascii():
        raise FieldError("value", f"{field}: {shown(text)} is not one letter; send Databento's")
    return ord(text)


def _whole(text: str, field: str, bits: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 2**bits):
        raise FieldError("type", f"{field}: {shown(text)} is not a whole number of {bits} bits; send Databento's")
    return int(text)


def _price(text: str) -> int:
    """Return a price in 1e-9 units: of a decimal, or of an integer that is in them already."""
    if text in _UNDEFINED:
        return _UNDEF_PRICE
    if abs(parse_number(text, "price")) >= 2**63:
        raise FieldError("value", f"price: {shown(text)} is beyond 64 bits; send the price")
    value = Decimal(text)
    if "." not in text and abs(value) >= FIXED_POINT_FROM:
        return int(value)
    raw = int(value * 10**9)
    if abs(raw) >= _UNDEF_PRICE:
        raise FieldError("value", f"price: {shown(text)} is beyond 64 bits in 1e-9; send the price")
    return raw
