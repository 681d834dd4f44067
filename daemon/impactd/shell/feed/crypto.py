"""Live feeds of venues for coins: websocket messages, as they came, with the time of receipt before them.

The messages keep the venue's numbers and checksums, by which the service builds books and finds gaps
(`impactd.wire.ticks.captures`). The bridge checks them with the same code: where a change is missing, or the
connection is lost or silent, it ends the books, connects again and begins with new snapshots.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson

from impactd.shell.feed.reconnect import FIRST_WAIT_S, Lost, keep_following
from impactd.shell.feed.sink import FeedRecord, Sink, book_end
from impactd.shell.kafka.errors import FatalError
from impactd.shell.kafka.tasks import end
from impactd.wire.codec import FieldError, Limits
from impactd.wire.ticks.captures.codec import CaptureCodec, symbols_in

#: A connection without a message for this long is taken for lost; venues send a heartbeat or trades more often.
_SILENCE_S: Final = 30.0
_PING_S: Final = 15.0
_MAX_BYTES: Final = 64 * 1024 * 1024
_SEQUENCE: Final = re.compile(rb'"sequence_num"\s*:\s*(\d{1,18})\b')
#: Messages of a connection by which a venue refuses a subscription.
_REFUSALS: Final = (b'"error"', b'"success":false', b'"success": false')


@dataclass(frozen=True, slots=True)
class Venue:
    """How a venue's feed is asked for."""

    url: str
    #: From symbols to what follows `url`.
    path: Callable[[Sequence[str]], str]
    #: From symbols to the messages that are sent after connecting.
    subscriptions: Callable[[Sequence[str]], list[Any]]
    #: Message that keeps the connection, where the venue wants one of its own.
    ping: str | None = None
    #: Address of a symbol's snapshot, where snapshots come on request.
    snapshot: str | None = None


def _streams(trades: str) -> Callable[[Sequence[str]], str]:
    def path(symbols: Sequence[str]) -> str:
        return "/".join(f"{symbol.lower()}@depth@100ms/{symbol.lower()}@{trades}" for symbol in symbols)

    return path


def _bybit(symbols: Sequence[str]) -> list[Any]:
    topics = [topic for symbol in symbols for topic in (f"orderbook.200.{symbol}", f"publicTrade.{symbol}")]
    # Ten topics in one request, as the spot market takes.
    return [{"op": "subscribe", "args": topics[at : at + 10]} for at in range(0, len(topics), 10)]


def _okx(symbols: Sequence[str]) -> list[Any]:
    channels = ({"channel": channel, "instId": symbol} for symbol in symbols for channel in ("books", "trades"))
    return [{"op": "subscribe", "args": list(channels)}]


def _kraken(symbols: Sequence[str]) -> list[Any]:
    book = {"channel": "book", "symbol": list(symbols), "depth": 100}
    trade = {"channel": "trade", "symbol": list(symbols), "snapshot": False}
    return [{"method": "subscribe", "params": params} for params in (book, trade)]


def _coinbase(symbols: Sequence[str]) -> list[Any]:
    channels = ("heartbeats", "level2", "market_trades")
    return [{"type": "subscribe", "product_ids": list(symbols), "channel": channel} for channel in channels]


def _nothing(_: Sequence[str]) -> Any:
    return ""


def _none(_: Sequence[str]) -> list[Any]:
    return []


VENUES: Final = {
    "binance": Venue(
        "wss://stream.binance.com:9443/stream?streams=",
        _streams("trade"),
        _none,
        snapshot="https://api.binance.com/api/v3/depth?limit=1000&symbol=",
    ),
    "binance-futures": Venue(
        "wss://fstream.binance.com/stream?streams=",
        _streams("aggTrade"),
        _none,
        snapshot="https://fapi.binance.com/fapi/v1/depth?limit=1000&symbol=",
    ),
    "bybit-spot": Venue("wss://stream.bybit.com/v5/public/spot", _nothing, _bybit, ping='{"op":"ping"}'),
    "bybit-linear": Venue("wss://stream.bybit.com/v5/public/linear", _nothing, _bybit, ping='{"op":"ping"}'),
    "coinbase": Venue("wss://advanced-trade-ws.coinbase.com", _nothing, _coinbase),
    "kraken": Venue("wss://ws.kraken.com/v2", _nothing, _kraken, ping='{"method":"ping"}'),
    "okx": Venue("wss://ws.okx.com:8443/ws/v5/public", _nothing, _okx, ping="ping"),
}


class _ResyncError(Exception):
    """Changes are missing; the connection begins again."""


class CryptoFeed:
    """The feed of one venue.

    Parameters
    ----------
    symbols : sequence of str
        As the venue writes them.
    limits : Limits
        Of the service that reads the topic.
    first_wait_s : float, optional
        As in `keep_following`.
    """

    def __init__(
        self, venue: Venue, symbols: Sequence[str], sink: Sink, limits: Limits, first_wait_s: float = FIRST_WAIT_S
    ) -> None:
        self._venue = venue
        self._symbols = tuple(symbols)
        self._sink = sink
        self._limits = limits
        self._first_wait_s = first_wait_s
        #: Of the connection: messages that were sent on, and the latest number of one.
        self._received = 0
        self._sequence: int | None = None

    async def run(self) -> None:
        """Follow the feed until cancelled.

        Raises
        ------
        FatalError
            If the venue refuses the subscription, or the broker the records.
        """
        async with aiohttp.ClientSession() as session:
            await keep_following(lambda: self._connection(session), self._ends, self._sink, self._first_wait_s)

    def _ends(self) -> list[FeedRecord]:
        return [book_end(symbol, time.time_ns()) for symbol in self._symbols]

    async def _connection(self, session: aiohttp.ClientSession) -> Lost:
        self._received, self._sequence = 0, None
        try:
            await self._follow(session)
            why = "the venue closed the connection"
        except (aiohttp.ClientError, OSError, TimeoutError, _ResyncError) as error:
            why = str(error) or type(error).__name__
        # More than a snapshot of each symbol, which every connection begins with.
        return Lost(why, self._received > len(self._symbols))

    async def _follow(self, session: aiohttp.ClientSession) -> None:
        venue = self._venue
        codec = CaptureCodec(self._limits).live()
        begun: set[str] = set()
        timeout = aiohttp.ClientWSTimeout(ws_receive=_SILENCE_S, ws_close=2.0)
        url = venue.url + venue.path(self._symbols)
        async with session.ws_connect(url, timeout=timeout, max_msg_size=_MAX_BYTES) as connection:
            for message in venue.subscriptions(self._symbols):
                await connection.send_str(orjson.dumps(message).decode())
            pings = [] if venue.ping is None else [asyncio.create_task(_ping(connection, venue.ping))]
            answers = []
            if venue.snapshot is not None:
                symbols = [symbol.upper() for symbol in self._symbols]
                answers = [asyncio.create_task(_snapshot(session, venue.snapshot, symbol)) for symbol in symbols]
            try:
                while True:
                    message = await connection.receive()
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        return
                    await self._take(codec, begun, message.data.encode())
                    for answer in [one for one in answers if one.done()]:
                        answers.remove(answer)
                        await self._put(codec, begun, *answer.result())
            finally:
                await end(*pings, *answers)

    async def _take(self, codec: CaptureCodec, begun: set[str], text: bytes) -> None:
        if text == b"pong":
            return
        match = _SEQUENCE.search(text)
        if match is not None:
            before, self._sequence = self._sequence, int(match[1])
            if before is not None and self._sequence != before + 1:
                raise _ResyncError(f"messages between sequence_num {before} and {self._sequence} are missing")
        try:
            symbols = symbols_in(text)
        except FieldError as error:
            raise _ResyncError(f"a message that cannot be read: {error}") from error
        if not symbols and any(mark in text for mark in _REFUSALS):
            raise FatalError(f"the venue refuses: {text[:300].decode(errors='replace')}")
        for symbol in symbols:
            await self._put(codec, begun, symbol, text)

    async def _put(self, codec: CaptureCodec, begun: set[str], symbol: str, text: bytes) -> None:
        now = time.time_ns()
        value = b"%d %s" % (now, text)
        decoded = codec.decode_columns([value], [0], [now], [symbol.encode()])
        # A refusal with a row ends a book; one without, before the first snapshot, does not.
        if decoded.refused and (symbol in begun or len(decoded.batch)):
            raise _ResyncError(f"{symbol}: {decoded.refused[0].detail}")
        if codec.books is not None and codec.books.stands(symbol):
            begun.add(symbol)
        await self._sink.put(FeedRecord(symbol, "capture-json", value, now))
        self._received += 1


async def _snapshot(session: aiohttp.ClientSession, url: str, symbol: str) -> tuple[str, bytes]:
    async with session.get(url + symbol) as response:
        response.raise_for_status()
        return symbol, await response.read()


async def _ping(connection: aiohttp.ClientWebSocketResponse, text: str) -> None:
    while True:
        await asyncio.sleep(_PING_S)
        await connection.send_str(text)
