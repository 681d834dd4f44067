"""The slow part of a model: its shape parameter, and which candidate leads.

A fitted shape (the quadratic's share of curvature) is a discounted mean.
Candidates with a fixed shape (the power model's exponents) compete by
discounted loss, the share of a minute's variation that their fit leaves
unexplained.  Ties go to the one nearest to linear.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from impactd.core.model.kinds.base import ImpactModel, MinuteFit

#: Losses this near to each other, in shares of the variation explained, differ by rounding only.
_TIE: Final = 1e-12


def nearest_to_linear(losses: list[float], shapes: list[float]) -> int:
    """Return the index of the least loss, among equals of the shape nearest to 1, among those of the first."""
    if len(losses) == 1:
        return 0
    least = min(losses)
    return min((abs(shape - 1.0), i) for i, shape in enumerate(shapes) if losses[i] <= least + _TIE)[1]


class ShapeState:
    """Shape parameter and discounted loss of each candidate.

    Parameters
    ----------
    candidates : tuple of float
        Shapes to start with.
    """

    __slots__ = ("_info", "_losses", "shapes", "variance")

    def __init__(self, candidates: tuple[float, ...]) -> None:
        self.shapes = list(candidates)
        #: Discounted variance of the first candidate's fitted shape.
        self.variance = 0.0
        self._losses = [0.0] * len(candidates)
        self._info = 0.0

    def update(self, fits: tuple[MinuteFit, ...], weight: float, forget: float) -> None:
        """Take in one minute's fits with `weight`, after older ones have kept `forget` of theirs."""
        self._losses = [forget * loss + weight * fit.loss for loss, fit in zip(self._losses, fits, strict=True)]
        self._info *= forget
        if any(fit.excess <= 0.0 for fit in fits):
            return  # a flat curve has no shape
        first = self._info == 0.0
        self._info += weight
        share = 1.0 if first else weight / self._info
        change = fits[0].shape - self.shapes[0]
        self.variance = 0.0 if first else (1.0 - share) * (self.variance + share * change * change)
        self.shapes = [shape + share * (fit.shape - shape) for shape, fit in zip(self.shapes, fits, strict=True)]

    def rescale(self, model: ImpactModel, ratio: float) -> None:
        """Go on with shapes at a reference size that is `ratio` times the one so far."""
        self.shapes = [model.rescaled(shape, ratio) for shape in self.shapes]

    def leader(self) -> int:
        """Return the index of the candidate that forecasts are made with."""
        return nearest_to_linear(self._losses, self.shapes)

    def save(self) -> dict[str, Any]:
        """Return the state as JSON-ready values."""
        return {
            "shapes": list(self.shapes),
            "variance": self.variance,
            "losses": list(self._losses),
            "info": self._info,
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Continue from what `save` returned.

        Raises
        ------
        ValueError
            If it holds another number of candidates.
        """
        if len(saved["shapes"]) != len(self.shapes):
            raise ValueError(
                f"model state: {len(saved['shapes'])} candidates, not {len(self.shapes)}: made with other settings"
            )
        self.shapes = list(saved["shapes"])
        self.variance = saved["variance"]
        self._losses = list(saved["losses"])
        self._info = saved["info"]
