"""Records that were read one by one, as columns: nothing of them is lost or added."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.inputs.columns import CODEC_HEADER, Record, RecordColumns

PART = st.none() | st.binary(max_size=200)
HEADER = st.tuples(st.sampled_from([CODEC_HEADER, "traceparent", "\u00e9", "x" * 70]), PART)
RECORDS = st.lists(
    st.builds(
        Record, st.integers(0, 2**62), st.integers(-1, 2**62), PART, PART, st.lists(HEADER, max_size=3).map(tuple)
    )
)


@given(records=RECORDS)
def test_columns_of_records_are_those_records(records: list[Record]) -> None:
    columns = RecordColumns.of(records)
    assert list(columns) == records
    assert RecordColumns.of(columns) is columns
    assert list(columns.values) == [record.value or b"" for record in records]
    assert list(columns.keys) == [record.key for record in records]
    assert set(columns.different_keys()) == {record.key for record in records}
    sizes = [len(record.key or b"") + len(record.value or b"") for record in records]
    assert columns.sizes().tolist() == list(accumulate(sizes, initial=0))
    first = [next((value or b"" for name, value in r.headers if name == CODEC_HEADER), None) for r in records]
    assert (columns.codecs() or [None] * len(records)) == first
    odd = np.arange(len(records)) % 2 == 1
    assert list(columns.where(odd)) == records[1::2]
