"""Paper trading: plans are traded against the live books, and the fills reported, without a market.

`Style.TAKE`: a plan's quantity of an interval is taken at one moment of it, drawn uniformly by a
hash of the seed, the order and the interval.  At that moment the order walks the book
that prevails, up to its limit price; what those levels do not hold stays untraded, and
the next plan has it again.  Shares that were taken from a book are gone from it until the next book
comes.  So the average cost of an interval's quantity is that of its books, weighted by
the time for which each prevailed: the cost by which plans are judged
(`impactd.core.books.interval_cost`).

`Style.REST`: from that moment the quantity rests at the best price of its own side, or at the best
price shown that the limit allows.  The queue ahead of it is the size shown there when it joins.

- A trade at its price or through it takes the queue ahead first, then the order.  Own orders share one trade.
- When less is shown at its price than the queue ahead, the queue is what is shown.
- When that best price changes, the order moves to the new one and joins the end of its queue.
- A plan that lowers the quantity keeps the place; one that raises it moves the order to the end of the queue.
- A second before the interval ends (a tenth of an interval that is shorter than ten seconds), what is left walks
  the book as above.

An entry in an auction trades at the price of the prints that the feed flags as auctions, from its cutoff on, up to its
`rate` as a share of what is printed.  Where no print comes, it stays untraded.

Fills that no plan has counted yet are taken off a plan's first intervals, so a plan
that crosses a fill on its way does not trade it twice; a restarted run reads what was
reported before it, and joins the end of the queue.  Fills of an order are numbered: one that an earlier run still had
in progress has the number of the next, and only one of the two counts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np

from impactd.client.messages import AuctionEntry, Plan
from impactd.core.base.quantity import QUANTA, format_qty, parse_qty
from impactd.core.base.settings import SECOND_NS, BookSettings
from impactd.core.books.checks import USABLE, check_books
from impactd.core.inputs.ticks import AUCTION, BOOK, MID_EVENT, TRADE, UNDECODABLE_BOOK, TickBatch

#: How the exec_id of every fill begins.
_PREFIX: Final = "paper-"

#: Rates are read as fractions of at most this denominator: 0.1 of 500 is 50.
_RATES: Final = 1_000_000


class Style(StrEnum):
    """How an interval's quantity trades."""

    TAKE = "take"
    REST = "rest"


class Book(NamedTuple):
    """A usable book: levels as ``(price, quanta)``, best first."""

    ts_event: int
    bids: tuple[tuple[float, int], ...]
    asks: tuple[tuple[float, int], ...]

    @property
    def mid(self) -> float:
        """Middle of the best prices."""
        return 0.5 * (self.bids[0][0] + self.asks[0][0])


class Print(NamedTuple):
    """A trade of the feed, quanta."""

    ts_event: int
    px: float
    qty: int
    auction: bool = False


class Untraded(NamedTuple):
    """What an entry in an auction has not traded, quanta; `printed` is the auction's volume within its limit price."""

    cl_ord_id: str
    symbol: str
    kind: str
    qty: int
    printed: int


class PaperFill(NamedTuple):
    """A fill to report; `mid` is that of the book that prevailed, or the fill's price before the first book."""

    exec_id: str
    cl_ord_id: str
    symbol: str
    side: str
    qty: int
    px: float
    mid: float
    ts_event: int
    #: `taker`, `maker` or `auction`.
    liquidity: str = "taker"

    def record(self) -> dict[str, Any]:
        """Return the record for `impactd.executions`."""
        return {
            "type": "fill",
            "exec_id": self.exec_id,
            "cl_ord_id": self.cl_ord_id,
            "symbol": self.symbol,
            "last_qty": format_qty(self.qty),
            "last_px": self.px,
            "last_liquidity_ind": self.liquidity,
            "ts_event": self.ts_event,
        }


class _Child(NamedTuple):
    """An interval's quantity, quanta: it rests from `moment` on, and takes from `cross` on."""

    moment: int
    qty: int
    cross: int
    end: int


@dataclass(slots=True)
class _Rest:
    """Where the child of the interval that ends at `end` rests."""

    end: int
    #: Event time at which it joined the queue, ns.
    since: int
    #: None: no price is shown that the limit allows.
    px: float | None = None
    #: Size shown that trades before it, quanta.
    ahead: int = 0


@dataclass(slots=True)
class _Entry:
    """An entry in an auction, quanta; it fills up to `rate` of the print."""

    kind: str
    at: int
    cutoff: int
    entered: int
    limit: float | None
    rate: float
    left: int = 0
    #: Volume printed within the limit price, and what of it filled the entry.
    printed: int = 0
    filled: int = 0


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
    #: Still to trade, the last interval first.
    children: list[_Child] = field(default_factory=list)
    #: Of the first of them, once it rests.
    rest: _Rest | None = None
    entries: list[_Entry] = field(default_factory=list)


class PaperDesk:
    """Trades plans, in event time."""

    def __init__(self, seed: int = 0, books: BookSettings | None = None, style: Style = Style.TAKE) -> None:
        self._seed = seed
        self._rests = style is Style.REST
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

    def plan(self, plan: Plan) -> list[Untraded]:
        """Take the next plan of an order; an older one than is known changes nothing.

        Returns
        -------
        list of Untraded
            Entries in auctions that are over for this plan, with what they did not trade.
        """
        name, symbol = plan["cl_ord_id"], plan["symbol"]
        order = self._orders.get(name)
        if order is None:
            order = self._orders[name] = _Working(name, plan["side"])
            reported = self._reported.pop(name, {})
            order.sent, order.count = sum(reported.values()), len(reported)
            self._of.setdefault(symbol, []).append(order)
        if plan["plan_version"] <= order.version:
            return []
        order.version, order.limit = plan["plan_version"], plan.get("limit_px")
        cum = parse_qty(plan["cum_qty"], "cum_qty")
        order.sent = max(order.sent, cum)
        resting = order.children[-1].qty if order.rest is not None else 0
        order.children.clear()
        active = plan["status"] == "active"
        if not active and plan["status"] != "halted":
            self._of[symbol].remove(order)
            del self._orders[name]
        over = self._enter(order, plan)
        ahead = _crossed([entry for entry in order.entries if entry.filled], order.sent - cum)
        if active:
            ahead = self._schedule(order, plan, ahead)
        _crossed(order.entries, ahead)
        self._keep_place(order, symbol, resting)
        return over

    def _schedule(self, order: _Working, plan: Plan, ahead: int) -> int:
        """Take a plan's intervals, less what is traded ahead of it; return what is left of that."""
        interval_ns, last = plan["interval_s"] * SECOND_NS, plan["end"] or 0
        for start, quantity in zip(plan["start"], plan["qty"], strict=True):
            qty = parse_qty(quantity, "qty")
            crossed = min(ahead, qty)
            ahead -= crossed
            if qty > crossed:
                end = min((start // interval_ns + 1) * interval_ns, last)
                moment = start + int(self._drawn(order.name, end) * (end - start))
                cross = max(moment, end - min(SECOND_NS, interval_ns // 10)) if self._rests else moment
                order.children.append(_Child(moment, qty - crossed, cross, end))
        order.children.reverse()
        return ahead

    @staticmethod
    def _enter(order: _Working, plan: Plan) -> list[Untraded]:
        """Take a plan's entries in auctions; return those that are over."""
        known = {(entry.kind, entry.at): entry for entry in order.entries}
        order.entries = [
            _entry(found, known.pop((found["kind"], found["at"]), None))
            for found in plan.get("auctions", ())
            if parse_qty(found["qty"], "qty")
        ]
        return [
            Untraded(order.name, plan["symbol"], entry.kind, entry.left, entry.printed)
            for entry in known.values()
            if entry.left and plan["as_of"] >= entry.at
        ]

    def _keep_place(self, order: _Working, symbol: str, before: int) -> None:
        """Keep an order's place in its queue of before a plan, of `before` quanta, as far as the plan allows."""
        rest = order.rest
        if rest is None:
            return
        if not order.children or order.children[-1].end != rest.end:
            order.rest = None
            return
        book = self._books[symbol][0]
        if order.children[-1].qty > before:
            rest.px = None
        _follow(order, rest, book)

    def _drawn(self, name: str, end: int) -> float:
        """Return where in its interval an order trades, in [0, 1)."""
        drawn = hashlib.blake2b(f"{self._seed}|{name}|{end}".encode(), digest_size=7).digest()
        return int.from_bytes(drawn, "big") / 2.0**56

    def ticks(self, batch: TickBatch) -> list[PaperFill]:
        """Take ticks in the order of their arrival, and return what traded before the last of them, or at it."""
        return [
            fill
            for _, symbol, tick in _rows(batch, self._allow_locked)
            for fill in (self.book(symbol, tick) if isinstance(tick, Book) else self.printed(symbol, tick))
        ]

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
        for order in self._of.get(symbol, ()):
            if order.rest is not None:
                _follow(order, order.rest, book)
        return fills

    def printed(self, symbol: str, trade: Print) -> list[PaperFill]:
        """Take the next trade of a symbol, and return what traded before it and at it.

        A trade that is earlier than the book before it fills no order that rests.
        """
        if not (trade.auction or self._rests):
            return []
        known = self._books.get(symbol)
        fills = [] if known is None else self._trade(symbol, *known, trade.ts_event)
        if trade.auction:
            return fills + self._cleared(symbol, trade, trade.px if known is None else known[0].mid)
        if known is not None and 0 <= trade.ts_event - known[0].ts_event < self._stands_ns:
            fills += self._queued(symbol, trade, known[0].mid)
        return fills

    def _queued(self, symbol: str, trade: Print, mid: float) -> list[PaperFill]:
        """Return the fills of orders that rest where a trade is, the best price and the first in its queue first."""
        fills, left = [], trade.qty
        reached = []
        for order in self._of.get(symbol, ()):
            rest, sign = order.rest, 1.0 if order.side == "buy" else -1.0
            if rest is None or rest.px is None or rest.since > trade.ts_event:
                continue
            if sign * trade.px <= sign * rest.px:
                reached.append((-sign * rest.px, rest.since, rest.px, order, rest))
        for *_, px, order, rest in sorted(reached, key=lambda one: one[:2]):
            first = min(rest.ahead, left)
            rest.ahead -= first
            child = order.children[-1]
            qty = min(child.qty, left - first)
            if qty > 0:
                left -= qty
                fills.append(self._fill(order, symbol, qty, px, mid, trade.ts_event, "maker"))
                order.children[-1] = child._replace(qty=child.qty - qty)
                if qty == child.qty:
                    order.children.pop()
                    order.rest = None
        return fills

    def _cleared(self, symbol: str, trade: Print, mid: float) -> list[PaperFill]:
        """Return the fills of entries in an auction at its print."""
        fills, left = [], trade.qty
        for order in self._of.get(symbol, ()):
            entry = next((one for one in reversed(order.entries) if one.cutoff <= trade.ts_event), None)
            if entry is None or not all(_allows(order.side, limit, trade.px) for limit in (order.limit, entry.limit)):
                continue
            entry.printed += trade.qty
            share = int(Fraction(entry.rate).limit_denominator(_RATES) * entry.printed)
            # An entry of whole shares is filled in whole shares.
            unit = math.gcd(entry.entered, QUANTA)
            qty = min(entry.left, share - entry.filled, left) // unit * unit
            if qty > 0:
                left -= qty
                entry.left -= qty
                entry.filled += qty
                fills.append(self._fill(order, symbol, qty, trade.px, mid, trade.ts_event, "auction"))
        return fills

    def _fill(
        self, order: _Working, symbol: str, qty: int, px: float, mid: float, ts: int, liquidity: str
    ) -> PaperFill:
        """Return an order's next fill, and count it."""
        order.sent += qty
        order.count += 1
        name = f"{_PREFIX}{order.name}-{order.count}"
        return PaperFill(name, order.name, symbol, order.side, qty, px, mid, max(ts, self._clock + 1), liquidity)

    def until(self, clock: int) -> list[PaperFill]:
        """Return what trades up to a time at the books that prevail, in the order of time.

        No fill is earlier than a time of an earlier call: a plan that comes after the moment of its interval
        trades as soon as it is there.
        """
        traded = [self._trade(symbol, *known, clock + 1) for symbol, known in self._books.items()]
        self._clock = max(self._clock, clock)
        return sorted((fill for fills in traded for fill in fills), key=lambda fill: fill.ts_event)

    def _trade(self, symbol: str, book: Book, taken: dict[str, int], before: int) -> list[PaperFill]:
        """Return the fills whose moments came before a time, at the book that prevailed; what is to rest joins it."""
        fills = []
        for order in self._of.get(symbol, ()):
            while order.children:
                child = order.children[-1]
                earliest = max(book.ts_event, self._clock + 1)
                moment = max(child.cross, earliest)
                if moment >= before:
                    joins = max(child.moment, earliest)
                    if order.rest is None and joins < min(before, child.cross, book.ts_event + self._stands_ns):
                        order.rest = _Rest(child.end, joins)
                        _follow(order, order.rest, book)
                    break
                order.children.pop()
                order.rest = None
                if moment - book.ts_event >= self._stands_ns:
                    continue
                levels = _within(book.asks if order.side == "buy" else book.bids, order)
                qty, px = _walk(levels, taken[order.side], child.qty)
                if qty > 0:
                    taken[order.side] += qty
                    fills.append(self._fill(order, symbol, qty, px, book.mid, moment, "taker"))
        return fills


def _entry(found: AuctionEntry, known: _Entry | None) -> _Entry:
    """Return a plan's entry; once its auction has printed, it keeps its share."""
    left = parse_qty(found["qty"], "qty")
    if known is None or not known.printed:
        known = _Entry(found["kind"], found["at"], found["cutoff"], left, found["limit_px"], found["rate"])
    known.left = left
    return known


def _crossed(entries: Iterable[_Entry], ahead: int) -> int:
    """Take what no plan has counted yet off entries; return what is left of it."""
    for entry in entries:
        crossed = min(ahead, entry.left)
        entry.left -= crossed
        ahead -= crossed
    return ahead


def _follow(order: _Working, rest: _Rest, book: Book) -> None:
    """Move an order that rests to the best price of its side that its limit allows."""
    best = next(iter(_within(book.bids if order.side == "buy" else book.asks, order)), None)
    if best is None:
        rest.px = None
    elif best[0] == rest.px:
        rest.ahead = min(rest.ahead, best[1])
    else:
        rest.px, rest.ahead = best
        rest.since = max(rest.since, book.ts_event)


def _allows(side: str, limit: float | None, px: float) -> bool:
    """Return whether a limit price allows a price."""
    return limit is None or (px <= limit if side == "buy" else px >= limit)


def _within(levels: tuple[tuple[float, int], ...], order: _Working) -> Iterable[tuple[float, int]]:
    """Return the levels that an order's limit price allows."""
    if order.limit is None:
        return levels
    return [level for level in levels if _allows(order.side, order.limit, level[0])]


def usable_rows(batch: TickBatch, allow_locked: bool) -> Iterator[tuple[int, str, Book]]:  # noqa: FBT001  # as the setting
    """Yield the books of a batch that can prevail, each with its row and symbol."""
    return ((row, symbol, tick) for row, symbol, tick in _rows(batch, allow_locked) if isinstance(tick, Book))


def _rows(batch: TickBatch, allow_locked: bool) -> Iterator[tuple[int, str, Book | Print]]:  # noqa: FBT001  # as the setting
    """Yield the books of a batch that can prevail and its trades, each with its row and symbol."""
    good = (batch.kind == BOOK) & ((batch.flags & (MID_EVENT | UNDECODABLE_BOOK)) == 0)
    good &= check_books(batch.bid_px, batch.bid_sz, batch.ask_px, batch.ask_sz, allow_locked) == USABLE
    trades = (batch.kind == TRADE) & np.isfinite(batch.px) & np.isfinite(batch.qty) & (batch.qty > 0.0)
    for i in np.flatnonzero(good | trades).tolist():
        symbol, ts = batch.symbols[batch.symbol[i]], int(batch.ts_event[i])
        if trades[i]:
            auction = bool(batch.flags[i] & AUCTION)
            yield i, symbol, Print(ts, float(batch.px[i]), round(float(batch.qty[i]) * QUANTA), auction)
            continue
        bids, asks = _levels(batch.bid_px[i], batch.bid_sz[i]), _levels(batch.ask_px[i], batch.ask_sz[i])
        if bids and asks:
            yield i, symbol, Book(ts, bids, asks)


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
