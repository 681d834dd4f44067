"""The damped log series: least squares, damping, fixed point, robustness."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.base.settings import ModelSettings
from impactd.core.model.series.series import DampedSeries


def series(gain: float = 0.5, huber: float = 2.5, *, adaptive: bool = False) -> DampedSeries:
    return DampedSeries(1, ModelSettings(gain=gain, huber=huber, reversion_half_life_minutes=5.0, adaptive=adaptive))


def feed(s: DampedSeries, y: float, weight: float = 1.0, forget: float = 0.97, missed: float = 0.0) -> None:
    s.update(np.array([math.exp(y)]), 0.0, weight, forget, missed, 1.0)


@given(
    steps=st.lists(st.tuples(st.floats(-3, 3), st.floats(0.01, 1), st.floats(0.5, 1)), min_size=1, max_size=60),
)
@settings(max_examples=60, deadline=None)
def test_mean_without_huber_equals_batch_weighted_least_squares(steps: list[tuple[float, float, float]]) -> None:
    s = series(huber=1e9)
    weights = np.zeros(0)
    for y, weight, forget in steps:
        feed(s, y, weight, forget)
        weights = np.append(weights * forget, weight)
    y_all = np.array([y for y, _, _ in steps])
    assert s.level(0)[0] == pytest.approx(float(weights @ y_all / weights.sum()), abs=1e-9)
    assert s.information(0) == pytest.approx(float(weights.sum()), rel=1e-12)


def test_equal_observations_leave_the_mean_to_the_last_bit() -> None:
    s = series()
    feed(s, -3.7)
    first = s.level(0)
    for _ in range(500):
        feed(s, -3.7)
        assert s.level(0) == first
    assert first[1] == 0.0


def test_one_surprise_after_long_calm_moves_the_forecast_by_the_gain() -> None:
    s = series(huber=1e9)
    for _ in range(2000):
        feed(s, 0.0, forget=1.0)
    feed(s, 0.2, forget=1.0)
    mean, deviation = s.level(0)
    assert mean == pytest.approx(0.2 / 2001, rel=1e-6)
    assert deviation == pytest.approx(0.5 * (0.2 - mean), rel=1e-9)


def test_sustained_shift_is_never_believed_at_once_but_in_the_end() -> None:
    s = series()
    for _ in range(200):
        feed(s, 0.0)
    path = []
    for _ in range(400):
        feed(s, 1.0)
        path.append(sum(s.level(0)))
    assert path[0] < 0.5
    assert np.all(np.diff(path[:30]) > 0)
    assert path[-1] == pytest.approx(1.0, abs=0.02)


def test_outlier_moves_the_mean_less_than_least_squares_would() -> None:
    robust, plain = series(), series(huber=1e9)
    for s in (robust, plain):
        for i in range(100):
            feed(s, 0.1 * (-1) ** i)
        feed(s, 8.0)
    assert abs(robust.level(0)[0]) < 0.15 * abs(plain.level(0)[0])


def test_thin_minute_counts_by_its_weight() -> None:
    full, thin = series(), series()
    for s, weight in ((full, 1.0), (thin, 0.05)):
        feed(s, 0.0)
        feed(s, 0.3, weight)
    assert 0 < sum(thin.level(0)) < 0.25 * sum(full.level(0))


def test_missing_minutes_let_the_deviation_fade() -> None:
    near, far = series(), series()
    for s, missed in ((near, 0.0), (far, 10.0)):
        for y in (0.0, 0.0, 0.3):
            feed(s, y)
        mean = s.level(0)[0]
        feed(s, mean, missed=missed)
    assert 0 <= far.level(0)[1] < near.level(0)[1]


def test_load_other_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="other settings"):
        DampedSeries(2, ModelSettings()).load(series().save())
