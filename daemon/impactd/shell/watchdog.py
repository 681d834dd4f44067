"""Ends the process when it can no longer end itself.

Orderly shutdown happens on the event loop.  A thread watches it from
outside: an event loop that has not turned for too long cannot notice that it
is stuck, and a process that was told to leave must be gone in time even if a
worker thread never returns.  In both cases the next owner of each partition settles open transactions.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from impactd.shell.stacks import thread_stacks

EXIT_STUCK: Final = 1

_PERIOD_S: Final = 0.5

_log = structlog.get_logger(__name__)


class Watchdog:
    """A thread that ends the process.

    Parameters
    ----------
    stuck_after_s : float
        The event loop may be silent for this long.
    """

    def __init__(self, stuck_after_s: float, leave: Callable[[int], object] = os._exit) -> None:
        self._stuck_after_s = stuck_after_s
        self._leave = leave
        self._silent_s = 0.0
        self._left_s: float | None = None
        self._code = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def beat(self) -> None:
        """Say that the event loop turns."""
        self._silent_s = 0.0

    def leave_within(self, seconds: float, code: int) -> None:
        """End the process with `code` unless it has ended by itself within `seconds`; no call puts the end off."""
        self._code = code
        self._left_s = seconds if self._left_s is None else min(self._left_s, seconds)

    def end(self) -> None:
        """Watch no longer."""
        self._done.set()

    def look(self, passed_s: float) -> bool:
        """Note that `passed_s` have passed; end the process if it is time to, and return whether it was."""
        self._silent_s += passed_s
        if self._left_s is not None:
            self._left_s -= passed_s
            if self._left_s <= 0:
                _log.error("forced exit: the process did not end in time", threads=thread_stacks())
                self._leave(self._code)
                return True
        if self._silent_s >= self._stuck_after_s:
            _log.critical("event loop stuck", seconds=round(self._silent_s, 1), threads=thread_stacks())
            self._leave(EXIT_STUCK)
            return True
        return False

    def _run(self) -> None:
        before = time.monotonic()
        while not self._done.wait(_PERIOD_S):
            now = time.monotonic()
            # A process that was stopped has lost time that nobody could use.
            passed_s, before = min(now - before, 2 * _PERIOD_S), now
            if self.look(passed_s):
                return
