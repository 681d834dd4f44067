"""An event loop in virtual time, and the processes and threads that share it.

Nothing waits: when no callback is ready the clock jumps to the next timer.  Callbacks belong to a process by their
context; one that is frozen has its callbacks parked until it continues, as after ``SIGSTOP``.

A function that the service gives to a worker thread runs whole, at one instant of the time that it takes.  What it
touches meanwhile is noted, so that two threads in one object at the same time are found although nothing really runs
at the same time.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

#: Where the monotonic clock of every process begins, and what the wall shows then.
START_S: Final = 1_000.0
START_NS: Final = 1_743_686_985_000_000_000

#: A thread takes so long for a task, at least and mostly at most.
_JOB_S: Final = (0.0002, 0.003)


@dataclass(eq=False, slots=True)
class Process:
    """A process of the service.

    Attributes
    ----------
    alive : bool
        Not killed, and not ended: what a dead one sends reaches nobody.
    skew_ns : int
        Its wall clock less the true time.
    parked : list of asyncio.Handle or None
        Callbacks that wait for it to continue; None while it runs.
    """

    name: str
    skew_ns: int = 0
    alive: bool = True
    parked: list[asyncio.Handle] | None = None
    jobs: list[Job] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Job:
    """A function in a worker thread: when it began and ends, and the objects that it touches."""

    start_s: float
    end_s: float
    touched: dict[int, str] = field(default_factory=dict)


class Race(NamedTuple):
    """Two threads in one object at the same time."""

    process: str
    at_s: float
    what: str


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)

#: Of the cluster: it belongs to no process.
OUTSIDE: Final = contextvars.Context()


class _Task(asyncio.Task):  # type: ignore[type-arg]
    """A task whose place in a set does not depend on its address, so that a run repeats."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, loop: Loop, **options: Any) -> None:
        # Before the task enters the registry of all tasks, which is a set.
        self.number = next(loop.numbers)
        context = options.get("context")
        self.process: Process | None = PROCESS.get() if context is None else context.get(PROCESS)
        super().__init__(coro, loop=loop, **options)

    def __hash__(self) -> int:
        return self.number


class _Future(asyncio.Future):  # type: ignore[type-arg]
    number = 0

    def __hash__(self) -> int:
        return self.number


class _Handle(asyncio.TimerHandle):
    """A handle without what is for debugging: thousands are made in a day."""

    __slots__ = ()

    def __init__(self, callback: Callable[..., Any], args: Any, loop: Loop, context: Any) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop, self._callback, self._args = loop, callback, args
        self._cancelled, self._source_traceback = False, None


class NothingLeftError(Exception):
    """Nothing will ever happen again."""


class Loop(asyncio.BaseEventLoop):
    """The event loop; see the module.

    Parameters
    ----------
    seed : str
        How long threads take is drawn from it.
    """

    _ready: Any
    #: By time, and in the order in which they were set.
    _scheduled: list[tuple[float, int, asyncio.TimerHandle]]

    def __init__(self, seed: str) -> None:
        super().__init__()
        self._now = START_S
        self.numbers, self._timers = itertools.count(1), itertools.count()
        self._random = random.Random(f"{seed}/threads")
        self._running: Job | None = None
        self._spent_s = 0.0
        self.races: list[Race] = []
        #: What the loop was told of exceptions that nobody asked for.
        self.unasked: list[str] = []
        self.set_task_factory(self._task)
        self.set_exception_handler(self._unasked)

    def close(self) -> None:
        """Close, and leave no task in the registry of all tasks, where those of the next run have the same hashes."""
        for task in list(asyncio.tasks._all_tasks):  # type: ignore[attr-defined]
            if task.get_loop() is self:
                asyncio.tasks._unregister_task(task)
        super().close()

    def time(self) -> float:
        """Return seconds of the monotonic clock, the same for all processes."""
        return self._now

    def wall_ns(self) -> int:
        """Return what the wall clock of the process that runs shows, ns."""
        process = PROCESS.get()
        return START_NS + round((self._now - START_S) * 1e9) + (process.skew_ns if process else 0)

    def create_future(self) -> asyncio.Future[Any]:
        made = _Future(loop=self)
        made.number = next(self.numbers)
        return made

    def _task(self, _loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
        return _Task(coro, loop=self, **options)

    def _unasked(self, _loop: Any, context: dict[str, Any]) -> None:
        self.unasked.append(f"{context.get('message')}: {context.get('exception')!r}")

    # Running

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0][2]._cancelled:  # type: ignore[attr-defined]
            heapq.heappop(scheduled)
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            if not scheduled:
                raise NothingLeftError
            self._now = max(self._now, scheduled[0][0])
        while scheduled and scheduled[0][0] <= self._now:
            handle = heapq.heappop(scheduled)[2]
            if not handle._cancelled:  # type: ignore[attr-defined]
                ready.append(handle)
        of = PROCESS
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            context = handle._context
            process = context.get(of)
            if process is not None and process.parked is not None:
                process.parked.append(handle)
                continue
            # As `Handle._run` does, without a call.
            try:
                context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001  (the loop's handler of exceptions has it)
                self.call_exception_handler({"message": "a callback failed", "exception": error})

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _Handle(callback, args, self, context)
        heapq.heappush(self._scheduled, (when, next(self._timers), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it in the heap: it is passed over when its time comes."""

    def _process_events(self, _events: Any) -> None:
        raise NotImplementedError

    def _write_to_self(self) -> None:
        """Nobody has to be woken: there is one thread."""

    # Processes

    def spawn(self, process: Process, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` as a task of `process`."""
        context = contextvars.Context()
        context.run(PROCESS.set, process)
        return self.create_task(work, context=context, name=process.name)

    def freeze(self, process: Process) -> None:
        """Stop a process where it is."""
        process.parked = process.parked or []

    def thaw(self, process: Process) -> None:
        """Let it go on; all that came due meanwhile comes at once."""
        parked, process.parked = process.parked or [], None
        self._ready.extend(parked)

    def kill(self, process: Process) -> None:
        """End a process where it is: nothing that it still does reaches anybody."""
        process.alive = False
        if process.parked is not None:
            self.thaw(process)
        for task in sorted(asyncio.all_tasks(self), key=lambda task: task.number):  # type: ignore[attr-defined]
            if task.process is process:  # type: ignore[attr-defined]
                task.cancel()

    # Threads

    def run_in_executor(self, _executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Run `func` in a thread of the process: it begins soon, and takes a moment."""
        process, future = PROCESS.get(), self.create_future()
        begins = self._random.uniform(0.0, _JOB_S[1])
        if self._random.random() < 0.02:
            # All threads are busy.
            begins += self._random.uniform(0.01, 0.2)
        self.call_later(begins, self._begin, process, future, func, args)
        return future

    def _begin(self, process: Process | None, future: asyncio.Future[Any], func: Callable[..., Any], args: Any) -> None:
        # As in a pool: what was cancelled before its thread began does not begin.
        if future.cancelled() or (process is not None and not process.alive):
            return
        job = Job(self._now, self._now + self._random.uniform(*_JOB_S))
        if self._random.random() < 0.03:
            job.end_s += self._random.uniform(0.01, 0.15)
        self._running, self._spent_s = job, 0.0
        error = result = None
        try:
            result = func(*args)
        except Exception as raised:  # noqa: BLE001  (it is the future's)
            error = raised
        finally:
            self._running = None
        job.end_s += self._spent_s
        if process is not None:
            self._compare(process, job)
        self.call_at(job.end_s, self._end, future, result, error)

    @staticmethod
    def _end(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def _compare(self, process: Process, job: Job) -> None:
        process.jobs = [other for other in process.jobs if other.end_s > job.start_s]
        for other in process.jobs:
            for touched in sorted(job.touched.keys() & other.touched.keys()):
                self.races.append(Race(process.name, self._now, job.touched[touched]))
        process.jobs.append(job)

    def spend(self, seconds: float) -> None:
        """Have the function that runs in a thread take longer."""
        self._spent_s += seconds

    def touch(self, thing: object, what: str) -> None:
        """Note that the present thread works on `thing`, which only one may."""
        if self._running is not None:
            self._running.touched[id(thing)] = what
            return
        process = PROCESS.get()
        if process is None:
            return
        for job in process.jobs:
            if job.end_s > self._now and id(thing) in job.touched:
                self.races.append(Race(process.name, self._now, what))
