"""Would prices, and plans that a price forces: brute force on small cases, zones, alerts, refusals."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import CoreSettings, PlanSettings
from impactd.core.base.topics import Side
from impactd.core.orders.order import Order, Status
from tests.core.builders import T0, EngineHarness, M, S, at, bust, change, fill, ladder, minutes, new, plans
from tests.core.planning.engines import market, proposed, refusal
from tests.core.planning.test_bands_of_rate import LOT
from tests.core.slices.test_watch import acting, slices, wavy

WOULD = {"would_px": 100.0, "would_rate": 0.5}


def test_at_the_price_the_plan_takes_its_share_of_the_depth_and_is_the_cheapest_that_does() -> None:
    order = Order.open(new("A", 600, at(31), 5 * M, lot_size=LOT * QUANTA, would_px=101.0, would_rate=0.5), at(31))
    found = proposed(market(), order)
    seen = found.market.within(101.0)
    assert seen is not None
    least = min(0.5 * seen[1], 600) // LOT * LOT
    assert least > 0
    x = found.qty[0] / QUANTA
    assert x[0] >= least

    def cost(lots: tuple[int, ...]) -> float:
        return float(np.sum(found.problem.curve.cost(np.array(lots, np.float64) * LOT)))

    every = [lots for lots in itertools.product(range(7), repeat=5) if sum(lots) == 6 and lots[0] * LOT >= least]
    mine = tuple((found.qty[0] // (LOT * QUANTA)).tolist())
    assert cost(mine) <= min(map(cost, every)) + found.gap + 1e-9
    assert found.of(0).would_qty == min(int(0.5 * seen[1] * QUANTA), 600 * QUANTA, int(found.qty[0][0]))


@pytest.mark.parametrize(
    "terms", [{"max_interval_qty": 50 * QUANTA}, {"participation_rate": 0.02}, {"blackouts": ((at(31), at(32)),)}]
)
def test_other_limits_hold_at_the_price(terms: dict[str, Any]) -> None:
    order = Order.open(new("A", 600, at(31), 5 * M, would_px=101.0, would_rate=1.0, **terms), at(31))
    found = proposed(market(), order)
    assert not found.limits.broken_by(found.qty)
    assert found.qty[0][0] <= found.limits.cap[0][0]


def test_would_price_is_never_worse_than_the_limit() -> None:
    for side in Side:
        near, far = (100.0, 101.0) if side is Side.BUY else (101.0, 100.0)
        order = Order.open(new("A", 100, at(31), side=side, would_px=far, would_rate=0.1, limit_px=near), at(31))
        assert order.would(100.0) == near
        (refused,) = plans(market().send(order.new))
        assert refused.status == Status.REJECTED
        assert "would_px" in (refused.text or "")


@pytest.mark.parametrize("terms", [{"would_px": 100.0}, {"would_rate": 0.5}, WOULD | {"min_clip_qty": 100 * QUANTA}])
def test_refused_by_name(terms: dict[str, Any]) -> None:
    harness = market()
    assert "would_px" in refusal(harness, **terms)
    harness.send(new("B", 1_200, at(31)))
    assert not plans(harness.send(change(at(31), "B", **terms)))


def test_touching_and_leaving_are_plans_at_once_and_at_most_so_often() -> None:
    harness = EngineHarness(CoreSettings(plans=PlanSettings(price_check_ns=2 * S)))
    harness.run(minutes(10))
    harness.send(new("A", 6_000, at(10), 30 * M, **WOULD))
    before = len(harness.plans())
    assert not harness.alerts("would_touched")
    assert harness.plans()[-1].would_qty == 0
    # down through the price, and then to and fro within seconds
    mids = [100.2, 100.2, 99.9, *np.random.default_rng(1).choice([100.2, 99.9], 90).tolist()]
    harness.run([ladder(at(10) + S + k * S // 2, mid=mid) for k, mid in enumerate(mids)])
    said = harness.plans()[before:]
    assert {plan.reason for plan in said} == {"price"}
    assert all(later.as_of - earlier.as_of >= 2 * S for earlier, later in itertools.pairwise(said))
    assert 1 <= len(said) <= 22
    assert harness.alerts("would_touched")
    touched = [plan for plan in said if plan.would_qty]
    assert touched
    assert all(plan.qty[0] >= (plan.would_qty or 0) > 0 for plan in touched)


@pytest.mark.parametrize("terms", [{"limit_px": 99.9}, WOULD | {"would_px": 99.9}])
def test_touched_price_is_left_at_a_distance_and_touched_again_at_once(terms: dict[str, Any]) -> None:
    """A minute's deviation is about 0.6: a cent beyond the price forces nothing, half a deviation does."""
    harness = EngineHarness()
    harness.run([ladder(T0 + k * 20 * S, mid=100.0 + 0.6 * (k // 3 % 2)) for k in range(31)])
    harness.send(new("A", 6_000, at(10) + S, 30 * M, **terms))
    ask = 99.9
    moves = [(ask, True), (ask + 0.01, False), (ask, False), (ask + 0.4, True), (ask + 0.01, False), (ask, True)]
    for k, (px, forced) in enumerate(moves):
        before = len(harness.plans())
        harness.run([ladder(at(10) + (3 + 4 * k + j) * S, mid=round(px - 0.02, 2)) for j in range(4)])
        said = [plan.reason for plan in harness.plans()[before:]]
        assert said == ["price"] * forced, (k, px, said)


@pytest.mark.parametrize("restarts", [False, True])
def test_prices_of_an_order_that_a_bust_reopens_are_watched_again(*, restarts: bool) -> None:
    harness = EngineHarness()
    harness.run(minutes(10))
    harness.send(new("A", 600, at(10), 30 * M, limit_px=100.05))
    harness.send(fill(at(10) + S, "E1", 600))
    harness.run([ladder(at(10) + k * S, mid=101.0) for k in range(2, 6)])
    harness.send(bust(at(10) + 6 * S, "B1", "E1"))
    if restarts:
        harness.reload()
    before = len(harness.plans())
    harness.run([ladder(at(10) + k * S, mid=101.0) for k in range(7, 12)])
    harness.run([ladder(at(10) + k * S, mid=99.0) for k in range(12, 20)])
    assert [plan.reason for plan in harness.plans()[before:]] == ["price"]


def test_price_that_stays_forces_nothing() -> None:
    harness = EngineHarness()
    harness.run(minutes(10))
    harness.send(new("A", 6_000, at(10), 30 * M, limit_px=100.02, **WOULD | {"would_px": 99.0}))
    before = len(harness.plans())
    harness.run([ladder(at(10) + k * S, mid=100.2) for k in range(1, 50)])
    assert len(harness.plans()) - before <= 1


def test_limit_blocks_and_far_away_are_planned_without_waiting_for_the_minute() -> None:
    harness = EngineHarness()
    harness.run(minutes(10))
    harness.send(new("A", 600, at(10), 30 * M, limit_px=100.05))
    for k, mid in enumerate([100.0, 100.3, 130.0, 100.0]):
        harness.run([ladder(at(10) + (10 * k + j) * S, mid=mid) for j in range(1, 6)])
    said = [plan for plan in harness.plans() if plan.reason == "price"]
    assert [plan.qty[0] > 0 for plan in said] == [False, False, True] or [p.qty[0] > 0 for p in said] == [False, True]
    assert harness.alerts("limit_blocks")


@given(seed=st.integers(0, 2**16), cut=st.integers(1, 60), rate=st.sampled_from([0.1, 1.0]))
@hypothesis_settings(max_examples=15)
def test_restart_and_batches_change_nothing(seed: int, cut: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    rows = [ladder(at(10) + k * S, mid=round(100.0 + 0.05 * float(rng.normal()), 2)) for k in range(1, 90)]
    orders = [new("A", 3_000, at(10), 30 * M, would_px=100.05, would_rate=rate), new("B", 900, at(10), limit_px=100.04)]
    said = []
    for parts in ([rows], [rows[:cut], rows[cut:]], [[row] for row in rows]):
        harness = EngineHarness()
        harness.run(minutes(10))
        for order in orders:
            harness.send(order)
        for part in parts:
            harness.run(part)
            if len(parts) == 2:
                harness.reload()
            if len(parts) == 2:
                harness.reload()
        said.append([(plan.cl_ord_id, plan.as_of, plan.reason, plan.qty) for plan in harness.plans()])
    assert said[0] == said[1] == said[2]


def test_slices_take_the_share_of_the_depth_at_the_price() -> None:
    harness = acting()
    harness.put(new(qty=60_000, ts=at(10), length=20 * M, would_px=101.0, would_rate=0.4))
    harness.run([*wavy(32), ladder(at(34))])
    said = slices(harness)
    assert {one.reason for one in said} >= {"would"}
    assert all(one.limit_px <= 101.0 for one in said if one.reason == "would")
