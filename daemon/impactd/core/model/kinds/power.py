r"""Power-law impact, ``g = s + eta q^delta`` with delta from a grid.

A fit of (s, eta) is linear for a given delta, so each exponent of the grid
has its own, and the exponent with the least discounted loss leads (see
`impactd.core.model.forecaster`).  The grid reaches 1.5: a walk through one book is
convex in q, unlike the concave impact of orders worked over time (Almgren et
al. [1]_ find 0.6), and both must fit in.

References
----------
.. [1] Almgren, Thum, Hauptmann and Li (2005), Risk 18(7), 58-62.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from impactd.core.base.elementary import powers
from impactd.core.base.settings import ModelSettings
from impactd.core.model.kinds.base import Coefficients, Float, MinuteFit, scaled_variation
from impactd.core.model.kinds.nonneg import fit_powers, weighted_variation


@dataclass(frozen=True, slots=True)
class Power:
    """``h(u) = u^delta``.

    Raises
    ------
    ValueError
        If the grid is empty, has doubles, or leaves (0, 1.5].
    """

    kind: ClassVar = "power"
    has_linear_term: ClassVar = False

    intercept: bool = True
    deltas: tuple[float, ...] = (1.0,)
    _grid: Float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.deltas or len(set(self.deltas)) < len(self.deltas) or not all(0.0 < d <= 1.5 for d in self.deltas):
            raise ValueError("model.deltas: needs distinct exponents in (0, 1.5]")
        object.__setattr__(self, "_grid", np.array(self.deltas, dtype=np.float64))

    @classmethod
    def of(cls, settings: ModelSettings) -> Self:
        """Return the model that `settings` ask for."""
        return cls(settings.intercept, settings.deltas)

    @property
    def candidates(self) -> tuple[float, ...]:
        """Shapes: the exponents of the grid."""
        return self.deltas

    @property
    def n_terms(self) -> int:
        """Free terms of a fit."""
        return 1 + self.intercept

    def fit(self, sizes: Float, g: Float, weight: Float, q_ref: float) -> tuple[MinuteFit, ...]:
        """Return the constrained weighted fit of each candidate."""
        rows = fit_powers(sizes / q_ref, g, weight, self._grid, self.intercept).tolist()
        variation = scaled_variation(weighted_variation(g, weight), g, weight)
        n = g.shape[0]
        return tuple(
            MinuteFit(s, excess, delta, q_ref, sse, variation, n, self.n_terms)
            for delta, (s, excess, sse) in zip(self.deltas, rows, strict=True)
        )

    def excess_shape(self, u: Float, shape: float) -> Float:
        """Return h(u)."""
        return powers(u, shape)

    def rescaled(self, shape: float, ratio: float) -> float:  # noqa: ARG002  (it is the same at every size)
        """Return the shape parameter at a reference size that is `ratio` times as large."""
        return shape

    def coefficients(self, excess: Float, shape: float, q_ref: float) -> Coefficients:
        """Return the coefficients of the levels `excess` at `q_ref`."""
        return Coefficients(None, None, excess / math.pow(q_ref, shape), shape)
