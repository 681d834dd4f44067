r"""A drift view in an order's plan.

An order may say that the mid will rise by `alpha_bps` in all, half of it in the first `alpha_half_life_s`.  So at a
time t after the view was sent, at a mid m, the mid has risen by

.. math:: m \, \frac{\alpha}{10^4} \left( 1 - 2^{-t / h} \right),

and the quantity of an interval pays the mean of it over the interval (a sell receives it): a term that is linear in
the schedule (Almgren and Chriss 2000, section 4.1, with a drift that decays).  It shifts the plan but is not part of
its costs, which are over the mid at the time of each trade.

The solvers need non-negative costs.  A constant over all intervals changes no plan, so the smallest value of the term
is subtracted.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from impactd.core.allocator.curve import Float
from impactd.core.allocator.problem import Problem
from impactd.core.base.jit import kernel
from impactd.core.base.settings import SECOND_NS
from impactd.core.orders.order import Order
from impactd.core.planning.intervals import Intervals


@kernel
def drift(alpha: float, half_life: float, begin: Float, end: Float) -> Float:
    """Return the mean of ``alpha (1 - 2^(-t / half_life))`` over each [begin, end), in alpha's unit."""
    rate = math.log(2.0) / half_life
    mean = np.empty(begin.shape[0])
    for t in range(begin.shape[0]):
        lasts = rate * max(end[t] - begin[t], 1e-9)
        mean[t] = alpha * (1.0 + math.exp(-rate * begin[t]) * math.expm1(-lasts) / lasts)
    return mean


def with_alpha(problem: Problem, order: Order, mid: float | None, own: Intervals) -> Problem:
    """Return `problem` with the order's view; the same without a view or a mid.

    Parameters
    ----------
    own : Intervals
        The order's N.
    """
    terms = order.terms
    if terms.alpha_bps is None or terms.alpha_half_life_s is None or mid is None or len(problem) == 0:
        return problem
    since = [np.maximum(at - order.view_from, 0) / SECOND_NS for at in (own.start, own.end)]
    term = drift(order.side.sign * mid * terms.alpha_bps / 1e4, terms.alpha_half_life_s, *since)
    curve = problem.curve._replace(s=problem.curve.s + (term - np.min(term)))
    return dataclasses.replace(problem, curve=curve)
