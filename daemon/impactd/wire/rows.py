"""From rows to a `TickBatch`: what the codecs share once a record is decoded.

A codec collects rows with the index of the record that each came from; only
at the end do they get the record's offset and timestamp.  Where a batch was
decoded in two ways (a compiled pass, and record by record what that pass left
over), both are put back into the order of the records here, so that the way a
record took does not show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from impactd.core.base.publisher import NO_INSTRUMENT, NO_PUBLISHER
from impactd.core.inputs.events import MarketEvent
from impactd.core.inputs.ticks import BOOK, LEVEL_FIELDS, TRADE, Byte, Float, Int, Int32, TickBatch, column
from impactd.wire.codec import FROM_DATA

_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows without offset and timestamp."""

    batch: TickBatch
    #: Shape (n,). Index of the record of each row, non-decreasing.
    record: Int
    #: Shape (n,). Nanoseconds; 0 where unknown.
    ts_recv: Int

    def in_order(self) -> Rows:
        """Return the same rows with the symbol table in the order in which they name them."""
        return replace(self, batch=by_first_appearance(self.batch))


class RowColumns(NamedTuple):
    """Rows as columns, which a compiled pass may fill; levels behind a row's own are NaN."""

    record: Int
    symbol: Int32
    kind: Byte
    flags: Byte
    ts_event: Int
    ts_recv: Int
    bid_px: Float
    bid_sz: Float
    ask_px: Float
    ask_sz: Float
    n_bid: Int32
    n_ask: Int32
    px: Float
    qty: Float
    aggressor: npt.NDArray[np.int8]
    publisher: Int
    instrument: Int

    @classmethod
    def room(cls, n: int, n_levels: int) -> Self:
        """Return room for `n` rows of at most so many levels a side."""
        own: dict[str, npt.NDArray[Any]] = {name: np.empty(n, np.int64) for name in ("record", "ts_recv")}
        return cls(**own, **{name: column(name, n, n_levels) for name in cls._fields if name not in own})

    def rows(self, symbols: Sequence[str], n: int | None = None) -> Rows:
        """Return the first `n` rows, by default all, with no more levels than the deepest book has."""
        columns: dict[str, npt.NDArray[Any]] = {name: values[:n] for name, values in self._asdict().items()}
        record, ts_recv = columns.pop("record"), columns.pop("ts_recv")
        width = int(max(columns["n_bid"].max(initial=0), columns["n_ask"].max(initial=0)))
        for name in LEVEL_FIELDS:
            columns[name] = np.ascontiguousarray(columns[name][:, :width])
        for name in ("ts_record", "offset"):
            columns[name] = np.zeros(len(record), np.int64)
        return Rows(TickBatch(tuple(symbols), **columns), record, ts_recv)


class RowBuilder:
    """Collects rows one by one, from records that no compiled pass took."""

    def __init__(self) -> None:
        self._table: dict[str, int] = {}
        #: Events with the index of their record.
        self.events: list[tuple[int, MarketEvent]] = []
        self._symbol: list[int] = []
        self._kind: list[int] = []
        self._flags: list[int] = []
        self._ts_event: list[int] = []
        self._ts_recv: list[int] = []
        self._record: list[int] = []
        self._sides: tuple[list[list[float]], ...] = ([], [], [], [])
        self._px: list[float] = []
        self._qty: list[float] = []
        self._aggressor: list[int] = []
        self._publisher: list[int] = []
        self._instrument: list[int] = []
        #: All that has an entry a row.
        self._columns: tuple[list[Any], ...] = (
            self._symbol,
            self._kind,
            self._flags,
            self._ts_event,
            self._ts_recv,
            self._record,
            *self._sides,
            self._px,
            self._qty,
            self._aggressor,
            self._publisher,
            self._instrument,
        )

    def __len__(self) -> int:
        return len(self._record)

    def add_event(self, record: int, event: MarketEvent) -> None:
        """Add an event; a record has rows or one event."""
        self.events.append((record, event))

    def truncate(self, n: int) -> None:
        """Drop the rows from `n` on."""
        if n < len(self._record):
            for column in self._columns:
                del column[n:]
            # Symbols are numbered as they come: those of dropped rows alone are the last.
            used = max(self._symbol, default=-1) + 1
            self._table = {symbol: code for symbol, code in self._table.items() if code < used}

    def _add(self, record: int, symbol: str, kind: int, flags: int, ts_event: int, ts_recv: int) -> None:
        self._symbol.append(self._table.setdefault(symbol, len(self._table)))
        self._kind.append(kind)
        self._flags.append(flags)
        self._ts_event.append(ts_event)
        self._ts_recv.append(ts_recv)
        self._record.append(record)

    def add_book(
        self,
        record: int,
        symbol: str,
        flags: int,
        ts_event: int,
        ts_recv: int,
        bids: tuple[list[float], list[float]],
        asks: tuple[list[float], list[float]],
        publisher: int = NO_PUBLISHER,
        instrument: int = NO_INSTRUMENT,
    ) -> None:
        """Add a book; `bids` and `asks` are (prices, sizes), best first."""
        self._add(record, symbol, BOOK, flags, ts_event, ts_recv)
        for side, levels in zip(self._sides, (*bids, *asks), strict=True):
            side.append(levels)
        self._px.append(_NAN)
        self._qty.append(_NAN)
        self._aggressor.append(0)
        self._publisher.append(publisher)
        self._instrument.append(instrument)

    def add_trade(
        self,
        record: int,
        symbol: str,
        flags: int,
        ts_event: int,
        ts_recv: int,
        px: float,
        qty: float,
        aggressor: int,
        publisher: int = NO_PUBLISHER,
        instrument: int = NO_INSTRUMENT,
    ) -> None:
        """Add a trade."""
        self._add(record, symbol, TRADE, flags, ts_event, ts_recv)
        for side in self._sides:
            side.append([])
        self._px.append(px)
        self._qty.append(qty)
        self._aggressor.append(aggressor)
        self._publisher.append(publisher)
        self._instrument.append(instrument)

    def build(self) -> Rows:
        """Return all rows added so far."""
        bid_px, bid_sz, ask_px, ask_sz = self._sides
        n_bid = np.array([len(levels) for levels in bid_px], np.int32)
        n_ask = np.array([len(levels) for levels in ask_px], np.int32)
        width = int(max(n_bid.max(initial=0), n_ask.max(initial=0)))
        columns = RowColumns(
            record=np.array(self._record, np.int64),
            symbol=np.array(self._symbol, np.int32),
            kind=np.array(self._kind, np.uint8),
            flags=np.array(self._flags, np.uint8),
            ts_event=np.array(self._ts_event, np.int64),
            ts_recv=np.array(self._ts_recv, np.int64),
            bid_px=_padded(bid_px, n_bid, width),
            bid_sz=_padded(bid_sz, n_bid, width),
            ask_px=_padded(ask_px, n_ask, width),
            ask_sz=_padded(ask_sz, n_ask, width),
            n_bid=n_bid,
            n_ask=n_ask,
            px=np.array(self._px, np.float64),
            qty=np.array(self._qty, np.float64),
            aggressor=np.array(self._aggressor, np.int8),
            publisher=np.array(self._publisher, np.int64),
            instrument=np.array(self._instrument, np.int64),
        )
        return columns.rows(tuple(self._table))


def _padded(levels: list[list[float]], count: npt.NDArray[np.int32], width: int) -> Float:
    out = np.full((len(levels), width), _NAN)
    out[np.arange(width) < count[:, None]] = [value for row in levels for value in row]
    return out


def interleave(first: Rows, second: Rows) -> Rows:
    """Return the rows of both in the order of their records; no record has rows in both."""
    if not len(second.batch):
        return first
    if not len(first.batch):
        return second
    record = np.concatenate([first.record, second.record])
    order = np.argsort(record, kind="stable")
    batch = TickBatch.concat([first.batch, second.batch]).take(order)
    return Rows(by_first_appearance(batch), record[order], np.concatenate([first.ts_recv, second.ts_recv])[order])


def by_first_appearance(batch: TickBatch) -> TickBatch:
    """Return the same rows with the symbol table in the order in which the rows name them."""
    if len(batch.symbols) == 1 and len(batch):
        return batch
    used, first_row = np.unique(batch.symbol, return_index=True)
    used = used[np.argsort(first_row, kind="stable")]
    code = np.zeros(len(batch.symbols), np.int32)
    code[used] = np.arange(len(used), dtype=np.int32)
    return replace(batch, symbols=tuple(batch.symbols[i] for i in used), symbol=code[batch.symbol])


def stamped(rows: Rows, offsets: Sequence[int] | Int, ts_records: Sequence[int] | Int) -> TickBatch:
    """Return the batch with the offset and timestamp of each row's record.

    Where the timestamp is `FROM_DATA` it becomes the latest ``ts_recv or
    ts_event`` among the record's rows, floored to the millisecond: the time at
    which a producer would have sent the record.
    """
    batch = rows.batch
    record = rows.record
    offset = np.asarray(offsets, np.int64)[record]
    ts_record = np.asarray(ts_records, np.int64)[record]
    from_data = ts_record == FROM_DATA
    if from_data.any():
        said = np.where(rows.ts_recv > 0, rows.ts_recv, batch.ts_event)
        latest = np.zeros(int(record[-1]) + 1, np.int64)
        np.maximum.at(latest, record, said)
        ts_record = np.where(from_data, latest[record] // 1_000_000 * 1_000_000, ts_record)
    return replace(batch, offset=offset, ts_record=ts_record)
