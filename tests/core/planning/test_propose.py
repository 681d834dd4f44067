"""From an order and a forecast to a schedule: caps, lots, and when a plan replaces another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from impactd.core.base.quantity import QUANTA
from impactd.core.planning.intervals import Intervals
from tests.core.builders import (
    T0,
    EngineHarness,
    M,
    S,
    at,
    cancel,
    change,
    check_window,
    fill,
    halt,
    ladder,
    minutes,
    new,
    resume,
    settings,
    with_order,
)
from tests.core.rows import trade


def shares(qty: tuple[int, ...] | list[int]) -> list[float]:
    return [q / QUANTA for q in qty]


def with_trades(n: int, per_minute: float, start: int = T0) -> list[Any]:
    """Return `n` minutes of books, and a trade in the middle of each."""
    rows = minutes(n, start=start) + [trade(start + k * M + 30 * S, per_minute) for k in range(n)]
    return sorted(rows, key=lambda row: row.ts)


# --- intervals -------------------------------------------------------------------


@given(start=st.integers(0, 10 * M), length=st.integers(-M, 10 * M))
def test_intervals_cover_the_window_and_end_at_the_ends_of_the_grid(start: int, length: int) -> None:
    window = np.array([start]), np.array([start + length])
    grid = Intervals.over(*window, M)
    intervals = grid.cut(start, start + length)
    assert int(np.sum(intervals.end - intervals.start)) == max(length, 0)
    assert np.all(intervals.end > intervals.start)
    assert np.all(intervals.start[1:] == intervals.end[:-1])
    assert np.all(intervals.start[1:] % M == 0)
    assert np.allclose(grid.covered(*window) * M, intervals.end - intervals.start)


@given(windows=st.lists(st.tuples(st.integers(0, 30 * M), st.integers(1, 5 * M)), min_size=1, max_size=6))
def test_intervals_of_several_windows_are_those_of_each(windows: list[tuple[int, int]]) -> None:
    begin, end = np.array([a for a, _ in windows]), np.array([a + n for a, n in windows])
    grid = Intervals.over(begin, end, M)
    touched = sorted({k for a, b in zip(begin.tolist(), end.tolist(), strict=True) for k in range(a // M, -(-b // M))})
    assert (grid.start // M).tolist() == touched
    covered = grid.covered(begin, end)
    assert np.all((covered > 0.0) & (covered <= 1.0))
    for a, b in zip(begin.tolist(), end.tolist(), strict=True):
        assert grid.start[grid.rows(a, b)].tolist() == [k * M for k in range(a // M, -(-b // M))]


# --- plans under caps ------------------------------------------------------------


def test_participation_before_any_trade_plans_nothing_and_states_why() -> None:
    harness = with_order(participation_rate=0.1)
    assert (harness.last().shortfall_qty, set(harness.last().qty)) == (1_200 * QUANTA, {0})
    assert "participation_rate" in harness.alerts("shortfall")[0].text


def test_participation_plans_once_volume_was_seen_and_states_what_is_left_over() -> None:
    harness = EngineHarness()
    harness.run(with_trades(3, 500.0))
    harness.send(new(ts=at(3), participation_rate=0.1))
    # Of the last minute only the volume that is known counts; the cheapest split is even.
    assert set(shares(harness.last().qty)) == {45.0, 46.0}
    assert harness.last().shortfall_qty == 650 * QUANTA


def test_participation_on_the_planned_path_is_not_planned_again() -> None:
    harness = EngineHarness()
    harness.run(with_trades(3, 500.0))
    harness.send(new(ts=at(3), participation_rate=0.1))
    before = len(harness.plans())
    for k in range(3, 7):
        harness.send(fill(at(k + 0.4), f"E{k}", harness.last().qty[k - 3] / QUANTA))
        harness.run(with_trades(1, 500.0, at(k))[1:])
    assert len(harness.plans()) == before


def test_participation_never_trades_more_than_its_share_of_what_was_traded() -> None:
    harness = EngineHarness(settings(fills="scheduled"))
    harness.run(with_trades(3, 500.0))
    harness.send(new(ts=at(3), participation_rate=0.1))
    harness.run(with_trades(4, 100.0, at(3))[1:])
    for plan in harness.plans():
        realised = 100.0 * (plan.as_of - at(3)) / M
        assert plan.cum_qty + plan.qty[0] <= 0.1 * (realised + 500.0) * QUANTA
    assert harness.last().cum_qty > 0


def test_max_interval_qty_limits_every_interval() -> None:
    harness = with_order(max_interval_qty=80 * QUANTA)
    assert max(harness.last().qty) == 80 * QUANTA
    assert harness.last().shortfall_qty == (1_200 - 12 * 80) * QUANTA


def test_last_interval_takes_what_is_left_under_its_cap() -> None:
    harness = with_order(length=3 * M, max_interval_qty=500 * QUANTA)
    harness.run(minutes(2, start=at(2)))
    assert shares(harness.last().qty) == [500.0]
    assert harness.last().shortfall_qty == 700 * QUANTA


def test_blackout_moves_the_quantity_to_the_other_intervals() -> None:
    harness = with_order(blackouts=((at(3), at(5)),))
    assert [qty == 0 for qty in harness.last().qty] == [False, True, True] + [False] * 9
    assert sum(harness.last().qty) == 1_200 * QUANTA


# --- lots -----------------------------------------------------------------------


@given(
    qty=st.integers(1, 5_000),
    lot=st.sampled_from([1, 7, 100]),
    risk=st.sampled_from([0.0, 1e-4]),
    begin=st.integers(0, M - 1),
    limit=st.none() | st.integers(1, 900),
)
@hypothesis_settings(max_examples=30, deadline=None)
def test_plan_is_whole_lots_inside_the_window(qty: int, lot: int, risk: float, begin: int, limit: int | None) -> None:
    harness = EngineHarness()
    harness.run(minutes(2))
    order = new(
        qty=qty,
        ts=at(2) + begin,
        length=10 * M + 3 * S,
        lot_size=lot * QUANTA,
        risk_aversion=risk,
        max_interval_qty=None if limit is None else limit * QUANTA,
    )
    harness.send(order)
    check_window(harness.last(), order, lot * QUANTA)
    harness.run([*minutes(1, start=at(2), mid=100.5)[1:], ladder(at(3) + S, size=40.0)])
    check_window(harness.last(), order, lot * QUANTA)


def test_coins_sum_exactly_in_lots_of_a_ten_thousandth() -> None:
    lot = QUANTA // 10_000
    harness = EngineHarness()
    harness.run(minutes(2, size=0.75))
    order = new(qty=3.3337, ts=at(2), length=7 * M, lot_size=lot)
    harness.send(order)
    check_window(harness.last(), order, lot)
    assert sum(harness.last().qty) == 33_337 * lot
    harness.send(fill(at(2.5), "E1", 0.1), fill(at(2.5), "E2", 0.2), change(at(2.6), end=at(8)))
    assert harness.last().leaves_qty == 30_337 * lot


def test_odd_remainder_is_in_one_interval() -> None:
    harness = with_order(qty=1_250, lot_size=100 * QUANTA)
    assert sorted(qty % (100 * QUANTA) for qty in harness.last().qty)[-2:] == [0, 50 * QUANTA]


@pytest.mark.parametrize("risk_aversion", [0.0, 1e-9, 1e-3])
def test_largest_order_in_the_smallest_lots_sums_exactly(risk_aversion: float) -> None:
    harness = with_order(qty=9e9, lot_size=1, risk_aversion=risk_aversion)
    assert (sum(harness.last().qty), harness.last().shortfall_qty) == (9_000_000_000 * QUANTA, 0)


# --- replanning -------------------------------------------------------------------


def test_child_slices_make_an_interval_cheaper_and_are_stated() -> None:
    one, four = (with_order(EngineHarness(settings(child_slices=k))).last() for k in (1, 4))
    assert (one.child_slices, four.child_slices) == (1, 4)
    assert one.expected_cost is not None
    assert four.expected_cost is not None
    assert four.expected_cost < one.expected_cost


@pytest.mark.parametrize("risk_aversion", [0.0, 1e-4])
def test_planned_path_with_unchanged_estimates_is_not_planned_again(risk_aversion: float) -> None:
    harness = with_order(n=5, risk_aversion=risk_aversion)
    (plan,) = harness.plans()
    for k, qty in enumerate(shares(plan.qty)):
        if qty:
            harness.send(fill(at(5 + k + 0.4), f"E{k}", qty))
        harness.run(minutes(1, start=at(5 + k))[1:])
    assert [p.reason for p in harness.plans()] == ["new", "fill"]
    assert harness.last().status == "done"


def test_forced_replanning_on_the_planned_path_gives_the_same_plan() -> None:
    harness = with_order(n=5)
    (plan,) = harness.plans()
    harness.send(fill(at(5), "E1", plan.qty[0] / QUANTA / 2))
    harness.send(halt(at(5.5)), resume(at(5.5)))
    assert harness.last().qty[1:] == plan.qty[1:]
    assert harness.last().qty[0] == plan.qty[0] // 2


def test_scheduled_fills_follow_the_plan_to_its_end() -> None:
    harness = with_order(EngineHarness(settings(fills="scheduled")), n=3, length=4 * M)
    plan = harness.last()
    harness.run(minutes(5, start=at(3)))
    assert [p.status for p in harness.plans()] == ["active", "done"]
    assert (harness.last().cum_qty, harness.last().reason) == (sum(plan.qty), "done")


def test_scheduled_fill_counts_less_what_was_reported_for_its_interval() -> None:
    harness = with_order(EngineHarness(settings(fills="scheduled")), n=3)
    qty = harness.last().qty
    harness.send(fill(at(3.5), "E1", 40))
    harness.run(minutes(1, start=at(3))[1:])
    harness.send(cancel(at(4.1)))
    assert harness.last().cum_qty == qty[0]


def churn(threshold_bps: float) -> int:
    """Return how many plans an order gets while the book keeps changing a little."""
    harness = EngineHarness(settings(fills="scheduled", replan_threshold_bps=threshold_bps))
    harness.run(minutes(3))
    harness.send(new(ts=at(3), length=20 * M))
    for k in range(3, 15):
        harness.run(minutes(1, start=at(k), size=60.0 + 20.0 * (k % 5))[1:])
    return len(harness.plans())


def test_replan_threshold_keeps_a_plan_that_is_nearly_as_good() -> None:
    assert churn(0.0) > churn(5.0) == 1


def test_replan_threshold_does_not_hold_back_what_forces_a_plan() -> None:
    harness = with_order(EngineHarness(settings(replan_threshold_bps=1e9)))
    harness.send(fill(at(2.2), "E1", 500))
    harness.send(change(at(2.3), order_qty=1_500))
    harness.send(halt(at(2.4)), resume(at(2.5)))
    harness.run(minutes(1, start=at(2))[1:])
    assert [plan.reason for plan in harness.plans()] == ["new", "fill", "replace", "control", "control", "fill"]


def test_replan_threshold_is_of_the_saving_by_todays_curves() -> None:
    """What the plan in force costs is asked of the same forecast as what the new one costs."""
    harness = with_order(EngineHarness(settings(fills="scheduled", replan_threshold_bps=0.5)), length=20 * M)
    harness.run(minutes(3, start=at(2), size=10.0)[1:])  # all dearer alike: nothing to gain by another schedule
    assert len(harness.plans()) == 1


def test_missed_fills_are_caught_up_within_the_window() -> None:
    harness = with_order(length=4 * M)
    harness.run(minutes(3, start=at(2))[1:])
    assert [len(plan.start) for plan in harness.plans()] == [4, 3, 2, 1]
    assert all(sum(plan.qty) == 1_200 * QUANTA for plan in harness.plans())
    harness.run(minutes(1, start=at(5))[1:])
    assert (harness.last().status, harness.last().shortfall_qty) == ("expired", 1_200 * QUANTA)
    assert "1200" in harness.alerts("shortfall")[-1].text


def test_late_fill_and_overfill_after_the_end_are_counted_and_alerted() -> None:
    harness = with_order(length=2 * M)
    harness.run(minutes(2, start=at(2))[1:])
    harness.send(fill(at(4.5), "E1", 700))
    assert (harness.last().status, harness.last().cum_qty, harness.last().shortfall_qty) == (
        "expired",
        700 * QUANTA,
        500 * QUANTA,
    )
    harness.send(fill(at(4.6), "E2", 800))
    assert (harness.last().cum_qty, harness.last().leaves_qty) == (1_500 * QUANTA, 0)
    assert [len(harness.alerts(kind)) for kind in ("late_fill", "overfill")] == [1, 1]


def test_unfilled_interval_forces_a_plan_at_its_end() -> None:
    harness = with_order()
    harness.run(minutes(1, start=at(2))[1:])
    assert (harness.last().reason, len(harness.last().start), sum(harness.last().qty)) == ("fill", 11, 1_200 * QUANTA)


def test_amended_window_that_begins_later_is_planned_from_there() -> None:
    harness = with_order()
    harness.send(change(at(3), start=at(6)))
    assert harness.last().start[0] == at(6)


def test_plan_after_the_window_but_before_its_minute_closes_is_empty() -> None:
    harness = with_order(length=2 * M + 30 * S)
    harness.send(fill(at(4.75), "E1", 700))
    assert (harness.last().status, harness.last().qty, harness.last().shortfall_qty) == ("active", (), 500 * QUANTA)


# --- reservation and supply ------------------------------------------------------


def test_plan_by_slices_states_what_its_first_interval_trades_at_each_price() -> None:
    plan = with_order(EngineHarness(settings(act="slices"))).last()
    assert plan.certificate is not None
    price = plan.certificate.multiplier
    assert price is not None
    assert [point.px / price for point in plan.supply] == pytest.approx([0.5, 0.75, 1.0, 1.25, 1.5, 2.0])
    qty = [point.qty for point in plan.supply]
    assert qty == sorted(qty)
    # At the reservation price it is what the plan trades in its first interval, to a lot.
    assert qty[2] / QUANTA == pytest.approx(plan.qty[0] / QUANTA, abs=1.0)


def test_plan_by_the_minute_states_no_supply() -> None:
    assert with_order().last().supply == ()
