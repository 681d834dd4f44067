"""Shadow plans: planned as orders are, charged at what the minutes showed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.allocator.cost import schedule_cost
from impactd.core.allocator.optionality import anticipate
from impactd.core.allocator.optionality import plain as problem_of
from impactd.core.allocator.solvers.exact import cheapest
from impactd.core.base.settings import MINUTE_NS
from impactd.core.market.shadow import WHOLE, Shadow, Shadows, in_units, price_on
from impactd.core.model.curves import Curves, Float
from tests.core.model.minutes import SIZES, minute


def curves(n: int, beta: float = 1e-4, *, scaled: bool = True) -> Curves:
    return Curves(np.full(n, 0.02), np.full(n, beta), None, None, 1.0, prior=False, scaled=scaled, as_of=None)


def planned(n: int = 4, **terms: bool) -> Shadow:
    shadow = Shadow.plan(minute(0), 400.0, curves(n, **terms), (0.0, 0.2, 0.4), 1)
    assert shadow is not None
    return shadow


def charged(shadow: Shadow, intervals: Iterable[int], sizes: Float, g: Float) -> Shadow:
    """Return a shadow after some of its intervals."""
    held = Shadows(len(shadow.units))
    held.begin([(0, shadow)])
    for t in intervals:
        held.charge(minute(t), MINUTE_NS, sizes, g, 1)
    [(_, after)] = held.take(minute(0))
    return after


def charged_alone(shadow: Shadow, interval: int, sizes: Float, g: Float, child_slices: int) -> Shadow:
    """Return a shadow after an interval, in plain words: the reference."""
    units = int(shadow.units[interval]) if 0 <= interval < len(shadow.units) else 0
    shares = units * shadow.unit
    cost = shares * price_on(shares / child_slices, sizes, g)
    realised = shadow.realised_cost + cost if units else shadow.realised_cost
    return dataclasses.replace(shadow, realised_cost=realised, charged=shadow.charged + units)


def test_shadow_by_slices_is_charged_in_proportion_to_what_they_paid() -> None:
    shadow = charged(planned(), range(4), np.array([100.0, 200.0]), np.array([0.03, 0.03]))
    shadow = dataclasses.replace(shadow, paid=(10.0, 1.0, 20.0, 4.0))
    error = shadow.error()
    assert error is not None
    # Since then 30 shares for 6, equal ones 20 for 8: half as much a share.
    assert shadow.error_by_slices((40.0, 7.0, 40.0, 12.0)) == pytest.approx(error + math.log(0.5))
    assert shadow.error_by_slices((10.0, 1.0, 40.0, 12.0)) is None


@given(seed=st.integers(0, 2**32 - 1), child_slices=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_shadows_together_are_charged_and_saved_as_each_by_itself(seed: int, child_slices: int) -> None:
    """To the bit: the columns against one shadow after the other, through any number of saves."""
    rng, n = np.random.default_rng(seed), 12
    held, alone = Shadows(n), list[Shadow]()
    for t in range(40):
        sizes, g = np.cumsum(rng.uniform(1.0, 100.0, 6)), np.cumsum(rng.uniform(0.0, 0.1, 6))
        held.charge(minute(t), MINUTE_NS, sizes, g, child_slices)
        alone = [charged_alone(one, (minute(t) - one.start) // MINUTE_NS, sizes, g, child_slices) for one in alone]
        ended = [one for one in alone if one.start <= minute(t + 1 - n)]
        alone = alone[len(ended) :]
        assert [plain(one) for _, one in held.take(minute(t + 1 - n))] == [plain(one) for one in ended]
        if rng.random() < 0.4:
            units = rng.integers(0, WHOLE + 1, n).astype(np.uint8)
            begun = Shadow(minute(t + 1), rng.uniform(0.1, 9.0), units, (0.1, 0.2), 0.03, paid=(1.0,) * (seed % 2))
            held.begin([(int(rng.integers(3)), begun)])
            alone.append(begun)
        if rng.random() < 0.3:
            again, lasting, rest = Shadows(n), held.save_lasting(), orjson.dumps(held.save())
            if lasting is not None:
                again.load_lasting(orjson.loads(orjson.dumps(lasting)))
            again.load(orjson.loads(rest))
            assert (orjson.dumps(again.save_lasting()), orjson.dumps(again.save())) == (orjson.dumps(lasting), rest)
            held = again


def plain(shadow: Shadow) -> list[object]:
    """Return a shadow's values."""
    values = dataclasses.asdict(shadow)
    return [values.pop("units").tolist(), values]


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
    shadow = charged(planned(), range(4), SIZES, 0.02 + 1e-4 * SIZES)
    assert shadow.error() == pytest.approx(0.0, abs=1e-12)


def test_error_when_twice_as_expensive_is_log_two() -> None:
    shadow = charged(planned(), (0, 2, 3), SIZES, 2 * (0.02 + 1e-4 * SIZES))  # the second interval had no book
    assert shadow.error() == pytest.approx(math.log(2.0))


def test_error_when_half_was_not_charged_is_none() -> None:
    assert charged(planned(), (0,), SIZES, 0.02 + 1e-4 * SIZES).error() is None


def test_charge_of_an_interval_without_quantity_changes_nothing() -> None:
    steep = Curves(np.array([0.02, 5.0]), np.full(2, 1e-6), None, None, 1.0, prior=False, scaled=True, as_of=None)
    shadow = Shadow.plan(minute(0), 10.0, steep, (0.0,), 1)
    assert shadow is not None
    after = charged(shadow, (1,), SIZES, np.ones(SIZES.size))
    assert (after.realised_cost, after.charged) == (0.0, 0)


@pytest.mark.parametrize(("qty", "px"), [(5.0, 0.1), (15.0, 0.15), (40.0, 0.4), (60.0, 0.6)])
def test_price_at_continues_by_the_last_slope(qty: float, px: float) -> None:
    assert price_on(qty, np.array([10.0, 20.0, 40.0]), np.array([0.1, 0.2, 0.4])) == pytest.approx(px)


def test_price_at_one_size_is_its_price() -> None:
    assert price_on(9.0, np.array([1.0]), np.array([0.3])) == 0.3


@given(seed=st.integers(0, 2**32 - 1), child_slices=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_plan_is_that_of_its_problem_step_by_step(seed: int, child_slices: int) -> None:
    """To the bit: one compiled call against problems, solver and cost as orders have them."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    variance = rng.uniform(0.0, 0.5, n) * rng.choice([0.0, 1e-13, 1.0])
    beta, alpha, eta = (rng.uniform(0.0, 1e-3, n) * rng.choice([0.0, 1.0]) for _ in range(3))
    ahead = Curves(
        rng.uniform(0.001, 0.1, n), beta, alpha if seed % 2 else None, eta if seed % 3 else None,
        float(rng.choice([0.5, 1.0, 1.5])), prior=False, scaled=True, as_of=None, spread_variance=variance,
    )  # fmt: skip
    qty = float(rng.uniform(1.0, 1e5))
    expected = problem_of(ahead, child_slices=child_slices)
    x, _ = cheapest(anticipate(ahead, expected, qty, np.full(n, np.inf), child_slices=child_slices), qty)
    unit = float(np.max(x)) / WHOLE
    units = np.rint(x / unit).astype(np.uint8)
    cost = schedule_cost(expected, units * unit)
    found = in_units(ahead, qty, child_slices)
    assert (found[0].tolist(), found[1]) == (units.tolist(), unit)
    # A power is NumPy's there and the C library's here, which differ in the last digit.
    assert found[2] == (pytest.approx(cost, rel=1e-14) if ahead.eta is not None else cost)
    still, _ = cheapest(expected, qty)
    assert in_units(ahead, qty, child_slices, waits=False)[1] == float(np.max(still)) / WHOLE


@pytest.mark.parametrize("n", [1, 5, 20])
def test_curves_of_the_first_intervals_are_those_forecast_for_them(n: int) -> None:
    rng = np.random.default_rng(n)
    s, beta, variance = rng.uniform(0.01, 0.1, (3, 20))
    whole = Curves(s, beta, None, None, 1.0, prior=True, scaled=True, as_of=7, spread_variance=variance)
    first = whole.first(n)
    assert (first.half_spread.tolist(), first.alpha, first.as_of) == (s[:n].tolist(), None, 7)
    assert first.beta is not None
    assert first.spread_variance is not None
    assert (first.beta.tolist(), first.spread_variance.tolist()) == (beta[:n].tolist(), variance[:n].tolist())
