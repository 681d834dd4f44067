r"""Continuous volume in the intervals ahead, for participation caps.

.. math::

   \hat v_t = L \, e^{p(u_t)}, \qquad
   L = \frac{\sum_i \lambda^{n-i} v_i}{\sum_i \lambda^{n-i} e^{p(u_i)}}

with p the session profile of volume.  The ratio of sums is the discounted
maximum likelihood level of counts with a known profile (Poisson), so quiet
intervals enter as the zeros they are; a mean of logs could not take them.

Auctions are not continuous volume and never enter.  Until the symbol's first
trade there is no forecast, since a feed without trades says nothing about
volume; from then on an interval without one counts as zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from impactd.core.base.session import Session
from impactd.core.base.settings import MINUTE_NS, ModelSettings
from impactd.core.model.curves import Float, Int
from impactd.core.model.profile.profile import Profile, relative_levels


class VolumeForecast:
    """Discounted level of one symbol's continuous volume.

    Parameters
    ----------
    settings : ModelSettings
        Its half-life of the mean discounts here too.
    session : Session
        Trading hours; minutes outside are left out.
    """

    def __init__(
        self, settings: ModelSettings, session: Session, profile: Profile, interval_ns: int = MINUTE_NS
    ) -> None:
        self._half_life = settings.mean_half_life_minutes
        self._session = session
        self._profile = profile
        self._interval_ns = interval_ns
        self._volume = 0.0
        self._exposure = 0.0
        self._last: int | None = None

    def update(self, minute_ns: int, volume: float | None) -> None:
        """Take in the continuous volume of a closed minute, shares; None before the symbol's first trade."""
        if volume is None or not self._session.is_open(minute_ns):
            return
        forget = 1.0
        if self._last is not None:
            forget = math.pow(2.0, -self._session.open_minutes_between(self._last, minute_ns) / self._half_life)
        self._volume = forget * self._volume + volume
        self._exposure = forget * self._exposure + float(self._shape(np.array([minute_ns], dtype=np.int64))[0])
        self._last = minute_ns

    def forecast(self, starts_ns: Int) -> Float | None:
        """Return the expected continuous volume of whole intervals.

        Parameters
        ----------
        starts_ns : ndarray of int64, shape (N,)
            UTC ns.

        Returns
        -------
        ndarray of float64, shape (N,), or None
            Shares, >= 0; None before the symbol's first trade.
        """
        if self._last is None:
            return None
        return self._volume / self._exposure * self._shape(starts_ns)

    def _shape(self, starts_ns: Int) -> Float:
        """Return the relative volume of the intervals that begin at `starts_ns`."""
        positions = self._session.positions(starts_ns, self._interval_ns // 2)
        return relative_levels(self._profile.knots, self._profile.volume, positions)

    def save(self) -> dict[str, Any]:
        """Return the state as JSON-ready values; `load` continues from it bit for bit."""
        return {"volume": self._volume, "exposure": self._exposure, "last": self._last}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Continue from what `save` returned."""
        self._volume, self._exposure, self._last = saved["volume"], saved["exposure"], saved["last"]
