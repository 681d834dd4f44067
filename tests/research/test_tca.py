"""Costs as tables: the latest word on each fill, order and day."""

from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pytest

import impactd
from impactd.wire.records import encode_line
from tests.core.builders import EngineHarness, at, bust, ladder
from tests.core.tca.test_feedback import taker, traded_minute
from tests.research.errors import fails


def revised() -> EngineHarness:
    """Return a harness in which one of two fills was busted after it had been said."""
    harness = traded_minute()
    harness.send(taker(at(3.2), "E2", 100, 100.13))
    harness.run([ladder(at(4.1), mid=100.1)])
    harness.send(bust(at(4.2), "E3", "E1"))
    return harness


def lines(harness: EngineHarness) -> list[bytes]:
    return [encode_line(output) for output in harness.outputs if output.topic.value == "tca"]


def test_read_tca_has_one_row_a_fill_and_the_latest_word(tmp_path: Path) -> None:
    path = tmp_path / "tca.jsonl"
    path.write_bytes(b"\n".join(lines(revised())) + b"\n")
    costs = impactd.read_tca(path)
    assert costs.fills["exec_id"].tolist() == ["E2", "E1"] or costs.fills["exec_id"].tolist() == ["E1", "E2"]
    busted = costs.fills.set_index("exec_id").loc["E1"]
    assert (busted["reason"], busted["qty"]) == ("bust", 0)
    assert str(costs.fills["ts_event"].dt.tz) == "UTC"
    assert costs.orders.empty


def test_read_tca_of_a_capture_reads_the_envelope(tmp_path: Path) -> None:
    path = tmp_path / "tca.jsonl.gz"
    with gzip.open(path, "wb") as out:
        for line in lines(revised()):
            out.write(orjson.dumps({"topic": "tca", "value": line.decode()}) + b"\n")
        out.write(orjson.dumps({"topic": "tca", "value": None}) + b"\n")  # of another writer
    assert len(impactd.read_tca(path).fills) == 2


@pytest.mark.parametrize("content", [b"{", b"[1]\n", b'{"type":"plan"}\n'])
def test_read_tca_of_another_file_states_what_to_give(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.jsonl"
    path.write_bytes(content)
    with fails(1001, "path"):
        impactd.read_tca(path)


def damaged(lines: bytes) -> list[bytes]:
    """Return a compressed file that is cut short, and one with a changed byte in the middle."""
    whole = gzip.compress(lines)
    return [whole[: len(whole) // 2], whole[:20] + b"\xff" * 8 + whole[28:]]


@pytest.mark.parametrize("content", damaged(b'{"type":"fill_cost"}\n' * 1_000), ids=["short", "changed"])
def test_read_tca_of_a_damaged_file_states_what_to_give(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tca.jsonl.gz"
    path.write_bytes(content)
    with fails(1001, "path"):
        impactd.read_tca(path)


def test_read_tca_of_no_file_reports_it(tmp_path: Path) -> None:
    with fails(1001, "path"):
        impactd.read_tca(tmp_path / "none.jsonl")
