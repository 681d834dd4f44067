"""Several orders together: against Clarabel, brute force, and what one order of their sum would do."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.allocator.allocate import NO_CAP, Allocation, allocate
from impactd.core.allocator.certificate import CERTIFICATE_TOLERANCE
from impactd.core.allocator.joint.cvxpy import solve_together
from impactd.core.allocator.joint.interior import solve_group
from impactd.core.allocator.joint.problem import GroupOrder, JointAllocation, joint_objective
from impactd.core.allocator.joint.turns import allocate_jointly
from impactd.core.allocator.problem import Float, Problem
from impactd.core.base.quantity import QUANTA


def member(n: int, qty: float, lot: float = 1.0, window: tuple[int, int] | None = None, **terms: Any) -> GroupOrder:
    lo, hi = window or (0, n)
    cap = np.zeros(n, np.int64)
    limit = terms.get("cap")
    cap[lo:hi] = NO_CAP if limit is None else round(limit * QUANTA)
    current = np.zeros(n, np.int64) if terms.get("current") is None else terms["current"]
    return GroupOrder(round(qty * QUANTA), round(lot * QUANTA), cap, terms.get("risk", 0.0), current)


def solved(problem: Problem, members: list[GroupOrder]) -> JointAllocation:
    found = allocate_jointly(problem, members, solvers=("exact", "clarabel"))
    assert isinstance(found, JointAllocation), found
    assert found.kkt_residual <= CERTIFICATE_TOLERANCE
    for row, one, short in zip(found.quanta, members, found.shortfall_quanta, strict=True):
        assert np.all((row >= 0) & (row <= one.cap_quanta))
        assert int(np.sum(row)) + short == one.qty_quanta
        assert np.count_nonzero(row % one.lot_quanta) <= 1
    return found


def cost(problem: Problem, members: list[GroupOrder], x: Float) -> float:
    return joint_objective(problem, [p.risk for p in members], [p.qty_quanta / QUANTA for p in members], x)


def random_group(seed: int, *, risky: bool) -> tuple[Problem, list[GroupOrder]]:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 25))
    kind = seed % 3
    s, beta = rng.uniform(0.01, 0.03, n), rng.uniform(1e-5, 5e-5, n)
    if kind == 0:
        problem = Problem.from_impact(s, beta)
    elif kind == 1:
        problem = Problem.from_impact(s, beta, rng.uniform(1e-9, 5e-9, n))
    else:
        problem = Problem.from_impact(s, eta=rng.uniform(1e-4, 4e-4, n), delta=0.6)
    members = []
    for _ in range(int(rng.integers(2, 4))):
        lo = int(rng.integers(0, n))
        window = (lo, int(rng.integers(lo + 1, n + 1)))
        limit = float(rng.uniform(100, 900)) if rng.random() < 0.5 else None
        risk = float(rng.choice([0.0, 1e-6, 1e-5])) if risky else 0.0
        members.append(member(n, float(rng.integers(100, 3_000)), 1e-6, window, cap=limit, risk=risk))
    return problem, members


@given(seed=st.integers(0, 2**32 - 1), risky=st.booleans())
@settings(max_examples=30, deadline=None)
def test_joint_schedules_cost_what_clarabel_finds(*, seed: int, risky: bool) -> None:
    problem, members = random_group(seed, risky=risky)
    found = allocate_jointly(problem, members, solvers=("exact", "clarabel"))
    assert isinstance(found, JointAllocation), found
    caps = np.stack([np.minimum(p.cap_quanta, p.qty_quanta) for p in members]) / QUANTA
    qty = np.sum(found.quanta, axis=1) / QUANTA
    other = solve_together(problem, qty, caps, [p.risk for p in members])
    if isinstance(other, np.ndarray):
        theirs = cost(problem, members, np.maximum(other, 0.0))
        assert cost(problem, members, found.quanta / QUANTA) <= theirs * (1 + 1e-6)


def test_joint_uncapped_linear_sum_is_the_closed_form() -> None:
    beta = np.array([1e-5, 2e-5, 4e-5, 2e-5])
    problem = Problem.from_impact(np.full(4, 0.01), beta)
    found = solved(problem, [member(4, 700, 1e-9), member(4, 200, 1e-9)])
    expected = 900 * (1 / beta) / np.sum(1 / beta)
    np.testing.assert_allclose(np.sum(found.quanta, axis=0) / QUANTA, expected, rtol=1e-7)


def test_joint_same_window_sum_is_what_one_order_trades() -> None:
    rng = np.random.default_rng(3)
    problem = Problem.from_impact(rng.uniform(0.01, 0.02, 30), rng.uniform(1e-5, 4e-5, 30))
    one = allocate(problem, 5_000 * QUANTA, QUANTA)
    assert isinstance(one, Allocation)
    found = solved(problem, [member(30, 3_000), member(30, 2_000)])
    assert cost(problem, [member(30, 5_000)], np.sum(found.quanta, axis=0)[None] / QUANTA) == pytest.approx(
        cost(problem, [member(30, 5_000)], one.quanta[None] / QUANTA), rel=1e-12
    )


def placements(lots: int, caps: list[int]) -> list[tuple[int, ...]]:
    return [c for c in itertools.product(*(range(min(cap, lots) + 1) for cap in caps)) if sum(c) == lots]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_joint_whole_lots_are_the_optimum_of_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = Problem.from_impact(rng.uniform(0, 0.02, 3), rng.uniform(1e-4, 4e-3, 3))
    caps = [[int(c) for c in rng.integers(0, 4, 3)] for _ in range(2)]
    lots = [min(int(rng.integers(1, 6)), sum(row)) for row in caps]
    members = [
        GroupOrder(k * QUANTA, QUANTA, np.array(row, np.int64) * QUANTA, 0.0, np.zeros(3, np.int64))
        for k, row in zip(lots, caps, strict=True)
    ]
    found = solved(problem, members)
    best = min(
        cost(problem, members, np.array([a, b], np.float64))
        for a in placements(lots[0], caps[0])
        for b in placements(lots[1], caps[1])
    )
    assert cost(problem, members, found.quanta / QUANTA) <= best * (1 + 1e-12) + 1e-15


def test_joint_keeps_current_plans_that_cost_no_more() -> None:
    problem = Problem.from_impact(np.full(4, 0.01), np.full(4, 1e-5))
    current = [np.array([4, 0, 4, 0], np.int64) * QUANTA, np.array([0, 4, 0, 4], np.int64) * QUANTA]
    found = solved(problem, [member(4, 8, current=row) for row in current])
    assert [row.tolist() for row in found.quanta] == [row.tolist() for row in current]


def test_joint_split_is_the_projection_that_clarabel_finds() -> None:
    cp: Any = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(11)
    n, qty = 8, np.array([200.0, 150.0, 250.0])
    problem = Problem.from_impact(np.full(n, 0.01), rng.uniform(1e-5, 2e-5, n))
    cap, plans = rng.uniform(40, 90, (3, n)), rng.uniform(0, 60, (3, n))
    x = np.empty((3, n))
    solve_group(qty, problem.curve, np.zeros(n), cap, plans, x)
    u = cp.Variable(x.shape)
    terms = [cp.sum(u, axis=0) == np.sum(x, axis=0), cp.sum(u, axis=1) == qty, u >= 0, u <= cap]
    cp.Problem(cp.Minimize(cp.sum_squares(u - plans)), terms).solve(solver="CLARABEL")
    np.testing.assert_allclose(x, u.value, atol=0.1)  # who trades what costs nothing


@pytest.mark.parametrize("orders", [2, 20])
def test_joint_orders_of_a_day_with_other_windows_and_caps_are_certified(orders: int) -> None:
    rng = np.random.default_rng(orders)
    n = 390
    problem = Problem.from_impact(0.01 * np.exp(rng.normal(0, 0.3, n)), 1e-6 * np.exp(rng.normal(0, 0.5, n)))
    members = [
        member(n, 5_000 + 1_000 * i, 1.0, (0, n - 360 * i // orders), cap=400.0 if i % 3 else None)
        for i in range(orders)
    ]
    found = solved(problem, members)
    assert found.gap is None
    assert found.kkt_residual <= 5e-7


@pytest.mark.parametrize("risk", [0.0, 1e-6])
def test_joint_replanning_on_path_changes_nothing(risk: float) -> None:
    rng = np.random.default_rng(5)
    n = 12
    problem = Problem.from_impact(rng.uniform(0.01, 0.02, n), rng.uniform(1e-5, 4e-5, n))
    first = solved(problem, [member(n, 1_500, risk=risk), member(n, 800, window=(3, n))])
    rest = Problem.from_impact(problem.curve.s[1:], problem.curve.b[1:])
    left = [int(np.sum(row[1:])) / QUANTA for row in first.quanta]
    again = solved(
        rest,
        [
            member(n - 1, left[0], risk=risk, current=first.quanta[0, 1:]),
            member(n - 1, left[1], window=(2, n - 1), current=first.quanta[1, 1:]),
        ],
    )
    assert np.array_equal(again.quanta, first.quanta[:, 1:])


def test_joint_without_room_states_each_shortfall() -> None:
    problem = Problem.from_impact(np.full(3, 0.01), np.full(3, 1e-5))
    found = solved(problem, [member(3, 100, cap=10.0), member(3, 20)])
    assert found.shortfall_quanta == (70 * QUANTA, 0)
