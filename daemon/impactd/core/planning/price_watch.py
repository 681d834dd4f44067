"""When an order with a limit or a would price is planned again because of the price.

Between the closes of minutes the market may touch such a price, leave it, or move so far away that later intervals can
hardly be expected to trade.  Each of these forces a plan.  Prices are looked at on a grid of event time,
`PlanSettings.price_check_ns`, before the first tick at or after each of its times, so that an order is planned at most
so often.  Touching counts at once.  A price that was touched counts as left, and the far zone as entered and left, only
at some distance, so that an order on an edge is left alone; a plan that is made meanwhile sees the price as it is.

Nothing is looked at while no ticks come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from impactd.core.base.settings import CoreSettings
from impactd.core.base.stateful import Changes
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.books.store import FOREVER
from impactd.core.market.markets import Markets
from impactd.core.orders.ledger import Ledger
from impactd.core.orders.order import Order

#: Distances from the price, in deviations of the mid over an interval, at which the far zone is entered and left.
FAR: Final = 4.0
NEAR: Final = 3.0

#: Distance beyond a touched price, in the same deviations, at which it counts as left.
LEFT: Final = 0.25

_KEY: Final = "prices"


class PriceWatch:
    """Which orders a price moves, and when it is next looked at.

    Attributes
    ----------
    next : int
        ns; `FOREVER` while nothing is due.
    """

    def __init__(self, settings: CoreSettings, orders: Ledger, books: MinuteAggregator, markets: Markets) -> None:
        self._every = settings.plans.price_check_ns
        self._orders = orders
        self._books = books
        self._markets = markets
        self._changes = Changes()
        self.next = FOREVER

    def wake(self, time: int) -> None:
        """Note a tick at event time `time`, ns."""
        if self.next == FOREVER and self._orders.priced:
            self.next = (time // self._every + 1) * self._every
            self._mark()

    def planned(self, order: Order) -> None:
        """Note the zones that an order has been planned in."""
        if order.terms.has_price:
            order.zones = self._zones(order, order.clock, left=0.0)

    def take(self) -> tuple[int, list[Order]]:
        """Return the time that is due, ns, and the orders whose zones have changed since they were planned, by id."""
        at, self.next = self.next, FOREVER
        self._mark()
        moved = []
        for _, order in sorted(self._orders.priced.items()):
            if not order.halted and order.terms.start <= at < order.terms.trades_until:
                zones = self._zones(order, at, left=LEFT)
                if zones and zones != order.zones:
                    moved.append(order)
        return at, moved

    def _zones(self, order: Order, at: int, *, left: float) -> str:
        """Return where the best price that an order can take lies, about its limit and its would price.

        A price that it was planned at is `left` so many deviations beyond it.
        """
        book = self._books.prevailing(order.symbol, at)
        if book is None:
            return order.zones
        sign = order.side.sign
        touch = float((book.ask_px if sign > 0 else book.bid_px)[0])
        zones, deviation = "", self._markets.of(order.symbol).sigma
        limit = order.limit(book.mid)
        if limit is not None:
            distance = sign * (touch - limit)
            edge = (NEAR if "f" in order.zones else FAR) * deviation
            within = distance <= (left * deviation if "w" in order.zones else 0.0)
            zones += "w" if within else "f" if distance > edge > 0.0 else "b"
        if order.terms.would_px is not None:
            distance = sign * (touch - order.terms.would_px)
            zones += "t" if distance <= (left * deviation if "t" in order.zones else 0.0) else "a"
        return zones

    # --- state ------------------------------------------------------------

    def _mark(self) -> None:
        if self.next == FOREVER:
            self._changes.delete(_KEY)
        else:
            self._changes.mark(_KEY, lambda: orjson.dumps(self.next))

    def changes(self) -> dict[str, bytes | None]:
        """Return the key, if it has changed since the last call."""
        return self._changes.take()

    def dump(self) -> dict[str, bytes]:
        """Return the key with its value; none while nothing is due."""
        return {} if self.next == FOREVER else {_KEY: orjson.dumps(self.next)}

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore when prices are next looked at."""
        self.next = orjson.loads(items[_KEY]) if _KEY in items else FOREVER
        self._changes.clear()
