"""Columns of Databento CSV files: which column plays which role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from impactd.core.inputs.ticks import Int
from impactd.wire.tick_codec import FileFormatError
from impactd.wire.ticks.csv import split_header, split_line
from impactd.wire.ticks.databento import kernel as k

_ROLES: Final = {
    "ts_event": k.TS_EVENT,
    "ts_recv": k.TS_RECV,
    "action": k.ACTION,
    "side": k.SIDE,
    "price": k.PRICE,
    "size": k.SIZE,
    "flags": k.FLAGS,
    "symbol": k.SYMBOL,
    "publisher_id": k.PUBLISHER,
    "instrument_id": k.INSTRUMENT,
}
#: Of sampled books, besides the time and the levels.
_OF_SAMPLES: Final = (k.SYMBOL, k.PUBLISHER, k.INSTRUMENT)
_NEEDED: Final = ("ts_event", "action", "side", "price", "size", "flags")
#: What a row holds: the book after its event, the book before its trade, or a trade alone.
BOOK_AFTER, BOOK_BEFORE, TRADE_ONLY = range(3)

#: Schemas of books that are read.
SCHEMAS: Final = ("mbp-10", "mbp-1", "tbbo", "cmbp-1", "tcbbo", "bbo-1s", "bbo-1m", "cbbo-1s", "cbbo-1m")
_PLANES: Final = ("bid_px", "bid_sz", "ask_px", "ask_sz")

#: Schemas without books and trades by a column that only they have, and what they hold.
_OTHERS: Final = {
    "stat_type": "statistics",
    "open": "bars",
}
#: Databento's own order of columns.
MBP10_HEADER: Final = (
    "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,depth,price,size,flags,ts_in_delta,sequence,"
    + "".join(
        f"{name}_{i:02}," for i in range(10) for name in ("bid_px", "ask_px", "bid_sz", "ask_sz", "bid_ct", "ask_ct")
    )
    + "symbol"
)


@dataclass(frozen=True, slots=True)
class Columns:
    """Roles of the columns of a file."""

    #: Shape (n_columns,). See `impactd.wire.ticks.databento.kernel`.
    roles: Int
    #: The column's name by its role.
    names: Mapping[int, str]
    n_levels: int
    has_symbol: bool
    #: `BOOK_AFTER` an event, `BOOK_BEFORE` a trade, or `TRADE_ONLY`.
    layout: int = BOOK_AFTER

    def split(self, line: bytes) -> dict[int, str]:
        """Return the fields that have a role."""
        fields = split_line(line, len(self.roles))
        return {int(role): text for role, text in zip(self.roles, fields, strict=True) if role != k.SKIP}


def header_names(header: str) -> list[str]:
    """Return the names of a header's columns as Databento writes them."""
    return [name.lower() for name in split_header(header)]


def is_databento(names: list[str]) -> bool:
    """Return whether columns are those of one of Databento's schemas other than MBO."""
    known = set(names)
    has_books = "bid_px_00" in known and bool(known & {"action", "ts_recv"})
    is_trades = known.issuperset(_NEEDED) and "order_id" not in known
    return {"rtype", "publisher_id"} <= known or has_books or is_trades


def databento_columns(names: list[str], *, is_mapped: bool = False, is_tbbo: bool = False) -> Columns:
    """Return the roles of columns.

    Parameters
    ----------
    is_mapped : bool
        Whether each row has one more column at its end, its symbol, instead of the header's.
    is_tbbo : bool
        Whether rows are trades with the book before each.
    """
    names = ["" if is_mapped and name == "symbol" else name for name in names] + (["symbol"] if is_mapped else [])
    if "ts_recv" not in names and names.count("ts_event") == 2:
        # Databento's order is ts_recv, ts_event: someone renamed the first.
        names[names.index("ts_event")] = "ts_recv"
    n_levels = 0
    while all(f"{plane}_{n_levels:02}" in names for plane in _PLANES):
        n_levels += 1
    is_sampled = "action" not in names and n_levels > 0
    # The schema of trades has no books; where there are parts of some, columns were left out.
    has_books = any(name.startswith(_PLANES) for name in names)
    is_trades = ("rtype" in names or set(names).issuperset(_NEEDED)) and not has_books and "order_id" not in names
    needed = ("ts_recv",) if is_sampled else _NEEDED
    missing = [name for name in needed if name not in names]
    missing += [] if is_trades else [f"{plane}_00" for plane in _PLANES if f"{plane}_00" not in names]
    if missing:
        if (other := next((what for column, what in _OTHERS.items() if column in names), None)) is not None:
            raise FileFormatError(f"holds {other}, no books or trades; download mbp-10, mbp-1, bbo or trades")
        raise FileFormatError(
            f"no column {', '.join(missing)} in the header; export a schema with books ({', '.join(SCHEMAS)}), as CSV "
            "with all its columns"
        )
    role_of = {name: role for name, role in _ROLES.items() if not is_sampled or role in _OF_SAMPLES}
    if is_sampled:
        role_of["ts_recv"] = k.TS_EVENT
    for i in range(n_levels):
        for plane, name in enumerate(_PLANES):
            role_of[f"{name}_{i:02}"] = k.LEVEL + 4 * i + plane
    roles = np.array([role_of.get(name, k.SKIP) for name in names], np.int64)
    used = roles[roles != k.SKIP]
    if len(np.unique(used)) != len(used):
        twice = sorted({name for name in names if name in role_of and names.count(name) > 1})
        raise FileFormatError(f"column {', '.join(twice)} is in the header twice; leave one")
    layout = TRADE_ONLY if is_trades else (BOOK_BEFORE if is_tbbo else BOOK_AFTER)
    return Columns(roles, {role: name for name, role in role_of.items()}, n_levels, "symbol" in names, layout)
