"""The service's own engine on recorded rows, forked at each order's start.

One pass over the tape without orders keeps the engine's state at every start
that is asked for.  From such a state a new engine is loaded, the order is
sent into it, and the rows of its window follow, with fills as scheduled.
What it trades is what `impactd replay` gives for that order alone: the same
inputs reach the same state machine, and a saved state continues to the last bit.
Orders do not affect each other, and none sees a row before its time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import INPUT_TOPICS, Side, Topic
from impactd.core.engine import Engine
from impactd.core.inputs.events import NewOrder, Received
from impactd.core.inputs.inbox import RANK, Inputs, Pending
from impactd.core.inputs.terms import Terms
from impactd.core.inputs.ticks import Float
from impactd.core.outputs.messages import Output, Plan, Slice
from impactd.core.tca.executed import Executed
from impactd.research.backtest.days import SymbolTape

State = Mapping[str, bytes]

#: Sees the engine at a time, and the outputs that led there.
Look = Callable[[Engine, int, tuple[Output, ...]], None]


@dataclass(frozen=True, slots=True)
class ParentOrder:
    """One order to try, in shares.

    Attributes
    ----------
    qty : int
        Quanta.
    start, end : int
        [start, end), ns; both at the ends of intervals.
    cap : int
        Most that any policy trades in an interval, quanta.
    lot_size : int
        Quanta.
    """

    symbol: str
    side: Side
    qty: int
    start: int
    end: int
    cap: int
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
    """What the engine did with an order.

    Attributes
    ----------
    qty : ndarray of float64, shape (n,)
        Shares traded in each interval of the window.
    first : Plan
        The plan that was made at the order's start.
    expected : Plan or None
        The first plan that had a price: at the start, unless no book prevailed yet.
    left : float
        Shares that were not traded when the window ended.
    slices : tuple of Slice
        What was taken within the minute, where the settings act so.
    """

    qty: Float
    first: Plan
    expected: Plan | None
    left: float
    n_plans: int
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
) -> dict[int, State]:
    """Return the engine's saved state at each of `starts`, before the row that comes at or after it.

    Parameters
    ----------
    starts : iterable of int
        Ends of intervals, ns.
    look : callable, optional
        Called with the engine, the time and what was published since the last, at each start; must change nothing.
    """
    engine = Engine(_by_quantity(settings))
    engine.genesis(dict.fromkeys(INPUT_TOPICS, 0))
    states: dict[int, State] = {}
    row = 0
    for start in sorted(set(starts)):
        stop = tape.row_before(start)
        # An idle move closes what an order's own event would close: nothing that comes later can distinguish them.
        commit = engine.apply(_inputs(tape, row, stop, (), start))
        row = stop
        states[start] = engine.dump()
        if look is not None:
            look(engine, start, commit.outputs)
    return states


def execute(tape: SymbolTape, settings: CoreSettings, state: State, order: ParentOrder) -> Run:
    """Run one order from the saved state at its start, fills as scheduled.

    Models are not published and bands do not continue learning: no quantity depends on either, and the plan that is
    judged by its band is the first one.

    Raises
    ------
    RuntimeError
        If the engine made no plan for it.
    """
    engine = Engine(_by_quantity(settings))
    engine.load(state)
    market = engine.market(order.symbol)
    if market is not None:
        market.publishes = False
    received = Received(order.event(), 0, order.start)
    pending = Pending(order.start, RANK[Topic.ORDERS], 0, Topic.ORDERS, received)
    rows = tape.row_before(order.start), tape.row_before(order.end)
    commit = engine.apply(_inputs(tape, *rows, (pending,), order.end))
    plans = [output.message for output in commit.outputs if output.topic is Topic.PLANS]
    run = executed(order, [plan for plan in plans if isinstance(plan, Plan)], settings.books.interval_ns)
    if settings.plans.act != "slices":
        return run
    slices = tuple(output.message for output in commit.outputs if isinstance(output.message, Slice))
    left = order.qty - sum(one.qty for one in slices)
    return dataclasses.replace(run, left=left / QUANTA, slices=slices)


def executed(order: ParentOrder, plans: list[Plan], interval_ns: int) -> Run:
    """Return what was traded where each interval's quantity fills as the plan in force has it.

    Parameters
    ----------
    plans : list of Plan
        Of this order, in the order in which they were published.

    Raises
    ------
    RuntimeError
        If there is no plan.
    """
    if not plans:
        raise RuntimeError(f"{order.symbol}: the engine made no plan for an order at {order.start}")
    path = Executed()
    for plan in plans:
        path.plan(plan)
    quanta = np.zeros((order.end - order.start) // interval_ns, np.int64)
    for start, qty in path.scheduled.items():
        quanta[(start - order.start) // interval_ns] = qty
    expected = next((plan for plan in plans if plan.expected_cost is not None), None)
    return Run(quanta / QUANTA, plans[0], expected, (order.qty - int(quanta.sum())) / QUANTA, len(plans))


def _inputs(tape: SymbolTape, row: int, stop: int, events: tuple[Pending, ...], idle_to: int) -> Inputs:
    spans = {Topic.TICKS: (row, stop)} if stop > row else {}
    if events:
        spans[Topic.ORDERS] = (0, len(events))
    return Inputs(tape.batch.take(slice(row, stop)), tape.keys[row:stop], events, spans, idle_to)
