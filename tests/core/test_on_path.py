"""Replanning on the planned path with unchanged estimates changes nothing, whatever the order and the solver."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.curve import Float
from impactd.core.base.quantity import QUANTA
from impactd.core.base.session import Session
from impactd.core.base.settings import MINUTE_NS, CoreSettings, PlanSettings, SessionRule
from impactd.core.base.topics import Side
from impactd.core.desk import Desk
from impactd.core.inputs.events import Event, Fill, NewOrder, Received
from impactd.core.inputs.instruments import Instruments
from impactd.core.market.bands import CostBands, Known
from impactd.core.market.symbol import SideView
from impactd.core.model.curves import Curves
from impactd.core.orders.halts import Halts
from impactd.core.orders.ledger import Ledger
from impactd.core.outputs.messages import Plan
from impactd.core.outputs.outbox import Outbox
from tests.core.builders import T0, M, at, new, plans

N: Final = 24


@dataclass
class Unchanging:
    """A symbol whose estimates never change: curves by interval, volatility and volume."""

    kind: str
    spread: Float
    curve: Float
    sigma2: float
    bias: dict[Side, float] = field(default_factory=lambda: dict.fromkeys(Side, 1.0))
    blind: bool = False

    def view(self, _side: Side, _at: int) -> SideView:
        bands = CostBands(0, Session(SessionRule()), MINUTE_NS, 0.8)
        return SideView(
            kind=self.kind, curves=self._curves, volume=self._volume, sigma2=self.sigma2, fitted_to=None, mid=100.0,
            depth=None, bands=lambda n, rate: bands.of(n, rate, Known(1e9, 1e9)),
            is_open=lambda starts: np.ones(len(starts), np.bool_), so_far=lambda _start: 0.0,
        )  # fmt: skip

    def _curves(self, starts: Int, _rate: float = 0.0) -> Curves:
        k = (starts - T0) // M
        line = self.curve[k] if self.kind != "power" else None
        bend = self.curve[k] * 1e-3 if self.kind == "quadratic" else None
        root = self.curve[k] * 10 if self.kind == "power" else None
        return Curves(self.spread[k], line, bend, root, 0.6 if self.kind == "power" else 1.0, False, True, T0)

    def _volume(self, starts: Int) -> Float:
        return np.full(len(starts), 1_000.0)

    def quote(self, _at: int) -> tuple[float, float]:
        return 100.0, 0.01

    def mid_at(self, _at: int) -> float:
        return 100.0

    def expected_cost(self, *_: Any) -> float:
        return 1.0


class Floor:
    """A desk in a market that does not change, and executions exactly as planned."""

    def __init__(self, market: Unchanging, **plans: Any) -> None:
        core = CoreSettings(plans=PlanSettings(solvers=plans.pop("solvers", ("exact",)), **plans))
        self.outbox = Outbox()
        books: Any = SimpleNamespace(open=lambda _symbol, _at: True, last_ts=lambda _symbol: T0)
        session = Session(core.session)
        markets: Any = SimpleNamespace(
            of=lambda _symbol: market,
            mark=lambda _symbol: None,
            session=lambda _symbol: session,
            venues=lambda _symbol: (),
            at_venues=lambda *_: {},
            is_at_venues=lambda *_: False,
        )
        self.desk = Desk(core, Ledger(), Halts(), Instruments(core), books, markets, self.outbox)

    @property
    def said(self) -> list[Plan]:
        return plans(self.outbox._outputs)

    def send(self, event: Event) -> None:
        self.desk.receive(Received(event, 0, event.ts_event, b""), event.ts_event)

    def plan(self, cl_ord_id: str) -> Plan:
        return [plan for plan in self.said if plan.cl_ord_id == cl_ord_id][-1]

    def close(self, k: int) -> None:
        """Have the k-th minute close, all of it filled as planned."""
        for cl_ord_id in sorted({plan.cl_ord_id for plan in self.said}):
            plan = self.plan(cl_ord_id)
            planned = dict(zip(plan.start, plan.qty, strict=True))
            qty = sum(q for start, q in planned.items() if at(k) <= start < at(k + 1))
            if qty:
                self.send(Fill(f"{cl_ord_id}{k}", cl_ord_id, "FROG", qty, 100.0, at(k + 0.5)))
        stats = SimpleNamespace(volume_continuous=1_000.0, vwap=100.0, mid_close=100.0, minute=at(k))
        stood: Any = stats  # the fields that on_minute_close reads
        self.desk.on_minute_close("FROG", at(k + 1), at(k + 1), stood, frozenset())


def market(seed: int, kind: str = "linear", sigma2: float = 4e-4) -> Unchanging:
    rng = np.random.default_rng(seed)
    return Unchanging(kind, 0.01 * np.exp(rng.normal(0, 0.3, N + 1)), 1e-5 * np.exp(rng.normal(0, 0.6, N + 1)), sigma2)


def follow(floor: Floor, orders: list[NewOrder]) -> None:
    """Send the orders, follow their plans to the end, and see that each had one plan and an end."""
    for order in orders:
        floor.send(order)
    # what clips leave over may trade once it is all that is left: then there is another plan
    if any(order.terms.min_clip_qty and floor.plan(order.cl_ord_id).shortfall_qty for order in orders):
        reject()
    before = len(floor.said)
    for k in range(N):
        floor.close(k)
    after = floor.said[before:]
    assert [plan.status for plan in after] == [plan.status for plan in after if plan.status in {"done", "expired"}]
    assert len(after) == len({plan.cl_ord_id for plan in after}) == len(orders)


terms = (
    st.fixed_dictionaries(
        {},
        optional={
            "risk_aversion": st.sampled_from([1e-9, 1e-6, 1e-4, 1e-2]),
            "urgency": st.sampled_from([1.0, 2.0, 8.0]),
            "alpha_bps": st.sampled_from([-40.0, 5.0]),
            "min_participation_rate": st.just(0.05),
            "max_interval_qty": st.sampled_from([90, 150, 400]).map(lambda qty: qty * QUANTA),
            "participation_rate": st.sampled_from([0.08, 0.3]),
            "must_complete": st.booleans(),
            "blackouts": st.just(((at(5), at(8)),)),
            "lot_size": st.sampled_from([1, 7, 50]).map(lambda lot: lot * QUANTA),
        },
    )
    .filter(lambda named: not {"risk_aversion", "urgency"} <= named.keys())
    .map(lambda named: named | {"alpha_half_life_s": 200.0} if "alpha_bps" in named else named)
)


@given(
    seed=st.integers(0, 2**16),
    kind=st.sampled_from(["linear", "quadratic", "power"]),
    qty=st.integers(60, 3_000),
    begin=st.sampled_from([0.0, 0.4, 3.0]),
    named=terms,
    slices=st.sampled_from([1, 4]),
    share=st.sampled_from([0.0, 0.0, 0.4, 1.0]),
    clip=st.sampled_from([None, None, 40, 80]),
)
@hypothesis_settings(max_examples=80, deadline=None)
def test_order_filled_as_planned_keeps_its_plan(
    seed: int, kind: str, qty: int, begin: float, named: dict[str, Any], slices: int, share: float, clip: int | None
) -> None:
    if clip is not None:
        named = {name: value for name, value in named.items() if name != "min_participation_rate"}  # refused with it
    if clip is not None:
        named = named | {"min_clip_qty": clip * QUANTA}
    floor = Floor(market(seed, kind), child_slices=slices, transient_share=share)
    order = new(qty=qty, ts=at(begin), length=at(N) - at(begin) - 10, **named)
    follow(floor, [order])


@pytest.mark.parametrize("solver", ["clarabel", "slsqp"])
@pytest.mark.parametrize("risk", [0.0, 1e-4])
def test_order_filled_as_planned_keeps_the_plan_of_other_solvers(solver: str, risk: float) -> None:
    floor = Floor(market(3), solvers=(solver,))
    follow(floor, [new(qty=1_234, ts=T0, length=N * M, risk_aversion=risk)])


@given(
    seed=st.integers(0, 2**16),
    kind=st.sampled_from(["linear", "quadratic", "power"]),
    begins=st.lists(st.sampled_from([0, 2, 6]), min_size=2, max_size=4),
    lot=st.sampled_from([1, 1, 7]),
    limit=st.sampled_from([None, 150 * QUANTA]),
)
@hypothesis_settings(max_examples=25, deadline=None)
def test_orders_planned_together_and_filled_as_planned_keep_their_plans(
    seed: int, kind: str, begins: list[int], lot: int, limit: int | None
) -> None:
    orders = [
        new(f"O{i}", qty=300 + 177 * i, ts=T0, start=at(begin), length=(N - begin) * M,
            max_interval_qty=limit if i == 0 else None, lot_size=QUANTA * (lot if i == 1 else 1))
        for i, begin in enumerate(begins)
    ]  # fmt: skip
    floor = Floor(market(seed, kind))
    follow(floor, orders)
    assert any(plan.group_id is not None for plan in floor.said)


def test_resilience_remembers_what_earlier_fills_displace() -> None:
    """Of two orders with the same rest, the one that has just traded waits longer."""
    fresh, tired = (Floor(market(1), transient_share=1.0) for _ in range(2))
    tired.send(new(qty=1_400, ts=T0, length=N * M))
    tired.send(Fill("E1", "A", "FROG", 400 * QUANTA, 100.0, at(0.2)))
    fresh.send(new(qty=1_000, ts=at(0.2), start=T0, length=N * M))
    early = [sum(floor.plan("A").qty[:5]) for floor in (fresh, tired)]
    assert early[1] < early[0]
    model = tired.plan("A").model
    assert model is not None
    assert (model.transient_share, model.resilience_half_life_s) == (1.0, 300.0)
