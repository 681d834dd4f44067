"""Fetched bytes become the records that aiokafka's own reader makes of them, whatever the bytes are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from impactd.config import Settings
from impactd.core.inputs.anchors import Trail, anchor_of
from impactd.core.inputs.columns import RecordColumns
from impactd.core.inputs.ticks import TickBatch
from impactd.shell.kafka.decode import Decoder
from impactd.shell.kafka.fetched import Fetched
from impactd.wire.codec import Limits
from impactd.wire.murmur2 import partition_for
from tests.wire.record_batches import ABORT, CODECS, COMMIT, Batch, Item, marker, varint

PLACE = TopicPartition("ticks", 0)
Fields = tuple[Any, ...]


def _fields(records: Sequence[Any]) -> list[Fields]:
    return [(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in records]


def _theirs(data: bytes, aborted: list[tuple[int, int]], position: int, *, crcs: bool) -> tuple[object, int]:
    """Return what aiokafka makes of the bytes, or what it raises, and where it is then."""
    reader = PartitionRecords(PLACE, MemoryRecords(data), aborted, position, None, None, crcs, READ_COMMITTED)
    try:
        return _fields(list(reader)), reader.next_fetch_offset
    except Exception as error:  # noqa: BLE001  # whatever it raises
        return type(error), -1


def _compare(data: bytes, aborted: list[tuple[int, int]], position: int = 0, *, crcs: bool = True) -> Fetched:
    fetched = Fetched(PLACE, data, aborted, position, check_crcs=crcs)
    if fetched.end is None:
        return fetched
    theirs, end = _theirs(data, aborted, position, crcs=crcs)
    try:
        ours: object = _fields(fetched.records())
    except Exception as error:  # noqa: BLE001  # whatever it raises
        ours = type(error)
    assert ours == theirs
    assert end in (-1, fetched.end)
    return fetched


parts = st.none() | st.binary(max_size=40)
header_lists = st.lists(st.tuples(st.sampled_from(["codec", "trace", "cödec", "codecs", ""]), parts), max_size=3)


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[Batch], list[tuple[int, int]]]:
    """Return batches of several producers, their transactions ended or not, and which of them were aborted."""
    made: list[Batch] = []
    aborted: list[tuple[int, int]] = []
    opened: dict[int, int] = {}
    at = draw(st.integers(0, 5))
    for _ in range(draw(st.integers(0, 6))):
        producer = draw(st.sampled_from([-1, 7, 8]))
        if producer > 0 and producer in opened and draw(st.booleans()):
            kind = draw(st.sampled_from([ABORT, COMMIT]))
            if kind == ABORT:
                aborted.append((producer, opened[producer]))
            del opened[producer]
            made.append(marker(at, producer, kind))
            at += 1
            continue
        behind = sorted(draw(st.sets(st.integers(0, 9), max_size=6)))
        items = [Item(b, draw(st.integers(-5, 5)), draw(parts), draw(parts), tuple(draw(header_lists))) for b in behind]
        batch = Batch(
            at,
            items,
            # No snappy stream of nothing can be read, by either.
            codec=draw(st.sampled_from(list(CODECS) if items else [0, 1, 3, 4])),
            last_delta=draw(st.sampled_from([None, 9])),
            append_time=draw(st.booleans()),
            transactional=producer > 0,
            producer=producer,
        )
        if producer > 0:
            opened.setdefault(producer, at)
        made.append(batch)
        at += 10 + draw(st.integers(0, 2))
    return made, draw(st.permutations(aborted))


@given(batches(), st.integers(0, 40))
def test_fetched_whole_batches_are_the_records_of_aiokafka(
    made: tuple[list[Batch], list[tuple[int, int]]], position: int
) -> None:
    data = b"".join(batch.encoded() for batch in made[0])
    fetched = _compare(data, made[1], position)
    first = Fetched(PLACE, made[0][0].encoded(), None, 0).end if made[0] else None
    # A broker sends no batch that ends before the position.
    if (
        first is not None
        and position < first
        and all(n.isascii() for b in made[0] for i in b.items for n, _ in i.headers)
    ):
        # It is the kernel that is compared, not aiokafka with itself.
        assert isinstance(fetched.records(), RecordColumns)


@given(batches(), st.data())
def test_fetched_cut_or_damaged_bytes_end_as_in_aiokafka(
    made: tuple[list[Batch], list[tuple[int, int]]], data: st.DataObject
) -> None:
    raw = bytearray(b"".join(batch.encoded() for batch in made[0]))
    for _ in range(data.draw(st.integers(0, 3)) if raw else 0):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(raw)))
    _compare(bytes(raw[:cut]), made[1], crcs=data.draw(st.booleans()))


@given(st.lists(st.binary(max_size=12), max_size=4), st.binary(max_size=30), st.integers(0, 4))
def test_fetched_records_of_any_bytes_under_a_good_checksum_end_as_in_aiokafka(
    pieces: list[bytes], tail: bytes, count: int
) -> None:
    body = b"".join(varint(len(piece)) + piece for piece in pieces) + tail
    batch = Batch(0, [Item(i) for i in range(count)], damage=lambda _: body)
    _compare(batch.encoded(), [])


@pytest.mark.parametrize("codec", CODECS)
def test_fetched_records_of_each_codec_share_one_buffer_with_others(codec: int) -> None:
    made = [
        Batch(10 * i, [Item(k, k, b"K%d" % k, b"v" * k) for k in range(5)], codec=c)
        for i, c in enumerate((0, codec, 0))
    ]
    data = b"".join(batch.encoded() for batch in made)
    records = _compare(data, []).records()
    assert isinstance(records, RecordColumns)
    assert [record.offset for record in records] == [10 * i + k for i in range(3) for k in range(5)]
    assert records.different_keys() == [b"K0", b"K1", b"K2", b"K3", b"K4"]


def test_fetched_batches_of_an_older_format_are_left_to_aiokafka() -> None:
    old = bytearray(Batch(0, [Item(0)]).encoded())
    old[16] = 1
    assert Fetched(PLACE, Batch(0, [Item(0)]).encoded() + bytes(old), None, 0).end is None


def test_fetched_unknown_compression_is_refused_as_by_aiokafka() -> None:
    raw = bytearray(Batch(0, [Item(0)]).encoded())
    raw[22] |= 7
    _compare(bytes(raw), [], crcs=False)


# What becomes of the columns

_HOME = "FROG"
_values = st.sampled_from(
    [
        None,
        b"",
        b"{",
        b'"',
        b"[1",
        orjson.dumps({"type": "trade", "symbol": "FROG", "ts_event": 1_743_687_000_000_000_000, "px": 1.5, "qty": 100}),
        orjson.dumps({"type": "trade", "symbol": "AAPL", "ts_event": 1_743_687_000_000_000_000, "px": 1.5, "qty": 100}),
        b'{"type":"book","symbol":"FROG","ts_event":1743687000000000000,"bids":[[1.0,5]],"asks":[[2.0,7],[3.0,1]]}  ',
        b'[{"type":"book","symbol":"FROG","ts_event":1743687000000000000,"bids":[],"asks":[[2.0,7]]}',
    ]
)
_keys = st.sampled_from([None, b"", b"FROG", b"AAPL", b"\xff" * 200])
_heads = st.lists(
    st.tuples(st.sampled_from(["codec", "trace"]), st.sampled_from([None, b"json", b"morse", b" " * 32, b'0"}'])),
    max_size=18,
)


@given(st.lists(st.builds(Item, st.just(0), st.integers(-3, 3), _keys, _values, _heads.map(tuple)), max_size=8))
def test_columns_decode_to_what_their_records_decode_to(items: list[Item]) -> None:
    at = [Item(i, item.behind_ms, item.key, item.value, item.headers) for i, item in enumerate(items)]
    records = Fetched(PLACE, Batch(3, at, first_ms=2).encoded(), None, 0).records()
    assert isinstance(records, RecordColumns)
    home = partition_for(_HOME, 2)
    ours, theirs = (Decoder(Settings(), Limits(), home, 2).ticks(r) for r in (records, list(records)))
    assert ours.refused == theirs.refused
    assert ours.skipped_unknown == theirs.skipped_unknown
    _same_rows(ours.batch, theirs.batch)


def _same_rows(ours: TickBatch, theirs: TickBatch) -> None:
    assert ours.symbols == theirs.symbols
    for name in ("symbol", "kind", "ts_event", "ts_record", "offset", "bid_px", "ask_sz", "n_bid", "n_ask", "px"):
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes(), name


@given(st.lists(st.tuples(parts, parts), max_size=9), st.integers(1, 4), st.integers(1, 60), st.integers(0, 12))
def test_columns_leave_the_trail_that_their_records_leave(
    pairs: list[tuple[bytes | None, bytes | None]], most: int, most_bytes: int, to: int
) -> None:
    items = [Item(i, 0, *pair) for i, pair in enumerate(pairs)]
    records = Fetched(PLACE, Batch(0, items).encoded(), None, 0).records()
    ours, theirs = Trail(), Trail()
    for first in range(0, len(items), 4):
        ours.add(records[first : first + 4])
        theirs.add(list(records[first : first + 4]))
    assert ours.bound(most, most_bytes) == theirs.bound(most, most_bytes)
    assert (ours.pass_to(to), ours.records, ours.bytes) == (theirs.pass_to(to), theirs.records, theirs.bytes)
    assert ours.pass_to(20) == (None if to >= len(items) else anchor_of(records[-1]))


def test_columns_are_rows_that_can_be_asked_for_one_by_one() -> None:
    item = Item(2, 4, None, None, (("codec", None), ("trace", b"x" * 70)))
    [record] = Fetched(PLACE, Batch(5, [item]).encoded(), None, 0).records()
    assert record == (7, 1_743_687_000_004, None, None, item.headers)
