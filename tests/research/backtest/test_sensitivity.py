"""The sensitivity walks through each day once, and works each order once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from impactd.research.backtest import evaluate, run, study
from impactd.research.backtest import sensitivity as module
from impactd.research.backtest.days import SymbolTape
from impactd.research.backtest.live import ParentOrder
from impactd.wire.tick_records import encode_ticks
from tests.core.rows import batch_of
from tests.research.backtest.made import QUESTION, SETTINGS, noisy_rows


def test_no_day_is_walked_twice_and_no_order_worked_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "day.jsonl"
    path.write_bytes(b"".join(record.value + b"\n" for record in encode_ticks(batch_of(noisy_rows(3)))))
    walks: list[str] = []
    orders: list[ParentOrder] = []
    states_at, execute_all = study.states_at, evaluate.execute_all

    def walked(tape: SymbolTape, *more: Any, **named: Any) -> Any:
        walks.append(tape.symbol)
        return states_at(tape, *more, **named)

    def worked(*given: Any) -> Any:
        orders.extend(given[-1])
        return execute_all(*given)

    for place in (study, run):
        monkeypatch.setattr(place, "states_at", walked)
    monkeypatch.setattr(evaluate, "execute_all", worked)
    table = module.sensitivity(path, SETTINGS, QUESTION)
    assert walks == ["FROG"]
    assert len(set(orders)) == len(orders) > 20
    figures = ["orders", "shares", "twap_bps", "engine_bps", "hindsight_bps", "capture", "done_halfway"]
    middle = {"size": module.MIDDLE_SHARE, "horizon": 60.0, "risk aversion": 0.0}
    same = [table[(table["varied"] == varied) & (table["value"] == value)] for varied, value in middle.items()]
    assert all(len(rows) for rows in same)
    assert len({tuple(rows[figures].iloc[0]) for rows in same}) == 1
