"""Finds rows of a file that are from the future, by their neighbours.

A file's rows have no record time, so their own timestamps are all that there is.  A row is from the future if it jumps
ahead of all rows before it
by more than `AHEAD_NS`, and the row and most of the `FOLLOWING` rows after it continue from where those were.  Its
record then has the time of the row after it, as if a broker had stamped it, and
`impactd.core.inputs.ticks.by_record_time` counts it at that time, or refuses it.

A gap is no jump, since the rows after it stay on its far side; and a file of one symbol after another runs
back further than to where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from impactd.core.inputs.ticks import Int
from impactd.wire.tick_codec import FileBatch

#: How far a row must be ahead of those before and after it.
AHEAD_NS: Final = 1_000_000_000
#: Rows after one, most of which have to be behind it.
FOLLOWING: Final = 3

_NEVER: Final = -(2**62)


def with_record_times(batches: Iterator[FileBatch]) -> Iterator[FileBatch]:
    """Yield the batches of a file, with the record times of rows from the future corrected.

    What comes out depends on the rows alone, and not on where batches end.
    """
    latest = _NEVER
    held: list[FileBatch] = []
    for batch in batches:
        held.append(batch)
        # A batch goes out when enough rows behind it are known.
        while len(held) > 1 and sum(len(later.decoded.batch) for later in held[1:]) >= FOLLOWING:
            judged, latest = _judged(held.pop(0), held, latest)
            yield judged
    while held:
        judged, latest = _judged(held.pop(0), held, latest)
        yield judged


def _judged(batch: FileBatch, later: list[FileBatch], latest: int) -> tuple[FileBatch, int]:
    """Return a batch with its record times, and the largest time shown so far by rows that are not from the future."""
    rows = batch.decoded.batch
    ts: Int = np.concatenate([rows.ts_event, *(other.decoded.batch.ts_event for other in later)])[
        : len(rows) + FOLLOWING
    ]
    n = len(rows)
    falls = np.flatnonzero(ts[:-1] - ts[1:] > AHEAD_NS) if len(ts) > 1 else np.zeros(0, np.int64)
    record = rows.ts_record.copy()
    start = 0
    for i in falls[falls < n].tolist():
        before = max(latest, int(ts[start:i].max(initial=_NEVER)))
        after = ts[i + 1 : i + 1 + FOLLOWING]
        goes_on = before == _NEVER or bool(np.all(after >= before - AHEAD_NS))
        behind = after < ts[i] - AHEAD_NS
        if ts[i] > before + AHEAD_NS and goes_on and 2 * int(np.sum(behind)) > len(behind):
            record[i] = min(int(record[i]), int(after[0]) // 1_000_000 * 1_000_000)
            latest, start = before, i + 1
    latest = max(latest, int(ts[start:n].max(initial=_NEVER)))
    if np.array_equal(record, rows.ts_record):
        return batch, latest
    return replace(batch, decoded=replace(batch.decoded, batch=replace(rows, ts_record=record))), latest
