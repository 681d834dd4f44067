r"""Speed and gain of a log series, and changes of its regime.

Speed and gain
--------------
An AR(1) deviation that is the share r of the variance, the rest being noise, has
autocorrelations :math:`c_k = r \phi^k`, and with its own exponentially weighted past
(factor :math:`\kappa`) the correlation :math:`c_A = r \phi (1 - \kappa) / (1 - \kappa \phi)`.
Both are kept as discounted sums and shrunk to what the settings say of them, which
counts as much as `PRIOR_MINUTES`.  Their moments give

.. math::

   \phi = \frac{1 - (1 - \kappa) c_1 / c_A}{\kappa}, \qquad r = c_1 / \phi, \qquad
   \gamma = \tfrac12 K(\phi, r)

with K the gain of the steady-state filter for these: half of it, since a plan acts on what the
filter says and a filter's loss is blind to that.  Half-lives stay within
`FASTEST_MINUTES` and `SLOWEST_MINUTES`, gains within `LEAST_GAIN` and `MOST_GAIN`.

Regimes
-------
Two cumulative sums of the standardised residuals, unweighted but bounded at
`CUSUM_BOUND`, look for a lasting rise or fall (Page [1]_): at `CUSUM_ALARM` the
information behind the mean is cut to `REGIME_MINUTES`, so that it adapts
faster, and the change is counted.

References
----------
.. [1] Page (1954), Continuous Inspection Schemes, Biometrika 41(1/2), 100-115.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import inner_kernel, kernel
from impactd.core.model.series.columns import (
    CHANGES,
    FALL,
    INFO,
    RISE,
    SUM_LAST,
    SUM_PAST,
    SUM_SQUARE,
    SUM_WEIGHT,
)

Float = npt.NDArray[np.float64]

#: The past of residuals halves over so many minutes.
PAST_MINUTES: Final = 15.0
#: What the settings say of speed and gain counts as much as so many minutes; minutes count half after so many.
PRIOR_MINUTES: Final = 390.0
SPEED_HALF_LIFE: Final = 390.0
#: Bounds of a deviation's half-life, minutes, and of the gain.
FASTEST_MINUTES: Final = 5.0
SLOWEST_MINUTES: Final = 60.0
LEAST_GAIN: Final = 0.05
MOST_GAIN: Final = 0.3
#: The gain is so much of what the steady-state filter has.
BELIEF: Final = 1.0 / 3.0
#: Drift that the sums for a change allow, bound of one minute, and where they alarm, all in standard deviations.
CUSUM_DRIFT: Final = 1.0
CUSUM_BOUND: Final = 3.0
CUSUM_ALARM: Final = 8.0
#: Minutes that are left behind the mean once the level has changed.
REGIME_MINUTES: Final = 2.0


@inner_kernel
def clipped(value: float, bound: float) -> float:
    """Return `value` within [-bound, bound]."""
    return min(max(value, -bound), bound)


@inner_kernel
def speed_of(state: Float, i: int, minutes: float, prior: tuple[float, float, float, float]) -> tuple[float, float]:
    """Return phi of one interval of `minutes`, and the gain, of series `i`; see the module's formulas.

    Parameters
    ----------
    state : ndarray of float64, shape (M, N_FIELDS)
    minutes : float
        Length of an interval.
    prior : tuple of float
        Half-life in minutes, gain and r, as the settings have it, and as how many minutes that counts; inf where
        the series' own moments do not.
    """
    half_life, gain, signal, prior_minutes = prior
    phi = 2.0 ** (-minutes / half_life)
    if np.isinf(prior_minutes) or state[i, SUM_SQUARE] <= 0.0:
        return phi, gain
    kappa = 2.0 ** (-minutes / PAST_MINUTES)
    own = state[i, SUM_WEIGHT] / (state[i, SUM_WEIGHT] + prior_minutes)
    before = signal * phi
    lag = own * state[i, SUM_LAST] / state[i, SUM_SQUARE] + (1.0 - own) * before
    past = own * state[i, SUM_PAST] / state[i, SUM_SQUARE]
    past += (1.0 - own) * before * (1.0 - kappa) / (1.0 - kappa * phi)
    fast = 2.0 ** (-minutes / min(FASTEST_MINUTES, half_life))
    slow = 2.0 ** (-minutes / max(SLOWEST_MINUTES, half_life))
    phi = (1.0 - (1.0 - kappa) * lag / past) / kappa if past > 0.0 else fast
    phi = min(max(phi, fast), slow)
    signal = min(max(lag / phi, 0.0), 1.0)
    own_gain = BELIEF * steady_gain(phi, signal)
    return phi, min(max(own_gain, min(LEAST_GAIN, gain)), max(MOST_GAIN, gain))


@inner_kernel
def steady_gain(phi: float, signal: float) -> float:
    """Return the gain of the steady-state filter of an AR(1) that is the share `signal` of variance 1."""
    noise, news = 1.0 - signal, signal * (1.0 - phi * phi)
    b = noise * (1.0 - phi * phi) - news
    error = 0.5 * (np.sqrt(b * b + 4.0 * news * noise) - b)
    return float(error / (error + noise)) if error + noise > 0.0 else 0.0


def signal_of(phi: float, gain: float) -> float:
    """Return the share of the variance for which `BELIEF` times `steady_gain` is `gain`."""
    whole = min(gain / BELIEF, 0.95)
    a = whole * (1.0 / (1.0 - whole) - phi * phi)
    return a / (a + 1.0 - phi * phi)


@inner_kernel
def watch(state: Float, i: int, residual: float) -> None:
    """Take a standardised residual into the sums that look for a change, and act on one."""
    bounded = clipped(residual, CUSUM_BOUND)
    state[i, RISE] = max(state[i, RISE] + bounded - CUSUM_DRIFT, 0.0)
    state[i, FALL] = max(state[i, FALL] - bounded - CUSUM_DRIFT, 0.0)
    if max(state[i, RISE], state[i, FALL]) > CUSUM_ALARM:
        state[i, RISE] = state[i, FALL] = 0.0
        state[i, INFO] = min(state[i, INFO], REGIME_MINUTES)
        state[i, CHANGES] += 1.0


@kernel
def speed(state: Float, i: int, minutes: float, prior: tuple[float, float, float, float]) -> tuple[float, float]:
    """Return `speed_of` series `i`."""
    return speed_of(state, i, minutes, prior)
