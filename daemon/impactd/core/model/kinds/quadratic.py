r"""Quadratic impact, ``g = s + beta q + alpha q^2``, all coefficients >= 0.

With ``E = beta q_ref + alpha q_ref^2`` the shape parameter is the share
``v = alpha q_ref^2 / E`` of the curvature at q_ref.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from impactd.core.base.settings import ModelSettings
from impactd.core.model.kinds.base import Coefficients, Float, MinuteFit, scaled_variation
from impactd.core.model.kinds.nonneg import fit_nonneg, weighted_variation


@dataclass(frozen=True, slots=True)
class Quadratic:
    """``h(u) = (1 - v) u + v u^2``."""

    kind: ClassVar = "quadratic"
    has_linear_term: ClassVar = True

    intercept: bool = True

    @classmethod
    def of(cls, settings: ModelSettings) -> Self:
        """Return the model that `settings` ask for."""
        return cls(settings.intercept)

    @property
    def candidates(self) -> tuple[float, ...]:
        """Shapes: share of curvature, fitted."""
        return (0.0,)

    @property
    def n_terms(self) -> int:
        """Free terms of a fit."""
        return 2 + self.intercept

    def fit(self, sizes: Float, g: Float, weight: Float, q_ref: float) -> tuple[MinuteFit, ...]:
        """Return the constrained weighted fit of each candidate."""
        u = sizes / q_ref
        columns = np.ones((self.n_terms, g.shape[0]))
        columns[-2] = u
        columns[-1] = u * u
        coef = np.empty(self.n_terms)
        sse = float(fit_nonneg(columns, g, weight, coef))
        first, second = float(coef[-2]), float(coef[-1])
        excess = first + second
        share = second / excess if excess > 0.0 else 0.0
        variation = scaled_variation(weighted_variation(g, weight), g, weight)
        s = float(coef[0]) if self.intercept else 0.0
        return (MinuteFit(s, excess, share, q_ref, sse, variation, g.shape[0], self.n_terms),)

    def excess_shape(self, u: Float, shape: float) -> Float:
        """Return h(u)."""
        return (1.0 - shape) * u + shape * u * u

    def rescaled(self, shape: float, ratio: float) -> float:
        """Return the shape parameter at a reference size that is `ratio` times as large."""
        return shape * ratio / (1.0 - shape + shape * ratio)

    def coefficients(self, excess: Float, shape: float, q_ref: float) -> Coefficients:
        """Return the coefficients of the levels `excess` at `q_ref`."""
        return Coefficients((1.0 - shape) / q_ref * excess, shape / (q_ref * q_ref) * excess, None, None)
