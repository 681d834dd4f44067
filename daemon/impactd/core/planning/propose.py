"""From an order and a forecast to a schedule.

`propose` cuts the remaining window into intervals, gives each its cost and its
cap (`impactd.core.planning.caps`), and calls the allocator to split the
remaining quantity.  When a plan is published is decided in
`impactd.core.planning.replan`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.allocate import NO_CAP, allocate
from impactd.core.allocator.baseline import twap
from impactd.core.allocator.cost import objective, schedule_cost
from impactd.core.allocator.optionality import anticipate, plain
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import SolveFailure
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import SECOND_NS, PlanSettings
from impactd.core.market.bands import LogBands
from impactd.core.market.symbol import SideView
from impactd.core.orders.order import Order, Status
from impactd.core.orders.schedule import Schedule
from impactd.core.outputs.messages import Certificate, ModelRef, Plan
from impactd.core.planning.caps import caps, clips
from impactd.core.planning.intervals import Intervals
from impactd.core.planning.transient import said, with_transient

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A schedule with all that a plan says of it. Quantities in quanta."""

    intervals: Intervals
    qty: Int
    cap: Int
    shortfall_qty: int
    problem: Problem
    risk_qty: float
    expected_cost: float
    twap_cost: float
    extrapolated_qty: int
    model: ModelRef
    certificate: Certificate
    mid: float | None
    volume_known: bool
    priced: bool
    bands: LogBands
    lifted_qty: int = 0

    def improvement_on(self, current: list[int]) -> float:
        """Return what this schedule saves against `current` (N quantities in quanta), currency.

        The risk term counts, since it is what the schedule minimises.
        """
        mine = objective(self.problem, self.risk_qty, self.qty / QUANTA)
        return objective(self.problem, self.risk_qty, np.array(current, np.int64) / QUANTA) - mine


def propose(
    order: Order, now: int, market: SideView, settings: PlanSettings, interval_ns: int
) -> Proposal | SolveFailure:
    """Return the cheapest schedule of what is left of `order` from `now` on.

    Parameters
    ----------
    order : Order
        Active, with something left to trade.
    now : int
        Event time, ns; the first interval starts here, or at the order's start.

    Returns
    -------
    Proposal or SolveFailure
        A failure where no solver's answer passed its certificate; it names
        each solver and why.
    """
    intervals = Intervals.of(max(now, order.terms.start), order.terms.end, interval_ns)
    starts = intervals.start // interval_ns * interval_ns
    volume = market.volume(starts)
    bounds = caps(order, intervals, volume, interval_ns)
    cap = bounds.cap
    leaves = order.leaves_qty
    curves = market.curves(starts, leaves / QUANTA / max(float(np.sum(intervals.fraction)), 1.0))
    expected = with_transient(
        plain(curves, fraction=intervals.fraction, child_slices=settings.child_slices), order, intervals.start, settings
    )
    limit = np.where(cap == NO_CAP, np.inf, cap / QUANTA)
    problem = dataclasses.replace(
        anticipate(curves, leaves / QUANTA, limit, fraction=intervals.fraction, child_slices=settings.child_slices),
        risk=order.terms.risk_aversion * market.sigma2,
    )
    problem = with_transient(problem, order, intervals.start, settings)
    least = clips(order, intervals, interval_ns)
    solved = allocate(problem, leaves, order.terms.lot_size, cap, least_quanta=least, solvers=settings.solvers)
    if isinstance(solved, SolveFailure):
        return solved
    shares = solved.qty()
    even = twap(leaves, intervals.fraction, cap, order.terms.lot_size)
    fitted = np.inf if market.fitted_to is None else market.fitted_to
    beyond = shares - fitted * intervals.fraction * settings.child_slices
    return Proposal(
        intervals=intervals,
        qty=solved.quanta,
        cap=cap,
        shortfall_qty=solved.shortfall_quanta,
        problem=problem,
        risk_qty=leaves / QUANTA,
        expected_cost=schedule_cost(expected, shares),
        twap_cost=schedule_cost(expected, even / QUANTA),
        extrapolated_qty=int(np.sum(solved.quanta[beyond > 0])),
        model=ModelRef(market.kind, "price_per_share", curves.as_of, curves.prior, *said(settings)),
        certificate=Certificate(solved.solver, solved.multiplier, solved.kkt_residual, solved.gap),
        mid=market.mid,
        volume_known=volume is not None,
        priced=curves.scaled,
        bands=market.bands(len(intervals.start)),
        lifted_qty=bounds.lifted(solved.quanta),
    )


def outdated(schedule: Schedule, proposal: Proposal) -> bool:
    """Return whether `schedule` can no longer go on: its intervals or shortfall are others now, or a cap binds."""
    if schedule.start != proposal.intervals.start.tolist() or schedule.shortfall_qty != proposal.shortfall_qty:
        return True
    return any(qty > cap for qty, cap in zip(schedule.remaining(), proposal.cap.tolist(), strict=True))


def plan_message(
    order: Order,
    reason: str,
    proposal: Proposal | None,
    settings: PlanSettings,
    interval_ns: int,
    group_id: str | None = None,
) -> Plan:
    """Return the plan to publish: `proposal`, or an empty schedule where there is none.

    An empty schedule leaves all of an active (halted) or expired order
    over, so that quantities always sum to ``leaves_qty - shortfall_qty``.
    Costs are given only where the market has a price.
    """
    unfilled = max(order.order_qty - order.cum_qty, 0)
    leaves = unfilled if order.status in {Status.ACTIVE, Status.EXPIRED} else 0
    plan = Plan(
        cl_ord_id=order.cl_ord_id,
        symbol=order.symbol,
        side=order.side,
        plan_version=order.plan_version,
        as_of=order.clock,
        reason=reason,
        status="halted" if order.active and proposal is None else str(order.status),
        text=order.text,
        group_id=group_id,
        order_qty=order.order_qty,
        cum_qty=order.cum_qty,
        leaves_qty=leaves,
        shortfall_qty=leaves,
        interval_s=interval_ns // SECOND_NS,
        child_slices=settings.child_slices,
        extrapolated_qty=0,
        start=(),
        qty=(),
        cap=(),
        expected_cost=None,
        expected_cost_bps=None,
        twap_cost=None,
        saving_bps=None,
        cost_band=None,
        model=None,
        certificate=None,
    )
    if proposal is None:
        return plan
    plan = dataclasses.replace(
        plan,
        shortfall_qty=proposal.shortfall_qty,
        extrapolated_qty=proposal.extrapolated_qty,
        start=tuple(proposal.intervals.start.tolist()),
        qty=tuple(proposal.qty.tolist()),
        cap=tuple([None if cap >= NO_CAP else cap for cap in proposal.cap.tolist()]),
        model=proposal.model,
        certificate=proposal.certificate,
        lifted_qty=proposal.lifted_qty,
    )
    notional = (leaves - proposal.shortfall_qty) / QUANTA * (proposal.mid or 0.0)
    if not proposal.priced or notional <= 0.0:
        return plan
    return dataclasses.replace(
        plan,
        expected_cost=proposal.expected_cost,
        expected_cost_bps=proposal.expected_cost / notional * 1e4,
        twap_cost=proposal.twap_cost,
        saving_bps=(proposal.twap_cost - proposal.expected_cost) / notional * 1e4,
        cost_band=proposal.bands.cost(proposal.expected_cost, 0),
        cost_band_95=proposal.bands.cost(proposal.expected_cost, 1),
    )
