"""Inputs of which nothing can be used are never a quiet success; what is a guess is stated."""

from __future__ import annotations

import gzip
import logging
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from impactd.cli import main
from impactd.shell.files import merge_files
from impactd.shell.lines import InputFileError
from impactd.shell.recorded import read_ticks

T0 = 1_743_687_000_000_000_000
SECOND = 1_000_000_000
LONG = "time,side,price,size,level"
GOOD = {"bids": [[31.2, 300]], "asks": [[31.22, 300]]}


def tick(at: int = T0, **changes: Any) -> bytes:
    return orjson.dumps({"type": "book", "symbol": "FROG", "ts_event": at} | GOOD | changes)


def books(n: int = 3) -> bytes:
    return b"".join(tick(T0 + i * 30 * SECOND) + b"\n" for i in range(n))


UNUSABLE: dict[str, tuple[bytes, str]] = {
    "empty.jsonl": (b"", "holds no record"),
    "blank.csv": (b"\n\n  \n", "holds no record"),
    "header.csv": (LONG.encode() + b"\n", "holds no record"),
    "empty.jsonl.gz": (gzip.compress(b"", mtime=0), "holds no record"),
    "ms.jsonl": (tick(T0 // 10**6) + b"\n", 'looks like milliseconds.*wire.time_unit = "ms"'),
    "us.jsonl": (tick(T0 // 10**3) + b"\n", 'looks like microseconds.*wire.time_unit = "us"'),
    "s.csv": (f"{LONG}\n{T0 // 10**9},bid,1,1,0\n".encode(), 'looks like seconds.*wire.time_unit = "s"'),
    "unknown.jsonl": (b'{"type":"quote"}\n', "unknown type"),
    "broken.jsonl": (b"not json\n", "the first: line 1: not JSON"),
    "half.csv": (f"{LONG}\n{T0},bid,1".encode(), "line 2"),
    "worst_first.jsonl": (tick(bids=[[0.01, 5], [0.02, 7]]) + b"\n", "all 1 ticks were rejected, 1 as unsorted"),
    "crossed.jsonl": (tick(bids=[[32, 5]]) + b"\n", "crossed"),
    "one_sided.jsonl": (tick(asks=[]) + b"\n", "book with both sides"),
}


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str]:
    code = main([str(arg) for arg in args])
    return code, capsys.readouterr().err


@pytest.mark.parametrize("name", UNUSABLE)
def test_replay_of_a_file_without_anything_usable_exits_4_with_the_first_reason(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, said = UNUSABLE[name]
    (tmp_path / name).write_bytes(content)
    code, err = run(capsys, "replay", "--data", tmp_path / name, "--out", tmp_path / "out")
    assert code == 4
    assert re.search(said, err), err


@pytest.mark.parametrize("name", [name for name in UNUSABLE if name != "one_sided.jsonl"])
@pytest.mark.parametrize("command", ["estimate", "order new"])
def test_order_on_a_file_without_anything_usable_exits_4_with_the_first_reason(
    command: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, said = UNUSABLE[name]
    (tmp_path / name).write_bytes(content)
    order = ["--side", "buy", "--qty", "100", "--from", "10:00", "--to", "11:00", "--data", tmp_path / name]
    out = ["--out", tmp_path / "out"] if command == "order new" else []
    code, err = run(capsys, *command.split(), *order, *out)
    assert code == 4
    assert re.search(said.replace("all 1 ticks were rejected, 1 as unsorted", "rejected.* as unsorted"), err), err


def test_inspect_states_why_all_rows_are_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "crossed.jsonl").write_bytes(tick(bids=[[32, 5]]) + b"\n")
    code, err = run(capsys, "inspect", tmp_path / "crossed.jsonl")
    assert code == 4
    assert "all its 1 rows are rejected, 1 as crossed: the best bid is above the best ask" in err


def test_replay_names_the_unusable_file_among_usable_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.jsonl").write_bytes(books())
    (tmp_path / "bad.jsonl").write_bytes(b"{}\n")
    code, err = run(
        capsys, "replay", "--data", tmp_path / "good.jsonl", tmp_path / "bad.jsonl", "--out", tmp_path / "out"
    )
    assert code == 4
    assert "bad.jsonl: none of its 1 records" in err
    assert "good.jsonl" not in err
    assert (tmp_path / "out" / "estimates.jsonl").stat().st_size > 0


@pytest.mark.parametrize(
    ("option", "content", "code"),
    [
        ("orders", b"", 4),
        ("orders", b'{"type":"new"}\n', 4),
        ("executions", b'{"type":"fill"}\n', 4),
        ("executions", b"", 0),
        ("control", b'{"type":"halt"}\n', 4),
        ("control", b"", 0),
    ],
)
def test_replay_of_events_without_anything_usable(
    option: str, content: bytes, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.jsonl").write_bytes(books())
    (tmp_path / "events.jsonl").write_bytes(content)
    args = ("--data", tmp_path / "good.jsonl", f"--{option}", tmp_path / "events.jsonl", "--out", tmp_path / "out")
    found, err = run(capsys, "replay", *args)
    assert found == code
    assert ("events.jsonl" in err) is (code == 4)


def test_replay_warns_of_an_order_whose_symbol_has_no_tick(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = {"type": "new", "cl_ord_id": "A1", "symbol": "CRWV", "side": "buy", "order_qty": 100, "ts_event": T0}
    (tmp_path / "o.jsonl").write_bytes(orjson.dumps(new | {"start": T0, "end": T0 + 60 * SECOND}))
    (tmp_path / "good.jsonl").write_bytes(books())
    args = ("--data", tmp_path / "good.jsonl", "--orders", tmp_path / "o.jsonl", "--out", tmp_path / "out")
    assert "no tick of CRWV" in run(capsys, "replay", *args)[1]


@pytest.mark.parametrize("name", [name for name in UNUSABLE if name not in {"worst_first.jsonl", "crossed.jsonl"}])
def test_merged_files_state_why_nothing_of_one_can_be_used(name: str, tmp_path: Path) -> None:
    if name == "one_sided.jsonl":
        return
    (tmp_path / name).write_bytes(UNUSABLE[name][0])
    files = merge_files([tmp_path / name])
    assert sum(len(decoded.batch) for decoded in files) == 0
    (why,) = files.unusable()
    assert name in why


@pytest.mark.parametrize("command", ["report", "backtest"])
@pytest.mark.parametrize("name", ["header.csv", "ms.jsonl", "crossed.jsonl"])
def test_studies_of_a_file_without_anything_usable_exit_4(
    command: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(UNUSABLE[name][0])
    code, err = run(capsys, command, "--data", tmp_path / name, "--out", tmp_path / "out")
    assert code == 4
    assert name in err or "usable" in err


def test_convert_of_records_without_anything_usable_exits_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "q.json").write_bytes(b'[{"sip_timestamp": 1743687000000000000}]')
    args = ("--source", "polygon", "--data", tmp_path / "q.json", "--out", tmp_path / "x.csv")
    code, err = run(capsys, "convert", *args)
    assert code == 4
    assert "bid_price, ask_price: missing" in err


def test_a_symbol_from_a_files_name_is_stated_and_a_given_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ETHUSDT_2024.csv"
    path.write_text(f"{LONG}\n{T0},bid,1,1,0\n")
    with caplog.at_level(logging.WARNING, "impactd.files"):
        assert next(read_ticks(path, symbol="ETH")).batch.symbols == ("ETH",)
        assert not caplog.records
        assert next(read_ticks(path)).batch.symbols == ("ETHUSDT",)
    assert "ETHUSDT is a guess from the file's name" in caplog.text


def test_data_without_a_symbol_in_a_file_that_names_none_need_one(tmp_path: Path) -> None:
    path = tmp_path / "xnas-itch-20250403.mbp-10.csv"
    path.write_text(f"{LONG}\n{T0},bid,1,1,0\n")
    with pytest.raises(InputFileError, match="name no symbol; give it: --symbol NAME"):
        list(read_ticks(path))
    assert next(read_ticks(path, symbol="FROG")).batch.symbols == ("FROG",)


ASKED = {"type": "new", "cl_ord_id": "A1", "symbol": "FROG", "side": "buy", "order_qty": 100, "ts_event": T0}


def replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *options: str, **events: list[dict[str, Any]]
) -> tuple[int, str, str]:
    """Replay an hour of books with these events; return the exit status, what standard output and error have."""
    (tmp_path / "good.jsonl").write_bytes(books(60))
    files = []
    for topic, records in events.items():
        (tmp_path / f"{topic}.jsonl").write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
        files += [f"--{topic}", str(tmp_path / f"{topic}.jsonl")]
    code = main(["replay", "--data", str(tmp_path / "good.jsonl"), *files, *options, "--out", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    return code, out, err


def asked(cl_ord_id: str, **terms: Any) -> dict[str, Any]:
    return ASKED | {"cl_ord_id": cl_ord_id, "start": T0, "end": T0 + 1_800 * SECOND} | terms


@pytest.mark.parametrize(
    ("orders", "code", "named"),
    [
        ([asked("A1", limit_px=0)], 4, "limit_px"),
        ([asked("A1", min_clip_qty=50, max_interval_qty=10), asked("A2", limit_px=-1)], 4, "min_clip_qty"),
        ([asked("A1", limit_px=-1), asked("A2")], 0, "limit_px"),
        ([asked("A1", ts_event=T0 + 86_400 * SECOND, end=T0 + 90_000 * SECOND)], 4, "after the end of the data"),
    ],
)
def test_replay_states_why_an_order_was_rejected_and_that_none_was_worked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], orders: list[dict[str, Any]], code: int, named: str
) -> None:
    found, out, err = replayed(tmp_path, capsys, orders=orders)
    assert found == code
    assert named in (err if code else out)


def halt(scope: str, kind: str = "halt", second: int = 60) -> dict[str, Any]:
    return {"type": kind, "scope": scope, "reason": "test", "ts_event": T0 + second * SECOND}


@pytest.mark.parametrize(
    ("controls", "code", "warned"),
    [
        ([halt("*")], 0, ""),
        ([halt("FROG")], 0, ""),
        ([halt("A1")], 0, ""),
        ([halt("A2")], 0, ""),
        ([halt("frog")], 3, "frog"),
        ([halt("A1"), halt("NONE", "resume", 90)], 3, "NONE"),
        ([halt("*"), halt("FROG", "resume", 90)], 0, "resume of FROG lifts nothing"),
        ([halt("FROG"), halt("FROG", "resume", 90)], 0, ""),
    ],
)
def test_replay_names_controls_that_match_or_lift_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], controls: list[dict[str, Any]], code: int, warned: str
) -> None:
    replace = {"type": "replace", "cl_ord_id": "A2", "orig_cl_ord_id": "A1", "symbol": "FROG", "order_qty": 90}
    orders = [asked("A1"), replace | {"ts_event": T0 + 30 * SECOND}]
    found, _, err = replayed(tmp_path, capsys, orders=orders, control=controls)
    assert found == code
    assert (warned in err) if warned else not err


def test_replay_names_a_symbol_that_the_data_contradict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--symbol CRWV" in replayed(tmp_path, capsys, "--symbol", "CRWV")[2]


@pytest.mark.parametrize("qty", [0, 40])
def test_replay_does_not_blame_limits_for_fills_that_did_not_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], qty: int
) -> None:
    fill = {"type": "fill", "exec_id": "E1", "cl_ord_id": "A1", "symbol": "FROG", "last_qty": qty, "last_px": 31.2}
    fills = [fill | {"ts_event": T0 + 90 * SECOND}] if qty else []
    code, out, _ = replayed(tmp_path, capsys, orders=[asked("A1")], executions=fills)
    assert code == 0
    assert f"{100 - qty} was not traded before its window ended" in out
    assert "limits" not in out
    assert "-0.0" not in out


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 0, 1)])
def test_replay_names_a_file_whose_events_are_not_in_the_order_of_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], order: tuple[int, ...]
) -> None:
    fill = {"type": "fill", "cl_ord_id": "A1", "symbol": "FROG", "last_qty": 5, "last_px": 31.2}
    fills = [fill | {"exec_id": f"E{n}", "ts_event": T0 + (60 + 120 * k) * SECOND} for n, k in enumerate(order)]
    code, _, err = replayed(tmp_path, capsys, orders=[asked("A1")], executions=fills)
    assert code == 0
    assert ("sort the file by ts_event" in err) is (list(order) != sorted(order))
