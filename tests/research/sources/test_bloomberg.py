"""Bloomberg's ticks and table commands, checked against what the vendor's sample does with them."""

from __future__ import annotations

from typing import Any

import pytest

from impactd import read_books, read_source, write_books
from tests.research.errors import refuses
from tests.research.sources.tables import Side, books_of, sides_of

TICKS = [
    {"time": "2025-04-03T13:30:00.100Z", "type": "BEST_BID", "value": 31.2, "size": 300},
    {"time": "2025-04-03T13:30:00.100Z", "type": "BEST_ASK", "value": 31.25, "size": 200},
    {"time": "2025-04-03T13:30:00.200Z", "type": "TRADE", "value": 31.25, "size": 100, "conditionCodes": "R6"},
    {"time": "2025-04-03T13:30:01.000Z", "type": "BEST_ASK", "value": 31.26, "size": 400},
]


def _row(side: str, position: int, price: float, size: float, **more: Any) -> dict[str, Any]:
    return {
        "MD_TABLE_CMD_RT": "REPLACE",
        f"MBL_{side}_POSITION_RT": position,
        f"MBL_{side}_RT": price,
        f"MBL_{side}_SIZE_RT": size,
        f"MBL_{side}_NUM_ORDERS_RT": 2,
    } | more


def _paint(at: str | None, bids: list[dict[str, Any]], asks: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    tables = {f"MBL_TABLE_{side}": rows for side, rows in (("BID", bids), ("ASK", asks)) if rows}
    time = {} if at is None else {"MBL_TIME_RT": f"2025-04-03T13:30:{at}Z"}
    return (
        {"MKTDEPTH_EVENT_TYPE": "MARKET_BY_LEVEL", "MKTDEPTH_EVENT_SUBTYPE": "TABLE_INITPAINT"} | time | tables | more
    )


def _update(
    at: str, side: str, command: str, position: int = 0, price: float = 0.0, size: float = 0.0
) -> dict[str, Any]:
    return {
        "MKTDEPTH_EVENT_TYPE": "MARKET_BY_LEVEL",
        "MKTDEPTH_EVENT_SUBTYPE": side,
        "MD_TABLE_CMD_RT": command,
        "MBL_TIME_RT": f"2025-04-03T13:30:{at}Z",
        f"MBL_{side.removesuffix('_RETRANS')}_POSITION_RT": position,
        f"MBL_{side.removesuffix('_RETRANS')}_RT": price,
        f"MBL_{side.removesuffix('_RETRANS')}_SIZE_RT": size,
    }


BID_ROWS = [_row("BID", 1, 31.2, 300), _row("BID", 2, 31.19, 500)]
ASK_ROWS = [_row("ASK", 1, 31.25, 200)]
PAINT = _paint("00", BID_ROWS, ASK_ROWS, MBL_WINDOW_SIZE=3)
BIDS: Side = [(31.2, 300.0), (31.19, 500.0)]
ASKS: Side = [(31.25, 200.0)]


def test_ticks_begin_with_both_sides_known() -> None:
    assert sides_of(read_source("bloomberg", TICKS)) == [
        ([(31.2, 300.0)], [(31.25, 200.0)]),
        ([(31.2, 300.0)], [(31.26, 400.0)]),
    ]


def test_tick_without_size_ends_its_side() -> None:
    gone = {"time": "2025-04-03T13:30:02Z", "type": "BEST_BID", "value": 0, "size": 0}
    assert sides_of(read_source("bloomberg", [*TICKS, gone]))[-1] == ([], [(31.26, 400.0)])


@pytest.mark.parametrize(
    ("update", "bids"),
    [
        (_update("01", "BID", "ADD", 1, 31.21, 50), [(31.21, 50.0), *BIDS]),
        (_update("01", "BID", "ADD", 3, 31.18, 50), [*BIDS, (31.18, 50.0)]),
        (_update("01", "BID", "MOD", 2, 31.19, 90), [(31.2, 300.0), (31.19, 90.0)]),
        (_update("01", "BID_RETRANS", "MOD", 2, 31.19, 90), [(31.2, 300.0), (31.19, 90.0)]),
        (_update("01", "BID", "REPLACE", 1, 31.22, 90), [(31.22, 90.0), (31.19, 500.0)]),
        (_update("01", "BID", "REPLACE", 3, 31.18, 90), [*BIDS, (31.18, 90.0)]),
        (_update("01", "BID", "REPLACE", 2, 0.0, 0.0), [(31.2, 300.0)]),
        (_update("01", "BID", "EXEC", 1, 31.2, 250), [(31.2, 250.0), (31.19, 500.0)]),
        (_update("01", "BID", "EXEC", 2, 31.19, 450), [(31.19, 450.0)]),
        (_update("01", "BID", "DEL", 1), [(31.19, 500.0)]),
        (_update("01", "BID", "DELBETTER", 1), [(31.19, 500.0)]),
        (_update("01", "BID", "DELBETTER", 2), []),
        (_update("01", "BID", "REPLACE_CLEAR", 1), [(31.19, 500.0)]),
        (_update("01", "BID", "CLEARALL"), []),
        (_update("01", "BID", "DELALL"), []),
        (_update("01", "BID", "DELSIDE"), []),
    ],
)
def test_table_command_affects_its_side_alone(update: dict[str, Any], bids: Side) -> None:
    table = read_source("bloomberg", [PAINT, update])
    assert sides_of(table) == [(BIDS, ASKS), (bids, ASKS)]
    assert table.attrs["refused"] == {}


def test_cleared_position_moves_nothing_until_it_is_deleted() -> None:
    updates = [_update("01", "BID", "REPLACE_CLEAR", 1), _update("02", "BID", "MOD", 2, 31.19, 40)]
    assert sides_of(read_source("bloomberg", [PAINT, *updates]))[-1] == ([(31.19, 40.0)], ASKS)


@pytest.mark.parametrize(
    "update",
    [
        _update("01", "BID", "ADD", 4, 31.1, 50),
        _update("01", "BID", "MOD", 3, 31.1, 50),
        _update("01", "BID", "EXEC", 3, 31.1, 50),
        _update("01", "BID", "DEL", 3),
        _update("01", "BID", "DELBETTER", 3),
    ],
)
def test_command_for_an_unknown_position_is_counted_and_not_applied(update: dict[str, Any]) -> None:
    table = read_source("bloomberg", [PAINT, update])
    assert sides_of(table)[-1] == (BIDS, ASKS)
    assert table.attrs["refused"] == {"gap": 1}


def test_levels_added_beyond_the_window_are_dropped() -> None:
    updates = [_update(f"0{n}", "BID", "ADD", 1, 31.2 + n / 100, 50) for n in (1, 2)]
    bids = sides_of(read_source("bloomberg", [PAINT, *updates]))[-1][0]
    assert [size for _, size in bids] == [50.0, 50.0, 300.0]


@pytest.mark.parametrize("command", ["CLEARALL", "DELALL", "DELSIDE"])
def test_book_that_was_cleared_is_empty_until_it_is_filled(command: str, tmp_path: Any) -> None:
    updates = [
        _update("01", "BID", command),
        _update("02", "ASK", command),
        _update("03", "BID", "ADD", 1, 31.1, 70),
        _update("04", "ASK", "ADD", 1, 31.3, 80),
    ]
    table = read_source("bloomberg", [PAINT, *updates])
    assert sides_of(table) == [
        (BIDS, ASKS),
        ([], ASKS),
        ([], []),
        ([(31.1, 70.0)], []),
        ([(31.1, 70.0)], [(31.3, 80.0)]),
    ]
    written = write_books(table, tmp_path / "FROG.csv.gz")
    assert books_of(read_books(written)) == books_of(table)


def test_paint_in_fragments_is_one_book() -> None:
    fragments = [
        _paint("00", BID_ROWS, [], MBL_WINDOW_SIZE=3, fragmentType="START"),
        _paint("00", [_row("BID", 3, 31.18, 70)], [], fragmentType=2),
        _paint("01", [], ASK_ROWS, fragmentType="END"),
    ]
    assert sides_of(read_source("bloomberg", fragments)) == [([*BIDS, (31.18, 70.0)], ASKS)]


def test_paint_in_parts_without_fragment_types_is_one_book() -> None:
    parts = [_paint("00", BID_ROWS, []), _paint("01", [], ASK_ROWS)]
    assert sides_of(read_source("bloomberg", parts)) == [(BIDS, ASKS)]


@pytest.mark.parametrize("fragment", [{}, {"fragmentType": "NONE"}])
def test_second_paint_replaces_what_stood(fragment: dict[str, str]) -> None:
    again = _paint("05", [_row("BID", 1, 31.0, 10)], [_row("ASK", 1, 31.4, 20)], **fragment)
    for records in ([PAINT, again], [PAINT, _update("01", "BID", "ADD", 1, 31.21, 50), again]):
        assert sides_of(read_source("bloomberg", records))[-1] == ([(31.0, 10.0)], [(31.4, 20.0)])


def test_whole_paint_of_one_side_states_that_the_other_is_empty() -> None:
    assert sides_of(read_source("bloomberg", [_paint("00", BID_ROWS, [], fragmentType="NONE")])) == [(BIDS, [])]


def test_paint_with_times_in_its_rows_stands_from_the_newest() -> None:
    rows = [_row("BID", n, 31.3 - n / 10, 300, MBL_TIME_RT=f"2025-04-03T13:30:0{4 - n}Z") for n in (1, 2)]
    table = read_source("bloomberg", [_paint(None, rows, ASK_ROWS)])
    assert books_of(table)[0][0] == 1743687003_000_000_000


def test_paint_with_older_rows_does_not_run_back() -> None:
    old = [_row("BID", 1, 31.0, 10, MBL_TIME_RT="2025-04-03T13:29:00Z")]
    table = read_source("bloomberg", [PAINT, _update("07", "BID", "DEL", 1), _paint(None, old, ASK_ROWS)])
    assert books_of(table)[-1] == (1743687007_000_000_000, [(31.0, 10.0)], ASKS)


def test_securities_have_books_of_their_own() -> None:
    frog, arl = {"security": "FROG US Equity"}, {"security": "ARL US Equity"}
    records = [
        PAINT | frog,
        _paint("00", [_row("BID", 1, 12.0, 10)], [_row("ASK", 1, 12.1, 20)]) | arl,
        _update("01", "BID", "DEL", 1) | frog,
        _update("01", "BID", "CLEARALL") | arl,
    ]
    table = read_source("bloomberg", records)
    assert sides_of(table[table["symbol"] == "FROG US Equity"])[-1] == (BIDS[1:], ASKS)
    assert sides_of(table[table["symbol"] == "ARL US Equity"]) == [
        ([(12.0, 10.0)], [(12.1, 20.0)]),
        ([], [(12.1, 20.0)]),
    ]


@pytest.mark.parametrize(
    ("records", "code", "field"),
    [
        ([PAINT | {"MKTDEPTH_EVENT_TYPE": "MARKET_BY_ORDER"}], 1001, "MKTDEPTH_EVENT_TYPE"),
        ([PAINT | {"MKTDEPTH_EVENT_SUBTYPE": "TABLE_UPDATE"}], 1001, "MKTDEPTH_EVENT_SUBTYPE"),
        ([PAINT | {"fragmentType": "MIDDLE"}], 1001, "fragmentType"),
        ([_paint(None, BID_ROWS, ASK_ROWS)], 1002, "MBL_TIME_RT"),
        ([TICKS[0] | {"time": None}], 1002, "time"),
        ([TICKS[0] | {"value": "x"}], 1001, "value"),
        ([TICKS[2]], 1001, "records"),
    ],
)
def test_records_that_cannot_be_used_are_named(records: list[dict[str, Any]], code: int, field: str) -> None:
    with refuses(code, field):
        read_source("bloomberg", records)


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (_update("01", "BID", "SHUFFLE", 1), "malformed"),
        (_update("01", "BID", "ADD", 0), "malformed"),
        (_update("01", "BID", "REPLACE", 10**9), "malformed"),
        (_update("01", "BID", "ADD", 1) | {"MBL_TIME_RT": None}, "missing"),
    ],
)
def test_message_that_cannot_be_used_ends_the_book_until_the_next_paint(update: dict[str, Any], reason: str) -> None:
    later = _update("02", "BID", "MOD", 1, 31.2, 90)
    table = read_source("bloomberg", [PAINT, update, later, _paint("03", BID_ROWS, ASK_ROWS)])
    assert table.attrs["refused"] == {reason: 1, "gap": 1}
    assert sides_of(table)[-2:] == [([], []), (BIDS, ASKS)]
