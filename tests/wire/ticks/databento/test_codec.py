"""Databento's MBP-10 CSV: recorded days, and every quirk by itself."""

from __future__ import annotations

import gzip
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from impactd.core.inputs.ticks import AUCTION, BOOK, MID_EVENT, TRADE, TickBatch
from impactd.wire.codec import FROM_DATA, REASONS, Decoded, Limits
from impactd.wire.content import Content
from impactd.wire.symbols import FileSymbols
from impactd.wire.tick_codec import FileFormatError, FileOptions
from impactd.wire.ticks.databento.codec import DatabentoCodec
from impactd.wire.ticks.databento.columns import MBP10_HEADER
from tests.wire.helpers import assert_same_batch, decode_in_batches, reasons

FROG = "FROG_2025-04-03_mbp10.csv.gz"
ARL = "ARL_2025-07-17_mbp10.csv.gz"
HEADER = (
    "ts_recv,ts_event,action,side,price,size,flags,bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,"
    "bid_px_01,ask_px_01,bid_sz_01,ask_sz_01,symbol"
)
TS = 1_743_687_000_125_395_235


def row(**changes: object) -> bytes:
    fields: dict[str, object] = {
        "ts_recv": TS + 2_000_000,
        "ts_event": TS,
        "action": "A",
        "side": "B",
        "price": "29.70",
        "size": 100,
        "flags": 128,
        "bid_px_00": "30.1",
        "ask_px_00": "32.0",
        "bid_sz_00": 50,
        "ask_sz_00": 200,
        "bid_px_01": "30.0",
        "ask_px_01": "32.64",
        "bid_sz_01": 147,
        "ask_sz_01": 100,
        "symbol": "FROG",
    }
    return ",".join(str(value) for value in (fields | changes).values()).encode()


def both(
    lines: Sequence[bytes], header: str = HEADER, symbol: str | None = None, limits: Limits | None = None
) -> Decoded:
    """Decode compiled and by the reference, assert that they agree, and return it."""
    fast = decode_in_batches(DatabentoCodec(limits, header, symbol), lines, max(1, len(lines)))
    slow = decode_in_batches(DatabentoCodec(limits, header, symbol).reference(), lines, max(1, len(lines)))
    assert_same_batch(fast.batch, slow.batch)
    assert fast.refused == slow.refused
    return fast


def day(data_dir: Path, name: str) -> tuple[str, list[bytes]]:
    header, *lines = gzip.decompress((data_dir / name).read_bytes()).splitlines()
    return header.decode(), lines


@pytest.fixture(scope="module")
def frog(data_dir: Path) -> tuple[str, list[bytes]]:
    return day(data_dir, FROG)


def books(batch: TickBatch) -> TickBatch:
    return batch.take(batch.kind == BOOK)


def trades(batch: TickBatch) -> TickBatch:
    return batch.take(batch.kind == TRADE)


@pytest.mark.data
def test_frog_day_gives_its_known_rows(frog: tuple[str, list[bytes]]) -> None:
    header, lines = frog
    batch = decode_in_batches(DatabentoCodec(header=header), lines, 5000).batch
    assert (len(lines), len(books(batch)), len(trades(batch))) == (33_286, 33_286, 3_817)
    mid_event = books(batch).flags & MID_EVENT > 0
    assert mid_event.sum() == 1_569
    in_the_middle = np.isin(trades(batch).offset, books(batch).offset[mid_event])
    assert in_the_middle.sum() == 1_569
    assert in_the_middle.mean() == pytest.approx(0.41, abs=0.005)
    auction = trades(batch).flags & AUCTION > 0
    assert trades(batch).qty[auction].tolist() == [42_747.0]
    assert trades(batch).qty.sum() == 232_833.0
    assert set(batch.n_bid[batch.kind == BOOK].tolist()) == {10}
    # The trade stands before its record's book.
    first = np.flatnonzero(batch.kind == TRADE)
    assert (batch.kind[first + 1] == BOOK).all()
    assert (batch.offset[first + 1] == batch.offset[first]).all()


@pytest.mark.data
def test_arl_day_with_index_column_and_empty_levels_gives_its_known_rows(data_dir: Path) -> None:
    header, lines = day(data_dir, ARL)
    batch = both(lines, header).batch
    assert (len(lines), len(books(batch)), len(trades(batch))) == (3_928, 3_928, 46)
    # 757 rows lack F_LAST, but the leading clear row is no part of an event.
    assert (batch.flags & MID_EVENT > 0).sum() == 756
    assert (batch.n_bid[0], batch.n_ask[0]) == (0, 0)
    assert (batch.flags & AUCTION > 0).sum() == 0
    assert not (batch.bid_sz == 0).any()
    assert batch.n_bid.sum() == 3_928 * 10 - 1_174
    assert batch.n_ask.sum() == 3_928 * 10 - 1_124


@pytest.mark.data
@pytest.mark.parametrize("size", [7, 1000])
def test_frog_day_does_not_depend_on_batching(frog: tuple[str, list[bytes]], size: int) -> None:
    header, lines = frog
    lines = lines[:4_000]
    whole = both(lines, header).batch
    assert_same_batch(decode_in_batches(DatabentoCodec(header=header), lines, size).batch, whole)


def test_row_gives_its_book_and_times() -> None:
    batch = both([row()]).batch
    assert batch.bid_px[0].tolist() == [30.1, 30.0]
    assert batch.ask_sz[0].tolist() == [200.0, 100.0]
    assert batch.ts_event.tolist() == [TS]
    assert batch.ts_record.tolist() == [(TS + 2_000_000) // 1_000_000 * 1_000_000]
    assert batch.flags.tolist() == [0]


@pytest.mark.parametrize(
    "text",
    [
        "2025-04-03 13:30:00.125395235+00:00",
        "2025-04-03T13:30:00.125395235Z",
        "2025-04-03T13:30:00.125395235",
        "2025-04-03 15:30:00.125395235+02:00",
        "2025-04-03 08:00:00.125395235-05:30",
        str(TS),
        f'"{TS}"',
    ],
)
def test_timestamp_forms_are_the_same_time(text: str) -> None:
    assert both([row(ts_event=text)]).batch.ts_event.tolist() == [TS]


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1973-03-03T09:46:40.000000001Z", 100_000_000_000_000_001),
        ("2000-02-29T23:59:59Z", 951_868_799_000_000_000),
        ("2024-02-29 00:00:00.5", 1_709_164_800_500_000_000),
        ("2100-02-28T23:59:59Z", 4_107_542_399_000_000_000),
        ("2254-12-31T23:59:59.9Z", 8_993_721_599_900_000_000),
    ],
)
def test_timestamp_calendar_is_right(text: str, ns: int) -> None:
    assert both([row(ts_event=text)]).batch.ts_event.tolist() == [ns]


@pytest.mark.parametrize("recv", ["", "18446744073709551615"])
def test_ts_recv_undefined_falls_back_to_ts_event(recv: str) -> None:
    assert both([row(ts_recv=recv)]).batch.ts_record.tolist() == [TS // 1_000_000 * 1_000_000]


def test_header_with_ts_event_twice_reads_the_first_as_ts_recv() -> None:
    batch = both([row()], HEADER.replace("ts_recv", "ts_event")).batch
    assert batch.ts_event.tolist() == [TS]
    assert batch.ts_record[0] > TS


def test_default_header_is_databentos() -> None:
    fields = dict.fromkeys(MBP10_HEADER.split(","), "0")
    fields |= {"ts_recv": str(TS), "ts_event": str(TS), "action": "A", "side": "N", "flags": "128", "symbol": "X"}
    fields |= {name: "" for name in fields if "_px_" in name}
    line = ",".join(fields.values()).encode()
    decoded = DatabentoCodec().decode_columns([line], [0], [FROM_DATA])
    assert decoded.batch.symbols == ("X",)
    assert decoded.batch.n_bid.tolist() == [0]


@pytest.mark.parametrize(
    "prices",
    [
        {"bid_px_00": "30.100000000", "bid_px_01": "30.000000000", "price": "29.700000000"},
        {
            "price": "29700000000",
            "bid_px_00": "30100000000",
            "bid_px_01": "30000000000",
            "ask_px_00": "32000000000",
            "ask_px_01": "32640000000",
        },
    ],
    ids=["nine places", "fixed point"],
)
def test_price_forms_are_the_same_price(prices: dict[str, str]) -> None:
    batch = both([row(**prices)]).batch
    assert batch.bid_px[0].tolist() == [30.1, 30.0]
    assert batch.ask_px[0].tolist() == [32.0, 32.64]


def test_whole_dollars_without_a_point_are_dollars() -> None:
    batch = both([row(price=30, bid_px_00=30, bid_px_01=29, ask_px_00=31, ask_px_01=32)]).batch
    assert batch.bid_px[0].tolist() == [30.0, 29.0]


def test_fixed_point_beyond_the_exact_floats_is_rounded_once() -> None:
    px = 12_345_678_901_234_567
    prices = {"price": px, "bid_px_00": px, "bid_px_01": px, "ask_px_00": px, "ask_px_01": px}
    assert both([row(**prices)]).batch.bid_px[0, 0] == 12_345_678.901234567


@pytest.mark.parametrize("undefined", ["", "nan", "9223372036854775807"])
def test_level_without_price_and_size_is_dropped(undefined: str) -> None:
    batch = both([row(bid_px_01=undefined, bid_sz_01=0)]).batch
    assert (batch.n_bid[0], batch.n_ask[0]) == (1, 2)
    assert np.isnan(batch.bid_px[0, 1])


def test_undefined_price_with_a_size_passes_as_sentinel() -> None:
    batch = both([row(bid_px_01="", bid_sz_01=5)]).batch
    assert batch.bid_px[0, 1] == 9223372036854775807.0


def test_row_without_f_last_is_mid_event() -> None:
    assert both([row(flags=2)]).batch.flags.tolist() == [MID_EVENT]


@pytest.mark.parametrize("flags", [8, 128])
def test_clear_row_is_an_empty_book_that_prevails(flags: int) -> None:
    batch = both([row(action="R", side="N", price="", size=0, flags=flags)]).batch
    assert (batch.kind[0], batch.flags[0], batch.n_bid[0], batch.n_ask[0]) == (BOOK, 0, 0, 0)


@pytest.mark.parametrize(("side", "aggressor"), [("B", 1), ("A", -1), ("N", 0)])
def test_print_gives_a_trade_and_then_its_book(side: str, aggressor: int) -> None:
    batch = both([row(action="T", side=side, price=31.25, size=40)]).batch
    assert batch.kind.tolist() == [TRADE, BOOK]
    assert (batch.px[0], batch.qty[0], batch.aggressor[0]) == (31.25, 40.0, aggressor)
    assert np.isnan(batch.px[1])
    assert np.isnan(batch.bid_px[0]).all()


@pytest.mark.parametrize(
    ("side", "size", "flags", "auction"),
    [("N", 498, 0, True), ("N", 497, 0, False), ("B", 498, 0, False), ("N", 498, 128, False)],
    ids=["cross", "within the depth", "has an aggressor", "ends its event"],
)
def test_auction_rule(side: str, size: int, flags: int, auction: bool) -> None:  # noqa: FBT001  # a parameter
    batch = both([row(action="T", side=side, size=size, flags=flags)]).batch
    assert bool(batch.flags[0] & AUCTION) is auction
    assert not batch.flags[1] & AUCTION


def test_fill_row_is_no_print_itself() -> None:
    assert both([row(action="F")]).batch.kind.tolist() == [BOOK]


def test_symbol_comes_from_the_data_and_else_from_the_setting() -> None:
    without = HEADER.removesuffix(",symbol")
    line = row().removesuffix(b",FROG")
    assert both([line], without, symbol="ARL").batch.symbols == ("ARL",)
    assert both([row(), row(symbol="")], symbol="ARL").batch.symbols == ("FROG", "ARL")
    assert reasons(both([line], without)) == ["value"]


BAD = [
    (row()[:-30], "truncated"),
    (row() + b",1", "value"),
    (b"", "truncated"),
    (row(symbol='"FROG'), "value"),
    (row(symbol="FR\x01G"), "value"),
    (row().replace(b"FROG", b"FR\xff"), "encoding"),
    (row(action="X"), "value"),
    (row(action=""), "value"),
    (row(side="?"), "value"),
    (row(flags="F"), "type"),
    (row(flags=256), "type"),
    (row(ts_event="yesterday"), "type"),
    (row(ts_event=""), "type"),
    (row(ts_event=0), "value"),
    (row(ts_event="2025-02-29T00:00:00Z"), "value"),
    (row(ts_event="2025-04-03T24:00:00Z"), "value"),
    (row(ts_event="2025-04-03T13:30:00.1234567891Z"), "type"),
    (row(ts_event="2025-04-03T13:30:00+25:00"), "value"),
    (row(ts_event="1969-12-31T23:59:59Z"), "value"),
    (row(bid_px_00="abc"), "type"),
    (row(bid_px_00="inf"), "type"),
    (row(bid_sz_00="1e999"), "not_finite"),
    (row(size=""), "type"),
    (row(action="T", price=""), "missing_field"),
    (row(action="T", size=-1), "value"),
    (row(action="T", size=4294967295), "sentinel"),
    (row(action="T", size=9999999999), "sentinel"),
]


@pytest.mark.parametrize(("line", "reason"), BAD, ids=[f"{i}-{reason}" for i, (_, reason) in enumerate(BAD)])
def test_bad_row_is_refused_with_reason_and_original_bytes(line: bytes, reason: str) -> None:
    decoded = both([row(), line, row()])
    assert reasons(decoded) == [reason]
    assert (decoded.refused[0].offset, decoded.refused[0].raw) == (1, line)
    assert decoded.batch.offset.tolist() == [0, 2]


def test_row_with_a_column_that_nobody_reads_is_refused_where_it_is_no_utf8() -> None:
    header = HEADER.replace("symbol", "note,symbol")
    good, bad = (row().replace(b",FROG", b"," + note + b",FROG") for note in ("\u00fc".encode(), b"\xfc"))
    assert reasons(both([good, bad], header)) == ["encoding"]


def test_row_over_the_limit_is_refused_as_too_large() -> None:
    assert reasons(both([row()], limits=Limits(max_message_bytes=50))) == ["too_large"]


def test_header_without_needed_columns_names_them() -> None:
    with pytest.raises(FileFormatError, match="no column flags, ask_sz_00 in the header"):
        DatabentoCodec(header=HEADER.replace("flags", "flag").replace("ask_sz_00", "x"))


def test_header_with_a_column_twice_is_refused() -> None:
    with pytest.raises(FileFormatError, match="price is in the header twice"):
        DatabentoCodec(header=HEADER.replace("symbol", "price"))


def test_mutated_rows_are_all_answered_alike_and_leave_the_good_ones_alone() -> None:
    rng = random.Random(20250717)
    seeds = [
        row(),
        row(action="T", side="N", size=600, flags=0),
        row(action="R", flags=8, price="", bid_px_00="", bid_sz_00=0),
        row(ts_event="2025-04-03 13:30:00.125395235+00:00", symbol="ARL"),
        row(
            price=29700000000,
            bid_px_00=30100000000,
            bid_px_01=30000000000,
            ask_px_00=32000000000,
            ask_px_01=33000000000,
        ),
    ]
    lines = []
    for _ in range(10_000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.randrange(len(data) + 1)
            match rng.randrange(4):
                case 0:
                    data[at : at + 1] = bytes([rng.randrange(256)])
                case 1:
                    del data[at : at + rng.randrange(1, 6)]
                case 2:
                    data[at:at] = rng.choice((b",", b".", b"-", b"0", b"9", b" ", b'"', b"e", b"T", b"N", b"\n"))
                case _:
                    del data[at:]
        lines += [bytes(data), rng.choice(seeds)]
    fast = decode_in_batches(DatabentoCodec(header=HEADER), lines, 991)
    slow = decode_in_batches(DatabentoCodec(header=HEADER).reference(), lines, len(lines))
    assert_same_batch(fast.batch, slow.batch)
    assert fast.refused == slow.refused
    assert len(np.unique(fast.batch.offset[fast.batch.offset % 2 == 1])) == 10_000
    assert {refused.reason for refused in fast.refused} <= REASONS.keys()


@pytest.mark.parametrize(
    ("name", "actions"), [("day.csv", "TT"), ("xnas-itch-20250403.tbbo.csv", "T"), ("a.csv", "TA")]
)
def test_book_before_a_trade_comes_first_and_prevails(name: str, actions: str) -> None:
    lines = [b"1," + row(action=action, side="B", size=40, flags=0) for action in actions]
    content = Content(name, iter([b"\n".join([b"rtype," + HEADER.encode(), *lines, b""])]))
    (batch,) = DatabentoCodec.from_header(content.head, FileOptions(FileSymbols("FROG"))).batches(content, 10)
    rows = batch.decoded.batch
    before = [BOOK, TRADE] * len(actions)
    assert rows.kind.tolist() == ([TRADE, BOOK, BOOK] if actions == "TA" else before)
    assert rows.flags.tolist() == ([0, MID_EVENT, MID_EVENT] if actions == "TA" else [0, 0] * len(actions))
