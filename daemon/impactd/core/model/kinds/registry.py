"""The registry of kinds: a name in the settings becomes a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from impactd.core.base.settings import ModelSettings
from impactd.core.model.kinds.base import ImpactModel
from impactd.core.model.kinds.linear import Linear
from impactd.core.model.kinds.power import Power
from impactd.core.model.kinds.quadratic import Quadratic

MODEL_KINDS: Final[Mapping[str, Callable[[ModelSettings], ImpactModel]]] = MappingProxyType(
    {
        "linear": lambda settings: Linear(settings.intercept),
        "quadratic": lambda settings: Quadratic(settings.intercept),
        "power": lambda settings: Power(settings.intercept, settings.deltas),
    }
)


def model_kinds() -> tuple[str, ...]:
    """Return the names that ``model.kind`` may have."""
    return tuple(MODEL_KINDS)


def impact_model(settings: ModelSettings) -> ImpactModel:
    """Return the model that `settings` name.

    Raises
    ------
    ValueError
        If no kind has that name, or the kind refuses its settings.
    """
    make = MODEL_KINDS.get(settings.kind)
    if make is None:
        raise ValueError(f"model.kind: {settings.kind!r} is none of {', '.join(model_kinds())}")
    return make(settings)
