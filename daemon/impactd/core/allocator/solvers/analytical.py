r"""The closed form of linear impact, behind the common interface of solvers.

With ``C_t(x) = s x + b_t x^2``, one s for all intervals, no caps, no risk and nothing that lasts,
the marginals are equal where ``x_t`` is proportional to ``1/b_t``:

.. math:: x_t = S \frac{1/b_t}{\sum_i 1/b_i} .

Through the origin the saving over equal parts is ``1 - HM/AM`` of b, whatever
S: the costs are :math:`S^2 / \sum 1/b_t` and :math:`S^2 \sum b_t / N^2`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, Found, Solution, SolveFailure, solve_by


@dataclass(frozen=True, slots=True)
class AnalyticalSolver:
    """Shares in proportion to 1/b, where that is the optimum."""

    #: Not used: it takes the steps that it needs.
    effort: float = 1.0
    name: str = "analytical"
    bounded: bool = True

    def solve(self, problem: Problem, qty: float) -> Solution | SolveFailure:
        """Return the optimum for `qty` shares; see `impactd.core.allocator.solvers.base.Solver`."""
        return solve_by(self.name, problem, qty, _closed_form, exact=True)


def _closed_form(p: Problem, qty: float) -> Found | SolveFailure:
    c = p.curve
    linear = not (c.a.any() or c.e.any()) and bool((c.b > 0.0).all()) and bool((c.s == c.s[0]).all())
    if not linear or not p.separable or p.nested or bool((p.cap < qty).any()):
        text = "the closed form needs linear impact, one half-spread, no bounds, no risk and none that lasts; use exact"
        return SolveFailure("analytical", Failure.UNSUPPORTED, text)
    share = 1.0 / c.b
    return qty * (share / float(np.sum(share))), 0, None
