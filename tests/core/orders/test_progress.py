"""Alerts of an order's progress: band of participation, drift of the price, cost of its fills."""

from __future__ import annotations

from impactd.core.base.settings import CoreSettings, PlanSettings
from tests.core.builders import EngineHarness, M, S, at, fill, ladder, minutes, new
from tests.core.rows import Row, trade


def traded(first: int, last: int, mid: float = 100.0, qty: float = 1_000.0) -> list[Row]:
    rows: list[Row] = [ladder(at(k) + j * 20 * S, mid=mid) for k in range(first, last) for j in range(3)]
    rows += [trade(at(k) + 30 * S, px=mid, qty=qty) for k in range(first, last)]
    return [*sorted(rows, key=lambda row: row.ts), ladder(at(last), mid=mid)]


def test_order_without_fills_is_behind_its_least_rate_once() -> None:
    harness = EngineHarness()
    harness.run(traded(0, 10))
    harness.send(new("A", 20_000, at(10), 30 * M, min_participation_rate=0.1))
    harness.run(traded(10, 12))
    (alert,) = harness.alerts("off_band")
    assert "behind" in alert.text
    harness.run(traded(12, 14))
    assert len(harness.alerts("off_band")) == 1
    # once made up for, it may fall behind again
    harness.send(fill(at(14) + S, "E1", 600))
    harness.run(traded(14, 15))
    harness.run(traded(15, 20))
    assert len(harness.alerts("off_band")) == 2


def test_order_that_trades_more_than_its_rate_is_ahead() -> None:
    harness = EngineHarness()
    harness.run(traded(0, 10))
    harness.send(new("A", 20_000, at(10), 30 * M, participation_rate=0.1))
    harness.run(traded(10, 11))
    assert not harness.alerts("off_band")
    harness.send(fill(at(11) + S, "E1", 900))
    harness.run(traded(11, 12))
    (alert,) = harness.alerts("off_band")
    assert "ahead" in alert.text


def test_a_minute_that_falls_short_of_its_forecast_is_no_alert() -> None:
    """The plan trades a share of what was forecast, and pays back what the minute did not bring."""
    harness = EngineHarness(CoreSettings(plans=PlanSettings(fills="scheduled")))
    harness.run(traded(0, 10))
    harness.send(new("A", 20_000, at(10), 30 * M, participation_rate=0.1))
    harness.run(traded(10, 20))
    harness.run(traded(20, 21, qty=4.0))
    harness.run(traded(21, 25))
    assert harness.plans()[-1].cum_qty > 0
    assert not harness.alerts("off_band")


def test_price_beyond_the_setting_is_alerted_once_each_way() -> None:
    harness = EngineHarness(CoreSettings(plans=PlanSettings(alert_drift_bps=50.0)))
    harness.run(traded(0, 10))
    harness.send(new("A", 20_000, at(10), 30 * M))
    for k, mid in enumerate([100.0, 100.3, 100.7, 100.8, 100.1, 99.2]):
        harness.run(traded(10 + k, 11 + k, mid))
    assert len(harness.alerts("price_drift")) == 2
    silent = EngineHarness()
    silent.run(minutes(10))
    silent.send(new("A", 20_000, at(10), 30 * M))
    silent.run(traded(10, 12, 110.0))
    assert not silent.alerts("price_drift")


def test_fills_outside_of_the_first_plans_band_are_alerted_when_half_is_done() -> None:
    harness = EngineHarness()
    harness.run(traded(0, 40))
    harness.send(new("A", 1_200, at(40), 12 * M))
    harness.send(fill(at(40) + S, "E1", 300, px=105.0))
    harness.run(traded(40, 41))
    assert not harness.alerts("cost_off_band")
    harness.send(fill(at(41) + S, "E2", 400, px=105.0))
    harness.run(traded(41, 42))
    (alert,) = harness.alerts("cost_off_band")
    order = harness.engine.orders.get("A")
    assert order is not None
    assert order.cost_band is not None
    assert alert.cl_ord_id == "A"


def test_fills_as_expected_are_not_alerted() -> None:
    harness = EngineHarness()
    harness.run(traded(0, 40))
    harness.send(new("A", 1_200, at(40), 12 * M))
    for k in range(4):
        harness.send(fill(at(40 + k) + S, f"E{k}", 200, px=100.03))
        harness.run(traded(40 + k, 41 + k))
    assert not harness.alerts("cost_off_band")
