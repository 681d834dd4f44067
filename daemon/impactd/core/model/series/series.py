r"""A liquidity level by minute: its mean, a nowcast of the coming minute, and its decay to the mean.

y is the logarithm of a level less its session profile.  A series has one or several levels that see the
same minutes (the excess at each size of a grid); one of them, the reference, is what its trust, its errors and
its changes are measured by.

.. math::

   m   &: \text{mean, with a half-life of 60 minutes of open market}              \\
   M_3, M_{10} &: \text{exponentially weighted means of 3 and 10 minutes}          \\
   b   &: \text{the book that prevails at the decision}                            \\
   x   &= a (e^{b - m} - 1) + c (e^{M_3 - m} - 1) - d (e^{M_{10} - m} - 1)           \\
   \text{now} &= m + \log(1 + \kappa x)                                             \\
   \text{slow} &= \tfrac13 \kappa (M_{10} - m), \qquad \text{fast} = \text{now} - m - \text{slow} \\
   \hat y_h &= m + \text{slow} \, 2^{-h/30} + \text{fast} \, 2^{-h} + \tfrac12 \sigma^2

h is in minutes, 0 for the current interval.  The weights (a, c, d) are pooled over symbols (`Weights`); they and the
two half-lives were fitted on recorded days (ADR 22).  Means are kept in logs, so that one broken minute leaves little
behind; the signals are relative levels, since a book that is thin at the top says more about the minute than one
that is deep.  :math:`\sigma^2`, the mean squared error of the nowcast, makes a mean of a median: a plan pays means.

**Trust.** :math:`\kappa` is the regression of what a minute brought on x, over this series' own past and
shrunk to `PRIOR_TRUST`, which counts as much as `PRIOR_TRUST_MINUTES` of usual signals.  Where minutes
are independent draws it falls to 0, and plans stay even.

**What will be seen.** V, the mean square of :math:`\log(1 + \kappa x)`, is by how much nowcasts differ from the
mean: an interval h minutes ahead will be seen to depart from its forecast by a variance of
:math:`V (1 - 4^{-h})` before it begins.  `impactd.core.allocator.optionality` computes what that is worth.
It begins at 0, so that equal minutes get equal plans.

**Changes.** A lasting change of the reference level is looked for by `impactd.core.model.series.regime`.

The mean is kept in innovation form (m, evidence), which has an exact fixed point: equal observations leave it as
it is, to the last bit.
"""

from __future__ import annotations

import base64
import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import inner_kernel, kernel
from impactd.core.base.settings import MINUTE_NS
from impactd.core.model.series.columns import (
    BOOK,
    CHANGES,
    FAST,
    HAS_BOOK,
    INFO,
    MEAN,
    N_LEVEL,
    N_SERIES,
    SLOW,
    SQ_ERROR,
    SQ_LEVEL,
    SQ_NOWCAST,
    TRUST_XX,
    TRUST_XY,
    WEIGHT,
)
from impactd.core.model.series.regime import EVIDENCE_LEFT, watch

Float = npt.NDArray[np.float64]

#: Time constants of the two short means, minutes.
FAST_MINUTES: Final = 3.0
SLOW_MINUTES: Final = 10.0
#: Part of the ten-minute deviation that goes slowly, and the half-lives of both parts, minutes.
SLOW_PART: Final = 1.0 / 3.0
SLOW_HALF_LIFE: Final = 30.0
FAST_HALF_LIFE: Final = 1.0
#: Signals: a book counts as at most so much above the mean, relative to it; and their sum stays within these.
MOST_BOOK: Final = 4.0
LEAST_SIGNAL: Final = -0.8
MOST_SIGNAL: Final = 2.0
#: Trust before a series has shown what its signals are worth; it counts as this many minutes of signals with this mean
#: square.
PRIOR_TRUST: Final = 0.3
PRIOR_TRUST_MINUTES: Final = 40.0
USUAL_SIGNAL: Final = 0.03
MOST_TRUST: Final = 1.25
#: Trust and variances forget with this half-life, minutes of open market: five United States sessions.
MEMORY_MINUTES: Final = 1_950.0
#: Prior: a level moves by half its size from minute to minute, with the weight of this many minutes.
START_SD: Final = 0.5
START_MINUTES: Final = 5.0
#: Standard deviations are taken as no smaller than this where they judge a distance, and distances count as at most so
#: many of them: a still market must not make its first move an outlier forever.
LEAST_SD: Final = 0.1
HUBER: Final = 3.0
#: Evidence below this is none: a level that was only extrapolated to begins with the next minute.
LEAST_INFO: Final = 1.0 / 16.0
#: A book within this of the mean, relative to it, is the mean: equal books make equal plans.
ROUNDING: Final = 1e-9


class Weights(NamedTuple):
    """Weights of the prevailing book, the three-minute and the ten-minute mean."""

    book: float
    fast: float
    slow: float


#: Pooled over A-share days 1 to 40 of three symbols, in round numbers (ADR 22).
SPREAD_WEIGHTS: Final = Weights(0.2, 0.5, 0.1)
EXCESS_WEIGHTS: Final = Weights(0.4, 0.4, 0.1)


class Outlook(NamedTuple):
    """What a series expects, in logs; see the module's formulas."""

    #: m, less the profile.
    mean: float
    #: Parts of the nowcast's distance from it.
    slow: float = 0.0
    fast: float = 0.0
    #: From a median to a mean.
    correction: float = 0.0
    #: V.
    anticipated_variance: float = 0.0


@inner_kernel
def _relative(distance: float) -> float:
    """Return ``e^distance - 1``, 0 where that is rounding."""
    value = math.expm1(min(distance, 50.0))
    return 0.0 if abs(value) < ROUNDING else value


@inner_kernel
def _signal(fast: float, slow: float, book: float, weights: tuple[float, float, float]) -> float:
    """Return x from the two means' distances from the mean, in logs, and the book's, relative."""
    x = weights[0] * book + weights[1] * _relative(fast) - weights[2] * _relative(slow)
    return min(max(x, LEAST_SIGNAL), MOST_SIGNAL)


@inner_kernel
def _trust(shared: Float) -> float:
    prior = PRIOR_TRUST_MINUTES * USUAL_SIGNAL
    kappa = (shared[TRUST_XY] + PRIOR_TRUST * prior) / (shared[TRUST_XX] + prior)
    return float(min(max(kappa, 0.0), MOST_TRUST))


@inner_kernel
def _sd(shared: Float, column: int) -> float:
    """Return the standard deviation behind a sum of squares, with its start."""
    square = (shared[column] + START_MINUTES * START_SD * START_SD) / (shared[WEIGHT] + START_MINUTES)
    return math.sqrt(max(square, LEAST_SD * LEAST_SD))


@inner_kernel
def _bounded_square(distance: float, sd: float) -> float:
    within = min(abs(distance), HUBER * sd)
    return within * within


@kernel
def step_series(
    levels: Float,
    shared: Float,
    level: Float,
    offset: float,
    ref: int,
    weight: float,
    forget: float,
    memory: float,
    missed: float,
    minutes: float,
    weights: tuple[float, float, float],
) -> None:
    """Add one minute to the state.

    Parameters
    ----------
    levels : ndarray of float64, shape (M, N_LEVEL)
        Changed in place.
    shared : ndarray of float64, shape (N_SERIES,)
        Changed in place.
    level : ndarray of float64, shape (M,)
        Positive; its logarithm is taken here, since NumPy's differs between processors.
    offset : float
        The profile's log level, which is subtracted.
    ref : int
        The level that trust, errors and changes are measured by.
    weight : float
        Of the minute, in (0, 1].
    forget, memory : float
        What evidence behind means, and behind trust and variances, is multiplied by since the last minute.
    missed : float
        Minutes between the last minute's end and this one's begin.
    minutes : float
        Length of an interval.
    weights : tuple of float
        See `Weights`.
    """
    _age(levels, missed)
    shifted = False
    for column in (TRUST_XY, TRUST_XX, SQ_NOWCAST, SQ_ERROR, SQ_LEVEL, WEIGHT):
        shared[column] *= memory
    if levels[ref, INFO] >= LEAST_INFO:
        mean = levels[ref, MEAN]
        book = shared[BOOK] if shared[HAS_BOOK] > 0.0 and missed == 0.0 else 0.0
        x = _signal(levels[ref, FAST] - mean, levels[ref, SLOW] - mean, book, weights)
        step = math.log1p(_trust(shared) * x)
        distance = math.log(level[ref]) - offset - mean
        sd = _sd(shared, SQ_LEVEL)
        shared[TRUST_XY] += weight * x * min(_relative(distance), MOST_SIGNAL)
        shared[TRUST_XX] += weight * x * x
        shared[SQ_NOWCAST] += weight * step * step
        shared[SQ_ERROR] += weight * _bounded_square(distance - step, _sd(shared, SQ_ERROR))
        shared[SQ_LEVEL] += weight * _bounded_square(distance, sd)
        shared[WEIGHT] += weight
        shifted = watch(shared, distance / sd)
    shared[HAS_BOOK] = 0.0
    fast, slow = -math.expm1(-weight * minutes / FAST_MINUTES), -math.expm1(-weight * minutes / SLOW_MINUTES)
    for i in range(levels.shape[0]):
        y = math.log(level[i]) - offset
        if levels[i, INFO] < LEAST_INFO:
            levels[i, MEAN] = levels[i, FAST] = levels[i, SLOW] = y
            levels[i, INFO] = 0.0
        info = forget * levels[i, INFO]
        if shifted:
            info = min(info, EVIDENCE_LEFT)
        info += weight
        levels[i, INFO] = info
        levels[i, MEAN] += weight / info * (y - levels[i, MEAN])
        levels[i, FAST] += fast * (y - levels[i, FAST])
        levels[i, SLOW] += slow * (y - levels[i, SLOW])


@inner_kernel
def _age(levels: Float, missed: float) -> None:
    """Let the short means return to the mean over `missed` minutes."""
    if missed <= 0.0:
        return
    fast, slow = math.exp(-missed / FAST_MINUTES), math.exp(-missed / SLOW_MINUTES)
    for i in range(levels.shape[0]):
        levels[i, FAST] = levels[i, MEAN] + fast * (levels[i, FAST] - levels[i, MEAN])
        levels[i, SLOW] = levels[i, MEAN] + slow * (levels[i, SLOW] - levels[i, MEAN])


@kernel
def _shift(levels: Float, by: float) -> None:
    for i in range(levels.shape[0]):
        levels[i, MEAN] += by
        levels[i, FAST] += by
        levels[i, SLOW] += by


@kernel
def book_signal(level: float, offset: float, mean: float) -> float:
    """Return how far a book of positive `level` lies above the mean, relative to it."""
    return float(min(_relative(math.log(level) - offset - mean), MOST_BOOK))


@kernel
def outlook(
    mean: float,
    fast: float,
    slow: float,
    book: float,
    offset: float,
    missed: float,
    shared: Float,
    weights: tuple[float, float, float],
) -> tuple[float, float, float, float, float]:
    """Return what a series expects from an interval on: the fields of `Outlook`.

    Parameters
    ----------
    mean, fast, slow : float
        The log mean, and how far the fast and the slow mean are from it (`level_at`).
    book : float
        Level of the prevailing book, positive; 0 without one.
    offset : float
        The profile's log level in that interval.
    missed : float
        Minutes from the last minute's end until it begins.
    """
    fast *= math.exp(-missed / FAST_MINUTES)
    slow *= math.exp(-missed / SLOW_MINUTES)
    signal = book_signal(book, offset, mean) if book > 0.0 else 0.0
    kappa = _trust(shared)
    step = math.log1p(kappa * _signal(fast, slow, signal, weights))
    lasting = SLOW_PART * kappa * slow
    weight = shared[WEIGHT] + START_MINUTES
    return mean, lasting, step - lasting, 0.5 * shared[SQ_ERROR] / weight, shared[SQ_NOWCAST] / weight


@kernel
def level_at(sizes: Float, levels: Float, size: float) -> tuple[float, float, float]:
    """Return the log mean at a size, and how far the fast and the slow mean are from it there, in logs.

    Between sizes the level is linear, so a linear curve is met exactly; beyond them it continues by its last slope.
    """
    n = sizes.shape[0]
    if n == 1:
        return levels[0, MEAN], levels[0, FAST] - levels[0, MEAN], levels[0, SLOW] - levels[0, MEAN]
    k = 1
    while k < n - 1 and sizes[k] < size:
        k += 1
    share = (size - sizes[k - 1]) / (sizes[k] - sizes[k - 1])
    low, high = math.exp(levels[k - 1, MEAN]), math.exp(levels[k, MEAN])
    value = low + share * (high - low)
    if size < sizes[0]:
        value = max(value, low * size / sizes[0])
    elif size > sizes[n - 1]:
        value = max(value, high)
    within = min(max(share, 0.0), 1.0)
    fast = (1.0 - within) * (levels[k - 1, FAST] - levels[k - 1, MEAN]) + within * (levels[k, FAST] - levels[k, MEAN])
    slow = (1.0 - within) * (levels[k - 1, SLOW] - levels[k - 1, MEAN]) + within * (levels[k, SLOW] - levels[k, MEAN])
    return math.log(value), fast, slow


@kernel
def rebased(sizes: Float, levels: Float, to: Float) -> Float:
    """Return the levels at other sizes.

    A level outside of the sizes that were seen is known less, the farther it lies: its evidence falls with the
    square of the ratio, and below `LEAST_INFO` the next minute begins it again.
    """
    n = sizes.shape[0]
    out = np.empty((to.shape[0], levels.shape[1]))
    for i in range(to.shape[0]):
        mean, fast, slow = level_at(sizes, levels, to[i])
        k = 0
        while k < n - 1 and sizes[k] < to[i]:
            k += 1
        beyond = max(sizes[0] / to[i], to[i] / sizes[n - 1], 1.0)
        out[i, MEAN], out[i, INFO] = mean, levels[k, INFO] / (beyond * beyond)
        out[i, FAST], out[i, SLOW] = mean + fast, mean + slow
    return out


class LevelSeries:
    """The live state of the levels that see the same minutes."""

    __slots__ = ("_minutes", "levels", "shared", "weights")

    def __init__(self, weights: Weights, interval_ns: int = MINUTE_NS) -> None:
        #: See `Weights`.
        self.weights = (weights.book, weights.fast, weights.slow)  # a plain tuple reaches a kernel sooner
        self._minutes = interval_ns / MINUTE_NS
        #: Shape (M, N_LEVEL), M known with the first minute; and (N_SERIES,).
        self.levels = np.zeros((0, N_LEVEL))
        self.shared = np.zeros(N_SERIES)

    def update(
        self,
        level: Float,
        offset: float,
        ref: int,
        weight: float,
        forget: float,
        missed_minutes: float,
        open_minutes: float,
    ) -> None:
        """Add one minute; see `step_series`. `open_minutes` have passed since the last one."""
        if not len(self.levels):
            self.levels = np.zeros((len(level), N_LEVEL))
        memory = math.pow(2.0, -open_minutes / MEMORY_MINUTES)
        args = (ref, weight, forget, memory, missed_minutes, self._minutes, self.weights)
        step_series(self.levels, self.shared, level, offset, *args)

    def shift(self, by: float) -> None:
        """Move the means, as the profile that they are less moves the other way."""
        if by != 0.0:
            _shift(self.levels, by)

    def see(self, level: float, offset: float, ref: int) -> None:
        """Note the reference level of the book that prevails at the end of the minute just added."""
        self.shared[BOOK] = book_signal(level, offset, self.levels[ref, MEAN])
        self.shared[HAS_BOOK] = 1.0

    @property
    def trust(self) -> float:
        """How far nowcasts follow their signals: kappa."""
        prior = PRIOR_TRUST_MINUTES * USUAL_SIGNAL
        kappa = (self.shared[TRUST_XY] + PRIOR_TRUST * prior) / (self.shared[TRUST_XX] + prior)
        return float(min(max(kappa, 0.0), MOST_TRUST))

    @property
    def changes(self) -> int:
        """How many lasting changes there have been."""
        return int(self.shared[CHANGES])

    def information(self, index: int) -> float:
        """Return the minutes of evidence behind a mean."""
        return float(self.levels[index, INFO])

    @property
    def sd_ahead(self) -> float:
        """Standard deviation of a nowcast's error, in logs."""
        start = START_MINUTES * START_SD * START_SD
        return math.sqrt((float(self.shared[SQ_ERROR]) + start) / (float(self.shared[WEIGHT]) + START_MINUTES))

    def save(self) -> dict[str, Any]:
        """Return the state as JSON-ready values; `load` continues from it bit for bit."""
        return {
            "levels": base64.b64encode(np.ascontiguousarray(self.levels).tobytes()).decode("ascii"),
            "series": self.shared.tolist(),
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Continue from what `save` returned."""
        rows = np.frombuffer(base64.b64decode(saved["levels"]), np.float64)
        self.levels = rows.reshape(-1, N_LEVEL).copy()
        self.shared = np.array(saved["series"], dtype=np.float64)
