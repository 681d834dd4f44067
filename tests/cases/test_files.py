"""Files that once gave a wrong answer, each read by the commands, with the right answer.

Each case is made here; where the directory of recorded cases is beside the repository, its files are read too.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import pytest

from impactd.cli import main
from tests.paths import cases_dir

T0: Final = 1_743_687_000_000_000_000
S: Final = 1_000_000_000
LONG: Final = "time,symbol,side,price,size,level"
MBP: Final = "ts_event,instrument_id,action,side,price,size,flags,bid_px_00,ask_px_00,bid_sz_00,ask_sz_00"


def lines(*items: dict[str, Any] | str) -> bytes:
    return b"".join((item.encode() if isinstance(item, str) else orjson.dumps(item)) + b"\n" for item in items)


def book(at: int, symbol: str = "FROG", bids: Any = ((31.2, 300),), asks: Any = ((31.22, 300),)) -> dict[str, Any]:
    return {"type": "book", "symbol": symbol, "ts_event": at, "bids": bids, "asks": asks}


def order(start: int, end: int, qty: int = 1_000, cl_ord_id: str = "A1") -> dict[str, Any]:
    times = {"ts_event": start, "start": start, "end": end}
    return {"type": "new", "cl_ord_id": cl_ord_id, "symbol": "FROG", "side": "buy", "order_qty": qty} | times


def request(kind: str, now: str, before: str, minute: int, **changes: Any) -> dict[str, Any]:
    ids = {"cl_ord_id": now, "orig_cl_ord_id": before}
    return {"type": kind, **ids, "symbol": "FROG", "ts_event": T0 + minute * 60 * S} | changes


def execution(kind: str, exec_id: str, cl_ord_id: str, qty: int, second: int) -> dict[str, Any]:
    ids = {"exec_id": exec_id, "cl_ord_id": cl_ord_id, "symbol": "FROG"}
    return {"type": kind, **ids, "last_qty": qty, "last_px": 31.22, "ts_event": T0 + second * S}


def half_day() -> list[dict[str, Any]]:
    """Return books of 2025-11-28, whose session ends at 13:00 New York, from 09:30 to 12:50."""
    return [
        book(
            1_764_340_200 * S + k * 600 * S,
            bids=[[round(31.20 - 0.01 * i, 2), (200 + 100 * (k % 2)) * (i + 1)] for i in range(5)],
            asks=[[round(31.22 + 0.01 * i, 2), (200 + 100 * (k % 2)) * (i + 1)] for i in range(5)],
        )
        for k in range(21)
    ]


CHAIN: Final = (
    order(T0 + 60 * S, T0 + 1_200 * S),
    request("replace", "A2", "A1", 2, order_qty=1_200),
    request("replace", "A3", "A2", 3, order_qty=900),
    request("cancel", "A4", "A3", 4),
)
TARDIS: Final = "exchange,symbol,timestamp,local_timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount"
BBO: Final = (
    "ts_recv,ts_event,rtype,publisher_id,instrument_id,side,price,size,flags,sequence,"
    "bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,bid_ct_00,ask_ct_00,symbol"
)
#: Inputs by name; a recorded file of the same name is read too.
OURS: Final[dict[str, Callable[[], bytes]]] = {
    "01_two_instruments_no_symbol.csv": lambda: lines(
        MBP,
        *(
            f"{T0 + k * 30 * S},{i},A,B,{bid},1,128,{bid},{bid + 0.02:.2f},100,100"
            for k, i, bid in ((0, 111, 31.19), (1, 222, 49.99), (2, 111, 31.19))
        ),
    ),
    "02_milliseconds.jsonl": lambda: lines(*(book(T0 // 10**6 + k * 600_000) for k in range(2))),
    "02c_order_in_ms.jsonl": lambda: lines(order((T0 + 60 * S) // 10**6, (T0 + 1_200 * S) // 10**6)),
    "03_long_csv_symbols_interleaved.csv": lambda: lines(
        LONG,
        *(
            f"{T0 + k * 30 * S},{symbol},{side},{px + 0.02 * (side == 'ask'):.2f},300,0"
            for k in range(2)
            for side in ("bid", "ask")
            for symbol, px in (("FROG", 31.2), ("CRWV", 50.2))
        ),
    ),
    "04b_cr_only.csv": f"time,side,price,size,level\r{T0},bid,31.2,300,0\r{T0},ask,31.22,300,0\r".encode,
    "06_books.jsonl": lambda: lines(book(T0), book(T0 + 1_200 * S)),
    "06_orders.jsonl": lambda: lines(*CHAIN),
    "06_fills.jsonl": lambda: lines(execution("fill", "E1", "A2", 100, 150)),
    "06b_partial_fill.jsonl": lambda: lines(
        execution("fill", "E1", "A1", 100, 150), execution("partial_fill", "E2", "A1", 400, 160)
    ),
    "07_polygon_one_sided.json": lambda: orjson.dumps(
        [
            {"sip_timestamp": T0, "bid_price": 31.2, "bid_size": 3, "ask_price": 31.22, "ask_size": 2},
            {"sip_timestamp": T0 + S, "bid_price": 31.2, "bid_size": 3},
        ]
    ),
    "08_nan_then_null.jsonl": lambda: (
        lines(book(T0, bids=[[31.2, 300], ["n", "n"]])).replace(b'"n"', b"NaN")
        + lines(book(T0 + S, bids=[[31.2, 300], [None, None]]))
    ),
    "09_bbo-1s.csv": lambda: lines(
        BBO,
        *(f"{T0 + k * S},{T0 + k * S - 5},195,2,7,N,,0,168,1,31200000000,31220000000,300,300,1,1,FROG" for k in (0, 1)),
    ),
    "10_orders.jsonl": lambda: lines(order(T0, T0 + 60 * S, cl_ord_id="S1")),
    "xnas-itch-20250403.mbp-10.FROG.csv": lambda: lines(
        "ts_event,action,side,price,size,flags,bid_px_00,ask_px_00,bid_sz_00,ask_sz_00",
        *(f"{T0 + k * 60 * S},A,B,31.19,1,128,31.19,31.21,100,100" for k in range(2)),
    ),
    "11_worst_first.jsonl": lambda: lines(
        *(book(T0 + k * 30 * S, "X", [["0.01", "5"], ["0.02", "7"]], [["0.09", "5"], ["0.03", "7"]]) for k in range(2))
    ),
    "12_halfday.jsonl": lambda: lines(*half_day()),
    "12_halfday_orders.jsonl": lambda: lines(order(1_764_340_800 * S, 1_764_363_600 * S, 3_900, "H1")),
    "13_tardis_book_snapshot_5.csv": lambda: lines(
        TARDIS,
        *(f"binance-futures,BTCUSDT,{T0 // 1000 + k},{T0 // 1000 + k + 5000},60000.5,1,59999.5,1" for k in range(2)),
    ),
    "13c_AAPL_lobster_orderbook_5.csv": lambda: lines(
        *[",".join(f"{5859400 + 100 * k},{200 + k},{5853300 - 100 * k},{18 + k}" for k in range(5))] * 2
    ),
}


class Ran(NamedTuple):
    """What a command came to."""

    code: int
    err: str
    out: Path

    def read(self, name: str) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in (self.out / f"{name}.jsonl").read_bytes().splitlines()]


class Case(NamedTuple):
    """A run of a command over files of one place."""

    place: Path
    tmp: Path
    capsys: pytest.CaptureFixture[str]
    caplog: pytest.LogCaptureFixture

    def replay(self, data: str, *options: str, **files: str) -> Ran:
        named = [part for option, name in files.items() for part in (f"--{option}", str(self.place / name))]
        return self.run("replay", "--data", str(self.place / data), *options, *named, "--out", str(self.tmp / "out"))

    def run(self, *args: str) -> Ran:
        code = main(list(args))
        # A log line may go to the place that standard error had when logging began.
        return Ran(code, self.capsys.readouterr().err + self.caplog.text, self.tmp / "out")


@pytest.fixture(params=["made here", "recorded"])
def case(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Case:
    place = tmp_path / "in"
    if request.param == "recorded":
        found = cases_dir()
        if found is None:
            pytest.skip(
                "no recorded cases: put them in ../shared/cases beside the repository, or set IMPACTD_CASES_DIR"
            )
        place = found / "files"
    else:
        place.mkdir()
        for name, content in OURS.items():
            (place / name).write_bytes(content())
    return Case(place, tmp_path, capsys, caplog)


def counts(ran: Ran) -> dict[str, int]:
    """Return the number of estimates by symbol, of one side."""
    found: dict[str, int] = {}
    for estimate in ran.read("estimates"):
        if estimate["side"] == "buy":
            found[estimate["symbol"]] = found.get(estimate["symbol"], 0) + estimate["n_books"]
    return found


def test_rows_of_two_instruments_without_a_symbol_are_refused_with_the_map_that_works(case: Case) -> None:
    ran = case.replay("01_two_instruments_no_symbol.csv")
    assert ran.code == 2
    mapped = re.search(r"name each: --symbol (111=\w+,222=\w+)", ran.err)
    assert mapped is not None, ran.err
    assert counts(case.replay("01_two_instruments_no_symbol.csv", "--symbol", mapped[1])) == {"NAME": 2, "OTHER": 1}


def test_times_in_milliseconds_are_refused_with_the_setting_that_works(case: Case) -> None:
    ran = case.replay("02_milliseconds.jsonl")
    assert ran.code == 4
    setting = re.search(r'milliseconds.*multiply by 10\^6, or set (wire\.time_unit) = "(ms)"', ran.err)
    assert setting is not None, ran.err
    again = case.replay("02_milliseconds.jsonl", "--set", f"{setting[1]}={setting[2]}")
    assert again.code == 0, again.err
    assert sum(counts(again).values()) == 2


def test_order_in_milliseconds_is_refused_and_alerted(case: Case) -> None:
    ran = case.replay("06_books.jsonl", orders="02c_order_in_ms.jsonl")
    assert (ran.code, ran.read("plans")) == (4, [])
    assert [(alert["kind"], alert["cl_ord_id"]) for alert in ran.read("alerts")] == [("order_refused", "A1")]


def test_rows_of_one_book_are_those_of_its_symbol_and_time(case: Case) -> None:
    ran = case.replay("03_long_csv_symbols_interleaved.csv")
    assert (ran.code, counts(ran)) == (0, {"FROG": 2, "CRWV": 2})
    spreads = {e["symbol"]: (round(e["mid"], 9), round(e["half_spread"], 9)) for e in ran.read("estimates")}
    assert spreads == {"FROG": (31.21, 0.01), "CRWV": (50.21, 0.01)}


def test_lines_that_end_in_carriage_returns_are_read(case: Case) -> None:
    ran = case.replay("04b_cr_only.csv", "--symbol", "X")
    assert (ran.code, counts(ran)) == (0, {"X": 1})


def test_compressed_rows_are_read_by_content(case: Case) -> None:
    """The recorded file holds the two instruments; ours is gzip under zstd's name."""
    path = case.place / "04c_books.csv.zst"
    if not path.exists():
        path.write_bytes(gzip.compress(OURS["01_two_instruments_no_symbol.csv"](), mtime=0))
    ran = case.replay(path.name, "--symbol", "111=A,222=B")
    assert (ran.code, counts(ran)) == (0, {"A": 2, "B": 1})


def test_second_link_of_an_id_chain_and_its_cancel_apply(case: Case) -> None:
    ran = case.replay("06_books.jsonl", orders="06_orders.jsonl", executions="06_fills.jsonl")
    last = ran.read("plans")[-1]
    assert (ran.code, last["status"], last["order_qty"], last["cum_qty"]) == (0, "canceled", 900, 100)
    assert last["cl_ord_ids"] == ["A1", "A2", "A3", "A4"]


def test_execution_of_an_unknown_type_is_a_dead_letter_and_an_alert(case: Case) -> None:
    ran = case.replay("06_books.jsonl", orders="06_orders.jsonl", executions="06b_partial_fill.jsonl")
    assert [letter["reason"] for letter in ran.read("dlq")] == ["unknown_type"]
    assert ("execution_refused", "A1") in [(alert["kind"], alert["cl_ord_id"]) for alert in ran.read("alerts")]
    assert ran.read("plans")[-1]["cum_qty"] == 100


def test_quote_with_one_side_has_an_empty_other(case: Case) -> None:
    out = case.tmp / "quotes.jsonl"
    data = str(case.place / "07_polygon_one_sided.json")
    ran = case.run("convert", "--source", "polygon", "--data", data, "--symbol", "X", "--out", str(out))
    assert ran.code == 0, ran.err
    books = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    assert [(book["symbol"], book["asks"]) for book in books] == [("X", [[31.22, 200]]), ("X", [])]


def test_absent_level_as_nan_or_null_is_absent(case: Case) -> None:
    ran = case.replay("08_nan_then_null.jsonl")
    assert (ran.code, counts(ran), ran.read("dlq")) == (0, {"FROG": 2}, [])


def test_quotes_by_the_second_are_read(case: Case) -> None:
    ran = case.replay("09_bbo-1s.csv")
    assert (ran.code, counts(ran)) == (0, {"FROG": 2})
    assert {estimate["mid"] for estimate in ran.read("estimates")} == {31.21}


def test_symbol_of_a_vendors_file_name_is_stated_and_the_order_before_its_tick_is_blind(case: Case) -> None:
    ran = case.replay("xnas-itch-20250403.mbp-10.FROG.csv", orders="10_orders.jsonl")
    assert (ran.code, counts(ran)) == (0, {"FROG": 2})
    assert "FROG is a guess from the file's name" in ran.err
    assert [(alert["kind"], alert["cl_ord_id"]) for alert in ran.read("alerts")] == [("missing_ticks", "S1")]
    assert ran.read("plans")[0]["blind"]
    wrong = case.replay("xnas-itch-20250403.mbp-10.FROG.csv", "--symbol", "OTHER", orders="10_orders.jsonl")
    assert "no tick of FROG" in wrong.err


def test_file_whose_every_book_is_rejected_is_no_success(case: Case) -> None:
    ran = case.replay("11_worst_first.jsonl")
    assert ran.code == 4
    assert "all 2 ticks were rejected, 2 as unsorted" in ran.err


def test_nothing_is_planned_after_an_early_close(case: Case) -> None:
    ran = case.replay("12_halfday.jsonl", orders="12_halfday_orders.jsonl")
    plans, close = ran.read("plans"), 1_764_352_800 * S
    assert plans[0]["qty"], ran.err
    late = [
        (plan["plan_version"], start)
        for plan in plans
        for start, qty in zip(plan["start"], plan["qty"], strict=True)
        if start >= close and qty
    ]
    assert late == []


@pytest.mark.parametrize("levels", [1, 5, 10])
def test_name_that_an_order_book_file_of_lobster_needs_has_its_number_of_levels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], levels: int
) -> None:
    row = ",".join(f"{5_859_400 + 100 * k},{200 + k},{5_853_300 - 100 * k},{18 + k}" for k in range(levels))
    (tmp_path / "AAPL_orderbook.csv").write_text(f"{row}\n{row}\n", "utf-8")
    out = ("--out", str(tmp_path / "out"))
    assert main(["replay", "--data", str(tmp_path / "AAPL_orderbook.csv"), *out]) == 2
    named = re.search(r"call it (\S+\.csv)", capsys.readouterr().err)
    assert named is not None
    (tmp_path / "AAPL_orderbook.csv").rename(tmp_path / named[1])
    assert main(["replay", "--data", str(tmp_path / named[1]), *out]) == 0
    assert "2 books" in capsys.readouterr().out


def test_snapshots_of_tardis_are_read(case: Case) -> None:
    ran = case.replay("13_tardis_book_snapshot_5.csv")
    assert (ran.code, counts(ran)) == (0, {"BTCUSDT": 2})


@pytest.mark.parametrize("options", [(), ("--codec", "lobster")])
def test_order_book_file_of_lobster_without_a_day_is_refused_with_the_name_that_works(
    case: Case, options: tuple[str, ...]
) -> None:
    name = "13c_AAPL_lobster_orderbook_5.csv"
    ran = case.replay(name, *options)
    assert ran.code == 2
    named = re.search(r"call it (\S+\.csv)", ran.err)
    assert named is not None, ran.err
    (case.tmp / named[1]).write_bytes((case.place / name).read_bytes())
    again = case.run("replay", "--data", str(case.tmp / named[1]), "--out", str(case.tmp / "out"))
    assert again.code == 0, again.err
    assert sum(counts(again).values()) == 2
