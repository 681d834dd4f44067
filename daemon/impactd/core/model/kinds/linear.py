r"""Linear impact, ``g = s + beta q``: Almgren and Chriss's temporary impact.

References
----------
.. [1] Almgren and Chriss (2000), Journal of Risk 3(2), eq. (7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from impactd.core.base.settings import ModelSettings
from impactd.core.model.kinds.base import Coefficients, Float, MinuteFit, scaled_variation
from impactd.core.model.kinds.nonneg import fit_powers, weighted_variation

_ONE = np.ones(1)


@dataclass(frozen=True, slots=True)
class Linear:
    """``h(u) = u``."""

    kind: ClassVar = "linear"
    has_linear_term: ClassVar = True

    intercept: bool = True

    @classmethod
    def of(cls, settings: ModelSettings) -> Self:
        """Return the model that `settings` ask for."""
        return cls(settings.intercept)

    @property
    def candidates(self) -> tuple[float, ...]:
        """Shapes: nothing to fit."""
        return (1.0,)

    @property
    def n_terms(self) -> int:
        """Free terms of a fit."""
        return 1 + self.intercept

    def fit(self, sizes: Float, g: Float, weight: Float, q_ref: float) -> tuple[MinuteFit, ...]:
        """Return the constrained weighted fit of each candidate."""
        s, excess, sse = fit_powers(sizes / q_ref, g, weight, _ONE, self.intercept)[0].tolist()
        variation = scaled_variation(weighted_variation(g, weight), g, weight)
        return (MinuteFit(s, excess, 1.0, q_ref, sse, variation, g.shape[0], self.n_terms),)

    def excess_shape(self, u: Float, shape: float) -> Float:  # noqa: ARG002  (it has no shape)
        """Return h(u)."""
        return u

    def rescaled(self, shape: float, ratio: float) -> float:  # noqa: ARG002  (it is the same at every size)
        """Return the shape parameter at a reference size that is `ratio` times as large."""
        return shape

    def coefficients(self, excess: Float, shape: float, q_ref: float) -> Coefficients:  # noqa: ARG002  (as above)
        """Return the coefficients of the levels `excess` at `q_ref`."""
        return Coefficients(excess / q_ref, None, None, None)
