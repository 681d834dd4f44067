"""The page of messages, from the AsyncAPI document."""

from __future__ import annotations

from typing import Any, Final

import orjson

from impactd.core.base.topics import INPUT_TOPICS, Topic
from tests.reference.asyncapi import CHANNELS, address, document, names_of
from tests.reference.markdown import code, table

Object = dict[str, Any]

_HEAD: Final = """\
# Messages

JSON in UTF-8, also as an [AsyncAPI 3.0 document](asyncapi.yaml); tests check what the service reads and publishes
against it. Topics have their default names here (`topics.prefix`, `topics.names`). Times are integer nanoseconds
since the epoch, UTC. They exceed 2^53: a client without 64-bit integers may send strings, and receives strings with
`wire.timestamps = "string"`. Quantities are exact to nine decimal places. A positive cost is money lost, for buys and
sells alike. Later releases may add fields; existing ones keep their meaning, or the schema's version rises: see
[compatibility](../compatibility.md). In ticks, fields
that are not known are ignored and records of an unknown `type` are counted and skipped; in orders, executions and
control both are refused by name, since an instruction that is ignored loses money.

Records that cannot be used become dead letters, whole and with a reason: see [errors](errors.md#dead-letters). Two more
topics are private to impactd: `impactd.journal` has one record per commit, which `impactd audit` and `impactd replay
--journal` read, and `impactd.state` has the service's state.
"""


def page() -> str:
    """Return the page."""
    whole = document()
    parts = [_HEAD]
    for heading, wanted in (("Inputs", True), ("Outputs", False)):
        parts.append(f"\n## {heading}\n")
        parts += [_topic(topic, whole) for topic in CHANNELS if (topic in INPUT_TOPICS) is wanted]
    return "".join(parts)


def _topic(topic: Topic, whole: Object) -> str:
    meaning, key = CHANNELS[topic]
    text = f"\n### {address(topic)}\n\n{meaning}" + (
        f" Key: {code(key)}.\n" if key in {"symbol", "cl_ord_id"} else f" Key: {key}.\n" if key else "\n"
    )
    if topic is Topic.PLANS_LATEST:
        return f"{text}The records are those of `{address(Topic.PLANS)}`.\n"
    return text + "".join(_message(name, whole) for name in names_of(topic))


def _message(name: str, whole: Object) -> str:
    message = whole["components"]["messages"][name]
    parts = [f"\n#### {name}\n"]
    schema = whole["components"]["schemas"].get(name)
    if schema is not None and "description" in schema:
        parts.append(f"\n{schema['description']}\n")
    headers = message.get("headers", {})
    if headers:
        needed = headers.get("required", ())
        rows = [
            (code(key), _form(item), _needed(key, needed), item.get("description", ""))
            for key, item in headers["properties"].items()
        ]
        parts.append("\n" + table(("header", "form", "", "meaning"), rows))
    if schema is not None:
        parts.append("\n" + table(("field", "form", "", "meaning"), _rows(schema)))
    examples = (
        orjson.dumps(example.get("payload", example.get("headers"))).decode() for example in message.get("examples", ())
    )
    parts += [f"\n```json\n{example}\n```\n" for example in examples]
    return "".join(parts)


def _needed(name: str, required: Any) -> str:
    return "" if name in required else "optional"


def _rows(schema: Object, above: str = "") -> list[tuple[str, str, str, str]]:
    rows = []
    for name, item in schema["properties"].items():
        if item is False:
            continue
        rows.append((code(above + name), _form(item), _needed(name, schema["required"]), item.get("description", "")))
        inner = _inner(item)
        if inner is not None:
            rows += _rows(inner, f"{above}{name}.")
    return rows


def _inner(schema: Object) -> Object | None:
    """Return the object that a field is, or that its entries are."""
    for item in (schema, *schema.get("oneOf", ()), schema.get("items", {})):
        if "properties" in item:
            return dict(item)
    return None


_FORMS: Final = {
    "time_in": "time",
    "time_out": "time",
    "number_in": "number",
    "quantity_in": "quantity",
    "quantity_out": "quantity",
    "symbol_in": "text",
    "id_in": "text",
}


def _form(schema: Object) -> str:
    """Return the form of a value, in words."""
    if "$ref" in schema:
        return _FORMS[schema["$ref"].rsplit("/", 1)[-1]]
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return " or ".join("null" if word is None else code(word) for word in schema["enum"])
    if "allOf" in schema:
        return _form(schema["allOf"][0])
    if "oneOf" in schema:
        return " or ".join(dict.fromkeys(_form(item) for item in schema["oneOf"]))
    if schema.get("type") == "array":
        inner = _form(schema["items"])
        return f"list of {schema['minItems']}: {inner}" if schema.get("minItems") else f"list: {inner}"
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    names = {"string": "text", "boolean": "true or false"}
    return " or ".join(names.get(kind, kind) for kind in kinds)
