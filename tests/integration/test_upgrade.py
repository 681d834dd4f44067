"""An upgrade on a real broker: another release takes over the topics and the state of the one before.

The previous release is these sources under another version, or those that IMPACTD_PREVIOUS names, as in
``IMPACTD_PREVIOUS=../impactd-0.1/daemon pytest tests/integration/test_upgrade.py``.

Bytes are equal across the two only where both are the same sources.  The rest is promised between any two releases
whose states have the same schema.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import orjson
import pytest

from impactd.__about__ import __version__
from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.publish import publish
from impactd.shell.replay import Sources
from tests.integration.kafka_lab import (
    PARTITIONS,
    assert_same,
    audited,
    from_files,
    from_topics,
    lab,
    published_all,
    records_until,
    write_day,
)
from tests.paths import ROOT
from tests.records import read_topic

pytestmark = pytest.mark.broker

#: Sources of the release before, where it is not these under another version.
_GIVEN: Final = os.environ.get("IMPACTD_PREVIOUS", "")
PREVIOUS: Final = Path(_GIVEN).resolve() if _GIVEN else None

_RELEASE: Final = "0.0.9"

#: The version is known before the package that states it is read.
_PROCESS: Final = """
import asyncio, sys, types
about = sys.modules["impactd.__about__"] = types.ModuleType("impactd.__about__")
about.__version__ = sys.argv[1]
from impactd.config import Settings
from impactd.core.base.settings import CoreSettings, PlanSettings
from impactd.shell.kafka.service import Service

async def serve():
    core = CoreSettings(apply="in_event_time", plans=PlanSettings(act="slices"))
    return await Service(Settings.model_validate_json(sys.argv[2]), core).run(signals=True)

sys.exit(asyncio.run(serve()))
"""


@asynccontextmanager
async def _service(settings: Settings, release: str, directory: Path) -> AsyncIterator[Process]:
    """Run a service of one release as a process; a block that leaves it running kills it."""
    sources = PREVIOUS if PREVIOUS is not None and release == _RELEASE else ROOT / "daemon"
    given = settings.model_dump_json(exclude_unset=True)
    with (directory / f"{release}.log").open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _PROCESS, release, given),
            stdout=out,
            stderr=out,
            env=os.environ | {"PYTHONPATH": str(sources)},
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _leave(process: Process) -> None:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(120):
        assert await process.wait() == 0


def _begun(journal: list[ConsumedRecord]) -> bool:
    return any(orjson.loads(record.value or b"")["release"] == __version__ for record in journal)


async def test_next_release_continues_the_state_and_topics_of_the_one_before(broker: Broker, tmp_path: Path) -> None:
    sources = write_day(tmp_path, 40)
    expected = from_files(sources, tmp_path / "out")
    settings = await lab(broker.bootstrap)
    lines = sources.data[0].read_bytes().splitlines(keepends=True)
    halves = [tmp_path / "morning.jsonl", tmp_path / "afternoon.jsonl"]
    for half, part in zip(halves, (lines[: len(lines) // 2], lines[len(lines) // 2 :]), strict=True):
        half.write_bytes(b"".join(part))
    await publish(settings, replace(sources, data=halves[:1]))
    async with _service(settings, _RELEASE, tmp_path) as old:
        await records_until(settings, Topic.JOURNAL, lambda found: len(found) >= 15)
        # One process after the other: for a moment each release owns a partition.
        async with _service(settings, __version__, tmp_path) as new:
            await records_until(settings, Topic.JOURNAL, _begun)
            await _leave(old)
            await publish(settings, Sources(halves[1:]))
            await published_all(settings, expected)
            await _leave(new)
    entries: list[list[dict[str, object]]] = [[] for _ in range(PARTITIONS)]
    for record in await read_topic(settings, settings.topics.name(Topic.JOURNAL)):
        entry = orjson.loads(record.value or b"")
        if entry["type"] != "snapshot":
            entries[record.partition].append(entry)
    for found in entries:
        assert [entry["commit_seq"] for entry in found] == list(range(len(found)))
        handed = [place for place, entry in enumerate(found) if entry["type"] == "settings"]
        assert len(handed) == 1
        assert found[handed[0]]["previous"]["release"] == _RELEASE  # type: ignore[index]  # JSON
        assert {entry["release"] for entry in found[: handed[0]]} == {_RELEASE}
        assert {entry["release"] for entry in found[handed[0] :]} == {__version__}
        # Every input once: each commit begins where the one before ended.
        applied = [entry for entry in found if entry["type"] == "commit"]
        for topic in (str(topic) for topic in INPUT_TOPICS):
            spans = [(e["from"][topic], e["to"][topic]) for e in applied if topic in e["to"]]  # type: ignore[index,operator]
            assert all(one[1] == other[0] for one, other in pairwise(spans))
    # What this release wrote it derives byte for byte, and it names who wrote the rest.
    audit = await audited(settings)
    assert audit.n_differences == 0
    assert audit.commits > 0
    assert [f"release {_RELEASE} wrote them" in gap.why for gap in audit.underived] == [True] * PARTITIONS
    if PREVIOUS is None:
        assert_same(await from_topics(settings), expected)
