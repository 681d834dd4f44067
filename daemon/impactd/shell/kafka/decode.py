"""Records of one partition into what the inbox takes: rows, events and refusals.

One thing is refused here that no codec can know about: a record is
*misplaced* where its key, or a symbol in it, belongs to another partition
number.  Two owners of one symbol would each publish their own plans, so a
record whose producer partitions otherwise (librdkafka's default does) is not
applied anywhere.  A record without a key, or with one that is no symbol's, is in its place if its symbols are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.core.base.venue import whole_of
from impactd.core.inputs.columns import CODEC_HEADER, Record, RecordColumns, SourceRecord
from impactd.core.inputs.events import Received
from impactd.core.inputs.ticks import Int, Refused, TickBatch
from impactd.wire.codec import Decoded, FieldError, Limits, bounded
from impactd.wire.fields import MAX_SYMBOL
from impactd.wire.framing import HEAD_BYTES, is_framed
from impactd.wire.json_orders import DecodedEvents, decode_events, names_in
from impactd.wire.live_books import LiveBooks
from impactd.wire.murmur2 import murmur2
from impactd.wire.registry import DEFAULT_CODEC
from impactd.wire.rows import by_first_appearance

if TYPE_CHECKING:
    from impactd.shell.kafka.registry import SchemaSource

T = TypeVar("T", Decoded, DecodedEvents)
R = TypeVar("R", Refused, Received[Any])

#: Keys whose partition is remembered; symbols are few and short, but a stranger's keys need not be.
_REMEMBERED: Final = 20_000

#: The longest key that can be a symbol, in UTF-8.
_LONGEST_KEY: Final = 4 * MAX_SYMBOL

#: The latest timestamp that is believed, ms (the year 2116): a producer may write anything there.
_LAST_MS: Final = 2**62 // 1_000_000


class Decoder:
    """Decodes what is fetched for one partition number.

    Parameters
    ----------
    books : mapping of str to bytes, optional
        The saved books that changes build on (`impactd.wire.live_books`); without, none are saved.
    schemas : SchemaSource, optional
        Of Avro and Protobuf values; without it such a value is refused as no JSON. `know_schemas` comes before a batch
        is decoded.
    """

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        partition: int,
        partitions: int,
        books: Mapping[str, bytes] | None = None,
        schemas: SchemaSource | None = None,
    ) -> None:
        self._schemas = schemas
        self._default = settings.wire.codec
        self._limits = limits
        self._books = LiveBooks(settings.wire.codec, limits, books)
        self._partition = partition
        self._partitions = partitions
        self._placed: dict[bytes, bool] = {}

    def knows_schemas(self, topic: Topic, consumed: Sequence[SourceRecord]) -> bool:
        """Return whether the schemas by which these records are read are known."""
        return self._schemas is None or not self._schemas.unknown(self._framed(topic, RecordColumns.of(consumed)) or ())

    async def know_schemas(
        self, topic: Topic, consumed: Sequence[SourceRecord], waiting: Callable[[str | None], None] = lambda _: None
    ) -> None:
        """Return when the schemas by which these records are read are known; see `SchemaSource.have`."""
        if self._schemas is not None:
            await self._schemas.have(self._framed(topic, RecordColumns.of(consumed)) or (), waiting)

    def ticks(self, consumed: Sequence[SourceRecord]) -> Decoded:
        """Return the rows of tick records, and what was refused of them."""
        columns = RecordColumns.of(consumed)
        plain = self._plain(Topic.TICKS, columns)
        if plain is not None:
            return self._restored(self._ticks(RecordColumns.of(plain.records)), plain)
        return self._ticks(columns)

    def _ticks(self, consumed: RecordColumns) -> Decoded:
        good, refused = self._in_place(consumed)
        decoded = self._books.decode_columns(*_columns(good), _codecs(good))
        batch, strangers = self._without_strangers(decoded.batch, good)
        refused = [*decoded.refused, *refused, *strangers]
        events = [item for item in decoded.events if self._is_placed(item.event.symbol.encode())]
        if len(events) < len(decoded.events):
            answered = {item.offset for item in events} | {item.offset for item in refused}
            records = {record.offset: record for record in good}
            lost = {item.offset: item.event.symbol for item in decoded.events if item.offset not in answered}
            refused += [self._misplaced(records[offset], symbol) for offset, symbol in lost.items()]
        refused.sort(key=lambda item: item.offset)
        return Decoded(batch, refused, decoded.skipped_unknown, events)

    def skip_ticks(self, first: int) -> None:
        """Note that the tick records before offset `first` are gone."""
        self._books.skip(first)

    def books_at(self, to: int) -> dict[str, bytes | None]:
        """Return the changed keys of the books' state as of tick offset `to`, None for a deleted one.

        The records before `to` must have been decoded; called with ascending offsets.
        """
        return self._books.advance(to)

    def events(self, topic: Topic, consumed: Sequence[SourceRecord]) -> DecodedEvents:
        """Return the events of order, execution or control records, and what was refused of them.

        Control records are in every partition, so only the others can be misplaced.
        """
        columns = RecordColumns.of(consumed)
        plain = self._plain(topic, columns)
        if plain is not None:
            return self._restored(self._events(topic, RecordColumns.of(plain.records)), plain)
        return self._events(topic, columns)

    def _events(self, topic: Topic, consumed: RecordColumns) -> DecodedEvents:
        good, refused = (consumed, []) if topic is Topic.CONTROL else self._in_place(consumed)
        decoded = decode_events(topic, *_columns(good), self._limits)
        events = decoded.events
        if topic is not Topic.CONTROL:
            by_offset = {record.offset: record for record in good}
            events = []
            for item in decoded.events:
                if self._is_placed(item.event.symbol.encode()):
                    events.append(item)
                else:
                    refused.append(self._misplaced(by_offset[item.offset], item.event.symbol))
        values = {record.offset: record.value or b"" for record in consumed}
        strangers = [
            dataclasses.replace(item, symbol=symbol, cl_ord_id=cl_ord_id)
            for item in refused
            for symbol, cl_ord_id in [names_in(values[item.offset], self._limits)]
        ]
        refused = [*decoded.refused, *strangers]
        refused.sort(key=lambda item: item.offset)
        return DecodedEvents(events, refused)

    def _framed(self, topic: Topic, consumed: RecordColumns) -> list[bytes | None] | None:
        """Return how the value of each record begins that is read by its schema, None for others; None if none is.

        Ticks in another codec than JSON may begin in any way; events are always JSON.
        """
        if self._schemas is None or not consumed.any_value_begins(0):
            return None
        heads = list(consumed.first_bytes(HEAD_BYTES))
        codecs: Sequence[str | None] = [DEFAULT_CODEC] * len(heads)
        if topic is Topic.TICKS:
            named = _codecs(consumed) or [None] * len(heads)
            codecs = [self._default if name is None else name for name in named]
        pairs = zip(heads, codecs, strict=True)
        return [head if is_framed(head) and codec == DEFAULT_CODEC else None for head, codec in pairs]

    def _plain(self, topic: Topic, consumed: RecordColumns) -> _Plain | None:
        """Return the records with framed values as JSON; None where none is framed."""
        framed = self._framed(topic, consumed)
        if self._schemas is None or framed is None:
            return None
        plain = _Plain([], {}, [])
        for record, head in zip(consumed, framed, strict=True):
            value = record.value
            if value is None or head is None:
                plain.records.append(record)
                continue
            plain.framed[record.offset] = value
            try:
                if len(value) > self._limits.max_message_bytes:
                    limit = self._limits.max_message_bytes
                    raise FieldError("too_large", f"{len(value)} bytes; send at most {limit}")  # noqa: TRY301
                made = self._schemas.schemas.as_json(value)
            except FieldError as error:
                letter = record.offset, error.reason, error.detail, value, record.key
                plain.refused.append(Refused(*letter, DEFAULT_CODEC, _timestamp_ns(record)))
            else:
                plain.records.append(Record(record.offset, record.timestamp, record.key, made, tuple(record.headers)))
        return plain

    @staticmethod
    def _restored(decoded: T, plain: _Plain) -> T:
        """Return what was decoded with the records' own bytes, which are those of a dead letter."""

        def own(item: R) -> R:
            value = plain.framed.get(item.offset)
            return item if value is None else dataclasses.replace(item, raw=value)

        refused = sorted([*map(own, decoded.refused), *plain.refused], key=lambda item: item.offset)
        return dataclasses.replace(decoded, refused=refused, events=[own(item) for item in decoded.events])

    def _is_placed(self, key: bytes) -> bool:
        if len(key) > _LONGEST_KEY:
            # No symbol's, so it says nothing about where one belongs, and to hash a megabyte takes long.
            return True
        placed = self._placed.get(key)
        if placed is None:
            if len(self._placed) >= _REMEMBERED:
                self._placed.clear()
            placed = self._placed[key] = (murmur2(key) & 0x7FFFFFFF) % self._partitions == self._partition
        return placed

    def _in_place(self, consumed: RecordColumns) -> tuple[RecordColumns, list[Refused]]:
        if all(key is None or self._is_placed(key) for key in consumed.different_keys()):
            return consumed, []
        placed = np.array([key is None or self._is_placed(key) for key in consumed.keys])
        return consumed.where(placed), [self._misplaced(record, None) for record in consumed.where(~placed)]

    def _without_strangers(self, batch: TickBatch, consumed: RecordColumns) -> tuple[TickBatch, list[Refused]]:
        """Take out whole records that hold a symbol of another partition number."""
        strange = [code for code, symbol in enumerate(batch.symbols) if not self._is_placed(whole_of(symbol).encode())]
        if not strange:
            return batch, []
        offsets = np.unique(batch.offset[np.isin(batch.symbol, strange)])
        gone = frozenset(offsets.tolist())
        refused = [self._misplaced(record, "in it") for record in consumed if record.offset in gone]
        # The strangers must not even be named: the core opens every symbol of a batch.
        return by_first_appearance(batch.take(~np.isin(batch.offset, offsets))), refused

    def _misplaced(self, record: SourceRecord, symbol: str | None) -> Refused:
        what = f"key {record.key!r}" if symbol is None else f"symbol {symbol}"
        detail = (
            f"{what:.80} belongs to another partition than {self._partition} of {self._partitions}; "
            "partition by Kafka's murmur2 of the symbol"
        )
        # Redriving needs the codec that it came with; a name from outside is bounded.
        named = _codec_header(record)
        return Refused(
            record.offset,
            "misplaced",
            detail,
            record.value or b"",
            record.key,
            self._default if named is None else bounded(named)[:64],
            _timestamp_ns(record),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Plain:
    """Records whose framed values are JSON now."""

    records: list[SourceRecord]
    #: Their own values, by offset.
    framed: dict[int, bytes]
    #: Those that cannot be read with their schemas.
    refused: list[Refused]


def _columns(records: RecordColumns) -> tuple[Sequence[bytes], Int, Int, Sequence[bytes | None]]:
    """Return values, offsets, timestamps (ns) and keys; an absent value is an empty one."""
    return records.values, records.offsets, np.clip(records.timestamps, 0, _LAST_MS) * 1_000_000, records.keys


def _timestamp_ns(record: SourceRecord) -> int:
    """Return the record's timestamp, ns; one that int64 cannot hold in ns, or none at all (-1), becomes the nearest."""
    return min(max(record.timestamp, 0), _LAST_MS) * 1_000_000


def _codecs(records: RecordColumns) -> list[str | None] | None:
    """Return the codec that each record names, None for those that name none; None if no record does."""
    named = records.codecs()
    if named is None:
        return None
    return [name if name is None else name.decode("ascii", "replace") for name in named]


def _codec_header(record: SourceRecord) -> str | None:
    for name, value in record.headers:
        if name == CODEC_HEADER:
            # A header may have no value; no codec is named so.
            return bytes(value or b"").decode("ascii", "replace")
    return None
