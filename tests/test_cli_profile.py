"""The session profile as settings: written by a replay, and begun with by another."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from impactd.cli import cli
from impactd.config import load

HOURS = '[session]\ntimezone = "America/New_York"\nopen = "09:30"\nclose = "16:00"\n'


def invoke(*words: str) -> None:
    done = CliRunner().invoke(cli, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_replay_from_a_written_profile_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "hours.toml").write_text(HOURS)
    data, profile = str(tmp_path / "day.jsonl"), tmp_path / "profile.toml"
    invoke("generate", "--out", data, "--snapshots", "1500", "--seed", "3")
    hours = str(tmp_path / "hours.toml")
    invoke("replay", "-c", hours, "--data", data, "--out", str(tmp_path / "one"), "--profile-out", str(profile))
    (tmp_path / "both.toml").write_text(HOURS + profile.read_text())
    invoke("replay", "-c", str(tmp_path / "both.toml"), "--data", data, "--out", str(tmp_path / "two"))
    assert len(load(tmp_path / "both.toml", environ={}).settings.core().model.profile) == 5
    for name in ("estimates.jsonl", "models.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() != b""
