r"""Persistent bias of taker fills against the model, as a bounded ratio.

Each interval with taker fills gives one observation: what they paid over mid, divided
by the uncorrected model's expected cost, bounded to [1/`WIDEST`, `WIDEST`].  The
discounted mean is shrunk to 1, moved toward 1 by its own standard error, so noise
corrects nothing, and bounded by the setting:

.. math::

   \bar b &= \frac{n_0 + \sum_i \lambda^{n-i} b_i}{n_0 + \sum_i \lambda^{n-i}}, \qquad
   e = \sqrt{\frac{n_0 \sigma_0^2 + \sum_i \lambda^{n-i} (b_i - \bar b)^2}{(n_0 + \sum_i \lambda^{n-i})^2}} \\
   B &= 1 + \operatorname{sign}(\bar b - 1) \max(|\bar b - 1| - e, 0), \qquad
   \tfrac{1}{1 + L} \le B \le 1 + L .

One ratio scales the whole curve: fills of a desk's own sizes cannot separate the
spread's bias from the depth's.  The expected cost of a fill is the cost of walking on
from the quantity filled before it in the interval, so several fills of one interval
are one walk, as planned.  Corrections of fills change an interval's observation until
the interval ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

#: Bounds of one interval's ratio, this and its inverse.
WIDEST: Final = 4.0
#: The ratio of 1 counts as much as this many intervals with fills, ...
PRIOR_COUNT: Final = 20.0
#: ... each of this standard deviation.
PRIOR_SD: Final = 0.5
#: Intervals with fills after which one counts half: a session of them.
HALF_LIFE: Final = 390.0


class FillBias:
    """The bias of one (symbol, side)."""

    __slots__ = ("expected", "info", "interval", "paid", "qty", "squares", "total")

    def __init__(self) -> None:
        #: Start of the interval that was traded in last, ns; None before any.
        self.interval: int | None = None
        #: Shares that takers have filled in it.
        self.qty = 0.0
        self.paid = 0.0
        self.expected = 0.0
        self.info = 0.0
        self.total = 0.0
        self.squares = 0.0

    def filled_in(self, interval: int) -> float:
        """Return what takers have filled in the interval that begins at `interval`, shares."""
        return self.qty if interval == self.interval else 0.0

    def take(self, interval: int, qty: float, paid: float, expected: float) -> None:
        """Take in what a fill has paid and what was expected of it; a correction takes in the difference.

        Parameters
        ----------
        interval : int
            Start of its interval, ns; one before that of an earlier fill is over, and changes nothing.
        qty : float
            Shares.
        paid, expected : float
            Cost over mid, currency.
        """
        if self.interval is not None and interval < self.interval:
            return
        if interval != self.interval:
            self.close(interval)
            self.interval = interval
        self.qty += qty
        self.paid += paid
        self.expected += expected

    def close(self, now: int) -> None:
        """Take the interval's ratio in, if it began before `now`."""
        if self.interval is None or self.interval >= now:
            return
        if self.expected > 0.0:
            ratio = min(max(self.paid / self.expected, 1.0 / WIDEST), WIDEST)
            forget = math.pow(2.0, -1.0 / HALF_LIFE)
            self.info = forget * self.info + 1.0
            self.total = forget * self.total + ratio
            self.squares = forget * self.squares + ratio * ratio
        self.qty = self.paid = self.expected = 0.0

    def ratio(self, limit: float) -> float:
        """Return what expected costs are multiplied by, between 1 / (1 + `limit`) and 1 + `limit`."""
        count = PRIOR_COUNT + self.info
        mean = (PRIOR_COUNT + self.total) / count
        squares = max(self.squares - 2.0 * mean * self.total + mean * mean * self.info, 0.0)
        error = math.sqrt(PRIOR_COUNT * PRIOR_SD**2 + squares) / count
        moved = math.copysign(max(abs(mean - 1.0) - error, 0.0), mean - 1.0)
        return min(max(1.0 + moved, 1.0 / (1.0 + limit)), 1.0 + limit)

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values; `load` continues from it bit for bit."""
        return [self.interval, self.qty, self.paid, self.expected, self.info, self.total, self.squares]

    def load(self, saved: Sequence[Any]) -> None:
        """Continue from what `save` returned."""
        self.interval, self.qty, self.paid, self.expected, self.info, self.total, self.squares = saved
