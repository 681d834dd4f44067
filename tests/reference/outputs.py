"""The records that the service publishes, as JSON Schema, read from the messages' types and from what the encoder does.

Whether an integer is a time, a quantity or a count is asked of the encoder
itself: a made-up message is written once with times as integers and once as
strings, and the two are compared.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Final

from impactd.core.base.topics import Side, Topic
from impactd.core.model.kinds.registry import MODEL_KINDS
from impactd.core.orders.order import Status
from impactd.core.outputs.messages import Alert, DayCost, Estimate, FillCost, Model, OrderCost, Plan
from impactd.wire.records import message_dict, schema_header
from tests.reference.errors import ALERTS
from tests.reference.meanings import MEANINGS, OF_MESSAGE

Schema = dict[str, Any]

#: Topic: the messages that it carries.
BY_TOPIC: Final = {
    Topic.ESTIMATES: (Estimate,),
    Topic.MODELS: (Model,),
    Topic.PLANS: (Plan,),
    Topic.PLANS_LATEST: (Plan,),
    Topic.ALERTS: (Alert,),
    Topic.TCA: (FillCost, OrderCost, DayCost),
}

SHARED: Final[dict[str, Schema]] = {
    "time_out": {
        "oneOf": [{"type": "integer"}, {"type": "string", "pattern": "^[0-9]+$"}],
        "description": 'Nanoseconds since the epoch, UTC; a string under `wire.timestamps = "string"`.',
    },
    "quantity_out": {"type": "number", "description": "A quantity; an integer when whole."},
}

#: Words that a field is limited to.
_WORDS: Final = {
    ("model", "kind"): list(MODEL_KINDS),
    ("model", "unit"): ["price_per_share"],
    ("plan", "status"): [*map(str, Status), "halted"],
    ("order_cost", "status"): [str(status) for status in Status if status not in {Status.ACTIVE, Status.REJECTED}],
    ("alert", "kind"): sorted(ALERTS),
    ("fill_cost", "liquidity"): ["taker", "maker", None],
}

_INT: Final = 7
_OTHERS: Final[dict[type, Any]] = {int: _INT, float: 0.5, str: "x", bool: True, Side: Side.BUY}
_PLAIN: Final[dict[type, Schema]] = {
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    Side: {"enum": [str(side) for side in Side]},
}


def name_of(message: type) -> str:
    """Return the name by which a message's type and its schema header call it."""
    return str(message_dict(_made(message))["type"])


def header_of(message: type) -> str:
    """Return the schema header of a message."""
    return schema_header(_made(message))[1].decode()


def schema_of(message: type) -> Schema:
    """Return the JSON Schema of a published message."""
    made = _made(message)
    return _object(message, message_dict(made), message_dict(made, "string"), name_of(message))


def _object(cls: type, plain: dict[str, Any], texts: dict[str, Any], name: str) -> Schema:
    hints = typing.get_type_hints(cls)
    properties: dict[str, Schema] = {}
    for field, value in plain.items():
        if field == "type" and field not in hints:
            properties[field] = {"const": name}
            continue
        words = _WORDS.get((name, field))
        schema = {"enum": words} if words else _leaf(hints[field], value, texts[field], name)
        properties[field] = {**_described(schema), "description": meaning(name, field)}
    return {"type": "object", "required": list(plain), "properties": properties}


def meaning(message: str, field: str) -> str:
    """Return what a field of a message means, or nothing where nobody has said so."""
    return OF_MESSAGE.get(message, {}).get(field) or MEANINGS.get(field, "")


def _described(schema: Schema) -> Schema:
    """Return a schema that may have a description: beside a reference it would not count."""
    return {"allOf": [schema]} if "$ref" in schema else schema


def _leaf(hint: Any, value: Any, text: Any, name: str) -> Schema:
    inner, optional = _unwrapped(hint)
    schema = _required(inner, value, text, name)
    return {"oneOf": [schema, {"type": "null"}]} if optional else schema


def _required(hint: Any, value: Any, text: Any, name: str) -> Schema:
    if typing.get_origin(hint) is tuple:
        of = typing.get_args(hint)
        if of[-1] is Ellipsis:
            return {"type": "array", "items": _leaf(of[0], value[0], text[0], name)}
        items = _leaf(of[0], value[0], text[0], name)
        return {"type": "array", "items": items, "minItems": len(of), "maxItems": len(of)}
    if typing.get_origin(hint) is dict:
        return {"type": "object", "additionalProperties": {"type": "number"}}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _object(hint, value, text, name)
    if hint is int:
        if isinstance(text, str):
            return {"$ref": "#/components/schemas/time_out"}
        return {"$ref": "#/components/schemas/quantity_out"} if value != _INT else {"type": "integer"}
    return dict(_PLAIN[hint])


def _unwrapped(hint: Any) -> tuple[Any, bool]:
    """Return a type without None, and whether it had it."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        given = [item for item in typing.get_args(hint) if item is not type(None)]
        return given[0], len(given) < len(typing.get_args(hint))
    return hint, False


def _made(hint: Any) -> Any:
    """Return a value of a type, with nothing left out."""
    inner, _ = _unwrapped(hint)
    if typing.get_origin(inner) is tuple:
        of = typing.get_args(inner)
        return tuple(_made(item) for item in of if item is not Ellipsis)
    if typing.get_origin(inner) is dict:
        return {"beta": 0.5}
    if dataclasses.is_dataclass(inner) and isinstance(inner, type):
        return inner(**{name: _made(item) for name, item in typing.get_type_hints(inner).items()})
    return _OTHERS[inner]
