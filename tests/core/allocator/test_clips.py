"""A smallest clip: nothing or at least that in every interval, and a bound that is true."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.allocator.allocate import Allocation, allocate
from impactd.core.allocator.cost import objective
from impactd.core.allocator.problem import Problem
from impactd.core.base.quantity import QUANTA


def clipped(problem: Problem, qty: float, clip: float, cap: np.ndarray | None = None, lot: int = 1) -> Allocation:
    n = len(problem)
    caps = None if cap is None else cap.astype(np.int64) * QUANTA
    least = np.full(n, round(clip * QUANTA))
    found = allocate(problem, round(qty * QUANTA), lot * QUANTA, caps, least_quanta=least)
    assert isinstance(found, Allocation), found
    assert int(np.sum(found.quanta)) + found.shortfall_quanta == round(qty * QUANTA)
    return found


@given(seed=st.integers(0, 2**32 - 1), risk=st.booleans(), power=st.booleans())
@settings(max_examples=60, deadline=None)
def test_clips_random_small_problem_is_within_its_gap_of_brute_force(seed: int, *, risk: bool, power: bool) -> None:
    rng = np.random.default_rng(seed)
    n, lots, clip = 4, int(rng.integers(2, 10)), int(rng.integers(2, 5))
    curve = 10.0 ** rng.uniform(-4, -2, n)
    problem = Problem.from_impact(
        rng.uniform(0, 0.05, n),
        None if power else curve,
        eta=curve if power else None,
        delta=0.6,
        risk=float(10.0 ** rng.uniform(-4, -2)) if risk else 0.0,
    )
    cap = rng.integers(0, 9, n)
    found = clipped(problem, lots, clip, cap)
    x = found.qty()
    clip = min(clip, lots)
    assert all(value == 0 or clip <= value <= limit for value, limit in zip(x, cap, strict=True))
    choices = [[0, *range(clip, min(int(limit), lots) + 1)] for limit in cap]
    placed = [c for c in itertools.product(*choices) if sum(c) <= lots]
    most = max(sum(c) for c in placed)
    assert float(np.sum(x)) == most
    best = min(objective(problem, float(most), np.array(c, float)) for c in placed if sum(c) == most)
    mine = objective(problem, float(most), x)
    assert mine <= best + (found.gap or 0.0) * (1 + 1e-9) + 1e-9 * best


def test_clips_that_bind_nowhere_leave_the_exact_optimum() -> None:
    problem = Problem.from_impact(np.full(5, 0.01), np.array([1e-5, 2e-5, 1e-5, 3e-5, 1e-5]))
    free = allocate(problem, 1_000 * QUANTA, QUANTA)
    assert isinstance(free, Allocation)
    found = clipped(problem, 1_000, 50)
    assert found.gap is None
    assert np.array_equal(found.quanta, free.quanta)


def test_clips_gather_a_thin_plan_in_the_cheap_intervals() -> None:
    beta = np.where(np.arange(30) % 3 == 0, 1e-5, 3e-5)
    found = clipped(Problem.from_impact(np.full(30, 0.01), beta), 1_000, 100)
    assert np.all(found.quanta[beta > 2e-5] == 0)
    assert np.all(found.quanta[beta < 2e-5] == 100 * QUANTA)


def test_clips_cap_below_the_clip_closes_its_interval() -> None:
    found = clipped(Problem.from_impact(np.full(3, 0.01), np.full(3, 1e-5)), 300, 100, np.array([99, 150, 500]))
    assert found.quanta[0] == 0
    assert found.shortfall_quanta == 0


def test_clips_larger_than_the_order_let_it_trade_at_once() -> None:
    found = clipped(Problem.from_impact(np.full(3, 0.01), np.array([2e-5, 1e-5, 2e-5])), 60, 100)
    assert found.qty().tolist() == [0.0, 60.0, 0.0]


def test_clips_that_caps_cannot_hold_are_a_shortfall() -> None:
    found = clipped(Problem.from_impact(np.full(2, 0.01), np.full(2, 1e-5)), 150, 80, np.array([100, 100]))
    assert found.shortfall_quanta == 50 * QUANTA


def test_clips_between_lots_round_up_and_the_odd_end_joins_a_clip() -> None:
    found = clipped(Problem.from_impact(np.full(4, 0.01), np.full(4, 1e-5)), 1_030, 250, lot=100)
    held = found.qty()[found.qty() > 0]
    assert np.all(held >= 300)
    assert sorted(held % 100)[-2:] == [0.0, 30.0]


@pytest.mark.parametrize("risk", [0.0, 1e-10])
def test_clips_of_a_day_keep_their_gap_small(risk: float) -> None:
    rng = np.random.default_rng(1)
    problem = Problem.from_impact(
        0.01 * np.exp(rng.normal(0, 0.2, 390)), 1e-6 * np.exp(rng.normal(0, 0.3, 390)), risk=risk
    )
    found = clipped(problem, 100_000, 400, lot=100)
    cost = objective(problem, 1e5, found.qty())
    assert found.gap is not None
    assert found.gap <= 0.005 * cost
