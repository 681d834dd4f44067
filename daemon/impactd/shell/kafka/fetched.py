"""What one fetch of a partition has brought, as the bytes that the broker sent.

`Fetched.records` turns the bytes into records, in a worker thread: batches of format 2 by a compiled kernel, as
columns.  Whatever is not exactly as the format has it (a bad checksum, a damaged stream, a codec that is not
installed) goes through aiokafka's own reader, which raises or returns what it always did.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from aiokafka import TopicPartition
from aiokafka.codec import gzip_decode, has_lz4, has_snappy, has_zstd, lz4_decode, snappy_decode, zstd_decode
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from crc32c import crc32c

from impactd.core.base.uncompiled import runs_uncompiled
from impactd.core.inputs.columns import N_COLUMNS, RecordColumns
from impactd.wire.record_batch import LEAST_RECORD, read_records

#: Offset, length, epoch, format, checksum, attributes, last offset's delta, first and last time, producer, its epoch,
#: sequence, number of records.
_HEAD: Final = struct.Struct(">qiibIhiqqqhii")
_LENGTH_AT, _LENGTH_END, _FORMAT_AT, _CHECKED_FROM, _LAST_AT = 8, 12, 16, 21, 23
_INT32: Final = struct.Struct(">i")
_INT64: Final = struct.Struct(">q")

_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20

_DECOMPRESS: Final[dict[int, Callable[[bytes], bytes]]] = {1: gzip_decode}
if has_snappy():
    _DECOMPRESS[2] = snappy_decode
if has_lz4():
    _DECOMPRESS[3] = lz4_decode
if has_zstd():
    _DECOMPRESS[4] = zstd_decode

#: Producer and first offset of transactions that were aborted.
Aborted = Sequence[tuple[int, int]]


class Fetched:
    """Record batches of one partition.

    Parameters
    ----------
    data : bytes
        What the broker sent; the last batch may be cut.
    position : int
        Offset of the first record that is wanted.

    Attributes
    ----------
    end : int or None
        Offset behind the last whole batch; None where there is none, or one is of an older format.
    """

    __slots__ = ("_aborted", "_batches", "_check_crcs", "_data", "_place", "end", "position")

    def __init__(
        self, place: TopicPartition, data: bytes, aborted: Aborted | None, position: int, *, check_crcs: bool = True
    ) -> None:
        self._place = place
        self._data = data
        self._aborted = aborted
        self._check_crcs = check_crcs
        self.position = position
        self._batches = _batches(data)
        self.end = None if not self._batches else _end(data, self._batches[-1][0])

    def records(self) -> RecordColumns:
        """Return the committed records from `position` on; not on the event loop.

        Raises
        ------
        CorruptRecordException
            If a checksum is wrong, or what it covers cannot be read.
        """
        columns = None if runs_uncompiled() else self._columns()
        if columns is not None:
            return columns
        made = PartitionRecords(
            self._place,
            MemoryRecords(self._data),
            self._aborted,
            self.position,
            None,
            None,
            self._check_crcs,
            READ_COMMITTED,
        )
        return RecordColumns.of(list(made))

    def _columns(self) -> RecordColumns | None:
        """Return the records; None where this reader is not sure of all."""
        found = self._data_batches()
        if found is None:
            return None
        heads, data = found
        rows = np.empty((N_COLUMNS, sum(head[_COUNT] for head in heads)), np.int64)
        buf = np.frombuffer(data, np.uint8)
        n = 0
        for count, at, stop, base, last, first_ms, append_ms in heads:
            n = read_records(buf, at, stop, count, base, last, first_ms, append_ms, self.position, rows, n)
            if n < 0:
                return None
        return RecordColumns(data, rows[:, :n])

    def _data_batches(  # noqa: PLR0912  # one case of the format after another
        self,
    ) -> tuple[list[tuple[int, int, int, int, int, int, int]], bytes] | None:
        """Return the kernel's arguments for each batch that holds wanted records, and the bytes that they are in."""
        aborted = sorted(self._aborted or (), key=lambda transaction: transaction[1])
        gone: set[int] = set()
        heads: list[tuple[int, int, int, int, int, int, int]] = []
        pieces: list[bytes] = []
        n_pieces = 0
        least = self.position
        view = memoryview(self._data)
        for start, stop in self._batches:
            base, _, _, _, crc, attributes, delta, first_ms, last_ms, producer, _, _, count = _HEAD.unpack_from(
                self._data, start
            )
            if self._check_crcs and crc32c(view[start + _CHECKED_FROM : stop]) != crc:
                return None
            # A broker sends batches in order, and none that ends before the position.
            if delta < 0 or (base if start else base + delta) < least:
                return None
            least = base + delta + 1
            while aborted and aborted[0][1] <= base:
                gone.add(aborted.pop(0)[0])
            if attributes & _CONTROL:
                if producer in gone:
                    is_abort = self._is_abort(start, stop)
                    if is_abort is None:
                        return None
                    gone -= {producer} if is_abort else set()
                continue
            if attributes & _TRANSACTIONAL and producer in gone:
                continue
            at, to, codec = start + _HEAD.size, stop, attributes & _CODEC
            piece = self._data[at:to] if codec or pieces else b""
            if codec:
                made = _decompressed(codec, piece)
                if made is None:
                    return None
                piece = made
                if not pieces:
                    # Where batches before were not compressed, their places in the fetched bytes stay.
                    pieces = [self._data] if heads else []
                    n_pieces = len(self._data) if heads else 0
            if codec or pieces:
                at, to = n_pieces, n_pieces + len(piece)
                pieces.append(piece)
                n_pieces = to
            append_ms = last_ms if attributes & _APPEND_TIME else -1
            if not 0 <= count <= (to - at) // LEAST_RECORD or (attributes & _APPEND_TIME and last_ms < 0):
                return None
            heads.append((count, at, to, base, base + delta, first_ms, append_ms))
        return heads, b"".join(pieces) if pieces else self._data

    def _is_abort(self, start: int, stop: int) -> bool | None:
        try:
            batch = DefaultRecordBatch(self._data[start:stop])
            return bool(ControlRecord.parse(next(batch).key) == ABORT_MARKER)
        except Exception:  # noqa: BLE001  # whatever it is, aiokafka's reader will raise it again
            return None


_COUNT: Final = 0


def _batches(data: bytes) -> list[tuple[int, int]]:
    """Return begin and end of each whole batch; none where one of them is of an older format."""
    found = []
    at, n = 0, len(data)
    while n - at >= _LENGTH_END:
        stop = at + _LENGTH_END + _INT32.unpack_from(data, at + _LENGTH_AT)[0]
        if stop > n:
            break
        if stop - at < _HEAD.size or data[at + _FORMAT_AT] != 2:
            return []
        found.append((at, stop))
        at = stop
    return found


def _end(data: bytes, start: int) -> int:
    last: int = _INT64.unpack_from(data, start)[0] + _INT32.unpack_from(data, start + _LAST_AT)[0] + 1
    return last


def _decompressed(codec: int, data: bytes) -> bytes | None:
    """Return a batch's records; None where they cannot be read."""
    decompress = _DECOMPRESS.get(codec)
    if decompress is None:
        return None
    try:
        return decompress(data)
    except Exception:  # noqa: BLE001  # each library raises its own; aiokafka's reader will raise it again
        return None
