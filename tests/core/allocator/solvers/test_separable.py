"""The separable solver against closed forms, and where floating point is at its worst."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.allocator.baseline import twap
from impactd.core.allocator.certificate import kkt_residual
from impactd.core.allocator.cost import schedule_cost
from impactd.core.allocator.curve import Curve
from impactd.core.allocator.problem import Problem
from tests.core.allocator.problems import solve

POSITIVE = st.floats(1e-3, 1e3)


def test_exact_sum_of_a_x_squared_gives_four_two_one() -> None:
    found = solve(Problem.from_impact(np.zeros(3), np.array([1.0, 2.0, 4.0])), 7.0)
    assert found.qty.tolist() == [4.0, 2.0, 1.0]
    assert found.multiplier == 8.0
    assert found.kkt_residual == 0.0


@given(st.lists(POSITIVE, min_size=1, max_size=40), st.floats(1e-6, 1e12))
@settings(max_examples=60, deadline=None)
def test_exact_linear_through_origin_is_inverse_to_beta(beta: list[float], qty: float) -> None:
    found = solve(Problem.from_impact(np.zeros(len(beta)), np.array(beta)), qty)
    weight = 1.0 / np.array(beta)
    assert np.allclose(found.qty, qty * weight / weight.sum(), rtol=1e-12)


@given(st.lists(POSITIVE, min_size=1, max_size=40), st.floats(1e-3, 1e9))
@settings(max_examples=60, deadline=None)
def test_exact_saving_over_twap_is_one_less_harmonic_over_arithmetic_mean(beta: list[float], qty: float) -> None:
    problem = Problem.from_impact(np.zeros(len(beta)), np.array(beta))
    best = schedule_cost(problem, solve(problem, qty).qty)
    even = schedule_cost(problem, np.full(len(beta), qty / len(beta)))
    harmonic, arithmetic = len(beta) / np.sum(1.0 / np.array(beta)), np.mean(beta)
    assert 1.0 - best / even == pytest.approx(1.0 - harmonic / arithmetic, abs=1e-12)


@given(st.lists(POSITIVE, min_size=1, max_size=20), st.floats(0.05, 1.5), st.floats(1e-3, 1e9))
@settings(max_examples=60, deadline=None)
def test_exact_power_without_spread_follows_its_closed_form(eta: list[float], delta: float, qty: float) -> None:
    e = np.array(eta)
    found = solve(Problem.from_impact(np.zeros(len(eta)), eta=e, delta=delta), qty)
    log_weight = -np.log(e) / delta
    weight = np.exp(log_weight - log_weight.max())
    assert np.allclose(found.qty, qty * weight / weight.sum(), rtol=1e-9, atol=1e-14 * qty)


def test_exact_spread_keeps_an_expensive_interval_out() -> None:
    # marginals s + 2 b x: all of 10 shares fit in the first below the second's spread
    found = solve(Problem.from_impact(np.array([0.0, 21.0]), np.ones(2)), 10.0)
    assert found.qty.tolist() == [10.0, 0.0]
    assert found.multiplier == 20.0


COEFFICIENT = st.one_of(st.just(0.0), st.floats(-12, 3).map(lambda power: 10.0**power))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.01, 0.02, 5.0]),
            COEFFICIENT,
            COEFFICIENT,
            COEFFICIENT,
            st.one_of(st.just(math.inf), st.just(0.0), st.floats(1e-3, 2.0)),
        ),
        min_size=1,
        max_size=25,
    ),
    st.floats(0, 15),
    st.floats(0.05, 1.5),
)
@settings(max_examples=300, deadline=None)
def test_exact_any_scales_sum_caps_and_certificate_hold(
    rows: list[tuple[float, float, float, float, float]], log_qty: float, delta: float
) -> None:
    qty = 10.0**log_qty
    s, b, a, e, cap = (np.array(column) for column in zip(*rows, strict=True))
    problem = Problem(Curve(s, b, a, e, delta), cap * qty, np.ones(len(rows)))
    found = solve(problem, qty)
    target = min(qty, math.fsum(np.minimum(problem.cap, qty)))
    assert np.all(found.qty >= 0.0)
    assert np.all(found.qty <= problem.cap)
    assert abs(math.fsum(found.qty) - target) <= 1e-14 * qty
    assert found.shortfall == pytest.approx(qty - target, abs=1e-13 * qty)
    assert found.kkt_residual <= 1e-9
    assert found.kkt_residual == kkt_residual(problem, qty, found.qty, found.multiplier)
    assert found.iterations <= 120


def test_exact_flat_costs_share_in_proportion_to_fraction() -> None:
    fraction = np.array([1.0, 0.5, 1.0, 0.5])
    problem = Problem.from_impact(np.full(4, 0.01), fraction=fraction)
    assert solve(problem, 300.0).qty.tolist() == [100.0, 50.0, 100.0, 50.0]


def test_exact_flat_costs_fill_the_cheapest_level_first() -> None:
    problem = Problem.from_impact(np.array([0.02, 0.01, 0.02, 0.03]), cap=np.array([60.0, 40.0, np.inf, np.inf]))
    found = solve(problem, 200.0)
    assert found.qty.tolist() == [60.0, 40.0, 100.0, 0.0]
    assert found.multiplier == 0.02
    assert found.kkt_residual == 0.0


def test_exact_nearly_flat_costs_with_equal_spread_split_by_their_slope() -> None:
    problem = Problem.from_impact(np.full(3, 123.456), np.array([1e-30, 2e-30, 4e-30]))
    assert np.allclose(solve(problem, 7.0).qty, [4.0, 2.0, 1.0], rtol=1e-12)


def test_exact_caps_that_hold_the_quantity_exactly_are_filled() -> None:
    cap = np.array([1.0, 2.0, 3.0])
    found = solve(Problem.from_impact(np.zeros(3), np.ones(3), cap=cap), 6.0)
    assert found.qty.tolist() == cap.tolist()
    assert found.shortfall == 0.0


def test_exact_one_interval_nearly_at_its_cap_leaves_the_last_share_to_another() -> None:
    # the large one is within 1e-12 of its cap, so the multiplier hangs on what the small one takes
    qty = 1e12
    eta, alpha = np.array([0.0, 1e-7]), np.array([1.0, 0.0])
    problem = Problem.from_impact(np.zeros(2), None, alpha, eta, 0.5, cap=np.array([np.inf, qty]))
    found = solve(problem, qty)
    assert math.fsum(found.qty) == qty
    assert found.qty[0] == pytest.approx(math.sqrt(0.5 * 1e-7 * 1e6), rel=1e-3)
    assert found.kkt_residual <= 1e-12


def test_exact_million_intervals_keeps_its_certificate() -> None:
    rng = np.random.default_rng(0)
    n = 1_000_000
    problem = Problem.from_impact(rng.uniform(0.005, 0.02, n), 10 ** rng.uniform(-5, -4, n))
    found = solve(problem, 1e8)
    assert abs(math.fsum(found.qty) - 1e8) <= 1e-6
    assert found.kkt_residual <= 1e-12


def test_exact_child_slices_cost_as_k_walks_of_the_kth_part() -> None:
    beta = np.array([1e-4, 3e-4])
    whole = Problem.from_impact(np.array([0.01, 0.02]), beta, child_slices=1)
    sliced = Problem.from_impact(np.array([0.01, 0.02]), beta, child_slices=4)
    x = np.array([400.0, 800.0])
    assert schedule_cost(sliced, x) == pytest.approx(4 * schedule_cost(whole, x / 4))


def test_certificate_wrong_schedule_bounds_what_is_lost() -> None:
    problem = Problem.from_impact(np.zeros(3), np.array([1.0, 2.0, 4.0]))
    even = np.full(3, 7.0 / 3.0)
    residual = kkt_residual(problem, 7.0, even, 8.0)
    lost = schedule_cost(problem, even) - schedule_cost(problem, np.array([4.0, 2.0, 1.0]))
    highest_marginal = 2 * 4.0 * 7.0 / 3.0
    assert residual * highest_marginal * 7.0 >= lost
    assert residual > 0.05


@pytest.mark.parametrize("broken", [[4.0, 2.0, 1.1], [5.0, 3.0, -1.0], [math.nan, 2.0, 1.0]])
def test_certificate_infeasible_schedule_does_not_pass(broken: list[float]) -> None:
    problem = Problem.from_impact(np.zeros(3), np.array([1.0, 2.0, 4.0]))
    assert kkt_residual(problem, 7.0, np.array(broken), 8.0) > 1e-2


def test_twap_caps_and_lots_keep_the_sum() -> None:
    quanta = twap(1050, np.ones(4), np.array([100, 10_000, 10_000, 250]), 100)
    assert quanta.tolist() == [100, 450, 300, 200]


@given(
    st.lists(st.tuples(st.floats(0.01, 1.0), st.integers(0, 10**12)), min_size=1, max_size=20),
    st.integers(0, 4 * 10**12),
    st.integers(1, 10**6),
)
@settings(max_examples=150, deadline=None)
def test_twap_any_caps_sum_is_exact_and_caps_hold(rows: list[tuple[float, int]], qty: int, lot: int) -> None:
    fraction, cap = np.array([f for f, _ in rows]), np.array([c for _, c in rows], dtype=np.int64)
    quanta = twap(qty, fraction, cap, lot)
    assert np.all(quanta >= 0)
    assert np.all(quanta <= cap)
    assert qty - quanta.sum() >= 0
    if np.all(cap >= qty):
        assert quanta.sum() == qty
    assert np.count_nonzero(quanta % lot) <= 1
