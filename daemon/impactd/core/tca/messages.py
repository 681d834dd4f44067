"""Published cost messages of fills and orders."""

from __future__ import annotations

from impactd.core.orders.costs import Costs, Shortfall, average_px, bps, fill_costs
from impactd.core.orders.order import Order
from impactd.core.outputs.messages import FillCost, OrderCost


def over(sign: int, px: float | None, benchmark_px: float | None) -> float | None:
    """Return what `px` lost against a benchmark price, basis points of the latter.

    None unless both are known and the benchmark is above 0.
    """
    if px is None or benchmark_px is None or benchmark_px <= 0.0:
        return None
    return sign * (px - benchmark_px) / benchmark_px * 1e4


def fill_cost(order: Order, exec_id: str, reason: str, interval_vwap: float | None, now: int) -> FillCost:
    """Return the message of one fill of `order` at event time `now` (ns), which has been measured."""
    execution = order.executions[exec_id]
    mark, arrival = execution.mark, order.arrival_px
    costs = Costs()
    if mark is not None and arrival is not None:
        costs = fill_costs(order.side.sign, execution.qty, execution.px, mark, arrival)
    its = order.instrument
    parts, mid = Shortfall.of(costs, scale=its.scale), None if mark is None else mark.mid
    sign, traded = order.side.sign, execution.qty > 0
    return FillCost(
        cl_ord_id=order.cl_ord_id,
        exec_id=exec_id,
        symbol=order.symbol,
        side=order.side,
        as_of=now,
        reason=reason,
        ts_event=now if mark is None else mark.at,
        qty=execution.qty,
        px=execution.px,
        liquidity=None if mark is None else mark.liquidity,
        venue=None if mark is None else mark.venue,
        mid=mid,
        half_spread=None if mark is None else mark.half_spread,
        arrival_px=arrival,
        interval_vwap=interval_vwap,
        slippage_bps=over(sign, execution.px, mid) if traded else None,
        predicted_bps=bps(costs.predicted, costs.predicted_qty, mid),
        arrival_bps=over(sign, execution.px, arrival) if traded else None,
        vwap_bps=over(sign, execution.px, interval_vwap) if traded else None,
        spread_cost=parts.spread,
        impact_cost=parts.impact,
        timing_cost=parts.timing,
        cost=parts.total,
        currency=its.currency,
        multiplier=its.points,
        slippage_ticks=its.in_ticks(sign * (execution.px - mid)) if traded and mid is not None else None,
    )


def order_cost(order: Order, reason: str, missed: int | None) -> OrderCost:
    """Return the message of an order that has ended.

    Parameters
    ----------
    missed : int or None
        What not trading the rest has cost, as `Costs` count; None where that is unknown.
    """
    costs, sign = order.costs, order.side.sign
    average = average_px(costs.notional, costs.qty)
    vwap = order.vwap_turnover / order.vwap_volume if order.vwap_volume > 0.0 else None
    measured = costs.qty == order.cum_qty
    its = order.instrument
    parts = Shortfall.of(costs, missed, its.scale, measured=measured)
    total = None if missed is None or not measured else costs.spread + costs.impact + costs.timing + missed
    return OrderCost(
        cl_ord_id=order.cl_ord_id,
        symbol=order.symbol,
        side=order.side,
        as_of=order.clock,
        reason=reason,
        status=str(order.status),
        order_qty=order.order_qty,
        cum_qty=order.cum_qty,
        fills=costs.fills,
        avg_px=average,
        arrival_px=order.arrival_px,
        market_vwap=vwap,
        end_px=order.end_px,
        slippage_bps=bps(costs.slippage, costs.predicted_qty, average),
        predicted_bps=bps(costs.predicted, costs.predicted_qty, average),
        arrival_bps=over(sign, average, order.arrival_px),
        vwap_bps=over(sign, average, vwap),
        spread_cost=parts.spread,
        impact_cost=parts.impact,
        timing_cost=parts.timing,
        opportunity_cost=parts.opportunity,
        shortfall=parts.total,
        shortfall_bps=None if total is None else bps(total, order.order_qty, order.arrival_px),
        market_volume=order.vwap_volume,
        currency=its.currency,
        multiplier=its.points,
        slippage_ticks=its.in_ticks(average_px(costs.slippage, costs.predicted_qty)),
        shortfall_ticks=None if total is None else its.in_ticks(average_px(total, order.order_qty)),
    )
