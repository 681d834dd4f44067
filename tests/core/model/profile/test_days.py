"""The shape of the session that days show: means, shrinkage, thin days, and what it moves."""

from __future__ import annotations

import math

import numpy as np
import orjson
import pytest

from impactd.core.base.session import DAY_NS, Session
from impactd.core.base.settings import MINUTE_NS, SessionRule
from impactd.core.model.profile.days import BINS, DayShape
from impactd.core.model.profile.profile import Profile, interpolate_all
from tests.core.model.test_forecaster import linear, make, minute, starts

RULE = SessionRule(open_s=34_200, close_s=57_600)
OPEN = 34_200 * 1_000_000_000


def hump(u: float) -> float:
    """Return a log level that is high in the middle of the day."""
    return math.sin(math.pi * u) - 2.0 / math.pi


def taught(days: int, level: float = 0.0, part: float = 1.0, noise: float = 0.0) -> DayShape:
    rng = np.random.default_rng(2)
    shape = DayShape(Profile.flat(), Session(RULE), 1.0)
    for day in range(days + 1):
        first = OPEN + day * DAY_NS
        if shape.begins(first):
            shape.end()
        for i in range(round(390 * part)) if day < days else ():
            u = (i + 0.5) / 390
            spread = level + hump(u) + noise * rng.standard_normal()
            shape.take(first + i * MINUTE_NS, u, spread, -hump(u), 1.0)
    return shape


def at(profile: Profile, u: float) -> float:
    return float(interpolate_all(profile.knots, profile.spread, np.array([u]))[0])


def test_days_of_one_shape_lead_to_it_whatever_their_level() -> None:
    for level in (0.0, 5.0):
        profile = taught(10, level).profile()
        part = 10 / 11  # nearly: older days count a little less
        assert not profile.is_prior
        for u in (0.2, 0.5, 0.8):
            assert at(profile, u) == pytest.approx(part * hump(u), abs=0.03)
        assert interpolate_all(profile.knots, profile.excess, np.array([0.5]))[0] == pytest.approx(
            -part * hump(0.5), abs=0.03
        )


def test_first_day_counts_half() -> None:
    assert at(taught(1).profile(), 0.5) == pytest.approx(0.5 * hump(0.5), abs=0.02)


def test_noise_is_averaged_over_days() -> None:
    few, many = (taught(days, noise=1.0).profile() for days in (2, 15))

    def error(profile: Profile, days: int) -> float:
        grid = (np.arange(BINS) + 0.5) / BINS
        return float(np.std([at(profile, u) * (days + 1) / days - hump(u) for u in grid]))

    assert error(many, 15) < 0.75 * error(few, 2)


def test_half_a_day_teaches_nothing() -> None:
    given = Profile.flat()
    shape = taught(3, part=0.4)
    assert shape.profile().knots.tolist() == given.knots.tolist()


def test_saved_shape_goes_on_bit_for_bit() -> None:
    one, other = taught(3, noise=0.3), DayShape(Profile.flat(), Session(RULE), 1.0)
    one.take(OPEN + 9 * DAY_NS, 0.3, 0.1, 0.2, 0.7)
    other.load(orjson.loads(orjson.dumps(one.save())))
    assert other.begins(OPEN + 10 * DAY_NS)
    assert one.end().spread.tolist() == other.end().spread.tolist()
    assert one.save() == other.save()


def test_side_plans_the_next_day_by_the_shape_of_those_before() -> None:
    model = make(profile=Profile.flat())
    per_day = DAY_NS // MINUTE_NS
    for day in range(6):
        for i in range(390):
            level = math.exp(hump((i + 0.5) / 390))
            model.update(minute(day * per_day + i), linear(0.02 * level, 1e-5 * level))
    first = 6 * per_day
    level = math.exp(hump(0.5 / 390))
    model.update(minute(first), linear(0.02 * level, 1e-5 * level))
    s = model.forecast(starts(first + 1, 389)).half_spread
    assert not model.prior
    assert math.log(s[194] / s[0]) == pytest.approx(6 / 7 * (hump(0.5) - hump(1.5 / 390)), rel=0.15)
    assert s[0] == pytest.approx(0.02 * level, rel=0.25)
