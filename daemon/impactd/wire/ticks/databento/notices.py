"""Databento's schemas of events: definitions, trading status and imbalances as text, and what the first two mean.

A definition gives tick, lot, multiplier, currency, least and largest quantity, and asset class.  The multiplier
is the value of a tick over the tick where the venue states both, or else the contract's multiplier.  Prices at or
below zero are valid where the instrument is a spread, or its lower price limit is not above zero.

A status gives whether the market trades and whether short sales are restricted.  A record that says neither is
skipped.  What an imbalance gives is in `impactd.wire.ticks.databento.imbalance`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from typing import Any, Final

from impactd.core.base.instrument import Instrument
from impactd.core.inputs.events import TRADING, Definition, MarketEvent, TradingStatus
from impactd.wire.codec import FieldError, Limits, shown
from impactd.wire.fields import parse_symbol
from impactd.wire.rows import RowBuilder
from impactd.wire.ticks.databento.imbalance import IMBALANCE, NO_QTY, imbalance_in
from impactd.wire.times import parse_text_time

STATUS: Final = 18
DEFINITION: Final = 19

_NO_PX: Final = 2**63 - 1
_NO_INT: Final = 2**31 - 1
_PX: Final = 1_000_000_000

#: Asset class by Databento's InstrumentClass.
_CLASSES: Final = {
    b"B": "bond", b"C": "option", b"F": "future", b"I": "index", b"K": "equity", b"M": "spread", b"P": "option",
    b"S": "spread", b"T": "spread", b"X": "fx", b"Y": "commodity",
}  # fmt: skip

#: Status by Databento's StatusAction; the others follow from whether the instrument trades.
_ACTIONS: Final = {
    1: "auction", 2: "auction", 3: "auction", 4: "auction", 5: "auction", 6: "auction", 7: TRADING,
    8: "halt", 9: "halt", 10: "halt", 12: "closed", 15: "closed",
}  # fmt: skip
#: Before and after the close, where trading may go on.
_CLOSING: Final = (11, 13)
#: Nothing but a change of the short-sale restriction.
_SSR_CHANGE: Final = 14

_FLAGS: Final = {b"Y": True, b"N": False}

#: By record type: Databento's names of the fields that are read, by ours.
_NAMES: Final[Mapping[int, Mapping[str, str]]] = {
    STATUS: {"action": "action", "reason": "reason", "trades": "is_trading", "short": "is_short_sell_restricted"},
    DEFINITION: {
        "tick": "min_price_increment",
        "low": "low_limit_price",
        "tick_value": "min_price_increment_amount",
        "most": "max_trade_vol",
        "lot": "min_lot_size",
        "least": "min_trade_vol",
        "multiplier": "contract_multiplier",
        "currency": "currency",
        "kind": "instrument_class",
        "update": "security_update_action",
    },
    IMBALANCE: {"auction": "auction_type", "paired": "paired_qty"},
}
#: The record types.
NOTICES: Final = frozenset(_NAMES)
_PRICES: Final = frozenset({"tick", "low", "tick_value"})
_TEXTS: Final = frozenset({"trades", "short", "currency", "kind", "update"})
#: What a field that says nothing is.
_UNDEFINED: Final = {"tick": _NO_PX, "low": _NO_PX, "tick_value": _NO_PX, "most": NO_QTY, "multiplier": _NO_INT}
_DECIMAL: Final = re.compile(r"(-?)(\d{1,10})\.(\d{1,9})", re.ASCII)
_WHOLE: Final = re.compile(r"-?\d{1,19}", re.ASCII)


def definition_of(symbol: str, ts_event: int, row: Mapping[str, Any]) -> Definition | None:
    """Return the definition in a record's fields, prices in 1e-9; None where it deletes or cannot be used."""
    if row["update"] == b"D":
        return None
    tick, value, low = int(row["tick"]), int(row["tick_value"]), int(row["low"])
    multiplier = int(row["multiplier"])
    points: float | None = None
    if 0 < tick < _NO_PX and 0 < value < _NO_PX:
        points = float(Fraction(value, tick))
    elif 0 < multiplier < _NO_INT:
        points = float(multiplier)
    kind = _CLASSES.get(bytes(row["kind"]))
    least, most = int(row["least"]), int(row["most"])
    currency = bytes(row["currency"]).decode("ascii", "replace")
    try:
        its = Instrument(
            tick_size=tick / _PX if 0 < tick < _NO_PX else None,
            lot_size=float(row["lot"]) if 0 < int(row["lot"]) < _NO_INT else None,
            multiplier=points,
            currency=currency or None,
            min_qty=float(least) if 0 < least < NO_QTY else None,
            max_qty=float(most) if least <= most and 0 < most < NO_QTY else None,
            asset_class=kind,
            negative_px=True if kind == "spread" or low <= 0 else None,
        )
    except ValueError:
        return None
    return Definition(symbol, ts_event, its)


def status_of(symbol: str, ts_event: int, row: Mapping[str, Any]) -> TradingStatus | None:
    """Return the trading status in a record's fields; None where it states none."""
    action, trades = int(row["action"]), _FLAGS.get(bytes(row["trades"]))
    status = _ACTIONS.get(action)
    if status is None and action != _SSR_CHANGE and trades is not None:
        status = TRADING if trades else "closed" if action in _CLOSING else "halt"
    short = _FLAGS.get(bytes(row["short"]))
    if status is None and short is None:
        return None
    reason = int(row["reason"])
    return TradingStatus(symbol, ts_event, status, f"Databento reason {reason}" if reason else "", short)


_READERS: Final[Mapping[int, Callable[[str, int, Mapping[str, Any]], MarketEvent | None]]] = {
    STATUS: status_of,
    DEFINITION: definition_of,
}


def notice_in(names: Collection[str]) -> int | None:
    """Return the record type of a header's columns, if they are those of one of these schemas."""
    found = set(names)
    if "ts_event" not in found:
        return None
    return next((rtype for rtype, fields in _NAMES.items() if found.issuperset(fields.values())), None)


def add_notice(
    index: int, rtype: int, field: Mapping[str, str], symbol: str | None, limits: Limits, builder: RowBuilder
) -> int:
    """Add the event of a record that is given by its texts; return 1 where it is none that is read.

    Parameters
    ----------
    field : mapping of str to str
        By Databento's names.
    """
    ts_event = parse_text_time(field.get("ts_event", ""), "ts_event", limits.time_unit)
    name = parse_symbol(field.get("symbol") or symbol or "")
    event: MarketEvent | None
    if rtype == IMBALANCE:
        event = imbalance_in(name, ts_event, field["auction_type"], field["paired_qty"])
    else:
        row = {ours: _value(ours, field[theirs], theirs) for ours, theirs in _NAMES[rtype].items()}
        event = _READERS[rtype](name, ts_event, row)
    if event is None:
        return 1
    builder.add_event(index, event)
    return 0


def fields_of(rtype: int) -> tuple[str, ...]:
    """Return Databento's names of the fields that are read of a record type."""
    return tuple(_NAMES[rtype].values())


def _value(ours: str, text: str, field: str) -> int | bytes:
    """Return a field as the binary encoding has it."""
    if ours in _TEXTS:
        return text.encode()
    if not text:
        return _UNDEFINED.get(ours, 0)
    if ours in _PRICES and (match := _DECIMAL.fullmatch(text)) is not None:
        value = int(match[2]) * _PX + int(match[3].ljust(9, "0"))
        return -value if match[1] else value
    if _WHOLE.fullmatch(text) is None:
        raise FieldError("type", f"{field}: {shown(text)} is not a number of Databento's; send their own records")
    return int(text)
