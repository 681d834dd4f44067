"""A plan that leaves something names the limits that leave it: those without which more could be planned."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import CoreSettings, SessionRule
from tests.core.builders import EngineHarness, M, at, new, plans
from tests.core.planning.engines import market

QTY: Final = 1_000
BEGIN, LENGTH = 31, 12 * M
FAR: Final = 1.0

_FIELDS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "limit_px": st.sampled_from([FAR, 99.99, 100.0, 100.02, 100.2, 200.0]),
    # At least a lot a minute: in the last interval that trades only known volume counts.
    "participation_rate": st.sampled_from([0.05, 0.1, 0.9]),
    "max_interval_qty": st.sampled_from([1, 30, 100, 2_000]).map(lambda shares: shares * QUANTA),
    "blackouts": st.sampled_from([((at(31), at(43)),), ((at(32), at(40)),), ((at(50), at(60)),)]),
    "last_trade": st.sampled_from([at(33), at(42)]),
    "min_clip_qty": st.sampled_from([1, 50, 400]).map(lambda shares: shares * QUANTA),
    "lot_size": st.sampled_from([1, 30]).map(lambda shares: shares * QUANTA),
}


@pytest.fixture(scope="module")
def harness() -> EngineHarness:
    return market()


def left(harness: EngineHarness, terms: dict[str, Any], qty: float = QTY) -> tuple[float, tuple[str, ...]]:
    found = harness.engine.estimate(new("estimate", qty, at(BEGIN), LENGTH, **terms))
    return found.schedules[0].shortfall_qty, found.shortfall_limits


@settings(max_examples=150)
@given(terms=st.fixed_dictionaries({}, optional=_FIELDS))
def test_the_limits_named_are_those_without_which_less_is_left(harness: EngineHarness, terms: dict[str, Any]) -> None:
    short, named = left(harness, terms)
    assert bool(named) == (short > 0.0)
    assert set(named) <= terms.keys()
    lot = terms.get("lot_size", QUANTA) / QUANTA
    if short < lot:  # the last trade alone, which need not be whole lots
        return
    without = {name: left(harness, {key: terms[key] for key in terms if key != name})[0] for name in terms}
    limits = terms.keys() - {"min_clip_qty", "lot_size"}
    if "min_clip_qty" in terms:  # what clips leave depends on all limits
        return
    assert {name for name in limits if without[name] <= short - lot} <= set(named)
    if not any(without[name] < short for name in named):  # they overlap: without all of them nothing is left
        assert left(harness, {key: terms[key] for key in terms if key not in named})[0] < lot
    else:
        assert set(named) <= {name for name in limits if without[name] < short}


def test_plan_alert_and_estimate_name_the_limit(harness: EngineHarness) -> None:
    own = market()
    (plan,) = plans(own.send(new("A", QTY, at(BEGIN), LENGTH, limit_px=FAR)))
    assert plan.shortfall_qty == QTY * QUANTA
    assert plan.shortfall_limits == ("limit_px",)
    (alert,) = own.alerts("shortfall")
    assert alert.text.startswith(f"limit_px leaves {QTY} of {QTY}")
    assert left(harness, {"limit_offset_bps": -9_000.0}) == (QTY, ("limit_offset_bps",))
    assert left(harness, {"target_participation_rate": 0.001})[1] == ("target_participation_rate",)


def test_shut_market_is_named() -> None:
    shut = market(settings=CoreSettings(session=SessionRule(open_s=0, close_s=at(30) % (86_400 * 10**9) // 10**9)))
    assert left(shut, {}) == (QTY, ("session",))
