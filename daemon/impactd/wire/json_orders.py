"""Our JSON of orders, executions, control, definitions and statuses: bytes to events of the core.

Each record is one object.  Every field is checked here, by itself and against
the record's other fields; what needs the order's state (a replace below
cum_qty, an unknown order, a second `new`) is the core's to judge.  A `type` or a
field that is not known is refused by name: an instruction that is ignored loses
money.

`cl_ord_id` of a `new` names the order for life.  As in FIX, a replace or cancel
may have an id of its own in `cl_ord_id`, and the id before it in
`orig_cl_ord_id`; both are then ids of the order, and any record may use any of them.

The terms of an order are parsed by the units of `impactd.core.inputs.terms.Terms`.
A replace changes the terms that it names; null clears an optional one.  Symbol
and side cannot change: `side` in a replace is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from impactd.core.base.instrument import FIELDS
from impactd.core.base.limits import MAX_RISK_AVERSION
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
from impactd.core.inputs.terms import AUCTIONS, MAX_HALF_LIFE_S, MAX_URGENCY, URGENCIES, Terms
from impactd.core.inputs.ticks import Int, Refused
from impactd.core.outputs.units import Unit
from impactd.wire.codec import FROM_DATA, FieldError, Limits, floor_ms, shown
from impactd.wire.fields import (
    MAX_ID,
    MAX_SYMBOL,
    parse_flag,
    parse_json,
    parse_number,
    parse_object,
    parse_positive_qty,
    parse_price,
    parse_side,
    parse_symbol,
    parse_text,
    parse_venue,
    require,
)
from impactd.wire.json_instruments import parse_definition, parse_imbalance, parse_status
from impactd.wire.message_types import field_type, message_fields
from impactd.wire.times import parse_time

NAME: Final = "json"
MAX_BLACKOUTS: Final = 64
MAX_REASON: Final = 500
MAX_VENUES: Final = 64
#: Half the price.
MAX_OFFSET_BPS: Final = 5_000.0

Object = dict[str, Any]
Parser = Callable[[Object], Event]


@dataclass(frozen=True, slots=True)
class DecodedEvents:
    """The decoded records of a batch, and those that were refused, each in their order."""

    events: list[Received[Any]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def decode_events(
    topic: Topic,
    values: Sequence[bytes],
    offsets: Sequence[int] | Int,
    ts_records: Sequence[int] | Int,
    keys: Sequence[bytes | None] | None = None,
    limits: Limits | None = None,
) -> DecodedEvents:
    """Decode records of an input topic other than ticks.

    Parameters
    ----------
    values, offsets, ts_records, keys
        Columns of the records; a timestamp may be `FROM_DATA`, which is then `ts_event`
        floored to the millisecond.
    """
    limits = limits or Limits()
    out = DecodedEvents()
    for i, value in enumerate(values):
        offset, ts_record = int(offsets[i]), int(ts_records[i])
        key = keys[i] if keys is not None else None
        try:
            event = _event(value, topic, limits)
        except FieldError as error:
            names = names_in(value, limits)
            out.refused.append(Refused(offset, error.reason, error.detail, value, key, NAME, ts_record, *names))
            continue
        at = floor_ms(event.ts_event) if ts_record == FROM_DATA else ts_record
        out.events.append(Received(event, offset, at, value, key))
    return out


def names_in(value: bytes, limits: Limits) -> tuple[str | None, str | None]:
    """Return symbol and cl_ord_id of a record that was refused, as far as they can be read."""
    if len(value) > limits.max_message_bytes:
        return None, None
    try:
        obj = parse_object(parse_json(value))
    except FieldError:
        return None, None
    names: list[str | None] = []
    for name, limit in (("symbol", MAX_SYMBOL), ("cl_ord_id", MAX_ID)):
        try:
            found = obj.get(name)
            names.append(parse_text(obj.get(f"orig_{name}") if found is None else found, name, limit))
        except FieldError:
            names.append(None)
    return names[0], names[1]


def _event(value: bytes, topic: Topic, limits: Limits) -> Event:
    if len(value) > limits.max_message_bytes:
        limit = limits.max_message_bytes
        raise FieldError("too_large", f"{len(value)} bytes; send at most {limit} (setting wire.max_message_bytes)")
    obj = parse_object(parse_json(value))
    kind = require(obj, "type")
    forms = _FORMS[topic]
    if type(kind) is not str:
        raise FieldError("type", f"type: {shown(kind)} is not a string; send one of {', '.join(forms)}")
    if kind not in forms:
        raise FieldError("unknown_type", f"type: {shown(kind)} is not known on {topic}; send one of {', '.join(forms)}")
    form = forms[kind]
    unknown = sorted(obj.keys() - form.fields)
    if unknown:
        raise FieldError("unknown_field", _unknown_field(unknown[0], kind, form))
    if limits.time_unit != "ns":
        obj = _in_ns(obj, limits.time_unit)
    return form.parse(obj)


#: What tickets elsewhere call our fields.
_MEANT: Final = {
    "completion": "must_complete",
    "price": "limit_px",
    "limit": "limit_px",
    "limit_price": "limit_px",
    "would": "would_px",
    "would_price": "would_px",
    "max_participation": "participation_rate",
    "max_pov": "participation_rate",
    "pov": "target_participation_rate",
    "min_participation": "min_participation_rate",
    "min_pov": "min_participation_rate",
    "start_time": "start",
    "end_time": "end",
    "qty": "order_qty",
    "quantity": "order_qty",
}
_OF_FLAG: Final = {"completion": ": true where it must complete, false where it may leave"}


def _unknown_field(name: str, kind: str, form: _Form) -> str:
    meant = _MEANT.get(name)
    near = [meant] if meant in form.fields else get_close_matches(name, sorted(form.fields), 1, cutoff=0.75)
    what = f"send {near[0]}{_OF_FLAG.get(name, '')}" if near else f"it has {', '.join(sorted(form.fields))}"
    return f"{shown(name)[1:-1]}: not a field of {kind}; leave it out, or {what}"


def _in_ns(obj: Object, unit: str) -> Object:
    """Return a record with its times in nanoseconds."""

    def converted(value: Any, name: str) -> Any:
        return [converted(item, name) for item in value] if type(value) is list else parse_time(value, name, unit)

    return obj | {name: converted(obj[name], name) for name in TIME_FIELDS if obj.get(name) is not None}


def _ids(obj: Object) -> tuple[str, str | None]:
    """Return cl_ord_id and, if another id comes before it, orig_cl_ord_id."""
    before = obj.get("orig_cl_ord_id")
    if before is None:
        return parse_text(require(obj, "cl_ord_id"), "cl_ord_id", MAX_ID), None
    before = parse_text(before, "orig_cl_ord_id", MAX_ID)
    if obj.get("cl_ord_id") is None:
        return before, None
    own = parse_text(obj["cl_ord_id"], "cl_ord_id", MAX_ID)
    return own, None if own == before else before


def _head(obj: Object) -> tuple[str, int]:
    return parse_symbol(require(obj, "symbol")), parse_time(require(obj, "ts_event"), "ts_event")


def _rate(value: object, name: str) -> float:
    rate = parse_number(value, name)
    if not 0.0 < rate <= 1.0:
        raise FieldError("value", f"{name}: {shown(value)} is not in (0, 1]; send a share of volume, or null")
    return rate


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


def _offset(value: object, name: str) -> float:
    number = parse_number(value, name)
    if not -MAX_OFFSET_BPS <= number <= MAX_OFFSET_BPS:
        raise FieldError(
            "value", f"{name}: {shown(value)} is beyond {MAX_OFFSET_BPS:g} basis points; send fewer, or null"
        )
    return number


def _auctions(value: object, name: str) -> str | None:
    if value not in AUCTIONS:
        raise FieldError("value", f"{name}: {shown(value)} is not known; send {', '.join(AUCTIONS)}, or null")
    return None if value == "none" else str(value)


def _half_life(value: object, name: str) -> float:
    number = parse_number(value, name)
    if not 1.0 <= number <= MAX_HALF_LIFE_S:
        raise FieldError(
            "value", f"{name}: {shown(value)} is not in [1, {MAX_HALF_LIFE_S:g}] seconds; send 600, say, or null"
        )
    return number


def _urgency(value: object, name: str) -> float:
    if type(value) is str and value in URGENCIES:
        return URGENCIES[value]
    if type(value) is str:
        raise FieldError("value", f"{name}: {shown(value)} is not known; send {', '.join(URGENCIES)} or a number")
    number = parse_number(value, name)
    if not 0.0 <= number <= MAX_URGENCY:
        raise FieldError("value", f"{name}: {shown(value)} is not in [0, {MAX_URGENCY:g}]; send normal, say, or null")
    return number


def _venues(value: object, name: str) -> tuple[str, ...]:
    """Return names of venues in order, so an order is the same however they were listed."""
    if type(value) is not list:
        raise FieldError("type", f"{name}: {shown(value)} is not an array; send names of venues, or null for all")
    if not 0 < len(value) <= MAX_VENUES:
        raise FieldError("value", f"{name}: {len(value)} venues; send 1 to {MAX_VENUES}, or null for all")
    return tuple(sorted({parse_venue(item, name) for item in value}))


#: How the value of a term is parsed, by its unit.
_BY_UNIT: Final[dict[Unit | None, Callable[[Any, str], Any]]] = {
    Unit.QUANTA: parse_positive_qty,
    Unit.TIME: parse_time,
    Unit.SHARE: _rate,
    Unit.PER_CURRENCY: _non_negative,
    Unit.URGENCY: _urgency,
    Unit.PRICE: parse_price,
    Unit.BPS: _offset,
    Unit.SECONDS: _half_life,
    Unit.AUCTIONS: _auctions,
    Unit.WINDOWS: _windows,
    Unit.VENUES: _venues,
    Unit.FLAG: parse_flag,
}


class _Term(NamedTuple):
    """How one term of an order is parsed."""

    #: From a value that is not null, and the term's name.
    parse: Callable[[Any, str], Any]
    #: In a new order without it; `MISSING` if an order needs it.
    default: Any
    #: Whether null clears it in a replace.
    clearable: bool


def _term(field: Field[Any], hint: Any) -> _Term:
    return _Term(_BY_UNIT[field_type(hint).unit], field.default, not field.default)


_HINTS: Final = message_fields(Terms)
#: The terms by name, in their order.
_TERMS: Final = {field.name: _term(field, _HINTS[field.name]) for field in fields(Terms)}


#: Fields of orders, fills and control that hold times, or lists of them.
TIME_FIELDS: Final = (
    "ts_event",
    *(name for name, hint in _HINTS.items() if field_type(hint).unit in {Unit.TIME, Unit.WINDOWS}),
)


def _check_window(start: int, end: int) -> None:
    if start >= end:
        raise FieldError("value", f"end: {end} is not after start {start}; the window is [start, end)")


def _new(obj: Object) -> NewOrder:
    cl_ord_id, before = _ids(obj)
    if before is not None:
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
    return NewOrder(cl_ord_id, symbol, parse_side(require(obj, "side")), ts_event, terms)


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
    cl_ord_id, before = _ids(obj)
    return ReplaceOrder(cl_ord_id, symbol, ts_event, tuple(changes.items()), before)


def _cancel(obj: Object) -> CancelOrder:
    cl_ord_id, before = _ids(obj)
    return CancelOrder(cl_ord_id, *_head(obj), before)


def _exec_id(obj: Object, name: str) -> str:
    return parse_text(require(obj, name), name, MAX_ID)


def _last(obj: Object) -> tuple[int, float]:
    """Return (last_qty in quanta, last_px)."""
    qty = parse_positive_qty(require(obj, "last_qty"), "last_qty")
    px = parse_price(require(obj, "last_px"), "last_px")
    return qty, px


def _fill(obj: Object) -> Fill:
    liquidity = obj.get("last_liquidity_ind")
    if liquidity not in (None, "taker", "maker", "auction"):
        raise FieldError("value", f'last_liquidity_ind: {shown(liquidity)}; send "taker", "maker", "auction" or null')
    venue = None if obj.get("venue") is None else parse_venue(obj["venue"])
    symbol, ts_event = _head(obj)
    qty, px = _last(obj)
    cl_ord_id, before = _ids(obj)
    return Fill(_exec_id(obj, "exec_id"), cl_ord_id, symbol, qty, px, ts_event, liquidity, before, venue)


def _reference(obj: Object) -> tuple[str, str]:
    exec_id, exec_ref_id = _exec_id(obj, "exec_id"), _exec_id(obj, "exec_ref_id")
    if exec_id == exec_ref_id:
        raise FieldError("value", f"exec_ref_id: {shown(exec_id)} is the record's own; name the fill that it is about")
    return exec_id, exec_ref_id


def _correct(obj: Object) -> Correct:
    symbol, ts_event = _head(obj)
    cl_ord_id, before = _ids(obj)
    return Correct(*_reference(obj), cl_ord_id, symbol, *_last(obj), ts_event, before)


def _bust(obj: Object) -> Bust:
    cl_ord_id, before = _ids(obj)
    return Bust(*_reference(obj), cl_ord_id, *_head(obj), before)


def _control(obj: Object) -> Control:
    reason = obj.get("reason")
    return Control(
        type=obj["type"],
        scope=parse_text(require(obj, "scope"), "scope", MAX_ID),
        reason=parse_text(reason, "reason", MAX_REASON) if reason not in (None, "") else "",
        ts_event=parse_time(require(obj, "ts_event"), "ts_event"),
    )


class _Form(NamedTuple):
    """The fields of one type of record, and the function that reads them."""

    parse: Parser
    fields: frozenset[str]

    @classmethod
    def of(cls, parse: Parser, *fields: str) -> _Form:
        return cls(parse, frozenset({"type", "ts_event", *fields}))


_ORDER: Final = ("cl_ord_id", "orig_cl_ord_id", "symbol")
_LAST: Final = ("exec_id", "last_qty", "last_px")

_FORMS: Final[dict[Topic, dict[str, _Form]]] = {
    Topic.ORDERS: {
        "new": _Form.of(_new, *_ORDER, "side", *_TERMS),
        "replace": _Form.of(_replace, *_ORDER, "side", *_TERMS),
        "cancel": _Form.of(_cancel, *_ORDER),
    },
    Topic.EXECUTIONS: {
        "fill": _Form.of(_fill, *_ORDER, *_LAST, "last_liquidity_ind", "venue"),
        "correct": _Form.of(_correct, *_ORDER, *_LAST, "exec_ref_id"),
        "bust": _Form.of(_bust, *_ORDER, "exec_id", "exec_ref_id"),
    },
    Topic.CONTROL: {kind: _Form.of(_control, "scope", "reason") for kind in ("halt", "resume")},
    Topic.INSTRUMENTS: {"definition": _Form.of(parse_definition, "symbol", *FIELDS)},
    Topic.STATUS: {
        "status": _Form.of(parse_status, "symbol", "status", "reason", "short_restricted"),
        "imbalance": _Form.of(parse_imbalance, "symbol", "auction", "paired_qty"),
    },
}
