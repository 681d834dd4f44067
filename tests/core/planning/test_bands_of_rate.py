"""Least and target rates, and urgency: closed forms, brute force on small cases, and refusals by name."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import PlanSettings
from impactd.core.inputs.terms import URGENCIES
from impactd.core.orders.order import Order, Status
from impactd.core.planning.propose import Proposals, propose, risk_weight
from tests.core.builders import EngineHarness, M, at, change, new, plans
from tests.core.planning.test_estimate import market

LOT = 100


def proposed(harness: EngineHarness, order: Order, minute: float = 31) -> Proposals:
    view = harness.engine._markets.of("FROG").view(order.side, at(minute))  # no public way in
    found = propose([order], at(minute), view, PlanSettings(), M, lambda _starts: None)
    assert isinstance(found, Proposals)
    return found


def order(qty: float = 600, length: int = 5 * M, **terms: Any) -> Order:
    return Order.open(new("A", qty, at(31), length, lot_size=LOT * QUANTA, **terms), at(31))


@pytest.mark.parametrize(
    "terms",
    [
        {"min_participation_rate": 0.08},
        {"min_participation_rate": 0.08, "participation_rate": 0.15},
        {"target_participation_rate": 0.1},
        {"target_participation_rate": 0.1, "participation_rate": 0.25},
        {"min_participation_rate": 0.1, "max_interval_qty": 100 * QUANTA},
    ],
)
def test_plan_inside_the_band_is_the_cheapest_of_all_schedules(terms: dict[str, Any]) -> None:
    """Every schedule of whole lots that keeps the band is priced; none beats the plan."""
    found = proposed(market(), order(**terms))
    assert found.volume is not None
    whole = np.cumsum(found.volume)
    # The last interval counts only volume that is known.
    whole[-1] = whole[-2]
    least = terms.get("target_participation_rate", terms.get("min_participation_rate"))
    most = terms.get("participation_rate", terms.get("target_participation_rate", math.inf))
    cap = terms.get("max_interval_qty", 10**9 * QUANTA) / QUANTA
    room = np.minimum(most * whole + 1e-9, 600) // LOT * LOT
    reach, low = 0.0, []
    for t in range(5):
        reach = max(min(reach + cap, room[t]), reach)
        low.append(min(least * whole[t] // LOT * LOT, reach))
    total = float(np.sum(found.qty)) / QUANTA
    costs = {}
    for lots in itertools.product(range(7), repeat=5):
        x = np.array(lots, np.float64) * LOT
        done = np.cumsum(x)
        if done[-1] == total and np.all(done <= room) and np.all(done >= low) and np.all(x <= cap):
            costs[lots] = found.charge(x)
    mine = tuple((found.qty[0] // (LOT * QUANTA)).tolist())
    assert mine in costs
    # What was minimised anticipates replanning: the plan is the cheapest by its own measure, and near it by the other.
    best = min(costs, key=lambda lots: _objective(found, lots))
    assert _objective(found, mine) <= _objective(found, best) + found.gap + 1e-9


def _objective(found: Proposals, lots: tuple[int, ...]) -> float:
    return math.fsum(found.problem.curve.cost(np.array(lots, np.float64) * LOT).tolist())


def test_target_keeps_the_running_sum_within_a_lot_of_its_share() -> None:
    found = proposed(market(), order(qty=50_000, length=20 * M, target_participation_rate=0.2))
    assert found.volume is not None
    share = 0.2 * np.cumsum(found.volume)[:-1]
    done = np.cumsum(found.qty[0])[:-1] / QUANTA
    assert np.all(done <= share + 1e-6)
    assert np.all(done > share - LOT)
    assert found.shortfall[0] > 0


def test_least_rate_gives_way_to_caps_and_is_made_up_for() -> None:
    pause = ((at(32), at(35)),)
    held = proposed(market(), order(qty=5_000, length=10 * M, min_participation_rate=0.2, blackouts=pause))
    done = np.cumsum(held.qty[0]) / QUANTA
    assert held.volume is not None
    assert np.all(held.qty[0][1:4] == 0)
    assert done[4] >= 0.2 * np.cumsum(held.volume)[4] // LOT * LOT


@pytest.mark.parametrize("word", URGENCIES)
def test_urgency_is_a_risk_aversion_that_does_not_depend_on_symbol_and_size(word: str) -> None:
    harness = market()
    urgency = URGENCIES[word]
    urgent = order(qty=6_000, length=12 * M, urgency=urgency)
    sigma2 = proposed(harness, urgent).market.sigma2
    aversion = urgency / (math.sqrt(sigma2 * 12) * 6_000)
    averse = order(qty=6_000, length=12 * M, risk_aversion=aversion)
    assert risk_weight(urgent, sigma2, M) == pytest.approx(risk_weight(averse, sigma2, M))
    assert np.array_equal(proposed(harness, urgent).qty, proposed(harness, averse).qty)
    # The whole order held over its window: variance at that weight costs u standard deviations.
    whole = risk_weight(urgent, sigma2, M) * 12 * 6_000**2
    assert whole == pytest.approx(urgency * math.sqrt(sigma2 * 12) * 6_000)


def test_more_urgency_trades_earlier() -> None:
    harness = market()
    done = [
        np.cumsum(proposed(harness, order(qty=6_000, length=12 * M, urgency=u)).qty[0])
        for u in (0.0, *URGENCIES.values())
    ]
    for slow, fast in itertools.pairwise(done):
        assert float(np.sum(slow)) <= float(np.sum(fast))


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"min_participation_rate": 0.2, "participation_rate": 0.1}, "min_participation_rate"),
        ({"target_participation_rate": 0.2, "participation_rate": 0.1}, "target_participation_rate"),
        ({"min_participation_rate": 0.2, "target_participation_rate": 0.1}, "min_participation_rate"),
        ({"urgency": 0.1, "risk_aversion": 1e-6}, "urgency with risk_aversion"),
        ({"target_participation_rate": 0.1, "min_clip_qty": 100 * QUANTA}, "min_clip_qty"),
    ],
)
def test_contradictions_are_refused_by_name_in_new_orders_and_replaces(terms: dict[str, Any], words: str) -> None:
    harness = market()
    (refused,) = plans(harness.send(new("A", 1_200, at(31), **terms)))
    assert refused.status == Status.REJECTED
    assert words in (refused.text or "")
    harness.send(new("B", 1_200, at(31)))
    said = harness.send(change(at(31), "B", **terms))
    assert not plans(said)
    found = harness.engine.orders.get("B")
    assert found is not None
    assert found.terms == new("B", 1_200, at(31)).terms
