"""From the state of a log series to levels in the intervals ahead, compiled."""

from __future__ import annotations

from typing import Final

import numpy as np

from impactd.core.base.jit import kernel
from impactd.core.model.curves import Float, Int
from impactd.core.model.profile.profile import interpolate

#: A log level is kept within this, so that every coefficient is positive and finite whatever was fed in.
LOG_LIMIT: Final = 80.0


@kernel
def levels_at(
    starts: Int,
    positions: Float,
    next_ns: int,
    half_life_ns: float,
    knots: Float,
    values: Float,
    mean: float,
    deviation: float,
    news: float,
    news_ns: int,
) -> Float:
    r"""Return levels for intervals that begin at `starts`.

    ``exp(profile + mean + phi^(h-1) deviation + phi^(k-1) news)``,
    where k counts from `news_ns` as h does from `next_ns`; see `impactd.core.model.series.series`.

    Parameters
    ----------
    starts : ndarray of int64, shape (N,)
        UTC ns; one before `next_ns` is under way and counts as the next.
    positions : ndarray of float64, shape (N,)
        Of their midpoints in the session.
    next_ns : int
        Begin of the interval after the last one taken in (h = 1).
    half_life_ns : float
        Of the deviation.
    knots, values : ndarray of float64, shape (K,)
        The profile.
    mean, deviation : float
        The series, deviation as expected at h = 1.
    news : float
        What the standing book adds at k = 1.
    news_ns : int
        Begin of the interval that the standing book stands in.
    """
    out = np.empty(starts.shape[0])
    for i in range(starts.shape[0]):
        ahead = max(float(starts[i] - next_ns), 0.0)
        fade = 2.0 ** (-ahead / half_life_ns)
        log_level = interpolate(knots, values, positions[i]) + mean + deviation * fade
        if news != 0.0:
            log_level += news * 2.0 ** (-max(float(starts[i] - news_ns), 0.0) / half_life_ns)
        out[i] = np.exp(min(max(log_level, -LOG_LIMIT), LOG_LIMIT))
    return out


@kernel
def swings_at(starts: Int, next_ns: int, half_life_ns: float, swing: float, told: float) -> Float:
    """Return the variance of what will be seen of log levels by when intervals begin, beyond what is expected now.

    ``(1 - phi^(2(h-1))) swing``, and `told` where h > 1; other parameters as for `levels_at`.
    """
    out = np.empty(starts.shape[0])
    for i in range(starts.shape[0]):
        ahead = max(float(starts[i] - next_ns), 0.0)
        fade = 2.0 ** (-ahead / half_life_ns)
        out[i] = swing * (1.0 - fade * fade) + (told if ahead > 0.0 else 0.0)
    return out
