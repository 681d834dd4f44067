"""Shares of the possible saving, and how they are drawn again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from impactd.research.backtest.capture import Priced, draws, pooled


def priced(twap: float, policy: float, hindsight: float, start: int = 0, **terms: str) -> Priced:
    cost = {"twap": twap, "engine": policy, "hindsight": hindsight}
    none = dict.fromkeys(cost, 0.0)
    named = {"symbol": "FROG", "side": "buy", "day": "2025-04-03"} | terms
    return Priced(
        **named, windows=("windows",), start=start, block=start, horizon_min=60, qty=100.0, notional=1_000.0,
        cost=cost, beyond=none | {"engine": 5.0}, left=none,
    )  # fmt: skip


def test_capture_is_a_ratio_of_sums() -> None:
    figures = pooled([priced(10, 9, 5), priced(20, 14, 10, 1)], ["engine", "twap", "hindsight"], 0)
    engine = figures["engine"]
    assert engine["capture"] == pytest.approx(7 / 15)
    assert engine["cost"] == 23
    assert engine["cost_bps"] == pytest.approx(23 / 2_000 * 1e4)
    assert engine["beat_twap"] == 1.0
    assert engine["windows"] == 2
    assert engine["beyond_depth"] == pytest.approx(0.05)
    assert figures["twap"]["capture"] == 0.0
    assert figures["hindsight"]["capture_ci90"] == [1.0, 1.0]


def test_capture_where_nothing_could_be_saved_is_none() -> None:
    figures = pooled([priced(10, 10, 10)], ["engine"], 0)
    assert figures["engine"]["capture"] is None
    assert figures["engine"]["capture_ci90"] is None


def test_interval_is_of_the_windows_and_the_same_for_the_same_seed() -> None:
    saved = 0.1 * np.arange(10) + 0.013 * np.sin(np.arange(10))
    orders = [priced(10, 10 - 10 * share, 0, k) for k, share in enumerate(saved.tolist())]
    low, high = pooled(orders, ["engine"], 7)["engine"]["capture_ci90"]
    assert [low, high] == pooled(orders, ["engine"], 7)["engine"]["capture_ci90"]
    assert [low, high] != pooled(orders, ["engine"], 8)["engine"]["capture_ci90"]
    assert (high - low) / 2 == pytest.approx(1.645 * float(np.std(saved)) / np.sqrt(10), rel=0.1)


@pytest.mark.parametrize("n", [301, 330, 700])
def test_figures_do_not_depend_on_the_number_of_threads(n: int) -> None:
    """A report of one core has the bytes of one of many."""
    rng = np.random.default_rng(1)
    orders = []
    for i in range(n):
        twap, engine, hindsight = rng.lognormal(size=3).tolist()
        later = {policy: rng.normal(size=2).tolist() for policy in ("twap", "engine")}
        orders.append(replace(priced(twap, engine, hindsight, i), later=later))
    found = set()
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            found.add(repr(pooled(orders, ["engine"], 7)))
    assert len(found) == 1


def test_interval_of_a_single_window_is_none() -> None:
    figures = pooled([priced(10, 9, 5), priced(20, 14, 10, side="sell")], ["engine"], 0)
    assert figures["engine"]["capture"] is not None
    assert figures["engine"]["capture_ci90"] is None


def test_draws_keep_a_window_together_and_the_number_of_windows() -> None:
    orders = [priced(1, 1, 0, k // 2, side="buy" if k % 2 else "sell") for k in range(12)]
    weights = draws(orders, 0, 500)
    assert (weights[:, ::2] == weights[:, 1::2]).all()
    assert (weights[:, ::2].sum(axis=1) == 6).all()
    assert weights.mean() == pytest.approx(1.0)


def test_draws_take_whole_days_and_each_symbol_by_itself() -> None:
    orders = [priced(1, 1, 0, k, day=day, symbol=s) for s in ("A", "B") for day in ("x", "y") for k in range(3)]
    weights = draws(orders, 0, 2_000).reshape(2_000, 2, 2, 3)
    assert (weights.sum(axis=(2, 3)) == 6).all()
    by_day = weights.sum(axis=3)
    assert set(np.unique(by_day)) == {0.0, 3.0, 6.0}
    assert weights.mean(axis=0) == pytest.approx(1.0, abs=0.15)
