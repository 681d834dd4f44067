"""Generated days are what they say, and the engine on them: nothing to forecast, or a profile that it is given."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from impactd.cli.hours import session_settings
from impactd.core.base.settings import CoreSettings
from impactd.research.backtest.days import SymbolTape
from impactd.research.backtest.run import for_backtest
from impactd.research.backtest.windows import Question
from tests.research.backtest.generated import FLAT, SHAPED, by_kind, difference, made, truth, worked


@pytest.fixture(scope="module")
def settings() -> CoreSettings:
    return for_backtest(session_settings(None, (), None, None)[0])


def minutes(tape: SymbolTape, qty: float = 100.0) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Return by day what a walk of `qty` shares has cost in each minute."""
    found = []
    for day in tape.days:
        n = len(day.intervals)
        found.append(day.intervals.costs(0, np.arange(n), np.full(n, qty))[0])
    return found


def test_flat_day_minute_predicts_nothing_of_the_next(settings: CoreSettings) -> None:
    tape = SymbolTape.of("MADE", made(FLAT, 2, 5), settings)
    assert [len(day.intervals) for day in tape.days] == [390, 390]
    for cost in minutes(tape):
        log = np.log(cost)
        assert float(np.std(log)) > 0.1  # so that hindsight has something to choose from
        assert abs(float(np.corrcoef(log[1:], log[:-1])[0, 1])) < 3.5 / np.sqrt(390)


def test_day_with_a_profile_is_the_same_each_day_but_for_noise(settings: CoreSettings) -> None:
    first, second = minutes(SymbolTape.of("MADE", made(SHAPED, 2, 5), settings))
    assert float(np.corrcoef(np.log(first), np.log(second))[0, 1]) > 0.99


def test_same_seed_gives_the_same_days() -> None:
    one, same, other = (made(SHAPED, 1, seed) for seed in (3, 3, 4))
    assert one.ask_sz.tobytes() == same.ask_sz.tobytes()
    assert one.ask_sz.tobytes() != other.ask_sz.tobytes()


def test_engine_that_knows_the_profile_captures_nine_tenths_of_the_saving(settings: CoreSettings) -> None:
    given = dataclasses.replace(settings, model=dataclasses.replace(settings.model, profile=truth(SHAPED)))
    question = Question(depth_shares=(0.1,), kinds=("range",))
    found = worked(SHAPED, given, days=1, history=0, seed=2, question=question)
    for outcome in by_kind(found)["range"]:
        cost = outcome.priced.cost
        assert cost["twap"] - cost["engine"] >= 0.9 * (cost["twap"] - cost["hindsight"])


def test_engine_where_nothing_is_predictable_does_not_pay_for_its_activity(settings: CoreSettings) -> None:
    model = dataclasses.replace(settings.model, prior_profile=False)
    question = Question(depth_shares=(0.05,), kinds=("windows",))
    found = worked(FLAT, dataclasses.replace(settings, model=model), days=1, history=0, seed=1, question=question)
    over, low, _ = difference(found.orders)
    assert low < 0.01
    assert over < 0.02
