"""Ticks as arrays, the output of every codec.

A codec turns a batch of raw records into one `TickBatch`, a struct of arrays
with one row per book or trade, and a list of `Refused` records.  Rows keep the
order of their records; one record may give several rows (a feed handler's array,
or a trade with the book that followed it).

A row is only *decoded* here.  Whether a book is usable (crossed, sentinel
prices, levels out of order, a clock that runs back) is decided in the core
(`impactd.core.books.checks`), which counts rejections by symbol and minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

#: `TickBatch.kind`
BOOK: Final = 0
TRADE: Final = 1

#: `TickBatch.flags`, a bit field.
MID_EVENT: Final = 1
"""The row is in the middle of a venue event: a book that never prevailed."""
AUCTION: Final = 2
"""The trade is an auction print (an opening, closing or halt cross)."""
UNDECODABLE_BOOK: Final = 4
"""The record's book had levels that are not numbers; the row keeps its time."""

#: `TickBatch.aggressor`
AGGRESSOR_NONE: Final = 0
AGGRESSOR_BUY: Final = 1
AGGRESSOR_SELL: Final = -1

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Byte = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that could not be decoded, on its way to the dead-letter topic."""

    #: Position of the record in its topic partition (or line in its file).
    offset: int
    #: One word, from a closed list a codec: ``truncated``, ``type``, ``missing_field``, ``not_finite``, ``too_large``,
    #: ``unknown_codec``, ``misplaced`` and the like.  Metrics are labelled by it.
    reason: str
    #: What exactly, naming the field and the remedy.  Bounded: 200 characters.
    detail: str
    raw: bytes
    key: bytes | None
    codec: str
    #: Timestamp of the record, ns; places the refusal in event order.
    ts_record: int
    #: Of an order, execution or control, where they can be read; of a gap, `symbol` is that of the book that ends, and
    #: of an order of another publisher or instrument that of the book.
    symbol: str | None = None
    cl_ord_id: str | None = None


@dataclass(frozen=True, slots=True)
class TickBatch:
    """Books and trades as a struct of arrays; `n` rows, up to `L` levels."""

    #: Symbols that occur in the batch; `symbol` indexes it.
    symbols: tuple[str, ...]
    #: Shape (n,).
    symbol: Int32
    #: Shape (n,). `BOOK` or `TRADE`.
    kind: Byte
    #: Shape (n,). Bit field of `MID_EVENT`, `AUCTION`, `UNDECODABLE_BOOK`.
    flags: Byte
    #: Shape (n,). Nanoseconds since the epoch, UTC.
    ts_event: Int
    #: Shape (n,). Kafka timestamp of the record, ns.  A file's row has ``ts_recv or ts_event`` floored to the
    #: millisecond, which is what ``impactd publish`` stamps on the record, so that both give the same.
    ts_record: Int
    #: Shape (n,). Offset of the record that the row came from; non-decreasing.
    offset: Int
    #: Shape (n, L). Levels best first, C-contiguous; NaN beyond the row's own levels. Empty levels (size 0 with an
    #: undefined price) at the end are dropped.
    bid_px: Float
    bid_sz: Float
    ask_px: Float
    ask_sz: Float
    #: Shape (n,). Levels in use; 0 for trades and for an empty side.
    n_bid: Int32
    n_ask: Int32
    #: Shape (n,). Of trades; NaN for books.
    px: Float
    qty: Float
    #: Shape (n,). 1 buy, -1 sell, 0 unknown.
    aggressor: npt.NDArray[np.int8]
    #: Shape (n,). Number of the publisher (`impactd.core.base.publisher`), of which a symbol's book has only one; 0
    #: where the row names none, and for prints of a tape.
    publisher: Int
    #: Shape (n,). Number of the instrument's id, by the same rule.
    instrument: Int

    def __len__(self) -> int:
        return int(self.ts_event.shape[0])

    @property
    def n_levels(self) -> int:
        """Width of the level arrays."""
        return int(self.bid_px.shape[1])

    @classmethod
    def empty(cls, n: int = 0, n_levels: int = 0, symbols: tuple[str, ...] = ()) -> TickBatch:
        """Return a batch of `n` blank book rows (NaN levels, zero times)."""
        columns = {name: column(name, n, n_levels) for name in ROW_FIELDS}
        for blank in columns.values():
            blank.fill(np.nan if blank.dtype == np.float64 else 0)
        return cls(symbols, **columns)

    def take(self, rows: slice | Int | npt.NDArray[np.bool_]) -> TickBatch:
        """Return the chosen rows; the symbol table is shared."""
        return TickBatch(
            self.symbols,
            *(getattr(self, name)[rows] for name in ROW_FIELDS),
        )

    @classmethod
    def concat(cls, batches: Sequence[TickBatch]) -> TickBatch:
        """Return the rows of `batches` one after another.

        Symbol tables are merged in order of first appearance and level
        arrays are padded with NaN to the widest.
        """
        batches = [b for b in batches if len(b)]
        if not batches:
            return cls.empty()
        if len(batches) == 1:
            return batches[0]
        width = max(b.n_levels for b in batches)
        table: dict[str, int] = {}
        columns: dict[str, list[npt.NDArray[np.generic]]] = {name: [] for name in ROW_FIELDS}
        for batch in batches:
            code = np.array([table.setdefault(s, len(table)) for s in batch.symbols], np.int32)
            for name in ROW_FIELDS:
                column = getattr(batch, name)
                if name == "symbol":
                    column = code[column]
                elif name in LEVEL_FIELDS and batch.n_levels < width:
                    pad = np.full((len(batch), width - batch.n_levels), np.nan)
                    column = np.concatenate([column, pad], axis=1)
                columns[name].append(column)
        return cls(tuple(table), *(np.concatenate(columns[name]) for name in ROW_FIELDS))


#: Columns of a batch, by name the type of their values; those of levels have two dimensions.
ROW_FIELDS: Final[Mapping[str, type[np.generic]]] = {
    name: get_args(get_args(hint)[1])[0] for name, hint in get_type_hints(TickBatch).items() if name != "symbols"
}
LEVEL_FIELDS: Final = ("bid_px", "bid_sz", "ask_px", "ask_sz")


def column(name: str, n: int, n_levels: int) -> npt.NDArray[Any]:
    """Return room for a column of `n` rows, of any values."""
    return np.empty((n, n_levels) if name in LEVEL_FIELDS else n, ROW_FIELDS[name])


#: Records are timed to the millisecond; an event within it is not ahead of its record.
_MILLISECOND_NS: Final = 1_000_000


def by_record_time(batch: TickBatch, skew_ns: int) -> TickBatch:
    """Return the batch with no row later than its record.

    What is stamped ahead of its record by no more than `skew_ns` counts at the end of its record's millisecond: one
    tick from the future then neither closes a minute nor makes others late.  What is stamped further ahead stays as
    it is, and is refused by `impactd.core.books.clock`.
    """
    ahead = batch.ts_event - batch.ts_record
    early = (ahead >= _MILLISECOND_NS) & (ahead <= skew_ns)
    if not early.any():
        return batch
    return replace(batch, ts_event=np.where(early, batch.ts_record + _MILLISECOND_NS - 1, batch.ts_event))
