"""One order, one day, one window, one model: every surface gives the same cost, or names what differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from impactd import read_books, realised_cost
from impactd.cli.hours import session_settings
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import CoreSettings
from impactd.research.backtest.evaluate import Outcome
from impactd.research.backtest.run import backtest, for_backtest
from impactd.research.backtest.windows import Question
from impactd.shell.replay import Sources, replay
from impactd.shell.tally import OrderSummary
from tests import paths

MINUTE_NS = 60_000_000_000


class Case(NamedTuple):
    """A recorded day, its symbol, and the session's open."""

    path: Path
    symbol: str
    open_ns: int
    qty: int
    lot: int


def demo() -> Case:
    return Case(paths.ROOT / "replay_data" / "day.jsonl.gz", "DEMO1", 1_748_871_000_000_000_000, 20_000, 10)


def frog(data_dir: Path) -> Case:
    return Case(data_dir / "FROG_2025-04-03_mbp10.csv.gz", "FROG", 1_743_687_000_000_000_000, 20_000, 1)


def us_settings() -> CoreSettings:
    return for_backtest(session_settings(None, (), "America/New_York", "09:30-16:00")[0])


def replayed(case: Case, settings: CoreSettings, tmp_path: Path, side: str) -> OrderSummary:
    close = case.open_ns + 390 * MINUTE_NS
    order = {"type": "new", "cl_ord_id": "A1", "symbol": case.symbol, "side": side, "order_qty": case.qty}
    times = {"ts_event": case.open_ns, "start": case.open_ns, "end": close, "lot_size": case.lot}
    orders = tmp_path / "orders.jsonl"
    orders.write_bytes(orjson.dumps(order | times) + b"\n")
    (summary,) = replay(Sources([case.path], orders), settings, tmp_path / "out").orders
    return summary


def backtested(case: Case, settings: CoreSettings) -> Mapping[str, Outcome]:
    """Return the session's order by side, under a cap that never binds."""
    question = Question(qty=(float(case.qty),), kinds=("session",), trimmed=False, depth_cap=1e6, lot=case.lot * QUANTA)
    test = backtest([case.path], settings, question, strategies=["engine"])
    return {outcome.priced.side: outcome for outcome in test.outcomes if outcome.priced.symbol == case.symbol}


def path_of(out: Path) -> dict[int, float]:
    """Return what an order executed by interval, shares, read off a replay's plans."""
    path: dict[int, float] = {}
    for line in (out / "plans.jsonl").read_bytes().splitlines():
        plan = orjson.loads(line)
        at = plan["as_of"] // MINUTE_NS * MINUTE_NS
        path = {start: qty for start, qty in path.items() if start < at}
        path |= {start // MINUTE_NS * MINUTE_NS: qty for start, qty in zip(plan["start"], plan["qty"], strict=True)}
    return path


def check_python_and_comparison(case: Case, tmp_path: Path) -> None:
    done = replayed(case, us_settings(), tmp_path, "buy")
    books = read_books(case.path, symbol=case.symbol)
    books = books[books["symbol"] == case.symbol] if "symbol" in books.columns else books
    priced = realised_cost(books, path_of(tmp_path / "out"), side="buy")
    assert priced["qty"] == done.cum_qty
    assert priced["cost"] == pytest.approx(done.cost, rel=1e-9)
    assert priced["cost_bps"] == pytest.approx(done.cost_bps, rel=1e-9)
    assert priced["arrival_px"] == done.arrival_px


def check_replay_against_backtest(case: Case, tmp_path: Path) -> None:
    settings = us_settings()
    tested = backtested(case, settings)
    for side in ("buy", "sell"):
        done, priced = replayed(case, settings, tmp_path, side), tested[side].priced
        assert done.cum_qty == priced.qty == case.qty
        assert done.cost == pytest.approx(priced.cost["engine"], rel=1e-12)
        assert done.twap_cost == pytest.approx(priced.cost["twap"], rel=1e-12)
        assert done.cost_bps == pytest.approx(1e4 * priced.cost["engine"] / priced.notional, rel=1e-12)


def test_cost_generated_day_is_the_same_in_replay_and_backtest(tmp_path: Path) -> None:
    check_replay_against_backtest(demo(), tmp_path)


def test_cost_recorded_day_is_the_same_in_replay_and_backtest(data_dir: Path, tmp_path: Path) -> None:
    check_replay_against_backtest(frog(data_dir), tmp_path)


def test_cost_generated_day_is_the_same_in_replay_and_python(tmp_path: Path) -> None:
    check_python_and_comparison(demo(), tmp_path)


def test_cost_recorded_day_is_the_same_in_replay_and_python(data_dir: Path, tmp_path: Path) -> None:
    check_python_and_comparison(frog(data_dir), tmp_path)


def test_cost_of_a_replay_does_not_depend_on_how_the_file_is_read(tmp_path: Path) -> None:
    case, settings = demo(), us_settings()
    whole = replayed(case, settings, tmp_path, "buy")
    sources = Sources([case.path], tmp_path / "orders.jsonl")
    (parts,) = replay(sources, settings, tmp_path / "parts", batch_rows=311, partitions=3).orders
    assert parts == replace(whole, plans=parts.plans)
