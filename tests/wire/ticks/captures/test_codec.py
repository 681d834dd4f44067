"""Captured messages: each venue's shapes, and which clock is taken."""

from __future__ import annotations

import gzip
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from impactd.core.inputs.ticks import BOOK, TRADE
from impactd.shell.recorded import read_ticks
from impactd.wire.codec import Decoded, Limits
from impactd.wire.content import Content
from impactd.wire.decoder import join
from impactd.wire.ticks.captures.codec import CaptureCodec
from impactd.wire.ticks.captures.venues import okx_checksum
from tests.wire.helpers import T0, assert_same_batch, decode_in_batches, reasons

MS = T0 // 10**6
ISO = "2025-04-03T13:30:00.125Z"
BIDS, ASKS = [["31.2", "3"]], [["31.25", "2"]]
SIDES = {"bids": BIDS, "asks": ASKS}
OBJECTS = {"bids": [{"price": 31.2, "qty": 3}], "asks": [{"price": 31.25, "qty": 2}]}

SECONDS = f"{MS / 1000:.6f}"


def deribit(channel: str, **data: Any) -> dict[str, Any]:
    data = {"instrument_name": "FROG", "timestamp": MS, **data}
    params = {"channel": channel, "data": [data] if channel.startswith("trades") else data}
    return {"jsonrpc": "2.0", "method": "subscription", "params": params}


BOOKS: dict[str, Any] = {
    "binance-depth20": {"stream": "frog@depth20@100ms", "data": {"lastUpdateId": 1, "E": MS} | SIDES},
    "binance-futures": {"e": "bookTicker", "s": "FROG", "b": "31.2", "B": "3", "a": "31.25", "A": "2", "T": MS},
    "bybit": {"topic": "orderbook.50.FROG", "type": "snapshot", "ts": 1, "cts": MS,
              "data": {"s": "FROG", "b": BIDS, "a": ASKS}},
    "okx": {"arg": {"channel": "books5", "instId": "FROG"},
            "data": [{"asks": [["31.25", "2", "0", "1"]], "bids": [["31.2", "3", "0", "4"]], "ts": str(MS)}]},
    "kraken": {"channel": "book", "type": "snapshot", "data": [{"symbol": "FROG", "timestamp": ISO, **OBJECTS}]},
    "kraken-ticker": {"channel": "ticker", "type": "update",
                      "data": [{"symbol": "FROG", "timestamp": ISO, "bid": 31.2, "bid_qty": 3,
                                "ask": 31.25, "ask_qty": 2}]},
    "coinbase": {"type": "snapshot", "product_id": "FROG", "time": ISO, "bids": BIDS, "asks": ASKS},
    "coinbase-ticker": {"type": "ticker", "product_id": "FROG", "time": ISO, "best_bid": "31.2", "best_bid_size": "3",
                        "best_ask": "31.25", "best_ask_size": "2"},
    "alpaca": {"T": "q", "S": "FROG/USD", "bp": 31.2, "bs": 3, "ap": 31.25, "as": 2, "t": ISO},
    "polygon": {"ev": "XQ", "pair": "FROG-USD", "bp": 31.2, "bs": 3, "ap": 31.25, "as": 2, "t": MS},
    "coinbase-advanced": {"channel": "l2_data", "timestamp": ISO, "sequence_num": 0, "events": [
        {"type": "snapshot", "product_id": "FROG", "updates": [
            {"side": "bid", "price_level": "31.2", "new_quantity": "3"},
            {"side": "offer", "price_level": "31.25", "new_quantity": "2"}]}]},
    "ccxt": {"symbol": "FROG", "timestamp": MS, "datetime": ISO, "nonce": None, "bids": [[31.2, 3, 7]], "asks": ASKS},
    "deribit": deribit("book.FROG.none.10.100ms", bids=[[31.2, 3]], asks=[[31.25, 2]]),
    "deribit-quote": deribit("quote.FROG", best_bid_price=31.2, best_bid_amount=3, best_ask_price=31.25,
                             best_ask_amount=2),
    "kraken-1": [336, {"as": [["31.25", "2", SECONDS]], "bs": [["31.2", "3", SECONDS]]}, "book-10", "FROG"],
    "kraken-1-spread": [336, ["31.2", "31.25", SECONDS, "3", "2"], "spread", "FROG"],
}  # fmt: skip
TRADES: dict[str, tuple[Any, int]] = {
    "deribit": (deribit("trades.FROG.raw", price=31.2, amount=3, direction="sell"), -1),
    "kraken-1": ([0, [["31.2", "3", SECONDS, "b", "l", ""]], "trade", "FROG"], 1),
    "binance": ({"e": "aggTrade", "E": MS, "s": "FROG", "p": "31.2", "q": "3", "T": MS, "m": True}, -1),
    "bybit": ({"topic": "publicTrade.FROG", "data": [{"T": MS, "s": "FROG", "S": "Buy", "v": "3", "p": "31.2"}]}, 1),
    "okx": ({"arg": {"channel": "trades", "instId": "FROG"},
             "data": [{"instId": "FROG", "px": "31.2", "sz": "3", "side": "sell", "ts": str(MS)}]}, -1),
    "kraken": ({"channel": "trade", "type": "update",
                "data": [{"symbol": "FROG", "side": "buy", "price": 31.2, "qty": 3, "timestamp": ISO}]}, 1),
    "alpaca": ({"T": "t", "S": "FROG", "p": 31.2, "s": 3, "t": ISO, "tks": "S"}, -1),
    "polygon": ({"ev": "T", "sym": "FROG", "p": 31.2, "s": 3, "t": MS}, 0),
    "coinbase-advanced": ({"channel": "market_trades", "timestamp": ISO, "sequence_num": 5, "events": [
        {"type": "update", "trades": [
            {"product_id": "FROG", "price": "31.2", "size": "3", "side": "SELL", "time": ISO}]}]}, 1),
    "coinbase": ({"type": "match", "product_id": "FROG", "time": ISO, "side": "buy", "price": "31.2", "size": "3"}, -1),
}  # fmt: skip
CHANGES: list[dict[str, Any]] = [
    {
        "stream": "frog@depth@100ms",
        "data": {"e": "depthUpdate", "E": MS, "s": "FROG", "U": 1, "u": 2, "b": [], "a": []},
    },
    {"topic": "orderbook.50.FROG", "type": "delta", "ts": MS, "data": {"s": "FROG", "b": [], "a": []}},
    {"arg": {"channel": "books", "instId": "FROG"}, "action": "update", "data": [{"ts": str(MS)}]},
    {"channel": "book", "type": "update", "data": [{"symbol": "FROG", "timestamp": ISO}]},
    {"type": "l2update", "product_id": "FROG", "time": ISO, "changes": []},
]


def decode(message: object, prefix: bytes = b"", **options: Any) -> Decoded:
    return decode_in_batches(CaptureCodec(**options), [prefix + orjson.dumps(message)], 1)


@pytest.mark.parametrize("name", BOOKS)
def test_book_of_a_venue_is_read(name: str) -> None:
    decoded = decode(BOOKS[name])
    assert not decoded.refused
    batch = decoded.batch
    assert batch.symbols[0].startswith("FROG")
    assert (batch.kind.tolist(), batch.ts_event.tolist()) == ([BOOK], [MS * 10**6])
    assert [column.tolist() for column in (batch.bid_px, batch.bid_sz, batch.ask_px, batch.ask_sz)] == [
        [[31.2]], [[3.0]], [[31.25]], [[2.0]]
    ]  # fmt: skip


@pytest.mark.parametrize("name", TRADES)
def test_trade_of_a_venue_is_read(name: str) -> None:
    message, aggressor = TRADES[name]
    batch = decode(message).batch
    assert (batch.symbols, batch.kind.tolist(), batch.ts_event.tolist()) == (("FROG",), [TRADE], [MS * 10**6])
    assert (batch.px.tolist(), batch.qty.tolist(), batch.aggressor.tolist()) == ([31.2], [3.0], [aggressor])


@pytest.mark.parametrize(
    "time", [{"time": ISO}, {"ts": MS}, {"datetime": ISO, "timestamp": None}, {"timestamp": MS * 10**6}]
)
def test_whole_book_of_any_source_is_read(time: dict[str, Any]) -> None:
    batch = decode({"symbol": "FROG", **SIDES, "exchange": "x"} | time).batch
    assert (batch.ts_event.tolist(), batch.bid_px.tolist()) == ([MS * 10**6], [[31.2]])


@pytest.mark.parametrize("message", CHANGES, ids=lambda message: re.sub(r"\W+", "-", str(message)[:30]))
def test_changes_of_books_are_refused_where_messages_stand_alone(message: dict[str, Any]) -> None:
    decoded = decode(message)
    assert reasons(decoded) == ["value"]
    assert "snapshots" in decoded.refused[0].detail


def capture(*messages: object, prefix: bytes = b"") -> Decoded:
    """Decode messages as a file, in whatever batches."""
    lines = [prefix + (one if isinstance(one, bytes) else orjson.dumps(one)) + b"\n" for one in messages]
    codec = CaptureCodec()
    whole, single = (
        join([one.decoded for one in codec.batches(Content("c.jsonl", iter([b"".join(lines)])), size)])
        for size in (4_096, 1)
    )
    assert_same_batch(whole.batch, single.batch)
    assert (whole.refused, whole.skipped_unknown) == (single.refused, single.skipped_unknown)
    return whole


def depth(first: int, last: int, bids: list[list[str]], asks: list[list[str]], **more: int) -> dict[str, Any]:
    return {"e": "depthUpdate", "E": MS + last, "s": "FROG", "U": first, "u": last, "b": bids, "a": asks} | more


def okx(action: str, seq: int, before: int, bids: list[list[str]], asks: list[list[str]]) -> dict[str, Any]:
    data = {"bids": bids, "asks": asks, "ts": str(MS + seq), "seqId": seq, "prevSeqId": before}
    return {"arg": {"channel": "books", "instId": "FROG"}, "action": action, "data": [data]}


def bybit(kind: str, number: int, bids: list[list[str]], asks: list[list[str]]) -> dict[str, Any]:
    data = {"s": "FROG", "b": bids, "a": asks, "u": number, "seq": 1}
    return {"topic": "orderbook.50.FROG", "type": kind, "ts": 1, "cts": MS + number, "data": data}


def kraken(kind: str, bids: list[str], asks: list[str], crc: int | None = None) -> bytes:
    sides = (",".join(side) for side in (bids, asks))
    sides = ("[%s]" % side for side in sides)  # noqa: UP031  # braces are JSON's
    text = '{"channel":"book","type":"%s","data":[{"symbol":"FROG","timestamp":"%s","bids":%s,"asks":%s%s}]}'
    return (text % (kind, ISO, *sides, f',"checksum":{crc}' if crc is not None else "")).encode()


def kraken_1(*parts: dict[str, Any]) -> list[Any]:
    return [336, *parts, "book-10", "FROG"]


def changed(number: int, bids: list[list[Any]], asks: list[list[Any]]) -> dict[str, Any]:
    numbers = {"change_id": number, "prev_change_id": number - 1}
    return deribit("book.FROG.raw", type="change", bids=bids, asks=asks, **numbers)


def coinbase(*changes: list[str]) -> dict[str, Any]:
    return {"type": "l2update", "product_id": "FROG", "time": ISO, "changes": list(changes)}


def streams(n: int) -> dict[str, list[Any]]:
    """Return 31.2 x 3 against 31.25 x 2; the bid to 4 and the ask to 31.3 x 1; the bid to 5: numbered from `n`."""
    return {
        "binance": [
            depth(n + 1, n + 5, [["31.0", "1"]], []),
            {"lastUpdateId": n + 7, "E": MS, **SIDES},
            depth(n + 6, n + 8, [["31.2", "4"]], [["31.25", "0.000"], ["31.30", "1"]]),
            depth(n + 9, n + 9, [["31.2", "5"]], []),
        ],
        "binance-futures": [
            {"lastUpdateId": n + 7, "E": MS, **SIDES, "s": "FROG"},
            depth(n + 6, n + 8, [["31.2", "4"]], [["31.25", "0"], ["31.3", "1"]], pu=n + 5),
            depth(n + 12, n + 13, [["31.2", "5"]], [], pu=n + 8),
        ],
        "bybit": [
            bybit("snapshot", n + 7, BIDS, ASKS),
            bybit("delta", n + 8, [["31.2", "4"]], [["31.25", "0"], ["31.3", "1"]]),
            bybit("delta", n + 9, [["31.2", "5"]], []),
        ],
        "okx": [
            okx("snapshot", n + 7, -1, BIDS, ASKS),
            okx("update", n + 9, n + 7, [["31.2", "4", "0", "1"]], [["31.25", "0", "0", "0"], ["31.3", "1", "0", "1"]]),
            okx("update", n + 12, n + 9, [["31.2", "5", "0", "1"]], []),
        ],
        "coinbase": [
            {"type": "snapshot", "product_id": "FROG", "time": ISO, "bids": BIDS, "asks": ASKS},
            coinbase(["buy", "31.2", "4"], ["sell", "31.25", "0"], ["sell", "31.3", "1"]),
            coinbase(["buy", "31.2", "5"]),
        ],
        "deribit": [
            deribit(
                "book.FROG.raw", type="snapshot", change_id=n + 7, bids=[["new", 31.2, 3]], asks=[["new", 31.25, 2]]
            ),
            changed(n + 8, [["change", 31.2, 4]], [["delete", 31.25, 0], ["new", 31.3, 1]]),
            changed(n + 9, [["change", 31.2, 5]], []),
        ],
        "kraken-1": [
            kraken_1({"as": [["31.25", "2", SECONDS]], "bs": [["31.2", "3", SECONDS]]}),
            kraken_1({"a": [["31.25", "0", SECONDS], ["31.30", "1", SECONDS, "r"]]}, {"b": [["31.2", "4", SECONDS]]}),
            kraken_1({"b": [["31.2", "5", SECONDS]]}),
        ],
        "kraken": [
            kraken("snapshot", ['{"price":31.2,"qty":3}'], ['{"price":31.25,"qty":2}']),
            kraken("update", ['{"price":31.2,"qty":4}'], ['{"price":31.25,"qty":0}', '{"price":31.3,"qty":1}']),
            kraken("update", ['{"price":31.2,"qty":5}'], []),
        ],
    }


STREAMS = streams(0)
UNNUMBERED = ("coinbase", "kraken", "kraken-1")


def advanced(number: int, kind: str, *changes: tuple[str, str, str]) -> dict[str, Any]:
    updates = [{"side": side, "price_level": px, "new_quantity": sz} for side, px, sz in changes]
    events = [{"type": kind, "product_id": "FROG", "updates": updates}]
    return {"channel": "l2_data", "timestamp": ISO, "sequence_num": number, "events": events}


def test_missing_message_of_a_numbered_connection_ends_its_books() -> None:
    snapshot = advanced(3, "snapshot", ("offer", "31.25", "2"), ("bid", "31.0", "1"), ("bid", "31.2", "3"))
    change = advanced(4, "update", ("bid", "31.2", "0"))
    heard = {"channel": "heartbeats", "timestamp": ISO, "sequence_num": 5, "events": [{}]}
    decoded = capture(snapshot, change, heard, advanced(6, "update", ("bid", "31.0", "2")))
    assert not decoded.refused
    assert last_book(decoded) == [[31.0], [2.0], [31.25], [2.0]]
    assert reasons(capture(snapshot, change, advanced(6, "update", ("bid", "31.0", "2")))) == ["gap"]


@pytest.mark.parametrize(("time", "lot"), [("2025-10-31T19:59:59Z", 100.0), ("2025-11-03T14:30:00Z", 1.0)])
def test_sizes_of_quotes_of_the_us_tapes_are_shares(time: str, lot: float) -> None:
    quote = {"bp": 31.2, "bs": 3, "ap": 31.25, "as": 2, "t": time}
    message = [{"T": "q", "S": "FROG"} | quote, {"ev": "Q", "sym": "FROG"} | quote]
    batch = decode(message).batch
    assert (batch.bid_sz[:, 0].tolist(), batch.ask_sz[:, 0].tolist()) == ([3 * lot] * 2, [2 * lot] * 2)


def last_book(decoded: Decoded) -> list[Any]:
    batch = decoded.batch
    return [column[-1][: max(1, n)].tolist() for column, n in (
        (batch.bid_px, batch.n_bid[-1]), (batch.bid_sz, batch.n_bid[-1]),
        (batch.ask_px, batch.n_ask[-1]), (batch.ask_sz, batch.n_ask[-1]),
    )]  # fmt: skip


@pytest.mark.parametrize("venue", STREAMS)
def test_changes_of_a_file_give_books(venue: str) -> None:
    decoded = capture(*STREAMS[venue])
    assert not decoded.refused
    assert decoded.batch.symbols == ("FROG",)
    assert len(decoded.batch) == 3
    assert last_book(decoded) == [[31.2], [5.0], [31.3], [1.0]]
    assert last_book(capture(*STREAMS[venue][:-1])) == [[31.2], [4.0], [31.3], [1.0]]


@pytest.mark.parametrize("venue", [venue for venue in STREAMS if venue not in UNNUMBERED])
def test_missing_change_is_a_gap_that_ends_the_book(venue: str) -> None:
    *begin, _, last = STREAMS[venue]
    decoded = capture(*begin, last, last, *streams(100)[venue])
    assert reasons(decoded) == ["gap"]
    empty = [i for i in range(len(decoded.batch)) if not decoded.batch.n_bid[i]]
    assert decoded.batch.offset[empty].tolist() == [decoded.refused[0].offset]
    assert last_book(decoded) == [[31.2], [5.0], [31.3], [1.0]]


@pytest.mark.parametrize("venue", UNNUMBERED)
def test_unreadable_message_ends_a_book_whose_changes_have_no_numbers(venue: str) -> None:
    snapshot, change, last = STREAMS[venue]
    for broken, reason in ((b"{", "truncated"), (b"{" + b" " * 1_000_001, "too_large")):
        decoded = capture(snapshot, broken, change, last)
        assert reasons(decoded) == [reason, "gap"]
        assert decoded.batch.n_bid.tolist() == [1, 0]
    assert reasons(capture(STREAMS["okx"][0], b"{", *STREAMS["okx"][1:])) == ["truncated"]


def test_fewer_levels_of_a_prevailing_book_are_skipped() -> None:
    best = BOOKS["binance-futures"]
    decoded = capture(best, *STREAMS["binance"], best, BOOKS["binance-depth20"])
    assert (len(decoded.batch), decoded.skipped_unknown) == (4, 3)


def test_books_of_okx_have_their_checksum() -> None:
    """The example of OKX's documentation."""
    bids = [["3366.1", "7"], ["3366", "6"]]
    asks = [["3366.8", "9"], ["3368", "8"]]
    assert okx_checksum([tuple(one) for one in bids], [tuple(one) for one in asks]) == -1881014294
    for crc, found in ((-1881014294, []), (5, ["gap"])):
        message = okx("snapshot", 7, -1, bids, asks)
        message["data"][0]["checksum"] = crc
        assert reasons(capture(message)) == found


def test_books_of_kraken_have_their_checksum() -> None:
    """Digits without point and leading zeros, asks before bids."""
    text = "531" + "2500" + "52" + "100"
    crc = zlib.crc32(text.encode())
    bids, asks = ['{"price":0.052,"qty":1.00}'], ['{"price":0.0531,"qty":25.00}']
    assert reasons(capture(kraken("snapshot", bids, asks, crc))) == []
    assert reasons(capture(kraken("snapshot", bids, asks, crc + 1))) == ["gap"]


def test_built_book_of_a_recorded_day_equals_the_best_prices_of_its_venue(data_dir: Path) -> None:
    """Binance numbers best prices with the changes: after each change, both tell the same best price and size."""
    path = data_dir / "binance_spot_ethusdt_2024-08-08_ws.jsonl.gz"
    best: dict[int, tuple[str, ...]] = {}
    last: dict[int, int] = {}
    with gzip.open(path, "rb") as file:
        lines = file.readlines()
    for number, line in enumerate(lines, 1):
        data = orjson.loads(line.partition(b" ")[2]).get("data", {})
        if "B" in data:
            best[data["u"]] = tuple(data[name] for name in "bBaA")
        elif data.get("e") == "depthUpdate":
            last[number] = data["u"]
    ids = sorted(best)
    decoded = join(list(read_ticks(path)))
    assert not decoded.refused
    batch = decoded.batch
    n_checked = 0
    for row in np.flatnonzero(np.isin(batch.offset, list(last))):
        at = bisect_right(ids, last[int(batch.offset[row])])
        if at and at < len(ids):
            found = [column[row, 0] for column in (batch.bid_px, batch.bid_sz, batch.ask_px, batch.ask_sz)]
            assert found == [float(text) for text in best[ids[at - 1]]]
            n_checked += 1
    assert n_checked > 3_000


@pytest.mark.parametrize("name", BOOKS)
def test_time_of_the_capture_goes_before_that_of_the_venue(name: str) -> None:
    batch = decode(BOOKS[name], b"%d " % (T0 - 10**9)).batch
    assert (batch.ts_event.tolist(), batch.ts_record.tolist()) == ([T0 - 10**9], [(T0 - 10**9) // 10**6 * 10**6])


@pytest.mark.parametrize("message", [{"result": None, "id": 1}, {"event": "subscribe"}, {"channel": "heartbeat"}])
def test_other_messages_are_counted_and_skipped(message: dict[str, Any]) -> None:
    decoded = decode(message)
    assert (decoded.skipped_unknown, len(decoded.batch), decoded.refused) == (1, 0, [])


def test_snapshot_without_a_symbol_takes_the_one_that_is_given() -> None:
    message = {"lastUpdateId": 1, "bids": BIDS, "asks": ASKS}
    assert reasons(decode(message, b"%d " % T0)) == ["missing_field"]
    assert decode(message, b"%d " % T0, symbol="FROG").batch.symbols == ("FROG",)
    assert reasons(decode(message, symbol="FROG")) == ["missing_field"]


def test_snapshot_before_all_that_names_a_symbol_is_of_the_only_one() -> None:
    snapshot = b"%d " % T0 + orjson.dumps({"lastUpdateId": 7, **SIDES})
    change = depth(6, 8, [["31.2", "4"]], [])
    assert capture(snapshot, change).batch.symbols == ("FROG",)
    assert len(capture(snapshot, change).batch) == 2
    assert reasons(capture(snapshot, change, change | {"s": "ARL"}))[0] == "missing_field"
    # Whose snapshot it is, is not known either where the message before it names one of two.
    of_two = capture(change, snapshot, change | {"s": "ARL"})
    assert "missing_field" in reasons(of_two)
    assert not of_two.batch.n_bid.any()


def test_books_of_kraken_1_have_their_checksum() -> None:
    snapshot, change, _ = STREAMS["kraken-1"]
    crc = zlib.crc32(b"313013124")
    good, bad = ([*change[:2], change[2] | {"c": str(value)}, *change[3:]] for value in (crc, crc + 1))
    assert not capture(snapshot, good).refused
    assert reasons(capture(snapshot, bad)) == ["gap"]


def test_deeper_book_than_the_limit_is_refused() -> None:
    message = BOOKS["ccxt"] | {"bids": [[1, 1]] * 3}
    assert reasons(decode(message, limits=Limits(max_levels=2))) == ["too_deep"]


def test_capture_is_recognised_among_other_json(tmp_path: Path) -> None:
    path = tmp_path / "frog_ws.jsonl"
    path.write_bytes(
        b"".join(orjson.dumps(message) + b"\n" for message in [{"result": None}, BOOKS["ccxt"], BOOKS["okx"]])
    )
    decoded = join(list(read_ticks(path)))
    assert (len(decoded.batch), decoded.skipped_unknown) == (2, 1)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda ns, message: b"%d %s" % (ns, orjson.dumps(message)),
        lambda _, message: b"2025-04-03T13:30:00.125395235Z " + orjson.dumps(message),
        lambda ns, message: orjson.dumps({"ts": ns, "data": message}),
        lambda ns, message: orjson.dumps({"exchange": "x", "local_timestamp": str(ns), "message": message}),
        lambda ns, message: orjson.dumps({"received": ns, "raw": orjson.dumps(message).decode()}),
        lambda _, message: orjson.dumps({"timestamp": "2025-04-03T13:30:00.125395235Z", "payload": message}),
    ],
)
def test_the_time_of_capture_may_be_written_before_or_around_a_message(wrap: Any) -> None:
    message = {"u": 1, "s": "BTCUSDT", "b": "100", "B": "1", "a": "101", "A": "2"}
    line = wrap(T0, message)
    assert CaptureCodec.detects(Content("capture.jsonl", iter([line + b"\n"])).head)
    (decoded,) = [CaptureCodec().decode_columns([line], [0], [-1])]
    assert not decoded.refused
    assert decoded.batch.ts_event.tolist() == [T0]
    assert decoded.batch.bid_px[0, 0] == 100.0


def test_the_time_around_a_message_may_be_seconds() -> None:
    message = {"u": 1, "s": "BTCUSDT", "b": "100", "B": "1", "a": "101", "A": "2"}
    decoded = CaptureCodec().decode_columns([orjson.dumps({"time": 1743687000.125, "msg": message})], [0], [-1])
    assert decoded.batch.ts_event.tolist() == [1_743_687_000_125_000_000]


@pytest.mark.parametrize("unit", ["ns", "ms"])
def test_the_time_around_a_message_is_no_other_than_a_time(unit: str) -> None:
    message = {"u": 1, "s": "BTCUSDT", "b": "100", "B": "1", "a": "101", "A": "2"}
    codec = CaptureCodec(Limits(time_unit=unit))
    times = [1e30, -1e30, 1.7e18, 9.3e9, 0.5, -5.5, True, {}, 1_743_687_000_123.5]
    values = [orjson.dumps({"time": time, "msg": message}) for time in times]
    decoded = codec.decode_columns(values, range(len(values)), [-1] * len(values))
    in_ms = unit == "ms"
    assert decoded.batch.ts_event.tolist() == [1_743_687_000_123_500_000] * in_ms
    assert len(decoded.refused) == len(values) - in_ms


_ODD: list[Any] = [
    None, True, 0, -1, 2**63, 2**64 - 1, -(2**63), 1e30, -1e30, 1.7e18, 1_743_687_000_123.5, 0.5, 1e-320, "", "x",
    "-9999999999999999999", "9999999999999999999", "1" * 500, "1e400", "NaN", "é" * 40, "9999-99-99T00:00:00Z", [], {},
    [[1]], [{}],
]  # fmt: skip


def _changed(message: Any) -> Iterator[Any]:
    """Yield a message with each of its values replaced by each odd one."""
    yield from _ODD
    parts = message.items() if isinstance(message, dict) else enumerate(message) if isinstance(message, list) else ()
    for at, part in parts:
        for odd in _changed(part):
            made = message.copy()
            made[at] = odd
            yield made


@pytest.mark.parametrize(
    "messages",
    [
        *([one] for one in BOOKS.values()),
        *([one] for one, _ in TRADES.values()),
        *(STREAMS.values()),
        [{"ts": T0, "data": BOOKS["ccxt"]}],
        [{"type": "book_end", "symbol": "FROG"}],
    ],
)
def test_nothing_in_a_message_raises_and_what_it_leaves_can_be_saved(messages: list[Any]) -> None:
    whole = [orjson.loads(one) if isinstance(one, bytes) else one for one in messages]
    for i, message in enumerate(whole):
        for odd in _changed(message):
            values = [orjson.dumps(one) for one in [*whole[:i], odd, *whole[i + 1 :]]]
            n = len(values)
            codec, other = CaptureCodec().live(), CaptureCodec().live()
            codec.decode_columns(values, range(n), [0] * n, [b"FROG"] * n)
            assert codec.books is not None
            assert other.books is not None
            other.books.load({name: value for name, value in codec.books.saved().items() if value is not None})
