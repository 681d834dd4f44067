"""Policies on costs that are known, and the least that was possible by brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.inputs.ticks import Float
from impactd.research.backtest import policies
from impactd.research.backtest.policies import Lines, Task
from tests.research.backtest.made import quanta


def task_of(qty: float, cap: float, n: int, lot: float = 1.0) -> Task:
    return Task(quanta(qty), quanta(cap), quanta(lot), n)


def quadratic_table(s: Float, beta: Float, most: int) -> Float:
    x = np.arange(most + 1.0)
    return s[:, None] * x + beta[:, None] * x * x


def total(table: Float, x: Float) -> float:
    return float(table[np.arange(len(x)), x.astype(int)].sum())


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_hindsight_is_the_least_of_all_schedules(seed: int, qty: int, cap: int) -> None:
    rng = np.random.default_rng(seed)
    table = quadratic_table(rng.uniform(0, 1, 4), rng.uniform(0, 0.3, 4), cap)
    qty = min(qty, 4 * cap)
    x = policies.hindsight(task_of(qty, cap, 4), table, quanta(1.0))
    every = (np.array(x) for x in itertools.product(range(cap + 1), repeat=4) if sum(x) == qty)
    assert x.sum() == qty
    assert total(table, x) == pytest.approx(min(total(table, other) for other in every), abs=1e-12)


def test_hindsight_coarse_steps_keep_the_quantity_exact() -> None:
    task = task_of(100_003, 40_000, 5)
    step = policies.step_of(task)
    assert step > quanta(1.0)
    table = quadratic_table(np.arange(5.0), np.full(5, 1e-4), 40_000)[:, :: step // quanta(1.0)]
    x = policies.hindsight(task, table, step)
    assert x.sum() == 100_003
    assert (x <= 40_000).all()


def test_hindsight_linear_impact_follows_the_inverse_slope() -> None:
    beta = np.array([1.0, 2.0, 4.0]) * 1e-3
    x = policies.hindsight(task_of(7_000, 7_000, 3), quadratic_table(np.zeros(3), beta, 7_000), quanta(1.0))
    assert x == pytest.approx([4_000, 2_000, 1_000], abs=1)


@given(st.integers(0, 10_000), st.integers(1, 3_000), st.integers(1, 60), st.sampled_from([1.0, 10.0]))
@settings(max_examples=60, deadline=None)
def test_every_policy_trades_the_order_in_lots_under_the_cap(seed: int, lots: int, n: int, lot: float) -> None:
    rng = np.random.default_rng(seed)
    cap = lot * (-(-lots // n) + int(rng.integers(0, 50)))
    task = task_of(lots * lot, cap, n, lot)
    first = int(rng.integers(0, 5))
    lines = Lines(rng.uniform(0.01, 0.1, n + first), rng.uniform(1e-6, 1e-3, n + first))
    lines.s[rng.random(n + first) < 0.3] = np.nan
    lines.beta[np.isnan(lines.s)] = np.nan
    level = rng.uniform(0.5, 2.0, n + first)
    forecast = np.where(rng.random((n, n)) < 0.1, 0.0, rng.uniform(0.0, 1e4, (n, n)))
    for x in (
        policies.twap(task),
        policies.vwap(task, rng.integers(0, 3, n).astype(float)),
        policies.vwap_forecast(task, forecast),
        policies.vwap_forecast(task, np.full((n, n), np.nan)),
        policies.persistence(task, lines, first, level, level),
        policies.expanding_mean(task, lines, first),
        policies.standing_book(task, lines, first, Lines(lines.s[first:], lines.beta[first:])),
        policies.known_ahead(task, lines, first, 3),
        policies.profile_hindsight(task, lines, first, 7),
    ):
        assert x.sum() == pytest.approx(task.shares, abs=1e-9)
        assert (x >= 0.0).all()
        assert (x <= cap + 1e-9).all()
        assert x / lot == pytest.approx(np.round(x / lot), abs=1e-9)


def test_vwap_follows_the_volume() -> None:
    assert policies.vwap(task_of(60, 60, 3), np.array([10.0, 20.0, 30.0])).tolist() == [10, 20, 30]
    steady = np.tile([10.0, 20.0, 30.0], (3, 1))
    assert policies.vwap_forecast(task_of(60, 60, 3), steady).tolist() == [10, 20, 30]


def test_vwap_without_a_forecast_is_twap() -> None:
    task = task_of(60, 60, 3)
    assert policies.vwap_forecast(task, np.full((3, 3), np.nan)).tolist() == policies.twap(task).tolist()
    assert policies.vwap(task, np.zeros(3)).tolist() == policies.twap(task).tolist()


def test_persistence_on_a_flat_profile_is_twap() -> None:
    flat = np.ones(12)
    lines = Lines(np.linspace(0.01, 0.05, 12), np.linspace(1e-5, 9e-5, 12))
    assert policies.persistence(task_of(1_200, 400, 10), lines, 2, flat, flat) == pytest.approx([120] * 10)


def test_expanding_mean_buys_what_looks_cheap_after_an_expensive_open() -> None:
    lines = Lines(np.array([0.1, 0.1, 0.02, 0.02, 0.02, 0.02]), np.full(6, 1e-4))
    x = policies.expanding_mean(task_of(400, 400, 4), lines, 2)
    assert x[0] <= 100  # the latest minute is like the mean
    assert x[1] > x[0] + 100  # and now everything looks cheap


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_naive_policies_know_nothing_of_later_minutes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    task, first, at = task_of(900, 200, 20), 3, 12
    lines = Lines(rng.uniform(0.01, 0.1, 23), rng.uniform(1e-6, 1e-3, 23))
    later = Lines(lines.s.copy(), lines.beta.copy())
    later.s[first + at :] = rng.uniform(0.01, 0.1, 20 - at)
    later.beta[first + at :] = rng.uniform(1e-6, 1e-3, 20 - at)
    level = np.ones(23)
    for made in (
        lambda given: policies.persistence(task, given, first, level, level),
        lambda given: policies.expanding_mean(task, given, first),
        lambda given: policies.standing_book(task, given, first, Lines(lines.s[first:], lines.beta[first:])),
    ):
        assert made(lines)[: at + 1].tolist() == made(later)[: at + 1].tolist()
    # The ladder knows so many intervals and none after.
    for ahead in (1, 5):
        known = [policies.known_ahead(task, given, first, ahead)[: at - ahead + 1].tolist() for given in (lines, later)]
        assert known[0] == known[1]


def test_ladder_saves_more_the_more_is_known() -> None:
    rng = np.random.default_rng(5)
    task, cost = task_of(6_000, 600, 60), dict.fromkeys((0, 1, 5, 60), 0.0)
    for _ in range(20):
        lines = Lines(rng.uniform(0.01, 0.1, 120), rng.uniform(1e-5, 1e-3, 120))
        s, beta = lines.s[60:], lines.beta[60:]
        for ahead in cost:
            x = policies.known_ahead(task, lines, 60, ahead)
            cost[ahead] += float(np.sum(s * x + beta * x * x))
    assert cost[60] < cost[5] < cost[1] < 0.9 * cost[0]


def test_standing_book_trades_more_while_the_book_is_deep() -> None:
    lines = Lines(np.full(20, 0.02), np.full(20, 1e-4))
    deep = Lines(np.full(10, np.nan), np.full(10, np.nan))
    deep.s[3], deep.beta[3] = 0.02, 1e-5
    x = policies.standing_book(task_of(1_000, 1_000, 10), lines, 10, deep)
    assert x[:3] == pytest.approx([100] * 3, abs=1)
    assert x[3] > 300
