"""Databento's schemas of books and trades as CSV: MBP-10, and those with fewer columns; and those of events.

Rules for a row (field meanings: Databento, "Market by price (MBP-10)"):

- The ``*_px_NN`` and ``*_sz_NN`` columns *are* the book after the event; they
  are taken as they are, and never rebuilt from action, price and size.
- Without ``F_LAST`` (128) in `flags` the venue's event continues with the next
  row: its book was never final, and is marked `MID_EVENT`.
- Action ``R`` clears the book: an empty book, which ends the prevailing one.  It
  is not part of an event, for any flags.
- Action ``T`` is a print: a trade row and then the row's book, both of the same
  record.  `side` is the aggressor's: ``B`` bought, ``A`` sold, ``N`` is not
  known.  ``F`` reports the resting order of the same print and is not a print itself.
- A print is marked `AUCTION` by a rule, since the schema has no field for it: side
  ``N``, in the middle of an event, and larger than all visible depth of its row,
  both sides together.  A cross names no aggressor, trades more than any book
  shows, and changes the book, so that rows follow; a hidden order's print
  names none either, but fits the market and ends its event.  On an empty book every
  such print counts as an auction.
- Prices are dollars, or integers in 1e-9 of one.  A row's prices are read
  alike: as integers if none has a decimal point and the largest is at least
  1,000,000 (as fixed-point that is a tenth of a cent).
- A level with neither price nor size is none, and is dropped; an undefined
  price with a size is passed on as INT64_MAX for the core to count.
- Sampled books (BBO, CBBO) have no action: each row is the book at the end of its
  interval, which is `ts_recv`; its `ts_event`, price and size are of the last trade.
- In TBBO and TCBBO a row is a trade with the book before it: the book's row comes first, and it is used for any value
  of its flags. A file is one of these by its name, by its rtype, or where all of its first rows are trades.
- The schema of trades has no book: the prevailing one stays in force, and auction prints cannot be recognised.
- Timestamps are integer ns or ISO text.  Where the header has `ts_event` twice
  and no `ts_recv`, the first is `ts_recv`, as in Databento's order of columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from impactd.core.base.publisher import NO_INSTRUMENT, NO_PUBLISHER
from impactd.core.inputs.ticks import AUCTION, MID_EVENT, TRADE, Float, Int
from impactd.wire.codec import FieldError, Limits, instrument_of, placed, shown
from impactd.wire.content import Content, Head, Line
from impactd.wire.fields import parse_number, parse_symbol
from impactd.wire.rows import RowBuilder, RowColumns, Rows
from impactd.wire.symbols import FileSymbols
from impactd.wire.tick_codec import FileOptions
from impactd.wire.ticks.csv import CsvCodec, delimiter_of, split_header, split_line
from impactd.wire.ticks.databento import kernel as k
from impactd.wire.ticks.databento.columns import (
    BOOK_AFTER,
    BOOK_BEFORE,
    MBP10_HEADER,
    TRADE_ONLY,
    Columns,
    databento_columns,
    header_names,
    is_databento,
)
from impactd.wire.ticks.databento.identity import Identity
from impactd.wire.ticks.databento.imbalance import IMBALANCE, IMBALANCE_HEADER
from impactd.wire.ticks.databento.notices import add_notice, notice_in
from impactd.wire.ticks.scanning.symbols import SymbolCache
from impactd.wire.times import UNITS, parse_text_time

F_LAST: Final = 128
#: The schema's 'undefined' for quantities (UINT32_MAX), and what other feeds write.
_UNDEFINED_QTY: Final = 4_294_967_295.0
_UNDEFINED_QTY_FROM: Final = 9_999_999_999.0

_ACTIONS: Final = frozenset("ACMRTFN")
_SIDES: Final = {"B": 1, "A": -1, "N": 0}
_IS_ACTION: Final = np.isin(np.arange(256), [ord(c) for c in _ACTIONS])
_IS_SIDE: Final = np.isin(np.arange(256), [ord(c) for c in _SIDES])
_UNDEFINED: Final = frozenset({"", "nan", "NaN", "9223372036854775807"})
_UNDEFINED_TIME: Final = frozenset({"", "18446744073709551615"})

#: Databento's names of files have their schema between points.
TBBO_NAME: Final = re.compile(r"\bt(?:c)?bbo\b", re.IGNORECASE)

Side = tuple[list[float], list[float]]


class DatabentoCodec(CsvCodec):
    """Decodes rows of an MBP-10 CSV file, one line per record.

    Parameters
    ----------
    header : str, optional
        The file's header line; by default Databento's own order of columns.
    symbol : str, optional
        For rows that name none.
    symbols : FileSymbols, optional
        Names by id, for the rows of a file.
    is_tbbo : bool
        Whether rows are trades with the book before each.
    """

    name = "databento-mbp10-csv"
    takes_commas = True

    def __init__(
        self,
        limits: Limits | None = None,
        header: str | None = None,
        symbol: str | None = None,
        symbols: FileSymbols | None = None,
        *,
        is_tbbo: bool = False,
    ) -> None:
        super().__init__(limits)
        names = header_names(header if header is not None else MBP10_HEADER)
        self._identity = Identity(names, symbols or FileSymbols(), self._check, merges=bool(self.limits.venues))
        #: Record type of a file of events, and its columns. Records from Kafka, which have no header, are books or
        #: imbalances, by the number of their columns.
        self._notice = IMBALANCE if header is None else notice_in(names)
        self._has_rows = header is None or self._notice is None
        self._given = split_header(IMBALANCE_HEADER) if header is None else list(names)
        if self._identity.is_mapped and header is not None:
            self._given.append("symbol")  # behind one of the file's own
        if not self._has_rows:
            names = split_header(MBP10_HEADER)
        self._columns = databento_columns(names, is_mapped=self._identity.is_mapped, is_tbbo=is_tbbo)
        if self._columns.layout != TRADE_ONLY:
            self.venues = self._identity.venues
        self._symbol = symbol
        self.named_by_file = not self._columns.has_symbol if self._has_rows else "symbol" not in self._given
        self._cache = SymbolCache()

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether the header has the best bid's price, an event's, or what any schema of Databento's has."""
        names = header_names(head.line)
        return is_databento(names) or notice_in(names) is not None

    @classmethod
    def from_header(cls, head: Head, options: FileOptions) -> Self:
        """Return the codec for a file with this header line."""
        is_tbbo = _is_tbbo(head)
        return cls(options.limits, head.line, options.symbols.name, options.symbols, is_tbbo=is_tbbo)

    def records(self, content: Content) -> Iterator[Line]:
        """Yield the rows, which must be distinguished by their symbols; see `Identity`."""
        return self._identity.follow(super().records(content))

    def _check(self, line: bytes) -> None:
        self.decode_record(line, 0, RowBuilder())

    def decode_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        """Decode one line field by field."""
        if self._notice is not None and (not self._has_rows or value.count(b",") == len(self._given) - 1):
            texts = dict(zip(self._given, split_line(value, len(self._given)), strict=True))
            return add_notice(record, self._notice, texts, self._symbol, self.limits, builder)
        field = self._columns.split(value)
        return decode_fields(field, record, self._columns, self._symbol, self.limits, builder)

    def scan(self, values: Sequence[bytes]) -> tuple[Rows | None, Sequence[int]]:
        """Decode the lines in which every column holds its plain form."""
        # Without a symbol column the scanner's symbol number is 0, that of the only one there is.
        names_venues = self.limits.venues and k.PUBLISHER in self._columns.roles
        if (
            not self._has_rows
            or (not self._columns.has_symbol and self._symbol is None)
            or self._columns.layout != BOOK_AFTER
            or names_venues
        ):
            return None, range(len(values))
        return self._scan(values)

    def _scan(self, values: Sequence[bytes]) -> tuple[Rows, Sequence[int]]:
        n = len(values)
        if self._cache.is_full:
            self._cache.forget()
        data = b"\n".join([*values, b"\n" * 32])  # a time is read at fixed places, before its end is seen
        start = np.zeros(n + 1, np.int64)
        lengths = np.fromiter(map(len, values), np.int64, n) + 1
        np.cumsum(lengths, out=start[1:])
        buf = np.frombuffer(data, np.uint8)
        ints = np.zeros((n, k.N_INTS), np.int64)
        # What sampled books have no columns for.
        ints[:, k.ACTION], ints[:, k.SIDE], ints[:, k.FLAGS] = ord("A"), ord("N"), F_LAST
        levels = np.full((4, n, self._columns.n_levels), np.nan)
        prints = np.full((n, 2), np.nan)
        unsure = lengths - 1 > self.limits.max_message_bytes
        unit = UNITS[self.limits.time_unit]
        line = 0
        while True:
            status, line, at = k.scan_rows(
                buf, start, unit, line, self._columns.roles, ints, levels, prints, self._cache.table, unsure
            )
            if status == k.DONE:
                break
            end = at
            while data[end] not in b",\n":
                end += 1
            if not self._cache.remember(data[at:end]):
                unsure[line] = True
                line += 1
        unsure |= ~_plausible(ints, prints)
        if not self.limits.has_instruments:
            ints[:, k.INSTRUMENT] = NO_INSTRUMENT
        names = self._cache.names if self._columns.has_symbol else (self._symbol or "",)
        return _to_rows(ints, levels, prints, names, np.flatnonzero(~unsure)), np.flatnonzero(unsure).tolist()


def _plausible(ints: Int, prints: Float) -> npt.NDArray[np.bool_]:
    """Return which scanned lines the reference would accept, for sure."""
    action, side = ints[:, k.ACTION], ints[:, k.SIDE]
    qty = prints[:, 1]
    good_qty = (qty >= 0.0) & (qty < _UNDEFINED_QTY_FROM) & (qty != _UNDEFINED_QTY)
    good_print = np.isfinite(prints[:, 0]) & good_qty
    ok: npt.NDArray[np.bool_] = _IS_ACTION[action] & _IS_SIDE[side] & ((action != ord("T")) | good_print)
    return ok


def _to_rows(ints: Int, levels: Float, prints: Float, names: tuple[str, ...], lines: Int) -> Rows:
    """Return the rows of scanned lines: one each, and before it a trade where it is a print."""
    ints, levels, prints = ints[lines], levels[:, lines], prints[lines]
    is_print = ints[:, k.ACTION] == ord("T")
    is_clear = ints[:, k.ACTION] == ord("R")
    mid_event = (ints[:, k.FLAGS] & F_LAST == 0) & ~is_clear
    levels[:, is_clear] = np.nan
    ints[is_clear, k.N_BID] = 0
    ints[is_clear, k.N_ASK] = 0
    depth = np.nansum(levels[k.BID_SZ], axis=1) + np.nansum(levels[k.ASK_SZ], axis=1)
    auction = is_print & mid_event & (ints[:, k.SIDE] == ord("N")) & (prints[:, 1] > depth)

    source = np.repeat(np.arange(len(lines)), 1 + is_print)
    trade = np.zeros(len(source), np.bool_)
    trade[:-1] = source[:-1] == source[1:]
    ints, levels, prints = ints[source], levels[:, source], prints[source]
    levels[:, trade] = np.nan
    prints[~trade] = np.nan
    side = ints[:, k.SIDE]
    columns = RowColumns(
        record=lines[source],
        symbol=ints[:, k.SYMBOL].astype(np.int32),
        kind=np.where(trade, TRADE, 0).astype(np.uint8),
        flags=np.where(trade, auction[source] * AUCTION, mid_event[source] * MID_EVENT).astype(np.uint8),
        ts_event=ints[:, k.TS_EVENT].copy(),
        ts_recv=ints[:, k.TS_RECV].copy(),
        bid_px=levels[k.BID_PX],
        bid_sz=levels[k.BID_SZ],
        ask_px=levels[k.ASK_PX],
        ask_sz=levels[k.ASK_SZ],
        n_bid=np.where(trade, 0, ints[:, k.N_BID]).astype(np.int32),
        n_ask=np.where(trade, 0, ints[:, k.N_ASK]).astype(np.int32),
        px=prints[:, 0].copy(),
        qty=prints[:, 1].copy(),
        aggressor=np.where(trade, (side == ord("B")).astype(np.int8) - (side == ord("A")), 0).astype(np.int8),
        publisher=ints[:, k.PUBLISHER].copy(),
        instrument=ints[:, k.INSTRUMENT].copy(),
    )
    return columns.rows(names).in_order()


def _is_tbbo(head: Head) -> bool:
    """Return whether a file holds trades with the book before each."""
    if TBBO_NAME.search(head.name):
        return True
    names, mark = header_names(head.line), delimiter_of(head.line).encode()
    if "rtype" not in names or "action" not in names:
        return False
    rtype, action = names.index("rtype"), names.index("action")
    lines = [line.split(mark) for line in head.text.splitlines()[1:]]
    rows = [line for line in lines if len(line) == len(names)]
    return len(rows) > 1 and all(row[action] == b"T" and row[rtype] in (b"1", b"194") for row in rows)


def decode_fields(
    field: dict[int, str],
    index: int,
    columns: Columns,
    symbol: str | None,
    limits: Limits,
    builder: RowBuilder,
) -> int:
    """Add the rows of a record that is given by its fields; return 1 where it is none that is read.

    Parameters
    ----------
    field : dict of int to str
        Texts by role.
    symbol : str or None
        For a record that names none.
    """
    action = field.get(k.ACTION, "A")
    if action not in _ACTIONS:
        raise FieldError("value", f"action: {shown(action)} is none of A, C, M, R, T, F, N; send one")
    side = field.get(k.SIDE, "N")
    if side not in _SIDES:
        raise FieldError("value", f"side: {shown(side)} is none of A, B, N; send one")
    flags = field.get(k.FLAGS, str(F_LAST))
    if not (flags.isascii() and flags.isdigit() and len(flags) <= 3 and int(flags) <= 255):
        raise FieldError("type", f"flags: {shown(flags)} is not an integer in 0..255; send Databento's bit field")
    ts_event = parse_text_time(field[k.TS_EVENT], "ts_event", limits.time_unit)
    received = field.get(k.TS_RECV, "")
    ts_recv = 0 if received in _UNDEFINED_TIME else parse_text_time(received, "ts_recv", limits.time_unit)
    name = parse_symbol(field.get(k.SYMBOL) or symbol or "")
    name, publisher = placed(name, limits, "publisher_id", field.get(k.PUBLISHER, ""))
    instrument = instrument_of(limits, field.get(k.INSTRUMENT, ""))
    if columns.layout == TRADE_ONLY:  # trades alone are one tape, of publishers with ids of their own
        publisher, instrument = NO_PUBLISHER, NO_INSTRUMENT
    ids = publisher, instrument
    size = parse_number(field.get(k.SIZE, "0"), "size")
    px, bids, asks = _prices(field, columns)
    if columns.layout == TRADE_ONLY and action != "T":
        return 1
    if action == "R":
        builder.add_book(index, name, 0, ts_event, ts_recv, ([], []), ([], []), *ids)
        return 0
    mid_event = columns.layout == BOOK_AFTER and int(flags) & F_LAST == 0
    if columns.layout == BOOK_BEFORE:
        builder.add_book(index, name, 0, ts_event, ts_recv, bids, asks, *ids)
    if action == "T":
        if px is None:
            raise FieldError("missing_field", "price is missing; a print has one")
        if size < 0.0:
            raise FieldError("value", f"size: {size} is negative; send the traded quantity")
        if size == _UNDEFINED_QTY or size >= _UNDEFINED_QTY_FROM:
            raise FieldError("sentinel", f"size: {size} stands for undefined; leave such a print out")
        auction = mid_event and side == "N" and size > sum(bids[1]) + sum(asks[1])
        builder.add_trade(index, name, AUCTION if auction else 0, ts_event, ts_recv, px, size, _SIDES[side], *ids)
    if columns.layout == BOOK_AFTER:
        builder.add_book(index, name, MID_EVENT if mid_event else 0, ts_event, ts_recv, bids, asks, *ids)
    return 0


def _prices(field: dict[int, str], columns: Columns) -> tuple[float | None, Side, Side]:
    """Return the row's price and its two sides, in currency."""
    roles = [k.PRICE, *(k.LEVEL + 4 * i + plane for i in range(columns.n_levels) for plane in (k.BID_PX, k.ASK_PX))]
    text = {role: field[role] for role in roles if field.get(role, "") not in _UNDEFINED}
    value = {role: parse_number(px, columns.names[role]) for role, px in text.items()}
    fixed = not any("." in px for px in text.values())
    if fixed and max(map(abs, value.values()), default=0.0) >= k.FIXED_POINT_FROM:
        # An exact integer over an exact power of ten: correctly rounded, also beyond 2^53.
        value = {
            role: int(text[role]) / 10**9 if text[role].lstrip("-").isdigit() else px / k.FIXED_POINT
            for role, px in value.items()
        }
    sides: tuple[Side, Side] = (([], []), ([], []))
    for i in range(columns.n_levels):
        for (px, sz), plane in zip(sides, (k.BID_PX, k.ASK_PX), strict=True):
            role = k.LEVEL + 4 * i + plane
            size = parse_number(field[role + 1] or "0", columns.names[role + 1])
            if role in value or size != 0.0:
                px.append(value.get(role, k.UNDEFINED_PX) + 0.0)
                sz.append(size)
    return (value[k.PRICE] + 0.0 if k.PRICE in value else None), *sides
