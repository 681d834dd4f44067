"""Orders together on one book that once fell back, overflowed or cost the square of their number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from impactd.core.allocator.certificate import CERTIFICATE_TOLERANCE
from impactd.core.base.quantity import QUANTA
from impactd.core.inputs.events import NewOrder
from impactd.core.outputs.messages import Plan
from tests.core.builders import EngineHarness, M, S, at, cpu_s, fill, halt, ladder, new, resume, settings
from tests.core.rows import Row, trade

Q = QUANTA


def harness_of(rows: list[Row], **plans: Any) -> EngineHarness:
    harness = EngineHarness(settings(**plans))
    harness.run(sorted(rows, key=lambda row: row.ts))
    return harness


def coins(size: float) -> EngineHarness:
    """Return a harness after four minutes of a book of coins near 60,000, half a unit apart."""
    rows = []
    for k in range(5):
        mid = 60_000.0 * (1 + 1e-4 * (k % 4))
        bids = tuple((mid - 0.5 - 0.5 * i, size) for i in range(10))
        asks = tuple((mid + 0.5 + 0.5 * i, size) for i in range(10))
        rows.append(Row(at(k) + (S if k < 4 else 0), bids, asks))
    return harness_of(rows)


def planned_together(harness: EngineHarness, ids: list[str]) -> list[Plan]:
    """Return the orders' last plans after checking that certified problems gave them, and never a fallback."""
    found = [harness.last(cl_ord_id) for cl_ord_id in ids]
    assert harness.counts.unsolved == 0
    assert harness.alerts("joint_fallback") == harness.alerts("solver_failed") == []
    # A plan that stays as it was is not published again.
    assert {plan.group_id for plan in found} != {None}
    for plan in found:
        assert plan.certificate is not None
        assert plan.certificate.kkt_residual is not None
        assert plan.certificate.kkt_residual <= CERTIFICATE_TOLERANCE
    return found


@pytest.mark.parametrize(("n", "qty"), [(4, 10**9), (10, 10**9), (3, 4 * 10**9)])
def test_huge_orders_together_do_not_overflow(n: int, qty: int) -> None:
    def cheap(ts: int) -> Row:
        levels = [(round(1e-4 * (i + 1), 4), 1e8) for i in range(8)]
        return Row(ts, tuple((1.0 - d, s) for d, s in levels), tuple((1.0 + d, s) for d, s in levels))

    harness = harness_of([*(cheap(at(k) + S) for k in range(3)), cheap(at(3))])
    ids = [f"A{i}" for i in range(n)]
    harness.send(*(new(i, qty=qty, ts=at(3) + S, start=at(3), length=M) for i in ids))
    for plan in planned_together(harness, ids):
        assert (plan.qty, plan.shortfall_qty) == ((qty * Q,), 0)


@pytest.mark.parametrize("lot", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8])
@pytest.mark.parametrize("finer", [1, 10])
def test_coins_in_lots_of_any_size_are_planned_together(lot: float, finer: int) -> None:
    harness = coins(0.7)
    lots = [max(round(size * Q), 1) for size in (lot, lot / finer)]
    harness.send(
        new("A", qty=5, ts=at(4) + S, start=at(4), length=60 * M, lot_size=lots[0]),
        new("B", qty=3, ts=at(4) + S, start=at(4), length=45 * M, lot_size=lots[1]),
    )
    for plan, size in zip(planned_together(harness, ["A", "B"]), lots, strict=True):
        assert all(qty % size == 0 for qty in plan.qty)
        assert plan.shortfall_qty == 0


@pytest.mark.parametrize(("depth", "a", "b"), [(1e5, 5e6, 3e6), (1e7, 5e8, 3e8)])
def test_coins_by_the_million_are_planned_together(depth: float, a: float, b: float) -> None:
    harness = coins(depth)
    harness.send(
        new("A", qty=a, ts=at(4) + S, start=at(4), length=60 * M, lot_size=Q),
        new("B", qty=b, ts=at(4) + S, start=at(4), length=45 * M, lot_size=Q),
    )
    planned_together(harness, ["A", "B"])


@pytest.mark.parametrize(("a", "b"), [(10_000, 30_000), (10_000, 5_000), (100_000, 30_000)])
@pytest.mark.parametrize("lengths", [(30, 60), (60, 120), (60, 390), (120, 390)])
def test_two_ordinary_orders_are_planned_together(a: int, b: int, lengths: tuple[int, int]) -> None:
    rows = [*(ladder(at(k) + S, mid=100 + 0.01 * k, size=1_000, levels=10) for k in range(4)), ladder(at(4))]
    harness = harness_of(rows)
    for cl_ord_id, qty, length in zip("AB", (a, b), lengths, strict=True):
        harness.send(new(cl_ord_id, qty=qty, ts=at(4) + S, start=at(4), length=length * M))
    planned_together(harness, ["A", "B"])


@pytest.mark.parametrize("lengths", [(30, 60), (60, 30), (45, 50), (5, 120)])
@pytest.mark.parametrize(("a", "b"), [(10_000, 5_000), (5_000, 10_000), (100, 20_000), (3_000, 3_000)])
def test_two_orders_together_cost_no_less_than_each_alone(a: int, b: int, lengths: tuple[int, int]) -> None:
    """They share a book.  Where windows differ by 24 times the one curve of both is 2% off (docs/method.md)."""
    rows = [*(ladder(at(k) + S, mid=100 + 0.01 * k, size=1_000, levels=10) for k in range(4)), ladder(at(4))]
    orders = [
        new(name, qty=qty, ts=at(4) + S, start=at(4), length=n * M)
        for name, qty, n in zip("AB", (a, b), lengths, strict=True)
    ]

    def cost(*sent: NewOrder) -> float:
        harness = harness_of(rows)
        harness.send(*sent)
        return math.fsum(harness.last(order.cl_ord_id).expected_cost or math.nan for order in sent)

    alone = cost(orders[0]) + cost(orders[1])
    assert cost(*orders) >= alone * (0.98 if lengths == (5, 120) else 1 - 1e-9)


@pytest.mark.parametrize("seed", range(25))
def test_ordinary_orders_together_never_fall_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mid, size = float(rng.choice([30.0, 100.0, 500.0])), float(rng.choice([300, 1_000, 5_000]))
    rows: list[Row] = []
    for k in range(6):
        for second in (1, 20, 40):
            near, depth = round(mid * (1 + rng.normal(0, 1e-4)), 2), rng.integers(1, 10, (2, 10)) * size / 10
            bids = tuple((round(near - 0.01 * (i + 1), 2), float(depth[0, i])) for i in range(10))
            asks = tuple((round(near + 0.01 * (i + 1), 2), float(depth[1, i])) for i in range(10))
            rows += [Row(at(k) + second * S, bids, asks), trade(at(k) + second * S, 1_000.0, px=near)]
    harness = harness_of(rows)
    now, capped = at(6) + S, bool(rng.integers(2))
    ids = [f"A{i}" for i in range(int(rng.integers(2, 9)))]
    for cl_ord_id in ids:
        start = at(6 + int(rng.choice([0, 0, 5, 20])))
        end = max(at(6 + int(rng.choice([30, 60, 120, 390]))), start + M)
        rate = {"participation_rate": float(rng.choice([0.05, 0.1, 0.2]))} if capped and rng.random() < 0.7 else {}
        qty = int(rng.choice([100, 1_000, 5_000, 20_000, 100_000, 250_000]))
        lot = int(rng.choice([1, 1, 100])) * Q
        harness.send(new(cl_ord_id, qty=qty, ts=now, start=start, end=end, lot_size=lot, **rate))
    planned_together(harness, ids)
    harness.run([ladder(at(7) + S, mid=mid, size=size, levels=10)])
    planned_together(harness, ids)


def working(n: int) -> EngineHarness:
    """Return a harness in which `n` orders work one book."""
    harness = harness_of([*(ladder(at(k) + S) for k in range(3)), ladder(at(3))])
    harness._keep = lambda commit: harness.outputs.extend(commit.outputs)  # type: ignore[method-assign]  # its own checks cost O(n)
    # The same order in two halves of the book's life: halted, an order costs no plan.
    harness.send(halt(at(3) + S))
    harness.send(*(new(f"A{i:04}", qty=1_000 + i, ts=at(3) + S, start=at(3), length=30 * M) for i in range(n)))
    return harness


def test_resume_and_minute_of_many_orders_grow_like_their_number() -> None:
    """Eight times as many cost less than thirty times as much: the square would be sixty-four."""

    def work(n: int) -> dict[str, float]:
        harness = working(n)
        spent = {"resume": cpu_s(lambda: harness.send(resume(at(3) + 2 * S)))}
        assert [plan.status for plan in harness.plans("A0000")][-1] == "active"
        assert len(harness.plans("A0000")) == 2
        spent["minute"] = cpu_s(lambda: harness.run([ladder(at(4) + S, mid=101.0)]))
        spent["halt"] = cpu_s(lambda: harness.send(halt(at(4) + 2 * S)))
        return spent

    work(5)
    few, many = work(50), work(400)
    for name, spent in many.items():
        assert spent < 30 * max(few[name], 0.02), (name, few, many)


def test_events_that_wait_are_held_in_constant_time() -> None:
    def work(held: int) -> float:
        harness = harness_of([ladder(at(3))], max_held=100_000)
        harness._keep = lambda _commit: None  # type: ignore[method-assign]  # its own checks cost O(n)
        harness.send(*(fill(at(3) + S, f"e{i}", 1, f"U{i}") for i in range(held)))
        return cpu_s(lambda: harness.send(*(fill(at(3) + S, f"f{i}", 1, f"U{i}") for i in range(200))))

    work(50)
    assert work(6_000) < 8 * max(work(500), 0.02)
