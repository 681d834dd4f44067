"""Whose rows they are: instruments and publishers of a file."""

from __future__ import annotations

import pytest

from impactd.wire.codec import Limits
from impactd.wire.content import Content
from impactd.wire.decoder import join
from impactd.wire.symbols import FileSymbols, guess
from impactd.wire.tick_codec import FileFormatError, FileOptions
from impactd.wire.ticks.databento.codec import DatabentoCodec
from tests.wire.helpers import T0

LEVELS = "bid_px_00,ask_px_00,bid_sz_00,ask_sz_00"
HEAD = f"ts_event,publisher_id,instrument_id,action,side,price,size,flags,{LEVELS}"


def row(i: int, publisher: object = 2, instrument: object = 111, symbol: str | None = None, bid: float = 31.19) -> str:
    fields = [T0 + i, publisher, instrument, "A", "B", bid, 1, 128, bid, bid + 0.02, 100, 100]
    return ",".join(map(str, [*fields, *([] if symbol is None else [symbol])]))


def read(*rows: str, head: str = HEAD, symbol: str | None = "FROG", name: str = "day.csv"):
    content = Content(name, iter([("\n".join([head, *rows]) + "\n").encode()]))
    codec = DatabentoCodec.from_header(content.head, FileOptions(FileSymbols.parse(symbol, name), Limits()))
    return join([batch.decoded for batch in codec.batches(content, 2)])


def symbols(decoded) -> list[str]:
    return [decoded.batch.symbols[code] for code in decoded.batch.symbol]


def test_two_instruments_without_a_symbol_column_are_refused_with_both_ids_and_the_map() -> None:
    with pytest.raises(FileFormatError, match=r"instrument_id: rows of 111 and 222 .*--symbol 2/111=NAME,2/222=OTHER"):
        read(row(0), row(1, instrument=222), row(2))


def test_two_publishers_of_one_symbol_are_refused_with_both_ids_and_the_map() -> None:
    rows = [row(0, 2, 111, "FROG"), row(1, 39, 112, "FROG")]
    with pytest.raises(FileFormatError, match=r"publisher_id: rows of 2 and 39 .*--symbol 2/111=NAME,39/112=OTHER"):
        read(*rows, head=HEAD + ",symbol")


@pytest.mark.parametrize("head", [HEAD, HEAD + ",symbol"])
def test_the_map_that_the_error_names_tells_them_apart(head: str) -> None:
    symbol = None if head == HEAD else "FROG"
    rows = [row(0, symbol=symbol), row(1, 39, 222, symbol, bid=49.99), row(2, symbol=symbol)]
    decoded = read(*rows, head=head, symbol="2/111=FROG,39/222=FROG.39")
    assert symbols(decoded) == ["FROG", "FROG.39", "FROG"]
    assert decoded.batch.bid_px[:, 0].tolist() == [31.19, 49.99, 31.19]
    decoded = read(*rows, head=head, symbol="111=FROG")
    assert symbols(decoded) == ["FROG", "FROG"]
    assert [(letter.reason, letter.offset) for letter in decoded.refused] == [("unmapped", 3)]


def test_a_mapped_row_that_is_bad_is_refused_and_counted_once() -> None:
    decoded = read(row(0), row(1)[:40], symbol="111=FROG")
    assert symbols(decoded) == ["FROG"]
    assert [letter.offset for letter in decoded.refused] == [3]


def test_symbols_of_their_own_are_kept_apart_however_they_interleave() -> None:
    rows = [row(i, 2, 111 + i % 3, f"S{i % 3}") for i in range(9)]
    assert symbols(read(*rows, head=HEAD + ",symbol")) == ["S0", "S1", "S2"] * 3


def test_a_symbols_id_may_change_and_not_change_back() -> None:
    days = [row(i, 2, 111 if i < 3 else 333, "FROG") for i in range(6)]
    assert symbols(read(*days, head=HEAD + ",symbol")) == ["FROG"] * 6
    with pytest.raises(FileFormatError, match="instrument_id: rows of 333 and 111 with the symbol FROG"):
        read(*days, row(9, 2, 111, "FROG"), head=HEAD + ",symbol")


def test_a_damaged_row_names_no_instrument() -> None:
    decoded = read(row(0), row(1, instrument=999).replace(",128,", ",x,"), row(2, instrument=777)[:30], row(3))
    assert symbols(decoded) == ["FROG", "FROG"]
    assert len(decoded.refused) == 2


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("FROG_2025-04-03_mbp10.csv", "FROG"),
        ("BTC-USDT.jsonl", "BTC-USDT"),
        ("plain", "plain"),
        ("20250403_FROG_mbp10.csv", "FROG"),
        ("2025-04-03_FROG.csv.gz", "FROG"),
        ("600000_20250403.csv", "600000"),
        ("2025-04-03.csv", None),
        ("20250403.csv.zst", None),
        ("xnas-itch-20250403.mbp-10.FROG.csv", "FROG"),
        ("xnas-itch-20250403.mbp-10.BRK.B.csv", "BRK.B"),
        ("xnas-itch-20250403-20250404.bbo-1s.csv", None),
        ("xnas-itch-20250403.tbbo.csv", None),
    ],
)
def test_guess_from_a_file_name(name: str, symbol: str | None) -> None:
    assert guess(name) == symbol


@pytest.mark.parametrize(
    ("text", "name", "by_key"),
    [
        ("FROG", "FROG", {}),
        ("EURUSD=X", "EURUSD=X", {}),
        ("111=FROG", None, {"111": "FROG"}),
        ("2/111=FROG, 39/5=EURUSD=X", None, {"2/111": "FROG", "39/5": "EURUSD=X"}),
    ],
)
def test_symbol_option_is_a_name_or_a_map(text: str, name: str | None, by_key: dict[str, str]) -> None:
    found = FileSymbols.parse(text, "x.csv")
    assert (found.name, found.by_key, found.guessed) == (name, by_key, False)


BBO = f"ts_recv,ts_event,rtype,publisher_id,instrument_id,side,price,size,flags,sequence,{LEVELS},bid_ct_00,symbol"


def test_sampled_books_stand_from_the_end_of_their_interval() -> None:
    px = "31200000000,31220000000,300,300,1,FROG"
    rows = [f"{T0},{T0 - 5},195,2,7,N,,0,168,1,{px}", f"{T0 + 10**9},18446744073709551615,195,2,7,N,,,168,1,{px}"]
    for codec in ("compiled", "reference"):
        content = Content("x.csv", iter([("\n".join([BBO, *rows]) + "\n").encode()]))
        made = DatabentoCodec.from_header(content.head, FileOptions())
        made = made if codec == "compiled" else made.reference()
        batch = join([batch.decoded for batch in made.batches(content, 9)]).batch
        assert batch.ts_event.tolist() == [T0, T0 + 10**9]
        assert (batch.bid_px[:, 0].tolist(), batch.flags.tolist()) == ([31.2, 31.2], [0, 0])


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        (
            "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol",
            "bars, no books or trades; download mbp-10",
        ),
        (HEAD.replace("flags,", ""), "no column .*flags.*; export a schema with books"),
    ],
    ids=["ohlcv", "mbp without flags"],
)
def test_a_schema_without_books_states_what_is_missing(header: str, missing: str) -> None:
    with pytest.raises(FileFormatError, match=missing):
        read("1", head=header)
