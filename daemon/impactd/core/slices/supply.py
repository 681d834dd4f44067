r"""The recent supply of one side of a book by price, and the reservation price of an order from it.

Prices here are marginal: of one more share, over mid and net of the expected move of the mid
(`impactd.core.slices.microprice`), in parts of the mid, on the fixed grid `PRICES`.

A minute's supply at a price p is the largest quantity that any of its decisions found there: what is taken does not
refill within a minute.  `Supply` keeps its mean over minutes, with a half-life of `HALF_LIFE_MINUTES`,

.. math:: S(p) = \text{mean over minutes of } \max_j D_j(p),

with :math:`D_j(p)` the shares that decision j found at p or better, `STAYS` of those that are shown: executed 3 s
later, slices then saved more over the mid of the trade on the A-share days for tuning, and the same over the mid a
minute later.  An order with L shares left over n minutes trades up to the p at which they would be offered:
:math:`n \, S(p) = L`.
"""

from __future__ import annotations

import base64
import math
from typing import Any, Final

import numpy as np

from impactd.core.base.jit import kernel
from impactd.core.inputs.ticks import Float

#: Marginal prices at which offers are kept, parts of the mid: 0.001 bps to 2,000, each a sixth above the one before.
N_PRICES: Final = 96
_LOWEST: Final = 1e-7
_RATIO: Final = 1.165
PRICES: Final = np.array([_LOWEST * math.pow(_RATIO, k) for k in range(N_PRICES)])

#: The part of the shown depth that is counted on: some of what is cheap is gone when the slice is executed.
STAYS: Final = 0.75

#: Memory of offers, minutes.
HALF_LIFE_MINUTES: Final = 10.0
_FORGET: Final = math.pow(0.5, 1.0 / HALF_LIFE_MINUTES)

#: Minutes of memory from which a reservation price is found.
LEAST_MINUTES: Final = 2.0


@kernel
def offered(px: Float, sz: Float, mid: float, sign: float, move: float, best: Float) -> None:
    """Raise `best`, shape (N_PRICES,), to the shares that are counted on in one book at each price.

    Parameters
    ----------
    px, sz : ndarray of float64, shape (n_levels,)
        Of the side that is walked, best first; price, shares.
    mid : float
        Price.
    sign : float
        +1 to buy, -1 to sell.
    move : float
        By how much waiting is expected to cost more, price.
    """
    level, shares = 0, 0.0
    for k in range(N_PRICES):
        most = PRICES[k] * mid
        while level < px.shape[0] and sign * (px[level] - mid) - move <= most:
            shares += STAYS * sz[level]
            level += 1
        best[k] = max(best[k], shares)


@kernel
def reservation(mean: Float, each: float) -> float:
    """Return the price, in parts of the mid, at which a minute offers `each` shares; inf where none does.

    Parameters
    ----------
    mean : ndarray of float64, shape (N_PRICES,)
        Shares.
    each : float
        Shares asked of a minute.
    """
    if each > mean[N_PRICES - 1]:
        return np.inf
    k = 0
    while mean[k] < each:
        k += 1
    if k == 0:
        return float(PRICES[0])
    part = (each - mean[k - 1]) / (mean[k] - mean[k - 1])
    return float(PRICES[k - 1] + part * (PRICES[k] - PRICES[k - 1]))


@kernel
def reach(px: Float, sz: Float, mid: float, sign: float, move: float, price: float) -> float:
    """Return the shares that are counted on in one book at `price` (parts of the mid) or better."""
    shares = 0.0
    for level in range(px.shape[0]):
        if sign * (px[level] - mid) - move > price * mid:
            break
        shares += STAYS * sz[level]
    return shares


@kernel
def at_reservation(
    mean: Float, asked: float, px: Float, sz: Float, mid: float, sign: float, move: float
) -> tuple[float, float]:
    """Return the `reservation` at which a minute offers `asked` shares, and what one book offers at it (`reach`)."""
    price = reservation(mean, asked)
    return price, reach(px, sz, mid, sign, move, price) if price < np.inf else 0.0


@kernel
def deepest(px: Float, sz: Float, shares: float) -> float:
    """Return the price of the level that `shares` end in; of the last one where the book holds fewer."""
    left = shares
    for level in range(px.shape[0]):
        left -= sz[level]
        if left <= 0.0:
            return float(px[level])
    return float(px[px.shape[0] - 1])


class Supply:
    """What one side of a symbol has offered, by price."""

    __slots__ = ("_mean", "_minute", "_minutes", "_now")

    def __init__(self) -> None:
        self._mean = np.zeros(N_PRICES)
        self._now = np.zeros(N_PRICES)
        #: The minute of `_now`, ns, and the discounted number of minutes behind `_mean`.
        self._minute = 0
        self._minutes = 0.0

    def see(self, minute: int, px: Float, sz: Float, mid: float, sign: int, move: float) -> None:
        """Note the book of a decision in the interval that begins at `minute`, ns; see `offered`."""
        if minute != self._minute:
            self._close()
            self._minute = minute
        offered(px, sz, mid, float(sign), move, self._now)

    def _close(self) -> None:
        if self._minute:
            self._minutes = _FORGET * self._minutes + 1.0
            self._mean += (self._now - self._mean) / self._minutes
            self._now = np.zeros(N_PRICES)

    def price(
        self, asked: float, px: Float, sz: Float, mid: float, sign: int, move: float
    ) -> tuple[float | None, float]:
        """Return the reservation price for `asked` shares a minute, and the shares that a book offers at it.

        The price is in parts of the mid; None where too little was seen, inf where the side has not offered as much at
        any price, and nothing is offered at either.
        """
        if self._minutes < LEAST_MINUTES or not asked > 0.0:
            return None, 0.0
        return at_reservation(self._mean, asked, px, sz, mid, float(sign), move)

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values; `load` continues from it bit for bit."""
        arrays = (base64.b64encode(values.tobytes()).decode("ascii") for values in (self._mean, self._now))
        return [self._minute, self._minutes, *arrays]

    @classmethod
    def load(cls, saved: list[Any]) -> Supply:
        """Return the supply that `save` has given."""
        supply = cls()
        supply._minute, supply._minutes = saved[0], saved[1]
        supply._mean, supply._now = (np.frombuffer(base64.b64decode(v), np.float64).copy() for v in saved[2:])
        return supply
