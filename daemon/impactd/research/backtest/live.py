"""The service's own engine on recorded rows, forked at each order's start.

One pass over the tape without orders keeps the engine's state at every start
that is asked for.  From such a state a new engine is loaded, the order is
sent into it, and the rows of its window follow, with fills as scheduled.
What it trades is what `impactd replay` gives for that order alone: the same
inputs reach the same state machine, and a saved state continues to the last bit.
Orders do not affect each other, and none sees a row before its time.

One run of the model cannot serve all orders of a day.  An engine walks books at sizes that follow what its order asks
of an interval (`impactd.core.books.grid`), and its levels go on from there: unless that is near the sizes that a symbol
has without orders, the order trades another path with these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import INPUT_TOPICS, Side, Topic
from impactd.core.books.minute import MinuteStats
from impactd.core.engine import Engine
from impactd.core.inputs.events import NewOrder, Received
from impactd.core.inputs.inbox import RANK, Inputs, Pending
from impactd.core.inputs.terms import Terms
from impactd.core.inputs.ticks import Float
from impactd.core.orders.ledger import demanded
from impactd.core.orders.order import Order
from impactd.core.outputs.messages import Output, Plan, Slice
from impactd.research.backtest.days import SymbolTape
from impactd.research.backtest.quiet import QuietDesk

State = Mapping[str, bytes]

#: Intervals that an engine is run on before it is asked whether its orders have ended.
_AT_ONCE: Final = 5

#: Sees the engine at a time, and the outputs that led there.
Look = Callable[[Engine, int, tuple[Output, ...]], None]


@dataclass(frozen=True, slots=True)
class ParentOrder:
    """One order to try, in shares."""

    symbol: str
    side: Side
    #: Quanta.
    qty: int
    #: [start, end), ns; both at the ends of intervals.
    start: int
    end: int
    #: Most that any policy trades in an interval, quanta.
    cap: int
    #: Quanta.
    lot_size: int = QUANTA
    risk_aversion: float = 0.0

    def event(self) -> NewOrder:
        """Return the order as it is sent at its start."""
        return NewOrder(
            cl_ord_id="backtest",
            symbol=self.symbol,
            side=self.side,
            ts_event=self.start,
            terms=Terms(
                order_qty=self.qty,
                start=self.start,
                end=self.end,
                max_interval_qty=self.cap,
                lot_size=self.lot_size,
                risk_aversion=self.risk_aversion,
            ),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What the engine did with an order."""

    #: Shape (n,). Shares traded in each interval of the window.
    qty: Float
    #: The plan that was made at the order's start.
    first: Plan
    #: The first plan that had a price: at the start, unless no book prevailed yet.
    expected: Plan | None
    #: Shares that were not traded when the window ended.
    left: float
    n_plans: int
    #: What was taken within the minute, where the settings act so.
    slices: tuple[Slice, ...] = ()


def _by_quantity(settings: CoreSettings) -> CoreSettings:
    """Return the settings with costs in price times quantity, which is what recorded books are walked in."""
    instruments = tuple((pattern, replace(its, multiplier=None)) for pattern, its in settings.instruments)
    return replace(settings, instruments=instruments)


def states_at(
    tape: SymbolTape,
    settings: CoreSettings,
    starts: Iterable[int],
    *,
    look: Look | None = None,
    at: Iterable[int] = (),
) -> dict[int, State]:
    """Return the engine's saved state at each of `starts`, before the row that comes at or after it.

    Parameters
    ----------
    starts : iterable of int
        Ends of intervals, ns.
    look : callable, optional
        Called with the engine, the time and what was published since the last, at each of `starts` and `at`; must
        change nothing.
    at : iterable of int, optional
        Further ends of intervals, whose states are not kept.
    """
    engine = Engine(_by_quantity(settings))
    engine.genesis(dict.fromkeys(INPUT_TOPICS, 0))
    states: dict[int, State] = {}
    row, kept = 0, set(starts)
    for now in sorted(kept.union(at)):
        stop = tape.row_before(now)
        # An idle move closes what an order's own event would close: nothing that comes later can distinguish them.
        commit = engine.apply(_inputs(tape, row, stop, (), now))
        row = stop
        if now in kept:
            states[now] = engine.dump()
        if look is not None:
            look(engine, now, commit.outputs)
    return states


def execute(tape: SymbolTape, settings: CoreSettings, state: State, order: ParentOrder) -> Run:
    """Run one order from the saved state at its start, fills as scheduled.

    Models are not published and bands do not continue learning: no quantity depends on either, and the plan that is
    judged by its band is the first one.
    """
    return execute_all(tape, settings, state, (order,))[0]


def execute_all(tape: SymbolTape, settings: CoreSettings, state: State, orders: Sequence[ParentOrder]) -> list[Run]:
    """Run each order by itself from the saved state at their start; see `execute`.

    Orders that cannot affect each other share one engine: both sides of one quantity, as long as each alone would
    have the same sizes walked.  What they trade is the same to the last bit.

    Parameters
    ----------
    orders : sequence of ParentOrder
        Of one symbol, start and end.
    """
    found: dict[int, Run] = {}
    for group in _apart(settings, orders):
        its = [orders[i] for i in group]
        runs = _run(tape, settings, state, its) or [_run(tape, settings, state, [order])[0] for order in its]
        found |= zip(group, runs, strict=True)
    return [found[i] for i in range(len(orders))]


def _apart(settings: CoreSettings, orders: Sequence[ParentOrder]) -> list[list[int]]:
    """Return the numbers of the orders that may share an engine, together."""
    # Slices move with each row, and the gate counts plans: there one order's steps may change the other's.
    if settings.plans.act == "slices" or settings.gate.max_plans_per_second is not None:
        return [[i] for i in range(len(orders))]
    groups: dict[tuple[int, int], list[int]] = {}
    for i, order in enumerate(orders):
        groups.setdefault((order.qty, order.lot_size), []).append(i)
    apart: list[list[int]] = []
    for group in groups.values():
        sides = {orders[i].side for i in group}
        apart += [group] if len(sides) == len(group) else [[i] for i in group]
    return apart


class _Shared(Engine):
    """An engine whose state nobody reads, that notes whether its orders would each have the same sizes walked alone."""

    desk = QuietDesk
    _desk: QuietDesk
    same = True

    @property
    def worked(self) -> Mapping[str, Order]:
        """Its orders by id, those that it has forgotten too."""
        return self._desk.worked

    def _changed(self) -> dict[str, bytes | None]:
        """Write no state: nobody continues from what an order was tried on."""
        return {}

    def _regrid(self, symbol: str, stats: MinuteStats) -> None:
        asked = {demanded(order, self._interval) for order in self.orders.active_of(symbol)}
        if len(asked) > 1:
            lot = self.orders.lot(symbol)
            grids = {self._books.grid_after(stats.symbol, stats, demand, lot) for demand in asked}
            self.same = self.same and len(grids) == 1
        super()._regrid(symbol, stats)


def _run(tape: SymbolTape, settings: CoreSettings, state: State, orders: Sequence[ParentOrder]) -> list[Run]:
    """Run orders in one engine until all have ended; return nothing if one alone would have had other sizes walked."""
    engine = _Shared(_by_quantity(settings))
    engine.load(state)
    symbol, start, end = orders[0].symbol, orders[0].start, orders[0].end
    market = engine.market(symbol)
    if market is not None:
        market.publishes = False
    events = []
    for i, order in enumerate(orders):
        received = Received(replace(order.event(), cl_ord_id=str(order.side)), i, start)
        events.append(Pending(start, RANK[Topic.ORDERS], i, Topic.ORDERS, received))
    outputs: list[Output] = []
    filled: dict[str, dict[int, int]] = {}
    row, at, pending = tape.row_before(start), start, tuple(events)
    while at < end:
        at = min(at + _AT_ONCE * settings.books.interval_ns, end)
        stop = tape.row_before(at)
        outputs += engine.apply(_inputs(tape, row, stop, pending, end if at == end else None)).outputs
        for cl_ord_id, its in engine.worked.items():  # an order forgets what it assumed long ago
            filled.setdefault(cl_ord_id, {}).update(its.assumed)
        row, pending = stop, ()
        if not engine.same:
            return []
        if not engine.orders.active_of(symbol):
            break
    messages = [output.message for output in outputs if output.topic is not Topic.PLANS_LATEST]
    return [
        _ran(
            order,
            engine.worked[str(order.side)],
            filled[str(order.side)],
            [one for one in messages if isinstance(one, Plan | Slice) and one.side is order.side],
            settings.books.interval_ns,
        )
        for order in orders
    ]


def _ran(
    order: ParentOrder, its: Order, filled: Mapping[int, int], published: Sequence[Plan | Slice], interval_ns: int
) -> Run:
    """Return what an order has traded, `filled` by the start of an interval, and what was published of it."""
    plans = [one for one in published if isinstance(one, Plan)]
    quanta = np.zeros((order.end - order.start) // interval_ns, np.int64)
    for start, qty in filled.items():
        quanta[(start - order.start) // interval_ns] = qty
    return Run(
        qty=quanta / QUANTA,
        first=plans[0],
        expected=next((plan for plan in plans if plan.expected_cost is not None), None),
        left=(order.qty - its.cum_qty) / QUANTA,
        n_plans=its.plan_version,
        slices=tuple(one for one in published if isinstance(one, Slice)),
    )


def _inputs(tape: SymbolTape, row: int, stop: int, events: tuple[Pending, ...], idle_to: int | None) -> Inputs:
    spans = {Topic.TICKS: (row, stop)} if stop > row else {}
    if events:
        spans[Topic.ORDERS] = (0, len(events))
    return Inputs(tape.batch.take(slice(row, stop)), tape.keys[row:stop], events, spans, idle_to)
