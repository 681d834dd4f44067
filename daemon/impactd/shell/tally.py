"""Summary of a run, counted from what it published.

Each order has two prices:

- expected: the cost of its first priced plan, and of TWAP by the same model over the same window;
- realised: the cost of its executed quantity, and of the same quantity at an even pace, priced at the books of
  each interval (`impactd.core.books.interval_cost`), or by its fills if reported.

Costs of later plans are not added up: they include the market's move in between.  No saving is stated where fills
are assumed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from impactd.core.base.quantity import QUANTA, format_qty
from impactd.core.base.session import Sessions
from impactd.core.base.settings import SECOND_NS
from impactd.core.base.topics import Side, Topic
from impactd.core.outputs.messages import Alert, DeadLetter, Estimate, FillCost, Model, Output, Plan, Slice
from impactd.core.tca.executed import Executed
from impactd.shell.realised import Answer, Question


@dataclass(frozen=True, slots=True)
class OrderSummary:
    """One parent order at the end of a run. Quantities as on the wire, costs in currency over mid."""

    cl_ord_id: str
    symbol: str
    side: str
    status: str
    #: Reason of the status, such as why it was rejected; None without one.
    text: str | None
    order_qty: int | float
    cum_qty: int | float
    leaves_qty: int | float
    shortfall_qty: int | float
    #: Which limits have left it unplanned, as the last plan with a schedule names them.
    shortfall_limits: tuple[str, ...]
    plans: int
    #: Event time of the first plan that had a price, ns; the fields below are of that plan.
    expected_as_of: int | None
    #: What it scheduled.
    expected_qty: int | float | None
    expected_cost: float | None
    #: Basis points of the mid of that time.
    expected_bps: float | None
    expected_twap_cost: float | None
    #: Of the same mid.
    expected_saving_bps: float | None
    band_95: tuple[float, float] | None
    #: Whether the executed quantity is that of ``reported`` fills, or assumed to be as ``scheduled``.
    fills: str
    #: Mid when the order began to work.
    arrival_px: float | None
    #: Of the executed quantity; basis points are of its value at the arrival price.
    cost: float | None
    cost_bps: float | None
    #: Of the same quantity at an even pace.
    twap_cost: float | None
    twap_bps: float | None
    #: One less the other; None where nothing was executed or fills are assumed.
    saved: float | None
    saved_bps: float | None
    #: Shares of the executed quantity that no book showed, which are priced on its own slope; None by fills.
    beyond_depth_qty: float | None
    #: Of the costs, of the instrument's definition.
    currency: str | None
    #: Start of an interval, ns, and the quantity that counts as executed in it; empty by fills, and without those in
    #: auctions.
    by_interval: tuple[tuple[int, int | float], ...]


@dataclass(slots=True)
class _Order:
    latest: Plan
    priced: Plan | None = None
    plans: int = 0
    limits: tuple[str, ...] = ()
    executed: Executed = field(default_factory=Executed)
    #: Quanta of its slices by the start of their interval, ns: then its plans' quantities are not what it executed.
    slices: dict[int, int] = field(default_factory=dict)

    def take(self, plan: Plan) -> None:
        self.latest = plan
        self.plans += 1
        self.executed.plan(plan)
        if plan.certificate is not None:
            self.limits = plan.shortfall_limits
        if self.priced is None and plan.expected_cost is not None:
            self.priced = plan

    def take_slice(self, taken: Slice) -> None:
        interval_ns = self.latest.interval_s * SECOND_NS
        start = taken.as_of // interval_ns * interval_ns
        self.slices[start] = self.slices.get(start, 0) + taken.qty

    def question(self, fills: str, lot_size: int, sessions: Sessions | None) -> Question | None:
        """Return the quantities to price: the executed quantity, where it was scheduled, and at an even pace."""
        path = self.executed
        if self.slices and fills == "scheduled":
            return None
        known = path.scheduled_qty if fills == "scheduled" else path.filled_qty
        if path.begin is None or not self.latest.cum_qty or known != self.latest.cum_qty:
            return None
        ours = path.scheduled if fills == "scheduled" else {}
        symbol, interval_ns = self.latest.symbol, self.latest.interval_s * SECOND_NS
        session = None if sessions is None else sessions.of(symbol)
        even = path.even(self.latest.cum_qty, lot_size, interval_ns, session)
        return Question(symbol, self.latest.side, path.begin, (ours, even))

    def summary(self, fills: str, answer: Answer | None) -> OrderSummary:
        plan, priced = self.latest, self.priced
        cost, twap_cost, beyond, arrival_px = None, None, None, None
        if answer is not None:
            ours, even = answer.costs
            cost = _known(ours * plan.multiplier) if fills == "scheduled" else None
            twap_cost = _known(even * plan.multiplier)
            beyond, arrival_px = answer.beyond_qty[0] if fills == "scheduled" else None, answer.arrival_px
        if fills == "reported" and plan.cum_qty and self.executed.filled_qty == plan.cum_qty:
            cost = self.executed.paid_over_mid()
            arrival_px = next(iter(self.executed.fills.values())).arrival_px
        value = None if arrival_px is None else plan.cum_qty / QUANTA * arrival_px * plan.multiplier
        saved = None if fills == "scheduled" or cost is None or twap_cost is None else twap_cost - cost
        return OrderSummary(
            cl_ord_id=plan.cl_ord_id,
            symbol=plan.symbol,
            side=plan.side.value,
            status=plan.status,
            text=plan.text,
            order_qty=format_qty(plan.order_qty),
            cum_qty=format_qty(plan.cum_qty),
            leaves_qty=format_qty(plan.leaves_qty),
            shortfall_qty=format_qty(plan.shortfall_qty),
            shortfall_limits=self.limits if plan.shortfall_qty else (),
            plans=self.plans,
            expected_as_of=None if priced is None else priced.as_of,
            expected_qty=None if priced is None else format_qty(sum(priced.qty)),
            expected_cost=None if priced is None else priced.expected_cost,
            expected_bps=None if priced is None else priced.expected_cost_bps,
            expected_twap_cost=None if priced is None else priced.twap_cost,
            expected_saving_bps=None if priced is None else priced.saving_bps,
            band_95=None if priced is None else priced.cost_band_95,
            fills=fills,
            arrival_px=arrival_px,
            cost=cost,
            cost_bps=_bps(cost, value),
            twap_cost=twap_cost,
            twap_bps=_bps(twap_cost, value),
            saved=saved,
            saved_bps=_bps(saved, value),
            beyond_depth_qty=beyond,
            currency=plan.currency,
            by_interval=tuple(
                (start, format_qty(qty))
                for start, qty in sorted((self.slices or self.executed.scheduled).items())
                if qty and fills == "scheduled"
            ),
        )


def _known(cost: float) -> float | None:
    return None if math.isnan(cost) else cost


def _bps(cost: float | None, value: float | None) -> float | None:
    return None if cost is None or value is None or value <= 0.0 else 1e4 * cost / value


@dataclass(slots=True)
class Tally:
    """Counts published messages as they come."""

    #: How the run's plans count as filled: ``reported`` or ``scheduled``.
    fills: str = "reported"
    #: When the markets are open; None where they never close.
    sessions: Sessions | None = None
    minutes: int = 0
    minutes_with_mid: int = 0
    models: int = 0
    plans: int = 0
    late: int = 0
    dead: Counter[str] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    _orders: dict[str, _Order] = field(default_factory=dict)

    def count(self, outputs: Iterable[Output]) -> None:
        """Count what one commit published."""
        for output in outputs:
            match output.message:
                case Estimate() as estimate if estimate.side is Side.BUY:
                    # Both sides tell of the same minute.
                    self.minutes += 1
                    self.minutes_with_mid += estimate.mid is not None
                    self.late += estimate.n_late
                case Model():
                    self.models += 1
                case Plan() as plan if output.topic is Topic.PLANS:
                    self._plan(plan)
                case Slice() as taken if taken.cl_ord_id in self._orders:
                    self._orders[taken.cl_ord_id].take_slice(taken)
                case FillCost() as cost if cost.cl_ord_id in self._orders:
                    self._orders[cost.cl_ord_id].executed.fill(cost)
                case Alert() as alert:
                    self.alerts[alert.kind] += 1
                case DeadLetter() as letter:
                    self.dead[letter.reason] += 1
                case _:
                    pass

    def _plan(self, plan: Plan) -> None:
        self.plans += 1
        self._orders.setdefault(plan.cl_ord_id, _Order(plan)).take(plan)

    def symbols(self) -> set[str]:
        """Return the symbols of the orders."""
        return {order.latest.symbol for order in self._orders.values()}

    def questions(self, lot_sizes: Mapping[str, int]) -> dict[str, Question]:
        """Return the quantities to price, by order.

        Parameters
        ----------
        lot_sizes : mapping of str to int
            Quanta, by order.
        """
        asked = {
            name: order.question(self.fills, lot_sizes.get(name, QUANTA), self.sessions)
            for name, order in self._orders.items()
        }
        return {name: question for name, question in asked.items() if question is not None}

    def orders(self, answers: Mapping[str, Answer] | None = None) -> tuple[OrderSummary, ...]:
        """Return the orders by id, priced by `answers`."""
        found = answers or {}
        return tuple(order.summary(self.fills, found.get(name)) for name, order in sorted(self._orders.items()))
