"""Curves and the band of a plan's cost."""

from __future__ import annotations

import math

import numpy as np
import pytest

from impactd.core.forecast import Curves, Forecaster, cost_band
from impactd.core.model.side import SideModel


def test_impact_sums_every_term() -> None:
    one = np.ones(2)
    curves = Curves(0.1 * one, 0.2 * one, 0.3 * one, 0.4 * one, 0.5, prior=False, scaled=True, as_of=None)
    assert curves.impact(np.array([0.0, 4.0])).tolist() == pytest.approx([0.1, 0.1 + 0.8 + 4.8 + 0.8])


def test_cost_band_is_eighty_percent_of_a_lognormal() -> None:
    low, high = cost_band(100.0, 0.04)
    inside = np.random.default_rng(2).normal(math.log(100), 0.2, 200_000)
    assert np.mean((inside > math.log(low)) & (inside < math.log(high))) == pytest.approx(0.8, abs=0.005)
    assert low * high == pytest.approx(100.0**2)


def test_cost_band_without_variance_is_the_cost() -> None:
    assert cost_band(12.5, 0.0) == (12.5, 12.5)


def test_side_model_is_a_forecaster() -> None:
    for name in (n for n in vars(Forecaster) if not n.startswith("_")):
        assert callable(getattr(SideModel, name))
