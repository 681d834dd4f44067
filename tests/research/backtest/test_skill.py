"""Forecasts against what came, and bands against costs, where the answer is known."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from impactd.research.backtest.capture import Priced
from impactd.research.backtest.evaluate import Outcome
from impactd.research.backtest.skill import LEVELS, calibration, skill
from impactd.research.backtest.study import DayStudy
from tests.research.backtest.made import SETTINGS, rows_of, tape_of


def study_of(half_spreads: list[float]) -> DayStudy:
    tape = tape_of(rows_of(half_spreads, [100.0] * len(half_spreads)))
    return DayStudy.blank(tape.days[0], SETTINGS)


def wave() -> list[float]:
    return [round(0.02 + 0.01 * float(np.sin(t / 5.0)), 6) for t in range(60)]


def by_name(rows: list[dict[str, Any]], horizon: int) -> dict[str, dict[str, Any]]:
    return {row["forecast"]: row for row in rows if row["horizon"] == horizon}


def test_realised_impact_is_that_of_the_reference_size() -> None:
    study = study_of(wave())
    assert study.reference == pytest.approx(80.0)  # a tenth of eight levels of a hundred
    assert study.realised[0] == pytest.approx(np.array(wave()))


def test_perfect_forecast_has_no_error_and_ranks_all() -> None:
    study = study_of(wave())
    study.impact[:] = study.realised[:, None, :]
    for horizon in (1, 5, 15, 30):
        row = by_name(skill([study]), horizon)["engine"]
        assert row["log_error"] == pytest.approx(0.0, abs=1e-12)
        assert row["rank_correlation"] == pytest.approx(1.0)
        assert row["n"] == 2 * (60 - horizon)


def test_forecast_twice_too_high_is_a_bias() -> None:
    study = study_of(wave())
    study.impact[:] = 2.0 * study.realised[:, None, :]
    row = by_name(skill([study]), 1)["engine"]
    assert row["log_bias"] == pytest.approx(np.log(2.0))
    assert row["rank_correlation"] == pytest.approx(1.0)


def test_persistence_and_mean_look_back_only() -> None:
    study = study_of([0.02] * 30 + [0.04] * 30)
    study.impact[:] = 0.03
    rows = by_name(skill([study]), 1)
    # One of 59 intervals was not like the one before.
    assert rows["persistence"]["log_error"] == pytest.approx(np.log(2.0) / 59)
    means = [np.mean([0.02] * min(t, 30) + [0.04] * max(t - 30, 0)) for t in range(1, 60)]
    came = [0.02] * 29 + [0.04] * 30
    assert rows["expanding_mean"]["log_bias"] == pytest.approx(np.mean(np.log(np.array(means) / came)))
    assert rows["engine"]["rank_correlation"] is None


def outcome(cost: float, expected: float, band: tuple[float, float], outer: tuple[float, float] | None) -> Outcome:
    plan = dataclasses.make_dataclass("Plan", ["cost_band", "cost_band_95", "expected_cost"])(band, outer, expected)
    priced = Priced(
        "FROG", "buy", "x", ("windows",), 0, 0, 60, 1.0, 1.0, {"engine": 2.0 * cost}, {"engine": 0.0}, {"engine": 0.0}
    )
    return Outcome(priced, {}, {}, {}, {}, plan, plan, cost)  # type: ignore[arg-type]  # the part of a plan that is looked at


def test_band_coverage_is_the_share_inside() -> None:
    rng = np.random.default_rng(0)
    costs = 100.0 * np.exp(0.2 * rng.standard_normal(4_000))
    band, outer = (100 * np.exp(-0.2563), 100 * np.exp(0.2563)), (100 * np.exp(-0.392), 100 * np.exp(0.392))
    (row,) = calibration([outcome(float(c), 100.0, band, outer) for c in costs], ["windows", "range"])
    planned = row["as_planned"]
    assert row["orders"] == 4_000
    assert planned["band80"] == pytest.approx(0.80, abs=0.02)
    assert planned["band95"] == pytest.approx(0.95, abs=0.01)
    assert planned["below80"] + planned["above80"] + planned["band80"] == pytest.approx(1.0)
    assert planned["levels"] == pytest.approx(list(LEVELS), abs=0.03)
    assert row["as_traded"]["log_ratio"] == pytest.approx(np.log(2.0), abs=0.02)


def test_calibration_without_bands_is_nothing() -> None:
    assert calibration([], ["windows"]) == []
