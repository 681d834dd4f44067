"""A service and its live page, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from impactd.config import Settings
from impactd.core.base.settings import CoreSettings
from impactd.shell.ask import http_url
from impactd.shell.http import serve_page
from impactd.shell.kafka.service import Service
from impactd.shell.operate import observed
from tests.integration.kafka_lab import DAY


@asynccontextmanager
async def served(settings: Settings, core: CoreSettings = DAY, port: int = 0) -> AsyncIterator[str]:
    """Run a service and its page for the length of a block; yield the page's address."""
    async with both(settings, core, port) as (_, page):
        yield page + "/"


@asynccontextmanager
async def both(settings: Settings, core: CoreSettings = DAY, port: int = 0) -> AsyncIterator[tuple[str, str]]:
    """Run a service and its page for the length of a block; yield the addresses of both."""
    settings = settings.replace(http={"port": 0, "page_port": port})
    service = Service(settings, core)
    async with observed(service, core) as address:
        assert address is not None
        task = asyncio.create_task(service.run())
        try:
            async with serve_page(settings, [http_url(*address)]) as page:
                yield http_url(*address), http_url(*page)
        finally:
            service.stop()
            code = await task
    assert code == 0, service.error
