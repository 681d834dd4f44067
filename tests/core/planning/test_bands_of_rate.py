"""Least and target rates, and urgency: closed forms, brute force on small cases, and refusals by name."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Solution
from impactd.core.allocator.solvers.registry import get_solver
from impactd.core.base.quantity import QUANTA
from impactd.core.inputs.terms import URGENCIES
from impactd.core.orders.order import Order
from impactd.core.planning.propose import Proposals
from impactd.core.planning.urgency import risk_weight
from tests.core.builders import M, at, change, new, plans
from tests.core.planning.engines import market, proposed, refusal

LOT = 100


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
@pytest.mark.parametrize(("qty", "slope", "sigma2"), [(6_000.0, 1e-4, 1e-6), (50.0, 3.0, 0.25)])
def test_urgency_gives_the_closed_form_whatever_symbol_and_size(
    word: str, qty: float, slope: float, sigma2: float
) -> None:
    """Almgren and Chriss (2000): y_k = Q sinh(k' (N - k)) / sinh(k' N), with 2 (cosh k' - 1) = (u / N)^2."""
    n, urgency = 240, URGENCIES[word]
    urgent = order(qty=qty, length=n * M, urgency=urgency)
    problem = Problem.from_impact(np.full(n, 0.02), np.full(n, slope))
    weight, _ = weighed(urgent, sigma2, problem, np.ones(n, np.bool_))
    assert weight == pytest.approx(slope * (urgency / n) ** 2)
    # u^2 I / V, weighed by the variance of an interval
    assert weight / sigma2 == pytest.approx(urgency**2 * slope * qty**2 / n / (sigma2 * qty**2 * n))
    solved = get_solver("exact").solve(replace(problem, risk=weight), qty)
    assert isinstance(solved, Solution)
    k = math.acosh(1.0 + 0.5 * (urgency / n) ** 2)
    left = qty * np.sinh(k * np.arange(n - 1, -1, -1)) / math.sinh(k * n)
    assert qty - np.cumsum(solved.qty) == pytest.approx(left, abs=1e-6 * qty)
    cost = slope * float(solved.qty @ solved.qty) / (slope * qty**2 / n)
    risk = math.sqrt(float(left @ left) / (qty**2 * n / 3))
    stated = {"low": (1.02, 0.94), "normal": (1.19, 0.81), "high": (2.0, 0.61), "get_done": (4.0, 0.43)}[word]
    assert (cost, risk) == pytest.approx(stated, rel=0.02)


def weighed(urgent: Order, sigma2: float, problem: Problem, open_: npt.NDArray[np.bool_]) -> tuple[float, list[float]]:
    """Return the risk weight over the intervals from the order's start on, and the next impact scale."""
    first = (urgent.terms.end - len(problem) * M) // M
    starts = (first + np.arange(len(problem), dtype=np.int64)) * M
    return risk_weight(urgent, sigma2, M, problem.curve, problem.fraction, starts, open_)


def test_urgency_counts_open_intervals_and_follows_the_market_but_not_the_way_through_the_day() -> None:
    urgent = order(qty=6_000, length=12 * M, urgency=2.0)
    slope = np.where(np.arange(12) < 4, 1e9, 1e-4 * (1 + np.arange(12)))
    problem, open_ = Problem.from_impact(np.full(12, 0.02), slope), slope < 1.0
    weight, urgent.impact_scale = weighed(urgent, 1.0, problem, open_)
    assert weight == pytest.approx(np.mean(slope[4:]) * (2.0 / 12) ** 2)
    assert weighed(urgent, 1.0, problem, np.zeros(12, np.bool_))[0] == weight
    for k in range(1, 11):
        left = Problem.from_impact(np.full(12 - k, 0.02), slope[k:])
        again, urgent.impact_scale = weighed(urgent, 1.0, left, open_[k:])
        assert again == weight
        dear = Problem.from_impact(np.full(12 - k, 0.02), 3.0 * slope[k:])
        assert weighed(urgent, 1.0, dear, open_[k:])[0] == pytest.approx(3.0 * weight)


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
    assert words in refusal(harness, **terms)
    harness.send(new("B", 1_200, at(31)))
    said = harness.send(change(at(31), "B", **terms))
    assert not plans(said)
    found = harness.engine.orders.get("B")
    assert found is not None
    assert found.terms == new("B", 1_200, at(31)).terms
