"""From the outlook of a series to levels in the intervals ahead, compiled."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from impactd.core.base.jit import inner_kernel, kernel
from impactd.core.model.curves import Float, Int
from impactd.core.model.profile.profile import interpolate
from impactd.core.model.series.columns import FAST, MEAN, SLOW
from impactd.core.model.series.series import FAST_HALF_LIFE, SLOW_HALF_LIFE, level_at, outlook

#: A log level is kept within this, so that every coefficient is positive and finite for any input.
LOG_LIMIT: Final = 80.0
_MINUTE_NS: Final = 60e9


@inner_kernel
def _level(profile: float, mean: float, slow: float, fast: float, correction: float, by: tuple[float, float]) -> float:
    """Return a level `by` whose factors the slow and the fast part of its distance from the mean have decayed."""
    log_level = profile + mean + correction
    log_level += slow * by[0] + fast * by[1]
    return math.exp(min(max(log_level, -LOG_LIMIT), LOG_LIMIT))


@kernel
def levels_at(
    starts: Int,
    positions: Float,
    from_ns: int,
    knots: Float,
    values: Float,
    spread: tuple[float, float, float, float, float],
    excess: tuple[float, float, float, float, float],
    offset: float,
    least: float,
    half_spread: Float,
    over: Float,
) -> None:
    """Fill both levels for intervals that begin at `starts`; see `impactd.core.model.series.series`.

    Parameters
    ----------
    starts : ndarray of int64, shape (N,)
        UTC ns; one before `from_ns` is in progress and counts as the first.
    positions : ndarray of float64, shape (N,)
        Of their midpoints in the session.
    from_ns : int
        Begin of the current interval.
    knots : ndarray of float64, shape (K,)
    values : ndarray of float64, shape (2, K)
        The profile.
    spread, excess : tuple of float
        See `Outlook`.
    offset, least : float
        Part of the half-spread that is taken off the excess, and the least part of it that is left.
    half_spread, over : ndarray of float64, shape (N,)
        Filled.
    """
    for i in range(starts.shape[0]):
        minutes = max(float(starts[i] - from_ns), 0.0) / _MINUTE_NS
        by = (math.exp2(-minutes / SLOW_HALF_LIFE), math.exp2(-minutes / FAST_HALF_LIFE))
        mean, slow, fast, correction, _ = spread
        half_spread[i] = _level(interpolate(knots, values[0], positions[i]), mean, slow, fast, correction, by)
        mean, slow, fast, correction, _ = excess
        level = _level(interpolate(knots, values[1], positions[i]), mean, slow, fast, correction, by)
        over[i] = max(level - offset * half_spread[i], least * half_spread[i])


@kernel
def levels_ahead(
    starts: Int,
    positions: Float,
    from_ns: int,
    here: float,
    missed: float,
    knots: Float,
    values: Float,
    spread: Float,
    of_spread: Float,
    spread_weights: tuple[float, float, float],
    excess: Float,
    of_excess: Float,
    excess_weights: tuple[float, float, float],
    sizes: Float,
    size: float,
    book: tuple[float, float],
    offset: float,
    least: float,
    half_spread: Float,
    over: Float,
) -> float:
    """Fill both levels as `levels_at` does, from the state of both series; return the spread's anticipated variance.

    Parameters
    ----------
    here : float
        Position in the session of the current interval's midpoint.
    missed : float
        Minutes from the last minute's end until the current interval begins.
    spread, excess : ndarray of float64, shape (1, N_LEVEL) and (M, N_LEVEL)
    of_spread, of_excess : ndarray of float64, shape (N_SERIES,)
        What the levels of a series share.
    sizes : ndarray of float64, shape (M,)
        Of the excess series, shares.
    size : float
        At which the excess is read.
    book : tuple of float
        Half-spread and excess at `size` of the prevailing book; 0 without one.
    """
    mean = spread[0, MEAN]
    from_mean = spread[0, FAST] - mean, spread[0, SLOW] - mean
    profile = interpolate(knots, values[0], here), interpolate(knots, values[1], here)
    of_half = outlook(mean, from_mean[0], from_mean[1], book[0], profile[0], missed, of_spread, spread_weights)
    mean, fast, slow = level_at(sizes, excess, size)
    of_over = outlook(mean, fast, slow, book[1], profile[1], missed, of_excess, excess_weights)
    levels_at(starts, positions, from_ns, knots, values, of_half, of_over, offset, least, half_spread, over)
    return of_half[4]


@kernel
def variance_at(starts: Int, from_ns: int, variance: float) -> Float:
    """Return the variance of what will be seen of log levels by when intervals begin: ``V (1 - 4^-h)``."""
    out = np.empty(starts.shape[0])
    for i in range(starts.shape[0]):
        minutes = max(float(starts[i] - from_ns), 0.0) / _MINUTE_NS
        out[i] = variance * (1.0 - math.exp2(-2.0 * minutes / FAST_HALF_LIFE))
    return out
