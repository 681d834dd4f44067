"""The clock of a partition, and which minutes are due by it.

Rules
-----
Rows are taken in the order in which they arrived.  Time is checked first:

1. ``ts_event`` further ahead of its record than ``max_clock_skew``: rejected
   (``future``), no clock moves.  If no minute is open yet, the rejection is
   counted with the minute that opens next.
2. ``ts_event`` before the symbol's open minute: late.  Counted, nothing else.
3. A book before the symbol's last accepted book: rejected (``clock_back``).
   A trade that runs back inside the open minute still counts.
4. ``ts_event`` at or after the end of the symbol's open minute: the row waits
   until that minute has closed (no grace on the symbol's own clock).
5. The partition's clock, the largest ``ts_event`` of all symbols including
   this row's, is at or past the end of an open minute plus ``grace``: the row
   waits until that minute has closed.
6. Otherwise the row moves the clocks, and opens a minute for a symbol without
   one.  Only then is its content checked (`impactd.core.books.checks`), so a
   row that is rejected for its content still moves the clocks.

`impactd.core.books.kernel.time_gate` implements rules 1 to 5.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from impactd.core.base.limits import LAST_NS
from impactd.core.base.stateful import SingleKey
from impactd.core.books.kernel import CLOCK, N_KNOWN, N_PARTITION, N_UNKNOWN_ROWS, NEXT_DUE, Limits
from impactd.core.books.store import FOREVER, NEVER
from impactd.core.inputs.ticks import Int

_STATE: Final = struct.Struct("<4sqq")
_MAGIC: Final = b"clk1"


class PartitionClock:
    """Event time of a partition, and the end of the minute that is due next.

    Attributes
    ----------
    array : ndarray of int64, shape (N_PARTITION,)
        The partition's slots as the kernels read and write them.
    key : SingleKey
        The saved state, under ``clock``.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.array = np.zeros(N_PARTITION, np.int64)
        self.array[CLOCK] = NEVER
        self.array[NEXT_DUE] = FOREVER
        self._is_stale = False
        self.key = SingleKey("clock", self._dump, self._load)

    @property
    def time(self) -> int | None:
        """Largest ts_event of the partition, or the watermark of an idle move, ns; None before any."""
        clock = int(self.array[CLOCK])
        return None if clock == NEVER else clock

    @property
    def unknown_rows(self) -> int:
        """Rows dropped because the partition has its maximum of symbols."""
        return int(self.array[N_UNKNOWN_ROWS])

    @property
    def is_full(self) -> bool:
        """Whether the partition has its maximum of symbols."""
        return int(self.array[N_KNOWN]) >= self._limits.max_symbols

    def count_known(self, change: int) -> None:
        """Add to the number of known symbols."""
        self.array[N_KNOWN] += change

    def idle(self, watermark_ns: int) -> None:
        """Move the clock so that minutes that end by `watermark_ns` are due."""
        clock = min(watermark_ns + self._limits.grace_ns, LAST_NS)
        self.array[CLOCK] = max(int(self.array[CLOCK]), clock)

    def minutes_moved(self) -> None:
        """Note that open minutes have changed outside of the kernels."""
        self._is_stale = True

    def refresh(self, minutes: Int) -> None:
        """Find the end of the minute that is due next, if minutes have moved.

        Parameters
        ----------
        minutes : ndarray of int64, shape (S,)
            Start of each symbol's open minute, ns, or `NEVER`.
        """
        if self._is_stale:
            minutes = minutes[minutes != NEVER]
            first = int(minutes.min()) if minutes.size else None
            end = self._limits.interval_ns + self._limits.grace_ns
            self.array[NEXT_DUE] = FOREVER if first is None else first + end
            self._is_stale = False

    def due(self, minutes: Int, clock: int | None = None) -> set[int]:
        """Return the rows whose minute ends `grace` or more before `clock`, which is the partition's own if None."""
        by = (int(self.array[CLOCK]) if clock is None else clock) - self._limits.grace_ns
        return set(np.flatnonzero((minutes != NEVER) & (minutes <= by - self._limits.interval_ns)).tolist())

    def _dump(self) -> bytes:
        return _STATE.pack(_MAGIC, int(self.array[CLOCK]), self.unknown_rows)

    def _load(self, data: bytes) -> None:
        if len(data) != _STATE.size or not data.startswith(_MAGIC):
            raise ValueError("clock state of another layout: restore it with the release that wrote it")
        _, self.array[CLOCK], self.array[N_UNKNOWN_ROWS] = _STATE.unpack(data)
