"""Published messages as records: bytes, key and headers.

JSON by orjson, `type` first, then the message's fields in their order.  None is
null, and so is a number that is not finite; -0.0 is 0; quantities are integers
when whole.  Times are integers beyond 2^53, or strings where the setting asks
for them.  How a field is written follows from its type and unit in
`impactd.core.outputs.messages`; the encoder of each class is generated once from
there.  No value holds a position, a partition or a duration: those travel as
headers, or in metrics.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any, Final

import orjson

from impactd.core.base.quick import quick_dataclass
from impactd.core.base.topics import Topic
from impactd.core.outputs.messages import DeadLetter, Encoded, Output
from impactd.wire.message_types import Timestamps, encoder_of

Header = tuple[str, bytes]

#: A dead letter's key longer than this is cut: no symbol is as long, and key and value have to fit one record.
MAX_DEAD_LETTER_KEY: Final = 1_024

#: A dead letter longer than this is cut; with its headers it then fits a topic's usual limit of a megabyte.
MAX_DEAD_LETTER_BYTES: Final = 900_000


@quick_dataclass(frozen=True, slots=True)
class Record:
    """A record to publish; `topic` is a role, whose name on a broker is a setting."""

    topic: Topic
    key: bytes | None
    value: bytes
    headers: tuple[Header, ...]


def encode_output(
    output: Output,
    timestamps: Timestamps = "int",
    source_partition: int | None = None,
    *,
    frame: Callable[[dict[str, Any]], bytes] | None = None,
) -> Record:
    """Return the record of one output.

    Parameters
    ----------
    source_partition : int, optional
        Partition number of the inputs, for a dead letter's headers.
    frame : callable, optional
        Writes the message's JSON object in another format.
    """
    message = output.message
    if isinstance(message, DeadLetter):
        return dead_letter_record(message, source_partition)
    key = output.key.encode() if output.key is not None else None
    if frame is None:
        value = encode_message(message, timestamps)
    else:
        cls: type = type(message)
        value = frame(encoder_of(cls, "int")(message))
    return Record(output.topic, key, value, (schema_header(message),))


def schema_header(message: Encoded | DeadLetter) -> Header:
    """Return the header that names the message's schema."""
    return "schema", message.SCHEMA.encode()


def encode_message(message: Encoded, timestamps: Timestamps = "int") -> bytes:
    """Return the message as JSON."""
    cls: type = type(message)
    return orjson.dumps(encoder_of(cls, timestamps)(message))


def dead_letter_record(
    letter: DeadLetter, source_partition: int | None = None, max_bytes: int = MAX_DEAD_LETTER_BYTES
) -> Record:
    """Return the record of a dead letter: the original bytes, with the reason as headers.

    Over `max_bytes` the value is cut; the headers `original_bytes` and `sha256` (of the
    whole value) describe the original. Over `MAX_DEAD_LETTER_KEY` the key is cut, and the
    header `original_key_bytes` is added to those two.
    """
    headers: list[Header] = [
        schema_header(letter),
        ("reason", _text(letter.reason)),
        ("detail", _text(letter.detail)),
        ("source_topic", str(letter.topic).encode()),
    ]
    if source_partition is not None:
        headers.append(("source_partition", str(source_partition).encode()))
    headers += [("source_offset", str(letter.offset).encode()), ("codec", _text(letter.codec))]
    key = None if letter.key is None else letter.key[:MAX_DEAD_LETTER_KEY]
    if key != letter.key:
        headers.append(("original_key_bytes", str(len(letter.key or b"")).encode()))
    if len(letter.raw) > max_bytes or key != letter.key:
        headers.append(("original_bytes", str(len(letter.raw)).encode()))
        headers.append(("sha256", hashlib.sha256(letter.raw).hexdigest().encode()))
    return Record(Topic.DLQ, key, letter.raw[:max_bytes], tuple(headers))


def _text(text: str) -> bytes:
    """Return a header's text; foreign text may hold what UTF-8 cannot."""
    return text.encode(errors="backslashreplace")


def encode_line(output: Output, timestamps: Timestamps = "int") -> bytes:
    """Return the output as a line of a JSON lines file, without its line end.

    A message is the published value.  A dead letter is an object: its headers, then key and
    value in Base64.
    """
    message = output.message
    if not isinstance(message, DeadLetter):
        return encode_message(message, timestamps)
    record = dead_letter_record(message)
    line: dict[str, Any] = {"type": "dlq"}
    line |= {name: value.decode() for name, value in record.headers if name != "schema"}
    line["source_offset"] = message.offset
    line["key"] = None if record.key is None else base64.b64encode(record.key).decode()
    line["value"] = base64.b64encode(record.value).decode()
    return orjson.dumps(line)
