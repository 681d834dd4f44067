"""Variance of the mid's changes."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from impactd.core.base.settings import ModelSettings
from impactd.core.model.volatility import Volatility
from tests.core.model.minutes import minute


def test_sigma2_before_any_change_is_zero() -> None:
    volatility = Volatility(ModelSettings())
    volatility.update(minute(0), 31.0)
    volatility.update(minute(1), None)
    assert volatility.sigma2 == 0.0


def test_sigma2_equals_batch_discounted_mean_square() -> None:
    mids = 31 + np.cumsum(np.random.default_rng(5).normal(0, 0.02, 100))
    volatility = Volatility(ModelSettings())
    for i, mid in enumerate(mids.tolist()):
        volatility.update(minute(i), mid)
    discount = 2.0 ** (-np.arange(99)[::-1] / ModelSettings().mean_half_life_minutes)
    assert volatility.sigma2 == pytest.approx(float(discount @ np.diff(mids) ** 2 / discount.sum()), rel=1e-9)


def test_sigma2_change_over_missing_minutes_is_spread_over_them() -> None:
    volatility = Volatility(ModelSettings())
    volatility.update(minute(0), 31.0)
    volatility.update(minute(4), 31.2)
    assert volatility.sigma2 == pytest.approx(0.04 / 4)


def test_sigma2_change_over_a_night_is_left_out() -> None:
    volatility = Volatility(ModelSettings())
    for i, mid in ((0, 31.0), (1, 31.1), (1440, 35.0), (1441, 35.1)):
        volatility.update(minute(i), mid)
    assert volatility.sigma2 == pytest.approx(0.01)


def test_save_and_load_continues_bit_for_bit() -> None:
    one, two = Volatility(ModelSettings()), Volatility(ModelSettings())
    for i in range(9):
        one.update(minute(i), 31 + i / 7)
    two.load(orjson.loads(orjson.dumps(one.save())))
    for volatility in (one, two):
        volatility.update(minute(10), 30.3)
    assert one.save() == two.save()
