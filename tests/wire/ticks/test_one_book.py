"""A symbol's rows are of one venue and one instrument, in every CSV of books; prints may be of any."""

from __future__ import annotations

import pytest

from impactd.wire.content import Content
from impactd.wire.decoder import join
from impactd.wire.tick_codec import FileFormatError, FileOptions, TickCodec
from impactd.wire.ticks.long_csv.codec import LongCsvCodec
from impactd.wire.ticks.one_book import INSTRUMENTS, VENUES
from impactd.wire.ticks.tables.codec import TableCodec
from impactd.wire.ticks.tables.incremental import IncrementalCodec
from impactd.wire.ticks.tables.tardis import TardisCodec
from tests.wire.helpers import T0

#: (column's value, symbol, mid)
Row = tuple[str, str, float]


def wide(column: str, rows: list[Row]) -> str:
    head = f"time,{column},symbol,bid_price_1,bid_size_1,ask_price_1,ask_size_1"
    return "\n".join([head, *(f"{T0 + i},{v},{s},{m - 1},5,{m + 1},5" for i, (v, s, m) in enumerate(rows))])


def long(column: str, rows: list[Row]) -> str:
    lines = [f"time,{column},symbol,side,price,size"]
    for i, (value, symbol, mid) in enumerate(rows):
        lines += [f"{T0 + i},{value},{symbol},{side},{px},5" for side, px in (("bid", mid - 1), ("ask", mid + 1))]
    return "\n".join(lines)


def tardis(_column: str, rows: list[Row]) -> str:
    head = "exchange,symbol,timestamp,local_timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount"
    us = T0 // 1_000
    return "\n".join([head, *(f"{v},{s},{us + i},{us + i},{m + 1},5,{m - 1},5" for i, (v, s, m) in enumerate(rows))])


def incremental(_column: str, rows: list[Row]) -> str:
    lines = ["exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"]
    us = T0 // 1_000
    for i, (value, symbol, mid) in enumerate(rows):
        sides = (("bid", mid - 1), ("ask", mid + 1))
        lines += [f"{value},{symbol},{us + i},{us + i},true,{side},{px},5" for side, px in sides]
    return "\n".join(lines)


MAKERS = {
    "wide": (TableCodec, wide),
    "long": (LongCsvCodec, long),
    "tardis": (TardisCodec, tardis),
    "changes": (IncrementalCodec, incremental),
}
OF_ANY = [(kind, column) for kind in ("wide", "long") for column in ("Exchange", "exchange_id", *VENUES, *INSTRUMENTS)]
OF_TARDIS = [(kind, "exchange") for kind in ("tardis", "changes")]


def read(kind: str, column: str, rows: list[Row]):
    codec_type, make = MAKERS[kind]
    content = Content("day.csv", iter([make(column, rows).encode() + b"\n"]))
    codec: TickCodec = codec_type.from_header(content.head, FileOptions())
    return join([batch.decoded for batch in codec.batches(content, 3)])


@pytest.mark.parametrize(("kind", "column"), OF_ANY + OF_TARDIS)
def test_rows_of_two_under_one_symbol_are_refused_with_both(kind: str, column: str) -> None:
    rows = [("A", "X", 31.0), ("A", "Y", 8.0), ("B", "X", 49.0), ("A", "X", 31.0)]
    with pytest.raises(FileFormatError, match=rf"(?i){column}: rows of '(A|B)' and '(A|B)' with the symbol 'X'"):
        read(kind, column, rows)


@pytest.mark.parametrize(("kind", "column"), OF_ANY + OF_TARDIS)
def test_rows_of_two_under_symbols_of_their_own_are_read(kind: str, column: str) -> None:
    rows = [(value, symbol, mid) for _ in range(3) for value, symbol, mid in (("A", "X", 31.0), ("B", "Y", 49.0))]
    decoded = read(kind, column, rows)
    assert not decoded.refused
    assert [decoded.batch.symbols[code] for code in decoded.batch.symbol] == ["X", "Y"] * 3


@pytest.mark.parametrize("kind", ["wide", "long"])
def test_instrument_may_change_and_not_change_back(kind: str) -> None:
    rolled = [("1", "X", 31.0), ("1", "X", 31.0), ("2", "X", 31.5), ("2", "X", 31.5)]
    assert not read(kind, "instrument_id", rolled).refused
    with pytest.raises(FileFormatError, match="instrument_id: rows of '2' and '1'"):
        read(kind, "instrument_id", [*rolled, ("1", "X", 31.0)])


def test_damaged_rows_and_empty_fields_show_nothing() -> None:
    rows = [("A", "X", 31.0), ("", "X", 31.0), ("B,,", "X", 49.0), ("A", "X", 31.0)]
    decoded = read("wide", "venue", rows)
    assert (len(decoded.batch), len(decoded.refused)) == (3, 1)


def test_prints_of_several_venues_are_one_tape() -> None:
    lines = ["time,exchange,symbol,price,size,side", *(f"{T0 + i},{'AB'[i % 2]},X,31.0,5,buy" for i in range(4))]
    content = Content("trades.csv", iter(["\n".join(lines).encode() + b"\n"]))
    codec = TableCodec.from_header(content.head, FileOptions())
    assert len(join([batch.decoded for batch in codec.batches(content, 3)]).batch) == 4
