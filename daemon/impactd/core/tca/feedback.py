"""Execution feedback: costs of fills, orders and sessions, and the bias correction of the model.

It publishes three messages (`impactd.core.outputs.messages`): `FillCost` of each
fill once its interval has closed and the interval's VWAP is known; `OrderCost`
when an order ends; `DayCost` when its session has closed.  A correction, a bust,
a late fill or a reopened order revises what it affects, and the revised message
is published.

The state of a symbol is bounded: `MAX_WAITING` fills that wait for the end of
their interval (a further one is published at once, without the interval's VWAP),
the VWAPs of the last `VWAPS_KEPT` intervals, and `DAYS_KEPT` sessions.  The mark
that a fill was measured against is kept with the execution, so a correction
subtracts exactly what the fill had added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from impactd.core.base.instrument import UNDEFINED, Instrument
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import CoreSettings
from impactd.core.base.stateful import Changes
from impactd.core.base.topics import SIDES, Side, Topic
from impactd.core.inputs.events import Bust, Correct, Fill
from impactd.core.market.markets import Markets
from impactd.core.orders.costs import COST_QUANTA, Costs, Mark, Shortfall, average_px, bps, fill_costs, opportunity
from impactd.core.orders.ledger import Ledger
from impactd.core.orders.life import Change
from impactd.core.orders.order import Execution, Order, Status
from impactd.core.outputs.messages import DayCost
from impactd.core.outputs.outbox import Outbox
from impactd.core.tca.fill_bias import FillBias
from impactd.core.tca.messages import fill_cost, order_cost, over

#: Fills that wait for the end of their interval.
MAX_WAITING: Final = 1_000
#: Intervals whose average price is remembered, for corrections.
VWAPS_KEPT: Final = 30
#: Sessions that are remembered, for corrections.
DAYS_KEPT: Final = 3

_KEY: Final = "tca/"

_REASONS: Final[dict[type, str]] = {Fill: "fill", Correct: "correct", Bust: "bust"}


@dataclass(slots=True)
class Day:
    """One side of a symbol in one session; costs as in `Costs`."""

    costs: Costs = field(default_factory=Costs)
    opportunity: int = 0
    orders: int = 0
    published: bool = False
    #: Quanta that count as executed without a reported fill.
    assumed: int = 0
    #: Orders whose rest was not traded at a price that is not known.
    unpriced: int = 0
    #: Definition of its latest order, whose unit its sums have.
    instrument: Instrument = UNDEFINED

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values."""
        sums = [self.costs.save(), str(self.opportunity), self.orders, self.published]
        return [*sums, str(self.assumed), self.unpriced, self.instrument.values()]


@dataclass(slots=True)
class _Symbol:
    """State of one symbol."""

    #: (cl_ord_id, exec_id) of fills that wait for the end of their interval, in order of arrival.
    waiting: dict[tuple[str, str], None] = field(default_factory=dict)
    vwaps: dict[int, float | None] = field(default_factory=dict)
    #: Turnover and continuous volume of the market by session.
    traded: dict[int, tuple[float, float]] = field(default_factory=dict)
    days: dict[tuple[int, Side], Day] = field(default_factory=dict)
    bias: dict[Side, FillBias] = field(default_factory=lambda: {side: FillBias() for side in SIDES})

    def save(self) -> bytes:
        """Return the state value."""
        return orjson.dumps(
            {
                "waiting": list(self.waiting),
                "vwaps": list(self.vwaps.items()),
                "traded": [[day, *sums] for day, sums in self.traded.items()],
                "days": [[day, str(side), *found.save()] for (day, side), found in self.days.items()],
                "bias": {str(side): bias.save() for side, bias in self.bias.items()},
            }
        )

    @classmethod
    def load(cls, value: bytes) -> _Symbol:
        """Return what `save` has given."""
        saved: dict[str, Any] = orjson.loads(value)
        its = cls(dict.fromkeys((cl_ord_id, exec_id) for cl_ord_id, exec_id in saved["waiting"]), dict(saved["vwaps"]))
        its.traded = {day: (turnover, volume) for day, turnover, volume in saved["traded"]}
        for day, side, costs, missed, orders, published, assumed, unpriced, instrument in saved["days"]:
            sums = Costs.load(costs), int(missed), orders, published, int(assumed), unpriced, Instrument(**instrument)
            its.days[day, Side(side)] = Day(*sums)
        for side, bias in its.bias.items():
            bias.load(saved["bias"][str(side)])
        return its


class Feedback:
    """Measures the fills of one partition."""

    def __init__(self, settings: CoreSettings, orders: Ledger, markets: Markets, outbox: Outbox) -> None:
        self._interval = settings.books.interval_ns
        self._slices = settings.plans.child_slices
        self._limit = settings.model.fill_bias_limit
        self._orders = orders
        self._markets = markets
        self._outbox = outbox
        self._symbols: dict[str, _Symbol] = {}
        self._changes = Changes()

    # --- events -----------------------------------------------------------

    def arrived(self, order: Order, now: int) -> None:
        """Note a new order, with its arrival price if its window has begun."""
        self._of(order.symbol)
        if order.works_from <= now:
            self._arrive(order, now)

    def executed(self, order: Order, event: Fill | Correct | Bust, change: Change, now: int) -> None:
        """Measure the change that an execution event has made.

        Parameters
        ----------
        order : Order
            After the event.
        now : int
            Event time, ns.
        """
        exec_id, before, replaced = change
        known = order.executions[exec_id]
        its = self._of(order.symbol)
        mark = known.mark or self._mark(order, event, known, now)
        arrival = order.arrival_px
        if arrival is None:
            arrival = order.arrival_px = known.px if mark.mid is None else mark.mid
        order.executions[exec_id] = known._replace(mark=mark)
        sign = order.side.sign
        added = fill_costs(sign, known.qty, known.px, mark, arrival)
        if before is not None and before.mark is not None:
            added.add(fill_costs(sign, before.qty, before.px, before.mark, arrival), -1)
        order.costs.add(added)
        day = self._day(order.symbol, mark.at, order.side)
        day.costs.add(added)
        day.instrument = order.instrument
        if replaced:
            end = known.ts_event // self._interval * self._interval + self._interval
            self._day(order.symbol, end - 1, order.side).assumed -= replaced
        if mark.liquidity == "taker":
            paid, expected = added.slippage / COST_QUANTA, added.predicted / COST_QUANTA / mark.bias
            interval = mark.at // self._interval * self._interval
            its.bias[order.side].take(interval, added.predicted_qty / QUANTA, paid, expected)
        waits = (order.cl_ord_id, exec_id) in its.waiting
        reason = _REASONS[type(event)]
        if isinstance(event, Fill) and len(its.waiting) < MAX_WAITING:
            its.waiting[order.cl_ord_id, exec_id] = None
        elif not waits:
            self._publish_fill(its, order, exec_id, reason, now)
        if day.published:
            self._publish_day(order.symbol, mark.at, order.side, now, reason)

    def planned(self, order: Order, reason: str) -> None:
        """Note a published plan: its order may have ended, or be active again."""
        if order.status is Status.REJECTED or (order.active and order.closed is None):
            return
        at, before = order.closed or (order.clock, None)
        day = self._day(order.symbol, at, order.side)
        if before is not None:
            day.orders -= 1
            day.opportunity -= before
            day.unpriced -= order.unpriced
        if order.active:
            order.closed = order.end_px = None
            order.unpriced = False
        else:
            if order.end_px is None:
                order.end_px = self._markets.of(order.symbol).mid_at(order.clock)
            unfilled = max(order.order_qty - order.cum_qty, 0)
            missed = opportunity(order.side.sign, unfilled, order.end_px, order.arrival_px)
            day.orders += 1
            day.opportunity += missed or 0
            day.instrument = order.instrument
            order.unpriced = missed is None
            day.unpriced += order.unpriced
            order.closed = (at, missed or 0)
            self._outbox.publish(Topic.TCA, order.symbol, order_cost(order, reason, missed))
        if day.published:
            self._publish_day(order.symbol, at, order.side, order.clock, reason)
        self._orders.mark(order)

    def assumed(self, order: Order, qty: int, at: int) -> None:
        """Note `qty` quanta that count as executed at event time `at`, ns, without a reported fill."""
        if qty:
            self._day(order.symbol, at, order.side).assumed += qty

    def instruments(self, symbol: str) -> list[Instrument]:
        """Return the definitions whose units the remembered sessions of a symbol have."""
        its = self._symbols.get(symbol)
        return [] if its is None else [day.instrument for day in its.days.values() if day.orders or day.costs.fills]

    # --- time -------------------------------------------------------------

    def minute(self, symbol: str, minute: int, vwap: float | None, volume: float) -> None:
        """Take in the market's trades of a closed interval.

        Parameters
        ----------
        minute : int
            Its start, ns.
        vwap : float or None
            VWAP of the continuous volume.
        volume : float
            That volume, shares.
        """
        its = self._symbols.get(symbol)
        if its is None:
            return
        its.vwaps[minute] = vwap
        for old in list(its.vwaps)[:-VWAPS_KEPT]:
            del its.vwaps[old]
        if vwap is not None:
            day = self._open_of(symbol, minute)
            before = its.traded.get(day, (0.0, 0.0))
            its.traded[day] = (before[0] + vwap * volume, before[1] + volume)
            for old in sorted(its.traded)[:-DAYS_KEPT]:
                del its.traded[old]
        self._mark_changed(symbol)

    def begin(self, order: Order, minute_end: int) -> None:
        """Note the arrival price of an active order whose window begins in the interval from `minute_end` on."""
        if order.arrival_px is None and order.works_from < minute_end + self._interval:
            self._arrive(order, minute_end)

    def reach(self, symbol: str, now: int) -> None:
        """Publish what is due at `now`: fills of closed intervals, and sessions that have closed."""
        its = self._symbols.get(symbol)
        if its is None:
            return
        waiting, its.waiting = its.waiting, {}
        for cl_ord_id, exec_id in waiting:
            order = self._orders.get(cl_ord_id)
            # An id may be used again once its ended order is forgotten.
            execution = None if order is None else order.executions.get(exec_id)
            mark = None if execution is None else execution.mark
            if order is not None and mark is not None and mark.at < now:
                self._publish_fill(its, order, exec_id, "fill", now)
            elif mark is not None:
                its.waiting[cl_ord_id, exec_id] = None
        changed = len(waiting) != len(its.waiting)
        for (day, side), found in its.days.items():
            if not found.published and self._markets.session(symbol).close_after(day) <= now:
                found.published = changed = True
                self._publish_day(symbol, day, side, now, "close")
        for side, bias in its.bias.items():
            if bias.interval is not None and bias.interval < now // self._interval * self._interval:
                bias.close(now)
                self._markets.of(symbol).bias[side] = bias.ratio(self._limit)
                self._markets.mark(symbol)
                changed = True
        if changed:
            self._mark_changed(symbol)

    # --- messages ---------------------------------------------------------

    def _publish_fill(self, its: _Symbol, order: Order, exec_id: str, reason: str, now: int) -> None:
        mark = order.executions[exec_id].mark
        vwap = None if mark is None else its.vwaps.get(mark.at // self._interval * self._interval)
        self._outbox.publish(Topic.TCA, order.symbol, fill_cost(order, exec_id, reason, vwap, now))

    def _publish_day(self, symbol: str, at: int, side: Side, now: int, reason: str) -> None:
        its = self._symbols[symbol]
        day = self._open_of(symbol, at)
        found, (turnover, volume) = its.days[day, side], its.traded.get(day, (0.0, 0.0))
        costs, vwap = found.costs, turnover / volume if volume > 0.0 else None
        average = average_px(costs.notional, costs.qty)
        missed = None if found.unpriced else found.opportunity
        defined = found.instrument
        parts = Shortfall.of(costs, missed, defined.scale, measured=found.assumed == 0)
        against_arrival = costs.spread + costs.impact + costs.timing
        bought_at = average_px(costs.notional - side.sign * against_arrival, costs.qty)
        self._outbox.publish(
            Topic.TCA,
            symbol,
            DayCost(
                symbol=symbol,
                side=side,
                day=day,
                as_of=now,
                reason=reason,
                orders=found.orders,
                fills=costs.fills,
                qty=costs.qty,
                avg_px=average,
                market_vwap=vwap,
                slippage_bps=bps(costs.slippage, costs.predicted_qty, average),
                predicted_bps=bps(costs.predicted, costs.predicted_qty, average),
                arrival_bps=bps(against_arrival, costs.qty, bought_at),
                vwap_bps=over(side.sign, average, vwap),
                spread_cost=parts.spread,
                impact_cost=parts.impact,
                timing_cost=parts.timing,
                opportunity_cost=parts.opportunity,
                shortfall=parts.total,
                bias=self._markets.of(symbol).bias[side],
                currency=defined.currency,
                multiplier=defined.points,
                slippage_ticks=defined.in_ticks(average_px(costs.slippage, costs.predicted_qty)),
            ),
        )

    # --- inner ------------------------------------------------------------

    def _open_of(self, symbol: str, at: int) -> int:
        return at - self._markets.session(symbol).since_open_ns(at)

    def _of(self, symbol: str) -> _Symbol:
        its = self._symbols.setdefault(symbol, _Symbol())
        self._mark_changed(symbol)
        return its

    def _arrive(self, order: Order, now: int) -> None:
        quote = self._markets.of(order.symbol).quote(now)
        if quote is not None:
            order.arrival_px = quote[0]
            self._orders.mark(order)

    def _mark(self, order: Order, event: Fill | Correct | Bust, known: Execution, now: int) -> Mark:
        """Return the market at the arrival of a fill, which counts in the interval of its own ts_event."""
        market = self._markets.of(order.symbol)
        quote = market.quote(now)
        interval = known.ts_event // self._interval * self._interval
        before = self._of(order.symbol).bias[order.side].filled_in(interval)
        shares = known.qty / QUANTA
        under_way = now // self._interval * self._interval
        cost = market.expected_cost(order.side, now, under_way, before, shares, self._slices) if shares else None
        liquidity, venue = (event.last_liquidity_ind, event.venue) if isinstance(event, Fill) else (None, None)
        mid, half_spread = (None, None) if quote is None else quote
        predicted_px = None if cost is None else cost / shares
        return Mark(known.ts_event, mid, half_spread, predicted_px, market.bias[order.side], liquidity, venue)

    def _day(self, symbol: str, at: int, side: Side) -> Day:
        """Return the session of `at`; a forgotten one is returned empty and not kept."""
        its, key = self._of(symbol), (self._open_of(symbol, at), side)
        if key in its.days:
            return its.days[key]
        kept = sorted({day for day, _ in its.days} | {key[0]})[-DAYS_KEPT:]
        for old in [found for found in its.days if found[0] not in kept]:
            del its.days[old]
        return its.days.setdefault(key, Day()) if key[0] in kept else Day()

    # --- state ------------------------------------------------------------

    def changes(self) -> dict[str, bytes | None]:
        """Return the keys that have changed since the last call."""
        return self._changes.take()

    def dump(self) -> dict[str, bytes]:
        """Return every key with its value."""
        return {_KEY + symbol: its.save() for symbol, its in sorted(self._symbols.items())}

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore the symbols in a whole state."""
        for key, value in items.items():
            if key.startswith(_KEY):
                self._symbols[key.removeprefix(_KEY)] = _Symbol.load(value)

    def _mark_changed(self, symbol: str) -> None:
        self._changes.mark(_KEY + symbol, self._symbols[symbol].save)
