r"""Score what was trained on days that they have not seen.

Days are folds, over all symbols at once, since two symbols share their day.
Going ``forward``, each day is judged by what was learned on the days before
it; with ``each``, on all other days, which gives more evidence from few days, and too good a score if they have a
trend.
From the training data, rows
within `EMBARGO` of the judged days are left out, whose targets or averages
could reach into them.

Judged next to it are the default forecast, and persistence (the latest
minute's level).  They have no quantiles of their own; those of their errors on
the same training days, by horizon, are used instead.  With r the realised value and
f the median forecast, both in logs:

- the log error is the mean of :math:`|f - r|`;
- the pinball loss is the mean of :math:`\rho_p(r - q_p)` over the quantiles p;
- the rank correlation (Spearman) is taken within a day, side and horizon, and
  averaged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from impactd.core.base.settings import CoreSettings
from impactd.core.inputs.ticks import Float, Int
from impactd.core.model.learned.predictor import HORIZONS, QUANTILES, SERIES
from impactd.core.model.learned.trained import TrainedFile
from impactd.research.backtest.skill import rank_correlation
from impactd.research.learned.fit import fit
from impactd.research.learned.samples import Samples, stacked

SPLITS: Final = ("forward", "each")

FORECASTS: Final = ("learned", "default", "persistence")

#: Intervals around a judged day from which nothing is learned: the longest horizon.
EMBARGO: Final = max(HORIZONS)


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One day, judged by what was learned on others."""

    day: str
    train: tuple[Samples, ...]
    test: tuple[Samples, ...]


def folds(samples: Sequence[Samples], split: str, interval_ns: int) -> Iterator[Fold]:
    """Yield the folds in the order of their days; none where there is nothing to learn from.

    Parameters
    ----------
    split : str
        Of `SPLITS`.
    """
    for day in sorted({part.day for part in samples}):
        test = tuple(part for part in samples if part.day == day and len(part.target))
        if not test:
            continue
        first = min(int(part.target.min()) for part in test) - EMBARGO * interval_ns
        last = max(int(part.target.max()) for part in test) + EMBARGO * interval_ns
        others = [part for part in samples if part.day < day or (split == "each" and part.day != day)]
        train = tuple(kept for part in others if len((kept := _outside(part, first, last)).target))
        if train:
            yield Fold(day, train, test)


def _outside(part: Samples, first: int, last: int) -> Samples:
    """Return the rows whose targets lie before `first` or after `last`."""
    keep = (part.target < first) | (part.target > last)
    if keep.all():
        return part
    rows = {name: getattr(part, name)[keep] for name in ("horizon", "target", "x", "default", "last", "came")}
    return dataclasses.replace(part, **rows)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One symbol, day and side of a fold: what came, and what each forecaster predicted."""

    symbol: str
    #: Shape (n,). Intervals ahead.
    horizon: Int
    #: Shape (n, 2). As in `impactd.research.learned.samples.Samples`.
    came: Float
    #: Shape (n, 2). By forecast, logs.
    median: dict[str, Float]
    #: Shape (n, 2, 3).
    quantiles: dict[str, Float]


def judge(fold: Fold, settings: CoreSettings, seed: int) -> tuple[TrainedFile, list[Judged]]:
    """Return the file that a fold's training days gave, and what was said of its day."""
    trained = TrainedFile.of(fit(fold.train, settings, seed))
    offsets = {name: _error_quantiles(fold.train, name) for name in ("default", "last")}
    judged = []
    for part in fold.test:
        at = np.searchsorted(HORIZONS, part.horizon)
        learned = part.default[:, :, None] + trained.learned.predictor.quantiles(part.x)
        medians = {"learned": learned[:, :, 1], "default": part.default, "persistence": part.last}
        quantiles = {
            "learned": learned,
            "default": part.default[:, :, None] + offsets["default"][at],
            "persistence": part.last[:, :, None] + offsets["last"][at],
        }
        judged.append(Judged(part.symbol, part.horizon, part.came, medians, quantiles))
    return trained, judged


def _error_quantiles(train: Sequence[Samples], name: str) -> Float:
    """Return the quantiles of a forecast's errors by horizon, shape (n_horizons, 2, 3)."""
    errors = stacked(train, "came") - stacked(train, name)
    horizon = np.concatenate([part.horizon for part in train])
    whole = np.quantile(errors, QUANTILES, axis=0).T
    rows = [np.quantile(errors[horizon == h], QUANTILES, axis=0).T if np.any(horizon == h) else whole for h in HORIZONS]
    return np.stack(rows)


def scores(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return one row per symbol, series and forecast, over all horizons and at each.

    Returns
    -------
    list of dict
        ``symbol``, ``series``, ``forecast``, ``horizon`` (None over all), ``n``, ``log_error``,
        ``pinball``, ``rank_correlation`` (None where nothing varies), ``inside80`` (share
        between the outer quantiles).
    """
    rows = []
    for symbol in sorted({item.symbol for item in judged}):
        mine = [item for item in judged if item.symbol == symbol]
        for k, series in enumerate(SERIES):
            for horizon in (None, *HORIZONS):
                chosen = [_at(item.horizon, horizon) for item in mine]
                if not any(at.any() for at in chosen):
                    continue
                head = {"symbol": symbol, "series": series, "horizon": horizon}
                rows += [{**head, "forecast": name, **_score(mine, chosen, name, k)} for name in FORECASTS]
    return rows


def _at(horizons: Int, horizon: int | None) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.full(len(horizons), fill_value=True) if horizon is None else horizons == horizon


def _score(mine: Sequence[Judged], chosen: Sequence[Any], name: str, k: int) -> dict[str, Any]:
    came = np.concatenate([item.came[at, k] for item, at in zip(mine, chosen, strict=True)])
    median = np.concatenate([item.median[name][at, k] for item, at in zip(mine, chosen, strict=True)])
    quantiles = np.concatenate([item.quantiles[name][at, k] for item, at in zip(mine, chosen, strict=True)])
    ranks = []
    for item, at in zip(mine, chosen, strict=True):
        for h in HORIZONS:
            here = at & (item.horizon == h)
            rank = rank_correlation(item.median[name][here, k], item.came[here, k])
            ranks += [] if rank is None else [rank]
    return {
        "n": len(came),
        "log_error": float(np.abs(median - came).mean()),
        "pinball": float(np.mean([pinball(came, quantiles[:, i], p) for i, p in enumerate(QUANTILES)])),
        "rank_correlation": float(np.mean(ranks)) if ranks else None,
        "inside80": float(np.mean((came >= quantiles[:, 0]) & (came <= quantiles[:, -1]))),
    }


def pinball(came: Float, quantile: Float, p: float) -> float:
    """Return the mean pinball loss of a quantile forecast."""
    over = came - quantile
    return float(np.mean(np.maximum(p * over, (p - 1.0) * over)))
