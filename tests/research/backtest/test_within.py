"""Takes within the minute, and costs over the mid that comes after, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from impactd.core.base.settings import MINUTE_NS, SECOND_NS
from impactd.core.books.interval_cost import Intervals, Prevailing
from impactd.research.backtest import within
from impactd.research.backtest.within import Takes

S = SECOND_NS


def books(mids: list[float], every_s: int = 15, minutes: int | None = None) -> Intervals:
    """Return the minutes of books of two levels of 100, at 0.01 and 0.03 from the mid."""
    n = len(mids)
    start = np.arange(n, dtype=np.int64) * every_s * S
    shown = Prevailing(
        start=start,
        end=start + every_s * S,
        half_spread=np.full(n, 0.01),
        mid=np.array(mids),
        distance=np.tile([0.0, 0.02], (n, 2, 1)),
        size=np.full((n, 2, 2), 100.0),
        depth=np.full((n, 2), 200.0),
    )
    return Intervals.of(shown, 0, minutes or -(-n * every_s // 60), MINUTE_NS)


def test_a_second_take_of_a_minute_walks_on_and_one_of_the_next_does_not() -> None:
    still = books([100.0] * 40)
    takes = Takes(np.array([0, 15 * S, 60 * S], np.int64), np.array([100.0, 50.0, 100.0]))
    cost = within.price(still, 0, takes, 3 * S)
    assert cost.own == pytest.approx(100 * 0.01 + 50 * 0.03 + 100 * 0.01)
    assert cost.later == pytest.approx((cost.own, cost.own))
    assert cost.beyond == 0.0
    deep = within.price(still, 0, Takes(np.array([0], np.int64), np.array([250.0])), 0)
    assert deep.beyond == pytest.approx(50.0)


@pytest.mark.parametrize("row", [0, 1])
def test_who_follows_a_mid_that_rises_saves_nothing_over_the_later_one(row: int) -> None:
    """The mid rises by 0.04 a minute: a buy is paid by it, a sale pays for it."""
    rising = books([100.0 + 0.01 * k for k in range(60)])
    takes = Takes(np.array([60 * S], np.int64), np.array([100.0]))
    cost = within.price(rising, row, takes, 0)
    sign = 1 - 2 * row
    assert cost.own == pytest.approx(1.0)
    assert cost.later == pytest.approx((1.0 - sign * 4.0, 1.0 - sign * 20.0))


def test_minutes_move_by_their_average() -> None:
    rising = books([100.0 + 0.01 * k for k in range(60)])
    moved = within.moves(rising, MINUTE_NS, 3)
    assert moved == pytest.approx(np.array([[0.04] * 3, [0.20] * 3]))
    assert within.later(5.0, 1, np.array([10.0, 0.0, 5.0]), moved) == pytest.approx((5.6, 8.0))


def test_even_takes_are_the_order() -> None:
    takes = Takes.even(800.0, MINUTE_NS, 3 * MINUTE_NS, 15 * S)
    assert takes.at.tolist() == [MINUTE_NS + k * 15 * S for k in range(8)]
    assert takes.by_interval(MINUTE_NS, 2, MINUTE_NS) == pytest.approx([400.0, 400.0])


def test_later_mid_is_at_most_that_of_the_close() -> None:
    """A stub quote of 1,000 after the close is no price: neither slices nor minutes see it."""
    session = books([100.0] * 19 + [100.02] + [1_000.0] * 20, minutes=5)
    takes = Takes(np.array([255 * S], np.int64), np.array([100.0]))
    cost = within.price(session, 0, takes, 0)
    assert cost.later == pytest.approx((cost.own - 2.0, cost.own - 2.0))
    assert float(np.abs(within.moves(session, 3 * MINUTE_NS, 2)).max()) <= 0.02 + 1e-9
