"""Orders spread over processes of their own.

A child is a program of its own and not a fork, as in
`impactd.research.solver_process`: the caller's main module is not run again,
and it ends when its standard input does.  It is told what to try orders on
once; then each order goes in and its outcome comes out.
"""

from __future__ import annotations

import contextlib
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO, Final, cast

from impactd.research.backtest.evaluate import Bench, Outcome, evaluate
from impactd.research.backtest.live import State
from impactd.research.backtest.windows import Trial

_HEAD: Final = struct.Struct("<Q")

#: Fewer orders than this are done before a child has started.
_WORTH_IT: Final = 40


@dataclass(frozen=True, slots=True)
class Job:
    """One order, and the engines' states at its start."""

    number: int
    trial: Trial
    states: dict[str, State]


def work(
    benches: Mapping[str, Bench],
    strategies: Sequence[str],
    jobs: Sequence[Job],
    workers: int,
    progress: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """Return the outcome of each job, in their order.

    Parameters
    ----------
    benches : mapping of str to Bench
        By symbol.
    jobs : sequence of Job
        Numbered as they stand.
    workers : int
        Processes.
    progress : callable, optional
        Called with 1 as each job is done.

    Raises
    ------
    RuntimeError
        If a child ended before its work was done; it has said why on standard error.
    """
    tell = progress or (lambda _: None)
    if workers < 2 or len(jobs) < _WORTH_IT:
        outcomes = []
        for job in jobs:
            outcomes.append(evaluate(benches[job.trial.order.symbol], job.trial, strategies, job.states))
            tell(1)
        return outcomes
    waiting: SimpleQueue[Job] = SimpleQueue()
    # Long ones first, so that no child is left with one at the end.
    for job in sorted(jobs, key=lambda job: job.trial.order.start - job.trial.order.end):
        waiting.put(job)
    done: dict[int, Outcome] = {}
    failed: list[BaseException] = []
    said = threading.Lock()

    def feed(child: subprocess.Popen[bytes]) -> None:
        into, out = cast("BinaryIO", child.stdin), cast("BinaryIO", child.stdout)
        try:
            _write(into, (dict(benches), tuple(strategies)))
            while not failed:
                try:
                    job = waiting.get_nowait()
                except Empty:
                    break
                _write(into, job)
                outcome = _read(out)
                with said:
                    done[job.number] = outcome
                    tell(1)
        except (OSError, EOFError) as error:
            failed.append(error)

    command = [sys.executable, "-m", "impactd.research.backtest.workers"]
    children: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(workers):
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  (ourselves)
            children.append(child)
        threads = [threading.Thread(target=feed, args=(child,), daemon=True) for child in children]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        failed.append(InterruptedError())  # a thread that still feeds stops at its next order
        for child in children:
            child.kill()
            child.wait()
            cast("BinaryIO", child.stdout).close()
            with contextlib.suppress(BrokenPipeError):  # what is left unsent has no reader
                cast("BinaryIO", child.stdin).close()
    if len(done) < len(jobs):
        raise RuntimeError("a process of the backtest ended before its work was done; see what it said") from failed[0]
    return [done[job.number] for job in jobs]


def _write(stream: BinaryIO, value: object) -> None:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    stream.write(_HEAD.pack(len(data)))
    stream.write(data)
    stream.flush()


def _read(stream: BinaryIO) -> Any:
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError
    (size,) = _HEAD.unpack(head)
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)  # noqa: S301  (from our own parent, or child)


def _serve(into: BinaryIO, out: BinaryIO) -> None:
    """Try orders until the input ends."""
    try:
        benches, strategies = _read(into)
        while True:
            job: Job = _read(into)
            _write(out, evaluate(benches[job.trial.order.symbol], job.trial, strategies, job.states))
    except EOFError:
        return


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
