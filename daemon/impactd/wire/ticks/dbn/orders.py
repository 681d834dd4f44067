"""Books out of single orders (MBO): each order is added, changed and cancelled by its id, and levels are their sums.

Field meanings: Databento, "Market by order (MBO)". ``A`` adds an order, ``M`` changes it (one that is not known is
added), ``C`` cancels some or all of its size, ``R`` clears the book; ``T`` is a print, ``F`` and ``N`` change
nothing. An event ends with `F_LAST`: the book after it is the row, and so is the empty one after a clear that no
snapshot follows. An order with `F_TOB` replaces its side. The book of a snapshot has the snapshot's time, `ts_recv`.

A book begins with a clear, as every day and every snapshot of Databento's does. It ends where the feed reports a
possible loss (`F_MAYBE_BAD_BOOK`), or where the order to cancel does not exist or is
smaller: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import uncounted_kernel
from impactd.core.base.session import DAY_NS
from impactd.core.base.settings import MINUTE_NS
from impactd.core.inputs.ticks import BOOK, TRADE, Byte, Int
from impactd.wire.rows import RowColumns, Rows, by_first_appearance
from impactd.wire.ticks.building.ladder import place, set_level
from impactd.wire.ticks.dbn.kernel import (
    ACTION,
    GOOD,
    INSTRUMENT,
    MBO,
    NO_PRICE,
    NO_SIZE,
    PUBLISHER,
    SHORT,
    SIDE,
    TIME,
    price,
)

#: Why a record gives no rows: the book has ended, or has not begun.
GAP: Final = 100
NO_START: Final = 101
#: A record could not be read, which was of one symbol if that has a book.
LOST: Final = 102

_NONE, _STANDS, _ENDED, _LOST = range(4)
_EMPTY, _LIVE, _DEAD = range(3)
_F_LAST, _F_TOB, _F_SNAPSHOT, _F_BAD = 128, 64, 32, 4
_UNDEF_PRICE: Final = 2**63 - 1
_UNDEF_SIZE: Final = 2**32 - 1
_A, _B, _C, _F, _M, _N, _R, _T = (ord(c) for c in "ABCFMNRT")
_SLOTS: Final = 1 << 10
#: An odd number whose product spreads ids over the table.
_SPREAD: Final = 0x9E3779B97F4A7C15 - 2**64

Numbers = npt.NDArray[Any]


class Orders(NamedTuple):
    """Live orders by id and symbol: a table with open addressing, a power of two long."""

    state: Byte
    order: Int
    symbol: Int
    side: Int
    key: Int
    """Price of a bid, negative price of an ask, as the feed has it."""
    size: Int


class Levels(NamedTuple):
    """Levels of each symbol and side, worst first, in one pool."""

    key: Int
    size: Int
    begin: Int
    """Shape (n_symbols, 2): where a side's part of the pool begins."""
    room: Int
    n: Int


@uncounted_kernel
def _slot(orders: Orders, order: int, symbol: int) -> int:
    """Return the place of an order, or of the first empty slot where it is not there."""
    mask = orders.state.shape[0] - 1
    mixed = (order ^ (symbol << 40)) * _SPREAD
    at = (mixed ^ (mixed >> 29)) & mask
    while orders.state[at] != _EMPTY:
        if orders.state[at] == _LIVE and orders.order[at] == order and orders.symbol[at] == symbol:
            break
        at = (at + 1) & mask
    return int(at)


@uncounted_kernel
def _move(old: Orders, new: Orders) -> int:
    """Put the live orders into a new table; return how many they are."""
    n = 0
    for i in range(old.state.shape[0]):
        if old.state[i] == _LIVE:
            at = _slot(new, old.order[i], old.symbol[i])
            new.state[at] = _LIVE
            new.order[at] = old.order[i]
            new.symbol[at] = old.symbol[i]
            new.side[at] = old.side[i]
            new.key[at] = old.key[i]
            new.size[at] = old.size[i]
            n += 1
    return n


@uncounted_kernel
def _put(orders: Orders, used: Int, symbol: int, order: Int, side: Int, key: Int, size: Int) -> None:
    """Add orders that are not there."""
    for i in range(order.shape[0]):
        at = _slot(orders, order[i], symbol)
        used[0] += 1
        orders.state[at] = _LIVE
        orders.order[at] = order[i]
        orders.symbol[at] = symbol
        orders.side[at] = side[i]
        orders.key[at] = key[i]
        orders.size[at] = size[i]


@uncounted_kernel
def _drop_orders(orders: Orders, symbol: int, side: int) -> None:
    """Remove a symbol's orders; `side` -1: of both sides."""
    for i in range(orders.state.shape[0]):
        if orders.state[i] == _LIVE and orders.symbol[i] == symbol and side in (-1, orders.side[i]):
            orders.state[i] = _DEAD


@uncounted_kernel
def _add_size(levels: Levels, symbol: int, side: int, key: int, size: int) -> None:
    begin = levels.begin[symbol, side]
    end = begin + levels.room[symbol, side]
    keys, sizes = levels.key[begin:end], levels.size[begin:end]
    n = levels.n[symbol, side]
    at = place(keys, n, key)
    before = sizes[at] if at < n and keys[at] == key else 0
    levels.n[symbol, side] = set_level(keys, sizes, n, key, before + size)


@uncounted_kernel
def _clear(orders: Orders, levels: Levels, symbol: int) -> None:
    if levels.n[symbol, 0] or levels.n[symbol, 1]:
        _drop_orders(orders, symbol, -1)
    levels.n[symbol, 0] = 0
    levels.n[symbol, 1] = 0


@uncounted_kernel
def _write_book(levels: Levels, symbol: int, depth: int, row: int, out: RowColumns) -> None:
    for side in range(2):
        n = min(depth, levels.n[symbol, side])
        last = levels.begin[symbol, side] + levels.n[symbol, side] - 1
        for i in range(depth):
            px, sz = np.nan, np.nan
            if i < n:
                key = levels.key[last - i]
                px = price(key if side == 0 else -key)
                sz = float(levels.size[last - i])
            if side == 0:
                out.bid_px[row, i] = px
                out.bid_sz[row, i] = sz
            else:
                out.ask_px[row, i] = px
                out.ask_sz[row, i] = sz
        if side == 0:
            out.n_bid[row] = n
        else:
            out.n_ask[row] = n


@uncounted_kernel
def _change(
    orders: Orders, levels: Levels, used: Int, symbol: int, action: int, side: int, order: int, raw: int, size: int
) -> bool:
    """Apply an order's record; return False where it does not fit the book."""
    at = _slot(orders, order, symbol)
    is_there = orders.state[at] == _LIVE
    if action == _C:
        if not is_there or orders.size[at] < size:
            return False
        _add_size(levels, symbol, orders.side[at], orders.key[at], -size)
        orders.size[at] -= size
        if orders.size[at] == 0:
            orders.state[at] = _DEAD
        return True
    if is_there:
        if action == _A:
            return False
        _add_size(levels, symbol, orders.side[at], orders.key[at], -orders.size[at])
    else:
        used[0] += 1
    key = raw if side == 0 else -raw
    orders.state[at] = _LIVE if size else _DEAD
    orders.order[at] = order
    orders.symbol[at] = symbol
    orders.side[at] = side
    orders.key[at] = key
    orders.size[at] = size
    if size:
        _add_size(levels, symbol, side, key, size)
    return True


@uncounted_kernel
def build(  # noqa: PLR0912, PLR0915  # one action after another
    words: Int,
    start: Int,
    code: Int,
    layout: Byte,
    depth: int,
    orders: Orders,
    levels: Levels,
    used: Int,
    status: Byte,
    changed: Byte,
    owner: Int,
    fault: Byte,
    out: RowColumns,
    has_instruments: bool,  # noqa: FBT001  (numba has no keyword-only arguments)
) -> int:
    """Follow the MBO records among `start`; return how many rows were written.

    Parameters
    ----------
    words, start : ndarray of int64
        Records, and the word at which each begins.
    code : ndarray of int64, shape (n,)
        Symbol of each record.
    layout : ndarray of uint8, shape (256,)
        By record type.
    used : ndarray of int64, shape (1,)
        Slots of `orders` that are not empty.
    status, changed : ndarray of uint8, shape (n_symbols,)
        Whether the book stands, and has changed since its last row.
    owner : ndarray of int64, shape (n_symbols, 3)
        Publisher and instrument whose orders a book is of, 0 before the first, and the time of their last one, ns. A
        book that has ended may begin with another publisher's clear; one of another instrument begins with a clear on a
        later day (UTC), or a minute after the last order.
    fault : ndarray of uint8, shape (n,)
        Filled where a record is refused; those that are already are skipped.
    out : RowColumns
        Room for two rows per record.
    has_instruments : bool
        Whether a book has one instrument id.
    """
    row = 0
    for i in range(start.shape[0]):
        at = start[i]
        if layout[(words[at] >> 8) & 0xFF] != MBO:
            continue
        symbol = code[i]
        if fault[i] == LOST and status[symbol] in (_STANDS, _LOST):
            status[symbol] = _LOST
        elif fault[i] == SHORT or fault[i] == TIME or fault[i] == LOST:
            # Whose it was is not known.
            for other in range(status.shape[0]):
                status[other] = _LOST if status[other] == _STANDS else status[other]
        if fault[i] != GOOD:
            continue
        what = words[at + 4]
        who = (words[at] >> 16) & 0xFFFF
        ts_event, number = words[at + 1], (words[at] >> 32) & 0xFFFFFFFF
        is_first = (what >> 48) & 0xFF == _R
        if who != 0 and owner[symbol, 0] != who:
            if owner[symbol, 0] != 0 and not (is_first and status[symbol] in (_NONE, _ENDED)):
                fault[i] = PUBLISHER
                continue
            if owner[symbol, 0] != 0:
                owner[symbol, 1] = number
            owner[symbol, 0] = who
        if has_instruments and number != 0 and owner[symbol, 1] != number:
            last = owner[symbol, 2]
            is_over = ts_event // DAY_NS > last // DAY_NS or ts_event >= last + MINUTE_NS
            if owner[symbol, 1] != 0 and not (is_first and is_over):
                fault[i] = INSTRUMENT
                continue
            owner[symbol, 1] = number
        owner[symbol, 2] = max(owner[symbol, 2], ts_event)
        size, flags = what & 0xFFFFFFFF, (what >> 32) & 0xFF
        action, letter = (what >> 48) & 0xFF, (what >> 56) & 0xFF
        raw = words[at + 3]
        side = 0 if letter == _B else 1
        if action not in (_A, _C, _M, _R, _T, _F, _N):
            fault[i] = ACTION
        elif letter not in (_A, _B, _N) or (letter == _N and action in (_A, _M)):
            fault[i] = SIDE
        elif action in (_A, _M, _C, _T) and size == _UNDEF_SIZE:
            fault[i] = NO_SIZE
        elif raw == _UNDEF_PRICE and (action == _T or (action in (_A, _M) and not flags & _F_TOB)):
            fault[i] = NO_PRICE
        is_gap = (fault[i] != GOOD and status[symbol] == _STANDS and action != _T) or status[symbol] == _LOST
        first_row = row
        if fault[i] == GOOD and action == _T:
            out.kind[row] = TRADE
            out.px[row] = price(raw)
            out.qty[row] = size
            out.aggressor[row] = 1 if letter == _B else (-1 if letter == _A else 0)
            out.n_bid[row] = 0
            out.n_ask[row] = 0
            out.bid_px[row, :] = np.nan
            out.bid_sz[row, :] = np.nan
            out.ask_px[row, :] = np.nan
            out.ask_sz[row, :] = np.nan
            row += 1
        elif fault[i] == GOOD and action == _R:
            _clear(orders, levels, symbol)
            status[symbol] = _STANDS
            changed[symbol] = 1
            is_gap = False
        elif fault[i] == GOOD and action in (_A, _M, _C):
            if status[symbol] != _STANDS:
                # One refusal says so; the others are skipped.
                if status[symbol] == _NONE:
                    status[symbol] = _ENDED
                    fault[i] = NO_START
            elif flags & _F_TOB:
                _drop_orders(orders, symbol, side)
                levels.n[symbol, side] = 0
                if raw != _UNDEF_PRICE and size:
                    _add_size(levels, symbol, side, raw if side == 0 else -raw, size)
                changed[symbol] = 1
            elif _change(orders, levels, used, symbol, action, side, words[at + 2], raw, size):
                changed[symbol] = 1
            else:
                is_gap = True
        if flags & _F_BAD and status[symbol] == _STANDS:
            is_gap = True
        if is_gap:
            _clear(orders, levels, symbol)
            status[symbol] = _ENDED
            fault[i] = GAP if fault[i] == GOOD else fault[i]
            changed[symbol] = 1
        is_clear = action == _R and not flags & _F_SNAPSHOT
        if changed[symbol] and (flags & _F_LAST or is_gap or is_clear):
            changed[symbol] = 0
            out.kind[row] = BOOK
            out.px[row] = np.nan
            out.qty[row] = np.nan
            out.aggressor[row] = 0
            _write_book(levels, symbol, depth, row, out)
            row += 1
        for r in range(first_row, row):
            out.record[r] = i
            out.symbol[r] = symbol
            out.flags[r] = 0
            out.publisher[r] = who
            out.instrument[r] = number if has_instruments else 0
            out.ts_recv[r] = max(0, words[at + 5])
            out.ts_event[r] = words[at + 5] if flags & _F_SNAPSHOT and words[at + 5] > 0 else ts_event
    return row


class OrderBooks:
    """The books of one file's orders.

    Parameters
    ----------
    depth : int
        Levels of a side that are handed on, at most.
    has_instruments : bool
        Whether a book has one instrument id.
    """

    def __init__(self, depth: int, *, has_instruments: bool) -> None:
        self._depth = depth
        self._has_instruments = has_instruments
        self._orders = _table(_SLOTS)
        self._used = np.zeros(1, np.int64)
        self._status = np.zeros(0, np.uint8)
        self._changed = np.zeros(0, np.uint8)
        self._owner = np.zeros((0, 3), np.int64)
        self._levels = Levels(
            np.empty(0, np.int64),
            np.empty(0, np.int64),
            np.zeros((0, 2), np.int64),
            np.zeros((0, 2), np.int64),
            np.zeros((0, 2), np.int64),
        )

    def read(self, words: Int, start: Int, code: Int, layout: Byte, names: Sequence[str], fault: Byte) -> Rows:
        """Follow the MBO records of a run; `fault` is filled."""
        n = len(start)
        self._make_room(code, n, len(names))
        out = RowColumns.room(2 * n, self._depth)
        rows = build(
            words,
            start,
            code,
            layout,
            self._depth,
            self._orders,
            self._levels,
            self._used,
            self._status,
            self._changed,
            self._owner,
            fault,
            out,
            self._has_instruments,
        )
        return out.rows(names, rows).in_order()

    def lose(self) -> None:
        """Note that records are missing before the next one."""
        self._status[self._status == _STANDS] = _LOST

    def save(self, symbol: int) -> bytes | None:
        """Return a symbol's book, in one form; None where nothing is known of it."""
        if symbol >= len(self._status) or self._status[symbol] == _NONE:
            return None
        orders, levels = self._orders, self._levels
        mine = np.flatnonzero((orders.state == _LIVE) & (orders.symbol == symbol))
        mine = mine[np.argsort(orders.order[mine])]
        parts = [orders.order[mine], orders.side[mine], orders.key[mine], orders.size[mine]]
        for side in range(2):
            begin, n = int(levels.begin[symbol, side]), int(levels.n[symbol, side])
            parts += [levels.key[begin : begin + n], levels.size[begin : begin + n]]
        counts = [len(mine), *levels.n[symbol].tolist()]
        head = np.array([self._status[symbol], self._changed[symbol], *self._owner[symbol], *counts], np.int64)
        return np.concatenate([head, *parts]).astype("<i8").tobytes()

    def load(self, symbol: int, saved: bytes) -> None:
        """Continue with a saved book of a symbol that has none yet."""
        words = np.frombuffer(saved, "<i8").astype(np.int64)
        status, changed, *owner = words[:5].tolist()
        n, *depths = words[5:8].tolist()
        self._make_room(np.full(n + sum(depths), symbol, np.int64), n, symbol + 1)
        self._status[symbol], self._changed[symbol], self._owner[symbol] = status, changed, owner
        at = 8 + 4 * n
        order, side, key, size = words[8:at].reshape(4, n)
        _put(self._orders, self._used, symbol, order, side, key, size)
        for of in range(2):
            begin, depth = int(self._levels.begin[symbol, of]), depths[of]
            self._levels.key[begin : begin + depth] = words[at : at + depth]
            self._levels.size[begin : begin + depth] = words[at + depth : at + 2 * depth]
            self._levels.n[symbol, of] = depth
            at += 2 * depth

    def _make_room(self, code: Int, n: int, n_symbols: int) -> None:
        """Make room for a run in which every record may add an order and a level."""
        new = n_symbols - len(self._status)
        if new > 0:
            self._status = np.concatenate([self._status, np.zeros(new, np.uint8)])
            self._changed = np.concatenate([self._changed, np.zeros(new, np.uint8)])
            self._owner = np.concatenate([self._owner, np.zeros((new, 3), np.int64)])
            more = np.zeros((new, 2), np.int64)
            key, size, begin, room, count = self._levels
            self._levels = Levels(
                key, size, np.vstack([begin, more]), np.vstack([room, more]), np.vstack([count, more])
            )
        if 2 * (int(self._used[0]) + n) > len(self._orders.state):
            n_live = int(np.count_nonzero(self._orders.state == _LIVE))
            table = _table(1 << (4 * (n_live + n) - 1).bit_length())
            self._used[0] = _move(self._orders, table)
            self._orders = table
        key, size, begin, room, count = self._levels
        wanted = count + np.bincount(code, minlength=len(self._status))[: len(self._status), None]
        if (wanted > room).any():
            # Each side that is short gets twice what it wants; the pool is laid out again.
            roomy = np.where(wanted > room, 2 * wanted + 8, room)
            ends = np.cumsum(roomy.ravel())
            fresh = (ends - roomy.ravel()).reshape(roomy.shape)
            pool = Levels(np.empty(int(ends[-1]), np.int64), np.empty(int(ends[-1]), np.int64), fresh, roomy, count)
            for symbol, side in zip(*np.nonzero(count), strict=True):
                a, b, k = begin[symbol, side], fresh[symbol, side], count[symbol, side]
                pool.key[b : b + k] = key[a : a + k]
                pool.size[b : b + k] = size[a : a + k]
            self._levels = pool


def _table(n_slots: int) -> Orders:
    return Orders(np.zeros(n_slots, np.uint8), *(np.zeros(n_slots, np.int64) for _ in range(5)))


class LiveOrders:
    """The books of one partition's orders, by symbol.

    Parameters
    ----------
    depth : int
        Levels of a side that are handed on, at most.
    has_instruments : bool
        Whether a book has one instrument id.
    """

    def __init__(self, depth: int, *, has_instruments: bool) -> None:
        self._books = OrderBooks(depth, has_instruments=has_instruments)
        self._codes: dict[str, int] = {}
        self._dirty: set[str] = set()

    def read(self, words: Int, start: Int, code: Int, names: Sequence[str], layout: Byte, fault: Byte) -> Rows:
        """Follow the MBO records among `start`; `fault` is filled.

        Parameters
        ----------
        code : ndarray of int64, shape (n,)
            Symbol of each record, among `names`; -1 where it is not known.
        """
        of_orders = layout[(words[start] >> 8) & 0xFF] == MBO
        own = np.zeros(len(names) + 1, np.int64)
        for at in np.unique(code[of_orders & (code >= 0)]).tolist():
            if names[at] not in self._codes and (fault[code == at] == LOST).all():
                continue
            own[at] = self._codes.setdefault(names[at], len(self._codes))
            self._dirty.add(names[at])
        is_strange = np.array([*(name not in self._codes for name in names), True])[code]
        fault[(fault == LOST) & is_strange] = SHORT
        if np.isin(fault[of_orders], (SHORT, TIME, LOST)).any():
            self._dirty.update(self._codes)
        return self._books.read(words, start, own[code], layout, list(self._codes) or [""], fault)

    def lose(self) -> None:
        """Note that records are missing before the next one."""
        self._books.lose()
        self._dirty.update(self._codes)

    def saved(self) -> dict[str, bytes | None]:
        """Return the books that have changed since the last call, by symbol; None where nothing is known of one."""
        dirty, self._dirty = sorted(self._dirty), set()
        return {name: self._books.save(self._codes[name]) for name in dirty}

    def load(self, saved: Mapping[str, bytes]) -> None:
        """Continue with saved books."""
        for name, value in saved.items():
            self._books.load(self._codes.setdefault(name, len(self._codes)), value)


def of_messages(rows: Rows, message: Int, refused: npt.NDArray[np.bool_]) -> Rows:
    """Return the rows of single orders as rows of their messages.

    Prints of a message that is refused are left out, since it may be repaired and sent again. Books are not: they are
    as they were built.

    Parameters
    ----------
    message : ndarray of int64, shape (n,)
        Message of each record.
    refused : ndarray of bool, shape (n_messages,)
    """
    of = message[rows.record]
    keep = ~(refused[of] & (rows.batch.kind == TRADE))
    return Rows(by_first_appearance(rows.batch.take(keep)), of[keep], rows.ts_recv[keep])
