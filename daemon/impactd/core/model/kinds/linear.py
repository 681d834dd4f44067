r"""Linear impact, ``g = s + beta q``: Almgren and Chriss's temporary impact.

A fit is that of the power law with an exponent of 1; its coefficient is a slope.

References
----------
.. [1] Almgren and Chriss (2000), Journal of Risk 3(2), eq. (7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from impactd.core.base.settings import ModelSettings
from impactd.core.model.kinds.base import Coefficients, Float
from impactd.core.model.kinds.power import Power


@dataclass(frozen=True, slots=True)
class Linear(Power):
    """``h(u) = u``."""

    kind: ClassVar = "linear"
    has_linear_term: ClassVar = True

    @classmethod
    def of(cls, settings: ModelSettings) -> Self:
        """Return the model that `settings` ask for."""
        return cls(settings.intercept)

    def excess_shape(self, u: Float, shape: float) -> Float:  # noqa: ARG002  (it has no shape)
        """Return h(u)."""
        return u

    def coefficients(self, excess: Float, shape: float, q_ref: float) -> Coefficients:  # noqa: ARG002  (as above)
        """Return the coefficients of the levels `excess` at `q_ref`."""
        return Coefficients(excess / q_ref, None, None, None)
