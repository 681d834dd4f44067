"""Recorded files as one stream of rows a symbol, and the trading days in it.

Each symbol is its own partition here: what it learns on one day it takes
into the next, as the service does, and no other symbol's clock closes its
minutes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from impactd.core.base.session import Bools, Sessions
from impactd.core.base.settings import SECOND_NS, CoreSettings
from impactd.core.base.venue import in_words
from impactd.core.books.interval_cost import Intervals, Prevailing
from impactd.core.inputs.ticks import AUCTION, BOOK, TRADE, Float, Int, TickBatch, by_record_time
from impactd.research.errors import MALFORMED, NothingUsableError, ValidationError
from impactd.shell.files import merge_files
from impactd.shell.lines import InputFileError
from impactd.wire.codec import Limits

DAY_NS = 86_400 * SECOND_NS


@dataclass(frozen=True, slots=True, eq=False)
class Day:
    """One session of one symbol."""

    #: The name is the local date.
    symbol: str
    name: str
    #: Local midnight as if its UTC offset at the open held all day, ns.
    midnight: int
    #: The session, ns.
    open: int
    close: int
    intervals: Intervals
    #: Shape (n,). Continuous volume by interval, shares.
    volume: Float
    #: Shape (n,). Whether the market is open as an interval begins; False in a break.
    trades: Bools

    @property
    def n_open(self) -> int:
        """Intervals that trade: a break is no part of a session's length."""
        return max(int(self.trades.sum()), 1)

    def variance(self) -> float:
        """Return the variance of the closing mid's change over an interval, price^2; 0 where none was seen."""
        books = self.intervals.prevailing
        ends = self.open + np.arange(1, len(self.intervals) + 1) * self.intervals.interval_ns
        closing = [(k, at) for k, end in enumerate(ends) if (at := books.at(int(end) - 1)) is not None]
        if len(closing) < 2:
            return 0.0
        known, at = np.array(closing).T
        return float(np.mean(np.diff(books.mid[at]) ** 2 / np.diff(known)))


@dataclass(frozen=True, slots=True, eq=False)
class SymbolTape:
    """All rows of one symbol, in the order of their arrival."""

    symbol: str
    #: Offsets are the rows' own numbers.
    batch: TickBatch
    #: Shape (n,). ts_event clamped to its running maximum, as `impactd.core.inputs.inbox` has it.
    keys: Int
    prevailing: Prevailing
    days: tuple[Day, ...]

    @classmethod
    def of(cls, symbol: str, batch: TickBatch, settings: CoreSettings) -> SymbolTape:
        """Return the tape of one symbol's rows."""
        skew = settings.books.max_clock_skew_ns
        batch = replace(by_record_time(batch, skew), offset=np.arange(len(batch), dtype=np.int64))
        timely = np.where(batch.ts_event <= batch.ts_record + skew, batch.ts_event, 0)
        keys = np.maximum.accumulate(timely) if len(batch) else timely
        prevailing = Prevailing.of(batch, settings.books)
        return cls(symbol, batch, keys, prevailing, tuple(_days(symbol, batch, prevailing, settings)))

    def row_before(self, ts: int) -> int:
        """Return the first row that an event at `ts` comes before."""
        return int(np.searchsorted(self.keys, ts))


def _days(symbol: str, batch: TickBatch, prevailing: Prevailing, settings: CoreSettings) -> list[Day]:
    """Return the sessions in which a book prevailed."""
    session, interval = Sessions(settings).of(symbol), settings.books.interval_ns
    rule = session.rule
    begins = np.array([begin for begin, _ in rule.offsets])
    offsets = np.array([offset * SECOND_NS for _, offset in rule.offsets])

    def offset_at(ts: Int) -> Int:
        return np.asarray(offsets[np.maximum(np.searchsorted(begins, ts, "right") - 1, 0)])

    def midnight_of(ts: Int) -> Int:
        local = ts + offset_at(ts)
        return np.asarray(ts - local % DAY_NS, np.int64)

    days = []
    for midnight in np.unique(midnight_of(prevailing.start)).tolist():
        hours = session.hours_on(int(midnight + offset_at(np.array(midnight + DAY_NS // 2))) // DAY_NS)
        if hours is None:
            continue
        opens, closes = midnight + hours[0], midnight + hours[1]
        if not np.any((prevailing.start < closes) & (prevailing.end > opens)):
            continue
        n = -(-(closes - opens) // interval)
        name = str(np.datetime64(midnight + DAY_NS // 2, "ns").astype("datetime64[D]"))
        traded = (batch.kind == TRADE) & ((batch.flags & AUCTION) == 0) & (batch.qty > 0) & np.isfinite(batch.qty)
        traded &= (batch.ts_event >= opens) & (batch.ts_event < closes)
        volume = np.bincount((batch.ts_event[traded] - opens) // interval, batch.qty[traded], n).astype(np.float64)
        trades = session.open_at(opens + np.arange(n, dtype=np.int64) * interval, 1)
        intervals = Intervals.of(prevailing, opens, n, interval)
        days.append(Day(symbol, name, midnight, opens, closes, intervals, volume, trades))
    return days


def read_tapes(
    paths: Sequence[Path], settings: CoreSettings, *, codec: str | None = None, symbol: str | None = None
) -> tuple[SymbolTape, ...]:
    """Return the tapes of all symbols in the files, by name.

    Raises
    ------
    ValidationError
        1001 if a file cannot be read, or there is no usable book within the session; `NothingUsableError` if there is
        none at all.
    """
    try:
        files = merge_files(paths, codec, symbol, limits=Limits.of(settings))
        batches = [decoded.batch for decoded in files]
    except InputFileError as error:
        raise ValidationError(MALFORMED, str(error), "name a file of a known format") from error
    if unusable := files.unusable():
        raise NothingUsableError(MALFORMED, "; ".join(unusable), "leave the file out, or follow its reason")
    rows = TickBatch.concat(batches)
    # A symbol at a venue is a symbol of its own here, by a name that people read.
    rows = replace(rows, symbols=tuple(map(in_words, rows.symbols)))
    tapes = []
    for code in np.argsort(np.array(rows.symbols, dtype=str)).tolist():
        mine = rows.take(rows.symbol == code)
        mine = replace(mine, symbols=(rows.symbols[code],), symbol=np.zeros(len(mine), np.int32))
        if np.any(mine.kind == BOOK):
            tapes.append(SymbolTape.of(rows.symbols[code], mine, settings))
    if not any(len(tape.prevailing.start) for tape in tapes):
        raise NothingUsableError(
            MALFORMED, "data: no book is usable", "impactd replay --data FILE --out DIR says why they are rejected"
        )
    tapes = [tape for tape in tapes if tape.days]
    if not tapes:
        raise ValidationError(
            MALFORMED, "data: no usable book within the session", "check --session and --tz, or name other files"
        )
    return tuple(tapes)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
