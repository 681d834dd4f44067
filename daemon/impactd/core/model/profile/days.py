r"""The learned shape of a symbol's session: how far a given prior holds, and what days add to it.

The log levels of a side's spread and excess, less the day's own level, are

.. math:: p(u) = \theta \, g(u) + c(u)

at position u of the session, with g the profile that the settings give.

**How far the prior holds.** A generic g is other symbols' day.  With S the sum of squares of g about its mean within
each session, this one included, and P that of its products with the levels,

.. math:: \theta = \frac{P \, (1 - k S / P^2)^+ + \theta_0 w}{S + w} ,

the regression :math:`P / S` shrunk by the positive part of James and Stein [1]_, so that noise counts as nothing, and
from `PRIOR_THETA` by the weight w, `PRIOR_WEIGHT`; it forgets by days.  A symbol whose day is flat shows it within the
first hour, and so does one with a steeper open than others.  A g that was learned, or given by hand, is taken as it
is: :math:`\theta` is 1.

**What days add.** A session is cut into parts of `PART_MINUTES`.  With d the mean of each part on a day, less g
and less the day's own mean, over days

.. math::

   n_k \leftarrow \lambda n_k + v_k, \qquad c_k \leftarrow c_k + (v_k / n_k)(d_k - c_k)

where v is the share of time with a prevailing book and :math:`\lambda` halves a day over `HALF_LIFE_DAYS`.  In force is

.. math:: c_k \frac{n_k}{n_k + n_0}, \qquad n_0 = \sigma^2 / \tau^2

with :math:`\sigma^2` the variance of a day's part about what the days before have shown and :math:`\tau^2` that of the
parts themselves: James and Stein's shrinkage [1]_ by the symbol's own noise and signal, which are shrunk in turn to
`PRIOR_DAYS`, that of the recorded days.  The part along a generic g belongs to :math:`\theta`.

c changes only when a session is over.

References
----------
.. [1] Efron and Morris (1975), Data Analysis Using Stein's Estimator, J. American Statistical Association 70(350).
"""

from __future__ import annotations

import base64
import functools
import math
import operator
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import kernel
from impactd.core.base.session import Session
from impactd.core.base.settings import MINUTE_NS
from impactd.core.model.profile.profile import Profile, interpolate, interpolate_all

Float = npt.NDArray[np.float64]

#: Length of the parts of a session that days are compared by.
PART_MINUTES: Final = 10.0
#: Days after which one counts half.
HALF_LIFE_DAYS: Final = 20.0
#: Days of noise that equal a symbol's signal, before it has shown its own; that counts as much as this many days.
PRIOR_DAYS: Final = 16.0
PRIOR_DAYS_WEIGHT: Final = 3.0
#: The symbol's own figure stays within these.
LEAST_DAYS: Final = 0.2
MOST_DAYS: Final = 60.0
#: A day teaches its shape if so much of it was seen.
LEAST_SEEN: Final = 0.6
#: Theta of spread and excess before a minute was seen, the sum of squares of g that it counts as, and k, the variance
#: of a level that shows nothing (that of a flat generated minute is 0.07).  Fixed on flat generated first days, and on
#: FROG and ARL in hours from 10:00 and from the open; ADR 22 has the table.
PRIOR_THETA: Final = (0.2, 0.0)
PRIOR_WEIGHT: Final = 0.05
NOISE: Final = 0.1
MOST_THETA: Final = 2.0

_SPREAD, _EXCESS, _SERIES = 0, 1, 2


class Theta:
    """How far a given shape holds: sums over this session and, discounted, over those before, by series.

    Parameters
    ----------
    fixed : bool
        Whether the shape is taken as it is.
    """

    def __init__(self, *, fixed: bool) -> None:
        self._fixed = fixed
        #: Of the session in progress, by series: weight, and sums of g, g^2, y and g y.
        self._today = np.zeros((_SERIES, 5))
        #: Of the sessions before: sums of squares and products about their means.
        self._before = np.zeros((_SERIES, 2))
        self.values = np.ones(_SERIES) if fixed else np.array(PRIOR_THETA)

    def take(self, weight: float, g: Float, y: Float) -> None:
        """Add a minute's g and log levels y, shape (2,)."""
        if self._fixed:
            return
        values = []
        # In Python's floats, the same to the last bit: for two series a call of NumPy takes longer than all of it.
        rows = zip(self._today.tolist(), self._before.tolist(), g.tolist(), y.tolist(), strict=True)
        for i, (sums, before, at, level) in enumerate(rows):
            minute = (1.0, at, at * at, level, at * level)
            today = [so_far + weight * value for so_far, value in zip(sums, minute, strict=True)]
            self._today[i] = today
            squares, products = map(operator.add, before, _about_mean(*today))
            shown = products - NOISE * squares / products if products * products > NOISE * squares else 0.0
            theta = (shown + PRIOR_THETA[i] * PRIOR_WEIGHT) / (squares + PRIOR_WEIGHT)
            values.append(min(max(theta, 0.0), MOST_THETA))
        self.values = np.array(values)

    def end(self) -> None:
        """Close the session in progress."""
        today = np.array([_about_mean(*row) for row in self._today.tolist()])
        self._before = (self._before + today) * math.pow(2.0, -1.0 / HALF_LIFE_DAYS)
        self._today[:] = 0.0

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values."""
        return [self._today.tolist(), self._before.tolist(), self.values.tolist()]

    def load(self, saved: list[Any]) -> None:
        """Continue from what `save` returned."""
        self._today, self._before, self.values = (np.array(values, np.float64) for values in saved)


def _about_mean(n: float, g: float, gg: float, y: float, gy: float) -> tuple[float, float]:
    """Return the sum of squares of g about its mean, and that of products with y, from their sums; see `Theta`."""
    n = max(n, 1e-12)
    return max(gg - g * g / n, 0.0), gy - g * y / n


@functools.lru_cache(maxsize=64)
def _parts(given: Profile, session: Session) -> tuple[Float, Float, Float]:
    """Return the middles of a session's parts, the directions of the given shape and zeros, which symbols share."""
    n = max(round(session.length_minutes / PART_MINUTES), 1)
    centres, along, nothing = (np.arange(n) + 0.5) / n, np.zeros((_SERIES, n)), np.zeros((_SERIES, n))
    if given.is_prior:
        shape = np.stack([interpolate_all(given.knots, v, centres) for v in (given.spread, given.excess)])
        shape -= shape.mean(axis=1, keepdims=True)
        length = np.sqrt((shape * shape).sum(axis=1, keepdims=True))
        along = np.divide(shape, length, out=np.zeros_like(shape), where=length > 0.0)
    # Not `centres`: to a kernel, arrays that cannot be written to are of another type.
    along.flags.writeable = nothing.flags.writeable = False
    return centres, along, nothing


class DayShape:
    """What days have shown of one side's spread and excess, less the given profile.

    Parameters
    ----------
    minutes : float
        Length of an interval, minutes.
    """

    def __init__(self, given: Profile, session: Session, minutes: float) -> None:
        #: Middles of the parts, positions; directions that theta answers for, shape (2, n), of length 1, 0 where it
        #: does not; and what is known before any day.
        self.centres, self._along, self._nothing = _parts(given, session)
        n = len(self.centres)
        self._session = session
        self._a_part = session.length_minutes / minutes / n
        #: Open of the session in progress, ns; sums of its log levels (2, n), and their weights.
        self._day: int | None = None
        self._sums = np.zeros((_SERIES, n))
        self._weights = np.zeros(n)
        #: The part of the session in progress: what it holds is saved with each minute, all else once a part is over.
        self._part = 0
        self.changed = False
        #: Corrections (2, n), and the days behind them.
        self._learned: Float = self._nothing
        self._days: Float = self._nothing[0]
        #: Discounted sum of a day's variance about what was known, by series, and its weight.
        self._noise = np.zeros(_SERIES)
        self._noise_days = 0.0

    def begins(self, minute: int) -> bool:
        """Return whether `minute` (ns) begins a session other than the one in progress."""
        return self._day is not None and self._open_of(minute) != self._day

    def take(self, minute: int, position: float, levels: Float, weight: float) -> None:
        """Add log levels, shape (2,), at a position in the session, less the given profile; weight in [0, 1]."""
        day = self._open_of(minute)
        k = min(int(position * len(self.centres)), len(self.centres) - 1)
        self.changed |= (day, k) != (self._day, self._part)
        self._day, self._part = day, k
        self._sums[:, k] += weight * levels
        self._weights[k] += weight

    def end(self) -> None:
        """Close the session in progress."""
        seen = np.minimum(self._weights / self._a_part, 1.0)
        there = self._weights > 0.0
        if float(seen.sum()) >= LEAST_SEEN * len(seen):
            levels = np.zeros(self._sums.shape)
            levels[:, there] = self._sums[:, there] / self._weights[there]
            departed = levels - ((levels * seen).sum(axis=1) / seen.sum())[:, None]
            forget = math.pow(2.0, -1.0 / HALF_LIFE_DAYS)
            before = self._days * forget
            self._days = before + seen
            # A day differs from the mean of n others by (1 + 1/n) of its own variance.
            known = there & (before >= 0.5)
            if known.any():
                apart = (departed - self._learned)[:, known] ** 2 * (before[known] / (before[known] + 1.0))
                self._noise = forget * self._noise + np.mean(apart, axis=1)
                self._noise_days = forget * self._noise_days + 1.0
            step = np.zeros(len(seen))
            step[there] = seen[there] / self._days[there]
            self._learned = self._learned + step * (departed - self._learned)
        self._day = None
        self._sums[:] = 0.0
        self._weights[:] = 0.0
        self.changed = True

    def in_force(self) -> Float | None:
        """Return the corrections in force at `centres`, shape (2, n); None before any day."""
        if not (self._days > 0.0).any():
            return None
        learned = self._learned - (self._learned * self._along).sum(axis=1, keepdims=True) * self._along
        days = float(np.mean(self._days))
        equal = np.full(_SERIES, PRIOR_DAYS)
        if self._noise_days > 0.0:
            noise = self._noise / self._noise_days
            signal = np.maximum(np.mean(learned**2, axis=1) - noise / days, noise / MOST_DAYS)
            own = np.divide(noise, signal, out=np.full(_SERIES, LEAST_DAYS), where=signal > 0.0)
            equal = (self._noise_days * own + PRIOR_DAYS_WEIGHT * PRIOR_DAYS) / (self._noise_days + PRIOR_DAYS_WEIGHT)
            equal = np.clip(equal, LEAST_DAYS, MOST_DAYS)
        return np.asarray(learned * (self._days / (self._days + equal[:, None])))

    @property
    def days(self) -> Float:
        """Days behind each part, shape (n,)."""
        return self._days

    def _open_of(self, minute: int) -> int:
        return minute - self._session.since_open_ns(minute)

    def save(self) -> list[float] | None:
        """Return the sums of the part in progress, None before any; `load` continues from it bit for bit."""
        if self._day is None:
            return None
        return [*self._sums[:, self._part].tolist(), float(self._weights[self._part])]

    def load(self, saved: list[float] | None) -> None:
        """Continue from what `save` returned, after `load_lasting`."""
        if saved is not None:
            *self._sums[:, self._part], self._weights[self._part] = saved

    def save_lasting(self) -> dict[str, Any] | None:
        """Return all but the part in progress as JSON-ready values, None before any minute."""
        learned = bool((self._days > 0.0).any())
        if self._day is None and not learned:
            return None
        today = np.concatenate([self._sums, self._weights[None]])
        today[:, self._part] = 0.0
        arrays = np.concatenate([today, self._learned, self._days[None]]) if learned else today
        return {
            "day": self._day,
            "part": self._part,
            "parts": base64.b64encode(arrays.tobytes()).decode("ascii"),
            "noise": [*self._noise.tolist(), self._noise_days],
        }

    def load_lasting(self, saved: Mapping[str, Any]) -> None:
        """Continue from what `save_lasting` returned."""
        rows = np.frombuffer(base64.b64decode(saved["parts"]), np.float64).reshape(-1, len(self.centres))
        self._day, self._part = saved["day"], saved["part"]
        self._sums, self._weights = rows[0:2].copy(), rows[2].copy()
        if len(rows) > 3:
            self._learned, self._days = rows[3:5].copy(), rows[5].copy()
        *noise, self._noise_days = saved["noise"]
        self._noise = np.array(noise, np.float64)


class ShapedProfile:
    """The profile in force for one side: as it was given, and as minutes and days have shown it since."""

    def __init__(self, given: Profile, session: Session, interval_ns: int, *, learn: bool) -> None:
        self._given = given
        self._session = session
        self._half_ns = interval_ns // 2
        #: Asked for with each forecast.
        self._given_is_prior = given.is_prior
        self._theta = Theta(fixed=not (learn and self._given_is_prior))
        self._days = DayShape(given, session, interval_ns / MINUTE_NS) if learn else None
        #: The given shape and the corrections in force at `knots`, (2, K) each.
        self.knots = given.knots
        self._shape = np.stack([given.spread, given.excess])
        self._added = np.zeros_like(self._shape)
        self._values = self._shape
        self._redraw()

    def _redraw(self) -> None:
        """Lay the corrections in force on the knots."""
        added = None if self._days is None else self._days.in_force()
        if self._days is not None and added is not None:
            given = self._given
            self.knots = np.unique(np.concatenate([given.knots, self._days.centres]))
            self._shape = np.stack([interpolate_all(given.knots, v, self.knots) for v in (given.spread, given.excess)])
            self._added = np.stack([interpolate_all(self._days.centres, v, self.knots) for v in added])
        self._values = self._theta.values[:, None] * self._shape + self._added

    @property
    def values(self) -> Float:
        """Log levels of the half-spread and of the excess at `knots`, shape (2, K)."""
        return self._values

    @property
    def is_prior(self) -> bool:
        """Whether it shapes a forecast without a day of this symbol behind it."""
        return self._given_is_prior and (self._days is None or not (self._days.days > 0.0).any())

    def at(self, ts: int) -> tuple[float, float]:
        """Return the log levels of spread and excess at `ts`, ns."""
        spread, excess = both_at(self.knots, self._values, self._session.position(ts))
        return spread, excess

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
        self._days.end()
        self._theta.end()
        self._redraw()
        now = self.at(last + self._half_ns)
        return before[0] - now[0], before[1] - now[1]

    def learn(self, minute: int, half_spread: float, excess: float, weight: float) -> tuple[float, float]:
        """Learn from the log levels of a minute.

        Returns
        -------
        spread, excess : float
            By how much means that are less the profile move, so that the level of this minute stays.
        """
        if self._days is None:
            return 0.0, 0.0
        position = self._session.position(minute + self._half_ns)
        levels = np.array([half_spread, excess])
        shape, added = (np.array(both_at(self.knots, values, position)) for values in (self._shape, self._added))
        self._days.take(minute, position, levels - shape, weight)
        before = self._theta.values
        self._theta.take(weight, shape, levels - added)
        moved = before - self._theta.values
        if not moved.any():
            return 0.0, 0.0
        self._values = self._theta.values[:, None] * self._shape + self._added
        spread, excess = (moved * shape).tolist()
        return spread, excess

    def save(self) -> dict[str, Any] | None:
        """Return the state as JSON-ready values."""
        return None if self._days is None else {"days": self._days.save(), "theta": self._theta.save()}

    @property
    def lasting(self) -> DayShape | None:
        """What days have shown, which is saved by itself; None where they are not learned from."""
        return self._days

    def load(self, saved: Mapping[str, Any] | None) -> None:
        """Continue from what `save` returned, after `DayShape.load_lasting`."""
        if self._days is not None and saved is not None:
            self._days.load(saved["days"])
            self._theta.load(saved["theta"])
            self._redraw()


@kernel
def both_at(knots: Float, values: Float, position: float) -> tuple[float, float]:
    """Return both series' values at one position; `values` has the shape (2, K)."""
    return interpolate(knots, values[0], position), interpolate(knots, values[1], position)
