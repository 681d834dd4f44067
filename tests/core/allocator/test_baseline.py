"""TWAP's compiled rounding against the same rules in integers of any size."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from impactd.core.allocator.baseline import twap
from impactd.core.allocator.bounds import NO_CAP
from impactd.core.allocator.waterfill import share
from impactd.core.base.quantity import MAX_QUANTA


def twap_by_hand(qty: int, fraction: list[float], cap_quanta: list[int], lot: int) -> list[int]:
    """Return TWAP by its running sum, lot by lot in plain integers."""
    lots, rest = divmod(qty, lot)
    cap = [min(c // lot, lots) for c in cap_quanta]
    target = np.zeros(len(cap))
    share(float(lots), np.array(fraction), np.array(cap, dtype=np.float64), target)
    count: list[int] = []
    due = 0.0
    for x, c in zip(target.tolist(), cap, strict=True):
        due += x
        count.append(min(max(math.floor(due + 0.5) - sum(count), 0), c))
    left = min(lots, sum(cap)) - sum(count)
    while left < 0:
        widest = count.index(max(count))
        step = min(-left, count[widest])
        count[widest] -= step
        left += step
    order = sorted(range(len(cap)), key=lambda t: float(count[t]) - float(target[t]))
    while left > 0:
        for t in order:
            step = min(left, cap[t] - count[t], 1 + left // len(order))
            count[t] += step
            left -= step
    quanta = [n * lot for n in count]
    for t, held in enumerate(quanta):
        if rest > 0 and held + rest <= cap_quanta[t]:
            quanta[t] += rest
            break
    return quanta


@given(
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from([0.25, 1.0]), st.floats(0.01, 1.0)),
            st.one_of(st.just(NO_CAP), st.integers(0, 10**6), st.integers(0, MAX_QUANTA)),
        ),
        min_size=1,
        max_size=20,
    ),
    st.one_of(st.integers(0, 10**7), st.integers(0, MAX_QUANTA)),
    st.one_of(st.just(1), st.integers(1, 10**6)),
)
@example(rows=[(0.1, NO_CAP), (0.7, NO_CAP), (0.3, NO_CAP)], qty=MAX_QUANTA, lot=1)
@example(rows=[(1.0, NO_CAP)] * 7, qty=MAX_QUANTA - 1, lot=1)
@settings(max_examples=150, deadline=None)
def test_twap_any_caps_follows_the_running_sum_by_hand(rows: list[tuple[float, int]], qty: int, lot: int) -> None:
    fraction, cap = [f for f, _ in rows], [c for _, c in rows]
    found = twap(qty, np.array(fraction), np.array(cap, dtype=np.int64), lot)
    assert found.tolist() == twap_by_hand(qty, fraction, cap, lot)


@given(st.integers(1, 400), st.integers(0, 2_000), st.sampled_from([1, 100, 10**9]))
@settings(max_examples=300, deadline=None)
def test_twap_few_or_many_lots_never_leave_the_even_pace(n: int, lots: int, lot: int) -> None:
    found = twap(lots * lot, np.ones(n), np.full(n, NO_CAP, np.int64), lot)
    assert found.sum() == lots * lot
    pace = np.cumsum(np.full(n, lots / n))
    assert np.abs(np.cumsum(found) / lot - pace).max() <= 0.5 + 1e-9
    # As even backward as forward: no half of the window has more than the other by more than a lot.
    assert abs(int(found[: n // 2].sum()) - int(found[n - n // 2 :].sum())) <= lot


def test_twap_three_lots_of_a_day_are_spread_over_it() -> None:
    found = twap(300, np.ones(390), np.full(390, NO_CAP, np.int64), 100)
    assert np.flatnonzero(found).tolist() == [65, 195, 325]
