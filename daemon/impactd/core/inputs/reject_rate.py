"""The share of input that could not be used.

One undecodable message in a thousand is a sender's error; one in ten is a feed
that has changed its format, and the desk must know.  Every refused record still goes to the dead letters, at any share:
nothing is lost.

A message is a refused record, a tick row, or an order, execution or control.
They are counted by the minutes of their keys (`impactd.core.inputs.inbox`), in the
order of the merge, so the result does not depend on where commits are cut.  The
window is the latest of these minutes.  The share is checked when a message is
refused, since only then can it rise, and when a minute leaves the window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from impactd.core.base.settings import InvalidSettings


class InvalidShare:
    """Counts messages of one partition, and says when too many were invalid."""

    def __init__(self, settings: InvalidSettings, interval_ns: int) -> None:
        self._settings = settings
        self._interval = interval_ns
        #: Minute's number, messages, refused ones; ascending.
        self._minutes: deque[list[int]] = deque()
        self.over = False

    def used(self, key: int) -> None:
        """Count a message that could be used, at its key, ns."""
        self._at(key)[1] += 1

    def used_rows(self, keys: npt.NDArray[np.int64]) -> None:
        """Count tick rows by their keys, ascending, ns."""
        at = 0
        while at < keys.shape[0]:
            minute = self._at(int(keys[at]))
            end = int(np.searchsorted(keys, (minute[0] + 1) * self._interval))
            minute[1] += end - at
            at = end

    def refused(self, key: int, why: str) -> str | None:
        """Count a message refused for `why`; return an alert's text if the share has just risen above the limit."""
        minute = self._at(key)
        minute[1] += 1
        minute[2] += 1
        was, self.over = self.over, self._is_over()
        if was or not self.over:
            return None
        total, refused = self._sums()
        if refused == total:
            return f"none of the latest {total} messages could be used; the last: {why} (impactd dlq list)"
        return (
            f"{refused} of the latest {total} messages could not be used, more than a share of "
            f"{self._settings.max_ratio:g}; see the dead letters (impactd dlq list)"
        )

    def _at(self, key: int) -> list[int]:
        """Return the counts of a key's minute, or of the latest one, and drop what has left the window."""
        number = key // self._interval
        if not self._minutes or number > self._minutes[-1][0]:
            self._minutes.append([number, 0, 0])
            while self._minutes[0][0] <= number - self._settings.window_intervals:
                self._minutes.popleft()
            self.over = self.over and self._is_over()
        return self._minutes[-1]

    def _sums(self) -> tuple[int, int]:
        return sum(m[1] for m in self._minutes), sum(m[2] for m in self._minutes)

    def _is_over(self) -> bool:
        total, refused = self._sums()
        limit = self._settings.max_ratio
        return limit is not None and total >= self._settings.min_messages and refused > limit * total

    def save(self) -> dict[str, Any]:
        """Return the state as JSON-ready values."""
        return {"minutes": list(self._minutes), "over": self.over}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Continue from what `save` returned."""
        self._minutes = deque(list(minute) for minute in saved["minutes"])
        self.over = saved["over"]
