"""Bounds of the running sum: attainable, and kept by every way to a schedule, at the least cost."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.allocator.allocate import Allocation, allocate
from impactd.core.allocator.bounds import NO_CAP, Int, keep_within, never_bind, tighten
from impactd.core.allocator.cost import objective
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Solution
from impactd.core.allocator.solvers.registry import get_solver
from impactd.core.base.quantity import QUANTA
from tests.core.allocator.joint.groups import schedules
from tests.core.allocator.problems import DELTAS, KINDS, bounded, random_problem

FAR = 10**6


def random_bounds(rng: np.random.Generator, n: int) -> tuple[Int, Int, Int]:
    cap = rng.integers(0, 5, n) if rng.random() < 0.7 else np.full(n, FAR)
    high = np.cumsum(rng.integers(0, 3, n)) if rng.random() < 0.7 else np.full(n, FAR)
    low = np.cumsum(rng.integers(0, 2, n)) if rng.random() < 0.5 else np.zeros(n, np.int64)
    return cap.astype(np.int64), low.astype(np.int64), high.astype(np.int64)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=300, deadline=None)
def test_tightened_bounds_are_attained_and_hold_as_much_as_the_bounds_they_came_from(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, lots = int(rng.integers(1, 6)), int(rng.integers(0, 8))
    cap, low, high = random_bounds(rng, n)
    tight = cap.copy(), low.copy(), high.copy()
    placed = int(tighten(lots, *tight))
    within = schedules(placed, cap, 0 * low, high)
    assert not any(schedules(more, cap, 0 * low, high) for more in range(placed + 1, lots + 1))
    reach = [max(sum(x[: t + 1]) for x in within) for t in range(n)]
    within = [x for x in within if all(sum(x[: t + 1]) >= min(low[t], reach[t]) for t in range(n))]
    for t in range(n):
        sums = {sum(x[: t + 1]) for x in within}
        assert (min(sums), max(sums)) == (tight[1][t], tight[2][t])
    free = schedules(placed, tight[0], 0 * low, np.full(n, FAR))  # caps that are tight already
    assert never_bind(placed, *tight) == (len(free) == len(within))
    path = np.sort(rng.integers(0, lots + 1, n)).astype(np.int64)
    x = np.empty(n, np.int64)
    keep_within(path, *tight, x)
    assert tuple(x.tolist()) in within


def test_bounds_of_the_largest_quantities_stay_integers() -> None:
    cap, low, high = np.full(50, NO_CAP), np.zeros(50, np.int64), np.full(50, NO_CAP)
    assert tighten(9 * 10**18, cap, low, high) == 9 * 10**18
    assert never_bind(9 * 10**18, cap, low, high)


# --- the continuous optimum ----------------------------------------------------------------


@pytest.mark.parametrize("risk", [False, True])
@pytest.mark.parametrize("transient", [False, True])
def test_exact_random_nested_bounds_cost_what_clarabel_finds(*, risk: bool, transient: bool) -> None:
    rng = np.random.default_rng(20251129)
    exact, clarabel = get_solver("exact"), get_solver("clarabel")
    for k in range(60):
        kind = KINDS[k % (2 if transient else 3)]
        problem, qty = random_problem(rng, (5, 12, 30)[k % 3], kind, delta=DELTAS[k // 9 % 3], risk=risk)
        if transient:
            b, n = problem.curve.b, len(problem)
            keep = np.concatenate(([0.0], np.exp(-rng.uniform(0.01, 2, n - 1))))
            problem = replace(problem, curve=problem.curve._replace(b=0.5 * b), root=np.sqrt(b), keep=keep)
        problem = bounded(rng, problem, qty)
        mine, other = exact.solve(problem, qty), clarabel.solve(problem, qty)
        assert isinstance(mine, Solution)
        assert isinstance(other, Solution)
        assert mine.kkt_residual <= (1e-7 if transient else 1e-11)
        assert mine.shortfall == pytest.approx(other.shortfall, abs=1e-9 * qty)
        placed = qty - mine.shortfall
        cost, oracle = objective(problem, placed, mine.qty), objective(problem, placed, other.qty)
        assert cost <= oracle * (1.0 + 1e-9), (k, kind)
        assert abs(cost - oracle) <= 1e-6 * oracle, (k, kind)
        within(problem, placed, mine.qty)


def within(problem: Problem, qty: float, x: np.ndarray) -> None:
    path = np.cumsum(x)
    assert np.all((x >= 0.0) & (x <= problem.cap))
    assert np.all(path <= problem.high + 1e-9 * qty)
    assert path[-1] == pytest.approx(qty, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_exact_a_day_that_would_trade_at_once_is_not_slow(kind: str) -> None:
    """Each interval has a price of its own here: the worst case of decomposing."""
    n = 2_000
    line = np.full(n, 1e-12)
    terms: dict[str, Any] = {"linear": {"beta": line}, "quadratic": {"beta": line, "alpha": line * 1e-6}}.get(
        kind, {"eta": line, "delta": 0.6}
    )
    problem = replace(
        Problem.from_impact(np.linspace(0.01, 0.02, n), **terms), low=np.zeros(n), high=np.arange(1.0, n + 1)
    )
    found = get_solver("exact").solve(problem, float(n))
    assert isinstance(found, Solution)
    assert np.allclose(found.qty, 1.0)
    assert found.iterations < 200 * n  # prices looked at; each costs what its intervals do


def test_exact_bounds_that_do_not_bind_change_no_bit() -> None:
    rng = np.random.default_rng(1)
    problem, qty = random_problem(rng, 30, "power")
    free = get_solver("exact").solve(problem, qty)
    loose = get_solver("exact").solve(replace(problem, low=np.zeros(30), high=np.full(30, 2 * qty)), qty)
    assert isinstance(free, Solution)
    assert isinstance(loose, Solution)
    assert loose.qty.tobytes() == free.qty.tobytes()


def test_certificate_of_a_schedule_that_a_bound_does_not_ask_for_is_high() -> None:
    n = 10
    problem = Problem.from_impact(np.linspace(0.01, 0.02, n), np.full(n, 1e-4))
    tight = replace(problem, low=np.zeros(n), high=10.0 * np.arange(1, n + 1))
    found = get_solver("exact").solve(tight, 100.0)
    assert isinstance(found, Solution)
    assert found.kkt_residual <= 1e-12
    from impactd.core.allocator.certificate import best_multiplier, kkt_residual  # noqa: PLC0415  # its only use

    loose = replace(tight, high=tight.high + 5.0)
    assert kkt_residual(loose, 100.0, found.qty, best_multiplier(loose, 100.0, found.qty)) > 1e-3


# --- whole lots ------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), risk=st.booleans(), transient=st.booleans(), clip=st.booleans())
@settings(max_examples=150, deadline=None)
def test_lots_of_one_order_within_nested_bounds_against_brute_force(
    *, seed: int, risk: bool, transient: bool, clip: bool
) -> None:
    rng = np.random.default_rng(seed)
    n, lots = int(rng.integers(1, 6)), int(rng.integers(0, 9))
    cap, low, high = random_bounds(rng, n)
    low = 0 * low if clip else low  # a lower bound gives way where no clip meets it
    beta = rng.uniform(1e-4, 4e-3, n)
    problem = Problem.from_impact(
        np.round(rng.uniform(0, 0.02, n), int(rng.choice([2, 8]))), beta,
        risk=float(10.0 ** rng.uniform(-5, -3)) if risk else 0.0,
        transient_share=0.5 if transient else 0.0, keep=np.full(n, 0.6),
    )  # fmt: skip
    least = int(rng.integers(2, 4)) if clip else 1
    found = allocate(
        problem, lots * QUANTA, QUANTA, cap * QUANTA, low_quanta=low * QUANTA, high_quanta=high * QUANTA,
        least_quanta=np.full(n, least * QUANTA) if clip else None,
    )  # fmt: skip
    assert isinstance(found, Allocation), found
    x = tuple((found.quanta // QUANTA).tolist())
    least = min(least, max(lots, 1))
    choices = [z for k in range(lots + 1) for z in schedules(k, cap, 0 * low, high) if clips(z, least)]
    most = max(sum(z) for z in choices)
    assert sum(x) == most
    assert x in choices
    choices = [z for z in choices if sum(z) == most]
    reach = [max(sum(z[: t + 1]) for z in choices) for t in range(n)]
    choices = [z for z in choices if all(sum(z[: t + 1]) >= min(low[t], reach[t]) for t in range(n))]
    assert x in choices
    best = min(objective(problem, float(most), np.array(z, float)) for z in choices)
    assert objective(problem, float(most), found.qty()) <= best + (found.gap or 0.0) * (1 + 1e-9) + 1e-9 * best


def clips(x: tuple[int, ...], least: int) -> bool:
    return all(z == 0 or z >= least for z in x)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_lots_in_clips_complete_whenever_clips_can(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, lots = int(rng.integers(1, 6)), int(rng.integers(1, 13))
    cap, low, high = random_bounds(rng, n)
    least = rng.integers(1, 5, n)
    problem = Problem.from_impact(np.full(n, 0.01), np.full(n, 1e-3))
    found = allocate(
        problem, lots * QUANTA, QUANTA, cap * QUANTA, low_quanta=0 * low, high_quanta=high * QUANTA,
        least_quanta=least * QUANTA, completes=True,
    )  # fmt: skip
    assert isinstance(found, Allocation)
    x = (found.quanta // QUANTA).tolist()
    least = np.minimum(least, lots)

    def fits(z: tuple[int, ...], *, tail: bool) -> bool:
        last = max((t for t in range(n) if z[t]), default=-1)
        return all(z[t] == 0 or z[t] >= least[t] or (tail and t == last and sum(z) == lots) for t in range(n))

    every = list(itertools.chain.from_iterable(schedules(k, cap, 0 * low, high) for k in range(lots + 1)))
    strict = max(sum(z) for z in every if fits(z, tail=False))
    most = max(sum(z) for z in every if fits(z, tail=True))
    assert sum(x) == most
    assert fits(tuple(x), tail=strict < lots)


def test_lots_odd_remainder_waits_until_the_running_sum_has_room_for_it() -> None:
    problem = Problem.from_impact(np.array([0.01, 0.02, 0.03]), np.full(3, 1e-5))
    high = np.array([120, 160, 250]) * QUANTA
    found = allocate(problem, 250 * QUANTA, 100 * QUANTA, high_quanta=high)
    assert isinstance(found, Allocation)
    assert (found.quanta // QUANTA).tolist() == [100, 50, 100]
    assert found.shortfall_quanta == 0


def test_lots_of_a_thin_market_trade_whenever_the_sum_allows_one() -> None:
    """Sixty shares a minute are no lot of a hundred; of the sum they are three in five minutes."""
    problem = Problem.from_impact(np.full(10, 0.01), np.full(10, 1e-5))
    high = 60 * np.arange(1, 11) * QUANTA
    found = allocate(problem, 2_000 * QUANTA, 100 * QUANTA, high_quanta=high)
    assert isinstance(found, Allocation)
    assert int(np.sum(found.quanta)) == 600 * QUANTA
    assert np.all(np.cumsum(found.quanta) <= high)


@given(seed=st.integers(0, 2**32 - 1), risk=st.sampled_from([0.0, 1e-6]))
@settings(max_examples=300, deadline=None)
def test_schedule_with_its_odd_remainder_keeps_every_bound_to_the_quantum(seed: int, risk: float) -> None:
    rng = np.random.default_rng(seed)
    n, lot = int(rng.integers(1, 8)), int(rng.integers(1, 9)) * QUANTA
    problem = replace(random_problem(rng, n, "linear")[0], risk=risk)
    cap, _, high = (bound * QUANTA for bound in random_bounds(rng, n))
    high += rng.integers(0, QUANTA, n)
    high = np.maximum.accumulate(high)
    found = allocate(problem, int(rng.integers(0, 30)) * QUANTA, lot, cap, high_quanta=high)
    assert isinstance(found, Allocation)
    assert np.all((found.quanta >= 0) & (found.quanta <= cap))
    assert np.all(np.cumsum(found.quanta) <= high)
