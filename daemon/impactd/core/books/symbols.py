"""The symbols of a partition: their rows in the arrays, what stands, and their state as bytes.

The tape (`impactd.core.books.aggregator`) is these symbols with the rules of time.  A
symbol is *known* once a row or an order has named it; it then keeps its row
for as long as the tape lives.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from impactd.core.base.settings import BookSettings
from impactd.core.books.checks import Book
from impactd.core.books.grid import check_sizes
from impactd.core.books.kernel import (
    CLOCK,
    N_KNOWN,
    N_PARTITION,
    N_UNKNOWN_ROWS,
    NEXT_DUE,
    Limits,
)
from impactd.core.books.minute import by_reason
from impactd.core.books.store import NEVER, blank_store, grown, pack, packed_widths, unpack
from impactd.core.inputs.ticks import TickBatch

_CLOCKS: Final = struct.Struct("<4sqq")
_CLOCKS_MAGIC: Final = b"clk1"

#: No minute is due.
FOREVER: Final = 2**63 - 1

#: A book that never ages stands for this long, 36 years: times stay inside int64.
_LONGEST_STAND_NS: Final = 2**60


class Symbols:
    """Books, sums and clocks of the symbols of one partition.

    Parameters
    ----------
    max_symbols : int
        Rows of further symbols are dropped and counted (`unknown_rows`).

    Raises
    ------
    ValueError
        If a setting cannot be worked with.
    """

    def __init__(self, settings: BookSettings, max_symbols: int) -> None:
        _check(settings)
        self._settings = settings
        ages = [settings.max_silence_ns, _LONGEST_STAND_NS]
        if settings.max_book_age_ns is not None:
            ages.append(settings.max_book_age_ns)
        self._limits = Limits(
            interval_ns=settings.interval_ns,
            grace_ns=settings.grace_ns,
            skew_ns=settings.max_clock_skew_ns,
            stand_ns=min(ages),
            max_levels=settings.max_levels,
            max_symbols=max_symbols,
            allow_locked=settings.allow_locked,
        )
        self._slots: dict[str, int] = {}
        self._names: list[str] = []
        self._store = blank_store(8, 10, max(settings.n_sizes, len(settings.sizes)))
        self._partition = np.zeros(N_PARTITION, np.int64)
        self._partition[CLOCK] = NEVER
        self._partition[NEXT_DUE] = FOREVER
        self._due_is_stale = False
        self._scratch = np.empty(self._store.sizes.shape[1])
        #: The batch whose columns are at hand; forgotten when a symbol gets a row, as they name the rows.
        self._batch: TickBatch | None = None

    # -- readings -----------------------------------------------------------------------------------------------------

    @property
    def clock(self) -> int | None:
        """Largest ts_event of the partition, or where an idle move has put it, ns; None before any."""
        clock = int(self._partition[CLOCK])
        return None if clock == NEVER else clock

    @property
    def unknown_rows(self) -> int:
        """Rows dropped because their symbol was one too many."""
        return int(self._partition[N_UNKNOWN_ROWS])

    @property
    def symbols(self) -> list[str]:
        """Symbols that a row or an order has named, by name."""
        return sorted(name for name, slot in self._slots.items() if self._store.symbol[slot]["known"])

    def minute(self, symbol: str) -> int | None:
        """Return the start of the open minute, ns, or None."""
        return self._time(symbol, "minute")

    def last_ts(self, symbol: str) -> int | None:
        """Return the symbol's clock, ns, or None before its first row."""
        return self._time(symbol, "last_ns")

    def standing(self, symbol: str, at: int) -> Book | None:
        """Return the two-sided book that stands at `at` (ns), or None."""
        slot = self._slots.get(symbol)
        if slot is None or not self._stands(slot, at):
            return None
        row = self._store.symbol[slot]
        bids = self._store.levels[slot, :2, : row["n_bid"]].copy()
        asks = self._store.levels[slot, 2:, : row["n_ask"]].copy()
        return Book(int(row["book_ns"]), bids[0], bids[1], asks[0], asks[1])

    def rejected_total(self, symbol: str) -> dict[str, int]:
        """Return all rows ever rejected, by reason, those that occurred."""
        slot = self._slots.get(symbol)
        return {} if slot is None else by_reason(self._store.rejected[slot].sum(axis=0).tolist())

    def sizes(self, symbol: str) -> tuple[float, ...]:
        """Return the sizes in use, shares; empty before the first two-sided book."""
        slot = self._slots.get(symbol)
        if slot is None:
            return ()
        return tuple(self._store.sizes[slot, : self._store.symbol[slot]["n_sizes"]].tolist())

    # -- state --------------------------------------------------------------------------------------------------------

    @property
    def dirty(self) -> set[str]:
        """Symbols that have changed since `clear_dirty`."""
        return {self._names[slot] for slot in np.flatnonzero(self._store.touched).tolist()}

    def clear_dirty(self) -> None:
        """Forget what has changed."""
        self._store.touched[:] = 0

    def save(self, symbol: str) -> bytes:
        """Return everything known of a symbol, exactly.

        Raises
        ------
        KeyError
            If the symbol is unknown.
        """
        return pack(self._store, self._slots[symbol])

    def load(self, symbol: str, data: bytes) -> None:
        """Set a symbol to what was saved.

        Raises
        ------
        ValueError
            If `data` is not a state of this layout.
        """
        n_levels, n_sizes = packed_widths(data)
        slot = self._slot(symbol)
        self._grow(n_levels, n_sizes)
        known = int(self._store.symbol[slot]["known"])
        unpack(self._store, slot, data)
        self._partition[N_KNOWN] += int(self._store.symbol[slot]["known"]) - known
        self._batch = None
        self._due_is_stale = True

    def save_clock(self) -> bytes:
        """Return the state of the partition beside its symbols."""
        return _CLOCKS.pack(_CLOCKS_MAGIC, int(self._partition[CLOCK]), self.unknown_rows)

    def load_clock(self, data: bytes) -> None:
        """Set the partition's clock to what was saved.

        Raises
        ------
        ValueError
            If `data` was not written by `save_clock`.
        """
        if len(data) != _CLOCKS.size or not data.startswith(_CLOCKS_MAGIC):
            raise ValueError("clock state of another layout: restore it with the release that wrote it")
        _, self._partition[CLOCK], self._partition[N_UNKNOWN_ROWS] = _CLOCKS.unpack(data)

    # -- inner --------------------------------------------------------------------------------------------------------

    @property
    def _is_full(self) -> bool:
        return int(self._partition[N_KNOWN]) >= self._limits.max_symbols

    def _slot(self, symbol: str) -> int:
        """Return the row of a symbol in the store, a new one if need be."""
        slot = self._slots.get(symbol)
        if slot is None:
            slot = self._slots[symbol] = len(self._names)
            self._names.append(symbol)
            self._grow()
            if self._settings.sizes:
                self._put_sizes(slot, self._settings.sizes)
                self._store.touched[slot] = 0
            self._batch = None
        return slot

    def _open_slot(self, symbol: str) -> int:
        slot = self._slots.get(symbol)
        if slot is None or self._store.symbol[slot]["minute"] == NEVER:
            raise KeyError(f"{symbol} has no open minute: it has had neither a row nor an order")
        return slot

    def _grow(self, n_levels: int = 0, n_sizes: int = 0) -> None:
        self._store = grown(self._store, len(self._names), n_levels, n_sizes)
        if self._scratch.shape[0] < self._store.sizes.shape[1]:
            self._scratch = np.empty(self._store.sizes.shape[1])

    def _time(self, symbol: str, name: str) -> int | None:
        slot = self._slots.get(symbol)
        value = NEVER if slot is None else int(self._store.symbol[slot][name])
        return None if value == NEVER else value

    def _stands(self, slot: int, at: int) -> bool:
        """Say whether the book of a row is two-sided and not too old at `at`."""
        row = self._store.symbol[slot]
        return bool(row["n_bid"] and row["n_ask"] and at <= row["book_ns"] + self._limits.stand_ns)

    def _put_sizes(self, slot: int, sizes: tuple[float, ...]) -> None:
        check_sizes(sizes)
        self._grow(n_sizes=len(sizes))
        self._store.sizes[slot, : len(sizes)] = sizes
        self._store.symbol[slot]["n_sizes"] = len(sizes)
        self._store.touched[slot] = 1


def _check(settings: BookSettings) -> None:
    """Raise ValueError for settings that cannot be worked with."""
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
