"""LSEG's live books by price: refreshes in parts, changes, instruments and times."""

from __future__ import annotations

from typing import Any

import pytest

from impactd import read_source
from impactd.research.sources.lseg import LsegSource
from tests.research.errors import fails, refuses
from tests.research.sources.tables import books_of, sides_of


def _entry(action: str, key: str, **fields: Any) -> dict[str, Any]:
    return {"Action": action, "Key": key} | ({"Fields": fields} if fields else {})


def _point(action: str, side: str, price: float, size: float, ms: int) -> dict[str, Any]:
    fields = {"ORDER_PRC": price, "ORDER_SIDE": side, "ACC_SIZE": size, "NO_ORD": 1, "LV_TIM_MS": ms}
    return _entry(action, f"{price}{side[0]}", **fields)


def _message(kind: str, *entries: dict[str, Any], name: str | None = "VOD.L", **more: Any) -> dict[str, Any]:
    key = {} if name is None else {"Key": {"Service": "ELEKTRON_DD", "Name": name}}
    body = {"Map": {"KeyType": "Buffer", "Entries": list(entries)}}
    return {"ID": 2, "Type": kind, "Domain": "MarketByPrice", **key, **body, **more}


SUMMARY = {"Fields": {"DSPLY_NAME": "VODAFONE GROUP", "ACTIV_DATE": "2019-07-22", "CURRENCY": "GBp"}}
PART = _message(
    "Refresh", _point("Add", "BID", 127.44, 5586, 50419848), _point("Add", "ASK", 127.6, 4713, 50452301), Complete=False
)
PART["Map"]["Summary"] = SUMMARY
LAST = _message("Refresh", _point("Add", "BID", 127.46, 100, 50153370), _point("Add", "ASK", 127.5, 1000, 50452300))

#: The book that both parts make.
BIDS, ASKS = [(127.46, 100.0), (127.44, 5586.0)], [(127.5, 1000.0), (127.6, 4713.0)]


def test_refresh_in_parts_is_one_book_at_its_newest_level() -> None:
    assert books_of(read_source("lseg", [PART, LAST])) == [(1563753600_000_000_000 + 50452301_000_000, BIDS, ASKS)]


def test_update_between_the_parts_counts_and_is_no_book_of_its_own() -> None:
    update = _message("Update", _entry("Delete", "127.44B"), name=None)
    assert sides_of(read_source("lseg", [PART, update, LAST])) == [([(127.46, 100.0)], ASKS)]


@pytest.mark.parametrize(
    ("entry", "bids"),
    [
        (_point("Add", "BID", 127.45, 7, 50452400), [(127.46, 100.0), (127.45, 7.0), (127.44, 5586.0)]),
        (_entry("Update", "127.46B", ACC_SIZE=80, LV_TIM_MS=50452400), [(127.46, 80.0), (127.44, 5586.0)]),
        (_entry("Delete", "127.46B"), [(127.44, 5586.0)]),
        (_entry("Delete", "1.0B"), BIDS),
        (_entry("Update", "127.46B", ACC_SIZE=0, LV_TIM_MS=50452400), [(127.44, 5586.0)]),
    ],
)
def test_update_without_key_changes_the_book_of_its_stream(
    entry: dict[str, Any], bids: list[tuple[float, float]]
) -> None:
    records = [PART, LAST, _message("Update", entry, name=None)]
    assert sides_of(read_source("lseg", records))[-1] == (bids, ASKS)


def test_second_refresh_replaces_what_stood() -> None:
    again = _message("Refresh", _point("Add", "BID", 120.0, 1, 50500000))
    assert sides_of(read_source("lseg", [PART, LAST, again]))[-1] == ([(120.0, 1.0)], [])


def test_refresh_that_keeps_the_cache_adds_to_what_stood() -> None:
    again = _message("Refresh", _point("Add", "BID", 127.47, 1, 50500000), ClearCache=False)
    assert sides_of(read_source("lseg", [PART, LAST, again]))[-1] == ([(127.47, 1.0), *BIDS], ASKS)


def test_refresh_that_begins_again_forgets_its_parts() -> None:
    whole = _message("Refresh", _point("Add", "BID", 120.0, 1, 50500000), PartNum=0)
    assert sides_of(read_source("lseg", [PART, whole])) == [([(120.0, 1.0)], [])]


def test_recorded_time_of_a_message_goes_before_the_levels() -> None:
    update = _message("Update", _entry("Delete", "127.46B"), name=None) | {
        "Date-Time": "2019-07-22T14:01:00.000000001Z"
    }
    assert books_of(read_source("lseg", [PART, LAST, update]))[-1][0] == 1563804060_000_000_001


def test_nanosecond_fields_are_taken_where_they_are() -> None:
    fields = {"ORDER_PRC": 1.0, "ORDER_SIDE": 1, "ACC_SIZE": 203, "LV_TIM_MS": 23460020, "LV_DATE": "2023-08-07"}
    refresh = _message("Refresh", _entry("Add", "a", **fields, LV_TIM_NS="06:31:00.020570000"))
    assert books_of(read_source("lseg", [refresh])) == [(1691389860_020_570_000, [(1.0, 203.0)], [])]


def test_streams_of_several_instruments_are_kept_apart() -> None:
    other = _message("Refresh", _point("Add", "BID", 12.0, 1, 50500000), name="BARC.L", ID=3)
    other["Map"]["Summary"] = SUMMARY
    update = _message("Update", _point("Add", "ASK", 12.1, 2, 50500001), name=None, ID=3)
    table = read_source("lseg", [PART, other, LAST, update])
    assert sides_of(table[table["symbol"] == "BARC.L"]) == [([(12.0, 1.0)], []), ([(12.0, 1.0)], [(12.1, 2.0)])]
    assert sides_of(table[table["symbol"] == "VOD.L"]) == [(BIDS, ASKS)]


def test_deep_book_keeps_its_best_levels() -> None:
    assert sides_of(LsegSource(n_levels=1).books([PART, LAST])) == [(BIDS[:1], ASKS[:1])]


def test_messages_that_are_no_book_are_skipped() -> None:
    others: list[dict[str, Any]] = [
        {"ID": 1, "Type": "Refresh", "Domain": "Login", "Key": {"Name": "user"}},
        {"Type": "Ping"},
        {"ID": 2, "Type": "Status", "State": {"Stream": "Open", "Data": "Suspect"}},
    ]
    assert sides_of(read_source("lseg", [*others, PART, LAST, *others])) == [(BIDS, ASKS)]


def test_update_before_the_refresh_is_no_book() -> None:
    with fails(1001, "records"):
        read_source("lseg", [_message("Update", _point("Add", "BID", 1.0, 1, 1))])


@pytest.mark.parametrize(
    ("message", "code", "field"),
    [
        (_message("Update", _entry("Delete", "1"), name=None, ID=9), 1002, "Key.Name"),
        (_message("Refresh", _point("Add", "BID", 1.0, 1, 1)), 1002, "LV_TIM_MS with LV_DATE or ACTIV_DATE"),
        (_message("Refresh", _entry("Move", "1")), 1001, "Action"),
        (_message("Refresh", _entry("Add", "1", ORDER_PRC=1, ACC_SIZE=1)), 1002, "ORDER_SIDE"),
        (_message("Refresh", _entry("Add", "1", ORDER_PRC=1, ACC_SIZE=1, ORDER_SIDE="UP")), 1001, "ORDER_SIDE"),
        (_message("Refresh", _entry("Add", "1", ORDER_SIDE="BID", ACC_SIZE=1)), 1002, "ORDER_PRC"),
        (
            _message("Refresh", _point("Add", "BID", 1.0, 1, -5)) | {"Date-Time": "soon"},
            1001,
            "Date-Time, LV_DATE, ACTIV_DATE",
        ),
    ],
)
def test_message_that_cannot_be_used_is_named(message: dict[str, Any], code: int, field: str) -> None:
    with refuses(code, field):
        read_source("lseg", [message])


@pytest.mark.parametrize("value", [-1, 90_000_000_000, "1:xx:00", 1.5])
def test_time_of_day_that_is_none_is_named(value: object) -> None:
    message = _message("Refresh", _entry("Add", "a", ORDER_PRC=1, ORDER_SIDE="BID", ACC_SIZE=1, LV_TIM_MS=value))
    message["Map"]["Summary"] = SUMMARY
    with refuses(1001, "LV_TIM_MS"):
        read_source("lseg", [message])


def test_message_that_cannot_be_used_ends_the_book_until_the_next_refresh() -> None:
    bad = _message("Update", _entry("Move", "1"))
    table = read_source("lseg", [PART, LAST, bad, _message("Update", _point("Add", "BID", 1.0, 1, 1))])
    assert table.attrs["refused"] == {"malformed": 1}
    assert sides_of(table) == [([], [])]
