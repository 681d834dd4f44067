"""What the service manager hears: over a real socket, in its own words."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from impactd.config import Settings
from impactd.core.base.settings import CoreSettings
from impactd.shell.health import Reason
from impactd.shell.kafka.service import Service
from impactd.shell.notify import EXTEND_S, LOOK_S, Notifier
from impactd.shell.operate import operate

RESTORING = Reason("restoring", "reading its state", 3)
LAG = Reason("lag", "7 records\nwait", None)
EXTENDED = f"EXTEND_TIMEOUT_USEC={EXTEND_S * 1e6:.0f}"


@contextmanager
def manager(address: str | bytes) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        listening.bind(address)
        yield listening


def heard(listening: socket.socket) -> list[str]:
    """Return the lines heard since the last time."""
    lines: list[str] = []
    while True:
        try:
            lines += listening.recv(65_536).decode().split("\n")
        except BlockingIOError:
            return lines


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


def test_notifier_states_ready_once_and_status_as_it_changes(path: str) -> None:
    with manager(path) as listening:
        notifier = Notifier(path)
        notifier.look(0.0, [RESTORING, LAG], [])
        assert heard(listening) == [
            EXTENDED,
            "STATUS=not ready: restoring (partition 3): reading its state; and 1 more",
        ]
        notifier.look(1.0, [RESTORING, LAG], [])
        assert heard(listening) == [EXTENDED]
        notifier.look(2.0, [], [0, 3])
        assert heard(listening) == ["READY=1", "STATUS=ready; partitions 0, 3"]
        notifier.look(3.0, [], [0, 3])
        assert heard(listening) == []
        # Not ready again is no new start: there is no time to ask for.
        notifier.look(4.0, [LAG], [0, 3])
        assert heard(listening) == ["STATUS=not ready: lag: 7 records wait"]
        notifier.look(5.0, [], [])
        assert heard(listening) == ["STATUS=ready; no partition assigned"]
        notifier.stopping("draining")
        notifier.stopping("draining")
        notifier.look(6.0, [RESTORING], [])
        assert heard(listening) == ["STOPPING=1", "STATUS=draining"]
        notifier.close()


def test_notifier_keeps_the_watchdog_four_times_in_its_interval(path: str) -> None:
    with manager(path) as listening:
        notifier = Notifier(path, 2.0)
        said = []
        for quarter in range(17):
            notifier.keep(100.0 + quarter / 4)
            said += heard(listening)
        assert said == ["WATCHDOG=1"] * 9
        notifier.close()


def test_notifier_without_a_watchdog_keeps_none(path: str) -> None:
    with manager(path) as listening:
        notifier = Notifier(path)
        for second in range(100):
            notifier.keep(float(second))
        assert heard(listening) == []
        notifier.close()


def test_notifier_looks_at_its_pace(path: str) -> None:
    notifier = Notifier(path)
    assert notifier.is_due(5.0)
    notifier.look(5.0, [], [])
    assert not notifier.is_due(5.0 + LOOK_S / 2)
    assert notifier.is_due(5.0 + LOOK_S)
    notifier.close()


def test_notifier_finds_an_abstract_socket() -> None:
    name = f"impactd-test-{os.getpid()}"
    with manager(b"\0" + name.encode()) as listening:
        notifier = Notifier(f"@{name}")
        notifier.look(0.0, [], [1])
        assert heard(listening)[0] == "READY=1"
        notifier.close()


def test_notifier_states_again_what_could_not_be_sent_and_logs_it_once(path: str) -> None:
    notifier = Notifier(path)
    with capture_logs() as logged:
        notifier.look(0.0, [], [1])
        notifier.look(1.0, [], [1])
    assert [entry["event"] for entry in logged] == ["service manager not notified"]
    with manager(path) as listening:
        notifier.look(2.0, [], [1])
        assert heard(listening) == ["READY=1", "STATUS=ready; partitions 1"]
    notifier.stopping("draining")
    notifier.close()


def test_notifier_of_a_manager_that_does_not_listen_does_not_wait(path: str) -> None:
    with manager(path) as listening, capture_logs():
        notifier = Notifier(path, 0.001)
        for second in range(5_000):
            notifier.keep(float(second))
        assert 0 < len(heard(listening)) < 5_000
        notifier.close()


@pytest.mark.parametrize(
    ("environ", "watched"),
    [
        ({}, False),
        ({"WATCHDOG_USEC": "3000000"}, True),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, True),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
    ],
)
def test_notifier_from_environment_keeps_the_watchdog_that_is_meant_for_it(
    environ: dict[str, str], path: str, *, watched: bool
) -> None:
    with manager(path) as listening:
        notifier = Notifier.from_environment(environ | {"NOTIFY_SOCKET": path}, 7)
        assert notifier is not None
        notifier.keep(0.0)
        assert heard(listening) == (["WATCHDOG=1"] if watched else [])
        notifier.close()


def test_notifier_from_environment_without_a_manager_is_none() -> None:
    assert Notifier.from_environment({"WATCHDOG_USEC": "3000000"}, 7) is None
    with capture_logs() as logged:
        assert Notifier.from_environment({"NOTIFY_SOCKET": "vsock:2:1234"}, 7) is None
    assert "vsock:2:1234" in logged[0]["reason"]


async def test_operate_that_fails_at_once_states_why(path: str) -> None:
    core = CoreSettings()
    kafka = {"bootstrap": "127.0.0.1:1", "request_timeout_ms": 1_000}
    service = Service(Settings(kafka=kafka, http={"port": 0}), core)
    with manager(path) as listening, capture_logs():
        assert await operate(service, core, notifier=Notifier(path), ends_process=False) == 1
        said = heard(listening)
    assert said[-2] == "STOPPING=1"
    assert said[-1].startswith("STATUS=failed: no broker answers at 127.0.0.1:1")
    assert "READY=1" not in said


async def test_operate_that_cannot_listen_states_why(path: str) -> None:
    core = CoreSettings()
    with socket.create_server(("127.0.0.1", 0)) as taken, manager(path) as listening, capture_logs():
        service = Service(Settings(http={"port": taken.getsockname()[1]}), core)
        assert await operate(service, core, notifier=Notifier(path), ends_process=False) == 1
        said = heard(listening)
    assert said[-2] == "STOPPING=1"
    assert "http.port" in said[-1]
