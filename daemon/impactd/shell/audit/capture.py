"""A run as files: its inputs and its journal, to be derived again elsewhere.

One JSON line per record, one file per topic, named by the topic's role::

    {"topic": "ticks", "partition": 0, "offset": 17, "timestamp": 1743687000125,
     "key": "FROG", "value": "{...}", "headers": {"codec": "json"}}

Key and value are text if they are UTF-8, otherwise Base64 under
``key_base64`` or ``value_base64``.  Lines of one partition are in the order
of their offsets.  Only what was committed is captured, up to the end that
each topic has when its capture begins; the journal is captured first, so that
the inputs of every captured commit are there.  What was published can be
captured too, to be compared with what is derived.

``schemas.json`` has the schemas that values in Avro and Protobuf name, so that the files can be read without the
registry.

``capture.json`` states what else is needed to judge the files: the topics' names
on the brokers, the formats of the run, and of each topic how many records were
written and which offsets were there.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import orjson

from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.kafka.consume import ConsumedRecord, read_bounds, read_topics
from impactd.shell.kafka.registry import SchemaSource
from impactd.shell.lines import InputFileError, read_lines
from impactd.wire.framing import SCHEMAS, Schemas

#: The journal first: what it names was there before it.
CAPTURED: Final = (Topic.JOURNAL, *INPUT_TOPICS)

#: What is published for others to read.
OUTPUT_TOPICS: Final = (
    Topic.ESTIMATES,
    Topic.MODELS,
    Topic.PLANS,
    Topic.PLANS_LATEST,
    Topic.SLICES,
    Topic.ALERTS,
    Topic.TCA,
    Topic.DLQ,
)

#: File that describes the others, and the version of its form and theirs.
MANIFEST: Final = "capture.json"
CAPTURE_SCHEMA: Final = "impactd.capture/1"

#: A line may be a third longer than the record, for Base64, and more for escapes.
_MAX_LINE_BYTES: Final = 64 * 1024 * 1024


def capture_file(directory: Path, topic: Topic) -> Path:
    """Return the file of a captured topic."""
    return directory / f"{topic.value}.jsonl"


async def capture(settings: Settings, directory: Path, *, outputs: bool = False) -> dict[Topic, int]:
    """Write inputs and journal of a run into `directory` and return the number of records by topic.

    Files that are there already are replaced when the new ones are whole.

    Parameters
    ----------
    directory : Path
        Made if it is not there.

    Raises
    ------
    FatalError
        If a topic is missing or cannot be read to its end.
    OSError
        If a file cannot be written.
    """
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    counts, topics = {}, {}
    schemas = SchemaSource.of(settings)
    for topic in (*CAPTURED, *(OUTPUT_TOPICS if outputs else ())):
        path = capture_file(directory, topic)
        unfinished = path.with_suffix(".unfinished")
        file = await asyncio.to_thread(unfinished.open, "wb")
        with file:
            counts[topic] = await _capture_topic(settings, topic, file, schemas)
        await asyncio.to_thread(unfinished.replace, path)
        bounds = await read_bounds(settings, settings.topics.name(topic))
        topics[topic.value] = {"records": counts[topic], "bounds": {str(n): ends for n, ends in bounds.items()}}
    if schemas is not None:
        await asyncio.to_thread((directory / SCHEMAS).write_text, schemas.schemas.to_text(), "utf-8")
    manifest = {
        "schema": CAPTURE_SCHEMA,
        "names": {topic.value: settings.topics.name(topic) for topic in Topic},
        "codec": settings.wire.codec,
        "timestamps": settings.wire.timestamps,
        "max_dead_letter_bytes": settings.kafka.max_dead_letter_bytes,
        "topics": topics,
    }
    await asyncio.to_thread((directory / MANIFEST).write_bytes, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    return counts


def captured_schemas(directory: Path) -> SchemaSource | None:
    """Return the schemas of a capture; None where its run had no registry."""
    path = directory / SCHEMAS
    if not path.exists():
        return None
    try:
        return SchemaSource(None, Schemas.of_text(path.read_text("utf-8")))
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise InputFileError(f"{path}: cannot be read ({error}); capture the run again") from error


async def _capture_topic(settings: Settings, topic: Topic, file: IO[bytes], schemas: SchemaSource | None) -> int:
    count = 0
    # What the captured journal vouches for may still be hidden by the next transaction.
    hidden = topic in OUTPUT_TOPICS
    async with aclosing(read_topics(settings, settings.topics.name(topic), hidden=hidden)) as records:
        async for record in records:
            if schemas is not None and topic is not Topic.JOURNAL:
                await schemas.have([record.value])
            file.write(capture_line(topic, record) + b"\n")
            count += 1
    return count


def capture_line(topic: Topic, record: ConsumedRecord) -> bytes:
    """Return the line of one record, without its line end."""
    line: dict[str, Any] = {
        "topic": topic.value,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
    }
    line |= _text("key", record.key)
    line |= _text("value", record.value)
    line["headers"] = {name: value.decode("utf-8", "replace") for name, value in record.headers}
    return orjson.dumps(line)


def _text(name: str, data: bytes | None) -> dict[str, str | None]:
    if data is None:
        return {name: None}
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def read_capture(path: Path) -> Iterator[ConsumedRecord]:
    """Yield the records of a captured topic in the order of the file; `topic` is the role."""
    for line in read_lines(path, _MAX_LINE_BYTES):
        if line.fault is not None:
            raise InputFileError(f"{path}:{line.number}: {line.fault.detail}; capture the run again")
        try:
            yield _captured(orjson.loads(line.text))
        except (KeyError, TypeError, ValueError) as error:
            raise InputFileError(
                f"{path}:{line.number}: not a captured record ({error!r}); capture the run again"
            ) from error


def read_partitions(directory: Path, topic: Topic) -> dict[int, list[ConsumedRecord]]:
    """Return the records of a captured topic by partition, in the order of their offsets.

    A topic without a file has none.
    """
    path = capture_file(directory, topic)
    partitions: dict[int, list[ConsumedRecord]] = {}
    if path.exists():
        for record in read_capture(path):
            partitions.setdefault(record.partition, []).append(record)
    for records in partitions.values():
        records.sort(key=lambda record: record.offset)
    return partitions


@dataclass(slots=True)
class RecordList:
    """Captured records of one partition, to be taken from the front."""

    records: Sequence[ConsumedRecord]
    at: int = 0

    def until(self, to: int) -> Sequence[ConsumedRecord]:
        """Take the next records before offset `to`."""
        start = self.at
        while self.at < len(self.records) and self.records[self.at].offset < to:
            self.at += 1
        return self.records[start : self.at]


def _captured(line: Mapping[str, Any]) -> ConsumedRecord:
    return ConsumedRecord(
        str(Topic(line["topic"])),
        int(line["partition"]),
        int(line["offset"]),
        int(line["timestamp"]),
        _data(line, "key"),
        _data(line, "value"),
        tuple((name, value.encode()) for name, value in line.get("headers", {}).items()),
    )


def _data(line: Mapping[str, Any], name: str) -> bytes | None:
    encoded = line.get(f"{name}_base64")
    if encoded is not None:
        return base64.b64decode(encoded, validate=True)
    text = line[name]
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError(f"{name} is neither text nor null")
    return text.encode()
