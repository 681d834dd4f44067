"""The response to fills: what is planted is found; shuffled signs and times, and clever moments, show none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from impactd.core.base.session import Session
from impactd.core.base.settings import SessionRule
from impactd.core.inputs.ticks import Float, Int
from impactd.core.tca.response import (
    LEAST_BLOCKS,
    MEASURES,
    OF_BOOKS,
    SECOND_NS,
    Lags,
    Response,
    Series,
    panel,
    respond,
)

UTC = Session(SessionRule())
DAY_S = 86_400
#: Seconds of trading on each day, from 10:00 UTC.
OPEN_S, OPEN_FOR_S, STEP_S = 36_000, 18_000, 5
#: What a fill does: the mid, half-spread and impact of the side taken, bps; all but the mid's halve in 60 s.
PLANTED = {"mid": 2.0, "half_spread": 1.0, "impact": 3.0}
HALF_S = 60.0

BY_MINUTE = Lags.of_intervals(60 * SECOND_NS)


def world(seed: int, days: int = 8, *, trend: float = 0.0) -> Series:
    """Return noisy books that return to a mean and are dear in the morning; `trend` is bps of the mid a second."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(0, OPEN_FOR_S, STEP_S)
    n = len(seconds)
    at = np.concatenate([day * DAY_S + OPEN_S + seconds for day in range(days)])

    def returning(mean: float, sd: float) -> Float:
        path = lfilter([1.0], [1.0, -0.95], rng.normal(0.0, sd, days * n))
        return mean + path + np.tile(np.exp(-seconds / 3_000), days)

    mid = 100.0 * np.exp(np.cumsum(rng.normal(1e-4 * trend * STEP_S, 5e-5, days * n)))
    impact = np.stack([returning(8.0, 0.5), returning(8.0, 0.5)])
    start = at * SECOND_NS
    return Series(start, start + STEP_S * SECOND_NS, mid, returning(3.0, 0.2), impact)


def moments(seed: int, days: int = 8, a_day: int = 12) -> tuple[Int, Int]:
    """Return times (ns) and signs of fills far from one another, each half a second before a book."""
    rng = np.random.default_rng(seed)
    at = [
        day * DAY_S + OPEN_S + place * OPEN_FOR_S // a_day + 400 + STEP_S * int(rng.integers(0, 120))
        for day in range(days)
        for place in range(a_day)
    ]
    return np.array(at) * SECOND_NS - SECOND_NS // 2, rng.choice(np.array([-1, 1]), len(at))


def respond_to(series: Series, at: Int, sign: Int, lags: Lags = OF_BOOKS, session: Session = UTC) -> Response:
    return respond([panel(series, at, sign, lags, np.ones(len(at), np.bool_), session)], lags)


def planted(series: Series, at: Int, sign: Int) -> Series:
    """Return books that respond to fills as `PLANTED` states."""
    mid, half_spread, impact = series.mid.copy(), series.half_spread.copy(), series.impact.copy()
    for one, side in zip(at, sign, strict=True):
        since = slice(int(np.searchsorted(series.start, one)), None)
        left = 0.5 ** ((series.start[since] - one) / SECOND_NS / HALF_S)
        mid[since] *= 1.0 + side * 1e-4 * PLANTED["mid"]
        half_spread[since] += PLANTED["half_spread"] * left
        impact[0 if side > 0 else 1, since] += PLANTED["impact"] * left
    return Series(series.start, series.end, mid, half_spread, impact)


def z_scores(found: Response, truth: Float | float = 0.0) -> Float:
    kept = np.array(found.lags_ns) != OF_BOOKS.before_ns
    assert np.isfinite(found.error[kept]).all()
    return (found.mean - truth)[kept] / found.error[kept]


def truth() -> Float:
    lags = np.array(OF_BOOKS.lags_ns) / SECOND_NS
    since = np.where(lags > 0, (lags - 0.5) // STEP_S * STEP_S + 0.5, -1.0)
    left = np.where(since > 0, 0.5 ** (np.maximum(since, 0.0) / HALF_S), 0.0)
    columns = {"mid": PLANTED["mid"] * (since > 0)}
    columns |= {name: PLANTED[name] * left for name in ("half_spread", "impact")}
    return np.stack([columns.get(name, np.zeros(len(since))) for name in MEASURES], axis=1)


def few_beyond(scores: Float) -> None:
    """Assert that z-scores are those of no effect: about a twentieth beyond 1.96, and none far out."""
    assert np.mean(np.abs(scores) > 1.96) < 0.12
    assert np.max(np.abs(scores)) < 5.0


def test_a_planted_response_is_found_within_its_error() -> None:
    scores = []
    for seed in range(6):
        at, sign = moments(seed)
        found = respond_to(planted(world(seed), at, sign), at, sign)
        scores.append(z_scores(found, truth()))
        after = found.lags_ns.index(30 * SECOND_NS)
        assert found.mean[after, 2] > 5 * found.error[after, 2]
    few_beyond(np.array(scores))


@pytest.mark.parametrize("what", ["signs", "times"])
def test_shuffled_signs_and_times_show_no_response(what: str) -> None:
    scores = []
    for seed in range(6):
        at, sign = moments(seed)
        series = planted(world(seed), at, sign)
        if what == "signs":
            # The spread widens whichever side trades, so only what has a side is lost.
            other = np.random.default_rng(seed).permutation(np.repeat([-1, 1], len(sign) // 2))
            found = respond_to(series, at, other)
            scores.append(z_scores(found)[:, 0])
        else:
            scores.append(z_scores(respond_to(series, *moments(seed + 100))))
    few_beyond(np.array(scores))


def test_a_trend_of_the_day_is_not_a_response() -> None:
    scores = []
    for seed in range(6):
        at, _ = moments(seed)
        found = respond_to(world(seed, trend=0.01), at, np.ones(len(at), np.int64))
        scores.append(z_scores(found))
    few_beyond(np.array(scores))


def test_a_cheap_book_that_returns_to_its_mean_is_not_a_response() -> None:
    scores = []
    for seed in range(6):
        series, (at, sign) = world(seed), moments(seed)
        rng = np.random.default_rng(seed)
        # The first cheap book of its side within ten minutes, as slices act; what led there is no response either.
        for i, (one, side) in enumerate(zip(at, sign, strict=True)):
            place = int(np.searchsorted(series.start, one))
            cheap = series.impact[0 if side > 0 else 1, place : place + 120] < 7.5
            at[i] = series.start[place + int(np.argmax(cheap))] + int(rng.integers(0, STEP_S * SECOND_NS))
        found = respond_to(series, at, sign)
        scores.append(z_scores(found)[3:])
    few_beyond(np.array(scores))


def test_half_hours_and_days_are_those_of_the_session() -> None:
    """A clock change, or a zone whose session passes midnight in UTC, changes no response."""
    series, (at, sign) = world(5), moments(5)
    wanted = respond_to(series, at, sign)
    for offsets in ([(0, 0), (4 * DAY_S, 3_600)], [(0, 12 * 3_600)], [(0, -20_700), (3 * DAY_S, -17_100)]):
        session = Session(SessionRule(offsets=tuple((begin * SECOND_NS, offset) for begin, offset in offsets)))
        begins = np.array([begin for begin, _ in offsets]) * SECOND_NS

        def utc(local: Int, begins: Int = begins, offsets: list[tuple[int, int]] = offsets) -> Int:
            shift = np.array([offset for _, offset in offsets])[np.searchsorted(begins, local, "right") - 1]
            return local - shift * SECOND_NS

        moved = series._replace(start=utc(series.start), end=utc(series.end))
        found = respond_to(moved, utc(at), sign, session=session)
        assert found.events.tolist() == wanted.events.tolist()
        assert found.blocks.tolist() == wanted.blocks.tolist()
        np.testing.assert_allclose(found.mean, wanted.mean, atol=0.2)


def test_fills_in_a_row_are_one_event_and_the_next_one_ends_a_window() -> None:
    series = world(1)
    at, sign = moments(1)
    burst = np.concatenate([at, at + SECOND_NS, at + 4 * SECOND_NS])
    once, thrice = respond_to(series, at, sign), respond_to(series, burst, np.tile(sign, 3))
    assert np.array_equal(once.mean, thrice.mean)
    assert once.overlapping == thrice.overlapping
    followed = respond_to(
        planted(series, at + 40 * SECOND_NS, sign), np.concatenate([at, at + 40 * SECOND_NS]), np.tile(sign, 2)
    )
    assert followed.overlapping == 2 * len(at)
    assert followed.events[-1] == len(at)
    assert followed.events[followed.lags_ns.index(5 * SECOND_NS)] == 2 * len(at)


def test_few_fills_state_nothing_and_why() -> None:
    series = world(2)
    at, sign = moments(2)
    few = respond_to(series, at[: LEAST_BLOCKS - 1], sign[: LEAST_BLOCKS - 1])
    assert np.isnan(few.mean).all()
    assert str(LEAST_BLOCKS) in (few.text or "")
    assert respond_to(series, at, sign).text is None
    none = np.zeros(0, np.int64)
    assert respond_to(series, none, none).text is not None
    assert respond([], OF_BOOKS).text is not None
    empty = Series(none, none, np.zeros(0), np.zeros(0), np.zeros((2, 0)))
    assert respond_to(empty, at, sign).text is not None


def test_a_fill_in_every_minute_has_no_control() -> None:
    series = world(3, days=1)
    at = np.arange(OPEN_S, OPEN_S + OPEN_FOR_S, 60) * SECOND_NS
    found = respond_to(series, at, np.ones(len(at), np.int64), BY_MINUTE)
    assert found.text is not None
    assert not found.events.any()


def test_only_fills_that_count_are_events_and_the_others_are_no_controls() -> None:
    series = world(4)
    at, sign = moments(4)
    mine = np.arange(len(at)) % 2 == 0
    found = panel(series, at, sign, OF_BOOKS, mine, UTC)
    assert found.filled.sum() == mine.sum()
    alone = panel(series, at[mine], sign[mine], OF_BOOKS, np.ones(int(mine.sum()), np.bool_), UTC)
    assert (~found.filled).sum() < (~alone.filled).sum()


def test_mids_at_or_below_zero_have_no_response() -> None:
    minutes = np.arange(4, dtype=np.int64) * 60 * SECOND_NS
    curves = [{int(minute): ([100.0, 200.0], [0.02, 0.03]) for minute in minutes}] * 2
    mid = np.array([-1.0, 0.0, np.nan, 10.0])
    found = Series.of_minutes(minutes, mid, np.full(4, 0.01), curves, 150.0, 60 * SECOND_NS)
    assert np.isfinite(found.half_spread).tolist() == [False, False, False, True]
    assert found.impact[:, 3] == pytest.approx(15.0)
