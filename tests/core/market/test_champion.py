"""The learned forecast makes the plans where it saves more, and only there."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from impactd.core.base.session import Session
from impactd.core.base.settings import MINUTE_NS, CoreSettings, ModelSettings, SessionRule
from impactd.core.base.topics import Topic
from impactd.core.market.champion import HORIZON, TAKE, Champion
from impactd.core.model.curves import Curves, Float, Int
from impactd.core.model.learned.trained import TrainedFile
from impactd.core.outputs.messages import Model, Output, Plan
from tests.core.builders import T0, EngineHarness, M, encoded, ladder, new
from tests.core.market.test_bands import stats
from tests.core.model.trees import blank_file, constant, content, split
from tests.core.rows import Row

#: Days are a trading year.
YEAR: Final = 250
#: An hour and a minute a day: two orders of each side.
HOURS: Final = Session(SessionRule(0, (2 * HORIZON + 1) * 60))
DAY: Final = 24 * 60 * MINUTE_NS

Forecast = Callable[[bool, Int, float], Curves]


def champion() -> Champion:
    return Champion("sha256:x", HOURS, MINUTE_NS)


def years(gains: Float) -> list[list[bool]]:
    """Return who leads on each day of each row of `gains`: what days saved by learned forecasts."""
    found = []
    for row in gains.tolist():
        mine, led = champion(), []
        for day, gain in enumerate(row):
            mine.begin(day)
            mine.count(gain)
            led.append(mine.leads)
        found.append(led)
    return found


def switches(led: Sequence[bool]) -> int:
    return sum(a != b for a, b in itertools.pairwise(led))


def gains(mean: float, n: int, days: int = YEAR) -> Float:
    """Return days of heavy tails: Student's t with three degrees of freedom, and one deviation of that a day."""
    return mean + np.random.default_rng(5).standard_t(3, (n, days)) / np.sqrt(3.0)


def test_forecast_that_is_no_better_seldom_takes_the_place_in_a_year() -> None:
    led = years(gains(0.0, 1_000))
    assert np.mean([any(year) for year in led]) < 0.05
    assert np.mean([sum(year) for year in led]) < 0.02 * YEAR
    assert max(switches(year) for year in led) <= 4


def test_forecast_that_is_worse_never_takes_the_place() -> None:
    assert not any(any(year) for year in years(gains(-0.3, 300)))
    assert not any(any(year) for year in years(np.zeros((1, YEAR))))


def test_forecast_that_is_better_takes_the_place_within_weeks_and_keeps_it() -> None:
    led = years(gains(1.0, 300))
    first = [year.index(True) for year in led]
    assert min(first) >= TAKE * TAKE  # no few days are enough
    assert np.median(first) < 20
    assert max(first) < 60
    assert np.mean([switches(year) for year in led]) < 1.05


def test_forecast_that_stops_winning_loses_the_place_and_may_take_it_again() -> None:
    turned = np.concatenate([gains(1.0, 200, 60), gains(-1.0, 200, 60), gains(1.0, 200, 80)], axis=1)
    led = np.array(years(turned))
    assert led[:, 59].mean() > 0.99
    assert led[:, 119].mean() < 0.01
    assert led[:, -1].mean() > 0.95
    assert np.mean([switches(year) for year in led.tolist()]) < 3.2


@given(unit=st.floats(1e-6, 1e3), seed=st.integers(0, 2**32 - 1))
@limits(deadline=None, max_examples=25)
def test_the_choice_depends_on_no_unit(unit: float, seed: int) -> None:
    made = np.random.default_rng(seed).normal(0.5, 1.0, (1, 60))
    assert years(made) == years(2.0 ** round(np.log2(unit)) * made)


# Orders.


def curves(levels: Float) -> Curves:
    return Curves(0.02 * levels, 1e-5 * levels, None, None, 1.0, prior=False, scaled=True, as_of=None)


def level(seed: int, minute: int) -> float:
    return float(np.exp(0.5 * np.random.default_rng([seed, minute]).standard_normal()))


def offered(seed: int, *, learned: bool, default: bool) -> Forecast:
    """Return a forecast that knows the next three minutes' levels, by the learned or the default one or both."""

    def forecast(which: bool, starts: Int, rate: float) -> Curves:  # noqa: FBT001
        assert rate > 0.0
        levels = np.ones(len(starts))
        if learned if which else default:
            levels[:3] = [level(seed, int(at) // MINUTE_NS) for at in starts[:3]]
        return curves(levels)

    return forecast


def over(mine: Champion, seed: int, forecast: Forecast, days: Sequence[int]) -> list[bool]:
    """Go over sessions, and return who led on each."""
    led = []
    for day in days:
        for t in range(2 * HORIZON + 1):
            at = day * DAY + t * MINUTE_NS
            mine.begin(HOURS.day_of(at))
            minute = stats(at, level(seed, at // MINUTE_NS))
            for row in (0, 1):
                mine.update(row, minute, forecast)
        led.append(mine.leads)
    return led


@pytest.mark.parametrize("seed", [1, 2])
def test_orders_tell_the_better_forecast(seed: int) -> None:
    days = range(13)
    better = over(champion(), seed, offered(seed, learned=True, default=False), days)
    first = better.index(True)
    assert first >= TAKE * TAKE
    assert all(better[first:])
    assert not any(over(champion(), seed, offered(seed, learned=False, default=True), days))
    assert not any(over(champion(), seed, offered(seed, learned=True, default=True), days))


def test_orders_save_what_their_forecast_knows() -> None:
    mine, forecast, ended = champion(), offered(3, learned=True, default=False), []
    for t in range(2 * HORIZON + 1):
        minute = stats(t * MINUTE_NS, level(3, t))
        ended += [mine.update(row, minute, forecast) for row in (0, 1)]
    saved = [found for found in ended if found is not None]
    assert len(saved) == 4
    assert saved[0] == saved[1]  # both sides are alike
    for default, learned in saved:
        assert default == pytest.approx(0.0, abs=1e-9)  # flat: TWAP itself
        assert learned > 0.1


def test_orders_end_with_the_session_and_thin_ones_do_not_count() -> None:
    mine, forecast = champion(), offered(4, learned=True, default=False)
    ended = []
    for t in range(2 * HORIZON + 1):
        thin = HORIZON // 2 <= t < HORIZON and t % 2 == 0  # a quarter of the first order's minutes
        minute = stats(t * MINUTE_NS, level(4, t), MINUTE_NS // 3 if thin else MINUTE_NS)
        ended.append(mine.update(0, minute, forecast))
    assert [t for t, found in enumerate(ended) if found is not None] == [2 * HORIZON]
    assert mine.save()[-1] == [None, None]


@given(cut=st.integers(1, 3 * (2 * HORIZON + 1)), row=st.integers(0, 1))
@limits(deadline=None, max_examples=10)
def test_saved_comparison_continues_bit_for_bit(cut: int, row: int) -> None:
    one, other, forecast = champion(), champion(), offered(5, learned=True, default=True)
    for k in range(3 * (2 * HORIZON + 1)):
        day, t = divmod(k, 2 * HORIZON + 1)
        at = day * DAY + t * MINUTE_NS
        minute = stats(at, level(5, at // MINUTE_NS))
        if k == cut:
            other.load(orjson.loads(orjson.dumps(one.save())))
        for mine in (one, other) if k >= cut else (one,):
            mine.begin(day)
            mine.update(row, minute, forecast)
    assert orjson.dumps(one.save()) == orjson.dumps(other.save())
    assert len(orjson.dumps(one.save())) < 700
    fresh = Champion("sha256:y", HOURS, MINUTE_NS)
    fresh.load(one.save())
    assert fresh.save() == Champion("sha256:y", HOURS, MINUTE_NS).save()


# The service.

#: 66 minutes a day from ten o'clock, whose spread is four times as wide in every other ten minutes.
SESSION: Final = SessionRule(open_s=36_000, close_s=36_000 + 66 * 60)
BLOCK: Final = 10
DAYS: Final = 14


def wide(t: int) -> bool:
    return t // BLOCK % 2 == 1


def service(
    use: str = "earned", *, knows: bool = True, named: bool = True, symbols: Sequence[str] = ()
) -> EngineHarness:
    """Return a service with trees that know in which minutes spread is wide, or that know nothing."""
    model = ModelSettings(learn_profile=False, prior_profile=False, guard=False, learned_use=use)
    core = CoreSettings(session=SESSION, model=model)
    steps = [split("since_open", BLOCK * k, *((0.0, 1.4) if k % 2 else (0.0, -1.4))) for k in range(1, 66 // BLOCK + 1)]
    spread = {"start": -0.7, "trees": steps}
    file = TrainedFile.of(content(core, [spread] * 3, [constant(0.0)] * 3, symbols)) if knows else blank_file(core)
    return EngineHarness(dataclasses.replace(core, model=dataclasses.replace(model, learned=file if named else "")))


def rows(day: int, seed: int = 1) -> list[Row]:
    rng = np.random.default_rng([seed, day])
    noise = np.exp(0.1 * rng.standard_normal(66))
    halves = [round(0.02 * (4.0 if wide(t) else 1.0) * float(noise[t]), 4) for t in range(66)]
    at = T0 + day * DAY
    return [
        dataclasses.replace(
            ladder(at + t * M),
            bids=tuple((100.0 - half - 0.01 * k, 100.0) for k in range(8)),
            asks=tuple((100.0 + half + 0.01 * k, 100.0) for k in range(8)),
        )
        for t, half in enumerate(halves)
    ]


def work(harness: EngineHarness, days: Sequence[int], *, reload_at: Sequence[tuple[int, int]] = ()) -> list[Output]:
    """Go over days with an order on each, and return what was published."""
    outputs: list[Output] = []
    for day in days:
        today = rows(day)
        outputs += harness.run(today[:5])
        outputs += harness.send(new(f"D{day}", ts=today[4].ts + 1, start=T0 + day * DAY + 5 * M, length=50 * M))
        for begin in range(5, 66, 15):
            if (day, begin) in reload_at:
                harness.reload()
            outputs += harness.run(today[begin : begin + 15])
    return outputs


def plans_of(outputs: Sequence[Output]) -> list[Plan]:
    return [out.message for out in outputs if isinstance(out.message, Plan)]


@pytest.fixture(scope="module")
def earned() -> tuple[EngineHarness, list[Output]]:
    harness = service()
    return harness, work(harness, range(DAYS))


def days_of(plans: Sequence[Plan], forecaster: str) -> set[int]:
    return {
        (plan.as_of - T0) // DAY for plan in plans if plan.model is not None and plan.model.forecaster == forecaster
    }


def test_service_changes_the_forecast_as_a_session_begins_and_says_so(
    earned: tuple[EngineHarness, list[Output]],
) -> None:
    harness, outputs = earned
    plans = plans_of(outputs)
    [alert] = harness.alerts("forecaster_change")
    day, into = divmod(alert.as_of - T0, DAY)
    assert (9 <= day < DAYS, into) == (True, M)
    assert days_of(plans, "default") == set(range(day))
    assert days_of(plans, "learned") == set(range(day, DAYS))
    models = [out.message for out in outputs if isinstance(out.message, Model)]
    assert {model.forecaster for model in models if model.as_of >= alert.as_of} == {"learned"}
    assert {model.forecaster for model in models if model.as_of < alert.as_of} == {"default"}
    leads = [model.learned_lead for model in models]
    assert leads[0] == 0.0
    assert leads[-1] is not None
    assert leads[-1] >= TAKE
    always = plans_of(work(service("always"), range(1)))
    assert days_of(always, "learned") == {0}


def test_default_forecast_makes_the_bytes_of_a_service_without_trees_until_it_loses(
    earned: tuple[EngineHarness, list[Output]],
) -> None:
    _, outputs = earned
    mine, its = (
        encoded([out for out in found if out.topic is not Topic.MODELS])
        for found in (outputs, work(service(named=False), range(3)))
    )
    assert len(its) > 100
    assert mine[: len(its)] == its


@pytest.mark.parametrize(("symbols", "says"), [(("ACME", "FROG"), False), (("ACME",), True)])
def test_change_to_a_file_of_other_symbols_says_so(symbols: Sequence[str], says: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    harness = service(symbols=symbols)
    work(harness, range(DAYS))
    [alert] = harness.alerts("forecaster_change")
    assert ("trained on other symbols" in alert.text) is says


def test_trees_that_know_nothing_never_make_a_plan() -> None:
    harness = service(knows=False)
    assert days_of(plans_of(work(harness, range(DAYS))), "learned") == set()
    assert harness.alerts("forecaster_change") == []


def test_restarts_give_the_same_bytes(earned: tuple[EngineHarness, list[Output]]) -> None:
    harness, outputs = earned
    again = service()
    reload_at = [(0, 5), (3, 20), *((day, begin) for day in range(9, DAYS) for begin in (5, 35, 50))]
    assert encoded(work(again, range(DAYS), reload_at=reload_at)) == encoded(outputs)
    assert again.state == harness.state


def test_later_days_move_no_earlier_choice(earned: tuple[EngineHarness, list[Output]]) -> None:
    _, outputs = earned
    [day] = {min(days_of(plans_of(outputs), "learned"))}
    harness = service()
    before = work(harness, range(day))
    assert encoded(before) == encoded(outputs)[: len(before)]
    # The day on which the choice changes, and its minutes in another order: the choice is made before them.
    shuffled = [dataclasses.replace(row, ts=at.ts) for row, at in zip(rows(day, 2)[::-1], rows(day), strict=True)]
    after = harness.run(shuffled)
    assert [alert.as_of for alert in harness.alerts("forecaster_change")] == [T0 + day * DAY + M]
    models = [out.message for out in after if isinstance(out.message, Model)]
    assert {model.forecaster for model in models if model.as_of > T0 + day * DAY} == {"learned"}


def test_another_file_starts_the_comparison_again(earned: tuple[EngineHarness, list[Output]]) -> None:
    harness, _ = earned
    other = service(knows=False)
    market = other.engine._markets.of("FROG")  # what a restart with --accept-settings loads
    market.load(orjson.loads(harness.state["market/FROG"]))
    assert (market.learned, market.learned_lead) == (False, 0.0)
