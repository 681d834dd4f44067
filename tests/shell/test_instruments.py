"""Instruments through replay, plan and costs, against currency computed by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from impactd.core.base.instrument import Instrument
from impactd.core.base.settings import CoreSettings
from impactd.shell.replay import Sources, replay

T0 = 1_743_674_400_000_000_000
S = 1_000_000_000
M = 60 * S


@dataclass(frozen=True)
class Case:
    """A market of one level a side, an order to buy, and its only fill."""

    symbol: str
    instrument: Instrument
    bid: float
    ask: float
    qty: str
    fill_px: float
    #: By hand, from here on: half-spread x quantity x multiplier; that in bps of notional and in ticks; then what the
    #: fill paid over mid, in currency and in ticks.
    cost: float
    bps: float | None
    ticks: float
    paid: float
    paid_ticks: float


CASES = [
    # 0.125 points x 10 contracts x 50 dollars; the fill pays 0.375 points.
    Case(
        "ESM5", Instrument(tick_size=0.25, multiplier=50.0, currency="USD", asset_class="future"),
        5000.0, 5000.25, "10", 5000.5, 62.5, 0.125 / 5000.125 * 1e4, 0.5, 187.5, 1.5,
    ),
    # 0.125 x 4 x 1000 at a mid of -1.125, of which nothing is a share.
    Case(
        "CLM5-CLN5", Instrument(tick_size=0.01, multiplier=1000.0, currency="USD", negative_px=True),
        -1.25, -1.0, "4", -1.0, 500.0, None, 12.5, 500.0, 12.5,
    ),
    # 1e-5 dollars x 1,000,000 euros.
    Case(
        "EURUSD", Instrument(tick_size=1e-5, lot_size=1000.0, currency="USD", asset_class="fx"),
        1.10000, 1.10002, "1000000", 1.10003, 10.0, 1e-5 / 1.10001 * 1e4, 1.0, 20.0, 2.0,
    ),
    # 0.25 x 0.12345678 coins.
    Case(
        "BTCUSDT", Instrument(tick_size=0.1, lot_size=1e-8, currency="USDT", asset_class="crypto"),
        60000.0, 60000.5, "0.12345678", 60000.5, 0.030864195, 0.25 / 60000.25 * 1e4, 2.5, 0.030864195, 2.5,
    ),
]  # fmt: skip


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def results(directory: Path, name: str, **where: Any) -> list[dict[str, Any]]:
    found = [orjson.loads(line) for line in (directory / f"{name}.jsonl").read_bytes().splitlines()]
    return [row for row in found if all(row.get(key) == value for key, value in where.items())]


def run(case: Case, directory: Path, core: CoreSettings, **order: Any) -> Path:
    replay(recorded(case, directory, **order), core, directory / "out")
    return directory / "out"


def recorded(case: Case, directory: Path, **order: Any) -> Sources:
    size = 1_000_000_000 if case.symbol == "EURUSD" else 1_000
    book = {"type": "book", "symbol": case.symbol, "bids": [[case.bid, size]], "asks": [[case.ask, size]]}
    ticks = lines(directory / "ticks.jsonl", [book | {"ts_event": T0 + 10 * S * k} for k in range(60)])
    head = {"cl_ord_id": "A", "symbol": case.symbol}
    window = {"ts_event": T0 + 3 * M, "start": T0 + 3 * M, "end": T0 + 7 * M}
    orders = lines(
        directory / "orders.jsonl",
        [{"type": "new", **head, "side": "buy", "order_qty": case.qty, **window, **order}],
    )
    last = {"last_qty": case.qty, "last_px": case.fill_px, "last_liquidity_ind": "taker"}
    executions = lines(
        directory / "executions.jsonl", [{"type": "fill", "exec_id": "E1", **head, **last, "ts_event": T0 + 5 * M + S}]
    )
    return Sources([ticks], orders, executions)


def settings(case: Case) -> CoreSettings:
    return CoreSettings(apply="in_event_time", instruments=((case.symbol, case.instrument),))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.symbol)
def test_costs_are_in_currency_bps_and_ticks(case: Case, tmp_path: Path) -> None:
    out = run(case, tmp_path, settings(case))
    plan = results(out, "plans", reason="new")[0]
    assert plan["status"] == "active"
    assert plan["currency"] == case.instrument.currency
    assert plan["expected_cost"] == pytest.approx(case.cost, rel=2e-3)
    assert plan["expected_cost_bps"] == (None if case.bps is None else pytest.approx(case.bps, rel=2e-3))
    assert plan["expected_cost_ticks"] == pytest.approx(case.ticks, rel=2e-3)
    lot = case.instrument.lot
    assert all(round(qty * 1e9) % lot == 0 for qty in plan["qty"])
    [fill] = results(out, "tca", exec_id="E1")
    assert fill["currency"] == case.instrument.currency
    assert fill["cost"] == pytest.approx(case.paid, rel=1e-9)
    assert fill["spread_cost"] == pytest.approx(case.cost, rel=1e-9)
    assert fill["slippage_ticks"] == pytest.approx(case.paid_ticks, rel=1e-9)
    assert (fill["slippage_bps"] is None) is (case.bps is None)
    assert fill["multiplier"] == case.instrument.points
    [order] = [row for row in results(out, "tca", cl_ord_id="A") if "shortfall" in row]
    assert order["shortfall"] == pytest.approx(case.paid, rel=1e-9)
    assert order["shortfall_ticks"] == pytest.approx(case.paid_ticks, rel=1e-9)
    assert (order["shortfall_bps"] is None) is (case.bps is None)


def test_prices_at_or_below_zero_are_refused_where_the_instrument_has_none(tmp_path: Path) -> None:
    spread = CASES[1]
    out = run(spread, tmp_path, CoreSettings(apply="in_event_time"))
    assert all(row["n_books"] == 0 for row in results(out, "estimates"))
    [letter] = results(out, "dlq")
    assert letter["reason"] == "value"
    assert results(out, "alerts", kind="execution_refused")


@pytest.mark.parametrize(
    ("changes", "order", "field"),
    [
        ({"min_qty": 20.0}, {}, "min_qty"),
        ({"max_qty": 5.0}, {}, "max_qty"),
        ({}, {"limit_px": -1.0}, "limit_px"),
        ({"negative_px": True}, {"limit_offset_bps": 5.0}, "limit_offset_bps"),
    ],
)
def test_orders_that_the_instrument_does_not_allow_are_refused_by_name(
    changes: dict[str, Any], order: dict[str, Any], field: str, tmp_path: Path
) -> None:
    case = replace(CASES[0], instrument=replace(CASES[0].instrument, **changes))
    out = run(case, tmp_path, settings(case), **order)
    [plan] = results(out, "plans", reason="new")
    assert plan["status"] == "rejected"
    assert field in plan["text"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.symbol)
def test_summary_of_a_replay_is_in_currency(case: Case, tmp_path: Path) -> None:
    [order] = replay(recorded(case, tmp_path), settings(case), tmp_path / "out").orders
    assert order.currency == case.instrument.currency
    assert order.cost == pytest.approx(case.paid, rel=1e-9)
    assert order.twap_cost == pytest.approx(case.cost, rel=1e-9)
    assert (order.twap_bps is None) is (case.bps is None)
