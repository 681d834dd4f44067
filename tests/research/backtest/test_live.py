"""The engine in the backtest is the service's: the same bytes as a replay, and no look ahead."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from impactd.config.hours import session_rule
from impactd.core.base.settings import MINUTE_NS, CoreSettings
from impactd.core.base.topics import Side
from impactd.core.inputs.ticks import TickBatch
from impactd.core.orders.ledger import Ledger
from impactd.core.orders.order import Order
from impactd.research.backtest import live
from impactd.research.backtest.days import SymbolTape, read_tapes
from impactd.research.backtest.live import ParentOrder, Run, execute, execute_all, states_at
from impactd.shell.replay import Sources, replay
from impactd.wire.tick_records import encode_ticks
from tests.core.builders import T0, M
from tests.core.rows import batch_of
from tests.research.backtest.made import SETTINGS, noisy_rows, quanta, tape_of

FROG = "FROG_2025-04-03_mbp10.csv.gz"


def order_of(start: int = T0 + 10 * M, minutes: int = 30, **terms: object) -> ParentOrder:
    named = {"symbol": "FROG", "side": Side.BUY, "qty": quanta(3_000), "cap": quanta(400)} | terms
    return ParentOrder(start=start, end=start + minutes * M, **named)  # type: ignore[arg-type]  # as the tests say


def run(tape: SymbolTape, order: ParentOrder, settings: CoreSettings = SETTINGS) -> Run:
    return execute(tape, settings, states_at(tape, settings, [order.start])[order.start], order)


def replayed(
    path: Path, order: ParentOrder, settings: CoreSettings, out: Path
) -> tuple[list[float], list[dict[str, object]]]:
    """Return what a replay of one order traded in each interval, and its plans."""
    event, terms = order.event(), order.event().terms
    orders = out / "orders.jsonl"
    out.mkdir()
    record = {
        "type": "new", "cl_ord_id": event.cl_ord_id, "symbol": event.symbol, "side": str(event.side),
        "order_qty": terms.order_qty / 1e9, "ts_event": event.ts_event, "start": terms.start, "end": terms.end,
        "max_interval_qty": (terms.max_interval_qty or 0) / 1e9,
    }  # fmt: skip
    orders.write_bytes(orjson.dumps(record) + b"\n")
    replay(Sources([path], orders), settings, out / "result")
    plans = [orjson.loads(line) for line in (out / "result" / "plans.jsonl").read_bytes().splitlines()]
    traded = []
    for start in range(order.start, order.end, MINUTE_NS):
        in_force = [plan for plan in plans if plan["as_of"] <= start][-1]
        traded.append(dict(zip(in_force["start"], in_force["qty"], strict=True)).get(start, 0.0))
    done = [plan["cum_qty"] for plan in plans if plan["status"] == "done"]
    assert done == [sum(traded)]
    return traded, plans


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_engine_trades_what_a_replay_of_the_order_trades(tmp_path: Path, side: Side) -> None:
    batch = batch_of(noisy_rows(3))
    path = tmp_path / "day.jsonl"
    path.write_bytes(b"".join(record.value + b"\n" for record in encode_ticks(batch)))
    (tape,) = read_tapes([path], SETTINGS)
    order = order_of(side=side)
    done = run(tape, order)
    traded, plans = replayed(path, order, SETTINGS, tmp_path / "replay")
    assert done.qty.tolist() == traded
    assert done.left == 0.0
    assert done.n_plans == len(plans)
    assert [qty / 1e9 for qty in done.first.qty] == plans[0]["qty"]
    assert done.first.expected_cost == plans[0]["expected_cost"]


def test_engine_trades_what_a_replay_of_a_recorded_day_trades(data_dir: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, session=session_rule("America/New_York", "09:30", "16:00"))
    (tape,) = read_tapes([data_dir / FROG], settings)
    start = tape.days[0].open + 90 * MINUTE_NS
    order = order_of(start, 40)
    done = run(tape, order, settings)
    traded, plans = replayed(data_dir / FROG, order, settings, tmp_path / "replay")
    assert done.qty.tolist() == traded
    assert done.n_plans == len(plans)


def test_engine_does_not_depend_on_the_starts_that_others_have() -> None:
    tape, order = tape_of(noisy_rows(5)), order_of()
    among = states_at(tape, SETTINGS, [T0 + t * M for t in range(60)])
    assert execute(tape, SETTINGS, among[order.start], order).qty.tolist() == run(tape, order).qty.tolist()


@pytest.mark.parametrize("factor", [1.0, 50.0])
def test_orders_that_share_an_engine_trade_what_each_trades_alone(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = tape_of(noisy_rows(5))
    orders = [order_of(side=side, qty=quanta(qty)) for qty in (3_000, 600) for side in Side]
    state = states_at(tape, SETTINGS, [orders[0].start])[orders[0].start]
    each = [execute(tape, SETTINGS, state, order) for order in orders]
    alone: list[ParentOrder] = []
    run_once, demanded = live._run, live.demanded

    def noted(*given: Any) -> list[Run]:
        if len(given[-1]) == 1:
            alone.extend(given[-1])
        return run_once(*given)

    def of_side(order: Order, interval_ns: int) -> tuple[float, float]:
        least, most = demanded(order, interval_ns)
        return least, most * factor if order.side is Side.SELL else most

    monkeypatch.setattr(live, "_run", noted)
    monkeypatch.setattr(live, "demanded", of_side)
    together = execute_all(tape, SETTINGS, state, orders)
    for a, b in zip(each, together, strict=True):
        assert a.qty.tolist() == b.qty.tolist()
        assert (a.left, a.n_plans) == (b.left, b.n_plans)
        assert (a.first.qty, a.first.expected_cost) == (b.first.qty, b.first.expected_cost)
    assert len(alone) == (len(orders) if factor > 1.0 else 0)


def test_order_trades_another_path_with_the_sizes_of_no_order(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dataclasses.replace(SETTINGS, session=session_rule("America/New_York", "09:30", "16:00"))
    (tape,) = read_tapes([data_dir / FROG], settings)
    order = order_of(tape.days[0].open + 90 * MINUTE_NS, 40, qty=quanta(600))
    own = run(tape, order, settings)
    monkeypatch.setattr(Ledger, "demand_range", lambda _self, _symbol, _interval_ns: None)
    assert np.abs(own.qty - run(tape, order, settings).qty).sum() > 0.01 * own.qty.sum()


def shuffled_after(batch: TickBatch, ts: int, seed: int) -> TickBatch:
    """Return the rows with the contents of all from `ts` on put in another order; times stay."""
    later = np.flatnonzero(batch.ts_event >= ts)
    rows = np.arange(len(batch))
    rows[later] = np.random.default_rng(seed).permutation(later)
    mixed = batch.take(rows)
    return dataclasses.replace(mixed, ts_event=batch.ts_event, ts_record=batch.ts_record, offset=batch.offset)


@pytest.mark.parametrize("minutes", [1, 7, 18])
def test_shuffled_future_moves_no_decision_of_the_past(minutes: int) -> None:
    batch, order = batch_of(noisy_rows(11)), order_of()
    until = order.start + minutes * M
    plain, mixed = run(tape_of(batch), order), run(tape_of(shuffled_after(batch, until, 1)), order)
    # What is traded from `until` on is decided at `until`, from rows before it.
    assert plain.qty[: minutes + 1].tolist() == mixed.qty[: minutes + 1].tolist()
    assert plain.qty[minutes + 1 :].tolist() != mixed.qty[minutes + 1 :].tolist()


def test_shuffled_future_that_is_seen_early_moves_decisions_of_the_past() -> None:
    # What the test above would say of an engine that is given rows before their time.
    def early(batch: TickBatch) -> SymbolTape:
        return tape_of(dataclasses.replace(batch, ts_event=batch.ts_event - 2 * M, ts_record=batch.ts_record - 2 * M))

    batch, order = batch_of(noisy_rows(11)), order_of()
    plain, mixed = run(early(batch), order), run(early(shuffled_after(batch, order.start + 7 * M, 1)), order)
    assert plain.qty[:8].tolist() != mixed.qty[:8].tolist()


def test_shuffled_future_of_a_recorded_day_moves_no_decision_of_the_past(data_dir: Path) -> None:
    settings = dataclasses.replace(SETTINGS, session=session_rule("America/New_York", "09:30", "16:00"))
    (tape,) = read_tapes([data_dir / FROG], settings)
    start = tape.days[0].open + 30 * MINUTE_NS
    order, until = order_of(start, 60), start + 25 * MINUTE_NS
    mixed = SymbolTape.of("FROG", shuffled_after(tape.batch, until, 2), settings)
    first, second = run(tape, order, settings), run(mixed, order, settings)
    assert first.qty[:26].tolist() == second.qty[:26].tolist()
    assert first.qty[26:].tolist() != second.qty[26:].tolist()


def test_engine_without_any_book_before_the_start_still_trades() -> None:
    rows = [row for row in noisy_rows(2) if row.ts >= T0 + 20 * M]
    done = run(tape_of(rows), order_of(T0 + 5 * M, 40))
    assert done.qty.sum() + done.left == pytest.approx(3_000)
