"""The law for quantity beyond what books show: nothing within them, a closed form beyond, and stated apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.allocator.curve import Curve
from impactd.core.base.quantity import QUANTA
from impactd.core.outputs.messages import Plan
from impactd.core.planning.estimate import CostEstimate
from impactd.core.planning.metaorder import LAWS, BeyondBooks, Metaorder
from tests.core.builders import T0, EngineHarness, M, at, ladder, new, plans, settings
from tests.core.rows import trade

#: Far more than the 800 shares that a side of the book shows, in each minute.
LARGE = 60_000.0


def market(**terms: Any) -> EngineHarness:
    """Return an engine that has seen half an hour of a moving mid, with 1,000 shares traded in each minute."""
    harness = EngineHarness(settings(**terms))
    rows = [ladder(T0 + k * M // 3, mid=100.0 + 0.02 * ((7 * k) % 5 - 2)) for k in range(91)]
    rows += [trade(T0 + k * M + 30 * 10**9, px=100.0, qty=1_000.0) for k in range(30)]
    harness.run(sorted(rows, key=lambda row: row.ts))
    return harness


def planned(qty: float, **terms: Any) -> Plan:
    (plan,) = plans(market(**terms).send(new("A", qty, at(31), 12 * M)))
    assert isinstance(plan, Plan)
    return plan


def line(n: int, s: float = 0.02, b: float = 1e-5) -> Curve:
    return Curve(np.full(n, s), np.full(n, b), np.zeros(n), np.zeros(n), 1.0)


@pytest.mark.parametrize("name", LAWS)
def test_plan_within_what_books_show_costs_the_same_with_the_law(name: str) -> None:
    off, on = planned(1_200.0), planned(1_200.0, metaorder=name)
    assert off.metaorder_cost is None
    assert on.metaorder_cost == 0.0
    assert (on.qty, on.expected_cost, on.cost_band) == (off.qty, off.expected_cost, off.cost_band)


@pytest.mark.parametrize("name", LAWS)
def test_plan_beyond_what_books_show_trades_the_same_and_states_the_law_s_part(name: str) -> None:
    off, on = planned(LARGE), planned(LARGE, metaorder=name)
    assert on.qty == off.qty
    assert on.extrapolated_qty > 0
    assert on.metaorder_cost is not None
    assert on.expected_cost is not None
    assert 0.0 < on.metaorder_cost < on.expected_cost
    assert on.expected_cost != off.expected_cost


def test_law_s_part_is_proportional_to_its_coefficient() -> None:
    one, two = (planned(LARGE, metaorder="square_root", metaorder_coefficient=y) for y in (1.0, 2.0))
    assert one.metaorder_cost == pytest.approx(planned(LARGE, metaorder="square_root").metaorder_cost)
    assert two.metaorder_cost == pytest.approx(2.0 * (one.metaorder_cost or math.nan))


def test_without_volume_the_curve_goes_on_and_no_law_is_stated() -> None:
    harness = EngineHarness(settings(metaorder="square_root"))
    harness.run([ladder(T0 + k * M // 3) for k in range(31)])
    (plan,) = plans(harness.send(new("A", LARGE, at(11), 12 * M)))
    assert plan.metaorder_cost is None
    assert plan.expected_cost is not None


def test_estimate_states_what_the_plan_states() -> None:
    harness = market(metaorder="sato_kanazawa")
    found: CostEstimate = harness.engine.estimate(new("estimate", LARGE, at(31), 12 * M))
    (plan,) = plans(harness.send(new("A", LARGE, at(31), 12 * M)))
    own, even = found.schedules[:2]
    assert own.metaorder_cost == pytest.approx(plan.metaorder_cost)
    assert own.cost == pytest.approx(plan.expected_cost)
    assert even.cost == pytest.approx(plan.twap_cost)


def test_orders_on_one_book_share_the_law_s_part_as_they_trade_beyond_it() -> None:
    harness = market(metaorder="square_root")
    harness.send(new("A", LARGE, at(31), 12 * M), new("B", LARGE, at(31), 12 * M))
    last = {name: harness.last(name) for name in ("A", "B")}
    parts = [last[name].metaorder_cost or 0.0 for name in ("A", "B")]
    alone = planned(2 * LARGE, metaorder="square_root")
    assert sum(parts) == pytest.approx(alone.metaorder_cost, rel=1e-6)
    shares = [sum(last[name].qty) / QUANTA for name in ("A", "B")]
    assert parts[0] / parts[1] == pytest.approx(shares[0] / shares[1], rel=0.05)


def test_charge_is_the_closed_form() -> None:
    law = BeyondBooks(np.array([100.0, 100.0]), 50.0, Metaorder(0.01, 0.5))
    more, part = law.charge(line(2), np.array([300.0, 80.0]))
    assert part == pytest.approx(0.01 * (430.0**1.5 - 230.0**1.5))
    # The line rises no further: 200 shares at the price of the hundredth one, not up to that of the three hundredth.
    assert more == pytest.approx(part - 1e-5 * 200.0**2)


@given(
    x=st.lists(st.floats(0.0, 1e5), min_size=1, max_size=6),
    shown=st.floats(1.0, 1e4),
    scale=st.floats(0.0, 1.0),
    done=st.floats(0.0, 1e5),
)
def test_charge_is_nothing_within_and_grows_without_a_jump_beyond(
    x: list[float], shown: float, scale: float, done: float
) -> None:
    qty = np.array(x)
    law = BeyondBooks(np.full(qty.size, shown), done, Metaorder(scale, 0.489))
    curve = line(qty.size)
    assert law.charge(curve, np.minimum(qty, shown)) == (0.0, 0.0)
    more, part = law.charge(curve, qty)
    assert part >= 0.0
    assert float(curve.cost(qty).sum()) + more >= float(curve.cost(np.minimum(qty, shown)).sum()) * (1.0 - 1e-9)
    at_edge = law.charge(curve, np.full(qty.size, shown * (1.0 + 1e-9)))
    assert at_edge[1] <= scale * 2.0 * (done + qty.size * shown) ** 0.489 * qty.size * shown * 1e-9 + 1e-6 * scale
