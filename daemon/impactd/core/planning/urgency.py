r"""The weight of an order's risk.

A plan adds the weight :math:`\rho = \lambda \sigma^2` times the squared inventory after each interval, for a risk
aversion :math:`\lambda` and the variance :math:`\sigma^2` of the mid over an interval.  An urgency u has

.. math:: \lambda = u^2 \, \frac{I}{V}, \qquad V = \sigma^2 Q^2 N

with I the expected impact cost (above the spread) of the order's quantity Q at an even pace over the N intervals of its
window, and V the variance of its value while all of it is held.  So :math:`u = \kappa T`, the window in units of the
time in which the position falls to 1/e (Almgren and Chriss 2000, section 2.3): at a linear impact the schedule, and
what it costs and risks relative to an even pace, depend on u alone.

I follows the forecast, but not the order's way through its day: where nothing changes, an order keeps its plan
although the mean over what is left of its window is another one each minute.  `Order.impact_scale` holds I by interval
and squared pace, and what the intervals after the one in progress had then; it moves by as much as they have since.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.curve import Curve, Float
from impactd.core.base.quantity import QUANTA
from impactd.core.orders.order import Order


def risk_weight(
    order: Order,
    sigma2: float,
    interval_ns: int,
    expected: Curve,
    fraction: Float,
    starts: Int,
    open_: npt.NDArray[np.bool_],
) -> tuple[float, list[float]]:
    """Return the weight of an order's squared inventory, currency per share^2, and its next `Order.impact_scale`.

    Parameters
    ----------
    sigma2 : float
        Price^2.
    expected : Curve
        What N intervals are expected to cost.
    fraction : ndarray of float64, shape (N,)
        Part of an interval that each lasts.
    starts : ndarray of int64, shape (N,)
        Starts of the whole intervals, ns.
    open_ : ndarray of bool, shape (N,)
        Whether the market is open.
    """
    terms = order.terms
    if terms.urgency == 0.0:
        # The cost is minimised before the multiplier M, and the variance grows with its square: M^2 / M.
        return terms.risk_aversion * sigma2 * order.instrument.points, []
    intervals = (terms.end - order.works_from) / interval_ns
    pace = terms.order_qty / QUANTA / intervals
    x = pace * fraction
    own = open_ & (starts < terms.end) & (starts + interval_ns > terms.start)
    costs = np.where(own, expected.cost(x) - expected.s * x, 0.0) / pace**2
    lasts = np.where(own, fraction, 0.0)

    def mean(first: int) -> float:
        rows = slice(int(np.searchsorted(starts, first * interval_ns)), None)
        time = float(np.sum(lasts[rows]))
        return float(np.sum(costs[rows])) / time if time > 0.0 else 0.0

    scale = mean(0)
    if order.impact_scale:
        before, first, then = order.impact_scale
        now = mean(int(first))
        scale = before if now == then else before * (now / then) if now > 0.0 < then else scale or before
    later = int(starts[0] // interval_ns) + 1 if starts.size else 0
    return (terms.urgency / intervals) ** 2 * scale, [scale, later, mean(later)]
