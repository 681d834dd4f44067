"""Tables: one grammar of names for every vendor's columns, and what an odd field becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from impactd.core.inputs.ticks import BOOK, TRADE
from impactd.shell.lines import InputFileError
from impactd.shell.recorded import read_ticks
from impactd.wire.codec import Decoded
from impactd.wire.decoder import join
from impactd.wire.ticks.round_lots import SHARES_SINCE_NS
from impactd.wire.ticks.tables.header import place_of, read_header
from tests.wire.helpers import T0, reasons

BID_PX, BID_SZ, ASK_PX, ASK_SZ = (0, 0), (0, 1), (1, 0), (1, 1)
US = T0 // 1_000


def read(folder: Path, *lines: str, name: str = "FROG_day.csv") -> Decoded:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return join(list(read_ticks(path)))


@pytest.mark.parametrize(
    ("names", "level"),
    [
        (("bid_price_1", "bid_size_1", "ask_price_1", "ask_size_1"), 1),
        (("bids[0].price", "bids[0].amount", "asks[0].price", "asks[0].amount"), 0),
        (("bid_px_00", "bid_sz_00", "ask_px_00", "ask_sz_00"), 0),
        (("BidPrice1", "BidVolume1", "AskPrice1", "AskVolume1"), 1),
        (("bid1", "bid1_volume", "ask1", "ask1_volume"), 1),
        (("b1", "bv1", "a1", "av1"), 1),
        (("bp1", "bs1", "ap1", "as1"), 1),
        (("BID_PRICE1", "BIDQTY1", "ASK_PRICE1", "ASKQTY1"), 1),
        (("bids[2][0]", "bids[2][1]", "asks[2][0]", "asks[2][1]"), 2),
        (("best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty"), -1),
        (("Bid Price", "Bid Size", "Offer Price", "Offer Size"), -1),
        (("bid", "bid_size", "ask", "ask_size"), -1),
        (("price_bid_3", "size_bid_3", "price_ask_3", "size_ask_3"), 3),
        (("BID", "BIDSIZ", "OFR", "OFRSIZ"), -1),
        (("level_3_bid_px", "level_3_bid_qty", "level_3_ask_px", "level_3_ask_qty"), 3),
    ],
)
def test_columns_of_a_level_are_known_by_their_names(names: tuple[str, ...], level: int) -> None:
    expected = [(level, *what) for what in (BID_PX, BID_SZ, ASK_PX, ASK_SZ)]
    assert [place_of(name) for name in names] == expected
    found = read_header(["x", *reversed(names), "timestamp"])
    assert [tuple(one) for one in found.levels] == [(4, 3, 2, 1)]
    assert found.ts_event == 5


@pytest.mark.parametrize(
    "name",
    [
        "bid_ct_00",
        "bid_exchange",
        "ask_orders_1",
        "spread",
        "bid_ask",
        "price",
        "tape",
        "symbol",
        "a_b_c",
        "",
        "bids[1][2]",
    ],
)
def test_other_columns_are_skipped(name: str) -> None:
    assert place_of(name) is None


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (
            "ticker,ask_exchange,ask_price,ask_size,bid_price,bid_size,conditions,participant_timestamp,sip_timestamp,tape",
            f"FROG,12,31.25,2,31.2,3,1,{T0 - 5},{T0},3",
        ),
        ("timestamp,bid_price,bid_size,ask_price,ask_size,x", "2025-04-03T13:30:00.125395235Z,31.2,3,31.25,2,"),
        ("t,ax,ap,as,bx,bp,bs,c,z", "2025-04-03T13:30:00.125395235Z,V,31.25,2,V,31.2,3,R,C"),
        ("update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,event_time", f"1,31.2,3,31.25,2,{T0}"),
        ("bv1,b1,a1,av1,time,last", f"3,31.2,31.25,2,{T0},31"),
        ("exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount",
         f"binance,FROG,{US}.235,{US},2,31.25,31.2,3"),
    ],
    ids=["polygon", "alpaca", "alpaca-raw", "binance", "a-share", "tardis"],
)  # fmt: skip
def test_vendors_quotes_are_read_as_they_are(tmp_path: Path, header: str, row: str) -> None:
    batch = read(tmp_path, header, row).batch
    assert (batch.symbols, batch.kind.tolist(), batch.ts_event.tolist()) == (("FROG",), [BOOK], [T0])
    assert [column[0].tolist() for column in (batch.bid_px, batch.bid_sz, batch.ask_px, batch.ask_sz)] == [
        [31.2], [3.0], [31.25], [2.0]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("header", "row", "aggressor"),
    [
        ("exchange,symbol,timestamp,local_timestamp,id,side,price,amount", f"x,FROG,{US}.235,{US},7,sell,31.2,3", -1),
        ("exchange,symbol,timestamp,local_timestamp,id,side,price,amount", f"x,FROG,{US}.235,{US},7,unknown,31.2,3", 0),
        ("id,price,qty,quote_qty,time,is_buyer_maker", f"7,31.2,3,93.6,{T0},True", -1),
        ("id,price,qty,quote_qty,time,is_buyer_maker", f"7,31.2,3,93.6,{T0},false", 1),
        ("time,price,size", f"{T0},31.2,3", 0),
    ],
)
def test_tables_of_trades_are_read_as_they_are(tmp_path: Path, header: str, row: str, aggressor: int) -> None:
    batch = read(tmp_path, header, row).batch
    assert (batch.kind.tolist(), batch.ts_event.tolist()) == ([TRADE], [T0])
    assert (batch.px.tolist(), batch.qty.tolist(), batch.aggressor.tolist()) == ([31.2], [3.0], [aggressor])


@pytest.mark.parametrize("absent", ["", "nan", "NaN", "null", "None", "<NA>", "\\N", "0"])
def test_level_without_a_price_is_none(tmp_path: Path, absent: str) -> None:
    header = "time,bid_price_1,bid_size_1,ask_price_1,ask_size_1,bid_price_2,bid_size_2,ask_price_2,ask_size_2"
    batch = read(tmp_path, header, f"{T0},31.2,3,31.25,2,{absent},{absent},31.26,5").batch
    assert (batch.n_bid.tolist(), batch.n_ask.tolist()) == ([1], [2])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"{T0},,3,31.25,2", "missing_field"),
        (f"{T0},x,3,31.25,2", "type"),
        (f"{T0 // 10**6},31.2,3,31.25,2", "time_unit"),
        (f"{T0},31.2,3,31.25", "truncated"),
        (f"{T0},31.2,3,31.25,2,9", "value"),
    ],
)
def test_odd_row_is_refused_by_reason(tmp_path: Path, row: str, reason: str) -> None:
    assert reasons(read(tmp_path, "time,bid_price_1,bid_size_1,ask_price_1,ask_size_1", row)) == [reason]


def test_changes_of_books_are_refused_with_what_to_export(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="book_snapshot_25"):
        read(tmp_path, "timestamp,symbol,first_update_id,side,price,amount", "1,F,1,b,1,1")


def test_prices_in_whole_numbers_are_prices(tmp_path: Path) -> None:
    row = f"{T0},95000000,0.5,95001000,0.25"
    batch = read(tmp_path, "time,bid_price_1,bid_size_1,ask_price_1,ask_size_1", row).batch
    assert (batch.bid_px.tolist(), batch.bid_sz.tolist()) == ([[95_000_000.0]], [[0.5]])


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (
            (
                "ticker,ask_exchange,ask_price,ask_size,bid_exchange,bid_price,bid_size,conditions,indicators,"
                "participant_timestamp,sequence_number,sip_timestamp,tape,trf_timestamp"
            ),
            '{symbol},12,31.25,2,11,31.2,3,"1,81",604,{time},100,{time},3,0',
        ),
        (
            "symbol,timestamp,bid_exchange,bid_price,bid_size,ask_exchange,ask_price,ask_size,conditions,tape",
            "{symbol},{time},V,31.2,3.0,V,31.25,2.0,\"['R', 'A']\",C",
        ),
    ],
)
def test_sizes_of_quotes_of_the_us_tapes_are_shares(tmp_path: Path, header: str, row: str) -> None:
    since = SHARES_SINCE_NS
    for symbol, time, lot in (("FROG", since - 1, 100.0), ("FROG", since, 1.0), ("X:BTCUSD", since - 1, 1.0)):
        batch = read(tmp_path, header, row.format(symbol=symbol, time=time)).batch
        assert (batch.ts_event.tolist(), batch.symbols) == ([time], (symbol,))
        assert (batch.bid_sz.tolist(), batch.ask_sz.tolist()) == ([[3.0 * lot]], [[2.0 * lot]])


@pytest.mark.parametrize("mark", ["\t", ";", "|"])
def test_columns_may_be_separated_by_tabs_semicolons_or_bars(tmp_path: Path, mark: str) -> None:
    header = "time,symbol,bid_price_1,bid_size_1,ask_price_1,ask_size_1".replace(",", mark)
    batch = read(tmp_path, header, f"{T0},FROG,31.2,300,31.3,200".replace(",", mark)).batch
    assert (batch.symbols, batch.bid_px.tolist(), batch.ask_sz.tolist()) == (("FROG",), [[31.2]], [[200.0]])
    lines = [f"{T0},bid,31.2,300,0", f"{T0},ask,31.3,200,0"]
    batch = read(
        tmp_path, "time,side,price,size,level".replace(",", mark), *(x.replace(",", mark) for x in lines)
    ).batch
    assert (batch.n_bid.tolist(), batch.ask_px.tolist()) == ([1], [[31.3]])
