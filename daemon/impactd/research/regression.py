"""Impact curves as a scikit-learn regressor, so that scikit-learn can cross-validate them.

A *group* is what shares one curve: an interval and side, or a side alone.
Each group's curve is the core's constrained least squares fit of its kind
(`impactd.core.model.kinds.registry`); the power model's exponent is one for all groups,
since a schedule needs one, and is the candidate with the least total loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin

from impactd.core.base.jit import kernel
from impactd.core.base.settings import ModelSettings
from impactd.core.model.kinds.base import Coefficients, Float, ImpactModel
from impactd.core.model.kinds.nonneg import fit_nonneg, weighted_variation
from impactd.core.model.kinds.registry import impact_model
from impactd.core.model.shape import nearest_to_linear

Index = npt.NDArray[np.int64]

#: Powers of the size that a kind's excess is made of; the power model's is its candidate.
_EXPONENTS: Final = {"linear": (1.0,), "quadratic": (1.0, 2.0)}


@dataclass(frozen=True, slots=True, eq=False)
class GroupCurves:
    """The fitted curves.

    Attributes
    ----------
    fitted : ndarray of bool, shape (n_groups,)
        Whether a group had as many sizes as its curve has terms.
    half_spread, excess, shape : ndarray of float64, shape (n_groups,)
        As `impactd.core.model.kinds.base` defines them; NaN where not fitted.
    q_ref : float
        Reference size, shares.
    """

    fitted: npt.NDArray[np.bool_]
    half_spread: Float
    excess: Float
    shape: Float
    q_ref: float

    def coefficients(self, model: ImpactModel) -> Coefficients:
        """Return beta, alpha, eta by group, and the exponent."""
        shapes = np.unique(self.shape[self.fitted])
        if len(shapes) <= 1:
            return model.coefficients(self.excess, float(shapes[0]) if len(shapes) else 1.0, self.q_ref)
        # A fitted shape (the quadratic's share of curvature) is each group's own.
        return model.coefficients(self.excess, self.shape, self.q_ref)  # type: ignore[arg-type]  # it broadcasts


class ImpactRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Per-share impact by group and size.

    Parameters
    ----------
    kind : str
        linear, quadratic or power.
    intercept : bool
        Whether curves have a half-spread.

    Examples
    --------
    >>> X = np.array([[0, 100.0], [0, 200.0], [1, 100.0], [1, 200.0]])
    >>> fitted = ImpactRegressor().fit(X, np.array([0.1, 0.2, 0.3, 0.6]))
    >>> fitted.predict(np.array([[0, 300.0], [1, 300.0]])).round(9).tolist()
    [0.3, 0.9]
    """

    def __init__(self, kind: str = "linear", intercept: bool = False) -> None:  # noqa: FBT001, FBT002  (scikit-learn clones by name)
        self.kind = kind
        self.intercept = intercept

    def model(self) -> ImpactModel:
        """Return the core's model of this kind."""
        return impact_model(ModelSettings(kind=self.kind, intercept=self.intercept))

    def fit(self, X: Float, y: Float, sample_weight: Float | None = None) -> ImpactRegressor:  # noqa: N803  (scikit-learn's name)
        """Fit each group's curve.

        Parameters
        ----------
        X : ndarray of float64, shape (n, 2)
            Group (a whole number from 0 on) and size, shares.
        y : ndarray of float64, shape (n,)
            Price per share.
        sample_weight : ndarray of float64, shape (n,), optional
        """
        group = X[:, 0].astype(np.int64)
        order = np.argsort(group, kind="stable")
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        sizes, g, weight = (np.ascontiguousarray(a[order], np.float64) for a in (X[:, 1], y, weight))
        bounds = np.searchsorted(group[order], np.arange(int(group.max()) + 2))
        self.curves_ = _fit_groups(self.model(), sizes, g, weight, bounds)
        return self

    def predict(self, X: Float) -> Float:  # noqa: N803  (as above)
        """Return price per share, shape (n,); NaN for groups that were not fitted."""
        curves = self.curves_
        group, u = X[:, 0].astype(np.int64), X[:, 1] / curves.q_ref
        h = self.model().excess_shape(u, curves.shape[group])  # type: ignore[arg-type]  # it broadcasts
        return np.asarray(curves.half_spread[group] + curves.excess[group] * h)


def _fit_groups(model: ImpactModel, sizes: Float, g: Float, weight: Float, bounds: Index) -> GroupCurves:
    """Fit the groups that `bounds` delimit; of several candidates, the one with the least mean loss."""
    q_ref = float(np.exp(np.log(sizes).mean()))
    u = sizes / q_ref
    candidates = [_EXPONENTS.get(model.kind, (shape,)) for shape in model.candidates]
    rows = [_fit_each(u, g, weight, bounds, np.array(powers), model.intercept) for powers in candidates]
    fitted = np.isfinite(rows[0][:, 0])
    leader = 0
    if len(rows) > 1 and fitted.any():
        leader = nearest_to_linear([float(r[fitted, -1].mean()) for r in rows], list(model.candidates))
    coef = rows[leader][:, 1:-1]
    excess = coef.sum(axis=1)
    if coef.shape[1] == 1:
        shape = np.where(fitted, model.candidates[leader], np.nan)
    else:
        shape = np.divide(coef[:, 1], excess, out=np.where(fitted, 0.0, np.nan), where=excess > 0.0)
    return GroupCurves(fitted, rows[leader][:, 0], excess, shape, q_ref)


@kernel
def _fit_each(
    u: Float,
    g: Float,
    weight: Float,
    bounds: Index,
    exponents: Float,
    intercept: bool,  # noqa: FBT001  (kernels take positional arguments)
) -> Float:
    """Fit each group by the core's non-negative least squares.

    Returns
    -------
    ndarray of float64, shape (n_groups, 2 + n_exponents)
        The half-spread, the coefficient of each power of `u`, and the share of
        the variation left unexplained; NaN where a group has too few rows.
    """
    n_groups, n_powers = bounds.shape[0] - 1, exponents.shape[0]
    first = 1 if intercept else 0
    out = np.full((n_groups, 2 + n_powers), np.nan)
    coef = np.empty(first + n_powers)
    for i in range(n_groups):
        start, end = bounds[i], bounds[i + 1]
        if end - start < first + n_powers:
            continue
        columns = np.ones((first + n_powers, end - start))
        for j in range(n_powers):
            for k in range(end - start):
                columns[first + j, k] = u[start + k] ** exponents[j]
        sse = fit_nonneg(columns, g[start:end], weight[start:end], coef)
        out[i, 0] = coef[0] if intercept else 0.0
        for j in range(n_powers):
            out[i, 1 + j] = coef[first + j]
        variation = weighted_variation(g[start:end], weight[start:end])
        out[i, 1 + n_powers] = sse / variation if variation > 0.0 else 0.0
    return out


def as_design(group: Index, size: Float) -> Float:
    """Return the two columns that `ImpactRegressor` takes."""
    return np.column_stack([group.astype(np.float64), size])
