"""Several recorded files as one stream, in one fixed order.

Records are merged by (time, file, place in the file), where a record's time is
the ts_event of its first row, but never below what its file has shown before:
a clock that runs back does not move a row past its neighbours.  A refused or
skipped record has the time of the record before it.  The order depends on the
files alone, not on how many records are read at a time, and no more than a
batch a file is held.

Offsets are numbered anew, from 0 on, one for each record of any file: they are
what the offsets would be had the files been published into one partition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from impactd.core.inputs.ticks import Int, Refused, TickBatch
from impactd.shell.lines import InputFileError
from impactd.shell.recorded import BATCH_ROWS, read_batches, read_events, read_ticks, symbol_of
from impactd.wire.codec import Decoded, Limits, bounded
from impactd.wire.rows import by_first_appearance
from impactd.wire.tick_codec import FileBatch

__all__ = ["BATCH_ROWS", "InputFileError", "merge_files", "read_events", "read_ticks", "symbol_of"]


def merge_files(
    paths: Sequence[Path],
    codec: str | None = None,
    symbol: str | None = None,
    batch_rows: int = BATCH_ROWS,
    limits: Limits | None = None,
) -> Iterator[Decoded]:
    """Yield the ticks of all files in the order of time.

    Parameters
    ----------
    paths : sequence of Path
        Where times are equal, an earlier file goes first.
    codec, symbol, batch_rows, limits
        As `impactd.shell.recorded.read_ticks` has them, for every file.

    Yields
    ------
    Decoded
        Details of refusals name file and line.

    Raises
    ------
    InputFileError
        If a file cannot be read or its format is not known.
    """
    sources = [_Source(path, read_batches(path, codec, symbol, batch_rows, limits)) for path in paths]
    n_before = 0
    while True:
        live = [source for source in sources if source.fill()]
        if not live:
            return
        # Nothing that is still to be read can come before the least of the last keys that were.
        bound = min(range(len(live)), key=lambda i: (live[i].last_key, i))
        key = live[bound].last_key
        parts = [source.take(key, inclusive=i <= bound) for i, source in enumerate(live)]
        decoded, n_records = _merge([part for part in parts if len(part.keys)], n_before)
        n_before += n_records
        yield decoded


@dataclass(slots=True)
class _Part:
    """Consecutive records of one file: their keys, and what they were decoded to, by record."""

    keys: Int
    batch: TickBatch
    row_record: Int
    refused: list[Refused]
    refused_record: Int
    skipped_unknown: int


class _Source:
    """One file: the batch at hand, and which of its records are taken."""

    def __init__(self, path: Path, batches: Iterator[FileBatch]) -> None:
        self._name = path.name
        self._batches = batches
        self._running_max = 0
        self._taken = 0
        self._keys = np.zeros(0, np.int64)
        self._offsets = np.zeros(0, np.int64)
        self._decoded = Decoded(TickBatch.empty())
        self._row_record = np.zeros(0, np.int64)

    @property
    def last_key(self) -> int:
        return int(self._keys[-1])

    def fill(self) -> bool:
        """Have records at hand, or return False at the end of the file."""
        while self._taken == len(self._keys):
            batch = next(self._batches, None)
            if batch is None:
                return False
            self._decoded, self._offsets, self._taken = batch.decoded, batch.offsets, 0
            self._row_record = np.searchsorted(self._offsets, self._decoded.batch.offset)
            self._keys = self._clamped()
        return True

    def _clamped(self) -> Int:
        ts = self._decoded.batch.ts_event
        first = np.zeros(len(self._offsets), np.int64)
        record, row = np.unique(self._row_record, return_index=True)
        first[record] = ts[row]
        latest = np.zeros(len(self._offsets), np.int64)
        np.maximum.at(latest, self._row_record, ts)
        shown = np.maximum.accumulate(np.concatenate([[self._running_max], latest]))
        self._running_max = int(shown[-1])
        return np.maximum(shown[:-1], first)

    def take(self, key: int, *, inclusive: bool) -> _Part:
        """Take the records at hand up to `key`."""
        start = self._taken
        stop = max(start, int(np.searchsorted(self._keys, key, side="right" if inclusive else "left")))
        self._taken = stop
        rows = slice(*np.searchsorted(self._row_record, [start, stop]).tolist())
        at = np.searchsorted(self._offsets, [letter.offset for letter in self._decoded.refused]).astype(np.int64)
        chosen = np.flatnonzero((at >= start) & (at < stop))
        refused = [
            replace(letter, detail=bounded(f"{self._name}:{letter.offset}: {letter.detail}"))
            for letter in (self._decoded.refused[i] for i in chosen)
        ]
        skipped = self._decoded.skipped_unknown if start == 0 and stop > 0 else 0
        return _Part(
            keys=self._keys[start:stop],
            batch=self._decoded.batch.take(rows),
            row_record=self._row_record[rows] - start,
            refused=refused,
            refused_record=at[chosen] - start,
            skipped_unknown=skipped,
        )


def _merge(parts: Sequence[_Part], n_before: int) -> tuple[Decoded, int]:
    """Return the records of `parts` in order, numbered from `n_before` on, and how many they are."""
    if len(parts) == 1:
        return _renumbered(parts[0], n_before), len(parts[0].keys)
    base = np.cumsum([0, *(len(part.keys) for part in parts)])
    # Parts stand in the order of the files, so that a stable sort by time settles equal times.
    order = np.argsort(np.concatenate([part.keys for part in parts]), kind="stable")
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(n_before, n_before + len(order))
    offset = np.concatenate([number[part.row_record + b] for part, b in zip(parts, base, strict=False)])
    rows = np.argsort(offset, kind="stable")
    # Concatenation drops empty batches; their rows are none, so offsets still fit.
    batch = replace(TickBatch.concat([part.batch for part in parts]).take(rows), offset=offset[rows])
    refused = [
        replace(letter, offset=int(number[record + b]))
        for part, b in zip(parts, base, strict=False)
        for letter, record in zip(part.refused, part.refused_record, strict=True)
    ]
    refused.sort(key=lambda letter: letter.offset)
    skipped = sum(part.skipped_unknown for part in parts)
    return Decoded(by_first_appearance(batch), refused, skipped), len(order)


def _renumbered(part: _Part, n_before: int) -> Decoded:
    refused = [
        replace(letter, offset=n_before + int(record))
        for letter, record in zip(part.refused, part.refused_record, strict=True)
    ]
    batch = replace(part.batch, offset=part.row_record + n_before)
    return Decoded(by_first_appearance(batch), refused, part.skipped_unknown)
