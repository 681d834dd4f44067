"""The forecaster that stands around the default one."""

from __future__ import annotations

import numpy as np
import pytest

from impactd.core.base.settings import CoreSettings, ModelSettings
from impactd.core.base.topics import Side
from impactd.core.model.curves import Forecaster
from impactd.core.model.forecaster import SideModel
from impactd.core.model.kinds.registry import MODEL_KINDS
from impactd.core.model.learned.forecaster import MOST, TERMS, LearnedSide, around
from impactd.core.model.learned.predictor import HORIZONS
from impactd.core.model.learned.trained import TrainedFile
from impactd.core.model.profile.profile import Profile
from tests.core.model.minutes import NEW_YORK, linear, minute
from tests.core.model.networks import network_content
from tests.core.model.trees import blank_content, constant, content, split
from tests.core.saving import load_all, save_all

#: An interval 20 ahead or later: half as much again of spread, and twice the excess.
LATER = [split("ahead", 19.0, 0.0, 0.5), split("ahead", 19.0, 0.0, 1.0)]


def forests(tree: dict[str, list[object]], width: float) -> list[dict[str, object]]:
    return [{"start": start, "trees": [tree]} for start in (-width, 0.0, width)]


def pair(kind: str = "linear", file: bytes | None = None) -> tuple[SideModel, LearnedSide]:
    """Return a default forecaster, and a learned one around another that sees the same."""
    core = CoreSettings(model=ModelSettings(kind=kind))
    named = CoreSettings(model=ModelSettings(kind=kind, learned=TrainedFile.of(file or blank_content(core))))
    base, inner = (SideModel("FROG", Side.BUY, core.model, NEW_YORK, Profile.generic(NEW_YORK)) for _ in range(2))
    learned = around(inner, 0, named, NEW_YORK)
    assert isinstance(learned, LearnedSide)
    return base, learned


def later(kind: str = "linear") -> bytes:
    core = CoreSettings(model=ModelSettings(kind=kind))
    return content(core, forests(LATER[0], 0.1), forests(LATER[1], 0.1))


def starts(first: int, n: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([minute(first + i) for i in range(n)], dtype=np.int64)


def test_learned_side_is_a_forecaster() -> None:
    for name in (n for n in vars(Forecaster) if not n.startswith("_")):
        assert hasattr(LearnedSide, name)


def test_without_a_file_the_default_stands_alone() -> None:
    base = SideModel("FROG", Side.BUY, ModelSettings(), NEW_YORK, Profile.flat())
    assert around(base, 0, CoreSettings(), NEW_YORK) is base


@pytest.mark.parametrize("kind", MODEL_KINDS.names())
def test_neutral_trees_leave_levels_and_record(kind: str) -> None:
    base, learned = pair(kind)
    for i in range(20):
        for model in (base, learned):
            assert model.update(minute(i), linear(s=0.02 + 0.001 * (i % 5)))
    one, two = base.forecast(starts(20, 300)), learned.forecast(starts(20, 300))
    assert np.array_equal(one.impact(np.full(300, 150.0)), two.impact(np.full(300, 150.0)))
    assert learned.record(minute(20)) == base.record(minute(20))
    assert (learned.fitted_to, learned.prior) == (base.fitted_to, base.prior)


@pytest.mark.parametrize("kind", MODEL_KINDS.names())
def test_trees_move_spread_and_every_term_of_the_excess(kind: str) -> None:
    base, learned = pair(kind, later(kind))
    for i in range(20):
        for model in (base, learned):
            model.update(minute(i), linear())
    one, two = base.forecast(starts(20, 60)), learned.forecast(starts(20, 60))
    near, far = slice(0, 13), slice(19, 60)
    for name, factor in (("half_spread", np.exp(0.5)), *((term, np.exp(1.0)) for term in TERMS)):
        if (values := getattr(two, name)) is not None:
            plain = getattr(one, name)
            assert values[near] == pytest.approx(plain[near])
            assert values[far] == pytest.approx(plain[far] * factor)
            assert np.all(values[13:19] > plain[13:19]) or not plain.any()
    record, default = learned.record(minute(20)), base.record(minute(20))
    assert record is not None
    assert default is not None
    assert record.forecast is not None
    assert default.forecast is not None
    assert record.half_spread == pytest.approx(default.half_spread)
    by = np.array(record.forecast.half_spread) / default.forecast.half_spread
    assert by.tolist() == pytest.approx(
        [1.0 if k < 13 else np.exp(min(k + 1 - 13, 7) / 14) for k in record.forecast.intervals]
    )


def test_swing_is_what_a_later_choice_can_still_see() -> None:
    core = CoreSettings()
    wide = [{"start": s, "trees": [split("ahead", 19.0, 0.0, 3 * s)]} for s in (-0.2, 0.0, 0.2)]
    _, learned = pair(file=content(core, wide, [constant(s) for s in (-0.4, 0.0, 0.4)]))
    learned.update(minute(0), linear())
    curves = learned.forecast(starts(1, 60))
    assert curves.spread_variance is not None
    assert curves.spread_variance[0] == 0.0
    assert curves.spread_variance[-1] == pytest.approx(((1.6 / 2.5631) ** 2) - ((0.4 / 2.5631) ** 2), rel=1e-3)


def test_before_any_minute_the_default_speaks() -> None:
    base, learned = pair(file=later())
    one, two = base.forecast(starts(0, 10)), learned.forecast(starts(0, 10))
    assert not two.scaled
    assert np.array_equal(one.half_spread, two.half_spread)
    assert learned.record(minute(0)) is None


def test_forecast_is_moved_within_bounds_for_any_trees() -> None:
    far = [constant(s) for s in (90.0, 100.0, 200.0)]
    base, learned = pair(file=content(CoreSettings(), far, far))
    for model in (base, learned):
        model.update(minute(0), linear())
    ratio = learned.forecast(starts(1, 300)).half_spread / base.forecast(starts(1, 300)).half_spread
    assert ratio == pytest.approx(np.exp(MOST))


def test_minutes_later_the_trees_are_asked_of_what_is_ahead_now() -> None:
    _, learned = pair(file=later())
    learned.update(minute(0), linear())
    at = learned.forecast(starts(30, 1)).half_spread[0]
    learned.update(minute(25), linear())
    assert learned.forecast(starts(30, 1)).half_spread[0] < at
    assert learned.starts().tolist() == [minute(25 + h) for h in HORIZONS]


def test_network_s_state_continues_to_the_last_bit_and_not_from_that_of_trees() -> None:
    file = network_content(CoreSettings())
    (base, one), (_, two), (_, trees) = pair(file=file), pair(file=file), pair(file=later())
    for i in range(70):
        for model in (base, one, trees):
            model.update(minute(i), linear(s=0.02 + 0.002 * (i % 3)))
    load_all(two, [two.lasting], save_all(one, [one.lasting]))
    for i in range(70, 75):
        for model in (base, one, two):
            model.update(minute(i), linear(s=0.02 + 0.002 * (i % 3)))
        found = [model.forecast(starts(i + 1, 90)).impact(np.ones(90)) for model in (base, one, two)]
        assert np.array_equal(found[1], found[2])
        assert not np.allclose(found[0], found[1])
    _, three = pair(file=file)
    load_all(three, [three.lasting], save_all(trees, [trees.lasting]))
    assert three.features.minute is None


def test_saved_state_continues_to_the_last_bit_and_from_the_default_s_too() -> None:
    base, one = pair(file=later())
    for i in range(20):
        for model in (base, one):
            model.update(minute(i), linear(s=0.02 + 0.002 * (i % 3)))
    _, two = pair(file=later())
    load_all(two, [two.lasting], save_all(one, [one.lasting]))
    _, three = pair(file=later())
    load_all(three, [three.lasting], save_all(base, [base.lasting]))
    assert three.features.minute is None
    assert np.array_equal(three.forecast(starts(20, 90)).half_spread, base.forecast(starts(20, 90)).half_spread)
    plain, _ = pair()
    load_all(plain, [plain.lasting], save_all(one, [one.lasting]))
    assert np.array_equal(plain.forecast(starts(20, 9)).half_spread, base.forecast(starts(20, 9)).half_spread)
    for model in (one, two, three):
        model.update(minute(20), linear())
    assert np.array_equal(
        one.forecast(starts(21, 90)).impact(np.ones(90)), two.forecast(starts(21, 90)).impact(np.ones(90))
    )
    assert three.features.minute == minute(20)
