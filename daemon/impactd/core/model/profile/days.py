r"""The shape of the session as a symbol has shown it, over days.

A session is cut into `BINS`.  Of each day and bin the mean of a log level is taken, less the profile
that the settings name, and from these the day's own mean: what is left is how the day's shape departed
from the profile's.  Over days

.. math::

   n_k \leftarrow \lambda n_k + v_k, \qquad c_k \leftarrow c_k + (v_k / n_k)(d_k - c_k)

with v the part of the bin that books stood in and :math:`\lambda` halving a day over `HALF_LIFE_DAYS`.  The
correction in force is :math:`c_k n_k / (n_k + n_0)`, smoothed over neighbours: shrinkage to the profile of the
settings, which may be pooled over symbols or generic, by a day's worth of evidence (`PRIOR_DAYS`; Efron and Morris
[1]_): on one day a bin departs by about as much as symbols do from each other.

It changes only when a session is over, so that a day is planned by one shape.

References
----------
.. [1] Efron and Morris (1975), Data Analysis Using Stein's Estimator, J. American Statistical Association 70(350).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.session import Session
from impactd.core.base.settings import MINUTE_NS
from impactd.core.model.profile.profile import Profile, interpolate_all

Float = npt.NDArray[np.float64]

#: Parts of a session; a quarter of an hour of a United States equity's.
BINS: Final = 26
#: Days after which one counts half.
HALF_LIFE_DAYS: Final = 20.0
#: The profile of the settings counts as much as so many days.
PRIOR_DAYS: Final = 1.0
#: A day teaches its shape if so much of it was seen.
LEAST_SEEN: Final = 0.6

_CENTRES: Final = (np.arange(BINS) + 0.5) / BINS


class DayShape:
    """What days have shown of one side's spread and excess.

    Parameters
    ----------
    given : Profile
        The profile of the settings.
    minutes : float
        Length of an interval, minutes.
    """

    def __init__(self, given: Profile, session: Session, minutes: float) -> None:
        self._given = given
        self._session = session
        self._a_bin = session.length_minutes / minutes / BINS
        #: Open of the session under way, ns; sums of its log levels (2, BINS), and their weights.
        self._day: int | None = None
        self._sums = np.zeros((2, BINS))
        self._weights = np.zeros(BINS)
        #: Corrections (2, BINS), and the days behind them.
        self._learned = np.zeros((2, BINS))
        self._days = np.zeros(BINS)

    def begins(self, minute: int) -> bool:
        """Return whether `minute` (ns) begins a session other than the one under way."""
        return self._day is not None and self._open_of(minute) != self._day

    def take(self, minute: int, position: float, spread: float, excess: float, weight: float) -> None:
        """Take in log levels at a position in the session, less the profile that was given, with a weight in [0, 1]."""
        self._day = self._open_of(minute)
        k = min(int(position * BINS), BINS - 1)
        self._sums[0, k] += weight * spread
        self._sums[1, k] += weight * excess
        self._weights[k] += weight

    def end(self) -> Profile:
        """Take in the session that is over, and return the profile in force from now on."""
        seen = np.minimum(self._weights / self._a_bin, 1.0)
        there = self._weights > 0.0
        if float(np.sum(seen)) >= LEAST_SEEN * BINS:
            levels = np.zeros((2, BINS))
            levels[:, there] = self._sums[:, there] / self._weights[there]
            departed = levels - (levels @ seen / np.sum(seen))[:, None]
            self._days *= 2.0 ** (-1.0 / HALF_LIFE_DAYS)
            self._days += seen
            step = np.zeros(BINS)
            step[there] = seen[there] / self._days[there]
            self._learned += step * (departed - self._learned)
        self._day = None
        self._sums[:] = 0.0
        self._weights[:] = 0.0
        return self.profile()

    def profile(self) -> Profile:
        """Return the profile in force."""
        if not np.any(self._days > 0.0):
            return self._given
        given = self._given
        shrunk = self._learned * (self._days / (self._days + PRIOR_DAYS))
        padded = np.concatenate([shrunk[:, :1], shrunk, shrunk[:, -1:]], axis=1)
        smooth = 0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:]
        knots = np.unique(np.concatenate([given.knots, _CENTRES]))
        spread, excess, volume, weight = (
            interpolate_all(given.knots, values, knots)
            for values in (given.spread, given.excess, given.volume, given.weight)
        )
        return Profile(
            knots,
            spread + interpolate_all(_CENTRES, smooth[0], knots),
            excess + interpolate_all(_CENTRES, smooth[1], knots),
            volume,
            weight + interpolate_all(_CENTRES, self._days, knots),
        )

    def _open_of(self, minute: int) -> int:
        return minute - self._session.since_open_ns(minute)

    def save(self) -> dict[str, Any] | None:
        """Return the state as JSON-ready values, None before any minute; `load` continues from it bit for bit."""
        if self._day is None and not np.any(self._days > 0.0):
            return None
        arrays = np.concatenate([self._sums.ravel(), self._weights, self._learned.ravel(), self._days])
        return {"day": self._day, "bins": base64.b64encode(arrays.tobytes()).decode("ascii")}

    def load(self, saved: Mapping[str, Any] | None) -> None:
        """Continue from what `save` returned."""
        if saved is None:
            return
        rows = np.frombuffer(base64.b64decode(saved["bins"]), np.float64).reshape(6, BINS).copy()
        self._day = saved["day"]
        self._sums, self._weights, self._learned, self._days = rows[0:2], rows[2], rows[3:5], rows[5]


class ShapedProfile:
    """The profile in force for one side: as it was given, and as days have shown it since, if they are asked.

    Parameters
    ----------
    interval_ns : int
        Length of an interval.
    learn : bool
        Whether days are asked.
    """

    def __init__(self, given: Profile, session: Session, interval_ns: int, *, learn: bool) -> None:
        self._given = self.now = given
        self._session = session
        self._half_ns = interval_ns // 2
        self._days = DayShape(given, session, interval_ns / MINUTE_NS) if learn else None

    def at(self, ts: int) -> tuple[float, float]:
        """Return the log levels of spread and excess at `ts`, ns."""
        return self._of(self.now, self._session.positions(np.array([ts], dtype=np.int64)))

    @staticmethod
    def _of(profile: Profile, position: Float) -> tuple[float, float]:
        spread = float(interpolate_all(profile.knots, profile.spread, position)[0])
        return spread, float(interpolate_all(profile.knots, profile.excess, position)[0])

    def reach(self, minute: int, last: int | None) -> tuple[float, float]:
        """Go on by the shape that days have shown, if `minute` is the first of a session.

        Returns
        -------
        spread, excess : float
            By how much means that are less the profile move, so that the level of the minute `last` (ns) stays.
        """
        if self._days is None or last is None or not self._days.begins(minute):
            return 0.0, 0.0
        before = self.at(last + self._half_ns)
        self.now = self._days.end()
        now = self.at(last + self._half_ns)
        return before[0] - now[0], before[1] - now[1]

    def learn(self, minute: int, half_spread: float, excess: float, weight: float) -> None:
        """Have the session's shape learn from the positive levels of a minute."""
        if self._days is None:
            return
        position = self._session.positions(np.array([minute + self._half_ns], dtype=np.int64))
        spread_at, excess_at = self._of(self._given, position)
        self._days.take(
            minute, float(position[0]), math.log(half_spread) - spread_at, math.log(excess) - excess_at, weight
        )

    def save(self) -> dict[str, Any] | None:
        """Return the state as JSON-ready values."""
        return None if self._days is None else self._days.save()

    def load(self, saved: Mapping[str, Any] | None) -> None:
        """Continue from what `save` returned."""
        if self._days is not None:
            self._days.load(saved)
            self.now = self._days.profile()
