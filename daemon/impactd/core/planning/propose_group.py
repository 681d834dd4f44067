r"""Several orders on one symbol and side: one proposal for all.

They are laid over common intervals, each with its own window, caps, lots and
risk, and solved together (`impactd.core.allocator.joint.turns`).  Each pays its part
of what the sum costs: :math:`x_{it} \, g_t(X_t)`.

Where an order works in a part of an interval only (its window begins or ends
there, or it came while the interval was under way), the sum is charged for the
part in which any of them works.  An order that shares such an interval with
one that works in all of it is so charged a little less than it will pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from impactd.core.allocator.allocate import NO_CAP
from impactd.core.allocator.baseline import twap
from impactd.core.allocator.curve import Float
from impactd.core.allocator.joint.problem import GroupOrder, joint_objective
from impactd.core.allocator.joint.turns import allocate_jointly
from impactd.core.allocator.optionality import anticipate, plain
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import SolveFailure
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import PlanSettings
from impactd.core.market.symbol import SideView
from impactd.core.orders.order import Order
from impactd.core.outputs.messages import Certificate, ModelRef
from impactd.core.planning.caps import caps
from impactd.core.planning.intervals import Int, Intervals
from impactd.core.planning.propose import Proposal


@dataclass(frozen=True, slots=True)
class GroupProposal:
    """What several orders should trade, and what that saves together.

    Attributes
    ----------
    proposals : tuple of Proposal
        One an order, in the order given.
    problem : Problem
        The common intervals.
    rows : tuple of ndarray of int64
        Where each order's intervals lie among them.
    expected_cost : float
        Of all, currency.
    gap : float
        What all may cost above the best schedules in whole lots, currency.
    """

    proposals: tuple[Proposal, ...]
    problem: Problem
    rows: tuple[Int, ...]
    expected_cost: float
    gap: float = 0.0

    def improvement_on(self, current: Sequence[list[int]]) -> float:
        """Return what the proposal saves against `current` (quanta by order and interval), currency."""
        risk = [proposal.problem.risk for proposal in self.proposals]
        qty = [proposal.risk_qty for proposal in self.proposals]
        mine = _laid([proposal.qty for proposal in self.proposals], self.rows, len(self.problem))
        theirs = _laid([np.array(row, np.int64) for row in current], self.rows, len(self.problem))
        before, after = (joint_objective(self.problem, risk, qty, quanta / QUANTA) for quanta in (theirs, mine))
        return before - after


def propose_group(
    orders: Sequence[Order], now: int, market: SideView, settings: PlanSettings, interval_ns: int
) -> GroupProposal | SolveFailure:
    """Return the cheapest schedules of what is left of `orders` from `now` on.

    Parameters
    ----------
    orders : sequence of Order
        Active, each with something left and some of its window to come; ties
        are broken in their order.
    now : int
        Event time, ns.
    """
    windows = [Intervals.of(max(now, order.terms.start), order.terms.end, interval_ns) for order in orders]
    own = [window.start // interval_ns for window in windows]
    index = np.unique(np.concatenate(own))
    rows = tuple(np.searchsorted(index, mine) for mine in own)
    starts = index * interval_ns
    begin, end = np.full(len(index), np.iinfo(np.int64).max), np.zeros(len(index), np.int64)
    for window, row in zip(windows, rows, strict=True):
        begin[row] = np.minimum(begin[row], window.start)
        end[row] = np.maximum(end[row], window.end)
    fraction = (end - begin) / interval_ns
    leaves = sum(order.leaves_qty for order in orders) / QUANTA
    curves = market.curves(starts, leaves / max(float(np.sum(fraction)), 1.0))
    volume = market.volume(starts)
    bounds = [
        caps(order, window, None if volume is None else volume[row], interval_ns)
        for order, window, row in zip(orders, windows, rows, strict=True)
    ]
    limits = [bound.cap for bound in bounds]
    members = [
        GroupOrder(
            order.leaves_qty,
            order.terms.lot_size,
            _laid([limit], [row], len(index))[0],
            order.terms.risk_aversion * market.sigma2,
            _laid([_current(order, window)], [row], len(index))[0],
        )
        for order, window, limit, row in zip(orders, windows, limits, rows, strict=True)
    ]
    room = np.sum(
        [np.where(member.cap_quanta == NO_CAP, np.inf, member.cap_quanta / QUANTA) for member in members], axis=0
    )
    expected = plain(curves, fraction=fraction, child_slices=settings.child_slices)
    problem = anticipate(curves, leaves, room, fraction=fraction, child_slices=settings.child_slices)
    solved = allocate_jointly(problem, members, solvers=settings.solvers)
    if isinstance(solved, SolveFailure):
        return solved
    even = [
        twap(order.leaves_qty, window.fraction, limit, order.terms.lot_size)
        for order, window, limit in zip(orders, windows, limits, strict=True)
    ]
    price = _average_price(expected, np.sum(solved.quanta, axis=0) / QUANTA)
    even_price = _average_price(expected, np.sum(_laid(even, rows, len(index)), axis=0) / QUANTA)
    total = np.sum(solved.quanta, axis=0) / QUANTA
    fitted = np.inf if market.fitted_to is None else market.fitted_to
    beyond = total > fitted * problem.fraction * settings.child_slices
    proposals = []
    for i, (order, window, row, limit) in enumerate(zip(orders, windows, rows, limits, strict=True)):
        quanta = solved.quanta[i][row]
        shares = quanta / QUANTA
        cost = float(shares @ price[row])
        proposals.append(
            Proposal(
                intervals=window,
                qty=quanta,
                cap=limit,
                shortfall_qty=solved.shortfall_quanta[i],
                problem=_part(problem, row, members[i].risk),
                risk_qty=order.leaves_qty / QUANTA,
                expected_cost=cost,
                twap_cost=float(even[i] / QUANTA @ even_price[row]),
                extrapolated_qty=int(np.sum(quanta[beyond[row]])),
                model=ModelRef(market.kind, "price_per_share", curves.as_of, curves.prior),
                certificate=Certificate(solved.solver, solved.multipliers[i], solved.kkt_residual, solved.gap),
                mid=market.mid,
                volume_known=volume is not None,
                priced=curves.scaled,
                bands=market.bands(len(window.start)),
                lifted_qty=bounds[i].lifted(quanta),
            )
        )
    return GroupProposal(
        tuple(proposals), problem, rows, float(np.sum([p.expected_cost for p in proposals])), solved.gap or 0.0
    )


def _current(order: Order, window: Intervals) -> Int:
    """Return what the schedule in force still trades in each interval, quanta; zeros where there is none."""
    planned = np.zeros(len(window.end), np.int64)
    schedule = order.schedule
    where = np.searchsorted(window.end, np.array(schedule.end, np.int64))
    still = np.maximum(np.array(schedule.remaining(), np.int64), 0)
    np.add.at(planned, where[where < planned.size], still[where < planned.size])
    return planned


def _laid(values: Sequence[Int], rows: Sequence[Int], n: int) -> Int:
    """Return values by interval laid over the common intervals, 0 elsewhere, shape (I, n)."""
    laid = np.zeros((len(values), n), np.int64)
    for i, (value, row) in enumerate(zip(values, rows, strict=True)):
        laid[i, row] = value
    return laid


def _average_price(problem: Problem, total: Float) -> Float:
    """Return g_t(X_t), price per share; where nothing trades that of the first share."""
    cost = problem.curve.cost(total)
    price = problem.curve.s.copy()
    np.divide(cost, total, out=price, where=total > 0.0)
    return price


def _part(problem: Problem, row: Int, risk: float) -> Problem:
    return Problem(
        problem.curve.at(row),
        cap=np.full(len(row), np.inf),
        fraction=problem.fraction[row],
        risk=risk,
    )
