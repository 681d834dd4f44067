"""What the messages of each venue are: books, trades, changes of books that are not read, or nothing.

Each function takes a message and returns what it holds, or None where it is not of that venue. Times of venues are
milliseconds or ISO 8601 text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from impactd.wire.codec import FieldError, shown
from impactd.wire.fields import is_blank, parse_number, require

Levels = tuple[list[float], list[float]]


class Book(NamedTuple):
    """A book; `time` as the venue writes it, None where it does not."""

    symbol: Any
    time: Any
    bids: Any
    asks: Any


class Trade(NamedTuple):
    """A trade; `aggressor` is 1, -1 or 0."""

    symbol: Any
    time: Any
    px: Any
    qty: Any
    aggressor: int


#: What a message holds, in order; empty for those that have neither books nor trades.
Found = list[Book | Trade]
Message = dict[str, Any]

_SIDES: Final = {"buy": 1, "sell": -1}


def _changes(what: str, remedy: str) -> FieldError:
    return FieldError("value", f"{what}: holds changes of a book, which are not read; capture {remedy}")


def _sign(side: object) -> int:
    return _SIDES.get(side.lower(), 0) if isinstance(side, str) else 0


def _objects(value: object, field: str) -> list[dict[str, Any]]:
    items = value if isinstance(value, list) else [value]
    found = [item for item in items if isinstance(item, dict)]
    if len(found) < len(items):
        raise FieldError("type", f"{field}: {shown(value)} holds no objects; send the venue's own messages")
    return found


def binance(message: Message) -> Found | None:
    """Binance, spot and futures: bookTicker, partial depth, trade and aggTrade, alone or in a combined stream."""
    stream, data = "", message
    if isinstance(message.get("stream"), str) and isinstance(message.get("data"), dict):
        stream, data = message["stream"], message["data"]
    symbol = data.get("s") or stream.partition("@")[0].upper() or None
    kind = data.get("e")
    if kind == "depthUpdate" and "depth5" not in stream and "depth10" not in stream and "depth20" not in stream:
        raise _changes("depthUpdate", "the streams bookTicker or depth20")
    if kind in ("trade", "aggTrade"):
        time = data.get("T") or data.get("E")
        return [Trade(symbol, time, require(data, "p"), require(data, "q"), -1 if data.get("m") else 1)]
    if {"b", "B", "a", "A"} <= data.keys():
        return [Book(symbol, data.get("T") or data.get("E"), [[data["b"], data["B"]]], [[data["a"], data["A"]]])]
    if "lastUpdateId" in data:
        return [Book(symbol, data.get("T") or data.get("E"), data.get("bids"), data.get("asks"))]
    if kind == "depthUpdate":
        return [Book(symbol, data.get("T") or data.get("E"), data.get("b"), data.get("a"))]
    return [] if stream or ("e" in data and "E" in data) else None


def bybit(message: Message) -> Found | None:
    """Bybit: orderbook snapshots and publicTrade."""
    topic = message.get("topic")
    if not isinstance(topic, str):
        return None
    if topic.startswith("orderbook."):
        if message.get("type") != "snapshot":
            raise _changes(topic, "orderbook.1, which has snapshots alone")
        data = require(message, "data")
        (book,) = _objects(data, "data")[:1] or [{}]
        return [Book(book.get("s"), message.get("cts") or message.get("ts"), book.get("b"), book.get("a"))]
    if topic.startswith("publicTrade."):
        trades = _objects(require(message, "data"), "data")
        return [Trade(one.get("s"), one.get("T"), one.get("p"), one.get("v"), _sign(one.get("S"))) for one in trades]
    return []


def okx(message: Message) -> Found | None:
    """OKX: books5, bbo-tbt, snapshots of books, and trades."""
    arg = message.get("arg")
    if not isinstance(arg, dict) or "channel" not in arg:
        return None
    channel = str(arg["channel"])
    if "data" not in message:
        return []
    data = _objects(message["data"], "data")
    if channel.startswith(("books", "bbo")):
        if message.get("action") == "update":
            raise _changes(channel, "books5 or bbo-tbt")
        return [Book(arg.get("instId"), one.get("ts"), one.get("bids"), one.get("asks")) for one in data]
    if channel.startswith("trades"):
        return [
            Trade(one.get("instId"), one.get("ts"), one.get("px"), one.get("sz"), _sign(one.get("side")))
            for one in data
        ]
    return []


def kraken(message: Message) -> Found | None:
    """Kraken, version 2: snapshots of book, ticker and trade."""
    channel = message.get("channel")
    if not isinstance(channel, str) or "arg" in message:
        return None
    if "data" not in message or channel in ("heartbeat", "status"):
        return []
    data = _objects(message["data"], "data")
    if channel == "book":
        if message.get("type") != "snapshot":
            raise _changes("book", "the channel ticker with event_trigger bbo")
        return [Book(one.get("symbol"), one.get("timestamp"), one.get("bids"), one.get("asks")) for one in data]
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


def coinbase(message: Message) -> Found | None:
    """Coinbase Exchange: level2 snapshots, ticker and matches, whose side is the maker's."""
    product, kind = message.get("product_id"), message.get("type")
    if product is None:
        return [] if kind in ("subscriptions", "heartbeat") else None
    if kind == "l2update":
        raise _changes("l2update", "the channel ticker")
    if kind == "snapshot":
        return [Book(product, message.get("time"), message.get("bids"), message.get("asks"))]
    if kind == "ticker":
        bid = [[message.get("best_bid"), message.get("best_bid_size")]]
        return [Book(product, message.get("time"), bid, [[message.get("best_ask"), message.get("best_ask_size")]])]
    if kind in ("match", "last_match"):
        sign = -_sign(message.get("side"))
        return [Trade(product, message.get("time"), message.get("price"), message.get("size"), sign)]
    return []


def ccxt(message: Message) -> Found | None:
    """Books of ccxt, from any exchange."""
    if "type" in message or not {"bids", "asks", "nonce"} <= message.keys():
        return None
    return [Book(message.get("symbol"), message.get("timestamp"), message["bids"], message["asks"])]


#: The first that knows a message reads it.
VENUES: Final[tuple[Callable[[Message], Found | None], ...]] = (ccxt, bybit, okx, kraken, coinbase, binance)


def find(message: Message) -> Found | None:
    """Return what a message holds; None where it is of no venue that is known."""
    return next((found for venue in VENUES if (found := venue(message)) is not None), None)


def levels(value: object, field: str, max_levels: int) -> Levels:
    """Return prices and sizes of levels that are pairs, longer lists, or objects, as numbers or text.

    A level without a price and a size is none.
    """
    if is_blank(value):
        raise FieldError("missing_field", f"{field} are missing; send a list of levels, empty if there are none")
    if not isinstance(value, list):
        raise FieldError("type", f"{field}: {shown(value)} is not a list of levels; send one")
    if len(value) > max_levels:
        raise FieldError("too_deep", f"{field}: {len(value)} levels; at most {max_levels} are read (books.max_levels)")
    px: list[float] = []
    sz: list[float] = []
    for level in value:
        price, size = _level(level, field)
        if is_blank(price) and (is_blank(size) or size == 0):
            continue
        px.append(parse_number(require({field: price}, field), field))
        sz.append(parse_number(require({field: size}, field), field))
    return px, sz


def _level(level: object, field: str) -> tuple[Any, Any]:
    if isinstance(level, list) and len(level) >= 2:
        return level[0], level[1]
    if isinstance(level, dict):
        price = next((level[name] for name in ("price", "px", "p") if name in level), None)
        names = ("size", "qty", "amount", "quantity", "sz", "volume", "q", "s")
        return price, next((level[name] for name in names if name in level), None)
    raise FieldError("type", f"{field}: {shown(level)} is not a level; send [price, size]")
