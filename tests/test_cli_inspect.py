"""``impactd inspect``: what it finds is what a replay finds, and the command that it prints works."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import orjson
import pytest

from impactd.cli import main
from tests.wire.helpers import T0
from tests.wire.ticks.dbn.samples import IDS, head, record
from tests.wire.ticks.dbn.test_notices import status
from tests.wire.ticks.lobster.samples import NAME, SAMPLES

BIDS, ASKS = [(31.2, 300.0), (31.19, 500.0)], [(31.25, 200.0)]


def inspect(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, list[dict[str, Any]]]:
    code = main(["inspect", "--json", *map(str, args)])
    return code, orjson.loads(capsys.readouterr().out)


def test_next_command_replays_the_same_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a day.dbn"
    rows = [record(IDS["FROG"], T0 + i * 10**9, BIDS, ASKS, action="T", px=31.25) for i in range(3)]
    rows += [record(IDS["ARL"], T0, ASKS, BIDS[:1]), record(IDS["FROG"], T0 + 10**10, BIDS, action="Z"), rows[0]]
    path.write_bytes(head() + b"".join(rows))
    code, (facts,) = inspect(capsys, path)
    assert (code, facts["codec"], facts["books"], facts["trades"]) == (0, "dbn", 5, 4)
    assert (facts["rejected"], facts["refused"]) == ({"crossed": 1, "clock_back": 1}, {"value": 1})
    frog = facts["symbols"]["FROG"]
    assert (frog["books"], frog["n_levels"], round(frog["spread"], 9), frog["mid"]) == (4, 2, 0.05, 31.225)
    assert (facts["first_ns"], facts["last_ns"]) == (T0, T0 + 2 * 10**9)

    assert main([*shlex.split(facts["next"])[1:], "--json"]) == 0
    replayed = orjson.loads(capsys.readouterr().out)
    for name in ("books", "trades", "rejected", "refused", "hours"):
        assert replayed[name] == facts[name], name


def test_file_in_another_unit_is_read_in_it_and_the_next_command_reports_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    book = {"type": "book", "symbol": "FROG", "bids": [[31.2, 3]], "asks": [[31.3, 3]]}
    path = tmp_path / "ms.jsonl"
    path.write_bytes(orjson.dumps(book | {"ts_event": T0 // 10**6}) + b"\n")
    code, (facts,) = inspect(capsys, path)
    assert (code, facts["time_unit"], facts["books"]) == (0, "ms", 1)
    assert main([*shlex.split(facts["next"])[1:], "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out)["books"] == 1


def test_file_of_which_nothing_can_be_used_is_status_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / NAME.text("pair"), tmp_path / "b.jsonl"
    good.write_bytes(SAMPLES.file([SAMPLES.book("FROG", T0, BIDS, ASKS)]))
    bad.write_bytes(b'{"type":"book"}\n')
    assert main(["inspect", str(good), str(bad)]) == 4
    captured = capsys.readouterr()
    assert "FROG-replay" in captured.out
    assert (str(good) in captured.err, str(bad) in captured.err) == (False, True)
    assert "bids" in captured.err


def test_file_without_books_is_replayed_with_one_of_books(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books.dbn").write_bytes(head() + record(IDS["FROG"], T0, BIDS, ASKS))
    (tmp_path / "trades.csv").write_text(f"time,symbol,price,size\n{T0},FROG,31.2,5\n")
    (tmp_path / "status.dbn").write_bytes(head(schema=11) + status(action=8))
    for name, events, trades in (("trades.csv", 0, 1), ("status.dbn", 1, 0)):
        code, (facts,) = inspect(capsys, name)
        assert (code, facts["events"], facts["trades"], facts["usable"]) == (0, events, trades, 1)
        words = [word.replace("BOOKS", "books.dbn") for word in shlex.split(facts["next"])[1:]]
        assert main([*words, "--json"]) == 0
        assert orjson.loads(capsys.readouterr().out)["books"] == 1


def test_file_of_an_unknown_format_is_wrong_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,2\n")
    assert main(["inspect", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_folder_or_pattern_of_days_is_read_as_one_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    days = tmp_path / "days"
    days.mkdir()
    for i in range(3):
        book = {"type": "book", "symbol": "FROG", "bids": [[31.2, 3]], "asks": [[31.3, 3]], "ts_event": T0 + i * 10**9}
        (days / f"{i}.jsonl").write_bytes(orjson.dumps(book) + b"\n")
    (days / "README.md").write_text("not a day\n")
    (days / ".hidden.jsonl").write_text("{}")
    for name in ("days", "days/*.jsonl", "days/**/*.jsonl"):
        code, facts = inspect(capsys, name)
        assert (code, [Path(one["path"]).name for one in facts]) == (0, ["0.jsonl", "1.jsonl", "2.jsonl"])
        assert main(["replay", "--data", name, "--out", "out", "--json"]) == 0
        assert orjson.loads(capsys.readouterr().out)["books"] == 3
    assert main(["inspect", "days"]) == 0
    assert "impactd replay --data days --out" in capsys.readouterr().out.splitlines()[-2]
    for name in ("day", "days/*.csv"):
        assert main(["replay", "--data", name, "--out", "out"]) == 2
        assert name in capsys.readouterr().err


def test_pair_of_files_in_a_folder_is_read_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = SAMPLES.book("FROG", T0, BIDS, ASKS).split(b",")
    (tmp_path / NAME.text("message")).write_bytes(b",".join(fields[:6]) + b"\n")
    (tmp_path / NAME.text("orderbook")).write_bytes(b",".join(fields[6:]) + b"\n")
    for args in ([tmp_path], sorted(tmp_path.iterdir())):
        _, facts = inspect(capsys, *args)
        assert [(one["codec"], one["books"]) for one in facts] == [("lobster", 1)]


@pytest.mark.parametrize(
    ("pattern", "codec", "symbol", "books", "refused"),
    [
        ("FROG_2025-04-03_mbp10.csv.gz", "databento-mbp10-csv", "FROG", 33_286, 0),
        ("ARL_2025-07-17_mbp10.csv.gz", "databento-mbp10-csv", "ARL", 3_928, 0),
        ("ashare/SYM0_2019-01-02_mbp5.csv.xz", "databento-mbp10-csv", "SYM0", 3_998, 0),
        ("lobster/AMZN_2012-06-21_5.zip", "lobster", "AMZN", 153_490, 0),
        ("nse/CINEMAX_2013-10-29_20lvl_long.csv.xz", "long-csv", "CINEMAX", 476, 0),
        ("binance_spot_ethusdt_2024-08-08_ws.jsonl.gz", "capture-json", "ETHUSDT", 3_436, 0),
    ],
)
def test_recorded_file_takes_one_inspect_and_one_replay(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    data_dir: Path,
    pattern: str,
    codec: str,
    symbol: str,
    books: int,
    refused: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, (facts,) = inspect(capsys, data_dir.resolve() / pattern)
    assert (code, facts["codec"], list(facts["symbols"]), facts["books"]) == (0, codec, [symbol], books)
    assert sum(facts["refused"].values()) == refused
    assert main([*shlex.split(facts["next"])[1:], "--json"]) == 0
    replayed = orjson.loads(capsys.readouterr().out)
    assert (replayed["books"], replayed["hours"], replayed["rejected"]) == (books, facts["hours"], facts["rejected"])
    assert replayed["minutes"] > 0
