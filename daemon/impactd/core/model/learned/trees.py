r"""Regression trees as arrays: read, checked, and evaluated.

For the log half-spread and the log excess they are a sum of trees for each of
`impactd.core.model.learned.predictor.QUANTILES` of what the default forecast leaves:

.. math:: \log y - \log \hat y_{\text{default}} , \qquad
   q_p(x) = c_p + \sum_m v_{p,m}(\text{leaf of } x) .

A tree is walked from its first node: to the left where the feature is at most
the threshold, or is missing and the node sends missing values left.  A child follows its parent, so every walk ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np

from impactd.core.base.jit import kernel
from impactd.core.base.session import Session
from impactd.core.model.curves import Float, Int
from impactd.core.model.learned.features import FEATURES, FeatureState
from impactd.core.model.learned.predictor import QUANTILES, SERIES

#: Nodes of a file at most: what is asked of it each minute stays a matter of microseconds.
MAX_NODES: Final = 200_000

_COLUMNS: Final = ("feature", "threshold", "left", "right", "missing_left", "value")


@kernel
def tree_sums(x: Float, start: Float, roots: Int, forest: Int, nodes: Int, reals: Float) -> Float:
    """Return what each forest says of each row, shape (n_rows, n_forests).

    Parameters
    ----------
    x : ndarray of float64, shape (n_rows, n_features)
    start : ndarray of float64, shape (n_forests,)
        What a forest's sum begins with.
    roots, forest : ndarray of int64, shape (n_trees,)
        First node of a tree, and which forest it belongs to.
    nodes : ndarray of int64, shape (n_nodes, 4)
        Feature (-1 for a leaf), left and right child, and whether what is missing goes left.
    reals : ndarray of float64, shape (n_nodes, 2)
        Threshold, and a leaf's value.
    """
    out = np.empty((x.shape[0], start.shape[0]))
    for i in range(x.shape[0]):
        out[i, :] = start
        for tree in range(roots.shape[0]):
            at = roots[tree]
            while nodes[at, 0] >= 0:
                value = x[i, nodes[at, 0]]
                left = nodes[at, 3] == 1 if np.isnan(value) else value <= reals[at, 0]
                at = nodes[at, 1] if left else nodes[at, 2]
            out[i, forest[tree]] += reals[at, 1]
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """The trees of a file."""

    #: Shape (6,).
    start: Float
    #: Shape (n_trees,).
    roots: Int
    forest: Int
    #: Shape (n_nodes, 4).
    nodes: Int
    #: Shape (n_nodes, 2). As `tree_sums` takes them; forests are the quantiles of the spread, then those of the excess.
    reals: Float

    FEATURES: ClassVar[tuple[str, ...]] = FEATURES

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Self:
        """Return what a file holds under ``series``: by `SERIES` a forest for each of `QUANTILES`.

        A forest has ``start``, and ``trees`` of the columns ``feature`` (-1 for a leaf), ``threshold`` (None is beyond
        all), ``left``, ``right``, ``missing_left`` and ``value``.
        """
        forests = [forest for name in SERIES for forest in found["series"][name]]
        if len(forests) != len(SERIES) * len(QUANTILES):
            raise ValueError(f"series: needs {len(QUANTILES)} forests each")
        start = np.array([float(forest["start"]) for forest in forests])
        trees = [(k, tree) for k, forest in enumerate(forests) for tree in forest["trees"]]
        tables = [_table(tree) for _, tree in trees]
        sizes = [len(table) for table in tables]
        if sum(sizes) > MAX_NODES:
            raise ValueError(f"series: {sum(sizes)} nodes are more than {MAX_NODES}")
        roots = np.cumsum([0, *sizes])[:-1].astype(np.int64)
        whole = np.concatenate(tables) if tables else np.zeros((0, len(_COLUMNS)))
        nodes = whole[:, [0, 2, 3, 4]].astype(np.int64)
        nodes[:, 1:3] += np.repeat(roots, sizes)[:, None]
        reals = np.ascontiguousarray(whole[:, [1, 5]])
        if not (np.isfinite(start).all() and np.isfinite(reals[:, 1]).all()):
            raise ValueError("series: not all values are finite")
        return cls(start, roots, np.array([k for k, _ in trees], np.int64), nodes, reals)

    @classmethod
    def blank(cls) -> dict[str, Any]:
        """See `Predictor.blank`."""
        return {"series": {name: [{"start": 0.0, "trees": []} for _ in QUANTILES] for name in SERIES}}

    def features(self, row: int, session: Session, interval_ns: int) -> FeatureState:
        """See `Predictor.features`."""
        return FeatureState(row, session, interval_ns)

    def quantiles(self, x: Float) -> Float:
        """See `Predictor.quantiles`."""
        sums = tree_sums(x, self.start, self.roots, self.forest, self.nodes, self.reals)
        by_series = sums.reshape(len(x), len(SERIES), len(QUANTILES))
        # Each quantile has trees of its own, so that they may cross; the median is the one that is believed.
        middle = by_series[:, :, 1]
        low, high = np.minimum(by_series[:, :, 0], middle), np.maximum(by_series[:, :, 2], middle)
        return np.stack([low, middle, high], axis=2)


def _table(tree: Mapping[str, Any]) -> Float:
    """Return a tree's columns, checked: children come after their parents and within the tree."""
    columns = [tree[name] for name in _COLUMNS]
    columns[1] = [np.inf if value is None else value for value in columns[1]]
    table = np.array(columns, np.float64).T
    at, inner = np.arange(len(table)), table[:, 0] >= 0
    children = table[:, 2:4]
    sound = (children > at[:, None]) & (children < len(table)) & (children == np.floor(children))
    known = table[inner, 0]
    if not len(table) or not sound[inner].all() or np.any(known >= len(FEATURES)) or np.isnan(table[:, 1]).any():
        raise ValueError("a tree does not use these features")
    return table
