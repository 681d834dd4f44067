"""Trained files made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from impactd.core.base.settings import CoreSettings
from impactd.core.model.learned.features import FEATURES
from impactd.core.model.learned.predictor import QUANTILES, SERIES
from impactd.core.model.learned.trained import TREES, TrainedFile, document
from impactd.core.model.learned.trees import Trees

Forest = Mapping[str, Any]


def constant(value: float) -> Forest:
    """Return a forest without trees."""
    return {"start": value, "trees": []}


def split(
    feature: str, threshold: float | None, left: float, right: float, *, missing_left: bool = False
) -> dict[str, list[Any]]:
    """Return a tree of one split."""
    return {
        "feature": [FEATURES.index(feature), -1, -1],
        "threshold": [threshold, 0.0, 0.0],
        "left": [1, 0, 0],
        "right": [2, 0, 0],
        "missing_left": [int(missing_left), 0, 0],
        "value": [0.0, left, right],
    }


def content(
    settings: CoreSettings, spread: Sequence[Forest], excess: Sequence[Forest], symbols: Sequence[str] = ()
) -> bytes:
    """Return the content of a file of these forests, one a quantile."""
    series = dict(zip(SERIES, (spread, excess), strict=True))
    return document(settings, TREES, {"series": series}, {"release": "test"}, symbols)


def blank_content(settings: CoreSettings) -> bytes:
    """Return the content of a file that leaves the default forecast as it is."""
    nothing = [constant(0.0)] * len(QUANTILES)
    return content(settings, nothing, nothing)


def blank_file(settings: CoreSettings) -> TrainedFile:
    return TrainedFile.of(blank_content(settings))


def trees_of(file: bytes) -> Trees:
    """Return the trees of a file."""
    predictor = TrainedFile.of(file).learned.predictor
    assert isinstance(predictor, Trees)
    return predictor
