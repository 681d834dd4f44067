"""The AsyncAPI document is one, what it says of inputs is what the decoders do, and what is published is as it says."""

from __future__ import annotations

import copy
import gzip
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema
import orjson
import pytest
import yaml

from impactd.core.base.topics import Topic
from impactd.wire.json_orders import decode_events
from impactd.wire.ticks.json.codec import JsonTickCodec
from tests.paths import ROOT
from tests.reference import asyncapi, inputs, messages, outputs, recorded

SCHEMA: Final = Path(__file__).parent / "asyncapi-3.0.0.json.gz"

Object = dict[str, Any]

#: Values that a field may or may not take, with what JSON can hold: none of them bears on other fields.
VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    "",
    "x",
    "x" * 33,
    "x" * 65,
    "x" * 501,
    "buy",
    "taker",
    "-1",
    "0",
    "0.5",
    "1e3",
    "0x1F",
    " 1",
    -1,
    -0.5,
    0,
    0.5,
    1,
    2,
    1743687000000000000,
    2**63 - 1,
    2**63,
    [],
    [[1, 2]],
    [["1", "2"]],
    [[1]],
    [[1, "x"]],
    [1, 2],
    {},
)


@cache
def _standard() -> Object:
    return orjson.loads(gzip.decompress(SCHEMA.read_bytes()))


@cache
def _document() -> Object:
    return yaml.safe_load(asyncapi.text())


def _validator(name: str, *, closed: bool = False) -> jsonschema.Draft7Validator:
    schemas = copy.deepcopy(_document()["components"]["schemas"])
    if closed:
        for schema in schemas.values():
            _close(schema)
    return jsonschema.Draft7Validator({"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}})


def _close(schema: Any) -> None:
    """Let an object have no field that is not described."""
    if isinstance(schema, dict):
        if "properties" in schema:
            schema["additionalProperties"] = False
        for inner in schema.values():
            _close(inner)
    elif isinstance(schema, list):
        for inner in schema:
            _close(inner)


def _decodes(topic: Topic, record: Object) -> bool:
    values, at = [orjson.dumps(record)], [1743700000000000000]
    if topic is Topic.TICKS:
        return not JsonTickCodec().reference().decode_columns(values, [0], at).refused
    return not decode_events(topic, values, [0], at).refused


def test_document_is_asyncapi() -> None:
    assert list(jsonschema.Draft7Validator(_standard()).iter_errors(_document())) == []


def test_standard_is_the_one_that_is_listed() -> None:
    listed = (ROOT / "docs" / "third-party.md").read_text(encoding="utf-8")
    assert f"| tests/reference/{SCHEMA.name} |" in listed
    assert hashlib.sha256(SCHEMA.read_bytes()).hexdigest() in listed


def test_standard_finds_a_fault() -> None:
    document = copy.deepcopy(_document())
    document["operations"]["read_ticks"]["action"] = "fly"
    assert not jsonschema.Draft7Validator(_standard()).is_valid(document)


def test_document_has_every_topic_that_others_read_or_write() -> None:
    assert set(asyncapi.CHANNELS) == set(Topic) - {Topic.JOURNAL, Topic.STATE}


def test_every_published_field_has_a_meaning() -> None:
    schemas = _document()["components"]["schemas"]
    fields = [(name, *pair) for name in map(outputs.name_of, asyncapi.published()) for pair in _fields(schemas[name])]
    assert [(name, field) for name, field, text in fields if field != "type" and not text.endswith(".")] == []


def _fields(schema: Object) -> Iterator[tuple[str, str]]:
    for field, item in schema.get("properties", {}).items():
        yield field, item.get("description", "")
        yield from _fields(item)
    for item in (*schema.get("oneOf", ()), *([schema["items"]] if "items" in schema else ())):
        yield from _fields(item)


@pytest.mark.parametrize(
    ("topic", "name"), [(topic, name) for topic, names in inputs.BY_TOPIC.items() for name in names], ids=str
)
def test_schema_of_an_input_takes_what_the_decoder_takes(topic: Topic, name: str) -> None:
    example = inputs.EXAMPLES[name]
    validator = _validator(name)
    assert validator.is_valid(example)
    assert _decodes(topic, example)
    properties = _document()["components"]["schemas"][name]["properties"]
    for field in properties.keys() - {"type", "orig_cl_ord_id", "end"}:
        without = {key: value for key, value in example.items() if key != field}
        assert validator.is_valid(without) == _decodes(topic, without), f"without {field}"
        for value in VALUES:
            record = example | {field: value}
            accepted = _decodes(topic, record)
            described = validator.is_valid(record)
            if described and not accepted:
                assert _is_beyond(name, field, value), f"{field}: {value!r} is described and refused"
            else:
                assert described == accepted, f"{field}: {value!r} is accepted and not described"


def _is_beyond(name: str, field: str, value: Any) -> bool:
    """Say whether a schema of JSON has no words for what is wrong with a value."""
    match field:
        case "start":
            # The window would end before it starts.
            return int(value) >= inputs.EXAMPLES["new"]["end"]
        case "alpha_half_life_s":
            return not 1 <= float(value) <= inputs.MAX_HALF_LIFE_S
        case "limit_offset_bps" | "alpha_bps":
            return not -inputs.MAX_OFFSET_BPS <= float(value) <= inputs.MAX_OFFSET_BPS
        case "last_px" | "limit_px" | "would_px":
            return float(value) != 0 and not 1e-12 <= abs(float(value)) < 9e9
        case "order_qty" | "max_interval_qty" | "min_clip_qty" | "lot_size" | "last_qty" | "min_qty" | "max_qty":
            # As a number the form is the same; as a string its sign and size are not.
            return isinstance(value, str) and not 0 < float(value) <= 9e9
        case "tick_size" | "multiplier":
            return not 1e-9 <= float(value) <= 1e9
        case "status":
            return value is None
        case (
            "participation_rate"
            | "min_participation_rate"
            | "target_participation_rate"
            | "would_rate"
            | "auction_rate"
        ):
            return isinstance(value, str) and not 0 < float(value) <= 1
        case "qty" | "paired_qty":
            return isinstance(value, str) and float(value) < 0
        case "risk_aversion":
            return not 0 <= float(value) <= 1e9
        case "blackouts":
            return any(int(start) >= int(end) for start, end in value)
        case _:
            return False


def test_replay_publishes_what_the_document_says(tmp_path: Path) -> None:
    """Orders, fills, a halt, a session's end and records that cannot be used: every message, no field undescribed."""
    made = list(recorded.published(tmp_path))
    for message in made:
        if message["type"] == "dlq":
            _check_dead_letter(message)
            continue
        faults = list(_closed(message["type"]).iter_errors(message))
        assert faults == [], f"{message['type']}: {faults[0].json_path} {faults[0].message}"
    assert {message["type"] for message in made} == {*map(outputs.name_of, asyncapi.published()), "dlq"}
    # Figures may differ in their last digit between machines; what they belong to may not.
    assert _outline(recorded.chosen(made)) == _outline(recorded.examples()), "python -m tests.write_reference"


def test_every_output_has_an_example_that_its_schema_takes() -> None:
    examples = recorded.examples()
    assert set(examples) == {*map(outputs.name_of, asyncapi.published()), "dlq"}
    page = messages.page()
    for name, example in examples.items():
        if name != "dlq":
            assert orjson.dumps(example).decode() in page
            assert list(_closed(name).iter_errors(example)) == []
    headers = _document()["components"]["messages"]["dead_letter"]
    jsonschema.validate(headers["examples"][0]["headers"], headers["headers"])
    assert orjson.dumps(headers["examples"][0]["headers"]).decode() in page


def _outline(value: Any) -> Any:
    """Return a value with numbers by their type, and everything else as it is."""
    if isinstance(value, dict):
        return {name: _outline(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_outline(item) for item in value]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else value


@cache
def _closed(name: str) -> jsonschema.Draft7Validator:
    return _validator(name, closed=True)


def _check_dead_letter(letter: Object) -> None:
    headers = _document()["components"]["messages"]["dead_letter"]["headers"]["properties"]
    assert letter["reason"] in headers["reason"]["enum"]
    assert set(letter) - {"type", "key", "value"} <= set(headers)
