"""Outputs as files: their order over partitions, and that they appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.base.topics import Topic
from impactd.core.outputs.messages import Alert, Output
from impactd.shell.outputs import FILES, OutputFiles


def alert(clock: int, text: str) -> Output:
    return Output(Topic.ALERTS, None, Alert("halt", None, None, clock, text), clock, None)


def text_of(output: Output) -> bytes:
    assert isinstance(output.message, Alert)
    return output.message.text.encode()


@given(
    commits=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=30),
    order=st.permutations(range(3)),
)
def test_output_files_merge_depends_on_clocks_only(
    tmp_path_factory: pytest.TempPathFactory, commits: list[tuple[int, int]], order: list[int]
) -> None:
    """Whichever partition runs ahead, the file is by (clock, partition), each partition in its own order."""
    said: list[list[Output]] = [[], [], []]
    for partition, step in commits:
        clock = (said[partition][-1].clock if said[partition] else 0) + step
        said[partition].append(alert(clock, f"{partition}:{len(said[partition])}:{clock}"))
    out = tmp_path_factory.mktemp("out")
    with OutputFiles(out, text_of, 3) as files:
        for partition in order:
            for output in said[partition]:
                files.write(partition, [output])
        files.finish()
    merged = [
        (output.clock, partition, i) for partition, outputs in enumerate(said) for i, output in enumerate(outputs)
    ]
    expected = [f"{partition}:{i}:{clock}" for clock, partition, i in sorted(merged)]
    assert (out / FILES[Topic.ALERTS]).read_text(encoding="utf-8").split() == expected


def test_output_files_one_partition_keeps_its_order(tmp_path: Path) -> None:
    with OutputFiles(tmp_path / "a" / "b", text_of) as files:
        files.write(0, [alert(2, "x"), alert(1, "y")])
        written = files.finish()
    assert sorted(path.name for path in written) == sorted(FILES.values())
    assert (tmp_path / "a" / "b" / "alerts.jsonl").read_bytes() == b"x\ny\n"


def test_output_files_latest_plans_are_no_file_of_their_own(tmp_path: Path) -> None:
    with OutputFiles(tmp_path, text_of) as files:
        files.write(0, [Output(Topic.PLANS_LATEST, "A1", Alert("x", None, None, 1, "x"), 1, None)])
        files.finish()
    assert {path.stat().st_size for path in tmp_path.iterdir()} == {0}


@pytest.mark.parametrize("partitions", [1, 2])
def test_output_files_unfinished_leave_nothing(tmp_path: Path, partitions: int) -> None:
    with OutputFiles(tmp_path, text_of, partitions) as files:
        files.write(0, [alert(1, "x")])
    assert list(tmp_path.iterdir()) == []


def test_output_files_place_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(OSError, match="file"):
        OutputFiles(tmp_path / "file", text_of)
