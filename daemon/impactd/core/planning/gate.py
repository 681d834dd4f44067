"""The gate before publication: limits on every plan, independent of how it was made.

It is fail-closed.  A plan goes out only if every limit that is set has been
compared with a number and held.  Unknown values (no mid, no prevailing book),
NaN, and errors in this module all withhold the plan.

A plan that is withheld does not leave the one before it in force.  That one
was made for a state of the market and of the order that no longer holds, and
a desk that continues trading it would exceed the limit; so a halted
plan is published in its place, whose text names the limit.  The order is
replanned as each minute closes, and whenever something forces it, and goes
on by itself once a plan passes.

Plans are counted by seconds of event time, since the core knows no other.
All orders of a symbol are replanned at the same event time, the close of a
minute: a limit on plans per second has to be above the number of orders.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import orjson

from impactd.core.base.quantity import QUANTA, format_qty
from impactd.core.base.quick import quick_dataclass
from impactd.core.base.settings import SECOND_NS, GateSettings
from impactd.core.orders.auction import entered
from impactd.core.orders.order import Order
from impactd.core.planning.propose import Proposal

#: Name of the limit on the pace: what it withholds from a halted order is not said again.
PACE: Final = "gate.max_plans_per_second"


class Withheld(NamedTuple):
    """Why a plan does not go out."""

    #: Name of the setting, or ``gate`` where something else is wrong.
    limit: str
    #: For the plan and the alert; names the limit.
    text: str


@quick_dataclass(frozen=True, slots=True)
class MarketSnapshot:
    """What a plan is measured by."""

    #: Event time, ns.
    now: int
    #: Price.
    mid: float | None
    #: What the standing book shows on the side that the order takes, shares.
    depth: float | None


class Gate:
    """Decides whether a plan may be published.

    Attributes
    ----------
    pace : (int, int)
        A second of event time, and the plans that passed in it.
    """

    def __init__(self, settings: GateSettings) -> None:
        self._settings = settings
        self.pace = (0, 0)

    def withholds(self, order: Order, proposal: Proposal, market: MarketSnapshot) -> Withheld | None:
        """Return why the plan must not go out; None lets it pass, and counts it."""
        try:
            found = (
                self._inconsistent(order, proposal)
                or self._order_qty(order)
                or self._order_notional(order, market)
                or self._interval_depth(proposal, market)
                or self._pace(market.now)
            )
        except Exception as error:  # noqa: BLE001  (fail-closed: whatever goes wrong in here, nothing goes out)
            return Withheld("gate", f"withheld: the gate failed: {error!r:.200}")
        if found is None:
            self.pace = self._paced(market.now)
        return found

    @staticmethod
    def _inconsistent(order: Order, proposal: Proposal) -> Withheld | None:
        """Return what no solver and no rounding may do."""
        planned = int(proposal.qty.sum()) + entered(proposal.auctions)
        whole = planned == order.leaves_qty - proposal.shortfall_qty
        within = proposal.qty.min(initial=0) >= 0 and not proposal.limits.broken_by(proposal.qty[None])
        cost = not proposal.priced or (math.isfinite(proposal.expected_cost) and math.isfinite(proposal.twap_cost))
        if whole and within and cost:
            return None
        what = (
            "its quantities do not sum"
            if not whole
            else "a cap is broken"
            if not within
            else "its cost is not a number"
        )
        return Withheld("gate", f"withheld: {what}")

    def _order_qty(self, order: Order) -> Withheld | None:
        limit = self._settings.max_order_qty
        if limit is None or order.order_qty <= limit * QUANTA:
            return None
        return Withheld(
            "gate.max_order_qty",
            f"withheld: order_qty {format_qty(order.order_qty)} exceeds gate.max_order_qty {limit:.12g}",
        )

    def _order_notional(self, order: Order, market: MarketSnapshot) -> Withheld | None:
        limit = self._settings.max_order_notional
        if limit is None:
            return None
        if market.mid is None:
            return Withheld("gate.max_order_notional", "withheld: no mid to compare with gate.max_order_notional")
        mid = abs(market.mid) if order.instrument.negative_px else market.mid
        notional = order.order_qty / QUANTA * mid * order.instrument.points
        # Not `notional > limit`: a value that is no number has to be withheld too.
        if 0.0 <= notional <= limit:
            return None
        return Withheld(
            "gate.max_order_notional",
            f"withheld: a notional of {notional:.10g} exceeds gate.max_order_notional {limit:.10g}",
        )

    def _interval_depth(self, proposal: Proposal, market: MarketSnapshot) -> Withheld | None:
        limit = self._settings.max_interval_depth
        if limit is None:
            return None
        most = max(proposal.qty.tolist(), default=0)
        if market.depth is None:
            return Withheld("gate.max_interval_depth", "withheld: no book to compare with gate.max_interval_depth")
        if most / QUANTA <= limit * market.depth:
            return None
        return Withheld(
            "gate.max_interval_depth",
            f"withheld: {format_qty(most)} in one interval is more than gate.max_interval_depth {limit:g} times the "
            f"visible depth of {market.depth:.10g}",
        )

    def _pace(self, now: int) -> Withheld | None:
        limit = self._settings.max_plans_per_second
        if limit is None or self._paced(now)[1] <= limit:
            return None
        return Withheld(PACE, f"withheld: more than {PACE} {limit} in a second of event time")

    def _paced(self, now: int) -> tuple[int, int]:
        """Return the pace with one plan more."""
        second, count = self.pace
        # Events may apply at times that run back a little; the second does not.
        at = max(now // SECOND_NS, second)
        return (at, count + 1) if at == second else (at, 1)

    def dump(self) -> bytes:
        """Return the state value."""
        return orjson.dumps(self.pace)

    def load(self, value: bytes) -> None:
        """Restore from the state value."""
        second, count = orjson.loads(value)
        self.pace = (second, count)
