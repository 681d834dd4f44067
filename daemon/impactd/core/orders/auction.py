"""An order's entry in one auction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Entry(NamedTuple):
    """What an order has in one auction; quantities in quanta."""

    #: ``open`` or ``close``.
    kind: str
    #: When the auction is held and by when the entry must be there, ns.
    at: int
    cutoff: int
    #: Entered, and filled by auction fills.
    qty: int
    filled: int
    #: Expected volume of the auction, shares; None if unknown.
    volume: float | None
    #: Largest share of that volume that it is for.
    rate: float

    @property
    def left(self) -> int:
        """What the auction may still fill, quanta."""
        return max(self.qty - self.filled, 0)


def entered(entries: Iterable[Entry]) -> int:
    """Return what entries may still fill, quanta."""
    return sum(entry.left for entry in entries)
