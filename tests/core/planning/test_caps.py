"""Caps, participation in the running sum, what must_complete lifts, and the smallest clip."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from impactd.core.allocator.allocate import Allocation, allocate
from impactd.core.allocator.bounds import NO_CAP
from impactd.core.allocator.problem import Problem
from impactd.core.base.quantity import QUANTA
from impactd.core.orders.order import Order
from impactd.core.planning.caps import Limits, clips, complete_in_clips, limits
from impactd.core.planning.intervals import Intervals
from tests.core.builders import T0, EngineHarness, M, Row, at, fill, minutes, new, settings, with_order


def limits_of(
    order: Order, volume: float | None = None, now: int = T0, n: int = 4, *, shut: tuple[int, ...] = (),
    so_far: float = 0.0,
) -> Limits:  # fmt: skip
    """Return an order's limits over `n` minutes from T0 on, of which those in `shut` are closed."""
    grid = Intervals.over(np.array([T0]), np.array([T0 + n * M]), M)
    open_ = np.array([k not in shut for k in range(n)])
    return limits([order], grid, None if volume is None else np.full(n, volume), open_, so_far, now, M)


def order_of(**terms: Any) -> Order:
    return Order.open(new(**terms), T0)


def shares(quanta: np.ndarray) -> list[float]:
    return [q / QUANTA for q in quanta.ravel().tolist()]


# --- caps ------------------------------------------------------------------------------


def test_caps_without_limits_are_none() -> None:
    found = limits_of(order_of(), 100.0)
    assert set(found.cap[0].tolist()) == set(found.high[0].tolist()) == {NO_CAP}
    assert not found.low.any()


def test_caps_of_max_interval_qty_count_what_the_interval_has_filled() -> None:
    order = order_of(max_interval_qty=50 * QUANTA)
    order.filled_in = {T0: 30 * QUANTA}
    assert shares(limits_of(order, now=T0 + 1).cap) == [20.0, 50.0, 50.0, 50.0]


def test_caps_in_a_blackout_are_zero_for_every_interval_it_touches() -> None:
    found = limits_of(order_of(blackouts=((T0 + M - 1, T0 + M + 1),)))
    assert (found.cap[0] == 0).tolist() == [True, True, False, False]
    found = limits_of(order_of(blackouts=((T0 + M, T0 + 2 * M),)))
    assert (found.cap[0] == 0).tolist() == [False, True, False, False]


def test_caps_of_intervals_that_end_after_the_last_trade_are_zero() -> None:
    for last, trades in ((T0 + 4 * M, 4), (T0 + 3 * M, 3), (T0 + 3 * M - 1, 2), (T0, 0), (T0 + 9 * M, 4)):
        found = limits_of(order_of(last_trade=last))
        assert (found.cap[0] != 0).tolist() == [k < trades for k in range(4)]


def test_caps_outside_the_window_and_the_session_are_zero() -> None:
    found = limits_of(order_of(start=T0 + M, length=2 * M), n=5, shut=(2,))
    assert (found.cap[0] == 0).tolist() == [True, False, True, True, True]


def test_caps_of_several_orders_are_those_of_each() -> None:
    one = order_of(max_interval_qty=50 * QUANTA, participation_rate=0.1)
    two = order_of(start=T0 + M, length=2 * M, blackouts=((T0 + 2 * M, T0 + 3 * M),))
    grid = Intervals.over(np.array([T0]), np.array([T0 + 4 * M]), M)
    both = limits([one, two], grid, np.full(4, 500.0), np.ones(4, np.bool_), 0.0, T0, M)
    for i, order in enumerate((one, two)):
        alone = limits_of(order, 500.0)
        assert [row.tolist() for row in (both.cap[i], both.high[i])] == [alone.cap[0].tolist(), alone.high[0].tolist()]


# --- participation ------------------------------------------------------------------------


def test_participation_bounds_the_running_sum_by_its_share_of_the_forecast() -> None:
    # The last interval has none after it that could pay back what its forecast overstates.
    assert shares(limits_of(order_of(participation_rate=0.1), 500.0).high) == [50.0, 100.0, 150.0, 150.0]


def test_participation_in_the_last_interval_counts_known_volume_only() -> None:
    order = order_of(participation_rate=0.1, length=4 * M)
    order.market_volume, order.cum_qty = 1_000.0, 70 * QUANTA
    assert shares(limits_of(order, 500.0, T0 + 3 * M).high)[-1] == 30.0
    assert shares(limits_of(order, 500.0, T0 + 3 * M + M // 2, so_far=200.0).high)[-1] == 50.0
    assert shares(limits_of(order, 500.0, T0 + 2 * M, so_far=200.0).high)[-2:] == [80.0, 80.0]


def test_participation_of_an_order_that_came_in_its_last_interval_has_its_part_of_the_volume() -> None:
    order = order_of(participation_rate=0.1, length=M, ts=T0 + M // 4, start=T0)
    assert shares(limits_of(order, 500.0, T0 + M // 2, so_far=200.0).high)[0] == 10.0


def test_last_interval_is_the_last_that_may_trade() -> None:
    order = order_of(participation_rate=0.1, length=4 * M, blackouts=((T0 + 3 * M, T0 + 4 * M),))
    order.market_volume = 1_000.0
    found = limits_of(order, 500.0, T0 + M + M // 2, shut=(2,), so_far=200.0)
    assert found.last.tolist() == [T0 + M]
    assert shares(found.high)[1] == 120.0


def test_participation_without_a_volume_forecast_allows_nothing() -> None:
    assert shares(limits_of(order_of(participation_rate=0.1)).high) == [0.0] * 4


def test_participation_in_a_huge_market_stays_an_integer() -> None:
    assert shares(limits_of(order_of(participation_rate=1.0), 1e300).high) == [9e9] * 4


def test_participation_allows_the_current_interval_its_whole_less_its_fills() -> None:
    order = order_of(participation_rate=0.1)
    order.cum_qty, order.filled_in = 20 * QUANTA, {T0: 20 * QUANTA}
    assert shares(limits_of(order, 500.0, T0 + M // 2).high) == [30.0, 80.0, 130.0, 130.0]


def test_participation_begins_when_the_order_works() -> None:
    order = order_of(participation_rate=0.1, ts=T0 + M // 2, start=T0)
    assert shares(limits_of(order, 500.0, T0 + M // 2).high) == [25.0, 75.0, 125.0, 125.0]


def test_participation_pays_an_overshoot_back_and_carries_an_allowance_forward() -> None:
    order = order_of(participation_rate=0.1)
    order.cum_qty, order.market_volume = 180 * QUANTA, 1_000.0
    assert shares(limits_of(order, 500.0).high) == [0.0, 20.0, 70.0, 70.0]
    order.cum_qty = 40 * QUANTA
    assert shares(limits_of(order, 500.0).high) == [110.0, 160.0, 210.0, 210.0]


def test_room_of_an_interval_is_what_the_ones_before_it_leave() -> None:
    found = limits_of(order_of(participation_rate=0.1, max_interval_qty=90 * QUANTA), 500.0)
    assert shares(found.room(np.array([10, 20, 0, 0]) * QUANTA, QUANTA)) == [50.0, 90.0, 90.0, 90.0]
    assert not found.broken_by(np.array([[10, 90, 50, 0]]) * QUANTA)
    assert found.broken_by(np.array([[10, 90, 51, 0]]) * QUANTA)
    assert found.broken_by(np.array([[10, 91, 0, 0]]) * QUANTA)


# --- must_complete --------------------------------------------------------------------


def test_must_complete_lifts_the_end_by_what_is_missing() -> None:
    found = limits_of(order_of(qty=260, participation_rate=0.1, must_complete=True), 500.0)
    assert shares(found.allowed) == [50.0, 100.0, 150.0, 150.0]
    assert shares(found.high) == [50.0, 100.0, 150.0, 260.0]
    assert found.lifted(np.array([50, 50, 50, 110]) * QUANTA, QUANTA) == 110 * QUANTA


def test_what_is_lifted_and_what_is_left_are_whole_lots() -> None:
    order = order_of(qty=1_230, participation_rate=0.1033, lot_size=100 * QUANTA, must_complete=True)
    found = limits_of(order, 5_000.0)
    assert found.allowed[0, -1] == 1_549_500_000_000
    assert found.lifted(np.array([500, 500, 0, 230]) * QUANTA, 100 * QUANTA) == 0
    assert found.lifted(np.array([600, 400, 230, 0]) * QUANTA, 100 * QUANTA) == 100 * QUANTA
    assert shares(found.room(np.array([500, 500, 0, 230]) * QUANTA, 100 * QUANTA)) == [500.0, 500.0, 500.0, 500.0]
    assert shares(found.room(np.array([500, 500, 230, 0]) * QUANTA, 100 * QUANTA)) == [500.0, 500.0, 500.0, 300.0]


def test_must_complete_never_lifts_above_max_interval_qty_or_into_a_blackout() -> None:
    order = order_of(
        qty=260, participation_rate=0.1, max_interval_qty=80 * QUANTA, must_complete=True,
        blackouts=((T0 + 2 * M, T0 + 3 * M),),
    )  # fmt: skip
    found = limits_of(order, 500.0)
    assert shares(found.cap) == [80.0, 80.0, 0.0, 80.0]
    assert shares(found.high) == [100.0, 180.0, 180.0, 260.0]


def test_must_complete_with_room_lifts_nothing() -> None:
    found = limits_of(order_of(qty=150, participation_rate=0.1, must_complete=True), 500.0)
    assert found.high.tolist() == found.allowed.tolist()


def test_must_complete_holds_whole_lots_and_the_odd_end() -> None:
    order = order_of(qty=1_230, participation_rate=0.1, lot_size=100 * QUANTA, max_interval_qty=550 * QUANTA,
                     must_complete=True)  # fmt: skip
    found = limits_of(order, 550.0)
    assert shares(found.high) == [55.0, 200.0, 700.0, 1_230.0]


def test_must_complete_without_volume_plans_all_for_the_end_and_reports_it() -> None:
    harness = with_order(participation_rate=0.1, must_complete=True, qty=500)
    plan = harness.last()
    assert (plan.shortfall_qty, plan.lifted_qty, plan.qty[-1]) == (0, 500 * QUANTA, 500 * QUANTA)
    (alert,) = harness.alerts("lifted")
    assert "500 of 500" in alert.text


def test_must_complete_trades_what_volume_allows_first() -> None:
    harness = EngineHarness()
    rows = [row for k in range(3) for row in (*minutes(1, start=at(k))[:-1], Row(at(k + 0.5), px=100.0, qty=1_000.0))]
    harness.run([*rows, *minutes(1, start=at(3))[:1]])
    harness.send(new(ts=at(3), qty=2_000, length=5 * M, participation_rate=0.1, must_complete=True))
    plan = harness.last()
    assert plan.shortfall_qty == 0
    assert shares(np.array(plan.qty)) == [100.0] * 4 + [1_600.0]
    assert plan.lifted_qty == 1_600 * QUANTA


# --- smallest clip ------------------------------------------------------------------------


def test_clips_of_the_current_interval_are_what_its_fills_leave() -> None:
    order = order_of(min_clip_qty=50 * QUANTA)
    grid = Intervals.over(np.array([T0 + M // 2]), np.array([T0 + 3 * M]), M)
    order.filled_in = {T0: 30 * QUANTA}
    found = clips(order, grid)
    assert found is not None
    assert shares(found) == [20.0, 50.0, 50.0]
    order.filled_in = {T0: 80 * QUANTA}
    found = clips(order, grid)
    assert found is not None
    assert found[0] == 1


def test_clips_without_the_term_are_none() -> None:
    assert clips(order_of(), Intervals.over(np.array([T0]), np.array([T0 + M]), M)) is None


def test_must_complete_in_clips_completes_whenever_it_can() -> None:
    order = order_of(
        qty=1_000, participation_rate=0.1, max_interval_qty=400 * QUANTA, min_clip_qty=300 * QUANTA, must_complete=True
    )
    bounds, least = limits_of(order, 500.0), np.full(4, 300 * QUANTA)
    found = complete_in_clips(order, order.leaves_qty, bounds, least)
    # Without clips 200, 400 and 400 at the end would do; three clips have to fit.
    assert shares(bounds.high) == [50.0, 200.0, 600.0, 1_000.0]
    assert found.high[0].tolist()[:1] == bounds.high[0].tolist()[:1]
    assert set(found.high[0].tolist()[1:]) == {NO_CAP}
    plan = with_order(
        qty=1_000, length=4 * M, participation_rate=0.1, max_interval_qty=400 * QUANTA, min_clip_qty=300 * QUANTA,
        must_complete=True,
    ).last()  # fmt: skip
    assert (sum(plan.qty), plan.shortfall_qty) == (1_000 * QUANTA, 0)
    assert all(qty == 0 or 300 * QUANTA <= qty <= 400 * QUANTA for qty in plan.qty)


@given(
    qty=st.integers(1, 12),
    clip=st.integers(1, 5),
    most=st.integers(1, 6),
    open_=st.lists(st.booleans(), min_size=1, max_size=5),
    volume=st.sampled_from([0.0, 10.0, 40.0]),
)
@hypothesis_settings(max_examples=150, deadline=None)
def test_must_complete_in_clips_against_every_schedule(
    qty: int, clip: int, most: int, open_: list[bool], volume: float
) -> None:
    n, caps = len(open_), [most if now else 0 for now in open_]
    order = order_of(qty=qty, length=n * M, participation_rate=0.1, max_interval_qty=most * QUANTA,
                     min_clip_qty=clip * QUANTA, must_complete=True)  # fmt: skip
    least = np.full(n, clip * QUANTA)
    shut = tuple(k for k in range(n) if not open_[k])
    bounds = complete_in_clips(order, order.leaves_qty, limits_of(order, volume, n=n, shut=shut), least)
    plan = allocate(
        Problem.from_impact(np.zeros(n), np.full(n, 1e-3)), qty * QUANTA, QUANTA, bounds.cap[0],
        high_quanta=bounds.high[0], least_quanta=least, completes=True,
    )  # fmt: skip
    assert isinstance(plan, Allocation)
    traded = [int(q) // QUANTA for q in plan.quanta if q]
    every = [z for z in itertools.product(*(range(cap + 1) for cap in caps)) if sum(z) == qty]
    pieces = [[size for size in z if size] for z in every]
    if any(min(sizes) >= min(clip, qty) for sizes in pieces):
        assert sum(traded) == qty
        assert min(traded) >= min(clip, qty)
    elif any(min(sizes[:-1], default=clip) >= clip for sizes in pieces):  # the last trade alone may be smaller
        assert sum(traded) == qty
        assert min(traded[:-1], default=clip) >= clip
    assert sum(traded) <= qty


def test_must_complete_in_clips_lets_the_last_trade_be_what_is_left() -> None:
    plan = with_order(
        qty=1_230, length=4 * M, max_interval_qty=600 * QUANTA, min_clip_qty=500 * QUANTA, must_complete=True
    ).last()
    assert plan.shortfall_qty == 0
    trades = [qty / QUANTA for qty in plan.qty if qty]
    assert len(trades) == 3
    assert min(trades[:-1]) >= 500.0 > trades[-1] > 0.0


@pytest.mark.parametrize("terms", [{}, {"risk_aversion": 1e-4}, {"max_interval_qty": 250 * QUANTA}])
def test_plan_with_a_clip_trades_nothing_or_at_least_it(terms: dict[str, Any]) -> None:
    harness = with_order(min_clip_qty=200 * QUANTA, **terms)
    plan = harness.last()
    assert all(qty == 0 or qty >= 200 * QUANTA for qty in plan.qty)
    assert (sum(plan.qty), plan.shortfall_qty) == (1_200 * QUANTA, 0)
    assert plan.certificate is not None
    assert plan.certificate.gap is not None
    assert plan.certificate.gap >= 0.0


def test_plan_with_a_clip_after_a_small_fill_continues_in_clips() -> None:
    harness = with_order(min_clip_qty=200 * QUANTA)
    harness.send(fill(at(2.5), "E1", 230))
    assert sum(harness.last().qty) == 970 * QUANTA
    assert all(qty == 0 or qty >= (200 if k else 1) * QUANTA for k, qty in enumerate(harness.last().qty))


def test_clip_above_the_largest_interval_is_refused() -> None:
    harness = with_order(min_clip_qty=200 * QUANTA, max_interval_qty=100 * QUANTA)
    assert harness.last().status == "rejected"
    assert "min_clip_qty is above max_interval_qty" in harness.alerts("order_rejected")[0].text


# --- impact that lasts -------------------------------------------------------------------------


def test_plan_states_which_impact_it_was_made_with() -> None:
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


_bound = st.integers(0, 900 * QUANTA) | st.just(NO_CAP)


@given(rows=st.lists(st.lists(st.tuples(_bound, _bound), min_size=5, max_size=5), min_size=1, max_size=4))
def test_room_of_all_is_what_numpy_makes_of_caps_and_steps_of_the_running_bounds(
    rows: list[list[tuple[int, int]]],
) -> None:
    both = np.array(rows, np.int64)
    cap, high = both[:, :, 0].copy(), np.sort(both[:, :, 1], axis=1)
    none = np.zeros_like(cap)
    paced = np.minimum(cap, np.diff(high, axis=1, prepend=0))
    expected = np.sum(np.where(paced >= NO_CAP, np.inf, paced / QUANTA), axis=0)
    found = Limits(cap, none, high, high, np.zeros(len(cap), np.int64)).room_of_all()
    assert found.tolist() == expected.tolist()
