"""The commands one after another on a real broker: topics, publish, run, capture, and two replays of the same day."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.outputs import FILES
from impactd.wire.murmur2 import partition_for
from tests.integration.kafka_lab import (
    COMPARED,
    assert_same,
    from_files,
    from_topics,
    lab_settings,
    published_all,
    write_day,
)

pytestmark = pytest.mark.broker


def impactd(environ: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "impactd", *args]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


async def succeeded(environ: dict[str, str], *args: str) -> str:
    done = await asyncio.to_thread(impactd, environ, *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment under which commands use these settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IMPACTD_")}
    return kept | {
        "IMPACTD__KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "IMPACTD__KAFKA__ENVIRONMENT": settings.kafka.environment,
        "IMPACTD__HTTP__PORT": "0",
        "IMPACTD__KAFKA__GROUP": settings.kafka.group,
        "IMPACTD__TOPICS__PREFIX": settings.topics.prefix,
        "IMPACTD__TOPICS__PARTITIONS": "2",
        "IMPACTD__TOPICS__INPUT_RETENTION_MS": "-1",
        "IMPACTD__TOPICS__OUTPUT_RETENTION_MS": "-1",
        "IMPACTD__PLANS__APPLY": "in_event_time",
        "IMPACTD__PLANS__ACT": "slices",
        "IMPACTD__LOG__FORMAT": "json",
    }


async def test_commands_from_topics_to_replays_agree(broker: Broker, tmp_path: Path) -> None:
    settings = lab_settings(broker.bootstrap)
    environ = environment(settings)
    sources = write_day(tmp_path / "day", 8)
    expected = from_files(sources, tmp_path / "expected")
    missing = await asyncio.to_thread(impactd, environ, "topics", "check")
    assert (missing.returncode, missing.stdout.count("is missing")) == (1, len(Topic))
    assert (await succeeded(environ, "topics", "create")).count("made") == len(Topic)
    assert "as the settings say" in await succeeded(environ, "topics", "check")

    files = [str(path) for path in (sources.data[0], sources.orders, sources.executions)]
    day = ["--data", files[0], "--orders", files[1], "--executions", files[2]]
    assert "1 executions" in await succeeded(environ, "publish", *day)

    with (tmp_path / "log").open("wb") as log:
        service = await asyncio.create_subprocess_exec(sys.executable, "-m", "impactd", "run", env=environ, stderr=log)
        try:
            # The last minute stays open: nothing that is silent for a minute waits here.
            await published_all(settings, {Topic.ESTIMATES: [lines[:-2] for lines in expected[Topic.ESTIMATES]]})
            service.send_signal(signal.SIGTERM)
            code = await asyncio.wait_for(service.wait(), 30)
        finally:
            if service.returncode is None:
                service.kill()
                await service.wait()
    logged = [orjson.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    assert code == 0, logged[-3:]
    assert logged[0]["event"] == "settings"
    assert all(line["timestamp"].endswith("Z") for line in logged)

    live = await from_topics(settings)
    for topic in COMPARED:
        for ours, theirs in zip(live[topic], expected[topic], strict=True):
            assert ours == theirs[: len(ours)]
    assert sum(map(len, live[Topic.PLANS])) > 0

    await succeeded(environ, "capture", "--out", str(tmp_path / "captured"))
    journal = str(tmp_path / "captured" / "journal.jsonl")
    await succeeded(environ, "replay", "--journal", journal, "--out", str(tmp_path / "again"))
    assert_same(by_partition(tmp_path / "again"), live)


def by_partition(out: Path) -> dict[Topic, list[list[bytes]]]:
    found = {}
    for topic in COMPARED:
        parts: list[list[bytes]] = [[], []]
        for line in (out / FILES[topic]).read_bytes().splitlines():
            parts[partition_for(orjson.loads(line)["symbol"], 2)].append(line)
        found[topic] = parts
    return found
