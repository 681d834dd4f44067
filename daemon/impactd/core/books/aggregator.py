"""The tape: standing books and minute accumulators of all symbols of one partition.

Rules
-----
Rows are taken in the order in which they arrived.  Time comes first:

1. ``ts_event`` further ahead of its record than ``max_clock_skew``: rejected
   (``future``), no clock moves.  Where no minute is open yet, the rejection
   is counted with the minute that opens next.
2. ``ts_event`` before the symbol's open minute: late.  Counted, nothing else.
3. A book before the symbol's last accepted book: rejected (``clock_back``).
   A trade that runs back inside the open minute still counts.
4. ``ts_event`` at or after the end of the symbol's open minute: the row has
   to wait until that minute has closed (no grace on its own clock).
5. The partition's clock, which is the largest ``ts_event`` of all symbols and
   would be this row's, is at or past the end of some minute plus ``grace``:
   the row has to wait until that one has closed.
6. Otherwise the row moves the clocks, and opens the minute of a symbol that
   has none.  What it holds is looked at only now (`impactd.core.books.checks`), so a
   row that is rejected for its content moves the clocks all the same.

A book stands from its ``ts_event`` until the symbol's next accepted book,
through the ends of minutes, but no longer than ``max_book_age`` (if set) and
``max_silence``.  A rejected book leaves the one before it standing; one with
an empty side ends it.

Use
---
The caller runs rows, closes what must close when the run stops before a row,
and goes on from that row::

    i = 0
    while (i := tape.run(batch, i, len(batch))) < len(batch):
        for symbol in tape.closing(batch, i):
            stats = tape.close_minute(symbol)
            tape.regrid(symbol, stats)

A stop depends on rows alone and not on where a batch ends, so the way rows
are batched changes no bit of what comes out.
"""

from __future__ import annotations

import math
from enum import StrEnum
from functools import partial

import numpy as np

from impactd.core.base.settings import BookSettings
from impactd.core.books.grid import default_grid, grid_for, needs_new_grid, whole_lot
from impactd.core.books.kernel import (
    CLOCK,
    LAST_NS,
    N_KNOWN,
    NEEDS_GRID,
    NEXT_DUE,
    OWN_CLOCK,
    PARTITION_CLOCK,
    Rows,
    floor_minute,
    rows_of,
    run_rows,
    settle,
    time_gate,
)
from impactd.core.books.minute import MinuteStats, minute_stats
from impactd.core.books.store import MINUTE_FIELDS, NEVER
from impactd.core.books.symbols import FOREVER, Symbols
from impactd.core.inputs.ticks import TickBatch


class Stop(StrEnum):
    """Why a run ended before a row."""

    OWN_CLOCK = "own_clock"
    PARTITION_CLOCK = "partition_clock"


class MinuteAggregator(Symbols):
    """Books and minutes of the symbols of one partition.

    Parameters
    ----------
    max_symbols : int
        Rows of further symbols are dropped and counted (`unknown_rows`).

    Raises
    ------
    ValueError
        If a setting cannot be worked with.
    """

    def __init__(self, settings: BookSettings, max_symbols: int = 5_000) -> None:
        super().__init__(settings, max_symbols)
        self._rows: Rows | None = None

    # -- rows ---------------------------------------------------------------------------------------------------------

    def run(self, batch: TickBatch, start: int, stop: int) -> int:
        """Apply rows `start` to `stop` - 1 of `batch`.

        Returns
        -------
        int
            The first row that was not applied because a minute must close
            before it (`closing` says which), or `stop`.

        Raises
        ------
        ValueError
            If the batch breaks the contract of `TickBatch`, or has no such rows.
        """
        if not 0 <= start <= stop <= len(batch):
            raise ValueError(f"rows {start} to {stop} of a batch of {len(batch)}")
        rows = self._rows_of(batch)
        self._refresh_due()
        while True:
            row, why = run_rows(rows, start, stop, self._store, self._partition, self._limits, self._scratch)
            if why != NEEDS_GRID:
                return row
            self._first_grid(batch, row)
            start = row

    def peek(self, batch: TickBatch, row: int) -> Stop | None:
        """Say whether, and on whose clock, a minute must close before a row."""
        slot = int(self._rows_of(batch).slot[batch.symbol[row]])
        if slot < 0 or (self._is_full and not self._store.symbol[slot]["known"]):
            return None
        self._refresh_due()
        gate = time_gate(
            self._store.symbol,
            slot,
            self._partition,
            self._limits,
            int(batch.kind[row]),
            int(batch.ts_event[row]),
            int(batch.ts_record[row]),
        )
        return {OWN_CLOCK: Stop.OWN_CLOCK, PARTITION_CLOCK: Stop.PARTITION_CLOCK}.get(gate)

    def closing(self, batch: TickBatch, row: int) -> list[str]:
        """Return the symbols whose open minute must close before a row.

        Each stands there once, the earliest minute first and then by name;
        after they have closed, more of their minutes may be due.
        """
        stop = self.peek(batch, row)
        if stop is None:
            return []
        ts_event = int(batch.ts_event[row])
        due = self._due_slots(max(self._partition[CLOCK], ts_event) - self._limits.grace_ns)
        if stop is Stop.OWN_CLOCK:
            due.add(self._slots[batch.symbols[batch.symbol[row]]])
        return self._in_order(due)

    def due(self, clock: int | None = None) -> list[str]:
        """Return the symbols whose minute ends `grace` or more before `clock`.

        `clock` is the partition's own if not given.  The earliest minute
        comes first, then the name.
        """
        at = int(self._partition[CLOCK]) if clock is None else clock
        return self._in_order(self._due_slots(at - self._limits.grace_ns))

    def idle(self, watermark_ns: int) -> None:
        """Move the partition's clock so that minutes that end by `watermark_ns` are due."""
        clock = min(watermark_ns + self._limits.grace_ns, LAST_NS)
        self._partition[CLOCK] = max(int(self._partition[CLOCK]), clock)

    def open(self, symbol: str, ts: int) -> bool:
        """Open the minute that holds `ts` for a symbol that has none (an order came before its ticks).

        Returns
        -------
        bool
            Whether the symbol has an open minute now: False beyond `max_symbols`.
        """
        if symbol not in self._slots and self._is_full:
            return False
        slot = self._slot(symbol)
        row = self._store.symbol[slot]
        if not row["known"]:
            if self._is_full:
                return False
            row["known"] = 1
            self._partition[N_KNOWN] += 1
        if row["minute"] == NEVER:
            row["minute"] = row["settled_ns"] = floor_minute(ts, self._limits.interval_ns)
            self._store.touched[slot] = 1
            self._due_is_stale = True
        return True

    # -- minutes ------------------------------------------------------------------------------------------------------

    def close_minute(self, symbol: str) -> MinuteStats:
        """Close the open minute of a symbol and open the next.

        Raises
        ------
        KeyError
            If the symbol has no open minute.
        """
        slot = self._open_slot(symbol)
        row = self._store.symbol[slot]
        end = int(row["minute"]) + self._limits.interval_ns
        store = self._store
        settle(
            store.symbol,
            store.levels,
            store.sizes,
            store.slippage_ns,
            store.held_ns,
            store.bound_ns,
            slot,
            end,
            self._limits.stand_ns,
            self._scratch,
        )
        stats = minute_stats(self._store, slot, symbol, stands=self._stands(slot, end))
        for name in MINUTE_FIELDS:
            row[name] = 0
        store.rejected[slot, 1] += store.rejected[slot, 0]
        store.rejected[slot, 0] = 0
        store.slippage_ns[slot] = 0.0
        store.held_ns[slot] = 0
        store.bound_ns[slot] = 0.0
        row["minute"] = end
        store.touched[slot] = 1
        self._due_is_stale = True
        return stats

    def is_idle(self, symbol: str) -> bool:
        """Say whether nothing is counted in the open minute and nothing stands in it.

        Raises
        ------
        KeyError
            If the symbol has no open minute.
        """
        slot = self._open_slot(symbol)
        row = self._store.symbol[slot]
        counted = any(row[name] for name in MINUTE_FIELDS) or self._store.rejected[slot, 0].any()
        return not counted and not self._stands(slot, int(row["minute"]) + 1)

    def skip_to(self, symbol: str, minute: int) -> None:
        """Move an idle symbol on to the interval that starts at `minute`.

        What lies between are minutes in which nothing happened.

        Raises
        ------
        KeyError
            If the symbol has no open minute.
        ValueError
            If `minute` is no start of an interval, or lies before the open one.
        RuntimeError
            If the symbol is not idle: close its minute.
        """
        slot = self._open_slot(symbol)
        row = self._store.symbol[slot]
        if minute % self._limits.interval_ns or minute < row["minute"]:
            raise ValueError(f"minute {minute}: give the start of an interval at or after {row['minute']}")
        if not self.is_idle(symbol):
            raise RuntimeError(f"{symbol} is not idle at {row['minute']}: close its minute")
        row["minute"] = row["settled_ns"] = minute
        self._store.touched[slot] = 1
        self._due_is_stale = True

    # -- sizes --------------------------------------------------------------------------------------------------------

    def set_grid(self, symbol: str, sizes: tuple[float, ...]) -> None:
        """Set the sizes at which a symbol's books are walked, at the opening of a minute.

        Raises
        ------
        KeyError
            If the symbol has no open minute.
        ValueError
            If `sizes` is empty, or not positive, finite and ascending.
        RuntimeError
            If books of the open minute have been walked at other sizes.
        """
        slot = self._open_slot(symbol)
        if self._store.symbol[slot]["covered_ns"]:
            raise RuntimeError(f"{symbol}: a grid changes right after a minute has closed, not within one")
        self._put_sizes(slot, sizes)

    def regrid(
        self,
        symbol: str,
        stats: MinuteStats,
        demand_range: tuple[float, float] | None = None,
        lot: int | None = None,
    ) -> bool:
        """Choose the grid anew after a minute has closed, and set it if it must change.

        Parameters
        ----------
        stats : MinuteStats
            The minute that has just closed.
        demand_range : (float, float) or None
            Smallest and largest quantity that open plans ask of an interval,
            shares; None without plans.
        lot : int or None
            Lot size in quanta, where an order has told it.

        Returns
        -------
        bool
            Whether the grid has changed.
        """
        depth = float(stats.depth.min()) if stats.covered_ns else None
        slot = self._open_slot(symbol)
        if self._settings.sizes:
            return False
        if lot is None:
            lot = self._lot(slot)
        if demand_range is not None:
            grid = partial(grid_for, demand_range, lot=lot, depth=depth)
        elif depth is not None:
            grid = partial(default_grid, depth, lot=lot)
        else:
            return False
        n_sizes = self._settings.n_sizes
        if not needs_new_grid(self.sizes(symbol), grid(n_sizes=min(n_sizes, 2))):
            return False
        self.set_grid(symbol, grid(n_sizes=n_sizes))
        return True

    # -- inner --------------------------------------------------------------------------------------------------------

    def _rows_of(self, batch: TickBatch) -> Rows:
        """Return the columns of `batch` for the kernel; the last batch's are kept."""
        if self._batch is not batch or self._rows is None:
            slots = [self._slots.get(s, -1) if self._is_full else self._slot(s) for s in batch.symbols]
            self._rows = rows_of(batch, np.array(slots, np.int64))
            self._grow(n_levels=min(batch.n_levels, self._limits.max_levels))
            self._batch = batch
        return self._rows

    def _refresh_due(self) -> None:
        """Find anew when the next minute is due, if a minute has moved."""
        if self._due_is_stale:
            minutes = self._store.symbol["minute"]
            minutes = minutes[minutes != NEVER]
            first = int(minutes.min()) if minutes.size else None
            end = self._limits.interval_ns + self._limits.grace_ns
            self._partition[NEXT_DUE] = FOREVER if first is None else first + end
            self._due_is_stale = False

    def _due_slots(self, by: int) -> set[int]:
        """Return the rows whose minute ends at or before `by`."""
        minutes = self._store.symbol["minute"]
        return set(np.flatnonzero((minutes != NEVER) & (minutes <= by - self._limits.interval_ns)).tolist())

    def _in_order(self, slots: set[int]) -> list[str]:
        minutes = self._store.symbol["minute"]
        return [self._names[slot] for slot in sorted(slots, key=lambda s: (minutes[s], self._names[s]))]

    def _lot(self, slot: int) -> int | None:
        """Return one share in quanta if the standing book's sizes are whole, or the grid's where nothing stands."""
        row, levels = self._store.symbol[slot], self._store.levels[slot]
        if row["n_bid"] and row["n_ask"]:
            return whole_lot(levels[1, : row["n_bid"]], levels[3, : row["n_ask"]])
        return whole_lot(self._store.sizes[slot, : row["n_sizes"]])

    def _first_grid(self, batch: TickBatch, row: int) -> None:
        """Set a symbol's grid from its first two-sided book."""
        sides = [s[row, :n] for s, n in ((batch.bid_sz, batch.n_bid[row]), (batch.ask_sz, batch.n_ask[row]))]
        depth = min(math.fsum(side.tolist()) for side in sides)
        slot = self._slots[batch.symbols[batch.symbol[row]]]
        self._put_sizes(slot, default_grid(depth, self._settings.n_sizes, whole_lot(*sides)))
