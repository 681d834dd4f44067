"""Slices of whole days: what they may take, when, and that nothing to come moves them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import CoreSettings, PlanSettings
from impactd.core.base.topics import Side
from impactd.core.outputs.messages import Slice
from tests.core.builders import T0, EngineHarness, M, S, at, encoded, fill, halt, ladder, new, random_rows
from tests.core.rows import Row

seeds = st.integers(0, 2**32 - 1)


def acting(fills: str = "scheduled", **plans: Any) -> EngineHarness:
    return EngineHarness(CoreSettings(plans=PlanSettings(act="slices", fills=fills, **plans), apply="in_event_time"))


def slices(harness: EngineHarness, cl_ord_id: str | None = None) -> list[Slice]:
    said = [output.message for output in harness.outputs if isinstance(output.message, Slice)]
    return [one for one in said if cl_ord_id in {None, one.cl_ord_id}]


def wavy(n: int, seed: int = 0) -> list[Row]:
    """Return `n` minutes of books, one each five seconds, whose depth and mid change."""
    rng = np.random.default_rng(seed)
    mids = 100.0 + 0.01 * np.cumsum(rng.integers(-1, 2, n * 12))
    return [
        ladder(T0 + k * 5 * S, mid=round(float(mids[k]), 2), size=float(rng.integers(1, 9)) * 50) for k in range(n * 12)
    ]


def by_minute(said: Sequence[Slice]) -> dict[int, int]:
    found: dict[int, int] = defaultdict(int)
    for one in said:
        found[one.as_of // M * M] += one.qty
    return found


def test_an_order_completes_by_slices_alone() -> None:
    harness = acting()
    harness.put(new(qty=6_000, ts=at(10), length=20 * M))
    harness.run([*wavy(32), ladder(at(34))])
    said = slices(harness)
    assert sum(one.qty for one in said) == 6_000 * QUANTA
    assert [one.slice for one in said] == list(range(1, len(said) + 1))
    assert all(at(10) <= one.as_of < one.valid_until <= at(30) for one in said)
    assert all(one.as_of % (15 * S) == 0 for one in said)
    assert {one.reason for one in said} >= {"cheap"}
    assert harness.last().status == "done"


def test_an_order_completes_where_its_interval_cap_leaves_no_choice() -> None:
    harness = acting()
    harness.put(new(qty=6_000, ts=at(10), length=20 * M, max_interval_qty=310 * QUANTA))
    harness.run([*wavy(32), ladder(at(34))])
    said = slices(harness)
    assert sum(one.qty for one in said) == 6_000 * QUANTA
    assert max(by_minute(said).values()) <= 310 * QUANTA


@pytest.mark.parametrize("side", Side)
def test_cheap_slices_stay_below_their_reservation(side: Side) -> None:
    harness = acting()
    harness.put(new(qty=6_000, ts=at(10), length=20 * M, side=side))
    harness.run([*wavy(32), ladder(at(34))])
    cheap = [one for one in slices(harness) if one.reason == "cheap"]
    assert cheap
    assert any(one.expected_move for one in cheap)
    for one in cheap:
        assert one.reservation is not None
        move = one.side.sign * one.expected_move
        assert one.side.sign * (one.limit_px - one.mid) - move <= one.reservation * (1 + 1e-9)


def test_slices_beat_equal_ones_where_depth_comes_and_goes() -> None:
    """The sum of what was paid over mid is below that of TWAP at the same decisions: a quarter of a minute is deep."""
    rng, harness = np.random.default_rng(5), acting()
    deep = rng.integers(0, 4, 62)
    mids = 100.0 + 0.01 * np.cumsum(rng.integers(-1, 2, 62 * 12))
    # Books change a second before a decision, and stay until after its slices are executed.
    rows = [
        ladder(T0 + k * 5 * S - S, mid=round(float(mids[k]), 2), size=40.0 + 400.0 * (deep[k // 12] == k % 12 // 3))
        for k in range(1, 62 * 12)
    ] + [ladder(at(64))]
    harness.put(new(qty=8_000, ts=at(20), length=40 * M))
    harness.run(rows)

    def cost(ts: int, qty: float) -> float:
        row = max((row for row in rows if row.ts < ts), key=lambda row: row.ts)
        mid, left, paid = 0.5 * (row.bids[0][0] + row.asks[0][0]), qty, 0.0
        for px, size in row.asks:
            paid += min(size, left) * (px - mid)
            left -= min(size, left)
        return paid + left * (row.asks[-1][0] - mid)

    ours = sum(cost(one.as_of, one.qty / QUANTA) for one in slices(harness))
    even = sum(cost(at(20) + k * 15 * S, 8_000 / 160) for k in range(160))
    assert ours < 0.97 * even


@given(
    seed=seeds, named=st.sampled_from(["max_interval_qty", "lot_size", "blackouts", "participation", "clip", "none"])
)
@hypothesis_settings(max_examples=30, deadline=None)
def test_limits_hold_for_any_input(seed: int, named: str) -> None:
    rng = np.random.default_rng(seed)
    terms: dict[str, Any] = {
        "max_interval_qty": {"max_interval_qty": 400 * QUANTA},
        "lot_size": {"lot_size": 100 * QUANTA},
        "blackouts": {"blackouts": ((at(8), at(11)),)},
        "participation": {"participation_rate": 0.2},
        "clip": {"min_clip_qty": 50 * QUANTA},
        "none": {},
    }[named]
    harness = acting(str(rng.choice(["reported", "scheduled"])))
    orders = [
        new(f"{name}", 2_050, at(4 + k), 12 * M, symbol="FROG", side=side, **terms)
        for k, (name, side) in enumerate([("A", Side.BUY), ("B", Side.BUY), ("C", Side.SELL)])
    ]
    harness.put(*orders)
    rows = random_rows(rng, 600, ["FROG", "TOAD"], 18 * M)
    harness.run([*rows, ladder(at(19))])
    for order in orders:
        said = slices(harness, order.cl_ord_id)
        reported = harness.core.plans.fills == "reported"
        if not reported:
            assert sum(one.qty for one in said) <= order.terms.order_qty
        assert all(order.terms.start <= one.as_of < order.terms.end for one in said)
        if named == "max_interval_qty":
            assert max(by_minute(said).values(), default=0) <= 400 * QUANTA
        if named == "lot_size":
            assert sum(1 for one in said if one.qty % (100 * QUANTA)) <= (len(said) if reported else 1)
        if named == "blackouts":
            assert not any(at(8) <= one.as_of < at(11) for one in said)
        if named == "clip":
            assert sum(1 for one in said if one.qty < 50 * QUANTA) <= (len(said) if reported else 1)
        if named == "participation" and not reported:
            traded = 0.0
            for one in said:
                traded += one.qty / QUANTA
                market = sum(
                    r.qty for r in rows if r.qty and r.symbol == "FROG" and order.terms.start <= r.ts < one.as_of
                )
                assert traded <= 0.2 * market + 1e-6


def test_unfilled_slices_are_out_until_their_fills_can_no_longer_be_reported() -> None:
    """Nothing is filled: at any time what is out is no more than the order."""
    harness = acting("reported", slice_latency_ns=20 * S)
    harness.put(new(qty=300, ts=at(10), length=6 * M))
    harness.run([*wavy(18), ladder(at(19))])
    said = slices(harness)
    assert said
    for one in said:
        out = [other.qty for other in said if other.as_of <= one.as_of < other.valid_until + 20 * S]
        assert sum(out) <= 300 * QUANTA


def test_fills_are_not_taken_again() -> None:
    harness = acting("reported")
    harness.put(new(qty=1_000, ts=at(10), length=10 * M), fill(at(12) + 20 * S, "E", 990))
    harness.run([*wavy(22), ladder(at(24))])
    later = [one for one in slices(harness) if one.as_of > at(12) + 20 * S]
    assert all(one.qty <= 10 * QUANTA for one in later)


def test_a_halted_order_takes_nothing() -> None:
    harness = acting()
    harness.put(new(qty=6_000, ts=at(10), length=10 * M), halt(at(12), "A"))
    harness.run([*wavy(22), ladder(at(24))])
    assert slices(harness)
    assert all(one.as_of <= at(12) for one in slices(harness))


def test_minutes_act_by_default() -> None:
    harness = EngineHarness(CoreSettings(apply="in_event_time"))
    harness.put(new(qty=6_000, ts=at(10), length=10 * M))
    harness.run([*wavy(22), ladder(at(24))])
    assert slices(harness) == []
    assert not any(key.startswith("slices") for key in harness.state)


def test_a_shuffled_future_moves_no_past_slice() -> None:
    rows, cut = wavy(30), at(18)
    shuffled = [row for row in rows if row.ts < cut]
    shuffled += [ladder(row.ts, mid=90.0, size=1.0) for row in rows if row.ts >= cut]
    said = []
    for books in (rows, shuffled):
        harness = acting()
        harness.put(new(qty=6_000, ts=at(10), length=18 * M))
        harness.run(books)
        said.append([o for o in harness.outputs if isinstance(o.message, Slice) and o.message.as_of <= cut])
    assert said[0]
    assert encoded(said[0]) == encoded(said[1])


def test_interval_of_decisions_divides_that_of_plans() -> None:
    with pytest.raises(ValueError, match="slice_interval_s"):
        CoreSettings(plans=PlanSettings(act="slices", slice_interval_ns=7 * S))
