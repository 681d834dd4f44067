"""The orders of the documentation fill what their limits allow: each is taken from its page and worked for its day."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from impactd.cli import main
from tests.paths import ROOT

CONFIG = """
[session]
timezone = "America/New_York"
open = "09:30"
close = "16:00"

[plans]
apply = "in_event_time"
fills = "scheduled"
"""
FROG = "FROG_2025-04-03_mbp10.csv.gz"


def order_on(page: str) -> dict[str, Any]:
    """Return the first order on a page of the documentation."""
    found = re.search(r'^\{"type":"new".*\}$', (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    order: dict[str, Any] = orjson.loads(found[0])
    return order


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def judge(order: dict[str, Any], data: Path, tmp_path: Path) -> None:
    (tmp_path / "impactd.toml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "orders.jsonl").write_bytes(orjson.dumps(order) + b"\n")
    out = tmp_path / "out"
    args = ["-c", str(tmp_path / "impactd.toml"), "--data", str(data), "--orders", str(tmp_path / "orders.jsonl")]
    assert main(["replay", *args, "--out", str(out)]) == 0
    last = lines(out / "plans.jsonl")[-1]
    volume = sum(
        estimate["volume_continuous"] or 0.0
        for estimate in lines(out / "estimates.jsonl")
        if estimate["side"] == "buy" and order["start"] <= estimate["minute"] < order["end"]
    )
    rate = order.get("participation_rate")
    allowed = order["order_qty"] if rate is None else min(order["order_qty"], rate * volume)
    assert last["status"] == ("done" if last["cum_qty"] == order["order_qty"] else "expired")
    assert 0.97 * allowed <= last["cum_qty"] <= allowed


@pytest.mark.slow
@pytest.mark.parametrize("page", ["docs/howto/add-an-order.md", "docs/reference/messages.md"])
def test_documented_order_on_a_recorded_day_fills_what_its_limit_allows(
    page: str, data_dir: Path, tmp_path: Path
) -> None:
    judge(order_on(page), data_dir / FROG, tmp_path)


@pytest.mark.slow
def test_order_without_a_limit_fills_in_whole(data_dir: Path, tmp_path: Path) -> None:
    order = order_on("docs/reference/messages.md") | {"order_qty": 50_000, "participation_rate": None, "lot_size": 1}
    judge(order, data_dir / FROG, tmp_path)


def test_order_of_the_tutorial_fills_what_its_limit_allows(tmp_path: Path) -> None:
    day = tmp_path / "day.jsonl.gz"
    assert main(["generate", "--out", str(day), "--seed", "7"]) == 0
    judge(order_on("docs/tutorial.md"), day, tmp_path)
