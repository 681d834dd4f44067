"""The FIX gateway on a real broker with a real service, against an initiator of its own: through cuts and kill -9."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.fix.tags import utc
from impactd.shell.kafka.consume import ConsumedRecord
from tests.integration.kafka_lab import MINUTE_NS, book, lab, live, running, send
from tests.records import read_topic

pytest.importorskip("quickfix", reason="QuickFIX is not installed: make env-fix")
pytest.importorskip("simplefix", reason="simplefix is not installed: make env-fix")

from tests.fix.initiator import Initiator, Message, now  # needs simplefix

pytestmark = pytest.mark.broker

SESSIONS = """\
[DEFAULT]
SocketAcceptPort={port}
SocketReuseAddress=Y
[SESSION]
BeginString=FIX.4.4
SenderCompID=IMPACTD
TargetCompID=DESK
[SESSION]
BeginString=FIXT.1.1
SenderCompID=IMPACTD
TargetCompID=DESK2
DefaultApplVerID=FIX.5.0SP2
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """The gateway as a process that can be killed."""

    def __init__(self, settings: Settings, folder: Path, *args: str) -> None:
        self.port = free_port()
        self._log = folder / "gateway.log"
        path = folder / "sessions.cfg"
        path.write_text(SESSIONS.format(port=self.port), "utf-8")
        sets = {
            "kafka.bootstrap": settings.kafka.bootstrap,
            "kafka.environment": settings.kafka.environment,
            "kafka.group": settings.kafka.group,
            "topics.prefix": settings.topics.prefix,
            "topics.partitions": "2",
        }
        self._command = [sys.executable, "-m", "impactd", "fix", "--sessions", str(path), *args]
        for name, value in sets.items():
            self._command += ["--set", f"{name}={value}"]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*self._command, stdout=log, stderr=log)

    async def kill(self) -> None:
        assert self._process is not None
        assert self._process.returncode is None, self._log.read_text("utf-8")
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def end(self) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._process.wait(), 60)


@asynccontextmanager
async def gateway(settings: Settings, folder: Path, *args: str) -> AsyncIterator[Process]:
    process = Process(settings, folder, *args)
    await process.start()
    try:
        yield process
    finally:
        assert await process.end() == 0, (folder / "gateway.log").read_text("utf-8")


def new(name: str, symbol: str = "FROG", **fields: str) -> list[tuple[int, str]]:
    begin = time.time_ns()
    body = {11: name, 55: symbol, 54: "1", 38: "1000", 40: "1", 60: utc(begin), 126: utc(begin + 60 * MINUTE_NS)}
    return list((body | {int(tag[1:]): value for tag, value in fields.items()}).items())


def check(report: Message) -> None:
    """Check the identities of an ExecutionReport."""
    asked, cum, leaves = (Decimal(report[tag]) for tag in (38, 14, 151))
    if report[39] in {"4", "8", "C"}:
        assert leaves == 0, report
    else:
        assert asked == cum + leaves, report


async def orders_of(settings: Settings) -> list[dict[str, Any]]:
    records: list[ConsumedRecord] = await read_topic(settings, settings.topics.name(Topic.ORDERS))
    return [orjson.loads(record.value or b"") for record in records]


async def test_life_of_an_order_is_reported(broker: Broker, tmp_path: Path) -> None:
    settings = await lab(broker.bootstrap)
    at = time.time_ns()
    async with running(settings, live()), gateway(settings, tmp_path) as process:
        await send(settings, Topic.TICKS, [("FROG", book("FROG", at, 0), at)])
        desk = await Initiator(process.port).connect()
        desk.send("D", new("A1", t40="2", t44="31.5"))
        pending, taken = await desk.report(t11="A1", t150="A"), await desk.report(t11="A1", t150="0")
        assert (pending[39], taken[39], taken[37]) == ("A", "0", "A1")
        desk.send("G", [*new("A2", t38="500", t40="2", t44="31.6"), (41, "A1")])
        assert (await desk.report(t11="A2", t150="E"))[41] == "A1"
        replaced = await desk.report(t11="A2", t150="5")
        assert (replaced[41], replaced[38], replaced[44]) == ("A1", "500", "31.6")
        fill = [(11, "A2"), (17, "E1"), (150, "F"), (39, "1"), (37, "X"), (55, "FROG"), (54, "1"), (31, "31.2")]
        fill += [(32, "100"), (38, "500"), (14, "100"), (151, "400"), (6, "31.2"), (60, now())]
        desk.send("8", fill)
        desk.send("8", fill)
        desk.send("H", [(11, "A2"), (55, "FROG"), (54, "1"), (790, "S1")])
        assert (await desk.report(t150="I"))[790] == "S1"
        desk.send("G", [*new("A3", t38="-1"), (41, "A2")])
        assert (await desk.report(t11="A3"))[35] == "9"
        desk.send("F", [(11, "A4"), (41, "A2"), (55, "FROG"), (54, "1"), (60, now())])
        canceled = await desk.report(t11="A4", t150="4")
        assert (canceled[41], canceled[14], canceled[151], canceled[39]) == ("A2", "100", "0", "4")
        desk.send("F", [(11, "A5"), (41, "A4"), (55, "FROG"), (54, "1"), (60, now())])
        late = await desk.report(t35="9", t11="A5")
        assert (late[102], late[39]) == ("0", "4")
        for report in desk.received:
            if report[35] == "8":
                check(report)
        await desk.drop()
    assert [order["cl_ord_id"] for order in await orders_of(settings)] == ["A1", "A2", "A4"]
