"""The orders of one partition and their state keys.

An order is written under ``order/ID``, its executions in chunks under
``execs/ID/N``: a fill rewrites its order and one chunk, however many fills
came before.  What was assumed is in chunks of time under ``assumed/ID/N``.
"""

from __future__ import annotations

import functools
import itertools
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from impactd.core.base.quantity import QUANTA
from impactd.core.base.stateful import Changes
from impactd.core.books.grid import PLAN_REACH
from impactd.core.books.store import FOREVER
from impactd.core.orders.codec import (
    EXECUTIONS_A_KEY,
    assumed_chunk,
    dump_assumed,
    dump_executions,
    dump_order,
    load_assumed,
    load_executions,
    load_order,
)
from impactd.core.orders.order import Order


def demanded(order: Order, interval_ns: int) -> tuple[float, float]:
    """Return the smallest and largest quantity that an order trades in an interval, shares, by its own plan."""
    rate = order.order_qty / QUANTA / max((order.terms.end - order.terms.start) / interval_ns, 1.0)
    return rate, max(rate, int(order.schedule.qty.max(initial=0)) / QUANTA / PLAN_REACH)


class Ledger:
    """Orders by id and by symbol; iteration is always by cl_ord_id."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        #: Every id of every chain to the first one of it.
        self._ids: dict[str, str] = {}
        #: First ids by symbol, ascending: of all orders, and of the active ones.
        self._by_symbol: dict[str, list[str]] = {}
        self._active: dict[str, list[str]] = {}
        self._is_active: set[str] = set()
        #: Active orders whose plans a price moves, by first id.
        self.priced: dict[str, Order] = {}
        self._changes = Changes()

    def __len__(self) -> int:
        return len(self._orders)

    def __iter__(self) -> Iterator[Order]:
        return (self._orders[cl_ord_id] for cl_ord_id in sorted(self._orders))

    def get(self, cl_ord_id: str) -> Order | None:
        """Return the order that has this id in its chain, or None."""
        first = self._ids.get(cl_ord_id)
        return None if first is None else self._orders[first]

    def of(self, symbol: str) -> list[Order]:
        """Return the symbol's orders, ended ones included."""
        return [self._orders[cl_ord_id] for cl_ord_id in self._by_symbol.get(symbol, ())]

    def active_of(self, symbol: str) -> list[Order]:
        """Return the symbol's active orders."""
        return [self._orders[cl_ord_id] for cl_ord_id in self._active.get(symbol, ())]

    @property
    def active_ids(self) -> AbstractSet[str]:
        """First ids of the active orders."""
        return self._is_active

    def n_active(self, symbol: str) -> int:
        """Return how many active orders the symbol has."""
        return len(self._active.get(symbol, ()))

    def all_active(self) -> list[Order]:
        """Return all active orders."""
        return [self._orders[cl_ord_id] for cl_ord_id in sorted(itertools.chain(*self._active.values()))]

    def add(self, order: Order) -> None:
        """Add a new order."""
        self._put(order)
        self.mark(order)

    def add_id(self, order: Order, cl_ord_id: str) -> None:
        """Add an id to the chain of an order."""
        order.later_ids.append(cl_ord_id)
        self._ids[cl_ord_id] = order.cl_ord_id
        self.mark(order)

    def forget(self, order: Order) -> None:
        """Drop an order and delete its keys."""
        del self._orders[order.cl_ord_id]
        for cl_ord_id in order.ids:
            del self._ids[cl_ord_id]
        _take_out(self._by_symbol, order)
        _take_out(self._active, order)
        self._is_active.discard(order.cl_ord_id)
        self.priced.pop(order.cl_ord_id, None)
        self._changes.delete(f"order/{order.cl_ord_id}")
        for chunk in range(_n_chunks(order)):
            self._changes.delete(f"execs/{order.cl_ord_id}/{chunk}")
        for chunk in _assumed_chunks([*order.assumed, *order.reassumed]):
            self._changes.delete(f"assumed/{order.cl_ord_id}/{chunk}")

    def mark(self, order: Order) -> None:
        """Note that an order has changed."""
        self._index(order)
        self._changes.mark("order/" + order.cl_ord_id, functools.partial(dump_order, order))
        if order.reassumed:
            for chunk in _assumed_chunks(order.reassumed):
                key = f"assumed/{order.cl_ord_id}/{chunk}"
                # From the newest on: it is in the chunk that each minute's close writes.
                if any(assumed_chunk(start) == chunk for start in reversed(order.assumed)):
                    self._changes.mark(key, functools.partial(dump_assumed, order, chunk))
                else:
                    self._changes.delete(key)
            order.reassumed.clear()

    def mark_execution(self, order: Order, exec_id: str) -> None:
        """Note that an execution of an order has changed."""
        chunk = order.executions[exec_id].n // EXECUTIONS_A_KEY
        self._changes.mark(f"execs/{order.cl_ord_id}/{chunk}", lambda: dump_executions(order, chunk))

    def begins(self, symbol: str) -> int:
        """Return the earliest start of the symbol's active orders, ns; `FOREVER` without any."""
        return min((order.terms.start for order in self.active_of(symbol)), default=FOREVER)

    def demand_range(self, symbol: str, interval_ns: int) -> tuple[float, float] | None:
        """Return the smallest and largest quantity that active orders trade in an interval, shares.

        The smallest is an order's whole quantity over its whole window, the
        largest also the most that its schedule trades in one interval.  Leaves
        are not used: sizes that shrink with them would hide the slope that
        the next plan needs.
        """
        ranges = [demanded(order, interval_ns) for order in self.active_of(symbol)]
        return (min(least for least, _ in ranges), max(most for _, most in ranges)) if ranges else None

    def lot(self, symbol: str) -> int | None:
        """Return the smallest lot of the symbol's active orders, quanta; None without any."""
        return min((order.terms.lot_size for order in self.active_of(symbol)), default=None)

    def active(self) -> tuple[int, int]:
        """Return how many orders are active, and how many of them are halted."""
        halted = [order.halted for order in self.all_active()]
        return len(halted), sum(halted)

    def changes(self) -> dict[str, bytes | None]:
        """Return the keys that have changed since the last call."""
        return self._changes.take()

    def dump(self) -> dict[str, bytes]:
        """Return every state key with its value."""
        items: dict[str, bytes] = {}
        for order in self:
            items[f"order/{order.cl_ord_id}"] = dump_order(order)
            for chunk in range(_n_chunks(order)):
                items[f"execs/{order.cl_ord_id}/{chunk}"] = dump_executions(order, chunk)
            for chunk in _assumed_chunks(order.assumed):
                items[f"assumed/{order.cl_ord_id}/{chunk}"] = dump_assumed(order, chunk)
        return items

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore the orders in a whole state, with their executions."""
        for key, value in items.items():
            kind, _, name = key.partition("/")
            if kind == "order":
                order, n_executions = load_order(value)
                for chunk in range(-(-n_executions // EXECUTIONS_A_KEY)):
                    first = chunk * EXECUTIONS_A_KEY
                    order.executions.update(load_executions(items[f"execs/{name}/{chunk}"], first))
                self._put(order)
        for key, value in items.items():
            kind, _, name = key.partition("/")
            if kind == "assumed":
                self._orders[name.rpartition("/")[0]].assumed |= load_assumed(value)

    def _put(self, order: Order) -> None:
        self._orders[order.cl_ord_id] = order
        self._ids |= dict.fromkeys(order.ids, order.cl_ord_id)
        _put_in(self._by_symbol, order)
        self._index(order)

    def _index(self, order: Order) -> None:
        """Put an order into the indexes of active orders, or take it out."""
        cl_ord_id, active = order.cl_ord_id, order.active
        if active is not (cl_ord_id in self._is_active):
            (self._is_active.add if active else self._is_active.discard)(cl_ord_id)
            (_put_in if active else _take_out)(self._active, order)
        if active and order.terms.has_price:
            self.priced[cl_ord_id] = order
        else:
            self.priced.pop(cl_ord_id, None)


def _put_in(index: dict[str, list[str]], order: Order) -> None:
    """Add an order to an index by symbol, if it is not there."""
    ids = index.setdefault(order.symbol, [])
    at = bisect_left(ids, order.cl_ord_id)
    if at == len(ids) or ids[at] != order.cl_ord_id:
        ids.insert(at, order.cl_ord_id)


def _take_out(index: dict[str, list[str]], order: Order) -> None:
    """Remove an order from an index by symbol, if it is there."""
    ids = index.get(order.symbol, [])
    at = bisect_left(ids, order.cl_ord_id)
    if at < len(ids) and ids[at] == order.cl_ord_id:
        del ids[at]
        if not ids:
            del index[order.symbol]


def _assumed_chunks(starts: Iterable[int]) -> list[int]:
    """Return the chunks of intervals with these starts, ascending."""
    return sorted({assumed_chunk(start) for start in starts})


def _n_chunks(order: Order) -> int:
    return -(-len(order.executions) // EXECUTIONS_A_KEY)
