"""The kill-switch file stops the plans of this process, for an operator who can reach only the machine.

It works where Kafka's control topic cannot be written, and needs no client.
The file is examined each second, in a thread, since even to look at a file
may take forever.  Its presence goes into the next commit of every partition
as an input, so that the journal derives the halts that it caused.

Fail-closed: a file that cannot be looked at, a directory that is gone and a
look that does not return all count as the file being there.  Its contents do
not matter, and a dangling link is a file too.

It affects this process alone.  A partition that moves to a process without
the file continues there: `impactd halt` is what stops all of them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from impactd.core.inputs.inbox import LocalControl

#: Time between two looks, and how long one may take.
_LOOK_S: Final = 1.0

_log = structlog.get_logger(__name__)


class KillSwitch:
    """The kill switch of one process.

    Parameters
    ----------
    path : Path or None
        Of the file; without one the switch is never on.

    Attributes
    ----------
    reason : str or None
        Why plans are stopped; None while they are not.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        # A name from outside need not be text, and what is published has to be.
        self._name = None if path is None else os.fsencode(path).decode("utf-8", "backslashreplace")
        self._asking: asyncio.Future[str | None] | None = None
        self._heard_by: list[Callable[[], None]] = []
        self.reason: str | None = None

    def turned(self, known: str | None) -> tuple[LocalControl, ...]:
        """Return what a partition must be told whose state knows the reason `known`."""
        reason = self.reason
        if reason == known:
            return ()
        if reason is None:
            gone = "this process has none" if self._name is None else f"{self._name} is gone"
            return (LocalControl("resume", f"kill switch: {gone}"),)
        return (LocalControl("halt", reason),)

    @contextmanager
    def heard_by(self, callback: Callable[[], None]) -> Iterator[None]:
        """Have `callback` called, on the event loop, whenever the switch has turned."""
        self._heard_by.append(callback)
        try:
            yield
        finally:
            self._heard_by.remove(callback)

    async def watch(self) -> None:
        """Look each second, until cancelled."""
        while self._path is not None:
            await asyncio.sleep(_LOOK_S)
            await self.look()
        await asyncio.Event().wait()

    async def look(self) -> None:
        """Look once."""
        if self._path is None:
            return
        if self._asking is None:
            self._asking = asyncio.ensure_future(asyncio.to_thread(self._found, self._path))
        done, _ = await asyncio.wait([self._asking], timeout=_LOOK_S)
        if done:
            reason = self._asking.result()
            self._asking = None
        else:
            # The same look continues: one thread may hang in it, but not one more each second.
            reason = f"kill switch: checking {self._name} does not return"
        if reason == self.reason:
            return
        self.reason = reason
        if reason is None:
            _log.warning("kill switch off", file=self._name)
        else:
            _log.warning("kill switch on", file=self._name, reason=reason)
        for callback in list(self._heard_by):
            callback()

    def _found(self, path: Path) -> str | None:
        try:
            os.lstat(path)
        except FileNotFoundError:
            return None if path.parent.is_dir() else f"kill switch: the directory of {self._name} is gone"
        except (OSError, ValueError) as error:
            return f"kill switch: {self._name} cannot be checked: {getattr(error, 'strerror', None) or error}"
        return f"kill switch: {self._name} exists"
