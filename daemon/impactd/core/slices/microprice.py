r"""The part of the microprice's distance from the mid that the mid moves within a minute.

A narrow spread or a deep side predicts the mid: what looks cheap now is partly what others know.  With

.. math::

   d = \frac{b \, v_a + a \, v_b}{v_a + v_b} - \text{mid}

(best prices a, b with sizes v) the mid is expected to move by :math:`\kappa d`.  A buy is compared net of it: a mid
that will rise makes now cheaper than later.  :math:`\kappa` is the regression, through the origin, of the mid's change
over `AHEAD_NS` on d, both in half-spreads, over the symbol's own decisions.  It is shrunk to `PRIOR` as far as its own
error is larger than the differences among symbols, `PRIOR_SD`: one day of a symbol shows little.  On A-share days 1 to
40 and
FROG captures were the same from 1/4 to 1/2; without it (0) three of eight sessions lost over the mid a minute later,
and with 1 ARL did.
"""

from __future__ import annotations

import math
from typing import Any, Final

from impactd.core.base.settings import SECOND_NS
from impactd.core.books.checks import Book

#: How far ahead mids are compared, and how late a later mid may be seen.
AHEAD_NS: Final = 60 * SECOND_NS
LATE_NS: Final = 30 * SECOND_NS
#: Before a symbol has shown it, and by how much symbols differ from it.
PRIOR: Final = 0.5
PRIOR_SD: Final = 0.15
#: Mean square of a mid's change in a minute, in half-spreads, before any was seen; it counts as this many changes.
USUAL_SQUARE: Final = 10.0
USUAL_COUNT: Final = 60.0
#: Memory, in decisions: five sessions of a United States day at four a minute.
HALF_LIFE: Final = 7_800.0
_FORGET: Final = 0.5 ** (1.0 / HALF_LIFE)
#: A change of the mid counts as at most this many half-spreads.
MOST_MOVE: Final = 10.0


def distance(book: Book) -> float:
    """Return how far the microprice lies above the mid, price."""
    bid, ask = float(book.bid_sz[0]), float(book.ask_sz[0])
    return book.half_spread * (bid - ask) / (bid + ask)


class Microprice:
    """The regression of one symbol."""

    __slots__ = ("_n", "_waiting", "_xx", "_xy", "_yy")

    def __init__(self) -> None:
        self._xy = self._xx = self._yy = self._n = 0.0
        #: Decisions whose later mid is to come: time, mid, half-spread, signal in half-spreads.
        self._waiting: list[tuple[int, float, float, float]] = []

    @property
    def _prior(self) -> float:
        """What the prior counts as, in sums of signals squared."""
        square = (self._yy + USUAL_COUNT * USUAL_SQUARE) / (self._n + USUAL_COUNT)
        return square / (PRIOR_SD * PRIOR_SD)

    @property
    def kappa(self) -> float:
        """Part of the distance that the mid goes, in [0, 1]."""
        prior = self._prior
        return min(max((self._xy + PRIOR * prior) / (self._xx + prior), 0.0), 1.0)

    @property
    def standard_error(self) -> float:
        """Of kappa, in [0, `PRIOR_SD`]."""
        prior = self._prior
        return math.sqrt(prior * PRIOR_SD * PRIOR_SD / (self._xx + prior))

    def see(self, at: int, book: Book) -> None:
        """Note the book that prevails at a decision, `at` ns: later than all before."""
        mid = book.mid
        while self._waiting and self._waiting[0][0] + AHEAD_NS <= at:
            then, was, half_spread, x = self._waiting.pop(0)
            if at <= then + AHEAD_NS + LATE_NS:
                y = min(max((mid - was) / half_spread, -MOST_MOVE), MOST_MOVE)
                self._xy = _FORGET * self._xy + x * y
                self._xx = _FORGET * self._xx + x * x
                self._yy = _FORGET * self._yy + y * y
                self._n = _FORGET * self._n + 1.0
        half_spread = book.half_spread
        if half_spread > 0.0:
            self._waiting.append((at, mid, half_spread, distance(book) / half_spread))

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values; `load` continues from it bit for bit."""
        return [self._xy, self._xx, self._yy, self._n, [list(item) for item in self._waiting]]

    @classmethod
    def load(cls, saved: list[Any]) -> Microprice:
        """Return the regression that `save` has given."""
        found = cls()
        found._xy, found._xx, found._yy, found._n, waiting = saved
        found._waiting = [(item[0], item[1], item[2], item[3]) for item in waiting]
        return found
