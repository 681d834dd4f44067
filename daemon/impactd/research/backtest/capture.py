r"""The share of the possible saving that a policy captures, with its interval.

.. math::

    \text{capture} = \frac{\sum (\text{TWAP} - \text{policy})}{\sum (\text{TWAP} - \text{hindsight})}

pooled over orders: a ratio of sums, so that windows in which nothing could be
saved weigh nothing.  It is negative where the policy costs more than TWAP.

The interval is a block bootstrap.  Orders of one window trade on the same
books, for any side and size, so a window's orders stay together, and so
do those of overlapping windows that start within one horizon: the
blocks of each symbol are drawn with replacement, days first where there
are several, then windows within a day (a two-stage cluster bootstrap [1]_).
With one day a symbol the interval covers the windows of that day and not other days.

References
----------
.. [1] Davison and Hinkley (1997), Bootstrap Methods and their Application, sec. 3.8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from impactd.core.inputs.ticks import Float

#: Draws of the bootstrap.
DRAWS: Final = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class Priced:
    """One order under all policies."""

    symbol: str
    side: str
    day: str
    #: Kinds of window that it counts in.
    windows: tuple[str, ...]
    #: Start of the order, and of the stretch of time that it is drawn with, ns.
    start: int
    block: int
    horizon_min: int
    #: Shares; currency at the arrival mid.
    qty: float
    notional: float
    #: By policy, currency over mid.
    cost: Mapping[str, float]
    #: Shares priced beyond the visible depth, by policy.
    beyond: Mapping[str, float]
    #: Shares that were left for the last interval over its cap, by policy.
    left: Mapping[str, float]
    #: By policy, currency over the mid `impactd.research.backtest.within.LATER_S` after each trade.
    later: Mapping[str, Sequence[float]] = field(default_factory=dict)
    #: Of the costs, the part by the law of `PlanSettings.metaorder`, by policy; empty without it.
    law: Mapping[str, float] = field(default_factory=dict)


def draws(orders: Sequence[Priced], seed: int, n: int = DRAWS) -> Float:
    """Return how often each order counts in each draw of the bootstrap, shape (n, n_orders)."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((n, len(orders)))
    blocks: dict[str, dict[str, dict[int, list[int]]]] = {}
    for i, order in enumerate(orders):
        blocks.setdefault(order.symbol, {}).setdefault(order.day, {}).setdefault(order.block, []).append(i)
    for symbol in sorted(blocks):
        days = [[np.array(block) for _, block in sorted(day.items())] for _, day in sorted(blocks[symbol].items())]
        # How often something is drawn with replacement is multinomial.
        times = rng.multinomial(len(days), np.full(len(days), 1.0 / len(days)), size=n)
        for d, windows in enumerate(days):
            drawn = rng.multinomial(times[:, d] * len(windows), np.full(len(windows), 1.0 / len(windows)))
            for w, block in enumerate(windows):
                weights[:, block] += drawn[:, w : w + 1]
    return weights


def pooled(orders: Sequence[Priced], policies: Sequence[str], seed: int, n_draws: int = DRAWS) -> dict[str, Any]:
    """Return the figures of each policy over all `orders`.

    Returns
    -------
    dict
        By policy: ``cost`` (currency), ``cost_bps`` (of the notional at arrival),
        ``capture`` (None where hindsight saves nothing) and ``capture_ci90`` (None
        also where no symbol has more than one block to draw from), ``capture_later``,
        ``capture_later_ci90`` and ``saved_later_bps`` (the same over the mids that come after, one a horizon, by the
        same hindsight saving), ``saved_bps`` (of the notional at arrival),
        ``beat_twap`` (share of orders that cost less than TWAP), ``windows``
        (orders), ``beyond_depth`` (share of the quantity priced beyond the
        visible depth) and ``left_over`` (share left for the last interval); with a
        law for what is beyond it ``metaorder_cost``, of ``cost`` the law's part.
    """
    twap = _costs(orders, "twap")
    possible = twap - _costs(orders, "hindsight")
    notional = sum(order.notional for order in orders)
    qty = sum(order.qty for order in orders)
    weights = draws(orders, seed, n_draws) if len(orders) else np.zeros((0, 0))
    total = _summed(weights, possible)
    figures = {}
    for policy in policies:
        cost = _costs(orders, policy)
        saved = twap - cost
        captured, interval = None, None
        # A saving that is nothing but rounding has no shares.
        if possible.sum() > 1e-9 * abs(twap.sum()):
            captured = float(saved.sum() / possible.sum())
            ratio = _summed(weights, saved)[total > 0.0] / total[total > 0.0]
            interval = [float(q) for q in np.quantile(ratio, (0.05, 0.95))] if _varies(orders) else None
        figures[policy] = {
            "cost": float(cost.sum()),
            "cost_bps": float(cost.sum() / notional * 1e4) if notional > 0.0 else None,
            "capture": captured,
            "capture_ci90": interval,
            **_later(orders, policy, possible, weights, total),
            "saved_bps": float(saved.sum() / notional * 1e4) if notional > 0.0 else None,
            "beat_twap": float(np.mean(saved > 0.0)) if len(orders) else None,
            "windows": len(orders),
            "beyond_depth": sum(order.beyond[policy] for order in orders) / qty if qty > 0.0 else None,
            "left_over": sum(order.left[policy] for order in orders) / qty if qty > 0.0 else None,
        }
        if any(order.law for order in orders):
            figures[policy]["metaorder_cost"] = sum(order.law[policy] for order in orders)
    return figures


def _later(
    orders: Sequence[Priced], policy: str, possible: Float, weights: Float, total: Float
) -> dict[str, list[Any] | None]:
    """Return captures and savings over the mids that come after, one a horizon; None where no order has them."""
    names = ("capture_later", "capture_later_ci90", "saved_later_bps")
    if not orders or any(policy not in order.later or "twap" not in order.later for order in orders):
        return dict.fromkeys(names)
    saved = np.array([np.subtract(order.later["twap"], order.later[policy]) for order in orders])
    notional = sum(order.notional for order in orders)
    captures: list[Any] | None = None
    intervals: list[Any] | None = None
    if possible.sum() > 0.0:
        captures = [float(one) for one in saved.sum(axis=0) / possible.sum()]
        if _varies(orders):
            ratio = _summed(weights, saved)[total > 0.0] / total[total > 0.0, None]
            intervals = [[float(q) for q in ends] for ends in np.quantile(ratio, (0.05, 0.95), axis=0).T]
    bps = [float(one) for one in saved.sum(axis=0) / notional * 1e4] if notional > 0.0 else None
    return dict(zip(names, (captures, intervals, bps), strict=True))


def _summed(weights: Float, values: Float) -> Float:
    """Return the sums of `values`, one or a row an order, in each draw.

    A product of BLAS adds in an order that depends on the number of its threads, so on the machine.
    """
    return np.asarray(np.einsum("ij,j...->i...", weights, values))


def _varies(orders: Sequence[Priced]) -> bool:
    """Return whether some symbol has more than one block, without which there is nothing to draw."""
    blocks = {(order.symbol, order.day, order.block) for order in orders}
    return len(blocks) > len({order.symbol for order in orders})


def _costs(orders: Sequence[Priced], policy: str) -> Float:
    return np.array([order.cost[policy] for order in orders], np.float64)
