"""A level's series: means, nowcast, trust, what books tell, changes, and other sizes."""

from __future__ import annotations

import math

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.base.settings import MINUTE_NS
from impactd.core.model.series.columns import FAST, INFO, MEAN, SLOW
from impactd.core.model.series.readout import levels_at, variance_at
from impactd.core.model.series.series import (
    LEAST_INFO,
    MOST_TRUST,
    SLOW_PART,
    SPREAD_WEIGHTS,
    LevelSeries,
    Outlook,
    level_at,
    outlook,
    rebased,
)


def feed(s: LevelSeries, *y: float, weight: float = 1.0, forget: float = 0.97, missed: float = 0.0) -> None:
    s.update(np.exp(np.array(y)), 0.0, 0, weight, forget, missed, 1.0 + missed)


def look(s: LevelSeries, book: float = 0.0, missed: float = 0.0) -> Outlook:
    mean, fast, slow = s.levels[0, [MEAN, FAST, SLOW]].tolist()
    return Outlook(*outlook(mean, fast - mean, slow - mean, book, 0.0, missed, s.shared, s.weights))


def nowcast(s: LevelSeries, book: float = 0.0) -> float:
    found = look(s, book)
    return found.mean + found.slow + found.fast


@given(
    steps=st.lists(st.tuples(st.floats(-3, 3), st.floats(0.2, 1), st.floats(0.9, 1)), min_size=1, max_size=10),
)
@settings(max_examples=60, deadline=None)
def test_mean_equals_batch_weighted_least_squares(steps: list[tuple[float, float, float]]) -> None:
    s = LevelSeries(SPREAD_WEIGHTS)
    weights = np.zeros(0)
    for y, weight, forget in steps:
        before = s.changes
        feed(s, y, weight=weight, forget=forget)
        if s.changes > before:
            return  # a change cuts the evidence; the rest is for another test
        weights = np.append(weights * forget, weight)
    y_all = np.array([y for y, _, _ in steps])
    assert s.levels[0, MEAN] == pytest.approx(float(np.sum(weights * y_all) / weights.sum()), abs=1e-9)
    assert s.information(0) == pytest.approx(float(weights.sum()), rel=1e-12)


def test_equal_observations_leave_the_mean_to_the_last_bit() -> None:
    s = LevelSeries(SPREAD_WEIGHTS)
    feed(s, -3.7)
    first = look(s, math.exp(-3.7))
    assert first == Outlook(s.levels[0, MEAN])
    for _ in range(500):
        feed(s, -3.7)
        s.see(math.exp(-3.7), 0.0, 0)
        assert look(s, math.exp(-3.7)) == first


def test_excess_is_less_an_offset_and_never_below_a_part_of_the_half_spread() -> None:
    starts = np.arange(0, 121, dtype=np.int64) * MINUTE_NS
    at = starts, np.full(121, 0.5), 0, np.array([0.5]), np.zeros((2, 1)), Outlook(-4.0, fast=0.4)[:]
    for mean in (-3.0, -6.05, -9.0):
        (s, whole), (again, over) = np.empty((2, 121)), np.empty((2, 121))
        levels_at(*at, Outlook(mean)[:], 0.0, 0.0, s, whole)
        levels_at(*at, Outlook(mean)[:], 0.1, 0.05, again, over)
        assert again.tolist() == s.tolist()
        assert over.tolist() == np.maximum(whole - 0.1 * s, 0.05 * s).tolist()


def test_forecast_returns_to_the_mean_in_two_parts() -> None:
    outlook = Outlook(-4.0, slow=0.1, fast=0.4)
    starts = np.arange(0, 121, dtype=np.int64) * MINUTE_NS
    flat = (np.array([0.5]), np.zeros((2, 1)))
    spread, excess = np.empty((2, 121))
    means = outlook[:], outlook._replace(mean=-5.0)[:]
    levels_at(starts, np.full(121, 0.5), 0, *flat, *means, 0.0, 0.0, spread, excess)
    logs = np.log(spread) + 4.0
    assert np.log(excess) + 5.0 == pytest.approx(logs)
    assert logs[0] == pytest.approx(0.5)
    assert logs[1] == pytest.approx(0.2 + 0.1 * 2 ** (-1 / 30))
    assert logs[60] == pytest.approx(0.025, rel=1e-6)
    found = variance_at(starts, 0, 0.2)
    assert found[:2] == pytest.approx([0.0, 0.15])
    assert np.all(np.diff(found) >= 0.0)
    assert found[-1] == pytest.approx(0.2)


def persistent(n: int, phi: float, sd: float, seed: int) -> np.ndarray:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    level = np.zeros(n)
    for i in range(1, n):
        level[i] = phi * level[i - 1] + sd * math.sqrt(1 - phi * phi) * rng.standard_normal()
    return level


def test_trust_is_earned_by_levels_that_last_and_lost_by_noise() -> None:
    lasting, noise = LevelSeries(SPREAD_WEIGHTS), LevelSeries(SPREAD_WEIGHTS)
    for y in persistent(1_000, 0.9, 0.3, 1):
        feed(lasting, y)
    for y in persistent(1_000, 0.0, 0.3, 2):
        feed(noise, y)
    assert noise.trust < 0.1
    assert 0.8 < lasting.trust <= MOST_TRUST
    # And what will be seen of a level is what nowcasts have moved.
    assert look(noise).anticipated_variance < 0.01 * 0.3**2
    assert look(lasting).anticipated_variance > 0.05 * 0.3**2


@pytest.mark.parametrize("telling", [True, False])
def test_book_moves_the_nowcast_by_what_books_were_worth(telling: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    rng = np.random.default_rng(3)
    s = LevelSeries(SPREAD_WEIGHTS)
    logs, other = 0.4 * rng.standard_normal((2, 400))
    for i, y in enumerate(logs[:-1]):
        feed(s, y)
        s.see(math.exp(logs[i + 1] if telling else other[i]), 0.0, 0)
    moved = nowcast(s, 1.5 * math.exp(s.levels[0, MEAN])) - nowcast(s)
    assert (moved > 0.08) if telling else (abs(moved) < 0.03)


def test_slow_part_is_that_of_the_ten_minute_mean() -> None:
    s = LevelSeries(SPREAD_WEIGHTS)
    for _ in range(300):
        feed(s, 0.0)
    for _ in range(5):
        feed(s, 0.3)
    away = s.levels[0, SLOW] - s.levels[0, MEAN]
    assert 0.0 < look(s).slow == pytest.approx(SLOW_PART * s.trust * away)


def test_broken_minute_leaves_little_behind() -> None:
    s = LevelSeries(SPREAD_WEIGHTS)
    for y in persistent(200, 0.5, 0.2, 4):
        feed(s, y)
    before = look(s)
    feed(s, 8.0)
    for y in persistent(60, 0.5, 0.2, 5):
        feed(s, y)
    after = look(s)
    assert after.mean == pytest.approx(before.mean, abs=0.2)
    assert after.correction < 2 * before.correction
    assert after.anticipated_variance < 2 * before.anticipated_variance + 0.02


def test_missing_minutes_let_short_means_return() -> None:
    s = LevelSeries(SPREAD_WEIGHTS)
    for y in (*[0.0] * 100, *[0.3] * 5):
        feed(s, y)
    mean = s.levels[0, MEAN]
    now, later = (look(s, missed=missed) for missed in (0.0, 30.0))
    assert now.slow > 20 * later.slow > 0.0
    assert now.fast > 0.0
    assert abs(later.fast) < 0.05 * now.fast
    feed(s, mean, missed=30.0)
    assert s.levels[0, SLOW] == pytest.approx(mean, abs=0.02)


def test_stationary_levels_seldom_count_as_changed_and_lasting_shifts_do_within_minutes() -> None:
    """The change detector's keep: false alarms a day of 390 minutes, and its delay after a level has doubled."""
    alarms, delays = 0, []
    for seed in range(20):
        s = LevelSeries(SPREAD_WEIGHTS)
        levels = persistent(780, 0.8, 0.3, seed)
        for y in levels[:390]:
            feed(s, y, forget=2 ** (-1 / 60))
        alarms += s.changes
        found = s.changes
        for delay, y in enumerate(levels[390:]):
            feed(s, y + math.log(2.0), forget=2 ** (-1 / 60))
            if s.changes > found:
                delays.append(delay + 1)
                break
    assert alarms / 20 < 1.0
    assert len(delays) >= 17
    assert float(np.median(delays)) < 30


def curve(sizes: np.ndarray, e: float) -> LevelSeries:  # type: ignore[type-arg]
    s = LevelSeries(SPREAD_WEIGHTS)
    for _ in range(10):
        s.update(0.001 + e * sizes, 0.0, 0, 1.0, 0.99, 0.0, 1.0)
    return s


def test_levels_between_sizes_and_beyond_are_those_of_a_linear_curve() -> None:
    sizes = np.array([10.0, 30.0, 100.0, 320.0])
    s = curve(sizes, 1e-5)
    for size in (5.0, 10.0, 77.0, 320.0, 1_000.0):
        assert math.exp(level_at(sizes, s.levels, size)[0]) == pytest.approx(0.001 + 1e-5 * size, rel=1e-12)


def test_rebased_levels_keep_their_curve_and_know_less_the_farther_they_lie() -> None:
    sizes, to = np.array([10.0, 30.0, 100.0, 320.0]), np.array([20.0, 320.0, 640.0, 32_000.0])
    s = curve(sizes, 1e-5)
    levels = rebased(sizes, s.levels, to)
    assert np.exp(levels[:, MEAN]) == pytest.approx(0.001 + 1e-5 * to, rel=1e-9)
    info = s.information(0)
    assert levels[:, INFO] == pytest.approx([info, info, info / 4, info / 10_000])
    assert levels[3, INFO] < LEAST_INFO
    # What was only guessed makes way for the first minute that shows it.
    s.levels = levels
    s.update(np.array([1.0, 1.0, 1.0, 7.0]), 0.0, 0, 1.0, 0.99, 0.0, 1.0)
    assert s.levels[3, MEAN] == math.log(7.0)
    assert s.levels[1, MEAN] < math.log(0.1)


def test_saved_series_continues_bit_for_bit() -> None:
    one, two = LevelSeries(SPREAD_WEIGHTS), LevelSeries(SPREAD_WEIGHTS)
    for y in persistent(50, 0.9, 0.3, 6):
        feed(one, y, y + 0.1)
        one.see(math.exp(y), 0.0, 0)
    two.load(orjson.loads(orjson.dumps(one.save())))
    for y in persistent(50, 0.9, 0.3, 7):
        feed(one, y, y)
        feed(two, y, y)
        assert look(one, 0.9) == look(two, 0.9)
    assert one.save() == two.save()
