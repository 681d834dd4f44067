"""Impact curves as a scikit-learn regressor, so that scikit-learn can cross-validate them.

A *group* is what shares one curve: an interval and side, or a side alone.
Each group's curve is the core's constrained least squares fit of its kind
(`impactd.core.model.kinds.registry`); the power model's exponent is one for all groups,
since a schedule needs one, and is the candidate with the least total loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin

from impactd.core.base.settings import ModelSettings
from impactd.core.model.kinds.base import Coefficients, Float, ImpactModel
from impactd.core.model.kinds.registry import impact_model
from impactd.core.model.shape import nearest_to_linear

Index = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class GroupCurves:
    """The fitted curves."""

    #: Shape (n_groups,). Whether a group had as many sizes as its curve has terms.
    fitted: npt.NDArray[np.bool_]
    #: Shape (n_groups,). As `impactd.core.model.kinds.base` defines them; NaN where not fitted.
    half_spread: Float
    excess: Float
    shape: Float
    #: Reference size, shares.
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
        Of `impactd.core.model.kinds.registry.MODEL_KINDS`.

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
        shapes, which = np.unique(curves.shape[group], return_inverse=True)
        h = np.empty(len(u))
        # A kind takes one shape at a time.
        for shape, rows in zip(
            shapes.tolist(), np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1]), strict=True
        ):
            h[rows] = self.model().excess_shape(u[rows], shape)
        return np.asarray(curves.half_spread[group] + curves.excess[group] * h)


def _fit_groups(model: ImpactModel, sizes: Float, g: Float, weight: Float, bounds: Index) -> GroupCurves:
    """Fit the groups that `bounds` delimit; of several candidates, the one with the least mean loss."""
    q_ref = float(np.exp(np.log(sizes).mean()))
    n_groups, candidates = bounds.shape[0] - 1, model.candidates
    fitted = np.diff(bounds) >= model.n_terms
    found = np.full((len(candidates), n_groups, 4), np.nan)
    for i in np.flatnonzero(fitted).tolist():
        rows = slice(bounds[i], bounds[i + 1])
        fits = model.fit(sizes[rows], g[rows], weight[rows], q_ref)
        found[:, i] = [(fit.half_spread, fit.excess, fit.shape, fit.loss) for fit in fits]
    leader = 0
    if len(candidates) > 1 and fitted.any():
        leader = nearest_to_linear(found[:, fitted, 3].mean(axis=1).tolist(), list(candidates))
    half_spread, excess, shape, _ = found[leader].T
    return GroupCurves(fitted, half_spread, excess, shape, q_ref)


def as_design(group: Index, size: Float) -> Float:
    """Return the two columns that `ImpactRegressor` takes."""
    return np.column_stack([group.astype(np.float64), size])
