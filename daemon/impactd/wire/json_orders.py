"""Our JSON of orders, executions and control: bytes to events of the core.

Each record is one object.  Every field is checked here, by itself and against
the record's other fields; what needs the order's state (a replace below
cum_qty, an unknown order, a second `new`) is the core's to judge.

`cl_ord_id` names the parent for life.  FIX gives each request an id of its own
and names the order's by `orig_cl_ord_id`; where a record has that field, it is
the parent's id, and `cl_ord_id` only the request's.

The terms of an order are parsed by the units of `impactd.core.inputs.terms.Terms`.
A replace changes the terms that it names; null clears an optional one.  Symbol
and side cannot change: `side` in a replace is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Final, NamedTuple

from impactd.core.base.topics import Topic
from impactd.core.inputs.events import (
    Bust,
    CancelOrder,
    Control,
    Correct,
    Event,
    Fill,
    NewOrder,
    Received,
    ReplaceOrder,
)
from impactd.core.inputs.terms import Terms
from impactd.core.inputs.ticks import Int, Refused
from impactd.core.outputs.units import Unit
from impactd.wire.codec import FROM_DATA, FieldError, Limits, floor_ms, shown
from impactd.wire.fields import (
    MAX_ID,
    parse_json,
    parse_number,
    parse_object,
    parse_positive_qty,
    parse_price,
    parse_side,
    parse_symbol,
    parse_text,
    require,
)
from impactd.wire.message_types import field_type, message_fields
from impactd.wire.times import parse_time

NAME: Final = "json"
MAX_BLACKOUTS: Final = 64
MAX_REASON: Final = 500
#: 1/currency: beyond it every plan trades all at once, and products with it would leave float64.
MAX_RISK_AVERSION: Final = 1e9

Object = dict[str, Any]
Parser = Callable[[Object], Event]


@dataclass(frozen=True, slots=True)
class DecodedEvents:
    """What became of a batch of order, execution or control records, in their order."""

    events: list[Received[Any]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    skipped_unknown: int = 0


def decode_events(
    topic: Topic,
    values: Sequence[bytes],
    offsets: Sequence[int] | Int,
    ts_records: Sequence[int] | Int,
    keys: Sequence[bytes | None] | None = None,
    limits: Limits | None = None,
) -> DecodedEvents:
    """Decode records of the orders, executions or control topic.

    Parameters
    ----------
    topic : Topic
        `Topic.ORDERS`, `Topic.EXECUTIONS` or `Topic.CONTROL`.
    values, offsets, ts_records, keys
        Columns of the records; a timestamp may be `FROM_DATA`, which is then `ts_event`
        floored to the millisecond.

    Returns
    -------
    DecodedEvents
        Each record is an event, refused, or skipped for its unknown `type`.
    """
    parsers = _PARSERS[topic]
    limits = limits or Limits()
    out = DecodedEvents()
    skipped = 0
    for i, value in enumerate(values):
        offset, ts_record = int(offsets[i]), int(ts_records[i])
        try:
            event = _event(value, parsers, limits)
        except FieldError as error:
            key = keys[i] if keys is not None else None
            out.refused.append(Refused(offset, error.reason, error.detail, value, key, NAME, ts_record))
            continue
        if event is None:
            skipped += 1
        else:
            at = floor_ms(event.ts_event) if ts_record == FROM_DATA else ts_record
            out.events.append(Received(event, offset, at, value, keys[i] if keys is not None else None))
    return DecodedEvents(out.events, out.refused, skipped)


def _event(value: bytes, parsers: dict[str, Parser], limits: Limits) -> Event | None:
    if len(value) > limits.max_message_bytes:
        limit = limits.max_message_bytes
        raise FieldError("too_large", f"{len(value)} bytes; send at most {limit} (setting wire.max_message_bytes)")
    obj = parse_object(parse_json(value))
    if limits.time_unit != "ns":
        obj = _in_ns(obj, limits.time_unit)
    kind = require(obj, "type")
    if type(kind) is not str:
        raise FieldError("type", f"type: {shown(kind)} is not a string; send one of {', '.join(parsers)}")
    parser = parsers.get(kind)
    return parser(obj) if parser is not None else None


def _in_ns(obj: Object, unit: str) -> Object:
    """Return a record with its times in nanoseconds."""

    def converted(value: Any, name: str) -> Any:
        return [converted(item, name) for item in value] if type(value) is list else parse_time(value, name, unit)

    return obj | {name: converted(obj[name], name) for name in _TIMES if obj.get(name) is not None}


def _order_id(obj: Object) -> str:
    """Return the parent's id: `orig_cl_ord_id` where a request has an id of its own."""
    if obj.get("orig_cl_ord_id") is not None:
        return parse_text(obj["orig_cl_ord_id"], "orig_cl_ord_id", MAX_ID)
    return parse_text(require(obj, "cl_ord_id"), "cl_ord_id", MAX_ID)


def _head(obj: Object) -> tuple[str, int]:
    return parse_symbol(require(obj, "symbol")), parse_time(require(obj, "ts_event"), "ts_event")


def _rate(value: object, name: str) -> float:
    rate = parse_number(value, name)
    if not 0.0 < rate <= 1.0:
        raise FieldError("value", f"{name}: {shown(value)} is not in (0, 1]; send a share of volume, or null")
    return rate


def _flag(value: object, name: str) -> bool:
    if type(value) is bool:
        return value
    raise FieldError("type", f"{name}: {shown(value)} is not a boolean; send true, false or null")


def _windows(value: object, name: str) -> tuple[tuple[int, int], ...]:
    """Return windows in ascending order, so an order is the same however its windows were listed."""
    if type(value) is not list:
        raise FieldError("type", f"{name}: {shown(value)} is not an array; send [[start, end], ...]")
    if len(value) > MAX_BLACKOUTS:
        raise FieldError("value", f"{name}: {len(value)} windows; send at most {MAX_BLACKOUTS}")
    windows = []
    for window in value:
        if type(window) is not list or len(window) != 2:
            raise FieldError("type", f"{name}: {shown(window)} is not a window; send [start, end]")
        start, end = (parse_time(time, name) for time in window)
        if start >= end:
            raise FieldError("value", f"{name}: {shown(window)} ends before it starts; send start < end")
        windows.append((start, end))
    return tuple(sorted(windows))


def _non_negative(value: object, name: str) -> float:
    number = parse_number(value, name)
    if number < 0.0:
        raise FieldError("value", f"{name}: {shown(value)} is negative; send 0 or more")
    if number > MAX_RISK_AVERSION:
        raise FieldError("value", f"{name}: {shown(value)} is above {MAX_RISK_AVERSION:g}; send a smaller weight")
    return number


#: How the value of a term is parsed, by its unit.
_BY_UNIT: Final[dict[Unit | None, Callable[[Any, str], Any]]] = {
    Unit.QUANTA: parse_positive_qty,
    Unit.TIME: parse_time,
    Unit.SHARE: _rate,
    Unit.PER_CURRENCY: _non_negative,
    Unit.WINDOWS: _windows,
    Unit.FLAG: _flag,
}


class _Term(NamedTuple):
    """How one term of an order is parsed.

    Attributes
    ----------
    parse : callable
        From a value that is not null, and the term's name.
    default : object
        In a new order without it; `MISSING` if an order needs it.
    clearable : bool
        Whether null clears it in a replace.
    """

    parse: Callable[[Any, str], Any]
    default: Any
    clearable: bool


def _term(field: Field[Any], hint: Any) -> _Term:
    return _Term(_BY_UNIT[field_type(hint).unit], field.default, not field.default)


_HINTS: Final = message_fields(Terms)
#: The terms by name, in their order.
_TERMS: Final = {field.name: _term(field, _HINTS[field.name]) for field in fields(Terms)}


#: Fields that hold times.
_TIMES: Final = (
    "ts_event",
    *(name for name, hint in _HINTS.items() if field_type(hint).unit in {Unit.TIME, Unit.WINDOWS}),
)


def _check_window(start: int, end: int) -> None:
    if start >= end:
        raise FieldError("value", f"end: {end} is not after start {start}; the window is [start, end)")


def _new(obj: Object) -> NewOrder:
    if None not in (obj.get("orig_cl_ord_id"), obj.get("cl_ord_id")) and obj["orig_cl_ord_id"] != obj["cl_ord_id"]:
        raise FieldError("value", "orig_cl_ord_id: differs from cl_ord_id in a new order; send cl_ord_id alone")
    symbol, ts_event = _head(obj)
    values: Object = {}
    for name, term in _TERMS.items():
        if term.default is MISSING:
            require(obj, name)
        value = obj.get(name)
        values[name] = term.default if value is None else term.parse(value, name)
    terms = Terms(**values)
    _check_window(terms.start, terms.end)
    return NewOrder(_order_id(obj), symbol, parse_side(require(obj, "side")), ts_event, terms)


def _replace(obj: Object) -> ReplaceOrder:
    if "side" in obj:
        raise FieldError("value", "side: a replace cannot change it; leave it out, or cancel and send a new order")
    changes: Object = {}
    for name, term in _TERMS.items():
        if name not in obj:
            continue
        if obj[name] is not None:
            changes[name] = term.parse(obj[name], name)
        elif term.clearable:
            changes[name] = term.default
        else:
            raise FieldError("value", f"{name}: null, but an order needs it; send a value or leave it out")
    if not changes:
        raise FieldError("missing_field", f"a replace that changes nothing; send one of {', '.join(_TERMS)}")
    if "start" in changes and "end" in changes:
        _check_window(changes["start"], changes["end"])
    symbol, ts_event = _head(obj)
    return ReplaceOrder(_order_id(obj), symbol, ts_event, tuple(changes.items()))


def _cancel(obj: Object) -> CancelOrder:
    return CancelOrder(_order_id(obj), *_head(obj))


def _exec_id(obj: Object, name: str) -> str:
    return parse_text(require(obj, name), name, MAX_ID)


def _last(obj: Object) -> tuple[int, float]:
    """Return (last_qty in quanta, last_px)."""
    qty = parse_positive_qty(require(obj, "last_qty"), "last_qty")
    px = parse_price(require(obj, "last_px"), "last_px")
    return qty, px


def _fill(obj: Object) -> Fill:
    liquidity = obj.get("last_liquidity_ind")
    if liquidity not in (None, "taker", "maker"):
        raise FieldError("value", f'last_liquidity_ind: {shown(liquidity)}; send "taker", "maker" or null')
    symbol, ts_event = _head(obj)
    qty, px = _last(obj)
    return Fill(_exec_id(obj, "exec_id"), _order_id(obj), symbol, qty, px, ts_event, liquidity)


def _reference(obj: Object) -> tuple[str, str]:
    exec_id, exec_ref_id = _exec_id(obj, "exec_id"), _exec_id(obj, "exec_ref_id")
    if exec_id == exec_ref_id:
        raise FieldError("value", f"exec_ref_id: {shown(exec_id)} is the record's own; name the fill that it is about")
    return exec_id, exec_ref_id


def _correct(obj: Object) -> Correct:
    symbol, ts_event = _head(obj)
    return Correct(*_reference(obj), _order_id(obj), symbol, *_last(obj), ts_event)


def _bust(obj: Object) -> Bust:
    return Bust(*_reference(obj), _order_id(obj), *_head(obj))


def _control(obj: Object) -> Control:
    reason = obj.get("reason")
    return Control(
        type=obj["type"],
        scope=parse_text(require(obj, "scope"), "scope", MAX_ID),
        reason=parse_text(reason, "reason", MAX_REASON) if reason not in (None, "") else "",
        ts_event=parse_time(require(obj, "ts_event"), "ts_event"),
    )


_PARSERS: Final[dict[Topic, dict[str, Parser]]] = {
    Topic.ORDERS: {"new": _new, "replace": _replace, "cancel": _cancel},
    Topic.EXECUTIONS: {"fill": _fill, "correct": _correct, "bust": _bust},
    Topic.CONTROL: {"halt": _control, "resume": _control},
}
