r"""The protocol of an impact model kind.

Every kind writes the per-share impact as a half-spread plus an excess that is
held at one fixed reference size and shaped over the others:

.. math::

   g(q) = s + E \, h(q / q_{ref}), \qquad h(0) = 0,\; h(1) = 1.

Forecasts follow the level E at q_ref through the day; it stays comparable when the grid of sizes or the exponent
changes; the shape h moves
slowly.  The published coefficients follow from (s, E, h):

========== ======================== ======================= ===================
kind        h(u)                     shape parameter         coefficients
========== ======================== ======================= ===================
linear      u                        -                       beta = E/q_ref
quadratic   (1-v) u + v u^2          v in [0, 1]             beta, alpha
power       u^delta                  delta in (0, 1.5]       eta = E/q_ref^delta
========== ======================== ======================= ===================

Sizes are divided by q_ref before a fit, so that its columns have like scales.
A new kind is one file with a class like `impactd.core.model.kinds.quadratic.Quadratic`,
and one line in `impactd.core.model.kinds.registry`; another package's is an entry point.
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from impactd.core.base.quick import quick_dataclass
from impactd.core.base.settings import ModelSettings

Float = npt.NDArray[np.float64]


@quick_dataclass(frozen=True, slots=True)
class Coefficients:
    """Coefficients of the excess by interval; None where the kind has none."""

    #: Shape (N,). Price per share, per share^2 and per share^delta.
    beta: Float | None
    alpha: Float | None
    eta: Float | None
    #: Exponent of the power term.
    delta: float | None


@quick_dataclass(frozen=True, slots=True)
class MinuteFit:
    """One candidate's fit to one minute's curve."""

    #: s, price; 0 through the origin.
    half_spread: float
    #: E, price: the curve at `q_ref` less s.
    excess: float
    #: The kind's shape parameter.
    shape: float
    #: Reference size, shares.
    q_ref: float
    #: Weighted sums of squares: of residuals, and of g about its mean.
    sse: float
    variation: float
    #: Cells with weight, and terms that were free.
    n_cells: int
    n_terms: int

    @property
    def r2(self) -> float | None:
        """1 - sse/variation; None where the cells cannot tell (no more than terms, or all equal)."""
        if self.n_cells <= self.n_terms or not self.variation > 0.0:
            return None
        return 1.0 - self.sse / self.variation

    @property
    def loss(self) -> float:
        """Share of the variation left unexplained; 0 where there is none to explain."""
        return self.sse / self.variation if self.variation > 0.0 else 0.0


class ImpactModel(Protocol):
    """One kind of impact model."""

    @classmethod
    def of(cls, settings: ModelSettings) -> Self:
        """Return the model that `settings` ask for."""
        ...

    @property
    def kind(self) -> str:
        """Name in messages."""
        ...

    @property
    def intercept(self) -> bool:
        """Whether s is fitted; otherwise the curve passes through the origin."""
        ...

    @property
    def has_linear_term(self) -> bool:
        """Whether part of the impact is linear in size: only that part may last beyond its interval."""
        ...

    @property
    def candidates(self) -> tuple[float, ...]:
        """Shapes that compete by discounted loss; a single one where the shape is fitted or fixed."""
        ...

    @property
    def n_terms(self) -> int:
        """Free terms of a fit: that many distinct sizes are needed."""
        ...

    def fit(self, sizes: Float, g: Float, weight: Float, q_ref: float) -> tuple[MinuteFit, ...]:
        """Return the constrained weighted fit of each candidate.

        Parameters
        ----------
        sizes, g, weight : ndarray of float64, shape (K,)
            Shares (distinct, positive), price per share, and weights > 0; K >= `n_terms`.
        q_ref : float
            Reference size, shares.
        """
        ...

    def excess_shape(self, u: Float, shape: float) -> Float:
        """Return h(u)."""
        ...

    def rescaled(self, shape: float, ratio: float) -> float:
        """Return the shape parameter of the same curve at a reference size that is `ratio` times as large."""
        ...

    def coefficients(self, excess: Float, shape: float, q_ref: float) -> Coefficients:
        """Return the coefficients of the levels `excess` at `q_ref`."""
        ...


def scaled_variation(variation: float, g: Float, weight: Float) -> float:
    """Return `variation`, or 0 where it is nothing but rounding of `g`."""
    scale = float((weight * g * g).sum())
    return variation if variation > 1e-24 * scale else 0.0
