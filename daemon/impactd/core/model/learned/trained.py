"""The trained file: what it is called, what it was trained for, and what it holds.

It is JSON, and its name in settings, state and journal is its hash: settings stay small, and equal settings correct
forecasts alike.  Nothing in this module learns.  ``trained`` in the file states its origin, for people only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import orjson

from impactd.core.base.settings import SECOND_NS, CoreSettings, ModelSettings
from impactd.core.model.learned.network import Network
from impactd.core.model.learned.predictor import HORIZONS, QUANTILES, Predictor
from impactd.core.model.learned.trees import Trees
from impactd.core.state.schema import plain

FORMAT: Final = "impactd.learned/1"

#: What a file may hold; a file that does not say holds trees.
TREES: Final = "trees"
NETWORK: Final = "network"
KINDS: Final[Mapping[str, type[Predictor]]] = {TREES: Trees, NETWORK: Network}

#: Settings that the default forecast does not depend on.
_NO_FORECAST: Final = frozenset({"learned", "learned_use", "fill_bias_limit", "guard"})


class LearnedFileError(ValueError):
    """A file that holds nothing that can be used; the text states why and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What a file holds, and what it was trained for."""

    #: Of `KINDS`.
    kind: str
    #: Length of an interval that it was trained on.
    interval_s: int
    #: Open and close, local seconds after midnight.
    session_s: tuple[int, int]
    #: Hash of the default forecast's settings that it was trained with.
    base: str
    #: Those that it was trained on, sorted; empty where the file does not say.
    symbols: tuple[str, ...]
    predictor: Predictor


class TrainedFile(str):
    """The hash of a trained file, with what it holds next to it.

    Settings are compared, hashed and journalled by what they say, and this one
    says ``sha256:...`` like any text; the rest only rides along.
    """

    __slots__ = ("learned",)
    learned: Learned

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Return what a file's `content` holds.

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
    """Return what the trained file that the settings name holds, or None where they name none."""
    named = settings.model.learned
    if not named:
        return None
    if not isinstance(named, TrainedFile):
        raise ValueError(  # noqa: TRY004  (a text that names a file which is not loaded)
            f"model.learned: forecasts were made with the trained file {named}, which is not loaded; "
            "name that file in model.learned"
        )
    learned = named.learned
    interval_s = settings.books.interval_ns // SECOND_NS
    if not settings.model.intercept:
        raise ValueError("model.learned: it corrects spread and excess separately, which needs model.intercept")
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
    settings: CoreSettings, kind: str, held: Mapping[str, Any], trained: Mapping[str, Any], symbols: Sequence[str] = ()
) -> bytes:
    """Return the bytes of a file.

    Parameters
    ----------
    kind : str
        Of `KINDS`.
    held : mapping
        What the kind reads (`impactd.core.model.learned.predictor.Predictor.read`).
    trained : mapping
        Where it came from, for people.
    """
    head = {
        "format": FORMAT,
        "kind": kind,
        "symbols": list(symbols),
        "interval_s": settings.books.interval_ns // SECOND_NS,
        "session_s": [settings.session.open_s, settings.session.close_s],
        "base": base_hash(settings.model),
        "features": list(KINDS[kind].FEATURES),
        "horizons": list(HORIZONS),
        "quantiles": list(QUANTILES),
    }
    return orjson.dumps({**head, "trained": dict(trained), **held}) + b"\n"


def _parse(content: bytes) -> Learned:
    again = "write it again with impactd train"
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise LearnedFileError(f"is not JSON ({error}); {again}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise LearnedFileError(f"is not of format {FORMAT!r}; {again}")
    kind = found.get("kind", TREES)
    if kind not in KINDS:
        raise LearnedFileError(f"kind: {kind!r} is none of {', '.join(KINDS)}; {again}")
    for name, value in (("features", KINDS[kind].FEATURES), ("horizons", HORIZONS), ("quantiles", QUANTILES)):
        if found.get(name) != list(value):
            raise LearnedFileError(f"{name}: are not those of this release; {again}")
    try:
        opens, closes = (int(second) for second in found["session_s"])
        symbols = tuple(str(symbol) for symbol in found.get("symbols", ()))
        predictor = KINDS[kind].read(found)
        return Learned(kind, int(found["interval_s"]), (opens, closes), str(found["base"]), symbols, predictor)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise LearnedFileError(f"is damaged ({type(error).__name__}: {error}); {again}") from error
