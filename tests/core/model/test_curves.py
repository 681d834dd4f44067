"""Curves, and who is a forecaster."""

from __future__ import annotations

import numpy as np
import pytest

from impactd.core.model.curves import Curves, Forecaster
from impactd.core.model.forecaster import SideModel


def test_impact_sums_every_term() -> None:
    one = np.ones(2)
    curves = Curves(0.1 * one, 0.2 * one, 0.3 * one, 0.4 * one, 0.5, prior=False, scaled=True, as_of=None)
    assert curves.impact(np.array([0.0, 4.0])).tolist() == pytest.approx([0.1, 0.1 + 0.8 + 4.8 + 0.8])


def test_side_model_is_a_forecaster() -> None:
    for name in (n for n in vars(Forecaster) if not n.startswith("_")):
        assert hasattr(SideModel, name)
