"""An order's entry in one auction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Entry(NamedTuple):
    """What an order has in one auction; quantities in quanta.

    Attributes
    ----------
    kind : str
        ``open`` or ``close``.
    at, cutoff : int
        When the auction is held and by when the entry must be there, ns.
    qty, filled : int
        Entered, and filled by auction fills.
    volume : float or None
        Expected volume of the auction, shares; None if unknown.
    rate : float
        Largest share of that volume that it is for.
    """

    kind: str
    at: int
    cutoff: int
    qty: int
    filled: int
    volume: float | None
    rate: float

    @property
    def left(self) -> int:
        """What the auction may still fill, quanta."""
        return max(self.qty - self.filled, 0)


def entered(entries: Iterable[Entry]) -> int:
    """Return what entries may still fill, quanta."""
    return sum(entry.left for entry in entries)
