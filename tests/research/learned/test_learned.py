"""Training on short days of which everything is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import orjson
import pytest

from impactd.core.base.settings import CoreSettings
from impactd.core.model.learned.features import FEATURES
from impactd.core.model.learned.predictor import HORIZONS
from impactd.core.model.learned.trained import TrainedFile
from impactd.research.backtest.days import SymbolTape
from impactd.research.backtest.run import run
from impactd.research.backtest.windows import Question
from impactd.research.learned.assess import EMBARGO, folds, pinball, scores
from impactd.research.learned.fit import fit
from impactd.research.learned.run import Training, train
from impactd.research.learned.samples import Samples, samples_of, with_learned
from tests.core.builders import T0, M
from tests.core.model.trees import trees_of
from tests.core.rows import Row
from tests.research.backtest.made import QUESTION, SETTINGS, ladder, tape_of
from tests.research.errors import fails

DAY = 24 * 60 * M
SEED = 0


def day_rows(seed: int, day: int, after: float = 1.0) -> list[Row]:
    """Return an hour of books around a noisy level, in blocks of ten minutes.

    In half of the blocks, by chance, bids are deep, and in the block that follows spread is `after` times as wide: no
    profile of the day can know that, and no level before it.
    """
    rng = np.random.default_rng([seed, day])
    warned = rng.random(6) < 0.5
    rows = []
    for t in range(60):
        signal, wide = warned[t // 10], t >= 10 and warned[t // 10 - 1]
        half = 0.05 * (after if wide else 1.0) * np.exp(0.1 * rng.standard_normal())
        size = float(round(100 * np.exp(0.1 * rng.standard_normal())))
        row = ladder(T0 + day * DAY + t * M, round(half, 4), size=size)
        if signal:
            row = dataclasses.replace(row, bids=tuple((px, 5 * qty) for px, qty in row.bids))
        rows.append(row)
    return rows


def days_tape(seed: int, after: float, days: Sequence[int] = (0, 1, 4, 5, 6)) -> SymbolTape:
    return tape_of([row for day in days for row in day_rows(seed, day, after)])


@pytest.fixture(scope="module")
def planted() -> SymbolTape:
    """Days on which deep bids tell that spread is about to be four times as wide."""
    return days_tape(1, 4.0)


@pytest.fixture(scope="module")
def seen(planted: SymbolTape) -> list[Samples]:
    return samples_of(planted, SETTINGS)


@pytest.fixture(scope="module")
def trained(planted: SymbolTape) -> Training:
    return train([planted], SETTINGS, SEED, split="each", question=None)


def test_samples_have_features_and_outcomes(seen: list[Samples]) -> None:
    assert [(part.day, part.side) for part in seen[:2]] == [("2025-04-03", "buy"), ("2025-04-03", "sell")]
    part = seen[0]
    assert set(part.horizon.tolist()) == {h for h in HORIZONS if h <= 59}
    made = part.target - (part.horizon - 1) * M
    assert made.min() == T0 + M
    assert part.target.max() == T0 + 59 * M
    # The latest minute of one row is what came of another.
    came = {int(target): row for target, row in zip(part.target, part.came[:, 0], strict=True)}
    for at, last in zip(made.tolist(), part.last[:, 0].tolist(), strict=True):
        assert came.get(at - M, last) == last


def test_samples_are_blind_to_what_comes_later(planted: SymbolTape) -> None:
    rows = day_rows(1, 0, 3.0)
    other = [*rows[:40], *(ladder(T0 + t * M, 0.5, size=7.0) for t in range(40, 60))]
    one, two = (samples_of(tape_of(each), SETTINGS) for each in (rows, other))
    for a, b in zip(one, two, strict=True):
        before_a, before_b = (part.target - (part.horizon - 1) * M <= T0 + 40 * M for part in (a, b))
        for name in ("x", "default", "last"):
            assert np.array_equal(getattr(a, name)[before_a], getattr(b, name)[before_b], equal_nan=True)
        assert not np.array_equal(a.came, b.came)


def test_planted_pattern_is_learned_for_days_not_seen(trained: Training) -> None:
    assert trained.days == ("2025-04-03", "2025-04-04", "2025-04-07", "2025-04-08", "2025-04-09")
    ahead = {row["forecast"]: row for row in trained.scores if (row["series"], row["horizon"]) == ("spread", 8)}
    assert ahead["learned"]["log_error"] < 0.8 * ahead["default"]["log_error"]
    assert ahead["learned"]["pinball"] < ahead["default"]["pinball"]
    assert ahead["learned"]["rank_correlation"] > ahead["default"]["rank_correlation"]


def test_feature_that_was_never_seen_is_never_asked(seen: list[Samples], trained: Training) -> None:
    """The mid of these books never moves, so that there is no volatility."""
    at = FEATURES.index("volatility_fast")
    assert all(np.isnan(part.x[:, at]).all() for part in seen)
    assert at not in trees_of(trained.content).nodes[:, 0]


def test_nothing_to_learn_does_not_win() -> None:
    found = train([days_tape(2, 1.0, (0, 1))], SETTINGS, SEED, question=QUESTION)
    assert found.days == ("2025-04-04",)
    assert set(found.capture) == {"engine", "engine_learned", "twap", "hindsight"}
    assert found.capture["engine_learned"]["windows"] == found.capture["twap"]["windows"] > 0
    assert not found.wins
    whole = {(row["series"], row["forecast"]): row["log_error"] for row in found.scores if row["horizon"] is None}
    assert whole["spread", "learned"] < 1.5 * whole["spread", "default"]


def test_same_rows_and_seed_give_the_same_bytes(seen: list[Samples], trained: Training) -> None:
    content = fit(seen, SETTINGS, SEED)
    assert content == trained.content
    assert fit(seen, SETTINGS, SEED + 1) != content
    said = orjson.loads(content)["trained"]
    assert said["days"] == sorted({f"FROG {part.day}" for part in seen})
    assert said["rows"] == sum(len(part.came) for part in seen)


def test_too_few_rows_are_refused(seen: list[Samples]) -> None:
    few = dataclasses.replace(seen[0], x=seen[0].x[:9], came=seen[0].came[:9], default=seen[0].default[:9])
    with fails(2001, "data"):
        fit([few], SETTINGS, SEED)


def test_folds_forward_know_only_the_days_before(seen: list[Samples]) -> None:
    for fold in folds(seen, "forward", M):
        assert {part.day for part in fold.train} == {part.day for part in seen if part.day < fold.day}
    assert len(list(folds(seen, "forward", M))) == 4


def test_folds_each_know_all_other_days(seen: list[Samples]) -> None:
    for fold in folds(seen, "each", M):
        assert {part.day for part in fold.train} == {part.day for part in seen} - {fold.day}
    assert len(list(folds(seen, "each", M))) == 5


def test_folds_of_days_that_touch_leave_an_embargo(seen: list[Samples]) -> None:
    # As of a market that never closes: the next day begins when this one ends, four hours and a minute before a
    # third one could be reached.
    days = sorted({part.day for part in seen})
    shifted = [
        dataclasses.replace(part, target=part.target - part.target.min() + days.index(part.day) * 60 * M)
        for part in seen
    ]
    for fold in folds(shifted, "each", M):
        first = min(part.target.min() for part in fold.test)
        last = max(part.target.max() for part in fold.test)
        for part in fold.train:
            assert np.all((part.target < first - EMBARGO * M) | (part.target > last + EMBARGO * M))
    assert list(folds(shifted, "forward", M)) == []


def test_backtest_has_the_learned_engine_next_to_the_default(planted: SymbolTape, trained: Training) -> None:
    core = with_learned(SETTINGS, TrainedFile.of(trained.content))
    names = ("engine", "engine_learned", "twap", "hindsight")
    last = dataclasses.replace(planted, days=planted.days[-1:])
    here = Question(qty=(900.0,), horizon_min=60, from_s=36_000, to_s=39_600, trimmed=False)
    both, alone = run([last], core, here, names), run([last], SETTINGS, here, ("engine", "twap", "hindsight"))
    for one, other in zip(both.outcomes, alone.outcomes, strict=True):
        assert one.priced.cost["engine"] == other.priced.cost["engine"]
        assert one.priced.cost["engine_learned"] != one.priced.cost["engine"]
    with fails(1001, "strategies"):
        run([last], SETTINGS, here, names)


def test_scores_of_a_perfect_forecast_are_zero() -> None:
    came = np.array([0.5, -0.5])
    assert pinball(came, came, 0.9) == 0.0
    assert pinball(came, came - 1.0, 0.9) == pytest.approx(0.9)
    assert pinball(came, came + 1.0, 0.9) == pytest.approx(0.1)
    assert scores([]) == []


def test_settings_with_a_file_train_as_without(planted: SymbolTape, trained: Training) -> None:
    named: CoreSettings = with_learned(SETTINGS, TrainedFile.of(trained.content))
    assert fit(samples_of(planted, with_learned(named, "")), named, SEED) == trained.content
