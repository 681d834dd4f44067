"""Polygon's records: each recorded shape becomes the books that it says, in shares and to the nanosecond."""

from __future__ import annotations

from typing import Any

import pytest

from impactd import read_source
from impactd.research.sources.polygon import PolygonSource
from tests.research.errors import refuses
from tests.research.sources.tables import books_of

#: Records as the interface gives them; other fields than those that are read stand among them.
REST: list[dict[str, Any]] = [
    {"ask_exchange": 11, "ask_price": 31.25, "ask_size": 2, "bid_exchange": 12, "bid_price": 31.2, "bid_size": 3,
     "conditions": [1], "participant_timestamp": 1743687000125000000, "sequence_number": 5, "tape": 3,
     "sip_timestamp": 1743687000125395235},
    {"ask_price": 31.26, "ask_size": 1, "bid_price": 31.2, "bid_size": 4, "sip_timestamp": 1743687001000000000},
]  # fmt: skip
WEBSOCKET: list[dict[str, Any]] = [
    {"ev": "status", "status": "connected", "message": "Connected Successfully"},
    {"ev": "Q", "sym": "FROG", "bx": 4, "bp": 31.2, "bs": 3, "ax": 7, "ap": 31.25, "as": 2, "c": 0, "t": 1743687000125,
     "q": 50385480, "z": 3},
]  # fmt: skip
LEVEL_2: list[dict[str, Any]] = [
    {"ev": "XL2", "pair": "BTC-USD", "t": 1743687000125, "r": 1743687000130, "x": 2,
     "b": [[33711.9, 0.25], [33711.0, 1.5]], "a": [[33718.2, 0.1], [33718.9, 0.0], [33719.0, 2.0]]},
]  # fmt: skip


def _quote(**changes: Any) -> dict[str, Any]:
    return {"ev": "Q", "sym": "FROG", "bp": 31.2, "bs": 3, "ap": 31.25, "as": 2, "t": 1743687000125} | changes


def test_rest_quotes_are_one_level_books_in_shares() -> None:
    assert books_of(read_source("polygon", REST)) == [
        (1743687000125395235, [(31.2, 300.0)], [(31.25, 200.0)]),
        (1743687001000000000, [(31.2, 400.0)], [(31.26, 100.0)]),
    ]


def test_websocket_quotes_pass_over_other_events() -> None:
    assert books_of(read_source("polygon", WEBSOCKET)) == [(1743687000125000000, [(31.2, 300.0)], [(31.25, 200.0)])]


def test_level_2_is_a_deep_book_in_coins() -> None:
    ((_, bids, asks),) = books_of(read_source("polygon", LEVEL_2))
    assert bids == [(33711.9, 0.25), (33711.0, 1.5)]
    assert asks == [(33718.2, 0.1), (33719.0, 2.0)]


@pytest.mark.parametrize("stamp", [1743687000125395235, "1743687000125395235"])
def test_timestamp_as_integer_or_text_keeps_each_nanosecond(stamp: object) -> None:
    ((ns, _, _),) = books_of(read_source("polygon", [REST[0] | {"sip_timestamp": stamp}]))
    assert ns == 1743687000125395235


@pytest.mark.parametrize("stamp", [1743687000125395235.0, "1.743687e18", True, None, 1743687000125.5, -1, 2**63])
def test_timestamp_that_is_not_exact_is_refused(stamp: object) -> None:
    with refuses(1001, "sip_timestamp"):
        read_source("polygon", [REST[0] | {"sip_timestamp": stamp}])


@pytest.mark.parametrize(
    ("ms", "lot"),
    [(1762145999999, 100.0), (1762146000000, 1.0)],  # midnight in New York before 3 November 2025
)
def test_stock_sizes_count_lots_until_november_2025_and_shares_since(ms: int, lot: float) -> None:
    ((_, bids, asks),) = books_of(read_source("polygon", [_quote(t=ms)]))
    assert (bids, asks) == ([(31.2, 3.0 * lot)], [(31.25, 2.0 * lot)])


def test_round_lot_that_is_given_overrides_the_date() -> None:
    ((_, bids, _),) = books_of(PolygonSource(round_lot=10.0).books([_quote()]))
    assert bids == [(31.2, 30.0)]


def test_option_sizes_count_contracts() -> None:
    ((_, bids, _),) = books_of(read_source("polygon", [_quote(sym="O:SPY241220P00720000")]))
    assert bids == [(31.2, 3.0)]


def test_quote_of_one_side_ends_the_other() -> None:
    found = books_of(read_source("polygon", [_quote(), _quote(t=1743687000126, ap=0, **{"as": 0})]))
    assert found[1][1:] == ([(31.2, 300.0)], [])


def test_several_tickers_are_told_apart_at_the_same_time() -> None:
    table = read_source("polygon", [_quote(), _quote(sym="ARL", bp=12.0, ap=12.1)])
    assert table.attrs["symbols"] == ["FROG", "ARL"]
    assert {name: len(part) for name, part in table.groupby("symbol")} == {"FROG": 2, "ARL": 2}
    ((_, bids, _),) = books_of(table[table["symbol"] == "ARL"])
    assert bids == [(12.0, 300.0)]


@pytest.mark.parametrize(
    ("records", "code", "field"),
    [
        ([{"bid_price": 1.0}], 1002, "sip_timestamp"),
        ([_quote(), {name: value for name, value in _quote().items() if name != "sym"}], 1002, "sym"),
        ([{"ev": "XL2", "t": 1, "b": None, "a": []}], 1001, "b"),
        ([{"ev": "XL2", "t": 1, "b": [["x", 1]], "a": []}], 1001, "b"),
        ([{"ev": "XL2", "t": 1, "b": [[1]], "a": []}], 1001, "b"),
        ([_quote(bp="x")], 1001, "bp"),
        ([], 1001, "records"),
        ([{"ev": "T", "sym": "FROG"}], 1001, "records"),
    ],
)
def test_records_that_cannot_be_used_are_named(records: list[dict[str, Any]], code: int, field: str) -> None:
    with refuses(code, field):
        read_source("polygon", records)
