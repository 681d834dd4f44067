"""How the process is watched: every setting arrives, and what cannot be served is said."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import fields

from structlog.testing import capture_logs

from impactd.cli.compose import operation
from impactd.config import Override, Settings, load
from impactd.core.base.settings import CoreSettings
from impactd.shell.health import HealthLimits
from impactd.shell.http import HttpSettings
from impactd.shell.kafka.client import KafkaSettings
from impactd.shell.kafka.service import Service
from impactd.shell.operate import Operation, operate

NOWHERE = KafkaSettings(bootstrap="127.0.0.1:1", request_timeout_ms=1_000)


def test_operation_default_settings_are_the_shells_defaults() -> None:
    assert operation(Settings()) == Operation()


def test_operation_every_field_has_its_setting() -> None:
    given = {
        "http.enabled": False,
        "http.host": "0.0.0.0",  # noqa: S104  (the value is what is tested)
        "http.port": 81,
        "http.page": False,
        "http.max_readers": 85,
        "session.timezone": "Europe/Zurich",
        "health.max_lag": 82,
        "health.max_tick_age_s": 83.5,
        "health.stuck_after_s": 84.5,
    }
    environ = {"IMPACTD__HTTP__TOKEN": "hush"}  # a secret is not taken from a flag
    made = operation(load(environ=environ, overrides=tuple(Override(*item, "test") for item in given.items())).settings)
    for part in (made, made.http, made.limits):
        before = type(part)()
        same = [item.name for item in fields(part) if getattr(part, item.name) == getattr(before, item.name)]
        assert same == [], f"{type(part).__name__}: nothing sets {same}"
    http = HttpSettings(
        False,
        "0.0.0.0",  # noqa: S104  (as above)
        81,
        page=False,
        token="hush",  # noqa: S106  (as above)
        max_readers=85,
        zone="Europe/Zurich",
    )
    assert made == Operation(http, HealthLimits(82, 83.5), 84.5)


def test_operation_tick_age_of_zero_is_no_limit() -> None:
    loaded = load(environ={}, overrides=(Override("health.max_tick_age_s", 0.0, "test"),))
    assert operation(loaded.settings).limits.max_tick_age_s is None


async def test_operate_on_a_taken_port_fails_and_names_the_setting() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    core = CoreSettings()
    with capture_logs() as logged:
        code = await _operate(Operation(http=HttpSettings(port=port)), core)
    server.close()
    await server.wait_closed()
    assert code == 1
    assert any("http.port" in entry.get("reason", "") for entry in logged)


async def test_operate_without_a_broker_fails_and_keeps_the_collector_from_what_is_imported() -> None:
    gc.unfreeze()
    try:
        assert await _operate(Operation(http=HttpSettings(port=0)), CoreSettings()) == 1
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()


async def _operate(how: Operation, core: CoreSettings) -> int:
    return await operate(Service(NOWHERE, core), core, how, ends_process=False)
