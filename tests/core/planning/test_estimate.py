"""Estimates before the order: one definition of cost with plans, closed forms, and nothing that changes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import CoreSettings, SessionRule
from impactd.core.inputs.events import Imbalance, NewOrder
from impactd.core.planning.estimate import POV_RATES, CostEstimate, NoEstimateError, Priced
from tests.core.builders import T0, EngineHarness, M, at, ladder, minutes, new, plans
from tests.core.planning.engines import market
from tests.core.rows import Row, trade

QTY = 1_200


def asked(
    harness: EngineHarness, qty: float = QTY, minute: float = 31, length: int = 12 * M, **terms: Any
) -> CostEstimate:
    return harness.engine.estimate(question(qty, minute, length, **terms))


def question(qty: float = QTY, minute: float = 31, length: int = 12 * M, **terms: Any) -> NewOrder:
    return new("estimate", qty, at(minute), length, **terms)


def by(found: CostEstimate, policy: str, rate: float | None = None) -> Priced:
    return next(one for one in found.schedules if (one.policy, one.rate) == (policy, rate))


@pytest.mark.parametrize(
    "terms", [{}, {"participation_rate": 0.1}, {"risk_aversion": 1e-3}, {"lot_size": 100 * QUANTA}]
)
def test_estimate_is_what_the_plan_of_that_order_states(terms: dict[str, Any]) -> None:
    harness = market()
    found = asked(harness, **terms)
    (plan,) = plans(harness.send(question(**terms)))
    own, even = by(found, "impactd"), by(found, "twap")
    assert plan.expected_cost == pytest.approx(own.cost, rel=1e-12)
    assert plan.twap_cost == pytest.approx(even.cost, rel=1e-12)
    assert plan.cost_band == pytest.approx(own.band_80)
    assert plan.shortfall_qty / QUANTA == own.shortfall_qty


def test_other_orders_are_charged_for_as_plans_are() -> None:
    harness = market()
    before = by(asked(harness), "impactd").cost or 0.0
    harness.send(new("A", 6_000, at(31)))
    assert (by(asked(harness), "impactd").cost or 0.0) > before > 0.0


def test_nothing_changes_by_being_asked() -> None:
    harness = market()
    before = harness.engine.dump()
    for _ in range(3):
        harness.engine.estimate(question(participation_rate=0.1), 30.0)
    assert harness.engine.dump() == before
    assert harness.engine.orders.of("FROG") == []


def test_costs_split_and_risk_is_that_of_what_is_left() -> None:
    harness = market()
    found = asked(harness)
    sigma2 = harness.engine._markets.of("FROG").view(question().side, at(31)).sigma2  # no public way in
    for one in found.schedules:
        cost, parts = one.cost or 0.0, ((one.spread_cost or 0.0), (one.impact_cost or 0.0))
        assert min(parts) >= 0.0
        assert sum(parts) == pytest.approx(cost)
        assert one.cost_bps == pytest.approx(1e4 * cost / (one.qty * (found.mid or 0.0)))
    # Twelve equal parts: 11/12, ..., 0 of the order is left after each interval.
    left = sum((QTY * (1 - k / 12)) ** 2 for k in range(1, 13))
    assert by(found, "twap").timing_risk == pytest.approx(math.sqrt(sigma2 * left))


def test_pov_trades_its_share_of_the_forecast_volume_and_states_the_rest() -> None:
    found = asked(market(), qty=3_000)
    assert found.volume_share is not None
    volume = 3_000 / found.volume_share
    for rate in POV_RATES:
        one = by(found, "pov", rate)
        assert one.qty == min(math.floor(rate * volume + 1e-9), 3_000)
        assert one.qty + one.shortfall_qty == pytest.approx(3_000)
    assert (by(found, "pov", 0.3).done_by or 0) < (by(found, "pov", 0.05).done_by or 0) == found.end


@pytest.mark.parametrize("limits", [{"limit_px": 99.9}, {"max_interval_qty": 40 * QUANTA}], ids=["price", "interval"])
def test_every_schedule_trades_what_the_caps_leave(limits: dict[str, float]) -> None:
    """A limit price that holds the plan back holds every other policy back too."""
    free, bound = (asked(market(), qty=3_000, **more) for more in ({}, limits))
    assert 0.0 < by(bound, "impactd").qty < by(free, "impactd").qty
    for policy in ("twap", "vwap"):
        assert by(bound, policy).qty == by(bound, "impactd").qty
    for rate in POV_RATES:
        assert by(bound, "pov", rate).qty <= min(by(bound, "impactd").qty, by(free, "pov", rate).qty)
        assert by(bound, "pov", rate).qty > 0.0


def test_frontier_costs_more_and_risks_less_as_urgency_grows() -> None:
    points = [one for _, one in asked(market(), qty=6_000).frontier]
    costs, risks = [one.cost or 0.0 for one in points], [one.timing_risk or 0.0 for one in points]
    assert costs == sorted(costs)
    assert risks == sorted(risks, reverse=True)
    assert costs[0] < costs[-1]
    assert risks[0] > risks[-1]
    assert 0 < (points[-1].done_by or 0) <= (points[0].done_by or 0)


@pytest.mark.parametrize("limit_bps", [2.0, 8.0, 40.0])
def test_largest_quantity_costs_no_more_and_a_larger_one_does(limit_bps: float) -> None:
    harness = market()
    lot = 100 * QUANTA
    largest = harness.engine.estimate(question(lot_size=lot), limit_bps).largest_qty
    assert largest is not None
    cost = by(asked(harness, max(largest, 100.0), lot_size=lot), "impactd").cost_bps
    more = by(asked(harness, 1.05 * largest // 100 * 100 + 200, lot_size=lot), "impactd").cost_bps
    assert more is None or more > limit_bps
    assert largest == 0 or (cost is not None and cost <= limit_bps)


def test_estimate_states_what_makes_it_unsure() -> None:
    empty = EngineHarness()
    with pytest.raises(NoEstimateError, match="no data on FROG"):
        empty.engine.estimate(question())
    harness = EngineHarness()
    harness.run(minutes(3))
    few = asked(harness, minute=4, participation_rate=0.1)
    assert {"no_volume", "shortfall"} <= set(few.doubts)
    assert by(few, "impactd").cost is None
    assert "extrapolated" in asked(harness, qty=1e6, minute=4).doubts
    with pytest.raises(NoEstimateError, match="window is over"):
        harness.engine.estimate(replace(question(), terms=question(minute=0, length=M).terms))


HOURS = SessionRule(open_s=10 * 3600, close_s=11 * 3600)


CLOSE = {"auctions": "close", "auction_rate": 0.1}


def closing(volume: float = 10_000.0) -> EngineHarness:
    """Return an engine in the last half of an hour's session, whose close has been paired at `volume`."""
    harness = EngineHarness(CoreSettings(session=HOURS))
    rows: list[Row] = [ladder(T0 + k * M // 3, mid=100.0 + 0.02 * ((7 * k) % 5 - 2)) for k in range(91)]
    rows += [trade(T0 + k * M + 30 * 10**9, px=100.0, qty=1_000.0) for k in range(30)]
    harness.run(sorted(rows, key=lambda row: row.ts))
    harness.send(Imbalance("FROG", at(30), "close", volume))
    return harness


def with_close(qty: float = 4_000, volume: float = 10_000.0, limit: float | None = None, **terms: Any) -> CostEstimate:
    """Return an estimate over the last half of that session."""
    return closing(volume).engine.estimate(question(qty, 31, 29 * M, **CLOSE | terms), limit)


def test_entry_in_an_auction_is_priced_beside_schedules_of_the_rest() -> None:
    found = with_close()
    (entry,) = found.auctions
    assert found.order_qty == 4_000
    assert (entry.kind, entry.at, entry.cutoff) == ("auction_close", at(60), at(50))
    assert (entry.qty, entry.expected_volume, entry.share) == (1_000, 10_000, 0.1)
    assert all(one.qty + one.shortfall_qty == pytest.approx(3_000) for one in found.schedules)
    # A tenth of the volume costs what a tenth of continuous volume does, less the spread.
    pov = by(found, "pov", 0.1)
    assert entry.cost == pytest.approx((pov.impact_cost or 0.0) / pov.qty * 1_000, rel=1e-3)
    assert entry.cost_bps == pytest.approx(1e4 * (entry.cost or 0.0) / (1_000 * (found.mid or 0.0)))


@pytest.mark.parametrize(
    ("qty", "terms"), [(4_000, {}), (4_000, {"auction_rate": 0.3, "participation_rate": 0.2}), (500, {})]
)
def test_plan_states_of_its_entry_what_the_estimate_does(qty: float, terms: dict[str, Any]) -> None:
    harness = closing()
    found = harness.engine.estimate(question(qty, 31, 29 * M, **CLOSE | terms))
    (plan,) = plans(harness.send(new("A", qty, at(31), 29 * M, **CLOSE | terms)))
    (entry,), (priced,) = plan.auctions, found.auctions
    assert (entry.kind, entry.at, entry.cutoff) == (priced.kind, priced.at, priced.cutoff)
    assert (entry.qty / QUANTA, entry.expected_volume) == (priced.qty, priced.expected_volume)
    assert entry.rate == (CLOSE | terms)["auction_rate"]
    assert priced.cost
    assert entry.expected_cost == pytest.approx(priced.cost, rel=1e-12)
    schedule = by(found, "impactd").cost
    assert plan.expected_cost == (schedule if schedule is None else pytest.approx(schedule, rel=1e-12))


def test_timing_risk_holds_an_entry_until_its_auction() -> None:
    plain, beside = with_close(3_000, auctions=None, auction_rate=None), with_close()
    assert (by(beside, "twap").timing_risk or 0.0) > (by(plain, "twap").timing_risk or 0.0)


def test_auction_that_takes_all_leaves_nothing_to_schedule() -> None:
    found = with_close(qty=500)
    assert [entry.qty for entry in found.auctions] == [500]
    assert by(found, "impactd").qty == 0.0
    assert "shortfall" not in found.doubts


def test_auction_of_unknown_volume_or_none_is_stated() -> None:
    harness = EngineHarness(CoreSettings(session=HOURS))
    harness.run([ladder(T0 + k * M // 3) for k in range(91)])
    found = harness.engine.estimate(question(400, 31, 29 * M, auctions="close", auction_rate=0.1))
    assert [(one.qty, one.share, one.cost) for one in found.auctions] == [(0.0, None, None)]
    assert "auction_unknown" in found.doubts
    assert [(one.qty, one.cost) for one in with_close(volume=0.0).auctions] == [(0.0, None)]


def test_largest_quantity_counts_what_entries_cost() -> None:
    lot = 100 * QUANTA
    largest = with_close(limit=9.0, lot_size=lot).largest_qty
    assert largest
    for qty, holds in ((largest, True), (1.1 * largest // 100 * 100 + 200, False)):
        found = with_close(qty, lot_size=lot)
        cost = (by(found, "impactd").cost or 0.0) + sum(one.cost or 0.0 for one in found.auctions)
        assert (cost <= 9e-4 * qty * (found.mid or 0.0)) is holds


def test_estimate_states_what_it_rests_on() -> None:
    few, more = asked(market(10), minute=11).basis, asked(market(90), minute=91).basis
    assert few is not None
    assert more is not None
    assert 0.0 < few.history_minutes < more.history_minutes
    assert few.trial_plans < more.trial_plans
    assert more.coverage is not None
    assert len(more.coverage) == len(more.level) == 2
    assert few.regime_at is None


def test_recent_shift_of_the_level_is_a_doubt() -> None:
    harness = market(30)
    harness.run([ladder(T0 + k * M // 3, size=4.0) for k in range(91, 200)])
    found = asked(harness, minute=67)
    basis = found.basis
    assert basis is not None
    assert basis.regime_at is not None
    assert ("regime" in found.doubts) is (at(67) - basis.regime_at < 30 * M)
    assert at(30) <= basis.regime_at < at(67)
    harness.reload()
    assert asked(harness, minute=67) == found
