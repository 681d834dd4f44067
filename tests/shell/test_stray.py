"""Rows of a file that are from the future: known by their neighbours, wherever batches end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.inputs.ticks import by_record_time
from impactd.shell.stray import with_record_times
from impactd.wire.codec import Decoded
from impactd.wire.tick_codec import FileBatch
from tests.core.rows import batch_of, book

S = 1_000_000_000
T0 = 1_743_687_000 * S


def judged(seconds: Sequence[float], cuts: Sequence[int] = ()) -> list[float]:
    """Return the times at which rows count, seconds, where a file's batches end at `cuts`."""
    rows = batch_of([book(T0 + round(s * S)) for s in seconds])
    edges = [0, *sorted({min(cut, len(rows)) for cut in cuts}), len(rows)]
    batches = [FileBatch(Decoded(rows.take(slice(a, b))), np.arange(a, b, dtype=np.int64)) for a, b in pairwise(edges)]
    found = [by_record_time(batch.decoded.batch, 3_600 * S) for batch in with_record_times(iter(batches))]
    return [round((int(ts) - T0) / S, 2) for batch in found for ts in batch.ts_event]


def test_row_from_the_future_counts_with_the_row_after_it() -> None:
    assert judged([0, 1, 2, 61, 3, 4, 5]) == [0, 1, 2, 3, 3, 4, 5]
    assert judged([90, 1, 2, 3, 4]) == [1, 1, 2, 3, 4]
    assert judged([0, 1, 50, 2, 70, 3, 4, 5]) == [0, 1, 2, 2, 3, 3, 4, 5]


@pytest.mark.parametrize(
    "seconds",
    [
        [0, 1, 2, 61, 62, 63, 64],  # a gap
        [0, 1, 2, 61, 3, 62, 63, 64],  # a late row after a gap
        [0, 0.2, 0.1, 0.3, 1.2, 0.9, 1.3],  # a little out of order
        [0, 10, 20, 30, 0, 10, 20, 30],  # one symbol after another
        [0, 1, 2, 61],  # nothing to judge the last row by
        [],
    ],
)
def test_other_rows_count_at_their_own_time(seconds: list[float]) -> None:
    assert judged(seconds) == seconds


@given(
    steps=st.lists(st.sampled_from([0.0, 0.1, 1.0, 3.0, 100.0]), min_size=1, max_size=25),
    strays=st.lists(st.tuples(st.integers(0, 24), st.sampled_from([2.0, 60.0])), max_size=3),
    cuts=st.lists(st.integers(0, 25), max_size=6),
)
def test_where_batches_end_changes_nothing(
    steps: list[float], strays: list[tuple[int, float]], cuts: list[int]
) -> None:
    seconds = np.cumsum(steps)
    for at, ahead in strays:
        seconds[at % len(seconds)] += ahead
    assert judged(seconds.tolist(), cuts) == judged(seconds.tolist())
