"""The real service on the modelled cluster: several processes of it in one thread."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, Final, NoReturn, Self
from unittest import mock

import structlog

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.core.engine import Engine
from impactd.core.inputs.inbox import Inbox
from impactd.shell.kafka import consume, ownership, service
from impactd.shell.kafka.service import Service
from tests.chaos.feed import VENUE
from tests.simulate.clients import Consumer, Link, Network, Transport
from tests.simulate.clock import PROCESS, Loop, Process
from tests.simulate.cluster import Cluster

PARTITIONS: Final = 2
SESSION_S: Final = 1.5
TRANSACTION_S: Final = 2.0

#: Short minutes and timeouts, so that a bad day is short.
SETTINGS: Final = Settings(
    kafka={
        "environment": "simulated",
        "group": "simulated",
        "session_timeout_ms": round(SESSION_S * 1000),
        "heartbeat_interval_ms": 300,
        "transaction_timeout_ms": round(TRANSACTION_S * 1000),
        "revoke_timeout_ms": 900,
        "drain_timeout_ms": 3_000,
        "request_timeout_ms": 3_000,
    },
    topics={"partitions": PARTITIONS},
    journal={"snapshot_s": 4},
    books={"interval_s": 3, "grace_s": 0.2},
    plans={
        "hold_s": 30,
        "keep_ended_s": 5,
        "max_held": 500,
        "auction_close_cutoff_s": 6,
        "auction_report_s": 5,
        "auction_close_share": 0.5,
    },
    # The market of one symbol closes within the day (`impactd.core.planning.auctions`).
    session={"by_symbol": [{"symbols": ["S1"], "open": "09:00", "close": "13:30"}]},
    health={"stuck_after_s": 30},
    http={"port": 0},
    venues=[{"name": VENUE}],
)
#: The same where each process stands by for the others.
STANDBY: Final = SETTINGS.replace(kafka={"standby": True, "own_at_most": 1})
CORE: Final = SETTINGS.core()
COUNTS: Final = dict.fromkeys(Topic, PARTITIONS)

#: A process that ended is started again after so long, which doubles with each that ends by itself, up to the last.
_RESTART_S: Final = 0.4
_LAST_RESTART_S: Final = 4.0


class Member:
    """One place for a process; its processes follow each other."""

    def __init__(self, world: World, number: int, skew_ns: int) -> None:
        self._world = world
        self.number = number
        self.skew_ns = skew_ns
        #: Whether it is meant to run.
        self.wanted = False
        self.starts = 0
        self.process: Process | None = None
        self.service: Service | None = None
        self.task: asyncio.Task[int] | None = None
        #: Why its processes have ended by themselves.
        self.failures: list[str] = []

    @property
    def running(self) -> bool:
        """Whether a process of it is there, frozen or not."""
        return self.task is not None and not self.task.done()

    @property
    def link(self) -> Link:
        """The connections of its process."""
        assert self.process is not None
        return self._world.links[self.process]

    def start(self) -> None:
        """Start a process, if none is there."""
        self.wanted = True
        held_until = self._world.nobody_until
        if self._world.loop.time() < held_until:
            # All come back together: not one earlier that was added, or was to be started again.
            self._world.loop.call_at(held_until, self._start_wanted)
            return
        if self.running and self.process is not None and self.process.alive:
            return
        self.starts += 1
        process = self.process = Process(f"m{self.number}.{self.starts}", self.skew_ns)
        self._world.links[process] = Link(self._world.network, process)
        self.service = Service(self._world.settings, CORE)
        self.task = self._world.loop.spawn(process, self.service.run())
        self.task.add_done_callback(functools.partial(self._ended, process, self.service))

    def _ended(self, process: Process, ended: Service, task: asyncio.Task[int]) -> None:
        was_killed, process.alive = not process.alive, False
        if was_killed:
            return
        if not task.cancelled() and task.exception() is not None:
            self.failures.append(f"{process.name}: {task.exception()!r}")
        elif ended.error is not None:
            self.failures.append(f"{process.name}: {ended.error}")
        if self.wanted and process is self.process:
            after_s = min(_LAST_RESTART_S, _RESTART_S * 2 ** len(self.failures))
            self._world.loop.call_later(after_s, self._restart, process)

    def _restart(self, process: Process) -> None:
        if process is self.process:
            self._start_wanted()

    def _start_wanted(self) -> None:
        if self.wanted and not self._world.over:
            self.start()

    def kill(self) -> None:
        """Kill its process where it is."""
        if self.process is not None and self.running:
            self._world.loop.kill(self.process)


class World:
    """Processes, network and cluster of one run.

    Parameters
    ----------
    seed : str
    settings : Settings
        Of the processes.
    """

    def __init__(self, loop: Loop, seed: str, settings: Settings = SETTINGS) -> None:
        self.loop, self.settings = loop, settings
        self.cluster = Cluster(loop, {SETTINGS.topics.name(topic): PARTITIONS for topic in Topic}, seed)
        self.network = Network(loop, self.cluster, seed)
        self.links: dict[Process, Link] = {}
        self.members: list[Member] = []
        #: Whether the day is over: what ends now is not started again.
        self.over = False
        #: Until then no process runs, on the loop's clock.
        self.nobody_until = 0.0
        #: What looks at the topics afterwards.
        self.reader = Link(self.network, Process("reader"))

    def member(self, skew_ns: int = 0) -> Member:
        """Return a further member, not started."""
        self.members.append(Member(self, len(self.members), skew_ns))
        return self.members[-1]

    def _transport(self, settings: Settings) -> Transport:
        process = PROCESS.get()
        assert process is not None
        return Transport(self.links[process], settings)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Put this world in the place of the real one, for the service in this process."""
        clock = SimpleNamespace(
            monotonic=self.loop.time, perf_counter=self.loop.time, time_ns=self.loop.wall_ns, time=self._wall
        )
        with contextmanager_of(
            *(
                mock.patch.object(module, "time", clock)
                for name, module in sorted(sys.modules.items())
                if name.startswith("impactd.shell.kafka.") and getattr(module, "time", None) is _TIME
            ),
            mock.patch.object(service, "KafkaTransport", self._transport),
            mock.patch.object(service, "partition_counts", _counts),
            mock.patch.object(service, "check_policies", _nothing),
            mock.patch.object(service, "ready", _true),
            mock.patch.object(service, "ThreadPoolExecutor", _NoThreads),
            mock.patch.object(service, "Clients", functools.partial(ownership.Clients, wall_ns=self.loop.wall_ns)),
            mock.patch.object(consume, "admin_client", return_value=_Admin()),
            mock.patch.object(consume, "manual_consumer", lambda settings: Consumer(self.reader, settings)),
            *_watched(self.loop),
        ):
            yield

    def _wall(self) -> float:
        return self.loop.wall_ns() / 1e9


_TIME: Final = ownership.time


@contextmanager
def contextmanager_of(*managers: Any) -> Iterator[None]:
    """Enter all of them."""
    with ExitStack() as stack:
        for manager in managers:
            stack.enter_context(manager)
        yield


async def _counts(_settings: Settings) -> Mapping[Topic, int]:
    return dict(COUNTS)


async def _nothing(*_: object) -> None:
    pass


async def _true(*_: object) -> bool:
    return True


class _NoThreads:
    """In the place of a pool: the event loop runs what it is given."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def shutdown(self, **_: object) -> None:
        """End."""


class _Admin:
    """Describes the topics."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def describe_topics(self) -> list[dict[str, Any]]:
        """Return what a reader asks for."""
        return [{"topic": SETTINGS.topics.name(topic), "partitions": [None] * PARTITIONS} for topic in Topic]


def _watched(loop: Loop) -> Iterator[Any]:
    """Yield patches that note which thread is in an inbox or an engine."""
    for kind, names in ((Inbox, ("put_ticks", "put_events", "take")), (Engine, ("apply", "load", "idle_target"))):
        for name in names:
            yield mock.patch.object(kind, name, _noting(loop, getattr(kind, name), f"{kind.__name__}.{name}"))


def _noting(loop: Loop, function: Any, what: str) -> Any:
    @functools.wraps(function)
    def noting(self: Any, *args: Any, **options: Any) -> Any:
        loop.touch(self, what)
        return function(self, *args, **options)

    return noting


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the service's log."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), processors=[_drop])
    try:
        yield
    finally:
        structlog.configure(**before)


def _drop(*_: object) -> NoReturn:
    raise structlog.DropEvent
