"""Shared by codecs that build books from snapshots and changes.

In a file, and live from Kafka, each change is applied to the book before it. Otherwise a record is decoded by itself:
snapshots are books, and changes are refused.

Live, a record's key names the symbol of messages that name none. A record that cannot be read may have been a change
of its key's book, or, where no book has that symbol, of any.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Self

from impactd.core.base.venue import whole_of
from impactd.core.inputs.ticks import Int
from impactd.wire.codec import Decoded, FieldError, GapError, Limits
from impactd.wire.content import Content, Line
from impactd.wire.rows import RowBuilder
from impactd.wire.tick_codec import FileBatch, TickCodec
from impactd.wire.ticks.building.builder import Builder, Change


class BuildingCodec(TickCodec):
    """A codec whose files hold snapshots and changes of books.

    A class that derives from it has `read_record` for `decode_record`, hands changes to `add_change`, and its
    `records`, where it has some of its own, through `noted`.

    Attributes
    ----------
    key : bytes or None
        Of the current record, live.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits)
        self.books: Builder | None = None
        self.key: bytes | None = None
        self._keys: Sequence[bytes | None] | None = None
        self._is_live = False
        #: Numbers of lines that could not be read and are still to be noted, and of the current records.
        self._faulty: deque[int] = deque()
        self._offsets: Sequence[int] | Int = ()

    def read_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        """Decode one record, as `decode_record`."""
        raise NotImplementedError

    def for_file(self) -> Self:
        """Return the codec with books of its own."""
        file = copy.copy(self)
        file.books, file._faulty = Builder(self.limits.max_levels), deque()  # noqa: SLF001  # of the same class
        return file

    def live(self) -> Self:
        """Return the codec with books that one call of `decode_columns` hands to the next."""
        codec = self.for_file()
        codec._is_live = True  # noqa: SLF001  # of the same class
        return codec

    def batches(self, content: Content, batch_rows: int) -> Iterator[FileBatch]:
        """Yield a file's records in batches; its books are built from one to the next."""
        return TickCodec.batches(self.for_file(), content, batch_rows)

    def records(self, content: Content) -> Iterator[Line]:
        """Yield the lines."""
        return self.noted(super().records(content))

    def noted(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Note the lines that cannot be read, since they may have been changes."""
        for line in lines:
            if line.fault is not None:
                self._faulty.append(line.number)
            yield line

    def decode_columns(
        self,
        values: Sequence[bytes],
        offsets: Sequence[int] | Int,
        ts_records: Sequence[int] | Int,
        keys: Sequence[bytes | None] | None = None,
    ) -> Decoded:
        """Decode records; see `TickCodec.decode_columns`."""
        self._offsets = offsets
        if not self._is_live:
            return super().decode_columns(values, offsets, ts_records, keys)
        self._keys = keys
        decoded = super().decode_columns(values, offsets, ts_records, keys)
        return replace(decoded, building=[int(offset) for offset in offsets])

    def _check_size(self, value: bytes) -> None:
        if not self._is_live:
            super()._check_size(value)  # live it is checked where the record's key is known

    def _lose_key(self) -> None:
        """Note that the current record could not be read."""
        if self.books is None:
            return
        symbol = self.key.decode(errors="replace") if self.key is not None else None
        self.books.lose(symbol if symbol is not None and self.books.stands(symbol) else None)

    def decode_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        """Decode one record."""
        if self.books is None:
            return self.read_record(value, record, builder)
        if self._keys is not None:
            self.key = self._keys[record]
        while self._faulty and self._faulty[0] < self._offsets[record]:
            self._faulty.popleft()
            self.books.lose()
        try:
            if self._is_live:
                super()._check_size(value)
            return self.read_record(value, record, builder)
        except GapError:
            raise
        except FieldError:
            self._lose_key()
            raise

    def add_change(
        self, change: Change, symbol: str, record: int, ts_event: int, ts_recv: int, builder: RowBuilder
    ) -> int:
        """Add the book that a snapshot or changes give; return 1 where they give none."""
        if self.books is None:
            if not change.is_snapshot:
                raise FieldError("value", f"{change.stream}: holds changes of a book, not a book; send snapshots")
            if max(len(change.bids[0]), len(change.asks[0])) > self.limits.max_levels:
                limit = self.limits.max_levels
                raise FieldError(
                    "too_deep", f"{change.stream}: more than {limit} levels; send fewer (books.max_levels)"
                )
            builder.add_book(record, symbol, 0, ts_event, ts_recv, change.bids, change.asks)
            return 0
        try:
            book = self.books.follow(symbol, change)
        except FieldError as error:
            error.symbol = whole_of(symbol)
            if isinstance(error, GapError):
                builder.add_book(record, symbol, 0, ts_event, ts_recv, ([], []), ([], []))
            raise
        if book is None:
            return 1
        builder.add_book(record, symbol, 0, ts_event, ts_recv, *book)
        return 0
