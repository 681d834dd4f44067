"""Sources by name, records out of files, and the command."""

from __future__ import annotations

import bz2
import doctest
import gzip
import importlib
import json
import pkgutil
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import impactd.research.sources
from impactd import ImpactModel, ValidationError, fetch_source, read_books, read_source
from impactd.cli import cli, main
from impactd.core.base import registry
from impactd.core.base.registry import Registry
from impactd.research.sources import SOURCES, Snapshots, base, source_names
from tests.checks.source_checks import CHECKS, Check, samples_of
from tests.research.errors import fails
from tests.research.sources.test_lseg import DEPTH
from tests.research.sources.test_polygon import REST, WEBSOCKET


@pytest.mark.parametrize(
    "name", sorted(module.name for module in pkgutil.iter_modules(impactd.research.sources.__path__))
)
def test_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(f"impactd.research.sources.{name}")
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


@pytest.mark.parametrize("form", ["json", "jsonl", "json.gz", "results.json"])
def test_recorded_file_of_each_form_gives_the_same_books(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"quotes.{form}"
    if form == "jsonl":
        text = "".join(json.dumps(record) + "\n" for record in REST)
    else:
        text = json.dumps({"status": "OK", "results": REST} if form == "results.json" else REST)
    path.write_bytes(gzip.compress(text.encode()) if form.endswith("gz") else text.encode())
    pd.testing.assert_frame_equal(read_source("polygon", path), read_source("polygon", REST))


def test_recorded_frames_of_a_websocket_are_read_as_their_messages(tmp_path: Path) -> None:
    path = tmp_path / "quotes.jsonl"
    path.write_text("".join(json.dumps([record]) + "\n" for record in WEBSOCKET), "utf-8")
    pd.testing.assert_frame_equal(read_source("polygon", path), read_source("polygon", WEBSOCKET))


def test_recorded_csv_keeps_each_nanosecond_and_each_ticker(tmp_path: Path) -> None:
    path = tmp_path / "quotes.csv"
    rows = [record | {"ticker": name} for name in ("FROG", "ARL") for record in REST]
    pd.DataFrame(rows).to_csv(path, index=False)
    table = read_source("polygon", path)
    assert table["time"].iloc[0] == pd.Timestamp(1743687000125395235, tz="UTC")
    assert table.attrs["symbols"] == ["FROG", "ARL"]
    kept = read_source("polygon", path, symbol="ARL")
    assert "symbol" not in kept.columns
    assert kept.attrs["symbols"] == ["ARL"]
    with fails(1001, "symbol"):
        read_source("polygon", path, symbol="X")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.json", None, "No such file"),
        ("a.json", b"{", "give .csv, .jsonl or .json"),
        ("a.json", b'{"status": "ERROR"}', "no array of records"),
        ("a.jsonl", b"[1]", "no array of records"),
        ("a.json.gz", b"\x1f\x8bx", "compressed stream"),
        ("a.json.gz", b"x", "no book"),
        ("a.csv", b"\xff\xfe", "no book"),
        ("a.csv", b"a\xff,b", "give .csv"),
        ("a.bin", bytes(50), "binary file"),
    ],
)
def test_file_that_holds_no_records_is_named(name: str, content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValidationError, match=said):
        read_source("polygon", path)


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(WEBSOCKET[1]).encode() + b"\n" + json.dumps(WEBSOCKET[1]).encode()[:40],
        json.dumps(WEBSOCKET[1]).encode() + b"\nnot json\n",
        b"[" + json.dumps(WEBSOCKET[1]).encode() + b"," + json.dumps(WEBSOCKET[1]).encode()[:40],
        bz2.compress(json.dumps([WEBSOCKET[1], "noise"]).encode()),
    ],
    ids=["cut lines", "bad line", "cut array", "compressed"],
)
def test_half_a_record_refuses_itself_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "quotes"
    path.write_bytes(content)
    table = read_source("polygon", path)
    assert (len(table), table.attrs["refused"]) == (2, {"malformed": 1})


# -- sources of others ------------------------------------------------------------------------------------------------


class AcmeSource:
    """A source of another package."""

    def books(self, records: Any) -> pd.DataFrame:
        snapshots = Snapshots("t", "name")
        for time in records:
            snapshots.add(time, [(1.0, 2.0)], [(1.1, 3.0)])
        return snapshots.table()

    def fetch(self, symbol: str, start: pd.Timestamp, end: pd.Timestamp) -> list[Any]:
        return [start, end] if symbol else []


def test_source_of_another_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    others = {"acme": "AcmeSource", "broken": "REST", "empty": "Path", "gone": "Nothing"}
    found = [EntryPoint(name, f"{__name__}:{made}", SOURCES.group) for name, made in others.items()]
    fresh: Registry[Any] = Registry(SOURCES.what, SOURCES.group, {"polygon": "unused:Unused"})
    monkeypatch.setattr(registry, "entry_points", lambda *, group: found if group == SOURCES.group else [])
    monkeypatch.setattr(base, "SOURCES", fresh)
    assert source_names() == ["acme", "broken", "empty", "gone", "polygon"]
    assert len(fetch_source("acme", "X", "2025-04-03", "2025-04-04")) == 2
    for name, said in (("broken", "not callable"), ("gone", "cannot be loaded"), ("empty", "no books and fetch")):
        with pytest.raises(ValidationError, match=f"{name}.*{said}"):
            read_source(name, [])


def test_source_that_is_none_names_those_there_are() -> None:
    with pytest.raises(ValidationError, match="bloomberg, lseg, polygon") as error:
        read_source("acme", [])
    assert (error.value.code, error.value.field) == (1001, "")


@pytest.mark.parametrize("name", SOURCES.names())
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_source_keeps_the_contract(check: Check, name: str, tmp_path: Path) -> None:
    check(name, samples_of(name), tmp_path)


# -- the command ------------------------------------------------------------------------------------------------------


def test_convert_command_makes_a_file_that_research_reads(tmp_path: Path) -> None:
    source, out = tmp_path / "depth.csv", tmp_path / "FROG.csv.gz"
    pd.DataFrame(DEPTH).to_csv(source, index=False)
    result = CliRunner().invoke(cli, ["convert", "--source", "lseg", "--data", str(source), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "1 books, 3 rows" in result.output
    assert len(ImpactModel().estimate_slippage(read_books(out))) > 0


def test_convert_command_keeps_one_symbol_of_several(tmp_path: Path) -> None:
    source, out = tmp_path / "quotes.json", tmp_path / "ARL.jsonl"
    source.write_text(json.dumps([WEBSOCKET[1], WEBSOCKET[1] | {"sym": "ARL"}]), "utf-8")
    args = ["convert", "--source", "polygon", "--data", str(source), "--out", str(out)]
    refused = CliRunner().invoke(cli, args)
    assert refused.exit_code != 0
    result = CliRunner().invoke(cli, [*args, "--symbol", "ARL"])
    assert result.exit_code == 0, result.output
    assert read_books(out).attrs["symbols"] == ["ARL"]


@pytest.mark.parametrize("ending", ["csv.gz", "jsonl"])
@pytest.mark.parametrize(
    ("record", "option", "symbol"),
    [
        (WEBSOCKET[1], None, "FROG"),
        (WEBSOCKET[1], "FROG", "FROG"),
        (WEBSOCKET[1], "ARL", None),
        (REST[0], "ARL", "ARL"),
        (REST[0], None, "day"),
    ],
    ids=["data", "data and option", "another option", "option", "file name"],
)
def test_convert_command_names_the_symbol_of_the_data_else_the_option_else_states_its_guess(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    ending: str,
    record: dict[str, Any],
    option: str | None,
    symbol: str | None,
) -> None:
    stated = symbol == "day"
    source, out = tmp_path / "quotes.json", tmp_path / f"day.{ending}"
    source.write_text(json.dumps([record]), "utf-8")
    args = ["--source", "polygon", "--data", str(source), "--out", str(out)]
    done = CliRunner().invoke(cli, ["convert", *args, *(["--symbol", option] if option else [])])
    assert (done.exit_code == 0) is (symbol is not None), done.output
    if symbol is None:
        assert not out.exists()
    elif ending == "jsonl" or not stated:
        assert read_books(out).attrs["symbols"] == [symbol]
    if ending == "jsonl":
        assert ("from the file's name" in caplog.text) is stated


@pytest.mark.parametrize(
    ("bad", "refused"),
    [
        ({"bid_price": -31.2}, 1),
        ({"bid_size": -3}, 1),
        ({"bid_price": float("nan")}, 0),
        ({"bid_price": "x"}, 1),
    ],
)
def test_bad_value_refuses_its_record_alone(tmp_path: Path, bad: dict[str, Any], refused: int) -> None:
    path = tmp_path / "quotes.json"
    path.write_text(json.dumps([REST[0], REST[1] | bad]), "utf-8")
    table = read_source("polygon", path)
    assert sum(table.attrs["refused"].values()) == refused
    assert table["time"].nunique() == 2 - refused


@pytest.mark.parametrize("element", ["[]", '"x"', "7", "null"])
def test_element_that_is_no_record_is_refused_in_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, element: str
) -> None:
    path = tmp_path / "quotes.json"
    path.write_text(f"[{json.dumps(REST[0])},{element}]", "utf-8")
    assert read_source("polygon", path).attrs["refused"] == {"malformed": 1}
    assert "Error:" not in caplog.text


def test_array_without_a_record_is_nothing_usable(tmp_path: Path) -> None:
    path = tmp_path / "quotes.json"
    path.write_text("[]", "utf-8")
    assert main(["convert", "--source", "polygon", "--data", str(path), "--out", str(tmp_path / "X.csv")]) == 4


def test_convert_command_states_books_that_json_lines_leave_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, out = tmp_path / "quotes.json", tmp_path / "X.jsonl"
    source.write_text(json.dumps([REST[0], REST[1] | {"bid_price": 99.0}]), "utf-8")
    done = CliRunner().invoke(cli, ["convert", "--source", "polygon", "--data", str(source), "--out", str(out)])
    assert (done.exit_code, len(out.read_bytes().splitlines())) == (0, 1)
    assert "crossed" in caplog.text


@pytest.mark.parametrize("args", [[], ["--source", "lseg"], ["--source", "lseg", "--fetch", "X", "--out", "x.csv"]])
def test_convert_command_incomplete_is_usage(args: list[str]) -> None:
    assert CliRunner().invoke(cli, ["convert", *args]).exit_code == 2


def test_convert_command_lists_the_sources() -> None:
    assert CliRunner().invoke(cli, ["convert", "--list"]).output.split() == source_names()
