"""The service as its manager hears it: ready when it is, kept alive, stopping when told."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from impactd.shell.broker.broker import Broker
from tests.integration.kafka_lab import lab
from tests.integration.test_commands import environment

pytestmark = pytest.mark.broker


async def test_run_under_a_manager_tells_ready_alive_and_stopping(broker: Broker, tmp_path: Path) -> None:
    settings = await lab(broker.bootstrap)
    name = f"impactd-systemd-{os.getpid()}"
    environ = environment(settings) | {"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "1000000"}
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
        manager.bind(f"\0{name}")

        async def until(*lines: str) -> None:
            while not set(lines) <= set(heard):
                said = await asyncio.get_running_loop().sock_recv(manager, 65_536)
                heard.extend(said.decode().split("\n"))

        with (tmp_path / "log").open("wb") as log:
            command = [sys.executable, "-m", "impactd", "run"]
            service = await asyncio.create_subprocess_exec(*command, env=environ, stderr=log)
        try:
            async with asyncio.timeout(600):
                await until("READY=1", "STATUS=ready; partitions 0, 1")
                before = heard.index("READY=1")
                assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in heard[:before])
                assert any(line.startswith("STATUS=not ready: starting") for line in heard[:before])
                heard.clear()
                await until("WATCHDOG=1")
                assert "READY=1" not in heard
                service.send_signal(signal.SIGTERM)
                await until("STOPPING=1", "STATUS=draining")
                assert await service.wait() == 0, (tmp_path / "log").read_text()
        finally:
            if service.returncode is None:
                service.kill()
                await service.wait()
