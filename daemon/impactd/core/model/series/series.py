r"""One damped log series: a mean that forgets, and a deviation that reverts.

The logarithm of a liquidity level, less its session profile, is modelled as

.. math::

   y_t = m_t + d_t + \text{noise}

with a slow mean m and a deviation d that reverts to 0.  Each minute, with
weight w (a thin minute counts for less) and Huber weight h:

.. math::

   \nu &= y - m - a                          && \text{one-minute-ahead residual} \\
   h   &= \min(1, k / |\nu / \text{scale}|)  && \text{Huber} \\
   I   &\leftarrow \lambda I + w h           && \text{information} \\
   m   &\leftarrow m + (w h / I)(y - m)      && \text{recursive least squares} \\
   a   &\leftarrow \phi a + \gamma w h (y - m - a)

where :math:`\lambda` halves the weight of a minute over the mean's half-life,
:math:`\phi` is the speed with which a deviation dies out, and a is the deviation
expected of the next minute.  h steps ahead the forecast is
:math:`m + \phi^{h-1} a`: after a single surprise :math:`\gamma` times the
surprise, and the mean in the long run.  This is the steady-state Kalman
filter of an AR(1) deviation in predictor form ([1]_, 3.3-3.4); the gain
stays well below 1, because a plan that believes each minute trades too much on
noise.

The mean is kept in innovation form (m, I), which is information-form least
squares for one regressor and has an exact fixed point: equal observations
leave m as it is, to the last bit.

The scale is an exponentially weighted mean of squared residuals, each bounded
at the Huber point, so that one broken minute widens it little.

Speed and gain follow what the series shows, and a lasting change of its level is looked for
(`impactd.core.model.series.regime`).

The standing book
-----------------
The book that stands at a minute's end says more of the next minute than the
minute's average does, and less than it seems to.  With its log level b and
the forecast f of the next minute, the news n = b - f moves the forecast by
w n, where w is the regression of what the next minute then brought,

.. math:: w = \frac{\sum \lambda^{n-i} n_i (y_i - f_i)}{\sum \lambda^{n-i} n_i^2},

over this series' own past, begun at `START_BELIEF` and kept within
[0, `MOST_BELIEF`].

What will be seen
-----------------
A schedule is replanned each minute, at what is expected *then*.  How far that will
be from what is expected now is V (`SWING`), the discounted mean of what was expected
of a minute, at its beginning, times what it then brought, both from the mean: the part of the level's
variance that is seen in time.  What is noise to the forecast is no part of it.  What the deviation
told grows to :math:`V (1 - \phi^{2(h-1)})` h intervals ahead; what standing books told (`TOLD`) is there from
the second on.  What that is worth is for `impactd.core.allocator.optionality` to say.  Both start at 0, so
that equal minutes get equal plans.

All numbers of several candidates (one an exponent of the power model) stand
in one array and are stepped together, in a fixed order.

References
----------
.. [1] Harvey (1989), Forecasting, Structural Time Series Models and the Kalman Filter.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import inner_kernel, kernel
from impactd.core.base.settings import MINUTE_NS, ModelSettings
from impactd.core.model.series.columns import (
    CHANGES,
    DEVIATION,
    HAS_SEEN,
    INFO,
    LAST,
    MEAN,
    N_FIELDS,
    NEWS_XX,
    NEWS_XY,
    PAST,
    SEEN,
    SUM_LAST,
    SUM_PAST,
    SUM_SQUARE,
    SUM_WEIGHT,
    SWING,
    TOLD,
    VAR_AHEAD,
    VAR_INFO,
    VAR_LEVEL,
)
from impactd.core.model.series.outlook import Ahead
from impactd.core.model.series.regime import (
    PAST_MINUTES,
    PRIOR_MINUTES,
    SPEED_HALF_LIFE,
    clipped,
    signal_of,
    speed,
    speed_of,
    watch,
)

Float = npt.NDArray[np.float64]

#: Before anything is known a level is taken to move by half its size from minute to minute ...
START_SD: Final = 0.5
#: ... and that counts as much as so many minutes.
START_MINUTES: Final = 5.0
#: The scale is not taken below this: a still market must not make its first move an outlier for ever.
MIN_SD: Final = 0.1
#: Before a series has shown what its books are worth, their news counts for so much ...
START_BELIEF: Final = 0.3
#: ... and never for more than this: one snapshot is not the minute that it begins.
MOST_BELIEF: Final = 0.8
#: News of which that first belief is worth `START_MINUTES`.
START_NEWS_SD: Final = 0.3
#: News below this is rounding: equal books make equal plans.
NO_NEWS: Final = 1e-9


@inner_kernel
def believed_news(state: Float, i: int, seen: float, forecast: float, huber: float) -> float:
    """Return by how much a book of log level `seen` moves the log forecast of series `i`."""
    bound = huber * np.sqrt(max(state[i, VAR_LEVEL], MIN_SD * MIN_SD))
    news = clipped(seen - forecast, bound)
    if abs(news) < NO_NEWS:
        return 0.0
    return float(min(max(state[i, NEWS_XY] / state[i, NEWS_XX], 0.0), MOST_BELIEF) * news)


@kernel
def step_series(  # noqa: PLR0915  (one filter, told in order in one compiled function)
    state: Float,
    level: Float,
    offset: float,
    weight: float,
    forget: float,
    missed: float,
    minutes: float,
    open_minutes: float,
    prior: tuple[float, float, float, float],
    huber: float,
) -> None:
    """Take one minute's values into the state.

    Parameters
    ----------
    state : ndarray of float64, shape (M, N_FIELDS)
        Changed in place.
    level : ndarray of float64, shape (M,)
        Positive; its logarithm is taken here, since NumPy's differs between processors.
    offset : float
        The profile's log level, which is subtracted.
    weight : float
        Of the minute, in (0, 1].
    forget : float
        What information is multiplied by since the last minute taken in.
    missed : float
        Intervals that were missing since the last one taken in.
    minutes, open_minutes : float
        Length of an interval; minutes of open market since the last one taken in.
    prior : tuple of float
        As `speed_of` takes it.
    huber : float
        Huber point in standard deviations.
    """
    kappa = 2.0 ** (-minutes / PAST_MINUTES)
    forget_speed = 2.0 ** (-open_minutes / SPEED_HALF_LIFE)
    for i in range(state.shape[0]):
        y = np.log(level[i]) - offset
        phi, gain = speed_of(state, i, minutes, prior)
        info = forget * state[i, INFO]
        deviation = phi**missed * state[i, DEVIATION]
        if info > 0.0:
            level_error = y - state[i, MEAN]
            ahead = level_error - deviation
            # The residual also carries the error of the mean itself, 1/info of a minute's.
            spread = 1.0 + 1.0 / info
            variance = max(state[i, VAR_AHEAD], MIN_SD * MIN_SD)
            bound = huber * np.sqrt(variance * spread)
            trust = 1.0 if abs(ahead) <= bound else bound / abs(ahead)
            var_info = forget * state[i, VAR_INFO] + weight
            share = weight / var_info
            square = min(abs(ahead), bound) ** 2 / spread
            state[i, VAR_AHEAD] += share * (square - state[i, VAR_AHEAD])
            level_bound = huber * np.sqrt(max(state[i, VAR_LEVEL], MIN_SD * MIN_SD) * spread)
            square = min(abs(level_error), level_bound) ** 2 / spread
            state[i, VAR_LEVEL] += share * (square - state[i, VAR_LEVEL])
            brought = clipped(level_error, level_bound) / spread
            state[i, SWING] += share * (clipped(deviation, level_bound) * brought - state[i, SWING])
            told = 0.0
            if state[i, HAS_SEEN] > 0.0 and missed == 0.0:
                told = believed_news(state, i, state[i, SEEN] - offset, state[i, MEAN] + deviation, huber)
            state[i, TOLD] += share * (told * brought - state[i, TOLD])
            state[i, VAR_INFO] = var_info
            state[i, NEWS_XY] *= forget
            state[i, NEWS_XX] *= forget
            for field in (SUM_SQUARE, SUM_LAST, SUM_PAST, SUM_WEIGHT):
                state[i, field] *= forget_speed
            residual = clipped(level_error, level_bound)
            state[i, PAST] *= kappa**missed
            if missed == 0.0:
                state[i, SUM_SQUARE] += weight * residual * residual
                state[i, SUM_LAST] += weight * residual * state[i, LAST]
                state[i, SUM_PAST] += weight * residual * state[i, PAST]
                state[i, SUM_WEIGHT] += weight
            state[i, LAST] = residual
            state[i, PAST] = kappa * state[i, PAST] + (1.0 - kappa) * residual
            state[i, INFO] = info
            watch(state, i, ahead / np.sqrt(variance * spread))
            info = state[i, INFO]
            if state[i, HAS_SEEN] > 0.0 and missed == 0.0:
                news = clipped(state[i, SEEN] - offset - state[i, MEAN] - deviation, level_bound)
                if abs(news) >= NO_NEWS:
                    state[i, NEWS_XY] += weight * news * clipped(ahead, level_bound)
                    state[i, NEWS_XX] += weight * news * news
        else:
            trust = 1.0
            deviation = 0.0
            state[i, MEAN] = y
        state[i, HAS_SEEN] = 0.0
        info += weight * trust
        state[i, INFO] = info
        state[i, MEAN] += weight * trust / info * (y - state[i, MEAN])
        state[i, DEVIATION] = phi * deviation + gain * weight * trust * (y - state[i, MEAN] - deviation)


@kernel
def see_book(state: Float, level: Float) -> None:
    """Note the book's positive levels, shape (M,), for the minute to come."""
    for i in range(state.shape[0]):
        state[i, SEEN] = np.log(level[i])
        state[i, HAS_SEEN] = 1.0


@kernel
def news_of(state: Float, i: int, level: float, forecast: float, huber: float) -> float:
    """Return `believed_news` of a positive level."""
    return float(believed_news(state, i, np.log(level), forecast, huber))


class DampedSeries:
    """The live state of `count` series that see the same minutes.

    Parameters
    ----------
    count : int
        Number of candidates.
    settings : ModelSettings
        Half-life, gain, Huber point, and whether to adapt the former two.
    interval_ns : int
        Length of an interval.
    """

    __slots__ = ("_huber", "_minutes", "_prior", "state")

    def __init__(self, count: int, settings: ModelSettings, interval_ns: int = MINUTE_NS) -> None:
        self._huber = settings.huber
        self._minutes = interval_ns / MINUTE_NS
        half_life, gain = settings.reversion_half_life_minutes, settings.gain
        signal = signal_of(2.0 ** (-self._minutes / half_life), gain)
        self._prior = (half_life, gain, signal, PRIOR_MINUTES if settings.adaptive else math.inf)
        self.state = np.zeros((count, N_FIELDS))
        self.state[:, VAR_AHEAD] = START_SD * START_SD
        self.state[:, VAR_LEVEL] = START_SD * START_SD
        self.state[:, VAR_INFO] = START_MINUTES
        self.state[:, NEWS_XX] = START_MINUTES * START_NEWS_SD * START_NEWS_SD
        self.state[:, NEWS_XY] = START_BELIEF * self.state[:, NEWS_XX]

    def update(
        self, level: Float, offset: float, weight: float, forget: float, missed: float, open_minutes: float
    ) -> None:
        """Take one minute in; see `step_series`."""
        step_series(
            self.state,
            level,
            offset,
            weight,
            forget,
            missed,
            self._minutes,
            open_minutes,
            self._prior,
            self._huber,
        )

    def shift(self, by: float) -> None:
        """Move the means, as the profile that they are less moves the other way."""
        self.state[:, MEAN] += by

    def see(self, level: Float) -> None:
        """Take in the levels, shape (M,), of the book that stands at the end of the minute just taken in."""
        see_book(self.state, level)

    def ahead(self, index: int, seen: float | None, offset: float, gap_ns: int) -> Ahead:
        """Return what the series expects of the intervals ahead.

        Parameters
        ----------
        index : int
            Candidate.
        seen : float or None
            Level of the standing book, positive.
        offset : float
            The profile's log level in the interval in which it stands.
        gap_ns : int
            From the next interval until that one.
        """
        mean, deviation = self.level(index)
        half_life_ns = self.speed(index)[0] * MINUTE_NS
        news = 0.0
        if seen is not None:
            fade = float(2.0 ** (-gap_ns / half_life_ns))
            news = float(news_of(self.state, index, seen, offset + mean + fade * deviation, self._huber))
        return Ahead(
            mean,
            deviation,
            max(float(self.state[index, SWING]), 0.0),
            news,
            max(float(self.state[index, TOLD]), 0.0),
            half_life_ns,
        )

    def speed(self, index: int) -> tuple[float, float]:
        """Return the half-life of a deviation, minutes, and the gain."""
        phi, gain = speed(self.state, index, self._minutes, self._prior)
        return -self._minutes / math.log2(phi), float(gain)

    def level(self, index: int) -> tuple[float, float]:
        """Return the mean and the deviation expected of the next minute."""
        return float(self.state[index, MEAN]), float(self.state[index, DEVIATION])

    def changes(self, index: int) -> int:
        """Return how many changes of regime there have been."""
        return int(self.state[index, CHANGES])

    def information(self, index: int) -> float:
        """Return the discounted sum of weights behind the mean, in minutes."""
        return float(self.state[index, INFO])

    def sd_ahead(self, index: int) -> float:
        """Return the standard deviation of a forecast one minute ahead, in logs."""
        return math.sqrt(max(float(self.state[index, VAR_AHEAD]), 0.0))

    def save(self) -> list[list[float]]:
        """Return the state as JSON-ready numbers."""
        rows: list[list[float]] = self.state.tolist()
        return rows

    def load(self, rows: list[list[float]]) -> None:
        """Continue from what `save` returned.

        Raises
        ------
        ValueError
            If the shape is another.
        """
        state = np.array(rows, dtype=np.float64)
        if state.shape != self.state.shape:
            raise ValueError(
                f"model state: series {state.shape}, not {self.state.shape}; it was made with other settings"
            )
        self.state = state
