"""The service with its monitoring: HTTP, metrics, watchdog, and notifications to its manager."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from impactd.core.base.session import Sessions
from impactd.core.base.settings import CoreSettings
from impactd.shell.health import Reason, open_for, unready
from impactd.shell.http import Views, serve_http
from impactd.shell.kafka.errors import FatalError
from impactd.shell.kafka.service import EXIT_FAILED, Service
from impactd.shell.kafka.tasks import end
from impactd.shell.log_limit import RateLimit
from impactd.shell.loop_delay import LoopDelay
from impactd.shell.metrics import Reading
from impactd.shell.notify import Notifier
from impactd.shell.watchdog import Watchdog

if TYPE_CHECKING:
    from impactd.shell.telemetry import Telemetry

#: Pace of the event loop's sign of life, and of the log's count of suppressed lines.
_BEAT_S: Final = 0.25

#: What the process may take to end after its drain: closing HTTP, and the interpreter's own end.
_AFTER_DRAIN_S: Final = 1.0

_log = structlog.get_logger(__name__)


class Observer:
    """Reads a service; changes nothing in it."""

    def __init__(self, service: Service, core: CoreSettings, log_limit: RateLimit | None = None) -> None:
        self._service = service
        self._limits = service.settings.health
        self._session = open_for(core)
        ends = [session.rule.through for session in Sessions(core).all()]
        self._calendar_ends = min((float(day * 86_400) for day in ends if day is not None), default=None)
        self._log_limit = log_limit
        self._started = time.time()
        self.loop_delay = LoopDelay()

    @property
    def views(self) -> Views:
        """What the pages are made from."""
        return Views(self.failure, self.reasons, self.reading, self._service.estimate)

    def failure(self) -> str | None:
        """Return why the process is not worth keeping, or None."""
        error = self._service.error
        return None if error is None else str(error) or repr(error)

    def reasons(self) -> list[Reason]:
        """Return every reason for which the process is not ready."""
        return unready(self._service.status, self._limits, time.monotonic(), time.time_ns(), self._session)

    def reading(self) -> Reading:
        """Return what one scrape is made from."""
        status, now, wall_ns = self._service.status, time.monotonic(), time.time_ns()
        return Reading(
            status=status,
            now=now,
            wall_ns=wall_ns,
            ready=not unready(status, self._limits, now, wall_ns, self._session),
            loop_delays=self.loop_delay.delays.copy(),
            longest_loop_delay_s=self.loop_delay.longest,
            suppressed_logs=0 if self._log_limit is None else self._log_limit.suppressed,
            started=self._started,
            calendar_ends=self._calendar_ends,
        )


@asynccontextmanager
async def observed(
    service: Service, core: CoreSettings, log_limit: RateLimit | None = None, telemetry: Telemetry | None = None
) -> AsyncIterator[tuple[str, int] | None]:
    """Serve HTTP for a service for the length of a block; yield host and port, or None where HTTP is off."""
    observer = Observer(service, core, log_limit)
    watch = asyncio.create_task(observer.loop_delay.watch(), name="loop-delay")
    tasks = [watch]
    if telemetry is not None:
        tasks.append(asyncio.create_task(telemetry.export(observer.reading), name="telemetry"))
    try:
        async with serve_http(service.settings, observer.views) as address:
            yield address
    finally:
        await end(*tasks)
        if telemetry is not None:
            await telemetry.close()


async def operate(
    service: Service,
    core: CoreSettings,
    log_limit: RateLimit | None = None,
    *,
    notifier: Notifier | None = None,
    telemetry: Telemetry | None = None,
    ends_process: bool = True,
) -> int:
    """Run a service until a signal or a failure ends it, and return the exit code.

    Parameters
    ----------
    notifier : Notifier, optional
        Tells the service manager, where there is one; closed at the end.
    telemetry : Telemetry, optional
        Exports traces and metrics; the service has its traces already.
    ends_process : bool
        Whether nothing else matters in this process, so that it may be ended by force where it does not end in time.
    """
    watchdog = Watchdog(service.settings.health.stuck_after_s)
    if ends_process:
        watchdog.start()
    told = None if notifier is None else _Told(notifier, service, Observer(service, core))
    beat = asyncio.create_task(_beat(service, watchdog, log_limit, told), name="beat")
    try:
        async with observed(service, core, log_limit, telemetry):
            code = await service.run(signals=True)
    except FatalError as error:
        _log.critical("service failed", reason=str(error))
        code = EXIT_FAILED
        if notifier is not None:
            notifier.stopping(f"failed: {error}")
    finally:
        await end(beat)
        if told is not None:
            told.end()
    # All is in order; but a worker thread that never returns would hold the interpreter up.
    watchdog.leave_within(_AFTER_DRAIN_S, code)
    return code


@dataclass(frozen=True, slots=True)
class _Told:
    """What the service manager is told of a service."""

    notifier: Notifier
    service: Service
    observer: Observer

    def turn(self) -> None:
        """Tell what there is to tell now."""
        now = time.monotonic()
        self.notifier.keep(now)
        if self.service.stopping:
            self._stopping()
        elif self.notifier.is_due(now):
            self.notifier.look(now, self.observer.reasons(), sorted(self.service.status.partitions))

    def end(self) -> None:
        """Tell the end, if nothing has told it yet."""
        self._stopping()
        self.notifier.close()

    def _stopping(self) -> None:
        failure = self.observer.failure()
        self.notifier.stopping("draining" if failure is None else f"failed: {failure}")


async def _beat(service: Service, watchdog: Watchdog, log_limit: RateLimit | None, told: _Told | None) -> None:
    # What is imported stays for good. Looked through again and again by the collector of cycles it would hold the event
    # loop up for 100 ms each time; so would what the first commits have loaded.
    gc.freeze()
    settled = False
    while True:
        watchdog.beat()
        if not settled and service.has_committed:
            settled = True
            gc.freeze()
        if service.stopping:
            watchdog.leave_within(service.drain_s + _AFTER_DRAIN_S, EXIT_FAILED)
        if log_limit is not None:
            log_limit.report()
        if told is not None:
            told.turn()
        await asyncio.sleep(_BEAT_S)
