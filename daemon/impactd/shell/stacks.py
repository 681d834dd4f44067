"""Stack positions of tasks and threads, for the log line of a stuck process.

File, line and function only: local variables may hold secrets.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from typing import Any, Final

#: Frames of one task or thread, innermost kept.
_DEPTH: Final = 12


def task_stacks() -> dict[str, list[str]]:
    """Return for each unfinished task of the running loop what it awaits, outermost first."""
    return {task.get_name(): _awaits(task.get_coro())[-_DEPTH:] for task in asyncio.all_tasks() if not task.done()}


def thread_stacks() -> dict[str, list[str]]:
    """Return the stack of each other thread, outermost frame first."""
    frames = sys._current_frames()  # noqa: SLF001  (the documented way to see other threads)
    here = threading.get_ident()
    found = {}
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if frame is not None and thread.ident != here:
            summary = traceback.extract_stack(frame)[-_DEPTH:]
            found[thread.name] = [_place(item.filename, item.lineno or 0, item.name) for item in summary]
    return found


def _awaits(awaited: Any) -> list[str]:
    """Follow what a coroutine awaits: a task's own stack ends at the first."""
    found = []
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            found.append(_place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        following = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
        if following is None and frame is None:
            found.append(type(awaited).__name__)
        awaited = following
    return found


def _place(filename: str, line: int, function: str) -> str:
    return f"{'/'.join(filename.split('/')[-2:])}:{line} {function}"
