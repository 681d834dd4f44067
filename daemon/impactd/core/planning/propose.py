r"""From orders and a forecast to their schedules.

`propose` divides the rest of the orders' windows into common intervals, gives each
interval its cost and each order its bounds (`impactd.core.planning.caps`), and calls
the allocator: for one order `impactd.core.allocator.allocate`, for several on one
symbol and side `impactd.core.allocator.joint`.  Whether a plan is published is
decided in `impactd.core.planning.replan`.

Orders that trade into one book are charged for their sum: each pays its part of
it, :math:`x_{it} \, g_t(X_t)`, with X the sum of the orders that are planned here
and of the plans of other orders on that side (`impactd.core.planning.book`).

Where an order works in a part of an interval only (its window begins or ends
there, or it came while the interval was in progress), the sum is charged for the
part in which any of them works.  An order that shares such an interval with one
that works in all of it is charged slightly too little.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.allocate import allocate
from impactd.core.allocator.baseline import twap_of
from impactd.core.allocator.bounds import Int
from impactd.core.allocator.cost import objective, schedule_cost
from impactd.core.allocator.curve import Float
from impactd.core.allocator.joint.allocate import allocate_jointly
from impactd.core.allocator.joint.problem import Group, given_others, in_shares, joint_objective, parts_of_cost
from impactd.core.allocator.optionality import anticipate, plain
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import SolveFailure
from impactd.core.allocator.supply import supply_at
from impactd.core.allocator.transient import energy
from impactd.core.base.jit import kernel
from impactd.core.base.quantity import QUANTA
from impactd.core.base.quick import quick_dataclass
from impactd.core.base.settings import PlanSettings
from impactd.core.market.bands import LogBands
from impactd.core.market.symbol import SideView
from impactd.core.orders.auction import Entry, entered
from impactd.core.orders.order import Order
from impactd.core.outputs.messages import Certificate, ModelRef
from impactd.core.planning.alpha import with_alpha
from impactd.core.planning.auctions import auction_entries
from impactd.core.planning.caps import Limits, clips, complete_in_clips, limits
from impactd.core.planning.intervals import Intervals
from impactd.core.planning.metaorder import BeyondBooks, shown_by
from impactd.core.planning.price_limit import PriceLimit
from impactd.core.planning.shortfall import binding
from impactd.core.planning.transient import said, with_transient
from impactd.core.planning.urgency import risk_weight

Bools = npt.NDArray[np.bool_]

#: A plan of a group is published again where its cost has changed by more than this part, though its schedule has not.
RESTATED: Final = 0.05

#: Prices at which a plan states its supply, parts of its reservation price.
SUPPLY_AT: Final = np.array((0.5, 0.75, 1.0, 1.25, 1.5, 2.0))


@quick_dataclass(frozen=True, slots=True)
class Proposal:
    """One order's schedule with all that a plan says of it. Quantities in quanta, costs before the multiplier.

    Attributes
    ----------
    cap : ndarray of int64, shape (N,)
        What each interval may trade at most if those before it trade as planned.
    shortfall_limits : tuple of str
        Which limits leave `shortfall_qty`.
    auction_prices : tuple of float or None
        See `Proposals.entry_price`.
    shares : float
        What the schedule trades, shares.
    """

    intervals: Intervals
    qty: Int
    shares: float
    cap: Int
    limits: Limits
    shortfall_qty: int
    lifted_qty: int
    expected_cost: float
    twap_cost: float
    metaorder_cost: float | None
    supply: tuple[tuple[float, float], ...]
    extrapolated_qty: int
    model: ModelRef
    certificate: Certificate
    limit_px: float | None
    expected_shortfall_qty: int | None
    limit_blocks: bool
    shortfall_limits: tuple[str, ...]
    would_px: float | None
    would_qty: int
    auctions: tuple[Entry, ...]
    auction_prices: tuple[float | None, ...]
    mid: float | None
    volume_known: bool
    priced: bool
    bands: LogBands

    @property
    def price(self) -> float:
        """Expected cost of a share; 0 where it trades nothing."""
        return self.expected_cost / self.shares if self.shares > 0.0 else 0.0


@quick_dataclass(frozen=True, slots=True)
class Proposals:
    """The schedules of one or more orders, planned as one problem.

    Attributes
    ----------
    grid : Intervals
        The common intervals, of which each order has those of its window.
    begin, end : ndarray of int64, shape (I,)
        Where each order's remaining window begins and ends, ns.
    qty, current : ndarray of int64, shape (I, N)
        What is proposed, and what the current schedules still trade, quanta.
    x : ndarray of float64, shape (I, N)
        `qty` in shares.
    shortfall : tuple of int
        Quanta.
    problem, expected : Problem
        What was minimised, except for risk, and what a schedule is expected to cost.
    fraction : ndarray of float64, shape (N,)
        Part of each interval in which any of the orders works.
    open_ : ndarray of bool, shape (N,)
        Whether the market is open.
    volume : ndarray of float64, shape (N,), or None
        Forecast continuous volume of whole intervals, shares.
    beside : ndarray of float64, shape (N,), or None
        What the plans of other orders trade, shares.
    risk, shares : ndarray of float64, shape (I,)
        Weight of each order's squared inventory, and its leaves.
    cost, twap_cost : ndarray of float64, shape (I,)
        Currency.
    metaorder : ndarray of float64, shape (I,)
        Part of `cost` that is a law of the literature, currency.
    law : BeyondBooks or None
        That law.
    acts : bool
        Whether orders act within the minute.
    beyond : ndarray of bool, shape (N,)
        Where more trades than the model has been fitted to.
    gap : float
        What all may cost above the best schedules in whole lots, currency.
    impact_scales : tuple of list of float
        The orders' next `Order.impact_scale`.
    at_once : mapping of int to int
        What would prices take of the interval under way, quanta, by the order's number.
    auctions : tuple of tuple of Entry
        The orders' entries in auctions.
    """

    orders: tuple[Order, ...]
    grid: Intervals
    begin: Int
    end: Int
    qty: Int
    current: Int
    x: Float
    limits: Limits
    shortfall: tuple[int, ...]
    problem: Problem
    expected: Problem
    fraction: Float
    open_: Bools
    volume: Float | None
    beside: Float | None
    risk: Float
    shares: Float
    cost: Float
    twap_cost: Float
    metaorder: Float
    law: BeyondBooks | None
    acts: bool
    beyond: Bools
    certificates: tuple[Certificate, ...]
    gap: float
    model: ModelRef
    market: SideView
    volume_known: bool
    priced: bool
    priced_limits: Mapping[int, PriceLimit]
    impact_scales: tuple[list[float], ...]
    at_once: Mapping[int, int]
    auctions: tuple[tuple[Entry, ...], ...]

    @property
    def expected_cost(self) -> float:
        """Of all orders, currency."""
        return float(self.cost.sum())

    def _expected_shortfall(self, i: int) -> int | None:
        """Return what an order with a limit price can be expected to leave, quanta."""
        if i not in self.priced_limits:
            return None
        x = self.x[i]
        missed = max(float((x - self.priced_limits[i].executable(x)).sum()), 0.0)
        return self.shortfall[i] + min(int(missed * QUANTA), int(self.qty[i].sum()))

    def shortfall_limits(self, i: int) -> tuple[str, ...]:
        """Return which limits leave a part of the i-th order unplanned, by the order's fields; see `binding`."""
        if not self.shortfall[i]:
            return ()
        leaves = int(self.qty[i].sum()) + self.shortfall[i]
        bounds = self.limits.of(i, slice(None))
        priced = self.priced_limits[i].caps(self.beside) if i in self.priced_limits else None
        begin = int(self.begin[i])
        return binding(self.orders[i], leaves, self.shortfall[i], self.grid, begin, self.open_, bounds, priced)

    def charge(self, x: Float) -> float:
        """Return what a schedule of the only order is expected to cost, currency; `x` in shares, shape (N,)."""
        return self.charge_in_parts(x)[0]

    def charge_in_parts(self, x: Float) -> tuple[float, float]:
        """Return the same, and the part of it that is a law of the literature."""
        cost, law = _charged(self.expected, x[None], self.beside, self.law)
        return float(cost[0]), float(law[0])

    def entry_price(self, entry: Entry) -> float | None:
        """Return what an entry in an auction is expected to cost, per share; None where it is not known.

        An entry has no spread, and is charged the impact that the same share of volume has in continuous trading.
        """
        volume = None if self.volume is None else self.volume * self.fraction
        if not entry.volume or volume is None or not self.priced or not float(volume.sum()) > 0.0:
            return None
        x = entry.left / QUANTA / entry.volume * volume
        total = float(x.sum())
        return max(self.charge(x) - float(np.sum(self.expected.curve.s * x)), 0.0) / total if total > 0.0 else 0.0

    def improvement(self) -> float:
        """Return what these schedules save against the current ones, currency.

        The risk term counts, since it is what the schedules minimise.
        """
        now, then = in_shares(self.current), self.x
        if len(self.orders) > 1:
            before, after = (joint_objective(self.problem, self.risk, self.shares, x) for x in (now, then))
            return before - after
        problem = _with_risk(self.problem, float(self.risk[0]))
        qty = float(self.shares[0]) - self.shortfall[0] / QUANTA  # of what can trade, as it was minimised
        return objective(problem, qty, now[0]) - objective(problem, qty, then[0])

    def outdated(self) -> bool:
        """Return whether a current schedule cannot continue: its window or shortfall has changed, or a limit binds."""
        if self.limits.broken_by(self.current):
            return True
        for order, entries in zip(self.orders, self.auctions, strict=True):
            if [(e.at, e.left) for e in order.auctions] != [(e.at, e.left) for e in entries]:
                return True
        windows = zip(self.orders, self.begin.tolist(), self.end.tolist(), self.shortfall, strict=True)
        for order, begin, end, short in windows:
            now = order.schedule
            if now.shortfall_qty != short or not now.start.size or now.start[0] != begin or now.end[-1] != end:
                return True
        return False

    def changed(self) -> Bools:
        """Return which orders' schedule is not the current one, or costs another price than their plan states."""
        stated = np.array([order.schedule.price for order in self.orders])
        return _changed(self.qty, self.current, self.cost, self.x.sum(axis=1), stated)

    def _supply(self, i: int, rows: slice) -> tuple[tuple[float, float], ...]:
        """Return what the first interval trades at prices about the i-th order's reservation: price, shares."""
        price = self.certificates[i].multiplier
        curve = self.expected.curve
        if price is None or not (self.priced and price > 0.0 and rows.start < curve.s.size):
            return ()
        prices = SUPPLY_AT * price
        shares = supply_at(curve, rows.start, prices, float(self.shares.sum()))
        return tuple(zip(prices.tolist(), shares.tolist(), strict=True))

    def of(self, i: int) -> Proposal:
        """Return the proposal of the i-th order."""
        begin, end = int(self.begin[i]), int(self.end[i])
        rows = self.grid.rows(begin, end)
        qty, bounds = self.qty[i, rows], self.limits.of(i, rows)
        n, shares, lot = bounds.n_open, float(self.x[i, rows].sum()), self.orders[i].terms.lot_size
        return Proposal(
            intervals=self.grid.cut(begin, end),
            qty=qty,
            shares=shares,
            cap=bounds.room(qty, lot),
            limits=bounds,
            shortfall_qty=self.shortfall[i],
            lifted_qty=bounds.lifted(qty, lot),
            expected_cost=float(self.cost[i]),
            twap_cost=float(self.twap_cost[i]),
            metaorder_cost=None if self.law is None else float(self.metaorder[i]),
            supply=self._supply(i, rows) if self.acts else (),
            extrapolated_qty=int(qty[self.beyond[rows]].sum()),
            model=self.model,
            certificate=self.certificates[i],
            limit_px=self.orders[i].limit(self.market.mid),
            expected_shortfall_qty=self._expected_shortfall(i),
            limit_blocks=i in self.priced_limits and self.priced_limits[i].blocks,
            shortfall_limits=self.shortfall_limits(i),
            would_px=self.orders[i].would(self.market.mid),
            auctions=self.auctions[i],
            auction_prices=tuple(map(self.entry_price, self.auctions[i])),
            would_qty=min(self.at_once.get(i, 0), int(qty[0])) if qty.size else 0,
            mid=self.market.mid,
            volume_known=self.volume_known,
            priced=self.priced,
            bands=self.market.bands(n, shares / n),
        )


def propose(
    orders: Sequence[Order],
    now: int,
    market: SideView,
    settings: PlanSettings,
    interval_ns: int,
    others: Callable[[Int], Float | None],
) -> Proposals | SolveFailure:
    """Return the cheapest schedules of what is left of `orders` from `now` on.

    Parameters
    ----------
    orders : sequence of Order
        Of one symbol and side, active, each with something left and some of its window to come; ties are broken in
        their order.
    now : int
        Event time, ns.
    others : callable
        From starts of intervals (int64 ns, shape (N,)) to what the plans of other orders trade there, shares, or None.

    Returns
    -------
    Proposals or SolveFailure
        A failure where no solver's answer passed its certificate; it names
        each solver and why.
    """
    begin = np.array([max(now, order.terms.start) for order in orders], np.int64)
    end = np.array([order.terms.end for order in orders], np.int64)
    grid = Intervals.over(begin, end, interval_ns)
    starts, fraction = grid.start, grid.covered(begin, end)
    entries = [auction_entries(order, now, market, settings) for order in orders]
    leaves = np.array([max(o.leaves_qty - entered(own), 0) for o, own in zip(orders, entries, strict=True)], np.int64)
    shares = in_shares(leaves)
    whole = float(shares.sum())
    curves = market.curves(starts, _pace(shares, fraction, begin, end, interval_ns))
    volume, open_ = market.volume(starts), market.is_open(starts)
    expected = plain(curves, fraction=fraction, child_slices=settings.child_slices)
    beside = others(starts)
    priced: dict[int, PriceLimit] = {}
    if curves.scaled:
        priced = _price_limits(orders, now, starts, market, expected, interval_ns, settings.child_slices)
    at_once = {i: quanta for i, order in enumerate(orders) if (quanta := _at_once(order, now, market)) > 0}
    bounds = limits(
        orders,
        grid,
        volume,
        open_,
        market.so_far(int(starts[0]) if starts.size else now),
        now,
        interval_ns,
        {i: found.caps(beside) for i, found in priced.items()},
        at_once,
        leaves,
    )
    problem = anticipate(curves, expected, whole, bounds.room_of_all(), child_slices=settings.child_slices)
    current = _current(orders, grid)
    if beside is not None:
        problem = given_others(problem, beside, in_shares(current).sum(axis=0))
    weights = [
        risk_weight(order, market.sigma2, interval_ns, expected.curve, expected.fraction, starts, open_)
        for order in orders
    ]
    risk = np.array([weight for weight, _ in weights])
    lot = np.array([order.terms.lot_size for order in orders], np.int64)
    shortfall: tuple[int, ...]
    certificates: tuple[Certificate, ...]
    if len(orders) == 1:
        order = orders[0]
        own = grid.cut(int(begin[0]), int(end[0]))
        expected = with_transient(expected, order, own.start, settings)
        problem = with_alpha(with_transient(problem, order, own.start, settings), order, market.mid, own)
        least = clips(order, grid)
        if least is not None and order.terms.must_complete:
            bounds = complete_in_clips(order, int(leaves[0]), bounds, least)
        alone = allocate(
            _with_risk(problem, float(risk[0])),
            int(leaves[0]),
            order.terms.lot_size,
            bounds.cap[0],
            low_quanta=bounds.low[0],
            high_quanta=bounds.high[0],
            least_quanta=least,
            completes=order.terms.must_complete,
            solvers=settings.solvers,
        )
        if isinstance(alone, SolveFailure):
            return alone
        qty, shortfall, gap = alone.quanta[None], (alone.shortfall_quanta,), alone.gap
        certificates = (Certificate(alone.solver, alone.multiplier, alone.kkt_residual, alone.gap),)
    else:
        group = Group(leaves, lot, bounds.cap, bounds.low, bounds.high, risk, current)
        joint = allocate_jointly(problem, group)
        if isinstance(joint, SolveFailure):
            return joint
        qty, shortfall, gap = joint.quanta, joint.shortfall_quanta, joint.gap
        certificates = tuple(Certificate(joint.solver, m, joint.kkt_residual, gap) for m in joint.multipliers)
    even = twap_of(leaves, lot, fraction, bounds.cap, bounds.low, bounds.high)
    law = BeyondBooks.of(orders, settings, market, starts, fraction)
    x = in_shares(qty)
    cost, metaorder = _charged(expected, x, beside, law)
    return Proposals(
        orders=tuple(orders),
        grid=grid,
        begin=begin,
        end=end,
        qty=qty,
        current=current,
        x=x,
        limits=bounds,
        shortfall=shortfall,
        problem=problem,
        expected=expected,
        fraction=fraction,
        open_=open_,
        volume=volume,
        beside=beside,
        risk=risk,
        shares=shares,
        cost=cost,
        twap_cost=_charged(expected, in_shares(even), beside, law)[0],
        metaorder=metaorder,
        law=law,
        acts=settings.act == "slices",
        beyond=x.sum(axis=0) > shown_by(market, settings, fraction),
        certificates=certificates,
        gap=gap or 0.0,
        model=ModelRef(
            market.kind, "price_per_share", curves.as_of, curves.prior, *said(settings), forecaster=market.forecaster
        ),
        market=market,
        volume_known=volume is not None,
        priced=curves.scaled,
        priced_limits=priced,
        impact_scales=tuple(scale for _, scale in weights),
        at_once=at_once,
        auctions=tuple(entries),
    )


@kernel
def _changed(qty: Int, current: Int, cost: Float, shares: Float, stated: Float) -> Bools:
    changed = np.empty(qty.shape[0], np.bool_)
    for i in range(qty.shape[0]):
        price = cost[i] / shares[i] if shares[i] > 0.0 else 0.0
        changed[i] = abs(price - stated[i]) > RESTATED * max(abs(price), abs(stated[i]))
        for t in range(qty.shape[1]):
            changed[i] |= qty[i, t] != current[i, t]
    return changed


def _with_risk(problem: Problem, risk: float) -> Problem:
    return problem if problem.risk == risk else dataclasses.replace(problem, risk=risk)


def _pace(shares: Float, fraction: Float, begin: Int, end: Int, interval_ns: int) -> float:
    """Return the shares an interval that orders ask for together, as the mean over their shares.

    A mean over time would count the quiet end of a group whose windows differ, and price the sum below its parts: a
    curve that is drawn for smaller sizes is flatter.
    """
    even = float(shares.sum()) / max(float(fraction.sum()), 1.0)
    if len(shares) == 1:
        return even
    lasts = np.maximum(end - begin, interval_ns)
    pace = shares / (lasts / interval_ns)
    at, change = np.concatenate([begin, begin + lasts]), np.concatenate([pace, -pace])
    in_turn = np.argsort(at, kind="stable")
    together, time = np.maximum(change[in_turn].cumsum()[:-1], 0.0), np.diff(at[in_turn]) / interval_ns
    traded = float((together * time).sum())
    return max(float((together * together * time).sum()) / traded, even) if traded > 0.0 else even


def _price_limits(
    orders: Sequence[Order], now: int, starts: Int, market: SideView, expected: Problem, interval_ns: int, slices: int
) -> dict[int, PriceLimit]:
    """Return the limit prices that are known, by the order's number."""
    limits = {i: limit for i, order in enumerate(orders) if (limit := order.limit(market.mid)) is not None}
    found = {
        i: PriceLimit(orders[i], limit, now, starts, market, expected.curve, interval_ns, slices)
        for i, limit in limits.items()
    }
    return {i: one for i, one in found.items() if one.known}


def _at_once(order: Order, now: int, market: SideView) -> int:
    """Return what a would price takes of the prevailing book now, quanta."""
    would = order.would(market.mid)
    seen = None if would is None or order.terms.start > now else market.within(would)
    if seen is None or order.terms.would_rate is None:
        return 0
    return min(int(order.terms.would_rate * seen[1] * QUANTA), order.leaves_qty)


def _current(orders: Sequence[Order], grid: Intervals) -> Int:
    """Return what the current schedules still trade in each interval, quanta, shape (I, N)."""
    planned = np.zeros((len(orders), grid.start.size), np.int64)
    begins = np.array([o.schedule.start[0] if o.schedule.start.size else 0 for o in orders], np.int64)
    first = grid.end.searchsorted(begins, side="right").tolist()
    for row, order, at in zip(planned, orders, first, strict=True):
        if order.schedule.start.size:
            still = order.schedule.remaining()
            row[at : at + len(still)] = still[: row.size - at]
    return np.asarray(np.maximum(planned, 0), np.int64)


def _charged(problem: Problem, x: Float, beside: Float | None, law: BeyondBooks | None) -> tuple[Float, Float]:
    """Return each order's part of the cost of all, and of it the law's part, currency, shape (I,).

    `x` (I, N) and `beside` (N,) are in shares.
    """
    total = x.sum(axis=0) + (0.0 if beside is None else beside)
    cost = _measured(problem, x, beside, total)
    if law is None:
        return cost, np.zeros(len(x))
    more, of_law = law.charge(problem.curve, total)
    # An order pays for what is beyond the books as its part of what trades there.
    over = np.maximum(total - law.shown, 0.0)
    beyond = float(over.sum())
    if not beyond > 0.0:
        return cost, np.zeros(len(x))
    part = (x * np.divide(over, total, out=np.zeros_like(total), where=total > 0.0)).sum(axis=1) / beyond
    return cost + part * more, part * of_law


def _measured(problem: Problem, x: Float, beside: Float | None, total: Float) -> Float:
    """Return each order's part of the cost of all by their curve alone, currency, shape (I,)."""
    if len(x) == 1 and beside is None:
        return np.array([schedule_cost(problem, x[0])])
    cost = parts_of_cost(x, total, *problem.curve)
    return cost + energy(x[0], problem.root, problem.keep) if len(x) == 1 else cost
