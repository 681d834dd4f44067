"""When an order in its last interval is planned again by the volume that is known.

In the last interval in which an order may trade, a share of volume counts only
volume that has traded (`impactd.core.planning.caps`).  That grows while the interval
lasts, so the order is planned again at each of `PARTS` equal parts of it: before the
first tick at or after that time, or before the minute closes if no tick comes.

The times follow from the orders, and are found from them after a restart.
"""

from __future__ import annotations

from typing import Final

from impactd.core.books.store import FOREVER
from impactd.core.orders.ledger import Ledger
from impactd.core.orders.order import Order

#: Parts of the last interval: ten seconds of a minute.
PARTS: Final = 6


class Pace:
    """When which orders are planned by their volume.

    Attributes
    ----------
    next : int
        When the next ones are, ns; `FOREVER` without any.
    """

    def __init__(self, orders: Ledger, interval_ns: int) -> None:
        self._orders = orders
        self._interval = interval_ns
        self._due: dict[int, set[str]] = {}
        self.next = FOREVER

    def note(self, order: Order) -> None:
        """Note when an order is next due, once it has been planned."""
        time = self._of(order)
        if time is not None:
            self._due.setdefault(time, set()).add(order.cl_ord_id)
            self.next = min(self.next, time)

    def load(self) -> None:
        """Note all orders of a loaded state."""
        for order in self._orders:
            self.note(order)

    def take(self) -> tuple[int, list[Order]]:
        """Return the next time, ns, with the orders that are due then, by cl_ord_id; it is over with that."""
        time = self.next
        ids = self._due.pop(time, set())
        self.next = min(self._due, default=FOREVER)
        orders = (self._orders.get(cl_ord_id) for cl_ord_id in sorted(ids))
        return time, [order for order in orders if order is not None]

    def is_due(self, order: Order, time: int) -> bool:
        """Return whether `time` (ns) is the next at which an order is due: no event has planned it since."""
        return self._of(order) == time

    def holds(self, order: Order) -> bool:
        """Return whether an order's last interval is in progress, so that its clock decides when it is due."""
        return self._of(order) is not None

    def _of(self, order: Order) -> int | None:
        last = order.last_start
        terms = order.terms
        if (terms.most_rate is None and terms.least_rate is None) or not order.active or order.leaves_qty == 0:
            return None
        if not 0 < last <= order.clock:
            return None
        part = self._interval // PARTS
        time = last + ((order.clock - last) // part + 1) * part
        return time if time < min(order.terms.end, last + self._interval) else None
