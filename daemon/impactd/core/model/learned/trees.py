r"""Trees from a trained file, as arrays: read, checked, and evaluated.

A file holds, for the log half-spread and the log excess, a sum of regression
trees for each of `QUANTILES` of what the default forecast leaves:

.. math:: \log y - \log \hat y_{\text{default}} , \qquad
   q_p(x) = c_p + \sum_m v_{p,m}(\text{leaf of } x) .

It is JSON, and its name in settings, state and journal is its hash: settings stay small, and equal settings have equal
trees.  Nothing in this module learns.  ``trained`` in the file
states its origin, for people only.

A tree is walked from its first node: to the left where the feature is at most
the threshold, or is missing and the node sends missing values left.  A child follows its parent, so every walk ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import numpy as np
import orjson

from impactd.core.base.jit import kernel
from impactd.core.base.settings import SECOND_NS, CoreSettings, ModelSettings
from impactd.core.model.curves import Float, Int
from impactd.core.model.learned.features import FEATURES
from impactd.core.state.schema import plain

FORMAT: Final = "impactd.learned/1"
SERIES: Final = ("spread", "excess")
QUANTILES: Final = (0.1, 0.5, 0.9)

#: Intervals ahead at which the trees are asked; between them a forecast is interpolated.
HORIZONS: Final = (1, 2, 3, 5, 8, 13, 20, 30, 45, 60, 90, 120, 180, 240)

#: Nodes of a file at most: what is asked of it each minute stays a matter of microseconds.
MAX_NODES: Final = 200_000

#: Settings that the default forecast does not depend on.
_NO_FORECAST: Final = frozenset({"learned", "learned_use", "fill_bias_limit", "guard"})

_COLUMNS: Final = ("feature", "threshold", "left", "right", "missing_left", "value")


class LearnedFileError(ValueError):
    """A file that holds no trees that can be used; the text states why and what to do."""


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
class Learned:
    """The trees of a file."""

    #: Length of an interval that they were trained on.
    interval_s: int
    #: Open and close, local seconds after midnight.
    session_s: tuple[int, int]
    #: Hash of the default forecast's settings that they were trained with.
    base: str
    #: Shape (6,).
    start: Float
    #: Shape (n_trees,).
    roots: Int
    forest: Int
    #: Shape (n_nodes, 4).
    nodes: Int
    #: Shape (n_nodes, 2). As `tree_sums` takes them; forests are the quantiles of the spread, then those of the excess.
    reals: Float

    def quantiles(self, x: Float) -> Float:
        """Return the quantiles of what the default forecast leaves, ascending.

        Parameters
        ----------
        x : ndarray of float64, shape (N, len(FEATURES))

        Returns
        -------
        ndarray of float64, shape (N, 2, 3)
            Logs; of spread and excess.
        """
        sums = tree_sums(x, self.start, self.roots, self.forest, self.nodes, self.reals)
        by_series = sums.reshape(len(x), len(SERIES), len(QUANTILES))
        # Each quantile has trees of its own, so that they may cross; the median is the one that is believed.
        middle = by_series[:, :, 1]
        low, high = np.minimum(by_series[:, :, 0], middle), np.maximum(by_series[:, :, 2], middle)
        return np.stack([low, middle, high], axis=2)


class TrainedFile(str):
    """The hash of a trained file, with its trees next to it.

    Settings are compared, hashed and journalled by what they say, and this one
    says ``sha256:...`` like any text; the trees only ride along.
    """

    __slots__ = ("learned",)
    learned: Learned

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Return the trees that a file's `content` holds.

        Raises
        ------
        LearnedFileError
            If it is not what `impactd train` writes.
        """
        made = cls("sha256:" + hashlib.sha256(content).hexdigest())
        made.learned = _parse(content)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (str(self), self.learned)

    def __deepcopy__(self, memo: object) -> Self:
        del memo
        return self


def _remade(digest: str, learned: Learned) -> TrainedFile:
    made = TrainedFile(digest)
    made.learned = learned
    return made


def learned_of(settings: CoreSettings) -> Learned | None:
    """Return the trees that the settings name, or None where they name none."""
    named = settings.model.learned
    if not named:
        return None
    if not isinstance(named, TrainedFile):
        raise ValueError(  # noqa: TRY004  (a text that names trees which are not loaded)
            f"model.learned: forecasts were made with the trained file {named}, which is not loaded; "
            "name that file in model.learned"
        )
    learned = named.learned
    interval_s = settings.books.interval_ns // SECOND_NS
    if not settings.model.intercept:
        raise ValueError("model.learned: its trees model spread and excess separately, which needs model.intercept")
    if learned.interval_s != interval_s:
        raise ValueError(
            f"model.learned: was trained on intervals of {learned.interval_s} s, not {interval_s} s; train it again"
        )
    rules = (settings.session, *(rule for _, rule in settings.sessions))
    if any(learned.session_s != (rule.open_s, rule.close_s) for rule in rules):
        opens, closes = (f"{second // 3600:02}:{second // 60 % 60:02}" for second in learned.session_s)
        raise ValueError(
            f"model.learned: was trained on sessions from {opens} to {closes}; set [session] to these hours, for every "
            "symbol, or train it again"
        )
    if learned.base != base_hash(settings.model):
        raise ValueError(
            "model.learned: was trained with a forecast of other [model] settings or of another release; "
            "train it again under these"
        )
    return learned


def base_hash(model: ModelSettings) -> str:
    """Return the hash of all settings that the default forecast depends on."""
    fields = {name: value for name, value in plain_model(model).items() if name not in _NO_FORECAST}
    return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def plain_model(model: ModelSettings) -> Mapping[str, Any]:
    """Return the model's settings as JSON has them."""
    return cast("Mapping[str, Any]", plain(CoreSettings(model=model))["model"])


def document(
    settings: CoreSettings, series: Mapping[str, Sequence[Mapping[str, Any]]], trained: Mapping[str, Any]
) -> bytes:
    """Return the bytes of a file.

    Parameters
    ----------
    series : mapping of str to sequence of mapping
        By `SERIES` a forest for each of `QUANTILES`: ``start``, and ``trees`` of the columns
        ``feature`` (-1 for a leaf), ``threshold`` (None is beyond all), ``left``, ``right``,
        ``missing_left`` and ``value``.
    trained : mapping
        Where it came from, for people.
    """
    head = {
        "format": FORMAT,
        "interval_s": settings.books.interval_ns // SECOND_NS,
        "session_s": [settings.session.open_s, settings.session.close_s],
        "base": base_hash(settings.model),
        "features": list(FEATURES),
        "horizons": list(HORIZONS),
        "quantiles": list(QUANTILES),
    }
    return orjson.dumps({**head, "trained": dict(trained), "series": dict(series)}) + b"\n"


def _parse(content: bytes) -> Learned:
    again = "write it again with impactd train"
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise LearnedFileError(f"is not JSON ({error}); {again}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise LearnedFileError(f"is not of format {FORMAT!r}; {again}")
    for name, value in (("features", FEATURES), ("horizons", HORIZONS), ("quantiles", QUANTILES)):
        if found.get(name) != list(value):
            raise LearnedFileError(f"{name}: are not those of this release; {again}")
    try:
        forests = [forest for name in SERIES for forest in found["series"][name]]
        if len(forests) != len(SERIES) * len(QUANTILES):
            raise LearnedFileError(f"series: needs {len(QUANTILES)} forests each; {again}")
        start = np.array([float(forest["start"]) for forest in forests])
        trees = [(k, tree) for k, forest in enumerate(forests) for tree in forest["trees"]]
        tables = [_table(tree) for _, tree in trees]
        interval_s, base = int(found["interval_s"]), str(found["base"])
        opens, closes = (int(second) for second in found["session_s"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise LearnedFileError(f"is damaged ({type(error).__name__}: {error}); {again}") from error
    sizes = [len(table) for table in tables]
    if sum(sizes) > MAX_NODES:
        raise LearnedFileError(f"has {sum(sizes)} nodes, more than {MAX_NODES}; train with fewer trees")
    roots = np.cumsum([0, *sizes])[:-1].astype(np.int64)
    whole = np.concatenate(tables) if tables else np.zeros((0, len(_COLUMNS)))
    nodes = whole[:, [0, 2, 3, 4]].astype(np.int64)
    nodes[:, 1:3] += np.repeat(roots, sizes)[:, None]
    reals = np.ascontiguousarray(whole[:, [1, 5]])
    if not (np.isfinite(start).all() and np.isfinite(reals[:, 1]).all()):
        raise LearnedFileError(f"holds values that are not finite; {again}")
    return Learned(
        interval_s, (opens, closes), base, start, roots, np.array([k for k, _ in trees], np.int64), nodes, reals
    )


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
