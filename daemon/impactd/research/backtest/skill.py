r"""How good the forecasts were, by horizon, and whether the bands of cost held.

Forecasts are of the per-share impact g at one size, a tenth of the day's mean
visible depth.  h intervals ahead, made when interval t began, they are
compared with what the books of interval t + h - 1 showed, next to two naive
ones made at the same time:

- *persistence*: what interval t - 1 showed;
- *expanding mean*: the mean of all that the session showed before t.

The log error is :math:`\log(\hat g / g)`: its mean is the bias, its mean size
the error.  The rank correlation (Spearman) is taken within a day and side and
then averaged: whether expensive intervals were distinguished from cheap ones.

A band of a plan's cost is judged by its coverage: how often it held the cost of the plan made at an order's start,
kept unchanged; and how often it held the cost of what was traded in the end, replanned each interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.stats import norm, rankdata

from impactd.core.inputs.ticks import Float
from impactd.research.backtest.evaluate import ENGINE, Outcome
from impactd.research.backtest.study import DayForecasts

#: Intervals ahead.
HORIZONS: Final = (1, 5, 15, 30, 60)

FORECASTS: Final = ("engine", "persistence", "expanding_mean")

#: Levels at which a band's shape is examined, for the picture.
LEVELS: Final = tuple(k / 20 for k in range(1, 20))

_Z80: Final = float(norm.ppf(0.9))


class _Pair(NamedTuple):
    forecast: Float
    realised: Float


def skill(studies: Sequence[DayForecasts]) -> list[dict[str, Any]]:
    """Return one row per horizon and forecast.

    Returns
    -------
    list of dict
        ``horizon`` (intervals), ``forecast``, ``n``, ``log_error`` (mean size),
        ``log_bias``, ``log_rmse``, ``rank_correlation`` (None where nothing varies).
    """
    rows = []
    for horizon in HORIZONS:
        found = [_pairs(study, row, horizon) for study in studies for row in range(2)]
        for name in FORECASTS:
            pairs = [pairs[name] for pairs in found if name in pairs]
            errors = np.concatenate([np.log(pair.forecast / pair.realised) for pair in pairs] or [np.zeros(0)])
            if not errors.size:
                continue
            ranks = [value for value in (rank_correlation(*pair) for pair in pairs) if value is not None]
            rows.append(
                {
                    "horizon": horizon,
                    "forecast": name,
                    "n": int(errors.size),
                    "log_error": float(np.abs(errors).mean()),
                    "log_bias": float(errors.mean()),
                    "log_rmse": float(np.sqrt((errors**2).mean())),
                    "rank_correlation": float(np.mean(ranks)) if ranks else None,
                }
            )
    return rows


def _pairs(study: DayForecasts, row: int, horizon: int) -> dict[str, _Pair]:
    """Return forecast and realised values, of the same intervals for every forecaster."""
    came = study.realised[row]
    n = came.shape[0]
    made = np.arange(1, n - horizon + 1)
    if made.size == 0:
        return {}
    total = np.cumsum(np.nan_to_num(came))
    count = np.cumsum(np.isfinite(came))
    with np.errstate(invalid="ignore", divide="ignore"):
        by_name = {
            "engine": study.impact[row][made, made + horizon - 1],
            "persistence": came[made - 1],
            "expanding_mean": total[made - 1] / count[made - 1],
        }
    target = came[made + horizon - 1]
    good = np.isfinite(target) & (target > 0.0)
    for values in by_name.values():
        good &= np.isfinite(values) & (values > 0.0)
    return {name: _Pair(values[good], target[good]) for name, values in by_name.items()} if good.any() else {}


def rank_correlation(forecast: Float, realised: Float) -> float | None:
    """Return Spearman's rank correlation; None where nothing varies."""
    if forecast.size < 3 or np.ptp(forecast) == 0.0 or np.ptp(realised) == 0.0:
        return None
    return float(np.corrcoef(rankdata(forecast), rankdata(realised))[0, 1])


def calibration(outcomes: Iterable[Outcome], kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Return how often costs fell into the bands that plans had at their start.

    Returns
    -------
    list of dict
        One row per kind of window: ``orders``, and for the plan ``as_planned`` and
        the path ``as_traded``: ``band80``, ``band95`` (share inside, None
        without such a band), ``below80`` and ``above80``, ``log_ratio`` (mean of
        log(realised / expected)) and ``levels`` (share inside at each of
        `LEVELS`, the band's two halves taken as those of a lognormal).
    """
    outcomes = list(outcomes)
    rows = []
    for kind in kinds:
        mine = [o for o in outcomes if kind in o.priced.windows and o.first is not None and o.first.cost_band]
        if not mine:
            continue
        row: dict[str, Any] = {"window": kind, "orders": len(mine)}
        for name, costs in (
            ("as_planned", [o.first_cost for o in mine]),
            ("as_traded", [o.priced.cost[ENGINE] for o in mine]),
        ):
            row[name] = _coverage(mine, [cost or 0.0 for cost in costs])
        rows.append(row)
    return rows


def _coverage(outcomes: Sequence[Outcome], costs: Sequence[float]) -> dict[str, Any]:
    expected, band80, band95 = [], [], []
    for outcome in outcomes:
        plan = outcome.first
        if plan is not None and plan.cost_band is not None and plan.expected_cost is not None:
            expected.append(plan.expected_cost)
            band80.append(plan.cost_band)
            band95.append(getattr(plan, "cost_band_95", None) or (math.nan, math.nan))
    cost, middle = np.array(costs), np.array(expected)
    low, high = np.array(band80).T
    outer = np.array(band95).T
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(cost / middle)
        half = np.where(ratio >= 0.0, np.log(high / middle), np.log(middle / low)) / _Z80
        z = np.abs(ratio) / half
    return {
        "band80": float(np.mean((cost >= low) & (cost <= high))),
        "band95": None if np.isnan(outer).any() else float(np.mean((cost >= outer[0]) & (cost <= outer[1]))),
        "below80": float(np.mean(cost < low)),
        "above80": float(np.mean(cost > high)),
        "log_ratio": float(ratio.mean()),
        "levels": [float(np.mean(z <= norm.ppf(0.5 + level / 2.0))) for level in LEVELS],
    }
