"""The live model of one side."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.base.session import Session
from impactd.core.base.settings import MINUTE_NS, ModelSettings, SessionRule
from impactd.core.base.topics import Side
from impactd.core.model.curves import BookCurve
from impactd.core.model.forecaster import REACH, SideModel
from impactd.core.model.kinds.registry import MODEL_KINDS
from impactd.core.model.profile.days import PRIOR_THETA, ShapedProfile
from impactd.core.model.profile.profile import Profile
from impactd.core.state.schema import StateMismatchError
from tests.core.model.minutes import NEW_YORK, SIZES, Books, linear, minute
from tests.core.saving import load_all, save_all


def make(kind: str = "linear", *, intercept: bool = True, profile: Profile | None = None) -> SideModel:
    model = ModelSettings(kind=kind, intercept=intercept)
    return SideModel("FROG", Side.BUY, model, NEW_YORK, Profile.flat() if profile is None else profile)


def starts(first: int, n: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([minute(first + i) for i in range(n)], dtype=np.int64)


def book(ts: int, g: np.ndarray) -> BookCurve:  # type: ignore[type-arg]
    return BookCurve(ts, SIZES, g, np.nan_to_num(g, nan=0.05), 0.02, 31.0, 1_000.0)


@pytest.mark.parametrize("kind", MODEL_KINDS.names())
def test_equal_minutes_flat_profile_forecast_is_constant_and_exact(kind: str) -> None:
    model = make(kind)
    seen = set()
    for i in range(60):
        model.update(minute(i), linear())
        curves = model.forecast(starts(i + 1, 300))
        seen.add(tuple(curves.impact(np.full(300, 150.0)).tolist()))
    assert len(seen) == 1
    (g,) = seen
    assert len(set(g)) == 1
    assert g[0] == pytest.approx(0.02 + 1e-5 * 150, rel=1e-9)


def test_generic_prior_shapes_a_forecast_as_far_as_minutes_bear_it_out() -> None:
    generic = Profile.generic(NEW_YORK)
    levels = ShapedProfile(generic, NEW_YORK, MINUTE_NS, learn=False)
    like, flat = make(profile=generic), make(profile=generic)
    for i in range(30):
        spread, excess = levels.at(minute(i) + MINUTE_NS // 2)
        like.update(minute(i), linear(0.02 * math.exp(spread), 1e-5 * math.exp(excess)))
        flat.update(minute(i), linear())
    falls = [float(np.ptp(np.log(model.forecast(starts(30, 360)).half_spread))) for model in (like, flat)]
    assert falls[0] > 2.5 * falls[1]


def test_forecast_far_ahead_returns_to_the_mean() -> None:
    model = make()
    for i in range(100):
        model.update(minute(i), linear())
    model.update(minute(100), linear(0.024, 1.2e-5))
    curves = model.forecast(starts(101, 600))
    assert curves.beta is not None
    for level, before, after in ((curves.half_spread, 0.02, 0.024), (curves.beta, 1e-5, 1.2e-5)):
        assert 0.98 * before < level[-1] < level[0] < after
        assert np.all(np.diff(level) <= 0)
        # Most of it within minutes, the rest with a half-life of half an hour.
        logs = np.log(level / level[-1])
        assert logs[5] < 0.5 * logs[0]
        assert logs[40] / logs[10] == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("kind", MODEL_KINDS.names())
def test_record_forecast_is_that_of_the_intervals_it_names(kind: str) -> None:
    model = make(kind)
    for i, half_spread in enumerate((0.02, 0.02, 0.03)):
        model.update(minute(i), linear(half_spread))
    record = model.record(minute(3))
    assert record is not None
    assert record.forecast is not None
    assert record.forecast.intervals[:3] == (5, 15, 30)
    curves = model.forecast(np.array([minute(3 + k) for k in record.forecast.intervals], dtype=np.int64))
    assert record.forecast.half_spread == tuple(curves.half_spread)
    for ours, theirs in zip(
        (record.forecast.beta, record.forecast.alpha, record.forecast.eta),
        (curves.beta, curves.alpha, curves.eta),
        strict=True,
    ):
        assert ours == (None if theirs is None else tuple(theirs))


def test_forecast_current_interval_counts_as_the_next() -> None:
    model = make()
    for i, s in enumerate((0.02, 0.02, 0.03)):
        model.update(minute(i), linear(s))
    late = np.array([minute(2) + 30_000_000_000, minute(3)], dtype=np.int64)
    assert model.forecast(late).half_spread.tolist() == [model.forecast(late).half_spread[0]] * 2


def test_update_censored_cells_are_ignored() -> None:
    clean, censored = make(), make()
    whole = linear()
    held = np.where(SIZES > 300, 0.9, 1.0)
    spoiled = np.where(SIZES > 300, np.nan, whole.curve)
    spoiled[-1] = 99.0
    clean.update(minute(0), whole)
    censored.update(minute(0), Books(spoiled, held=held))
    a, b = clean.record(minute(1)), censored.record(minute(1))
    assert a is not None
    assert b is not None
    assert (b.half_spread, b.beta) == pytest.approx((a.half_spread, a.beta), rel=1e-9)
    assert b.fitted_range == (20.0, 190.0)
    assert censored.fitted_to == 190.0
    assert b.n_eff == 1.0


@pytest.mark.parametrize("kind", MODEL_KINDS.names())
@pytest.mark.parametrize("intercept", [True, False])
def test_update_one_cell_uses_measured_spread_and_known_shape(kind: str, intercept: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    model = make(kind, intercept=intercept)
    for i in range(10):
        model.update(minute(i), linear())
    model.update(minute(10), Books(np.where(SIZES == 110.0, 0.0211, np.nan)))
    record = model.record(minute(11))
    assert record is not None
    if intercept:
        assert record.half_spread == pytest.approx(0.02, rel=1e-6)
    assert record.r2 is None
    assert all(math.isfinite(v) for v in record.se.values())


@pytest.mark.parametrize(
    "empty",
    [
        Books(np.full(8, np.nan), held=np.zeros(8)),
        Books(np.full(8, np.nan), covered_ns=0, half_spread=None, mid=None),
        Books(np.zeros(0), sizes=np.zeros(0)),
    ],
    ids=["no-cell", "no-book", "no-grid"],
)
def test_update_empty_minute_changes_nothing(empty: Books) -> None:
    model = make()
    model.update(minute(0), linear())
    before = model.save()
    model.update(minute(1), empty)
    assert model.save() == before


def test_update_outside_session_changes_nothing() -> None:
    model = make()
    model.update(minute(-5), linear())
    model.update(minute(390), linear())
    assert model.record(minute(391)) is None


def test_update_same_minute_twice_is_refused() -> None:
    model = make()
    model.update(minute(3), linear())
    with pytest.raises(ValueError, match="not later"):
        model.update(minute(3), linear())


@pytest.mark.parametrize("kind", MODEL_KINDS.names())
def test_update_sizes_inside_first_level_keep_coefficients_positive(kind: str) -> None:
    model = make(kind)
    for i in range(5):
        model.update(minute(i), Books(np.full(8, 0.02)))
    curves = model.forecast(starts(5, 10))
    terms = [t for t in (curves.beta, curves.alpha, curves.eta) if t is not None]
    assert sum(float(t[0]) for t in terms) > 0
    assert curves.impact(np.full(10, 150.0))[0] == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("half_spread", [0.0, 1e-300])
def test_update_locked_book_stays_finite(half_spread: float) -> None:
    model = make()
    for i in range(4):
        model.update(minute(i), Books(np.zeros(8), half_spread=half_spread))
    curves = model.forecast(starts(4, 3))
    assert curves.beta is not None
    assert np.all(np.isfinite(curves.half_spread) & (curves.half_spread > 0))
    assert np.all(np.isfinite(curves.beta) & (curves.beta > 0))


def test_power_exponent_with_least_loss_leads() -> None:
    model = make("power")
    for i in range(3):
        model.update(minute(i), Books(0.02 + 2e-4 * SIZES**0.7))
    record = model.record(minute(3))
    assert record is not None
    assert record.delta == 0.7
    assert record.eta == pytest.approx(2e-4, rel=1e-9)
    assert record.beta is None
    assert set(record.se) == {"half_spread", "eta"}


def test_quadratic_coefficients_are_recovered() -> None:
    model = make("quadratic")
    for i in range(3):
        model.update(minute(i), Books(0.02 + 1e-5 * SIZES + 2e-8 * SIZES**2))
    record = model.record(minute(3))
    assert record is not None
    assert (record.half_spread, record.beta, record.alpha) == pytest.approx((0.02, 1e-5, 2e-8), rel=1e-8)
    assert record.r2 == pytest.approx(1.0)


def test_record_states_prior_until_three_minutes_and_while_the_profile_is_generic() -> None:
    flat, generic = make(), make(profile=Profile.generic(NEW_YORK))
    flags = []
    for i in range(4):
        flat.update(minute(i), linear())
        generic.update(minute(i), linear())
        flags.append((flat.prior, generic.prior))
    assert flags == [(True, True), (True, True), (False, True), (False, True)]


def test_record_information_fades_with_open_minutes_only() -> None:
    model = make()
    for i in range(380, 390):
        model.update(minute(i), linear())
    close, next_open = model.record(minute(390)), model.record(minute(0) + 24 * 3600 * 10**9)
    assert close is not None
    assert next_open is not None
    assert next_open.n_eff == pytest.approx(close.n_eff, rel=0.05)
    later = model.record(minute(60) + 24 * 3600 * 10**9)
    assert later is not None
    assert later.n_eff == pytest.approx(next_open.n_eff / 2, rel=0.05)


def test_cold_without_book_has_unit_scale_and_prior_shape() -> None:
    model = make(profile=Profile.generic(NEW_YORK))
    curves = model.forecast(starts(0, 390))
    assert curves.prior
    assert not curves.scaled
    assert curves.as_of is None
    assert curves.beta is not None
    # Only as much of it as is counted on before a minute has confirmed it: nothing of the excess's.
    assert curves.half_spread[0] > 1.9 ** PRIOR_THETA[0] * curves.half_spread[200]
    assert curves.beta[0] == pytest.approx(curves.beta[200], rel=0.05)
    assert model.record(minute(1)) is None


@pytest.mark.parametrize("kind", MODEL_KINDS.names())
def test_cold_with_book_passes_through_the_book(kind: str) -> None:
    model = make(kind)
    g = linear().curve.copy()
    g[-2:] = np.nan
    curves = model.forecast(starts(0, 5), 0.0, book(minute(0), g))
    assert curves.scaled
    assert curves.prior
    for q in (20.0, 110.0, 340.0):
        np.testing.assert_allclose(curves.impact(np.full(5, q)), 0.02 + 1e-5 * q, rtol=1e-9)


def test_cold_with_book_that_holds_nothing_uses_the_lower_bound() -> None:
    curves = make().forecast(starts(0, 2), 64.0, book(minute(0), np.full(8, np.nan)))
    assert curves.size == 320.0
    assert curves.impact(np.full(2, 320.0))[0] == pytest.approx(0.05)


def test_book_of_before_the_session_prices_nothing() -> None:
    """ARL's last book before an open was five times as wide as those inside the session."""
    model = make()
    early = book(minute(0) - 1, linear().curve)
    assert not model.forecast(starts(0, 5), 0.0, early).scaled
    assert model.forecast(starts(0, 5), 0.0, dataclasses.replace(early, ts_event=minute(0))).scaled
    model.update(minute(0), linear())
    wide = dataclasses.replace(early, g=10.0 * early.g, half_spread=10.0 * early.half_spread)
    at = starts(1_440, 5)
    plain = model.forecast(at)
    overnight = model.forecast(at, 0.0, dataclasses.replace(wide, ts_event=minute(1_440) - 1))
    assert overnight.half_spread.tolist() == plain.half_spread.tolist()


STEP = st.tuples(
    st.integers(1, 4),  # minutes on
    st.floats(-2, 2),  # log half-spread
    st.floats(-2, 2),  # log slope
    st.integers(0, 8),  # cells held
    st.sampled_from([MINUTE_NS, MINUTE_NS // 7, 0]),
)


@given(
    steps=st.lists(STEP, min_size=2, max_size=12),
    cut=st.integers(0, 12),
    kind=st.sampled_from(MODEL_KINDS.names()),
    intercept=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_save_and_load_anywhere_continues_bit_for_bit(
    steps: list[tuple[int, float, float, int, int]],
    cut: int,
    kind: str,
    intercept: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    def run(restart: int | None) -> list[object]:
        model = make(kind, intercept=intercept, profile=Profile.generic(NEW_YORK))
        said: list[object] = []
        i = 0
        for k, (on, s, b, n, covered) in enumerate(steps):
            if k == restart:
                saved = save_all(model, [model.lasting])
                model = make(kind, intercept=intercept, profile=Profile.generic(NEW_YORK))
                load_all(model, [model.lasting], saved)
            i += on
            spread = 0.02 * math.exp(s)
            held = np.where(np.arange(8) < n, 1.0, 0.5)
            model.update(minute(i), Books(spread + 1e-5 * math.exp(b) * SIZES, held=held, covered_ns=covered))
            record = model.record(minute(i + 1))
            curves = model.forecast(starts(i + 1, 4))
            said.append((None if record is None else dataclasses.asdict(record), curves.half_spread.tobytes()))
        return [*said, save_all(model, [model.lasting])]

    assert run(min(cut, len(steps) - 1)) == run(None)


def test_load_of_another_kind_is_refused_with_remedy() -> None:
    with pytest.raises(StateMismatchError, match="start again from the inputs"):
        make("power").load(make("linear").save())


@pytest.mark.parametrize(
    ("change", "field"),
    [({"mean_half_life_minutes": 0.0}, "model.mean")],
)
def test_settings_out_of_range_are_named(change: dict[str, float], field: str) -> None:
    settings_ = dataclasses.replace(ModelSettings(), **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=field):
        SideModel("X", Side.SELL, settings_, Session(SessionRule()), Profile.flat())


def test_standing_book_equal_to_the_forecast_changes_nothing() -> None:
    model = make()
    for i in range(30):
        model.update(minute(i), linear())
        model.see(book(minute(i + 1), linear().curve))
    with_book = model.forecast(starts(30, 60), 0.0, book(minute(30), linear().curve))
    assert with_book.half_spread.tolist() == model.forecast(starts(30, 60)).half_spread.tolist()


def deep(size: float, level: float, n: int = 16) -> Books:
    """Return a minute of books whose ten levels hold `level` shares each, a cent apart, on a grid up to `size`."""
    sizes = size * np.geomspace(1 / 32, 1.0, n)
    k = np.minimum(sizes // level, 9.0)
    walked = (level * 0.01 * k * (k - 1) / 2 + (sizes - level * k) * 0.01 * k) / sizes
    held = np.where(sizes <= 10 * level, 1.0, 0.0)
    g = 0.01 + walked
    return Books(g, sizes, held, half_spread=0.01, mid=100.0)


@pytest.mark.parametrize("kind", MODEL_KINDS.names())
@pytest.mark.parametrize("thin", [1.0, 10.0, 100.0, 1_000.0, 1e6])
def test_thin_or_deep_first_minute_leaves_no_mark(kind: str, thin: float) -> None:
    """Its grid, its depth and its curve are another market's; the next minute's grid is that of the usual depth."""
    plain, marked = make(kind), make(kind)
    for i in range(90):
        usual = deep(75_000.0, 10_000.0)
        plain.update(minute(i), usual)
        marked.update(minute(i), deep(7.5 * thin, thin) if i == 0 else usual)
    ours, theirs = marked.forecast(starts(90, 60)), plain.forecast(starts(90, 60))
    for q in (5_000.0, 30_000.0, 100_000.0):
        assert ours.impact(np.full(60, q)) == pytest.approx(theirs.impact(np.full(60, q)), rel=0.01)
    for rate in (3_000.0, 30_000.0):
        one, two = (model.forecast(starts(90, 60), rate) for model in (marked, plain))
        assert one.impact(np.full(60, rate)) == pytest.approx(two.impact(np.full(60, rate)), rel=0.01)


def test_plans_of_a_rate_are_priced_where_they_trade() -> None:
    """A curve that bends: what `REACH` times the rate costs is met, at any rate and on any grid."""
    model = make()
    for i in range(20):
        model.update(minute(i), Books(0.02 + 2e-8 * SIZES**2))
    for rate in (15.0, 60.0, 200.0):
        at = model.forecast(starts(20, 5), rate).impact(np.full(5, REACH * rate))
        assert at == pytest.approx(np.full(5, 0.02 + 2e-8 * (REACH * rate) ** 2), rel=0.05)


def test_lasting_shift_is_counted_as_a_change_of_regime_and_noise_is_not() -> None:
    rng = np.random.default_rng(5)
    model = make()
    for i in range(300):
        model.update(minute(i), linear(0.02 * math.exp(0.2 * rng.standard_normal())))
    before = model.record(minute(300))
    assert before is not None
    assert (model.changes, before.regime) == (0, 0)
    for i in range(300, 320):
        model.update(minute(i), linear(0.06 * math.exp(0.2 * rng.standard_normal())))
    after = model.record(minute(320))
    assert after is not None
    assert after.regime == model.changes >= 1
    assert after.half_spread == pytest.approx(0.06, rel=0.25)
