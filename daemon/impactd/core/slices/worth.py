r"""Decides whether slices pay on one side of a symbol: a trial that always runs, judged by the later mid.

The trial is an order of the quantity that plans need of `HORIZON` intervals, over as many intervals, repeated.  It
takes as orders do:
at the reservation price of what is left, and in the last interval all of that.  It pays the prices of the book of the
decision over the mid `impactd.core.slices.microprice.AHEAD_NS` later.  An even slice is priced at every decision too.
With e the even slices' discounted average cost of a share, a take of q shares for c saves :math:`q e - c`.  Slices are
off while the discounted sum of savings is below 0 by more than two standard errors (`OFF_AT`), and on again once it is
not negative.
"""

from __future__ import annotations

import math
from typing import Any, Final

from impactd.core.base.jit import kernel
from impactd.core.inputs.ticks import Float
from impactd.core.slices.microprice import AHEAD_NS, LATE_NS

#: Off below this many standard errors of the sum, once it has this many decisions: an hour of them.
OFF_AT: Final = -2.0
LEAST: Final = 240
#: Memory, in decisions: a United States session at four a minute.
HALF_LIFE: Final = 1_560.0
_FORGET: Final = 0.5 ** (1.0 / HALF_LIFE)
#: Intervals of the trial's order.
HORIZON: Final = 60


@kernel
def walked(px: Float, sz: Float, mid: float, sign: float, begin: float, shares: float) -> float:
    """Return what `shares` after the first `begin` cost over `mid`, currency; beyond the book at its last price."""
    cost, skip, left = 0.0, begin, shares
    for level in range(px.shape[0]):
        here = max(sz[level] - skip, 0.0)
        skip = max(skip - sz[level], 0.0)
        taken = min(here, left)
        cost += taken * sign * (px[level] - mid)
        left -= taken
    return float(cost + left * sign * (px[px.shape[0] - 1] - mid))


class Worth:
    """The trial of one (symbol, side)."""

    __slots__ = (
        "_minute",
        "_n",
        "_saved",
        "_squares",
        "_taken",
        "_turn",
        "_waiting",
        "even_cost",
        "even_shares",
        "left",
        "on",
        "paid",
    )

    def __init__(self) -> None:
        self.on = True
        self.even_shares = self.even_cost = 0.0
        self._saved = self._squares = 0.0
        self._minute, self._taken = 0, 0.0
        #: What is left of the trial's order, shares, and which of all orders it is.
        self.left, self._turn = 0.0, 0
        self._n = 0
        #: Since the beginning: shares and cost over mid of the takes, and of the even slices.
        self.paid = (0.0, 0.0, 0.0, 0.0)
        #: Decisions whose later mid is to come: time, mid, shares and cost over mid of the take, and of the even slice.
        self._waiting: list[tuple[int, float, float, float, float, float]] = []

    def asks(self, minute: int, interval_ns: int, usual: float) -> tuple[float, bool]:
        """Return what the trial asks of the interval that begins at `minute`, ns, and whether it is its order's last.

        Parameters
        ----------
        usual : float
            What plans ask of an interval, shares.
        """
        if minute != self._minute:
            self._minute, self._taken = minute, 0.0
        turn, at = divmod(minute // interval_ns, HORIZON)
        if turn != self._turn:
            self._turn, self.left = turn, (HORIZON - at) * usual
        return (self.left + self._taken) / (HORIZON - at), at == HORIZON - 1

    @property
    def taken(self) -> float:
        """Shares taken in the current minute."""
        return self._taken

    def take(self, at: int, mid: float, take: tuple[float, float], even: tuple[float, float]) -> None:
        """Note what a decision took and what an even slice would have taken: shares and cost over mid."""
        self._taken += take[0]
        self.left -= take[0]
        shares, cost, even_shares, even_cost = self.paid
        self.paid = shares + take[0], cost + take[1], even_shares + even[0], even_cost + even[1]
        self._waiting.append((at, mid, *take, *even))

    def see(self, at: int, mid: float, sign: int) -> None:
        """Judge the decisions whose later mid is this one."""
        while self._waiting and self._waiting[0][0] + AHEAD_NS <= at:
            then, was, shares, cost, even_shares, even_cost = self._waiting.pop(0)
            if at > then + AHEAD_NS + LATE_NS:
                continue
            moved = sign * (was - mid)
            self.even_shares = _FORGET * self.even_shares + even_shares
            self.even_cost = _FORGET * self.even_cost + even_cost + moved * even_shares
            saved = shares * self.even_cost / self.even_shares - (cost + moved * shares)
            self._saved = _FORGET * self._saved + saved
            self._squares = _FORGET * _FORGET * self._squares + saved * saved
            self._n += 1
            if self.on:
                self.on = self._n < LEAST or self._saved >= OFF_AT * math.sqrt(self._squares)
            else:
                self.on = self._saved >= 0.0

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values; `load` continues from it bit for bit."""
        numbers = [self.even_shares, self.even_cost, self._saved, self._squares, self._minute, self._taken]
        return [
            self.on,
            *numbers,
            self._n,
            [list(item) for item in self._waiting],
            list(self.paid),
            self.left,
            self._turn,
        ]

    @classmethod
    def load(cls, saved: list[Any]) -> Worth:
        """Return the trial that `save` has given."""
        found = cls()
        found.on, found.even_shares, found.even_cost, found._saved, found._squares = saved[:5]
        found._minute, found._taken = saved[5:7]
        found._n = saved[7]
        found._waiting = [(i[0], i[1], i[2], i[3], i[4], i[5]) for i in saved[8]]
        found.paid = (saved[9][0], saved[9][1], saved[9][2], saved[9][3])
        found.left, found._turn = saved[10:12]
        return found
