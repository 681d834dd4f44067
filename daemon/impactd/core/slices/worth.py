r"""Decides whether slices pay on a symbol: a trial that always runs on each side, judged by the later mid.

The trial is an order of the quantity that plans need of `HORIZON` intervals, over as many intervals, repeated.  It
takes as orders do: at the reservation price of what is left, and in the last interval all of that.  It pays the prices
of the book that prevails `PlanSettings.slice_latency_ns` after the decision, at most until the next one: what was cheap
at the decision may be gone.  An even slice is priced at every decision too.

With e the even slices' discounted average cost of a share, q shares for c instead of the even slice's r shares save

.. math:: y = q e - c - \Delta (q - r),

where :math:`\Delta` is what the mid moves in the order's favour in `AHEAD_NS` after the decision, down for a buy: an
order that buys cheaply before the mid falls saves nothing.  `Gate` pools both sides.  Its prior is a saving of `PRIOR`
of what even slices cost, with the standard deviation `PRIOR_SD`.  Slices are off while the posterior mean is negative,
and on again once it is half its standard deviation above 0.  On the A-share days for tuning slices pay and are
never off; without the expected move two of the three symbols lose, and are off.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from impactd.core.base.jit import kernel
from impactd.core.inputs.ticks import Float
from impactd.core.slices.microprice import AHEAD_NS, LATE_NS

#: The saving that is expected before any was seen, and by how much symbols differ, parts of what even slices cost.
PRIOR: Final = 0.1
PRIOR_SD: Final = 0.15
#: On again from so many standard deviations above 0.
ON_AT: Final = 0.5
#: Changes of the mid in a minute overlap at four decisions a minute: savings vary more than if they were independent.
OVERLAP: Final = 2.0
#: Memory, in decisions of a side: two and a half United States sessions of both sides at four a minute.
HALF_LIFE: Final = 8_000.0
_FORGET: Final = math.pow(0.5, 1.0 / HALF_LIFE)
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


class Gate:
    """Whether slices pay on a symbol."""

    __slots__ = ("_even_cost", "_even_shares", "_n", "_saved", "_squares", "on")

    def __init__(self) -> None:
        self.on = True
        self._even_shares = self._even_cost = 0.0
        self._saved = self._squares = self._n = 0.0

    def judge(self, shares: float, cost: float, even_shares: float, even_cost: float, moved: float) -> None:
        """Count a decision.

        Parameters
        ----------
        cost, even_cost : float
            Of the take and of the even slice, over the mid at which they were executed, currency.
        moved : float
            What the mid has moved in the order's favour since, price: down for a buy.
        """
        self._even_shares = _FORGET * self._even_shares + even_shares
        self._even_cost = _FORGET * self._even_cost + even_cost
        saved = shares * self._even_cost / self._even_shares - cost - moved * (shares - even_shares)
        self._saved = _FORGET * self._saved + saved
        self._squares = _FORGET * self._squares + saved * saved
        self._n = _FORGET * self._n + 1.0
        mean, sd = self.saving
        self.on = mean >= 0.0 if self.on else mean >= ON_AT * sd

    @property
    def saving(self) -> tuple[float, float]:
        """Mean and standard deviation of the posterior of the saving, parts of what even slices cost."""
        prior = 1.0 / (PRIOR_SD * PRIOR_SD)
        if not (self._squares > 0.0 and self._even_cost > 0.0):
            return PRIOR, PRIOR_SD
        even = self._even_cost / self._n
        variance = OVERLAP * self._squares / self._n
        precision = prior + self._n * even * even / variance
        return (PRIOR * prior + self._saved * even / variance) / precision, 1.0 / math.sqrt(precision)

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values; `load` continues from it bit for bit."""
        return [self.on, self._even_shares, self._even_cost, self._saved, self._squares, self._n]

    @classmethod
    def load(cls, saved: list[Any]) -> Gate:
        """Return the gate that `save` has given."""
        found = cls()
        found.on, found._even_shares, found._even_cost, found._saved, found._squares, found._n = saved
        return found


class _Try(NamedTuple):
    """A decision of the trial: its time, ns; shares that were taken of the interval before, and now; even ones."""

    at: int
    begin: float
    shares: float
    even_begin: float
    even_shares: float


class Worth:
    """The trial of one (symbol, side)."""

    __slots__ = ("_minute", "_taken", "_tried", "_turn", "_waiting", "left", "paid")

    def __init__(self) -> None:
        self._minute, self._taken = 0, 0.0
        #: What is left of the trial's order, shares, and which of all orders it is.
        self.left, self._turn = 0.0, 0
        #: Since the beginning: shares and cost over mid of the takes, and of the even slices.
        self.paid = (0.0, 0.0, 0.0, 0.0)
        #: The decision that is not executed yet.
        self._tried: _Try | None = None
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
    def tried(self) -> bool:
        """Whether a decision is to be executed."""
        return self._tried is not None

    @property
    def taken(self) -> float:
        """Shares taken in the current minute."""
        return self._taken

    def decide(self, at: int, shares: float, even_begin: float, even_shares: float) -> None:
        """Note what a decision takes, and that an even slice takes `even_shares` after the first `even_begin`."""
        self._tried = _Try(at, self._taken, shares, even_begin, even_shares)
        self._taken += shares
        self.left -= shares

    def execute(self, px: Float, sz: Float, mid: float, sign: float) -> None:
        """Price the last decision at the book that prevails, best level first."""
        tried, self._tried = self._tried, None
        if tried is None:
            return
        take = tried.shares, walked(px, sz, mid, sign, tried.begin, tried.shares)
        even = tried.even_shares, walked(px, sz, mid, sign, tried.even_begin, tried.even_shares)
        shares, cost, even_shares, even_cost = self.paid
        self.paid = shares + take[0], cost + take[1], even_shares + even[0], even_cost + even[1]
        self._waiting.append((tried.at, mid, *take, *even))

    def drop(self) -> None:
        """Forget the last decision: no book prevails in which it could be executed."""
        self._tried = None

    def see(self, at: int, mid: float, sign: int, gate: Gate) -> None:
        """Have `gate` judge the decisions whose later mid is this one."""
        while self._waiting and self._waiting[0][0] + AHEAD_NS <= at:
            then, was, *paid = self._waiting.pop(0)
            if at <= then + AHEAD_NS + LATE_NS:
                gate.judge(paid[0], paid[1], paid[2], paid[3], sign * (was - mid))

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values; `load` continues from it bit for bit."""
        return [
            self._minute,
            self._taken,
            self.left,
            self._turn,
            list(self.paid),
            None if self._tried is None else list(self._tried),
            [list(item) for item in self._waiting],
        ]

    @classmethod
    def load(cls, saved: list[Any]) -> Worth:
        """Return the trial that `save` has given."""
        found = cls()
        found._minute, found._taken, found.left, found._turn, paid, tried, waiting = saved
        found.paid = (paid[0], paid[1], paid[2], paid[3])
        found._tried = None if tried is None else _Try(*tried)
        found._waiting = [(i[0], i[1], i[2], i[3], i[4], i[5]) for i in waiting]
        return found
