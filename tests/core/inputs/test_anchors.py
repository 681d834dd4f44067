"""The trail of records that wait: bounds, bytes and anchors, against a list."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.inputs.anchors import Trail, anchor_of


class Made(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def size(self) -> int:
        return len(self.key or b"") + len(self.value or b"")


@st.composite
def records(draw: st.DrawFn) -> list[Made]:
    content = st.one_of(st.none(), st.binary(max_size=12))
    offset, made = -1, []
    for _ in range(draw(st.integers(0, 20))):
        offset += draw(st.integers(1, 3))  # control records and aborted ones leave gaps
        made.append(Made(offset, draw(st.integers(0, 99)), draw(content), draw(content)))
    return made


@given(
    made=records(),
    fetch=st.integers(1, 7),
    steps=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 60)), min_size=1, max_size=12),
)
def test_trail_bounds_sums_and_anchors_as_a_list_does(
    made: list[Made], fetch: int, steps: list[tuple[int, int]]
) -> None:
    trail, left = Trail(), list(made)
    for at in range(0, len(made), fetch):
        trail.add(made[at : at + fetch])
    for max_records, max_bytes in steps:
        assert (trail.records, trail.bytes) == (len(left), sum(record.size for record in left))
        n = 0
        while n < min(len(left), max_records) and sum(r.size for r in left[: n + 1]) <= max_bytes:
            n += 1
        n = max(n, min(1, len(left)))
        expected = left[n].offset if n < len(left) else None
        bound = trail.bound(max_records, max_bytes)
        assert bound == expected
        anchor = trail.pass_to(made[-1].offset + 1 if bound is None and made else bound or 0)
        assert anchor == (anchor_of(left[n - 1]) if n else None)
        del left[:n]


@pytest.mark.parametrize(
    "other",
    [
        Made(7, 5, b"A", b"other"),
        Made(7, 6, b"A", b"value"),
        Made(8, 5, b"A", b"value"),
        Made(7, 5, b"Av", b"alue"),
        Made(7, 5, None, b"Avalue"),
        Made(7, 5, b"", b"Avalue"),
        Made(7, 5, b"Avalue", b""),
        Made(7, 5, b"Avalue", None),
    ],
)
def test_anchor_of_another_record_differs(other: Made) -> None:
    assert anchor_of(other) != anchor_of(Made(7, 5, b"A", b"value"))
    assert len({anchor_of(made) for made in (other, Made(7, 5, b"A", b"value"))}) == 2


def test_absent_and_empty_are_not_the_same() -> None:
    kinds = [Made(7, 5, key, value) for key in (None, b"") for value in (None, b"")]
    assert len({anchor_of(made) for made in kinds}) == len(kinds)
