"""Files of JSON that are no lines: arrays, and values over several lines."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.wire.content import Content, Line
from impactd.wire.decoder import join
from impactd.wire.json_values import first_values, json_records
from impactd.wire.registry import detect
from impactd.wire.tick_codec import FileOptions
from tests.wire.helpers import T0

BOOK = {"type": "book", "symbol": "FROG", "bids": [[31.2, 300]], "asks": [[31.25, 200]], "note": 'a "]}" \\'}
BOOKS = [BOOK | {"ts_event": T0 + i} for i in range(3)]


def records(data: bytes, piece: int = 1 << 16, max_bytes: int = 10_000) -> list[Line]:
    content = Content("a.json", iter([data[i : i + piece] for i in range(0, len(data), piece)]))
    return list(json_records(content, max_bytes))


FORMS = {
    "lines": "\n".join(json.dumps(book) for book in BOOKS),
    "array": json.dumps(BOOKS),
    "indented array": json.dumps(BOOKS, indent=2),
    "element a line": "[" + ",\n".join(json.dumps(book) for book in BOOKS) + "]\n",
    "indented values": "\n".join(json.dumps(book, indent=1) for book in BOOKS),
}


@pytest.mark.parametrize("form", FORMS)
def test_books_of_each_form_are_the_same(form: str) -> None:
    data = FORMS[form].encode()
    for piece in (1, 7, 1 << 16):
        content = Content("a.json", iter([data[i : i + piece] for i in range(0, len(data), piece)]))
        codec = detect(content.head)
        assert codec is not None
        decoded = join([batch.decoded for batch in codec.from_header(content.head, FileOptions()).batches(content, 2)])
        assert not decoded.refused
        assert decoded.batch.ts_event.tolist() == [T0 + i for i in range(3)]


@pytest.mark.parametrize("form", ["indented array", "element a line"])
def test_captures_and_vendors_files_may_be_arrays(form: str) -> None:
    del form
    message = {"symbol": "FROG", "timestamp": T0 // 10**6, "nonce": 1, "bids": [[31.2, 3]], "asks": [[31.3, 3]]}
    for text in (json.dumps([message] * 2, indent=1), "[" + ",\n".join([json.dumps(message)] * 2) + "]"):
        content = Content("frog.json", iter([text.encode()]))
        codec = detect(content.head)
        assert getattr(codec, "name", None) == "capture-json"
        assert [json.loads(value) for value in first_values(content.head)] == [message] * 2
        assert codec is not None
        (batch,) = codec.from_header(content.head, FileOptions()).batches(content, 10)
        assert len(batch.decoded.batch) == 2


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(st.dictionaries(st.text(max_size=5), VALUE, max_size=4), min_size=1, max_size=5), st.integers(0, 5))
def test_elements_of_an_indented_array_are_found_with_any_content(objects: list[Any], seed: int) -> None:
    rng = random.Random(seed)
    data = json.dumps(objects, indent=rng.randrange(3), ensure_ascii=bool(seed % 2)).encode()
    if data.startswith(b"[\n"):
        assert [json.loads(line.text) for line in records(data, rng.randrange(1, 20))] == objects


def test_line_that_is_cut_is_a_bad_line_and_the_others_are_read() -> None:
    lines = FORMS["lines"].encode().splitlines()
    found = records(b"\n".join([lines[0][:30], *lines[1:]]))
    assert [line.text for line in found] == [lines[0][:30], *lines[1:]]


def test_end_in_the_middle_and_values_beyond_the_limit_are_told() -> None:
    data = FORMS["indented array"].encode()
    cut = records(data[:-30])
    assert [line.fault.reason for line in cut if line.fault is not None] == ["truncated"]
    assert len([line for line in cut if line.fault is None]) == 2
    assert {line.fault.reason for line in records(data, max_bytes=50) if line.fault is not None} == {"too_large"}
