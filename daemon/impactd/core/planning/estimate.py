r"""Estimates the cost of an order that does not exist yet.

It uses the same forecast, limits, solvers and costs as plans
(`impactd.core.planning.propose`); nothing is published and no state changes.  Besides
the plan, the schedules of other policies are priced by the same curves:

- TWAP and VWAP: in proportion to time and to the forecast volume, under the order's
  limits, in whole lots of the running sum;
- POV: a fixed share of the forecast volume from the start on, until the quantity is
  done, under the order's caps by interval (its limit price is one) but not its own rate;
  what neither the window's volume nor the caps hold is its shortfall.

A cost splits into spread, :math:`\sum_t s_t x_t`, and impact, the rest.  Timing risk
is the standard deviation of the price moves, at zero drift, on the quantity that is left:

.. math::

   \text{timing risk} = \sigma \sqrt{\sum_t \tau_t\, y_t^2}

with y what is left after interval t, :math:`\tau_t` its part of an interval and
:math:`\sigma` the deviation of the mid over one interval.  It is not part of the expected
cost, and the bands of the cost do not include it.

Where the order takes part in auctions, the schedules trade what its entries leave.  An
entry has no spread, and is charged the impact that the same share of volume has in the window's
continuous trading: with q of an auction of A shares, and :math:`v_t` the volume of its intervals,

.. math:: q \, \frac{\sum_t c_t(x_t) - s_t x_t}{\sum_t x_t}, \quad x_t = \frac{q}{A} v_t.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np

from impactd.core.allocator.baseline import twap_of
from impactd.core.allocator.bounds import Int
from impactd.core.allocator.curve import Float
from impactd.core.allocator.joint.problem import in_shares
from impactd.core.allocator.solvers.base import SolveFailure
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import SECOND_NS, PlanSettings
from impactd.core.inputs.terms import URGENCIES, Terms
from impactd.core.market.symbol import Basis, SideView
from impactd.core.orders.auction import entered
from impactd.core.orders.order import Order
from impactd.core.planning.propose import Proposals, propose

_T = TypeVar("_T")

#: Shares of volume of the POV schedules.
POV_RATES: Final = (0.05, 0.1, 0.2, 0.3)

#: Urgencies of the frontier's points.
FRONTIER: Final = (0.0, *URGENCIES.values())

#: Steps of the search for the largest size: a part in about a thousand.
_SIZE_STEPS: Final = 12
_MAX_GROWTH: Final = 1024.0

#: A change of regime counts as recent for so long.
_FRESH_NS: Final = 1_800 * SECOND_NS

#: Trial plans from which the coverage of bands is judged, and how far from its level it may lie.
_TRIALS: Final = 20.0
_MISS: Final = 0.1

#: Extrapolated share of the quantity from which an estimate counts as unsure.
_MUCH: Final = 0.1


@dataclass(frozen=True, slots=True)
class Priced:
    """One schedule and its cost; quantities in shares, money in currency.

    Attributes
    ----------
    policy : str
        ``impactd``, ``twap``, ``vwap`` or ``pov``.
    rate : float or None
        Of a POV schedule.
    shortfall_qty : float
        What the window and the limits do not hold.
    cost, cost_bps : float or None
        Expected, above mid; None without a price.
    band_80, band_95 : tuple of float or None
        Of the cost; the first is at the settings' ``plans.band_level``.
    done_by : int or None
        End of the last interval that trades, UTC ns.
    metaorder_cost : float or None
        Part of the impact cost that is a law of the literature, not measured (`PlanSettings.metaorder`); None where
        that is off, or volume or price is unknown.
    """

    policy: str
    rate: float | None
    qty: float
    shortfall_qty: float
    cost: float | None
    cost_bps: float | None
    spread_cost: float | None
    impact_cost: float | None
    timing_risk: float | None
    timing_risk_bps: float | None
    band_80: tuple[float, float] | None
    band_95: tuple[float, float] | None
    done_by: int | None
    metaorder_cost: float | None = None


@dataclass(frozen=True, slots=True)
class PricedAuction:
    """The order's entry in one auction and what it costs; quantities in shares, money in currency.

    Attributes
    ----------
    kind : str
        ``auction_open`` or ``auction_close``.
    at, cutoff : int
        When the auction is held and by when the entry must be there, ns.
    expected_volume, share : float or None
        Of the auction, and the entry's share of it; None if unknown.
    cost, cost_bps : float or None
        Expected, above the price that the auction would have without the entry; None without a price or volume.
    """

    kind: str
    at: int
    cutoff: int
    qty: float
    expected_volume: float | None
    share: float | None
    cost: float | None
    cost_bps: float | None


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """The answer; `as_fields` gives it as JSON-ready values.

    Attributes
    ----------
    auctions : tuple of PricedAuction
        The schedules trade what these leave.
    frontier : tuple
        (urgency, schedule) from the cheapest to the fastest: `Priced.done_by` is the horizon that costs least at that
        urgency.
    volume_share : float or None
        Quantity over the forecast continuous volume of the window.
    largest_qty : float or None
        Largest quantity that the plan trades within the cost limit, shares; None without a limit.
    shortfall_limits : tuple of str
        Which limits leave a part of the plan's quantity, by the order's fields (`impactd.core.planning.shortfall`).
    extrapolated_share : float
        Part of the plan beyond what the model has been fitted to.
    basis : Basis or None
        What the expected cost rests on: history, coverage of the bands, last change of regime.
    doubts : tuple of str
        What makes the estimate less sure: ``unpriced``, ``prior``, ``no_volume``, ``extrapolated``, ``shortfall``,
        ``auction_unknown``, ``coverage``, ``regime``.
    """

    symbol: str
    side: str
    as_of: int
    mid: float | None
    order_qty: float
    start: int
    end: int
    schedules: tuple[Priced, ...]
    auctions: tuple[PricedAuction, ...]
    frontier: tuple[tuple[float, Priced], ...]
    volume_share: float | None
    largest_qty: float | None
    shortfall_limits: tuple[str, ...]
    extrapolated_share: float
    basis: Basis | None
    doubts: tuple[str, ...]

    def as_fields(self) -> dict[str, Any]:
        """Return the estimate as JSON-ready values."""
        fields = dataclasses.asdict(self)
        fields["frontier"] = [{"urgency": urgency, **dataclasses.asdict(priced)} for urgency, priced in self.frontier]
        return {"type": "cost_estimate", **fields}


class NoEstimateError(ValueError):
    """There is no estimate; the text states why, and what to change."""


def estimate(
    order: Order,
    now: int,
    market: SideView,
    settings: PlanSettings,
    interval_ns: int,
    others: Callable[[Int], Float | None],
    max_cost_bps: float | None = None,
) -> CostEstimate:
    """Return what an order would cost from `now` on.

    Parameters
    ----------
    order : Order
        Active, unfilled; part of no ledger.
    now : int
        Event time, ns.
    others : callable
        As `propose` takes it: what the plans of other orders trade.
    max_cost_bps : float, optional
        Cost limit for `CostEstimate.largest_qty`.

    Raises
    ------
    NoEstimateError
        If the window is over, or no solver's answer passed its certificate.
    """
    if order.terms.end <= now:
        raise NoEstimateError("end: the window is over; give a later one")

    market, beside, made = _remembering(market), _once(others), dict[Terms, Proposals]()

    def plan(of: Order) -> Proposals:
        if of.terms not in made:
            found = propose([of], now, market, settings, interval_ns, beside)
            if isinstance(found, SolveFailure):
                raise NoEstimateError(f"no schedule could be solved: {found}")
            made[of.terms] = found
        return made[of.terms]

    plans = plan(order)
    own = _Pricer(plans)
    qty = in_shares(plans.qty)[0]
    leaves, lot = (
        np.array([int(np.sum(plans.qty)) + plans.shortfall[0]], np.int64),
        np.array([order.terms.lot_size], np.int64),
    )
    bounds = plans.limits

    def even(weights: Float) -> Float:
        return np.asarray(in_shares(twap_of(leaves, lot, weights, bounds.cap, bounds.low, bounds.high))[0])

    schedules = [own.price("impactd", qty), own.price("twap", even(plans.fraction))]
    volume = None if plans.volume is None else plans.volume * plans.fraction * (bounds.cap[0] > 0)
    if volume is not None and np.any(volume > 0.0):
        schedules.append(own.price("vwap", even(np.maximum(volume, 1e-9 * float(np.max(volume))))))
        schedules += [
            own.price("pov", in_shares(_keeping_up(rate * volume, bounds.cap[0], int(leaves[0]), int(lot[0]))), rate)
            for rate in POV_RATES
        ]
    share = None if volume is None or not np.sum(volume) > 0.0 else own.qty / float(np.sum(volume))
    beyond = float(np.sum(qty[plans.beyond])) / own.qty if own.qty > 0.0 else 0.0
    basis = market.basis(plans.limits.n_open)
    doubts = [
        name
        for name, doubt in (
            ("unpriced", not plans.priced),
            ("prior", plans.model.prior),
            ("no_volume", volume is None),
            ("extrapolated", beyond > _MUCH),
            ("shortfall", plans.shortfall[0] > 0),
            ("auction_unknown", any(entry.volume is None for entry in plans.auctions[0])),
            ("coverage", basis is not None and _misses(basis)),
            ("regime", basis is not None and basis.regime_at is not None and now - basis.regime_at < _FRESH_NS),
        )
        if doubt
    ]
    return CostEstimate(
        symbol=order.symbol,
        side=str(order.side),
        as_of=now,
        mid=market.mid,
        order_qty=order.order_qty / QUANTA,
        start=order.terms.start,
        end=order.terms.end,
        schedules=tuple(schedules),
        auctions=tuple(own.auctions()),
        frontier=tuple(_frontier(order, plan, own)),
        volume_share=share,
        largest_qty=None if max_cost_bps is None else _largest(order, plan, max_cost_bps),
        shortfall_limits=plans.shortfall_limits(0),
        extrapolated_share=beyond,
        basis=basis,
        doubts=tuple(doubts),
    )


def _once(of: Callable[..., _T]) -> Callable[..., _T]:
    """Return a function that asks `of` only once for the same arguments."""
    known: dict[tuple[Any, ...], _T] = {}

    def answer(*args: Any) -> _T:
        key = tuple(arg.tobytes() if isinstance(arg, np.ndarray) else arg for arg in args)
        if key not in known:
            known[key] = of(*args)
        return known[key]

    return answer


def _remembering(market: SideView) -> SideView:
    """Return the view with what the schedules of one estimate share worked out once."""
    return dataclasses.replace(
        market,
        curves=_once(market.curves),
        volume=_once(market.volume),
        so_far=_once(market.so_far),
        is_open=_once(market.is_open),
        bands=_once(market.bands),
        auctions=_once(market.auctions),
        session=_once(market.session),
    )


def _keeping_up(allowed: Float, cap: Int, leaves: int, lot: int) -> Int:
    """Return the schedule that keeps up with `allowed` shares by interval as far as its caps let it, quanta."""
    # Whole lots of the running sum, as participation binds plans.
    lots = np.floor(np.cumsum(allowed) * (QUANTA / lot) + 1e-9)
    found, done = np.zeros_like(cap), 0
    for t, (due, most) in enumerate(zip(lots.tolist(), cap.tolist(), strict=True)):
        found[t] = min(min(int(due) * lot, leaves) - done, most // lot * lot)
        done += int(found[t])
    return found


def _misses(basis: Basis) -> bool:
    """Return whether bands have held clearly more or fewer plans lately than they should."""
    pairs = zip(basis.coverage or (), basis.level, strict=False)
    return basis.trial_plans >= _TRIALS and any(abs(held - level) > _MISS for held, level in pairs)


class _Pricer:
    """Prices schedules by the curves that a plan was made with."""

    def __init__(self, plans: Proposals) -> None:
        self._plans = plans
        self.qty = float(plans.shares[0])
        self._entries = plans.auctions[0]
        self._whole = self.qty + entered(self._entries) / QUANTA
        self._mid = plans.market.mid
        self._points = plans.orders[0].instrument.points

    def price(self, policy: str, x: Float, rate: float | None = None) -> Priced:
        """Return the cost of a schedule, shares by interval."""
        plans = self._plans
        traded = float(np.sum(x))
        rows = np.flatnonzero(x > 0.0)
        last = int(plans.grid.end[rows[-1]]) if rows.size else None
        short = max(self.qty - traded, 0.0)
        done_by = None if last is None else min(last, int(plans.end[0]))
        if not plans.priced or not traded > 0.0 or self._mid is None:
            return Priced(policy, rate, traded, short, *(None,) * 6, None, None, done_by)
        n = plans.limits.n_open
        bands = plans.market.bands(n, traded / n)
        # Others' schedules are worked by the minute.
        factor = bands.factor if policy == "impactd" else 1.0
        cost, law = (part * factor for part in plans.charge_in_parts(x))
        spread = min(float(np.sum(plans.expected.curve.s * x)) * factor, cost)
        left = self.qty - np.cumsum(x)
        for entry in self._entries:
            left = left + entry.left / QUANTA * (plans.grid.end < entry.at)
        risk = math.sqrt(plans.market.sigma2 * float(np.sum(plans.fraction * left * left)))
        cost_bps = risk_bps = None
        if self._mid > 0.0:
            cost_bps, risk_bps = cost * (1e4 / (traded * self._mid)), risk * 1e4 / (self._whole * self._mid)
        cost, spread, risk = cost * self._points, spread * self._points, risk * self._points
        return Priced(
            policy, rate, traded, short, cost, cost_bps, spread, cost - spread, risk,
            risk_bps, bands.cost(cost, 0), bands.cost(cost, 1), done_by,
            None if plans.law is None else law * self._points,
        )  # fmt: skip

    def auctions(self) -> Iterable[PricedAuction]:
        """Yield the entries in auctions with their costs."""
        for entry in self._entries:
            qty, volume, mid = entry.left / QUANTA, entry.volume, self._mid
            share = qty / volume if volume else None
            price = self._plans.entry_price(entry)
            cost = None if price is None else price * qty * self._points
            yield PricedAuction(
                f"auction_{entry.kind}", entry.at, entry.cutoff, qty, volume, share, cost,
                None if price is None or mid is None or mid <= 0.0 else price / mid * 1e4,
            )  # fmt: skip


def _frontier(order: Order, plan: Callable[[Order], Proposals], own: _Pricer) -> Iterable[tuple[float, Priced]]:
    """Yield the cheapest schedules by urgency; see `impactd.core.planning.urgency.risk_weight`."""
    for urgency in FRONTIER:
        terms = dataclasses.replace(order.terms, risk_aversion=0.0, urgency=urgency)
        yield urgency, own.price("impactd", in_shares(plan(_like(order, terms)).qty)[0])


def _largest(order: Order, plan: Callable[[Order], Proposals], max_cost_bps: float) -> float:
    """Return the largest quantity whose plan, without a shortfall, costs at most `max_cost_bps`, shares."""
    lot = order.terms.lot_size

    def holds(lots: int) -> bool:
        plans = plan(_like(order, dataclasses.replace(order.terms, order_qty=lots * lot)))
        mid = plans.market.mid
        if plans.shortfall[0] or not plans.priced or mid is None or mid <= 0.0:
            return False
        # An entry without a price counts as nothing.
        entries = math.fsum((plans.entry_price(entry) or 0.0) * (entry.left / QUANTA) for entry in plans.auctions[0])
        return plans.expected_cost + entries <= max_cost_bps / 1e4 * mid * lots * lot / QUANTA

    low, high = 0, max(order.terms.order_qty // lot, 1)
    for _ in range(int(math.log2(_MAX_GROWTH))):
        if not holds(high):
            break
        low, high = high, 2 * high
    for _ in range(_SIZE_STEPS):
        if high - low <= max(low // 1000, 1):
            break
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low * lot / QUANTA


def _like(order: Order, terms: Any) -> Order:
    return Order.open(dataclasses.replace(order.new, terms=terms), order.clock, order.instrument)
