r"""The move of the mid within a minute that a book predicts.

A narrow spread or a deep side predicts the mid: what looks cheap now is partly what others know.  A mid that has just
moved moves on.  With

.. math::

   d = \frac{b \, v_a + a \, v_b}{v_a + v_b} - \text{mid}

(best prices a, b with sizes v) and r the mid's change since the last decision, the mid is expected to move by
:math:`\kappa d + \rho r`.  A buy is compared net of it: a mid that will rise makes now cheaper than later.
:math:`\kappa` and :math:`\rho` are the regression, through the origin, of the mid's change over `AHEAD_NS` on d and r,
all in half-spreads, over the symbol's own decisions.  They are shrunk to `PRIOR` as far as their own errors are larger
than the differences among symbols, `PRIOR_SD`: one day of a symbol shows little.

On the A-share days for tuning r more than doubled what slices saved over the mid a minute later; FROG and ARL were the
same with it and without it.  Without either part two of the three A-shares lost
(`python -m tests.research.backtest.ablation DATA --acts slices`).
"""

from __future__ import annotations

import math
from typing import Any, Final

from impactd.core.base.settings import SECOND_NS
from impactd.core.books.checks import Book

#: How far ahead mids are compared, and how late a later mid may be seen.
AHEAD_NS: Final = 60 * SECOND_NS
LATE_NS: Final = 30 * SECOND_NS
#: Before a symbol has shown them, and by how much symbols differ from them: of the distance, and of the last change.
PRIOR: Final = (0.5, 0.0)
PRIOR_SD: Final = (0.15, 0.05)
#: Mean square of a mid's change in a minute, in half-spreads, before any was seen; it counts as this many changes.
USUAL_SQUARE: Final = 10.0
USUAL_COUNT: Final = 60.0
#: Memory, in decisions: five sessions of a United States day at four a minute.
HALF_LIFE: Final = 7_800.0
_FORGET: Final = math.pow(0.5, 1.0 / HALF_LIFE)
#: A change of the mid counts as at most this many half-spreads, and one that predicts.
MOST_MOVE: Final = 10.0
MOST_CHANGE: Final = 5.0


def distance(book: Book) -> float:
    """Return how far the microprice lies above the mid, price."""
    bid, ask = float(book.bid_sz[0]), float(book.ask_sz[0])
    return book.half_spread * (bid - ask) / (bid + ask)


class Microprice:
    """The regression of one symbol."""

    __slots__ = ("_last", "_n", "_waiting", "_xx", "_xy", "_yy")

    def __init__(self) -> None:
        #: Discounted sums: of each signal times the move, of the signals' products (11, 12, 22), and of squared moves.
        self._xy = (0.0, 0.0)
        self._xx = (0.0, 0.0, 0.0)
        self._yy = self._n = 0.0
        #: Time and mid of the last decision.
        self._last = (0, 0.0)
        #: Decisions whose later mid is to come: time, mid, half-spread, signals in half-spreads.
        self._waiting: list[tuple[int, float, float, float, float]] = []

    def _normal(self) -> tuple[float, float, float]:
        """Return the matrix of the normal equations with the prior (11, 12, 22)."""
        square = (self._yy + USUAL_COUNT * USUAL_SQUARE) / (self._n + USUAL_COUNT)
        first, cross, second = self._xx
        return first + square / PRIOR_SD[0] ** 2, cross, second + square / PRIOR_SD[1] ** 2

    @property
    def parts(self) -> tuple[float, float]:
        """Kappa, the part of the distance that the mid goes, and rho, the part of its last change that it goes on."""
        a, b, c = self._normal()
        u = self._xy[0] + PRIOR[0] * (a - self._xx[0])
        v = self._xy[1] + PRIOR[1] * (c - self._xx[2])
        determinant = a * c - b * b
        kappa, rho = (c * u - b * v) / determinant, (a * v - b * u) / determinant
        return min(max(kappa, 0.0), 1.0), min(max(rho, -1.0), 1.0)

    @property
    def standard_errors(self) -> tuple[float, float]:
        """Of kappa and rho, each in [0, `PRIOR_SD`]."""
        a, b, c = self._normal()
        square = (a - self._xx[0]) * PRIOR_SD[0] ** 2
        determinant = a * c - b * b
        return math.sqrt(square * c / determinant), math.sqrt(square * a / determinant)

    def see(self, at: int, book: Book) -> float:
        """Note the book that prevails at a decision, `at` ns, later than all before; return the expected move, price.

        The move is that of the mid within a minute from then on.
        """
        mid, half_spread = book.mid, book.half_spread
        while self._waiting and self._waiting[0][0] + AHEAD_NS <= at:
            then, was, half, x, z = self._waiting.pop(0)
            if at <= then + AHEAD_NS + LATE_NS:
                y = min(max((mid - was) / half, -MOST_MOVE), MOST_MOVE)
                self._xy = _FORGET * self._xy[0] + x * y, _FORGET * self._xy[1] + z * y
                first, cross, second = self._xx
                self._xx = _FORGET * first + x * x, _FORGET * cross + x * z, _FORGET * second + z * z
                self._yy = _FORGET * self._yy + y * y
                self._n = _FORGET * self._n + 1.0
        then, was = self._last
        self._last = at, mid
        if half_spread <= 0.0:
            return 0.0
        x = distance(book) / half_spread
        z = min(max((mid - was) / half_spread, -MOST_CHANGE), MOST_CHANGE) if at <= then + LATE_NS else 0.0
        self._waiting.append((at, mid, half_spread, x, z))
        kappa, rho = self.parts
        return (kappa * x + rho * z) * half_spread

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values; `load` continues from it bit for bit."""
        sums = [list(self._xy), list(self._xx), self._yy, self._n]
        return [*sums, list(self._last), [list(item) for item in self._waiting]]

    @classmethod
    def load(cls, saved: list[Any]) -> Microprice:
        """Return the regression that `save` has given."""
        found = cls()
        xy, xx, found._yy, found._n, last, waiting = saved
        found._xy, found._xx, found._last = (xy[0], xy[1]), (xx[0], xx[1], xx[2]), (last[0], last[1])
        found._waiting = [(i[0], i[1], i[2], i[3], i[4]) for i in waiting]
        return found
