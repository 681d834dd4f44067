"""What fills have cost: the parts sum exactly, whatever the prices."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.base.quantity import QUANTA
from impactd.core.orders.costs import (
    COST_QUANTA,
    Costs,
    Mark,
    Shortfall,
    average_px,
    bps,
    currency,
    fill_costs,
    opportunity,
)

PX = st.floats(1e-8, 1e9)
MARKS = st.builds(
    Mark,
    at=st.just(0),
    mid=st.none() | PX,
    half_spread=st.none() | st.floats(0, 1e3),
    predicted_px=st.none() | st.floats(0, 1e3),
    bias=st.just(1.0),
    liquidity=st.sampled_from(["taker", "maker", None]),
)
FILLS = st.lists(st.tuples(st.integers(0, 10**15), PX, MARKS), max_size=8)


@given(st.sampled_from([1, -1]), FILLS, PX, PX, st.integers(0, 10**15))
def test_parts_sum_to_the_shortfall_exactly(
    sign: int, fills: list[tuple[int, float, Mark]], arrival: float, end: float, left: int
) -> None:
    costs = Costs()
    for qty, px, mark in fills:
        costs.add(fill_costs(sign, qty, px, mark, arrival))
    missed = opportunity(sign, left, end, arrival)
    assert missed is not None

    def nano(px: float) -> int:
        return round(Fraction(px) * 10**9)

    bought = sum(sign * qty * (nano(px) - nano(arrival)) for qty, px, _ in fills)
    assert costs.spread + costs.impact + costs.timing + missed == bought + sign * left * (nano(end) - nano(arrival))
    spread, impact, timing, lost, total = parts = Shortfall.of(costs, missed)
    assert lost == currency(missed)
    if any(qty and mark.mid is None for qty, _, mark in fills):
        # What such a fill paid in spread and in impact nobody knows; all together is known.
        assert (spread, impact, timing) == (None, None, None)
        assert total == currency(costs.spread + costs.impact + costs.timing + missed)
    else:
        assert None not in parts
        assert spread + impact + timing + lost == total  # type: ignore[operator]  # none of them is None
    assert Shortfall.of(costs, missed, measured=False) == (None, None, None, lost, None)
    assert Shortfall.of(costs, None).total is Shortfall.of(costs, None).opportunity is None


@given(st.sampled_from([1, -1]), FILLS, PX)
def test_what_is_taken_back_leaves_nothing(sign: int, fills: list[tuple[int, float, Mark]], arrival: float) -> None:
    costs = Costs()
    for qty, px, mark in fills:
        costs.add(fill_costs(sign, qty, px, mark, arrival))
    for qty, px, mark in reversed(fills):
        costs.add(fill_costs(sign, qty, px, mark, arrival), -1)
    assert costs == Costs()
    assert Costs.load(costs.save()) == costs


@pytest.mark.parametrize(
    ("sign", "liquidity", "px", "parts"),
    [
        (1, "taker", 100.05, (2.0, 3.0, 50.0)),
        (1, None, 100.05, (2.0, 3.0, 50.0)),
        (1, "maker", 99.98, (-2.0, 0.0, 50.0)),
        (-1, "taker", 99.95, (2.0, 3.0, -50.0)),
    ],
)
def test_fill_of_100_against_mid_100_and_arrival_99_50(
    sign: int, liquidity: str | None, px: float, parts: tuple[float, float, float]
) -> None:
    mark = Mark(0, 100.0, 0.02, 0.04, 1.0, liquidity)
    costs = fill_costs(sign, 100 * QUANTA, px, mark, 99.5)
    assert tuple(map(currency, (costs.spread, costs.impact, costs.timing))) == parts
    assert currency(costs.predicted) == 4.0
    assert currency(costs.slippage) == pytest.approx(parts[0] + parts[1])
    assert average_px(costs.notional, costs.qty) == px


def test_fill_without_a_mid_is_timing() -> None:
    costs = fill_costs(1, 100 * QUANTA, 101.0, Mark(0, None, None, 0.04, 1.0, "taker"), 100.0)
    assert (costs.spread, costs.impact, currency(costs.timing)) == (0, 0, 100.0)
    assert costs.predicted_qty == 0


def test_opportunity_of_what_rose_is_lost_by_a_buy() -> None:
    assert currency(opportunity(1, 10 * QUANTA, 101.0, 100.0)) == 10.0
    assert currency(opportunity(-1, 10 * QUANTA, 101.0, 100.0)) == -10.0
    assert opportunity(1, 10 * QUANTA, None, 100.0) is opportunity(1, 10 * QUANTA, 100.0, None) is None
    assert opportunity(1, 0, None, None) == 0


def test_bps_of_nothing_is_none() -> None:
    assert bps(5, 0, 100.0) is None
    assert bps(5, QUANTA, None) is None
    assert bps(COST_QUANTA, 100 * QUANTA, 100.0) == 1.0
    assert average_px(0, 0) is None


def test_costs_beyond_all_floats_are_none_and_no_error() -> None:
    huge = fill_costs(1, 10**18, 1.7e308, Mark(0, 1.0, 0.0, None, 1.0, None), 1.0)
    assert currency(huge.impact) is None
    assert average_px(huge.notional, huge.qty) is None
    assert Shortfall.of(huge).total is None
    assert math.isfinite(currency(huge.spread) or 0.0)
