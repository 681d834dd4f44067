"""From the outlook of a series to levels in the intervals ahead, compiled."""

from __future__ import annotations

from typing import Final

import numpy as np

from impactd.core.base.jit import kernel
from impactd.core.model.curves import Float, Int
from impactd.core.model.profile.profile import interpolate
from impactd.core.model.series.series import FAST_HALF_LIFE, SLOW_HALF_LIFE

#: A log level is kept within this, so that every coefficient is positive and finite for any input.
LOG_LIMIT: Final = 80.0
_MINUTE_NS: Final = 60e9


@kernel
def levels_at(
    starts: Int,
    positions: Float,
    from_ns: int,
    knots: Float,
    values: Float,
    outlook: tuple[float, float, float, float, float],
) -> Float:
    """Return levels for intervals that begin at `starts`; see `impactd.core.model.series.series`.

    Parameters
    ----------
    starts : ndarray of int64, shape (N,)
        UTC ns; one before `from_ns` is in progress and counts as the first.
    positions : ndarray of float64, shape (N,)
        Of their midpoints in the session.
    from_ns : int
        Begin of the current interval.
    knots, values : ndarray of float64, shape (K,)
        The profile.
    outlook : tuple of float
        See `Outlook`.
    """
    mean, slow, fast, correction, _ = outlook
    out = np.empty(starts.shape[0])
    for i in range(starts.shape[0]):
        minutes = max(float(starts[i] - from_ns), 0.0) / _MINUTE_NS
        log_level = interpolate(knots, values, positions[i]) + mean + correction
        log_level += slow * 2.0 ** (-minutes / SLOW_HALF_LIFE) + fast * 2.0 ** (-minutes / FAST_HALF_LIFE)
        out[i] = np.exp(min(max(log_level, -LOG_LIMIT), LOG_LIMIT))
    return out


@kernel
def variance_at(starts: Int, from_ns: int, variance: float) -> Float:
    """Return the variance of what will be seen of log levels by when intervals begin: ``V (1 - 4^-h)``."""
    out = np.empty(starts.shape[0])
    for i in range(starts.shape[0]):
        minutes = max(float(starts[i] - from_ns), 0.0) / _MINUTE_NS
        out[i] = variance * (1.0 - 2.0 ** (-2.0 * minutes / FAST_HALF_LIFE))
    return out
