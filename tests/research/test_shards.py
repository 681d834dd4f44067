"""Training and sensitivities in shards: what one process writes, whatever is lost on the way."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from impactd.cli import cli
from impactd.research import shards
from impactd.research.backtest import sensitivity
from impactd.research.backtest.days import DAY_NS
from impactd.wire.tick_records import encode_ticks
from tests.core.rows import Row, batch_of
from tests.research.backtest.made import noisy_rows

HOURS = ("--session", "10:00-11:00", "--tz", "UTC", "--to", "11:00", "--set", "books.max_book_age_s=120")
TRAIN = ("train", *HOURS, "--workers", "1", "--split", "each")
SENSITIVITY = ("sensitivity", *HOURS, "--shares", "900")
STUDIES = {"train": TRAIN, "sensitivity": SENSITIVITY}


def run(*words: object) -> str:
    done = CliRunner().invoke(cli, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output


def refused(*words: object) -> str:
    done = CliRunner().invoke(cli, [*map(str, words)])
    assert done.exit_code == 2, done.output
    return done.output


def written(rows: list[Row]) -> bytes:
    return b"".join(record.value + b"\n" for record in encode_ticks(batch_of(sorted(rows, key=lambda row: row.ts))))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Return two days of a symbol and one of another, a file each."""
    directory = tmp_path_factory.mktemp("data")
    paths = []
    for seed, (symbol, day) in enumerate([("A", 0), ("A", 1), ("B", 1)]):
        rows = [
            dataclasses.replace(row, ts=row.ts + day * DAY_NS, symbol=symbol)
            for row in noisy_rows(seed, n=180, every_s=20)
        ]
        paths.append(directory / f"{symbol}{day}.jsonl")
        paths[-1].write_bytes(written(rows))
    return tuple(paths)


@pytest.fixture(autouse=True)
def few_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vary little: how a sensitivity is cut into parts does not depend on it."""
    for name, values in {"DEPTH_SHARES": (0.05,), "HORIZONS_MIN": (15,), "RISKS": (0.0,), "PARTICIPATION": ()}.items():
        monkeypatch.setattr(sensitivity, name, values)


def words_of(study: str, data: tuple[Path, ...]) -> list[object]:
    """Return the words that ask for a study of all files: a sensitivity, which is slow, of the first."""
    data = data if study == "train" else data[:1]
    return [*STUDIES[study], *(word for path in data for word in ("--data", path))]


def figures(study: str, directory: Path, *words: object) -> tuple[str, bytes]:
    """Return what a command prints as JSON, and the trained file."""
    file = directory / "model.json"
    out = ["--out", file] if study == "train" else []
    return run(*words, *out, "--json"), file.read_bytes() if out else b""


@pytest.mark.parametrize("study", STUDIES)
def test_merged_results_have_the_bytes_of_one_process(study: str, data: tuple[Path, ...], tmp_path: Path) -> None:
    words = words_of(study, data)
    alone = figures(study, tmp_path, *words)
    # Each machine has its own directory; the second part is lost in the middle, and done again.
    for part in ("1/2", "2/2"):
        run(*words, "--shard", part, "--out", tmp_path / part[0])
    lost = max((tmp_path / "2").iterdir())
    lost.write_bytes(lost.read_bytes()[:-1])
    said = refused("merge", tmp_path / "1", tmp_path / "2", *(["--out", tmp_path / "x"] if study == "train" else []))
    assert "damaged" in said
    assert not (tmp_path / "x").exists()
    assert ": 1 of the " in run(*words, "--shard", "2/2", "--out", tmp_path / "2")
    assert figures(study, tmp_path, "merge", tmp_path / "2", tmp_path / "1") == alone
    # More parts than units, all in one directory that has some of them already.
    shared = shutil.copytree(tmp_path / "1", tmp_path / "shared")
    for i in range(1, 5):
        run(*words, "--shard", f"{i}/4", "--out", shared)
    assert figures(study, tmp_path, "merge", shared) == alone
    assert "hours" in run("merge", shared, *(["--out", tmp_path / "x"] if study == "train" else []))


def test_results_of_two_studies_are_refused(data: tuple[Path, ...], tmp_path: Path) -> None:
    run(*words_of("sensitivity", data[:1]), "--shard", "1/2", "--out", tmp_path)
    run(*words_of("train", data), "--no-backtest", "--shard", "1/3", "--out", tmp_path)
    assert "impactd sensitivity" in refused("merge", tmp_path)


@pytest.mark.parametrize(
    ("words", "named"), [(("--shares", "901"), "shares"), (("--side", "sell"), "side"), (("--seed", "1"), "seed")]
)
def test_results_of_other_options_are_refused(
    data: tuple[Path, ...], tmp_path: Path, words: tuple[str, ...], named: str
) -> None:
    asked = words_of("sensitivity", data[:1])
    run(*asked, "--shard", "1/2", "--out", tmp_path)
    run(*asked, *words, "--shard", "1/2", "--out", tmp_path)
    assert f"({named})" in refused("merge", tmp_path)


def test_two_files_of_one_name_are_refused(data: tuple[Path, ...], tmp_path: Path) -> None:
    other = tmp_path / data[0].name
    other.write_bytes(data[0].read_bytes())
    said = refused(*words_of("sensitivity", data), "--data", other, "--shard", "1/2", "--out", tmp_path / "out")
    assert data[0].name in said


@pytest.mark.parametrize("words", [("--shard", "1/2"), ("--out", "x")])
def test_a_shard_and_its_directory_go_together(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused("sensitivity", *words)


def test_training_refuses_a_place_that_it_cannot_write_before_it_reads(tmp_path: Path) -> None:
    (tmp_path / "days.csv").write_text("no day\n")
    (tmp_path / "results").write_text("")
    asked = ("train", "--data", tmp_path / "days.csv", "--out")
    assert f"--out: {tmp_path}: is a directory" in refused(*asked, tmp_path)
    assert f"--out: {tmp_path / 'results'}: is a file" in refused(*asked, tmp_path / "results", "--shard", "1/2")


def test_merge_asks_for_what_a_study_writes(data: tuple[Path, ...], tmp_path: Path) -> None:
    run(*words_of("sensitivity", ()), "--shard", "1/1", "--out", tmp_path / "results")
    assert "--out" in refused("merge", tmp_path / "results", "--out", tmp_path / "report")
    assert "Sensitivity to total shares" in run("merge", tmp_path / "results")
    [one] = shards.found(tmp_path / "results")
    assert one.unit == ("generated day", "")
