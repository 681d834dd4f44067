"""Published messages, small ones, for the live page's tests."""

from __future__ import annotations

from typing import Any

import orjson

from impactd.core.base.quantity import QUANTA
from impactd.core.base.topics import Side
from impactd.core.outputs.messages import Alert, BandRecord, Estimate, FillCost, ForecastRecord, Model, OrderCost, Plan
from impactd.core.outputs.messages import Encoded as Message
from impactd.wire.records import encode_message

T0 = 1_743_687_000_000_000_000
MINUTE = 60_000_000_000


def encoded(message: Message, **fields: Any) -> bytes:
    """Return a message as it is published, with other values of its fields."""
    return orjson.dumps(orjson.loads(encode_message(message)) | fields)


def estimate(k: int, side: str = "buy", symbol: str = "FROG", **fields: Any) -> bytes:
    """Return the estimate of the `k`-th minute."""
    message = Estimate(
        symbol=symbol,
        side=Side(side),
        minute=T0 + k * MINUTE,
        interval_s=60,
        n_books=5,
        n_rejected=0,
        n_late=0,
        covered_s=60.0,
        mid=30.0,
        half_spread=0.02,
        volume_continuous=None,
        volume_auction=None,
        sizes=(100, 200, 400),
        slippage=(0.01, 0.02, None),
        coverage=(1.0, 0.95, 0.0),
        lower_bound=(0.01, 0.02, 0.04),
    )
    return encoded(message, **fields)


def model(k: int, side: str = "buy", symbol: str = "FROG", **fields: Any) -> bytes:
    """Return the model as of the end of the `k`-th minute."""
    message = Model(
        symbol=symbol,
        side=Side(side),
        as_of=T0 + (k + 1) * MINUTE,
        kind="linear",
        unit="price_per_share",
        intercept=True,
        half_spread=0.02,
        beta=1e-5,
        alpha=None,
        eta=None,
        delta=None,
        se={"half_spread": 0.001, "beta": 1e-6},
        n_eff=3.0,
        r2=0.9,
        prior=False,
        regime=0,
        fitted_range=(100.0, 400.0),
        bands=(BandRecord(60, 2.0, (0.8, 0.95), 0.0, (0.2, 0.4), (0.8, 0.95)),),
        forecast=ForecastRecord((5, 60), (0.021, 0.022), (1e-5, 2e-5), None, None),
    )
    return encoded(message, **fields)


def plan(version: int, k: int, cum: int = 0, n: int = 4, **fields: Any) -> bytes:
    """Return a plan of 400 shares over `n` minutes, made at the start of the `k`-th minute."""
    message = Plan(
        cl_ord_id="A1",
        symbol="FROG",
        side=Side.BUY,
        plan_version=version,
        as_of=T0 + k * MINUTE,
        reason="minute",
        status="active",
        text=None,
        group_id=None,
        order_qty=400 * QUANTA,
        cum_qty=cum * QUANTA,
        leaves_qty=(400 - cum) * QUANTA,
        shortfall_qty=0,
        interval_s=60,
        child_slices=1,
        extrapolated_qty=0,
        start=tuple(T0 + i * MINUTE for i in range(k, n)),
        qty=(100 * QUANTA,) * (n - k),
        cap=(None,) * (n - k),
        expected_cost=8.0,
        expected_cost_bps=6.0,
        twap_cost=9.0,
        saving_bps=0.8,
        cost_band=(7.0, 9.5),
        model=None,
        certificate=None,
        cost_band_95=(6.0, 11.0),
    )
    return encoded(message, **fields)


def fill_cost(exec_id: str, at: int, qty: int, *, over_mid: float, timing: float = 0.0, **fields: Any) -> bytes:
    """Return what a fill of A1 has cost: half of `over_mid` as spread, half as impact."""
    message = FillCost(
        cl_ord_id="A1",
        exec_id=exec_id,
        symbol="FROG",
        side=Side.BUY,
        as_of=at,
        reason="fill",
        ts_event=at,
        qty=qty * QUANTA,
        px=30.01,
        liquidity=None,
        mid=30.0,
        half_spread=0.02,
        arrival_px=30.0,
        interval_vwap=None,
        slippage_bps=3.0,
        predicted_bps=None,
        arrival_bps=3.0,
        vwap_bps=None,
        spread_cost=over_mid / 2,
        impact_cost=over_mid / 2,
        timing_cost=timing,
        cost=over_mid + timing,
    )
    return encoded(message, **fields)


def order_cost(**fields: Any) -> bytes:
    """Return what A1 has cost in the end."""
    message = OrderCost(
        cl_ord_id="A1",
        symbol="FROG",
        side=Side.BUY,
        as_of=T0 + 4 * MINUTE,
        reason="done",
        status="done",
        order_qty=400 * QUANTA,
        cum_qty=400 * QUANTA,
        fills=4,
        avg_px=30.02,
        arrival_px=30.0,
        market_vwap=None,
        end_px=30.1,
        slippage_bps=3.0,
        predicted_bps=2.0,
        arrival_bps=6.0,
        vwap_bps=None,
        spread_cost=4.0,
        impact_cost=2.0,
        timing_cost=1.0,
        opportunity_cost=0.0,
        shortfall=7.0,
        shortfall_bps=5.8,
        market_volume=0.0,
    )
    return encoded(message, **fields)


ALERT = encoded(Alert("halt", None, None, T0, "*: drill"))
