"""An engine with a market, and what it plans and refuses."""

from __future__ import annotations

from typing import Any

from impactd.core.base.settings import CoreSettings, PlanSettings
from impactd.core.orders.order import Order, Status
from impactd.core.planning.propose import Proposals, propose
from tests.core.builders import T0, EngineHarness, M, at, ladder, new, plans
from tests.core.rows import Row, trade


def market(n: int = 30, settings: CoreSettings | None = None) -> EngineHarness:
    """Return an engine that has seen `n` minutes of a moving mid, with 1,000 shares traded in each."""
    harness = EngineHarness(settings)
    rows: list[Row] = [ladder(T0 + k * M // 3, mid=100.0 + 0.02 * ((7 * k) % 5 - 2)) for k in range(3 * n + 1)]
    rows += [trade(T0 + k * M + 30 * 10**9, px=100.0 + 0.01 * (k % 3), qty=1_000.0) for k in range(n)]
    harness.run(sorted(rows, key=lambda row: row.ts))
    return harness


def proposed(harness: EngineHarness, order: Order, minute: float = 31) -> Proposals:
    """Return what is proposed for an order by itself."""
    view = harness.engine._markets.of("FROG").view(order.side, at(minute))  # no public way in
    found = propose([order], at(minute), view, PlanSettings(), M, lambda _starts: None)
    assert isinstance(found, Proposals)
    return found


def refusal(harness: EngineHarness, **terms: Any) -> str:
    """Send an order that has to be refused, and return the reason."""
    (refused,) = plans(harness.send(new("A", 1_200, at(31), **terms)))
    assert refused.status == Status.REJECTED
    return refused.text or ""
