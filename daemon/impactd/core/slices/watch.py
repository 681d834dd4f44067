r"""What each active order takes now, at decisions on a grid of event time.

With ``plans.act = "slices"`` a decision is due at every multiple of `PlanSettings.slice_interval_ns`, before the first
tick at or after that time.  At each one, for every symbol with a prevailing book:

1. the book goes into what its sides have offered (`impactd.core.slices.supply`), into the regression of the mid on the
   microprice, and into the trial that decides whether slices pay; the trial is executed at the book that prevails
   `PlanSettings.slice_latency_ns` later;
2. the orders of a side get one reservation price P, at which a minute's supply equals their total demand on a minute;
3. the orders take what the book offers at P or better, net of the expected move and of what was taken since the
   interval began, each in proportion to its demand.

A slice never exceeds its order's leaves after fills and outstanding slices, and obeys `max_interval_qty`,
participation in volume that has traded, blackouts, `last_trade`, clips, lots, halts, and the gate's depth.  Where
slices do not pay, or before a side is known, and for orders with risk aversion, the plan's quantity of the interval is
taken in equal parts (``schedule``).  What later intervals cannot hold is spread over the decisions of this one
(``deadline``).  At an order's would price or better it takes its share of the depth there (``would``).

A slice is outstanding until `PlanSettings.slice_latency_ns` after its end, while fills may still be reported.  With
``fills = "scheduled"`` it counts as filled when it is published.

Nothing is decided while no book prevails anywhere; the next tick wakes the watch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import orjson

from impactd.core.base.jit import kernel
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import SECOND_NS, CoreSettings
from impactd.core.base.stateful import Changes
from impactd.core.base.topics import SIDES, Side, Topic
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.books.grid import PLAN_REACH
from impactd.core.books.store import FOREVER
from impactd.core.inputs.terms import Terms
from impactd.core.inputs.ticks import Float, Int
from impactd.core.orders.ledger import Ledger
from impactd.core.orders.order import ApplyContext, Order
from impactd.core.outputs.messages import Slice
from impactd.core.outputs.outbox import Outbox
from impactd.core.slices.microprice import Microprice
from impactd.core.slices.supply import Supply, deepest
from impactd.core.slices.worth import Gate, Worth

#: No decision on a book older than this: markets pause, and what stood before says nothing about now.
STALE_NS: Final = 300 * SECOND_NS

#: An order asks of an interval what its plan has for this many of them on average: the plan knows the shape of the day.
LOOK_AHEAD: Final = 10
LEAST_PACE: Final = 0.1

_KEY: Final = "slices/"
_CLOCK: Final = "slices"


class _Span(NamedTuple):
    """What an order's terms say of one interval: its decisions are several, and they say the same at each.

    Attributes
    ----------
    begin, end : int
        When it may trade, ns: from `begin` on, until `end`; nothing before a window that touches the interval is over.
    intervals : float
        How many are left for it, this one included.
    later_qty : int or None
        Most that the intervals after this one may trade, quanta; None without a limit of each.
    """

    terms: Terms
    minute: int
    begin: int
    end: int
    intervals: float
    later_qty: int | None
    #: Whether it may wait for a cheap book.
    free: bool

    @classmethod
    def of(cls, terms: Terms, minute: int, interval_ns: int, every_ns: int) -> _Span:
        """Return what the terms say of the interval that begins at `minute`, ns."""
        end, after = terms.trades_until, minute + interval_ns
        begin = max([terms.start, *(to for since, to in terms.closed() if since < after)])
        dark = sum([max(min(to, end) - since, 0) for since, to in terms.blackouts if since >= after])
        intervals = max(end - max(minute, terms.start) - dark, every_ns) / interval_ns
        left, each = max(end - after - dark, 0), terms.max_interval_qty
        later = 0 if left == 0 else None if each is None else int(each * (left / interval_ns))
        return cls(terms, minute, begin, end, intervals, later, not terms.paced)


@dataclass(slots=True)
class _Out:
    """An order's slices."""

    #: Start of the interval, ns, and quanta published in it.
    minute: int = 0
    taken: int = 0
    #: Slices of the order so far.
    count: int = 0
    #: `Order.cum_qty` when the oldest slice that is out was published, quanta.
    base: int = 0
    #: Until when each counts as out, ns, and its quanta, oldest first.
    out: list[list[int]] = field(default_factory=list)
    #: The schedule that `pace` was last asked for, until when the answer is the same, ns, and what it was: decisions
    #: are many, plans few.
    paced: tuple[Int, int, float] | None = None
    span: _Span | None = None

    def pace(self, order: Order, at: int) -> float:
        """Return what the plan trades in an interval of the next `LOOK_AHEAD`, relative to one of all that are left."""
        qty = order.schedule.qty
        if self.paced is None or self.paced[0] is not qty or self.paced[1] <= at:
            until, whole, near, n = _ahead(order.schedule.end, qty, at)
            # Of whole numbers, whose products may exceed what an array holds.
            pace = 1.0 if whole <= 0 else max(near * n / (min(n, LOOK_AHEAD) * whole), LEAST_PACE)
            self.paced = qty, until, pace
        return self.paced[2]

    def unfilled(self, at: int, cum_qty: int) -> int:
        """Return what is out at event time `at` and not filled, quanta."""
        while self.out and self.out[0][0] <= at:
            _, qty = self.out.pop(0)
            self.base += min(max(cum_qty - self.base, 0), qty)
        if not self.out:
            self.base = cum_qty
        return max(sum(qty for _, qty in self.out) - max(cum_qty - self.base, 0), 0)


@dataclass(slots=True)
class _Side:
    """One side of a symbol; `taken` shares since the interval at `minute` began."""

    supply: Supply = field(default_factory=Supply)
    worth: Worth = field(default_factory=Worth)
    minute: int = 0
    taken: float = 0.0


@dataclass(slots=True)
class _Symbol:
    micro: Microprice = field(default_factory=Microprice)
    gate: Gate = field(default_factory=Gate)
    sides: dict[Side, _Side] = field(default_factory=lambda: {side: _Side() for side in SIDES})
    orders: dict[str, _Out] = field(default_factory=dict)

    def save(self) -> bytes:
        sides = [[s.supply.save(), s.worth.save(), s.minute, s.taken] for s in (self.sides[side] for side in SIDES)]
        orders = {name: [o.minute, o.taken, o.count, o.base, o.out] for name, o in self.orders.items()}
        saved = {"micro": self.micro.save(), "gate": self.gate.save(), "sides": sides, "orders": orders}
        return orjson.dumps(saved)

    @classmethod
    def load(cls, value: bytes) -> _Symbol:
        saved = orjson.loads(value)
        sides = {
            side: _Side(Supply.load(supply), Worth.load(worth), minute, taken)
            for side, (supply, worth, minute, taken) in zip(SIDES, saved["sides"], strict=True)
        }
        orders = {name: _Out(*values) for name, values in saved["orders"].items()}
        return cls(Microprice.load(saved["micro"]), Gate.load(saved["gate"]), sides, orders)


class _Seen(NamedTuple):
    """One side of the book of a decision; `move` is what waiting is expected to cost a share, price."""

    at: int
    minute: int
    side: Side
    px: Float
    sz: Float
    mid: float
    move: float


@dataclass(slots=True)
class _Ask:
    """What an order may take now; quanta, except for `each`, the shares that it asks of an interval.

    `must` is what the intervals after this one cannot hold.
    """

    order: Order
    its: _Out
    left: int
    each: float
    must: int
    #: Whether it may wait for a cheap book.
    free: bool

    def lots(self, quanta: int) -> int:
        """Return what of `quanta` it may take in whole lots."""
        return in_lots(quanta, self.left, self.order.terms.lot_size)


class Slicer:
    """Publishes slices of a partition's active orders.

    Attributes
    ----------
    next : int
        When the next decision, or the execution of the trials of the last one, is due, ns; `FOREVER` while none is.
    """

    def __init__(
        self,
        settings: CoreSettings,
        orders: Ledger,
        halt_of: Callable[[Order], str | None],
        books: MinuteAggregator,
        outbox: Outbox,
    ) -> None:
        plans = settings.plans
        self._on = plans.act == "slices"
        self._interval = settings.books.interval_ns
        self._every = plans.slice_interval_ns
        self._late = plans.slice_latency_ns
        #: From a decision to the moment before which its trial is executed: a book of that very time counts.
        self._executes = min(self._late, self._every - 1) + 1 if self._late else 0
        self._assumes = plans.fills == "scheduled"
        self._depth = settings.gate.max_interval_depth
        self._orders = orders
        self._halt_of = halt_of
        self._books = books
        self._outbox = outbox
        self._symbols: dict[str, _Symbol] = {}
        self._changes = Changes()
        self.next = FOREVER

    @property
    def on(self) -> bool:
        """Whether orders act by slices."""
        return self._on

    def paid(self, symbol: str) -> tuple[float, ...] | None:
        """Return what the trials of a symbol have paid (`Worth.paid`); None where orders do not act so.

        Both sides are one: a side alone has half the takes, and the noise of so few would widen its plans' bands.
        """
        if not self._on:
            return None
        its = self._symbols.get(symbol)
        sides = [(0.0,) * 4] if its is None else [its.sides[side].worth.paid for side in SIDES]
        return tuple(map(sum, zip(*sides, strict=True)))

    def wake(self, time: int) -> None:
        """Note a tick at event time `time`, ns."""
        if self._on and self.next == FOREVER:
            self.next = (time // self._every + 1) * self._every
            self._mark_clock()

    def decide(self, at_order: Callable[[int], ApplyContext]) -> list[tuple[Order, int, int]]:
        """Decide at `next`; return the orders whose slice counts as filled, with its quanta and the time, ns."""
        at = self.next
        if self._executes:
            self._execute(at)
        if at % self._every:
            self.next = (at // self._every + 1) * self._every
            self._mark_clock()
            return []
        minute = at // self._interval * self._interval
        filled: list[tuple[Order, int, int]] = []
        awake = False
        for symbol in self._books.symbols:
            book = self._books.prevailing(symbol, at)
            if book is None or book.ts_event + STALE_NS < at or (mid := book.mid) <= 0.0:
                continue
            awake = True
            its = self._symbols.get(symbol)
            if its is None:
                its = self._symbols[symbol] = _Symbol()
            move, sizes = its.micro.see(at, book), self._books.sizes(symbol)
            both = [_Seen(at, minute, side, *book.offers(side), mid, side.sign * move) for side in SIDES]
            for seen in both:
                self._see(its, seen, sizes)
            orders = self._orders.active_of(symbol)
            for seen in both:
                filled += self._side(orders, its, seen, at_order)
            if not its.orders.keys() <= self._orders.active_ids:
                its.orders = {name: out for name, out in its.orders.items() if name in self._orders.active_ids}
            self._changes.mark(_KEY + symbol, its.save)
        self.next = at + (self._executes or self._every) if awake else FOREVER
        self._mark_clock()
        return filled

    def _execute(self, at: int) -> None:
        """Price the trials that wait for it at the books that prevail at `at`, ns."""
        for symbol, its in self._symbols.items():
            waiting = [side for side in SIDES if its.sides[side].worth.tried]
            if not waiting:
                continue
            book = self._books.prevailing(symbol, at)
            for side in waiting:
                worth = its.sides[side].worth
                if book is None or book.mid <= 0.0:
                    worth.drop()
                else:
                    worth.execute(*book.offers(side), book.mid, float(side.sign))
            self._changes.mark(_KEY + symbol, its.save)

    def _see(self, its: _Symbol, seen: _Seen, sizes: Sequence[float]) -> None:
        """Learn from one side of the book of a decision; `sizes` are those at which books are walked, shares."""
        s, at, minute, sign = its.sides[seen.side], seen.at, seen.minute, seen.side.sign
        s.worth.see(at, seen.mid, sign, its.gate)
        s.supply.see(minute, seen.px, seen.sz, seen.mid, sign, seen.move)
        if s.minute != minute:
            s.minute, s.taken = minute, 0.0
        if not sizes:
            return
        usual = PLAN_REACH * sizes[0]
        ask, last = s.worth.asks(minute, self._interval, usual)
        price, offer = s.supply.price(ask, seen.px, seen.sz, seen.mid, sign, seen.move)
        if price is None and not last:
            return
        take = ask * self._every / self._interval
        if price is not None and price < math.inf:
            take = max(offer - s.worth.taken, 0.0)
        if last:
            take = max(take, s.worth.left / -(-(minute + self._interval - at) // self._every))
        take = min(take, s.worth.left)
        even = usual * self._every / self._interval
        begin = (at - minute) / self._every * even
        s.worth.decide(at, take, begin, even)
        if not self._executes:
            s.worth.execute(seen.px, seen.sz, seen.mid, float(sign))

    # --- orders -----------------------------------------------------------

    def _side(
        self, orders: list[Order], its: _Symbol, seen: _Seen, at_order: Callable[[int], ApplyContext]
    ) -> list[tuple[Order, int, int]]:
        """Publish the slices of those of a symbol's `orders` that are of one side."""
        asks = [ask for order in orders if order.side is seen.side and (ask := self._ask(its, order, seen)) is not None]
        if not asks:
            return []
        s = its.sides[seen.side]
        price, offer = None, 0.0
        if its.gate.on:
            asked = math.fsum([ask.each for ask in asks])
            price, offer = s.supply.price(asked, seen.px, seen.sz, seen.mid, seen.side.sign, seen.move)
        known, offer = price is not None and price < math.inf, max(offer - s.taken, 0.0)
        whole = math.fsum([ask.each for ask in asks if ask.free])
        filled = []
        for ask in asks:
            follows = not (known and ask.free)
            cheap = self._scheduled(ask, seen) if follows else offer * ask.each / whole
            reason = "schedule" if follows else "cheap"
            if price is not None and not known:
                # A minute has never offered as much: an even pace.
                cheap, reason = max(cheap, ask.each * self._every / self._interval), "catch_up"
            if not (cheap or ask.must) and ask.order.terms.would_px is None:
                continue  # nothing is near its reservation
            qty = ask.lots(min(int(min(cheap * QUANTA, float(ask.left))), ask.left))
            even = self._due(ask, seen)
            if even > qty:
                qty, reason = min(ask.lots(even + ask.order.terms.lot_size - 1), ask.left), "deadline"
            would = self._would(ask, s, seen)
            if would > qty:
                qty, reason = would, "would"
            qty = self._bounded(min(qty, self._room(ask.order, ask.its, ask.left, seen)), ask, s, seen)
            if qty > 0:
                self._publish(ask, seen, s, qty, price if reason == "cheap" else None, reason)
                if self._assumes:
                    ask.order.take(seen.at, qty, at_order(seen.at))
                    filled.append((ask.order, qty, seen.at))
        return filled

    def _ask(self, its: _Symbol, order: Order, seen: _Seen) -> _Ask | None:
        """Return what an order may take now; None if it may not trade."""
        if order.halted or order.blind:
            return None
        at, minute, terms, name = seen.at, seen.minute, order.terms, order.cl_ord_id
        out = its.orders.get(name)
        span = None if out is None else out.span
        if span is None or span.minute != minute or span.terms is not terms:
            span = _Span.of(terms, minute, self._interval, self._every)
        if not span.begin <= at < span.end or self._halt_of(order) is not None:
            return None
        if out is None:
            out = its.orders[name] = _Out()
        out.span = span
        if out.minute != minute:
            out.minute, out.taken = minute, 0
        left = order.continuous_qty - (0 if self._assumes else out.unfilled(at, order.cum_qty))
        if left <= 0:
            return None
        each = (left + out.taken) / QUANTA / span.intervals * out.pace(order, at)
        must = 0 if span.later_qty is None else max(left - span.later_qty, 0)
        return _Ask(order, out, left, each, must, span.free)

    def _due(self, ask: _Ask, seen: _Seen) -> int:
        """Return the part of what an order must take in this interval that is due at each of its decisions, quanta."""
        end = min(ask.order.terms.trades_until, seen.minute + self._interval)
        return -(-ask.must // -(-(end - seen.at) // self._every))

    def _room(self, order: Order, out: _Out, left: int, seen: _Seen) -> int:
        """Return what the order's limits allow in this interval, quanta."""
        terms, room = order.terms, left
        if terms.max_interval_qty is not None:
            room = min(room, terms.max_interval_qty - out.taken)
        if terms.most_rate is not None:
            since = max(seen.minute, order.works_from)
            worked = (seen.at - since) / (seen.at - seen.minute) if seen.at > seen.minute else 0.0
            traded = order.market_volume + self._books.volume_since(order.symbol, seen.minute) * max(worked, 0.0)
            allowed = int(terms.most_rate * traded * QUANTA) - (order.cum_qty - order.auction_qty)
            allowed -= order.continuous_qty - left
            if terms.must_complete:
                allowed = max(allowed, _planned(order, seen.at) - out.taken)
            room = min(room, in_lots(allowed, left, terms.lot_size))
        return max(room, 0)

    @staticmethod
    def _would(ask: _Ask, s: _Side, seen: _Seen) -> int:
        """Return what the order's would price takes of the book, quanta."""
        would, rate = ask.order.would(seen.mid), ask.order.terms.would_rate
        if would is None or rate is None:
            return 0
        shown = float(seen.sz[seen.side.sign * (seen.px - would) <= 0.0].sum())
        return ask.lots(max(int(min(rate * shown, shown - s.taken) * QUANTA), 0))

    def _bounded(self, qty: int, ask: _Ask, s: _Side, seen: _Seen) -> int:
        """Return the quantity that the gate's depth and the order's clip leave, quanta."""
        if self._depth is not None:
            most = int((self._depth * float(seen.sz.sum()) - s.taken) * QUANTA)
            qty = min(qty, ask.lots(max(most, 0)))
        limit = ask.order.limit(seen.mid)
        if limit is not None:
            shown = float(seen.sz[seen.side.sign * (seen.px - limit) <= 0.0].sum())
            qty = min(qty, ask.lots(max(int((shown - s.taken) * QUANTA), 0)))
        clip = ask.order.terms.min_clip_qty
        return 0 if clip is not None and qty < min(clip, ask.left) else qty

    def _scheduled(self, ask: _Ask, seen: _Seen) -> float:
        """Return what the plan's equal parts of this interval have due by now, shares."""
        begin = max(seen.minute, ask.order.works_from)
        parts = -(-(min(seen.minute + self._interval, ask.order.terms.end) - begin) // self._every)
        due = (seen.at - begin) // self._every + 1
        return max(_planned(ask.order, seen.at) * min(due / parts, 1.0) - ask.its.taken, 0.0) / QUANTA

    def _publish(self, ask: _Ask, seen: _Seen, s: _Side, qty: int, price: float | None, reason: str) -> None:
        order, its = ask.order, ask.its
        its.taken += qty
        its.count += 1
        s.taken += qty / QUANTA
        until = min(seen.at + self._every, order.terms.end)
        if not self._assumes:
            its.out.append([until + self._late, qty])
        self._outbox.publish(
            Topic.SLICES,
            order.symbol,
            Slice(
                cl_ord_id=order.cl_ord_id,
                symbol=order.symbol,
                side=order.side,
                slice=its.count,
                plan_version=order.plan_version,
                as_of=seen.at,
                valid_until=until,
                reason=reason,
                qty=qty,
                limit_px=deepest(seen.px, seen.sz, s.taken),
                reservation=None if price is None else price * seen.mid,
                expected_move=order.side.sign * seen.move,
                mid=seen.mid,
            ),
        )

    # --- state ------------------------------------------------------------

    def _mark_clock(self) -> None:
        if self.next == FOREVER:
            self._changes.delete(_CLOCK)
        else:
            self._changes.mark(_CLOCK, lambda: orjson.dumps(self.next))

    def changes(self) -> dict[str, bytes | None]:
        """Return the keys that have changed since the last call."""
        return self._changes.take()

    def dump(self) -> dict[str, bytes]:
        """Return every key with its value; no time while no decision is due."""
        symbols = {_KEY + symbol: its.save() for symbol, its in sorted(self._symbols.items())}
        return symbols if self.next == FOREVER else symbols | {_CLOCK: orjson.dumps(self.next)}

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore the symbols and the time of the next decision, where a state has them."""
        for key, value in items.items():
            if key.startswith(_KEY):
                self._symbols[key.removeprefix(_KEY)] = _Symbol.load(value)
        if _CLOCK in items and self._on:
            self.next = orjson.loads(items[_CLOCK])
        self._changes.clear()


@kernel
def _ahead(end: Int, qty: Int, at: int) -> tuple[int, int, int, int]:
    """Return until when what is ahead at `at` stays the same, ns; its quanta in all and in `LOOK_AHEAD`; its intervals.

    Parameters
    ----------
    end, qty : ndarray of int64, shape (N,)
        Of a schedule's intervals: ends, ns, ascending, and quanta.
    """
    first, whole, near = 0, 0, 0
    while first < end.shape[0] and end[first] <= at:
        first += 1
    for k in range(first, end.shape[0]):
        whole += qty[k]
        if k < first + LOOK_AHEAD:
            near += qty[k]
    return end[first] if first < end.shape[0] else FOREVER, whole, near, end.shape[0] - first


def _planned(order: Order, at: int) -> int:
    """Return what the plan trades in the interval of `at` (ns) in all, quanta."""
    qty = order.schedule.qty[order.schedule.past(at) :]
    return int(qty[0]) if qty.size else 0


def in_lots(quanta: int, left: int, lot: int) -> int:
    """Return the whole lots in `quanta`; all that is left where it is no more than that."""
    return left if quanta >= left else quanta // lot * lot
