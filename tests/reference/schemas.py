"""One JSON Schema (draft 2020-12) for each message, from the AsyncAPI document."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from tests.reference.asyncapi import document

Object = dict[str, Any]

_REF: Final = re.compile(r'"#/components/schemas/(\w+)"')


def names() -> list[str]:
    """Return the names of all messages that are JSON."""
    return [name for name, message in document()["components"]["messages"].items() if name != "dead_letter"]


def text(name: str) -> str:
    """Return the schema of a message, by itself."""
    schemas = document()["components"]["schemas"]
    used: Object = {}
    left = [name]
    while left:
        for found in _REF.findall(orjson.dumps(schemas[left.pop()]).decode()):
            if found not in used:
                used[found] = schemas[found]
                left.append(found)
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        **schemas[name],
        **({"$defs": dict(sorted(used.items()))} if used else {}),
    }
    made = orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    return _REF.sub(r'"#/$defs/\1"', made)
