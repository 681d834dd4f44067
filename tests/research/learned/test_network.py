"""The network on days of which everything is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import orjson
import pytest

from impactd.core.base.settings import CoreSettings, PlanSettings, SessionRule
from impactd.core.model.learned.network import Network
from impactd.core.model.learned.trained import NETWORK, TrainedFile
from impactd.research.backtest.days import SymbolTape
from impactd.research.backtest.run import for_backtest
from impactd.research.learned.fit import fit
from impactd.research.learned.network import BATCH, MEMBERS, standard
from impactd.research.learned.run import train
from impactd.research.learned.samples import Samples, samples_of
from tests.core.builders import T0, M
from tests.core.rows import Row
from tests.research.backtest.made import ladder, tape_of

DAY = 24 * 60 * M
DAYS = (0, 1, 4, 5, 6, 7)
#: Three hours from ten o'clock.
MINUTES = 180
SETTINGS = for_backtest(
    CoreSettings(
        session=SessionRule(open_s=36_000, close_s=36_000 + 60 * MINUTES), plans=PlanSettings(solvers=("exact",))
    )
)
#: How long bids are deep, when asks thin out after that began, and for how long; minutes.
WARNING, AFTER, THIN = 10, 35, 20


def day_rows(seed: int, day: int, thin: float) -> list[Row]:
    """Return books of three hours, in each of which bids are deep for a while and asks thin long after that.

    Asks are then `thin` of their usual size: no level of the asks before shows that it is coming.
    """
    rng = np.random.default_rng([seed, day])
    warned = [60 * hour + int(rng.integers(0, 50)) for hour in range(MINUTES // 60)]
    rows = []
    for t in range(MINUTES):
        size = float(round(100 * np.exp(0.05 * rng.standard_normal())))
        row = ladder(T0 + day * DAY + t * M, 0.05, size=size)
        if any(begin <= t < begin + WARNING for begin in warned):
            row = dataclasses.replace(row, bids=tuple((px, 8 * qty) for px, qty in row.bids))
        if any(begin + AFTER <= t < begin + AFTER + THIN for begin in warned):
            row = dataclasses.replace(row, asks=tuple((px, round(thin * qty)) for px, qty in row.asks))
        rows.append(row)
    return rows


def days_tape(seed: int, thin: float) -> SymbolTape:
    return tape_of([row for day in DAYS for row in day_rows(seed, day, thin)], SETTINGS)


@pytest.fixture(scope="module")
def seen() -> list[Samples]:
    return samples_of(days_tape(1, 0.2), SETTINGS, NETWORK)


def test_other_side_s_book_long_before_is_found_on_days_not_seen() -> None:
    """The default forecast sees one side alone."""
    found = train([days_tape(1, 0.2)], SETTINGS, 0, kind=NETWORK, split="each", question=None)
    for horizon in (5, 13, 20):
        rows = {row["forecast"]: row for row in found.scores if (row["series"], row["horizon"]) == ("excess", horizon)}
        assert rows["learned"]["log_error"] < 0.85 * rows["default"]["log_error"]
        assert rows["learned"]["pinball"] < 0.9 * rows["default"]["pinball"]


def noisy(samples: list[Samples], sd: float) -> list[Samples]:
    """Return samples of which nothing is known but the spread of the errors."""
    rng = np.random.default_rng(3)
    return [
        dataclasses.replace(part, came=part.default + sd * rng.standard_normal(part.default.shape)) for part in samples
    ]


def test_noise_teaches_quantiles_and_no_more(seen: list[Samples]) -> None:
    samples = noisy(seen, 0.3)
    said = predictor(fit(samples, SETTINGS, 0)).quantiles(np.concatenate([part.x for part in samples]))
    assert np.abs(said[:, :, 1]).max() < 0.1
    assert said.mean(axis=(0, 1)) == pytest.approx([-0.3 * 1.2816, 0.0, 0.3 * 1.2816], abs=0.02)


def test_one_day_says_nothing_but_how_the_default_errs(seen: list[Samples]) -> None:
    day = [dataclasses.replace(part, came=part.came + 1.0) for part in seen if part.day == seen[0].day]
    network = predictor(fit(day, SETTINGS, 0))
    errors = np.concatenate([(part.came - part.default)[part.horizon == 8] for part in day])
    said = network.quantiles(np.concatenate([part.x[part.horizon == 8] for part in day]))
    assert np.ptp(said, axis=0).max() < 1e-12
    assert said[0] == pytest.approx(np.quantile(errors, (0.1, 0.5, 0.9), axis=0).T)


def test_same_rows_and_seed_give_the_same_bytes(seen: list[Samples]) -> None:
    content = fit(seen, SETTINGS, 0)
    assert content == fit(seen, SETTINGS, 0)
    assert fit(seen, SETTINGS, 1) != content
    found = TrainedFile.of(content).learned
    assert (found.kind, found.symbols) == (NETWORK, ("FROG",))
    assert predictor(content).layers[0].shape[0] == MEMBERS
    assert orjson.loads(content)["trained"]["rows"] == sum(len(part.came) for part in seen)


def test_fewer_rows_than_a_step_takes_are_enough(seen: list[Samples]) -> None:
    samples = [shortened(part, 45) for part in seen]
    assert sum(len(part.came) for part in samples) * (MEMBERS - 1) // MEMBERS < BATCH
    assert predictor(fit(samples, SETTINGS, 0)).layers[0].shape[0] == MEMBERS


def shortened(part: Samples, n: int) -> Samples:
    rows = {name: getattr(part, name)[:n] for name in ("horizon", "target", "x", "default", "last", "came")}
    return dataclasses.replace(part, **rows)


def predictor(content: bytes) -> Network:
    found = TrainedFile.of(content).learned.predictor
    assert isinstance(found, Network)
    return found


def test_standard_leaves_out_what_is_unknown_or_constant() -> None:
    x = np.array([[1.0, 5.0, np.nan], [3.0, 5.0, np.nan], [np.nan, 5.0, np.nan]])
    centre, scale = standard(x)
    assert centre.tolist() == [2.0, 0.0, 0.0]
    assert scale.tolist() == [1.0, 1.0, 1.0]
