"""Recorded days whose orders once went wrong, each with the right answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from impactd.shell.replay import ReplaySummary
from tests.shell.test_replay import MINUTE_NS, OPEN_NS, REPORTED, read, run, write

END_NS = OPEN_NS + 20 * MINUTE_NS


def books() -> list[dict[str, Any]]:
    """Return one book that prevails for twenty minutes, and the same again."""
    sides = {"bids": [[31.20, 300]], "asks": [[31.22, 300]]}
    return [{"type": "book", "symbol": "FROG", "ts_event": ts, **sides} for ts in (OPEN_NS, END_NS)]


def order(**changes: Any) -> dict[str, Any]:
    start = OPEN_NS + MINUTE_NS
    terms = {"side": "buy", "order_qty": 1_000, "ts_event": start, "start": start, "end": END_NS}
    return {"type": "new", "cl_ord_id": "A1", "symbol": "FROG"} | terms | changes


def request(kind: str, cl_ord_id: str, before: str, minute: int, **changes: Any) -> dict[str, Any]:
    ids = {"cl_ord_id": cl_ord_id, "orig_cl_ord_id": before}
    return {"type": kind, **ids, "symbol": "FROG", "ts_event": OPEN_NS + minute * MINUTE_NS} | changes


def execution(kind: str, exec_id: str, cl_ord_id: str, qty: int, ts_event: int) -> dict[str, Any]:
    ids = {"exec_id": exec_id, "cl_ord_id": cl_ord_id, "symbol": "FROG"}
    return {"type": kind, **ids, "last_qty": qty, "last_px": 31.22, "ts_event": ts_event}


def replayed(path: Path, orders: list[dict[str, Any]], executions: list[dict[str, Any]]) -> ReplaySummary:
    return run(
        path / "out",
        write(path / "books.jsonl", books()),
        write(path / "orders.jsonl", orders),
        REPORTED,
        executions=write(path / "executions.jsonl", executions),
    )


def test_second_link_of_an_id_chain_applies_and_its_cancel_too(tmp_path: Path) -> None:
    orders = [
        order(),
        request("replace", "A2", "A1", 2, order_qty=1_200),
        request("replace", "A3", "A2", 3, order_qty=900),
        request("cancel", "A4", "A3", 4),
    ]
    fills = [execution("fill", "E1", "A2", 100, OPEN_NS + 2 * MINUTE_NS + MINUTE_NS // 2)]
    (found,) = replayed(tmp_path, orders, fills).orders
    assert (found.cl_ord_id, found.order_qty, found.cum_qty, found.status) == ("A1", 900, 100, "canceled")
    assert read(tmp_path / "out", "plans")[-1]["cl_ord_ids"] == ["A1", "A2", "A3", "A4"]


def test_execution_of_an_unknown_type_is_a_dead_letter_and_an_alert(tmp_path: Path) -> None:
    fills = [
        execution("fill", "E1", "A1", 100, OPEN_NS + 150 * 10**9),
        execution("partial_fill", "E2", "A1", 400, OPEN_NS + 160 * 10**9),
    ]
    summary = replayed(tmp_path, [order()], fills)
    assert summary.refused == {"unknown_type": 1}
    (alert,) = [alert for alert in read(tmp_path / "out", "alerts") if alert["kind"] == "execution_refused"]
    assert (alert["symbol"], alert["cl_ord_id"]) == ("FROG", "A1")


def test_order_with_times_in_milliseconds_is_refused_and_alerted(tmp_path: Path) -> None:
    times = {name: value // 10**6 for name, value in order().items() if name in {"ts_event", "start", "end"}}
    summary = replayed(tmp_path, [order(**times)], [])
    assert (summary.refused, summary.orders) == ({"time_unit": 1}, ())
    (alert,) = read(tmp_path / "out", "alerts")
    assert (alert["kind"], alert["cl_ord_id"]) == ("order_refused", "A1")


def test_order_on_a_symbol_that_has_no_tick_is_alerted_and_warned_about(tmp_path: Path) -> None:
    summary = replayed(tmp_path, [order(), order(cl_ord_id="S1", symbol="FORG")], [])
    assert [warning for warning in summary.warnings if "no tick of FORG" in warning]
    alerts = [alert for alert in read(tmp_path / "out", "alerts") if alert["cl_ord_id"] == "S1"]
    assert [(alert["kind"], alert["as_of"]) for alert in alerts] == [
        ("missing_ticks", OPEN_NS + MINUTE_NS),
        ("shortfall", END_NS),
    ]
    blind = {plan["cl_ord_id"]: plan["blind"] for plan in read(tmp_path / "out", "plans") if plan["start"]}
    assert blind == {"A1": False, "S1": True}
