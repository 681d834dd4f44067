"""Columns of venues: named by the settings, kept apart, and refused where they name none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from impactd.core.base.venue import VenueRule, at_venue
from impactd.shell.lines import InputFileError
from impactd.shell.recorded import read_ticks
from impactd.wire.codec import Limits
from impactd.wire.content import Content
from impactd.wire.decoder import join
from impactd.wire.registry import CODECS
from impactd.wire.tick_codec import FileOptions
from impactd.wire.ticks.dbn.codec import DbnCodec
from impactd.wire.ticks.dbn.mbo_csv import HEADER as MBO_HEADER
from tests.wire.helpers import reasons
from tests.wire.ticks.dbn.samples import IDS, as_json, head, record
from tests.wire.ticks.dbn.test_orders import mbo as order

RULES = (VenueRule("XNAS", publishers=("2",)), VenueRule("BATS", publishers=("43",)))
BOTH = {at_venue("AAA", "XNAS"), at_venue("AAA", "BATS")}


T0 = 1_743_687_000_000_000_000
HEAD = (
    "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,price,size,flags,"
    "bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,symbol"
)


def databento(publishers: tuple[int, ...]) -> str:
    ends = "7,A,B,100.0,1,128,100.0,100.1,5,6,AAA"
    return "\n".join([HEAD, *(f"{T0 + k},{T0 + k},1,{publisher},{ends}" for k, publisher in enumerate(publishers))])


def wide(venues: tuple[str, ...]) -> str:
    rows = [f"{T0 + k},AAA,{venue},100.0,5,100.1,6" for k, venue in enumerate(venues)]
    return "\n".join(["time,symbol,exchange,bid_price_1,bid_size_1,ask_price_1,ask_size_1", *rows])


def json_of(publishers: tuple[int, ...]) -> str:
    level = '{"bid_px":"100.0","ask_px":"100.1","bid_sz":5,"ask_sz":6}'
    return "\n".join(
        f'{{"hd":{{"ts_event":"{T0 + k}","rtype":1,"publisher_id":{publisher},"instrument_id":7}},'
        f'"ts_recv":"{T0 + k}","action":"A","side":"B","price":"100.0","size":1,"flags":128,'
        f'"levels":[{level}],"symbol":"AAA"}}'
        for k, publisher in enumerate(publishers)
    )


def long(venues: tuple[str, ...]) -> str:
    rows = [
        f"{T0 + k // 2},{side},{px},5,0,AAA,{venue}"
        for k, venue in enumerate(venues)
        for side, px in (("bid", 100.0), ("ask", 100.1))
    ]
    return "\n".join(["time,side,price,size,level,symbol,venue", *rows])


def dbn(publishers: tuple[int, ...]) -> bytes:
    sides = [(100.0, 5.0)], [(100.1, 6.0)]
    rows = [record(7, T0 + k, *sides, publisher=publisher) for k, publisher in enumerate(publishers)]
    return head(ids={"AAA": 7}) + b"".join(rows)


def mbo(publishers: tuple[int, ...]) -> str:
    """Return a clear and an order of two sides of each publisher's book."""
    orders = [("R", "N", "", 0, 0, 0), ("A", "B", "100.0", 5, 1, 0), ("A", "A", "100.1", 6, 2, 128)]
    rows = [
        f"{T0 + k},{T0 + k},160,{publisher},7,{action},{side},{px},{size},0,{order},{flags},0,0,AAA"
        for k, publisher in enumerate(publishers)
        for action, side, px, size, order, flags in orders
    ]
    return "\n".join([MBO_HEADER, *rows])


def mbo_json(publishers: tuple[int, ...]) -> str:
    _, _, rows = mbo(publishers).partition("\n")
    return as_json(rows.encode()).decode()


def mbo_dbn(publishers: tuple[int, ...]) -> bytes:
    orders = [("R",), ("A", "B", 10_000, 5, 1, 0), ("A", "A", 10_010, 6, 2)]
    rows = [order(*one, at=k, publisher=publisher) for k, publisher in enumerate(publishers) for one in orders]
    return head(schema=0, ids={"AAA": IDS["FROG"]}) + b"".join(rows)


FILES: dict[str, tuple[str | bytes, str | bytes]] = {
    "long.csv": (long(("XNAS", "43", "XNAS", "BATS")), long(("XNAS", "NYSE"))),
    "books.dbn": (dbn((2, 43, 2, 43)), dbn((2, 99))),
    "orders.csv": (mbo((2, 43)), mbo((2, 99))),
    "orders.json": (mbo_json((2, 43)), mbo_json((2, 99))),
    "orders.dbn": (mbo_dbn((2, 43)), mbo_dbn((2, 99))),
    "databento.csv": (databento((2, 43, 2, 43)), databento((2, 99))),
    "wide.csv": (wide(("XNAS", "43", "XNAS", "BATS")), wide(("XNAS", "NYSE"))),
    "databento.json": (json_of((2, 43, 2, 43)), json_of((2, 99))),
}


@pytest.mark.parametrize("name", FILES)
def test_rows_of_several_venues_are_read_by_the_settings_and_refused_without(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write(path, FILES[name][0])
    read = [
        decoded for size in (4_096, 1) for decoded in read_ticks(path, batch_rows=size, limits=Limits(venues=RULES))
    ]
    assert not any(decoded.refused for decoded in read)
    found = [decoded.batch for decoded in read]
    assert {symbol for batch in found for symbol in batch.symbols} == BOTH
    books = [
        (batch.symbols[batch.symbol[i]], batch.bid_px[i, :1].tolist(), batch.ask_px[i, :1].tolist())
        for batch in found
        for i in range(len(batch))
        if batch.n_bid[i]
    ]
    n = 2 if name.startswith("orders") else 4
    assert sorted(books) == sorted((symbol, [100.0], [100.1]) for symbol in BOTH for _ in range(n))
    if name.endswith(".dbn"):
        assert {letter.reason for one in read_ticks(path, limits=Limits()) for letter in one.refused} == {"publisher"}
        return
    with pytest.raises(InputFileError, match=r"publisher_id|exchange|venue"):
        list(read_ticks(path, limits=Limits()))


@pytest.mark.parametrize("name", FILES)
def test_a_venue_that_the_settings_do_not_name_refuses_its_row(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write(path, FILES[name][1])
    decoded = list(read_ticks(path, limits=Limits(venues=RULES)))
    assert [letter.reason for one in decoded for letter in one.refused] == ["value"] * (3 if "orders" in name else 1)
    assert sum(int((one.batch.n_bid > 0).sum()) for one in decoded) == 1


def write(path: Path, text: str | bytes) -> None:
    path.write_bytes(text if isinstance(text, bytes) else (text + "\n").encode())


@pytest.mark.parametrize("build", [dbn, mbo_dbn])
def test_messages_of_several_venues_are_read_by_the_settings(build: Callable[[tuple[int, ...]], bytes]) -> None:
    codec = DbnCodec(Limits(venues=RULES)).live()
    at = len(head(ids={"AAA": 7}))
    n = 1 if build is dbn else 3
    size = (len(build((2,))) - at) // n
    records = [build((2, 43))[at + size * i : at + size * (i + 1)] for i in range(2 * n)]
    for values in (records, [b"".join(records)]):
        decoded = codec.decode_columns(values, range(len(values)), [T0] * len(values), [b"AAA"] * len(values))
        assert not decoded.refused
        assert set(decoded.batch.symbols) == BOTH


def lines_of(orders: list[tuple[Any, ...]]) -> list[bytes]:
    """Return orders as lines of MBO's CSV, a publisher and what `order` takes."""
    return [
        f"{T0},{T0},160,{publisher},7,{action},{side or 'N'},{px / 100 if px else ''},{size},0,{number},{flags},0,0,AAA"
        .encode()
        for publisher, action, side, px, size, number, flags in orders
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["databento-mbo-csv", "databento-mbo-json", "dbn"])
def test_orders_of_a_venue_that_the_settings_do_not_name_end_no_book(name: str) -> None:
    orders = [
        (2, "R", "N", 0, 0, 0, 128),
        (2, "A", "B", 10_000, 5, 1, 0),
        (2, "A", "A", 10_010, 6, 2, 128),
        (99, "A", "B", 20_000, 1, 1, 128),
        (2, "A", "B", 10_000, 7, 3, 128),
    ]
    values = lines_of(orders)
    file = b"\n".join([MBO_HEADER.encode(), *values, b""])
    if name == "databento-mbo-json":
        values = [as_json(value) for value in values]
        file = b"\n".join([*values, b""])
    elif name == "dbn":
        values = [
            order(action, side, px or None, size, number, flags, publisher=publisher)
            for publisher, action, side, px, size, number, flags in orders
        ]
        file = head(schema=0, ids={"AAA": IDS["FROG"]}) + b"".join(values)
    limits = Limits(venues=RULES)
    live = CODECS.get(name)(limits).live()
    found = [live.decode_columns(values, range(5), [T0] * 5, [b"AAA"] * 5)]
    for size in (1, 100):
        content = Content("orders", iter([file]))
        codec = CODECS.get(name).from_header(content.head, FileOptions(limits=limits))
        found.append(join([batch.decoded for batch in codec.batches(content, size)]))
    for decoded in found:
        assert reasons(decoded) == ["value"]
        assert set(decoded.batch.symbols) == {at_venue("AAA", "XNAS")}
        assert decoded.batch.bid_sz[-1].tolist() == [12.0]
