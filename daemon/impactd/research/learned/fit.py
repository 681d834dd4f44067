r"""The trained file; and trees grown by scikit-learn, and written as arrays.

For each of spread and excess, and for each quantile p, gradient boosting
minimises the pinball loss [1]_ [2]_ of what the default forecast leaves,

.. math:: \sum_i \rho_p(r_i - q_p(x_i)), \qquad \rho_p(u) = u \, (p - 1[u < 0]),

over shallow trees in histograms [3]_.  The size of the model was set before any recorded day was used: few, small, slow
trees, since neighbouring rows carry
the same information and a day is one observation.

It runs in one thread: sums over rows then have one order, and the same rows
and seed give the same bytes.

References
----------
.. [1] Koenker and Bassett (1978), Econometrica 46(1), 33-50.
.. [2] Friedman (2001), Annals of Statistics 29(5), 1189-1232.
.. [3] Ke et al. (2017), LightGBM, NIPS 30.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits  # comes with scikit-learn, which calls it itself

from impactd.__about__ import __version__
from impactd.core.base.settings import CoreSettings
from impactd.core.inputs.ticks import Float
from impactd.core.model.learned.predictor import QUANTILES, SERIES
from impactd.core.model.learned.trained import NETWORK, document
from impactd.research.errors import TOO_LITTLE_DATA, ModelFittingError
from impactd.research.learned import network
from impactd.research.learned.samples import Samples, stacked

#: Trees of a forest, their size and step.
TREES: Final = 60
LEAVES: Final = 6
RATE: Final = 0.05
#: Share of all rows that a leaf holds at least.
LEAF_SHARE: Final = 0.02
#: Share of the features that a split may choose from: what the seed draws.
FEATURE_SHARE: Final = 0.5

#: Fewer rows teach nothing.
MIN_ROWS: Final = 500


def fit(samples: Sequence[Samples], settings: CoreSettings, seed: int) -> bytes:
    """Return the content of a trained file, of the kind whose features the samples have."""
    rows = sum(len(part.came) for part in samples)
    if rows < MIN_ROWS:
        raise ModelFittingError(
            TOO_LITTLE_DATA, f"data: {rows} rows to learn from, fewer than {MIN_ROWS}", "give days with more minutes"
        )
    [kind] = {part.kind for part in samples}
    held = network.fitted(samples, seed) if kind == NETWORK else {"series": _forests(samples, seed)}
    trained = {
        "release": __version__,
        "seed": seed,
        "rows": rows,
        "days": sorted({f"{part.symbol} {part.day}" for part in samples}),
    }
    return document(settings, kind, held, trained, sorted({part.symbol for part in samples}))


def _forests(samples: Sequence[Samples], seed: int) -> dict[str, list[dict[str, Any]]]:
    """Return by `SERIES` a forest for each of `QUANTILES`."""
    x, left = stacked(samples, "x"), stacked(samples, "came") - stacked(samples, "default")
    with threadpool_limits(limits=1, user_api="openmp"):
        return {
            name: [exported(grown(x, left[:, k], quantile, seed)) for quantile in QUANTILES]
            for k, name in enumerate(SERIES)
        }


def grown(x: Float, y: Float, quantile: float, seed: int) -> HistGradientBoostingRegressor:
    """Return the fitted booster of one quantile."""
    booster = HistGradientBoostingRegressor(
        loss="quantile",
        quantile=quantile,
        learning_rate=RATE,
        max_iter=TREES,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=max(int(LEAF_SHARE * len(x)), 20),
        max_features=FEATURE_SHARE,
        early_stopping=False,
        random_state=seed,
    )
    # A feature that nobody has seen cannot be binned; as a constant it is never split on.
    return booster.fit(np.where(np.isnan(x).all(axis=0), 0.0, x), y)


def exported(booster: HistGradientBoostingRegressor) -> dict[str, Any]:
    """Return a booster as a forest of `impactd.core.model.learned.trees.Trees`.

    scikit-learn has no public view of these trees; a test holds both to the
    same predictions, to the last bit.
    """
    start = float(booster._baseline_prediction.item())  # noqa: SLF001  (no public view)
    trees = []
    for (predictor,) in booster._predictors:  # noqa: SLF001  (no public view)
        nodes = predictor.nodes
        leaf = nodes["is_leaf"].astype(bool)
        threshold = nodes["num_threshold"].tolist()
        trees.append(
            {
                "feature": np.where(leaf, -1, nodes["feature_idx"]).tolist(),
                "threshold": [None if np.isinf(value) else value for value in threshold],
                "left": np.where(leaf, 0, nodes["left"]).tolist(),
                "right": np.where(leaf, 0, nodes["right"]).tolist(),
                "missing_left": nodes["missing_go_to_left"].tolist(),
                "value": np.where(leaf, nodes["value"], 0.0).tolist(),
            }
        )
    return {"start": start, "trees": trees}
