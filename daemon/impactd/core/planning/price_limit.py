r"""What each interval can trade within an order's limit price.

A buy with limit L trades, in an interval whose mid is m, only while the next share
costs no more than L: with C the cost over mid, up to the x with :math:`C'(x) = L - m`,
and nothing where the half-spread alone is beyond it.  (A sell mirrors it.)

*The current interval* has what the prevailing book shows within the limit, a walk to
the limit.

*A later interval* has a mid that is not known yet.  With drift 0 and the forecast
volatility it is normal about today's, with variance :math:`\sigma^2 h` for h intervals
ahead, so that the distance D to the limit is too, and the interval is capped at what it
can be expected to give within the limit,

.. math::

   E\,[\,x(D)\,] = \frac{E\,[(D - s)^+]}{2 b}
     = \frac{(\bar d - s)\,\Phi(z) + \sigma\sqrt h\,\varphi(z)}{2 b},
     \qquad z = \frac{\bar d - s}{\sigma \sqrt h}

for a linear curve (Bachelier 1900); other curves are averaged over `_NODES` equally
likely mids.  What a plan of x shares an interval can be expected to leave, because the
price may be beyond the limit then, follows from :math:`E[\min(x, x(D))]` in the same way.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import numpy as np

from impactd.core.allocator.bounds import NO_CAP, Int
from impactd.core.allocator.curve import Curve, Float, marginal
from impactd.core.base.jit import kernel
from impactd.core.base.quantity import MAX_QUANTA, QUANTA
from impactd.core.market.symbol import SideView
from impactd.core.orders.order import Order

#: Mids of equal probability for curves that are not linear.
_NODES: Final = 64
_Z: Final = np.array([NormalDist().inv_cdf((k + 0.5) / _NODES) for k in range(_NODES)])

#: Beyond this many shares a cap does not bind.
_ENDLESS: Final = MAX_QUANTA / QUANTA


class PriceLimit:
    """The limit of one order over the intervals of its plan.

    Parameters
    ----------
    limit : float
        Price.
    starts : ndarray of int64, shape (N,)
        Starts of whole intervals, ns; the first holds `now` or lies after it.
    curve : Curve
        Expected cost over mid of what an interval trades.
    slices : int
        Walks of an interval.
    """

    def __init__(
        self,
        order: Order,
        limit: float,
        now: int,
        starts: Int,
        market: SideView,
        curve: Curve,
        interval_ns: int,
        slices: int,
    ) -> None:
        seen = market.within(limit)
        mid = market.mid if seen is None else seen[0]
        self.known = mid is not None
        distance = order.side.sign * (limit - (0.0 if mid is None else mid))
        ahead = np.maximum((starts + interval_ns / 2 - now) / interval_ns, 0.0)
        under_way = starts <= now
        self._curve, self._distance = curve, np.full(starts.size, distance)
        self._deviation = np.where(under_way, 0.0, np.sqrt(market.sigma2 * ahead))
        self._visible = None if seen is None else slices * seen[1]
        self._under_way = under_way
        #: Whether the prevailing book has nothing within the limit.
        self.blocks = seen is not None and seen[1] <= 0.0

    def caps(self, beside: Float | None) -> Int:
        """Return what each interval can be expected to give within the limit, quanta; `beside` is taken by others."""
        found = self.executable(np.full(self._distance.size, np.inf))
        if self._visible is not None:
            found[self._under_way] = self._visible
        if beside is not None:
            found = np.maximum(found - beside, 0.0)
        caps = np.floor(np.minimum(found, _ENDLESS) * QUANTA).astype(np.int64)
        return np.where(found >= _ENDLESS, NO_CAP, caps)

    def executable(self, x: Float) -> Float:
        """Return what of `x` (shares by interval) can be expected to trade within the limit, shares."""
        c = self._curve
        found = _expected(c.s, c.b, c.a, c.e, c.delta, self._distance, self._deviation, x, _Z)
        if self._visible is not None:
            found[self._under_way] = np.minimum(x, self._visible)[self._under_way]
        return found


@kernel
def _bachelier(distance: float, deviation: float) -> float:
    """Return E[(D)+] of a normal D."""
    if deviation <= 0.0:
        return max(distance, 0.0)
    z = distance / deviation
    density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return max(distance * 0.5 * math.erfc(-z / math.sqrt(2.0)) + deviation * density, 0.0)


@kernel
def _within(s: float, b: float, a: float, e: float, delta: float, distance: float) -> float:
    """Return the shares whose next one costs `distance` over mid; inf where none does."""
    if distance <= s:
        return 0.0
    high = 1.0
    while marginal(high, s, b, a, e, delta) < distance:
        high *= 2.0
        if high > 1e15:
            return math.inf
    low = 0.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        if marginal(middle, s, b, a, e, delta) < distance:
            low = middle
        else:
            high = middle
    return low


@kernel
def _expected(
    s: Float, b: Float, a: Float, e: Float, delta: float, distance: Float, deviation: Float, x: Float, nodes: Float
) -> Float:
    """Return E[min(x, x(D))] by interval; see the module."""
    out = np.empty(s.shape[0])
    for t in range(s.shape[0]):
        if a[t] == 0.0 and e[t] == 0.0 and b[t] > 0.0:
            beyond = 0.0
            if x[t] < math.inf:
                beyond = _bachelier(distance[t] - s[t] - 2.0 * b[t] * x[t], deviation[t])
            out[t] = (_bachelier(distance[t] - s[t], deviation[t]) - beyond) / (2.0 * b[t])
            continue
        total = 0.0
        for z in nodes:
            total += min(x[t], _within(s[t], b[t], a[t], e[t], delta, distance[t] + deviation[t] * z))
        out[t] = total / nodes.shape[0]
    return out
