"""The records that the service reads, as JSON Schema; `tests/reference/test_messages.py` holds them to the decoders."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, Final

from impactd.core.base.instrument import MAX_MULTIPLIER, MIN_MULTIPLIER, Instrument
from impactd.core.base.topics import Topic
from impactd.core.inputs.events import AUCTION_KINDS, STATUSES
from impactd.core.inputs.terms import AUCTIONS, MAX_HALF_LIFE_S, MAX_URGENCY, URGENCIES, Terms
from impactd.core.outputs.units import Unit
from impactd.wire.fields import MAX_ID, MAX_SYMBOL
from impactd.wire.json_instruments import MAX_PAIRED
from impactd.wire.json_orders import MAX_BLACKOUTS, MAX_OFFSET_BPS, MAX_REASON, MAX_VENUES
from impactd.wire.message_types import field_type, message_fields
from impactd.wire.times import MAX_NS, MIN_NS

Schema = dict[str, Any]

_DECIMAL: Final = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


def _with(schema: Schema, meaning: str) -> Schema:
    return {**schema, "description": meaning}


def _or_null(schema: Schema, meaning: str) -> Schema:
    return {"oneOf": [schema, {"type": "null"}], "description": meaning}


TIME: Final[Schema] = {
    "oneOf": [
        {"type": "integer", "minimum": MIN_NS, "maximum": MAX_NS},
        {"type": "string", "pattern": r"^[1-9][0-9]{17,18}(\.[0-9]{1,18})?$"},
        {
            "type": "string",
            "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]{8}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:?[0-9]{2})$",
        },
    ],
    "description": (
        "Nanoseconds since the epoch, UTC, as a number or as text, or whole numbers of `wire.time_unit`; or ISO 8601 "
        "text with its zone. From 1973 to 2255."
    ),
}
NUMBER: Final[Schema] = {
    "oneOf": [{"type": "number"}, {"type": "string", "pattern": _DECIMAL, "maxLength": 40}],
    "description": "A finite number, or the same as a decimal string.",
}
QUANTITY: Final[Schema] = {
    "oneOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": 9_000_000_000},
        {"type": "string", "pattern": _DECIMAL},
    ],
    "description": "A quantity above 0, exact to nine decimal places.",
}
SYMBOL: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MAX_SYMBOL, "description": "Printable."}
ID: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MAX_ID, "description": "Printable."}

SHARED: Final = {"time_in": TIME, "number_in": NUMBER, "quantity_in": QUANTITY, "symbol_in": SYMBOL, "id_in": ID}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _said(name: str, meaning: str) -> Schema:
    """Return a shared form with what it means here."""
    return {"allOf": [_ref(name)], "description": meaning}


_TS: Final = _said("time_in", "Time of the event at the venue or the sender.")
_SYMBOL: Final = _said("symbol_in", "The instrument; also the record's key.")
_PARENT: Final = _said("id_in", "An id of the order; that of its `new` names it for life.")
_ORIG: Final = _or_null(
    _ref("id_in"), "The id before `cl_ord_id` in a FIX chain (tag 41); both are the order's from then on."
)
_LEVELS: Final[Schema] = {
    "type": "array",
    "maxItems": 100,
    "items": {"type": "array", "items": _ref("number_in"), "minItems": 2, "maxItems": 2},
    "description": "`[price, size]`, best first; at most `books.max_levels`.",
}
_FLAG: Final[Schema] = {"type": ["boolean", "null"]}
_MEANINGS: Final = {field.name: field.metadata["meaning"] for field in fields(Instrument)}

_DECIMAL_TEXT: Final[Schema] = {"type": "string", "pattern": _DECIMAL, "maxLength": 40}
_POSITIVE_SHARE: Final[Schema] = {
    "oneOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        _DECIMAL_TEXT,
    ]
}
_NON_NEGATIVE: Final[Schema] = {"oneOf": [{"type": "number", "minimum": 0}, _DECIMAL_TEXT]}
_VENUE: Final[Schema] = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"}
_WINDOWS: Final[Schema] = {
    "type": "array",
    "maxItems": MAX_BLACKOUTS,
    "items": {"type": "array", "items": _ref("time_in"), "minItems": 2, "maxItems": 2},
}

#: The form of a term, by the unit that `Terms` gives it.
_BY_UNIT: Final[dict[Unit | None, Schema]] = {
    Unit.QUANTA: _ref("quantity_in"),
    Unit.TIME: _ref("time_in"),
    Unit.SHARE: _POSITIVE_SHARE,
    Unit.PER_CURRENCY: _NON_NEGATIVE,
    Unit.PRICE: {"oneOf": [{"type": "number"}, _DECIMAL_TEXT]},
    Unit.BPS: {"oneOf": [{"type": "number", "minimum": -MAX_OFFSET_BPS, "maximum": MAX_OFFSET_BPS}, _DECIMAL_TEXT]},
    Unit.AUCTIONS: {"enum": list(AUCTIONS)},
    Unit.SECONDS: {"oneOf": [{"type": "number", "minimum": 1, "maximum": MAX_HALF_LIFE_S}, _DECIMAL_TEXT]},
    Unit.URGENCY: {"oneOf": [{"type": "number", "minimum": 0, "maximum": MAX_URGENCY}, {"enum": list(URGENCIES)}]},
    Unit.WINDOWS: _WINDOWS,
    Unit.VENUES: {"type": "array", "minItems": 1, "maxItems": MAX_VENUES, "items": _VENUE},
    Unit.FLAG: {"type": "boolean"},
}


def _term(name: str, *, nullable: bool) -> Schema:
    found = field_type(message_fields(Terms)[name])
    form, meaning = _BY_UNIT[found.unit], found.meaning
    if found.unit is Unit.PER_CURRENCY:
        meaning = f"{meaning.rstrip('.')}, {found.unit}."
    if nullable:
        return _or_null(form, meaning)
    return {"allOf": [form], "description": meaning} if "$ref" in form else _with(form, meaning)


_DEFAULTS: Final = {field.name: field.default for field in fields(Terms)}
#: Terms of a replace: null clears those that may be absent. Of a new order: null stands for the default.
_TERMS: Final = {name: _term(name, nullable=not default) for name, default in _DEFAULTS.items()}
_NEW_TERMS: Final = {name: _term(name, nullable=default is not MISSING) for name, default in _DEFAULTS.items()}


def _object(kinds: str | list[str], required: list[str], properties: dict[str, Schema], **more: Any) -> Schema:
    kind: Schema = {"const": kinds} if isinstance(kinds, str) else {"enum": kinds}
    return {
        "type": "object",
        "required": ["type", *required],
        "properties": {"type": kind, **properties},
        **({} if kinds in ("book", "trade") else {"additionalProperties": False}),
        **more,
    }


#: Name: schema. A field that is not here is ignored in ticks, and refused by name in all others.
INPUTS: Final[dict[str, Schema]] = {
    "book": _object(
        "book",
        ["symbol", "ts_event", "bids", "asks"],
        {
            "symbol": _SYMBOL,
            "venue": _or_null(_VENUE, "Venue that it is of; see [venues](../howto/venues.md)."),
            "ts_event": _TS,
            "ts_recv": _or_null(_ref("time_in"), "When the feed handler received it."),
            "bids": _LEVELS,
            "asks": _LEVELS,
            "mid_event": _with(_FLAG, "True: a book in the middle of a venue event, which is not used."),
        },
    ),
    "trade": _object(
        "trade",
        ["symbol", "ts_event", "px", "qty"],
        {
            "symbol": _SYMBOL,
            "venue": _or_null(_VENUE, "Venue that it is of; see [venues](../howto/venues.md)."),
            "ts_event": _TS,
            "ts_recv": _or_null(_ref("time_in"), "When the feed handler received it."),
            "px": _said("number_in", "Price."),
            "qty": {
                "oneOf": [
                    {"type": "number", "minimum": 0, "exclusiveMaximum": 9_999_999_999},
                    _DECIMAL_TEXT,
                ],
                "description": "Traded quantity.",
            },
            "aggressor": {"enum": ["buy", "sell", None], "description": "Side of the taker; null if unknown."},
            "auction": _with(_FLAG, "True: an auction print, not counted as continuous volume."),
        },
    ),
    "new": _object(
        "new",
        ["symbol", "side", "order_qty", "ts_event", "start", "end"],
        {
            "cl_ord_id": _PARENT,
            "orig_cl_ord_id": _or_null(_ref("id_in"), "Equal to `cl_ord_id`, or absent."),
            "symbol": _SYMBOL,
            "side": {"enum": ["buy", "sell"], "description": "A buy walks the asks."},
            "ts_event": _TS,
            **_NEW_TERMS,
        },
        anyOf=[{"required": ["cl_ord_id"]}, {"required": ["orig_cl_ord_id"]}],
    ),
    "replace": _object(
        "replace",
        ["symbol", "ts_event"],
        {"cl_ord_id": _PARENT, "orig_cl_ord_id": _ORIG, "symbol": _SYMBOL, "ts_event": _TS, **_TERMS, "side": False},
        allOf=[
            {"anyOf": [{"required": ["cl_ord_id"]}, {"required": ["orig_cl_ord_id"]}]},
            {"anyOf": [{"required": [name]} for name in _TERMS]},
        ],
        description="Changes the fields that it names; null clears a limit. Symbol and side cannot change.",
    ),
    "cancel": _object(
        "cancel",
        ["symbol", "ts_event"],
        {"cl_ord_id": _PARENT, "orig_cl_ord_id": _ORIG, "symbol": _SYMBOL, "ts_event": _TS},
        anyOf=[{"required": ["cl_ord_id"]}, {"required": ["orig_cl_ord_id"]}],
    ),
    "fill": _object(
        "fill",
        ["exec_id", "symbol", "last_qty", "last_px", "ts_event"],
        {
            "exec_id": _said("id_in", "Id of the execution: a second record with the same id does not count again."),
            "cl_ord_id": _PARENT,
            "orig_cl_ord_id": _ORIG,
            "symbol": _SYMBOL,
            "last_qty": _said("quantity_in", "Filled quantity."),
            "last_px": _said("number_in", "Price of the fill."),
            "venue": _or_null(_VENUE, "Venue where it traded."),
            "last_liquidity_ind": {
                "enum": ["taker", "maker", "auction", None],
                "description": "Only taker fills correct the model.",
            },
            "ts_event": _TS,
        },
        anyOf=[{"required": ["cl_ord_id"]}, {"required": ["orig_cl_ord_id"]}],
    ),
    "correct": _object(
        "correct",
        ["exec_id", "exec_ref_id", "symbol", "last_qty", "last_px", "ts_event"],
        {
            "exec_id": _said("id_in", "Id of the execution."),
            "exec_ref_id": _said("id_in", "The fill that it corrects, or the latest correction of it."),
            "cl_ord_id": _PARENT,
            "orig_cl_ord_id": _ORIG,
            "symbol": _SYMBOL,
            "last_qty": _said("quantity_in", "Quantity as it should have been."),
            "last_px": _said("number_in", "Price as it should have been."),
            "ts_event": _TS,
        },
        anyOf=[{"required": ["cl_ord_id"]}, {"required": ["orig_cl_ord_id"]}],
    ),
    "bust": _object(
        "bust",
        ["exec_id", "exec_ref_id", "symbol", "ts_event"],
        {
            "exec_id": _said("id_in", "Id of the execution."),
            "exec_ref_id": _said("id_in", "The fill that it cancels, or the latest correction of it."),
            "cl_ord_id": _PARENT,
            "orig_cl_ord_id": _ORIG,
            "symbol": _SYMBOL,
            "ts_event": _TS,
        },
        anyOf=[{"required": ["cl_ord_id"]}, {"required": ["orig_cl_ord_id"]}],
    ),
    "control": _object(
        ["halt", "resume"],
        ["scope", "ts_event"],
        {
            "scope": _said(
                "id_in",
                "`*` for everything, a symbol (then its books are not used either), or an id of an order.",
            ),
            "reason": {
                "type": ["string", "null"],
                "maxLength": MAX_REASON,
                "description": "Shown in plans and alerts.",
            },
            "ts_event": _TS,
        },
    ),
}


def _stated(name: str) -> Schema:
    """Return the form of a field of a definition; null stands for not stated."""
    number = {"oneOf": [{"type": "number", "exclusiveMinimum": 0}, _DECIMAL_TEXT]}
    points = {"oneOf": [{"type": "number", "minimum": MIN_MULTIPLIER, "maximum": MAX_MULTIPLIER}, _DECIMAL_TEXT]}
    code = {"type": "string", "pattern": r"^[A-Z][A-Z0-9]{1,9}$"}
    named = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,31}$"}
    forms = {"tick_size": number, "multiplier": points, "currency": code, "calendar": named, "asset_class": named}
    return _or_null((forms | {"negative_px": {"type": "boolean"}}).get(name, _ref("quantity_in")), _MEANINGS[name])


INPUTS.update(
    {
        "definition": _object(
            "definition",
            ["symbol", "ts_event"],
            {"symbol": _SYMBOL, "ts_event": _TS, **{name: _stated(name) for name in _MEANINGS}},
        ),
        "status": _object(
            "status",
            ["symbol", "ts_event"],
            {
                "symbol": _SYMBOL,
                "ts_event": _TS,
                "status": _or_null(
                    {"enum": list(STATUSES)},
                    "Orders wait and books are not used unless it is `trading`; null leaves what was said before.",
                ),
                "short_restricted": _or_null(
                    {"type": "boolean"},
                    "Whether short sales are restricted: sells wait; null leaves what was said before.",
                ),
                "reason": {
                    "type": ["string", "null"],
                    "maxLength": MAX_REASON,
                    "description": "Shown in plans and alerts.",
                },
            },
            anyOf=[{"required": ["status"]}, {"required": ["short_restricted"]}],
        ),
        "imbalance": _object(
            "imbalance",
            ["symbol", "ts_event", "auction", "paired_qty"],
            {
                "symbol": _SYMBOL,
                "ts_event": _TS,
                "auction": {"enum": list(AUCTION_KINDS), "description": "Which auction of the session."},
                "paired_qty": {
                    "oneOf": [{"type": "number", "minimum": 0, "maximum": MAX_PAIRED}, _DECIMAL_TEXT],
                    "description": "Quantity that the venue has paired so far.",
                },
            },
        ),
    }
)

#: Topic: the records that it takes.
BY_TOPIC: Final = {
    Topic.TICKS: ("book", "trade"),
    Topic.ORDERS: ("new", "replace", "cancel"),
    Topic.EXECUTIONS: ("fill", "correct", "bust"),
    Topic.CONTROL: ("control",),
    Topic.INSTRUMENTS: ("definition",),
    Topic.STATUS: ("status", "imbalance"),
}

#: Name: a record as it may be sent.
EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "book": {
        "type": "book",
        "symbol": "FROG",
        "ts_event": 1743687000125395235,
        "bids": [[31.20, 300], [31.19, 500]],
        "asks": [[31.25, 200], [31.26, 400]],
    },
    "trade": {
        "type": "trade",
        "symbol": "FROG",
        "ts_event": 1743687000125395235,
        "px": 31.22,
        "qty": 100,
        "aggressor": "buy",
    },
    "new": {
        "type": "new",
        "cl_ord_id": "A1",
        "symbol": "FROG",
        "side": "buy",
        "order_qty": 20000,
        "ts_event": 1743687000000000000,
        "start": 1743687000000000000,
        "end": 1743710400000000000,
        "participation_rate": 0.1,
        "lot_size": 100,
    },
    "replace": {
        "type": "replace",
        "cl_ord_id": "A1",
        "symbol": "FROG",
        "ts_event": 1743690000000000000,
        "order_qty": 26000,
    },
    "cancel": {"type": "cancel", "cl_ord_id": "A1", "symbol": "FROG", "ts_event": 1743690000000000000},
    "fill": {
        "type": "fill",
        "exec_id": "E1",
        "cl_ord_id": "A1",
        "symbol": "FROG",
        "last_qty": 200,
        "last_px": 31.26,
        "last_liquidity_ind": "taker",
        "ts_event": 1743687060000000000,
    },
    "correct": {
        "type": "correct",
        "exec_id": "E2",
        "exec_ref_id": "E1",
        "cl_ord_id": "A1",
        "symbol": "FROG",
        "last_qty": 100,
        "last_px": 31.26,
        "ts_event": 1743687090000000000,
    },
    "bust": {
        "type": "bust",
        "exec_id": "E3",
        "exec_ref_id": "E1",
        "cl_ord_id": "A1",
        "symbol": "FROG",
        "ts_event": 1743687120000000000,
    },
    "control": {"type": "halt", "scope": "FROG", "reason": "news", "ts_event": 1743687120000000000},
    "definition": {
        "type": "definition",
        "symbol": "ESM5",
        "ts_event": 1743687000000000000,
        "tick_size": 0.25,
        "multiplier": 50,
        "currency": "USD",
        "asset_class": "future",
    },
    "status": {
        "type": "status",
        "symbol": "FROG",
        "ts_event": 1743687120000000000,
        "status": "halt",
        "reason": "LUDP",
    },
    "imbalance": {
        "type": "imbalance",
        "symbol": "FROG",
        "ts_event": 1743709500000000000,
        "auction": "close",
        "paired_qty": 84000,
    },
}
