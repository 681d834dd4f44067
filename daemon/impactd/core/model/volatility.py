r"""Variance of the mid's change over one interval, for the risk term.

.. math::

   \hat\sigma^2 = \frac{\sum_i \lambda^{n-i} \Delta_i^2 / k_i}{\sum_i \lambda^{n-i}}

where :math:`\Delta_i` is the change of the closing mid since the last closed
interval that had one and :math:`k_i` the intervals in between (a random walk's
variance is proportional to time).  The mean change is taken as zero: over a
minute it is far below its standard deviation.  A change over a gap longer
than the half-life (a night, a halt) says nothing about a minute and is left
out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from impactd.core.base.settings import MINUTE_NS, ModelSettings


class Volatility:
    """Discounted variance of one symbol's mid.

    Parameters
    ----------
    settings : ModelSettings
        Its half-life of the mean discounts here too.
    """

    def __init__(self, settings: ModelSettings, interval_ns: int = MINUTE_NS) -> None:
        self._interval_ns = interval_ns
        self._longest = settings.mean_half_life_minutes * MINUTE_NS
        self._forget = math.pow(2.0, -interval_ns / self._longest)
        self._squares = 0.0
        self._info = 0.0
        self._mid: float | None = None
        self._last: int | None = None

    @property
    def sigma2(self) -> float:
        """Variance over one interval, currency^2 / share^2; 0 until a change was seen."""
        return self._squares / self._info if self._info > 0.0 else 0.0

    def update(self, minute_ns: int, mid_close: float | None) -> None:
        """Take in the mid that prevailed at the end of a closed minute; None where none prevailed."""
        if mid_close is None:
            return
        if self._mid is not None and self._last is not None and minute_ns - self._last <= self._longest:
            intervals = max((minute_ns - self._last) / self._interval_ns, 1.0)
            change = mid_close - self._mid
            self._squares = self._forget * self._squares + change * change / intervals
            self._info = self._forget * self._info + 1.0
        self._mid = mid_close
        self._last = minute_ns

    def save(self) -> dict[str, Any]:
        """Return the state as JSON-ready values; `load` continues from it bit for bit."""
        return {"squares": self._squares, "info": self._info, "mid": self._mid, "last": self._last}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Continue from what `save` returned."""
        self._squares, self._info = saved["squares"], saved["info"]
        self._mid, self._last = saved["mid"], saved["last"]
