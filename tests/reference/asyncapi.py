"""The service's messages as an AsyncAPI 3.0 document."""

from __future__ import annotations

from typing import Any, Final

import yaml

from impactd.__about__ import __version__
from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.outputs.messages import DeadLetter
from impactd.wire.registry import CODECS
from tests.reference import inputs, outputs, recorded
from tests.reference.errors import reasons

Object = dict[str, Any]

#: Topic: what it holds, and what its records' key is.
CHANNELS: Final = {
    Topic.TICKS: ("Books and trades; one object or an array of them per record.", "symbol"),
    Topic.ORDERS: ("Parent orders.", "symbol"),
    Topic.EXECUTIONS: ("Fills, corrections and busts.", "symbol"),
    Topic.CONTROL: ("Halts and resumes, one record in each partition.", None),
    Topic.INSTRUMENTS: ("Definitions of instruments.", "symbol"),
    Topic.STATUS: ("Trading status and imbalances of markets.", "symbol"),
    Topic.ESTIMATES: ("Slippage of one symbol and side over one closed minute.", "symbol"),
    Topic.MODELS: ("The impact model of one symbol and side after a closed minute.", "symbol"),
    Topic.PLANS: ("Schedules of parent orders.", "symbol"),
    Topic.PLANS_LATEST: ("The latest schedule of each order; compacted.", "cl_ord_id"),
    Topic.SLICES: ("What orders take of the prevailing book now; empty unless `plans.act` is `slices`.", "symbol"),
    Topic.ALERTS: ("Alerts for people.", "symbol, or none"),
    Topic.TCA: ("Costs of fills, orders and sessions.", "symbol"),
    Topic.DLQ: (
        "Records that could not be used: the original bytes, with the reason in the headers.",
        "the original one",
    ),
}

_TEXT: Final[Object] = {"type": "string"}

#: Headers of all that is published.
_HEADERS: Final[Object] = {
    "schema": {**_TEXT, "description": "Name and version of the message's schema."},
    "commit": {"type": "string", "pattern": "^[0-9]+:[0-9]+$", "description": "Partition number and commit."},
    "input": {
        **_TEXT,
        "description": "`TOPIC/PARTITION/OFFSET` of the input that caused the record; absent if none did.",
    },
}


def address(topic: Topic) -> str:
    """Return a topic's name by default."""
    return f"{Settings().topics.prefix}{topic.value}"


def text() -> str:
    """Return the document as YAML."""
    return "# Made by python -m tests.write_reference.\n" + yaml.dump(
        document(), Dumper=_Dumper, sort_keys=False, width=118, allow_unicode=True
    )


class _Dumper(yaml.SafeDumper):
    """Writes values in full wherever they stand: an alias is hard to read."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def document() -> Object:
    """Return the document."""
    messages = {**_input_messages(), **_output_messages(), "dead_letter": _dead_letter()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "impactd",
            "version": __version__,
            "description": (
                "Live order books in, least-impact execution schedules out. Topics are named by default;\n"
                "`topics.prefix` and `topics.names` rename them. Inputs have the\n"
                "same number of partitions, and records are placed by Kafka's murmur2 of the symbol. Fields may be\n"
                "added; these keep their meaning.\n"
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_id(topic): _channel(topic) for topic in CHANNELS},
        "operations": {
            ("read_" if topic in INPUT_TOPICS else "publish_") + _id(topic): _operation(topic) for topic in CHANNELS
        },
        "components": {
            "messages": messages,
            "schemas": {
                **inputs.SHARED,
                **outputs.SHARED,
                **inputs.INPUTS,
                **{outputs.name_of(cls): outputs.schema_of(cls) for cls in published()},
            },
        },
    }


def names_of(topic: Topic) -> tuple[str, ...]:
    """Return the names of the messages of a topic."""
    if topic in inputs.BY_TOPIC:
        return inputs.BY_TOPIC[topic]
    if topic is Topic.DLQ:
        return ("dead_letter",)
    return tuple(outputs.name_of(cls) for cls in outputs.BY_TOPIC[topic])


def published() -> list[Any]:
    """Return the types of all messages that are published, dead letters aside."""
    return list(dict.fromkeys(cls for classes in outputs.BY_TOPIC.values() for cls in classes))


def _id(topic: Topic) -> str:
    return topic.value.replace(".", "_")


def _channel(topic: Topic) -> Object:
    meaning, key = CHANNELS[topic]
    return {
        "address": address(topic),
        "description": f"{meaning} Key: {key}." if key else meaning,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names_of(topic)},
    }


def _operation(topic: Topic) -> Object:
    return {
        "action": "receive" if topic in INPUT_TOPICS else "send",
        "channel": {"$ref": f"#/channels/{_id(topic)}"},
        "summary": CHANNELS[topic][0],
    }


def _input_messages() -> dict[str, Object]:
    codec: Object = {
        "type": "object",
        "properties": {
            "codec": {"enum": list(CODECS.names()), "description": "Codec of the record; `wire.codec` by default."}
        },
    }
    made = {}
    for topic, names in inputs.BY_TOPIC.items():
        for name in names:
            payload: Object = {"$ref": f"#/components/schemas/{name}"}
            if topic is Topic.TICKS:
                batch = {"type": "array", "items": {"oneOf": [{"$ref": f"#/components/schemas/{n}"} for n in names]}}
                payload = {"oneOf": [payload, batch]}
            made[name] = {
                "name": name,
                **({"headers": codec} if topic is Topic.TICKS else {}),
                "payload": payload,
                "examples": [{"name": name, "payload": inputs.EXAMPLES[name]}],
            }
    return made


def _output_messages() -> dict[str, Object]:
    made = {}
    for cls in published():
        name = outputs.name_of(cls)
        schema = {"const": cls.SCHEMA, "description": _HEADERS["schema"]["description"]}
        made[name] = {
            "name": name,
            "headers": {
                "type": "object",
                "required": ["schema", "commit"],
                "properties": {**_HEADERS, "schema": schema},
            },
            "payload": {"$ref": f"#/components/schemas/{name}"},
            # One that is new has none until the pages are written.
            "examples": [{"name": name, "payload": shown} for shown in [recorded.examples().get(name)] if shown],
        }
    return made


def _dead_letter() -> Object:
    number = {"type": "string", "pattern": "^[0-9]+$"}
    own = {
        "reason": {"enum": sorted(reasons()), "description": "See [errors](errors.md#dead-letters)."},
        "detail": {**_TEXT, "description": "A sentence: what is wrong, and the remedy."},
        "source_topic": {**_TEXT, "description": "Origin of the record."},
        "source_partition": {**number, "description": "Origin of the record."},
        "source_offset": {**number, "description": "Origin of the record."},
        "codec": {**_TEXT, "description": "Codec of the record."},
        "original_bytes": {
            **number,
            "description": "Length of the whole value, if it was cut at `kafka.max_dead_letter_bytes`.",
        },
        "original_key_bytes": {**number, "description": "Length of the whole key, if it was cut."},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "Of the whole value, if it was cut."},
    }
    schema = {"const": DeadLetter.SCHEMA, "description": _HEADERS["schema"]["description"]}
    optional = {"original_bytes", "original_key_bytes", "sha256"}
    return {
        "name": "dead_letter",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "required": ["schema", "commit", *(name for name in own if name not in optional)],
            "properties": {"schema": schema, "commit": _HEADERS["commit"], "input": _HEADERS["input"], **own},
        },
        "payload": {"description": "The original bytes, whatever they are."},
        "examples": [{"name": "dead_letter", "headers": _headers_of(recorded.examples().get("dlq", {}))}],
    }


def _headers_of(letter: Object) -> Object:
    """Return the headers of a dead letter, which a file has as fields."""
    known = {name: str(value) for name, value in letter.items() if name not in {"type", "key", "value"}}
    # A file has one partition, and no commits.
    return {"schema": DeadLetter.SCHEMA, "commit": "0:1", "source_partition": "0"} | known
