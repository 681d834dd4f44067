"""Bands of plan cost: what shadows teach them, and that they hold what they say."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

import numpy as np
import orjson
import pytest

from impactd.core.base.session import Session
from impactd.core.base.settings import MINUTE_NS, SessionRule
from impactd.core.books.grid import PLAN_REACH
from impactd.core.books.minute import MinuteStats
from impactd.core.market.bands import HORIZONS, MULTIPLES, NIGHT_SD, PRIOR_SD, CostBands, Known, LogBands, t_quantile
from impactd.core.model.curves import Curves, Int
from tests.core.model.minutes import NEW_YORK, SIZES, minute
from tests.core.saving import load_all, save_all

ALWAYS = Session(SessionRule())
#: Of a level that is well known.
WARM = Known(1e9, 1e9)
#: Of Student's t with four degrees of freedom.
T80, T95 = 1.5332063, 2.7764451


@dataclass
class Constant:
    """A forecast that always expects the same, and remembers for how many intervals it was asked."""

    asked: list[int] = field(default_factory=list)

    def __call__(self, starts_ns: Int, rate: float) -> Curves:
        assert rate > 0.0
        self.asked.append(len(starts_ns))
        s, beta = np.full(len(starts_ns), 0.02), np.full(len(starts_ns), 1e-5)
        return Curves(s, beta, None, None, 1.0, prior=False, scaled=True, as_of=None)


def stats(ts: int, level: float = 1.0, covered_ns: int = MINUTE_NS) -> MinuteStats:
    """Return a minute of which both sides cost `level` times what `Constant` expects."""
    walks = np.stack([level * (0.02 + 1e-5 * SIZES)] * 2)
    return MinuteStats(
        symbol="X", minute=ts, n_books=1, n_rejected=0, rejected={}, n_late=0, n_trades=0, covered_ns=covered_ns,
        mid=31.0, half_spread=0.02, mid_close=31.0, volume_continuous=None, volume_auction=None,
        turnover_continuous=0.0,
        sizes=SIZES, slippage=walks, coverage=np.ones(walks.shape), lower_bound=walks, depth=np.array([1e3, 1e3]),
    )  # fmt: skip


def bands(session: Session = ALWAYS, level: float = 0.8) -> CostBands:
    return CostBands(0, session, MINUTE_NS, level)


def test_bands_before_any_shadow_are_the_prior() -> None:
    for n in (0, 1, 5, 60, 10_000):
        assert bands().of(n, 0.0, WARM).widths == pytest.approx((PRIOR_SD * T80, PRIOR_SD * T95), rel=0.02)
        assert bands().of(n, 0.0, WARM).middle == 0.0
    assert bands().record() == ()


def test_bands_before_any_shadow_are_wider_the_fewer_minutes_a_level_rests_on() -> None:
    wide = Known(0.0, 1e9, 80.0)
    widths = [bands().of(30, 0.0, wide._replace(minutes=m)).widths[1] / T95 for m in (0.0, 3.0, 30.0, 90.0, 1e9)]
    assert widths == pytest.approx([0.917, 0.583, 0.37, 0.32, PRIOR_SD], rel=0.02)
    # A longer plan reaches further past what was seen.
    longer = [bands().of(n, 0.0, wide._replace(minutes=15.0)).widths[1] / T95 for n in (5, 30, 60, 375)]
    assert longer == pytest.approx([0.417, 0.417, 0.479, 0.699], rel=0.02)
    # A narrow book has less far to go, and no book may be a wide one.
    narrow = [bands().of(30, 0.0, Known(0.0, 1e9, bps)).widths[1] / T95 for bps in (0.0, 2.0, 10.0, 80.0)]
    assert narrow == pytest.approx([0.35, 0.417, 0.57, 0.917], rel=0.02)
    assert bands().of(30, 0.0, Known(0.0, 1e9)).widths > bands().of(30, 0.0, wide).widths
    night = [bands().of(60, 0.0, Known(1e9, today)).widths[0] / T80 for today in (0.0, 15.0, 60.0)]
    assert night == pytest.approx([math.hypot(PRIOR_SD, NIGHT_SD / k) for k in (1.0, 2.0, 13.0**0.5)], rel=0.02)


@pytest.mark.parametrize(
    ("level", "freedom", "quantile"), [(0.8, 4, T80), (0.95, 4, T95), (0.95, 10, 2.2281389), (0.8, 1e9, 1.2815516)]
)
def test_t_quantile_is_near_the_table(level: float, freedom: float, quantile: float) -> None:
    assert t_quantile(level, freedom) == pytest.approx(quantile, rel=0.02)


def test_log_bands_always_hold_what_was_expected() -> None:
    shifted = LogBands(0.5, (0.1, 0.2))
    assert shifted.holds(0.0) == (True, True)
    assert shifted.holds(0.65) == (False, True)
    assert shifted.cost(100.0, 0) == pytest.approx((100.0, 100.0 * math.exp(0.6)))


def test_shadow_ends_after_its_length_and_is_scored_once() -> None:
    mine, model = bands(), Constant()
    scored = [mine.update(stats(minute(i)), model, WARM) for i in range(11)]
    assert [found for found in scored if found] == [[(5, (True, True))] * len(MULTIPLES)]


def test_update_with_exact_forecasts_narrows_the_bands() -> None:
    mine, model = bands(), Constant()
    for i in range(600):
        mine.update(stats(minute(i)), model, WARM)
    assert mine.of(60, 0.0, WARM).widths[0] < 0.5 * PRIOR_SD * T80
    assert mine.of(60, 0.0, WARM).middle == pytest.approx(0.0, abs=1e-9)
    [hour] = [record for record in mine.record() if record.intervals == 60]
    assert hour.coverage == (1.0, 1.0)
    assert 5 < hour.n_eff < 10


def test_update_with_a_persistent_error_moves_the_middle() -> None:
    mine, model = bands(), Constant()
    for i in range(900):
        mine.update(stats(minute(i), level=1.3), model, WARM)
    assert mine.of(5, 0.0, WARM).middle == pytest.approx(math.log(1.3), abs=0.03)


def test_update_of_thin_minutes_scores_nothing() -> None:
    mine, model = bands(), Constant()
    for i in range(100):
        assert mine.update(stats(minute(i), covered_ns=MINUTE_NS // 3), model, WARM) == []


def test_shadows_begin_and_end_within_a_session() -> None:
    mine, model = bands(NEW_YORK), Constant()
    for i in range(380, 400):
        mine.update(stats(minute(i)), model, WARM)
    assert model.asked == [5] * len(MULTIPLES)  # those that end with the session


def test_coverage_of_autocorrelated_errors_is_nominal() -> None:
    """Levels that wander for an hour, as spreads do: coverage goes to what it says, whatever the prior."""
    rng = np.random.default_rng(7)
    mine, model, level = bands(), Constant(), 0.0
    held: dict[int, list[tuple[bool, ...]]] = {n: [] for n in HORIZONS}
    for i in range(12_000):
        level = 0.98 * level + 0.1 * rng.standard_t(4)
        for n, holds in mine.update(stats(minute(i), math.exp(level)), model, WARM):
            held[n].append(holds)
    for n in (5, 15, 60):
        low, wide = np.mean(held[n], axis=0)
        assert low == pytest.approx(0.80, abs=0.02)
        assert wide == pytest.approx(0.95, abs=0.02)


def test_bands_of_a_large_plan_are_wider_where_depth_wanders_and_the_spread_does_not() -> None:
    rng = np.random.default_rng(7)
    mine, model, level = bands(), Constant(), 0.0
    for i in range(3_000):
        level = 0.98 * level + 0.2 * rng.normal()
        quiet = stats(minute(i))
        walks = np.stack([0.02 + math.exp(level) * 1e-5 * SIZES] * 2)
        mine.update(dataclasses.replace(quiet, slippage=walks, lower_bound=walks), model, WARM)
    usual = PLAN_REACH * SIZES[0]
    small, middle, large = (mine.of(60, multiple * usual, WARM).widths for multiple in MULTIPLES)
    assert small[0] < middle[0] < large[0]
    assert small[1] < middle[1] < large[1]
    between = mine.of(60, 2.0 * usual, WARM).widths[0]
    assert between == pytest.approx((middle[0] + large[0]) / 2)  # half way in logs
    assert mine.of(60, 1e9, WARM).widths == large
    assert mine.of(60, 1e-9, WARM).widths == small


def test_bands_where_orders_act_within_the_minute_are_about_what_slices_pay() -> None:
    """Slices pay 0.7 of what equal ones do, more or less by the hour; what is expected follows."""
    rng = np.random.default_rng(3)
    mine, model = CostBands(0, ALWAYS, MINUTE_NS, 0.8, acts=True), Constant()
    assert mine.of(60, 0.0, WARM).factor == 1.0
    paid, ratio = (0.0, 0.0, 0.0, 0.0), 0.0
    held: list[tuple[bool, ...]] = []
    for i in range(6_000):
        ratio = 0.95 * ratio + 0.06 * rng.normal()
        mine_cost = 0.7 * math.exp(ratio)
        paid = paid[0] + 2.0, paid[1] + 2.0 * mine_cost, paid[2] + 1.0, paid[3] + 1.0
        held += [holds for n, holds in mine.update(stats(minute(i)), model, WARM, paid) if n == 15]
    bands = mine.of(15, 0.0, WARM)
    assert bands.factor == pytest.approx(0.7, rel=0.1)
    assert bands.middle == 0.0
    assert np.mean(held, axis=0) == pytest.approx([0.80, 0.95], abs=0.02)


def test_saved_bands_continue_bit_for_bit() -> None:
    one, model = bands(), Constant()
    rng = np.random.default_rng(1)
    levels = np.exp(rng.normal(0, 0.3, 400))
    for i in range(200):
        one.update(stats(minute(i), levels[i]), model, WARM)
    other = bands()
    load_all(other, [other, *other.shadows], save_all(one, [one, *one.shadows]))
    for i in range(200, 400):
        assert one.update(stats(minute(i), levels[i]), model, WARM) == other.update(
            stats(minute(i), levels[i]), model, WARM
        )
    assert save_all(one, [one, *one.shadows]) == save_all(other, [other, *other.shadows])


def test_load_of_other_levels_begins_again() -> None:
    one, model = bands(), Constant()
    for i in range(100):
        one.update(stats(minute(i), 1.5), model, WARM)
    other = bands(level=0.9)
    load_all(other, [other, *other.shadows], save_all(one, [one, *one.shadows]))
    assert other.record() == ()
    assert not any(other.shadows)


def test_state_stays_bounded() -> None:
    mine, model = bands(), Constant()
    for i in range(1_000):
        mine.update(stats(minute(i), math.exp(math.sin(i))), model, WARM)
    assert len(orjson.dumps(mine.save())) < 2_000
    assert len(save_all(mine, [mine, *mine.shadows])) < 8_000
