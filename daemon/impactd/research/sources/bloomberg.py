"""Bloomberg: ticks of ``IntradayTickRequest``, and books by level of ``//blp/mktdepthdata``.

Shapes, by what a record has:

- ``type`` and ``value``: an element of ``tickData`` [1]_; ``time``, ``type``
  (BID, ASK, BEST_BID, BEST_ASK; TRADE and others are skipped), ``value``,
  ``size``.  Each states one side, and the other stays as it was.
- ``MKTDEPTH_EVENT_TYPE`` "MARKET_BY_LEVEL": market depth [2]_.  A paint
  (``MKTDEPTH_EVENT_SUBTYPE`` "TABLE_INITPAINT") has ``MBL_WINDOW_SIZE``,
  ``MBL_TABLE_BID`` and ``MBL_TABLE_ASK``; an update has the side as its subtype
  (BID, ASK, or with _RETRANS behind it), ``MD_TABLE_CMD_RT`` and, for its side,
  ``MBL_BID_POSITION_RT`` (from 1), ``MBL_BID_RT`` and ``MBL_BID_SIZE_RT``.
  Times are in ``MBL_TIME_RT``; a paint has them in its rows.

Neither names its instrument: that is the request's or subscription's.  Who
records several adds it as ``security``, and a message's fragment type as
``fragmentType`` (NONE, START, INTERMEDIATE, END).

Table commands work as in the vendor's sample [2]_, on the message's side alone:

=============  ==========================================================
ADD            insert at the position; what leaves the window is dropped
MOD            replace the level at the position
REPLACE        the same, also beyond the last level
EXEC           replace it, and delete every better level
DEL            delete the level, the worse ones move up
DELBETTER      delete the level and every better one
REPLACE_CLEAR  empty the position, nothing moves
CLEARALL, DELALL, DELSIDE  empty the side
=============  ==========================================================

A command for a position that a lost message has left unknown is not applied;
``.attrs["refused"]`` counts them as ``gap``.  The first fragment of a paint
empties both sides.  Without a fragment type, a paint continues with the one that
it directly follows, unless it names a position again.

.. [1] Bloomberg, BLPAPI Core Developer Guide, Intraday Tick Requests
.. [2] Bloomberg, BLPAPI examples, MarketDepthSubscriptionExample with ByLevelBook
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pandas as pd

from impactd.research.errors import MALFORMED, MISSING_COLUMNS, ValidationError
from impactd.research.frames import MAX_LEVELS
from impactd.research.sources.clients import client
from impactd.research.sources.fields import Record, is_missing, level, name_of, number, whole
from impactd.research.sources.snapshots import Snapshots

logger = logging.getLogger("impactd.research")

_SIDE_OF_TICK: Final = {"BID": 0, "BEST_BID": 0, "ASK": 1, "BEST_ASK": 1}
_SIDES: Final = ("BID", "ASK")

#: BLPAPI's fragment types, by the numbers that its Python client has for them.
_FRAGMENTS: Final = ("NONE", "START", "INTERMEDIATE", "END")

#: An empty position.
_GAP: Final = (float("nan"), 0.0)

#: Milliseconds that a request may stay without any event.
_PATIENCE_MS: Final = 60_000

Level = tuple[float, float]


@dataclass(slots=True)
class _Book:
    """Book state of one instrument."""

    sides: tuple[list[Level], list[Level]] = field(default_factory=lambda: ([], []))
    #: Sides that have been named; a book counts from when both have been.
    named: set[int] = field(default_factory=set)
    window: int = MAX_LEVELS
    #: (side, position) of the paint in progress.
    painted: set[tuple[int, int]] = field(default_factory=set)
    complete: bool = True
    gaps: int = 0
    time: Any = None


class BloombergSource:
    """Reads Bloomberg's ticks and books by level."""

    def books(self, records: Iterable[Record]) -> pd.DataFrame:
        """Return ticks or market depth in the long form, a book after each event from when both sides are known."""
        snapshots = Snapshots("time, MBL_TIME_RT", "security")
        books: dict[str | None, _Book] = {}
        for record in records:
            with snapshots.one(record):
                _add(snapshots, record, books)
        table = snapshots.table()
        gaps = sum(book.gaps for book in books.values())
        if gaps:
            table.attrs["refused"]["gap"] = gaps
            logger.warning("bloomberg: %d updates of unknown positions: messages were lost before them", gaps)
        return table

    def fetch(self, symbol: str, start: pd.Timestamp, end: pd.Timestamp) -> list[Record]:
        """Return BEST_BID and BEST_ASK ticks by BLPAPI, from the terminal or server that this machine has."""
        blpapi = client("blpapi", "bloomberg", "install blpapi from Bloomberg's package index")
        session = blpapi.Session()
        if not session.start() or not session.openService("//blp/refdata"):
            raise ValidationError(
                MALFORMED, "bloomberg: no session, or no rights to //blp/refdata", "log in to the terminal or server"
            )
        try:
            request = session.getService("//blp/refdata").createRequest("IntradayTickRequest")
            request.set("security", symbol)
            for kind in ("BEST_BID", "BEST_ASK"):
                request.append("eventTypes", kind)
            # Its datetimes end at microseconds; what is too much is cut by the caller.
            request.set("startDateTime", start.floor("us").to_pydatetime())
            request.set("endDateTime", end.ceil("us").to_pydatetime())
            session.sendRequest(request)
            return [tick | {"security": symbol} for tick in _ticks(blpapi, session)]
        finally:
            session.stop()


def _add(snapshots: Snapshots, record: Record, books: dict[str | None, _Book]) -> None:
    """Apply a record to its instrument's book, and add the book where both sides are known."""
    security = name_of(record, "security")
    if "MKTDEPTH_EVENT_TYPE" in record:
        book = books.setdefault(security, _Book())
        try:
            _market_depth(book, record)
        except (ValidationError, TypeError, AttributeError) as error:
            # What the message changed is not known: there is no book until the next paint.
            snapshots.refuse(error, record)
            books[security] = _Book(window=book.window, complete=False, gaps=book.gaps, time=book.time)
            if book.time is not None:
                snapshots.add(book.time, [], [], security)
            return
    elif record.get("type") in _SIDE_OF_TICK:
        pair = level(number(record, "value"), number(record, "size"))
        time = _time(record, "time")
        book = books.setdefault(security, _Book())
        index = _SIDE_OF_TICK[str(record["type"])]
        book.sides[index][:] = pair
        book.named.add(index)
        book.time = time
    else:
        return
    if book.complete and len(book.named) == len(_SIDES):
        bids, asks = ([pair for pair in side if pair[1] > 0.0] for side in book.sides)
        snapshots.add(book.time, bids, asks, security)


def _time(record: Record, name: str) -> Any:
    if is_missing(record.get(name)):
        raise ValidationError(MISSING_COLUMNS, f"{name}: missing in a record", "give it")
    return record[name]


def _market_depth(book: _Book, record: Record) -> None:
    kind = record["MKTDEPTH_EVENT_TYPE"]
    if kind != "MARKET_BY_LEVEL":
        raise ValidationError(
            MALFORMED, f"MKTDEPTH_EVENT_TYPE: {kind!r} cannot be used", "subscribe to MARKET_BY_LEVEL (type=MBL)"
        )
    subtype = str(record.get("MKTDEPTH_EVENT_SUBTYPE", ""))
    if subtype == "TABLE_INITPAINT":
        _paint(book, record)
        return
    book.painted.clear()
    side = subtype.removesuffix("_RETRANS")
    if side not in _SIDES:
        raise ValidationError(
            MALFORMED, f"MKTDEPTH_EVENT_SUBTYPE: {subtype!r} is unknown", "give TABLE_INITPAINT, BID or ASK"
        )
    book.time = _time(record, "MBL_TIME_RT")
    book.named.add(_SIDES.index(side))
    if not _command(book, _SIDES.index(side), record, side):
        book.gaps += 1


def _paint(book: _Book, record: Record) -> None:
    """Apply a paint, or a fragment of one."""
    rows = [
        (index, _position(row, side), _level(row, side), row.get("MBL_TIME_RT"))
        for index, side in enumerate(_SIDES)
        for row in record.get(f"MBL_TABLE_{side}") or ()
    ]
    places = {(index, position) for index, position, _, _ in rows}
    kind = _fragment(record)
    first = kind in {"NONE", "START"} if kind else not book.painted or not places.isdisjoint(book.painted)
    if first:
        for side in book.sides:
            side.clear()
        book.painted.clear()
    if not is_missing(record.get("MBL_WINDOW_SIZE")):
        # 0 says that the window is not known.
        book.window = min(whole(record, "MBL_WINDOW_SIZE") or MAX_LEVELS, MAX_LEVELS)
    for index, position, pair, _ in rows:
        _put(book.sides[index], position, pair)
    book.painted |= places
    book.complete = kind in {None, "NONE", "END"}
    # A paint that names one side only says that the other is empty, once it is known to be whole.
    book.named |= {index for index, _ in places} if kind is None else set(range(len(_SIDES)))
    at = record.get("MBL_TIME_RT")
    times = [time for *_, time in rows if not is_missing(time)] if is_missing(at) else [at]
    # Rows tell when each level last changed: the whole stood from the newest, and never before what was known.
    known = [] if is_missing(book.time) or not is_missing(at) else [book.time]
    if not times and not known:
        raise ValidationError(MISSING_COLUMNS, "MBL_TIME_RT: missing in a paint and its rows", "give it")
    book.time = max([*known, *times], key=_moment) if len(times) + len(known) > 1 else (times or known)[0]


def _fragment(record: Record) -> str | None:
    value = record.get("fragmentType")
    if is_missing(value):
        return None
    kind = dict(zip("0123", _FRAGMENTS, strict=True)).get(str(value), str(value).upper())
    if kind not in _FRAGMENTS:
        raise ValidationError(MALFORMED, f"fragmentType: {value!r} is unknown", f"give {', '.join(_FRAGMENTS)}")
    return kind


def _moment(value: Any) -> pd.Timestamp:
    try:
        at = pd.Timestamp(value)
    except (ValueError, TypeError) as error:
        raise ValidationError(MALFORMED, f"MBL_TIME_RT: {value!r} is not a time", "give date and time") from error
    return at.tz_localize("UTC") if at.tzinfo is None else at


def _command(book: _Book, index: int, record: Record, side: str) -> bool:
    """Apply a table command to its side; return whether its position was known."""
    command = record.get("MD_TABLE_CMD_RT")
    levels = book.sides[index]
    if command in {"CLEARALL", "DELALL", "DELSIDE"}:
        levels.clear()
        return True
    position = _position(record, side)
    if command == "REPLACE":
        _put(levels, position, _level(record, side))
    elif command == "REPLACE_CLEAR":
        _put(levels, position, _GAP)
    elif command == "ADD":
        if position > len(levels) + 1:
            return False
        levels.insert(position - 1, _level(record, side))
        del levels[book.window :]
    elif command in {"MOD", "EXEC", "DEL", "DELBETTER"}:
        if position > len(levels):
            return False
        if command in {"MOD", "EXEC"}:
            levels[position - 1] = _level(record, side)
        deleted = {
            "MOD": (0, 0),
            "EXEC": (0, position - 1),
            "DEL": (position - 1, position),
            "DELBETTER": (0, position),
        }
        del levels[slice(*deleted[command])]
    else:
        raise ValidationError(MALFORMED, f"MD_TABLE_CMD_RT: {command!r} is unknown", "leave such records out")
    return True


def _position(record: Record, side: str) -> int:
    position = whole(record, f"MBL_{side}_POSITION_RT")
    if not 1 <= position <= MAX_LEVELS:
        raise ValidationError(
            MALFORMED, f"MBL_{side}_POSITION_RT: {position} is none", f"positions count from 1 to {MAX_LEVELS}"
        )
    return position


def _put(levels: list[Level], position: int, pair: Level) -> None:
    levels.extend([_GAP] * (position - len(levels)))
    levels[position - 1] = pair


def _level(record: Record, side: str) -> Level:
    price, size = number(record, f"MBL_{side}_RT"), number(record, f"MBL_{side}_SIZE_RT")
    # A price and size of 0 say that there is no active level.
    return (price, size) if price > 0.0 and size > 0.0 else _GAP


def _ticks(blpapi: Any, session: Any) -> Iterator[dict[str, Any]]:
    """Yield the ticks of all the partial responses to a request."""
    while True:
        event = session.nextEvent(_PATIENCE_MS)
        kind = event.eventType()
        if kind == blpapi.Event.TIMEOUT:
            raise ValidationError(MALFORMED, "bloomberg: no answer for a minute", "ask for a shorter time, or later")
        for message in event:
            if str(message.messageType()) in {"RequestFailure", "SessionTerminated"}:
                raise ValidationError(MALFORMED, f"bloomberg: {message.messageType()}", "log in again")
            if message.hasElement("responseError"):
                said = message.getElement("responseError").getElementAsString("message")
                raise ValidationError(MALFORMED, f"bloomberg: {said}", "check the security, the times and its rights")
            if message.hasElement("tickData"):
                for tick in message.getElement("tickData").getElement("tickData").values():
                    yield {name: tick.getElementValue(name) for name in ("time", "type", "value", "size")}
        if kind == blpapi.Event.RESPONSE:
            return
