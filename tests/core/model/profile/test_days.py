"""The shape of the session that days show: theta, means, shrinkage, thin days, and what it moves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from impactd.core.base.session import DAY_NS, Session
from impactd.core.base.settings import MINUTE_NS, SessionRule
from impactd.core.model.profile.days import LEAST_DAYS, NOISE, PRIOR_DAYS, PRIOR_THETA, ShapedProfile
from impactd.core.model.profile.profile import Profile
from tests.core.model.test_forecaster import linear, make, minute, starts
from tests.core.saving import load_all, save_all

RULE = SessionRule(open_s=34_200, close_s=57_600)
OPEN = 34_200 * 1_000_000_000
GENERIC = Profile.generic(Session(RULE))


def hump(u: float) -> float:
    """Return a log level that is high in the middle of the day."""
    return math.sin(math.pi * u) - 2.0 / math.pi


def taught(
    days: int,
    level: float = 0.0,
    part: float = 1.0,
    noise: float = 0.0,
    given: Profile | None = None,
    scale: float = 1.0,
) -> ShapedProfile:
    """Return a profile that has seen days of `scale` humps, and the first minute of the day after."""
    rng = np.random.default_rng(2)
    shape = ShapedProfile(given or Profile.flat(), Session(RULE), MINUTE_NS, learn=True)
    last = None
    for day in range(days + 1):
        of_day = noise * np.repeat(rng.standard_normal(39), 10)
        for i in range(round(390 * part)) if day < days else (0,):
            ts, u = OPEN + day * DAY_NS + i * MINUTE_NS, (i + 0.5) / 390
            shape.reach(ts, last)
            shape.learn(ts, level + scale * hump(u) + of_day[i // 10], -scale * hump(u), 1.0)
            last = ts
    return shape


def between(shape: ShapedProfile, u: float, v: float) -> float:
    """Return by how much the log spread at part `v` of the session is above that at `u`."""
    at = [shape.at(OPEN + 99 * DAY_NS + round(w * 390) * MINUTE_NS)[0] for w in (u, v)]
    return at[1] - at[0]


def test_days_of_one_shape_lead_to_it_for_any_level() -> None:
    for level in (0.0, 5.0):
        shape = taught(30, level)
        assert not shape.is_prior
        for u in (0.2, 0.8):
            assert between(shape, u, 0.5) == pytest.approx(hump(0.5) - hump(u), rel=0.15)


def test_shrinkage_follows_the_symbol_s_own_noise() -> None:
    whole = hump(0.5) - hump(0.1)
    first = between(taught(1), 0.1, 0.5) / whole
    assert first == pytest.approx(1 / (1 + PRIOR_DAYS), rel=0.1)
    clean, noisy = (between(taught(15, noise=noise), 0.1, 0.5) / whole for noise in (0.0, 3.0))
    assert clean > 0.7
    assert noisy < 0.5


def test_noise_without_a_shape_teaches_next_to_none() -> None:
    few, many = (taught(days, noise=1.0, scale=0.0) for days in (4, 20))
    for shape in (few, many):
        values = [shape.at(OPEN + 99 * DAY_NS + 10 * i * MINUTE_NS)[0] for i in range(39)]
        assert float(np.std(values)) < 0.2  # of 1.0 a day and part


def test_half_a_day_teaches_nothing() -> None:
    shape = taught(3, part=0.4)
    assert shape.knots.tolist() == Profile.flat().knots.tolist()


def shown(days: int, theta: float) -> ShapedProfile:
    """Return a profile with the generic prior, after days whose shape is `theta` times the prior's."""
    shape = ShapedProfile(GENERIC, Session(RULE), MINUTE_NS, learn=True)
    one = ShapedProfile(GENERIC, Session(RULE), MINUTE_NS, learn=False)
    last = None
    for i in range(390 * days):
        ts = OPEN + i // 390 * DAY_NS + i % 390 * MINUTE_NS
        spread, excess = one.at(ts + MINUTE_NS // 2)
        shape.reach(ts, last)
        shape.learn(ts, theta * spread, theta * excess, 1.0)
        last = ts
    return shape


def test_generic_prior_holds_as_far_as_the_day_shows_it() -> None:
    given = between(ShapedProfile(GENERIC, Session(RULE), MINUTE_NS, learn=False), 0.0, 0.9)
    before = between(ShapedProfile(GENERIC, Session(RULE), MINUTE_NS, learn=True), 0.0, 0.9)
    assert before == pytest.approx(PRIOR_THETA[0] * given)
    assert abs(between(shown(1, 0.0), 0.0, 0.9)) < 0.25 * abs(before)
    assert between(shown(1, 1.6), 0.0, 0.9) == pytest.approx(1.6 * given, rel=0.2)
    # Days do not learn again what theta knows.
    assert between(shown(20, 0.0), 0.0, 0.9) == pytest.approx(0.0, abs=0.03)
    assert between(shown(20, 1.6), 0.0, 0.9) == pytest.approx(1.6 * given, rel=0.05)


def test_what_noise_resembles_of_a_generic_prior_counts_as_nothing() -> None:
    given = between(ShapedProfile(GENERIC, Session(RULE), MINUTE_NS, learn=False), 0.0, 0.9)
    found = []
    for seed in range(40):
        shape = ShapedProfile(GENERIC, Session(RULE), MINUTE_NS, learn=True)
        noise = np.sqrt(NOISE) * np.random.default_rng(seed).standard_normal(120)
        for i, level in enumerate(noise.tolist()):
            shape.learn(OPEN + i * MINUTE_NS, level, level, 1.0)
        found.append(between(shape, 0.0, 0.9) / given)
    start = PRIOR_THETA[0]
    # The regression by itself spreads as far as one standard error to both sides.
    assert float(np.median(found)) < 0.3 * start
    assert float(np.mean(np.array(found) > start)) < 0.25


def test_learned_profile_that_is_given_is_taken_as_it_is() -> None:
    known = Profile(GENERIC.knots, GENERIC.spread, GENERIC.excess, GENERIC.volume, np.full(len(GENERIC.knots), 5.0))
    flat = ShapedProfile(known, Session(RULE), MINUTE_NS, learn=True)
    given = between(flat, 0.0, 0.9)
    for i in range(390):
        assert flat.learn(OPEN + i * MINUTE_NS, 0.0, 0.0, 1.0) == (0.0, 0.0)
    assert between(flat, 0.0, 0.9) == given


def test_level_of_the_minute_stays_where_theta_moves() -> None:
    shape = ShapedProfile(GENERIC, Session(RULE), MINUTE_NS, learn=True)
    for i in range(60):
        ts = OPEN + i * MINUTE_NS
        before = shape.at(ts + MINUTE_NS // 2)
        moved = shape.learn(ts, -0.01 * i, 0.02 * i, 1.0)
        after = shape.at(ts + MINUTE_NS // 2)
        for was, by, now in zip(before, moved, after, strict=True):
            assert now + by == pytest.approx(was, abs=1e-12)


def test_saved_shape_continues_bit_for_bit() -> None:
    one = taught(3, noise=0.3, given=GENERIC)
    other = ShapedProfile(GENERIC, Session(RULE), MINUTE_NS, learn=True)
    load_all(other, [other.lasting], save_all(one, [one.lasting]))
    for shape in (one, other):
        shape.learn(OPEN + 3 * DAY_NS + MINUTE_NS, 0.3, 0.1, 0.7)
        shape.reach(OPEN + 4 * DAY_NS, OPEN + 3 * DAY_NS + MINUTE_NS)
    assert one.values.tolist() == other.values.tolist()
    assert save_all(one, [one.lasting]) == save_all(other, [other.lasting])
    assert LEAST_DAYS < PRIOR_DAYS


def test_side_plans_the_next_day_by_the_shape_of_those_before() -> None:
    model = make(profile=Profile.flat())
    per_day = DAY_NS // MINUTE_NS
    for day in range(12):
        for i in range(390):
            level = math.exp(hump((i + 0.5) / 390))
            model.update(minute(day * per_day + i), linear(0.02 * level, 1e-5 * level))
    first = 12 * per_day
    level = math.exp(hump(0.5 / 390))
    model.update(minute(first), linear(0.02 * level, 1e-5 * level))
    s = model.forecast(starts(first + 1, 389)).half_spread
    assert not model.prior
    assert math.log(s[194] / s[0]) > 0.6 * (hump(0.5) - hump(1.5 / 390))
