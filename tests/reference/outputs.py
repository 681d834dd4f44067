"""The records that the service publishes, as JSON Schema, read from the types of the messages."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, Final, get_args, get_origin

from impactd.core.base.topics import Side
from impactd.core.model.kinds.registry import MODEL_KINDS
from impactd.core.orders.order import Status
from impactd.core.outputs.units import Unit
from impactd.wire.forms import OUTPUTS
from impactd.wire.message_types import field_type, is_left_out, message_fields, message_type
from tests.reference.errors import ALERTS

Schema = dict[str, Any]

#: Topic: the messages that it carries.
BY_TOPIC: Final = OUTPUTS

SHARED: Final[dict[str, Schema]] = {
    "time_out": {
        "oneOf": [{"type": "integer"}, {"type": "string", "pattern": "^[0-9]+$"}],
        "description": 'Nanoseconds since the epoch, UTC; a string under `wire.timestamps = "string"`.',
    },
    "quantity_out": {"type": "number", "description": "A quantity; an integer when whole."},
}

#: Words that a field is limited to.
_WORDS: Final = {
    ("model", "kind"): list(MODEL_KINDS.names()),
    ("model", "unit"): ["price_per_share"],
    ("plan", "status"): [*map(str, Status), "halted"],
    ("order_cost", "status"): [str(status) for status in Status if status not in {Status.ACTIVE, Status.REJECTED}],
    ("alert", "kind"): sorted(ALERTS),
    ("fill_cost", "liquidity"): ["taker", "maker", "auction", None],
}

_PLAIN: Final[dict[type, Schema]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    Side: {"enum": [str(side) for side in Side]},
}
#: Forms that a unit gives.
_BY_UNIT: Final[dict[Unit | None, Schema]] = {
    Unit.TIME: {"$ref": "#/components/schemas/time_out"},
    Unit.QUANTA: {"$ref": "#/components/schemas/quantity_out"},
}
#: Units that the form, or the field's name, gives already.
_UNSAID: Final = frozenset({Unit.TIME, Unit.QUANTA, Unit.SIZE, Unit.PRICE, Unit.SHARE, Unit.COUNT, Unit.SECONDS})


def name_of(message: type) -> str:
    """Return the name by which a message's type and its schema header call it."""
    return str(message_type(message))


def schema_of(message: type, name: str = "") -> Schema:
    """Return the JSON Schema of a published message, or of a part of the message `name`."""
    kind = message_type(message)
    properties: dict[str, Schema] = {} if kind is None else {"type": {"const": kind}}
    for field, hint in message_fields(message).items():
        words = _WORDS.get((kind or name, field))
        schema = {"enum": words} if words else _form(hint, kind or name)
        properties[field] = {**_described(schema), "description": meaning_of(hint)}
    left_out = {item.name for item in fields(message) if is_left_out(item)}
    required = [field for field in properties if field not in left_out]
    return {"type": "object", "required": required, "properties": properties}


def meaning_of(hint: Any) -> str:
    """Return a field's meaning with its unit, which may be that of its entries."""
    base, unit, meaning, _ = field_type(hint)
    if unit is None and get_origin(base) is tuple:
        unit = field_type(get_args(base)[0]).unit
    return meaning if unit is None or unit in _UNSAID else f"{meaning[:-1]} ({unit})."


def _described(schema: Schema) -> Schema:
    """Return a schema that may have a description: next to a reference it would not count."""
    return {"allOf": [schema]} if "$ref" in schema else schema


def _form(hint: Any, name: str) -> Schema:
    base, unit, _, optional = field_type(hint)
    schema = _required(base, unit, name)
    return {"oneOf": [schema, {"type": "null"}]} if optional else schema


def _required(base: Any, unit: Unit | None, name: str) -> Schema:
    if get_origin(base) is tuple:
        of = get_args(base)
        array = {"type": "array", "items": _form(of[0], name)}
        return array if of[-1] is Ellipsis else {**array, "minItems": len(of), "maxItems": len(of)}
    if get_origin(base) is dict:
        return {"type": "object", "additionalProperties": {"type": "number"}}
    if is_dataclass(base) and isinstance(base, type):
        return schema_of(base, name)
    return dict(_BY_UNIT.get(unit) or _PLAIN[base])
