r"""A small neural network as arrays: read, checked, and evaluated.

Its inputs are the features of `impactd.core.model.learned.windows`, standardised, once as they are and once faded by
:math:`2^{-(h-1)/3}` at h intervals ahead: what the last minutes say is worth less, the later an interval is.  Two
layers of rectifiers follow, and the mean of a few such networks is what is believed:

.. math:: q_{p,h}(x) = c_{p,h} + \frac{1}{K} \sum_k W_{k,3} \, r(W_{k,2} \, r(W_{k,1} z + b_{k,1}) + b_{k,2}) + b_{k,3},
   \qquad r(u) = \max(u, 0) .

Sums have one order and nothing but additions and products is in them, so that their bits do not depend on the
processor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Final, Self

import numpy as np

from impactd.core.base.jit import inner_kernel, kernel
from impactd.core.base.session import Session
from impactd.core.model.curves import Float
from impactd.core.model.learned.predictor import HORIZONS, QUANTILES, SERIES
from impactd.core.model.learned.windows import FEATURES, WindowState

#: Intervals ahead by which what is faded has halved.
FADE: Final = 3.0
#: A standardised feature is no larger: a network knows nothing of what it has not seen.
FARTHEST: Final = 5.0

#: Inputs of a network: the features but ``ahead`` twice, and two of the horizon.
N_INPUTS: Final = 2 * (len(FEATURES) - 1) + 2

#: Weights of a file at most: what is asked of it each minute stays a matter of microseconds.
MAX_WEIGHTS: Final = 50_000
#: Largest magnitude in a file, and smallest scale: no sum of them overflows.
_LARGEST: Final = 1e6
_LEAST_SCALE: Final = 1e-9

_AHEAD: Final = np.array(HORIZONS, dtype=np.float64)
_FADED: Final = np.array([math.exp2(-(h - 1) / FADE) for h in HORIZONS])
_LATE: Final = np.array([math.log(h) / math.log(HORIZONS[-1]) for h in HORIZONS])


def horizon_of(x: Float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the index in `HORIZONS` of each row, shape (N,); of the next longer one in between."""
    return np.minimum(np.searchsorted(_AHEAD, x[:, -1]), len(HORIZONS) - 1)


def inputs(x: Float, centre: Float, scale: Float) -> Float:
    """Return what a network is given, shape (N, N_INPUTS); an unknown feature is at its centre.

    Parameters
    ----------
    x : ndarray of float64, shape (N, len(FEATURES))
    centre, scale : ndarray of float64, shape (len(FEATURES) - 1,)
    """
    at = horizon_of(x)
    seen = np.clip((x[:, :-1] - centre) / scale, -FARTHEST, FARTHEST)
    seen[np.isnan(seen)] = 0.0
    fade, late = _FADED[at][:, None], _LATE[at][:, None]
    return np.concatenate([seen, seen * fade, fade, late], axis=1)


@inner_kernel
def dense(values: Float, weights: Float, bias: Float, out: Float) -> None:
    """Fill `out`, shape (N,), with ``bias + values @ weights``, added in the order of `values`, shape (M,)."""
    for u in range(out.shape[0]):
        out[u] = bias[u]
    for j in range(values.shape[0]):
        for u in range(out.shape[0]):
            out[u] += values[j] * weights[j, u]


@inner_kernel
def rectify(values: Float) -> None:
    """Replace what is negative by zero."""
    for u in range(values.shape[0]):
        values[u] = max(values[u], 0.0)


@kernel
def network_means(given: Float, w1: Float, b1: Float, w2: Float, b2: Float, w3: Float, b3: Float) -> Float:
    """Return the mean of what K networks say of each row, shape (N, 2).

    Parameters
    ----------
    given : ndarray of float64, shape (N, N_INPUTS)
    w1, w2, w3 : ndarray of float64, shape (K, n_in, n_out)
        Weights of the layers.
    b1, b2, b3 : ndarray of float64, shape (K, n_out)
        What their sums begin with.
    """
    members = w1.shape[0]
    out = np.zeros((given.shape[0], b3.shape[1]))
    first, second, said = np.empty(b1.shape[1]), np.empty(b2.shape[1]), np.empty(b3.shape[1])
    for i in range(given.shape[0]):
        for k in range(members):
            dense(given[i], w1[k], b1[k], first)
            rectify(first)
            dense(first, w2[k], b2[k], second)
            rectify(second)
            dense(second, w3[k], b3[k], said)
            for u in range(said.shape[0]):
                out[i, u] += said[u] / members
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """The networks of a file."""

    #: Shape (len(FEATURES) - 1,). What standardises the features.
    centre: Float
    scale: Float
    #: Weights and bias by layer; of the members, shapes (K, n_in, n_out) and (K, n_out).
    layers: tuple[Float, ...]
    #: Shape (len(HORIZONS), 2, 3). Quantiles of what the networks leave, ascending.
    left: Float

    FEATURES: ClassVar[tuple[str, ...]] = FEATURES

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Self:
        """Return what a file holds: ``centre``, ``scale``, ``left``, and ``layers`` (``weights`` and ``bias`` each)."""
        layers = [np.array(part, np.float64) for layer in found["layers"] for part in (layer["weights"], layer["bias"])]
        centre, scale, left = (np.array(found[name], np.float64) for name in ("centre", "scale", "left"))
        if sum(part.size for part in layers) > MAX_WEIGHTS:
            raise ValueError(f"layers: more than {MAX_WEIGHTS} weights")
        members, width = (len(layers[0]), N_INPUTS) if layers else (0, 0)
        shapes: list[tuple[int, ...]] = []
        for bias in layers[1::2]:
            shapes += [(members, width, bias.shape[-1]), (members, bias.shape[-1])]
            width = bias.shape[-1]
        if len(layers) != 6 or members == 0 or width != len(SERIES) or [part.shape for part in layers] != shapes:
            raise ValueError("layers: are not three that fit each other")
        if centre.shape != (len(FEATURES) - 1,) or scale.shape != centre.shape or not np.all(scale >= _LEAST_SCALE):
            raise ValueError("centre, scale: are not those of the features")
        if left.shape != (len(HORIZONS), len(SERIES), len(QUANTILES)) or np.any(np.diff(left, axis=2) < 0.0):
            raise ValueError("left: are not ascending quantiles by horizon and series")
        for name, parts in (("layers", layers), ("centre, scale", (centre, scale)), ("left", (left,))):
            if not all(np.all(np.abs(part) <= _LARGEST) for part in parts):  # as NaN is not
                raise ValueError(f"{name}: not all values are finite and within {_LARGEST:g}")
        return cls(centre, scale, tuple(layers), left)

    @classmethod
    def blank(cls) -> dict[str, Any]:
        """See `Predictor.blank`."""
        n, widths = len(FEATURES) - 1, (N_INPUTS, 1, 1, len(SERIES))
        return {
            "centre": np.zeros(n).tolist(),
            "scale": np.ones(n).tolist(),
            "layers": [
                {"weights": np.zeros((1, *shape)).tolist(), "bias": np.zeros((1, shape[1])).tolist()}
                for shape in pairwise(widths)
            ],
            "left": np.zeros((len(HORIZONS), len(SERIES), len(QUANTILES))).tolist(),
        }

    def features(self, row: int, session: Session, interval_ns: int) -> WindowState:
        """See `Predictor.features`."""
        return WindowState(row, session, interval_ns)

    def quantiles(self, x: Float) -> Float:
        """See `Predictor.quantiles`."""
        said = network_means(inputs(x, self.centre, self.scale), *self.layers)
        return said[:, :, None] + self.left[horizon_of(x)]
