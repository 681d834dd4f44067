"""Damaged files of every codec: a short run of what ``python -m tests.fuzz --files`` does at length."""

from __future__ import annotations

import pytest

from tests.fuzz.files import kinds, run_files


@pytest.mark.parametrize("kind", kinds())
def test_damaged_files_are_answered_alike_in_every_batching(kind: str) -> None:
    report = run_files(kind, 60, 1)
    assert report.files == 60
    assert report.rows
    assert report.reasons
