"""The arrays of all symbols of a partition: one row for each symbol, and their exact bytes.

The fixed part of a symbol is a record of `SYMBOL`; what depends on the number
of levels and sizes is in separate arrays.  Rows and widths grow by doubling.
A row is saved as raw little-endian bytes behind a short header, so a loaded
symbol continues as if it had never been saved.
"""

from __future__ import annotations

import struct
from bisect import insort
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from impactd.core.base.venue import venue_of, whole_of
from impactd.core.books.checks import N_REASONS
from impactd.core.books.grid import check_sizes
from impactd.core.inputs.ticks import Byte, Float, Int

#: Before any time: of clocks that have not begun.
NEVER: Final = -(2**63)

#: After any time.
FOREVER: Final = 2**63 - 1

SYMBOL: Final = np.dtype(
    [
        ("known", "<i8"),  # 1 once a row or an order has named the symbol
        ("minute", "<i8"),  # start of the open minute, or NEVER
        ("last_ns", "<i8"),  # the symbol's clock: largest ts_event that was not refused, or NEVER
        ("book_ns", "<i8"),  # ts_event of the last accepted book, or NEVER
        ("settled_ns", "<i8"),  # the prevailing book is accounted for up to here
        ("covered_ns", "<i8"),
        ("n_bid", "<i8"),  # levels of the prevailing book
        ("n_ask", "<i8"),
        ("n_sizes", "<i8"),
        ("n_books", "<i8"),
        ("n_late", "<i8"),
        ("n_trades", "<i8"),
        ("traded", "<i8"),  # 1 once there was a trade
        ("volume_continuous", "<f8"),
        ("volume_auction", "<f8"),
        ("mid_ns", "<f8"),  # sums over time: price x ns, shares x ns
        ("half_spread_ns", "<f8"),
        ("ask_depth_ns", "<f8"),
        ("bid_depth_ns", "<f8"),
        ("turnover_continuous", "<f8"),  # price x shares
        ("halt_ns", "<i8"),  # the symbol's latest halt began here; FOREVER before any
        ("resume_ns", "<i8"),  # and ended here; FOREVER while it lasts
        ("negative_px", "<i8"),  # 1 where prices at or below zero are valid
        ("publisher", "<i8"),  # whose book it is (`impactd.core.base.publisher`)
        ("other_publisher", "<i8"),  # the last one whose row was rejected in the open minute
        ("instrument", "<i8"),  # which instrument the book is of, as its publisher
        ("other_instrument", "<i8"),  # the last one whose row was rejected, or whose book ended, in the open minute
    ]
)

#: What a minute adds up and its end clears.
MINUTE_FIELDS: Final = (
    "covered_ns",
    "n_books",
    "n_late",
    "n_trades",
    "volume_continuous",
    "volume_auction",
    "turnover_continuous",
    "mid_ns",
    "half_spread_ns",
    "ask_depth_ns",
    "bid_depth_ns",
    "other_publisher",
    "other_instrument",
)


class Store(NamedTuple):
    """Arrays of all symbols; `S` rows, `L` levels, `K` sizes at most."""

    #: Shape (S,). Structured, of `SYMBOL`.
    symbol: npt.NDArray[np.void]
    #: Shape (S, 2, n_reasons). Rejected rows of the open minute, and of the minutes before it.
    rejected: Int
    #: Shape (S,). 1 where something has changed since it was last cleared; not saved.
    touched: Byte
    #: Shape (S, 4, L). The prevailing book: bid_px, bid_sz, ask_px, ask_sz.
    levels: Float
    #: Shape (S, K).
    sizes: Float
    #: Shape (S, 2, K). Sum over time of what the walks that were held cost, price per share x ns.
    slippage_ns: Float
    #: Shape (S, 2, K). Time for which the visible depth held the size.
    held_ns: Int
    #: Shape (S, 2, K). The same of the lower bounds of all walks.
    bound_ns: Float


def blank_store(rows: int, n_levels: int, n_sizes: int) -> Store:
    """Return a store of `rows` blank symbols."""
    symbol = np.zeros(rows, SYMBOL)
    for clock in ("minute", "last_ns", "book_ns", "settled_ns"):
        symbol[clock] = NEVER
    symbol["halt_ns"] = symbol["resume_ns"] = FOREVER
    return Store(
        symbol=symbol,
        rejected=np.zeros((rows, 2, N_REASONS), np.int64),
        touched=np.zeros(rows, np.uint8),
        levels=np.zeros((rows, 4, n_levels)),
        sizes=np.zeros((rows, n_sizes)),
        slippage_ns=np.zeros((rows, 2, n_sizes)),
        held_ns=np.zeros((rows, 2, n_sizes), np.int64),
        bound_ns=np.zeros((rows, 2, n_sizes)),
    )


def grown(store: Store, rows: int, n_levels: int, n_sizes: int) -> Store:
    """Return `store`, or a copy that is large enough.

    A width that is too small is at least doubled, so growth costs O(1) per symbol.
    """
    have = (store.levels.shape[0], store.levels.shape[2], store.sizes.shape[1])
    need = (rows, n_levels, n_sizes)
    if all(n <= h for n, h in zip(need, have, strict=True)):
        return store
    bigger = blank_store(*(h if n <= h else max(n, 2 * h) for n, h in zip(need, have, strict=True)))
    for name in Store._fields:
        old = getattr(store, name)
        getattr(bigger, name)[tuple(slice(n) for n in old.shape)] = old
    return bigger


_MAGIC: Final = b"book"
_LAYOUT: Final = 1
#: Magic, layout, bytes of `SYMBOL`, number of reasons, bids, asks, sizes.
_HEADER: Final = struct.Struct("<4s6H")


def pack(store: Store, s: int) -> bytes:
    """Return the row of symbol `s` as bytes.

    Levels and sizes that are not in use are left out: a symbol of ten levels
    and sixteen sizes takes about 1.6 kB.
    """
    row = store.symbol[s]
    n_bid, n_ask, n_sizes = int(row["n_bid"]), int(row["n_ask"]), int(row["n_sizes"])
    return b"".join(
        (
            _HEADER.pack(_MAGIC, _LAYOUT, SYMBOL.itemsize, N_REASONS, n_bid, n_ask, n_sizes),
            row.tobytes(),
            store.rejected[s].astype("<i8", copy=False).tobytes(),
            store.levels[s, :2, :n_bid].astype("<f8", copy=False).tobytes(),
            store.levels[s, 2:, :n_ask].astype("<f8", copy=False).tobytes(),
            store.sizes[s, :n_sizes].astype("<f8", copy=False).tobytes(),
            store.slippage_ns[s, :, :n_sizes].astype("<f8", copy=False).tobytes(),
            store.held_ns[s, :, :n_sizes].astype("<i8", copy=False).tobytes(),
            store.bound_ns[s, :, :n_sizes].astype("<f8", copy=False).tobytes(),
        )
    )


def packed_widths(data: bytes) -> tuple[int, int]:
    """Return how many levels and sizes a packed row needs."""
    n_bid, n_ask, n_sizes = _widths(data)
    return max(n_bid, n_ask), n_sizes


def unpack(store: Store, s: int, data: bytes) -> None:
    """Set the row of symbol `s`, which has room for it, from `pack`'s bytes.

    Raises
    ------
    ValueError
        If `data` was not packed by this layout.
    """
    n_bid, n_ask, n_sizes = _widths(data)
    at = _HEADER.size
    for whole in (store.levels, store.sizes, store.slippage_ns, store.held_ns, store.bound_ns):
        whole[s] = 0
    store.symbol[s] = np.frombuffer(data, SYMBOL, 1, at)[0]
    at += SYMBOL.itemsize
    parts: tuple[tuple[npt.NDArray[np.generic], str], ...] = (
        (store.rejected[s], "<i8"),
        (store.levels[s, :2, :n_bid], "<f8"),
        (store.levels[s, 2:, :n_ask], "<f8"),
        (store.sizes[s, :n_sizes], "<f8"),
        (store.slippage_ns[s, :, :n_sizes], "<f8"),
        (store.held_ns[s, :, :n_sizes], "<i8"),
        (store.bound_ns[s, :, :n_sizes], "<f8"),
    )
    for target, dtype in parts:
        target[...] = np.frombuffer(data, dtype, target.size, at).reshape(target.shape)
        at += 8 * target.size


def _widths(data: bytes) -> tuple[int, int, int]:
    """Return bids, asks and sizes from a header that fits its data."""
    remedy = "restore it with the release that wrote it, or rebuild the state by a replay"
    if len(data) < _HEADER.size:
        raise ValueError(f"books state of {len(data)} bytes is cut short; {remedy}")
    magic, layout, record, reasons, n_bid, n_ask, n_sizes = _HEADER.unpack_from(data)
    if (magic, layout, record, reasons) != (_MAGIC, _LAYOUT, SYMBOL.itemsize, N_REASONS):
        raise ValueError(f"books state of layout {layout} ({magic!r}) is not layout {_LAYOUT}; {remedy}")
    length = _HEADER.size + record + 8 * (2 * reasons + 2 * n_bid + 2 * n_ask + 7 * n_sizes)
    if len(data) != length:
        raise ValueError(f"books state has {len(data)} bytes and not {length}; {remedy}")
    return n_bid, n_ask, n_sizes


class SymbolTable:
    """The rows of a partition's symbols by name.

    A symbol is *known* once a row or an order has named it; it keeps its row
    for the life of the table.

    Parameters
    ----------
    n_sizes : int
        Sizes for which there is room at first.
    fixed_sizes : tuple of float
        Sizes of every symbol, shares; empty if they are chosen by symbol.

    Attributes
    ----------
    scratch : ndarray of float64, shape (K,)
        Room for one walk.
    at_venues : dict of str to list of str
        Names of rows at venues, in order, by their symbol.
    """

    def __init__(self, n_sizes: int, fixed_sizes: tuple[float, ...]) -> None:
        self._fixed_sizes = fixed_sizes
        self._slots: dict[str, int] = {}
        self._names: list[str] = []
        self.at_venues: dict[str, list[str]] = {}
        self.store = blank_store(8, 10, max(n_sizes, len(fixed_sizes)))
        self.scratch = np.empty(self.store.sizes.shape[1])

    def __len__(self) -> int:
        return len(self._names)

    @property
    def most_venues(self) -> int:
        """Largest number of venues of one symbol; 1 without venues."""
        return max(map(len, self.at_venues.values()), default=1)

    def name(self, slot: int) -> str:
        """Return the symbol of a row."""
        return self._names[slot]

    def find(self, symbol: str) -> int | None:
        """Return the row of a symbol; None if it has none."""
        return self._slots.get(symbol)

    def add(self, symbol: str) -> int:
        """Return the row of a symbol, a new one if it has none."""
        slot = self._slots.get(symbol)
        if slot is None:
            slot = self._slots[symbol] = len(self._names)
            self._names.append(symbol)
            if venue_of(symbol):
                insort(self.at_venues.setdefault(whole_of(symbol), []), symbol)
            self.grow()
            if self._fixed_sizes:
                self.set_sizes(slot, self._fixed_sizes)
                self.store.touched[slot] = 0
        return slot

    def open_slot(self, symbol: str) -> int:
        """Return the row of a symbol with an open minute."""
        slot = self._slots.get(symbol)
        if slot is None or self.store.symbol[slot]["minute"] == NEVER:
            raise KeyError(f"{symbol} has no open minute: it has had neither a row nor an order")
        return slot

    def time(self, symbol: str, field: str) -> int | None:
        """Return a time of a symbol's row, ns; None before it is set."""
        slot = self._slots.get(symbol)
        value = NEVER if slot is None else int(self.store.symbol[slot][field])
        return None if value == NEVER else value

    def known(self) -> list[str]:
        """Return the symbols that a row or an order has named, by name."""
        known = self.store.symbol["known"].tolist()
        return sorted([name for name, slot in self._slots.items() if known[slot]])

    def sizes(self, slot: int) -> tuple[float, ...]:
        """Return the sizes in use, shares; empty before the first two-sided book."""
        return tuple(self.store.sizes[slot, : self.store.symbol[slot]["n_sizes"]].tolist())

    def set_sizes(self, slot: int, sizes: tuple[float, ...]) -> None:
        """Set the sizes in use.

        Raises
        ------
        ValueError
            If they are not positive, finite and ascending.
        """
        check_sizes(sizes)
        self.grow(n_sizes=len(sizes))
        self.store.sizes[slot, : len(sizes)] = sizes
        self.store.symbol[slot]["n_sizes"] = len(sizes)
        self.store.touched[slot] = 1

    def grow(self, n_levels: int = 0, n_sizes: int = 0) -> None:
        """Make room for every symbol, and for this many levels and sizes."""
        self.store = grown(self.store, len(self._names), n_levels, n_sizes)
        if self.scratch.shape[0] < self.store.sizes.shape[1]:
            self.scratch = np.empty(self.store.sizes.shape[1])

    def take_touched(self) -> list[str]:
        """Return the symbols that have changed since the last call, by name."""
        touched = sorted(self._names[slot] for slot in np.flatnonzero(self.store.touched).tolist())
        self.store.touched[:] = 0
        return touched

    def dump(self, symbol: str) -> bytes:
        """Return the exact bytes of a symbol's row."""
        return pack(self.store, self._slots[symbol])

    def load(self, symbol: str, data: bytes) -> int:
        """Set a symbol's row from the bytes of `dump`; return the change in the number of known symbols.

        Raises
        ------
        ValueError
            If `data` has another layout.
        """
        n_levels, n_sizes = packed_widths(data)
        slot = self.add(symbol)
        self.grow(n_levels, n_sizes)
        known = int(self.store.symbol[slot]["known"])
        unpack(self.store, slot, data)
        return int(self.store.symbol[slot]["known"]) - known
