"""The plan that is published, from a proposal (`impactd.core.planning.propose`) or in place of one."""

from __future__ import annotations

import dataclasses
from typing import Any

from impactd.core.allocator.bounds import NO_CAP, Int
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import SECOND_NS, PlanSettings
from impactd.core.orders.costs import average_px
from impactd.core.orders.order import Order, Status
from impactd.core.outputs.messages import AuctionEntry, Certificate, Plan, SupplyPoint
from impactd.core.planning.propose import Proposal


def plan_message(
    order: Order,
    reason: str,
    proposal: Proposal | None,
    settings: PlanSettings,
    interval_ns: int,
    group_id: str | None = None,
    *,
    blind: bool = False,
) -> Plan:
    """Return the plan to publish: `proposal`, or an empty schedule where there is none.

    An empty schedule leaves all of an active (halted) or expired order
    over, so that quantities always sum to ``leaves_qty - shortfall_qty``,
    those in auctions included.
    Costs are given only where the market has a price.
    """
    unfilled = max(order.order_qty - order.cum_qty, 0)
    leaves = unfilled if order.status in {Status.ACTIVE, Status.EXPIRED} else 0
    its = order.instrument
    # Made at once from its fields: hundreds are made as a minute closes, and each copy with changes takes as long.
    fields: dict[str, Any] = dict(  # noqa: C408  (fields of a class, by their names)
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
        window=(order.works_from, order.terms.end),
        participation_rate=order.terms.most_rate,
        min_participation_rate=order.terms.least_rate,
        min_clip_qty=order.terms.min_clip_qty,
        urgency=order.terms.urgency,
        currency=its.currency,
        multiplier=its.points,
        blind=blind,
        cl_ord_ids=order.ids,
        avg_px=average_px(order.costs.notional, order.costs.qty),
    )
    if proposal is None:
        return Plan(**fields)
    fields.update(
        shortfall_qty=proposal.shortfall_qty,
        shortfall_limits=proposal.shortfall_limits,
        extrapolated_qty=proposal.extrapolated_qty,
        start=tuple(proposal.intervals.start.tolist()),
        end=int(proposal.intervals.end[-1]) if len(proposal.intervals.end) else None,
        qty=tuple(proposal.qty.tolist()),
        cap=_caps(proposal.cap),
        model=proposal.model,
        certificate=_in_currency(proposal.certificate, its.points),
        lifted_qty=proposal.lifted_qty,
        mid=proposal.mid,
        limit_px=proposal.limit_px,
        auctions=tuple(
            AuctionEntry(
                f"auction_{e.kind}",
                e.at,
                e.cutoff,
                e.left,
                proposal.limit_px,
                e.volume,
                e.rate,
                None if price is None else price * (e.left / QUANTA) * its.points,
            )
            for e, price in zip(proposal.auctions, proposal.auction_prices, strict=True)
        ),
        would_px=proposal.would_px,
        would_qty=None if proposal.would_px is None else proposal.would_qty,
        expected_shortfall_qty=proposal.expected_shortfall_qty,
    )
    shares = proposal.shares
    if not proposal.priced or shares <= 0.0 or proposal.mid is None:
        return Plan(**fields)
    notional = shares * proposal.mid
    cost, even = proposal.expected_cost * proposal.bands.factor, proposal.twap_cost
    fields.update(
        expected_cost=cost * its.points,
        expected_cost_bps=cost / notional * 1e4 if notional > 0.0 else None,
        twap_cost=even * its.points,
        saving_bps=(even - cost) / notional * 1e4 if notional > 0.0 else None,
        cost_band=proposal.bands.cost(cost * its.points, 0),
        cost_band_95=proposal.bands.cost(cost * its.points, 1),
        expected_cost_ticks=its.in_ticks(cost / shares),
        supply=tuple(SupplyPoint(px, int(offered * QUANTA)) for px, offered in proposal.supply),
    )
    if proposal.metaorder_cost is not None:
        fields["metaorder_cost"] = proposal.metaorder_cost * proposal.bands.factor * its.points
    return Plan(**fields)


def _caps(cap: Int) -> tuple[int | None, ...]:
    """Return caps as a plan has them, None where there is none; most plans have them throughout or nowhere."""
    free = cap >= NO_CAP
    if free.all():
        return (None,) * len(cap)
    caps = cap.tolist()
    return tuple([None if one >= NO_CAP else one for one in caps]) if free.any() else tuple(caps)


def _in_currency(certificate: Certificate, points: float) -> Certificate:
    """Return a certificate with its gap, which is of price times quantity, in currency."""
    gap = certificate.gap
    return certificate if gap is None else dataclasses.replace(certificate, gap=gap * points)
