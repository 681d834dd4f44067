"""The orders of one partition and their state keys.

An order is written under ``order/ID``, its executions in chunks under
``execs/ID/N``: a fill rewrites its order and one chunk, however many fills
came before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from impactd.core.base.quantity import QUANTA
from impactd.core.base.stateful import Changes
from impactd.core.books.clock import FOREVER
from impactd.core.books.grid import PLAN_REACH
from impactd.core.inputs.events import Bust, Correct, ExecutionEvent
from impactd.core.orders.codec import (
    EXECUTIONS_A_KEY,
    dump_executions,
    dump_order,
    load_executions,
    load_order,
)
from impactd.core.orders.order import Order


class Ledger:
    """Orders by cl_ord_id and by symbol; iteration is always by cl_ord_id."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._by_symbol: dict[str, set[str]] = {}
        self._changes = Changes()

    def __len__(self) -> int:
        return len(self._orders)

    def __iter__(self) -> Iterator[Order]:
        return iter(self._sorted(self._orders))

    def get(self, cl_ord_id: str) -> Order | None:
        """Return the order of that id, or None."""
        return self._orders.get(cl_ord_id)

    def of(self, symbol: str) -> list[Order]:
        """Return the symbol's orders, ended ones included."""
        return self._sorted(self._by_symbol.get(symbol, ()))

    def add(self, order: Order) -> None:
        """Add a new order."""
        self._put(order)
        self.mark(order)

    def forget(self, order: Order) -> None:
        """Drop an order and delete its keys."""
        del self._orders[order.cl_ord_id]
        of_symbol = self._by_symbol[order.symbol]
        of_symbol.discard(order.cl_ord_id)
        if not of_symbol:
            del self._by_symbol[order.symbol]
        self._changes.delete(f"order/{order.cl_ord_id}")
        for chunk in range(_n_chunks(order)):
            self._changes.delete(f"execs/{order.cl_ord_id}/{chunk}")

    def mark(self, order: Order) -> None:
        """Note that an order has changed."""
        self._changes.mark(f"order/{order.cl_ord_id}", lambda: dump_order(order))

    def mark_execution(self, order: Order, event: ExecutionEvent) -> None:
        """Note that `event` has changed an order's executions."""
        chunks = {_n_chunks(order) - 1}
        if isinstance(event, Correct | Bust):
            chunks.add(list(order.executions).index(event.exec_ref_id) // EXECUTIONS_A_KEY)
        for chunk in sorted(chunks):
            self._mark_chunk(order, chunk)

    def _mark_chunk(self, order: Order, chunk: int) -> None:
        self._changes.mark(f"execs/{order.cl_ord_id}/{chunk}", lambda: dump_executions(order, chunk))

    def begins(self, symbol: str) -> int:
        """Return the earliest start of the symbol's active orders, ns; `FOREVER` without any."""
        return min((order.terms.start for order in self.of(symbol) if order.active), default=FOREVER)

    def demand_range(self, symbol: str, interval_ns: int) -> tuple[float, float] | None:
        """Return the smallest and largest quantity that active orders trade in an interval, shares.

        The smallest is an order's whole quantity over its whole window, the
        largest also the most that its schedule trades in one interval.  Leaves
        are not used: sizes that shrink with them would hide the slope that
        the next plan needs.
        """
        least, most = [], []
        for order in self.of(symbol):
            if order.active:
                rate = order.order_qty / QUANTA / max((order.terms.end - order.terms.start) / interval_ns, 1.0)
                least.append(rate)
                most.append(max(rate, max(order.schedule.qty, default=0) / QUANTA / PLAN_REACH))
        return (min(least), max(most)) if least else None

    def lot(self, symbol: str) -> int | None:
        """Return the smallest lot of the symbol's active orders, quanta; None without any."""
        return min((order.terms.lot_size for order in self.of(symbol) if order.active), default=None)

    def active(self) -> tuple[int, int]:
        """Return how many orders are active, and how many of them are halted."""
        halted = [order.halted for order in self if order.active]
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
        return items

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore the orders in a whole state, with their executions."""
        for key, value in items.items():
            kind, _, name = key.partition("/")
            if kind == "order":
                order, n_executions = load_order(value)
                for chunk in range(-(-n_executions // EXECUTIONS_A_KEY)):
                    order.executions.update(load_executions(items[f"execs/{name}/{chunk}"]))
                self._put(order)

    def _put(self, order: Order) -> None:
        self._orders[order.cl_ord_id] = order
        self._by_symbol.setdefault(order.symbol, set()).add(order.cl_ord_id)

    def _sorted(self, ids: Iterable[str]) -> list[Order]:
        return [self._orders[cl_ord_id] for cl_ord_id in sorted(ids)]


def _n_chunks(order: Order) -> int:
    return -(-len(order.executions) // EXECUTIONS_A_KEY)
