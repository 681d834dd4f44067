"""The sensitivity works each question once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from impactd.research.backtest import sensitivity as module
from impactd.wire.tick_records import encode_ticks
from tests.core.rows import batch_of
from tests.research.backtest.made import QUESTION, SETTINGS, noisy_rows


def test_no_question_is_worked_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "day.jsonl"
    path.write_bytes(b"".join(record.value + b"\n" for record in encode_ticks(batch_of(noisy_rows(3)))))
    asked, run = [], module.run

    def noted(*given: Any, **named: Any) -> Any:
        asked.append(given[2])
        return run(*given, **named)

    monkeypatch.setattr(module, "run", noted)
    table = module.sensitivity(path, SETTINGS, QUESTION)
    assert len(set(asked)) == len(asked)
    figures = ["orders", "shares", "twap_bps", "engine_bps", "hindsight_bps", "capture", "done_halfway"]
    middle = {"size": module.MIDDLE_SHARE, "horizon": 60.0, "risk aversion": 0.0}
    same = [table[(table["varied"] == varied) & (table["value"] == value)] for varied, value in middle.items()]
    assert all(len(rows) for rows in same)
    assert len({tuple(rows[figures].iloc[0]) for rows in same}) == 1
