"""One tick from the future neither closes minutes nor makes others late, as far as its record's time can tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.builders import T0, EngineHarness, S, ladder, new, settings
from tests.core.rows import Row


def day(*strays: Row) -> list[Row]:
    """Return five minutes of X with honest record times, and stray rows put in after the tenth."""
    rows = [
        replace(ladder(T0 + k * 3 * S, "X", mid=100.0 + 0.01 * (k % 5)), ts_record=T0 + k * 3 * S) for k in range(101)
    ]
    return [*rows[:10], *strays, *rows[10:]]


@pytest.mark.parametrize("ahead_s", [2, 29, 59, 3_600])
@pytest.mark.parametrize("symbol", ["X", "Y"])
def test_one_tick_from_the_future_changes_no_minute_of_others(symbol: str, ahead_s: int) -> None:
    now = T0 + 28 * S
    plain, struck = EngineHarness(), EngineHarness()
    plain.run(day())
    struck.run(day(replace(ladder(now + ahead_s * S, symbol, mid=100.0), ts_record=now)))
    before, after = plain.estimates("X"), struck.estimates("X")
    assert [e.minute for e in after] == [e.minute for e in before]
    assert all(e.n_late == 0 for e in after)
    assert after[-4:] == before[-4:]
    if symbol == "Y":
        assert after == before


def test_order_after_a_tick_from_the_future_is_planned_at_its_own_time() -> None:
    harness = EngineHarness(settings())
    harness.run(day(replace(ladder(T0 + 80 * S, "Y"), ts_record=T0 + 28 * S))[:20])
    harness.send(new(symbol="X", ts=T0 + 60 * S))
    assert harness.last().as_of == T0 + 60 * S
