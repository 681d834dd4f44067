"""The commits of one partition as records: outputs, state and journal.

A commit is encoded and measured before its transaction begins: a record that
is too large is found while there is nothing to undo.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import orjson

from impactd.config import Settings
from impactd.core.base.quick import quick_dataclass
from impactd.core.base.topics import Topic
from impactd.core.outputs.messages import DeadLetter, Output
from impactd.shell.kafka.errors import FatalError
from impactd.wire.message_types import Timestamps
from impactd.wire.murmur2 import partition_for
from impactd.wire.records import Record as Encoded
from impactd.wire.records import dead_letter_record, encode_output

if TYPE_CHECKING:
    from impactd.core.engine import Commit
    from impactd.wire.framing import Framer

Headers = tuple[tuple[str, bytes], ...]

#: A trace context (W3C). An audit leaves these headers out: who traces is no part of what is promised.
TRACE_HEADERS: Final = ("traceparent", "tracestate")

JOURNAL_SCHEMA: Final = b"impactd.journal/1"
STATE_SCHEMA: Final = b"impactd.state/1"

#: Upper bound of the bytes of a record besides its key, value and headers.
_RECORD_OVERHEAD: Final = 64


@quick_dataclass(frozen=True, slots=True)
class Record:
    """A record to be produced. `value` None is a tombstone."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def size(self) -> int:
        """Upper bound of its bytes on the wire."""
        named = sum(len(name.encode()) + len(value) + 10 for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + named + _RECORD_OVERHEAD


class Encoder:
    """Encodes the commits of one partition.

    Parameters
    ----------
    partitions : mapping of Topic to int
        Number of partitions of each topic.
    framers : mapping of Topic to Framer, optional
        Of the topics that are not JSON.
    """

    def __init__(
        self,
        settings: Settings,
        partition: int,
        partitions: Mapping[Topic, int],
        framers: Mapping[Topic, Framer] | None = None,
    ) -> None:
        self._framers = framers or {}
        self._settings = settings
        self._partition = partition
        self._partitions = partitions
        self._names = {topic: settings.topics.name(topic) for topic in Topic}
        self._timestamps: Timestamps = settings.wire.timestamps
        #: The last message and its record.
        self._last: tuple[object, Encoded] | None = None

    def records(
        self, commit: Commit, seq: int, traces: Mapping[tuple[Topic, int], Headers] | None = None
    ) -> list[Record]:
        """Return everything that `commit` publishes, in order: outputs, state, journal.

        Parameters
        ----------
        traces : mapping, optional
            Further headers of outputs, by topic and offset of the input that caused them.

        Raises
        ------
        FatalError
            If a record is larger than what may be published. Sending it would
            fail each time, and leaving it out would lose it silently.
        """
        mark = f"{self._partition}:{seq}".encode()
        made = [self._output(output, mark, traces or {}) for output in commit.outputs]
        for key, value in commit.state.items():
            self._check_state(key, value)
            made.append(self._own(Topic.STATE, key.encode(), value, (("schema", STATE_SCHEMA), ("commit", mark))))
        for entry in (commit.journal, *commit.snapshot):
            journal = orjson.dumps(entry, option=orjson.OPT_NON_STR_KEYS)
            made.append(self._own(Topic.JOURNAL, None, journal, (("schema", JOURNAL_SCHEMA), ("commit", mark))))
        for record in made:
            self._check_size(record)
        return made

    def _output(self, output: Output, mark: bytes, traces: Mapping[tuple[Topic, int], Headers]) -> Record:
        made = self._encoded(output)
        headers = [*made.headers, ("commit", mark)]
        if output.trigger is not None:
            topic, offset = output.trigger
            headers.append(("input", f"{self._names[topic]}/{self._partition}/{offset}".encode()))
            headers += traces.get(output.trigger, ())
        if output.topic is Topic.DLQ or output.key is None:
            return self._own(output.topic, made.key, made.value, tuple(headers))
        partition = partition_for(output.key, self._partitions[output.topic])
        return Record(self._names[output.topic], partition, made.key, made.value, tuple(headers))

    def _encoded(self, output: Output) -> Encoded:
        letter = output.message
        if not isinstance(letter, DeadLetter):
            if self._last is not None and self._last[0] is letter and output.topic not in self._framers:
                # A plan goes to two topics and is encoded once.
                key = None if output.key is None else output.key.encode()
                last = self._last[1]
                return Encoded(output.topic, key, last.value, last.headers)
            framer = self._framers.get(output.topic)
            made = encode_output(output, self._timestamps, frame=None if framer is None else framer.frame)
            self._last = letter, made
            return made
        made = dead_letter_record(letter, self._partition, self._settings.kafka.max_dead_letter_bytes)
        # Readers of dead letters look for the topic by its name on the broker.
        named = [
            (name, self._names[letter.topic].encode() if name == "source_topic" else value)
            for name, value in made.headers
        ]
        return dataclasses.replace(made, headers=tuple(named))

    def _own(self, topic: Topic, key: bytes | None, value: bytes | None, headers: Headers) -> Record:
        """Return a record for this partition's own number: state, journal and dead letters stay with their owner."""
        return Record(self._names[topic], self._partition % self._partitions[topic], key, value, headers)

    def _check_state(self, key: str, value: bytes | None) -> None:
        limit = self._settings.kafka.max_state_bytes
        if value is not None and len(value) > limit:
            raise FatalError(
                f"state key {key!r} of partition {self._partition} has {len(value)} bytes, more than {limit}: "
                "nothing of this commit is published; lower the limits on orders and horizon, or raise "
                "kafka.max_state_bytes"
            )

    def _check_size(self, record: Record) -> None:
        limit = self._settings.wire.max_message_bytes
        if record.size > limit:
            raise FatalError(
                f"a record for {record.topic} with key {record.key!r} has {record.size} bytes, more than "
                f"kafka.max_message_bytes = {limit}: nothing of this commit is published; raise it together with the "
                "topic's max.message.bytes, or lower plans.max_horizon_intervals"
            )
