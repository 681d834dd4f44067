"""Decides when an order's schedule is replaced, and what is published.

A plan is published when an event forces it (a new or amended order, a fill off
the plan, a control, an end) and, at a minute's close, when replacing the
current schedule saves more than `PlanSettings.replan_threshold_bps`.

Orders on one symbol and side trade into the same book and are planned as one
problem, however many they are, those with risk aversion only where
`PlanSettings.group_risk` is set.  Whatever forces the plan of one plans all of them,
the threshold applies to what all of them save, and the plans that are published
share a ``group_id``: those that an event forces, those whose schedule changes, and
those whose cost has changed from what they stated (`impactd.core.planning.propose.RESTATED`).
An order that is planned by itself is charged for the others' plans; so is each one
of a group whose joint problem could not be solved, which an alert states.

Up to `AT_ONCE` orders are planned together at each event of one of them.  In a larger
group an event plans its order by itself; all are planned together once an eighth of the
number above `AT_ONCE` have been planned so, and as the minute closes.  So a thousand
arrivals are a hundred joint problems.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.curve import Float
from impactd.core.allocator.solvers.base import SolveFailure
from impactd.core.base.quantity import QUANTA, format_qty
from impactd.core.base.settings import CoreSettings
from impactd.core.base.timing import Probe
from impactd.core.base.topics import Side, Topic
from impactd.core.base.venue import rule_of
from impactd.core.books.checks import Book as Prevailing
from impactd.core.market.markets import Markets
from impactd.core.market.symbol import SideView
from impactd.core.orders.alerts import OrderAlerts
from impactd.core.orders.halts import Halts
from impactd.core.orders.ledger import Ledger
from impactd.core.orders.order import Order, Status
from impactd.core.orders.schedule import Schedule
from impactd.core.outputs.messages import Plan, VenuePart
from impactd.core.outputs.outbox import Outbox
from impactd.core.planning.auctions import pending
from impactd.core.planning.book import Book
from impactd.core.planning.gate import PACE, Gate, MarketSnapshot
from impactd.core.planning.message import plan_message
from impactd.core.planning.pace import Pace
from impactd.core.planning.price_watch import PriceWatch
from impactd.core.planning.propose import Proposal, Proposals, propose
from impactd.core.planning.venues import ladder, split
from impactd.core.tca.feedback import Feedback

_FALLBACK: Final = "planned separately and charged for the others' plans, not jointly with them: {}"

#: So many orders are planned together at each event of one of them; of those above, one part in `PART` waits.
AT_ONCE: Final = 64
PART: Final = 8

#: A saving smaller than this part of the cost is rounding, not a better plan.
_ROUNDING: Final = 1e-9


class Planner:
    """Makes and publishes the plans of a partition's orders."""

    def __init__(
        self,
        settings: CoreSettings,
        orders: Ledger,
        halts: Halts,
        gate: Gate,
        markets: Markets,
        feedback: Feedback,
        alerts: OrderAlerts,
        pace: Pace,
        prices: PriceWatch,
        outbox: Outbox,
        probe: Probe,
    ) -> None:
        self._settings = settings.plans
        self._rules = settings.venues
        self._interval = settings.books.interval_ns
        self._orders = orders
        self._halts = halts
        self._gate = gate
        self._markets = markets
        self._feedback = feedback
        self._alerts = alerts
        self._pace = pace
        self._prices = prices
        self._outbox = outbox
        self._probe = probe
        self._book = Book(orders, self._interval)
        #: Orders that were planned by themselves since their group was; from their state after a restart.
        self._single: dict[tuple[str, Side], set[str]] = {}

    def plan(self, order: Order, now: int, reason: str, *, forced: bool) -> None:
        """Plan `order` with its group; publish if `forced`, or if the plan is worth replacing the current one."""
        self._set_clock(order, now)
        halt = self.halt_of(order)
        if not order.active or halt is not None:
            self._set_single(order, single=False)
            if forced or not order.halted:
                self._publish_none(order, reason, halt)
            return
        if forced and self._waits(order):
            self._set_single(order, single=True)
            self._plan_alone(order, now, reason, forced=forced)
            return
        group = self.group(order)
        if len(group) > 1 and order in group:
            self.plan_group(group, now, {order.cl_ord_id: reason}, forced=forced)
        else:
            self._plan_alone(order, now, reason, forced=forced)

    def _waits(self, order: Order) -> bool:
        """Return whether an order is planned by itself now, and with its group later."""
        if self._settings.transient_share > 0.0 or not self._joins(order):
            return False
        return len(self._singles(order)) * PART < self._orders.n_active(order.symbol) - AT_ONCE

    def _singles(self, order: Order) -> set[str]:
        """Return the orders on an order's symbol and side that were planned by themselves since their group was."""
        key = (order.symbol, order.side)
        if key not in self._single:
            self._single[key] = {
                o.cl_ord_id for o in self._orders.of(order.symbol) if o.single and o.side is order.side
            }
        return self._single[key]

    def _set_single(self, order: Order, *, single: bool) -> None:
        if order.single is not single:
            singles = self._singles(order)
            (singles.add if single else singles.discard)(order.cl_ord_id)
            order.single = single
            self._orders.mark(order)

    def _plan_alone(self, order: Order, now: int, reason: str, *, forced: bool) -> None:
        """Plan one order, charged for the current plans of all others in its book."""
        view = self._markets.of(order.symbol).view(order.side, order.clock)
        proposals = self._proposed([order], order.clock, view)
        if self._unsolved(order, now, reason, proposals, forced=forced) or isinstance(proposals, SolveFailure):
            return
        root = proposals.problem.root
        order.depth_root = float(root[0]) if root.size else 0.0
        if forced or order.halted or self._worth_it(proposals):
            self._accept(order, now, reason, proposals.of(0), view, forced=forced)

    def planned(self, symbol: str, side: Side, starts: Int) -> Float | None:
        """Return what the current schedules of all orders trade in intervals, shares; None for nothing."""
        return self._book.others((), symbol, side, starts)

    def _proposed(self, orders: list[Order], clock: int, view: SideView) -> Proposals | SolveFailure:
        symbol, side = orders[0].symbol, orders[0].side
        with self._probe("solve"):
            proposals = propose(
                orders,
                clock,
                view,
                self._settings,
                self._interval,
                lambda starts: self._book.others(orders, symbol, side, starts),
            )
        if isinstance(proposals, Proposals):
            found = zip(orders, proposals.limits.last.tolist(), proposals.impact_scales, strict=True)
            for order, last_start, scale in found:
                if order.last_start != last_start or order.impact_scale != scale:
                    order.last_start, order.impact_scale = last_start, scale
                    self._orders.mark(order)
        for order in orders:
            self._pace.note(order)
            self._prices.planned(order)
        return proposals

    def group(self, order: Order) -> list[Order]:
        """Return the orders that are planned with `order`, itself included, by cl_ord_id.

        With transient impact each order is planned by itself.
        """
        if self._settings.transient_share > 0.0 or not self._joins(order):
            return [order]
        group = [
            other
            for other in self._orders.active_of(order.symbol)
            if other.side is order.side
            and other.leaves_qty > 0
            and self._joins(other)
            and other.terms.end > order.clock
            and self.halt_of(other) is None
        ]
        return group if len(group) <= self._settings.max_group else [order]

    def _joins(self, order: Order) -> bool:
        """Return whether an order may be planned with others: nothing that only its own problem can hold."""
        return (
            order.terms.min_clip_qty is None
            and not order.terms.has_price
            and order.terms.auctions is None
            and not order.auctions
            and order.terms.alpha_bps is None
            and (not order.terms.averse or self._settings.group_risk)
        )

    def plan_group(self, group: list[Order], now: int, reasons: Mapping[str, str], *, forced: bool) -> None:
        """Plan orders as one problem, and publish the plans that change.

        Parameters
        ----------
        reasons : mapping of str
            Reason of each order's plan; ``group`` where it has none.
        forced : bool
            Whether to publish whatever it saves: then those with a reason of their own are published in any case.
        """
        clock = max(now, *(order.clock for order in group))
        for order in group:
            # Only what changes is written to the state: one event among a thousand orders is not a thousand changes.
            if order.cl_ord_id in reasons or self._pace.holds(order):
                self._set_clock(order, clock)
        view = self._markets.of(group[0].symbol).view(group[0].side, clock)
        together = self._proposed(group, clock, view)
        failure = str(together) if isinstance(together, SolveFailure) else None
        for order in group:
            self._warn(order, now, "joint_fallback", _FALLBACK.format(failure) if failure else None)
        if isinstance(together, SolveFailure):
            self._outbox.counts.unsolved += 1
            for order in group:
                self._set_clock(order, clock)
                self._plan_alone(order, now, reasons.get(order.cl_ord_id, "group"), forced=forced)
            return
        for order in group:
            self._set_single(order, single=False)
            self._warn(order, now, "solver_failed", None)
        if not (forced or any(order.halted for order in group) or self._worth_it(together)):
            return
        group_id = f"{group[0].symbol}/{group[0].side}/{clock}"
        changed = together.changed().tolist()
        venues = self._markets.is_at_venues(group[0].symbol, clock)
        for i, order in enumerate(group):
            reason = reasons.get(order.cl_ord_id, "group")
            if changed[i] or order.halted or venues or (forced and reason not in {"group", "minute"}):
                self._set_clock(order, clock)
                self._accept(order, now, reason, together.of(i), view, forced=forced, group_id=group_id)

    def _set_clock(self, order: Order, clock: int) -> None:
        order.clock = max(order.clock, clock)
        self._orders.mark(order)

    def _warn(self, order: Order, now: int, kind: str, text: str | None) -> None:
        """Alert as `OrderAlerts.warn` does, and note that the order has changed if that is so."""
        if (text is None) is (kind in order.alerted):
            self._alerts.warn(order, now, kind, text)
            self._orders.mark(order)

    def _unsolved(
        self, order: Order, now: int, reason: str, proposal: Proposals | SolveFailure, *, forced: bool
    ) -> bool:
        """Alert and return True if no solver found a certified schedule."""
        failure = proposal if isinstance(proposal, SolveFailure) else None
        self._alerts.warn(order, now, "solver_failed", None if failure is None else str(failure))
        if failure is None:
            return False
        self._outbox.counts.unsolved += 1
        # Without an event the current schedule stays valid; after one it is withdrawn.
        if forced and not order.halted:
            self._publish_none(order, reason, f"no schedule passes its certificate: {failure.text}")
        return True

    def _accept(
        self,
        order: Order,
        now: int,
        reason: str,
        proposal: Proposal,
        view: SideView,
        *,
        forced: bool,
        group_id: str | None = None,
    ) -> None:
        """Publish the proposal, or a halted plan if the gate withholds it."""
        withheld = self._gate.withholds(order, proposal, MarketSnapshot(order.clock, view.mid, view.depth))
        self._alerts.warn(order, now, "withheld", None if withheld is None else withheld.text)
        if withheld is not None:
            self._outbox.counts.withheld += 1
            if not order.halted or (forced and withheld.limit != PACE):
                self._publish_none(order, reason, withheld.text)
            return
        order.halted = False
        order.text = None
        order.auctions = proposal.auctions
        order.schedule = Schedule.of(
            proposal.intervals.start,
            proposal.intervals.end,
            proposal.qty,
            proposal.shortfall_qty,
            proposal.certificate.gap or 0.0,
            proposal.price,
        )
        self._book.note(order)
        short = None
        if proposal.shortfall_qty:
            short = (
                f"{' and '.join(proposal.shortfall_limits)} leave{'s' * (len(proposal.shortfall_limits) < 2)} "
                f"{format_qty(proposal.shortfall_qty)} of {format_qty(order.leaves_qty)} unplanned"
            )
            if not proposal.volume_known and order.terms.most_rate is not None:
                short += "; no trade seen yet, so participation_rate allows nothing"
        self._alerts.warn(order, now, "shortfall", short)
        blocks = None
        if proposal.limit_blocks:
            blocks = f"the book shows nothing within the limit {proposal.limit_px:.10g}: nothing trades until it does"
        self._alerts.warn(order, now, "limit_blocks", blocks)
        would = None
        if proposal.would_qty:
            would = (
                f"the market is at {proposal.would_px:.10g} or better: take {format_qty(proposal.would_qty)} at once"
            )
        self._alerts.warn(order, now, "would_touched", would)
        lifted = None
        if proposal.lifted_qty:
            part = f"{format_qty(proposal.lifted_qty)} of {format_qty(order.leaves_qty)}"
            lifted = f"the plan exceeds participation_rate by {part} because the order must complete"
        self._alerts.warn(order, now, "lifted", lifted)
        planned = int(proposal.qty.sum())
        if order.cost_band is None and proposal.priced and planned:
            low, high = proposal.bands.cost(proposal.expected_cost * proposal.bands.factor, 1)
            order.cost_band = (low * QUANTA / planned, high * QUANTA / planned)
        unknown = next((entry.kind for entry in proposal.auctions if entry.volume is None), None)
        text = f"the expected volume of the {unknown} auction is unknown: the order does not enter it"
        self._alerts.warn(order, now, "auction_unknown", None if unknown is None else text)
        self.publish(order, reason, proposal, group_id)

    def _worth_it(self, proposals: Proposals) -> bool:
        """Return whether the proposals should replace the current schedules, all at once."""
        if proposals.outdated() or self._markets.is_at_venues(proposals.orders[0].symbol, proposals.orders[0].clock):
            return True  # the split of a new minute follows the prevailing books
        saving, cost = proposals.improvement(), proposals.expected_cost
        gap = min(order.schedule.gap for order in proposals.orders)
        if _as_near(gap, saving + proposals.gap, cost):
            return False
        leaves = sum(order.leaves_qty for order in proposals.orders)
        return self._saves(saving, cost, leaves, proposals.market.mid)

    def _saves(self, saving: float, cost: float, leaves_qty: int, mid: float | None) -> bool:
        """Return whether `saving` (currency) is more than rounding and more than the threshold."""
        if saving <= _ROUNDING * abs(cost):
            return False
        notional = leaves_qty / QUANTA * (mid or 0.0)
        return notional <= 0.0 or saving / notional * 1e4 > self._settings.replan_threshold_bps

    def _publish_none(self, order: Order, reason: str, halt: str | None) -> None:
        """Publish an empty schedule: the order has ended, or is halted for the reason in `halt`."""
        order.halted = order.active
        # What is out in an auction stays there.
        order.auctions = pending(order.auctions, order.clock, self._settings) if order.active else ()
        order.schedule = Schedule(shortfall_qty=order.continuous_qty)
        self._book.note(order)
        order.text = halt if order.active else order.text
        self.publish(order, reason, None)

    def publish(self, order: Order, reason: str, proposal: Proposal | None, group_id: str | None = None) -> None:
        """Publish `proposal`, or an empty schedule if it is None."""
        if order.status is not Status.REJECTED:
            order.plan_version += 1
        order.blind = proposal is not None and self._markets.of(order.symbol).blind
        plan = plan_message(order, reason, proposal, self._settings, self._interval, group_id, blind=order.blind)
        if proposal is not None and (books := self._markets.at_venues(order.symbol, order.clock)):
            plan = self._split(order, proposal, plan, books)
        self._outbox.publish(Topic.PLANS, order.symbol, plan)
        self._outbox.publish(Topic.PLANS_LATEST, order.cl_ord_id, plan)
        self._feedback.planned(order, reason)

    def _split(self, order: Order, proposal: Proposal, plan: Plan, books: Mapping[str, Prevailing]) -> Plan:
        """Return the plan with the split of the interval under way over the venues that the order may be sent to."""
        grid, its, symbol = proposal.intervals, order.instrument, order.symbol
        if not grid.start.size or not grid.start[0] <= order.clock < grid.end[0] or proposal.mid is None:
            return plan
        qty, lot = int(proposal.qty[0]), order.terms.lot_size
        lot = math.gcd(lot, qty) or lot
        limit = order.limit(proposal.mid)
        ladders = [
            ladder(venue, book, order.side, rule_of(self._rules, symbol, venue), lot, limit, its.points)
            for venue, book in books.items()
            if not order.terms.venues or venue in order.terms.venues
        ]
        best = split(qty, ladders)
        over = best.cost - order.side.sign * Fraction(proposal.mid) * Fraction(qty - best.left_qty, QUANTA)
        return dataclasses.replace(
            plan,
            venues=tuple(
                VenuePart(part.venue, part.qty, part.limit_px, part.avg_px, float(part.fee * its.scale))
                for part in best.parts
            ),
            venues_left_qty=best.left_qty,
            venues_cost=float(over * its.scale),
            venues_gap=float(best.gap * its.scale),
        )

    def halt_of(self, order: Order) -> str | None:
        """Return why an order is halted, or None."""
        halts = self._halts
        return halts.of(order.symbol, order.ids, order.side) if halts.any else None


def _as_near(stated: float, above: float, cost: float) -> bool:
    """Return whether a schedule is still within its stated gap of the best one, currency.

    A better schedule within the gap is no reason to replan: with unchanged
    estimates the current schedule stays within its gap along its own path.
    """
    return stated > 0.0 and above <= stated + _ROUNDING * abs(cost)
