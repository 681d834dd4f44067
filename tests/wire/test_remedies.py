"""Every refusal's remedy works: what its text advises, done to the record, makes it accepted.

Each case is a record that is refused and the same record with the advice followed. Where a refusal can be raised is
read from the sources, so that a new one without a case fails.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from impactd.core.base.topics import Topic
from impactd.wire import codec as codec_module
from impactd.wire import content, fields, json_orders, tick_codec, times
from impactd.wire.codec import FieldError, Limits
from impactd.wire.content import Content, Head
from impactd.wire.json_orders import decode_events
from impactd.wire.registry import CODECS
from impactd.wire.symbols import FileSymbols
from impactd.wire.tick_codec import FileOptions
from impactd.wire.ticks import csv
from impactd.wire.ticks.databento import codec as databento
from impactd.wire.ticks.databento import identity
from impactd.wire.ticks.json import codec as json_ticks
from impactd.wire.ticks.long_csv import codec as long_csv

MODULES = (fields, times, json_orders, tick_codec, content, csv, json_ticks, databento, identity, long_csv)

T0 = 1_743_687_000_125_395_235
LIMITS = Limits(max_message_bytes=4_000, max_levels=3)
BOOK: dict[str, Any] = {"type": "book", "symbol": "A", "ts_event": T0, "bids": [[1, 2]], "asks": [[2, 3]]}
TRADE: dict[str, Any] = {"type": "trade", "symbol": "A", "ts_event": T0, "px": 1.5, "qty": 5}
NEW: dict[str, Any] = {"type": "new", "cl_ord_id": "A1", "symbol": "A", "side": "buy", "order_qty": 5}
NEW |= {"ts_event": T0, "start": T0, "end": T0 + 10**12}
REPLACE: dict[str, Any] = {"type": "replace", "cl_ord_id": "A1", "symbol": "A", "ts_event": T0, "order_qty": 6}
FILL: dict[str, Any] = {"type": "fill", "exec_id": "E1", "cl_ord_id": "A1", "symbol": "A", "last_qty": 5}
FILL |= {"last_px": 31.2, "ts_event": T0}
BUST: dict[str, Any] = {"type": "bust", "exec_id": "E2", "exec_ref_id": "E1", "cl_ord_id": "A1", "symbol": "A"}
BUST |= {"ts_event": T0}
LONG = "time,side,price,size,level"
MBP = "ts_event,instrument_id,action,side,price,size,flags,bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,symbol"
ROW = {"ts_event": T0, "id": 1, "action": "A", "side": "B", "price": 1, "size": 1, "flags": 128}
ROW |= {"bid": 1, "ask": 2, "bs": 1, "as": 1, "symbol": "A"}


def dumps(obj: Any) -> bytes:
    return obj if isinstance(obj, bytes) else orjson.dumps(obj)


def row(**changes: Any) -> bytes:
    return ",".join(str(value) for value in (ROW | changes).values()).encode()


def long(*lines: str) -> bytes:
    return "\n".join([LONG, *lines, ""]).encode()


def mbp(*rows: bytes) -> bytes:
    return b"\n".join([MBP.encode(), *rows, b""])


def levels(n: int) -> list[list[int]]:
    return [[10 - k, 1] for k in range(n)]


#: Bad record, and the same with the advice followed.
TICKS: list[tuple[Any, Any]] = [
    (b"", BOOK),
    (dumps(BOOK)[:-3], BOOK),
    (BOOK | {"venue": "a b"}, BOOK | {"venue": "XNAS"}),
    (dumps(TRADE).replace(b"1.5", b"Infinity"), TRADE),
    (dumps(TRADE).replace(b"1.5", b"-Infinity"), TRADE),
    (dumps(TRADE).replace(b"1.5", b"1e999"), TRADE),
    (dumps(TRADE).replace(b'"qty":5', b'"qty":"1e999"'), TRADE),
    (dumps(TRADE).replace(b'"qty":5', b'"ts_recv":NaN,"qty":1e999'), TRADE),
    (b"{'type':'book'}", BOOK),
    (b'{"px":NaN,}', BOOK),
    (b"5", BOOK),
    ({k: v for k, v in BOOK.items() if k != "symbol"}, BOOK),
    (dumps(TRADE).replace(b"1.5", b"NaN"), TRADE),
    (dumps(BOOK).replace(b"[1,2]", b"[NaN,2]"), BOOK | {"bids": []}),
    (BOOK | {"bids": [[1, None]]}, BOOK | {"bids": [[1, 2]]}),
    (BOOK | {"symbol": 5}, BOOK | {"symbol": "5"}),
    (BOOK | {"symbol": "x" * 33}, BOOK | {"symbol": "x" * 32}),
    (BOOK | {"symbol": "a\n"}, BOOK),
    (BOOK | {"type": 5}, BOOK),
    (TRADE | {"px": "0x1F"}, TRADE | {"px": "31"}),
    (TRADE | {"qty": -5}, TRADE | {"qty": 5, "aggressor": "sell"}),
    ([TRADE, TRADE | {"qty": 9_999_999_999}], [TRADE]),
    (TRADE | {"qty": 9_999_999_999}, TRADE),
    (TRADE | {"aggressor": 1}, TRADE | {"aggressor": "buy"}),
    (TRADE | {"aggressor": "B"}, TRADE | {"aggressor": None}),
    (BOOK | {"mid_event": 1}, BOOK | {"mid_event": True}),
    (BOOK | {"bids": {"1": 2}}, BOOK | {"bids": [[1, 2]]}),
    (BOOK | {"bids": levels(4)}, BOOK | {"bids": levels(3)}),
    (BOOK | {"bids": [[1, 2, 3]]}, BOOK | {"bids": [[1, 2]]}),
    (BOOK | {"ts_event": "2025-04-03T13:30:00"}, BOOK | {"ts_event": "2025-04-03T13:30:00Z"}),
    (BOOK | {"ts_event": []}, BOOK),
    (BOOK | {"ts_event": 1.743687000125e18}, BOOK | {"ts_event": "1743687000125000000"}),
    (BOOK | {"ts_event": 0}, BOOK),
    (BOOK | {"ts_event": T0 // 10**6}, BOOK | {"ts_event": T0 // 10**6 * 10**6}),
    (BOOK | {"ts_event": "2025-02-30T13:30:00Z"}, BOOK | {"ts_event": "2025-02-28T13:30:00Z"}),
    (BOOK | {"ts_event": "2025-02-28T25:30:00Z"}, BOOK | {"ts_event": "2025-02-28T23:30:00Z"}),
    (BOOK | {"ts_event": "2025-02-28T13:30:00+01:99"}, BOOK | {"ts_event": "2025-02-28T13:30:00Z"}),
    (BOOK | {"ts_event": "1950-02-28T13:30:00Z"}, BOOK | {"ts_event": "2025-02-28T13:30:00Z"}),
    (BOOK | {"note": "x" * 5_000}, BOOK),
]
EVENTS: list[tuple[Topic, Any, Any]] = [
    (Topic.ORDERS, NEW | {"note": "x" * 5_000}, NEW),
    (Topic.ORDERS, NEW | {"type": 5}, NEW),
    (Topic.ORDERS, NEW | {"type": "order"}, NEW),
    (Topic.ORDERS, NEW | {"limit_offset_bps": 1e9}, NEW | {"limit_offset_bps": 5}),
    (Topic.ORDERS, NEW | {"auctions": "midday"}, NEW | {"auctions": "none"}),
    (Topic.ORDERS, NEW | {"alpha_half_life_s": 0}, NEW | {"alpha_half_life_s": 600}),
    (Topic.ORDERS, NEW | {"urgency": "asap"}, NEW | {"urgency": "normal"}),
    (Topic.ORDERS, NEW | {"urgency": -1}, NEW | {"urgency": None}),
    (Topic.ORDERS, NEW | {"prty": 1}, NEW),
    (Topic.ORDERS, NEW | {"participation_rate": 10}, NEW | {"participation_rate": 0.1}),
    (Topic.ORDERS, NEW | {"must_complete": "yes"}, NEW | {"must_complete": True}),
    (Topic.ORDERS, NEW | {"venues": "XNAS"}, NEW | {"venues": ["XNAS"]}),
    (Topic.ORDERS, NEW | {"venues": []}, NEW | {"venues": None}),
    (Topic.ORDERS, NEW | {"blackouts": "noon"}, NEW | {"blackouts": [[T0, T0 + 1]]}),
    (Topic.ORDERS, NEW | {"blackouts": [[T0, T0 + 1]] * 65}, NEW | {"blackouts": [[T0, T0 + 1]] * 64}),
    (Topic.ORDERS, NEW | {"blackouts": [[T0]]}, NEW | {"blackouts": [[T0, T0 + 1]]}),
    (Topic.ORDERS, NEW | {"blackouts": [[T0 + 1, T0]]}, NEW | {"blackouts": [[T0, T0 + 1]]}),
    (Topic.ORDERS, NEW | {"risk_aversion": -1}, NEW | {"risk_aversion": 0}),
    (Topic.ORDERS, NEW | {"risk_aversion": 1e10}, NEW | {"risk_aversion": 1e-6}),
    (Topic.ORDERS, NEW | {"end": T0}, NEW | {"end": T0 + 1}),
    (Topic.ORDERS, NEW | {"orig_cl_ord_id": "A0"}, NEW),
    (Topic.ORDERS, NEW | {"side": "B"}, NEW | {"side": "buy"}),
    (Topic.ORDERS, NEW | {"order_qty": "5 "}, NEW | {"order_qty": "5"}),
    (Topic.ORDERS, NEW | {"order_qty": 1e10}, NEW | {"order_qty": 9e9}),
    (Topic.ORDERS, NEW | {"order_qty": 0}, NEW | {"order_qty": 1}),
    (Topic.ORDERS, REPLACE | {"side": "sell"}, REPLACE),
    (Topic.ORDERS, REPLACE | {"order_qty": None}, REPLACE | {"order_qty": 5}),
    (Topic.ORDERS, {k: v for k, v in REPLACE.items() if k != "order_qty"}, REPLACE),
    (Topic.EXECUTIONS, FILL | {"last_liquidity_ind": 1}, FILL | {"last_liquidity_ind": "maker"}),
    (Topic.EXECUTIONS, FILL | {"last_px": 1e12}, FILL),
    (Topic.EXECUTIONS, BUST | {"exec_ref_id": "E2"}, BUST),
]
LAST = f"{T0},bid,1,1,0"
#: Codec, bad file, the same with the advice followed, and the symbol option that the advice names.
FILES: list[tuple[str, bytes, bytes, str]] = [
    ("long-csv", long(LAST)[:-3], long(LAST), "A"),
    ("long-csv", long("\xff").replace(b"\xc3\xbf", b"\xff"), long(LAST), "A"),
    ("long-csv", long(f'{T0},"bid,1,1,0'), long(f'{T0},"bid",1,1,0'), "A"),
    ("long-csv", long(f"{T0},bid,1"), long(LAST), "A"),
    ("long-csv", long(f"{LAST},5"), long(LAST), "A"),
    ("long-csv", long(f"{T0},left,1,1,0"), long(LAST), "A"),
    ("long-csv", long(f"{T0},bid,1,1,best"), long(LAST), "A"),
    ("long-csv", long(f"{T0},bid,,1,0"), long(LAST), "A"),
    ("long-csv", long(LAST, LAST), long(LAST, LAST.replace("235,", "236,")), "A"),
    ("long-csv", long(*(f"{T0},bid,{9 - k},1,{k}" for k in range(4))), long(LAST), "A"),
    ("long-csv", long("x" * 5_000), long(LAST), "A"),
    ("long-csv", b"\xff\xfe" + long(LAST).decode().encode("utf-16-le")[:-1], long(LAST), "A"),
    ("databento-mbp10-csv", mbp(row(symbol="AAA"), row(symbol="AAA"))[:-2], mbp(row(symbol="AAA")), "A"),
    ("databento-mbp10-csv", mbp(row(action="X")), mbp(row(action="A")), "A"),
    ("databento-mbp10-csv", mbp(row(side="X")), mbp(row(side="N")), "A"),
    ("databento-mbp10-csv", mbp(row(flags="last")), mbp(row(flags=128)), "A"),
    ("databento-mbp10-csv", mbp(row(action="T", price="")), mbp(row(action="T", price=1)), "A"),
    ("databento-mbp10-csv", mbp(row(action="T", size=-1)), mbp(row(action="T", size=1)), "A"),
    ("databento-mbp10-csv", mbp(row(), row(action="T", size=4294967295)), mbp(row()), "A"),
    ("databento-mbp10-csv", mbp(row(id=7)), mbp(row(id=7)), "1=A"),
]


def refusals_of_ticks(value: bytes) -> list[Any]:
    codec = CODECS.get("json")(LIMITS)
    return codec.decode_columns([value], [0], [T0]).refused


def refusals_of_event(topic: Topic, value: bytes) -> list[Any]:
    return decode_events(topic, [value], [0], [T0], None, LIMITS).refused


def refusals_of_file(name: str, data: bytes, symbol: str) -> list[Any]:
    file = Content("x.csv", iter([data]))
    codec = CODECS.get(name).from_header(file.head, FileOptions(FileSymbols.parse(symbol), LIMITS))
    return [letter for batch in codec.batches(file, 100) for letter in batch.decoded.refused]


def outcomes() -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Yield each case with what is refused of the bad form, and of the good one."""
    for bad, good in TICKS:
        yield repr(bad), refusals_of_ticks(dumps(bad)), refusals_of_ticks(dumps(good))
    for topic, bad, good in EVENTS:
        yield repr(bad), refusals_of_event(topic, dumps(bad)), refusals_of_event(topic, dumps(good))
    for name, data, mended, symbol in FILES:
        followed = {"1=A": "7=A"}.get(symbol, symbol)
        yield repr(data), refusals_of_file(name, data, symbol), refusals_of_file(name, mended, followed)
    value = {**BOOK, "x": 1}
    short = CODECS.get("long-csv").from_header(Head("x.csv", LONG.encode()), FileOptions(FileSymbols("A"), LIMITS))
    lines = [f"{T0},bid,1,1,0\n{T0 + 1},ask,1,1,0".encode(), LAST.encode()]
    refused = [short.decode_columns([line], [0], [T0]).refused for line in lines]
    yield "snapshots", refused[0], refused[1]
    for column in ("venue", "isin"):
        head = Head("x.csv", f"time,{column},side,price,size".encode())
        of_one = CODECS.get("long-csv").from_header(head, FileOptions(FileSymbols("A"), LIMITS))
        mixed = [f"{T0},X,bid,1,1\n{T0},{ask},ask,2,1".encode() for ask in "YX"]
        refused = [of_one.decode_columns([line], [0], [T0]).refused for line in mixed]
        yield column, refused[0], refused[1]
    yield repr(value), refusals_of_ticks(b"[" + dumps(BOOK) + b",5]"), refusals_of_ticks(dumps([value, value]))


def test_remedy_of_every_refusal_works(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: set[tuple[str, int]] = set()
    original = FieldError.__init__

    def noting(self: FieldError, reason: str, detail: str) -> None:
        frame = inspect.currentframe()
        assert frame is not None
        assert frame.f_back is not None
        raised.add((Path(frame.f_back.f_code.co_filename).as_posix(), frame.f_back.f_lineno))
        original(self, reason, detail)

    monkeypatch.setattr(codec_module.FieldError, "__init__", noting)
    for what, bad, good in outcomes():
        assert bad, f"accepted: {what}"
        assert all(letter.detail for letter in bad)
        assert not good, f"the remedy of {bad[0].detail} is refused: {good[0].detail}"
    untried = [
        (file, first)
        for file, first, last in sites()
        if not any(name == file and first <= line <= last for name, line in raised)
    ]
    assert [f"{Path(file).name}:{first}" for file, first in untried] == []


def sites() -> Iterator[tuple[str, int, int]]:
    """Yield file and lines of every place that makes a `FieldError` with a text of its own."""
    for module in MODULES:
        path = Path(inspect.getfile(module))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id="FieldError")):
                    yield path.as_posix(), node.lineno, node.end_lineno or node.lineno
                case _:
                    pass
