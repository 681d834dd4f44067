"""Ticks as our JSON and back: nothing is lost, not a bit."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.inputs.ticks import AUCTION, MID_EVENT, UNDECODABLE_BOOK, TickBatch
from impactd.wire.rows import RowBuilder, stamped
from impactd.wire.tick_records import encode_ticks
from impactd.wire.ticks.databento.codec import DatabentoCodec
from impactd.wire.ticks.json.codec import JsonTickCodec
from impactd.wire.times import MAX_NS, MIN_NS
from tests.wire.helpers import assert_same_batch, decode_in_batches


def round_trip(batch: TickBatch) -> TickBatch:
    records = list(encode_ticks(batch))
    for record in records:
        assert record.symbol == batch.symbols[batch.symbol[record.rows.start]]
    return (
        JsonTickCodec()
        .decode_columns([r.value for r in records], [r.offset for r in records], [r.ts_record for r in records])
        .batch
    )


@pytest.mark.data
@pytest.mark.parametrize("name", ["FROG_2025-04-03_mbp10.csv.gz", "ARL_2025-07-17_mbp10.csv.gz"])
def test_recorded_day_through_json_is_the_same_arrays(data_dir: Path, name: str) -> None:
    header, *lines = gzip.decompress((data_dir / name).read_bytes()).splitlines()
    batch = decode_in_batches(DatabentoCodec(header=header.decode()), lines[:6_000], 6_000).batch
    # Our JSON names no publisher: a file has one.
    none = np.zeros(len(batch), np.int64)
    assert_same_batch(round_trip(batch), replace(batch, publisher=none, instrument=none))


floats = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0),
    st.integers(-(2**63), 2**70).map(float),
    st.decimals(0, 10_000, places=4).map(float),
)
sides = st.lists(st.tuples(floats, floats), max_size=5).map(lambda side: ([p for p, _ in side], [s for _, s in side]))
times = st.integers(MIN_NS, MAX_NS)
symbols = st.text(min_size=1, max_size=32).filter(str.isprintable)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.lists(
            st.one_of(
                st.tuples(st.just("book"), st.sampled_from([0, MID_EVENT]), times, sides, sides),
                st.tuples(
                    st.just("trade"),
                    st.sampled_from([0, AUCTION]),
                    times,
                    floats,
                    floats.map(lambda qty: abs(qty) % 9e9),
                    st.sampled_from([-1, 0, 1]),
                ),
            ),
            min_size=1,
            max_size=3,
        ),
        max_size=4,
    ),
    symbols,
)
def test_any_rows_through_json_are_the_same_arrays(records: list[list[tuple[object, ...]]], symbol: str) -> None:
    builder = RowBuilder()
    for i, rows in enumerate(records):
        for kind, flags, ts, *rest in rows:
            if kind == "book":
                builder.add_book(i, symbol, flags, ts, 0, *rest)
            else:
                builder.add_trade(i, symbol, flags, ts, 0, *rest)
    batch = stamped(builder.build(), range(len(records)), [7] * len(records))
    assert_same_batch(round_trip(batch), batch)


def test_rows_that_json_cannot_hold_are_an_error() -> None:
    batch = replace(TickBatch.empty(1, 1, ("A",)), n_bid=np.ones(1, np.int32))
    with pytest.raises(ValueError, match="not a finite number"):
        list(encode_ticks(batch))
    with pytest.raises(ValueError, match="UNDECODABLE_BOOK"):
        list(encode_ticks(replace(batch, flags=np.full(1, UNDECODABLE_BOOK, np.uint8))))


def test_empty_batch_gives_no_records() -> None:
    assert list(encode_ticks(TickBatch.empty())) == []
