"""Volume forecasts: zeros, profile, forgetting, exact saving."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from impactd.core.base.settings import ModelSettings
from impactd.core.model.profile.profile import Profile
from impactd.core.model.volume import VolumeForecast
from tests.core.model.minutes import NEW_YORK, minute


def make(profile: Profile | None = None) -> VolumeForecast:
    return VolumeForecast(ModelSettings(), NEW_YORK, Profile.flat() if profile is None else profile)


def starts(first: int, n: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([minute(first + i) for i in range(n)], dtype=np.int64)


def test_forecast_before_any_trade_is_none() -> None:
    volume = make()
    volume.update(minute(0), None)
    assert volume.forecast(starts(1, 3)) is None


def test_forecast_zeros_count_and_alone_forecast_zero() -> None:
    volume = make()
    for i in range(10):
        volume.update(minute(i), 0.0)
    found = volume.forecast(starts(10, 2))
    assert found is not None
    assert found.tolist() == [0.0, 0.0]


def test_forecast_equals_batch_discounted_ratio() -> None:
    volume = make(Profile.generic(NEW_YORK))
    rng = np.random.default_rng(3)
    shape = make(Profile.generic(NEW_YORK))
    traded = rng.poisson(20, 60) * (rng.random(60) < 0.4)
    exposure = []
    for i, v in enumerate(traded):
        volume.update(minute(i), float(v))
        one = make(Profile.generic(NEW_YORK))
        one.update(minute(i), 1.0)
        unit = one.forecast(starts(i, 1))
        assert unit is not None
        assert unit[0] == pytest.approx(1.0)
        exposure.append(float(shape._shape(starts(i, 1))[0]))
    discount = 2.0 ** (-(59 - np.arange(60)) / ModelSettings().mean_half_life_minutes)
    level = float(discount @ traded / (discount @ np.array(exposure)))
    found = volume.forecast(starts(60, 330))
    assert found is not None
    np.testing.assert_allclose(found, level * shape._shape(starts(60, 330)), rtol=1e-12)


def test_forecast_rises_toward_the_close_by_the_generic_profile() -> None:
    volume = make(Profile.generic(NEW_YORK))
    for i in range(100):
        volume.update(minute(i), 100.0)
    found = volume.forecast(starts(100, 290))
    assert found is not None
    assert found[-1] > 2 * found[100]


def test_update_outside_session_is_left_out() -> None:
    volume = make()
    volume.update(minute(-1), 1e9)
    volume.update(minute(0), 10.0)
    volume.update(minute(390), 1e9)
    assert volume.forecast(starts(1, 1)) == pytest.approx([10.0])


def test_save_and_load_continues_bit_for_bit() -> None:
    one, two = make(), make()
    for i in range(7):
        one.update(minute(i), i / 3)
    two.load(orjson.loads(orjson.dumps(one.save())))
    for volume in (one, two):
        volume.update(minute(9), 0.1)
    assert one.save() == two.save()
