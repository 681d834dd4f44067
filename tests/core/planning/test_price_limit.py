"""Limit prices: closed forms, a lattice of two prices, brute force over mids, and what no plan may do."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.allocator.curve import Curve
from impactd.core.base.quantity import QUANTA
from impactd.core.base.topics import Side
from impactd.core.orders.order import Order
from impactd.core.planning.price_limit import _Z, _expected
from tests.core.builders import T0, EngineHarness, M, at, change, ladder, minutes, new, plans
from tests.core.planning.engines import market, proposed, refusal


def curve(n: int, s: float = 0.05, b: float = 1e-4, a: float = 0.0, e: float = 0.0, delta: float = 0.5) -> Curve:
    return Curve(*(np.full(n, value) for value in (s, b, a, e)), delta)


def expected(c: Curve, distance: float, deviation: float, x: float = math.inf) -> float:
    n = len(c.s)
    found = _expected(c.s, c.b, c.a, c.e, c.delta, np.full(n, distance), np.full(n, deviation), np.full(n, x), _Z)
    return float(found[0])


def test_known_price_gives_the_walk_to_the_limit() -> None:
    # The next share costs s + 2 b x: 0.05 + 2e-4 x = 0.25 at a thousand shares.
    assert expected(curve(1), 0.25, 0.0) == pytest.approx(1_000)
    assert expected(curve(1), 0.25, 0.0, 400) == pytest.approx(400)
    assert expected(curve(1), 0.05, 0.0) == 0.0
    assert expected(curve(1), -1.0, 0.0, 400) == 0.0
    assert expected(curve(1, b=0.0, e=1e-3), 0.05 + 1e-3 * 1.5 * 30.0, 0.0) == pytest.approx(900)
    assert expected(curve(1, b=0.0), 0.1, 0.0) == math.inf


def test_two_prices_of_equal_chance_give_the_mean_of_their_walks() -> None:
    """A lattice: the mid is a step nearer to the limit, or a step further, with one half each."""
    c, distance, step = curve(1, b=0.0, e=1e-3), 0.06, 0.04
    nodes = np.array([-1.0, 1.0])
    up, down = expected(c, distance + step, 0.0), expected(c, distance - step, 0.0)
    assert down == 0.0
    for x in (math.inf, 40.0):
        found = _expected(c.s, c.b, c.a, c.e, c.delta, np.array([distance]), np.array([step]), np.array([x]), nodes)
        assert found[0] == pytest.approx(0.5 * min(up, x) + 0.5 * min(down, x))


@given(
    distance=st.floats(-0.5, 0.5),
    deviation=st.floats(1e-3, 0.3),
    x=st.sampled_from([math.inf, 100.0, 900.0]),
)
@settings(max_examples=60, deadline=None)
def test_linear_closed_form_is_the_mean_over_all_mids(distance: float, deviation: float, x: float) -> None:
    z = np.linspace(-8.0, 8.0, 40_001)
    weight = np.exp(-0.5 * z * z)
    within = np.minimum(np.maximum(distance + deviation * z - 0.05, 0.0) / 2e-4, x)
    mean = float(np.sum(weight * within) / np.sum(weight))
    assert expected(curve(1), distance, deviation, x) == pytest.approx(mean, rel=1e-4, abs=1e-6)
    # The average over mids errs by less than a hundredth of what a standard deviation of the mid is worth.
    error = 0.01 * deviation / 2e-4
    assert expected(curve(1, a=1e-12), distance, deviation, x) == pytest.approx(mean, rel=1e-3, abs=error)


@pytest.mark.parametrize("side", list(Side))
def test_current_interval_trades_no_more_than_the_book_shows_within_the_limit(side: Side) -> None:
    harness = market()
    harness.run([ladder(at(31), mid=100.0)])
    for ticks, shown in ((0, 0.0), (1, 100.0), (3, 300.0)):
        # The ladder has 100 shares at each cent from 0.02 over the mid on.
        limit = 100.0 + side.sign * (0.015 + 0.01 * ticks)
        order = Order.open(new("A", 5_000, at(31), 12 * M, side=side, limit_px=limit), at(31))
        found = proposed(harness, order)
        assert int(found.qty[0, 0]) <= shown * QUANTA
        assert found.priced_limits[0].blocks == (shown == 0.0)


def test_plan_states_limit_and_what_it_leaves_and_a_far_limit_changes_nothing() -> None:
    harness = market()
    (far,) = plans(harness.send(new("A", 3_000, at(31), limit_px=150.0)))
    assert far.limit_px == 150.0
    assert far.expected_shortfall_qty == far.shortfall_qty == 0
    free = market()
    (without,) = plans(free.send(new("A", 3_000, at(31))))
    assert far.qty == without.qty
    assert without.limit_px is None
    assert without.expected_shortfall_qty is None
    near = market()
    (tight,) = plans(near.send(new("A", 3_000, at(31), limit_px=100.0)))
    assert tight.expected_shortfall_qty is not None
    assert tight.expected_shortfall_qty >= tight.shortfall_qty
    assert tight.expected_shortfall_qty > 0


def test_limits_further_away_leave_less() -> None:
    harness = market()
    left = []
    for offset in (-5.0, 0.0, 2.0, 5.0, 20.0, 500.0):
        order = Order.open(new("A", 3_000, at(31), limit_offset_bps=offset), at(31))
        left.append(proposed(harness, order).of(0).expected_shortfall_qty or 0)
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1] == 0


def test_relative_limit_is_from_the_arrival_price_on_the_orders_side() -> None:
    for side in Side:
        order = Order.open(new("A", 100, at(31), side=side, limit_offset_bps=20.0), at(31))
        assert order.limit(None) is None
        assert order.limit(50.0) == pytest.approx(50.0 * (1 + side.sign * 0.002))
        order.arrival_px = 100.0
        assert order.limit(50.0) == pytest.approx(100.0 + side.sign * 0.2)


def test_alert_states_a_relative_limit_without_the_noise_of_floats() -> None:
    for bps in (-333.0, -33.3, -7.0):
        harness = EngineHarness()
        harness.run(minutes(10))
        harness.send(new("A", 600, at(10), 30 * M, limit_offset_bps=bps))
        harness.run([ladder(at(11) - 10**9, mid=101.0), ladder(at(11) + 10**9, mid=101.0)])
        (alert,) = harness.alerts("limit_blocks")
        stated = (alert.text or "").split("the limit ")[1].split(":")[0]
        assert len(stated) <= 11
        assert float(stated) == pytest.approx(harness.plans()[-1].limit_px, rel=1e-9)


def test_price_beyond_the_limit_is_alerted_once_and_planned_again_when_it_comes_back() -> None:
    harness = EngineHarness()
    harness.run(minutes(10))
    harness.send(new("A", 600, at(10), 30 * M, limit_px=100.05))
    assert not harness.alerts("limit_blocks")
    for k in range(11, 14):
        harness.run([ladder(at(k) - 10**9, mid=101.0), ladder(at(k) + 10**9, mid=101.0)])
    (alert,) = harness.alerts("limit_blocks")
    assert alert.cl_ord_id == "A"
    latest = harness.plans()[-1]
    assert latest.qty[0] == 0
    for k in range(14, 17):
        harness.run([ladder(at(k) - 10**9, mid=100.0), ladder(at(k) + 10**9, mid=100.0)])
    again = harness.plans()[-1]
    assert (again.expected_shortfall_qty or 0) < (latest.expected_shortfall_qty or 0)
    assert again.qty[0] > 0


@pytest.mark.parametrize("terms", [{"limit_px": 100.0, "limit_offset_bps": 5.0}], ids=["both"])
def test_two_limits_are_refused_by_name(terms: dict[str, Any]) -> None:
    harness = market()
    assert "limit_px with limit_offset_bps" in refusal(harness, **terms)
    harness.send(new("B", 1_200, at(31), limit_px=101.0))
    assert not plans(harness.send(change(at(31), "B", limit_offset_bps=5.0)))


@given(
    side=st.sampled_from(list(Side)),
    offset=st.floats(-40.0, 40.0),
    seed=st.integers(0, 2**16),
    rate=st.sampled_from([None, 0.1]),
)
@settings(max_examples=60, deadline=None)
def test_no_plan_has_more_in_the_current_interval_than_the_book_shows_within_the_limit(
    side: Side, offset: float, seed: int, rate: float | None
) -> None:
    rng = np.random.default_rng(seed)
    mids = 100.0 + np.round(np.cumsum(rng.normal(0.0, 0.03, 60)), 2)
    harness = EngineHarness()
    harness.run([ladder(T0 + k * M // 3, mid=float(mid)) for k, mid in enumerate(mids[:31])])
    limit = 100.0 * (1 + side.sign * offset / 1e4)
    order = new("A", 2_500, at(10.4), 30 * M, side=side, limit_px=limit, participation_rate=rate)
    harness.send(replace(order, ts_event=at(10.4)))
    for k, mid in enumerate(mids[31:], 31):
        for plan in plans(harness.run([ladder(T0 + k * M // 3, mid=float(mid))])):
            if not plan.start:
                continue
            assert plan.limit_px == limit
            before = float(mids[k - 1]), float(mid)
            shown = max(
                sum(100.0 for j in range(8) if 0.02 + 0.01 * j <= side.sign * (limit - m) + 1e-9) for m in before
            )
            first = plan.qty[0] if plan.start[0] <= plan.as_of else 0
            assert first <= shown * QUANTA
