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
:math:`\phi` halves a deviation over the reversion's, and a is the deviation
expected of the next minute.  h steps ahead the forecast is
:math:`m + \phi^{h-1} a`: after a single surprise :math:`\gamma` times the
surprise, and the mean in the long run.  This is the steady-state Kalman
filter of an AR(1) deviation in predictor form with a set gain ([1]_, 3.3-3.4);
the gain stays well below 1, because a plan that believes each minute trades
too much on noise.

The mean is kept in innovation form (m, I), which is information-form least
squares for one regressor and has an exact fixed point: equal observations
leave m as it is, to the last bit.

The scale is an exponentially weighted mean of squared residuals, each bounded
at the Huber point, so that one broken minute widens it little.

The standing book
-----------------
The book that stands at a minute's end says more of the next minute than the
minute's average does, and less than it seems to.  With its log level b and
the forecast f of the next minute, the news n = b - f moves the forecast by
w n, where w is the regression of what the next minute then brought,

.. math:: w = \frac{\sum \lambda^{n-i} n_i (y_i - f_i)}{\sum \lambda^{n-i} n_i^2},

over this series' own past, begun at `START_BELIEF` and kept within
[0, `MOST_BELIEF`].

What a later choice is worth
----------------------------
A schedule that is planned anew each minute trades in interval u at the level
seen *then*.  With a separable cost and the multiplier as good as constant, it
will trade there :math:`(\mu - s_u) / 2 b_u`, so what counts of an interval still
ahead is the mean of :math:`1/b_u`: for a lognormal level its median times
:math:`e^{-V/2}`, V the variance with which the level swings about its mean.
h intervals ahead that has grown to :math:`V (1 - \phi^{2(h-1)})`.  A plan that
took medians would trade too early, as one does who thinks that today's price
is the last good one.  V (`SWING`) starts at 0, so that equal minutes get equal
plans.

All numbers of several candidates (one an exponent of the power model) stand
in one array and are stepped together, in a fixed order.

References
----------
.. [1] Harvey (1989), Forecasting, Structural Time Series Models and the Kalman Filter.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from impactd.core.jit import inner_kernel, kernel

Float = npt.NDArray[np.float64]

#: Columns of the state.
MEAN: Final = 0
INFO: Final = 1
DEVIATION: Final = 2
#: Mean squares of the one-minute-ahead residual and of the residual from the mean, and their weight.
VAR_AHEAD: Final = 3
VAR_LEVEL: Final = 4
VAR_INFO: Final = 5
#: Mean square of the residual from the mean that begins at 0 and has to be earned.
SWING: Final = 6
#: Sums of the standing book's news times what came, and of its square.
NEWS_XY: Final = 7
NEWS_XX: Final = 8
#: Log level of the book at the last minute's end, and whether there was one (1 or 0).
SEEN: Final = 9
HAS_SEEN: Final = 10
N_FIELDS: Final = 11

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
def clipped(value: float, bound: float) -> float:
    """Return `value` within [-bound, bound]."""
    return min(max(value, -bound), bound)


@inner_kernel
def believed_news(state: Float, i: int, seen: float, forecast: float, huber: float) -> float:
    """Return by how much a book of log level `seen` moves the log forecast of series `i`."""
    bound = huber * np.sqrt(max(state[i, VAR_LEVEL], MIN_SD * MIN_SD))
    news = clipped(seen - forecast, bound)
    if abs(news) < NO_NEWS:
        return 0.0
    return float(min(max(state[i, NEWS_XY] / state[i, NEWS_XX], 0.0), MOST_BELIEF) * news)


@kernel
def step_series(
    state: Float,
    level: Float,
    offset: float,
    weight: float,
    forget: float,
    gap: float,
    revert: float,
    gain: float,
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
    gap : float
        What the deviation is multiplied by for minutes that were missing.
    revert : float
        The same for one minute (phi).
    gain, huber : float
        Gain of the deviation; Huber point in standard deviations.
    """
    for i in range(state.shape[0]):
        y = np.log(level[i]) - offset
        info = forget * state[i, INFO]
        deviation = gap * state[i, DEVIATION]
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
            state[i, SWING] += share * (square - state[i, SWING])
            state[i, VAR_INFO] = var_info
            state[i, NEWS_XY] *= forget
            state[i, NEWS_XX] *= forget
            if state[i, HAS_SEEN] > 0.0 and gap == 1.0:
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
        state[i, DEVIATION] = revert * deviation + gain * weight * trust * (y - state[i, MEAN] - deviation)


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


class Ahead(NamedTuple):
    """What a series expects of the intervals ahead, in logs; see the module's formulas.

    Attributes
    ----------
    mean, deviation : float
        The mean less the profile, and the deviation of the next interval.
    swing : float
        V.
    news : float
        What the standing book adds to the interval in which it stands.
    """

    mean: float
    deviation: float = 0.0
    swing: float = 0.0
    news: float = 0.0


class DampedSeries:
    """The live state of `count` series that see the same minutes.

    Parameters
    ----------
    count : int
        Number of candidates.
    gain, huber : float
        See the module's formulas.
    """

    __slots__ = ("_gain", "_huber", "state")

    def __init__(self, count: int, gain: float, huber: float) -> None:
        self._gain = gain
        self._huber = huber
        self.state = np.zeros((count, N_FIELDS))
        self.state[:, VAR_AHEAD] = START_SD * START_SD
        self.state[:, VAR_LEVEL] = START_SD * START_SD
        self.state[:, VAR_INFO] = START_MINUTES
        self.state[:, NEWS_XX] = START_MINUTES * START_NEWS_SD * START_NEWS_SD
        self.state[:, NEWS_XY] = START_BELIEF * self.state[:, NEWS_XX]

    def update(self, level: Float, offset: float, weight: float, forget: float, gap: float, revert: float) -> None:
        """Take one minute in; see `step_series`."""
        step_series(self.state, level, offset, weight, forget, gap, revert, self._gain, self._huber)

    def see(self, level: Float) -> None:
        """Take in the levels, shape (M,), of the book that stands at the end of the minute just taken in."""
        see_book(self.state, level)

    def ahead(self, index: int, seen: float | None, offset: float, fade: float) -> Ahead:
        """Return what the series expects of the intervals ahead.

        Parameters
        ----------
        index : int
            Candidate.
        seen : float or None
            Level of the standing book, positive.
        offset : float
            The profile's log level in the interval in which it stands.
        fade : float
            What the deviation is multiplied by until then.
        """
        mean, deviation = self.level(index)
        news = 0.0
        if seen is not None:
            news = float(news_of(self.state, index, seen, offset + mean + fade * deviation, self._huber))
        return Ahead(mean, deviation, float(self.state[index, SWING]), news)

    def level(self, index: int) -> tuple[float, float]:
        """Return the mean and the deviation expected of the next minute."""
        return float(self.state[index, MEAN]), float(self.state[index, DEVIATION])

    def information(self, index: int) -> float:
        """Return the discounted sum of weights behind the mean, in minutes."""
        return float(self.state[index, INFO])

    def sd_ahead(self, index: int) -> float:
        """Return the standard deviation of a forecast one minute ahead, in logs."""
        return math.sqrt(max(float(self.state[index, VAR_AHEAD]), 0.0))

    def variance_of_average(self, index: int, n: int, revert: float) -> float:
        """Return the variance of the average log error over the next `n` intervals.

        Residuals from the mean are taken as AR(1) with coefficient `revert`, so
        that neighbouring minutes are not summed as independent, plus the error of
        the mean itself with the same correlation:

            v [ (1/n^2) sum_{i,j} revert^|i-j|  +  1 / max(I (1 - revert) / (1 + revert), 1) ]
        """
        variance = float(self.state[index, VAR_LEVEL])
        independent = self.information(index) * (1 - revert) / (1 + revert)
        return variance * (ar1_average(n, revert) + 1.0 / max(independent, 1.0))

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


def ar1_average(n: int, phi: float) -> float:
    """Return the variance of the average of n successive values of an AR(1) of variance 1.

    ``(1/n^2) [ n (1 + phi)/(1 - phi) - 2 phi (1 - phi^n)/(1 - phi)^2 ]``
    """
    if n <= 1:
        return 1.0
    return (n * (1 + phi) / (1 - phi) - 2 * phi * (1 - phi**n) / (1 - phi) ** 2) / (n * n)
