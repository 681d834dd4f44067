"""Recorded and live books into the long form and back, and the same estimates as the service's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from impactd import ImpactModel, ValidationError, convert_live_data_to_system_format, read_books, write_books
from impactd.core.base.settings import CoreSettings
from impactd.shell.replay import Sources, replay
from tests.research.errors import fails


@pytest.mark.parametrize("name", ["day.csv", "day.csv.gz", "DEMO.jsonl", "DEMO.jsonl.xz"])
def test_books_written_and_read_are_the_same(tmp_path: Path, name: str) -> None:
    books = ImpactModel().generate_synthetic_orderbook(20, 5)
    path = write_books(books, tmp_path / name)
    again = read_books(path)
    pd.testing.assert_frame_equal(again, books)
    assert again.attrs["symbols"] == [name.partition(".")[0]]


def test_books_written_twice_are_the_same_bytes(tmp_path: Path) -> None:
    books = ImpactModel().generate_synthetic_orderbook(5, 5)
    one, two = (write_books(books, tmp_path / name).read_bytes() for name in ("a.csv.gz", "b.csv.gz"))
    assert one == two


@pytest.mark.parametrize("name", ["day.csv", "day.jsonl"])
def test_read_keeps_no_symbol_but_the_one_asked_for(tmp_path: Path, name: str) -> None:
    books = ImpactModel().generate_synthetic_orderbook(n_snapshots=3, n_levels=2, seed=1)
    path = write_books(books, tmp_path / name, symbol="FROG")
    assert read_books(path, symbol="FROG").attrs["symbols"] == read_books(path).attrs["symbols"] == ["FROG"]
    with fails(1001, "symbol"):
        read_books(path, symbol="ARL")


def test_write_unknown_ending_is_1001(tmp_path: Path) -> None:
    with fails(1001, str(tmp_path / "day.parquet")):
        write_books(ImpactModel().generate_synthetic_orderbook(2, 2), tmp_path / "day.parquet")


@pytest.mark.parametrize("content", [None, b"", b"a,b\n1,2\n"])
def test_read_what_cannot_be_read_is_1001(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "X.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValidationError) as error:
        read_books(path)
    assert error.value.code == 1001


def test_read_book_without_levels_ends_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "X.jsonl"
    lines = [
        {"type": "book", "symbol": "X", "ts_event": 10**18 + 20 * 10**9, "bids": [[9.9, 10]], "asks": [[10.1, 10]]},
        {"type": "book", "symbol": "X", "ts_event": 10**18 + 50 * 10**9, "bids": [], "asks": []},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    books = read_books(path)
    assert books["size"].tolist() == [10.0, 10.0, 0.0]
    table = ImpactModel().estimate_slippage(books, [5.0], interval="1min")
    assert len(table) == 2


@pytest.mark.parametrize("name", ["FROG_2025-04-03_mbp10.csv.gz", "ARL_2025-07-17_mbp10.csv.gz"])
def test_estimate_by_minute_of_a_recorded_day_equals_the_service_to_the_last_bit(
    data_dir: Path, tmp_path: Path, name: str
) -> None:
    replay(Sources([data_dir / name]), CoreSettings(apply="in_event_time"), tmp_path)
    model = ImpactModel()
    ours = model.estimate_slippage(read_books(data_dir / name), interval="1min")
    ours = ours.set_index(["time", "side"])
    compared = 0
    for line in (tmp_path / "estimates.jsonl").read_bytes().splitlines():
        estimate = json.loads(line)
        if not estimate["covered_s"]:
            continue
        rows = ours.loc[(pd.Timestamp(estimate["minute"], tz="UTC"), estimate["side"])]
        for column, field in (
            ("size", "sizes"),
            ("slippage", "slippage"),
            ("coverage", "coverage"),
            ("lower_bound", "lower_bound"),
        ):
            theirs = np.array([np.nan if value is None else value for value in estimate[field]], np.float64)
            np.testing.assert_array_equal(rows[column].to_numpy(), theirs, err_msg=f"{estimate['minute']} {field}")
        assert (rows["mid"] == estimate["mid"]).all()
        assert (rows["half_spread"] == estimate["half_spread"]).all()
        compared += 1
    assert compared == len(ours.index.unique()) > 300


def test_convert_live_quotes_are_the_long_form() -> None:
    quotes = pd.DataFrame(
        {
            "timestamp": pd.to_datetime(["2025-04-03 13:30:01", "2025-04-03 13:30:00", "2025-04-03 13:30:01"]),
            "bid_price": [31.2, 31.1, 31.3],
            "ask_price": [31.25, 31.2, 31.4],
            "bid_size": [300, 100, 200],
            "ask_size": [200, 100, 100],
        }
    )
    books = convert_live_data_to_system_format(quotes)
    assert books["time"].is_monotonic_increasing
    assert books["price"].tolist() == [31.1, 31.2, 31.3, 31.4]
    assert len(ImpactModel().estimate_slippage(books, [50.0])) == 4


@pytest.mark.parametrize("column", ["timestamp", "bid_price", "ask_price", "bid_size", "ask_size"])
def test_convert_live_missing_column_is_1002(column: str) -> None:
    quotes = pd.DataFrame(
        {"timestamp": ["2025-04-03"], "bid_price": [1.0], "ask_price": [1.1], "bid_size": [1], "ask_size": [1]}
    )
    with fails(1002, column):
        convert_live_data_to_system_format(quotes.drop(columns=column))


def test_convert_live_text_in_price_is_1001() -> None:
    quotes = pd.DataFrame(
        {"timestamp": ["2025-04-03"], "bid_price": ["x"], "ask_price": [1.1], "bid_size": [1], "ask_size": [1]}
    )
    with fails(1001, "bid_price"):
        convert_live_data_to_system_format(quotes)


@pytest.mark.parametrize(("unit", "power"), [("s", 9), ("ms", 6), ("us", 3)])
def test_whole_times_in_another_unit_are_refused_and_datetimes_of_any_unit_read(unit: str, power: int) -> None:
    at = pd.Series(pd.to_datetime(["2025-04-03T13:30:00Z"] * 2))
    table = pd.DataFrame({"side": ["bid", "ask"], "price": [31.2, 31.22], "size": [300, 300], "level": [0, 0]})
    numbers = at.astype("int64") // (at.astype("int64").iloc[0] // 1743687000 // 10 ** (9 - power))
    with pytest.raises(ValidationError, match=rf"multiply by 10\^{power}"):
        ImpactModel().estimate_slippage(table.assign(time=numbers))
    for time in (at.dt.as_unit(unit), at.dt.tz_convert("America/New_York"), numbers * 10**power):
        estimates = ImpactModel().estimate_slippage(table.assign(time=time))
        assert len(estimates)


@pytest.mark.parametrize(
    ("column", "value"), [("price", "x"), ("size", "x"), ("level", 0.5), ("level", 0), ("side", "x"), ("time", None)]
)
def test_errors_of_a_row_name_it_as_the_table_does(column: str, value: object) -> None:
    books = ImpactModel().generate_synthetic_orderbook(n_snapshots=3, n_levels=2, seed=1).astype({column: object})
    books.index = pd.Index(np.arange(len(books)) + 100)
    books.loc[101, column] = value
    with pytest.raises(ValidationError) as raised:
        ImpactModel().estimate_slippage(books)
    assert "np." not in str(raised.value)
    assert "101" in str(raised.value) or column == "side"
