"""Databento's binary encoding: books, quotes and trades in files, and in Kafka messages.

What is read: MBP-1, MBP-10, TBBO, BBO, CMBP-1, CBBO, TCBBO and trades, and in files and live MBO
(`impactd.wire.ticks.dbn.orders`). Their fields mean what they mean in
Databento's CSV (`impactd.wire.ticks.databento.codec`), with these additions:

- A sampled book (BBO, CBBO) is that of the end of its interval, `ts_recv`; its `ts_event` is that of the last trade.
- TBBO and TCBBO show the book before the trade: the book's row comes first, and it is used for any value of its flags.
  A message without a head does not name its schema: there a record of MBP-1's type is one of MBP-1.
- A record of the trades schema has no book: the prevailing book stays in force, and auction prints cannot be
  recognised.
- Definitions, statuses and imbalances are events of the core (`impactd.wire.ticks.dbn.notices`).
- Records of other types (statistics, system messages) are counted and skipped.

Symbols: a file's head maps instrument ids to raw symbols by day, a capture of the live feed by symbol mapping
records. A Kafka message holds one or many records; its key is the symbol, and they are of one instrument. A message
that begins with a head of its own is read by that head.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from impactd.core.base.venue import VenueRule, at_venue, named_venue, whole_of
from impactd.core.inputs.events import Received
from impactd.core.inputs.ticks import Byte, Int, Int32
from impactd.wire.codec import FROM_DATA, OF_SYMBOL, Decoded, FieldError, Limits, floor_ms
from impactd.wire.content import Content, Head, Line
from impactd.wire.fields import parse_symbol
from impactd.wire.rows import RowColumns, Rows, interleave, stamped
from impactd.wire.tick_codec import FileBatch, FileFormatError, FileOptions, TickCodec, dated, with_faults
from impactd.wire.ticks.dbn import kernel as k
from impactd.wire.ticks.dbn.metadata import (
    MAGIC,
    PRELUDE,
    DbnError,
    Mapping,
    Metadata,
    check_schema,
    head_size,
    parse_metadata,
    schema_in,
)
from impactd.wire.ticks.dbn.notices import market_events
from impactd.wire.ticks.dbn.orders import GAP, LOST, NO_START, LiveOrders, OrderBooks, of_messages
from impactd.wire.ticks.dbn.symbols import FOREVER, Symbology
from impactd.wire.times import MIN_NS

_MBP_1: Final = 1
_TBBO: Final = 3
#: Levels and layout by record type (Databento, RType).
_BOOKS: Final = {
    0: (0, k.TRADE_ONLY),
    _MBP_1: (1, k.BOOK_AFTER),
    10: (10, k.BOOK_AFTER),
    177: (1, k.BOOK_AFTER),
    192: (1, k.BOOK_SAMPLE),
    193: (1, k.BOOK_SAMPLE),
    194: (1, k.BOOK_BEFORE),
    195: (1, k.BOOK_SAMPLE),
    196: (1, k.BOOK_SAMPLE),
    160: (0, k.MBO),
}
_LEVELS: Final = np.array([_BOOKS.get(rtype, (0, 0))[0] for rtype in range(256)], np.uint8)
#: By variant: schemas other than TBBO, and TBBO, whose records have the type of MBP-1's.
_LAYOUTS: Final = np.array([[_BOOKS.get(rtype, (0, k.OTHER))[1] for rtype in range(256)]] * 2, np.uint8)
_LAYOUTS[1, _MBP_1] = k.BOOK_BEFORE

_FAULTS: Final[dict[int, tuple[str, str]]] = {
    k.SHORT: ("truncated", "length: shorter than its record type; convert the file with Databento's dbn tool"),
    k.NO_SYMBOL: (
        "missing_field",
        "instrument_id: {} has no usable symbol here; name one by the key or --symbol",
    ),
    k.SEVERAL: ("value", "instrument_id: {} is another one under the same symbol; keep one instrument per symbol"),
    k.ACTION: ("value", "action: none of A, C, M, R, T, F, N; send one"),
    k.SIDE: ("value", "side: none of A, B, N; send one"),
    k.TIME: ("value", "ts_event or ts_recv: undefined or not in 1973..2255; leave such records out"),
    k.NO_PRICE: ("missing_field", "price is undefined; a print has one"),
    k.NO_SIZE: ("sentinel", "size: 4294967295 stands for undefined; leave such a print out"),
    k.PUBLISHER: (
        "publisher",
        "publisher_id: {} is another publisher than the symbol's books before; give each one a symbol of its own",
    ),
    k.INSTRUMENT: (
        "instrument",
        "instrument_id: {} is another instrument than the symbol's book; give each one a symbol of its own",
    ),
    k.VENUE: ("value", "publisher_id: {} is no venue of the settings; add it to publishers in [[venues]]"),
    GAP: ("gap", "orders of instrument {} are missing before this one; its book ends until the next clear"),
    NO_START: ("gap", "orders of instrument {} come without a clear before; fetch the day from its beginning"),
}
_NONE: Final = np.empty(0, np.int64)
#: In place of a message that cannot be read: an order that has a time and nothing else, 56 bytes long.
_LOST_ORDER: Final = bytes([14, 160, *[0] * 6]) + MIN_NS.to_bytes(8, "little") + bytes(40)

Words = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Read:
    """What a run of records gives."""

    rows: Rows
    fault: Byte
    #: Symbol of each record of a type that is read.
    code: Int
    n_others: int


class DbnCodec(TickCodec):
    """Decodes DBN files and messages.

    Parameters
    ----------
    symbol : str, optional
        Symbol of a file whose head names none for its one instrument.
    """

    name = "dbn"

    def __init__(self, limits: Limits | None = None, symbol: str | None = None) -> None:
        super().__init__(limits)
        self._symbol = symbol
        self.books: LiveOrders | None = None

    def live(self) -> Self:
        """Return the codec with books of single orders that one call of `decode_columns` hands to the next."""
        codec = copy.copy(self)
        codec.books = LiveOrders(self.limits.max_levels, has_instruments=self.limits.has_instruments)
        return codec

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether a file begins with DBN and a version."""
        return head.data[:3] == MAGIC and len(head.data) > PRELUDE and head.data[3] < ord(" ")

    @classmethod
    def from_header(cls, head: Head, options: FileOptions) -> Self:
        """Return the codec of a file; its whole head is read with its records, since it may be long."""
        if head.data:
            try:
                head_size(head.data)
                check_schema(schema_in(head.data))
            except DbnError as error:
                raise FileFormatError(str(error)) from error
        return cls(options.limits, None if options.symbols.guessed else options.symbols.name)

    # --- messages ---------------------------------------------------------

    def decode_columns(  # noqa: PLR0912, PLR0915  # one step of a message after another
        self,
        values: Sequence[bytes],
        offsets: Sequence[int] | Int,
        ts_records: Sequence[int] | Int,
        keys: Sequence[bytes | None] | None = None,
    ) -> Decoded:
        """Decode messages of one or many records; see `TickCodec.decode_columns`."""
        symbols = Symbology()
        errors: dict[int, FieldError] = {}
        bodies, index, group, default, variant = [], [], [], [], []
        codes: dict[bytes | None, int] = {}
        for i, value in enumerate(values):
            key = keys[i] if keys is not None else None
            try:
                self._check_size(value)
                metadata, body = _split(value)
                if key not in codes:
                    name = parse_symbol(key.decode(errors="replace")) if key is not None else self._symbol
                    codes[key] = -1 if name is None else symbols.code(name)
            except FieldError as error:
                errors[i] = error.unraised()
                if self.books is None:
                    continue
                # What could not be read may have been an order of its book.
                metadata, body = None, _LOST_ORDER
                if key not in codes:
                    codes[key] = -1 if key is None else symbols.code(key.decode(errors="replace"))
            bodies.append(body)
            index.append(i)
            # Each head is a symbology of its own.
            group.append(i if metadata is not None else len(values))
            default.append(codes[key])
            variant.append(_variant(metadata))
            if metadata is not None:
                symbols.add(metadata.mappings, i)
        words, start, message, whole = _framed(bodies)
        cut = np.flatnonzero(~whole).tolist()
        for j in cut:
            errors[index[j]] = FieldError("truncated", "does not end with a whole DBN record; send whole records")
        if cut and self.books is not None:
            for j in cut:
                bodies[j] = _LOST_ORDER
            words, start, message, _ = _framed(bodies)
        unread = dict(errors)
        origin = np.array(index, np.int64)
        read = _read(
            words,
            start,
            message,
            np.array(group, np.int64),
            np.array(default, np.int64),
            np.array(variant, np.uint8),
            symbols,
            np.full(len(symbols.names), -1, np.int64),
            _NONE,
            self.limits,
            with_orders=self.books is not None,
        )
        rows, building = read.rows, list[int]()
        if self.books is not None:
            is_order = _LAYOUTS[0][(words[start] >> 8) & 0xFF] == k.MBO
            building = [int(offsets[index[j]]) for j in np.unique(message[is_order]).tolist()]
            if building:
                rows = self._with_orders(words, start, message, read, symbols, [i in unread for i in index])

        def name_of(j: int, instrument_id: int, at: int) -> str | None:
            own = symbols.find(instrument_id, at, group[message[j]])
            return own or (symbols.names[default[message[j]]] if default[message[j]] >= 0 else None)

        for j in np.flatnonzero(read.fault)[::-1].tolist():
            found = error_of(int(read.fault[j]), words, int(start[j]))
            if found.reason in OF_SYMBOL:
                name = name_of(j, (int(words[start[j]]) >> 32) & 0xFFFFFFFF, int(words[start[j] + 1]))
                found.symbol = None if name is None else whole_of(name)
            errors[index[message[j]]] = found
        errors |= unread
        refused = self._refused(errors, values, offsets, ts_records, keys)
        rows = Rows(rows.batch, origin[rows.record], rows.ts_recv)

        events = []
        for number, event in market_events(words, start, name_of):
            i = index[message[number]]
            if i not in errors:
                events.append(self._received(event, i, values, offsets, ts_records, keys))
        others = read.n_others - len(events)
        return Decoded(stamped(rows, offsets, ts_records), refused, others, events, building)

    def _with_orders(
        self, words: Words, start: Int, message: Int, read: _Read, symbols: Symbology, unread: Sequence[bool]
    ) -> Rows:
        """Return the rows with those of single orders; records that are refused are marked among the faults."""
        orders = self.books
        if orders is None:
            return read.rows
        lost = np.array(unread, np.bool_)[message]
        fault = np.where(lost, LOST, read.fault).astype(np.uint8)
        code = np.where(read.fault == k.NO_SYMBOL, -1, read.code)
        made = orders.read(words, start, code, symbols.names, _LAYOUTS[0], fault)
        read.fault[~lost] = fault[~lost]
        bad = np.zeros(len(unread), np.bool_)
        bad[message[fault > 0]] = True
        return interleave(read.rows, of_messages(made, message, bad))

    # --- files ------------------------------------------------------------

    def batches(self, content: Content, batch_rows: int) -> Iterator[FileBatch]:
        """Yield a file's records in batches; a record's offset is its number in the file, from 1 on."""
        symbols = Symbology()
        orders = OrderBooks(self.limits.max_levels, has_instruments=self.limits.has_instruments)
        owners = publishers = np.empty(0, np.int64)
        first, ts_last = 1, 0
        for words, start, variant, fault in self._runs(content, batch_rows, symbols):
            n = len(start)
            has_default = self._symbol is not None and not symbols.is_mapped(self._symbol)
            default = symbols.code(self._symbol or "") if has_default else -1
            new = np.full(max(1, len(symbols.names)) - len(publishers), -1, np.int64)
            unknown = new if not self.limits.venues else np.full_like(new, k.ANY_PUBLISHER)
            owners, publishers = np.concatenate([owners, new]), np.concatenate([publishers, unknown])
            read = _read(
                words,
                start,
                np.arange(n),
                np.zeros(n, np.int64),
                np.full(n, default),
                np.full(n, variant, np.uint8),
                symbols,
                owners,
                publishers,
                self.limits,
            )
            numbers = np.arange(first, first + n, dtype=np.int64)
            rows = read.rows
            if (_LAYOUTS[0][(words[start] >> 8) & 0xFF] == k.MBO).any():
                rows = interleave(rows, orders.read(words, start, read.code, _LAYOUTS[0], symbols.names, read.fault))
            batch = stamped(rows, numbers, np.full(n, FROM_DATA, np.int64))
            faults = [
                Line(first + j, _bytes_of(words, int(start[j])), error_of(int(read.fault[j]), words, int(start[j])))
                for j in np.flatnonzero(read.fault).tolist()
            ]
            if fault is not None:
                faults.append(Line(first + n, b"", fault))
                numbers = np.append(numbers, first + n)
            refused = dated(with_faults([], faults, self.name), batch.offset, batch.ts_record, ts_last)
            ts_last = int(batch.ts_record[-1]) if len(batch) else ts_last
            events = self._events(words, start, first, symbols, self._symbol if has_default else None)
            first += len(numbers)
            of = zip(symbols.names, publishers.tolist(), strict=False)
            venues = {name: f"publisher_id {publisher}" for name, publisher in of if publisher >= 0}
            yield FileBatch(Decoded(batch, refused, read.n_others - len(events), events), numbers, venues)

    def _events(
        self, words: Words, start: Int, first: int, symbols: Symbology, default: str | None
    ) -> list[Received[Any]]:
        """Return the events among the records of a run of a file, whose first record has the number `first`."""
        found = market_events(words, start, lambda _, number, at: symbols.find(number, at) or default)
        return [
            Received(
                event,
                first + j,
                floor_ms(event.ts_event),
                _bytes_of(words, int(start[j])),
                event.symbol.encode(),
                self.name,
            )
            for j, event in found
        ]

    def _runs(
        self, content: Content, batch_rows: int, symbols: Symbology
    ) -> Iterator[tuple[Words, Int, int, FieldError | None]]:
        """Yield runs of records with one symbology, at most `batch_rows` long, with their variant."""
        pending = b""
        metadata: Metadata | None = None
        fault: FieldError | None = None
        for piece in content.pieces():
            pending += piece
            if metadata is None:
                try:
                    if len(pending) < PRELUDE or len(pending) < head_size(pending):
                        continue
                    metadata = parse_metadata(pending)
                except DbnError as error:
                    yield _NONE, _NONE, 0, FieldError("value", str(error))
                    return
                symbols.add(metadata.mappings)
                pending = pending[metadata.size :]
            words = np.frombuffer(pending[: len(pending) // 8 * 8], "<i8")
            start = np.empty(len(words) // 2 + 1, np.int64)
            n, after, status = k.frame(words, 0, len(words), start, 0)
            for run in _cut(words, start[:n], batch_rows, symbols):
                yield words, run, _variant(metadata), None
            pending = pending[after * 8 :]
            if status == k.BAD_LENGTH:
                fault = FieldError("value", "a record's length is impossible; the rest of the file cannot be read")
                pending = b""
                break
        if fault is None and content.damage is not None:
            fault = content.damage
        if fault is None and pending:
            what = "record" if metadata is not None else "head"
            fault = FieldError("truncated", f"the file ends in the middle of a {what}; fetch it again")
        if fault is not None:
            yield _NONE, _NONE, 0, fault


def _framed(bodies: Sequence[bytes]) -> tuple[Words, Int, Int, npt.NDArray[np.bool_]]:
    """Return the words of messages, where their records begin, the message of each, and which messages are whole."""
    words = np.frombuffer(b"".join(bodies), "<i8")
    start, message = np.empty(len(words) // 2, np.int64), np.empty(len(words) // 2, np.int64)
    whole = np.zeros(len(bodies), np.bool_)
    ends = np.cumsum([len(body) // 8 for body in bodies], dtype=np.int64)
    n = k.frame_messages(words, ends, start, message, whole)
    return words, start[:n], message[:n], whole


def _variant(metadata: Metadata | None) -> int:
    return int(metadata is not None and metadata.schema == _TBBO)


def _split(value: bytes) -> tuple[Metadata | None, bytes]:
    """Return the head of a message, if it has one, and its records."""
    if not value:
        raise FieldError("empty", "the message has no value; send one DBN record or more")
    metadata = None
    if value[:3] == MAGIC and len(value) > PRELUDE:
        try:
            metadata = parse_metadata(value)
        except DbnError as error:
            raise FieldError("value", str(error)) from error
        value = value[metadata.size :]
        if not value:
            raise FieldError("empty", "the message has a head and no records; send at least one")
    if len(value) % 8:
        raise FieldError("truncated", "does not end with a whole DBN record; send whole records")
    return metadata, value


def _cut(words: Words, start: Int, batch_rows: int, symbols: Symbology) -> Iterator[Int]:
    """Yield runs of records; a symbol mapping record changes `symbols` for what follows."""
    at = 0
    for cut in [*np.flatnonzero((words[start] >> 8) & 0xFF == k.SYMBOL_MAPPING).tolist(), len(start)]:
        for begin in range(at, cut, batch_rows):
            yield start[begin : min(begin + batch_rows, cut)]
        at = cut
        if cut < len(start) and (mapping := _mapping(_bytes_of(words, int(start[cut])))) is not None:
            symbols.replace(mapping)


def _mapping(record: bytes) -> Mapping | None:
    """Return a symbol mapping record: version 1 has symbols of 22 bytes, later ones of 71."""
    if len(record) not in (80, 176):
        return None
    at, width = (16 + 22, 22) if len(record) == 80 else (16 + 1 + 71 + 1, 71)
    symbol = record[at : at + width].partition(b"\0")[0].decode(errors="replace")
    return Mapping(int.from_bytes(record[4:8], "little"), 0, FOREVER, symbol) if symbol else None


def _bytes_of(words: Words, at: int) -> bytes:
    return words[at : at + int(words[at] & 0xFF) // 2].tobytes()


def error_of(fault: int, words: Words, at: int) -> FieldError:
    """Return why a record is refused."""
    reason, text = _FAULTS[fault]
    head = int(words[at])
    return FieldError(
        reason, text.format((head >> 16) & 0xFFFF if fault in (k.PUBLISHER, k.VENUE) else (head >> 32) & 0xFFFFFFFF)
    )


def _read(
    words: Words,
    start: Int,
    message: Int,
    group: Int,
    default: Int,
    variant: Byte,
    symbols: Symbology,
    owners: Int,
    publishers: Int,
    limits: Limits,
    *,
    with_orders: bool = True,
) -> _Read:
    """Decode records; a message with a faulty record gives no rows."""
    n, rules = len(start), limits.venues
    code, n_rows, fault = np.zeros(n, np.int64), np.empty(n, np.int64), np.empty(n, np.uint8)
    table = symbols.table()
    n_others = k.classify(
        words,
        start,
        message,
        group,
        default,
        variant,
        _LAYOUTS,
        _LEVELS,
        table,
        owners,
        publishers,
        code,
        fault,
        n_rows,
        with_orders,
    )
    if rules:
        _to_venues(words, start, code, fault, symbols, rules)
    if fault.any():
        bad = np.zeros(len(group), np.bool_)
        bad[message[fault > 0]] = True
        n_rows[bad[message]] = 0
    with_rows = n_rows > 0
    width = int(_LEVELS[((words[start] >> 8) & 0xFF)[with_rows]].max(initial=0))
    n_out, n_symbols = int(n_rows.sum()), len(symbols.names)
    out = RowColumns.room(n_out, width)
    order: Int32 = np.empty(n_symbols, np.int32)
    n_local = k.fill(
        words, start, message, variant, _LAYOUTS, _LEVELS, code, n_rows, np.full(n_symbols, -1, np.int32), order, out
    )
    if rules:
        # Of books at venues each is of its venue, whatever publishers that has.
        out.publisher[:] = 0
    if not limits.has_instruments:
        out.instrument[:] = 0
    rows = out.rows([symbols.names[i] for i in order[:n_local].tolist()])
    return _Read(rows, fault, code, n_others)


def _to_venues(
    words: Words, start: Int, code: Int, fault: Byte, symbols: Symbology, rules: tuple[VenueRule, ...]
) -> None:
    """Give the records of venues the number of their symbol there; refuse those of publishers that are none."""
    head = words[start]
    publisher = (head >> 16) & 0xFFFF
    is_read = (_LAYOUTS[0][(head >> 8) & 0xFF] != k.OTHER) & (fault == k.GOOD) & (publisher != 0)
    pairs, pair_of = np.unique(code[is_read] << 16 | publisher[is_read], return_inverse=True)
    own = np.empty(len(pairs), np.int64)
    names = symbols.names
    for i, pair in enumerate(pairs.tolist()):
        venue = named_venue(rules, str(pair & 0xFFFF))
        own[i] = -1 if venue is None else symbols.code(at_venue(names[pair >> 16], venue))
    found = own[pair_of]
    fault[is_read] = np.where(found < 0, k.VENUE, k.GOOD)
    code[is_read] = np.where(found < 0, code[is_read], found)
