r"""Impact that lasts beyond its interval, for one order's plan.

The setting `plans.transient_share` w states which part of the measured linear
impact is treated as transient: trading x leaves the book displaced, and the
displacement falls to a half in every `plans.resilience_half_life_s`
(Obizhaeva and Wang 2013: w = 1, resilience rho = log 2 / half-life).  The rest
is temporary: it is gone when the interval is over, as all of it is at w = 0.
Recorded books alone cannot separate the two, since own orders do not move
them: w and the half-life are assumptions, and a plan names them.

What an order's earlier fills still displace is part of the price of its next
intervals.  It is known as one number, :math:`E = \sum_i r_i x_i \theta_i`
(`impactd.core.allocator.problem`), carried on as fills come; a bust leaves it as it
is, since the book was walked.  Each order accounts for its own fills only.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.problem import Problem
from impactd.core.base.elementary import exps
from impactd.core.base.settings import SECOND_NS, PlanSettings
from impactd.core.orders.order import Order


def with_transient(problem: Problem, order: Order, start: Int, settings: PlanSettings) -> Problem:
    """Return `problem` with the part of its linear impact that lasts, and what earlier fills still displace.

    Parameters
    ----------
    problem : Problem
        N intervals with temporary impact.
    start : ndarray of int64, shape (N,)
        Starts of the intervals, ns.
    """
    share = settings.transient_share
    if share == 0.0 or len(problem) == 0:
        return problem
    root = np.sqrt(2.0 * share * problem.curve.b)
    rate = math.log(2.0) / settings.resilience_half_life_ns
    keep = np.concatenate(([0.0], exps(np.diff(start) * -rate)))
    stood = order.displacement * exps(np.maximum(start - order.displaced_at, 0) * -rate)
    curve = problem.curve._replace(s=problem.curve.s + root * stood, b=(1.0 - share) * problem.curve.b)
    return dataclasses.replace(problem, curve=curve, root=root, keep=keep)


def said(settings: PlanSettings) -> tuple[float, float | None]:
    """Return what a plan says of it: the share that lasts, and its half-life in seconds; None where none does."""
    some = settings.transient_share > 0.0
    return settings.transient_share, settings.resilience_half_life_ns / SECOND_NS if some else None
