"""Records of one partition as columns: where each one's parts are in the fetched bytes.

A fetch holds thousands of records.  Kept as columns, none of them becomes a Python object unless somebody asks for
that one: the last record for the anchor, a refused one for its dead letter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol, overload

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import uncounted_kernel

_Bytes = npt.NDArray[np.uint8]
_Ints = npt.NDArray[np.int64]

#: Columns: timestamps in ms; a length of -1 is an absent part. `HEADERS` is where the number of headers is, 0 where a
#: record has none; `CODEC` is the value of its first header of that name, with a length of -2 where there is none.
OFFSET, TIMESTAMP, KEY, KEY_LENGTH, VALUE, VALUE_LENGTH, HEADERS, CODEC, CODEC_LENGTH = range(9)
N_COLUMNS: Final = 9

NO_CODEC: Final = -2
CODEC_HEADER: Final = "codec"


@uncounted_kernel
def varint(buf: _Bytes, at: int, stop: int) -> tuple[int, int]:
    """Return a zigzag varint and the position behind it; position -1 where it has no end or more than 63 bits."""
    value = np.uint64(0)
    shift = np.uint64(0)
    while at < stop and shift < np.uint64(63):
        byte = np.uint64(buf[at])
        at += 1
        value |= (byte & np.uint64(127)) << shift
        if byte < np.uint64(128):
            return int(np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1))), at
        shift += np.uint64(7)
    return 0, -1


@uncounted_kernel
def _first_of_each(buf: _Bytes, start: _Ints, length: _Ints, slots: npt.NDArray[np.int32], found: _Ints) -> int:
    """Write the rows at which the different spans of `buf` come first into `found`; return how many they are.

    Parameters
    ----------
    slots : ndarray of int32
        Zeros; a power of two of them, more than there are spans.
    """
    n = 0
    last = -1
    mask = np.uint64(slots.shape[0] - 1)
    for i in range(start.shape[0]):
        if last >= 0 and length[i] == length[last] and _same(buf, start[i], start[last], length[i]):
            continue
        h = np.uint64(14695981039346656037)
        for k in range(start[i], start[i] + length[i]):
            h = (h ^ np.uint64(buf[k])) * np.uint64(1099511628211)
        slot = np.int64((h ^ (h >> np.uint64(32))) & mask)
        last = i
        while slots[slot] > 0:
            known = slots[slot] - 1
            if length[i] == length[known] and _same(buf, start[i], start[known], length[i]):
                break
            slot = (slot + 1) & np.int64(mask)
        if slots[slot] == 0:
            slots[slot] = i + 1
            found[n] = i
            n += 1
    return n


@uncounted_kernel
def _same(buf: _Bytes, a: int, b: int, n: int) -> bool:
    for k in range(n):  # noqa: SIM110  # numba compiles no generator here
        if buf[a + k] != buf[b + k]:
            return False
    return True


@uncounted_kernel
def _set_apart(buf: _Bytes, start: _Ints, stop: _Ints, out: _Bytes, at: _Ints) -> None:
    """Copy spans into `out`, each to its place in `at`."""
    for i in range(start.shape[0]):
        for k in range(stop[i] - start[i]):
            out[at[i] + k] = buf[start[i] + k]


class SourceRecord(Protocol):
    """A record as its topic or a captured file holds it."""

    @property
    def offset(self) -> int:
        """Offset in its partition."""

    @property
    def timestamp(self) -> int:
        """Timestamp, ms."""

    @property
    def key(self) -> bytes | None:
        """Key."""

    @property
    def value(self) -> bytes | None:
        """Value."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Headers, in their order."""


class Record(NamedTuple):
    """A record of the columns, made when it is asked for; `timestamp` in ms."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class Values(Sequence[bytes]):
    """Values as spans of one buffer, each with a zero byte behind it; an absent value is an empty one.

    Attributes
    ----------
    start, stop : ndarray of int64, shape (n,)
    """

    __slots__ = ("data", "start", "stop")

    def __init__(self, data: bytes, start: _Ints, stop: _Ints) -> None:
        self.data = data
        self.start = start
        self.stop = stop

    def __len__(self) -> int:
        return len(self.start)

    @overload
    def __getitem__(self, at: int) -> bytes: ...

    @overload
    def __getitem__(self, at: slice) -> Values: ...

    def __getitem__(self, at: int | slice) -> bytes | Values:
        if isinstance(at, slice):
            return Values(self.data, self.start[at], self.stop[at])
        return self.data[self.start[at] : self.stop[at]]

    def __iter__(self) -> Iterator[bytes]:
        data = self.data
        for start, stop in zip(self.start.tolist(), self.stop.tolist(), strict=True):
            yield data[start:stop]


class Keys(Sequence[bytes | None]):
    """Keys of records."""

    __slots__ = ("_records",)

    def __init__(self, records: RecordColumns) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, at: int) -> bytes | None: ...

    @overload
    def __getitem__(self, at: slice) -> Keys: ...

    def __getitem__(self, at: int | slice) -> bytes | Keys | None:
        if isinstance(at, slice):
            return Keys(self._records[at])
        rows = self._records.rows
        return self._records.part(rows[KEY, at], rows[KEY_LENGTH, at])


class RecordColumns(Sequence[Record]):
    """Records in the order of their offsets.

    Parameters
    ----------
    data : bytes
        What the spans point into.
    rows : ndarray of int64, shape (N_COLUMNS, n)
    """

    __slots__ = ("data", "rows")

    def __init__(self, data: bytes, rows: _Ints) -> None:
        self.data = data
        self.rows = rows

    @classmethod
    def of(cls, records: Sequence[SourceRecord]) -> RecordColumns:
        """Return records that were read one by one as columns; columns are returned unchanged."""
        if isinstance(records, RecordColumns):
            return records
        data = bytearray(1)  # no record has its headers at 0
        rows = np.zeros((N_COLUMNS, len(records)), np.int64)
        rows[CODEC_LENGTH] = NO_CODEC
        for i, record in enumerate(records):
            rows[OFFSET, i], rows[TIMESTAMP, i] = record.offset, record.timestamp
            rows[KEY : KEY_LENGTH + 1, i] = _append(data, record.key)
            rows[VALUE : VALUE_LENGTH + 1, i] = _append(data, record.value)
            data += b"\0"
            if record.headers:
                rows[HEADERS, i] = len(data)
                data += _zigzag(len(record.headers))
            for name, value in record.headers:
                data += _zigzag(len(name.encode())) + name.encode() + _zigzag(-1 if value is None else len(value))
                span = _append(data, value)
                if name == CODEC_HEADER and rows[CODEC_LENGTH, i] == NO_CODEC:
                    rows[CODEC : CODEC_LENGTH + 1, i] = span
        return cls(bytes(data), rows)

    def where(self, wanted: npt.NDArray[np.bool_]) -> RecordColumns:
        """Return the records of a mask."""
        return RecordColumns(self.data, self.rows[:, wanted])

    def __len__(self) -> int:
        return int(self.rows.shape[1])

    @overload
    def __getitem__(self, at: int) -> Record: ...

    @overload
    def __getitem__(self, at: slice) -> RecordColumns: ...

    def __getitem__(self, at: int | slice) -> Record | RecordColumns:
        if isinstance(at, slice):
            return RecordColumns(self.data, self.rows[:, at])
        row = self.rows[:, at].tolist()
        return Record(
            row[OFFSET],
            row[TIMESTAMP],
            self.part(row[KEY], row[KEY_LENGTH]),
            self.part(row[VALUE], row[VALUE_LENGTH]),
            self._headers(row[HEADERS]) if row[HEADERS] else (),
        )

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))

    @property
    def offsets(self) -> _Ints:
        """Offsets in the partition."""
        offsets: _Ints = self.rows[OFFSET]
        return offsets

    @property
    def timestamps(self) -> _Ints:
        """Timestamps, ms."""
        timestamps: _Ints = self.rows[TIMESTAMP]
        return timestamps

    @property
    def values(self) -> Values:
        """Values, an absent one empty."""
        start = self.rows[VALUE]
        stop = start + np.maximum(self.rows[VALUE_LENGTH], 0)
        if not self.rows[HEADERS].any():
            # What follows a value is the number of its record's headers.
            return Values(self.data, start, stop)
        apart = np.zeros(len(start) + 1, np.int64)
        np.cumsum(stop - start + 1, out=apart[1:])
        out = np.zeros(int(apart[-1]), np.uint8)
        _set_apart(np.frombuffer(self.data, np.uint8), start, stop, out, apart)
        return Values(out.tobytes(), apart[:-1], apart[1:] - 1)

    @property
    def keys(self) -> Keys:
        """Keys, None where a record has none."""
        return Keys(self)

    def different_keys(self) -> list[bytes | None]:
        """Return the different keys, in the order in which they come first."""
        start, length = self.rows[KEY], self.rows[KEY_LENGTH]
        found = np.empty(len(start), np.int64)
        slots = np.zeros(1 << (2 * len(start) + 1).bit_length(), np.int32)
        n = _first_of_each(np.frombuffer(self.data, np.uint8), start, length, slots, found)
        return [self.part(start[i], length[i]) for i in found[:n]]

    def any_value_begins(self, byte: int) -> bool:
        """Return whether the first byte of any value is `byte`."""
        there = self.rows[VALUE_LENGTH] > 0
        first = np.frombuffer(self.data, np.uint8)[self.rows[VALUE, there]]
        return bool((first == byte).any())

    def first_bytes(self, n: int) -> Iterator[bytes]:
        """Yield the first `n` bytes of each value, fewer where it has fewer."""
        data = self.data
        for start, length in self.rows[VALUE : VALUE_LENGTH + 1].T.tolist():
            yield data[start : start + min(max(length, 0), n)]

    def sizes(self) -> _Ints:
        """Return the bytes of keys and values before each record, and of all: shape (n + 1,)."""
        total = np.zeros(len(self) + 1, np.int64)
        lengths = np.maximum(self.rows[KEY_LENGTH], 0) + np.maximum(self.rows[VALUE_LENGTH], 0)
        np.cumsum(lengths, out=total[1:])
        return total

    def pairs(self) -> Iterator[tuple[bytes | None, bytes | None]]:
        """Yield key and value of each record."""
        data = self.data
        for key, n_key, value, n_value in self.rows[KEY : VALUE_LENGTH + 1].T.tolist():
            yield (
                None if n_key < 0 else data[key : key + n_key],
                None if n_value < 0 else data[value : value + n_value],
            )

    def codecs(self) -> list[bytes | None] | None:
        """Return the value of each record's codec header, None for those without; None if no record has one.

        A header without a value names no codec that exists: it is empty.
        """
        lengths = self.rows[CODEC_LENGTH]
        if (lengths == NO_CODEC).all():
            return None
        data = self.data
        return [
            None if length == NO_CODEC else data[start : start + max(length, 0)]
            for start, length in self.rows[CODEC : CODEC_LENGTH + 1].T.tolist()
        ]

    def part(self, start: int, length: int) -> bytes | None:
        """Return a span; None where its length is -1."""
        return None if length < 0 else self.data[start : start + length]

    def _headers(self, at: int) -> tuple[tuple[str, bytes | None], ...]:
        # The lengths were checked when the columns were made.
        buf, stop = np.frombuffer(self.data, np.uint8), len(self.data)
        count, at = varint(buf, at, stop)
        headers = []
        for _ in range(count):
            length, at = varint(buf, at, stop)
            name = self.data[at : at + length].decode()
            length, at = varint(buf, at + length, stop)
            headers.append((name, self.part(at, length)))
            at += max(length, 0)
        return tuple(headers)


def _append(data: bytearray, part: bytes | None) -> tuple[int, int]:
    """Append a part and return its span; an absent one has the length -1."""
    start = len(data)
    data += part or b""
    return start, -1 if part is None else len(part)


def _zigzag(value: int) -> bytes:
    """Return the zigzag varint that `varint` reads."""
    left, out = (value << 1) ^ (value >> 63), bytearray()
    while left > 127:
        out.append(left & 127 | 128)
        left >>= 7
    return bytes([*out, left])
