"""Limits log lines of one kind per minute, and counts the others.

Lines are of one kind when logger, event and partition are the same (for the
standard library's: logger and message before its arguments).  The first line
after some were suppressed states how many (``suppressed``); `report` states it
if no further line comes.  Critical lines always pass.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

import structlog

WINDOW_S: Final = 60.0

#: Kinds that are remembered. Beyond it the oldest are forgotten, so that a stranger's text cannot fill the memory.
_KINDS: Final = 2_000

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Window:
    since: float
    passed: int = 0
    suppressed: int = 0


class RateLimit(logging.Filter):
    """A handler's filter.

    Parameters
    ----------
    per_minute : int
        Lines of one kind per minute; 0 suppresses none.
    clock : callable, optional
        Monotonic seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._per_minute = per_minute
        self._clock = clock
        self._windows: dict[Hashable, _Window] = {}
        # Worker threads log too, and a handler filters before it locks.
        self._lock = threading.Lock()
        self.suppressed = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line passes; the first one after suppressed lines gets their number."""
        if not self._per_minute or record.levelno >= logging.CRITICAL:
            return True
        kind = _kind(record)
        with self._lock:
            now = self._clock()
            window = self._windows.get(kind)
            before = 0
            if window is None or now - window.since >= WINDOW_S:
                before = 0 if window is None else window.suppressed
                self._windows.pop(kind, None)
                window = self._windows[kind] = _Window(now)
                if len(self._windows) > _KINDS:
                    del self._windows[next(iter(self._windows))]
            if window.passed >= self._per_minute:
                window.suppressed += 1
                self.suppressed += 1
                return False
            window.passed += 1
        if before:
            _tell(record, before)
        return True

    def report(self) -> None:
        """Log the number of suppressed lines of ended windows that no later line has reported."""
        with self._lock:
            now = self._clock()
            over = {kind: w.suppressed for kind, w in self._windows.items() if now - w.since >= WINDOW_S}
            for kind in over:
                del self._windows[kind]
        for kind, count in over.items():
            if count:
                logger, event, partition = kind if isinstance(kind, tuple) else ("", kind, None)
                where = {} if partition is None else {"partition": partition}
                _log.warning("log lines suppressed", of=event, by=logger, suppressed=count, **where)


def _kind(record: logging.LogRecord) -> Hashable:
    message: object = record.msg
    if isinstance(message, dict):
        return record.name, str(message.get("event")), message.get("partition")
    return record.name, str(message), None


def _tell(record: logging.LogRecord, suppressed: int) -> None:
    message: object = record.msg
    if isinstance(message, dict):
        message["suppressed"] = suppressed
    else:
        record.suppressed = suppressed
