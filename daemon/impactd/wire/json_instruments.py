"""Our JSON of definitions, trading statuses and imbalances: objects to events of the core.

A definition states all that it knows of a symbol: it replaces the definition
record before it.  The fields are those of `impactd.core.base.instrument.Instrument`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from impactd.core.base.instrument import FIELDS, Instrument
from impactd.core.base.quantity import QUANTA
from impactd.core.inputs.events import AUCTION_KINDS, STATUSES, Definition, Imbalance, TradingStatus
from impactd.wire.codec import FieldError, shown
from impactd.wire.fields import parse_flag, parse_number, parse_positive_qty, parse_symbol, parse_text, require
from impactd.wire.times import parse_time

MAX_REASON: Final = 500
_MAX_NAME: Final = 32

#: Largest quantity that a venue may have paired, shares.
MAX_PAIRED: Final = 9e9


def _qty(value: object, name: str) -> float:
    return parse_positive_qty(value, name) / QUANTA


def _name(value: object, name: str) -> str:
    return parse_text(value, name, _MAX_NAME)


_PARSERS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "tick_size": parse_number,
    "lot_size": _qty,
    "multiplier": parse_number,
    "currency": _name,
    "min_qty": _qty,
    "max_qty": _qty,
    "calendar": _name,
    "asset_class": _name,
    "negative_px": parse_flag,
}


def parse_definition(obj: dict[str, Any]) -> Definition:
    """Return the definition in an object whose fields are known."""
    symbol, ts_event = parse_symbol(require(obj, "symbol")), parse_time(require(obj, "ts_event"), "ts_event")
    values = {name: _PARSERS[name](obj[name], name) for name in FIELDS if obj.get(name) is not None}
    try:
        return Definition(symbol, ts_event, Instrument(**values))
    except ValueError as error:
        raise FieldError("value", str(error)) from None


def parse_status(obj: dict[str, Any]) -> TradingStatus:
    """Return the trading status in an object whose fields are known."""
    symbol, ts_event = parse_symbol(require(obj, "symbol")), parse_time(require(obj, "ts_event"), "ts_event")
    status, short, reason = obj.get("status"), obj.get("short_restricted"), obj.get("reason")
    if status is None and short is None:
        raise FieldError("missing_field", "status is missing; send it, or short_restricted")
    if status is not None and status not in STATUSES:
        raise FieldError("value", f"status: {shown(status)} is not known; send one of {', '.join(STATUSES)}")
    return TradingStatus(
        symbol,
        ts_event,
        status,
        parse_text(reason, "reason", MAX_REASON) if reason not in (None, "") else "",
        None if short is None else parse_flag(short, "short_restricted"),
    )


def parse_imbalance(obj: dict[str, Any]) -> Imbalance:
    """Return what a venue has paired for an auction, in an object whose fields are known."""
    symbol, ts_event = parse_symbol(require(obj, "symbol")), parse_time(require(obj, "ts_event"), "ts_event")
    auction, paired = require(obj, "auction"), parse_number(require(obj, "paired_qty"), "paired_qty")
    if auction not in AUCTION_KINDS:
        raise FieldError("value", f"auction: {shown(auction)} is not known; send one of {', '.join(AUCTION_KINDS)}")
    if not 0.0 <= paired <= MAX_PAIRED:
        raise FieldError("value", f"paired_qty: {shown(paired)} is not in [0, {MAX_PAIRED:g}]; send shares")
    return Imbalance(symbol, ts_event, auction, paired)
