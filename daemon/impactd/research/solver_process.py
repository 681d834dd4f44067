"""Solvers in a process of their own, which is killed at their time limit.

One process serves all solves of this one: it keeps compiled problems, so that only its first answer waits for its
imports.  After a kill the next solve starts another.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, Solution, SolveFailure, Solver
from impactd.core.allocator.solvers.registry import SOLVERS
from impactd.research.processes import executor

#: A process that has died since the last solve is found out by the next, which starts another.
_TRIES: Final = 2

_TIMED_OUT: Final = "stopped at the time limit; raise timeout_seconds or use exact"


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The solver was stopped at the end of its time."""

    solver: str
    text: str


#: By process: a fork has one of its own.
_executors: dict[int, Any] = {}
_lock = threading.Lock()


def start() -> None:
    """Start the process if there is none; it imports CVXPY while the caller continues."""
    with _lock, contextlib.suppress(BrokenExecutor):
        if os.getpid() not in _executors:
            _running().submit(_import_cvxpy)


def solve(
    name: str, problem: Problem, qty: float, deadline: float, effort: float = 1.0
) -> Solution | SolveFailure | TimedOut:
    """Return what a solver answers until `deadline`.

    Parameters
    ----------
    name : str
        Of `impactd.core.allocator.solvers.registry.SOLVERS`.
    qty : float
        Shares.
    deadline : float
        On the clock of `time.monotonic`; the start of the process counts.
    effort : float
        Multiple of the usual limit on iterations.
    """
    factory = SOLVERS.get(name)
    with _lock:
        for _ in range(_TRIES):
            left = deadline - time.monotonic()
            if left <= 0.0:
                return TimedOut(name, _TIMED_OUT)
            answer = None
            try:
                answer = _running().submit(_solve, factory, name, problem, qty, effort)
                return cast("Solution | SolveFailure", answer.result(left))
            except TimeoutError:
                # What has not begun needs no kill, and loky's thread fails over it when its executor is killed.
                if answer is None or not answer.cancel():
                    _kill()
                return TimedOut(name, _TIMED_OUT)
            except BrokenExecutor:
                _kill()
            except BaseException:
                # Interrupted: the next solve must not wait for this one.
                _kill()
                raise
    text = "its process was killed, perhaps for lack of memory; try a smaller problem or another solver"
    return SolveFailure(name, Failure.NOT_CONVERGED, text)


def _running() -> Any:
    pid = os.getpid()
    if pid not in _executors:
        _executors[pid] = executor(1)
    return _executors[pid]


def _kill() -> None:
    _executors.pop(os.getpid()).shutdown(kill_workers=True)


def _import_cvxpy() -> None:
    with contextlib.suppress(ImportError):
        import cvxpy  # noqa: F401, PLC0415  # while the parent is busy elsewhere


@lru_cache(maxsize=32)
def _made(factory: Callable[[float], Solver], effort: float) -> Solver:
    return factory(effort)


def _solve(
    factory: Callable[[float], Solver], name: str, problem: Problem, qty: float, effort: float
) -> Solution | SolveFailure:
    try:
        return _made(factory, effort).solve(problem, qty)
    except Exception as error:  # noqa: BLE001  # a solver that fails is followed by the next
        text = f"raised {type(error).__name__}: {error}; use exact"
        return SolveFailure(name, Failure.NOT_CONVERGED, text)
