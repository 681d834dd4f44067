"""Whole lots against brute force, and the identities that a plan rests on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from impactd.core.allocator.allocate import Allocation, allocate, caps_in_quanta
from impactd.core.allocator.bounds import MOST_LOTS, NO_CAP
from impactd.core.allocator.cost import objective, schedule_cost
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, Solution, SolveFailure
from impactd.core.allocator.solvers.registry import SOLVERS, get_solver
from impactd.core.base.quantity import QUANTA


def place(problem: Problem, qty: int, lot: int, cap: np.ndarray | None = None) -> Allocation:
    """Allocate in whole shares."""
    caps = None if cap is None else np.asarray(cap, dtype=np.int64) * QUANTA
    found = allocate(problem, qty * QUANTA, lot * QUANTA, caps)
    assert isinstance(found, Allocation), found
    return found


def shares(found: Allocation) -> list[int]:
    assert not np.any(found.quanta % QUANTA)
    return (found.quanta // QUANTA).tolist()


def splits(total: int, caps: list[int]) -> Iterator[tuple[int, ...]]:
    """Yield every way to put `total` lots under `caps`."""
    if len(caps) == 1:
        if total <= caps[0]:
            yield (total,)
        return
    for first in range(min(total, caps[0]) + 1):
        for others in splits(total - first, caps[1:]):
            yield (first, *others)


def cheapest(problem: Problem, qty: int, lot: int, cap: list[int]) -> tuple[float, int]:
    """Return the least cost of whole lots and one odd remainder, and what it places, by trying all."""
    lots, rest = divmod(qty, lot)
    cap_lots = [limit // lot for limit in cap]
    lots = min(lots, sum(cap_lots))
    best, odd = math.inf, math.inf
    for split in splits(lots, cap_lots):
        x = np.array(split, dtype=np.float64) * lot
        best = min(best, schedule_cost(problem, x))
        for t in range(len(cap)):
            if rest and x[t] + rest <= cap[t]:
                y = x.copy()
                y[t] += rest
                odd = min(odd, schedule_cost(problem, y))
    return (odd, lots * lot + rest) if math.isfinite(odd) else (best, lots * lot)


SMALL = st.one_of(st.integers(0, 3).map(float), st.floats(1e-6, 3.0))


@given(
    st.lists(st.tuples(SMALL, SMALL, SMALL, SMALL, st.integers(0, 30)), min_size=1, max_size=4),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.sampled_from([0.3, 0.5, 1.0, 1.5]),
    st.integers(0, 30),
    st.integers(1, 5),
)
@settings(max_examples=400, deadline=None)
def test_allocate_small_problem_equals_brute_force(
    rows: list[tuple[float, float, float, float, int]],
    terms: tuple[bool, bool, bool],
    delta: float,
    qty: int,
    lot: int,
) -> None:
    s, b, a, e = (np.array([row[k] for row in rows]) for k in range(4))
    b, a, e = (values * used for values, used in zip((b, a, e), terms, strict=True))
    cap = [row[4] for row in rows]
    problem = Problem.from_impact(s, b, a, e, delta)
    found = place(problem, qty, lot, np.array(cap))
    cost, placed = cheapest(problem, qty, lot, cap)
    assert sum(shares(found)) == placed
    assert found.shortfall_quanta == (qty - placed) * QUANTA
    assert all(0 <= x <= limit for x, limit in zip(shares(found), cap, strict=True))
    assert schedule_cost(problem, found.qty()) <= cost * (1 + 1e-12) + 1e-12
    assert sum(x % lot > 0 for x in shares(found)) <= 1


def test_allocate_rounding_down_overshoots_takes_the_lot_back() -> None:
    # One flat interval whose optimum is whole, ten steep ones just under a whole lot: rounding down and
    # adding the nine missing lots leaves a lot in the flat one that is dearer than the tenth steep lot.
    flat, steep, level = 1e-3, 1.0, 1.98
    spread = np.full(11, 0.0)
    spread[0] = level - 2 * flat * 5  # x* = 5 at this level; x* = 0.99 in the others
    beta = np.array([flat] + [steep] * 10)
    total = 5 + 10 * 0.99
    problem = Problem.from_impact(spread, beta)
    found = place(problem, 15, 1)
    assert total == pytest.approx(14.9)
    assert shares(found) == [5] + [1] * 10
    found = place(problem, 14, 1)
    assert shares(found) == [4] + [1] * 10
    found = place(problem, 13, 1)
    assert shares(found) == [3] + [1] * 10


def test_allocate_equal_intervals_earlier_ones_get_the_extra_lots() -> None:
    problem = Problem.from_impact(np.zeros(5), np.ones(5))
    assert shares(place(problem, 12, 1)) == [3, 3, 2, 2, 2]


def test_allocate_flat_costs_spread_lots_evenly() -> None:
    problem = Problem.from_impact(np.full(4, 0.01))
    assert sorted(shares(place(problem, 10, 1))) == [2, 2, 3, 3]


def test_allocate_billion_lots_sum_is_exact() -> None:
    rng = np.random.default_rng(2)
    problem = Problem.from_impact(rng.uniform(0.0, 0.02, 390), 10 ** rng.uniform(-12, -9, 390))
    found = allocate(problem, 1_000_000_007 * QUANTA, QUANTA)
    assert isinstance(found, Allocation)
    assert found.quanta.sum() == 1_000_000_007 * QUANTA
    assert not np.any(found.quanta % QUANTA)
    assert found.kkt_residual <= 1e-12


def test_allocate_coin_lots_are_exact() -> None:
    problem = Problem.from_impact(np.zeros(3), np.array([1.0, 2.0, 4.0]))
    found = allocate(problem, 700_000_001, 100_000)  # 0.700000001 coins in lots of 0.0001
    assert isinstance(found, Allocation)
    assert found.quanta.tolist() == [400_000_001, 200_000_000, 100_000_000]


@given(
    st.lists(
        st.tuples(st.floats(0.0, 0.05), st.floats(-9, -3), st.one_of(st.none(), st.integers(0, 10**13))),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 10**15),
    st.integers(1, 10**11),
    st.sampled_from([0.0, 1e-9]),
)
@example(rows=[(0.0, -3.0, 1)], qty=2**43 + 2, lot=1, risk=0.0)
@settings(max_examples=150, deadline=None)
def test_allocate_any_problem_identities_hold(
    rows: list[tuple[float, float, int | None]], qty: int, lot: int, risk: float
) -> None:
    problem = Problem.from_impact(
        np.array([row[0] for row in rows]), 10.0 ** np.array([row[1] for row in rows]), risk=risk
    )
    cap = np.array([NO_CAP if row[2] is None else row[2] for row in rows], dtype=np.int64)
    found = allocate(problem, qty, lot, cap)
    assert isinstance(found, Allocation), found
    assert int(found.quanta.sum()) + found.shortfall_quanta == qty
    assert np.all(found.quanta >= 0)
    assert np.all(found.quanta <= cap)
    assert np.count_nonzero(found.quanta % lot) <= 1
    # Of an order of very many lots several are placed as one.
    together = lot * (-(-(qty // lot) // MOST_LOTS) or 1)
    room = sum(min(limit // together, qty // together) for limit in cap.tolist())
    assert found.shortfall_quanta < together or found.quanta.sum() // together == room


def test_allocate_cap_below_a_lot_still_takes_the_odd_remainder() -> None:
    found = place(Problem.from_impact(np.zeros(2), np.ones(2)), 50, 100, np.array([40, 80]))
    assert shares(found) == [0, 50]
    assert found.shortfall_quanta == 0


def test_allocate_caps_default_to_the_problems() -> None:
    problem = Problem.from_impact(np.zeros(3), np.ones(3), cap=np.array([1.0, 2.5, np.inf]))
    assert caps_in_quanta(problem).tolist() == [QUANTA, 2_500_000_000, NO_CAP]
    found = allocate(problem, 30 * QUANTA, QUANTA)
    assert isinstance(found, Allocation)
    assert shares(found) == [1, 2, 27]


def test_allocate_nothing_left_gives_zeros_and_no_interval_a_shortfall() -> None:
    assert shares(place(Problem.from_impact(np.zeros(2), np.ones(2)), 0, 1)) == [0, 0]
    found = place(Problem.from_impact(np.zeros(0)), 5, 1)
    assert found.quanta.shape == (0,)
    assert found.shortfall_quanta == 5 * QUANTA


@pytest.mark.parametrize(
    ("qty", "lot", "cap", "field"),
    [
        (-1, 1, None, "qty_quanta"),
        (1, 0, None, "lot_quanta"),
        (1, 1, np.array([1], dtype=np.int64), "cap_quanta"),
        (1, 1, np.array([1, -1], dtype=np.int64), "cap_quanta"),
    ],
)
def test_allocate_bad_input_names_the_field(qty: int, lot: int, cap: np.ndarray | None, field: str) -> None:
    found = allocate(Problem.from_impact(np.zeros(2), np.ones(2)), qty, lot, cap)
    assert isinstance(found, SolveFailure)
    assert found.reason is Failure.BAD_INPUT
    assert field in found.text


def test_allocate_other_solver_gives_the_same_lots() -> None:
    rng = np.random.default_rng(4)
    problem = Problem.from_impact(rng.uniform(0.0, 0.02, 12), 10 ** rng.uniform(-5, -4, 12))
    mine = allocate(problem, 5000 * QUANTA, 100 * QUANTA)
    other = allocate(problem, 5000 * QUANTA, 100 * QUANTA, solvers=("osqp",))
    assert isinstance(mine, Allocation)
    assert isinstance(other, Allocation)
    assert other.solver == "osqp"
    assert mine.quanta.tolist() == other.quanta.tolist()


class _Hasty:
    """Claims that trading all in the last interval is optimal: too far off for the rounding to repair."""

    name = "hasty"
    bounded = True

    def __init__(self, effort: float) -> None: ...

    def solve(self, problem: Problem, qty: float) -> Solution | SolveFailure:
        x = np.zeros(len(problem))
        x[-1] = qty
        return Solution(x, 1.0, 0.0, 0.0, self.name, 1)


@pytest.fixture
def hasty() -> Iterator[None]:
    SOLVERS.register("hasty", _Hasty)
    yield
    SOLVERS.forget("hasty")
    get_solver.cache_clear()


@pytest.mark.usefixtures("hasty")
def test_allocate_whole_lots_above_tolerance_tries_the_next_solver() -> None:
    problem = Problem.from_impact(np.zeros(2), np.full(2, 1e-5))
    found = allocate(problem, 10_000 * QUANTA, QUANTA, solvers=("nobody", "hasty", "exact"))
    assert isinstance(found, Allocation)
    assert found.solver == "exact"
    assert found.qty().tolist() == [5000.0, 5000.0]
    assert [(f.solver, f.reason) for f in found.failures] == [
        ("nobody", Failure.UNKNOWN_SOLVER),
        ("hasty", Failure.BAD_CERTIFICATE),
    ]


@pytest.mark.usefixtures("hasty")
def test_allocate_no_whole_lots_pass_names_every_solver_of_the_chain() -> None:
    problem = Problem.from_impact(np.zeros(2), np.full(2, 1e-5))
    found = allocate(problem, 10_000 * QUANTA, QUANTA, solvers=("hasty", "nobody", "hasty"))
    assert isinstance(found, SolveFailure)
    assert found.reason is Failure.CHAIN_EXHAUSTED
    assert [f.solver for f in found.causes] == ["hasty", "nobody", "hasty"]


def test_allocate_with_risk_is_the_best_of_all_splits() -> None:
    rng = np.random.default_rng(6)
    for _ in range(60):
        problem = Problem.from_impact(rng.uniform(0, 2, 4), rng.uniform(0.1, 3, 4), risk=float(rng.uniform(0.05, 1)))
        cap = rng.integers(2, 9, 4)
        qty = int(min(8, cap.sum()))
        found = place(replace(problem, cap=cap.astype(np.float64)), qty, 1, cap)
        best = min(objective(problem, qty, np.array(split, dtype=float)) for split in splits(qty, cap.tolist()))
        assert objective(problem, qty, found.qty()) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("beta", [1e-9, 1e-5, 1e-3])
@pytest.mark.parametrize("risk", [1e-14, 1e-10, 1e-7])
def test_allocate_with_risk_a_lot_an_interval_over_a_long_flat_day_passes_its_certificate(
    beta: float, risk: float
) -> None:
    profile = np.exp(0.5 * np.cos(np.linspace(0, 2 * np.pi, 1_451)))
    problem = Problem.from_impact(np.zeros(1_451), beta * profile, risk=risk)
    found = allocate(problem, 1_500 * QUANTA + QUANTA // 2, QUANTA, np.full(1_451, 900 * QUANTA))
    assert isinstance(found, Allocation)
    assert found.kkt_residual < 1e-9


def test_allocate_same_problem_twice_gives_the_same_bytes() -> None:
    rng = np.random.default_rng(8)
    problem = Problem.from_impact(rng.uniform(0, 0.02, 200), eta=rng.uniform(1e-4, 1e-3, 200), delta=0.63)
    first = allocate(problem, 123_456 * QUANTA, QUANTA)
    again = allocate(problem, 123_456 * QUANTA, QUANTA)
    assert isinstance(first, Allocation)
    assert isinstance(again, Allocation)
    assert first.quanta.tobytes() == again.quanta.tobytes()
