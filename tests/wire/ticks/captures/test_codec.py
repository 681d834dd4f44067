"""Captured messages: each venue's shapes, and which clock is taken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from impactd.core.inputs.ticks import BOOK, TRADE
from impactd.shell.recorded import read_ticks
from impactd.wire.codec import Decoded, Limits
from impactd.wire.decoder import join
from impactd.wire.ticks.captures.codec import CaptureCodec
from tests.wire.helpers import T0, decode_in_batches, reasons

MS = T0 // 10**6
ISO = "2025-04-03T13:30:00.125Z"
BIDS, ASKS = [["31.2", "3"]], [["31.25", "2"]]
SIDES = {"bids": BIDS, "asks": ASKS}
OBJECTS = {"bids": [{"price": 31.2, "qty": 3}], "asks": [{"price": 31.25, "qty": 2}]}

BOOKS: dict[str, dict[str, Any]] = {
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
    "ccxt": {"symbol": "FROG", "timestamp": MS, "datetime": ISO, "nonce": None, "bids": [[31.2, 3, 7]], "asks": ASKS},
}  # fmt: skip
TRADES: dict[str, tuple[dict[str, Any], int]] = {
    "binance": ({"e": "aggTrade", "E": MS, "s": "FROG", "p": "31.2", "q": "3", "T": MS, "m": True}, -1),
    "bybit": ({"topic": "publicTrade.FROG", "data": [{"T": MS, "s": "FROG", "S": "Buy", "v": "3", "p": "31.2"}]}, 1),
    "okx": ({"arg": {"channel": "trades", "instId": "FROG"},
             "data": [{"instId": "FROG", "px": "31.2", "sz": "3", "side": "sell", "ts": str(MS)}]}, -1),
    "kraken": ({"channel": "trade", "type": "update",
                "data": [{"symbol": "FROG", "side": "buy", "price": 31.2, "qty": 3, "timestamp": ISO}]}, 1),
    "coinbase": ({"type": "match", "product_id": "FROG", "time": ISO, "side": "buy", "price": "31.2", "size": "3"}, -1),
}  # fmt: skip
CHANGES: list[dict[str, Any]] = [
    {
        "stream": "frog@depth@100ms",
        "data": {"e": "depthUpdate", "E": MS, "s": "FROG", "U": 1, "u": 2, "b": [], "a": []},
    },
    {"topic": "orderbook.50.FROG", "type": "delta", "ts": MS, "data": {"s": "FROG", "b": [], "a": []}},
    {"arg": {"channel": "books", "instId": "FROG"}, "action": "update", "data": [{"ts": str(MS)}]},
    {"channel": "book", "type": "update", "data": [{"symbol": "FROG", "bids": [], "asks": []}]},
    {"type": "l2update", "product_id": "FROG", "time": ISO, "changes": []},
]


def decode(message: object, prefix: bytes = b"", **options: Any) -> Decoded:
    return decode_in_batches(CaptureCodec(**options), [prefix + orjson.dumps(message)], 1)


@pytest.mark.parametrize("name", BOOKS)
def test_book_of_a_venue_is_read(name: str) -> None:
    decoded = decode(BOOKS[name])
    assert not decoded.refused
    batch = decoded.batch
    assert (batch.symbols, batch.kind.tolist(), batch.ts_event.tolist()) == (("FROG",), [BOOK], [MS * 10**6])
    assert [column.tolist() for column in (batch.bid_px, batch.bid_sz, batch.ask_px, batch.ask_sz)] == [
        [[31.2]], [[3.0]], [[31.25]], [[2.0]]
    ]  # fmt: skip


@pytest.mark.parametrize("name", TRADES)
def test_trade_of_a_venue_is_read(name: str) -> None:
    message, aggressor = TRADES[name]
    batch = decode(message).batch
    assert (batch.symbols, batch.kind.tolist(), batch.ts_event.tolist()) == (("FROG",), [TRADE], [MS * 10**6])
    assert (batch.px.tolist(), batch.qty.tolist(), batch.aggressor.tolist()) == ([31.2], [3.0], [aggressor])


@pytest.mark.parametrize("message", CHANGES, ids=lambda message: re.sub(r"\W+", "-", str(message)[:30]))
def test_changes_of_books_are_refused_with_what_to_capture(message: dict[str, Any]) -> None:
    decoded = decode(message)
    assert reasons(decoded) == ["value"]
    assert "capture" in decoded.refused[0].detail


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


def test_deeper_book_than_the_limit_is_refused() -> None:
    message = BOOKS["ccxt"] | {"bids": [[1, 1]] * 3}
    assert reasons(decode(message, limits=Limits(max_levels=2))) == ["too_deep"]


def test_capture_is_recognised_among_other_json(tmp_path: Path) -> None:
    path = tmp_path / "frog_ws.jsonl"
    path.write_bytes(b"".join(orjson.dumps(message) + b"\n" for message in [{"result": None}, *BOOKS.values()]))
    decoded = join(list(read_ticks(path)))
    assert (len(decoded.batch), decoded.skipped_unknown) == (len(BOOKS), 1)
