"""One order, one day, one window, one model: every surface gives the same cost, or names what differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from impactd import read_books, realised_cost
from impactd.research.differences import DIFFERENCES
from impactd.shell.replay import Sources, replay
from tests import paths
from tests.research.one_cost import (
    Case,
    backtested,
    documented,
    figure,
    frog,
    path_of,
    replayed,
    rows,
    shanghai_settings,
    us_settings,
)

#: File, symbol, open (ns) and an order of what its minutes hold.
COLD = [
    ("FROG_2025-04-03_mbp10.csv.gz", "FROG", 1_743_687_000_000_000_000, 20_000),
    ("ARL_2025-07-17_mbp10.csv.gz", "ARL", 1_752_759_000_000_000_000, 1_200),
]


def demo() -> Case:
    return Case(paths.ROOT / "replay_data" / "day.jsonl.gz", "DEMO1", 1_748_871_000_000_000_000, 20_000, 10)


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


def test_cost_table_of_the_docs_is_what_every_surface_gives(data_dir: Path) -> None:
    found, shown = rows(frog(data_dir)), documented()
    by_name = {row.surface: row for row in found}
    replayed_row, page = by_name["`impactd replay`"], by_name["live page"]
    for name in ("`impactd backtest`", "`impactd.realised_cost` of the replay's schedule"):
        for ours, theirs in zip(by_name[name][1:4], replayed_row[1:4], strict=True):
            assert ours is None or ours == pytest.approx(theirs, rel=1e-9)
    assert page.expected == replayed_row.expected
    assert page[2:4] == pytest.approx(replayed_row[2:4], rel=0.01)
    assert by_name["`impactd compare`, `report`, at the books"].twap == pytest.approx(replayed_row.twap, rel=0.001)
    assert {name for row in found for name in row.apart} <= set(DIFFERENCES)
    stale = "python -m tests.research.one_cost writes the table anew"
    assert [cells[0] for cells in shown] == [row.surface for row in found], stale
    for cells, row in zip(shown, found, strict=True):
        assert cells[4] == ", ".join(row.apart), stale
        assert cells[2] == figure(row.twap), stale
        # What rests on the service's plans moves a little with each change of the forecast.
        for cell, value in ((cells[1], row.expected), (cells[3], row.realised)):
            assert (cell == "") == (value is None), stale
            assert value is None or float(cell.replace(",", "")) == pytest.approx(value, rel=0.25), stale


@pytest.mark.parametrize("wait", [0, 15], ids=["at the open", "a quarter of an hour later"])
@pytest.mark.parametrize(("name", "symbol", "day_open", "qty"), COLD)
def test_cost_of_a_first_plan_on_a_cold_start_is_inside_its_95_percent_band(
    name: str, symbol: str, day_open: int, qty: int, wait: int, data_dir: Path, tmp_path: Path
) -> None:
    """The first priced plan knows a few minutes of one day, whose opening is dearer than what follows."""
    case = Case(data_dir / name, symbol, day_open, qty, 1)
    done = replayed(case, us_settings(), tmp_path, "buy", wait_minutes=wait)
    assert done.band_95 is not None
    assert done.cost is not None
    assert done.band_95[0] <= done.cost <= done.band_95[1]


@pytest.mark.parametrize("day", ["SYM0_2019-02-28", "SYM2_2019-02-28", "SYM5_2019-02-12"])
def test_cost_of_a_first_plan_at_a_narrow_book_is_near_and_its_band_narrow(
    day: str, data_dir: Path, tmp_path: Path
) -> None:
    """Days that constants may be chosen on; half-spreads of 2 to 9 bps."""
    symbol, date = day.split("_")
    opened = int(np.datetime64(f"{date}T01:40", "ns").astype(np.int64))
    case = Case(data_dir / "ashare" / f"{day}_mbp5.csv.xz", symbol, opened, 10_000, 100, minutes=310)
    done = replayed(case, shanghai_settings(), tmp_path, "buy")
    assert done.band_95 is not None
    assert done.cost is not None
    assert done.expected_cost is not None
    low, high = done.band_95
    assert low <= done.cost <= high
    assert 1 / 1.5 <= done.cost / done.expected_cost <= 1.5
    assert high / low <= 4.5**2
