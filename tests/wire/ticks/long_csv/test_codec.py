"""The long CSV: snapshots out of lines."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from impactd.core.books.walk import walk_curves
from impactd.shell.recorded import read_ticks
from impactd.wire.codec import Decoded, Limits
from impactd.wire.content import Content, Head, Line
from impactd.wire.decoder import join
from impactd.wire.registry import detect
from impactd.wire.symbols import FileSymbols
from impactd.wire.tick_codec import FileFormatError, FileOptions
from impactd.wire.ticks.long_csv.codec import LongCsvCodec
from impactd.wire.times import parse_text_time
from tests.wire.helpers import decode_in_batches, reasons

T0 = 1_743_687_000_000_000_000
SNAPSHOT = [
    b"%d,bid,31.20,300,0" % T0,
    b"%d,bid,31.19,500,1" % T0,
    b"%d,ask,31.25,200,0" % T0,
]


def decode(*lines: bytes, codec: LongCsvCodec | None = None) -> Decoded:
    codec = codec or LongCsvCodec(symbol="FROG")
    values = [line.text for line in snapshots(codec, *lines)]
    return decode_in_batches(codec, values, max(1, len(values)))


def snapshots(codec: LongCsvCodec, *lines: bytes) -> list[Line]:
    data = b"".join(line + b"\n" for line in (b"header", *lines))
    return list(codec.records(Content("a.csv", iter([data]))))


def test_snapshot_gives_one_book() -> None:
    batch = decode(*SNAPSHOT).batch
    assert batch.symbols == ("FROG",)
    assert batch.ts_event.tolist() == [T0]
    assert batch.bid_px[0].tolist() == [31.20, 31.19]
    assert batch.ask_px[0, 0] == 31.25
    assert np.isnan(batch.ask_px[0, 1])


def test_levels_out_of_order_are_sorted_by_their_number() -> None:
    assert decode(*reversed(SNAPSHOT)).batch.bid_px[0].tolist() == [31.20, 31.19]


def test_runs_of_equal_time_are_one_snapshot_each() -> None:
    later = [line.replace(str(T0).encode(), str(T0 + 5).encode()) for line in SNAPSHOT]
    found = snapshots(LongCsvCodec(), *SNAPSHOT, *later, *SNAPSHOT)
    assert [line.number for line in found] == [2, 5, 8]
    assert decode(*SNAPSHOT, *later, *SNAPSHOT).batch.ts_event.tolist() == [T0, T0 + 5, T0]


def test_symbol_column_and_other_order_and_iso_time() -> None:
    codec = LongCsvCodec(header="level,size,price,side,symbol,time")
    lines = [b"1,300,31.2,BID,ARL,2025-04-03 13:30:00+00:00", b"1,300,31.3,ask,FROG,2025-04-03 13:30:00+00:00"]
    batch = decode(*lines, codec=codec).batch
    assert batch.symbols == ("ARL", "FROG")
    assert batch.ts_event.tolist() == [T0, T0]


def test_lines_of_several_symbols_at_one_time_are_a_snapshot_each() -> None:
    """However they are interleaved: by side, by level, or by symbol."""
    codec = LongCsvCodec(header="time,symbol,side,price,size,level")
    lines = [
        b"%d,%s,%s,%s,300,0" % (T0 + at, symbol, side, px)
        for at in (0, 30)
        for side, px in ((b"bid", b"31.2"), (b"ask", b"31.22"))
        for symbol in (b"FROG", b"CRWV")
    ]
    assert [line.number for line in snapshots(codec, *lines)] == [2, 3, 6, 7]
    batch = decode(*lines, codec=codec).batch
    assert [batch.symbols[code] for code in batch.symbol] == ["FROG", "CRWV"] * 2
    assert (batch.n_bid.tolist(), batch.n_ask.tolist()) == ([1] * 4, [1] * 4)


def test_empty_level_is_dropped() -> None:
    assert decode(SNAPSHOT[0], b"%d,ask,,0,0" % T0).batch.n_ask.tolist() == [0]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"%d,bid,31.20,300" % T0, "truncated"),
        (b"%d,bid,31.20,300,0,9" % T0, "value"),
        (b"%d,left,31.20,300,3" % T0, "value"),
        (b"%d,bid,x,300,3" % T0, "type"),
        (b"%d,bid,,300,3" % T0, "missing_field"),
        (b"%d,bid,31.2,x,3" % T0, "type"),
        (b"%d,bid,31.2,300,-1" % T0, "type"),
        (b"%d,bid,31.2,300,1" % T0, "value"),
        (b"%d,bid,31.2,300,3\xff" % T0, "encoding"),
    ],
)
def test_snapshot_with_a_bad_line_is_refused_whole_and_names_it(line: bytes, reason: str) -> None:
    decoded = decode(*SNAPSHOT, line)
    assert reasons(decoded) == [reason]
    assert decoded.refused[0].detail.startswith("line 3 of the snapshot")
    assert decoded.refused[0].raw == b"\n".join([*SNAPSHOT, line])
    assert len(decoded.batch) == 0


def test_time_that_is_none_is_refused() -> None:
    assert reasons(decode(b"soon,bid,31.2,300,0")) == ["type"]


def test_snapshot_over_the_limits_is_refused() -> None:
    assert reasons(decode(*SNAPSHOT, codec=LongCsvCodec(symbol="A", limits=Limits(max_levels=1)))) == ["too_deep"]
    cut = LongCsvCodec(symbol="A", limits=Limits(max_message_bytes=50))
    assert "too_large" in reasons(decode(*SNAPSHOT, codec=cut))


def test_header_without_needed_columns_names_them() -> None:
    with pytest.raises(FileFormatError, match="no column size in the header"):
        LongCsvCodec(header="time,side,price,level")


def test_impact_costs_equal_those_of_an_independent_package(data_dir: Path) -> None:
    """600 shares of CINEMAX, in percent of the mid: nulls and values."""
    batch = join(list(read_ticks(data_dir / "nse/CINEMAX_2013-10-29_20lvl_long.csv.xz", symbol="CINEMAX"))).batch
    curves = walk_curves(batch.bid_px, batch.bid_sz, batch.ask_px, batch.ask_sz, np.array([600.0]))
    with (data_dir / "nse/expected_impact_cost_pct_Q600.csv").open() as file:
        expected = list(csv.DictReader(file))
    assert [parse_text_time(row["time"], "time") for row in expected] == batch.ts_event.tolist()
    for side, sign, name in ((0, 1.0, "ic_buy_pct_full"), (1, -1.0, "ic_sell_pct_full")):
        found = sign * 100.0 * curves.g[:, side, 0] / curves.mid
        wanted = np.array([float(row[name] or "nan") for row in expected])
        np.testing.assert_allclose(found, wanted, rtol=0.0, atol=1e-12, equal_nan=True)
        assert 0 < np.isnan(wanted).sum() < len(wanted)


@pytest.mark.parametrize(
    ("header", "lines"),
    [
        ("level,size,price,side,time", ["0,300,31.2,bid,{t}", "0,200,31.25,ask,{t}", "1,500,31.19,bid,{t}"]),
        ("timestamp,symbol,Side,px,qty,lvl,count", ["{t},FROG,B,31.2,300,1,7", "{t},FROG,A,31.25,200,1,7",
                                                    "{t},FROG,B,31.19,500,2,7"]),
        ("ts_event,price,quantity,side", ["{t},31.19,500,bids", "{t},31.2,300,bids", "{t},31.25,200,asks"]),
        ("time,side,price,size", ["{t},ask,31.25,200", "{t},bid,31.2,300", "{t},bid,31.19,500"]),
    ],
)  # fmt: skip
def test_columns_may_be_in_any_order_with_other_names_and_without_levels(header: str, lines: list[str]) -> None:
    data = "\n".join([header, *(line.format(t=T0) for line in lines), ""]).encode()
    content = Content("FROG.csv", iter([data]))
    codec = detect(content.head)
    assert codec is LongCsvCodec
    (batch,) = codec.from_header(content.head, FileOptions(FileSymbols("FROG"))).batches(content, 100)
    rows = batch.decoded.batch
    assert (batch.decoded.refused, rows.symbols) == ([], ("FROG",))
    assert (rows.bid_px.tolist(), rows.bid_sz.tolist()) == ([[31.2, 31.19]], [[300.0, 500.0]])
    assert (rows.ask_px[0, 0], rows.n_ask.tolist()) == (31.25, [1])


def test_sides_of_trades_without_levels_are_trades() -> None:
    head = Head("FROG.csv", b"time,side,price,size\n%d,buy,31.2,5\n" % T0)
    assert getattr(detect(head), "name", None) == "wide-csv"


def test_sides_that_are_apart_are_refused_and_read_once_the_rows_are_sorted() -> None:
    rows = [b"%d,%s,31.%d,300,0" % (T0 + k, side, px) for side, px in ((b"bid", 20), (b"ask", 25)) for k in range(4)]
    with pytest.raises(FileFormatError, match="sort the rows by time"):
        decode(*rows)
    batch = decode(*sorted(rows)).batch
    assert batch.n_bid.tolist() == batch.n_ask.tolist() == [1] * 4


def test_book_of_one_side_is_no_sign_that_sides_are_apart() -> None:
    one_sided = [b"%d,bid,31.20,300,0" % (T0 + k) for k in range(3)]
    later = [line.replace(b"%d" % T0, b"%d" % (T0 + 9)) for line in SNAPSHOT]
    assert decode(*one_sided, *later).batch.n_ask.tolist() == [0, 0, 0, 1]
