"""What a run amounted to, counted from what it published.

A saving is stated as it was expected when it was first known: the cost of an
order's first plan under a model that has seen the market, and that of TWAP
over the same window, quantity and model.  Where no such plan came, that of
the first plan from a standing book; a plan from the generic prior alone has
no price worth stating.  Costs of later plans are not added up or set against
it: they hold what the market did in between, which is no saving of ours.
None of it is realised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from impactd.core.base.quantity import format_qty
from impactd.core.base.topics import Side, Topic
from impactd.core.outputs.messages import Alert, DeadLetter, Estimate, Model, Output, Plan


@dataclass(frozen=True, slots=True)
class OrderSummary:
    """One parent order at the end of a run. Quantities as on the wire, costs in currency.

    Attributes
    ----------
    expected_cost, twap_cost : float or None
        Of the first plan under a model that has seen the market, and of TWAP over the same window by that model.
    saving_bps : float or None
        Their difference, in basis points of the mid of that time.
    """

    cl_ord_id: str
    symbol: str
    side: str
    status: str
    order_qty: int | float
    cum_qty: int | float
    leaves_qty: int | float
    shortfall_qty: int | float
    plans: int
    expected_cost: float | None
    twap_cost: float | None
    saving_bps: float | None


@dataclass(slots=True)
class _Order:
    latest: Plan
    priced: Plan | None = None
    plans: int = 0

    def take(self, plan: Plan) -> None:
        self.latest = plan
        self.plans += 1
        if plan.expected_cost is None or plan.twap_cost is None or plan.model is None or plan.model.as_of is None:
            return
        known = self.priced
        if known is None or (known.model is not None and known.model.prior and not plan.model.prior):
            self.priced = plan

    def summary(self) -> OrderSummary:
        plan, priced = self.latest, self.priced
        return OrderSummary(
            cl_ord_id=plan.cl_ord_id,
            symbol=plan.symbol,
            side=plan.side.value,
            status=plan.status,
            order_qty=format_qty(plan.order_qty),
            cum_qty=format_qty(plan.cum_qty),
            leaves_qty=format_qty(plan.leaves_qty),
            shortfall_qty=format_qty(plan.shortfall_qty),
            plans=self.plans,
            expected_cost=None if priced is None else priced.expected_cost,
            twap_cost=None if priced is None else priced.twap_cost,
            saving_bps=None if priced is None else priced.saving_bps,
        )


@dataclass(slots=True)
class Tally:
    """Counts published messages as they come."""

    minutes: int = 0
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
                    self.late += estimate.n_late
                case Model():
                    self.models += 1
                case Plan() as plan if output.topic is Topic.PLANS:
                    self._plan(plan)
                case Alert() as alert:
                    self.alerts[alert.kind] += 1
                case DeadLetter() as letter:
                    self.dead[letter.reason] += 1
                case _:
                    pass

    def _plan(self, plan: Plan) -> None:
        self.plans += 1
        self._orders.setdefault(plan.cl_ord_id, _Order(plan)).take(plan)

    def orders(self) -> tuple[OrderSummary, ...]:
        """Return the orders by id."""
        return tuple(order.summary() for _, order in sorted(self._orders.items()))
