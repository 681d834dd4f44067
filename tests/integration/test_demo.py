"""The demo: a short day through a real broker, through the mock, and interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from impactd.cli import main
from impactd.shell.broker import BOOTSTRAP_VARIABLE, Broker
from tests.shell.test_replay import day, new, write


def bare_environment(directory: Path) -> dict[str, str]:
    """Return an environment in which neither Docker nor Java is to be found: the mock is left."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IMPACTD_")}
    return kept | {"PATH": str(directory), "DOCKER_HOST": f"unix://{directory}/no-docker.sock"}


@pytest.mark.broker
def test_demo_through_a_real_broker_equals_the_replay(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(BOOTSTRAP_VARIABLE, broker.bootstrap)
    monkeypatch.chdir(tmp_path)
    data = write(tmp_path / "day.jsonl", day(("FROG", "AAPL"), minutes=40))
    orders = write(tmp_path / "orders.jsonl", [new(), new("A2", "AAPL", side="sell")])
    code = main(["demo", "--data", str(data), "--orders", str(orders), "--speed", "max", "--out", "out"])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert out.count("byte for byte the replay's") == 4
    assert (tmp_path / "out" / "live" / "plans.jsonl").stat().st_size > 0
    assert "A1 buy FROG" in out


def test_demo_through_the_mock_equals_the_replay(tmp_path: Path) -> None:
    data = write(tmp_path / "day.jsonl", day(minutes=20))
    orders = write(tmp_path / "orders.jsonl", [new()])
    command = [sys.executable, "-m", "impactd", "demo", "--data", str(data), "--orders", str(orders)]
    done = subprocess.run(
        [*command, "--speed", "max", "--out", str(tmp_path / "out")],
        env=bare_environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "taking librdkafka's in-process mock" in done.stderr
    assert done.stdout.count("byte for byte the replay's") == 4


def test_demo_interrupted_ends_with_130(tmp_path: Path) -> None:
    data = write(tmp_path / "day.jsonl", day(minutes=20))
    command = [sys.executable, "-m", "impactd", "demo", "--data", str(data), "--speed", "1", "--plain"]
    child = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")],
        env=bare_environment(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert "a day 1 times as fast as it was" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130, err
    assert err.strip().endswith("impactd: interrupted")


def test_demo_orders_without_a_day_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orders = write(tmp_path / "orders.jsonl", [new()])
    assert main(["demo", "--orders", str(orders)]) == 2
    assert "name it with --data" in capsys.readouterr().err
