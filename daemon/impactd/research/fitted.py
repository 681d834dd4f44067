"""Fitted curves of a history: one an interval and side, with the scores of their fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, PredefinedSplit, cross_val_predict, cross_validate

from impactd.core.base.settings import BookSettings, ModelSettings
from impactd.core.inputs.ticks import Float
from impactd.core.model.kinds.registry import MODEL_KINDS, impact_model
from impactd.research.errors import (
    MALFORMED,
    NO_FIT,
    TOO_LITTLE_DATA,
    ModelFittingError,
    ValidationError,
)
from impactd.research.frames import numbers, require_columns
from impactd.research.regression import ImpactRegressor, Index, as_design

#: The batch API's name for quadratic curves through the origin.
NONLINEAR: Final = "nonlinear"

_QUADRATIC: Final = "quadratic"

#: Models without a half-spread, unless the configuration says otherwise.
_FROM_ORIGIN: Final = ("linear", NONLINEAR)


class DefaultType(str):
    """The type of a model for which none was named: a line through the origin where that fits, else the best."""

    __slots__ = ()


DEFAULT_TYPE: Final = DefaultType("linear")

#: Folds of sizes, and of times, that take turns in being left out.
N_FOLDS: Final = 5

#: Least share of how impact differs by size within an interval, in the median interval and at sizes left out, that a
#: curve through the origin must explain to fit.  Generated books of ten levels or more reach 0.8; recorded ones are
#: below 0.1 (FROG, ARL), and a curve with a half-spread explains 0.8 to 0.95 of theirs.
LEAST_ORIGIN_R2: Final = 0.5

#: Why a model has its kind and its half-spread, or none: `basis` in words.
BASES: Final = {
    "named": "as the model was named",
    "given": "as ModelConfig.intercept says",
    "origin_fits": "a line through the origin fits sizes left out",
    "least_error": "least error at sizes left out; a line through the origin does not fit them",
    "no_rise": "a line through the origin, although it does not fit: impact does not rise with size",
}

#: What counts as rounding, relative.
_ROUNDING: Final = 1e-12

SIDES: Final = ("buy", "sell")
_TERMS: Final = ("half_spread", "beta", "alpha", "eta")
_COLUMNS: Final = ("time", "side", "size", "slippage")


def model_types() -> tuple[str, ...]:
    """Return the names of models in the batch API: the service's kinds, and `NONLINEAR`."""
    return (*MODEL_KINDS.names(), NONLINEAR)


@dataclass(frozen=True, slots=True, eq=False)
class SideCurves:
    """Per-share impact ``g = half_spread + beta q + alpha q^2 + eta q^delta`` of each interval of one side."""

    #: Length T.
    time: pd.Index[Any]
    #: Shape (T,). Zeros where the kind has no such term.
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
    """A model's curves."""

    kind: str
    intercept: bool
    #: 'buy', 'sell', or one of them.
    sides: dict[str, SideCurves]
    #: Smallest and largest size that entered a fit, shares.
    fitted_range: tuple[float, float]

    def side(self, name: str) -> SideCurves:
        """Return one side's curves."""
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
        one = impact_model(ModelSettings(kind=self.kind)).coefficients(np.ones(1), 1.0, 1.0)
        found |= {name: None for name in ("beta", "alpha", "eta") if getattr(one, name) is None}
        found["delta"] = None if one.delta is None else sides[0].delta
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
    cells = _cells(table)
    name, basis = str(model_type), "named" if intercept is None else "given"
    errors: dict[str, float] = {}
    if isinstance(model_type, DefaultType) and intercept is None:
        name, basis, scored, errors = _choose(cells)
    else:
        kind = _QUADRATIC if model_type == NONLINEAR else name
        scored = _fit(cells, kind, name, intercept=name not in _FROM_ORIGIN if intercept is None else intercept)
    regressor, used = scored.regressor, scored.used
    curves, known, g = regressor.curves_, scored.known, scored.g
    residual = g - regressor.predict(scored.design)
    scores = [float(r2_score(g[part], g[part] - scored.miss[part])) for part in scored.folds()]
    within = scored.r2_within()
    metrics = {
        "test_r2": float(np.mean(scores)),
        "train_r2": float(1.0 - np.sum(residual**2) / max(np.sum((g - g.mean()) ** 2), np.finfo(float).tiny)),
        "rmse": scored.rmse(),
        "cv_scores": scores,
        "test_r2_within": within,
        "test_r2_unseen_times": _unseen_times(regressor, cells, used),
        "model": name,
        "intercept": regressor.intercept,
        "basis": basis,
        "rmse_by_model": errors,
        "fits": regressor.intercept or within >= LEAST_ORIGIN_R2,
        "n_intervals": len(np.unique(known // 2)),
        "n_cells": len(g),
        "n_dropped": scored.n_dropped,
    }
    terms = curves.coefficients(regressor.model())
    zero = np.zeros(len(known))
    sides: dict[str, SideCurves] = {}
    for code, side in enumerate(SIDES):
        rows = np.flatnonzero(known % 2 == code)
        if rows.size:
            beta, alpha, eta = (zero if term is None else term for term in (terms.beta, terms.alpha, terms.eta))
            delta = 1.0 if terms.delta is None else terms.delta
            time = cells.time[known[rows] // 2]
            sides[side] = SideCurves(time, curves.half_spread[rows], beta[rows], alpha[rows], eta[rows], delta)
    used_sizes = cells.size[used]
    fitted_range = (float(used_sizes.min()), float(used_sizes.max()))
    return FittedModel(regressor.kind, regressor.intercept, sides, fitted_range), metrics


def _choose(cells: _Cells) -> tuple[str, str, _Scored, dict[str, float]]:
    """Return the model that fits where none was named: name, key of `BASES`, fit, and each one's error."""
    origin = _fit(cells, "linear", "linear", intercept=False)
    errors = {"linear, through the origin": origin.rmse()}
    if origin.r2_within() >= LEAST_ORIGIN_R2:
        return "linear", "origin_fits", origin, errors
    best: tuple[str, _Scored] | None = None
    for name in MODEL_KINDS.names():
        try:
            found = _fit(cells, name, name, intercept=True)
        except ModelFittingError:
            continue
        errors[name] = found.rmse()
        if best is None or errors[name] < errors[best[0]]:
            best = name, found
    if best is None:
        # Books of one level are flat: over a half-spread no schedule would be better than another.
        return "linear", "no_rise", origin, errors
    return best[0], "least_error", best[1], errors


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """A fit to all sizes, and its errors at sizes left out."""

    regressor: ImpactRegressor
    #: Cells that entered.
    used: npt.NDArray[np.bool_]
    #: Intervals that were fitted, as twice the time's code plus the side's.
    known: Index
    #: Group and size; price per share.
    design: Float
    g: Float
    group: Index
    fold: Index
    #: Measured less predicted by the fit without the cell's fold.
    miss: Float
    n_dropped: int

    def folds(self) -> list[npt.NDArray[np.bool_]]:
        """Return the cells of each fold."""
        return [self.fold == k for k in range(int(self.fold.max()) + 1)]

    def rmse(self) -> float:
        """Return the root of the mean square error at sizes left out, averaged over folds; price per share."""
        return float(np.mean([np.sqrt(np.mean(self.miss[part] ** 2)) for part in self.folds()]))

    def r2_within(self) -> float:
        """Return the median over intervals of the share of an interval's variation that is explained out of sample."""
        mean = np.bincount(self.group, self.g) / np.bincount(self.group)
        total = np.bincount(self.group, (self.g - mean[self.group]) ** 2)
        left = np.bincount(self.group, self.miss**2)
        varies = total > _ROUNDING * mean**2
        return float(np.median(1.0 - left[varies] / total[varies])) if varies.any() else 0.0


def _fit(cells: _Cells, kind: str, model_type: str, *, intercept: bool) -> _Scored:
    regressor = ImpactRegressor(kind, intercept)
    n_terms = regressor.model().n_terms
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
    if not np.any(curves.excess > _ROUNDING * curves.half_spread):
        raise ModelFittingError(
            NO_FIT, "slippage_data: no curve rises with size", "check prices and sizes, or add levels"
        )
    rank = np.arange(len(group)) - np.searchsorted(group, group)
    fold = rank % n_folds
    predicted = cross_val_predict(
        ImpactRegressor(kind, intercept), design, g, cv=PredefinedSplit(fold), params={"sample_weight": weight}
    )
    n_dropped = int(np.count_nonzero((count > 0) & ~enough))
    return _Scored(regressor, used, known, design, g, group, fold, g - predicted, n_dropped)


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
            f"slippage_data: row {row} has no time, a size that is not positive, or a slippage below 0",
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
