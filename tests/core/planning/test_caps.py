"""What must_complete lifts, and the smallest clip of an order's intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from impactd.core.allocator.allocate import NO_CAP
from impactd.core.base.quantity import QUANTA
from impactd.core.orders.order import Order
from impactd.core.planning.caps import Caps, caps, clips
from impactd.core.planning.intervals import Intervals
from tests.core.builders import T0, EngineHarness, M, Row, at, fill, minutes, new, settings, with_order


def caps_of(volume: float | None, n: int = 4, **terms: Any) -> Caps:
    order = Order.open(new(**terms), T0)
    intervals = Intervals.of(T0, T0 + n * M, M)
    return caps(order, intervals, None if volume is None else np.full(n, volume), M)


def shares(quanta: np.ndarray) -> list[float]:
    return [q / QUANTA for q in quanta.tolist()]


# --- must_complete --------------------------------------------------------------------


def test_must_complete_lifts_the_last_caps_by_what_is_missing() -> None:
    found = caps_of(500.0, qty=260, participation_rate=0.1, must_complete=True)
    assert shares(found.cap) == [50.0, 50.0, 50.0, 110.0]
    assert shares(found.allowed) == [50.0] * 4
    assert found.lifted(found.cap) == 60 * QUANTA


def test_must_complete_never_lifts_above_max_interval_qty_or_into_a_blackout() -> None:
    found = caps_of(
        500.0, qty=260, participation_rate=0.1, max_interval_qty=80 * QUANTA, must_complete=True,
        blackouts=((T0 + 2 * M, T0 + 3 * M),),
    )  # fmt: skip
    assert shares(found.cap) == [80.0, 80.0, 0.0, 80.0]


def test_must_complete_with_room_lifts_nothing() -> None:
    found = caps_of(500.0, qty=200, participation_rate=0.1, must_complete=True)
    assert found.lifted(found.cap) == 0


def test_may_leave_is_the_default_and_keeps_the_cap() -> None:
    assert shares(caps_of(500.0, qty=260, participation_rate=0.1).cap) == [50.0] * 4


def test_must_complete_holds_whole_lots_and_the_odd_end() -> None:
    found = caps_of(550.0, qty=1_230, participation_rate=0.1, lot_size=100 * QUANTA, must_complete=True)
    assert sum(cap // (100 * QUANTA) for cap in found.cap.tolist()) == 12
    assert found.cap[-1] == 1_230 * QUANTA


def test_must_complete_without_volume_plans_all_for_the_end_and_says_so() -> None:
    harness = with_order(participation_rate=0.1, must_complete=True, qty=500)
    plan = harness.last()
    assert (plan.shortfall_qty, plan.lifted_qty, plan.qty[-1]) == (0, 500 * QUANTA, 500 * QUANTA)
    (alert,) = harness.alerts("lifted")
    assert "500 of 500 only because it must complete" in alert.text


def test_must_complete_trades_what_volume_allows_first() -> None:
    harness = EngineHarness()
    rows = [row for k in range(3) for row in (*minutes(1, start=at(k))[:-1], Row(at(k + 0.5), px=100.0, qty=1_000.0))]
    harness.run([*rows, *minutes(1, start=at(3))[:1]])
    harness.send(new(ts=at(3), qty=2_000, length=5 * M, participation_rate=0.1, must_complete=True))
    plan = harness.last()
    caps_ = [cap for cap in plan.cap if cap is not None]
    assert plan.shortfall_qty == 0
    assert 0 < plan.lifted_qty < 2_000 * QUANTA
    assert list(plan.qty) == caps_
    assert max(plan.qty[:-1]) < plan.qty[-1]


# --- smallest clip ------------------------------------------------------------------------


def test_clips_of_the_interval_under_way_are_what_its_fills_leave() -> None:
    order = Order.open(new(min_clip_qty=50 * QUANTA), T0)
    intervals = Intervals.of(T0 + M // 2, T0 + 3 * M, M)
    order.filled_in = {T0: 30 * QUANTA}
    found = clips(order, intervals, M)
    assert found is not None
    assert shares(found) == [20.0, 50.0, 50.0]
    order.filled_in = {T0: 80 * QUANTA}
    found = clips(order, intervals, M)
    assert found is not None
    assert found[0] == 1


def test_clips_without_the_term_are_none() -> None:
    assert clips(Order.open(new(), T0), Intervals.of(T0, T0 + M, M), M) is None
    assert caps_of(None).cap.tolist() == [NO_CAP] * 4


@pytest.mark.parametrize("terms", [{}, {"risk_aversion": 1e-4}, {"max_interval_qty": 250 * QUANTA}])
def test_plan_with_a_clip_trades_nothing_or_at_least_it(terms: dict[str, Any]) -> None:
    harness = with_order(min_clip_qty=200 * QUANTA, **terms)
    plan = harness.last()
    assert all(qty == 0 or qty >= 200 * QUANTA for qty in plan.qty)
    assert (sum(plan.qty), plan.shortfall_qty) == (1_200 * QUANTA, 0)
    assert plan.certificate is not None
    assert plan.certificate.gap is not None
    assert plan.certificate.gap >= 0.0


def test_plan_with_a_clip_after_a_small_fill_goes_on_in_clips() -> None:
    harness = with_order(min_clip_qty=200 * QUANTA)
    harness.send(fill(at(2.5), "E1", 230))
    assert sum(harness.last().qty) == 970 * QUANTA
    assert all(qty == 0 or qty >= (200 if k else 1) * QUANTA for k, qty in enumerate(harness.last().qty))


def test_clip_above_the_largest_interval_is_refused() -> None:
    harness = with_order(min_clip_qty=200 * QUANTA, max_interval_qty=100 * QUANTA)
    assert harness.last().status == "rejected"
    assert "min_clip_qty is above max_interval_qty" in harness.alerts("order_rejected")[0].text


# --- impact that lasts -------------------------------------------------------------------------


def test_plan_says_which_impact_it_was_made_with() -> None:
    temporary, lasting = (with_order(EngineHarness(settings(transient_share=share))).last() for share in (0.0, 0.5))
    assert temporary.model is not None
    assert lasting.model is not None
    assert (temporary.model.transient_share, temporary.model.resilience_half_life_s) == (0.0, None)
    assert (lasting.model.transient_share, lasting.model.resilience_half_life_s) == (0.5, 300.0)
    assert temporary.expected_cost is not None
    assert lasting.expected_cost is not None
    assert lasting.expected_cost > temporary.expected_cost
    assert lasting.qty[0] > lasting.qty[5] < lasting.qty[-1]


def test_displacement_survives_a_restart() -> None:
    def run(*, restarted: bool) -> list[int]:
        harness = with_order(EngineHarness(settings(transient_share=1.0, fills="scheduled")))
        harness.run(minutes(2, start=at(2), size=60.0)[1:])
        if restarted:
            harness.reload()
        harness.run(minutes(2, start=at(4), size=140.0)[1:])
        return list(harness.last().qty)

    assert run(restarted=False) == run(restarted=True)
