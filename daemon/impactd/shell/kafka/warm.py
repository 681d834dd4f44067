"""Compiling before it matters: a short generated day through decoder, inbox and engine.

Kernels are compiled when they are first called, which takes about a minute
on a machine that has never run this release; from then on their machine code
is read from a cache.  Compiling holds Python's lock for long stretches: no
heartbeat is sent meanwhile, and a process that compiled as a member of the
group would lose its partitions to others that compile as well.  So a service
reads what is in the cache before it joins its group.  What is missing compiles
in processes of its own, and runs as Python until then, with the same results.

Nothing of the generated day is kept: it has an engine of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import orjson
import structlog

from impactd.config import Settings
from impactd.core.allocator.allocate import allocate
from impactd.core.allocator.bounds import NO_CAP
from impactd.core.allocator.joint.allocate import allocate_jointly
from impactd.core.allocator.joint.problem import Group
from impactd.core.allocator.optionality import anticipated, chances
from impactd.core.allocator.problem import Problem
from impactd.core.base.quantity import QUANTA
from impactd.core.base.session import DAY_NS, Session, Sessions
from impactd.core.base.settings import MINUTE_NS, SECOND_NS, CoreSettings
from impactd.core.base.topics import Topic
from impactd.core.base.uncompiled import compile_missing, look_again, missing, run_uncompiled
from impactd.core.engine import Engine
from impactd.core.inputs.inbox import Inbox
from impactd.core.market.guard import SPACING
from impactd.core.model.curves import shrinkage
from impactd.core.model.profile.profile import interpolate_all
from impactd.core.model.series.columns import N_LEVEL
from impactd.core.model.series.series import LevelSeries, Weights, rebased
from impactd.shell.heap import collect_seldom
from impactd.shell.kafka.decode import Decoder
from impactd.wire.codec import Limits

#: A Monday at noon, UTC: the made-up day begins as the session next has room for it.
_NOON_NS: Final = 1_748_865_600_000_000_000
_DAYS: Final = 8
_SYMBOL: Final = "WARM"
#: A trial of the forecast begins in one of any `SPACING` intervals, and is charged in the next.
_INTERVALS: Final = SPACING + 2
_LEVELS: Final = 10

#: Time between reports of compiling, s.
_PROGRESS_S: Final = 4.0

_log = structlog.get_logger(__name__)

_one_at_a_time: Final = threading.Lock()

T = TypeVar("T")


class _Made(NamedTuple):
    """A record as a consumer would return it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@contextlib.contextmanager
def reported(progress: Callable[[float], None]) -> Iterator[None]:
    """Call `progress` every few seconds, from a thread, with the seconds for which what is inside has lasted."""
    ended, began = threading.Event(), time.monotonic()

    def report() -> None:
        while not ended.wait(_PROGRESS_S):
            progress(time.monotonic() - began)

    threading.Thread(target=report, name="impactd-progress", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def compile_ahead(core: CoreSettings) -> None:
    """Begin to compile in a thread, for `compiled` to wait for; meanwhile a broker can start."""

    def work() -> None:
        # What fails here fails again where it is waited for.
        with contextlib.suppress(Exception):
            warm_up(core)

    threading.Thread(target=work, name="impactd-compile", daemon=True).start()


def _log_progress(seconds: float) -> None:
    _log.info("compiling once for this release", seconds=round(seconds))


async def compiled(core: CoreSettings, stop: asyncio.Event, progress: Callable[[float], None] = _log_progress) -> None:
    """Return when what these settings need is compiled, or at once when `stop` is set.

    Parameters
    ----------
    progress : callable, optional
        Told every few seconds for how long it has compiled; by default the log is.

    Raises
    ------
    Exception
        Whatever the generated day raises: a day of the market would raise it too.
    """
    seconds = await _in_thread(lambda: warm_up(core), stop, progress)
    if seconds is not None:
        _log.info("compiled", seconds=round(seconds, 1))


async def ready(core: CoreSettings, stop: asyncio.Event) -> bool:
    """Read the kernels that these settings need from the cache; return whether all were there.

    If some were not, kernels without machine code run as Python from now on, until `compile_meanwhile` has ended.
    Returns True at once when `stop` is set.
    """
    found = await _in_thread(lambda: _read_all(core), stop, lambda _: None)
    return found is not False


async def compile_meanwhile(core: CoreSettings) -> None:
    """Compile what these settings need in processes of its own, and take up the machine code as it comes.

    Cancelled, it ends the processes.
    """
    began = time.monotonic()
    command = f"from {__name__} import compile_given; compile_given()"
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", command),
        stdin=asyncio.subprocess.PIPE,
        stdout=null,
        stderr=null,
        start_new_session=True,
    )
    if process.stdin is not None:
        # Left open: the process ends with this one, however that ends.
        process.stdin.write(pickle.dumps(core))
    ended = asyncio.create_task(process.wait())
    try:
        while not ended.done():
            await asyncio.wait({ended}, timeout=_PROGRESS_S)
            look_again()
            _log_progress(time.monotonic() - began)
    finally:
        if process.returncode is None:
            # With the process that it may have started.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await ended
    if process.returncode != 0:
        _log.warning("compiling failed in a process of its own; compiling in this one", code=process.returncode)
    await compiled(core, asyncio.Event())


def compile_given() -> None:
    """Compile what the settings on standard input need: the work of the process that `compile_meanwhile` starts."""
    core = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one

    def hold() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=hold, name="impactd-leash", daemon=True).start()
    warm_up(core)
    # Standard input is still being read, which an ordered end would wait for.
    os._exit(0)


async def _in_thread(work: Callable[[], T], stop: asyncio.Event, progress: Callable[[float], None]) -> T | None:
    """Return what `work` returns, or None at once when `stop` is set."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result: T | BaseException = work()
        except Exception as error:  # noqa: BLE001  (handed to the loop, which raises it)
            result = error
        # Told to stop, nobody waits for the answer, and the loop may be gone.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, done, result)

    # A pool's thread would be waited for when the process ends, for as long as it compiles.
    threading.Thread(target=run, name="impactd-compile", daemon=True).start()
    stopped = asyncio.create_task(stop.wait())
    waited: list[asyncio.Future[Any]] = [done, stopped]
    began = loop.time()
    try:
        while not any(future.done() for future in waited):
            await asyncio.wait(waited, timeout=_PROGRESS_S, return_when=asyncio.FIRST_COMPLETED)
            if not any(future.done() for future in waited):
                progress(loop.time() - began)
    finally:
        stopped.cancel()
    return done.result() if done.done() else None


def _settle(done: asyncio.Future[Any], result: object) -> None:
    if isinstance(result, BaseException):
        done.set_exception(result)
    else:
        done.set_result(result)


def warm_up(core: CoreSettings) -> float:
    """Compile what a day with these settings calls, or read it from the cache; return the seconds that it took."""
    with _one_at_a_time:
        compile_missing()
        return _warm_up(core)


@functools.lru_cache(maxsize=1)
def _warm_up(core: CoreSettings) -> float:
    started = time.monotonic()
    if _is_cold():
        collect_seldom()
        with _plans_elsewhere():
            # In this order, because the other process does the end of it first.
            _day(core, orders=False)
            _longer_day(core)
            _day(core, risk=False)
    _longer_day(core)
    _day(core)
    return time.monotonic() - started


def _longer_day(core: CoreSettings) -> None:
    """Call what only a longer day would: prices of waiting, a shrunk forecast, another grid, each session."""
    some = np.full(2, 0.02)
    curve = Problem.from_impact(some, some).curve
    anticipated(0.01, curve, some, some, some, some, some, some, some, 1, np.empty(2))
    shrinkage(some, 0.5)
    rebased(some, np.zeros((2, N_LEVEL)), some)
    interpolate_all(some, some, some)
    series = LevelSeries(Weights(0.2, 0.6, 0.2))
    series.levels = np.zeros((2, N_LEVEL))
    series.shift(0.5)
    for session in Sessions(core).all():
        session.hours_on(_NOON_NS // DAY_NS)
        session.position(_NOON_NS)
        session.is_open(_NOON_NS)


def _read_all(core: CoreSettings) -> bool:
    with _one_at_a_time:
        run_uncompiled()
        # As much as is there; without the first, nothing of this release is.
        for read in (partial(_longer_day, core), partial(_day, core, risk=False), partial(_day, core)):
            read()
            if missing() > 0:
                return False
        compile_missing()
        return True


def _is_cold() -> bool:
    """Call `chances` and return whether it was not in the cache: then nothing of this release is."""
    some = np.full(2, 0.02)
    chances(0.03, some, some)
    return bool(chances.stats.cache_misses)  # type: ignore[attr-defined]  # numba's, behind `kernel`


@contextlib.contextmanager
def _plans_elsewhere() -> Iterator[None]:
    """Compile the solvers in another process meanwhile, where there is a core for it; they are more than half.

    Both processes keep machine code in the same place and look there before they compile.  Where the other one fails,
    this one compiles them.
    """
    if (os.cpu_count() or 1) < 2:
        yield
        return
    command = [sys.executable, "-c", f"from {__name__} import compile_plans; compile_plans()"]
    null = subprocess.DEVNULL
    other = subprocess.Popen(command, stdin=null, stdout=null, stderr=null)  # noqa: S603  # this interpreter
    atexit.register(other.kill)
    try:
        yield
        other.wait()
    finally:
        other.kill()
        other.wait()
        atexit.unregister(other.kill)


def compile_plans() -> None:
    """Compile what plans call of the allocator: caps, bounds, clips and company, first of orders averse to risk."""
    collect_seldom()
    n, lot = 8, 100 * QUANTA
    rising = np.linspace(0.01, 0.03, n)
    problem = Problem.from_impact(rising, 1e-4 * rising)
    free, none = np.full(n, NO_CAP), np.zeros(n, np.int64)
    cap, least = np.full(n, 4 * lot), np.full(n, 2 * lot)
    for risk in (1e-6, 0.0):
        one = replace(problem, risk=risk)
        allocate(one, 10 * lot, lot, cap, low_quanta=none, high_quanta=free)
        allocate(one, 10 * lot + 1, lot, cap, low_quanta=np.minimum(np.arange(n) * lot, 5 * lot), high_quanta=free)
        allocate(one, 10 * lot, lot, free, low_quanta=none, high_quanta=free, least_quanta=least)
        group = Group(
            np.array([10 * lot, 6 * lot]),
            np.array([lot, lot]),
            np.stack([free, cap]),
            np.zeros((2, n), np.int64),
            np.full((2, n), NO_CAP),
            np.full(2, risk),
            np.zeros((2, n), np.int64),
        )
        allocate_jointly(problem, group)


def _day(core: CoreSettings, *, orders: bool = True, risk: bool = True) -> None:
    """Run the made-up day, with or without orders, or those that are averse to risk."""
    # On arrival, so that each order is planned in the commit that it comes with.
    core = replace(core, apply="on_arrival")
    decoder = Decoder(Settings(), Limits(), 0, 1)
    engine = Engine(core)
    engine.genesis(engine.positions)
    inbox = Inbox(core, engine.positions, engine.clocks)
    interval_ns = core.books.interval_ns
    begin_ns = _begin(Sessions(core).of(_SYMBOL), interval_ns)
    at = dict.fromkeys(Topic, 0)
    for n in range(_INTERVALS):
        start_ns = begin_ns + n * interval_ns
        sent = [
            order
            for order in _orders(n, start_ns, core)
            if orders and (risk or not {"risk_aversion", "urgency"} & order.keys())
        ]
        events = decoder.events(Topic.ORDERS, [_record(at, Topic.ORDERS, order) for order in sent])
        inbox.put_events(Topic.ORDERS, events.events, events.refused, at[Topic.ORDERS])
        ticks = decoder.ticks([_record(at, Topic.TICKS, tick) for tick in _ticks(start_ns, interval_ns)])
        inbox.put_ticks(ticks.batch, ticks.refused, at[Topic.TICKS])
        while inputs := inbox.take():
            engine.apply(inputs)
    idle_to = begin_ns + _INTERVALS * interval_ns + core.books.grace_ns
    if inputs := inbox.take(idle_to=idle_to):
        engine.apply(inputs)
    Engine(core).load(engine.dump())


def _begin(session: Session, interval_ns: int) -> int:
    """Return when a session has room for the made-up day (ns); its next open where none is as long."""
    starts = range(_NOON_NS, _NOON_NS + _DAYS * DAY_NS, MINUTE_NS)
    roomy = (start for start in starts if session.holds(start, _INTERVALS, interval_ns))
    opens = (start for start in starts if session.is_open(start))
    return next(roomy, next(opens, _NOON_NS))


def _record(at: dict[Topic, int], topic: Topic, message: dict[str, Any]) -> _Made:
    offset = at[topic]
    at[topic] += 1
    return _Made(offset, message["ts_event"] // 1_000_000, _SYMBOL.encode(), orjson.dumps(message))


def _ticks(start_ns: int, interval_ns: int) -> Iterator[dict[str, Any]]:
    """Yield books and trades of one interval."""
    for n in range(8):
        ts_event = start_ns + n * interval_ns // 8
        depth = 100 + n * 37 % 50
        # A mid that moves: without volatility a risk-averse order is planned as any other.
        mid = 100.0 + start_ns // interval_ns % 7 * 0.02
        yield {
            "type": "book",
            "symbol": _SYMBOL,
            "ts_event": ts_event,
            "bids": [[round(mid - 0.01 * (k + 1), 2), depth * (k + 1)] for k in range(_LEVELS)],
            "asks": [[round(mid + 0.01 * (k + 1), 2), depth * (k + 2)] for k in range(_LEVELS)],
        }
        trade = {"type": "trade", "symbol": _SYMBOL, "ts_event": ts_event, "px": 100.01, "qty": 10, "aggressor": "buy"}
        yield trade


def _orders(n: int, start_ns: int, core: CoreSettings) -> Iterator[dict[str, Any]]:
    """Yield orders that each solver of a plan is needed for: alone, together, with and without risk, caps, clips."""
    kinds: tuple[dict[str, Any], ...] = (
        {},
        {"max_interval_qty": 300, "participation_rate": 0.5},
        {"risk_aversion": 1e-6},
        {"lot_size": 100, "side": "sell", "risk_aversion": 1e-6, "max_interval_qty": 400},
        {"min_clip_qty": 200},
        {"min_clip_qty": 200, "risk_aversion": 1e-6},
        {"limit_px": 100.03, "min_participation_rate": 0.05, "urgency": "normal"},
        # The only one of its side that may join others: bounds on its running sum are its own to solve.
        {"side": "sell", "participation_rate": 0.1, "lot_size": 10},
    )
    yield {
        "type": "new",
        "cl_ord_id": f"{_SYMBOL}{n}",
        "symbol": _SYMBOL,
        "side": "buy",
        "order_qty": 1_050,
        "ts_event": start_ns + SECOND_NS // 2,
        "start": start_ns,
        "end": start_ns + 20 * core.books.interval_ns,
        **kinds[n % len(kinds)],
    }
