"""Orders whose plans nobody reads trade what they trade where each plan is published, to the last bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from impactd.core.allocator.solvers.base import Failure, SolveFailure
from impactd.core.base.settings import CoreSettings, GateSettings
from impactd.core.base.topics import SIDES, Side
from impactd.core.desk import Desk
from impactd.core.orders.order import Order
from impactd.core.planning import replan
from impactd.core.planning.propose import Proposals
from impactd.research.backtest.live import ParentOrder, Run, execute_all, states_at
from impactd.research.backtest.quiet import QuietDesk, QuietPlanner
from tests.core.builders import T0, M
from tests.research.backtest.made import SETTINGS, noisy_rows, quanta, tape_of


def planned(**changes: Any) -> CoreSettings:
    return dataclasses.replace(SETTINGS, plans=dataclasses.replace(SETTINGS.plans, **changes))


def gated(**limits: Any) -> CoreSettings:
    return dataclasses.replace(SETTINGS, gate=GateSettings(**limits))


def orders(start: int, minutes: int, cap: int = 400, **terms: Any) -> list[ParentOrder]:
    end = start + minutes * M
    return [ParentOrder("FROG", side, quanta(3_000), start, end, quanta(cap), **terms) for side in SIDES]


def done_by(
    settings: CoreSettings, asked: list[ParentOrder], seed: int, monkeypatch: pytest.MonkeyPatch, begins: int = 0
) -> tuple[list[Run], int]:
    """Return what orders trade, and how many plans were published."""
    published = []
    publish = QuietPlanner.publish

    def noted(*given: Any) -> None:
        published.append(given)
        publish(*given)

    tape = tape_of([row for row in noisy_rows(seed) if row.ts >= T0 + begins * M])
    with monkeypatch.context() as patch:
        patch.setattr(QuietPlanner, "publish", noted)
        state = states_at(tape, settings, [asked[0].start])[asked[0].start]
        return execute_all(tape, settings, state, asked), len(published)


CASES = {
    "usual": (SETTINGS, orders(T0 + 10 * M, 30), 0),
    "averse": (SETTINGS, orders(T0 + 10 * M, 30, risk_aversion=1e-4), 0),
    "in lots": (SETTINGS, orders(T0 + 10 * M, 30, lot_size=quanta(100)), 0),
    "replaced for little": (planned(replan_threshold_bps=0.0), orders(T0 + 10 * M, 30), 0),
    "replaced for much": (planned(replan_threshold_bps=5.0), orders(T0 + 10 * M, 30), 0),
    "slow book": (planned(transient_share=0.5), orders(T0 + 10 * M, 30), 0),
    "law": (planned(metaorder="square_root"), orders(T0 + 10 * M, 30), 0),
    "more than fits": (SETTINGS, orders(T0 + 10 * M, 30, cap=60), 0),
    "before the first book": (SETTINGS, orders(T0 + 5 * M, 40), 20),
}

#: Where the service replaces no plan, or a plan without a price comes before the one with it.
TOLD = ("in lots", "more than fits", "replaced for much", "before the first book")


@pytest.mark.parametrize("case", CASES)
def test_quiet_desk_trades_what_the_desk_trades(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, asked, begins = CASES[case]
    for seed in (3, 5):
        quiet, few = done_by(settings, asked, seed, monkeypatch, begins)
        with monkeypatch.context() as patch:
            patch.setattr(QuietDesk, "on_minute_close", Desk.on_minute_close)
            loud, many = done_by(settings, asked, seed, monkeypatch, begins)
        same(quiet, loud)
        assert sum(one.n_plans for one in loud) == many
        assert few == 2 * len(asked) < many or case in TOLD


@pytest.mark.parametrize(
    "settings", [gated(max_interval_depth=0.3), gated(max_order_qty=1e9), planned(act="slices")], ids=str
)
def test_desk_speaks_where_a_setting_asks_for_more_than_schedules(
    settings: CoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = orders(T0 + 10 * M, 30)
    _, published = done_by(settings, asked, 3, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(QuietDesk, "on_minute_close", Desk.on_minute_close)
        assert done_by(settings, asked, 3, monkeypatch)[1] == published


def failing(every: int) -> Callable[..., Proposals | SolveFailure]:
    """Return a `propose` that fails at every so many minutes."""
    true = replan.propose

    def sometimes(of: list[Order], now: int, *more: Any) -> Proposals | SolveFailure:
        found = true(of, now, *more)
        fails = (now // M) % every == 0
        return SolveFailure("exact", Failure.NOT_CONVERGED, "as the test says") if fails else found

    return sometimes


@pytest.mark.parametrize("every", [2, 5])
def test_quiet_desk_keeps_the_schedule_where_no_solver_has_one(every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replan, "propose", failing(every))
    asked = orders(T0 + 11 * M, 30)
    quiet, _ = done_by(SETTINGS, asked, 3, monkeypatch)
    monkeypatch.setattr(QuietDesk, "on_minute_close", Desk.on_minute_close)
    loud, _ = done_by(SETTINGS, asked, 3, monkeypatch)
    same(quiet, loud)


def test_quiet_desk_leaves_what_the_gate_would_withhold_to_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    true = replan.propose

    def wrong(of: list[Order], now: int, *more: Any) -> Proposals | SolveFailure:
        found = true(of, now, *more)
        if (now // M) % 4 == 0 and of[0].side is Side.BUY and isinstance(found, Proposals):
            found.qty[0, 0] += quanta(1_000)
        return found

    monkeypatch.setattr(replan, "propose", wrong)
    asked = orders(T0 + 10 * M, 30)
    quiet, _ = done_by(planned(replan_threshold_bps=0.0), asked, 3, monkeypatch)
    monkeypatch.setattr(QuietDesk, "on_minute_close", Desk.on_minute_close)
    loud, _ = done_by(planned(replan_threshold_bps=0.0), asked, 3, monkeypatch)
    same(quiet, loud)
    assert quiet[0].qty[2] == 0.0 < quiet[1].qty[2]  # withheld


def same(quiet: list[Run], loud: list[Run]) -> None:
    for a, b in zip(quiet, loud, strict=True):
        assert a.qty.tolist() == b.qty.tolist()
        assert (a.left, a.n_plans) == (b.left, b.n_plans)
        assert (a.first, a.expected) == (b.first, b.expected)
