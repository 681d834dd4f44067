"""The registry of kinds: a name in the settings becomes a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from impactd.core.base.registry import Registry, UnknownNameError
from impactd.core.base.settings import ModelSettings

if TYPE_CHECKING:
    from impactd.core.model.kinds.base import ImpactModel

_HERE: Final = "impactd.core.model.kinds"

MODEL_KINDS: Final[Registry[type[ImpactModel]]] = Registry(
    "model kind",
    "impactd.model_kinds",
    {
        "linear": f"{_HERE}.linear:Linear",
        "quadratic": f"{_HERE}.quadratic:Quadratic",
        "power": f"{_HERE}.power:Power",
    },
)


def impact_model(settings: ModelSettings) -> ImpactModel:
    """Return the model that `settings` name.

    Raises
    ------
    ValueError
        If no kind has that name, or the kind refuses its settings.
    """
    try:
        kind = MODEL_KINDS.get(settings.kind)
    except UnknownNameError as error:
        raise ValueError(f"model.kind: {error}") from None
    return kind.of(settings)
