"""Fitted curves of a history: one an interval and side, with the scores of their fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import GroupKFold, PredefinedSplit, cross_validate

from impactd.core.base.settings import BookSettings
from impactd.core.inputs.ticks import Float
from impactd.research.errors import (
    MALFORMED,
    NO_FIT,
    TOO_LITTLE_DATA,
    ModelFittingError,
    ValidationError,
)
from impactd.research.frames import numbers, require_columns
from impactd.research.regression import ImpactRegressor, Index, as_design

#: Name in the batch API: the core's kind, and whether it has a half-spread by default.
KINDS: Final = {
    "linear": ("linear", False),
    "nonlinear": ("quadratic", False),
    "quadratic": ("quadratic", True),
    "power": ("power", True),
}

#: Folds of sizes, and of times, that take turns in being left out.
N_FOLDS: Final = 5

SIDES: Final = ("buy", "sell")
_TERMS: Final = ("half_spread", "beta", "alpha", "eta")
_COLUMNS: Final = ("time", "side", "size", "slippage")


@dataclass(frozen=True, slots=True, eq=False)
class SideCurves:
    """Per-share impact ``g = half_spread + beta q + alpha q^2 + eta q^delta`` of each interval of one side.

    Attributes
    ----------
    time : Index
        Length T.
    half_spread, beta, alpha, eta : ndarray of float64, shape (T,)
        Zeros where the kind has no such term.
    """

    time: pd.Index[Any]
    half_spread: Float
    beta: Float
    alpha: Float
    eta: Float
    delta: float

    def __len__(self) -> int:
        return len(self.time)

    def terms(self) -> Float:
        """Return half_spread, beta, alpha and eta, shape (4, T)."""
        return np.stack([self.half_spread, self.beta, self.alpha, self.eta])


@dataclass(frozen=True, slots=True, eq=False)
class FittedModel:
    """A model's curves.

    Attributes
    ----------
    kind : str
        Of the core.
    sides : dict of str to SideCurves
        'buy', 'sell', or one of them.
    fitted_range : tuple of float
        Smallest and largest size that entered a fit, shares.
    """

    kind: str
    intercept: bool
    sides: dict[str, SideCurves]
    fitted_range: tuple[float, float]

    def side(self, name: str) -> SideCurves:
        """Return one side's curves.

        Raises
        ------
        ValidationError
            1001 if the history had no such side.
        """
        if name not in self.sides:
            raise ValidationError(MALFORMED, f"side: {name!r} was not fitted", f"give one of {', '.join(self.sides)}")
        return self.sides[name]

    def mean_impact(self, sizes: Float, side: str | None) -> npt.NDArray[np.float64]:
        """Return the mean curve at `sizes`; of both sides where none is named."""
        chosen = list(self.sides.values()) if side is None else [self.side(side)]
        total = np.zeros_like(sizes)
        for curves in chosen:
            s, beta, alpha, eta = curves.terms().mean(axis=1)
            total += s + sizes * (beta + sizes * alpha)
            if eta > 0.0:
                total += eta * sizes**curves.delta
        return np.asarray(total / len(chosen))

    def params(self) -> dict[str, Any]:
        """Return the coefficients as plain values and one table."""
        by_side = {name: self._summary([curves]) for name, curves in self.sides.items()}
        intervals = pd.concat(
            [
                pd.DataFrame({"time": curves.time, "side": name, **dict(zip(_TERMS, curves.terms(), strict=True))})
                for name, curves in self.sides.items()
            ],
            ignore_index=True,
        )
        head = {"kind": self.kind, "unit": "price_per_share", "intercept": self.intercept}
        both = self._summary(list(self.sides.values()))
        return {**head, **both, **by_side, "fitted_range": self.fitted_range, "intervals": intervals}

    def _summary(self, sides: list[SideCurves]) -> dict[str, float | None]:
        mean = np.mean([curves.terms().mean(axis=1) for curves in sides], axis=0).tolist()
        found: dict[str, float | None] = dict(zip(_TERMS, mean, strict=True))
        for name in {"linear": ("alpha", "eta"), "quadratic": ("eta",), "power": ("beta", "alpha")}[self.kind]:
            found[name] = None
        found["delta"] = sides[0].delta if self.kind == "power" else None
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """Usable cells, ordered by (time, side)."""

    time: pd.Index[Any]
    time_code: Index
    side: Index
    size: Float
    slippage: Float
    weight: Float

    def __len__(self) -> int:
        return len(self.size)


def fit_history(table: pd.DataFrame, model_type: str, *, intercept: bool | None) -> tuple[FittedModel, dict[str, Any]]:
    """Fit a history and score the fit; see `impactd.research.impact_model.ImpactModel.fit_model`."""
    kind, default = KINDS[model_type]
    regressor = ImpactRegressor(kind, default if intercept is None else intercept)
    n_terms = regressor.model().n_terms
    cells = _cells(table)
    interval = cells.time_code * 2 + cells.side
    count = np.bincount(interval, minlength=2 * len(cells.time))
    enough, n_folds = _foldable(count, n_terms)
    used = enough[interval]
    if not n_folds:
        raise ModelFittingError(
            TOO_LITTLE_DATA,
            f"slippage_data: {model_type!r} needs {n_terms + 1} sizes in an interval, and four in all",
            "give more trade_sizes that the books hold",
        )
    known = np.flatnonzero(enough)
    group = np.searchsorted(known, interval[used])
    design, g, weight = as_design(group, cells.size[used]), cells.slippage[used], cells.weight[used]
    regressor.fit(design, g, weight)
    curves = regressor.curves_
    if not np.any(curves.excess > 0.0):
        raise ModelFittingError(
            NO_FIT, "slippage_data: no curve rises with size", "check prices and sizes, or add levels"
        )

    rank = np.arange(len(group)) - np.searchsorted(group, group)
    folds = cross_validate(
        regressor,
        design,
        g,
        cv=PredefinedSplit(rank % n_folds),
        scoring=("r2", "neg_root_mean_squared_error"),
        params={"sample_weight": weight},
    )
    residual = g - regressor.predict(design)
    metrics = {
        "test_r2": float(np.mean(folds["test_r2"])),
        "train_r2": float(1.0 - np.sum(residual**2) / max(np.sum((g - g.mean()) ** 2), np.finfo(float).tiny)),
        "rmse": float(-np.mean(folds["test_neg_root_mean_squared_error"])),
        "cv_scores": [float(score) for score in folds["test_r2"]],
        "test_r2_unseen_times": _unseen_times(regressor, cells, used),
        "n_intervals": len(np.unique(known // 2)),
        "n_cells": len(g),
        "n_dropped": int(np.count_nonzero((count > 0) & ~enough)),
    }
    terms = curves.coefficients(regressor.model())
    zero = np.zeros(len(known))
    sides: dict[str, SideCurves] = {}
    for code, name in enumerate(SIDES):
        rows = np.flatnonzero(known % 2 == code)
        if rows.size:
            beta, alpha, eta = (zero if term is None else term for term in (terms.beta, terms.alpha, terms.eta))
            delta = 1.0 if terms.delta is None else terms.delta
            time = cells.time[known[rows] // 2]
            sides[name] = SideCurves(time, curves.half_spread[rows], beta[rows], alpha[rows], eta[rows], delta)
    used_sizes = cells.size[used]
    fitted_range = (float(used_sizes.min()), float(used_sizes.max()))
    return FittedModel(kind, regressor.intercept, sides, fitted_range), metrics


def _foldable(count: Index, n_terms: int) -> tuple[npt.NDArray[np.bool_], int]:
    """Say which intervals can be scored, and by how many folds of their sizes; 0 if none can.

    Each must keep enough sizes when a fold of them is left out, and each fold
    must hold two at least: of one alone there is no R2.
    """
    for n_folds in range(min(N_FOLDS, int(count.max(initial=0))), 1, -1):
        enough = count - -(-count // n_folds) >= n_terms
        in_fold = sum(np.bincount(np.arange(n) % n_folds, minlength=n_folds) for n in count[enough].tolist())
        if enough.any() and np.min(in_fold) >= 2:
            return enough, n_folds
    return np.zeros(len(count), np.bool_), 0


def _unseen_times(regressor: ImpactRegressor, cells: _Cells, used: npt.NDArray[np.bool_]) -> float | None:
    """Return the R2 of each side's mean curve in intervals that it was not fitted to; None with one interval."""
    scores = []
    for side in np.unique(cells.side[used]):
        rows = used & (cells.side == side)
        times = cells.time_code[rows]
        n_folds = min(N_FOLDS, len(np.unique(times)))
        if n_folds < 2:
            continue
        result = cross_validate(
            ImpactRegressor(regressor.kind, regressor.intercept),
            as_design(np.zeros(len(times), np.int64), cells.size[rows]),
            cells.slippage[rows],
            groups=times,
            cv=GroupKFold(n_folds),
            scoring="r2",
            params={"sample_weight": cells.weight[rows]},
        )
        scores.append(float(np.mean(result["test_score"])))
    return float(np.mean(scores)) if scores else None


def _cells(table: pd.DataFrame) -> _Cells:
    table = require_columns(table, _COLUMNS, "slippage_data")
    size, slippage = numbers(table["size"], "size"), numbers(table["slippage"], "slippage")
    coverage = numbers(table["coverage"], "coverage") if "coverage" in table.columns else np.ones(len(table))
    codes, names = pd.factorize(table["side"])
    known = [SIDES.index(str(name).lower()) if str(name).lower() in SIDES else -1 for name in names]
    if -1 in known or (codes < 0).any():
        raise ValidationError(MALFORMED, f"side: {list(names)!r} are not the sides", "give 'buy' and 'sell'")
    side = np.array(known, np.int64)[codes]
    time_code, times = pd.factorize(table["time"], sort=True)
    bad = (time_code < 0) | ~(np.isfinite(size) & (size > 0.0)) | np.isinf(slippage) | (slippage < 0.0)
    if bad.any():
        row = table.index[int(np.argmax(bad))]
        raise ValidationError(
            MALFORMED,
            f"slippage_data: row {row!r} has no time, a size that is not positive, or a slippage below 0",
            "give what estimate_slippage returns",
        )
    held = np.isfinite(slippage) & (coverage >= BookSettings().min_coverage)
    if not held.any():
        raise ModelFittingError(
            TOO_LITTLE_DATA,
            "slippage_data: no size was held by the books for 95% of the time",
            "give smaller trade_sizes",
        )
    rows = np.flatnonzero(held)
    rows = rows[np.lexsort((size[rows], side[rows], time_code[rows]))]
    return _Cells(
        pd.Index(times), time_code[rows].astype(np.int64), side[rows], size[rows], slippage[rows], coverage[rows]
    )
