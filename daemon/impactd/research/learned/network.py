r"""Networks fitted by scikit-learn, and written as arrays.

The days are cut into `MEMBERS` blocks.  Each member of the file is fitted by
Adam [1]_ on the days outside of its block, and keeps the weights of the pass
over the rows after which it was best on the days within: so it learns from
whole days and is stopped by whole days, which no row near them can give away.
What it says of its own block is as good a forecast as one of a day not seen.
All blocks together give, for spread and excess each,

- by how much what is said is to be shrunk: the slope of what came on it, between 0 and 1, so that what was noise on
  other days says nothing;
- the quantiles of what is left then, by horizon.

The size was chosen on recorded days up to the 40th (`docs/adr/0041-a-network-of-fixed-filters.md`).  It runs in one
thread: the same rows and seed give the same bytes on one machine.

References
----------
.. [1] Kingma and Ba (2015), Adam: a method for stochastic optimization, ICLR.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits  # comes with scikit-learn, which calls it itself

from impactd.core.inputs.ticks import Float
from impactd.core.model.learned.network import horizon_of, inputs
from impactd.core.model.learned.predictor import HORIZONS, QUANTILES, SERIES
from impactd.research.learned.samples import Samples, stacked

#: Networks whose mean is believed, each with days of its own to stop by.
MEMBERS: Final = 4
#: Rectifiers of the two layers.
HIDDEN: Final = (16, 8)
#: Penalty on squared weights, step, rows a step and passes over all rows at most.
PENALTY: Final = 1.0
RATE: Final = 1e-3
BATCH: Final = 512
PASSES: Final = 6

#: A feature that varies less is as good as constant.
_CONSTANT: Final = 1e-9


def fitted(samples: Sequence[Samples], seed: int) -> dict[str, Any]:
    """Return what `impactd.core.model.learned.network.Network` reads.

    From a single day nothing is said: no other day shows whether it would be right.
    """
    x, errors = stacked(samples, "x"), stacked(samples, "came") - stacked(samples, "default")
    centre, scale = standard(x[:, :-1])
    given, at = inputs(x, centre, scale), horizon_of(x)
    of_row = np.concatenate([np.full(len(part.came), part.day) for part in samples])
    blocks = np.array_split(np.unique(of_row), MEMBERS)
    blocks = [block for block in blocks if len(block)]
    unit = np.maximum(errors.std(axis=0), _CONSTANT)
    members, said = [], np.zeros_like(errors)
    with threadpool_limits(limits=1):
        for k, block in enumerate(blocks):
            held = np.isin(of_row, block)
            taught = ~held if len(blocks) > 1 else held
            member = _member((given[taught], errors[taught] / unit), (given[held], errors[held] / unit), seed + k)
            said[held] = member.predict(given[held]) * unit
            members.append(member)
    square = (said * said).sum(axis=0)
    slope = (said * errors).sum(axis=0) / np.where(square > 0.0, square, 1.0)
    trust = np.clip(slope, 0.0, 1.0) if len(blocks) > 1 else np.zeros(len(SERIES))
    left = errors - trust * said
    whole = np.quantile(left, QUANTILES, axis=0).T
    by_horizon = [
        np.quantile(left[at == i], QUANTILES, axis=0).T if np.any(at == i) else whole for i in range(len(HORIZONS))
    ]
    layers = [
        _layer([m.coefs_[i] * by for m in members], [m.intercepts_[i] * by for m in members])
        for i, by in enumerate((1.0, 1.0, trust * unit))
    ]
    return {
        "centre": centre.tolist(),
        "scale": scale.tolist(),
        "layers": layers,
        "left": np.stack(by_horizon).tolist(),
    }


def standard(x: Float) -> tuple[Float, Float]:
    """Return mean and standard deviation of what is known of each column; 0 and 1 where nothing varies."""
    known = ~np.isnan(x)
    n = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, x, 0.0).sum(axis=0) / n
    deviation = np.sqrt((np.where(known, x - mean, 0.0) ** 2).sum(axis=0) / n)
    varies = deviation > _CONSTANT
    return np.where(varies, mean, 0.0), np.where(varies, deviation, 1.0)


def _member(taught: tuple[Float, Float], held: tuple[Float, Float], seed: int) -> MLPRegressor:
    """Return the network of the pass that was best on what is held out."""
    member = MLPRegressor(
        hidden_layer_sizes=HIDDEN,
        alpha=PENALTY,
        learning_rate_init=RATE,
        batch_size=min(BATCH, len(taught[0])),
        random_state=seed,
    )
    best: tuple[float, list[Float], list[Float]] | None = None
    for _ in range(PASSES):
        member.partial_fit(*taught)
        error = float(np.mean((member.predict(held[0]) - held[1]) ** 2))
        if best is None or error < best[0]:
            best = error, [w.copy() for w in member.coefs_], [b.copy() for b in member.intercepts_]
    assert best is not None  # noqa: S101
    _, member.coefs_, member.intercepts_ = best
    return member


def _layer(weights: Sequence[npt.NDArray[np.float64]], bias: Sequence[npt.NDArray[np.float64]]) -> dict[str, Any]:
    return {"weights": np.stack(weights).tolist(), "bias": np.stack(bias).tolist()}
