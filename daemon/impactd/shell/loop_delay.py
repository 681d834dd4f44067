"""How late the event loop is.

Heartbeats, fetches and commits of all partitions share one thread.  A
callback that computes instead of waiting delays them all, so this task asks
to be woken at a fixed pace and records how late it was.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from impactd.shell.durations import Durations

#: Pace, seconds: fine enough that little fits between two measurements, at a thousandth of a core.
PERIOD_S: Final = 0.01

#: Window of the longest delay, seconds: a scrape or two.
WINDOW_S: Final = 60.0


class LoopDelay:
    """Delays of the event loop."""

    def __init__(self) -> None:
        self.delays = Durations()
        #: (when, delay) of which each is longer than all later ones.
        self._longest: deque[tuple[float, float]] = deque()

    async def watch(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PERIOD_S
            await asyncio.sleep(PERIOD_S)
            now = loop.time()
            self.note(now, max(0.0, now - due))

    def note(self, now: float, delay: float) -> None:
        """Record one delay."""
        self.delays.observe(delay)
        longest = self._longest
        while longest and longest[-1][1] <= delay:
            longest.pop()
        longest.append((now, delay))
        while longest[0][0] < now - WINDOW_S:
            longest.popleft()

    @property
    def longest(self) -> float:
        """The longest delay of the last minute, seconds."""
        return self._longest[0][1] if self._longest else 0.0
