"""The saving so far: prices of measured curves, the even pace, and a band that holds what it says."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from impactd.core.tca.response import price
from impactd.shell.live.saving import FillPaid, Point, saving, twap_path
from tests.shell.live.messages import MINUTE, T0, plan

SIZES = [100.0, 200.0, 400.0]

#: A fill whose cost is not known: its minute is priced on the curve.
REPORTED = (FillPaid(T0, 1.0, None),)


def path(cum: list[float]) -> list[Point]:
    return [Point(T0 + k * MINUTE, 400.0, qty, 0.0, T0 + len(cum) * MINUTE) for k, qty in enumerate(cum)]


def test_twap_path_amended_quantity_bends_it_from_then_on() -> None:
    amended = [Point(T0 + 2 * MINUTE, 800.0, 0.0, 0.0, T0 + 4 * MINUTE)]
    knots = twap_path(orjson.loads(plan(1, 0)), amended)
    assert knots == [(T0, 0.0), (T0 + 2 * MINUTE, 200.0), (T0 + 4 * MINUTE, 800.0)]


@pytest.mark.parametrize(("quantity", "expected"), [(50, 0.01), (150, 0.015), (200, 0.02), (900, 0.02)])
def test_price_interpolates_what_was_measured(quantity: float, expected: float) -> None:
    assert price(([100, 200, 400], [0.01, 0.02, None]), quantity) == pytest.approx(expected)


def test_saving_of_equal_minutes_has_a_band_without_width() -> None:
    curves = {T0 + k * MINUTE: (SIZES, [0.01, 0.02, 0.04]) for k in range(4)}
    found = saving([(T0, 0.0), (T0 + 4 * MINUTE, 400.0)], path([0, 200, 200, 400, 400]), curves, REPORTED, MINUTE)
    # 2 x 200 at 0.02 against 4 x 100 at 0.01.
    assert (found.cost, found.twap_cost) == (pytest.approx(8.0), pytest.approx(4.0))
    assert found.saved == pytest.approx(-4.0)
    assert found.band == (pytest.approx(-4.0), pytest.approx(-4.0))


def test_saving_compares_the_same_quantity() -> None:
    curves = {T0 + k * MINUTE: (SIZES, [0.01, 0.02, 0.04]) for k in range(4)}
    # TWAP would have had 200 of 400 after two minutes; the order has had 300.
    found = saving([(T0, 0.0), (T0 + 4 * MINUTE, 400.0)], path([0, 200, 300]), curves, REPORTED, MINUTE)
    assert found.qty == 300.0
    assert (found.cost, found.twap_cost) == (pytest.approx(200 * 0.02 + 100 * 0.01), pytest.approx(300 * 0.015))


def test_saving_of_what_is_assumed_or_not_executed_is_unknown() -> None:
    curves = {T0 + k * MINUTE: (SIZES, [0.01, 0.02, 0.04]) for k in range(4)}
    twap = [(T0, 0.0), (T0 + 4 * MINUTE, 400.0)]
    assumed = saving(twap, path([0, 200, 200, 400, 400]), curves, (), MINUTE)
    assert (assumed.cost, assumed.saved, assumed.band) == (pytest.approx(8.0), None, None)
    nothing = saving(twap, path([0, 0, 0]), curves, REPORTED, MINUTE)
    assert (nothing.qty, nothing.cost, nothing.twap_cost, nothing.saved, nothing.band) == (0.0, None, None, None, None)
    assert nothing.minutes == 2


def test_saving_of_two_minutes_has_no_band() -> None:
    curves = {T0 + k * MINUTE: (SIZES, [0.01, 0.02, 0.04]) for k in range(2)}
    assert saving([(T0, 0.0), (T0 + 4 * MINUTE, 400.0)], path([0, 200, 200]), curves, REPORTED, MINUTE).band is None


def test_saving_of_an_order_without_a_plan_is_nothing() -> None:
    found = saving([], path([0]), {T0: (SIZES, [0.01, 0.02, 0.04])}, (), MINUTE)
    assert (found.cost, found.twap_cost, found.minutes, found.band) == (None, None, 0, None)


def test_saving_fill_without_a_mid_leaves_its_minute_to_the_curve() -> None:
    curves = {T0: (SIZES, [0.01, 0.02, 0.04])}
    fills = [FillPaid(T0, 100.0, 9.0), FillPaid(T0 + 1, 100.0, None)]
    found = saving([(T0, 0.0), (T0 + 4 * MINUTE, 400.0)], path([0, 200]), curves, fills, MINUTE)
    assert (found.cost, found.by_fills) == (pytest.approx(4.0), 0)


def test_saving_band_holds_what_moments_of_the_minutes_have_cost() -> None:
    """Either order meets a moment of each minute, lognormal about its level; so is what is measured of it."""
    rng = np.random.default_rng(7)
    n, rho, held = 60, 0.2, 0
    cum = [400.0 * (k / n) ** 2 for k in range(n + 1)]
    twap = [(T0, 0.0), (T0 + n * MINUTE, 400.0)]
    for _ in range(200):
        level = 0.01 * np.exp(np.cumsum(rng.normal(0.0, 0.01, n)))
        met, even, seen = (level * np.exp(rng.normal(0.0, rho, n)) for _ in range(3))
        curves = {T0 + k * MINUTE: ([1.0, 400.0], [float(g), float(g)]) for k, g in enumerate(seen)}
        found = saving(twap, path(cum), curves, REPORTED, MINUTE)
        truth = sum(400.0 / n * even) - sum(np.diff(cum) * met)
        assert found.band is not None
        held += found.band[0] <= truth <= found.band[1]
    # 95% of 200, and three standard errors.
    assert 180 <= held <= 199
