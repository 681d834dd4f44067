"""Several recorded files as one stream, in one fixed order.

Records are merged by (time, file, place in the file), where a record's time is
the ts_event of its first row, but never below what its file has shown before:
a clock that runs back does not move a row past its neighbours.  A refused or
skipped record has the time of the record before it.  The order depends on the
files alone, not on how many records are read at a time, and no more than a
batch a file is held.

Offsets are renumbered from 0, one for each record of any file, as if the files had been published into one partition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from impactd.core.inputs.events import Received
from impactd.core.inputs.ticks import Int, Refused, TickBatch
from impactd.shell.lines import InputFileError
from impactd.shell.recorded import BATCH_ROWS, read_batches, read_events, read_ticks
from impactd.wire.codec import Decoded, Limits, bounded, shown
from impactd.wire.rows import by_first_appearance
from impactd.wire.tick_codec import FileBatch

__all__ = ["BATCH_ROWS", "InputFileError", "merge_files", "read_events", "read_ticks"]


@dataclass(slots=True)
class FileReport:
    """What a file gave."""

    path: Path
    rows: int = 0
    refused: int = 0
    skipped: int = 0
    #: Reason of the first record that was refused, in words.
    first_refused: str = ""

    def add(self, rows: int, refused: Sequence[Refused], skipped: int) -> None:
        """Count some of its records."""
        if refused and not self.refused:
            self.first_refused = f"{refused[0].offset}: {refused[0].detail}"
        self.rows += rows
        self.refused += len(refused)
        self.skipped += skipped

    def unusable(self) -> str | None:
        """Return why nothing of the file can be used; None where something can."""
        if self.rows:
            return None
        if self.refused:
            n = self.refused + self.skipped
            return f"{self.path}: none of its {n:,} records can be used; the first: line {self.first_refused}"
        if self.skipped:
            return f"{self.path}: all {self.skipped:,} records have an unknown type"
        return f"{self.path}: holds no record"


class MergedFiles:
    """The ticks of all files in the order of time, to be read once.

    Parameters
    ----------
    paths : sequence of Path
        Where times are equal, an earlier file goes first.
    codec, symbol, batch_rows, limits
        As `impactd.shell.recorded.read_ticks` has them, for every file.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        codec: str | None = None,
        symbol: str | None = None,
        batch_rows: int = BATCH_ROWS,
        limits: Limits | None = None,
    ) -> None:
        self.reports = [FileReport(path) for path in paths]
        #: By symbol, the file and the venue that showed its first book.
        self._venues: dict[str, tuple[Path, str]] = {}
        self._sources = [
            _Source(report, read_batches(report.path, codec, symbol, batch_rows, limits)) for report in self.reports
        ]

    def __iter__(self) -> Iterator[Decoded]:
        """Yield merged batches; details of refusals name file and line."""
        n_before = 0
        while True:
            live = [source for source in self._sources if source.fill()]
            if not live:
                return
            self._check_venues(live)
            # Nothing that is still to be read can come before the least of the last keys that were.
            bound = min(range(len(live)), key=lambda i: (live[i].last_key, i))
            key = live[bound].last_key
            parts = [source.take(key, inclusive=i <= bound) for i, source in enumerate(live)]
            decoded, n_records = _merge([part for part in parts if len(part.keys)], n_before)
            n_before += n_records
            yield decoded

    def _check_venues(self, live: Sequence[_Source]) -> None:
        """Refuse books of one symbol from several venues: read together, they would be one book."""
        for source in live if len(self._sources) > 1 else ():
            for symbol, venue in source.venues.items():
                first, known = self._venues.setdefault(symbol, (source.path, venue))
                if known != venue and known.split(" ")[0] == venue.split(" ")[0]:
                    raise InputFileError(
                        f"{source.path}: {shown(symbol)} is of {venue}, and of {known} in {first}; together they would "
                        "be one book: read one at a time, or name each: --symbol"
                    )

    def unusable(self) -> list[str]:
        """Return why nothing can be used, of each file of which nothing can."""
        return [why for report in self.reports if (why := report.unusable()) is not None]


def merge_files(
    paths: Sequence[Path],
    codec: str | None = None,
    symbol: str | None = None,
    batch_rows: int = BATCH_ROWS,
    limits: Limits | None = None,
) -> MergedFiles:
    """Return the ticks of all files in the order of time; see `MergedFiles`."""
    return MergedFiles(paths, codec, symbol, batch_rows, limits)


@dataclass(slots=True)
class _Part:
    """Consecutive records of one file: their keys, and what they were decoded to, by record."""

    keys: Int
    batch: TickBatch
    row_record: Int
    refused: list[Refused]
    refused_record: Int
    skipped_unknown: int
    events: list[Received[Any]]
    events_record: Int


class _Source:
    """One file: the batch at hand, and which of its records are taken."""

    def __init__(self, report: FileReport, batches: Iterator[FileBatch]) -> None:
        self._report = report
        self._name = report.path.name
        self._batches = batches
        self.venues: dict[str, str] = {}
        self._running_max = 0
        self._taken = 0
        self._keys = np.zeros(0, np.int64)
        self._offsets = np.zeros(0, np.int64)
        self._decoded = Decoded(TickBatch.empty())
        self._row_record = np.zeros(0, np.int64)
        self._refused_record = np.zeros(0, np.int64)
        self._event_record = np.zeros(0, np.int64)

    @property
    def path(self) -> Path:
        return self._report.path

    @property
    def last_key(self) -> int:
        return int(self._keys[-1])

    def fill(self) -> bool:
        """Read records if none is left; return False at the end of the file."""
        while self._taken == len(self._keys):
            batch = next(self._batches, None)
            if batch is None:
                return False
            self._decoded, self._offsets, self._taken = batch.decoded, batch.offsets, 0
            self.venues = batch.venues
            found = batch.decoded
            self._report.add(len(found.batch) + len(found.events), found.refused, found.skipped_unknown)
            self._row_record = np.searchsorted(self._offsets, found.batch.offset)
            self._refused_record = self._records_of([letter.offset for letter in found.refused])
            self._event_record = self._records_of([event.offset for event in found.events])
            self._keys = self._clamped()
        return True

    def _records_of(self, offsets: Sequence[int]) -> Int:
        """Return which record of the batch each offset is."""
        return np.searchsorted(self._offsets, np.array(offsets, np.int64))

    def _clamped(self) -> Int:
        rows = self._decoded.batch
        ts = np.minimum(rows.ts_event, rows.ts_record + 999_999)  # a row from the future moves no other
        first = np.zeros(len(self._offsets), np.int64)
        record, row = np.unique(self._row_record, return_index=True)
        first[record] = ts[row]
        at = np.array([event.event.ts_event for event in self._decoded.events], np.int64)
        first[self._event_record] = at
        latest = np.zeros(len(self._offsets), np.int64)
        np.maximum.at(latest, self._row_record, ts)
        np.maximum.at(latest, self._event_record, at)
        shown = np.maximum.accumulate(np.concatenate([[self._running_max], latest]))
        self._running_max = int(shown[-1])
        return np.maximum(shown[:-1], first)

    def take(self, key: int, *, inclusive: bool) -> _Part:
        """Take the current records up to `key`."""
        start = self._taken
        stop = max(start, int(np.searchsorted(self._keys, key, side="right" if inclusive else "left")))
        self._taken = stop
        rows = slice(*np.searchsorted(self._row_record, [start, stop]).tolist())
        at, of_events = self._refused_record, self._event_record
        chosen = np.flatnonzero((at >= start) & (at < stop))
        refused = [
            replace(letter, detail=bounded(f"{self._name}:{letter.offset}: {letter.detail}"))
            for letter in (self._decoded.refused[i] for i in chosen)
        ]
        mine = np.flatnonzero((of_events >= start) & (of_events < stop))
        skipped = self._decoded.skipped_unknown if start == 0 and stop > 0 else 0
        return _Part(
            keys=self._keys[start:stop],
            batch=self._decoded.batch.take(rows),
            row_record=self._row_record[rows] - start,
            refused=refused,
            refused_record=at[chosen] - start,
            skipped_unknown=skipped,
            events=[self._decoded.events[i] for i in mine],
            events_record=of_events[mine] - start,
        )


def _merge(parts: Sequence[_Part], n_before: int) -> tuple[Decoded, int]:
    """Return the records of `parts` in order, numbered from `n_before` on, and how many they are."""
    if len(parts) == 1:
        return _renumbered(parts[0], n_before), len(parts[0].keys)
    base = np.cumsum([0, *(len(part.keys) for part in parts)])
    # Parts are in the order of the files, so that a stable sort by time settles equal times.
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
    events = [
        replace(event, offset=int(number[record + b]))
        for part, b in zip(parts, base, strict=False)
        for event, record in zip(part.events, part.events_record, strict=True)
    ]
    events.sort(key=lambda event: event.offset)
    skipped = sum(part.skipped_unknown for part in parts)
    return Decoded(by_first_appearance(batch), refused, skipped, events), len(order)


def _renumbered(part: _Part, n_before: int) -> Decoded:
    refused = [
        replace(letter, offset=n_before + int(record))
        for letter, record in zip(part.refused, part.refused_record, strict=True)
    ]
    batch = replace(part.batch, offset=part.row_record + n_before)
    events = [
        replace(event, offset=n_before + int(record))
        for event, record in zip(part.events, part.events_record, strict=True)
    ]
    return Decoded(by_first_appearance(batch), refused, part.skipped_unknown, events)
