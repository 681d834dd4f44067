"""A captured record is the record, whatever bytes are in it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.audit.capture import capture_file, capture_line, read_capture, read_partitions
from impactd.shell.audit.derive import derive
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.lines import InputFileError

_bytes = st.none() | st.binary(max_size=40) | st.text(max_size=20).map(str.encode)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2**40), _bytes, _bytes), max_size=5))
def test_capture_read_back_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, bytes | None, bytes | None]]
) -> None:
    path = capture_file(tmp_path_factory.mktemp("capture"), Topic.TICKS)
    records = [ConsumedRecord("ticks", p, o, 5, key, value, (("codec", b"json"),)) for p, o, key, value in rows]
    path.write_bytes(b"".join(capture_line(Topic.TICKS, record) + b"\n" for record in records))
    assert list(read_capture(path)) == records


def test_capture_partitions_are_in_the_order_of_offsets(tmp_path: Path) -> None:
    records = [ConsumedRecord("orders", p, o, 5, None, b"{}") for p, o in ((1, 7), (0, 2), (1, 3))]
    lines = b"".join(capture_line(Topic.ORDERS, record) + b"\n" for record in records)
    capture_file(tmp_path, Topic.ORDERS).write_bytes(lines)
    found = read_partitions(tmp_path, Topic.ORDERS)
    assert {p: [r.offset for r in records] for p, records in found.items()} == {0: [2], 1: [3, 7]}
    assert read_partitions(tmp_path, Topic.CONTROL) == {}


@pytest.mark.parametrize("line", [b"[]", b"{", b'{"topic":"ticks"}', b'{"topic":"x","partition":0,"offset":0}'])
def test_capture_with_a_foreign_line_names_file_and_line(tmp_path: Path, line: bytes) -> None:
    path = capture_file(tmp_path, Topic.TICKS)
    path.write_bytes(line + b"\n")
    with pytest.raises(InputFileError, match=r"ticks\.jsonl:1"):
        list(read_capture(path))


def test_derive_without_a_journal_or_its_genesis_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no journal"):
        list(derive(tmp_path, Settings()))
    entry = orjson.dumps({"type": "commit", "commit_seq": 7})
    record = ConsumedRecord("journal", 0, 0, 5, None, entry)
    capture_file(tmp_path, Topic.JOURNAL).write_bytes(capture_line(Topic.JOURNAL, record) + b"\n")
    with pytest.raises(InputFileError, match="genesis"):
        list(derive(tmp_path, Settings()))
