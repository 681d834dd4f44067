"""Trained files: read, refused, and evaluated as scikit-learn does."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import orjson
import pytest

from impactd.core.base.settings import BookSettings, CoreSettings, ModelSettings, SessionRule
from impactd.core.engine import Engine
from impactd.core.model.learned.features import FEATURES
from impactd.core.model.learned.trained import LearnedFileError, TrainedFile, base_hash, learned_of
from impactd.core.model.learned.trees import tree_sums
from impactd.core.state.schema import settings_from, settings_hash
from impactd.core.state.settings_change import changes, plain
from tests.core.model.trees import blank_content, blank_file, constant, content, split, trees_of

CORE = CoreSettings()
NONE = [constant(0.0)] * 3


def with_file(file: str) -> CoreSettings:
    return CoreSettings(model=ModelSettings(learned=file))


def rows(**values: float) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([[values.get(name, np.nan) for name in FEATURES]])


@pytest.mark.parametrize("missing_left", [False, True])
def test_one_split_at_the_threshold_and_missing(missing_left: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    tree = split("spread_last", 0.25, -1.0, 2.0, missing_left=missing_left)
    model = trees_of(content(CORE, [constant(0.0), {"start": 0.5, "trees": [tree]}, constant(9.0)], NONE))
    said = [model.quantiles(rows(spread_last=value))[0, 0, 1] for value in (0.25, np.nextafter(0.25, 1), np.nan)]
    assert said == [-0.5, 2.5, -0.5 if missing_left else 2.5]


def test_threshold_beyond_all_splits_what_is_known_from_what_is_missing() -> None:
    tree = split("depth_last", None, 1.0, 2.0)
    model = trees_of(content(CORE, [constant(0.0), {"start": 0.0, "trees": [tree]}, constant(9.0)], NONE))
    assert [model.quantiles(rows(depth_last=value))[0, 0, 1] for value in (1e300, np.nan)] == [1.0, 2.0]


def test_quantiles_that_cross_give_way_to_the_median() -> None:
    model = trees_of(content(CORE, [constant(0.3), constant(0.1), constant(-0.2)], NONE))
    assert model.quantiles(rows()).tolist() == [[[0.1, 0.1, 0.1], [0.0, 0.0, 0.0]]]


@pytest.mark.slow
def test_trees_equal_scikit_learn_to_the_last_bit() -> None:
    fit = pytest.importorskip("impactd.research.learned.fit")
    rng = np.random.default_rng(5)
    x = rng.standard_normal((4_000, len(FEATURES)))
    x[rng.random(x.shape) < 0.2] = np.nan
    y = np.nan_to_num(x[:, 0]) * np.nan_to_num(x[:, 3]) + rng.standard_normal(4_000)
    boosters = [fit.grown(x, y, quantile, 0) for quantile in (0.1, 0.5, 0.9)]
    model = trees_of(content(CORE, [fit.exported(booster) for booster in boosters], NONE))
    fresh = rng.standard_normal((2_000, len(FEATURES)))
    fresh[rng.random(fresh.shape) < 0.4] = np.nan
    # What a split's threshold is compared with may be equal to it.
    fresh[:200] = x[:200]
    said = tree_sums(fresh, model.start, model.roots, model.forest, model.nodes, model.reals)
    for k, booster in enumerate(boosters):
        assert np.array_equal(said[:, k], booster.predict(fresh))


def damaged(change: dict[str, Any], tree: dict[str, Any] | None = None) -> bytes:
    """Return a good file with fields changed, of the file or of its one tree."""
    good = orjson.loads(blank_content(CORE)) | change
    if tree is not None:
        one = split("ahead", 1.0, 0.0, 0.0) | tree
        good["series"]["excess"][2] = {"start": 0.0, "trees": [one]}
    return orjson.dumps(good)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (b"", "is not JSON"),
        (b"[]", "is not of format"),
        (damaged({"format": "impactd.learned/0"}), "is not of format"),
        (damaged({"features": ["spread_last"]}), "features: are not those of this release"),
        (damaged({"horizons": [1]}), "horizons: are not those of this release"),
        (damaged({"series": {"spread": NONE}}), "is damaged (KeyError"),
        (damaged({"series": {"spread": NONE, "excess": NONE[:2]}}), "needs 3 forests"),
        (damaged({}, {"left": [0, 0, 0]}), "does not use these features"),
        (damaged({}, {"right": [3, 0, 0]}), "does not use these features"),
        (damaged({}, {"feature": [len(FEATURES), -1, -1]}), "does not use these features"),
        (damaged({}, {"feature": [0, -1]}), "is damaged"),
        (damaged({}, {"value": [0.0, None, 0.0]}), "not all values are finite"),
        (
            damaged({}, {"feature": [], "threshold": [], "left": [], "right": [], "missing_left": [], "value": []}),
            "tree",
        ),
    ],
)
def test_file_that_is_none_is_refused(file: bytes, says: str) -> None:
    with pytest.raises(LearnedFileError) as caught:
        TrainedFile.of(file)
    assert says in str(caught.value)
    assert "impactd train" in str(caught.value)


def test_file_in_settings_is_its_hash() -> None:
    file = blank_file(CORE)
    core = with_file(file)
    assert plain(core)["model"]["learned"] == str(file)
    assert settings_hash(core) == settings_hash(with_file(str(file))) != settings_hash(CORE)
    assert changes(plain(CORE), core) == {"model.learned": ("", str(file))}


@pytest.mark.parametrize("again", [copy.deepcopy, lambda item: pickle.loads(pickle.dumps(item))])  # noqa: S301  (ours)
def test_settings_that_are_copied_or_sent_keep_their_trees(again: Any) -> None:
    core = again(with_file(blank_file(CORE)))
    assert learned_of(core) is not None


def test_settings_of_a_journal_know_the_hash_alone_and_are_refused() -> None:
    core = settings_from(plain(with_file(blank_file(CORE))))
    with pytest.raises(ValueError, match=r"sha256:.* not loaded; name that file in model\.learned"):
        Engine(core)


@pytest.mark.parametrize(
    ("core", "says"),
    [
        (CoreSettings(books=BookSettings(interval_ns=30_000_000_000)), "intervals of 60 s, not 30 s"),
        (CoreSettings(session=SessionRule(34_200, 57_600)), r"sessions from 00:00 to 24:00; set \[session\]"),
        (CoreSettings(model=ModelSettings(intercept=False)), "needs model.intercept"),
        (CoreSettings(model=ModelSettings(mean_half_life_minutes=30.0)), "train it again under these"),
    ],
)
def test_file_of_other_settings_is_refused(core: CoreSettings, says: str) -> None:
    named = dataclasses.replace(core, model=dataclasses.replace(core.model, learned=blank_file(CORE)))
    with pytest.raises(ValueError, match=says):
        learned_of(named)


def test_base_is_all_that_the_default_forecast_depends_on() -> None:
    model = ModelSettings()
    same = dataclasses.replace(model, learned="sha256:x", fill_bias_limit=0.5)
    assert base_hash(same) == base_hash(model)
    for name in (item.name for item in dataclasses.fields(ModelSettings)):
        value = getattr(model, name)
        other = (
            not value if isinstance(value, bool) else value + (type(value)() if isinstance(value, str | tuple) else 1)
        )
        if isinstance(value, str):
            other = f"{value}x"
        if isinstance(value, tuple):
            other = (*value, 7.0)
        expected = name in {"learned", "learned_use", "fill_bias_limit", "guard"}
        assert (base_hash(dataclasses.replace(model, **{name: other})) == base_hash(model)) is expected, name
