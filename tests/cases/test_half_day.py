"""Nothing is planned where the session is closed: the day after Thanksgiving closes at 13:00 in New York."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from impactd.config.calendars import calendar
from impactd.core.base.quantity import QUANTA
from impactd.core.base.session import Session
from impactd.core.base.settings import SECOND_NS, CoreSettings, PlanSettings
from tests.core.builders import EngineHarness, M, ladder, new, plans
from tests.core.rows import trade

RULE = calendar("XNYS").rule
SESSION = Session(RULE)
#: 2025-11-28, 09:40 and 13:00 in New York.
START, CLOSE = 1_764_340_800 * SECOND_NS, 1_764_352_800 * SECOND_NS
H = 60 * M


def harness_at(start: int, **how: Any) -> EngineHarness:
    """Return a harness that has seen some minutes of books and trades before `start`."""
    harness = EngineHarness(CoreSettings(session=RULE, plans=PlanSettings(fills="scheduled", **how)))
    rows = [ladder(start - k * 20 * SECOND_NS, size=400.0) for k in range(12, 0, -1)]
    rows += [trade(start - k * 20 * SECOND_NS + 1, 100.0) for k in range(12, 0, -1)]
    harness.run(sorted([*rows, ladder(start)], key=lambda row: row.ts))
    return harness


def open_only(harness: EngineHarness) -> None:
    """See that every interval that trades is wholly inside an open session."""
    for plan in plans(harness.outputs):
        trades = np.array([at for at, qty in zip(plan.start, plan.qty, strict=True) if qty], np.int64)
        assert SESSION.open_at(trades // M * M, M).all()
        assert sum(plan.qty) + plan.shortfall_qty == plan.leaves_qty


def test_half_day_plan_ends_at_the_early_close() -> None:
    harness = harness_at(START)
    harness.send(new("H1", qty=3_900, ts=START, length=380 * M))
    plan = harness.last("H1")
    last = max(at for at, qty in zip(plan.start, plan.qty, strict=True) if qty)
    assert last == CLOSE - M
    assert plan.shortfall_qty == 0
    open_only(harness)


@given(
    begin=st.integers(-30, 250),
    length=st.integers(1, 60 * 72),
    how=st.sampled_from([{}, {"transient_share": 0.5}, {"group_risk": True}]),
    terms=st.fixed_dictionaries(
        {},
        optional={
            "participation_rate": st.just(0.3),
            "must_complete": st.just(True),
            "min_clip_qty": st.just(200 * QUANTA),
            "max_interval_qty": st.just(300 * QUANTA),
            "risk_aversion": st.just(1e-6),
        },
    ),
)
@hypothesis_settings(max_examples=25, deadline=None)
def test_nothing_is_planned_outside_the_session(
    begin: int, length: int, how: dict[str, Any], terms: dict[str, Any]
) -> None:
    harness = harness_at(START, **how)
    start = START + begin * M + 7 * SECOND_NS
    harness.send(
        new("A", qty=2_000, ts=START, start=start, length=length * M, **terms),
        new("B", qty=700, ts=START + 1, start=start + M, length=length * M),
    )
    open_only(harness)


@pytest.mark.parametrize("hours", [1, 40])
def test_window_outside_the_session_plans_nothing_and_reports_it(hours: int) -> None:
    harness = harness_at(START)
    begin = CLOSE + 10 * M + (hours - 1) * 2 * M
    harness.send(new("A", qty=500, ts=START, start=begin, length=H))
    plan = harness.last("A")
    assert (sum(plan.qty), plan.shortfall_qty) == (0, 500 * QUANTA)
    assert [alert.cl_ord_id for alert in harness.alerts("shortfall")] == ["A"]
