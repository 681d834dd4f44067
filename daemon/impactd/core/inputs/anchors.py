"""Anchors: the last record applied of each input, which identifies the input after a restart.

A position is only a number.  After a topic was deleted and created again, restored from a backup, or read from another
cluster, the same number points at another record, and records would be skipped silently.  So the state also holds, for
each input, offset, timestamp and hash of the last record before its position; a restore compares them with the record
that is there now.
"""

from __future__ import annotations

import bisect
import hashlib
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from impactd.core.inputs.columns import RecordColumns, SourceRecord

_Ints = npt.NDArray[np.int64]

_DIGEST_BYTES: Final = 16

#: Length of an absent key or value in the hash; no real length equals it.
_ABSENT: Final = 2**64 - 1


class Anchor(NamedTuple):
    """The last record applied of an input."""

    offset: int
    #: As the topic holds it.
    timestamp_ms: int
    #: BLAKE2b of key and value, 32 hex digits.
    digest: str


def anchor_of(record: SourceRecord) -> Anchor:
    """Return the anchor at a record."""
    made = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in (record.key, record.value):
        made.update((_ABSENT if part is None else len(part)).to_bytes(8, "little"))
        made.update(part or b"")
    return Anchor(record.offset, record.timestamp, made.hexdigest())


class Trail:
    """The records of one input that have arrived and are not applied: their number, their bytes, and the anchor."""

    def __init__(self) -> None:
        self._parts: deque[tuple[RecordColumns, _Ints]] = deque()
        #: Records of the first part that are applied already.
        self._done = 0
        #: Records and bytes (keys and values) that wait.
        self.records = 0
        self.bytes = 0

    def add(self, records: Sequence[SourceRecord]) -> None:
        """Add the records of one fetch, in their order."""
        if records:
            columns = RecordColumns.of(records)
            sizes = columns.sizes()
            self._parts.append((columns, sizes))
            self.records += len(records)
            self.bytes += int(sizes[-1])

    def bound(self, max_records: int, max_bytes: int) -> int | None:
        """Return the offset of the first record beyond the bounds; None where all are within. One always is."""
        records, size, first, start = 0, 0, True, self._done
        for part, sizes in self._parts:
            fits = bisect.bisect_right(sizes, sizes[start] + max_bytes - size) - 1
            stop = max(min(fits, start + max_records - records), start + first)
            if stop < len(part):
                return int(part.offsets[stop])
            records, size, first, start = records + len(part) - start, size + int(sizes[-1] - sizes[start]), False, 0
        return None

    def pass_to(self, offset: int) -> Anchor | None:
        """Forget the records before `offset` and return the anchor at the last of them, if there was one."""
        last: SourceRecord | None = None
        while self._parts:
            part, sizes = self._parts[0]
            stop = bisect.bisect_left(part.offsets, offset, self._done)
            if stop > self._done:
                last = part[stop - 1]
                self.records -= stop - self._done
                self.bytes -= int(sizes[stop] - sizes[self._done])
            if stop < len(part):
                self._done = stop
                break
            self._parts.popleft()
            self._done = 0
        return None if last is None else anchor_of(last)
