"""Values in Avro and Protobuf, framed as Confluent's serializers frame them, to our JSON and back.

A framed value is a zero byte, the schema's id in the registry (4 bytes, big-endian), for Protobuf the place of its
message in the schema, then the bytes.  No field is judged here: a value becomes the JSON object that says the same, and
the JSON decoders decide what it means.  https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop
"""

from __future__ import annotations

import base64
import io
import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

import orjson

from impactd.core.base.extras import MissingExtraError, extra_module
from impactd.core.base.topics import Topic
from impactd.wire import forms
from impactd.wire.codec import FieldError
from impactd.wire.forms import Form
from impactd.wire.message_types import message_type, quantity

if TYPE_CHECKING:
    from google.protobuf.message import Message

Format = Literal["avro", "protobuf"]

_HEAD: Final = struct.Struct(">BI")
_MAGIC: Final = 0
#: Bytes by which a value names its schema.
HEAD_BYTES: Final = _HEAD.size

#: The registry's names of the formats.
TYPES: Final[Mapping[str, str]] = {"avro": "AVRO", "protobuf": "PROTOBUF"}

#: File of the schemas of a capture, next to its other files.
SCHEMAS: Final = "schemas.json"

Reader = Callable[[bytes], Any]


def is_framed(value: bytes | None) -> bool:
    """Return whether a value names a schema; no JSON begins so."""
    return value is not None and len(value) >= HEAD_BYTES and value[0] == _MAGIC


def schema_id(value: bytes) -> int:
    """Return the id of a framed value's schema."""
    return int(_HEAD.unpack_from(value)[1])


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema as the registry has it."""

    #: ``AVRO``, ``PROTOBUF``, or one that is not read.
    type: str = "AVRO"
    text: str = ""
    #: Of Protobuf the compiled file, in Base64; empty where `text` is ours.
    descriptor: str = ""
    #: Why there is no such schema; empty where there is.
    fault: str = ""


class Schemas:
    """Schemas by id, and the decoders that follow from them.

    The schema of an id never changes in a registry, so a schema that is here stays valid.
    """

    def __init__(self, known: Mapping[int, Schema] | None = None) -> None:
        self.known: dict[int, Schema] = dict(known or {})
        self._readers: dict[int, Reader] = {}

    @staticmethod
    def named(values: Iterable[bytes | None]) -> set[int]:
        """Return the ids that framed values name."""
        return {schema_id(value) for value in values if value is not None and is_framed(value)}

    def as_json(self, value: bytes) -> bytes:
        """Return a framed value as the JSON that says the same.

        Raises
        ------
        FieldError
            ``unknown_schema``, ``schema`` or ``not_finite``.
        KeyError
            If its schema is not here.
        """
        number = schema_id(value)
        reader = self._readers.get(number)
        if reader is None:
            reader = self._readers[number] = _reader(self.known[number], number)
        try:
            return orjson.dumps(reader(value[HEAD_BYTES:]))
        except FieldError:
            raise
        except Exception as error:  # noqa: BLE001  # foreign bytes in the hands of a library: whatever it raises, they do not fit
            raise FieldError(
                "schema", f"the bytes are not of schema {number}: {str(error) or error!r}; send what it describes"
            ) from None

    def to_text(self) -> str:
        """Return the schemas as a JSON document."""
        return json.dumps({str(number): asdict(schema) for number, schema in sorted(self.known.items())}, indent=1)

    @classmethod
    def of_text(cls, text: str) -> Schemas:
        """Return the schemas of a JSON document."""
        return cls({int(number): Schema(**schema) for number, schema in json.loads(text).items()})


def _reader(schema: Schema, number: int) -> Reader:
    if schema.fault:
        raise FieldError("unknown_schema", f"schema {number}: {schema.fault}; register it, and send the record again")
    try:
        if schema.type == "AVRO":
            return _avro_reader(schema.text)
        if schema.type == "PROTOBUF":
            return _proto_reader(schema)
    except MissingExtraError:
        raise
    except Exception as error:  # noqa: BLE001  # a foreign schema in the hands of a library
        raise FieldError("unknown_schema", f"schema {number} cannot be used: {error}; register one that can") from None
    raise FieldError("unknown_schema", f"schema {number} is of type {schema.type}; send Avro, Protobuf or plain JSON")


# Avro


def _fastavro() -> Any:
    return extra_module("fastavro", "registry")


@cache
def _ours(topic: Topic) -> Any:
    return _fastavro().parse_schema(forms.avro_schema(topic))


@cache
def _form_by_type() -> Mapping[str, Form]:
    return {
        str(message_type(message)): forms.output_form(message)
        for messages in forms.OUTPUTS.values()
        for message in messages
    }


def _avro_reader(text: str) -> Reader:
    fastavro = _fastavro()
    schema = fastavro.parse_schema(json.loads(text))
    single = schema["name"] if isinstance(schema, dict) and schema.get("type") == "record" else ""

    def read(data: bytes) -> Any:
        stream = io.BytesIO(data)
        found = fastavro.schemaless_reader(stream, schema, None, return_record_name=True)
        if stream.tell() != len(data):
            raise ValueError(f"{len(data) - stream.tell()} bytes are left over")
        name, record = found if isinstance(found, tuple) else (single, found)
        return _json_of(_without_names(record), name)

    return read


def _without_names(value: Any) -> Any:
    """Return a value without the names that the library gives the records of unions."""
    if isinstance(value, tuple):
        return _without_names(value[1])
    if isinstance(value, dict):
        return {name: _without_names(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_names(item) for item in value]
    return value


# Both ways


def _json_of(record: Any, name: str) -> Any:
    """Return the JSON object of a decoded record; one without `type` has that of its schema's name."""
    if not isinstance(record, dict):
        return _plain(record, "")
    kind = record.get("type") or _type_of(name.rpartition(".")[2])
    form = _form_by_type().get(kind) if isinstance(kind, str) else None
    if form is not None:
        return _published(form, {**record, "type": kind})
    cleared = record.pop(forms.CLEAR, None) or ()
    made = {field: _plain(value, field) for field, value in record.items()}
    # What is not set says nothing, unless nobody knows the field: that is refused by its name.
    made = {field: value for field, value in made.items() if value is not None or field not in _known_fields()}
    return {"type": kind, **made, **dict.fromkeys(cleared)}


@cache
def _known_fields() -> frozenset[str]:
    return frozenset(
        name
        for topic in forms.INPUTS
        for form in forms.forms_of(topic)
        for name, _ in (*form.fields, (forms.CLEAR, form))
    )


def _plain(value: Any, field: str) -> Any:
    """Return a value of a foreign schema as JSON has it."""
    if isinstance(value, dict):
        return {name: _plain(item, name) for name, item in value.items()}
    if isinstance(value, list):
        items = [list(item.values()) if isinstance(item, dict) else item for item in value]
        return [_plain(item, field) for item in items]
    if isinstance(value, float):
        # NaN means nothing, as in JSON.
        if math.isinf(value):
            raise FieldError("not_finite", f"{field}: {value} is not a finite number; send one, or leave it out")
        return value
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        raise FieldError("type", f"{field}: bytes are no value of a message; send text or a number")
    return value


def _published(form: Form, value: Any) -> Any:
    """Return a published value as its JSON has it."""
    if value is None:
        return None
    if form.kind == "record":
        return {
            name: _published(its, value.get(name))
            for name, its in form.fields
            if not its.left_out or value.get(name) is not None
        }
    if form.kind == "list" and form.item is not None:
        return [_published(form.item, item) for item in value]
    if form.kind == "map":
        return value if isinstance(value, dict) else {item["key"]: item["value"] for item in value}
    if form.kind in {"number", "quantity"}:
        if value - value != 0.0:
            return None
        return quantity(value) if form.kind == "quantity" else value
    return value


def _record(form: Form, value: Any) -> Any:
    """Return a JSON value in the types of its form: decimals as text, a number that JSON writes as null as NaN."""
    if value is None:
        return float("nan") if form.kind in {"number", "quantity"} and not form.optional else None
    if form.kind == "record":
        made = {name: _record(its, value.get(name)) for name, its in form.fields}
        if forms.CLEAR in made:
            made[forms.CLEAR] = [name for name, found in value.items() if found is None]
        return made
    if form.kind == "list" and form.item is not None:
        return [_record(form.item, item) for item in value]
    if form.kind in {"number", "quantity"}:
        return float(value)
    if form.kind == "time":
        return int(value)
    if form.kind == "text" and not isinstance(value, str):
        return orjson.dumps(value).decode()
    return value


class Framer:
    """Writes messages of one topic in a format."""

    def __init__(self, form: Format, topic: Topic, number: int) -> None:
        self._head = _HEAD.pack(_MAGIC, number)
        self._write = _avro_writer(topic) if form == "avro" else _proto_writer()
        self._forms = {_type_of(its.name): its for its in forms.forms_of(topic)}

    def frame(self, message: Mapping[str, Any]) -> bytes:
        """Return the framed value of a JSON object."""
        kind = str(message["type"])
        form = self._forms.get(kind) or next(iter(self._forms.values()))
        return self._head + self._write(form, _record(form, message))


def _type_of(name: str) -> str:
    """Return the `type` of a record's messages."""
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")


def schema_text(form: Format, topic: Topic) -> str:
    """Return the schema of a topic's values as it is registered."""
    return forms.avro_text(topic) if form == "avro" else forms.proto_text()


def _avro_writer(topic: Topic) -> Callable[[Form, Any], bytes]:
    fastavro = _fastavro()
    schema = _ours(topic)
    is_union = isinstance(schema, list)

    def write(form: Form, record: Any) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, (f"impactd.{form.name}", record) if is_union else record)
        return out.getvalue()

    return write


# Protobuf


def _protobuf() -> tuple[Any, Any, Any]:
    names = ("descriptor_pb2", "descriptor_pool", "message_factory")
    pool, messages, factory = (extra_module(f"google.protobuf.{name}", "registry") for name in names)
    return pool, messages, factory


@cache
def proto_file() -> Any:
    """Return the compiled ``impactd.proto``, a `FileDescriptorProto`."""
    pb, _, _ = _protobuf()
    of_field = pb.FieldDescriptorProto
    scalars = {
        "string": of_field.TYPE_STRING,
        "int64": of_field.TYPE_INT64,
        "double": of_field.TYPE_DOUBLE,
        "bool": of_field.TYPE_BOOL,
    }
    file = pb.FileDescriptorProto(name="impactd.proto", package="impactd", syntax="proto3")
    for name, fields in forms.proto_messages().items():
        message = file.message_type.add(name=name)
        for field in fields:
            made = message.field.add(name=field.name, number=field.number)
            made.label = of_field.LABEL_REPEATED if field.repeated else of_field.LABEL_OPTIONAL
            if field.type in scalars:
                made.type = scalars[field.type]
            else:
                made.type, made.type_name = of_field.TYPE_MESSAGE, f".impactd.{field.type}"
            if not field.repeated:
                made.proto3_optional = True
                made.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field.name}")
    return file


def _classes(file: Any) -> list[Any]:
    """Return the classes of a file's messages, each in its place."""
    _, pool_module, factory = _protobuf()
    pool = pool_module.DescriptorPool()
    pool.Add(file)
    return [factory.GetMessageClass(pool.FindMessageTypeByName(_full(file, item.name))) for item in file.message_type]


def _full(file: Any, name: str) -> str:
    return f"{file.package}.{name}" if file.package else str(name)


@cache
def _our_classes() -> Mapping[str, tuple[int, Any]]:
    return {item.DESCRIPTOR.name: (place, item) for place, item in enumerate(_classes(proto_file()))}


def _varint(value: int) -> bytes:
    """Return a zigzag varint, as Confluent's serializers write the places of messages."""
    value <<= 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _place(index: int) -> bytes:
    """Return the place of a message in its file; the first has a form of its own."""
    return b"\0" if index == 0 else _varint(1) + _varint(index)


def _proto_writer() -> Callable[[Form, Any], bytes]:
    ours = _our_classes()

    def write(form: Form, record: Any) -> bytes:
        index, message_class = ours[form.name]
        message = message_class()
        _fill(message, form, record)
        return _place(index) + bytes(message.SerializeToString(deterministic=True))

    return write


def _fill(message: Message, form: Form, record: Mapping[str, Any]) -> None:
    for name, its in form.fields:
        value = record[name]
        if value is None:
            continue
        if its.kind == "record":
            part = getattr(message, name)
            part.SetInParent()
            _fill(part, its, value)
        elif its.kind == "map":
            target = getattr(message, name)
            for key, item in value.items():
                target.add(key=key, value=item)
        elif its.kind == "list" and its.item is not None:
            target = getattr(message, name)
            if its.optional:
                target.SetInParent()
                target = target.values
            _fill_list(target, its.item, value)
        else:
            setattr(message, name, value)


def _fill_list(target: Any, item: Form, values: list[Any]) -> None:
    for value in values:
        if item.kind == "record":
            _fill(target.add(), item, value)
        elif item.kind == "list":
            part = target.add()
            for field, its in zip(part.DESCRIPTOR.fields, value, strict=True):
                setattr(part, field.name, its)
        else:
            target.append(float("nan") if value is None else value)


def _proto_reader(schema: Schema) -> Reader:
    pb, _, _ = _protobuf()
    if schema.text.strip() == forms.proto_text().strip():
        file = proto_file()
    else:
        file = pb.FileDescriptorProto.FromString(base64.b64decode(schema.descriptor))
    if file.dependency:
        raise ValueError(f"it imports {', '.join(file.dependency)}")
    classes = _classes(file)

    def read(data: bytes) -> Any:
        places, at = _places(data)
        if len(places) != 1:
            raise ValueError("its message is within another")
        message = classes[places[0]]()
        message.ParseFromString(data[at:])
        return _json_of(_values(message), message.DESCRIPTOR.name)

    return read


def _places(data: bytes) -> tuple[list[int], int]:
    """Return the place of the message, and where its bytes begin."""
    numbers = _varints(data)
    count, at = next(numbers)
    if count == 0:
        return [0], at
    if not 0 < count <= 16:
        raise ValueError("its place is damaged")
    places = []
    for _ in range(count):
        place, at = next(numbers)
        if place < 0:
            raise ValueError("its place is damaged")
        places.append(place)
    return places, at


def _varints(data: bytes) -> Iterator[tuple[int, int]]:
    value = shift = 0
    for at, byte in enumerate(data, 1):
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield (value >> 1) ^ -(value & 1), at
            value = shift = 0
    raise ValueError("it ends early")


def _values(message: Message) -> dict[str, Any]:
    """Return what is set of a message; of one of ours every list and map too, which has no other way to be empty."""
    made: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            made[field.name] = [_values(item) if field.message_type else item for item in value]
        elif field.message_type is not None:
            if message.HasField(field.name):
                part = _values(value)
                # A list that can be null.
                made[field.name] = part["values"] if list(part) == ["values"] else part
        elif message.HasField(field.name) if field.has_presence else value != field.default_value:
            # Without presence nothing and zero are the same bytes: nothing, which is refused where it matters.
            made[field.name] = value
    return made
