"""A service with its live page, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from impactd.config import Settings
from impactd.core.base.settings import CoreSettings
from impactd.shell.kafka.service import Service
from impactd.shell.operate import observed
from tests.integration.kafka_lab import DAY


@asynccontextmanager
async def served(settings: Settings, core: CoreSettings = DAY, port: int = 0) -> AsyncIterator[str]:
    """Run a service with its page for the length of a block; yield the address."""
    service = Service(settings.replace(http={"port": port}), core)
    async with observed(service, core) as address:
        assert address is not None
        task = asyncio.create_task(service.run())
        try:
            yield f"http://{address[0]}:{address[1]}/"
        finally:
            service.stop()
            code = await task
    assert code == 0, service.error
