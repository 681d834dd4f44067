"""A backtest in shards: the report of one process, whatever is lost on the way, and nothing that is not whole."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result

from impactd.cli import cli
from impactd.research import shards
from impactd.research.backtest import shards as of_backtest
from impactd.research.backtest import workers
from impactd.research.backtest.days import DAY_NS
from impactd.wire.tick_records import encode_ticks
from tests.core.rows import Row, batch_of
from tests.research.backtest.made import noisy_rows

HOURS = (
    "--session", "10:00-11:00", "--tz", "UTC", "--to", "11:00", "--horizon", "20", "--workers", "1",
    "--set", "books.max_book_age_s=120",
)  # fmt: skip
UNITS = [("BTC/USD", "2025-04-03"), ("FROG", "2025-04-03"), ("FROG", "2025-04-04"), ("FROG_2", "2025-04-03")]
#: All kinds of policy; `--qty` and the strategies may be changed by a test.
ASKED = ("--qty", "900", "--strategies", "engine,engine_slices,twap_slices,persistence")


def command(name: str, *words: object) -> Result:
    return CliRunner().invoke(cli, [name, *map(str, words)])


def shard(data: Path, out: Path, part: str, *words: str) -> Result:
    done = command("backtest", "--data", data, "--shard", part, "--out", out, *HOURS, *(words or ASKED))
    assert done.exit_code == 0, done.output
    return done


def refused(*words: object) -> str:
    done = command("merge", *words)
    assert done.exit_code == 2, done.output
    return done.output


def report(directory: Path) -> tuple[bytes, bytes]:
    return (directory / "report.json").read_bytes(), (directory / "report.html").read_bytes()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows: list[Row] = []
    for seed, (symbol, day) in enumerate(UNITS):
        later = (day == "2025-04-04") * DAY_NS
        # The last one has no book in its last window, which is left out.
        made = noisy_rows(seed, n=60 if symbol != "FROG_2" else 42, every_s=20)
        rows += [dataclasses.replace(row, ts=row.ts + later, symbol=symbol) for row in made]
    rows.sort(key=lambda row: row.ts)
    path = tmp_path_factory.mktemp("data") / "days.jsonl"
    path.write_bytes(b"".join(record.value + b"\n" for record in encode_ticks(batch_of(rows))))
    return path


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the report of one process, and what it prints."""
    out = tmp_path_factory.mktemp("alone")
    done = command("backtest", "--data", data, "--out", out, *HOURS, *ASKED)
    assert done.exit_code == 0, done.output
    return out, done.output.replace(str(out), "OUT")


@pytest.fixture(scope="module")
def worked(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of three shards in one directory."""
    out = tmp_path_factory.mktemp("worked")
    for i in (3, 1, 2):
        shard(data, out, f"{i}/3")
    return out


@pytest.fixture
def results(worked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(worked, tmp_path / "results"))


def of(directory: Path, symbol: str, day: str) -> Path:
    [one] = [one for one in shards.found(directory) if (one.symbol, one.day) == (symbol, day)]
    return one.path


def test_merged_report_has_the_bytes_of_one_process(alone: tuple[Path, str], worked: Path, tmp_path: Path) -> None:
    assert sorted((one.symbol, one.day) for one in shards.found(worked)) == UNITS
    done = command("merge", worked, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert report(tmp_path) == report(alone[0])
    assert any("FROG_2" in reason for reason in orjson.loads(report(tmp_path)[0])["skipped"])
    assert done.output.replace(str(tmp_path), "OUT") == alone[1]


@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_shards_are_all_units_once(worked: Path, n: int) -> None:
    whole = shards.described(of(worked, *UNITS[0]).read_bytes())
    assert [unit for i in range(1, n + 1) for unit in whole.shard(i, n)] == UNITS


def test_machines_that_share_nothing_are_merged(data: Path, alone: tuple[Path, str], tmp_path: Path) -> None:
    for i in (1, 2):
        shard(data, tmp_path / str(i), f"{i}/2")
    assert "FROG 2025-04-04" in refused(tmp_path / "1", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert command("merge", tmp_path / "2", tmp_path / "1", "--out", tmp_path / "out").exit_code == 0
    assert report(tmp_path / "out") == report(alone[0])


def test_what_is_whole_is_not_repeated(data: Path, results: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in results.iterdir()}
    for part in ("1/3", "2/3", "3/3", "1/1"):
        assert " 0 of the 4 days" in shard(data, results, part).output
    assert {path.name: path.stat().st_mtime_ns for path in results.iterdir()} == before


def test_processes_change_no_byte_of_a_result(
    data: Path, worked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_WORTH_IT", 1)
    shard(data, tmp_path, "1/1", *ASKED, "--workers", "2")
    # The name of a result has the checksum of its bytes.
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in worked.iterdir())


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "removed":
        path.unlink()
    elif how == "short":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content + b"\n")


@pytest.mark.parametrize("how", ["removed", "short", "longer"])
def test_what_is_not_whole_is_named_and_done_again(
    data: Path, alone: tuple[Path, str], results: Path, tmp_path: Path, how: str
) -> None:
    damage(of(results, *UNITS[2]), how)
    said = refused(results, "--out", tmp_path / "out")
    assert "FROG 2025-04-04" in said
    assert ("damaged" in said) is (how != "removed")
    assert "BTC/USD" not in said
    assert " 1 of the 4 days" in shard(data, results, "1/1").output
    assert command("merge", results, "--out", tmp_path / "out").exit_code == 0
    assert report(tmp_path / "out") == report(alone[0])


def test_a_flip_anywhere_is_found(worked: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(of(worked, *UNITS[1]), tmp_path))
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for at in rng.integers(0, len(content), 200).tolist():
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << int(rng.integers(8)))]) + content[at + 1 :])
        [one] = shards.found(tmp_path)
        assert one.read() is None


def test_a_write_that_is_killed_leaves_nothing_that_counts(
    worked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = of(worked, *UNITS[0])
    content = path.read_bytes()
    whole, part = shards.described(content), of_backtest.part_of(UNITS[0], shards.decoded(content))
    (tmp_path / ".cut.tmp").write_bytes(content[:100])

    def killed(_: int) -> None:
        assert list(shards.found(tmp_path)) == []
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            shards.write(tmp_path, whole, UNITS[0], of_backtest.content_of(part))
    assert list(shards.found(tmp_path)) == []
    # The result that was read is written with the same bytes.
    assert shards.write(tmp_path, whole, UNITS[0], of_backtest.content_of(part)).name == path.name


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--qty", "901", *ASKED[2:]), "qty"),
        ((*ASKED, "--seed", "7"), "seed"),
        ((*ASKED, "--lot", "10"), "lot"),
        ((*ASKED[:2], "--strategies", "engine"), "strategies"),
        ((*ASKED, "--set", "plans.slice_latency_s=2"), "settings"),
    ],
)
def test_results_of_other_settings_are_refused_and_not_taken_for_done(
    data: Path, results: Path, tmp_path: Path, words: tuple[str, ...], named: str
) -> None:
    # FROG_2 alone.
    assert " 1 of the 4 days" in shard(data, results, "4/4", *words).output
    said = refused(results, "--out", tmp_path / "out")
    assert "FROG_2 2025-04-03" in said
    assert named in said.split("(")[-1].split(")")[0].split(", ")
    assert not (tmp_path / "out").exists()


def test_results_of_other_inputs_are_refused(data: Path, results: Path, tmp_path: Path) -> None:
    other = tmp_path / data.name
    other.write_bytes(data.read_bytes().replace(b"FROG_2", b"FROG_3"))
    shard(other, results, "4/4")
    assert "inputs, days" in refused(results, "--out", tmp_path / "out")


def test_results_that_differ_for_one_unit_are_refused(results: Path, tmp_path: Path) -> None:
    content = of(results, *UNITS[0]).read_bytes()
    part = of_backtest.part_of(UNITS[0], shards.decoded(content))
    changed = of_backtest.content_of(dataclasses.replace(part, skipped=("a window",)))
    shards.write(results, shards.described(content), UNITS[0], changed)
    assert "differs" in refused(results, "--out", tmp_path / "out")


def test_no_result_is_refused(tmp_path: Path) -> None:
    assert "no result" in refused(tmp_path, "--out", tmp_path / "out")


@pytest.mark.parametrize("part", ["0/4", "5/4", "1", "1/0", "-1/4", "a/b", "1/4/2", "1.5/4"])
def test_a_part_that_is_none_is_refused(data: Path, tmp_path: Path, part: str) -> None:
    done = command("backtest", "--data", data, f"--shard={part}", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "1/8 to 8/8" in done.output


def test_without_pyarrow_it_is_said_before_a_file_is_read(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for words in (
        ("backtest", "--data", data, "--shard", "1/2", "--out", tmp_path / "out", *HOURS, *ASKED),
        ("merge", tmp_path, "--out", tmp_path / "out"),
    ):
        done = command(*map(str, words))
        assert done.exit_code == 2
        assert "impactd[arrow]" in done.output
