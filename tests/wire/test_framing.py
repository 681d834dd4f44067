"""Avro and Protobuf say what JSON says: the same events, the same outputs to the byte, and Confluent's own framing."""

from __future__ import annotations

import dataclasses
import io
import json
import struct
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.decode import Decoder
from impactd.shell.kafka.registry import SchemaSource
from impactd.wire import forms
from impactd.wire.codec import FieldError, Limits
from impactd.wire.forms import Form
from impactd.wire.framing import TYPES, Format, Framer, Schema, Schemas, _type_of, proto_file, schema_text
from tests.paths import ROOT

fastavro = pytest.importorskip("fastavro")
pytest.importorskip("google.protobuf")

FORMATS: Final[tuple[Format, ...]] = ("avro", "protobuf")
EXAMPLES: Final = ROOT / "tests" / "reference" / "examples.json"
TS: Final = 1_743_687_000_000_000_000
ID: Final = 70_001
BY_TYPE: Final = {_type_of(form.name): (topic, form) for topic in forms.topics() for form in forms.forms_of(topic)}
#: A control's type is not the name of its schema.
BY_TYPE["halt"] = BY_TYPE["resume"] = BY_TYPE["control"]


def _schemas(form: Format, topic: Topic) -> Schemas:
    return Schemas({ID: Schema(TYPES[form], schema_text(form, topic))})


def _record(value: bytes, offset: int = 0) -> ConsumedRecord:
    return ConsumedRecord("x", 0, offset, TS // 1_000_000, None, value)


# What is published


def _examples() -> list[Any]:
    examples = json.loads(EXAMPLES.read_text("utf-8"))
    return [example for example in examples.values() if example.get("type") in BY_TYPE]


@pytest.mark.parametrize("form", FORMATS)
def test_published_message_comes_back_as_the_bytes_of_its_json(form: Format) -> None:
    found = _examples()
    assert {example["type"] for example in found} >= {"plan", "model", "estimate", "fill_cost", "order_cost", "alert"}
    for example in found:
        topic = BY_TYPE[example["type"]][0]
        value = Framer(form, topic, ID).frame(example)
        assert _schemas(form, topic).as_json(value) == orjson.dumps(example)


_FLOATS = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0)
_INT64 = st.integers(-(2**63), 2**63 - 1)


def _published(form: Form) -> st.SearchStrategy[Any]:
    """Return messages that a form allows, as the encoders write them."""
    made: st.SearchStrategy[Any]
    if form.kind == "record":
        fields = {name: _published(its) for name, its in form.fields}
        if "type" in fields:
            fields["type"] = st.just(_type_of(form.name))
        order, left_out = list(fields), {name for name, its in form.fields if its.left_out}
        made = st.fixed_dictionaries(fields).map(
            lambda found: {name: found[name] for name in order if name not in left_out or found[name] is not None}
        )
    elif form.kind == "list" and form.item is not None:
        made = st.lists(_published(form.item), max_size=3)
    elif form.kind == "map":
        made = st.dictionaries(st.text(max_size=3), _FLOATS, max_size=3)
    elif form.kind == "quantity":
        made = _FLOATS.map(lambda value: int(value) if abs(value) < 2**53 and value == int(value) else value)
        made = made.filter(lambda value: isinstance(value, int) or abs(value) < 2**53) | st.none()
    elif form.kind == "number":
        # Numbers that are not finite are null in JSON, whatever the schema asks for.
        made = _FLOATS | st.none()
    elif form.kind == "flag":
        made = st.booleans()
    elif form.kind in {"time", "int"}:
        made = _INT64
    else:
        made = st.text(max_size=5)
    return made | st.none() if form.optional else made


@pytest.mark.parametrize("form", FORMATS)
@given(data=st.data())
def test_any_published_message_comes_back_as_the_bytes_of_its_json(form: Format, data: st.DataObject) -> None:
    topic = data.draw(st.sampled_from(sorted(forms.OUTPUTS)))
    message = data.draw(st.one_of([_published(its) for its in forms.forms_of(topic)]))
    value = Framer(form, topic, ID).frame(message)
    assert _schemas(form, topic).as_json(value) == orjson.dumps(message)


# What is sent

_DECIMALS = st.one_of(
    st.decimals("0.000000001", "8999999999", places=9).map(str),
    st.integers(1, 9_000_000_000),
    st.floats(1e-6, 1e6),
    st.sampled_from(["0", "-1", "1e3", "x", "", "1_0", 0, -5]),
)
_TEXTS = st.sampled_from(["A1", "FROG", "x" * 64, "x" * 65, "", "buy", "sell", "close", "taker", "halt", "a\nb", "é"])
_TIMES = st.sampled_from([TS, TS + 1, TS + 3_600_000_000_000, 1, -1, 2**62])

#: Decimals among the fields that Avro and Protobuf carry as text.
_WORDS: Final = frozenset({
    "type", "symbol", "cl_ord_id", "orig_cl_ord_id", "exec_id", "exec_ref_id", "side", "aggressor", "auctions", "scope",
    "reason", "status", "venue", "venues", "auction", "currency", "calendar", "asset_class", "clear",
    "last_liquidity_ind",
})  # fmt: skip


def _sent(name: str, form: Form) -> st.SearchStrategy[Any]:
    if form.kind == "list" and form.item is not None:
        size = {"min_size": 2, "max_size": 2} if form.item.kind != "list" else {"max_size": 3}
        return st.lists(_sent(name, form.item), **size)
    if form.kind == "flag":
        return st.booleans()
    if form.kind == "time":
        return _TIMES
    return _TEXTS if name in _WORDS else _DECIMALS


@st.composite
def _inputs(draw: st.DrawFn) -> tuple[Topic, dict[str, Any]]:
    """Return an input message with any of its fields, good and bad."""
    topic = draw(st.sampled_from(sorted(forms.INPUTS)))
    kind = draw(st.sampled_from(sorted(forms.INPUTS[topic])))
    form = forms.input_form(kind)
    good = {"symbol": "FROG", "side": "buy", "cl_ord_id": "A1", "exec_id": "E1", "exec_ref_id": "E0", "scope": "all"}
    message: dict[str, Any] = {"type": draw(st.sampled_from(["halt", "resume"])) if kind == "control" else kind}
    for name, its in form.fields:
        if name in {"type", forms.CLEAR}:
            continue
        if its.optional and draw(st.booleans()):
            if kind == "replace" and draw(st.booleans()):
                message[name] = None
            continue
        usual = st.just(good[name]) if name in good else None
        value = draw(_sent(name, its) if usual is None else st.one_of(usual, usual, usual, _sent(name, its)))
        message[name] = value
    return topic, message


@pytest.mark.parametrize("form", FORMATS)
@given(sent=_inputs())
def test_input_is_the_event_or_the_refusal_that_its_json_is(form: Format, sent: tuple[Topic, dict[str, Any]]) -> None:
    topic, message = sent
    schemas = _schemas(form, topic)
    framed, plain = _record(Framer(form, topic, ID).frame(message)), _record(orjson.dumps(message))
    one = Decoder(Settings(), Limits(), 0, 1, schemas=SchemaSource(None, schemas))
    other = Decoder(Settings(), Limits(), 0, 1)
    if topic is Topic.TICKS:
        ours, theirs = one.ticks([framed]), other.ticks([plain])
        assert ours.skipped_unknown == theirs.skipped_unknown
        for field in dataclasses.fields(theirs.batch):
            found, wanted = getattr(ours.batch, field.name), getattr(theirs.batch, field.name)
            assert _bits(found) == _bits(wanted), field.name
        assert _with_raw(ours.events, framed) == _with_raw(theirs.events, framed)
        assert all(item.raw == framed.value for item in ours.events)
        refused, wanted_refused = ours.refused, theirs.refused
    else:
        events, wanted_events = one.events(topic, [framed]), other.events(topic, [plain])
        assert events.events == _with_raw(wanted_events.events, framed)
        refused, wanted_refused = events.refused, wanted_events.refused
    assert [item.reason for item in refused] in (
        [item.reason for item in wanted_refused],
        # A number is text here, so a wrong one may be called a wrong value where JSON's type was wrong, or the reverse.
        [{"type": "value", "value": "type"}.get(item.reason, item.reason) for item in wanted_refused],
    )
    assert [item.raw for item in refused] == [framed.value] * len(refused)


@pytest.mark.parametrize("form", FORMATS)
def test_orders_are_read_by_their_schema_whatever_the_codec_of_ticks(form: Format) -> None:
    message = {"type": "cancel", "cl_ord_id": "A1", "symbol": "FROG", "ts_event": TS}
    framed = _record(Framer(form, Topic.ORDERS, ID).frame(message))
    source = SchemaSource(None, _schemas(form, Topic.ORDERS))
    decoded = Decoder(Settings(wire={"codec": "dbn"}), Limits(), 0, 1, schemas=source).events(Topic.ORDERS, [framed])
    wanted = Decoder(Settings(), Limits(), 0, 1).events(Topic.ORDERS, [_record(orjson.dumps(message))])
    assert decoded.refused == []
    assert decoded.events == _with_raw(wanted.events, framed) != []


def _with_raw(events: list[Any], record: ConsumedRecord) -> list[Any]:
    """Return events with a record's own bytes, which a dead letter has."""
    return [dataclasses.replace(event, raw=record.value) for event in events]


def _bits(value: Any) -> Any:
    return value.tobytes() if hasattr(value, "tobytes") else value


# The bytes


def test_avro_begins_with_magic_and_id_and_is_plain_avro_behind() -> None:
    example = next(item for item in _examples() if item["type"] == "plan")
    value = Framer("avro", Topic.PLANS, ID).frame(example)
    assert value[:5] == struct.pack(">bI", 0, ID)
    schema = fastavro.parse_schema(json.loads(schema_text("avro", Topic.PLANS)))
    found = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
    assert (found["type"], found["cl_ord_id"], found["qty"]) == ("plan", example["cl_ord_id"], example["qty"])


def test_protobuf_has_the_place_of_its_message_as_confluent_writes_it() -> None:
    book = {"type": "book", "symbol": "FROG", "ts_event": TS, "bids": [["1", "2"]], "asks": []}
    # The first message of a file has a form of its own.
    assert Framer("protobuf", Topic.TICKS, 7).frame(book)[:7] == b"\x00\x00\x00\x00\x07\x00\x0a"
    trade = {"type": "trade", "symbol": "FROG", "ts_event": TS, "px": "1", "qty": "2"}
    place = list(forms.proto_messages()).index("Trade")
    assert Framer("protobuf", Topic.TICKS, 7).frame(trade)[:7] == b"\x00\x00\x00\x00\x07" + bytes([2, 2 * place])


def test_schema_of_another_program_is_read_by_its_names() -> None:
    text = json.dumps(
        {
            "type": "record",
            "name": "Trade",
            "fields": [
                {"name": "symbol", "type": "string"},
                {"name": "ts_event", "type": "long"},
                {"name": "px", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 9}},
                {"name": "qty", "type": "double"},
            ],
        }
    )
    from decimal import Decimal  # noqa: PLC0415

    out = io.BytesIO()
    values = {"symbol": "FROG", "ts_event": TS, "px": Decimal("12345678.123456789"), "qty": 100.0}
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(text)), values)
    schemas = Schemas({9: Schema("AVRO", text)})
    found = schemas.as_json(struct.pack(">bI", 0, 9) + out.getvalue())
    assert orjson.loads(found) == {
        "type": "trade", "symbol": "FROG", "ts_event": TS, "px": "12345678.123456789", "qty": 100.0
    }  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
def test_cut_and_foreign_bytes_are_refused_and_never_raise(form: Format) -> None:
    trade = {"type": "trade", "symbol": "FROG", "ts_event": TS, "px": "1", "qty": "2"}
    whole = Framer(form, Topic.TICKS, ID).frame(trade)
    damaged = [whole[:n] for n in range(5, len(whole))] + [whole + b"\xff", whole[:5] + bytes(range(255, 200, -1))]
    decoder = Decoder(Settings(), Limits(), 0, 1, schemas=SchemaSource(None, _schemas(form, Topic.TICKS)))
    decoded = decoder.ticks([_record(value, n) for n, value in enumerate([*damaged, whole])])
    # Protobuf may end behind any of its fields: those that are needed are then missing.
    assert {item.reason for item in decoded.refused} <= {"schema", "missing_field", "type", "value"}
    assert len(decoded.refused) + len(decoded.batch) == len(damaged) + 1
    assert decoded.batch.offset.tolist()[-1] == len(damaged)


@pytest.mark.parametrize(
    "schema",
    [
        Schema(fault="the registry has no such schema"),
        Schema("JSON", "{}"),
        Schema("AVRO", "{"),
        Schema("AVRO", '"nothing"'),
        Schema("PROTOBUF", "syntax"),
    ],
)
def test_schema_that_cannot_be_used_is_named(schema: Schema) -> None:
    with pytest.raises(FieldError) as caught:
        Schemas({1: schema}).as_json(b"\x00\x00\x00\x00\x01abc")
    assert caught.value.reason == "unknown_schema" or schema.type == "PROTOBUF"


def test_schemas_come_back_from_their_file() -> None:
    known = {3: Schema("AVRO", "é"), 7: Schema(fault="none")}
    assert Schemas.of_text(Schemas(known).to_text()).known == known


# The schemas


def test_protobuf_text_compiles_to_the_file_that_is_used(tmp_path: Any) -> None:
    protoc = pytest.importorskip("grpc_tools.protoc")
    from google.protobuf import descriptor_pb2  # noqa: PLC0415

    (tmp_path / "impactd.proto").write_text(forms.proto_text(), "utf-8")
    out = tmp_path / "out"
    assert protoc.main(["protoc", f"-I{tmp_path}", f"-o{out}", str(tmp_path / "impactd.proto")]) == 0
    [compiled] = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    for message in compiled.message_type:
        for field in message.field:
            field.ClearField("json_name")
    assert compiled == proto_file()


def test_numbers_of_fields_are_those_that_are_kept() -> None:
    kept = json.loads(forms.numbers_text())
    assert list(forms.proto_messages()) == list(kept)
    for name, fields in forms.proto_messages().items():
        assert all(kept[name][field.number - 1] == field.name for field in fields)


def test_every_message_has_a_schema() -> None:
    names = {path.stem for path in (ROOT / "daemon" / "impactd" / "schemas").glob("*.json")}
    assert names == {_type_of(form.name) for topic in forms.topics() for form in forms.forms_of(topic)}
