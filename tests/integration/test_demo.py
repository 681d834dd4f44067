"""The demo: a short day through a real broker, through the mock, and interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncGenerator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import IO

import orjson
import pytest

from impactd.cli import main
from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell import demo
from impactd.shell.broker.broker import BOOTSTRAP_VARIABLE, Broker
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.view import Scene
from tests.shell.test_replay import day, new, write
from tests.shell.test_view import estimate, model


def bare_environment(directory: Path) -> dict[str, str]:
    """Return an environment in which neither Docker nor Java is to be found: the mock is left."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IMPACTD_")}
    return kept | {"PATH": str(directory), "DOCKER_HOST": f"unix://{directory}/no-docker.sock"}


def iter_until(lines: IO[str], last: str) -> Iterator[str]:
    """Yield lines up to the one that holds `last`; fail where there is none."""
    for line in lines:
        yield line
        if last in line:
            return
    raise AssertionError(f"never said: {last}")


async def test_view_waits_for_the_first_minute_until_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it waits for changes with what is published, and only from the state that this ends."""

    async def published(settings: Settings, *names: str) -> AsyncGenerator[ConsumedRecord, None]:
        for topic, value in ((Topic.MODELS, model()), (Topic.ESTIMATES, estimate())):
            yield ConsumedRecord(settings.topics.name(topic), 0, 0, 0, None, orjson.dumps(value))

    monkeypatch.setattr(demo, "tail", published)
    scene, said = Scene(waits_for=demo.FIRST_MINUTE), []
    await demo._follow(Settings(), scene, lambda: said.append(scene.waits_for))
    assert said == [demo.FIRST_MINUTE, demo.NEXT_MINUTE]
    scene = Scene(waits_for="the last ticks")
    await demo._follow(Settings(), scene, lambda: None)
    assert scene.waits_for == "the last ticks"


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
    assert out.count("byte for byte the replay's") == 6
    assert (tmp_path / "out" / "live" / "plans.jsonl").stat().st_size > 0
    assert "A1 buy FROG" in out
    closed_loop(tmp_path / "out", out)


def closed_loop(directory: Path, said: str) -> None:
    """Check that what the plans asked for was traded, and that the costs on the page add up to the last digit."""
    fills = [orjson.loads(line) for line in (directory / "executions.jsonl").read_bytes().splitlines()]
    ended = [
        record
        for line in (directory / "live" / "tca.jsonl").read_bytes().splitlines()
        if (record := orjson.loads(line))["type"] == "order_cost"
    ]
    assert ended
    assert {order["cl_ord_id"] for order in ended} == {fill["cl_ord_id"] for fill in fills}
    for order in ended:
        filled = sum(fill["last_qty"] for fill in fills if fill["cl_ord_id"] == order["cl_ord_id"])
        assert order["cum_qty"] == filled > 0
    page = (directory / "costs" / "tca.html").read_text(encoding="utf-8")
    table = page[page.index("What each order cost") :]
    rows = re.findall(r"<tr>((?:<td>[^<]*</td>)+)</tr>", table[: table.index("</table>")])
    assert len(rows) == len(ended)
    for row in rows:
        name, *figures = re.findall(r"<td>([^<]*)</td>", row)
        *parts, total = (Decimal(figure.replace(",", "")) for figure in figures[:-1])
        assert sum(parts) == total, name
    lines = said.splitlines()
    assert any(line.startswith(("Saved ", "Lost ")) and " of " in line for line in lines[-8:])
    assert max(map(len, lines[-8:])) <= 80 or any(str(directory) in line for line in lines[-8:])


def test_demo_through_the_mock_stays_for_its_page_and_then_equals_the_replay(tmp_path: Path) -> None:
    data = write(tmp_path / "day.jsonl", day(minutes=20))
    orders = write(tmp_path / "orders.jsonl", [new()])
    command = [sys.executable, "-m", "impactd", "demo", "--data", str(data), "--orders", str(orders), "--stay"]
    child = subprocess.Popen(
        [*command, "--speed", "max", "--out", str(tmp_path / "out"), "--set", "http.port=0"],
        env=bare_environment(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stderr is not None
        said = list(iter_until(child.stderr, "the day has ended"))
        address = next(line.rpartition(" ")[2].strip() for line in said if line.startswith("live page: "))
        with urllib.request.urlopen(f"{address}api/plans/A1", timeout=600) as answer:  # noqa: S310  # the child's own
            shown = answer.read()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=600)
    finally:
        child.kill()
    assert child.returncode == 0, err
    assert any("taking librdkafka's in-process mock" in line for line in said)
    assert out.count("byte for byte the replay's") == 6
    closed_loop(tmp_path / "out", out)
    assert shown in (tmp_path / "out" / "live" / "plans.jsonl").read_bytes().splitlines()


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
        assert "a day 1 times its own speed" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=600)
    finally:
        child.kill()
    assert child.returncode == 130, err
    assert err.strip().endswith("impactd: interrupted")


def test_demo_orders_without_a_day_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orders = write(tmp_path / "orders.jsonl", [new()])
    assert main(["demo", "--orders", str(orders)]) == 2
    assert "name it with --data" in capsys.readouterr().err
