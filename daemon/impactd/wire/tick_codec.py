"""The protocol of a tick codec: bytes in, arrays and refusals out.

A new codec is one module with a class derived from `TickCodec`, and one line in
`impactd.wire.registry`; one of another package registers itself, or is found by
its entry point.  Rules that every codec keeps:

- It is a function of the records alone, and of a file's head.  How records are
  batched changes no row; caches must not show.  What was decoded before changes
  none either, except where books are built from changes (`TickCodec.live`).
- A record is decoded whole or refused whole: where one element of an array is
  bad, the good ones are not applied either, so that a record that is repaired
  and sent again cannot count twice.
- Nothing raises on input.  What cannot be used is a `Refused` value with a
  reason out of `REASONS`, a sentence that names field and remedy, and the
  original bytes.
- Values that are numbers but make no usable book (crossed, negative, unsorted,
  sentinels) pass through: the core counts those by symbol and minute.
- No row holds a negative zero.
"""

from __future__ import annotations

import copy
from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import ClassVar, Protocol, Self

import numpy as np

from impactd.core.base.uncompiled import runs_uncompiled
from impactd.core.inputs.events import MarketEvent, Received
from impactd.core.inputs.ticks import Int, Refused
from impactd.wire.codec import FROM_DATA, Decoded, FieldError, GapError, Limits, floor_ms
from impactd.wire.content import Content, Head, Line
from impactd.wire.rows import RowBuilder, Rows, interleave, stamped
from impactd.wire.symbols import FileSymbols


@dataclass(frozen=True, slots=True)
class FileOptions:
    """Facts about a file besides its content."""

    #: For data that name no symbol, or not enough.
    symbols: FileSymbols = field(default_factory=FileSymbols)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class FileBatch:
    """A decoded batch of a file, with the offsets of all its records, refused and skipped ones included."""

    decoded: Decoded
    offsets: Int
    #: Venue that a symbol's books have shown so far, as column and value; none where the file has no such column.
    venues: dict[str, str] = field(default_factory=dict)


class Books(Protocol):
    """Books that a codec builds from one record to the next."""

    def saved(self) -> dict[str, bytes | None]:
        """Return the books that have changed since the last call, by symbol, in one form; None for one that is gone."""

    def load(self, saved: Mapping[str, bytes]) -> None:
        """Continue with saved books; none has been built yet."""

    def lose(self) -> None:
        """Note that records before the next one are gone: a book whose changes have no numbers ends."""


class FileFormatError(ValueError):
    """A file that its codec cannot read as one stream of books: the text names what is missing, and the remedy."""


class TickCodec(ABC):
    """One encoding of ticks.

    A codec decodes records one by one (`decode_record`), and may have a faster
    way for those that it is sure of (`scan`).

    Attributes
    ----------
    named_by_file : bool
        Whether data that name no symbol take the one of `FileOptions`.
    compiled : bool
        Off: every record goes through `decode_record`, which is what tests compare with.
    books : Books or None
        Books of the current file or partition; None where records are decoded one by one.
    """

    #: Name by which headers and settings choose it.
    name: ClassVar[str]
    #: Whether files are offered to it only after all other codecs.
    fallback: ClassVar[bool] = False

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.named_by_file = False
        self.compiled = True
        self.books: Books | None = None
        #: See `FileBatch`.
        self.venues: dict[str, str] = {}

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether a file that begins so is in this encoding."""
        del head
        return False

    @classmethod
    def from_header(cls, head: Head, options: FileOptions) -> Self:
        """Return the codec for a file that begins so.

        Raises
        ------
        FileFormatError
            If the head does not name what the codec needs.
        """
        del head
        return cls(options.limits)

    def records(self, content: Content) -> Iterator[Line]:
        """Yield the records of a file: its lines, unless the encoding has others."""
        return content.lines(self.limits.max_message_bytes)

    def decode_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        """Add the rows of one record; return how many messages of it have an unknown type.

        Parameters
        ----------
        value : bytes
            At most `limits.max_message_bytes` long.

        Raises
        ------
        FieldError
            If the record cannot be used; rows that were added already are dropped, except with a `GapError`.
        """
        raise NotImplementedError

    def scan(self, values: Sequence[bytes]) -> tuple[Rows | None, Sequence[int]]:
        """Decode what a faster way is sure of.

        Returns
        -------
        left : sequence of int
            Indices of the records that are left to `decode_record`, ascending.
        """
        return None, range(len(values))

    def live(self) -> Self:
        """Return a codec that builds books from one call of `decode_columns` to the next, where it can build any.

        Its `books` are a function of the records in their order, however they are batched.
        """
        return self

    def reference(self) -> Self:
        """Return the same codec without `scan`: what tests compare with."""
        twin = copy.copy(self)
        twin.compiled = False
        return twin

    def decode_columns(
        self,
        values: Sequence[bytes],
        offsets: Sequence[int] | Int,
        ts_records: Sequence[int] | Int,
        keys: Sequence[bytes | None] | None = None,
    ) -> Decoded:
        """Decode records that are given as columns.

        Parameters
        ----------
        ts_records : sequence of int, length n
            Timestamps of the records, ns, or `FROM_DATA`.
        keys : sequence of bytes or None, length n, optional
            Only handed on with what is refused.
        """
        certain = self.compiled and not runs_uncompiled()
        rows, left = self.scan(values) if certain else (None, range(len(values)))
        if rows is not None and not left:
            return Decoded(stamped(rows, offsets, ts_records))
        builder = RowBuilder()
        errors: dict[int, FieldError] = {}
        skipped = 0
        for i in left:
            n_rows = len(builder)
            try:
                self._check_size(values[i])
                skipped += self.decode_record(values[i], i, builder)
            except FieldError as error:
                if not isinstance(error, GapError):
                    builder.truncate(n_rows)
                errors[i] = error.unraised()
        built = builder.build()
        batch = stamped(built if rows is None else interleave(rows, built), offsets, ts_records)
        events = [self._received(event, i, values, offsets, ts_records, keys) for i, event in builder.events]
        return Decoded(batch, self._refused(errors, values, offsets, ts_records, keys), skipped, events)

    def _received(
        self,
        event: MarketEvent,
        i: int,
        values: Sequence[bytes],
        offsets: Sequence[int] | Int,
        ts_records: Sequence[int] | Int,
        keys: Sequence[bytes | None] | None,
    ) -> Received[MarketEvent]:
        """Return the event of the i-th of records that are given as columns."""
        stamp = int(ts_records[i])
        when = floor_ms(event.ts_event) if stamp == FROM_DATA else stamp
        return Received(event, int(offsets[i]), when, values[i], keys[i] if keys is not None else None, self.name)

    def _refused(
        self,
        errors: Mapping[int, FieldError],
        values: Sequence[bytes],
        offsets: Sequence[int] | Int,
        ts_records: Sequence[int] | Int,
        keys: Sequence[bytes | None] | None,
    ) -> list[Refused]:
        """Return what is refused of records given as columns, with the errors by their indices."""
        return [
            Refused(
                int(offsets[i]),
                error.reason,
                error.detail,
                values[i],
                keys[i] if keys is not None else None,
                self.name,
                int(ts_records[i]),
                error.symbol,
            )
            for i, error in sorted(errors.items())
        ]

    def _check_size(self, value: bytes) -> None:
        limit = self.limits.max_message_bytes
        if len(value) > limit:
            raise FieldError("too_large", f"{len(value)} bytes; send at most {limit} (setting wire.max_message_bytes)")

    def batches(self, content: Content, batch_rows: int) -> Iterator[FileBatch]:
        """Yield a file's records, `batch_rows` decoded together.

        A record's offset is its number, its timestamp ``ts_recv or ts_event`` floored to the
        millisecond; a refused one has the timestamp of the record before it.

        Raises
        ------
        FileFormatError
            If records cannot be told apart that are not of one book.
        """
        source = self.records(content)
        ts_last = 0
        while lines := list(islice(source, batch_rows)):
            good = [line for line in lines if line.fault is None]
            decoded = self.decode_columns(
                [line.text for line in good], [line.number for line in good], [FROM_DATA] * len(good)
            )
            rows = decoded.batch
            refused = with_faults(decoded.refused, lines, self.name)
            decoded = replace(decoded, refused=dated(refused, rows.offset, rows.ts_record, ts_last))
            ts_last = int(rows.ts_record[-1]) if len(rows) else ts_last
            yield FileBatch(decoded, np.array([line.number for line in lines], np.int64), self.venues)


def with_faults(refused: Sequence[Refused], lines: Sequence[Line], codec: str) -> list[Refused]:
    """Return what was refused with the lines that were faulty before they were decoded, by offset."""
    faulty = [
        Refused(line.number, line.fault.reason, line.fault.detail, line.text, None, codec, FROM_DATA)
        for line in lines
        if line.fault is not None
    ]
    return sorted([*refused, *faulty], key=lambda letter: letter.offset)


def dated(refused: Sequence[Refused], offsets: Int, times: Int, ts_before: int) -> list[Refused]:
    """Give refusals, which have no time of their own, the time of what precedes them."""
    found = []
    for letter in refused:
        before = int(np.searchsorted(offsets, letter.offset))
        found.append(replace(letter, ts_record=int(times[before - 1]) if before else ts_before))
    return found
