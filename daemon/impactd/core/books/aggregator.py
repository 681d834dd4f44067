"""Prevailing books and minute accumulators of all symbols of one partition.

A book prevails from its ``ts_event`` until the symbol's next accepted book,
across the ends of minutes, but no longer than ``max_book_age`` (if set) and
``max_silence``, and not into a halt of the symbol.  A rejected book leaves the one before it in place; one with an
empty side ends it.  When a row must wait for a minute's close is stated in
`impactd.core.books.clock`.

The book of a symbol whose ticks name venues is merged from those of its venues (`impactd.core.books.merge`).  What is
read by the symbol is of the merged book; what is read by its name at a venue (`impactd.core.base.venue`), of that one.

The caller runs rows, closes what must close when the run stops before a row,
and continues from that row::

    i = 0
    while (i := books.run(batch, i, len(batch))) < len(batch):
        for symbol in books.closing(batch, i):
            stats = books.close_minute(symbol)
            books.regrid(symbol, stats)

A stop depends on rows alone and not on where a batch ends, so batching changes
no bit of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from typing import Final

import numpy as np

from impactd.core.base.settings import BookSettings
from impactd.core.base.venue import VenueRule, venue_of, whole_of
from impactd.core.books.checks import Book
from impactd.core.books.clock import PartitionClock
from impactd.core.books.grid import check_sizes, default_grid, grid_for, needs_new_grid, whole_lot
from impactd.core.books.kernel import (
    CLOCK,
    NEEDS_GRID,
    OWN_CLOCK,
    PARTITION_CLOCK,
    PASS,
    Limits,
    Rows,
    floor_minute,
    rows_of,
    run_rows,
    time_gate,
    whole_waits,
)
from impactd.core.books.merge import WHOLE, settle_whole
from impactd.core.books.minute import MinuteStats, by_reason, minute_stats
from impactd.core.books.prevailing import LONGEST_NS, PrevailingBooks
from impactd.core.books.settling import settle
from impactd.core.books.store import FOREVER, MINUTE_FIELDS, NEVER, SymbolTable
from impactd.core.inputs.ticks import Int, TickBatch

_KEY: Final = "books/"


class Stop(StrEnum):
    """Why a run ended before a row."""

    OWN_CLOCK = "own_clock"
    PARTITION_CLOCK = "partition_clock"


class MinuteAggregator:
    """Books and minutes of the symbols of one partition.

    What acts on a symbol's open minute raises KeyError where it has none.

    Parameters
    ----------
    max_symbols : int
        Rows of further symbols are dropped and counted (`unknown_rows`).
    halted_since : callable, optional
        From a symbol that may come while it is halted to when that began, ns, or None.
    negative_px : callable, optional
        From a symbol to whether its prices may be at or below zero.
    venues : tuple of VenueRule, optional
        How long the books of venues prevail, where that differs from the settings.
    """

    def __init__(
        self,
        settings: BookSettings,
        max_symbols: int = 5_000,
        halted_since: Callable[[str], int | None] = lambda _symbol: None,
        negative_px: Callable[[str], bool] = lambda _symbol: False,
        venues: tuple[VenueRule, ...] = (),
    ) -> None:
        _check(settings)
        self._negative_px = negative_px
        self._halted_since = halted_since
        self._settings = settings
        self._limits = Limits(
            interval_ns=settings.interval_ns,
            grace_ns=settings.grace_ns,
            skew_ns=settings.max_clock_skew_ns,
            silence_ns=min(settings.max_silence_ns, LONGEST_NS),
            max_levels=settings.max_levels,
            max_symbols=max_symbols,
            allow_locked=settings.allow_locked,
        )
        self._table = SymbolTable(settings.n_sizes, settings.sizes)
        self._prevailing = PrevailingBooks(self._table, self._limits.silence_ns, settings.max_book_age_ns, venues)
        self._clock = PartitionClock(self._limits)
        #: The columns of the last batch, with the rows of its symbols; dropped when a symbol gets a row.
        self._batch: TickBatch | None = None
        self._rows: Rows | None = None
        #: Levels of the deepest side so far.
        self._width = 0

    # -- rows ---------------------------------------------------------------------------------------------------------

    def run(self, batch: TickBatch, start: int, stop: int) -> int:
        """Apply rows `start` to `stop` - 1 of `batch`.

        Returns
        -------
        int
            The first row that was not applied because a minute must close
            before it (`closing` states which), or `stop`.

        Raises
        ------
        ValueError
            If the batch breaks the contract of `TickBatch`, or has no such rows.
        """
        if not 0 <= start <= stop <= len(batch):
            raise ValueError(f"rows {start} to {stop} of a batch of {len(batch)}")
        rows = self._rows_of(batch)
        self._clock.refresh(self._minutes)
        while True:
            row, why = run_rows(
                rows,
                start,
                stop,
                self._table.store,
                self._prevailing.family,
                self._clock.array,
                self._limits,
                self._table.scratch,
            )
            if why != NEEDS_GRID:
                return row
            self._first_grid(batch, row)
            start = row

    def peek(self, batch: TickBatch, row: int) -> Stop | None:
        """Return on whose clock a minute must close before a row, or None."""
        slot = int(self._rows_of(batch).slot[batch.symbol[row]])
        if slot < 0 or (self._clock.is_full and not self._table.store.symbol[slot]["known"]):
            return None
        self._clock.refresh(self._minutes)
        symbol, clock, ts_event = self._table.store.symbol, self._clock.array, int(batch.ts_event[row])
        kind, ts_record = int(batch.kind[row]), int(batch.ts_record[row])
        gate = time_gate(symbol, slot, clock, self._limits, kind, ts_event, ts_record)
        whole = int(self._prevailing.family.whole[slot])
        if gate == PASS and whole >= 0 and whole_waits(symbol, whole, ts_event, self._limits):
            gate = OWN_CLOCK
        return {OWN_CLOCK: Stop.OWN_CLOCK, PARTITION_CLOCK: Stop.PARTITION_CLOCK}.get(gate)

    def closing(self, batch: TickBatch, row: int) -> list[str]:
        """Return the symbols whose open minute must close before a row.

        Each symbol is listed once, the earliest minute first and then by name;
        after they have closed, more of their minutes may be due.
        """
        stop = self.peek(batch, row)
        if stop is None:
            return []
        ts_event = int(batch.ts_event[row])
        due = self._clock.due(self._minutes, max(int(self._clock.array[CLOCK]), ts_event))
        if stop is Stop.OWN_CLOCK:
            due |= self._past(self._table.add(batch.symbols[batch.symbol[row]]), ts_event)
        return self._in_order(due)

    def _past(self, slot: int, ts_event: int) -> set[int]:
        """Return which of a row's symbol and its whole have an open minute that ends by the row's time, ns."""
        symbol, whole = self._table.store.symbol, int(self._prevailing.family.whole[slot])
        minute, interval_ns = int(symbol[slot]["minute"]), self._limits.interval_ns
        past = {slot} if minute != NEVER and ts_event >= minute + interval_ns else set()
        return past | ({whole} if whole >= 0 and whole_waits(symbol, whole, ts_event, self._limits) else set())

    def due(self, clock: int | None = None) -> list[str]:
        """Return the symbols whose minute ends `grace` or more before `clock`.

        `clock` is the partition's own if not given.  The earliest minute
        comes first, then the name.
        """
        return self._in_order(self._clock.due(self._minutes, clock))

    def idle(self, watermark_ns: int) -> None:
        """Move the partition's clock so that minutes that end by `watermark_ns` are due."""
        self._clock.idle(watermark_ns)

    def open(self, symbol: str, ts: int) -> bool:
        """Open the minute that holds `ts` for a symbol that has none (an order came before its ticks).

        Returns
        -------
        bool
            Whether the symbol has an open minute now: False beyond `max_symbols`.
        """
        if self._table.find(symbol) is None and self._clock.is_full:
            return False
        slot = self._slot(symbol)
        row = self._table.store.symbol[slot]
        if not row["known"]:
            if self._clock.is_full:
                return False
            row["known"] = 1
            self._clock.count_known(1)
        if row["minute"] == NEVER:
            row["minute"] = row["settled_ns"] = floor_minute(ts, self._limits.interval_ns)
            self._touch(slot)
        return True

    def halt(self, symbol: str, at: int) -> None:
        """Note that a symbol has halted at `at` (ns): its book prevails no longer, and further ones are rejected."""
        for name in self._names(symbol):
            self._set_halt(name, at, FOREVER)

    def resume(self, symbol: str, at: int) -> None:
        """Note that a halted symbol trades again from `at` on, ns; a book prevails once one has come since then."""
        for name in self._names(symbol):
            slot = self._slot(name)
            row = self._table.store.symbol[slot]
            # What came before a symbol's first row leaves no trace, whether or not it has a row in the table already.
            self._set_halt(name, int(row["halt_ns"]) if row["known"] else FOREVER, at if row["known"] else FOREVER)

    def define(self, symbol: str, *, negative_px: bool) -> None:
        """Note whether a symbol's prices may be at or below zero."""
        for name in self._names(symbol):
            slot = self._slot(name)
            if self._table.store.symbol[slot]["negative_px"] != negative_px:
                self._table.store.symbol[slot]["negative_px"] = negative_px
                self._table.store.touched[slot] |= self._table.store.symbol[slot]["known"]

    def _set_halt(self, symbol: str, halt_ns: int, resume_ns: int) -> None:
        slot = self._table.find(symbol)
        if slot is not None:
            row = self._table.store.symbol[slot]
            row["halt_ns"], row["resume_ns"] = halt_ns, resume_ns
            self._table.store.touched[slot] |= row["known"]

    # -- minutes ------------------------------------------------------------------------------------------------------

    def close_minute(self, symbol: str) -> MinuteStats:
        """Close the open minute of a symbol and open the next."""
        slot = self._table.open_slot(symbol)
        store = self._table.store
        row = store.symbol[slot]
        end = int(row["minute"]) + self._limits.interval_ns
        arrays = (store.symbol, store.levels, store.sizes, store.slippage_ns, store.held_ns, store.bound_ns)
        if self._prevailing.family.whole[slot] == WHOLE:
            settle_whole(*arrays, self._prevailing.family, slot, end, self._table.scratch)
        else:
            settle(*arrays, slot, end, int(self._prevailing.family.stand_ns[slot]), self._table.scratch)
        stats = minute_stats(store, slot, symbol, end, prevails=self._prevailing.is_there(slot, end))
        for name in MINUTE_FIELDS:
            row[name] = 0
        store.rejected[slot, 1] += store.rejected[slot, 0]
        store.rejected[slot, 0] = 0
        store.slippage_ns[slot] = 0.0
        store.held_ns[slot] = 0
        store.bound_ns[slot] = 0.0
        row["minute"] = end
        self._touch(slot)
        return stats

    def is_idle(self, symbol: str) -> bool:
        """Return whether the open minute has no counts and no prevailing book."""
        slot = self._table.open_slot(symbol)
        row = self._table.store.symbol[slot]
        counted = any(row[name] for name in MINUTE_FIELDS) or self._table.store.rejected[slot, 0].any()
        return not counted and not self._prevailing.is_there(slot, int(row["minute"]) + 1)

    def skip_to(self, symbol: str, minute: int) -> None:
        """Move an idle symbol on to the interval that starts at `minute`.

        Nothing happened in the minutes between.

        Raises
        ------
        ValueError
            If `minute` is no start of an interval, or lies before the open one.
        RuntimeError
            If the symbol is not idle: close its minute.
        """
        slot = self._table.open_slot(symbol)
        row = self._table.store.symbol[slot]
        if minute % self._limits.interval_ns or minute < row["minute"]:
            raise ValueError(f"minute {minute}: give the start of an interval at or after {row['minute']}")
        if not self.is_idle(symbol):
            raise RuntimeError(f"{symbol} is not idle at {row['minute']}: close its minute")
        row["minute"] = row["settled_ns"] = minute
        self._touch(slot)

    # -- sizes --------------------------------------------------------------------------------------------------------

    def set_grid(self, symbol: str, sizes: tuple[float, ...]) -> None:
        """Set the sizes at which a symbol's books are walked, at the opening of a minute.

        Raises
        ------
        ValueError
            If `sizes` is empty, or not positive, finite and ascending.
        RuntimeError
            If books of the open minute have been walked at other sizes.
        """
        slot = self._table.open_slot(symbol)
        if self._table.store.symbol[slot]["covered_ns"]:
            raise RuntimeError(f"{symbol}: a grid changes right after a minute has closed, not within one")
        self._table.set_sizes(slot, sizes)

    def regrid(
        self,
        symbol: str,
        stats: MinuteStats,
        demand_range: tuple[float, float] | None = None,
        lot: int | None = None,
    ) -> bool:
        """Choose the grid after a minute has closed, and set it if it must change; return whether it did.

        Parameters
        ----------
        demand_range : (float, float) or None
            Smallest and largest quantity that active orders trade in an interval,
            shares; None without orders.
        lot : int or None
            Lot size in quanta; None if no order states one.
        """
        grid = self.grid_after(symbol, stats, demand_range, lot)
        if grid is None:
            return False
        self.set_grid(symbol, grid)
        return True

    def grid_after(
        self, symbol: str, stats: MinuteStats, demand_range: tuple[float, float] | None = None, lot: int | None = None
    ) -> tuple[float, ...] | None:
        """Return the grid that `regrid` sets, or None where the present one stays."""
        depth = float(stats.depth.min()) if stats.covered_ns else None
        if self._settings.sizes:
            return None
        if lot is None:
            lot = self._lot(self._table.open_slot(symbol))
        if demand_range is not None:
            grid = partial(grid_for, demand_range, lot=lot, depth=depth)
        elif depth is not None:
            grid = partial(default_grid, depth, lot=lot)
        else:
            return None
        n_sizes = self._settings.n_sizes
        if not needs_new_grid(self.sizes(symbol), grid(n_sizes=min(n_sizes, 2))):
            return None
        return grid(n_sizes=n_sizes)

    # -- readings -----------------------------------------------------------------------------------------------------

    @property
    def clock(self) -> int | None:
        """Largest ts_event of the partition, or the watermark of an idle move, ns; None before any."""
        return self._clock.time

    @property
    def unknown_rows(self) -> int:
        """Rows dropped because the partition has its maximum of symbols."""
        return self._clock.unknown_rows

    @property
    def symbols(self) -> list[str]:
        """Symbols that a row or an order has named, by name; those at venues are not among them."""
        return [name for name in self._table.known() if venue_of(name) is None]

    def minute(self, symbol: str) -> int | None:
        """Return the start of the open minute, ns, or None."""
        return self._table.time(symbol, "minute")

    def volume_since(self, symbol: str, minute: int) -> float:
        """Return the continuous volume of the open minute so far, shares; 0 where `minute` (ns) is not the open one."""
        slot = self._table.find(symbol)
        if slot is None or self._table.store.symbol[slot]["minute"] != minute:
            return 0.0
        return float(self._table.store.symbol[slot]["volume_continuous"])

    def last_ts(self, symbol: str) -> int | None:
        """Return the symbol's clock, ns, or None before its first row."""
        return self._table.time(symbol, "last_ns")

    def prevailing(self, symbol: str, at: int) -> Book | None:
        """Return the two-sided book that prevails at `at` (ns), or None."""
        slot = self._table.find(symbol)
        return None if slot is None else self._prevailing.book(slot, at)

    def at_venues(self, symbol: str, at: int) -> dict[str, Book]:
        """Return the books that prevail at `at` (ns) at a symbol's venues; a side of them may be empty."""
        return self._prevailing.at_venues(symbol, at)

    def is_at_venues(self, symbol: str, at: int) -> bool:
        """Return whether a book prevails at `at` (ns) at any of a symbol's venues."""
        return self._prevailing.is_at_venues(symbol, at)

    def venues(self, symbol: str) -> tuple[str, ...]:
        """Return the venues that a symbol's ticks have named, by name."""
        names = self._names(symbol)[1:]
        return tuple(str(venue_of(name)) for name in names if self._table.store.symbol[self._slot(name)]["known"])

    def became_old(self, name: str, minute: int) -> int | None:
        """Return when the book of a symbol at a venue became too old in the minute from `minute` on, ns, or None."""
        return self._prevailing.became_old(self._slot(name), minute, minute + self._limits.interval_ns)

    def rejected_total(self, symbol: str) -> dict[str, int]:
        """Return the number of rows rejected since the state began, by reason."""
        slots = [self._slot(name) for name in self._names(symbol)]
        return by_reason(self._table.store.rejected[slots].sum(axis=(0, 1)).tolist())

    def sizes(self, symbol: str) -> tuple[float, ...]:
        """Return the sizes in use, shares; empty before the first two-sided book."""
        slot = self._table.find(symbol)
        return () if slot is None else self._table.sizes(slot)

    # -- state --------------------------------------------------------------------------------------------------------

    def changes(self) -> dict[str, bytes | None]:
        """Return the keys of the symbols, and of the clock, that have changed since the last call."""
        touched = self._table.take_touched()
        return {_KEY + symbol: self._table.dump(symbol) for symbol in touched} | self._clock.key.changes()

    def dump(self) -> dict[str, bytes]:
        """Return every key with its value."""
        return {_KEY + symbol: self._table.dump(symbol) for symbol in self._table.known()} | self._clock.key.dump()

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore the symbols and the clock in a whole state.

        Raises
        ------
        ValueError
            If a value has another layout.
        """
        self._clock.key.load(items)
        for key in sorted(items):
            if key.startswith(_KEY):
                symbol, whole = key.removeprefix(_KEY), whole_of(key.removeprefix(_KEY))
                self._slot(whole)
                self._clock.count_known(self._table.load(symbol, items[key]))
                self.define(symbol, negative_px=self._negative_px(whole))  # settings may differ from the state's
        self._clock.minutes_moved()
        self._batch = None
        store = self._table.store
        self._widen(int(max(store.symbol["n_bid"].max(), store.symbol["n_ask"].max())))

    # -- inner --------------------------------------------------------------------------------------------------------

    @property
    def _minutes(self) -> Int:
        """Start of each symbol's open minute, ns, or `NEVER`."""
        return self._table.store.symbol["minute"]

    def _touch(self, slot: int) -> None:
        """Note that a symbol's open minute has moved."""
        self._table.store.touched[slot] = 1
        self._clock.minutes_moved()

    def _slot(self, symbol: str) -> int:
        """Return the row of a symbol, a new one if it has none; one at a venue has a row of the whole as well."""
        slot = self._table.find(symbol)
        if slot is not None:
            return slot
        whole = whole_of(symbol)
        if whole != symbol:
            self._slot(whole)
        slot = self._table.add(symbol)
        self._batch = None
        since = self._halted_since(whole)
        self._table.store.symbol[slot]["halt_ns"] = FOREVER if since is None else since
        self._table.store.symbol[slot]["negative_px"] = self._negative_px(whole)
        return slot

    def _names(self, symbol: str) -> list[str]:
        """Return a symbol, and the symbol at its venues by name, as far as they have rows."""
        slot = self._table.find(symbol)
        return [] if slot is None else [symbol, *self._table.at_venues.get(symbol, ())]

    def _rows_of(self, batch: TickBatch) -> Rows:
        """Return the columns of `batch` for the kernel; those of the last batch are kept."""
        if self._batch is not batch or self._rows is None:
            full = self._clock.is_full
            slots = [self._table.find(s) if full else self._slot(s) for s in batch.symbols]
            self._rows = rows_of(batch, np.array([-1 if slot is None else slot for slot in slots], np.int64))
            self._widen(min(batch.n_levels, self._limits.max_levels))
            self._batch = batch
        return self._rows

    def _widen(self, n_levels: int) -> None:
        """Make room for books of so many levels, and for those of all venues of a symbol together."""
        self._width = max(self._width, n_levels)
        self._table.grow(n_levels=self._width * self._table.most_venues)

    def _in_order(self, slots: set[int]) -> list[str]:
        minutes, name = self._minutes, self._table.name
        return [name(slot) for slot in sorted(slots, key=lambda s: (minutes[s], name(s)))]

    def _lot(self, slot: int) -> int | None:
        """Return one share in quanta if the sizes of the book, or without one those of the grid, are whole."""
        row, levels = self._table.store.symbol[slot], self._table.store.levels[slot]
        if row["n_bid"] and row["n_ask"]:
            return whole_lot(levels[1, : row["n_bid"]], levels[3, : row["n_ask"]])
        return whole_lot(self._table.store.sizes[slot, : row["n_sizes"]])

    def _first_grid(self, batch: TickBatch, row: int) -> None:
        """Set a symbol's grid from its first two-sided book."""
        sides = [s[row, :n] for s, n in ((batch.bid_sz, batch.n_bid[row]), (batch.ask_sz, batch.n_ask[row]))]
        depth = min(math.fsum(side.tolist()) for side in sides)
        slot = self._table.add(batch.symbols[batch.symbol[row]])
        for s in (slot, int(self._prevailing.family.whole[slot])):
            if s >= 0 and not self._table.store.symbol[s]["n_sizes"]:
                self._table.set_sizes(s, default_grid(depth, self._settings.n_sizes, whole_lot(*sides)))


def _check(settings: BookSettings) -> None:
    """Raise ValueError for settings out of range."""
    for name in ("interval_ns", "max_silence_ns", "max_levels", "n_sizes"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name} {getattr(settings, name)}: give 1 or more")
    for name in ("grace_ns", "max_clock_skew_ns"):
        if getattr(settings, name) < 0:
            raise ValueError(f"{name} {getattr(settings, name)}: give 0 or more")
    if settings.max_book_age_ns is not None and settings.max_book_age_ns < 1:
        raise ValueError(f"max_book_age_ns {settings.max_book_age_ns}: give 1 or more, or none for no limit")
    if settings.sizes:
        check_sizes(settings.sizes)
