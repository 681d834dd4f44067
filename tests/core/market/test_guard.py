"""The guard follows forecasts that earn, leaves those that cost, and by size."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import orjson
import pytest

from impactd.core.base.session import Session
from impactd.core.base.settings import MINUTE_NS, SessionRule
from impactd.core.books.minute import MinuteStats
from impactd.core.market.guard import HORIZON, SPACING, Guard, TrialResult
from impactd.core.model.curves import Curves, Int
from tests.core.market.test_bands import SIZES, stats
from tests.core.saving import load_all, save_all

Level = Callable[[int], float]


def minute(i: int) -> int:
    return i * MINUTE_NS


def waves(i: int) -> float:
    """Return a level that comes back every twenty minutes."""
    return math.exp(0.4 * math.sin(2 * math.pi * i / 20))


def flat(i: int) -> float:
    """Return the same level for each minute."""
    return 1.0 + 0.0 * i


def expecting(level: Level) -> Callable[[Int, float], Curves]:
    def forecast(starts_ns: Int, rate: float = 1.0) -> Curves:
        assert rate > 0.0
        levels = np.array([level(int(start) // MINUTE_NS) for start in starts_ns])
        return Curves(0.02 * levels, 1e-5 * levels, None, None, 1.0, prior=False, scaled=True, as_of=None)

    return forecast


def run(
    truth: Level, said: Level, n: int = 700, guard: Guard | None = None, first: int = 0
) -> tuple[Guard, list[TrialResult]]:
    mine = Guard(0, Session(SessionRule()), MINUTE_NS) if guard is None else guard
    results = []
    for i in range(first, first + n):
        level = truth(i)
        results += mine.update(stats(minute(i), level), (0.02 * level, 1e-5 * level), expecting(said))
    return mine, results


def test_forecast_that_is_right_is_followed_and_captures_all() -> None:
    mine, results = run(waves, waves)
    assert mine.trust(4 * SIZES[0]) == 1.0
    assert mine.capture == pytest.approx(1.0, abs=0.01)
    assert len(results) == (700 - HORIZON) // SPACING


def test_forecast_of_what_is_not_there_ends_as_twap() -> None:
    mine, results = run(flat, waves, n=1_000)
    assert mine.trust(4 * SIZES[0]) < 0.1
    assert all(found.saved < 0.0 for found in results)
    shrunk = expecting(waves)(np.arange(60) * MINUTE_NS).shrunk(0.0)
    assert np.ptp(shrunk.half_spread) == pytest.approx(0.0, abs=1e-12)


def test_forecast_the_wrong_way_round_is_left_and_followed_again_once_it_is_right() -> None:
    mine, _ = run(waves, lambda i: waves(i + 10), n=300)
    assert mine.trust(4 * SIZES[0]) < 0.5
    assert mine.capture is not None
    assert mine.capture < 0.0
    mine, _ = run(waves, waves, n=1_400, guard=mine, first=300)
    assert mine.trust(4 * SIZES[0]) > 0.9


def test_before_any_trial_has_ended_forecasts_are_followed() -> None:
    mine, results = run(flat, waves, n=HORIZON)
    assert mine.trust(1.0) == 1.0
    assert mine.capture is None
    assert results == []


def test_trust_is_between_trials_by_rate() -> None:
    mine, _ = run(flat, waves, n=200)
    ask = 4 * SIZES[0]
    ends = sorted([mine.trust(ask / 4), mine.trust(2 * ask)])
    assert ends[0] - 1e-12 <= mine.trust(0.7 * ask) <= ends[1] + 1e-12
    assert mine.trust(ask / 1_000) == mine.trust(ask / 4)


def test_thin_minutes_and_trials_teach_nothing() -> None:
    mine = Guard(0, Session(SessionRule()), MINUTE_NS)
    for i in range(200):
        thin: MinuteStats = stats(minute(i), waves(i), covered_ns=MINUTE_NS // 3)
        assert mine.update(thin, None, expecting(lambda i: waves(i + 10))) == []
    assert mine.trust(1.0) == 1.0


def test_saved_guard_continues_bit_for_bit() -> None:
    one, _ = run(waves, lambda i: waves(i + 5), n=150)
    other = Guard(0, Session(SessionRule()), MINUTE_NS)
    load_all(other, [other], save_all(one, [one]))
    run(waves, waves, n=150, guard=one, first=150)
    run(waves, waves, n=150, guard=other, first=150)
    assert save_all(one, [one]) == save_all(other, [other])
    assert len(orjson.dumps(one.save())) < 1_500
    assert len(save_all(one, [one])) < 8_000


@pytest.mark.parametrize("part", [0.0, 0.3, 1.0])
def test_drawn_curves_keep_their_mean_log_and_part_of_their_spread(part: float) -> None:
    given = expecting(waves)(np.arange(60) * MINUTE_NS)
    shrunk = given.shrunk(part)
    logs, before = np.log(shrunk.half_spread), np.log(given.half_spread)
    assert logs.mean() == pytest.approx(before.mean())
    assert np.ptp(logs) == pytest.approx(part * np.ptp(before), abs=1e-12)
