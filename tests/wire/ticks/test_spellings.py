"""Files of tables as vendors and spreadsheets spell them: the same rows, or a refusal that names why."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from impactd.core.inputs.ticks import TRADE
from impactd.wire.codec import Limits
from impactd.wire.content import Content
from impactd.wire.decoder import join
from impactd.wire.registry import CODECS, detect
from impactd.wire.symbols import FileSymbols
from impactd.wire.tick_codec import FileFormatError, FileOptions
from tests.checks.codec_checks import good_records
from tests.checks.codec_samples import samples_of
from tests.wire.helpers import T0, assert_same_batch

TABLES = [name for name in CODECS.names() if name.endswith("-csv")]


def _body(text: str, change: Callable[[str], str]) -> str:
    head, _, body = text.partition("\n")
    return f"{head}\n{change(body)}"


def _lines(text: str, change: Callable[[int, str], str]) -> str:
    return "".join(change(i, line) + "\n" for i, line in enumerate(text.splitlines()))


#: From the text of a file to another spelling of it.
SPELLINGS: dict[str, Callable[[str], str]] = {
    "semicolons": lambda text: text.replace(",", ";"),
    "semicolons and decimal commas": lambda text: _body(text.replace(",", ";"), lambda body: body.replace(".", ",")),
    "tabs": lambda text: text.replace(",", "\t"),
    "bars": lambda text: text.replace(",", "|"),
    "upper case": lambda text: _body(text.upper(), lambda _: text.partition("\n")[2]),
    "byte order mark and CR LF": lambda text: "\ufeff" + text.replace("\n", "\r\n"),
    "quotes": lambda text: _lines(text, lambda _, line: ",".join(f'"{field}"' for field in line.split(","))),
    "index column": lambda text: _lines(text, lambda i, line: f"{i or ''},{line}"),
}


def read(data: bytes, name: str, file_name: str = "FROG.csv", size: int = 100):  # type: ignore[no-untyped-def]  # a pair
    content = Content(file_name, iter([data]))
    codec = detect(content.head)
    assert codec is not None
    assert codec.name == name
    limits = Limits()
    made = codec.from_header(content.head, FileOptions(FileSymbols("FROG"), limits))
    return join([batch.decoded for batch in made.batches(content, size)])


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", TABLES)
def test_another_spelling_gives_the_same_rows(name: str, spelling: str) -> None:
    samples = samples_of(name)
    text = samples.file(good_records(samples, 12)).decode()
    if spelling == "quotes" and '"' in text:
        pytest.skip("has quotes of its own")
    if spelling == "upper case" and name in ("polygon-quotes-csv", "alpaca-quotes-csv"):
        pytest.skip("a vendor's own header: in another case it is a table like any other, whose sizes are shares")
    if spelling == "index column" and name == "tardis-csv":
        pytest.skip("a vendor's own header")
    plain = read(text.encode(), name)
    assert len(plain.batch)
    assert not plain.refused
    for size in (100, 1):
        other = read(SPELLINGS[spelling](text).encode(), name, size=size)
        assert not other.refused
        assert_same_batch(other.batch, plain.batch)


@pytest.mark.parametrize(
    "header",
    [
        "ts_event,action,side,price,size,flags,symbol",
        "TS_RECV,TS_EVENT,RTYPE,PUBLISHER_ID,INSTRUMENT_ID,ACTION,SIDE,DEPTH,PRICE,SIZE,FLAGS,SYMBOL",
    ],
)
def test_prints_are_never_books(header: str) -> None:
    fields = {"action": "T", "side": "A", "price": "31.2", "size": "5", "flags": "128", "symbol": "FROG", "rtype": "0"}
    fields |= dict.fromkeys(("ts_event", "ts_recv"), str(T0))
    row = ",".join(fields.get(name.lower(), "7") for name in header.split(","))
    batch = read(f"{header}\n{row}\n".encode(), "databento-mbp10-csv").batch
    assert (batch.kind.tolist(), batch.aggressor.tolist()) == ([TRADE], [-1])


@pytest.mark.parametrize(
    ("header", "row", "file_name"),
    [
        ("time,type,order_id,size,price,direction", f"{T0},1,77,100,31.2,1", "FROG.csv"),
        ("time,action,side,price,size", f"{T0},add,A,31.2,100", "FROG.csv"),
        ("exchange,symbol,timestamp,local_timestamp,id,side,price,amount", f"x,F,{T0 // 1000},{T0 // 1000},1,buy,3,4",
         "binance_liquidations_2025-04-03_F.csv"),
    ],
)  # fmt: skip
def test_orders_and_liquidations_are_not_trades(header: str, row: str, file_name: str) -> None:
    content = Content(file_name, iter([f"{header}\n{row}\n".encode()]))
    codec = detect(content.head)
    assert codec is not None
    with pytest.raises(FileFormatError, match=r"orders|liquidations"):
        codec.from_header(content.head, FileOptions(FileSymbols("FROG")))


def test_commas_that_may_separate_thousands_are_refused() -> None:
    header = "time;bid_price_1;bid_size_1;ask_price_1;ask_size_1"
    decoded = read(f"{header}\n{T0};31.2;1,000;31.25;2\n{T0};31,2;1000;31,25;2\n".encode(), "wide-csv")
    assert [letter.offset for letter in decoded.refused] == [2]
    assert decoded.batch.bid_px.tolist() == [[31.2]]


@pytest.mark.parametrize("name", TABLES)
def test_commas_of_thousands_beside_a_decimal_point_are_refused_in_every_table(name: str) -> None:
    samples = samples_of(name)
    text = samples.file([samples.book("FROG", T0, [(31.2, 1_000.0)], [(31.25, 2.0)])]).decode()
    text = re.sub(r"\.0(?=[,\n])", "", text).replace(",", ";")
    assert not read(text.encode(), name).refused
    spelled = re.sub(r"(?<=;)10(00)?(?=[;\n])", "1,000", text)  # quotes of the tapes count round lots
    assert spelled != text
    decoded = read(spelled.encode(), name)
    assert decoded.refused
    assert not np.isin(decoded.batch.bid_sz, (1.0, 1_000.0)).any()


@pytest.mark.parametrize(
    ("columns", "fields"),
    [
        ("date,time", "2025-04-03,13:30:00.125395235"),
        ("DATE,TIME_M", "20250403,13:30:00.125395235"),
        ("date,time", f"2025-04-03,{T0}"),
        ("date,timestamp", "20250402,2025/04/03 13:30:00.125395235"),
    ],
)
def test_day_and_time_may_be_columns(columns: str, fields: str) -> None:
    text = f"{columns},bid,bidsiz,ofr,ofrsiz\n{fields},31.2,3,31.25,2\n"
    assert read(text.encode(), "wide-csv").batch.ts_event.tolist() == [T0]
