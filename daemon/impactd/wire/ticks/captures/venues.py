"""Recognises the messages of each venue: books, trades, changes of books, or none of these.

Each function takes a message and returns what it holds, or None where it is not of that venue. Times of venues are
milliseconds or ISO 8601 text.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, NamedTuple

from impactd.wire.codec import FieldError, shown
from impactd.wire.fields import is_blank, parse_number, require
from impactd.wire.ticks.building.builder import Texts

Levels = tuple[list[float], list[float]]


class Book(NamedTuple):
    """A book; `time` as the venue writes it, None where it does not."""

    symbol: Any
    time: Any
    bids: Any
    asks: Any
    #: Whether it is a quote of the US tapes, whose sizes count round lots (`impactd.wire.ticks.round_lots`).
    is_quote: bool = False


class Trade(NamedTuple):
    """A trade; `aggressor` is 1, -1 or 0."""

    symbol: Any
    time: Any
    px: Any
    qty: Any
    aggressor: int


class Delta(NamedTuple):
    """A snapshot that changes follow, or changes; see `impactd.wire.ticks.building.builder.Change`."""

    symbol: Any
    time: Any
    bids: Any
    asks: Any
    stream: str
    is_snapshot: bool
    first: Any = None
    last: Any = None
    prev: Any = None
    waits: bool = False
    depths: tuple[int, ...] = ()
    checksum: tuple[Any, Callable[[Texts, Texts], int], int] | None = None


class End(NamedTuple):
    """The end of a book: its connection was lost, or changes of it."""

    symbol: Any
    time: Any = None


#: What a message holds, in order; empty for those that have neither books nor trades.
Found = list[Book | Trade | Delta | End]
Message = dict[str, Any]

_SIDES: Final = {"buy": 1, "sell": -1}
#: Streams of Binance that have whole books of a few levels.
_PARTIAL: Final = re.compile(r"@depth(5|10|20)\b")
#: Fields of messages with bids and asks that are no books of ccxt's.
_OF_OTHERS: Final = frozenset({"type", "lastUpdateId", "arg", "topic", "channel", "e", "ts_event"})
#: Levels that a book of Kraken's is subscribed to with.
_KRAKEN_DEPTHS: Final = (10, 25, 100, 500, 1_000)


def _sign(side: object) -> int:
    return _SIDES.get(side.lower(), 0) if isinstance(side, str) else 0


def _objects(value: object, field: str) -> list[dict[str, Any]]:
    items = value if isinstance(value, list) else [value]
    found = [item for item in items if isinstance(item, dict)]
    if len(found) < len(items):
        raise FieldError("type", f"{field}: {shown(value)} holds no objects; send the venue's own messages")
    return found


def binance(message: Message) -> Found | None:
    """Binance, spot and futures: depth, bookTicker, trade and aggTrade, alone or in a combined stream."""
    stream, data = "", message
    if isinstance(message.get("stream"), str) and isinstance(message.get("data"), dict):
        stream, data = message["stream"], message["data"]
    symbol = data.get("s") or stream.partition("@")[0].upper() or None
    kind = data.get("e")
    time = data.get("T") or data.get("E")
    if kind == "depthUpdate" and not _PARTIAL.search(stream):
        return [
            Delta(
                symbol,
                time,
                data.get("b"),
                data.get("a"),
                "depth",
                is_snapshot=False,
                first=require(data, "U"),
                last=require(data, "u"),
                prev=data.get("pu"),
                waits=True,
            )
        ]
    if kind in ("trade", "aggTrade"):
        return [Trade(symbol, time, require(data, "p"), require(data, "q"), -1 if data.get("m") else 1)]
    if {"b", "B", "a", "A"} <= data.keys():
        return [Book(symbol, time, [[data["b"], data["B"]]], [[data["a"], data["A"]]])]
    if "lastUpdateId" in data and stream:
        return [Book(symbol, time, data.get("bids"), data.get("asks"))]
    if "lastUpdateId" in data:
        # The answer to a request for a snapshot.
        sides = data.get("bids"), data.get("asks")
        return [Delta(symbol, time, *sides, "depth", is_snapshot=True, last=data["lastUpdateId"], waits=True)]
    if kind == "depthUpdate":
        return [Book(symbol, time, data.get("b"), data.get("a"))]
    return [] if stream or ("e" in data and "E" in data) else None


def bridge(message: Message) -> Found | None:
    """Read what `impactd feed` writes among the messages of a venue: the end of a book."""
    return [End(require(message, "symbol"))] if message.get("type") == "book_end" else None


def bybit(message: Message) -> Found | None:
    """Bybit: orderbook and publicTrade."""
    topic = message.get("topic")
    if not isinstance(topic, str):
        return None
    if topic.startswith("orderbook."):
        data = require(message, "data")
        (book,) = _objects(data, "data")[:1] or [{}]
        read = book.get("s"), message.get("cts") or message.get("ts"), book.get("b"), book.get("a")
        is_snapshot = message.get("type") == "snapshot"
        if is_snapshot and topic.startswith("orderbook.1."):
            return [Book(*read)]
        number = book.get("u")
        return [Delta(*read, topic, is_snapshot=is_snapshot, first=None if is_snapshot else number, last=number)]
    if topic.startswith("publicTrade."):
        trades = _objects(require(message, "data"), "data")
        return [Trade(one.get("s"), one.get("T"), one.get("p"), one.get("v"), _sign(one.get("S"))) for one in trades]
    return []


def okx(message: Message) -> Found | None:
    """OKX: books of every depth, bbo-tbt, and trades."""
    arg = message.get("arg")
    if not isinstance(arg, dict) or "channel" not in arg:
        return None
    channel = str(arg["channel"])
    if "data" not in message:
        return []
    data = _objects(message["data"], "data")
    if channel.startswith(("books", "bbo")):
        if "action" not in message:
            return [Book(arg.get("instId"), one.get("ts"), one.get("bids"), one.get("asks")) for one in data]
        is_snapshot = message["action"] == "snapshot"
        return [
            Delta(
                arg.get("instId"),
                one.get("ts"),
                one.get("bids"),
                one.get("asks"),
                channel,
                is_snapshot=is_snapshot,
                last=one.get("seqId"),
                prev=None if is_snapshot else one.get("prevSeqId"),
                checksum=(one["checksum"], okx_checksum, 25) if one.get("checksum") else None,
            )
            for one in data
        ]
    if channel.startswith("trades"):
        return [
            Trade(one.get("instId"), one.get("ts"), one.get("px"), one.get("sz"), _sign(one.get("side")))
            for one in data
        ]
    return []


def kraken(message: Message) -> Found | None:
    """Kraken, version 2: book, ticker and trade."""
    channel = message.get("channel")
    if not isinstance(channel, str) or "arg" in message:
        return None
    if "data" not in message or channel in ("heartbeat", "status"):
        return []
    data = _objects(message["data"], "data")
    if channel == "book":
        return [
            Delta(
                one.get("symbol"),
                one.get("timestamp"),
                one.get("bids"),
                one.get("asks"),
                channel,
                is_snapshot=message.get("type") == "snapshot",
                depths=_KRAKEN_DEPTHS,
                checksum=(one["checksum"], kraken_checksum, 10) if "checksum" in one else None,
            )
            for one in data
        ]
    if channel == "ticker":
        return [
            Book(
                one.get("symbol"),
                one.get("timestamp"),
                [[one.get("bid"), one.get("bid_qty")]],
                [[one.get("ask"), one.get("ask_qty")]],
            )
            for one in data
        ]
    if channel == "trade":
        return [
            Trade(one.get("symbol"), one.get("timestamp"), one.get("price"), one.get("qty"), _sign(one.get("side")))
            for one in data
        ]
    return []


def kraken_1(message: object) -> Found | None:
    """Kraken, version 1: book, spread and trade, lists of a channel's number, data, its name and the pair."""
    if not (isinstance(message, list) and len(message) >= 4 and isinstance(message[-2], str)):
        return None
    channel, pair, parts = message[-2], message[-1], message[1:-2]
    if type(message[0]) is not int or not isinstance(pair, str):
        return None
    if channel.startswith("book-"):
        return [_kraken_1_book(channel, pair, _objects(parts, "data"))]
    rows = parts if channel == "spread" else parts[0]
    if channel not in ("spread", "trade") or not isinstance(rows, list):
        return []
    if not all(isinstance(row, list) and len(row) >= (5 if channel == "spread" else 4) for row in rows):
        raise FieldError(
            "type", f"{channel}: {shown(parts)} is not a list of its fields; send the venue's own messages"
        )
    if channel == "spread":
        return [Book(pair, _of_seconds(row[2]), [[row[0], row[3]]], [[row[1], row[4]]]) for row in rows]
    return [Trade(pair, _of_seconds(row[2]), row[0], row[1], {"b": 1, "s": -1}.get(str(row[3]), 0)) for row in rows]


def _kraken_1_book(channel: str, pair: str, parts: list[dict[str, Any]]) -> Delta:
    """Return a snapshot (`as`, `bs`) or changes (`a`, `b`, in one part or two)."""
    held = {name: value for part in parts for name, value in part.items()}
    is_snapshot = "as" in held or "bs" in held
    bids, asks = (held.get(name, []) for name in (("bs", "as") if is_snapshot else ("b", "a")))
    times = [
        str(level[2])
        for side in (bids, asks)
        if isinstance(side, list)
        for level in side
        if isinstance(level, list) and level[2:]
    ]
    checksum = (held["c"], kraken_checksum, 10) if "c" in held else None
    time = _of_seconds(max(times, key=_seconds)) if times else None
    depths = tuple(depth for depth in _KRAKEN_DEPTHS if channel == f"book-{depth}")
    return Delta(pair, time, bids, asks, channel, is_snapshot=is_snapshot, depths=depths, checksum=checksum)


def _seconds(text: str) -> float:
    return parse_number(text, "time")


def _of_seconds(text: object) -> str:
    """Return a time in seconds with a point, as nanoseconds."""
    _seconds(str(text))
    return str(int(Decimal(str(text)) * 10**9))


def deribit(message: Message) -> Found | None:
    """Deribit: book, quote, ticker and trades, in notices of subscriptions."""
    if message.get("jsonrpc") != "2.0":
        return None
    params = message.get("params")
    channel = params.get("channel") if isinstance(params, dict) else None
    if not isinstance(params, dict) or not isinstance(channel, str):
        return []
    kind = channel.partition(".")[0]
    data = _objects(params.get("data"), "data") if kind in ("book", "quote", "ticker", "trades") else []
    return [item for one in data for item in _deribit(kind, channel, one)]


def _deribit(kind: str, channel: str, one: dict[str, Any]) -> Found:
    symbol, time = one.get("instrument_name"), one.get("timestamp")
    if kind == "trades":
        return [Trade(symbol, time, one.get("price"), one.get("amount"), _sign(one.get("direction")))]
    if kind != "book":
        bid, ask = ([[one.get(f"best_{side}_price"), one.get(f"best_{side}_amount")]] for side in ("bid", "ask"))
        return [Book(symbol, time, bid, ask)]
    if "type" not in one:
        return [Book(symbol, time, one.get("bids"), one.get("asks"))]
    is_snapshot = one["type"] == "snapshot"
    bids, asks = (_deribit_levels(one.get(side), side) for side in ("bids", "asks"))
    number, before = one.get("change_id"), None if is_snapshot else one.get("prev_change_id")
    return [Delta(symbol, time, bids, asks, channel, is_snapshot=is_snapshot, last=number, prev=before)]


def _deribit_levels(levels: object, field: str) -> list[list[Any]]:
    """Return price and size of levels that are an action, a price and an amount."""
    if not isinstance(levels, list) or not all(isinstance(one, list) and len(one) == 3 for one in levels):
        raise FieldError("type", f"{field}: {shown(levels)} is not a list of [action, price, amount]; send one")
    return [[price, 0 if action == "delete" else amount] for action, price, amount in levels]


def coinbase(message: Message) -> Found | None:
    """Coinbase Exchange: level2, ticker and matches, whose side is the maker's."""
    product, kind = message.get("product_id"), message.get("type")
    if product is None:
        return [] if kind in ("subscriptions", "heartbeat") else None
    if kind == "l2update":
        changes = message.get("changes")
        if not isinstance(changes, list) or not all(isinstance(one, list) and len(one) == 3 for one in changes):
            raise FieldError("type", f"changes: {shown(changes)} is not a list of [side, price, size]; send one")
        sides = [[one[1:] for one in changes if one[0] == side] for side in ("buy", "sell")]
        return [Delta(product, message.get("time"), sides[0], sides[1], "level2", is_snapshot=False)]
    if kind == "snapshot":
        read = product, message.get("time"), message.get("bids"), message.get("asks")
        return [Delta(*read, "level2", is_snapshot=True)]
    if kind == "ticker":
        bid = [[message.get("best_bid"), message.get("best_bid_size")]]
        return [Book(product, message.get("time"), bid, [[message.get("best_ask"), message.get("best_ask_size")]])]
    if kind in ("match", "last_match"):
        sign = -_sign(message.get("side"))
        return [Trade(product, message.get("time"), message.get("price"), message.get("size"), sign)]
    return []


def coinbase_advanced(message: Message) -> Found | None:
    """Coinbase Advanced Trade: level2, ticker and market_trades, whose side is the maker's."""
    channel = message.get("channel")
    if not isinstance(channel, str) or "events" not in message:
        return None
    time = message.get("timestamp")
    found: Found = []
    for event in _objects(message["events"], "events"):
        if channel == "l2_data":
            levels = _objects(event.get("updates"), "updates")
            sides = [
                [[one.get("price_level"), one.get("new_quantity")] for one in levels if one.get("side") in names]
                for names in (("bid",), ("offer", "ask"))
            ]
            is_snapshot = event.get("type") == "snapshot"
            if is_snapshot:
                sides = [_best_first(side, sign) for side, sign in zip(sides, (-1.0, 1.0), strict=True)]
            found.append(Delta(event.get("product_id"), time, sides[0], sides[1], "l2_data", is_snapshot=is_snapshot))
        elif channel == "market_trades" and event.get("type") != "snapshot":
            found += [
                Trade(
                    one.get("product_id"), one.get("time"), one.get("price"), one.get("size"), -_sign(one.get("side"))
                )
                for one in _objects(event.get("trades"), "trades")
            ]
    return found


def _best_first(levels: list[list[Any]], sign: float) -> list[list[Any]]:
    return sorted(levels, key=lambda level: sign * parse_number(level[0], "price_level"))


def ccxt(message: Message) -> Found | None:
    """Books of ccxt, from any exchange, and other whole books: an object with bids, asks and a time."""
    if not {"bids", "asks"} <= message.keys() or not _OF_OTHERS.isdisjoint(message):
        return None
    time = next((message[name] for name in ("timestamp", "time", "ts", "datetime") if message.get(name)), None)
    return [Book(message.get("symbol"), time, message["bids"], message["asks"])]


def alpaca(message: Message) -> Found | None:
    """Alpaca: quotes, trades and books of coins."""
    kind, symbol, time = message.get("T"), message.get("S"), message.get("t")
    if not isinstance(kind, str) or "ev" in message or "e" in message:
        return None
    if kind == "q":
        sides = [[message.get("bp"), message.get("bs")]], [[message.get("ap"), message.get("as")]]
        return [Book(symbol, time, *sides, is_quote=True)]
    if kind == "t":
        sign = {"B": 1, "S": -1}.get(str(message.get("tks")), 0)
        return [Trade(symbol, time, message.get("p"), message.get("s"), sign)]
    if kind == "o":
        read = symbol, time, message.get("b"), message.get("a")
        return [Delta(*read, "orderbooks", is_snapshot=message.get("r") is True)]
    return []


def polygon(message: Message) -> Found | None:
    """Polygon: quotes and trades of stocks, options and coins."""
    event = message.get("ev")
    if not isinstance(event, str):
        return None
    symbol, time = message.get("sym") or message.get("pair"), message.get("t")
    if event in ("Q", "XQ"):
        sides = [[message.get("bp"), message.get("bs")]], [[message.get("ap"), message.get("as")]]
        return [Book(symbol, time, *sides, is_quote=event == "Q")]
    if event in ("T", "XT"):
        return [Trade(symbol, time, message.get("p"), message.get("s"), 0)]
    return []


#: The first that knows a message reads it.
VENUES: Final[tuple[Callable[[Message], Found | None], ...]] = (
    bridge,
    deribit,
    alpaca,
    polygon,
    coinbase_advanced,
    ccxt,
    bybit,
    okx,
    kraken,
    coinbase,
    binance,
)


def find(message: Message) -> Found | None:
    """Return what an object holds; None where it is of no venue that is known."""
    return next((found for venue in VENUES if (found := venue(message)) is not None), None)


def pairs(value: object, field: str, max_levels: int) -> list[tuple[Any, Any]]:
    """Return price and size of levels that are pairs, longer lists, or objects, as they were written.

    A level without a price and a size is none.
    """
    if is_blank(value):
        raise FieldError("missing_field", f"{field} are missing; send a list of levels, empty if there are none")
    if not isinstance(value, list):
        raise FieldError("type", f"{field}: {shown(value)} is not a list of levels; send one")
    if len(value) > max_levels:
        raise FieldError("too_deep", f"{field}: {len(value)} levels; at most {max_levels} are read (books.max_levels)")
    found = (_level(level, field) for level in value)
    return [(price, size) for price, size in found if not (is_blank(price) and (is_blank(size) or size == 0))]


def numbers(levels: list[tuple[Any, Any]], field: str) -> Levels:
    """Return prices and sizes of levels that are numbers or text."""
    px = [parse_number(require({field: price}, field), field) for price, _ in levels]
    return px, [parse_number(require({field: size}, field), field) for _, size in levels]


def _level(level: object, field: str) -> tuple[Any, Any]:
    if isinstance(level, list) and len(level) >= 2:
        return level[0], level[1]
    if isinstance(level, dict):
        price = next((level[name] for name in ("price", "px", "p") if name in level), None)
        names = ("size", "qty", "amount", "quantity", "sz", "volume", "q", "s")
        return price, next((level[name] for name in names if name in level), None)
    raise FieldError("type", f"{field}: {shown(level)} is not a level; send [price, size]")


def okx_checksum(bids: Texts, asks: Texts) -> int:
    """Return OKX's checksum: a signed CRC-32 of the levels of both sides in turn."""
    parts: list[str] = []
    for i in range(max(len(bids), len(asks))):
        for side in (bids, asks):
            parts += side[i] if i < len(side) else ()
    crc = zlib.crc32(":".join(parts).encode())
    return crc - 2**32 if crc >= 2**31 else crc


def kraken_checksum(bids: Texts, asks: Texts) -> int:
    """Return Kraken's checksum: a CRC-32 of the digits of asks and bids, without leading zeros."""
    digits = "".join(_digits(text) for level in (*asks, *bids) for text in level)
    return zlib.crc32(digits.encode())


def _digits(text: str) -> str:
    plain = format(Decimal(text), "f") if "e" in text.lower() else text
    return plain.replace(".", "").lstrip("0")
