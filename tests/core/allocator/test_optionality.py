"""What a schedule is worth that will be planned again: closed forms, limits and a simulation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import ndtr

from impactd.core.allocator.optionality import LEAST_CHANCE, anticipate, chances, plain
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.separable import solve_separable
from impactd.core.model.curves import Curves

Float = npt.NDArray[np.float64]
FREE = np.full(30, np.inf)


def curves(variance: Float | None, spread: float = 0.02) -> Curves:
    n = 30 if variance is None else len(variance)
    s, beta = np.full(n, spread), np.full(n, 1e-4)
    return Curves(s, beta, None, None, 1.0, prior=False, scaled=True, as_of=0, spread_variance=variance)


def solved(problem: Problem, qty: float) -> tuple[Float, float]:
    x = np.empty(len(problem))
    p = problem
    price, _ = solve_separable(qty, p.curve, p.cap, p.fraction, x)
    return x, price


def growing(total: float, n: int = 30) -> Float:
    return total * (1.0 - 0.9 ** np.arange(n))


def test_chances_are_those_of_a_lognormal_spread() -> None:
    price, spread, variance = 0.025, np.array([0.02, 0.02, 0.05]), np.array([0.09, 0.0, 0.04])
    chance, mean = chances(price, spread, variance)
    draws = 0.02 * np.exp(0.3 * np.random.default_rng(1).standard_normal(400_000) - 0.045)
    assert chance[0] == pytest.approx(float(np.mean(draws < price)), abs=0.003)
    assert mean[0] == pytest.approx(float(np.mean(draws[draws < price])), rel=0.003)
    assert (chance[1], mean[1]) == (1.0, 0.02)
    assert (chance[2], mean[2]) == (LEAST_CHANCE, price)


@pytest.mark.parametrize("variance", [None, np.zeros(30)])
def test_without_variance_it_is_the_problem_of_what_is_expected(variance: Float | None) -> None:
    given = curves(variance)
    assert anticipate(given, plain(given), 100.0, FREE).curve.b.tolist() == plain(given).curve.b.tolist()
    assert anticipate(given, plain(given), 100.0, FREE).curve.s.tolist() == plain(given).curve.s.tolist()


def test_caps_that_leave_no_choice_leave_what_is_expected() -> None:
    given = curves(growing(0.2))
    assert anticipate(given, plain(given), 300.0, np.full(30, 10.0)).curve.s.tolist() == plain(given).curve.s.tolist()


def test_fixed_point_trades_the_mean_of_what_each_price_would_buy() -> None:
    given = curves(growing(0.16))
    x, price = solved(anticipate(given, plain(given), 2_000.0, FREE), 2_000.0)
    assert given.spread_variance is not None
    assert given.beta is not None
    sd = np.sqrt(given.spread_variance[1:])
    d = np.log(price / given.half_spread[1:]) / sd + 0.5 * sd
    gain = price * ndtr(d) - given.half_spread[1:] * ndtr(d - sd)
    bought = gain / (2.0 * given.beta[1:])
    assert x[1:] == pytest.approx(bought, rel=2e-3)


def test_waiting_is_worth_most_to_a_small_order() -> None:
    given = curves(growing(0.16))
    first = [solved(anticipate(given, plain(given), qty, FREE), qty)[0][0] / qty * 30 for qty in (30.0, 3_000.0)]
    assert first[0] < 0.1
    assert first[1] > 0.9


def realised(qty: float, *, wait: bool, n: int = 120, seeds: int = 20) -> float:
    """Return the mean cost of an order over `n` intervals whose log spread is an AR(1) that is seen in time."""
    phi, sd, total = 0.8, 0.4, 0.0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        level = np.empty(n)
        level[0] = sd * rng.standard_normal()
        for t in range(1, n):
            level[t] = phi * level[t - 1] + sd * math.sqrt(1 - phi * phi) * rng.standard_normal()
        left = qty
        for t in range(n):
            ahead = np.arange(n - t)
            variance = sd * sd * (1.0 - phi ** (2 * ahead))
            spread = 0.02 * np.exp(phi**ahead * level[t] + 0.5 * variance)
            given = Curves(
                spread, np.full(n - t, 1e-4), None, None, 1.0, prior=False, scaled=True, as_of=0,
                spread_variance=variance,
            )  # fmt: skip
            problem = anticipate(given, plain(given), left, np.full(n - t, np.inf)) if wait else plain(given)
            now = min(solved(problem, left)[0][0], left) if t < n - 1 else left
            total += now * (spread[0] + 1e-4 * now)
            left -= now
            if left <= 1e-9:
                break
    return total / seeds


@pytest.mark.parametrize("qty", [120.0, 1_200.0])
def test_orders_planned_again_cost_less_if_they_know_that_they_will_be(qty: float) -> None:
    assert realised(qty, wait=True) < 0.985 * realised(qty, wait=False)
