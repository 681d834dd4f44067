"""Which hours the commands on recorded days assume, that they say so, and that all assume the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from impactd.cli import cli
from impactd.cli.common import Data, InputError, load_settings
from impactd.cli.hours import Hours, hours
from impactd.config.hours import session_rule
from impactd.config.sections import HoursSection

US = session_rule("America/New_York", "09:30", "16:00")
#: As assumed: nobody has named the calendar.
XNYS = replace(HoursSection(calendar="XNYS").rule(), calendar="")
NEVER_CLOSES = session_rule("UTC", "00:00", "24:00")

#: Monday 2025-06-02, 10:00 in New York.
TEN = 1_748_872_800_000_000_000
HOUR_NS = 3_600_000_000_000


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("IMPACTD_CONFIG", "IMPACTD__MODEL__KIND", "IMPACTD__KAFKA__BOOTSTRAP"):
        monkeypatch.delenv(name, raising=False)


def data(path: Path, at: int = TEN, symbol: str = "FROG") -> Path:
    row = {"type": "book", "symbol": symbol, "bids": [[9.9, 10]], "asks": [[10.1, 10]]}
    path.write_bytes(b"".join(orjson.dumps(row | {"ts_event": at + k * 1_000_000_000}) + b"\n" for k in range(3)))
    return path


def found(*paths: Path, config: Path | None = None, sets: tuple[str, ...] = (), **asked: str) -> Hours:
    return hours(load_settings(config, sets), asked.get("tz"), asked.get("session"), Data(tuple(paths), (), None, None))


def test_monday_before_its_open_is_of_us_hours(tmp_path: Path) -> None:
    """The hour of a file's first row begins before the open, when the last open was Friday's."""
    assert found(data(tmp_path / "a.jsonl", TEN - HOUR_NS // 2 + 10**9)).rule == XNYS


def test_hours_without_a_session_are_those_of_us_equities(tmp_path: Path) -> None:
    assert (XNYS.open_s, XNYS.close_s, XNYS.offsets) == (US.open_s, US.close_s, US.offsets)
    assert found().rule == XNYS
    assumed = found(data(tmp_path / "a.jsonl"))
    assert assumed.rule == XNYS
    assert "assumed" in assumed.text
    assert "09:30-16:00 America/New_York" in assumed.text


@pytest.mark.parametrize(
    ("at", "symbol"),
    [
        (TEN + 11 * HOUR_NS, "FROG"),
        (TEN - 7 * HOUR_NS, "FROG"),
        (TEN - 24 * HOUR_NS, "FROG"),
        (TEN + 32 * 24 * HOUR_NS, "FROG"),
        (TEN, "BTCUSDT"),
        (TEN, "ETH-USD"),
        (TEN, "sol/usd-perp"),
    ],
)
def test_hours_of_data_that_are_not_of_us_hours_never_close(tmp_path: Path, at: int, symbol: str) -> None:
    assumed = found(data(tmp_path / "us.jsonl"), data(tmp_path / "a.jsonl", at, symbol))
    assert assumed.rule == NEVER_CLOSES
    assert "assumed" in assumed.text


@pytest.mark.parametrize("hours_off", [12, 5 * 24, 365 * 24, -365 * 24])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_one_row_with_a_wrong_time_does_not_decide_the_hours(tmp_path: Path, hours_off: int, place: int) -> None:
    path = data(tmp_path / "a.jsonl")
    rows = path.read_bytes().splitlines()
    rows.insert(place, orjson.dumps(orjson.loads(rows[0]) | {"ts_event": TEN + hours_off * HOUR_NS}))
    path.write_bytes(b"\n".join(rows) + b"\n")
    assert found(path).rule == XNYS


@pytest.mark.parametrize("symbol", ["GBTC", "ETH", "USDU", "BRK.B"])
def test_hours_of_a_share_that_sounds_like_a_coin_are_those_of_shares(tmp_path: Path, symbol: str) -> None:
    assert found(data(tmp_path / "a.jsonl", symbol=symbol)).rule == XNYS


def test_hours_of_a_session_in_the_settings_hold(tmp_path: Path) -> None:
    tokyo = session_rule("Asia/Tokyo", "09:00", "15:30")
    sets = ("session.timezone=Asia/Tokyo", "session.open=09:00", "session.close=15:30")
    file = tmp_path / "settings.toml"
    file.write_text('[session]\ntimezone = "Asia/Tokyo"\nopen = "09:00"\nclose = "15:30"\n')
    day = data(tmp_path / "a.jsonl", symbol="BTCUSDT")
    assert found(day, sets=sets).rule == found(day, config=file).rule == tokyo
    assert "assumed" not in found(day, config=file).text


def test_hours_of_symbols_and_those_that_replace_a_calendars_are_stated(tmp_path: Path) -> None:
    config = tmp_path / "impactd.toml"
    config.write_text(
        '[session]\ncalendar = "XNYS"\nopen = "10:00"\n'
        '[[session.by_symbol]]\nsymbols = ["ES*"]\ncalendar = "CMES"\nclose = "16:00"\n'
    )
    stated = found(config=config)
    assert "XNYS 10:00-16:00 America/New_York" in stated.text
    assert "ES*: CMES" in stated.text
    assert stated.sessions[0][1].close_s == (24 + 16) * 3_600


def test_hours_of_a_service_without_a_session_are_the_service_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[model]\nkind = "linear"\n')
    day = data(tmp_path / "a.jsonl")
    assert found(day, config=file).rule == NEVER_CLOSES
    assert "never closes" in found(day, config=file).text
    monkeypatch.setenv("IMPACTD__KAFKA__BOOTSTRAP", "localhost:9092")
    assert found(day).rule == XNYS
    monkeypatch.setenv("IMPACTD__MODEL__KIND", "linear")
    assert found(day).rule == NEVER_CLOSES


def test_hours_that_are_asked_for_hold(tmp_path: Path) -> None:
    day = data(tmp_path / "a.jsonl", symbol="BTCUSDT")
    assert found(day, session="00:00-24:00", tz="UTC").rule == NEVER_CLOSES
    assert found(day, session="09:30-16:00").rule == US
    with pytest.raises(InputError, match="--session"):
        found(day, session="09:30")


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_hours_are_stated_and_the_same_for_every_command(tmp_path: Path) -> None:
    day = tmp_path / "day.jsonl.gz"
    invoke("generate", "--out", day, "--snapshots", 3_000, "--seed", 7)
    runs: dict[str, tuple[object, ...]] = {
        "backtest": ("--qty", 500, "--horizon", 60, "--strategies", "twap", "--workers", 1, "--out", tmp_path / "b"),
        "compare": ("--shares", 1_000),
        "report": ("--shares", 1_000, "--out", tmp_path / "r"),
        "replay": ("--out", tmp_path / "p"),
    }
    said = {}
    for name, options in runs.items():
        lines = invoke(name, "--data", day, *options).splitlines()
        (said[name],) = {line.split(maxsplit=1)[1] for line in lines if line.startswith("hours")}
    assert len(set(said.values())) == 1
    assert "09:30-16:00 America/New_York" in said["backtest"]
    assert said["backtest"] in (tmp_path / "r" / "report.md").read_text("utf-8")
    assert orjson.loads((tmp_path / "b" / "report.json").read_bytes())["hours"] == said["backtest"]
