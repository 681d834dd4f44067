"""Avro and Protobuf schemas of every message, generated from what generates their JSON Schemas.

A message is a record of named forms.  Published messages take theirs from their classes, inputs from their JSON
Schemas.
Nothing loses a digit on the way: decimals of inputs are text, which the JSON decoders read to the last digit, and
published numbers are float64, as in JSON.  Times are 64-bit integers, ns.

Field numbers of Protobuf, and the places of its messages, are kept in ``schemas/impactd.numbers``: a name that is
there keeps its number in every release, and a new one takes the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, get_args, get_origin

from impactd.core.base.topics import Side, Topic
from impactd.core.outputs.messages import Alert, DayCost, Estimate, FillCost, Model, OrderCost, Plan, Slice
from impactd.core.outputs.units import Unit
from impactd.wire.message_types import field_type, is_left_out, message_fields, message_type

#: Topic: the messages that it carries.
OUTPUTS: Final[Mapping[Topic, Sequence[type]]] = {
    Topic.ESTIMATES: (Estimate,),
    Topic.MODELS: (Model,),
    Topic.PLANS: (Plan,),
    Topic.PLANS_LATEST: (Plan,),
    Topic.SLICES: (Slice,),
    Topic.ALERTS: (Alert,),
    Topic.TCA: (FillCost, OrderCost, DayCost),
}
INPUTS: Final[Mapping[Topic, Sequence[str]]] = {
    Topic.TICKS: ("book", "trade", "imbalance"),
    Topic.INSTRUMENTS: ("definition",),
    Topic.STATUS: ("status",),
    Topic.ORDERS: ("new", "replace", "cancel"),
    Topic.EXECUTIONS: ("fill", "correct", "bust"),
    Topic.CONTROL: ("control",),
}

#: Field of a `replace` that names the terms which JSON sets to null.
CLEAR: Final = "clear"

_PACKAGE: Final = "impactd"
_NUMBERS: Final = "impactd.numbers"

Kind = Literal["text", "time", "int", "flag", "number", "quantity", "record", "list", "map"]


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a field."""

    #: ``text`` also holds decimals of inputs; ``quantity`` is a number that JSON writes as an integer when whole.
    kind: Kind
    name: str = ""
    fields: tuple[tuple[str, Form], ...] = ()
    item: Form | None = None
    optional: bool = False
    #: Whether JSON leaves it out where it is null.
    left_out: bool = False
    meaning: str = ""


# Published messages, from their classes.

_BASES: Final[Mapping[Any, Kind]] = {int: "int", str: "text", bool: "flag", Side: "text"}


@cache
def output_form(message: type, name: str = "") -> Form:
    """Return the form of a published message, or of a part of the message `name`."""
    kind = message_type(message)
    name = _camel(kind or name)
    head = () if kind is None else (("type", Form("text", meaning=f"`{kind}`.")),)
    absent = {item.name for item in fields(message) if is_left_out(item)}
    made = []
    for field, hint in message_fields(message).items():
        form = _output(hint, f"{name}_{field}")
        made.append((field, replace(form, optional=True, left_out=True) if field in absent else form))
    return Form("record", name, (*head, *made), meaning=_first_line(message))


def _output(hint: Any, name: str) -> Form:
    base, unit, meaning, optional = field_type(hint)
    if get_origin(base) is tuple:
        return Form("list", item=_output(get_args(base)[0], name), optional=optional, meaning=meaning)
    if get_origin(base) is dict:
        return Form("map", item=_output(get_args(base)[1], name), optional=optional, meaning=meaning)
    if is_dataclass(base) and isinstance(base, type):
        form = output_form(base, name)
        return Form("record", form.name, form.fields, optional=optional, meaning=meaning)
    kind: Kind
    if unit is Unit.TIME:
        kind = "time"
    elif unit is Unit.QUANTA:
        kind = "quantity"
    elif base is float:
        kind = "quantity" if unit is Unit.SIZE else "number"
    else:
        kind = _BASES[base]
    return Form(kind, optional=optional, meaning=meaning)


def _first_line(message: type) -> str:
    return (message.__doc__ or "").strip().splitlines()[0]


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


# Inputs, from their JSON Schemas.


@cache
def input_form(name: str) -> Form:
    """Return the form of an input message."""
    schema = json.loads(_file(f"{name}.json"))
    required = {"type", *schema["required"]}
    fields = [
        (field, _input(form, optional=field not in required))
        for field, form in schema["properties"].items()
        if form is not False
    ]
    if name == "replace":
        meaning = "Terms to clear: JSON sends them as null."
        fields.append((CLEAR, Form("list", item=Form("text"), meaning=meaning)))
    return Form("record", _camel(name), tuple(fields), meaning=schema.get("description", ""))


def _input(schema: Mapping[str, Any], *, optional: bool) -> Form:
    meaning = schema.get("description", "")
    options = [item for item in schema.get("oneOf", ()) if item.get("type") != "null"]
    optional |= len(options) < len(schema.get("oneOf", ()))
    schema = (schema.get("allOf") or options or [schema])[0]
    if len(options) > 1:
        return Form("text", optional=optional, meaning=meaning)
    if "$ref" in schema:
        kind: Kind = "time" if schema["$ref"].endswith("/time_in") else "text"
        return Form(kind, optional=optional, meaning=meaning)
    if "oneOf" in schema:
        return Form("text", optional=optional, meaning=meaning)
    types = schema.get("type", "string")
    if types == "array":
        return Form("list", item=_input(schema["items"], optional=False), optional=optional, meaning=meaning)
    return Form("flag" if "boolean" in types else "text", optional=optional, meaning=meaning)


def _file(name: str) -> str:
    return resources.files("impactd").joinpath("schemas", name).read_text("utf-8")


def forms_of(topic: Topic) -> tuple[Form, ...]:
    """Return the forms of the messages on a topic."""
    if topic in OUTPUTS:
        return tuple(output_form(message) for message in OUTPUTS[topic])
    return tuple(input_form(name) for name in INPUTS[topic])


def topics() -> Iterator[Topic]:
    """Yield the topics that have schemas; two topics of plans have the same."""
    yield from (topic for topic in (*INPUTS, *OUTPUTS) if topic is not Topic.PLANS_LATEST)


# Avro

_AVRO: Final[Mapping[Kind, str]] = {
    "text": "string",
    "time": "long",
    "int": "long",
    "flag": "boolean",
    "number": "double",
    "quantity": "double",
}


@cache
def avro_schema(topic: Topic) -> Any:
    """Return the Avro schema of a topic's values: a record, or the union of several."""
    made = [_avro(form) for form in forms_of(topic)]
    return made[0] if len(made) == 1 else made


def avro_text(topic: Topic) -> str:
    """Return the Avro schema as it is registered."""
    return json.dumps(avro_schema(topic), ensure_ascii=False, indent=2) + "\n"


def _avro(form: Form) -> Any:
    made: Any
    if form.kind == "list" and form.item is not None:
        made = {"type": "array", "items": _avro(form.item)}
    elif form.kind == "map" and form.item is not None:
        made = {"type": "map", "values": _avro(form.item)}
    elif form.kind == "record":
        made = {"type": "record", "name": form.name, "namespace": _PACKAGE, "fields": []}
        for name, its in form.fields:
            field: dict[str, Any] = {"name": name, "type": _avro(its), "doc": its.meaning}
            if its.optional:
                field["default"] = None
            elif name == CLEAR:
                field["default"] = []
            made["fields"].append(field)
    else:
        made = _AVRO[form.kind]
    return ["null", made] if form.optional else made


# Protobuf

_PROTO: Final[Mapping[Kind, str]] = {**_AVRO, "time": "int64", "int": "int64", "flag": "bool"}


@dataclass(frozen=True, slots=True)
class ProtoField:
    """A field of a Protobuf message."""

    name: str
    number: int
    #: A scalar's, or a message's name.
    type: str
    repeated: bool
    meaning: str = ""


Messages = Mapping[str, tuple[ProtoField, ...]]

#: By message: name, type, whether it is repeated, and meaning of each field.
_Fields = dict[str, list[tuple[str, str, bool, str]]]


@cache
def proto_messages() -> Messages:
    """Return the messages of ``impactd.proto``, each in its place."""
    made, pinned = _fields(), _pinned()
    return {
        name: tuple(
            ProtoField(field, pinned[name].index(field) + 1, kind, repeated, meaning)
            for field, kind, repeated, meaning in made[name]
        )
        for name in pinned
        if name in made
    }


def numbers_text() -> str:
    """Return ``impactd.numbers`` with what is new at the end of each list."""
    pinned = _pinned()
    for name, parts in _fields().items():
        known = pinned.setdefault(name, [])
        known += [field for field, *_ in parts if field not in known]
    return json.dumps(pinned, indent=2) + "\n"


def _pinned() -> dict[str, list[str]]:
    """Return the fields of each message in the order of their numbers, as earlier releases have them."""
    pinned: dict[str, list[str]] = json.loads(_file(_NUMBERS))
    return pinned


def _fields() -> _Fields:
    """Return the fields of every message."""
    made: _Fields = {}
    for topic in topics():
        for form in forms_of(topic):
            _message(form, made)
    return made


def _message(form: Form, made: _Fields) -> str:
    fields = made.setdefault(form.name, [])
    if not fields:
        fields += [(name, *_proto(its, made), its.meaning) for name, its in form.fields]
    return form.name


def _proto(form: Form, made: _Fields) -> tuple[str, bool]:
    """Return a field's type, and whether it is repeated."""
    if form.kind == "map":
        # The bytes are those of a map, which would lose the order of its entries.
        made.setdefault("Entry", [("key", "string", False, ""), ("value", "double", False, "")])
        return "Entry", True
    if form.kind == "record":
        return _message(form, made), False
    if form.kind == "list" and form.item is not None:
        item = form.item
        if item.kind == "list" and item.item is not None:
            # A pair: Protobuf has no lists of lists.
            name, names = ("Level", ("px", "size")) if item.item.kind == "text" else ("Window", ("start", "end"))
            made.setdefault(name, [(part, _PROTO[item.item.kind], False, "") for part in names])
        else:
            name = _proto(item, made)[0]
        if not form.optional:
            return name, True
        # Protobuf does not tell a list that is null from an empty one.
        wrapper = f"{name[:1].upper()}{name[1:]}List"
        made.setdefault(wrapper, [("values", name, True, "")])
        return wrapper, False
    return _PROTO[form.kind], False


def proto_text() -> str:
    """Return ``impactd.proto``."""
    lines = ['syntax = "proto3";', "", f"package {_PACKAGE};"]
    for name, parts in proto_messages().items():
        lines += ["", f"message {name} {{"]
        for field in parts:
            if field.meaning:
                lines.append(f"  // {field.meaning}")
            label = "repeated" if field.repeated else "optional"
            lines.append(f"  {label} {field.type} {field.name} = {field.number};")
        lines.append("}")
    return "\n".join(lines) + "\n"
