"""Shadow plans: planned as orders are, charged at what the minutes showed."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import orjson
import pytest

from impactd.core.market.shadow import WHOLE, Shadow, price_on
from impactd.core.model.curves import Curves
from tests.core.model.minutes import SIZES, minute


def curves(n: int, beta: float = 1e-4, *, scaled: bool = True) -> Curves:
    return Curves(np.full(n, 0.02), np.full(n, beta), None, None, 1.0, prior=False, scaled=scaled, as_of=None)


def planned(n: int = 4, **terms: bool) -> Shadow:
    shadow = Shadow.plan(minute(0), 400.0, curves(n, **terms), (0.0, 0.2, 0.4), 1)
    assert shadow is not None
    return shadow


def test_shadow_by_slices_is_charged_in_proportion_to_what_they_paid() -> None:
    shadow = planned()
    for i in range(4):
        shadow = shadow.charge(i, np.array([100.0, 200.0]), np.array([0.03, 0.03]), 1)
    shadow = dataclasses.replace(shadow, paid=(10.0, 1.0, 20.0, 4.0))
    error = shadow.error()
    assert error is not None
    # Since then 30 shares for 6, equal ones 20 for 8: half as much a share.
    assert shadow.error_by_slices((40.0, 7.0, 40.0, 12.0)) == pytest.approx(error + math.log(0.5))
    assert shadow.error_by_slices((10.0, 1.0, 40.0, 12.0)) is None
    assert Shadow.load(orjson.loads(orjson.dumps(shadow.save()))).paid == shadow.paid


def test_plan_on_equal_curves_is_even() -> None:
    shadow = planned()
    assert shadow.units.tolist() == [WHOLE] * 4
    assert shadow.unit * WHOLE == pytest.approx(100.0)
    assert shadow.expected_px == pytest.approx(0.02 + 1e-4 * 100)


def test_plan_without_a_price_is_none() -> None:
    assert Shadow.plan(minute(0), 400.0, curves(4, scaled=False), (0.0,), 1) is None


def test_plan_with_slices_expects_each_slice_its_own_walk() -> None:
    shadow = Shadow.plan(minute(0), 400.0, curves(4), (0.0,), 2)
    assert shadow is not None
    assert shadow.expected_px == pytest.approx(0.02 + 1e-4 * 50)


def test_error_when_charged_as_expected_is_zero() -> None:
    shadow = planned()
    for t in range(4):
        shadow = shadow.charge(t, SIZES, 0.02 + 1e-4 * SIZES, 1)
    assert shadow.error() == pytest.approx(0.0, abs=1e-12)


def test_error_when_twice_as_expensive_is_log_two() -> None:
    shadow = planned()
    for t in (0, 2, 3):  # the second interval had no book
        shadow = shadow.charge(t, SIZES, 2 * (0.02 + 1e-4 * SIZES), 1)
    assert shadow.error() == pytest.approx(math.log(2.0))


def test_error_when_half_was_not_charged_is_none() -> None:
    assert planned().charge(0, SIZES, 0.02 + 1e-4 * SIZES, 1).error() is None


def test_charge_of_an_interval_without_quantity_changes_nothing() -> None:
    steep = Curves(np.array([0.02, 5.0]), np.full(2, 1e-6), None, None, 1.0, prior=False, scaled=True, as_of=None)
    shadow = Shadow.plan(minute(0), 10.0, steep, (0.0,), 1)
    assert shadow is not None
    assert shadow.charge(1, SIZES, np.ones(SIZES.size), 1) is shadow


def test_saved_shadow_loads_bit_for_bit() -> None:
    shadow = planned().charge(0, SIZES, 0.021 + 1e-4 * SIZES, 1)
    again = Shadow.load(orjson.loads(orjson.dumps(shadow.save())))
    assert again.save() == shadow.save()
    assert again.charge(1, SIZES, SIZES, 1).save() == shadow.charge(1, SIZES, SIZES, 1).save()


@pytest.mark.parametrize(("qty", "px"), [(5.0, 0.1), (15.0, 0.15), (40.0, 0.4), (60.0, 0.6)])
def test_price_at_continues_by_the_last_slope(qty: float, px: float) -> None:
    assert price_on(qty, np.array([10.0, 20.0, 40.0]), np.array([0.1, 0.2, 0.4])) == pytest.approx(px)


def test_price_at_one_size_is_its_price() -> None:
    assert price_on(9.0, np.array([1.0]), np.array([0.3])) == 0.3
