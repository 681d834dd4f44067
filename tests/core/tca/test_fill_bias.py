"""The bias of taker fills: persistent ones are found, noise is left alone, and it is bounded."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from impactd.core.base.settings import MINUTE_NS
from impactd.core.tca.fill_bias import FillBias


def fed(ratios: list[float] | np.ndarray) -> FillBias:
    bias = FillBias()
    for i, ratio in enumerate(ratios):
        bias.take(i * MINUTE_NS, 100.0, 2.0 * ratio, 2.0)
    bias.close(len(ratios) * MINUTE_NS)
    return bias


def test_ratio_without_fills_is_one() -> None:
    assert FillBias().ratio(0.25) == 1.0


def test_ratio_of_one_surprise_is_near_one() -> None:
    assert fed([3.0]).ratio(0.25) == 1.0


def test_ratio_of_a_persistent_bias_goes_there() -> None:
    noise = np.random.default_rng(3).normal(0, 0.3, 600)
    assert fed(1.15 + noise).ratio(0.25) == pytest.approx(1.15, abs=0.03)
    assert fed(0.85 + noise).ratio(0.25) == pytest.approx(0.85, abs=0.06)


def test_ratio_of_noise_is_close_to_one() -> None:
    found = [fed(1.0 + np.random.default_rng(seed).normal(0, 0.5, 300)).ratio(0.25) for seed in range(50)]
    assert np.mean(np.array(found) == 1.0) > 0.5
    assert max(abs(ratio - 1.0) for ratio in found) < 0.1


@pytest.mark.parametrize(("ratio", "bound"), [(50.0, 1.25), (-50.0, 0.8)])
def test_ratio_is_bounded(ratio: float, bound: float) -> None:
    assert fed([ratio] * 500).ratio(0.25) == pytest.approx(bound)
    assert fed([ratio] * 500).ratio(0.0) == 1.0


def test_fills_of_one_interval_are_one_observation() -> None:
    whole, parts = FillBias(), FillBias()
    whole.take(0, 100.0, 3.0, 2.0)
    for _ in range(4):
        parts.take(0, 25.0, 0.75, 0.5)
    assert parts.filled_in(0) == 100.0
    assert parts.filled_in(MINUTE_NS) == 0.0
    for bias in (whole, parts):
        bias.close(MINUTE_NS)
    assert whole.save() == parts.save()
    assert whole.info == 1.0


def test_correction_within_the_interval_takes_back() -> None:
    bias, clean = FillBias(), FillBias()
    bias.take(0, 100.0, 8.0, 2.0)
    bias.take(0, -100.0, -8.0, -2.0)
    bias.take(0, 50.0, 1.0, 1.0)
    clean.take(0, 50.0, 1.0, 1.0)
    assert bias.save() == clean.save()


def test_correction_of_an_interval_that_is_over_changes_nothing() -> None:
    bias = fed([1.0, 1.0])
    bias.take(2 * MINUTE_NS, 1.0, 1.0, 1.0)
    before = bias.save()
    bias.take(0, -100.0, -8.0, -2.0)
    assert bias.save() == before


def test_saved_bias_continues_bit_for_bit() -> None:
    bias, other = fed([1.3, 0.7, 1.1]), FillBias()
    other.load(orjson.loads(orjson.dumps(bias.save())))
    for one in (bias, other):
        one.take(9 * MINUTE_NS, 1.0, 1.5, 1.0)
        one.close(10 * MINUTE_NS)
    assert bias.save() == other.save()
