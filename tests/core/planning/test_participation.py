"""Participation is cumulative: over its window an order has its share of the volume, and never more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import CoreSettings, PlanSettings, SessionRule
from impactd.core.base.topics import Side, Topic
from impactd.core.books.store import FOREVER
from impactd.core.outputs.messages import Estimate, Output, Plan
from impactd.core.planning import propose
from impactd.core.planning.caps import Limits
from impactd.core.planning.intervals import Intervals
from impactd.core.planning.pace import PARTS
from impactd.shell.files import merge_files
from tests.core.builders import EngineHarness, M, Row, S, at, encoded, fill, minutes, new, settings
from tests.core.rows import trade

RATE = 0.1


def traded(volumes: Sequence[Sequence[int]]) -> list[Row]:
    """Return books and trades: each minute's volume in as many trades, evenly over it."""
    rows = []
    for k, sizes in enumerate(volumes):
        rows += minutes(1, start=at(k))[:-1]
        rows += [trade(at(k) + (2 * i + 1) * M // (2 * len(sizes)), float(v)) for i, v in enumerate(sizes) if v]
    return sorted([*rows, *minutes(1, start=at(len(volumes)))[:1]], key=lambda row: row.ts)


def by_minute(outputs: Sequence[Output]) -> tuple[dict[int, float], dict[int, Plan]]:
    """Return the continuous volume of each closed minute, and the last plan at each minute's end."""
    volume, plans = {}, {}
    for output in outputs:
        if isinstance(output.message, Estimate) and output.message.side is Side.BUY:
            volume[output.message.minute] = output.message.volume_continuous or 0.0
        if isinstance(output.message, Plan) and output.topic is Topic.PLANS:
            plans[output.message.as_of] = output.message
    return volume, plans


def judge(outputs: Sequence[Output], start: int, end: int, lot: int) -> tuple[float, float]:
    """Return what was filled and the order's share of the volume, shares, having judged each minute's end."""
    volume, plans = by_minute(outputs)
    total = 0.0
    for minute in range(start, end, M):
        begun, ended = plans.get(minute), plans.get(minute + M)
        if begun is not None and begun.start and begun.cap[0] is not None and ended is not None:
            # Above the rate by no more than the minute's volume fell short of its forecast, plus a lot.
            forecast = max((begun.cap[0] + begun.cum_qty) / QUANTA / RATE - total, 0.0)
            over = ended.cum_qty / QUANTA - RATE * (total + volume.get(minute, 0.0))
            assert over <= RATE * max(forecast - volume.get(minute, 0.0), 0.0) + lot + 1e-6
        total += volume.get(minute, 0.0)
    return plans[max(plans)].cum_qty / QUANTA, RATE * total


@pytest.mark.parametrize("term", ["participation_rate", "target_participation_rate"])
@pytest.mark.parametrize("lot", [1, 100])
def test_participation_of_steady_volume_fills_its_share_to_a_lot_and_the_last_part_of_its_window(
    lot: int, term: str
) -> None:
    harness = EngineHarness(settings(fills="scheduled"))
    harness.run(traded([[60] * 10])[:-1])
    harness.send(new(ts=at(1), qty=20_000, length=60 * M, lot_size=lot * QUANTA, **{term: RATE}))
    harness.run([row for row in traded([[60] * 10] * 61) if row.ts >= at(1)])
    filled, share = judge(harness.outputs, at(1), at(61), lot)
    assert share - RATE * 120 - lot <= filled <= share  # two trades come after the last part begins


def test_participation_in_the_last_minute_follows_the_volume_as_it_trades() -> None:
    harness = EngineHarness(settings(fills="scheduled"))
    harness.run(traded([[100] * 6])[:-1])
    harness.send(new(ts=at(1), qty=5_000, length=3 * M, participation_rate=RATE))
    harness.run([row for row in traded([[100] * 6, [100] * 6, [100] * 6, [1_000] * 12]) if row.ts >= at(1)])
    last = [plan for plan in harness.plans() if plan.start and at(3) <= plan.start[0] < at(4)]
    # Nothing of it is known when it begins, so the plan before it still holds.
    assert [plan.start[0] for plan in last] == [at(3) + k * 10 * S for k in range(1, PARTS)]
    room = [plan.cum_qty + plan.qty[0] for plan in last]
    assert room[1:] == sorted(set(room[1:]))
    assert harness.last().cum_qty == room[-1] > room[0] + 600 * QUANTA


def test_participation_in_the_last_minute_is_the_same_after_a_restart_and_for_any_batch() -> None:
    rows = [row for row in traded([[100] * 6, [100] * 6, [100] * 6, [1_000] * 12]) if row.ts >= at(1)]

    def run(*cuts: int) -> list[bytes]:
        harness = EngineHarness(settings(fills="scheduled"))
        harness.run(traded([[100] * 6])[:-1])
        harness.send(new(ts=at(1), qty=5_000, length=3 * M, participation_rate=RATE))
        for low, high in zip((0, *cuts), (*cuts, len(rows)), strict=True):
            harness.run(rows[low:high])
            harness.reload()
        return encoded(harness.outputs)

    whole = run()
    assert run(*range(1, len(rows))) == whole
    assert run(len(rows) - 5) == whole


def test_idle_plans_the_last_minute_by_its_volume_without_a_tick() -> None:
    harness = EngineHarness(settings(fills="scheduled"))
    harness.run(traded([[100] * 6])[:-1])
    harness.send(new(ts=at(1), qty=5_000, length=2 * M, participation_rate=RATE))
    harness.run([row for row in traded([[100] * 6, [100] * 6, [2_000] * 6]) if at(1) <= row.ts < at(2.5)])
    before = len(harness.plans())
    assert harness.engine._desk.pace.next == at(2.5)
    harness.commit(idle_to=at(2.6))
    assert len(harness.plans()) == before + 1
    assert harness.last().as_of == at(2.5)
    harness.commit(idle_to=at(4))
    assert harness.last().status == "expired"
    assert harness.engine._desk.pace.next == FOREVER


def test_participation_counts_fills_of_the_last_minute() -> None:
    harness = EngineHarness()
    harness.run(traded([[100] * 6])[:-1])
    harness.send(new(ts=at(1), qty=5_000, length=2 * M, participation_rate=RATE))
    harness.run([row for row in traded([[100] * 6, [100] * 6, [2_000] * 6]) if at(1) <= row.ts < at(2.5)])
    room = harness.last().qty[0]
    harness.send(fill(at(2.5) + 1, "E1", 100))
    assert harness.last().cum_qty + harness.last().qty[0] == pytest.approx(room, abs=QUANTA)


@pytest.mark.parametrize("lot", [1, 10, 50, 100])
@pytest.mark.slow
def test_documented_order_fills_between_97_and_100_percent_of_what_its_limit_allows(data_dir: Path, lot: int) -> None:
    start = 1_743_687_000 * S
    core = CoreSettings(
        session=SessionRule(34_200, 57_600, ((0, -4 * 3600),)), apply="in_event_time",
        plans=PlanSettings(fills="scheduled"),
    )  # fmt: skip
    harness = EngineHarness(core)
    harness.put(new(qty=20_000, ts=start, length=390 * M, participation_rate=RATE, lot_size=lot * QUANTA))
    for decoded in merge_files([data_dir / "FROG_2025-04-03_mbp10.csv.gz"], batch_rows=5_000):
        harness.inbox.put_ticks(decoded.batch, decoded.refused, int(decoded.batch.offset[-1]) + 1)
        harness.commit()
    harness.commit(idle_to=start + 391 * M)
    filled, share = judge(harness.outputs, start, start + 390 * M, lot)
    assert 0.97 * min(share, 20_000) <= filled <= share
    assert np.all([plan.lifted_qty == 0 for plan in harness.plans()])


def orders_of(minutes_: int) -> st.SearchStrategy[dict[str, Any]]:
    """Terms of an order within so many minutes from at(1) on; the times are in tenths of a minute."""
    return st.fixed_dictionaries(
        {
            "term": st.sampled_from(["participation_rate", "target_participation_rate"]),
            "rate": st.sampled_from([0.01, 0.1, 0.35, 1.0]),
            "lot": st.sampled_from([1, 7, 100]),
            "qty": st.integers(1, 3_000),
            "sent": st.integers(0, 10 * minutes_ // 2),
            "start": st.integers(0, 10 * minutes_ - 5),
            "length": st.integers(5, 10 * minutes_),
        },
        optional={
            "min_clip_qty": st.sampled_from([20, 300]).map(lambda qty: qty * QUANTA),
            "max_interval_qty": st.sampled_from([15, 200]).map(lambda qty: qty * QUANTA),
            "blackouts": st.sampled_from([((at(3), at(4.5)),), ((at(minutes_ - 1), at(minutes_ + 2)),)]),
            "risk_aversion": st.just(1e-5),
        },
    )


@given(
    volumes=st.lists(
        st.lists(st.one_of(st.just(0), st.integers(0, 300), st.integers(0, 5_000)), min_size=1, max_size=8),
        min_size=3, max_size=9,
    ),
    terms=st.data(),
    joint=st.booleans(),
)  # fmt: skip
@hypothesis_settings(max_examples=40, deadline=None)
def test_running_sum_is_above_its_rate_by_no_more_than_a_minute_fell_short_of_its_forecast(
    volumes: list[list[int]], terms: st.DataObject, *, joint: bool
) -> None:
    n = len(volumes)
    harness = EngineHarness(settings(fills="scheduled", group_risk=joint))
    rows = traded([[200, 300], *volumes, [0]])
    harness.run([row for row in rows if row.ts < at(1)])
    sent = []
    for i in range(terms.draw(st.integers(1, 3))):
        drawn = dict(terms.draw(orders_of(n)))
        qty, lot = drawn.pop("qty"), drawn.pop("lot")
        drawn[drawn.pop("term")] = drawn.pop("rate")
        ts, start = at(1 + drawn.pop("sent") / 10), at(1 + drawn.pop("start") / 10)
        end = max(min(start + drawn.pop("length") * M // 10, at(n + 1)), ts + M // 10, start + M // 10)
        sent.append(
            new(f"O{i}", qty=qty, ts=ts, start=start, length=end - start,
                lot_size=lot * QUANTA, **drawn)
        )  # fmt: skip
    forecasts: dict[int, float] = {}
    true_limits = propose.limits

    def seen(orders: Any, grid: Intervals, volume: Any, *rest: Any) -> Limits:
        if grid.start.size and volume is not None:
            first = int(grid.start[0])
            forecasts[first] = max(forecasts.get(first, 0.0), float(volume[0]))
        return true_limits(orders, grid, volume, *rest)

    over: dict[str, float] = {}
    share: dict[str, float] = {}
    try:
        propose.limits = seen
        for k in range(1, n + 1):
            late = [row for row in rows if at(k) <= row.ts < at(k + 1)]
            for order in sorted(sent, key=lambda order: order.ts_event):
                if at(k) <= order.ts_event < at(k + 1):
                    harness.run([row for row in late if row.ts < order.ts_event])
                    harness.send(order)
                    late = [row for row in late if row.ts >= order.ts_event]
            harness.run(late)
            harness.run([row for row in rows if at(k + 1) <= row.ts][:1])
            rows = [row for row in rows if row.ts > at(k + 1)]
            for order in sent:
                state = harness.engine.orders.get(order.cl_ord_id)
                if state is None:
                    continue
                works = max(order.terms.start, order.ts_event)
                volume = sum(volumes[k - 1]) * min(max(at(k + 1) - works, 0), M) / M
                rate = order.terms.most_rate or 0.0
                share[order.cl_ord_id] = share.get(order.cl_ord_id, 0.0) + rate * volume
                known = state.last_start <= at(k)  # the last interval may use what has traded only
                missed = 0.0 if known else rate * max(forecasts.get(at(k), 0.0) - volume, 0.0)
                above = state.cum_qty / QUANTA - share[order.cl_ord_id]
                paid_back = over.get(order.cl_ord_id, 0.0) - rate * volume
                assert above <= max(paid_back, missed, 0.0) + 1e-6
                over[order.cl_ord_id] = above
    finally:
        propose.limits = true_limits
    assert not harness.alerts("withheld")
    assert not harness.alerts("solver_failed")
