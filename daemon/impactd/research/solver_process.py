"""Solvers in a child process, which can be stopped.

A thread that is inside of a solver's machine code cannot be ended; a process
can.  One child serves all solves of this process: it keeps compiled problems,
so that only its first answer waits for its imports.  At the end of the time it
is killed, and the next solve starts another.

- The child is a program of its own and not a fork: the caller's main module is
  not run again, and threads do no harm.
- It ends when its standard input does, so it never outlives its parent.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import select
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, cast

from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, Solution, SolveFailure, Solver
from impactd.core.allocator.solvers.registry import get_solver

_HEAD: Final = struct.Struct("<Q")
_PIECE: Final = 1 << 20

#: How long a child whose output has ended may take to be gone.
_GONE_S: Final = 1.0

#: Problems are small: threads of a matrix library would only wait for each other.
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_CVXPY: Final = ("clarabel", "osqp", "scs", "ecos")
_SCIPY: Final = ("slsqp", "trust-constr")


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The solver was stopped at the end of its time."""

    solver: str
    text: str


@dataclass(slots=True)
class SolverProcess:
    """A child that solves one problem at a time."""

    _child: subprocess.Popen[bytes] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Start the child if there is none; it makes ready while the caller goes on."""
        with self._lock:
            self._running()

    def solve(
        self, name: str, problem: Problem, qty: float, deadline: float, effort: float = 1.0
    ) -> Solution | SolveFailure | TimedOut:
        """Return what a solver answers until `deadline`.

        Parameters
        ----------
        name : str
            Of `impactd.core.allocator.solvers.registry.registry`, or ``ecos``.
        qty : float
            Shares.
        deadline : float
            On the clock of `time.monotonic`; the child's start counts.
        effort : float
            Multiple of the usual limit on iterations.
        """
        with self._lock:
            child = self._running()
            try:
                asked = _write_until(cast("BinaryIO", child.stdin), (name, problem, qty, effort), deadline)
                answer = _read_until(cast("BinaryIO", child.stdout), deadline) if asked else None
            except (EOFError, BrokenPipeError):
                # It has gone, or is about to: its code is told when it has.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_GONE_S)
                self._stop()
                text = f"its process ended with code {child.returncode}; try a smaller problem or another solver"
                return SolveFailure(name, Failure.NOT_CONVERGED, text)
            except BaseException:
                # Interrupted: an answer that comes later must not be taken for the next one.
                self._stop()
                raise
            if answer is None:
                self._stop()
                return TimedOut(name, "stopped at the time limit; raise timeout_seconds or use exact")
            return cast("Solution | SolveFailure", answer)

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self._stop()
            self._child = subprocess.Popen(
                # An inaccurate answer is judged by its certificate, not by a warning.
                [sys.executable, "-W", "ignore", "-m", "impactd.research.solver_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **_ONE_THREAD},
            )
        return self._child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                # What is left unsent has no reader.
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        child.wait()


_shared: dict[int, SolverProcess] = {}


def shared_process() -> SolverProcess:
    """Return this process's own; a fork has another one than its parent."""
    own = _shared.get(os.getpid())
    if own is None:
        own = _shared[os.getpid()] = SolverProcess()
        atexit.register(own.close)
    return own


def make_solver(name: str, effort: float) -> Solver | None:
    """Return a solver with a limit on iterations, or None if none has that name."""
    if name in _CVXPY:
        from impactd.core.allocator.solvers.cvxpy import CvxpySolver  # noqa: PLC0415  # as the registry has it

        return CvxpySolver(name, effort)
    if name in _SCIPY:
        from impactd.core.allocator.solvers.scipy import ScipySolver  # noqa: PLC0415  # as above

        return ScipySolver(name, effort)
    return get_solver(name)


def _write(pipe: BinaryIO, value: object) -> None:
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(_HEAD.pack(len(data)) + data)
    pipe.flush()


def _write_until(pipe: BinaryIO, value: object, deadline: float) -> bool:
    """Write a value and return whether it went out whole by `deadline`.

    A pipe holds little, and its reader may be busy with its imports, or stopped.
    """
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    rest = memoryview(_HEAD.pack(len(data)) + data)
    os.set_blocking(pipe.fileno(), False)
    while rest:
        left = deadline - time.monotonic()
        if left <= 0.0 or not select.select([], [pipe], [], left)[1]:
            return False
        # A pipe that select has called writable may still take nothing, where less than a page is free.
        with contextlib.suppress(BlockingIOError):
            rest = rest[os.write(pipe.fileno(), rest[:_PIECE]) :]
    return True


def _read_until(pipe: BinaryIO, deadline: float) -> Any:
    """Return the next value, or None if it is not whole by `deadline`.

    Raises
    ------
    EOFError
        If the other end is closed.
    """
    data = bytearray()
    wanted = _HEAD.size
    while True:
        left = deadline - time.monotonic()
        if left <= 0.0 or not select.select([pipe], [], [], left)[0]:
            return None
        # Not through the pipe's buffer, of which select knows nothing.
        piece = os.read(pipe.fileno(), min(wanted - len(data), _PIECE))
        if not piece:
            raise EOFError
        data += piece
        if len(data) == _HEAD.size:
            wanted = _HEAD.size + _HEAD.unpack(data)[0]
        if len(data) == wanted:
            return pickle.loads(memoryview(data)[_HEAD.size :])  # noqa: S301  # from our own child


def _answer(solver: Solver, problem: Problem, qty: float) -> Solution | SolveFailure:
    try:
        return solver.solve(problem, qty)
    except MemoryError as error:
        return SolveFailure(solver.name, Failure.NOT_CONVERGED, f"ran out of memory ({error}); use exact")


def _serve() -> None:
    """Answer problems from standard input until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever a solver prints must not stand among the answers.
    os.dup2(2, 1)
    with contextlib.suppress(ImportError):
        import cvxpy  # noqa: F401, PLC0415  # while the parent is busy elsewhere
    made: dict[tuple[str, float], Solver | None] = {}
    while True:
        head = sys.stdin.buffer.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        data = sys.stdin.buffer.read(_HEAD.unpack(head)[0])
        name, problem, qty, effort = pickle.loads(data)  # noqa: S301  # from our own parent
        solver = made.setdefault((name, effort), make_solver(name, effort))
        if solver is None:
            _write(answers, SolveFailure(name, Failure.UNKNOWN_SOLVER, f"no solver is called {name!r}"))
        else:
            _write(answers, _answer(solver, problem, qty))


if __name__ == "__main__":
    _serve()
