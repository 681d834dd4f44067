"""The FIX gateway on a real broker with a real service, against an initiator of its own: through cuts and kill -9."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.broker.probe import free_ports
from impactd.shell.fix.tags import utc
from impactd.shell.kafka.consume import ConsumedRecord
from tests.integration.kafka_lab import MINUTE_NS, book, lab, live, running, send
from tests.records import read_topic
from tests.shell.kafka.fake_registry import serving

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


#: The gateway as a program that kills itself at a transaction: within it, or after it.
DYING = """
import os
from impactd.cli import main
from impactd.shell.fix.gateway import Gateway

when, left = os.environ["DIES"].split(":")
left = int(left)
commit, put = Gateway._commit, Gateway._put

async def dying(self, *args, **named):
    global left
    left -= 1
    await commit(self, *args, **named)
    if left == 0:
        os.kill(os.getpid(), 9)

async def putting(self, key, value):
    sent = await put(self, key, value)
    if left == 0 and when == "within":
        await sent
        os.kill(os.getpid(), 9)
    return sent

Gateway._commit, Gateway._put = dying, putting
main()
"""


class Process:
    """The gateway as a process that can be killed."""

    def __init__(self, settings: Settings, folder: Path, *args: str) -> None:
        [self.port] = free_ports(1)
        self.log = folder / "gateway.log"
        path = self.sessions = folder / "sessions.cfg"
        path.write_text(SESSIONS.format(port=self.port), "utf-8")
        sets = {
            "kafka.bootstrap": settings.kafka.bootstrap,
            "kafka.environment": settings.kafka.environment,
            "kafka.group": settings.kafka.group,
            "topics.prefix": settings.topics.prefix,
            "topics.partitions": "2",
        }
        if settings.registry.url is not None:
            sets |= {"wire.format": settings.wire.format, "registry.url": settings.registry.url}
        self._args = ["fix", "--sessions", str(path), *args]
        for name, value in sets.items():
            self._args += ["--set", f"{name}={value}"]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, dies: str | None = None) -> None:
        """Start it; `dies`, such as ``after:3``: it kills itself at its third transaction."""
        program = ["-m", "impactd"] if dies is None else ["-c", DYING]
        command = [sys.executable, "-X", "faulthandler", *program, *self._args]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdout=log, stderr=log, env=os.environ | {"DIES": dies or ""}
            )

    async def kill(self) -> None:
        assert self._process is not None
        assert self._process.returncode is None, self.log.read_text("utf-8")
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def end(self) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        assert self._process is not None
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


def trade(name: str) -> list[tuple[int, str]]:
    body = {11: name, 17: f"E-{name}", 150: "F", 39: "1", 37: "X", 55: "FROG", 54: "1", 31: "31.2", 32: "100"}
    return list((body | {38: "1000", 14: "100", 151: "900", 6: "31.2", 60: now()}).items())


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


@pytest.fixture(params=["json", "avro"])
def wire(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Sections of the settings under which the service publishes a format."""
    if request.param == "json":
        yield {}
        return
    pytest.importorskip("fastavro")
    with serving() as registry:
        yield {"wire": {"format": request.param}, "registry": {"url": f"http://127.0.0.1:{registry.port}"}}


async def test_life_of_an_order_is_reported(broker: Broker, tmp_path: Path, wire: dict[str, Any]) -> None:
    settings = await lab(broker.bootstrap, **wire)
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
        desk.send("8", trade("A2"))
        desk.send("8", trade("A2"))
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


async def test_sessions_keep_the_rules(broker: Broker, tmp_path: Path) -> None:
    """Every rule of the session layer, with no service behind: what is taken is on the topic."""
    settings = await lab(broker.bootstrap)
    async with gateway(settings, tmp_path) as process:
        desk = await Initiator(process.port).connect()
        # Heartbeats answer test requests.
        desk.admin_message("1", [(112, "ping")])
        await desk.until(lambda: any(m[35] == "0" and m.get(112) == "ping" for m in desk.admin))
        desk.send("D", new("R1"))
        await desk.report(t11="R1", t150="A")
        # A number that is below and a possible duplicate changes nothing.
        desk.raw("D", desk.next_out - 1, new("R1-again"), [(43, "Y"), (122, now())])
        # A gap is asked for, and filled with what was sent.
        desk.lose("D", new("R2"))
        desk.send("D", new("R3"))
        await desk.report(t11="R2", t150="A")
        await desk.report(t11="R3", t150="A")
        # A message that lacks a field is rejected, and its number counts.
        desk.send("D", [pair for pair in new("R4") if pair[0] != 54])
        await desk.until(lambda: any(m.get(371) == "54" for m in desk.rejects))
        # Numbers that the other side leaves out: a gap fill, and a reset.
        desk.raw("4", desk.next_out, [(123, "Y"), (36, str(desk.next_out + 5))])
        desk.next_out += 5
        desk.send("D", new("R5"))
        await desk.report(t11="R5", t150="A")
        desk.raw("4", desk.next_out, [(36, str(desk.next_out + 10))])
        desk.next_out += 10
        desk.send("D", new("R6"))
        await desk.report(t11="R6", t150="A")
        # A kind that is not supported, and what cannot be obeyed.
        desk.send("R", [(131, "Q1"), (146, "1"), (55, "FROG")])
        assert (await desk.report(t35="j"))[372] == "R"
        desk.send("D", new("R7", t58="slowly"))
        refused = await desk.report(t11="R7")
        assert (refused[150], refused[39], refused[58].split(":")[0]) == ("8", "8", "58")
        desk.send("D", new("R1"))
        assert (await desk.report(t11="R1", t150="8"))[103] == "6"
        desk.send("D", new("R1"), [(97, "Y")])
        await desk.report(t11="R1", t150="I")
        desk.send("F", [(11, "R8"), (41, "none"), (55, "FROG"), (54, "1"), (60, now())])
        assert (await desk.report(t35="9", t11="R8"))[102] == "1"
        # What was sent comes again when asked for, as possible duplicates.
        before = desk.duplicates
        desk.admin_message("2", [(7, "1"), (16, "0")])
        await desk.until(lambda: desk.duplicates >= before + len(desk.received))
        # A cut, then a number that is too low: the session ends.
        await desk.drop()
        await desk.connect()
        at, desk.next_out = desk.next_out, 2
        desk.admin_message("0", [])
        await desk.until(lambda: any(m[35] == "5" for m in desk.admin))
        await desk.drop()
        desk.next_out = at
        # Both sides begin again at 1.
        await desk.connect(reset=True)
        desk.send("D", new("R9"))
        await desk.report(t11="R9", t150="A")
        # FIX 5.0SP2, with strategy parameters.
        other = await Initiator(process.port, "DESK2", "FIXT.1.1").connect()
        parameters = [(957, "2"), (958, "lot_size"), (959, "7"), (960, "100"), (958, "must_complete"), (960, "Y")]
        other.send("D", [*new("S1", t847="2", t849="0.1"), *parameters])
        await other.report(t11="S1", t150="A")
        # An order is its own session's.
        other.send("F", [(11, "S2"), (41, "R9"), (55, "FROG"), (54, "1"), (60, now())])
        assert (await other.report(t35="9", t11="S2"))[102] == "1"
        for one in (*desk.received, *other.received):
            if one[35] == "8":
                check(one)
        await desk.drop()
        await other.drop()
    orders = await orders_of(settings)
    assert sorted(order["cl_ord_id"] for order in orders) == ["R1", "R2", "R3", "R5", "R6", "R9", "S1"]
    (last,) = (order for order in orders if order["cl_ord_id"] == "S1")
    assert (last["target_participation_rate"], last["lot_size"], last["must_complete"]) == ("0.1", "100", True)


async def test_nothing_is_lost_or_twice_through_cuts_and_kills(broker: Broker, tmp_path: Path) -> None:
    """Orders, replaces, cancels and fills, while the connection is cut and the gateway killed at random moments."""
    rounds = int(os.environ.get("IMPACTD_FIX_KILLS", "6"))
    settings = await lab(broker.bootstrap)
    at, draw = time.time_ns(), random.Random(19)
    names = [f"K{k}" for k in range(rounds)]
    replaced = names[1::2]
    async with running(settings, live()), gateway(settings, tmp_path) as process:
        await send(settings, Topic.TICKS, [("FROG", book("FROG", at, 0), at)])
        desk = await Initiator(process.port).connect()
        for k, name in enumerate(names):
            desk.send("D", new(name))
            desk.send("8", trade(name))
            if name in replaced:
                desk.send("G", [*new(f"{name}-r", t38="800"), (41, name)])
            await asyncio.sleep(draw.random() * 0.15)
            if k % 3 != 2:
                await process.kill()
            await desk.drop()
            if k % 3 != 2:
                await process.start()
            await desk.connect()
        await cancel_all(desk, names, replaced)
    await check_all_once(settings, desk, names, replaced)


async def cancel_all(desk: Initiator, names: list[str], replaced: list[str]) -> None:
    """Cancel every order once its requests are answered, wait for the answers, and end the connection."""
    for name in names:
        await desk.report(t11=name, t150="0")
        if name in replaced:
            await desk.report(t11=f"{name}-r", t150="5")
        desk.send("F", [(11, f"{name}-c"), (41, name), (55, "FROG"), (54, "1"), (60, now())])
    for name in names:
        assert (await desk.report(t11=f"{name}-c", t150="4"))[14] == "100"
    await desk.drop()


async def check_all_once(settings: Settings, desk: Initiator, names: list[str], replaced: list[str]) -> None:
    """Check that every request and fill is on its topic once, and every report has come once."""
    sent = Counter(order["cl_ord_id"] for order in await orders_of(settings))
    assert sent == Counter([*names, *(f"{name}-c" for name in names), *(f"{name}-r" for name in replaced)])
    fills = await read_topic(settings, settings.topics.name(Topic.EXECUTIONS))
    assert Counter(orjson.loads(fill.value or b"")["exec_id"] for fill in fills) == Counter(f"E-{n}" for n in names)
    assert len({report[17] for report in desk.received}) == len(desk.received)
    for report in desk.received:
        check(report)
    for name in names:
        own = [m for m in desk.received if m[37] == name]
        assert [(m[32], m[31], m[14], m[6]) for m in own if m[150] == "F"] == [("100", "31.2", "100", "31.2")]
        chain = Counter((m[11], m.get(41), m[150]) for m in own if m[150] != "F")
        expected = [(name, None, "A"), (name, None, "0"), (f"{name}-c", name, "6"), (f"{name}-c", name, "4")]
        if name in replaced:
            expected += [(f"{name}-r", name, "E"), (f"{name}-r", name, "5")]
        assert chain == Counter(expected)


async def test_nothing_is_lost_or_twice_at_whatever_transaction_it_dies(broker: Broker, tmp_path: Path) -> None:
    """The gateway dies within and after each of its first transactions: between one and QuickFIX's count of it."""
    settings = await lab(broker.bootstrap)
    at = time.time_ns()
    deaths = [f"{when}:{number}" for number in range(1, 6) for when in ("within", "after")]
    names = [f"T{k}" for k in range(len(deaths))]
    replaced = names[::3]
    process = Process(settings, tmp_path)
    async with running(settings, live()):
        await send(settings, Topic.TICKS, [("FROG", book("FROG", at, 0), at)])
        desk = Initiator(process.port)
        for name, dies in zip(names, deaths, strict=True):
            await process.start(dies)
            logon = asyncio.create_task(desk.connect())
            dead = asyncio.create_task(process.ended())
            await asyncio.wait({logon, dead}, return_when=asyncio.FIRST_COMPLETED)
            desk.send("D", new(name))
            desk.send("8", trade(name))
            if name in replaced:
                desk.send("G", [*new(f"{name}-r", t38="800"), (41, name)])
            assert await dead == -signal.SIGKILL
            logon.cancel()
            await asyncio.wait({logon})
            await desk.drop()
        await process.start()
        try:
            await desk.connect()
            await cancel_all(desk, names, replaced)
        finally:
            assert await process.end() == 0, process.log.read_text("utf-8")
    await check_all_once(settings, desk, names, replaced)


async def test_what_is_no_text_is_refused_and_the_session_goes_on(broker: Broker, tmp_path: Path) -> None:
    """Bytes that an order cannot have do not end the gateway, nor the next one, which reads what the first has sent."""
    settings = await lab(broker.bootstrap)
    odd: list[list[tuple[int, Any]]] = [
        new("O1", t1="\u20ac"),
        [*new("O2"), (1, b"\xe9")],
        [(11, b"\xff1"), *new("O3")[1:]],
        [*new("O4"), (354, "9"), (355, b"a\x0138=9\x01=b")],
        new("O5", t1="x" * 2_000_000),
        [pair if pair[0] != 55 else (55, "\u20ac") for pair in new("O6")],
    ]
    async with gateway(settings, tmp_path) as process:
        desk = await Initiator(process.port).connect()
        for body in odd:
            desk.send("D", body)
            desk.send("G", [*body, (41, "O1")])
        await desk.until(lambda: sum(m[35] in {"8", "9"} for m in desk.received) >= 2 * len(odd))
        assert all(m[39] == "8" for m in desk.received), desk.received
        await process.kill()
        await desk.drop()
        await process.start()
        await desk.connect()
        desk.admin_message("2", [(7, "1"), (16, "0")])
        await desk.until(lambda: desk.duplicates >= 2 * len(odd))
        desk.send("D", new("O9"))
        await desk.report(t11="O9", t150="A")
        await desk.drop()
    assert [order["cl_ord_id"] for order in await orders_of(settings)] == ["O9"]


async def test_drop_copy_takes_executions_alone(broker: Broker, tmp_path: Path) -> None:
    settings = await lab(broker.bootstrap)
    async with gateway(settings, tmp_path, "--drop-copy", "--set", "fix.parent_tag=526") as process:
        desk = await Initiator(process.port).connect()
        desk.send("D", new("A1"))
        assert (await desk.report(t35="j"))[372] == "D"
        body = [*(pair for pair in trade("A1") if pair[0] != 11), (11, "child"), (526, "A1")]
        desk.send("8", body)
        desk.send("8", [pair if pair[0] != 32 else (32, "-1") for pair in body])
        assert (await desk.report(t35="j", t372="8"))[379] == "E-A1"
    # It has logged out, and ended in order.
    assert any(message[35] == "5" for message in desk.admin)
    await desk.drop()
    (record,) = await read_topic(settings, settings.topics.name(Topic.EXECUTIONS))
    assert orjson.loads(record.value or b"")["cl_ord_id"] == "A1"
    assert await orders_of(settings) == []


async def test_second_gateway_ends_the_first_and_takes_what_the_first_could_not(broker: Broker, tmp_path: Path) -> None:
    settings = await lab(broker.bootstrap)
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    first, second = (Process(settings, folder) for folder in folders)
    await first.start()
    desk = await Initiator(first.port).connect()
    desk.send("D", new("F1"))
    await desk.report(t11="F1", t150="A")
    await second.start()
    try:
        other = await Initiator(second.port, "DESK2", "FIXT.1.1").connect()
        desk.send("D", new("F2"))
        assert await first.ended() == 1
        await desk.drop()
        desk.port = second.port
        await desk.connect()
        await desk.report(t11="F2", t150="A")
        await desk.drop()
        await other.drop()
    finally:
        assert await second.end() == 0, second.log.read_text("utf-8")
    assert [order["cl_ord_id"] for order in await orders_of(settings)] == ["F1", "F2"]


async def test_sessions_that_quickfix_refuses_are_named(broker: Broker, tmp_path: Path) -> None:
    settings = await lab(broker.bootstrap)
    process = Process(settings, tmp_path)
    with socket.socket() as other:
        other.bind(("0.0.0.0", process.port))  # noqa: S104  # as QuickFIX does
        other.listen()
        process.sessions.write_text(SESSIONS.format(port=process.port).replace("SocketReuseAddress=Y", ""), "utf-8")
        await process.start()
        assert await process.ended() == 1
    log = process.log.read_text("utf-8")
    assert f"port {process.port}" in log
    process.sessions.write_text(SESSIONS.format(port="seven"), "utf-8")
    await process.start()
    assert await process.ended() == 2
    log = process.log.read_text("utf-8")
    assert f"{process.sessions}: " in log
    assert "SocketAcceptPort" in log
    assert "Traceback" not in log
