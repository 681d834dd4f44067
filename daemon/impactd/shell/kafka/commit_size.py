"""How much input one commit may take in.

A transaction has a deadline, and what it publishes grows with what it takes in: a rush of orders, or of records that
are refused, would make one that cannot end in time, again after each restart of the partition.  So
after a commit that comes near its deadline, or misses it, the next takes in half as much; quick commits let it grow.
"""

from __future__ import annotations

from typing import Final

#: Shares of the deadline: beyond the one a commit is too large, below the other it may be larger.
_NEAR: Final = 0.5
_QUICK: Final = 0.1


class CommitSize:
    """Bounds on one commit, by how long the ones before it took to apply and to publish.

    Parameters
    ----------
    max_records, max_bytes : int
        Of each input, however quick the commits are.
    """

    def __init__(self, deadline_s: float, max_records: int, max_bytes: int) -> None:
        self._deadline_s = deadline_s
        self._max_records = self.records = max_records
        self._max_bytes = self.bytes = max_bytes

    def took(self, seconds: float, records: int, n_bytes: int) -> bool:
        """Note how long a commit of so much input took; return whether it came near its deadline."""
        if seconds > _NEAR * self._deadline_s:
            self.records = max(1, min(self.records, records) // 2)
            self.bytes = max(1, min(self.bytes, n_bytes) // 2)
            return True
        if seconds < _QUICK * self._deadline_s:
            self.records = min(self._max_records, 2 * self.records)
            self.bytes = min(self._max_bytes, 2 * self.bytes)
        return False
