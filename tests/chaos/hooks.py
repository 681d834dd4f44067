"""Fault points of a process under test: places at which it may be told to die, to freeze or to be slow.

The product has none of this.  The harness writes a file that names a point and a signal; the process sends itself
that signal when it gets there.  Delays are drawn: between the steps of a transaction now and then, and before a
restore for longer than the session timeout.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from impactd.shell.kafka import client, ownership

#: Where a process may be hit; the order is that of a life.
POINTS: Final = ("acquired", "restoring", "restored", "begun", "sent", "committing", "committed")

#: Asked for instead of a signal: what the client does there fails, with an outcome that nobody knows.
FAIL: Final = "FAIL"

#: Those that come before a process owns anything.
EARLY_POINTS: Final = frozenset(POINTS[:3])

#: Environment of a process: the file that asks for a fault, the seed of its delays, what is broken in it.
FAULT_FILE: Final = "IMPACTD_CHAOS_FAULT"
SEED: Final = "IMPACTD_CHAOS_SEED"
VARIANT: Final = "IMPACTD_CHAOS_VARIANT"
SLOW_RESTORE_S: Final = "IMPACTD_CHAOS_SLOW_RESTORE_S"

_DELAYED_SHARE: Final = 0.03
_SLOW_RESTORES: Final = 0.25


class Hooks:
    """What a process does at its fault points."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._file = Path(environ[FAULT_FILE])
        self._random = random.Random(environ[SEED])
        self._slow_restore_s = float(environ[SLOW_RESTORE_S])

    def reach(self, point: str) -> None:
        """Send this process the signal that is asked for at `point`, or raise, if anything is asked for."""
        if self._file.exists():
            asked = json.loads(self._file.read_text("utf-8"))
            if asked["point"] == point:
                self._file.unlink()
                if asked["signal"] == FAIL:
                    raise KafkaError(f"made to fail at {point}")
                os.kill(os.getpid(), signal.Signals[asked["signal"]])

    async def dawdle(self) -> None:
        """Wait for a moment, now and then."""
        if self._random.random() < _DELAYED_SHARE:
            await asyncio.sleep(self._random.uniform(0.05, 1.0))

    async def before_restore(self) -> None:
        """Make one restore in a few last longer than the group waits for a silent member."""
        self.reach("restoring")
        if self._random.random() < _SLOW_RESTORES:
            await asyncio.sleep(self._slow_restore_s)

    async def commit(self, work: Awaitable[None]) -> None:
        """Commit, and be hit while the answer is under way."""
        task = asyncio.ensure_future(work)
        if self._file.exists():
            await asyncio.wait([task], timeout=self._random.uniform(0.0, 0.01))
            self.reach("committing")
        await task

    def install(self) -> None:
        """Put the points into the package, in this process."""
        hooks = self

        class Hooked(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka ships no types
            async def start(self) -> None:
                await super().start()
                hooks.reach("acquired")

            async def begin_transaction(self) -> None:
                await super().begin_transaction()
                hooks.reach("begun")
                await hooks.dawdle()

            async def commit_transaction(self) -> None:
                hooks.reach("sent")
                await hooks.dawdle()
                await hooks.commit(super().commit_transaction())
                hooks.reach("committed")

        read_state = ownership.read_state

        async def slow_read_state(*arguments: Any) -> Any:
            await hooks.before_restore()
            found = await read_state(*arguments)
            hooks.reach("restored")
            return found

        client.AIOKafkaProducer = Hooked
        ownership.read_state = slow_read_state
