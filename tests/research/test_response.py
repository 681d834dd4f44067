"""The table of responses to fills: by minutes as published, by books as recorded, and nothing where little is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest
from click.testing import CliRunner

from impactd.cli import cli
from impactd.core.tca.response import MEASURES
from impactd.research.cost_analysis import read_results
from impactd.research.response import ALL, responses
from tests.paths import ROOT
from tests.research.errors import fails

DAY = ROOT / "replay_data" / "day.jsonl.gz"
MEANS = [f"{name}_bps" for name in MEASURES]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of the demo's day with two fills a second apart in every seventeenth minute."""
    place = tmp_path_factory.mktemp("day")
    orders = ROOT / "replay_data" / "orders.jsonl"
    order = orjson.loads(orders.read_bytes().splitlines()[0])
    lines = []
    for k in range(44):
        at = order["start"] + (600 + 1_020 * (k // 2) + k % 2) * 1_000_000_000 + 1
        head = {"cl_ord_id": order["cl_ord_id"], "symbol": order["symbol"], "ts_event": at}
        lines.append(orjson.dumps({"type": "fill", "exec_id": f"E{k}", "last_qty": 100, "last_px": 30, **head}))
    (place / "executions.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    done = CliRunner().invoke(
        cli,
        ["replay", f"--data={DAY}", f"--config={ROOT / 'replay_data' / 'impactd.toml'}", f"--orders={orders}",
         f"--executions={place / 'executions.jsonl'}", f"--out={place / 'result'}", "--set=plans.fills=reported"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return place / "result"


@pytest.mark.parametrize("by", ["minutes", "books"])
def test_a_generated_book_that_knows_no_fills_shows_no_response(results: Path, by: str) -> None:
    read = read_results(results)
    found = responses(read.costs.fills, read.books, [DAY] if by == "books" else [])
    assert found["symbol"].unique().tolist() == ["DEMO1"]
    assert found["text"].isna().all()
    assert found["events"].max() == 22
    kept = found[(found[MEANS] != 0.0).all(axis=1)]
    scores = np.stack([kept[f"{name}_bps"] / kept[f"{name}_se"] for name in MEASURES])
    assert np.isfinite(scores).all()
    assert np.mean(np.abs(scores) > 1.96) < 0.2
    assert {"minutes": [-180.0, 300.0], "books": [-60.0, 300.0]}[by] == [found["lag_s"].min(), found["lag_s"].max()]


def test_the_command_writes_and_shows_it(results: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["tca", f"--results={results}", f"--data={DAY}", f"--out={tmp_path}", "--json"])
    assert done.exit_code == 0, done.output
    told = orjson.loads(done.stdout)
    assert pd.Timestamp(told["orders"][0]["as_of"]).tz is not None
    written = pd.read_csv(tmp_path / "response.csv")
    assert written["lag_s"].tolist() == [row["lag_s"] for row in told["response"]]
    page = (tmp_path / "tca.html").read_text(encoding="utf-8")
    assert "How books responded to fills" in page


def test_few_fills_have_none_and_the_table_tells_why(results: Path) -> None:
    read = read_results(results)
    fills = read.costs.fills
    for few in (fills.iloc[:0], fills.iloc[:6]):
        found = responses(few, read.books)
        assert found[MEANS].isna().all(axis=None)
        assert found["text"].notna().all()
    late = responses(fills, read.books, since=fills["ts_event"].sort_values().iloc[-4])
    assert late["events"].max() == 2
    assert responses(fills.iloc[:0], read.books)["symbol"].unique().tolist() == [ALL]


def test_books_of_another_symbol_are_refused_by_name(results: Path) -> None:
    fills = read_results(results).costs.fills.assign(symbol="OTHER")
    with fails(1001, "data"):
        responses(fills, {}, [DAY])
    assert responses(fills, {})["text"].notna().all()
