"""The service as one process."""

from __future__ import annotations

import sys

import pytest

from impactd.config import Settings
from impactd.shell.kafka.service import Service


async def test_service_event_loop_does_not_wait_long_for_a_thread_that_computes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = Service(Settings(), Settings().core())
    seen: list[float] = []

    async def look() -> None:
        seen.append(sys.getswitchinterval())

    monkeypatch.setattr(service, "_run", look)
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    try:
        assert await service.run() == 0
        assert seen[0] <= 0.001
        assert sys.getswitchinterval() == pytest.approx(0.005)
    finally:
        sys.setswitchinterval(before)
