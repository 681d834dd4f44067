"""A thin first minute leaves no mark on models and plans: the usual depth takes its place."""

from __future__ import annotations

import pytest

from tests.core.builders import T0, EngineHarness, M, S, ladder, new


def after(thin: float, minutes: int = 60, deep: float = 10_000.0) -> EngineHarness:
    """Return a harness that has seen a first minute of `thin` shares a level, and then the usual depth."""
    harness = EngineHarness()
    rows = [ladder(T0 + i * M + S, size=thin if i == 0 else deep, levels=10) for i in range(minutes + 1)]
    harness.run(rows)
    harness.send(new(qty=1_000_000, ts=T0 + minutes * M + 2 * S, length=30 * M))
    return harness


@pytest.mark.parametrize("thin", [1.0, 10.0, 100.0, 1_000.0])
def test_plan_and_model_after_a_thin_first_minute_are_those_of_the_usual_depth(thin: float) -> None:
    usual, marked = after(10_000.0), after(thin)
    expected, found = usual.last().expected_cost, marked.last().expected_cost
    assert expected is not None
    assert found == pytest.approx(expected, rel=0.01)
    one, other = usual.models()[-1], marked.models()[-1]
    assert other.beta == pytest.approx(one.beta, rel=0.05)
    assert other.half_spread == pytest.approx(one.half_spread, rel=0.01)
