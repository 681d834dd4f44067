"""Networks of a trained file: refused, and evaluated as scikit-learn does."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from impactd.core.base.settings import CoreSettings
from impactd.core.model.curves import Float
from impactd.core.model.learned.network import FARTHEST, N_INPUTS, Network, horizon_of, inputs, network_means
from impactd.core.model.learned.predictor import HORIZONS
from impactd.core.model.learned.trained import NETWORK, LearnedFileError, TrainedFile, document
from impactd.core.model.learned.windows import FEATURES
from tests.core.model.networks import held, some_layers

CORE = CoreSettings()


def some_rows(seed: int, n: int) -> Float:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, len(FEATURES)))
    x[rng.random(x.shape) < 0.2] = np.nan
    x[:, -1] = rng.choice(HORIZONS, n)
    return x


def test_network_adds_in_one_order_to_the_last_bit() -> None:
    given, layers = np.random.default_rng(2).standard_normal((20, N_INPUTS)), some_layers(3)
    expected = []
    for row in given.tolist():
        total = [0.0, 0.0]
        for k in range(3):
            values = row
            for weights, bias in zip(layers[::2], layers[1::2], strict=True):
                values = [max(value, 0.0) for value in values] if values is not row else values
                sums = bias[k].tolist()
                for value, its in zip(values, weights[k].tolist(), strict=True):
                    sums = [one + value * weight for one, weight in zip(sums, its, strict=True)]
                values = sums
            total = [one + value / 3 for one, value in zip(total, values, strict=True)]
        expected.append(total)
    assert network_means(given, *layers).tolist() == expected


@pytest.mark.slow
def test_network_equals_scikit_learn() -> None:
    neural = pytest.importorskip("sklearn.neural_network")
    rng = np.random.default_rng(5)
    given = inputs(some_rows(5, 3_000), np.zeros(len(FEATURES) - 1), np.ones(len(FEATURES) - 1))
    y = np.maximum(given[:, :2], 0.0) + 0.1 * rng.standard_normal((3_000, 2))
    members = [
        neural.MLPRegressor(hidden_layer_sizes=(16, 8), random_state=seed).partial_fit(given, y) for seed in (0, 1)
    ]
    layers = [np.stack([getattr(m, name)[k] for m in members]) for k in range(3) for name in ("coefs_", "intercepts_")]
    expected = np.mean([member.predict(given) for member in members], axis=0)
    assert np.abs(expected).max() > 0.5
    assert np.allclose(network_means(given, *layers), expected, rtol=0.0, atol=1e-12)


def test_quantiles_are_the_networks_and_what_they_leave_at_the_horizon() -> None:
    file = TrainedFile.of(document(CORE, NETWORK, held(), {}, ["FROG"]))
    found, network, x = file.learned, file.learned.predictor, some_rows(7, 50)
    assert isinstance(network, Network)
    assert (found.kind, found.symbols) == ("network", ("FROG",))
    said = network.quantiles(x)
    assert np.all(np.diff(said, axis=2) >= 0.0)
    middle = network_means(inputs(x, network.centre, network.scale), *network.layers)
    assert np.array_equal(said, middle[:, :, None] + network.left[[HORIZONS.index(h) for h in x[:, -1]]])


def test_unknown_feature_is_at_its_centre_and_none_is_farther_than_bounds() -> None:
    n = len(FEATURES) - 1
    x = np.full((2, len(FEATURES)), np.nan)
    x[1, :-1] = 1e9
    x[:, -1] = 1, 240
    given = inputs(x, np.full(n, 3.0), np.ones(n))
    assert given[0].tolist() == [0.0] * 2 * n + [1.0, 0.0]
    assert given[1, :n].tolist() == [FARTHEST] * n
    assert given[1, n:-1] == pytest.approx(0.0, abs=1e-20)
    assert given[1, -1] == 1.0
    assert horizon_of(x).tolist() == [0, len(HORIZONS) - 1]


def test_blank_network_says_nothing() -> None:
    network = TrainedFile.of(document(CORE, NETWORK, Network.blank(), {})).learned.predictor
    assert not network.quantiles(some_rows(9, 30)).any()


def damaged(**change: Any) -> bytes:
    return orjson.dumps(orjson.loads(document(CORE, NETWORK, held() | change, {})))


def layers_with(k: int, name: str, value: object) -> list[dict[str, Any]]:
    layers: list[dict[str, Any]] = held()["layers"]
    layers[k] = layers[k] | {name: value}
    return layers


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "forest"}, "kind: 'forest' is none of trees, network"),
        ({"features": ["spread_1"]}, "features: are not those of this release"),
        ({"layers": []}, "layers: are not three"),
        ({"layers": held()["layers"][:2]}, "layers: are not three"),
        ({"layers": layers_with(1, "weights", [[[1.0]]])}, "layers: are not three that fit"),
        ({"layers": layers_with(2, "bias", [[0.0, None]] * 3)}, "layers: not all values are finite"),
        ({"layers": layers_with(1, "bias", [[1e7] * 4] * 3)}, "layers: not all values are finite and within 1e+06"),
        ({"layers": layers_with(2, "bias", [[0.0]] * 3)}, "layers: are not three that fit"),
        ({"layers": layers_with(0, "bias", 1.0)}, "is damaged"),
        ({"layers": layers_with(0, "weights", [[[0.0] * 500] * N_INPUTS] * 3)}, "layers: more than"),
        ({"centre": [0.0]}, "centre, scale: are not those of the features"),
        ({"scale": [0.0] * (len(FEATURES) - 1)}, "centre, scale: are not those of the features"),
        ({"centre": [None] * (len(FEATURES) - 1)}, "centre, scale: not all values are finite"),
        ({"left": [[[0.0] * 3] * 2]}, "left: are not ascending quantiles"),
        ({"left": [[[0.0, 1.0, 0.5]] * 2] * len(HORIZONS)}, "left: are not ascending quantiles"),
        ({"left": [[[None] * 3] * 2] * len(HORIZONS)}, "left: not all values are finite"),
    ],
)
def test_file_of_a_damaged_network_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(LearnedFileError) as caught:
        TrainedFile.of(damaged(**change))
    assert says in str(caught.value)
    assert "impactd train" in str(caught.value)


def test_file_that_does_not_say_its_kind_holds_trees() -> None:
    old = orjson.loads(document(CORE, "trees", {"series": dict.fromkeys(("spread", "excess"), NOTHING)}, {}))
    learned = TrainedFile.of(orjson.dumps({k: v for k, v in old.items() if k not in {"kind", "symbols"}})).learned
    assert (learned.kind, learned.symbols) == ("trees", ())


NOTHING = [{"start": 0.0, "trees": []}] * 3
