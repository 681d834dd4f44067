"""Trained files of networks made by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from impactd.core.base.settings import CoreSettings
from impactd.core.model.curves import Float
from impactd.core.model.learned.network import N_INPUTS, Network
from impactd.core.model.learned.predictor import HORIZONS
from impactd.core.model.learned.trained import NETWORK, document


def some_layers(seed: int, members: int = 3, widths: tuple[int, ...] = (N_INPUTS, 5, 4, 2)) -> list[Float]:
    rng = np.random.default_rng(seed)
    shapes = [shape for n, m in pairwise(widths) for shape in ((n, m), (m,))]
    return [rng.standard_normal((members, *shape)) for shape in shapes]


def held(seed: int = 1) -> dict[str, Any]:
    """Return what a file of some network holds."""
    parts = [part.tolist() for part in some_layers(seed)]
    layers = [{"weights": parts[k], "bias": parts[k + 1]} for k in (0, 2, 4)]
    left = np.sort(np.random.default_rng(seed).standard_normal((len(HORIZONS), 2, 3)), axis=2)
    return Network.blank() | {"layers": layers, "left": left.tolist()}


def network_content(settings: CoreSettings) -> bytes:
    """Return the content of a file of some network."""
    return document(settings, NETWORK, held(), {"release": "test"}, ["OTHER"])
