r"""The cost of size beyond what books show: a law of the literature, stated apart from what is measured.

A plan's curve is measured up to the largest size that books have held.  With `PlanSettings.metaorder` a schedule that
asks an interval for more than this size :math:`v_t` is expected to cost

.. math::

   \sum_t \big[ C_t(\min(x_t, v_t)) + (x_t - v_t)^+ \, C_t'(v_t) \big] + M(D + Q) - M(D + Q_v), \qquad
   M(Q) = Q \, \lambda Y \sigma \left( \frac{Q}{V} \right)^{\delta} T^{-\epsilon}

with Q what it trades, :math:`Q_v = \sum_t \min(x_t, v_t)` the part that books show, D what its order has executed
before, :math:`\sigma` the deviation of the mid over a session (price), V the session's forecast continuous volume and T
the part of a session that the schedule lasts.  The law takes the place of the curve's own rise beyond :math:`v_t`, and
is 0 where nothing is beyond it.  It changes what a schedule is expected to cost, and not which schedule is chosen.

A backtest charges its policies the same, with the depth of each recorded book for :math:`v_t` and with what the session
had for :math:`\sigma` and V (`impactd.research.backtest.evaluate`).

Y is taken from the literature until fills show a symbol's own: `PlanSettings.metaorder_coefficient` sets it.

References
----------
.. [1] Toth et al. (2011), Anomalous Price Impact and the Critical Nature of Liquidity in Financial Markets, Physical
   Review X 1, 021006: the peak of an order's impact is Y sigma (Q/V)^(1/2), with Y of order one.
.. [2] Sato and Kanazawa (2024), arXiv:2411.13965: the exponent over all liquid stocks of Tokyo is 0.489.
.. [3] Almgren, Thum, Hauptmann and Li (2005), Direct Estimation of Equity Market Impact, Risk 18(7): the temporary cost
   is 0.142 sigma (Q / (V T))^(3/5).  Their permanent part needs the shares outstanding, and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.curve import Curve, Float
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import PlanSettings
from impactd.core.market.symbol import SideView
from impactd.core.orders.order import Order


@dataclass(frozen=True, slots=True)
class Law:
    """A law of the literature.

    Attributes
    ----------
    coefficient, exponent : float
        Y and delta.
    paid : float
        lambda: what an order pays on average as a part of the law's figure.
    duration : float
        epsilon.
    """

    coefficient: float
    exponent: float
    paid: float
    duration: float = 0.0


def _of_peak(coefficient: float, exponent: float) -> Law:
    """Return a law of the peak: an order at an even pace pays its mean over the way there."""
    return Law(coefficient, exponent, 1.0 / (1.0 + exponent))


#: By the name that `PlanSettings.metaorder` gives.
LAWS: Final[Mapping[str, Law]] = {
    "square_root": _of_peak(1.0, 0.5),
    "sato_kanazawa": _of_peak(1.0, 0.489),
    "almgren": Law(0.142, 0.6, 1.0, 0.6),
}


def shown_by(market: SideView, settings: PlanSettings, fraction: Float) -> Float:
    """Return the shares that each interval's curve was measured up to, `fraction` of each; inf before any minute."""
    fitted = np.inf if market.fitted_to is None else market.fitted_to
    return np.asarray(fitted * fraction * settings.child_slices)


def coefficient_of(settings: PlanSettings) -> float:
    """Return Y of the law of the settings, which is not off: their own, else the literature's."""
    own = settings.metaorder_coefficient
    return LAWS[settings.metaorder].coefficient if own is None else own


@dataclass(frozen=True, slots=True)
class Metaorder:
    """M of one order.

    Attributes
    ----------
    scale : float
        Price per share^`exponent`.
    """

    scale: float
    exponent: float

    @classmethod
    def of(cls, settings: PlanSettings, sigma: float, volume: float, lasts: float) -> Metaorder | None:
        """Return M by the law of the settings; None where it is off.

        Parameters
        ----------
        sigma : float
            Deviation of the mid over the session, price.
        volume : float
            Continuous volume of the session, shares, above 0.
        lasts : float
            T.
        """
        law = LAWS.get(settings.metaorder)
        if law is None:
            return None
        size, time = math.pow(volume, -law.exponent), math.pow(lasts, -law.duration)
        return cls(law.paid * coefficient_of(settings) * sigma * size * time, law.exponent)

    def beyond(self, whole: float, over: float) -> float:
        """Return M(whole) - M(whole - over), currency: the last `over` of `whole` shares."""
        power = 1.0 + self.exponent
        return self.scale * (math.pow(whole, power) - math.pow(max(whole - over, 0.0), power))


@dataclass(frozen=True, slots=True)
class BeyondBooks:
    """The law as it applies to one set of schedules.

    Attributes
    ----------
    shown : ndarray of float64, shape (N,)
        Shares that the curve of each interval was measured up to; inf before any minute.
    done : float
        Shares executed before.
    """

    shown: Float
    done: float
    law: Metaorder

    @classmethod
    def of(
        cls, orders: Sequence[Order], settings: PlanSettings, market: SideView, starts: Int, fraction: Float
    ) -> BeyondBooks | None:
        """Return the law for schedules of `orders` over the intervals `starts`; None where it is off or V unknown."""
        day = None if settings.metaorder == "off" or not starts.size else market.session(int(starts[0]))
        if day is None:
            return None
        sigma, volume, intervals = day
        lasts = max(float(np.sum(fraction * market.is_open(starts))), 1.0) / intervals
        law = Metaorder.of(settings, sigma, volume, lasts)
        done = sum(order.cum_qty - order.auction_qty for order in orders) / QUANTA
        return None if law is None else cls(shown_by(market, settings, fraction), done, law)

    def charge(self, curve: Curve, x: Float) -> tuple[float, float]:
        """Return what changes in the cost of `x` shares an interval, shape (N,), and the law's part; currency."""
        rows = np.flatnonzero(x > self.shown)
        if not rows.size:
            return 0.0, 0.0
        shown, own, asked = self.shown[rows], curve.at(rows), x[rows]
        over = asked - shown
        continued = float(np.sum(own.cost(shown) + over * own.marginal(shown) - own.cost(asked)))
        law = self.law.beyond(self.done + float(np.sum(x)), float(np.sum(over)))
        return continued + law, law
