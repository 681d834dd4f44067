"""LSEG's rows of Tick History and of the data library."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from impactd import read_source
from tests.research.errors import refuses
from tests.research.sources.tables import books_of, sides_of

DEPTH: list[dict[str, Any]] = [
    {"#RIC": "FROG.O", "Domain": "Market Price", "Date-Time": "2025-04-03T13:30:00.125395235Z", "GMT Offset": "-4",
     "Type": "Normalized LL2", "L1-BidPrice": "31.2", "L1-BidSize": "300", "L1-BuyNo": "2", "L1-AskPrice": "31.25",
     "L1-AskSize": "200", "L1-SellNo": "1", "L2-BidPrice": "31.19", "L2-BidSize": "500", "L2-BuyNo": "3",
     "L2-AskPrice": "", "L2-AskSize": "", "L2-SellNo": ""},
]  # fmt: skip
QUOTES: list[dict[str, Any]] = [
    {"#RIC": "FROG.O", "Date-Time": "2025-04-03T13:30:00.1Z", "Type": "Quote", "Bid Price": "31.2", "Bid Size": "300",
     "Ask Price": "31.25", "Ask Size": "200"},
    {"#RIC": "FROG.O", "Date-Time": "2025-04-03T13:30:00.2Z", "Type": "Trade", "Price": "31.22", "Volume": "10"},
    {"#RIC": "FROG.O", "Date-Time": "2025-04-03T13:30:00.3Z", "Type": "Quote", "Bid Price": "31.21", "Bid Size": "100",
     "Ask Price": "", "Ask Size": ""},
]  # fmt: skip


def _quote(at: str, ric: str, *values: object) -> dict[str, Any]:
    names = ("Bid Price", "Bid Size", "Ask Price", "Ask Size")
    return {"#RIC": ric, "Date-Time": at, "Type": "Quote"} | dict(zip(names, values, strict=True))


def test_market_depth_is_a_deep_book_to_the_nanosecond() -> None:
    assert books_of(read_source("lseg", DEPTH)) == [
        (1743687000125395235, [(31.2, 300.0), (31.19, 500.0)], [(31.25, 200.0)])
    ]


def test_quote_that_names_one_side_leaves_the_other_standing() -> None:
    assert sides_of(read_source("lseg", QUOTES)) == [
        ([(31.2, 300.0)], [(31.25, 200.0)]),
        ([(31.21, 100.0)], [(31.25, 200.0)]),
    ]


def test_history_of_the_data_library_with_missing_values_is_read() -> None:
    at = pd.Timestamp("2025-04-03T13:30:00.1")
    rows = [
        {"Timestamp": at, "BID": 31.2, "BIDSIZE": 300, "ASK": 31.25, "ASKSIZE": 200},
        {"Timestamp": at + pd.Timedelta("1s"), "BID": pd.NA, "BIDSIZE": pd.NA, "ASK": float("nan"), "ASKSIZE": 100},
    ]
    assert sides_of(read_source("lseg", rows)) == [
        ([(31.2, 300.0)], [(31.25, 200.0)]),
        ([(31.2, 300.0)], [(31.25, 100.0)]),
    ]


def test_standing_values_of_one_ric_are_not_carried_to_another() -> None:
    records = [
        _quote("2025-04-03T13:30:00Z", "FROG.O", 31.2, 300, 31.25, 200),
        _quote("2025-04-03T13:30:01Z", "ARL.N", 12.0, 100, "", ""),
        _quote("2025-04-03T13:30:02Z", "FROG.O", "", "", 31.26, 100),
    ]
    table = read_source("lseg", records)
    assert sides_of(table[table["symbol"] == "ARL.N"]) == [([(12.0, 100.0)], [])]
    assert sides_of(table[table["symbol"] == "FROG.O"])[1] == ([(31.2, 300.0)], [(31.26, 100.0)])
    assert sides_of(read_source("lseg", records, symbol="ARL.N")) == [([(12.0, 100.0)], [])]


@pytest.mark.parametrize(
    "at",
    [
        "2025-04-03T09:30:00.125395235-04:00",
        "2025-04-03T13:30:00.125395235",
        pd.Timestamp("2025-04-03T13:30:00.125395235"),
        pd.Timestamp("2025-04-03T09:30:00.125395235", tz="America/New_York"),
    ],
)
def test_time_with_and_without_a_zone_is_utc_to_the_nanosecond(at: object) -> None:
    table = read_source("lseg", [_quote(at, "FROG.O", 31.2, 300, 31.25, 200)])  # type: ignore[arg-type]  # also Timestamps
    assert books_of(table)[0][0] == 1743687000125395235


def test_times_in_several_zones_are_one_order() -> None:
    zones = ("America/New_York", "Asia/Tokyo", "UTC")
    at = [pd.Timestamp(f"2025-04-03T13:30:0{n}Z").tz_convert(zone) for n, zone in enumerate(zones)]
    rows = [{"Timestamp": time, "BID": 31.0 + n, "BIDSIZE": 1, "ASK": 40, "ASKSIZE": 1} for n, time in enumerate(at)]
    assert [bids[0][0] for bids, _ in sides_of(read_source("lseg", rows))] == [31.0, 32.0, 33.0]


@pytest.mark.parametrize(
    ("records", "code", "field"),
    [
        ([{"Date-Time": "2025-04-03T13:30Z"}], 1002, "L1-BidPrice, Bid Price or BID"),
        ([{"Bid Price": 1, "Bid Size": 1, "Ask Price": 2, "Ask Size": 1}], 1002, "Date-Time"),
        ([DEPTH[0] | {"Date-Time": "tomorrow"}], 1001, "Date-Time"),
        ([{name: value for name, value in DEPTH[0].items() if name != "L1-AskSize"}], 1002, "L1-AskSize"),
        ([QUOTES[1]], 1001, "records"),
    ],
)
def test_records_that_cannot_be_used_are_named(records: list[dict[str, Any]], code: int, field: str) -> None:
    with refuses(code, field):
        read_source("lseg", records)
