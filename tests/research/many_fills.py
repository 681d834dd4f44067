"""Time of a million fills: `python -m tests.research.many_fills [FILLS]` prints what their costs and summary take."""

from __future__ import annotations

import sys
import time

import numpy as np
import pandas as pd

from impactd.research.cost_analysis import analyse, summary
from impactd.research.tca import Costs

FILLS, ORDERS, SYMBOLS, MINUTES = 1_000_000, 10_000, 100, 390
OPEN = pd.Timestamp("2026-03-02T14:30:00Z")


def day(count: int, seed: int = 19) -> tuple[Costs, pd.DataFrame, pd.DataFrame]:
    """Return a day of `count` fills of at most `ORDERS` orders, its minutes and its plans."""
    draw = np.random.default_rng(seed)
    n_orders = max(1, min(ORDERS, count // 10))
    symbols = np.array([f"S{k}" for k in range(SYMBOLS)])
    of_order = draw.integers(0, SYMBOLS, n_orders)
    side_of = np.where(draw.random(n_orders) < 0.5, "buy", "sell")
    mids = 100.0 + np.cumsum(draw.normal(0, 0.02, (SYMBOLS, MINUTES)), axis=1)
    minutes = pd.DataFrame(
        {
            "symbol": np.repeat(symbols, MINUTES),
            "minute": np.tile(OPEN + pd.to_timedelta(np.arange(MINUTES), unit="min"), SYMBOLS),
            "mid": mids.ravel(),
            "volume_continuous": draw.integers(100, 10_000, SYMBOLS * MINUTES).astype(float),
        }
    ).sort_values("minute", ignore_index=True)
    order, minute = draw.integers(0, n_orders, count), draw.integers(0, MINUTES - 1, count)
    sign = np.where(side_of[order] == "buy", 1.0, -1.0)
    mid, half = mids[of_order[order], minute], 0.01
    px = mid + sign * half
    qty = draw.integers(1, 500, count).astype(float)
    at = OPEN + pd.to_timedelta(minute * 60 + draw.integers(0, 60, count), unit="s")
    paid = {"spread_cost": half * qty, "impact_cost": 0.0 * qty, "timing_cost": sign * (mid - 100.0) * qty}
    costs = sum(paid.values())
    bps = 1e4 * sign * (px - 100.0) / 100.0
    fills = pd.DataFrame(
        {
            "cl_ord_id": np.char.add("P", order.astype(str)), "exec_id": np.char.add("E", np.arange(count).astype(str)),
            "symbol": symbols[of_order[order]], "side": side_of[order], "ts_event": at, "as_of": at, "qty": qty,
            "px": px, "liquidity": "taker", "mid": mid, "half_spread": half, "arrival_bps": bps, "slippage_bps": bps,
            "predicted_bps": bps, "vwap_bps": bps, **paid, "cost": costs,
        }
    )  # fmt: skip
    names = [f"P{k}" for k in range(n_orders)]
    cum = np.bincount(order, qty, n_orders)
    parts = {name: np.bincount(order, value, n_orders) for name, value in paid.items()}
    whole = sum(parts.values())
    orders = pd.DataFrame(
        {
            "cl_ord_id": names, "symbol": symbols[of_order], "side": side_of, "status": "done",
            "as_of": OPEN + pd.Timedelta(minutes=MINUTES), "order_qty": cum, "cum_qty": cum,
            "avg_px": np.bincount(order, px * qty, n_orders) / np.maximum(cum, 1.0), "arrival_px": 100.0,
            "market_vwap": 100.0, "market_volume": 1e6, "arrival_bps": 0.0, "vwap_bps": 0.0, "slippage_bps": 0.0,
            "predicted_bps": 0.0, "shortfall_bps": 0.0, **parts, "opportunity_cost": 0.0, "shortfall": whole,
        }
    )  # fmt: skip
    plans = pd.DataFrame({"cl_ord_id": names, "as_of": OPEN, "mid": 100.0, "start": OPEN, "urgency": 1.0})
    days = pd.DataFrame({"symbol": symbols, "side": "buy", "day": OPEN})
    return Costs(fills, orders, days), minutes, plans


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else FILLS
    costs, minutes, plans = day(count)
    begun, used = time.perf_counter(), time.process_time()
    found = analyse(costs, minutes, plans)
    table = summary(found.fills, ["symbol", "side", "hour"])
    orders = summary(found.orders, ["symbol", "urgency", "hour"])
    sys.stdout.write(
        f"{int(table['count'].sum()):,} fills and {int(orders['count'].sum()):,} orders: "
        f"{time.perf_counter() - begun:.2f} s, {time.process_time() - used:.2f} s of processor time\n"
    )


if __name__ == "__main__":
    main()
