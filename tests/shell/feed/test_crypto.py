"""The crypto bridge against a local venue that drops connections and loses messages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiohttp import web

from impactd.shell.feed.crypto import VENUES, CryptoFeed, Venue
from impactd.shell.feed.sink import FeedRecord
from impactd.shell.kafka.errors import FatalError
from impactd.wire.codec import Limits
from tests.shell.feed.kept import Kept, kinds


async def serve(connections: Sequence[Sequence[Any]], n: int, venue: Venue, symbols: Sequence[str]) -> list[FeedRecord]:
    """Run a feed against a venue that sends the messages of each connection and then closes it; the last stays open."""
    at = 0

    async def stream(request: web.Request) -> web.WebSocketResponse:
        nonlocal at
        mine, at = connections[min(at, len(connections) - 1)], at + 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if venue.subscriptions(symbols):
            await socket.receive()
        for message in mine:
            await socket.send_str(message if isinstance(message, str) else orjson.dumps(message).decode())
            await asyncio.sleep(0.01)
        if at >= len(connections):
            await socket.receive()
        return socket

    async def snapshot(request: web.Request) -> web.Response:
        last = 10 * at
        return web.json_response({"lastUpdateId": last, "bids": [["9", "1"]], "asks": [["11", "2"]]})

    app = web.Application()
    app.router.add_get("/ws", stream)
    app.router.add_get("/depth", snapshot)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    local = replace(
        venue,
        url=f"http://{host}:{port}/ws?streams=",
        snapshot=None if venue.snapshot is None else f"http://{host}:{port}/depth?symbol=",
    )
    sink = Kept(n)
    try:
        await sink.fill(CryptoFeed(local, symbols, sink, Limits(), first_wait_s=0.01).run())
    finally:
        await runner.cleanup()
    return sink.records


def depth(first: int) -> dict[str, Any]:
    data = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": first, "u": first, "b": [["8", "3"]], "a": []}
    return {"stream": "btcusdt@depth@100ms", "data": data}


async def test_a_closed_connection_ends_the_book_and_begins_with_a_new_snapshot() -> None:
    connections = [[depth(k) for k in range(11, 16)], [depth(k) for k in range(21, 40)]]
    records = await serve(connections, 20, VENUES["binance"], ["BTCUSDT"])
    seen = kinds(records)
    assert {record.symbol for record in records} == {"BTCUSDT"}
    assert "refused" not in seen
    end = seen.index("end")
    assert "book" in seen[:end]
    assert "book" in seen[end:]


async def test_a_lost_message_is_found_and_the_books_begin_again() -> None:
    connections = [[depth(11), depth(12), depth(14), depth(15)], [depth(k) for k in range(21, 40)]]
    records = await serve(connections, 15, VENUES["binance"], ["BTCUSDT"])
    seen = kinds(records)
    assert "refused" not in seen
    assert seen.count("end") >= 1
    assert seen[-1] == "book"


def coinbase(number: int, kind: str) -> dict[str, Any]:
    updates = [{"side": side, "price_level": px, "new_quantity": "2"} for side, px in (("bid", "9"), ("offer", "11"))]
    events = [{"type": kind, "product_id": "BTC-USD", "updates": updates}]
    time = "2025-04-03T13:30:00Z"
    return {"channel": "l2_data", "timestamp": time, "sequence_num": number, "events": events}


async def test_a_gap_of_a_connections_numbers_begins_again() -> None:
    good = [coinbase(0, "snapshot"), coinbase(1, "update")]
    connections = [[*good, coinbase(3, "update")], [*good, coinbase(2, "update"), coinbase(3, "update")]]
    records = await serve(connections, 7, VENUES["coinbase"], ["BTC-USD"])
    assert kinds(records) == ["book", "book", "end", "book", "book", "book", "book"]


async def test_a_refused_subscription_ends_the_feed() -> None:
    refusal = {"event": "error", "code": "60018", "msg": "Wrong URL or channel"}
    with pytest.raises(FatalError, match="60018"):
        await serve([[refusal]], 5, VENUES["okx"], ["BTC-USDT"])
