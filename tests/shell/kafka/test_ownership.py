"""Ownership of a partition while the group assigns its partitions."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.kafka import ownership
from impactd.shell.kafka.errors import CommitUnknownError, PositionLostError
from impactd.shell.kafka.ownership import Ownership
from impactd.shell.kafka.status import Status

SETTINGS = Settings()


@pytest.mark.parametrize(
    "error",
    [CommitUnknownError("lost"), PositionLostError(SETTINGS.topics.name(Topic.TICKS), 0, 7)],
    ids=["commit", "position"],
)
async def test_partition_that_fails_while_the_group_assigns_is_not_acquired_before_it_has(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinator may still confirm the member then, and the partition may be another's by the end."""
    monkeypatch.setattr(ownership, "_FIRST_BACKOFF_S", 0.0)
    acquired = 0

    class Failing(Ownership):
        """Its loop fails as soon as it is held."""

        async def _own(self) -> None:
            nonlocal acquired
            acquired += 1
            self._loop = cast("Any", SimpleNamespace(hold=lambda: None))
            assert self.hold()
            await asyncio.sleep(0)
            self._loop = None
            raise error

    async def confirms(_: object) -> None:
        pass

    clients = cast("Any", SimpleNamespace(settings=SETTINGS, ticks=SimpleNamespace(commit=confirms)))
    owner = Failing(clients, Status(), 0, 1, None)
    running = asyncio.create_task(owner.run())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not running.done()
    assert acquired == 1
    assert not owner.go_on()
    owner.leave()
    await running
    assert acquired == 1
