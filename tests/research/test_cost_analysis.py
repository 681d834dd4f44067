"""Costs after the trade, against cases computed by hand and a day with fills, a bust and a correction."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from impactd.cli import cli
from impactd.research.cost_analysis import PARTS, Fees, analyse, read_fees, read_results, summary
from impactd.research.cost_report import adding_up, answer, write_costs
from impactd.research.currencies import Rates, read_rates
from impactd.research.tca import Costs
from tests.paths import ROOT
from tests.research import many_fills
from tests.research.errors import fails

OPEN = pd.Timestamp("2026-03-02T14:30:00Z")


def minute(k: float) -> pd.Timestamp:
    return OPEN + pd.Timedelta(minutes=k)


#: Mids 100, 101, 102, ... and 1,000 shares a minute.
MINUTES = pd.DataFrame(
    {"symbol": "X", "minute": [minute(k) for k in range(60)], "mid": 100.0 + np.arange(60), "volume_continuous": 1e3}
)
DAYS = pd.DataFrame({"symbol": ["X"], "side": ["buy"], "day": [OPEN]})
PLANS = pd.DataFrame({"cl_ord_id": ["A"], "as_of": [minute(1)], "mid": [99.5], "start": [minute(2)]})


def fills(**changes: Any) -> pd.DataFrame:
    """Return a buy of 10 at 100.5 in minute 2, by default at the far touch."""
    row: dict[str, Any] = {
        "cl_ord_id": "A", "exec_id": "E1", "symbol": "X", "side": "buy", "ts_event": minute(2.5), "as_of": minute(3),
        "qty": 10, "px": 100.5, "liquidity": "taker", "mid": 100.0, "half_spread": 0.5, "arrival_bps": 50.0,
        "slippage_bps": 50.0, "predicted_bps": 40.0, "vwap_bps": None,
        "spread_cost": 5.0, "impact_cost": 0.0, "timing_cost": 0.0, "cost": 5.0,
    }  # fmt: skip
    return pd.DataFrame([row | changes])


def orders(**changes: Any) -> pd.DataFrame:
    row: dict[str, Any] = {
        "cl_ord_id": "A", "symbol": "X", "side": "buy", "status": "canceled", "as_of": minute(30), "order_qty": 20,
        "cum_qty": 10, "avg_px": 100.5, "arrival_px": 100.0, "market_vwap": 101.0, "market_volume": 110.0,
        "arrival_bps": 50.0, "vwap_bps": -49.5, "slippage_bps": 50.0, "predicted_bps": 40.0, "shortfall_bps": 30.0,
        "spread_cost": 5.0, "impact_cost": 1.0, "timing_cost": -2.0, "opportunity_cost": 3.0, "shortfall": 7.0,
    }  # fmt: skip
    return pd.DataFrame([row | changes])


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_each_measure_is_the_one_computed_by_hand(side: str) -> None:
    sign = 1.0 if side == "buy" else -1.0
    costs = Costs(fills(side=side, px=100.0 + sign * 0.5), orders(side=side), DAYS)
    schedule = {"X": Fees(taker=0.01, maker=-0.02, bps=1.0), "*": Fees(taker=9.0)}
    found = analyse(costs, MINUTES, PLANS, fees=schedule, rate=0.01)
    (fill,), (order,) = found.fills.to_dict("records"), found.orders.to_dict("records")
    px = 100.0 + sign * 0.5
    assert fill["markout_1m_bps"] == pytest.approx(sign * (103.0 - px) / px * 1e4)
    assert fill["markout_5m_bps"] == pytest.approx(sign * (107.0 - px) / px * 1e4)
    assert fill["markout_30m_bps"] == pytest.approx(sign * (132.0 - px) / px * 1e4)
    assert fill["markout_close_bps"] == pytest.approx(sign * (159.0 - px) / px * 1e4)
    assert fill["spread_capture"] == pytest.approx(-1.0)
    assert fill["fee"] == pytest.approx(10 * 0.01 + 1e-4 * 10 * px)
    assert order["decision_px"] == 99.5
    assert order["delay_cost"] == pytest.approx(sign * (100.0 - 99.5) * 20)
    assert order["fees"] == fill["fee"]
    assert order["total"] == order["delay_cost"] + 5.0 + 1.0 - 2.0 + 3.0 + order["fees"]
    assert order["total_bps"] == pytest.approx(1e4 * order["total"] / (99.5 * 20))
    assert order["vwap_without_own"] == pytest.approx((101.0 * 110 - 100.5 * 10) / 100)
    # 10 shares at a hundredth are a thousand of the market's: those of minute 2.
    assert order["pwp"] == pytest.approx(102.0)


def several() -> Costs:
    """Return an order and a fill of two symbols: of a multiplier of 50 in dollars, and of 1 in euros."""
    dollars = {"currency": "USD", "multiplier": 50.0}
    euros = {"currency": "EUR", "multiplier": 1.0, "cl_ord_id": "B"}
    return Costs(
        pd.concat([fills(**dollars), fills(**euros, exec_id="E2")], ignore_index=True),
        pd.concat([orders(**dollars), orders(**euros)], ignore_index=True),
        DAYS,
    )


BOTH = pd.concat([PLANS, PLANS.assign(cl_ord_id="B")], ignore_index=True)


def test_money_has_the_multiplier_and_prices_do_not() -> None:
    found = analyse(several(), MINUTES, BOTH, rate=0.01)
    future, share = found.orders.to_dict("records")
    assert (future["delay_cost"], share["delay_cost"]) == (0.5 * 20 * 50, 0.5 * 20)
    assert (future["notional"], share["notional"]) == (100.5 * 10 * 50, 100.5 * 10)
    assert future["total_bps"] == pytest.approx(1e4 * future["total"] / (99.5 * 20 * 50))
    assert future["vwap_without_own"] == share["vwap_without_own"]
    assert found.fills["notional"].tolist() == [100.5 * 10 * 50, 100.5 * 10]


def test_currencies_are_kept_apart_or_converted_by_rates(tmp_path: Path) -> None:
    own = analyse(several(), MINUTES, BOTH)
    assert "USD" in answer(own)
    assert "EUR" in answer(own)
    write_costs(own, ["symbol"], tmp_path / "own")
    assert pd.read_csv(tmp_path / "own" / "summary.csv")["currency"].tolist() == ["EUR", "USD"]
    (tmp_path / "rates.toml").write_text('currency = "USD"\n[rates]\nEUR = 1.25\n', encoding="utf-8")
    found = analyse(several(), MINUTES, BOTH, rates=read_rates(tmp_path / "rates.toml"))
    before, after = own.orders.set_index("cl_ord_id")["total"], found.orders.set_index("cl_ord_id")["total"]
    assert (after["A"], after["B"]) == (before["A"], pytest.approx(1.25 * before["B"]))
    assert set(found.orders["currency"]) == {"USD"}
    assert found.fills["notional"].tolist() == pytest.approx([100.5 * 10 * 50, 1.25 * 100.5 * 10])
    assert found.orders["total_bps"].tolist() == pytest.approx(own.orders["total_bps"].tolist())


@pytest.mark.parametrize(
    "text",
    ["", "currency = 1\n[rates]\n", 'currency = "USD"\n[rates]\nEUR = 0\n', 'currency = "USD"\nx = 1\n[rates]\n'],
)
def test_rates_that_are_none_state_what_to_give(text: str, tmp_path: Path) -> None:
    (tmp_path / "rates.toml").write_text(text, encoding="utf-8")
    with fails(1001, "rates"):
        read_rates(tmp_path / "rates.toml")


def test_a_currency_without_a_rate_is_named() -> None:
    with fails(1001, "rates"):
        analyse(several(), MINUTES, BOTH, rates=Rates("USD", {"USD": 1.0}))


def test_price_of_participation_takes_part_of_the_last_minute() -> None:
    (order,) = analyse(Costs(fills(), orders(), DAYS), MINUTES, PLANS, rate=10 / 2_500).orders.to_dict("records")
    assert order["pwp"] == pytest.approx((102.0 * 1_000 + 103.0 * 1_000 + 104.0 * 500) / 2_500)


def test_what_is_unknown_is_a_gap() -> None:
    """No later minute, no plan with a price, no volume beyond one's own, no mid of a fill, no costs of an order."""
    costs = Costs(
        fills(ts_event=minute(58), mid=None, half_spread=None),
        orders(market_volume=10.0, spread_cost=None, opportunity_cost=None),
        DAYS.iloc[:0],
    )
    plans = PLANS.assign(mid=math.nan)
    found = analyse(costs, MINUTES, plans, rate=1e-6)
    (fill,), (order,) = found.fills.to_dict("records"), found.orders.to_dict("records")
    gaps = [fill[name] for name in ("markout_5m_bps", "markout_30m_bps", "markout_close_bps", "spread_capture")]
    gaps += [order[name] for name in ("delay_cost", "total", "total_bps", "vwap_without_own", "pwp")]
    assert all(math.isnan(value) for value in gaps)
    assert fill["fee"] == 0.0
    assert math.isnan(summary(found.orders, ["symbol"])["total"].iloc[0])


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_order_filled_without_a_report_has_no_value_fee_or_price(side: str) -> None:
    parts = dict.fromkeys(("spread_cost", "impact_cost", "timing_cost", "shortfall"))
    order = orders(side=side, avg_px=None, **parts)
    found = analyse(Costs(fills().iloc[:0], order, DAYS), MINUTES, PLANS.assign(mid=100.0))
    (row,) = found.orders.to_dict("records")
    unknown = ("notional", "fees", "total", "vwap_without_own", "vwap_without_own_bps")
    assert {name: row[name] for name in unknown} == pytest.approx(dict.fromkeys(unknown, math.nan), nan_ok=True)
    assert math.copysign(1.0, row["delay_cost"]) == 1.0
    (total,) = summary(found.orders, ["symbol"]).to_dict("records")
    assert math.isnan(total["notional"])
    assert "report the fills" in answer(found)


def test_fill_that_does_not_state_what_it_was_pays_the_larger_fee() -> None:
    found = analyse(Costs(fills(liquidity=None), orders(), DAYS), MINUTES, PLANS, fees={"*": Fees(0.01, -0.02)})
    assert found.fills["fee"].tolist() == pytest.approx([0.1])


def test_busted_fill_does_not_count() -> None:
    both = pd.concat([fills(), fills(exec_id="E2", qty=0)], ignore_index=True)
    assert analyse(Costs(both, orders(), DAYS), MINUTES, PLANS).fills["exec_id"].tolist() == ["E1"]


def test_outlier_is_beyond_three_and_a_half_modified_deviations() -> None:
    """Costs 1..9 have median 5 and MAD 2: of the next, 0.6745 * (x - 5) / 2 is beyond 3.5 from x = 15.4 on."""
    for last, is_outlier in ((15.3, False), (15.5, True)):
        many = [fills(exec_id=str(k), arrival_bps=float(k)) for k in (1, 2, 3, 4, 5, 5, 6, 7, 8, 9)]
        table = pd.concat([*many, fills(exec_id="last", arrival_bps=last)], ignore_index=True)
        found = analyse(Costs(table, orders(), DAYS), MINUTES, PLANS).fills
        assert found["outlier"].tolist() == [False] * 10 + [is_outlier]


def test_summary_weighs_by_value_and_adds_money() -> None:
    table = pd.concat([fills(), fills(exec_id="E2", qty=30, arrival_bps=10.0, side="sell")], ignore_index=True)
    found = analyse(Costs(table, orders(), DAYS), MINUTES, PLANS).fills
    (whole,) = summary(found, ["symbol"]).to_dict("records")
    assert whole["count"] == 2
    assert whole["cost"] == 10.0
    assert whole["arrival_bps"] == pytest.approx((50.0 * 10 + 10.0 * 30) / 40)
    assert summary(found, ["side", "hour"])["count"].tolist() == [1, 1]
    with fails(1002, "by") as refused:
        summary(found, ["mood"])
    named = refused.value.remedy.removeprefix("give one of ").split(", ")
    assert {"symbol", "side", "hour", "date", "cl_ord_id", "venue"} & {*named} >= {"symbol", "side", "hour", "date"}
    for key in named:
        assert len(summary(found, [key])) > 0


def test_summary_of_many_fills_has_each_once_and_all_money() -> None:
    costs, minutes, plans = many_fills.day(5_000)
    found = analyse(costs, minutes, plans)
    for table, by, money in ((found.fills, ["symbol", "side", "hour"], "cost"), (found.orders, ["symbol"], "total")):
        whole = summary(table, by)
        assert whole["count"].sum() == len(table)
        assert whole[money].sum() == pytest.approx(table[money].sum(), rel=1e-9)
    assert found.orders["pwp"].notna().all()


def test_columns_of_the_page_are_those_of_the_tables() -> None:
    found = analyse(Costs(fills(), orders(), DAYS), MINUTES, PLANS)
    text = (ROOT / "docs" / "howto" / "measure-costs.md").read_text("utf-8")
    for heading, table in (("## Orders", found.orders), ("## Fills", found.fills)):
        part = text.split(heading)[1].split("\n## ")[0]
        named = [
            name for line in part.splitlines() if line.startswith("| `") for name in line.split("|")[1].split(", ")
        ]
        assert named
        assert {name.strip(" `") for name in named} <= {*map(str, table.columns)}


def test_urgency_of_the_latest_plan_is_a_key_of_fills_and_orders(tmp_path: Path) -> None:
    """Of three orders one has changed its mind, and one is of a release that did not say."""
    names, said = ("A", "A", "B", "C"), (0.0, 4.0, 1.0, None)
    plans = [
        {"cl_ord_id": name, "as_of": OPEN.value + k, "mid": 99.5, "start": [OPEN.value]}
        | ({} if urgency is None else {"urgency": urgency})
        for k, (name, urgency) in enumerate(zip(names, said, strict=True))
    ]
    (tmp_path / "plans.jsonl").write_bytes(b"\n".join(map(orjson.dumps, plans)))
    (tmp_path / "tca.jsonl").touch()
    (tmp_path / "estimates.jsonl").touch()
    read = read_results(tmp_path)
    assert read.plans["as_of"].astype("int64").tolist() == [OPEN.value, OPEN.value + 2, OPEN.value + 3]
    costs = Costs(*(pd.concat([of(cl_ord_id=name) for name in "ABC"]) for of in (fills, orders)), DAYS)
    found = analyse(costs, MINUTES, read.plans)
    for table in found:
        by = summary(table, ["urgency", "symbol"])
        np.testing.assert_equal(by["urgency"].tolist(), [1.0, 4.0, math.nan])
        assert by["count"].tolist() == [1, 1, 1]


def test_a_day_is_analysed_by_one_command(tmp_path: Path) -> None:
    """The demo's day with fills of its buy, one corrected and one busted: parts sum, files agree, the page is whole."""
    executions = []
    orders_file = ROOT / "replay_data" / "orders.jsonl"
    order = orjson.loads(orders_file.read_bytes().splitlines()[0])
    name, symbol, start = order["cl_ord_id"], order["symbol"], order["start"]
    for k in range(40):
        at = start + (600 + 60 * k) * 1_000_000_000 + 1
        head = {"cl_ord_id": name, "symbol": symbol, "ts_event": at}
        executions.append({"type": "fill", "exec_id": f"E{k}", "last_qty": 100, "last_px": 30 + 0.01 * k, **head})
    head["ts_event"] += 1
    executions.append({"type": "bust", "exec_id": "B", "exec_ref_id": "E3", **head})
    executions.append({"type": "correct", "exec_id": "C", "exec_ref_id": "E4", "last_qty": 50, "last_px": 31, **head})
    (tmp_path / "executions.jsonl").write_bytes(b"\n".join(map(orjson.dumps, executions)) + b"\n")
    data = [
        f"--{name}={ROOT / 'replay_data' / file}"
        for name, file in (("data", "day.jsonl.gz"), ("config", "impactd.toml"))
    ]
    run = CliRunner()
    replayed = run.invoke(
        cli,
        ["replay", *data, f"--orders={orders_file}", f"--executions={tmp_path / 'executions.jsonl'}",
         f"--out={tmp_path / 'result'}", "--set=plans.fills=reported"],
    )  # fmt: skip
    assert replayed.exit_code == 0, replayed.output
    (tmp_path / "fees.toml").write_text('["*"]\ntaker = 0.003\n', encoding="utf-8")
    out = tmp_path / "costs"
    done = run.invoke(
        cli,
        [
            "tca",
            f"--results={tmp_path / 'result'}",
            f"--fees={tmp_path / 'fees.toml'}",
            "--by=symbol,status,urgency,hour",
            "--tz=Asia/Kolkata",
            f"--out={out}",
        ],
    )
    assert done.exit_code == 0, done.output
    found = pd.read_csv(out / "fills.csv")
    assert len(found) == 39
    assert found.set_index("exec_id").loc["E4", "qty"] == 50
    assert found["fee"].sum() == pytest.approx(0.003 * found["qty"].sum())
    hours = pd.to_datetime(found["ts_event"], format="ISO8601", utc=True).dt.tz_convert("Asia/Kolkata").dt.hour
    assert set(pd.read_csv(out / "fills_summary.csv")["hour"]) == set(hours)
    ended = pd.read_csv(out / "orders.csv").set_index("cl_ord_id").loc[name]
    assert ended["cum_qty"] == found["qty"].sum()
    assert ended["total"] == sum(ended[part] for part in PARTS)
    page = (out / "tca.html").read_text(encoding="utf-8")
    assert done.output.splitlines()[0] in page
    assert name in page


@given(
    hnp.arrays(float, (5, len(PARTS)), elements=st.floats(-1e9, 1e9)),
)
def test_parts_as_shown_sum_to_the_total_as_shown(parts: np.ndarray[Any, Any]) -> None:
    table = pd.DataFrame(parts, columns=list(PARTS)).assign(total=parts.sum(axis=1))
    shown = adding_up(table)
    cents = (shown[[*PARTS, "total"]] * 100).round().astype("int64")
    assert (cents[list(PARTS)].sum(axis=1) == cents["total"]).all()
    np.testing.assert_allclose(shown[[*PARTS]], table[[*PARTS]], rtol=1e-15, atol=0.01 + 1e-6)
    np.testing.assert_allclose(shown["total"], table["total"], rtol=1e-15, atol=0.005 + 1e-6)


def test_unknown_part_leaves_its_order_as_it_is() -> None:
    table = pd.DataFrame([[1.005] * len(PARTS)] * 2, columns=list(PARTS)).assign(total=6.03)
    table.loc[0, "delay_cost"] = math.nan
    shown = adding_up(table)
    assert shown.loc[0, "fees"] == 1.005
    assert shown.loc[1, list(PARTS)].sum() == pytest.approx(6.03)


def test_fee_is_that_of_the_venue_which_the_fill_states(tmp_path: Path) -> None:
    path = tmp_path / "fees.toml"
    path.write_text('["*@XNAS"]\ntaker = 0.01\n["X@*"]\nmaker = -0.02\n["*"]\ntaker = 9\n', encoding="utf-8")
    fee = [0.1, -0.2, 90.0, 90.0]
    several = [
        fills(exec_id="1", venue="XNAS"),
        fills(exec_id="2", venue="BATS", liquidity="maker"),
        fills(exec_id="3", venue=None),
        fills(exec_id="4", symbol="Y", venue="BATS"),
    ]
    made = pd.concat(several, ignore_index=True)
    found = analyse(Costs(made, orders(), DAYS), MINUTES, PLANS, fees=read_fees(path))
    assert found.fills["fee"].tolist() == pytest.approx(fee)
    assert found.orders["fees"].tolist() == pytest.approx([sum(fee)])


@pytest.mark.parametrize("text", ["[X]\nfee = 1", "X = 1", '["*"]\ntaker = "much"', "["])
def test_schedule_of_fees_that_is_none_states_what_to_give(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fees.toml"
    path.write_text(text, encoding="utf-8")
    with fails(1001, "fees"):
        read_fees(path)


@pytest.mark.parametrize("content", [b"{", b"[1]\n", b'"a"\n', b'{"value":1}\n', b'{"type":"alert"}\n'])
@pytest.mark.parametrize("name", ["estimates", "plans"])
def test_results_that_are_something_else_state_what_to_give(name: str, content: bytes, tmp_path: Path) -> None:
    for empty in ("tca", "estimates", "plans"):
        (tmp_path / f"{empty}.jsonl").touch()
    (tmp_path / f"{name}.jsonl").write_bytes(content)
    with fails(1001, "results"):
        read_results(tmp_path)


def test_results_without_plans_state_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "tca.jsonl").touch()
    done = CliRunner().invoke(cli, ["tca", f"--results={tmp_path}", f"--out={tmp_path / 'out'}"])
    assert done.exit_code == 2
    assert "estimates.jsonl" in done.output
