"""``impactd run``: the service."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from impactd.cli.common import example, load_settings, refuse_missing_extras, settings_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from impactd.config import Settings
    from impactd.shell.kafka.traces import Traces
    from impactd.shell.telemetry import Telemetry


@click.command("run", epilog=example("impactd run -c impactd.toml", "impactd run --set kafka.bootstrap=kafka:9092"))
@click.option(
    "--accept-settings",
    is_flag=True,
    help="Continue from a state made under other settings, where possible.  [setting: journal.accept_settings]",
)
@click.option(
    "--standby",
    is_flag=True,
    help="Follow the state of every partition, to take one over without a full restore.  [setting: kafka.standby]",
)
@settings_options
def command(*, accept_settings: bool, standby: bool, config: Path | None, sets: tuple[str, ...]) -> int:
    """Run the service.

    Reads ticks, orders, executions and control from Kafka and publishes
    estimates, models and plans, each commit exactly once. SIGTERM or Ctrl-C
    drains and exits; a second one exits at once. Notifies a service manager
    that asks for it (systemd's Type=notify and WatchdogSec=).
    """
    flags = (
        ("journal.accept_settings", accept_settings or None, "--accept-settings"),
        ("kafka.standby", standby or None, "--standby"),
    )
    loaded = load_settings(config, sets, flags)
    settings = loaded.settings
    refuse_missing_extras(settings)

    import os

    import structlog
    import uvloop

    from impactd.config.calendars import ending
    from impactd.shell.heap import collect_seldom, keep_freed_memory
    from impactd.shell.kafka.service import Service
    from impactd.shell.logging import setup
    from impactd.shell.notify import Notifier
    from impactd.shell.operate import operate

    log_limit = setup(
        settings.log.level, settings.log.format, per_minute=settings.log.per_minute, libraries=settings.log.libraries
    )
    log = structlog.get_logger("impactd")
    for warning in ending(settings.core(), datetime.now(UTC).date()):
        log.warning("calendar", text=warning)
    changed = {path: value for path, value in loaded.shown().items() if loaded.origins[path] != "default"}
    log.info("settings", file=str(loaded.file or ""), changed=changed)
    # A service shows nothing itself; the newcomer who looks for the page finds the command here.
    log.info("live page", command="impactd page" + (f" -c {loaded.file}" if config is not None else ""))

    keep_freed_memory(os.environ)
    collect_seldom()

    async def serve() -> int:
        core = settings.core()
        notifier = Notifier.from_environment(os.environ, os.getpid())
        telemetry, traces = _telemetry(settings) if settings.telemetry.enabled else (None, None)
        service = Service(settings, core, traces)
        return await operate(service, core, log_limit, notifier=notifier, telemetry=telemetry)

    return uvloop.run(serve())


def _telemetry(settings: Settings) -> tuple[Telemetry, Callable[[int], Traces]]:
    from functools import partial

    from impactd.shell.kafka.traces import Traces
    from impactd.shell.telemetry import Telemetry

    made = Telemetry(settings)
    return made, partial(Traces, made.provider)
