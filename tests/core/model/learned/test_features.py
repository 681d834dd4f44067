"""What a learned forecaster sees."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import orjson
import pytest

from impactd.core.base.settings import MINUTE_NS
from impactd.core.model.learned.features import FEATURES, FeatureState
from tests.core.model.minutes import NEW_YORK, Books, linear, minute


def make(row: int = 0) -> FeatureState:
    return FeatureState(row, NEW_YORK, MINUTE_NS)


def add(state: FeatureState, i: int, books: Books) -> None:
    """Add the i-th minute of the session with the levels that a model measures."""
    assert books.half_spread is not None
    excess = float(books.curve[5]) - books.half_spread
    state.update(minute(i), (math.log(books.half_spread), math.log(excess)), books)


def seen(state: FeatureState, i: int) -> dict[str, float]:
    """Return the features of the i-th minute of the session."""
    return dict(zip(FEATURES, state.of(np.array([minute(i)]))[0].tolist(), strict=True))


def test_before_any_minute_only_the_clock_is_known() -> None:
    found = seen(make(), 3)
    assert {name for name, value in found.items() if not math.isnan(value)} == {"since_open", "to_close"}
    assert (found["since_open"], found["to_close"]) == pytest.approx((3.5, 386.5))


def test_equal_minutes_deviate_from_nothing() -> None:
    state = make()
    for i in range(10):
        add(state, i, linear())
    found = seen(state, 12)
    assert [found[name] for name in FEATURES[:5]] == pytest.approx([0.0] * 5, abs=1e-12)
    assert found["imbalance_last"] == pytest.approx(math.log(1500.0 / 1200.0))
    assert math.isnan(found["volatility_fast"])
    assert found["ahead"] == 3


def test_wide_minute_shows_at_once_and_fades_from_the_fast_average() -> None:
    state = make()
    for i in range(60):
        add(state, i, linear())
    add(state, 60, linear(s=0.04))
    wide = seen(state, 61)
    assert wide["spread_last"] == pytest.approx(math.log(2.0), rel=0.1)
    assert 0.05 < wide["spread_fast"] < wide["spread_last"]
    assert wide["excess_last"] == pytest.approx(0.0, abs=1e-9)
    for i in range(61, 90):
        add(state, i, linear())
    after = seen(state, 91)
    assert [after["spread_last"], after["spread_fast"]] == pytest.approx([0.0, 0.0], abs=0.03)


def test_imbalance_is_of_the_side_that_is_walked() -> None:
    buy, sell = make(0), make(1)
    for state in (buy, sell):
        add(state, 0, linear())
    assert seen(buy, 1)["imbalance_last"] == -seen(sell, 1)["imbalance_last"] > 0.0


def test_rising_moves_of_the_mid_are_volatility() -> None:
    state = make()
    mids = 31.0 * np.exp(np.cumsum([0.0001 * (-1) ** i for i in range(60)] + [0.002 * (-1) ** i for i in range(5)]))
    for i, mid in enumerate(mids.tolist()):
        add(state, i, dataclasses.replace(linear(), mid=mid))
    assert seen(state, 66)["volatility_fast"] > 0.5


def test_minute_without_depth_is_missing_not_zero() -> None:
    state = make()
    add(state, 0, linear())
    add(state, 1, dataclasses.replace(linear(), depth=np.array([np.nan, np.nan])))
    found = seen(state, 2)
    assert math.isnan(found["depth_last"])
    assert math.isnan(found["imbalance_last"])
    assert found["imbalance_fast"] == pytest.approx(math.log(1.25))


def test_overnight_the_fast_average_is_forgotten_and_the_slow_one_is_not() -> None:
    state = make()
    for i in range(380, 390):
        add(state, i, linear(s=0.04))
    day = 24 * 60
    add(state, day, linear(s=0.02))
    found = seen(state, day + 1)
    assert found["spread_last"] == pytest.approx(found["spread_fast"], abs=1e-9)
    assert found["spread_last"] < -0.5


def test_saved_state_continues_to_the_last_bit() -> None:
    rng = np.random.default_rng(3)
    one = make()
    for i in range(40):
        add(one, i, linear(s=0.02 * math.exp(0.3 * rng.standard_normal())))
    two = make()
    two.load(orjson.loads(orjson.dumps(one.save())))
    for i in range(40, 60):
        for state in (one, two):
            add(state, i, linear(s=0.02 + 0.001 * (i % 7)))
    assert np.array_equal(one.of(np.array([minute(61)])), two.of(np.array([minute(61)])), equal_nan=True)
    assert len(orjson.dumps(one.save())) < 1_000


@pytest.mark.parametrize("saved", [None, [0, "of another layout"]], ids=["none", "other-layout"])
def test_load_of_nothing_usable_begins_again(saved: list[object] | None) -> None:
    state = make()
    state.load(saved)
    assert state.minute is None
