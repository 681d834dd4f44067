"""How the process is watched: what cannot be served is reported."""

from __future__ import annotations

import asyncio
import gc

from structlog.testing import capture_logs

from impactd.config import Settings
from impactd.core.base.settings import CoreSettings
from impactd.shell.kafka.service import Service
from impactd.shell.operate import operate

NOWHERE = Settings(kafka={"bootstrap": "127.0.0.1:1", "request_timeout_ms": 1_000})


async def test_operate_on_a_taken_port_fails_and_names_the_setting() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    core = CoreSettings()
    with capture_logs() as logged:
        code = await _operate(port, core)
    server.close()
    await server.wait_closed()
    assert code == 1
    assert any("http.port" in entry.get("reason", "") for entry in logged)


async def test_operate_without_a_broker_fails_and_keeps_the_collector_from_what_is_imported() -> None:
    gc.unfreeze()
    try:
        assert await _operate(0, CoreSettings()) == 1
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()


async def _operate(port: int, core: CoreSettings) -> int:
    return await operate(Service(NOWHERE.replace(http={"port": port}), core), core, ends_process=False)
