"""Paper trading: plans are traded against the live books, and the fills reported, without a market.

A plan's quantity of an interval is taken at one moment of it, drawn uniformly by a
hash of the seed, the order and the interval.  At that moment the order walks the book
that prevails, up to its limit price; what those levels do not hold stays untraded, and
the next plan has it again.  Shares that were taken from a book are gone from it until the next book
comes.  So the average cost of an interval's quantity is that of its books, weighted by
the time for which each prevailed: the cost by which plans are judged
(`impactd.core.books.interval_cost`).

Fills that no plan has counted yet are taken off a plan's first intervals, so a plan
that crosses a fill on its way does not trade it twice; a restarted run reads what was
reported before it.  Fills of an order are numbered: one that an earlier run still had
in progress has the number of the next, and only one of the two counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from impactd.client.messages import Plan
from impactd.core.base.quantity import QUANTA, format_qty, parse_qty
from impactd.core.base.settings import SECOND_NS, BookSettings
from impactd.core.books.checks import USABLE, check_books
from impactd.core.inputs.ticks import BOOK, MID_EVENT, UNDECODABLE_BOOK, TickBatch

#: How the exec_id of every fill begins.
_PREFIX: Final = "paper-"


class Book(NamedTuple):
    """A usable book: levels as ``(price, quanta)``, best first."""

    ts_event: int
    bids: tuple[tuple[float, int], ...]
    asks: tuple[tuple[float, int], ...]

    @property
    def mid(self) -> float:
        """Middle of the best prices."""
        return 0.5 * (self.bids[0][0] + self.asks[0][0])


class PaperFill(NamedTuple):
    """A fill to report; `mid` is that of the book that was walked."""

    exec_id: str
    cl_ord_id: str
    symbol: str
    side: str
    qty: int
    px: float
    mid: float
    ts_event: int

    def record(self) -> dict[str, Any]:
        """Return the record for `impactd.executions`."""
        return {
            "type": "fill",
            "exec_id": self.exec_id,
            "cl_ord_id": self.cl_ord_id,
            "symbol": self.symbol,
            "last_qty": format_qty(self.qty),
            "last_px": self.px,
            "last_liquidity_ind": "taker",
            "ts_event": self.ts_event,
        }


class _Child(NamedTuple):
    """The quantity to trade at a moment, quanta."""

    moment: int
    qty: int


@dataclass(slots=True)
class _Working:
    name: str
    side: str
    version: int = 0
    #: Quanta reported so far, as far as this process and the plans know.
    sent: int = 0
    #: Fills reported so far.
    count: int = 0
    #: Limit price of the latest plan.
    limit: float | None = None
    #: Still to trade, the last moment first.
    children: list[_Child] = field(default_factory=list)


class PaperDesk:
    """Trades plans, in event time.

    Parameters
    ----------
    seed : int
        Of the moments.
    books : BookSettings
        Which books stand, and for how long.
    """

    def __init__(self, seed: int = 0, books: BookSettings | None = None) -> None:
        self._seed = seed
        settings = books or BookSettings()
        self._allow_locked = settings.allow_locked
        self._stands_ns = min(settings.max_silence_ns, settings.max_book_age_ns or settings.max_silence_ns)
        self._orders: dict[str, _Working] = {}
        #: Quanta of each exec_id that was reported before, by order.
        self._reported: dict[str, dict[str, int]] = {}
        self._of: dict[str, list[_Working]] = {}
        #: By symbol the book that prevails, and what has been taken from its sides, quanta.
        self._books: dict[str, tuple[Book, dict[str, int]]] = {}
        #: Up to which time `until` has traded, ns.
        self._clock = -1

    def reported(self, record: Mapping[str, Any]) -> None:
        """Take note of a fill that an earlier run reported, before the first plan."""
        name, exec_id = record.get("cl_ord_id"), record.get("exec_id")
        if isinstance(name, str) and isinstance(exec_id, str) and exec_id.startswith(_PREFIX):
            # The first of an exec_id is the one that counts.
            self._reported.setdefault(name, {}).setdefault(exec_id, parse_qty(record.get("last_qty"), "last_qty"))

    def plan(self, plan: Plan) -> None:
        """Take the next plan of an order; an older one than is known changes nothing."""
        name, symbol = plan["cl_ord_id"], plan["symbol"]
        order = self._orders.get(name)
        if order is None:
            order = self._orders[name] = _Working(name, plan["side"])
            reported = self._reported.pop(name, {})
            order.sent, order.count = sum(reported.values()), len(reported)
            self._of.setdefault(symbol, []).append(order)
        if plan["plan_version"] <= order.version:
            return
        order.version, order.limit = plan["plan_version"], plan.get("limit_px")
        cum = parse_qty(plan["cum_qty"], "cum_qty")
        order.sent = max(order.sent, cum)
        order.children.clear()
        if plan["status"] != "active":
            if plan["status"] != "halted":
                self._of[symbol].remove(order)
                del self._orders[name]
            return
        ahead = order.sent - cum
        interval_ns, last = plan["interval_s"] * SECOND_NS, plan["end"] or 0
        for start, quantity in zip(plan["start"], plan["qty"], strict=True):
            qty = parse_qty(quantity, "qty")
            crossed = min(ahead, qty)
            ahead -= crossed
            if qty > crossed:
                end = min((start // interval_ns + 1) * interval_ns, last)
                moment = start + int(self._drawn(name, end) * (end - start))
                order.children.append(_Child(moment, qty - crossed))
        order.children.reverse()

    def _drawn(self, name: str, end: int) -> float:
        """Return where in its interval an order trades, in [0, 1)."""
        drawn = hashlib.blake2b(f"{self._seed}|{name}|{end}".encode(), digest_size=7).digest()
        return int.from_bytes(drawn, "big") / 2.0**56

    def ticks(self, batch: TickBatch) -> list[PaperFill]:
        """Take ticks in the order of their arrival, and return what traded before the last of them."""
        return [fill for symbol, book in usable(batch, self._allow_locked) for fill in self.book(symbol, book)]

    def book(self, symbol: str, book: Book) -> list[PaperFill]:
        """Take the next book of a symbol, and return what traded at the one before; a late book changes nothing."""
        known = self._books.get(symbol)
        if known is None:
            fills = []
        elif book.ts_event < known[0].ts_event:
            return []
        else:
            fills = self._trade(symbol, *known, book.ts_event)
        self._books[symbol] = (book, {"buy": 0, "sell": 0})
        return fills

    def until(self, clock: int) -> list[PaperFill]:
        """Return what trades up to a time at the books that prevail, in the order of time.

        No fill is earlier than a time of an earlier call: a plan that comes after the moment of its interval
        trades as soon as it is there.
        """
        traded = [self._trade(symbol, *known, clock + 1) for symbol, known in self._books.items()]
        self._clock = max(self._clock, clock)
        return sorted((fill for fills in traded for fill in fills), key=lambda fill: fill.ts_event)

    def _trade(self, symbol: str, book: Book, taken: dict[str, int], before: int) -> list[PaperFill]:
        """Return the fills whose moments came before a time, at the book that prevailed."""
        fills = []
        for order in self._of.get(symbol, ()):
            while order.children:
                moment = max(order.children[-1].moment, book.ts_event, self._clock + 1)
                if moment >= before:
                    break
                child = order.children.pop()
                if moment - book.ts_event >= self._stands_ns:
                    continue
                levels = _within(book.asks if order.side == "buy" else book.bids, order)
                qty, px = _walk(levels, taken[order.side], child.qty)
                if qty > 0:
                    taken[order.side] += qty
                    order.sent += qty
                    order.count += 1
                    fills.append(
                        PaperFill(
                            f"{_PREFIX}{order.name}-{order.count}",
                            order.name,
                            symbol,
                            order.side,
                            qty,
                            px,
                            book.mid,
                            moment,
                        )
                    )
        return fills


def _within(levels: tuple[tuple[float, int], ...], order: _Working) -> Iterable[tuple[float, int]]:
    """Return the levels that an order's limit price allows."""
    limit = order.limit
    if limit is None:
        return levels
    return [level for level in levels if (level[0] <= limit if order.side == "buy" else level[0] >= limit)]


def usable(batch: TickBatch, allow_locked: bool = True) -> Iterator[tuple[str, Book]]:  # noqa: FBT001, FBT002  # as the setting
    """Yield the books of a batch that can prevail, each with its symbol."""
    return ((symbol, book) for _, symbol, book in usable_rows(batch, allow_locked))


def usable_rows(batch: TickBatch, allow_locked: bool) -> Iterator[tuple[int, str, Book]]:  # noqa: FBT001  # as the setting
    """Yield the books of a batch that can prevail, each with its row and symbol."""
    good = (batch.kind == BOOK) & ((batch.flags & (MID_EVENT | UNDECODABLE_BOOK)) == 0)
    good &= check_books(batch.bid_px, batch.bid_sz, batch.ask_px, batch.ask_sz, allow_locked) == USABLE
    for i in np.flatnonzero(good).tolist():
        bids, asks = _levels(batch.bid_px[i], batch.bid_sz[i]), _levels(batch.ask_px[i], batch.ask_sz[i])
        if bids and asks:
            yield i, batch.symbols[batch.symbol[i]], Book(int(batch.ts_event[i]), bids, asks)


def _levels(px: np.ndarray[Any, Any], sz: np.ndarray[Any, Any]) -> tuple[tuple[float, int], ...]:
    return tuple((p, int(s * QUANTA)) for p, s in zip(px.tolist(), sz.tolist(), strict=True) if s > 0.0)


def _walk(levels: Iterable[tuple[float, int]], before: int, qty: int) -> tuple[int, float]:
    """Take up to `qty` quanta from levels of which `before` are gone; return the quanta and their average price."""
    left, paid = qty, 0.0
    for px, size in levels:
        gone = min(before, size)
        before -= gone
        taken = min(left, size - gone)
        paid += taken * px
        left -= taken
        if left == 0:
            break
    filled = qty - left
    return filled, paid / filled if filled else 0.0
