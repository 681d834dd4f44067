"""The grammar of column names: what each column of a table of books or trades is.

A name is split into words: ``bid_price_1``, ``bids[0].price``, ``BidPrice1``, ``bid_px_00``, ``price_bid_1`` and
``bp1`` are all a side, a price and a level. Numbers count levels from 0 or from 1; a name without one is the best
level. The word for price may be missing (``bid``, ``ask1``). Names that fit nothing are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from impactd.wire.ticks.column_names import column_of

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SIDES: Final = {"bid": 0, "bids": 0, "b": 0, "buy": 0, "ask": 1, "asks": 1, "a": 1, "offer": 1, "ofr": 1, "sell": 1}
_PRICE, _SIZE = 0, 1
_WHATS: Final = {
    **dict.fromkeys(("price", "px", "p", "prc"), _PRICE),
    **dict.fromkeys(("size", "siz", "sz", "qty", "quantity", "amount", "volume", "vol", "v", "q", "s"), _SIZE),
}
_FILLERS: Final = frozenset({"best", "top", "level", "levels", "l", "lvl", "book", "depth"})

#: Names of the other columns, the first that is there; compared without case, blanks and underscores.
EVENT: Final = (
    "tsevent",
    "transactiontime",
    "exchangetimestamp",
    "exchangetime",
    "eventtime",
    "transacttime",
    "timem",
    "siptimestamp",
    "timestamp",
    "time",
    "datetime",
    "ts",
    "t",
)
#: Names of times that may be of a day that another column has.
TIMES_OF_DAY: Final = ("time", "timem")
#: The day of times that have none.
DATE: Final = ("date", "tradedate", "tradingday")
#: What tables of single orders have, which are not trades.
ORDER_COLUMNS: Final = ("orderid", "action", "ordertype", "messagetype", "msgtype", "eventtype")
RECEIVED: Final = ("tsrecv", "localtimestamp", "localtime", "receivetime", "receivedtime", "recvtime")
SYMBOL: Final = ("symbol", "ticker", "sym", "symroot", "instrument", "security", "code", "ric")
TRADE_PRICE: Final = ("price", "px", "tradeprice", "p")
TRADE_SIZE: Final = ("size", "qty", "quantity", "amount", "volume", "tradesize", "tradeqty", "q")
TRADE_SIDE: Final = ("side", "aggressor", "takerside", "direction")
_MAKER: Final = ("isbuyermaker", "m")


class Level(NamedTuple):
    """Columns of one level; -1 where there is none."""

    bid_px: int = -1
    bid_sz: int = -1
    ask_px: int = -1
    ask_sz: int = -1


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of a table are; -1 where there is none."""

    ts_event: int
    date: int = -1
    ts_recv: int = -1
    symbol: int = -1
    #: Best first; empty for a table of trades.
    levels: Sequence[Level] = field(default=())
    price: int = -1
    size: int = -1
    #: The aggressor of a trade, or whether its buyer was the maker.
    side: int = -1
    maker: int = -1

    @property
    def has_rows(self) -> bool:
        """Whether a row has a time, and is a book or a trade."""
        return self.ts_event >= 0 and (bool(self.levels) or (self.price >= 0 and self.size >= 0))


def read_header(names: Sequence[str]) -> Columns:
    """Return what the columns of a header are."""

    def find(wanted: Sequence[str]) -> int:
        return column_of(names, wanted)

    levels = _levels(names)
    ts_event = find(EVENT)
    has_no_day = ts_event >= 0 and column_of(names[ts_event : ts_event + 1], TIMES_OF_DAY) >= 0
    return Columns(
        ts_event=ts_event,
        date=find(DATE) if has_no_day else -1,
        ts_recv=find(RECEIVED),
        symbol=find(SYMBOL),
        levels=levels,
        price=-1 if levels else find(TRADE_PRICE),
        size=-1 if levels else find(TRADE_SIZE),
        side=-1 if levels else find(TRADE_SIDE),
        maker=-1 if levels else find(_MAKER),
    )


def _levels(names: Sequence[str]) -> tuple[Level, ...]:
    """Return the columns of each level that has prices and sizes of both sides."""
    found: dict[int, dict[tuple[int, int], int]] = {}
    for column, name in enumerate(names):
        place = place_of(name)
        if place is not None:
            level, side, what = place
            found.setdefault(level, {}).setdefault((side, what), column)
    keys = [(0, _PRICE), (0, _SIZE), (1, _PRICE), (1, _SIZE)]
    numbered = sorted(level for level in found if level >= 0)
    whole = [level for level in (numbered or [-1]) if all(key in found.get(level, {}) for key in keys)]
    return tuple(Level(*(found[level][key] for key in keys)) for level in whole)


def place_of(name: str) -> tuple[int, int, int] | None:
    """Return (level, side, what) of a column; None where it is none of a level. Level -1 has no number."""
    words = [word.lower() for word in _WORD.findall(name)]
    side = what = None
    numbers: list[int] = []
    for word in words:
        if word.isdigit():
            numbers.append(int(word))
        elif word in _FILLERS:
            continue
        elif side is None and word in _SIDES:
            side = _SIDES[word]
        elif what is None and word in _WHATS and (side is not None or len(word) > 1):
            what = _WHATS[word]
        elif side is None and (both := _both(word)) is not None:
            side, what = both
        else:
            return None
    if side is None:
        return None
    if what is None and len(numbers) == 2 and numbers[1] < 2:
        # A list of lists: bids[3][0] is a price, bids[3][1] its size.
        return numbers[0], side, numbers[1]
    if len(numbers) > 1:
        return None
    return (numbers[0] if numbers else -1), side, _PRICE if what is None else what


def _both(word: str) -> tuple[int, int] | None:
    """Return the side and what of a word that is both, such as ``bidprice`` or ``av``."""
    for side in sorted(_SIDES, key=len, reverse=True):
        if word.startswith(side) and word[len(side) :] in _WHATS:
            return _SIDES[side], _WHATS[word[len(side) :]]
    return None
