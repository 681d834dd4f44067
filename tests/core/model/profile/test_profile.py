"""Session profiles: the generic prior's shape, exact saving, refusals."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.base.session import Session
from impactd.core.base.settings import ModelSettings, SessionRule
from impactd.core.model.profile.profile import COLUMNS, Profile, from_columns, interpolate_all, relative_levels

HALF_DAY = Session(SessionRule(34_200, 34_200 + 210 * 60))
DAY = Session(SessionRule(34_200, 57_600))


def at(profile: Profile, name: str, minutes: list[float], session: Session = DAY) -> np.ndarray:  # type: ignore[type-arg]
    return relative_levels(profile.knots, getattr(profile, name), np.array(minutes) / session.length_minutes)


@pytest.mark.parametrize("session", [DAY, HALF_DAY, Session(SessionRule(0, 30 * 60))], ids=["day", "half", "short"])
def test_generic_shape_is_the_literatures(session: Session) -> None:
    profile = Profile.generic(session)
    assert np.all(np.diff(profile.spread) < 0)  # high after the open
    assert np.all(np.diff(profile.excess) < 0)  # depth grows all day
    assert profile.volume[0] > profile.volume.min() < profile.volume[-1]  # a U
    assert profile.is_prior


def test_generic_volume_first_and_last_half_hour_shares_are_plausible() -> None:
    profile = Profile.generic(DAY)
    level = at(profile, "volume", [m + 0.5 for m in range(390)])
    assert 0.08 < level[:30].sum() / level.sum() < 0.14
    assert 0.11 < level[-30:].sum() / level.sum() < 0.20


def test_generic_open_decays_in_minutes_for_any_session_length() -> None:
    for minutes in ([0.0, 10.0, 30.0, 50.0],):
        day, half = (
            at(Profile.generic(DAY), "spread", minutes),
            at(Profile.generic(HALF_DAY), "spread", minutes, HALF_DAY),
        )
        np.testing.assert_allclose(day, half, rtol=1e-3)
    assert day[0] == pytest.approx(2.0)


def test_generic_market_that_never_closes_is_flat() -> None:
    profile = Profile.generic(Session(SessionRule()))
    assert not profile.is_prior
    assert relative_levels(profile.knots, profile.excess, np.linspace(0, 1, 5)).tolist() == [1.0] * 5


def test_profile_of_settings_is_their_own_bit_for_bit() -> None:
    own = Profile.generic(DAY)
    back = Profile.of(ModelSettings(profile=own.columns()), DAY)
    assert [getattr(back, name).tobytes() for name in COLUMNS] == [getattr(own, name).tobytes() for name in COLUMNS]
    assert Profile.of(ModelSettings(prior_profile=False), DAY).columns() == Profile.flat().columns()


def test_profile_without_its_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="knots, spread, excess, volume, weight"):
        from_columns(((0.5,),))


def test_learned_profile_is_no_prior() -> None:
    generic = Profile.generic(DAY)
    learned = Profile(generic.knots, generic.spread, generic.excess, generic.volume, np.full(generic.knots.size, 2.0))
    assert not learned.is_prior


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20, unique=True), st.data())
@settings(max_examples=50, deadline=None)
def test_save_and_load_is_exact(knots: list[float], data: st.DataObject) -> None:
    values = st.lists(st.floats(-20, 20), min_size=len(knots), max_size=len(knots))
    arrays = [np.array(data.draw(values)) for _ in range(3)]
    profile = Profile(np.array(sorted(knots)), *arrays, np.abs(arrays[0]))
    back = Profile.load(orjson.loads(orjson.dumps(profile.save())))
    for name in ("knots", "spread", "excess", "volume", "weight"):
        assert getattr(back, name).tobytes() == getattr(profile, name).tobytes()


@given(st.floats(-1, 2))
def test_interpolate_equals_numpy(position: float) -> None:
    knots, values = np.array([0.1, 0.2, 0.7, 1.0]), np.array([3.0, -1.0, 4.0, 0.5])
    found = interpolate_all(knots, values, np.array([position]))[0]
    assert found == pytest.approx(np.interp(position, knots, values), abs=1e-12)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"layout": 2}, "layout"),
        ({"knots": [0.5, 0.2]}, "knots"),
        ({"knots": [0.5, 1.2]}, "knots"),
        ({"spread": [0.0]}, "spread"),
        ({"excess": "high"}, "excess"),
        ({"volume": [0.0, None]}, "volume"),
        ({"weight": [-1.0, 0.0]}, "weight"),
        ({"spread": [0.0, float("inf")]}, "spread"),
    ],
)
def test_load_bad_profile_names_the_field(change: dict[str, object], field: str) -> None:
    zeros = [0.0, 0.0]
    saved: dict[str, object] = {
        "layout": 1, "knots": [0.0, 1.0], "spread": zeros, "excess": zeros, "volume": zeros, "weight": zeros,
    }  # fmt: skip
    with pytest.raises(ValueError, match=f"profile.{field}"):
        Profile.load({**saved, **change})
